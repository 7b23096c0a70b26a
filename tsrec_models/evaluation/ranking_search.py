"""Choosing settings on validation questions, one setting at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

__all__ = ["coordinate_search"]

S = TypeVar("S")


def coordinate_search(
    start: S,
    choices: Mapping[str, Sequence[Any]],
    score: Callable[[S], float],
    *,
    rounds: int = 2,
    deadline: float | None = None,
) -> tuple[S, float]:
    """Vary one field of the dataclass `start` at a time, keep what scores best, go round until nothing gains.

    Settings already scored are not scored again. Stops at `deadline` (monotonic seconds) with the best so far.
    Returns the settings and their score.
    """
    known: dict[S, float] = {}

    def scored(settings: S) -> float:
        if settings not in known:
            known[settings] = score(settings)
        return known[settings]

    best = start
    for _ in range(rounds):
        before = best
        for name, values in choices.items():
            for value in values:
                if deadline is not None and time.monotonic() > deadline and known:
                    return best, scored(best)
                candidate = replace(best, **{name: value})  # type: ignore[type-var]
                if scored(candidate) > scored(best):
                    best = candidate
        if best == before:
            break
    return best, scored(best)
