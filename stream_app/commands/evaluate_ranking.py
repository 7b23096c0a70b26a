"""`tsrec evaluate ranking FILE`: how well a model foretells the next item, over all items, on your own log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from threadpoolctl import threadpool_limits

from stream_app.errors import UsageError
from tsrec_models.evaluation.bootstrap import bootstrap_difference, bootstrap_means
from tsrec_models.evaluation.prequential import Learner, prequential
from tsrec_models.evaluation.protocols import PROTOCOLS, Protocol, Split
from tsrec_models.evaluation.ranking import ScoringRecommender, ask, report
from tsrec_models.evaluation.ranking_metrics import accuracy
from tsrec_models.evaluation.ranking_models import Task
from tsrec_models.evaluation.ranking_recipes import RECIPES, recipe
from tsrec_models.preparation.log import Log
from tsrec_models.preparation.reading import read_log
from tsrec_models.sequence.popularity import Popularity, RecentPopularity, Trending
from tsrec_models.sequence.rules import Rules
from tsrec_models.sequence.rules_recommender import RulesRecommender

__all__ = ["command"]

PREQUENTIAL = "prequential"

#: Protocol -> how it cuts a log.
CUTS: dict[str, Callable[..., Split]] = {str(name): cut for name, cut in PROTOCOLS.items()}

#: Models that learn from every event as it comes, empty.
LEARNERS: dict[str, Callable[[], Learner]] = {
    "popularity": lambda: Popularity(0),
    "popularity-7d": lambda: RecentPopularity(0),
    "popularity-decayed": lambda: Trending(0),
    "rules": lambda: RulesRecommender(Rules(0)),
}

#: Questions that a point of the prequential curve is the mean of.
WINDOW = 5000


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--protocol",
    type=click.Choice([*CUTS, PREQUENTIAL]),
    default="loo",
    show_default=True,
    help="loo: each user's last item. temporal: the last 10 % of time. session: the last day's sessions. "
    "prequential: every event, asked and then learned.",
)
@click.option(
    "--model", "name", type=click.Choice(list(RECIPES)), default=None, help="Default: blend; prequential: rules."
)
@click.option(
    "--max-minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Time to fit the model in, the choice of settings included.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--exclude-seen/--include-seen",
    default=None,
    help="Whether items of the history leave the lists. Default: only under loo.",
)
@click.option(
    "--refit/--no-refit",
    default=True,
    show_default=True,
    help="Whether the model also learns from the validation events once its settings are chosen.",
)
@click.option(
    "--against",
    type=click.Choice(list(RECIPES)),
    multiple=True,
    help="Another model, asked the same questions: the interval of the difference. May be given more than once.",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Folder in which networks note every epoch how far they are, to go on from there after an interruption.",
)
@click.option("--drop-cold", is_flag=True, help="Ask no question whose answer never occurs in training.")
@click.option(
    "--columns",
    metavar="FIELD=COLUMN,...",
    default="",
    help="Other names of columns, such as session_id=SessionId,item_id=ItemId,ts=Time.",
)
def command(
    path: Path,
    protocol: str,
    name: str | None,
    max_minutes: float,
    seed: int,
    exclude_seen: bool | None,
    refit: bool,
    against: tuple[str, ...],
    resume: Path | None,
    drop_cold: bool,
    columns: str,
) -> None:
    """Fit a model to the events of FILE and ask it for the next item.

    FILE is CSV, TSV, Parquet or JSONL (or .gz of it) with the columns user_id, item_id and, if known, ts, in order of
    time within a user; for the session protocol session_id, item_id, ts. Settings and weights are chosen on validation
    events inside the training part; the questions are asked once. The last line is one JSON object.
    """
    name = name or ("rules" if protocol == PREQUENTIAL else "blend")
    if protocol == PREQUENTIAL and name not in LEARNERS:
        raise UsageError(f"--model {name} does not learn event by event; prequential knows {', '.join(LEARNERS)}")
    log = _read(path, protocol, columns)
    about = {"model": name, "protocol": protocol, "users": log.n_users, "items": log.n_items, "events": len(log)}
    if protocol == PREQUENTIAL:
        figures = _prequential(log, LEARNERS[name](), bool(exclude_seen), seed)
    else:
        split = _split(log, CUTS[protocol], exclude_seen)
        if drop_cold:
            split = split.known_only()
        # Products here are small: on a busy machine threads of one product wait for one another.
        with threadpool_limits(1, user_api="blas"):
            figures = _fit_and_ask(split, name, max_minutes, seed, refit, against, resume)
    click.echo(json.dumps(about | figures | {"seed": seed}))


def _fit_and_ask(
    split: Split,
    name: str,
    max_minutes: float,
    seed: int,
    refit: bool,
    against: tuple[str, ...],
    resume: Path | None,
) -> dict[str, Any]:
    log = split.log
    click.echo(
        f"{len(log)} events of {log.n_users} users and {log.n_items} items; {len(split.train)} to learn from, "
        f"{len(split)} questions"
    )
    then = "then these are learned too (--refit)" if refit else "these are never learned (--no-refit)"
    click.echo(f"settings and weights are chosen on validation events inside the training part; {then}")
    model, train_s = _fitted(split, name, max_minutes, seed, refit, resume)
    answers = ask(model, split)
    figures = {**report(answers, split, seed=seed), "train_s": round(train_s, 1), "refit": refit}
    ours, rivals = accuracy(answers.ranks), {}
    for other in against:
        theirs = accuracy(ask(_fitted(split, other, max_minutes, seed, refit, resume)[0], split).ranks)
        rivals[other] = {
            metric: [round(end, 5) for end in bootstrap_difference(ours[metric], theirs[metric], split.users)]
            for metric in ours
        }
    return {**figures, "against": rivals} if rivals else figures


def _fitted(
    split: Split, name: str, max_minutes: float, seed: int, refit: bool, resume: Path | None
) -> tuple[ScoringRecommender, float]:
    """A model fitted to the training part, and the seconds that took."""
    started = time.monotonic()
    task = Task(split, seed, started + 60.0 * max_minutes, resume)
    method = recipe(name)
    model = method.prepare(task)
    if refit:
        model = method.finish(task)
    seconds = time.monotonic() - started
    click.echo(f"fitted {name} in {seconds:.0f} s")
    for line in getattr(method, "notes", []):
        click.echo(line)
    return model, seconds


def _prequential(log: Log, model: Learner, exclude_seen: bool, seed: int) -> dict[str, Any]:
    started = time.monotonic()
    result = prequential(model, log, exclude_seen=exclude_seen)
    seconds = time.monotonic() - started
    for questions, value in result.curve("ndcg@10", WINDOW):
        click.echo(f"after {questions} questions: ndcg@10 {value:.4f} over the last {min(WINDOW, questions)}")
    values = accuracy(result.ranks)
    intervals = bootstrap_means(np.stack(list(values.values()), axis=1), result.users, seed=seed)
    return {
        **{metric: round(value, 5) for metric, value in result.figures().items()},
        "intervals": {
            metric: [round(float(low), 5), round(float(high), 5)]
            for metric, (low, high) in zip(values, intervals, strict=True)
        },
        "questions": len(result.ranks),
        "train_s": round(seconds, 1),
    }


def _read(path: Path, protocol: str, columns: str) -> Log:
    names = {"user_id": "user_id", "session_id": "session_id", "item_id": "item_id", "ts": "ts"}
    for pair in filter(None, columns.split(",")):
        field, equals, column = pair.partition("=")
        if not equals or field not in names:
            raise UsageError(f"--columns: {pair!r} is not one of {', '.join(f'{name}=COLUMN' for name in names)}")
        names[field] = column
    who = names["session_id" if protocol == "session" else "user_id"]
    reading = read_log(path, user=who, item=names["item_id"], ts=names["ts"])
    for reason, count in reading.dropped.items():
        click.echo(f"{count} rows {reason} left out", err=True)
    if not len(reading.log):
        raise UsageError(f"{path}: no event; rows of {who}, {names['item_id']} are needed")
    if protocol in ("temporal", PREQUENTIAL) and not reading.log.has_times:
        raise UsageError(f"{path}: no column {names['ts']}; the protocol {protocol} goes by time and needs it")
    return reading.log


def _split(log: Log, cut: Any, exclude_seen: bool | None) -> Split:
    split: Split = cut(log) if exclude_seen is None else cut(log, exclude_seen=exclude_seen)
    protocol: Protocol = split.protocol
    if not len(split):
        wanted = "a user with at least three events" if protocol == "loo" else "a history before the last part of time"
        raise UsageError(f"protocol {protocol}: the log leaves no question to ask; it needs {wanted}")
    if not len(split.train):
        raise UsageError(f"protocol {protocol}: no event is left to learn from; the log must cover more time")
    return split
