"""`--clean` and `--missing-times`: what is done to a log of events before anything is learnt from it or asked of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, get_args

import click

from stream_app.errors import UsageError
from tsrec_models.preparation.cleaning import MissingTimes, drop_duplicates, drop_repeats, drop_robots, k_core
from tsrec_models.preparation.log import Log

__all__ = ["clean", "cleaning_options"]

F = TypeVar("F", bound=Callable[..., Any])

#: Steps without a number, and steps with one (and its default).
_PLAIN: dict[str, Callable[[Log], Log]] = {"duplicates": drop_duplicates, "repeats": drop_repeats}
_NUMBERED: dict[str, tuple[Callable[[Log, int], Log], int]] = {
    "robots": (lambda log, n: drop_robots(log, per_window=n), 300),
    "k-core": (k_core, 5),
}


def cleaning_options(function: F) -> F:
    """Adds `--clean` and `--missing-times`."""
    function = click.option(
        "--clean",
        "steps",
        metavar="STEP,...",
        default="",
        help="In this order: duplicates (user, item and time alike), repeats (of the item just before), robots[=N] "
        "(users with more than N events in an hour; 300), k-core[=K] (users and items with K events at least; 5).",
    )(function)
    return click.option(
        "--missing-times",
        type=click.Choice(get_args(MissingTimes)),
        default="interpolate",
        show_default=True,
        help="Events without a time get one from the user's others, or are dropped.",
    )(function)


def clean(log: Log, steps: str) -> Log:
    """The log after the steps, each told on stderr.

    Raises:
        UsageError: a step is unknown or its number is none, or no event is left.
        LogError: robots are looked for in a log without times.
    """
    for text in filter(None, (part.strip() for part in steps.split(","))):
        before = len(log)
        log = _step(text)(log)
        click.echo(f"--clean {text}: {before - len(log)} of {before} events left out", err=True)
        if not len(log):
            raise UsageError(f"--clean {text} leaves no event")
    return log


def _step(text: str) -> Callable[[Log], Log]:
    name, equals, number = text.partition("=")
    if name in _PLAIN and not equals:
        return _PLAIN[name]
    if name in _NUMBERED:
        do, least = _NUMBERED[name]
        if not equals:
            return lambda log: do(log, least)
        if number.isdecimal() and int(number) > 0:
            return lambda log: do(log, int(number))
        raise UsageError(f"--clean {text}: {number!r} is not a number above 0")
    raise UsageError(f"--clean: {text!r} is not one of {', '.join([*_PLAIN, *(f'{name}=N' for name in _NUMBERED)])}")
