"""Card fraud in the stream: payments meet their card, then their merchant; scores, warnings, labels, crashes, drift."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.stream_app.agents.desk import Desk
from topics.events import AlertAction, CardTransaction, FraudLabel
from tsrec_models.risk.fraud_features import FEATURES, FraudFeatures
from tsrec_models.risk.fraud_model import FraudModel

DAY = 86_400.0
START = 1_700_006_400.0  # a midnight


def payments(days: int, seed: int, n_cards: int = 60, n_merchants: int = 25, per_day: int = 250) -> dict[str, Any]:
    """Cards with habits of their own; a fraud is eight times the usual amount, at night."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    ts = START + np.sort(rng.uniform(0, days * DAY, n))
    card, merchant = rng.integers(0, n_cards, n), rng.integers(0, n_merchants, n)
    usual = np.random.default_rng(7).lognormal(3, 0.6, n_cards)
    amount = usual[card] * rng.lognormal(0, 0.25, n)
    is_fraud = rng.random(n) < 0.02
    amount = np.where(is_fraud, 8.0 * usual[card], amount).round(2)
    return {"ts": ts, "card": card, "merchant": merchant, "amount": amount, "is_fraud": is_fraud}


def records(data: dict[str, Any], part: slice) -> list[CardTransaction]:
    rows = zip(*(data[name][part].tolist() for name in ("card", "merchant", "ts", "amount")), strict=True)
    first = part.start or 0
    return [
        CardTransaction(f"card-{c}", f"shop-{m}", ts, amount, f"t-{first + i}")
        for i, (c, m, ts, amount) in enumerate(rows)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = payments(20, 1)
    x = FraudFeatures().replay(data["card"], data["merchant"], data["ts"], data["amount"], data["is_fraud"])
    late = slice(len(x) // 2, None)
    folder = tmp_path_factory.mktemp("fraud")
    FraudModel.fit(x[late], data["is_fraud"][late], data["ts"][late]).save(folder)
    return folder


def desk_of(folder: Path, **settings: Any) -> Desk:
    return Desk(fraud={"model": folder, **settings})


async def deliver(desk: Desk, data: dict[str, Any], begin: int = 0, end: int | None = None, size: int = 100) -> None:
    """Payments of a card come to the card's partition, in order of time over all partitions."""
    await desk.tick(0, 1, 2, 3)
    last = len(data["ts"]) if end is None else end
    for k in range(begin, last, size):
        batch = records(data, slice(k, min(k + size, last)))
        for partition in range(4):
            if mine := [record for record in batch if int(record.account_id[5:]) % 4 == partition]:
                await desk.send("card-transactions", mine, partition)


async def test_scores_are_those_of_the_features_computed_in_one_place(folder: Path) -> None:
    data = payments(2, 2)
    desk = desk_of(folder)
    await deliver(desk, data, size=1)  # one by one, so that each merchant has them in order of time
    scores = {score.transaction_id: score for score in desk.sent["fraud-scores"]}
    assert len(scores) == len(data["ts"])
    x = FraudFeatures().update(data["card"], data["merchant"], data["ts"], data["amount"])
    expected = FraudModel.load(folder).predict(x)
    got = np.array([scores[f"t-{i}"].probability for i in range(len(expected))])
    np.testing.assert_allclose(got, expected, rtol=1e-9)
    assert got[data["is_fraud"]].mean() > 10 * got[~data["is_fraud"]].mean()
    one = scores["t-17"]
    assert one.source.startswith("card-transactions:")
    assert one.model.startswith("fraud-")
    desk.close()


async def test_a_warning_says_what_was_paid_where_and_what_raised_it(folder: Path) -> None:
    data = payments(12, 3)
    desk = desk_of(folder)
    await deliver(desk, data)
    alerts = [alert for alert in desk.alerts() if alert.kind == "card_fraud"]
    assert alerts
    frauds = {f"t-{i}" for i in np.flatnonzero(data["is_fraud"])}
    late = [alert for alert in alerts if alert.evidence["ts"] > START + 6 * DAY]
    assert np.mean([alert.evidence["transaction_id"] in frauds for alert in late]) > 0.8
    alert = late[0]
    assert alert.value >= alert.threshold
    assert alert.evidence["merchant_id"] in alert.message
    assert set(alert.evidence["reasons"]) <= set(FEATURES)
    assert alert.evidence["reasons"]
    desk.close()


async def test_the_threshold_follows_the_wanted_number_of_warnings_on_past_days(folder: Path) -> None:
    data = payments(18, 4)
    warned = {}
    for wanted in (1.0, 4.0):
        desk = desk_of(folder, warnings_per_day=wanted, min_probability=0.0)
        await deliver(desk, data, size=400)
        # Days after the budget has seen enough; a card warned twice within an hour counts once.
        scores = [s for s in desk.sent["fraud-scores"] if s.is_warning and s.ts >= START + 6 * DAY]
        warned[wanted] = len({(s.account_id, s.ts // 3600) for s in scores}) / 12
        desk.close()
    # About five frauds a day: fewer warnings than that are wanted, and given.
    assert warned[1.0] == pytest.approx(1.0, abs=0.7)
    assert warned[4.0] == pytest.approx(4.0, abs=1.5)
    assert warned[1.0] < warned[4.0]


async def test_labels_raise_the_risk_of_card_and_merchant(folder: Path) -> None:
    data = payments(5, 5)
    desk = desk_of(folder)
    await deliver(desk, data)
    known = START + 5 * DAY
    ordinary = [FraudLabel("card-1", "shop-3", START + 4 * DAY + k, True, known, 1.0) for k in range(3)]
    await desk.send("fraud-labels", ordinary, 1)
    merchants = desk.desk.fraud.merchants  # type: ignore[union-attr]
    row = merchants.get("shop-3")
    assert row is not None
    from tsrec_models.risk.fraud_kernel import ACCOUNT, MERCHANT

    merchant = np.array(row["state"]).view(MERCHANT)[0]
    assert (merchant["frauds"], merchant["run"]) == (3.0, 3.0)
    assert merchant["lately_ordinary"] > 0.4
    cards = next(table for table in desk.app.columnar_tables if table.name == "cards")
    card = np.array(cards.get("card-1")["state"]).view(ACCOUNT)[0]  # type: ignore[index]
    assert card["frauds"] == 3.0
    assert len(desk.sent["fraud-scores"]) == len(data["ts"])  # a label is not scored
    desk.close()


async def test_a_crash_loses_no_payment_counts_none_twice_and_keeps_the_threshold(folder: Path) -> None:
    data = payments(6, 6)
    whole, desk = desk_of(folder), desk_of(folder)
    await deliver(whole, data)
    half = 1000
    await deliver(desk, data, 0, half)
    desk.checkpoint()
    kept = {topic: list(sent) for topic, sent in desk.sent.items()}
    at = dict(desk.offsets)
    await deliver(desk, data, half, half + 300)
    desk.sent.clear()
    desk.sent.update(kept)
    await desk.crash()
    for (topic, partition), offset in at.items():
        if topic == "card-transactions":  # read again; what was sent on before the crash stays in its topic
            desk.offsets[topic, partition] = offset
    await deliver(desk, data, half)
    assert desk.sent["fraud-scores"] == whole.sent["fraud-scores"]
    key = [(a.kind, a.subject, a.status, a.value, a.first_ts) for a in desk.alerts(None)]
    assert key == [(a.kind, a.subject, a.status, a.value, a.first_ts) for a in whole.alerts(None)]
    whole.close()
    desk.close()


async def test_payments_of_another_kind_raise_one_alert_of_drift(folder: Path) -> None:
    data = payments(10, 7)
    desk = desk_of(folder, drift_window=400)
    calm = payments(12, 1)
    await deliver(desk, calm, size=400)
    assert [alert for alert in desk.alerts() if alert.kind == "input_drift"] == []
    data["ts"] = data["ts"] + 12 * DAY
    data["amount"] = data["amount"] * 30.0
    await deliver(desk, data, size=400)
    (drift,) = [alert for alert in desk.alerts() if alert.kind == "input_drift"]
    assert "amount" in drift.evidence["psi"]
    assert drift.subject.startswith("fraud-")
    assert desk.metrics.input_drift.labels("fraud")._value.get() > 0.25
    desk.close()


async def test_a_confirmed_warning_is_kept_as_a_label(folder: Path) -> None:
    data = payments(12, 3)
    desk = desk_of(folder)
    await deliver(desk, data)
    alert = next(alert for alert in desk.alerts() if alert.kind == "card_fraud")
    await desk.send("alert-actions", [AlertAction(alert.alert_id, "confirm", alert.last_ts + 60, "ann")], 0)
    (label,) = desk.desk.alerts.labels()
    assert (label.kind, label.confirmed, label.subject) == ("card_fraud", True, alert.subject)
    desk.close()


async def test_a_rehearsal_leaves_nothing_behind(folder: Path) -> None:
    desk = desk_of(folder)
    await desk.app.rehearse()
    assert all(len(table) == 0 for table in desk.app.columnar_tables)
    assert desk.metrics.alerts._metrics == {}
    desk.close()
