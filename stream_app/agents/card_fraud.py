"""Card fraud: payments at their merchant, scored by the trained model -> `fraud-scores`, warnings -> `risk-alerts`.

How many warnings a day a desk can look at is a setting; the threshold follows from the scores of past days.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from stream_app.agents.alert_rows import read_rows, write_rows
from stream_app.agents.alerts import Alerts
from stream_app.agents.card_side import card_features_of, key_codes
from stream_app.agents.input_drift import InputDrift, drift_rule
from stream_app.agents.origins import first_seen
from stream_app.agents.payment_clocks import PaymentTimer
from stream_app.agents.payment_order import PaymentOrder
from stream_app.batch import Batch, BatchTopic
from stream_app.inference import Inference
from stream_app.metrics import Metrics
from stream_app.rehearsal import NOWHERE
from stream_app.settings_risk import FraudSettings
from stream_app.state.columns import Column, Columns
from stream_app.state.shard import Shard
from stream_app.state.table import Table
from topics.columns import encode_columns
from topics.decisions import FraudScore, decision_id
from topics.spans import Spans
from tsrec_models.risk.alerts import Rule, Signal
from tsrec_models.risk.alerts_budget import RollingBudget
from tsrec_models.risk.fraud_kernel import FEATURES
from tsrec_models.risk.fraud_model import FraudModel
from tsrec_models.risk.fraud_sides import MERCHANT_WIDTH, merchant_side

__all__ = ["CARD_FRAUD", "CHANNEL", "WATCHED_INPUTS", "CardFraud", "fraud_rules", "merchant_columns"]

#: The alert book of this agent.
CHANNEL = "fraud"

CARD_FRAUD = "card_fraud"

#: A warning of a card is over, and may come again, after an hour: what a desk counts as one warning.
_HOUR_S = 3600.0

#: From this probability on a warning is critical.
_CRITICAL = 0.9

#: Scores below this are no candidates for a warning, whatever the threshold.
_LEAST = 0.001

#: Inputs that are watched for drift: those that mean the same at any hour, and however long the stream has run.
WATCHED_INPUTS = ("amount", "amount_to_usual", "amount_deviation", "merchant_amount_deviation")

#: Highest scores of a day that a partition remembers.
_KEPT = 128

#: Values of features and amounts that a sentence shows.
_REASONS = 3


def merchant_columns(partitions: int) -> Columns:
    """A merchant: 2.5 KB. partitions: of the topics that its payments and labels come from."""
    return Columns(
        origin=Column(np.int64, (2 * partitions,), -1), state=Column(np.float64, (MERCHANT_WIDTH,))
    )  # fmt: skip


def fraud_rules() -> list[Rule]:
    """Rules of this agent's alerts."""
    return [Rule(CARD_FRAUD, 1.0, quiet_s=_HOUR_S, cooldown_s=_HOUR_S, relative=True), drift_rule()]


