"""`tsrec evaluate ranking FILE`: how well a model foretells the next item, over all items, on your own log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from threadpoolctl import threadpool_limits

from stream_app.commands._cleaning import clean, cleaning_options
from stream_app.commands._ranking_questions import CUTS, PREQUENTIAL, cut, read
from stream_app.errors import UsageError
from tsrec_models.evaluation.bootstrap import bootstrap_difference, bootstrap_means
from tsrec_models.evaluation.prequential import Learner, prequential
from tsrec_models.evaluation.protocols import Split
from tsrec_models.evaluation.ranking import Answers, ScoringRecommender, ask, report
from tsrec_models.evaluation.ranking_metrics import accuracy
from tsrec_models.evaluation.ranking_models import Task
from tsrec_models.evaluation.ranking_recipes import RECIPES, recipe
from tsrec_models.preparation.cleaning import MissingTimes
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.popularity import Popularity, RecentPopularity, Trending
from tsrec_models.sequence.rules import Rules
from tsrec_models.sequence.rules_recommender import RulesRecommender

__all__ = ["command"]

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
    help="Time to fit the model in, the choice of settings included; under prequential, to ask and teach in.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
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
    "--before-refit",
    is_flag=True,
    help="Also ask the model as it was before it learned the validation events, as most published figures are.",
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
@cleaning_options
def command(
    path: Path,
    protocol: str,
    name: str | None,
    max_minutes: float,
    seed: int,
    exclude_seen: bool | None,
    refit: bool,
    before_refit: bool,
    against: tuple[str, ...],
    resume: Path | None,
    drop_cold: bool,
    columns: str,
    steps: str,
    missing_times: MissingTimes,
) -> None:
    """Fit a model to the events of FILE and ask it for the next item.

    FILE is CSV, TSV, Parquet or JSONL (or .gz of it) with the columns user_id, item_id and, if known, ts, in order of
    time within a user; for the session protocol session_id, item_id, ts. Settings and weights are chosen on validation
    events inside the training part; the questions are asked once. The last line is one JSON object.
    """
    name = name or ("rules" if protocol == PREQUENTIAL else "blend")
    if protocol == PREQUENTIAL and name not in LEARNERS:
        raise UsageError(f"--model {name} does not learn event by event; prequential knows {', '.join(LEARNERS)}")
    if protocol == PREQUENTIAL:
        _refuse_for_prequential(
            against=against, no_refit=not refit, before_refit=before_refit, resume=resume, drop_cold=drop_cold
        )
    log = clean(read(path, protocol, columns, missing_times), steps)
    about = {"model": name, "protocol": protocol, "users": log.n_users, "items": log.n_items, "events": len(log)}
    if protocol == PREQUENTIAL:
        figures = _prequential(log, LEARNERS[name](), bool(exclude_seen), max_minutes, seed)
    else:
        split = cut(log, protocol, exclude_seen=exclude_seen, drop_cold=drop_cold)
        # Products here are small: on a busy machine threads of one product wait for one another.
        with threadpool_limits(1, user_api="blas"):
            terms = Terms(max_minutes, seed, refit, resume)
            figures = _fit_and_ask(split, name, terms, against, before_refit and refit)
    click.echo(json.dumps(about | figures | {"seed": seed}))


def _refuse_for_prequential(**given: object) -> None:
    """Options that would change nothing are refused, so that nobody takes the figures for what they are not."""
    if names := [f"--{name.replace('_', '-')}" for name, value in given.items() if value]:
        raise UsageError(f"{', '.join(names)}: not under prequential, which asks one model as it learns")


@dataclass(frozen=True)
class Terms:
    """What every model of a comparison is fitted under."""

    max_minutes: float
    seed: int
    refit: bool
    resume: Path | None


@dataclass(frozen=True)
class Fitted:
    """A model fitted to the training part, as it was before it learned the validation events, and what that took."""

    model: ScoringRecommender
    prepared: ScoringRecommender
    wall_s: float
    processor_s: float


def _fit_and_ask(split: Split, name: str, terms: Terms, against: tuple[str, ...], before_refit: bool) -> dict[str, Any]:
    log = split.log
    click.echo(
        f"{len(log)} events of {log.n_users} users and {log.n_items} items; {len(split.train)} to learn from, "
        f"{len(split)} questions"
    )
    then = "then these are learned too (--refit)" if terms.refit else "these are never learned (--no-refit)"
    click.echo(f"settings and weights are chosen on validation events inside the training part; {then}")
    fitted = _fit(split, name, terms)
    answers = ask(fitted.model, split)
    figures = _reported(name, answers, split, terms)
    figures |= {"train_s": round(fitted.wall_s, 1), "train_cpu_s": round(fitted.processor_s, 1), "refit": terms.refit}
    if before_refit:
        before = ask(fitted.prepared, split)
        figures["before_refit"] = _reported(f"{name} before the validation events", before, split, terms)
    ours, rivals = accuracy(answers.ranks), {}
    for other in against:
        rival = ask(_fit(split, other, terms).model, split)
        _reported(other, rival, split, terms)
        theirs = accuracy(rival.ranks)
        rivals[other] = {
            metric: [round(end, 5) for end in bootstrap_difference(ours[metric], theirs[metric], split.users)]
            for metric in ours
        }
    return {**figures, "against": rivals} if rivals else figures


def _reported(label: str, answers: Answers, split: Split, terms: Terms) -> dict[str, Any]:
    """Figures of a model, told at once: what follows may take long."""
    figures: dict[str, Any] = report(answers, split, seed=terms.seed)
    told = [
        f"{metric} {figures[metric]:.4f} ({low:.4f} to {high:.4f})"
        for metric, (low, high) in figures["intervals"].items()
    ]
    click.echo(f"{label}: {', '.join(told)}")
    return figures


def _fit(split: Split, name: str, terms: Terms) -> Fitted:
    wall, processor = time.monotonic(), time.process_time()
    task = Task(split, terms.seed, wall + 60.0 * terms.max_minutes, terms.resume)
    method = recipe(name)
    prepared = model = method.prepare(task)
    if terms.refit:
        model = method.finish(task)
    fitted = Fitted(model, prepared, time.monotonic() - wall, time.process_time() - processor)
    click.echo(f"fitted {name} in {fitted.wall_s:.0f} s")
    for line in getattr(method, "notes", []):
        click.echo(line)
    return fitted


def _prequential(log: Log, model: Learner, exclude_seen: bool, max_minutes: float, seed: int) -> dict[str, Any]:
    started = time.monotonic()
    result = prequential(model, log, exclude_seen=exclude_seen, deadline=started + 60.0 * max_minutes)
    seconds = time.monotonic() - started
    if result.events < len(log):
        click.echo(f"the time is up after {result.events} of {len(log)} events: figures are of these", err=True)
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
        "asked_events": result.events,
        "train_s": round(seconds, 1),
    }
