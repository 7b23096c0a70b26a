"""Input drift: whether what a model is asked about is still what it was trained on -> metric and alert."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from stream_app.batch import Batch
from stream_app.metrics import Metrics
from stream_app.state.columns import Column, Columns
from stream_app.state.table import Table
from topics.spans import Spans
from tsrec_models.risk.alerts import Rule, Signal
from tsrec_models.risk.drift_panel import DRIFTED, DriftPanel

__all__ = ["INPUT_DRIFT", "InputDrift", "drift_columns", "drift_rule"]

INPUT_DRIFT = "input_drift"

DAY_S = 86_400.0

#: The partition that watches. Keys are spread by hash, so that it sees a sample of all; one drift is one alert.
_WATCHED = 0

#: An index below this is calm again (the usual rule of thumb).
_CALM = 0.1

#: Inputs that an alert names.
_NAMED = 5


def drift_columns(panel: DriftPanel) -> Columns:
    """The row of one model."""
    return Columns(panel=Column(np.float64, (panel.width,)))


def drift_rule() -> Rule:
    """When drift is told: once a day at most."""
    return Rule(INPUT_DRIFT, DRIFTED, _CALM, cooldown_s=DAY_S)


class InputDrift:
    """Watches the inputs of the model `version` in one partition. `table` has `drift_columns` of `panel`."""

    def __init__(self, name: str, version: str, panel: DriftPanel, table: Table, metrics: Metrics) -> None:
        self.name = name
        self.version = version
        self.panel = panel
        self._table = table
        self._key = Spans.of([version.encode()])
        self._gauge = metrics.input_drift.labels(name)

    def take(
        self, batch: Batch, bins: Callable[[], NDArray[np.int64]], ts: Sequence[float]
    ) -> list[tuple[int, Signal]]:
        """Count the cases of a batch, and what there is to say of them, with the place of the case.

        bins: those of all cases [n, inputs], asked for only where they are watched; ts: event time of each.
        """
        if batch.partition != _WATCHED:
            return []
        shard = self._table.shard(batch.partition)
        row = int(shard.locate(self._key)[0])
        rows = np.full(len(batch), row)
        fresh = np.flatnonzero(shard.fresh(rows, 0, batch.offsets))  # the others were counted before a crash
        if not len(fresh):
            return []
        shard.advance(rows[fresh], 0, batch.offsets[fresh], np.array(ts)[fresh])
        signals = []
        for look in self.panel.update(shard.column("panel")[row], bins()[fresh]):
            at = int(fresh[look.at])
            self._gauge.set(float(look.psi.max()))
            moved = self.panel.drifted(look)
            value = float(look.psi[moved[0]]) if len(moved) else min(float(look.psi.max()), np.nextafter(DRIFTED, 0))
            named = {self.panel.names[k]: round(float(look.psi[k]), 3) for k in moved[:_NAMED]}
            message = (
                f"{self.name} model {self.version}: inputs are not those of its training any more: "
                + ", ".join(f"{name} (index {index})" for name, index in named.items())
                + f"; over the latest {self.panel.window} cases"
            )
            signals.append(
                (at, Signal(INPUT_DRIFT, self.version, value, ts[at], batch.source(at), message,
                                 {"psi": named, "inputs_moved": len(moved)}))
            )  # fmt: skip
        return signals
