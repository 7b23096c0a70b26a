"""Payments of four partitions in a backlog: whatever the interleaving, scores are those of the order of event time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faust.types import TP

from stream_app.agents import payment_order
from tests.stream_app.agents.desk import Desk
from tests.stream_app.agents.test_card_fraud import START, desk_of, folder, payments, records
from topics.events import CardTransaction, FraudLabel
from tsrec_models.risk.fraud_features import FraudFeatures
from tsrec_models.risk.fraud_model import FraudModel

__all__ = ["folder"]  # the trained model

PARTITIONS = 4
AN_HOUR_AGO = time.time() - 3600.0


class Log:
    """Partitions that were written before anything is read: `ends` records each."""

    def __init__(self, ends: list[int], generation: int = 1) -> None:
        self.ends = ends
        self.generation = generation
        self.read = [0] * len(ends)

    def is_end(self, tp: TP, offset: int) -> bool:
        return offset >= self.ends[tp.partition]

    def is_read(self, tp: TP) -> bool:
        return self.read[tp.partition] >= self.ends[tp.partition]


class Backlog:
    """The payments of each partition, handed over in batches of any size, in any order of partitions."""

    def __init__(self, desk: Desk, data: dict[str, Any], empty: tuple[int, ...] = ()) -> None:
        self.desk = desk
        self.lines: list[list[CardTransaction]] = [[] for _ in range(PARTITIONS)]
        used = [p for p in range(PARTITIONS) if p not in empty]
        for record in records(data, slice(0, None)):
            self.lines[used[int(record.account_id[5:]) % len(used)]].append(record)
        self.log = Log([len(line) for line in self.lines])
        self.attach()

    def attach(self) -> None:
        self.desk.desk.fraud.timer.clocks.ends = self.log  # type: ignore[union-attr, assignment]

    async def read(self, partition: int, n: int, stamped_s: float | None = AN_HOUR_AGO) -> None:
        begin = self.log.read[partition]
        part = self.lines[partition][begin : begin + n]
        if part:
            await self.desk.send("card-transactions", part, partition, stamped_s)
            self.log.read[partition] += len(part)

    async def read_all(self, rng: np.random.Generator, most: int = 80) -> None:
        while self.left:
            await self.read(int(rng.choice(self.left)), int(rng.integers(1, most)))

    @property
    def left(self) -> list[int]:
        return [p for p in range(PARTITIONS) if self.log.read[p] < self.log.ends[p]]


def streamed(desk: Desk, n: int) -> np.ndarray:
    out = np.full(n, np.nan)
    for score in desk.sent["fraud-scores"]:
        i = int(score.transaction_id[2:])
        assert np.isnan(out[i]), f"payment {i} is scored twice"
        out[i] = score.probability
    return out


def offline(folder: Path, data: dict[str, Any]) -> np.ndarray:
    x = FraudFeatures().update(data["card"], data["merchant"], data["ts"], data["amount"])
    return FraudModel.load(folder).predict(x)


@pytest.mark.parametrize("seed", range(4))
async def test_any_interleaving_of_partitions_gives_the_scores_of_the_order_of_time(folder: Path, seed: int) -> None:
    data = payments(3, 20 + seed)
    desk = desk_of(folder)
    backlog = Backlog(desk, data)
    await desk.tick(0, 1, 2, 3)
    await backlog.read_all(np.random.default_rng(seed))
    np.testing.assert_allclose(streamed(desk, len(data["ts"])), offline(folder, data), rtol=1e-9)
    assert desk.metrics.unordered._value.get() == 0
    desk.close()


async def test_one_partition_whole_after_the_other_gives_them_too(folder: Path) -> None:
    data = payments(2, 30)
    desk = desk_of(folder)
    backlog = Backlog(desk, data)
    for partition in (2, 0, 3, 1):
        await backlog.read(partition, 10_000)
    np.testing.assert_allclose(streamed(desk, len(data["ts"])), offline(folder, data), rtol=1e-9)
    desk.close()


async def test_a_partition_without_payments_holds_nobody_up_once_its_worker_has_looked(folder: Path) -> None:
    data = payments(1, 31)
    desk = desk_of(folder)
    backlog = Backlog(desk, data, empty=(3,))
    await backlog.read_all(np.random.default_rng(1))
    assert len(desk.sent["fraud-scores"]) == 0
    await desk.tick(3)
    np.testing.assert_allclose(streamed(desk, len(data["ts"])), offline(folder, data), rtol=1e-9)
    desk.close()


async def test_while_all_keep_up_nothing_waits_and_nothing_is_told(folder: Path) -> None:
    data = payments(1, 32)
    desk = desk_of(folder)
    backlog = Backlog(desk, data)
    backlog.log.read = list(backlog.log.ends)
    await desk.tick(0, 1, 2, 3)
    told = desk.offsets["transactions-by-merchant", 0]
    assert told == PARTITIONS
    backlog.log.read = [0] * PARTITIONS
    for k in range(40):
        await backlog.read(k % PARTITIONS, 1, time.time())
        assert len(desk.sent["fraud-scores"]) == k + 1
    assert sum(desk.offsets["transactions-by-merchant", p] for p in range(PARTITIONS)) == PARTITIONS * told + 40
    desk.close()


async def test_after_a_rebalance_the_words_of_the_generation_before_count_no_more(folder: Path) -> None:
    data = payments(2, 33)
    desk = desk_of(folder)
    backlog = Backlog(desk, data)
    ends, backlog.log.ends = backlog.log.ends, [0] * PARTITIONS
    await desk.tick(0, 1, 2, 3)  # all keep up
    backlog.log.ends = ends  # everybody was away, and payments were written
    backlog.log.generation = 2
    await backlog.read(0, 10_000)
    assert not desk.sent["fraud-scores"]
    for partition in (3, 1, 2):
        await backlog.read(partition, 10_000)
    np.testing.assert_allclose(streamed(desk, len(data["ts"])), offline(folder, data), rtol=1e-9)
    desk.close()


async def test_a_crash_in_a_backlog_loses_nothing_that_waits_and_scores_nothing_twice(folder: Path) -> None:
    data = payments(3, 34)
    desk = desk_of(folder)
    backlog = Backlog(desk, data)
    rng = np.random.default_rng(2)
    await desk.tick(0, 1, 2, 3)
    for _ in range(12):
        await backlog.read(int(rng.integers(0, 3)), 40)  # partition 3 is behind
    desk.checkpoint()
    held = sum(len(shard) for shard in desk.desk.fraud.order.held.shards.values())  # type: ignore[union-attr]
    assert held > 100
    await desk.crash()
    backlog.attach()
    backlog.log.generation = 2
    await backlog.read_all(rng)
    np.testing.assert_allclose(streamed(desk, len(data["ts"])), offline(folder, data), rtol=1e-9)
    desk.checkpoint()
    assert all(len(shard) == 0 for shard in desk.desk.fraud.order.held.shards.values())  # type: ignore[union-attr]
    desk.close()


async def test_records_read_again_that_still_wait_are_one_payment(folder: Path) -> None:
    data = payments(1, 35)
    desk = desk_of(folder)
    backlog = Backlog(desk, data)
    await desk.tick(0, 1, 2, 3)
    await backlog.read(0, 30)
    desk.checkpoint()
    at = {key: offset for key, offset in desk.offsets.items() if key[0] == "transactions-by-merchant"}
    await backlog.read(1, 30)
    await desk.crash()  # cards' rows are those of the checkpoint: partition 1 is read again, and sent on again
    backlog.attach()
    desk.offsets["card-transactions", 1], backlog.log.read[1] = 0, 0
    assert any(desk.offsets[key] > offset for key, offset in at.items())
    await backlog.read_all(np.random.default_rng(3))
    np.testing.assert_allclose(streamed(desk, len(data["ts"])), offline(folder, data), rtol=1e-9)
    desk.close()


async def test_a_partition_that_stands_still_holds_nobody_up_for_ever(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = payments(1, 36)
    desk = desk_of(folder)
    backlog = Backlog(desk, data)
    await backlog.read(0, 10_000, time.time() - 5.0)
    assert not desk.sent["fraud-scores"]
    await desk.tick()
    assert not desk.sent["fraud-scores"]
    clock = time.time
    monkeypatch.setattr(payment_order.time, "time", lambda: clock() + 6.0)
    await desk.tick()  # older than they were when they were read
    assert len(desk.sent["fraud-scores"]) == backlog.log.ends[0]
    assert desk.metrics.unordered._value.get() == backlog.log.ends[0]
    desk.close()


async def test_no_more_than_so_many_wait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payment_order, "HELD_MOST", 50)
    data = payments(2, 37)
    desk = desk_of(folder)
    backlog = Backlog(desk, data)
    await desk.tick(0, 1, 2, 3)
    for _ in range(10):
        await backlog.read(0, 20)
    desk.checkpoint()
    assert all(len(shard) <= 50 for shard in desk.desk.fraud.order.held.shards.values())  # type: ignore[union-attr]
    await backlog.read_all(np.random.default_rng(4))
    assert not np.isnan(streamed(desk, len(data["ts"]))).any()
    desk.close()


async def test_a_label_waits_for_the_payments_before_it_became_known(folder: Path) -> None:
    data = payments(2, 38)
    desk = desk_of(folder)
    backlog = Backlog(desk, data)
    await desk.tick(0, 1, 2, 3)
    shops = {record.merchant_id for line in backlog.lines for record in line}
    known = START + 86_400.0
    labels = [FraudLabel("card-1", shop, START + 10.0, True, known, 5.0) for shop in sorted(shops)]
    await desk.send("fraud-labels", labels, 1, AN_HOUR_AGO)
    await backlog.read_all(np.random.default_rng(5))
    got, expected = streamed(desk, len(data["ts"])), offline(folder, data)
    before = data["ts"] < known
    others = data["card"] != 1  # the label is known at the card when it comes
    np.testing.assert_allclose(got[before & others], expected[before & others], rtol=1e-9)
    assert (got[~before & others] != expected[~before & others]).any()
    desk.close()
