"""Closed bars on their way through the models, with the estimates of new parameters left to the caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tsrec_models.risk.bar_outcome import BarOutcome
from tsrec_models.risk.bar_refits import Job, Refitted
from tsrec_models.risk.bar_regressors import Known
from tsrec_models.risk.volatility import GarchParameters

if TYPE_CHECKING:
    from tsrec_models.risk.bar_models import BarModels

__all__ = ["Stepping"]


class Stepping:
    """Bars on their way through the models, a stretch at a time.

    `advance` takes a stretch; then `asked` are estimates that may be begun, and `due` those that must be had before
    `swap` and the next stretch. Both hold the same jobs for the same bars, whenever that is.
    """

    def __init__(
        self,
        models: BarModels,
        state: NDArray[np.float64],
        at: NDArray[np.int64],
        rows: NDArray[np.int64],
        returns: NDArray[np.float64],
        numbers: NDArray[np.float64],
        known: Known,
    ) -> None:
        self.asked: list[Job] = []
        self.due: list[Job] = []
        #: Places in the outcome after which a volatility has new parameters, and which.
        self.swapped: list[tuple[int, GarchParameters]] = []
        self.drifted = 0  #: how many times a row asked since it had drifted
        self._models, self._state = models, state
        self._at, self._rows, self._returns, self._numbers, self._known = at, rows, returns, numbers, known
        self._done = 0
        self._outcomes: list[BarOutcome] = []

    @property
    def done(self) -> bool:
        """Whether all bars have been taken."""
        return bool(self._outcomes) and self._done == len(self._rows)

    def advance(self) -> None:
        """Take the next stretch."""
        models, state, begin = self._models, self._state, self._done
        end = begin + models.stretch(state, self._rows[begin:], self._returns[begin:])
        part = slice(begin, end)
        outcome, asking, due, drifted = models.segment(
            state, self._at[part], self._rows[part], self._returns[part], self._numbers[part], self._known.part(part)
        )
        self._done = end
        self.drifted += drifted
        self._outcomes.append(outcome)
        self.asked = [models.job(state, row) for row in asking.tolist()]
        self.due = [models.job(state, row) for row in due.tolist()]

    def swap(self, found: Sequence[Refitted]) -> None:
        """Use what the jobs in `due` found, in their order."""
        rows = [job.row for job in self.due]
        for row, parameters in zip(rows, found, strict=True):
            self._models.swap(self._state, row, parameters)
        if rows:
            outcome = self._outcomes[-1]
            first = self._done - len(outcome)
            garch = {job.row: new.garch for job, new in zip(self.due, found, strict=True) if new.garch is not None}
            for place in self._models.amend(self._state, outcome, np.array(rows)).tolist():
                if (row := int(outcome.rows[place])) in garch:
                    self.swapped.append((first + place, garch[row]))
        self.asked, self.due = [], []

    def outcome(self) -> BarOutcome:
        """What is known of all bars."""
        if len(self._outcomes) == 1:
            return self._outcomes[0]
        joined = (np.concatenate([getattr(part, f.name) for part in self._outcomes]) for f in fields(BarOutcome))
        return BarOutcome(*joined)