class CardFraud:
    """The agent of `transactions-by-merchant`."""

    def __init__(
        self,
        *,
        merchants: Table,
        order: PaymentOrder,
        budgets: Table,
        model: FraudModel,
        version: str,
        drift: InputDrift | None,
        output: BatchTopic,
        alerts: Alerts,
        settings: FraudSettings,
        inference: Inference,
        metrics: Metrics,
    ) -> None:
        self.merchants = merchants
        self.order = order
        self.budgets = budgets
        self.model = model
        self.version = version
        self.drift = drift
        self.output = output
        self.alerts = alerts
        self.settings = settings
        self.inference = inference
        self.metrics = metrics
        #: Keeps payments of idle partitions moving; set where the application is put together.
        self.timer: PaymentTimer | None = None
        self._budgets: dict[int, tuple[Shard, RollingBudget]] = {}

    async def __call__(self, batch: Batch) -> None:
        """Step merchants, score payments, and warn. The budget is outside the tables; taking a payment in twice is the
        same as once."""
        shard = self.merchants.shard(batch.partition)
        batch, origin, offset = self.order.merge(batch)
        rows = shard.locate(batch.columns.merchant_id)
        shard.touch(rows)
        new = np.empty(len(rows), np.bool_)
        first_seen(shard.column("origin"), rows, origin, offset, new)
        batch, rows = batch.only(new), rows[new]
        if not len(batch):
            return
        paid = batch.columns
        shard.advance(rows, self.merchants.source(batch.topic.name), batch.offsets, paid.ts)
        label = np.where(paid.present("is_fraud"), np.asarray(paid.is_fraud) > 0, -1).astype(np.int8)
        x = merchant_side(
            shard.column("state"), rows, paid.ts, paid.amount, label, paid.amount_to_usual, card_features_of(paid.card)
        )
        payments = np.flatnonzero(label < 0)
        if not len(payments):
            return
        batch, x = batch.only(payments), x[payments]
        p = await self.inference.run(self.model.predict, x)
        found = await self._warn(batch, x, p)
        newest = int(np.argmax(batch.columns.ts))
        self.alerts.take(batch, CHANNEL, found, (float(batch.columns.ts[newest]), batch.source(newest)))

    async def _warn(self, batch: Batch, x: NDArray[np.float64], p: NDArray[np.float64]) -> list[Signal]:
        """Publish scores; signals of those that are warned of, and of inputs that drift, in the order of payments."""
        paid = batch.columns
        sources = [source.decode() for source in paid.source.tolist()]
        budget = self._budget(batch.partition)
        thresholds = np.empty(len(p))
        cards = key_codes(paid.account_id)
        for i, (ts, probability) in enumerate(zip(paid.ts.tolist(), p.tolist(), strict=True)):
            thresholds[i] = max(expit(budget.threshold_at(ts)), self.settings.min_probability)
            if probability >= _LEAST:
                budget.add(ts, _log_odds(probability), int(cards[i]))
        warned = np.flatnonzero((p >= thresholds) & (p >= _LEAST))
        found: list[tuple[int, Signal]] = []
        if len(warned):
            told = await self.inference.run(self.model.reasons, x[warned], _REASONS)
            for i, reasons in zip(warned.tolist(), told, strict=True):
                found.append((i, self._signal(batch, i, float(p[i]), float(thresholds[i]), sources[i], reasons, x[i])))
        if self.drift is not None:
            found += self._drift_of(batch, x, self.drift)
        self._publish(batch, p, thresholds, sources)
        found.sort(key=lambda pair: pair[0])
        return [signal for _, signal in found]

    @staticmethod
    def _drift_of(batch: Batch, x: NDArray[np.float64], drift: InputDrift) -> list[tuple[int, Signal]]:
        """Of payments whose card and merchant are known: with the others every stream begins."""
        columns = [FEATURES.index(name) for name in drift.panel.names]
        known = np.flatnonzero(np.isfinite(x[:, columns]).all(axis=1))
        found = drift.take(
            batch.only(known), lambda: drift.panel.bins(x[known][:, columns]), batch.columns.ts[known].tolist()
        )
        return [(int(known[i]), signal) for i, signal in found]

    def _signal(
        self,
        batch: Batch,
        i: int,
        p: float,
        threshold: float,
        source: str,
        reasons: list[tuple[str, float]],
        x: NDArray[np.float64],
    ) -> Signal:
        paid = batch.columns
        account, merchant = (_name(names, i) for names in (paid.account_id, paid.merchant_id))
        values = {name: float(x[FEATURES.index(name)]) for name, _ in reasons}
        because = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
        message = (
            f"{account}: {paid.amount[i]:,.2f} at {merchant} is fraud with probability {p:.2f}"
            + (f"; what raised it most: {because}" if because else "")
        )  # fmt: skip
        evidence = {
            "merchant_id": merchant, "amount": float(paid.amount[i]), "ts": float(paid.ts[i]), "reasons": values,
            "transaction_id": _name(paid.transaction_id, i) or None, "model": self.version,
        }  # fmt: skip
        severity = "critical" if p >= _CRITICAL else None
        return Signal(CARD_FRAUD, account, p, float(paid.ts[i]), source, message, evidence, threshold, severity)  # type: ignore[arg-type]

    def _publish(
        self, batch: Batch, p: NDArray[np.float64], thresholds: NDArray[np.float64], sources: list[str]
    ) -> None:
        paid = batch.columns
        values = encode_columns(
            FraudScore, decision_id=Spans.of([decision_id(source).encode() for source in sources]),
            account_id=paid.account_id, merchant_id=paid.merchant_id, ts=paid.ts, amount=paid.amount, probability=p,
            is_warning=p >= thresholds, threshold=thresholds, model=self.version, source=paid.source,
            transaction_id=paid.transaction_id,
        )  # fmt: skip
        batch.send(self.output, paid.account_id, values, rekey=True)
        if batch.partition != NOWHERE:
            self.metrics.decisions.labels("fraud", "boosted").inc(len(batch))
            self.metrics.warning_threshold.labels(CARD_FRAUD).set(float(thresholds[-1]))

    # -- the budget

    def _budget(self, partition: int) -> RollingBudget:
        """The budget of one partition; read anew where its shard was dropped and recovered."""
        shard = self.budgets.shard(partition)
        known = self._budgets.get(partition)
        if known is None or known[0] is not shard:
            budget = RollingBudget(
                self.settings.warnings_per_day / self.output.partitions, _log_odds(self.model.threshold),
                cooldown_s=_HOUR_S, keep=max(_KEPT, math.ceil(4 * self.settings.warnings_per_day)),
            )  # fmt: skip
            budget.restore(read_rows(shard, ""))
            known = self._budgets[partition] = (shard, budget)
        return known[1]

    def write_back(self) -> None:
        """Before a checkpoint: what changed, into the rows."""
        for partition, (shard, budget) in list(self._budgets.items()):
            if self.budgets.shards.get(partition) is not shard:
                del self._budgets[partition]
            elif changes := budget.take_changes():
                write_rows(shard, "", changes)


def _log_odds(p: float) -> float:
    p = min(max(p, 1e-9), 1.0 - 1e-9)
    return math.log(p / (1.0 - p))


def _name(names: Spans, i: int) -> str:
    return (names[i] or b"").decode()
