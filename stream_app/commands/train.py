"""`tsrec train FILE`: a neural recommender from your own log, written as an artifact that the worker loads."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stream_app.commands._cleaning import clean, cleaning_options
from stream_app.commands._events_file import read_events
from stream_app.errors import UsageError

if TYPE_CHECKING:
    from tsrec_models.preparation.cleaning import MissingTimes
    from tsrec_models.preparation.log import Log
    from tsrec_models.sequence.hparams import Trial
    from tsrec_models.sequence.training_settings import Settings

__all__ = ["command"]

MODELS = ("gru", "lstm", "lru", "transformer", "joint")

#: Share of the time that a search over settings takes.
_SEARCH_SHARE = 0.4


@click.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option(
    "--from-topic", "topics", multiple=True, metavar="TOPIC", help="clicks or purchases instead of a file; repeatable."
)
@click.option(
    "--max-events", type=click.IntRange(1), default=20_000_000, show_default=True, help="Of topics, the latest so many."
)
@click.option("--bootstrap", metavar="HOST:PORT", help="Kafka bootstrap servers, for topics. [TSREC_BOOTSTRAP]")
@click.option("--model", "name", type=click.Choice(MODELS), default="lru", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the artifact to write.")
@click.option(
    "--max-minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Time for it all.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option(
    "--set", "changes", multiple=True, metavar="NAME=VALUE", help="A setting, such as dropout=0.3; repeatable."
)
@click.option("--search", type=click.Choice(("grid", "random", "tpe")), help="Search over settings first.")
@click.option("--test/--no-test", default=True, show_default=True, help="Keep each user's last event for a test.")
@click.option("--exclude-seen/--include-seen", default=True, show_default=True, help="In validation and test.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option(
    "--resume", type=click.Path(path_type=Path), help="Folder of an interrupted run, to go on or to write to."
)
@click.option("--tensorboard", type=click.Path(path_type=Path), help="Folder for TensorBoard logs.")
@click.option("--wandb", type=click.Path(path_type=Path), help="Folder for offline Weights & Biases logs.")
@click.option(
    "--columns", metavar="FIELD=COLUMN,...", default="", help="Other names, such as user_id=visitorid,ts=timestamp."
)
@cleaning_options
def command(
    path: Path | None,
    topics: tuple[str, ...],
    max_events: int,
    bootstrap: str | None,
    name: str,
    out: Path,
    max_minutes: float,
    seed: int,
    changes: tuple[str, ...],
    search: str | None,
    test: bool,
    exclude_seen: bool,
    device: str,
    resume: Path | None,
    tensorboard: Path | None,
    wandb: Path | None,
    columns: str,
    steps: str,
    missing_times: MissingTimes,
) -> None:
    """Train a model on the events of FILE, or of topics to their present ends, and write it to a folder.

    \b
    tsrec train clicks.csv --out FOLDER
    tsrec train --from-topic clicks --from-topic purchases --out FOLDER

    FILE is CSV, TSV, Parquet or JSONL with the columns user_id, item_id and, if known, ts. Each user's last event is
    the test, the one before it validation. The last line printed is one JSON object.
    """
    from tsrec_models.sequence.training_report import require_loggers

    require_loggers(tensorboard, wandb)
    started = time.monotonic()
    # Read before torch is loaded: a mistake in the file is told at once, and a process that ends while threads of
    # Arrow and of torch have only just begun may be aborted by their destructors (apache/arrow issue 34314).
    log = clean(_log(path, topics, max_events, bootstrap, columns, missing_times), steps)
    if not (log.lengths >= 3).any():
        raise UsageError(
            f"{path or ', '.join(topics)}: no user has three events; there is nothing to learn from and to test on"
        )
    from stream_app.weighing import Weighed, choose_weight
    from tsrec_models.artifacts import load_model_class, save_artifact
    from tsrec_models.sequence.hparams import search_settings
    from tsrec_models.sequence.training import fit, log_hash
    from tsrec_models.sequence.training_holdout import leave_last_out, validate
    from tsrec_models.sequence.training_settings import Settings

    model_class = load_model_class(name)
    train, held_out = leave_last_out(log, exclude_seen=exclude_seen) if test else (log, None)
    settings = _settings(changes, Settings.for_log(train))
    click.echo(
        f"{len(log)} events of {log.n_users} users and {log.n_items} items; {len(train)} to learn from", err=True
    )
    minutes, searched = max_minutes, {}
    if search is not None:
        inner, holdout = leave_last_out(train, exclude_seen=exclude_seen)
        method: Any = search
        trials = search_settings(
            inner, holdout, model_class, settings, method=method, minutes=_SEARCH_SHARE * max_minutes, seed=seed
        )
        searched = {"search": _search_report(trials, settings)}
        settings = trials[0].settings
        minutes = max(0.1 * max_minutes, max_minutes - (time.monotonic() - started) / 60.0)
    weighed: list[Weighed] = []
    model = fit(
        train,
        model=model_class,
        exclude_seen=exclude_seen,
        settings=settings,
        seed=seed,
        max_minutes=minutes,
        device=device,
        show=True,
        checkpoint=resume,
        tensorboard=tensorboard,
        wandb=wandb,
        validated=lambda *held: weighed.append(choose_weight(*held, seed=seed)),
    )
    metrics: dict[str, Any] = {"validation": model.metrics}
    if held_out is not None:
        metrics["test"] = validate(model, held_out)
        if exclude_seen and (again := held_out.repeats()):
            click.echo(
                f"{again} of {len(held_out)} test questions ask for an item of the user's own past: here it is ranked "
                "against unseen items only, which flatters, and a list without seen items never names it "
                "(--include-seen)",
                err=True,
            )
    chosen = {}
    if weighed:
        metrics["live_blend"] = weighed[0].as_dict()
        chosen["neural_weight"] = weighed[0].weight
    manifest = save_artifact(
        out, model, log.item_ids.tolist(), data_hash=log_hash(log), settings=settings.as_dict() | chosen,
        metrics=metrics,
    )  # fmt: skip
    result: dict[str, Any] = {"model": name, "version": manifest.version, "artifact": str(out)}
    result |= {"users": log.n_users, "items": log.n_items, "events": len(log), "state_width": model.state_width}
    if hint := _serving_hint(model.state_width):
        click.echo(hint, err=True)
    took = {"train_s": round(time.monotonic() - started, 1), "seed": seed}
    click.echo(json.dumps(result | searched | metrics | took))


def _search_report(trials: list[Trial], base: Settings) -> dict[str, Any]:
    """What a search found, told on stderr too: trials are best first, `base` among them."""
    best = trials[0]
    before, after = base.as_dict(), best.settings.as_dict()
    changed = {name: value for name, value in after.items() if value != before[name]}
    score = next(trial.score for trial in trials if trial.settings == base)
    said = ", ".join(f"{name}={value}" for name, value in changed.items()) or "the settings as they were"
    click.echo(
        f"search: best of {len(trials)} short trainings is {said}; validation ndcg@10 {best.score:.4f}, with the "
        f"settings as they were {score:.4f}",
        err=True,
    )
    return {"trials": len(trials), "ndcg@10": best.score, "ndcg@10_before": score, "changed": changed}


def _serving_hint(state_width: int) -> str | None:
    """What to set before a worker can step the model, if its state is wider than users' rows are by default."""
    from stream_app.settings import Settings

    rows = Settings.model_fields["hidden_width"].default
    if state_width <= rows:
        return None
    return (
        f"to let it answer: its state takes {state_width} floats a user, rows have {rows} unless "
        f"TSREC_HIDDEN_WIDTH={state_width} is set from the start of a worker's group"
    )


def _log(
    path: Path | None,
    topics: tuple[str, ...],
    max_events: int,
    bootstrap: str | None,
    columns: str,
    missing_times: MissingTimes,
) -> Log:
    """The events of a file or of topics."""
    if (path is None) == (not topics):
        raise UsageError("what to learn from? either a FILE or --from-topic")
    if path is not None:
        return read_events(path, columns, missing_times)
    from stream_app.commands._common import catalog_of, run, settings_for
    from stream_app.security import cluster_of
    from stream_app.topic_log import read_topics

    settings = settings_for(bootstrap)
    cluster = cluster_of(settings)
    read = run(cluster, read_topics(cluster, settings, catalog_of(settings), topics, max_events))
    for n, what in ((read.bad, "do not fit the contract"), (read.older, f"are older than the {max_events:,} latest")):
        if n:
            click.echo(f"{n:,} records {what}", err=True)
    return read.log


def _settings(changes: tuple[str, ...], base: Any) -> Any:
    values = base.as_dict()
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or name not in values:
            raise UsageError(f"--set: {change!r} is not NAME=VALUE with NAME one of {', '.join(values)}")
        values[name] = _value(name, text, type(values[name]))
    return type(base).from_dict(values)


def _value(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UsageError(f"--set: {name} is true or false, not {text!r}")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError as error:
        raise UsageError(f"--set: {name} needs {kind.__name__}, not {text!r}") from error
