"""Account risk in the stream: re-keyed trades, evidence that can be looked up, exact positions through crashes."""

from __future__ import annotations

import numpy as np
import pytest

from stream_app.agents.origins import origin_headers, origins_of
from stream_app.transport.builder import encode_headers
from tests.stream_app.agents.desk import Desk, record_batch
from topics import wire
from topics.events import Trade
from topics.spans import Spans

START = 1_700_000_000.0


def washing(account: str, pairs: int = 5, size: float = 7.313) -> list[Trade]:
    """Buys and sells of one size and price within a second of each other."""
    return [
        Trade("SYM-0", 100.0, size, START + 60.0 + 10.0 * k + 0.5 * (side == "sell"), account, side)
        for k in range(pairs)
        for side in ("buy", "sell")
    ]


def honest(n: int = 400, seed: int = 1, accounts: int = 40) -> list[Trade]:
    rng = np.random.default_rng(seed)
    ts = START + np.sort(rng.uniform(0, 300, n))
    sizes = rng.lognormal(0, 1, n).round(3) + 0.001
    return [
        Trade("SYM-0", 100.0 + 0.01 * float(i % 7), float(sizes[i]), float(ts[i]), f"acc-{rng.integers(accounts)}",
              ("buy", "sell")[i % 2])
        for i in range(n)
    ]  # fmt: skip


async def test_trades_come_to_the_partition_of_their_account_and_those_without_one_stay_away() -> None:
    desk = Desk()
    trades = honest(200)
    trades += [Trade("SYM-0", 100.0, 1.0, START + 301.0)]
    await desk.send("trades", trades, partition=2)
    assert sum(desk.offsets["trades-by-account", p] for p in range(4)) == 200
    held = {p: set(desk.desk.accounts.accounts.shard(p).index.keys(
        desk.desk.accounts.accounts.shard(p).live_rows()).tolist()) for p in range(4)}  # fmt: skip
    assert sum(len(keys) for keys in held.values()) == len({t.account_id for t in trades if t.account_id})
    assert sum(bool(keys) for keys in held.values()) > 1


async def test_wash_trades_are_alerted_with_the_trades_that_made_them() -> None:
    desk = Desk()
    trades = sorted(honest() + washing("washer"), key=lambda t: t.ts)
    await desk.send("trades", trades, partition=1)
    alerts = [a for a in desk.alerts() if a.kind == "wash_trade"]
    assert {a.subject for a in alerts} == {"washer"}
    assert {a.subject for a in desk.alerts()} == {"washer"}
    first = alerts[0]
    assert first.value >= first.threshold
    evidence = first.evidence["trades"]
    assert {t["account_id"] for t in evidence} == {"washer"}
    assert {t["side"] for t in evidence} == {"buy", "sell"}
    assert all(t["source"].startswith("trades-by-account:") and t["symbol"] == "SYM-0" for t in evidence)
    assert len({a.alert_id for a in alerts}) == 1
    assert alerts[-1].severity == "critical"
    assert "wash_trade" in (desk.desk.alerts.gate.withheld("washer") or "")
    assert desk.desk.alerts.gate.withheld("acc-1") is None


async def test_a_trade_that_was_sent_on_twice_counts_once() -> None:
    """A worker that crashed after sending, before its commit, sends the same trades again: at other offsets."""
    once, twice = Desk(), Desk()
    trades = [Trade("SYM-0", 100.0, 3.0, START + k, "one", "buy") for k in range(10)]
    headers = origin_headers(3, np.arange(50, 60))
    part = Spans(headers.data, headers.start[4:], headers.end[4:])
    await once.send("trades-by-account", trades, headers=headers)
    await twice.send("trades-by-account", trades, headers=headers)
    await twice.send("trades-by-account", trades[4:], headers=part)
    for desk in (once, twice):
        watch = desk.desk.accounts.partition(0).watch
        (position,) = watch.positions_of(np.zeros(1, np.int64))
        assert position["quantity"] == 30.0
    # From another partition, or from no worker of ours, it is another trade.
    await twice.send("trades-by-account", trades[:1], headers=origin_headers(2, np.array([50])))
    await twice.send("trades-by-account", trades[:1])
    (position,) = twice.desk.accounts.partition(0).watch.positions_of(np.zeros(1, np.int64))
    assert position["quantity"] == 36.0


def test_origins_survive_the_wire_among_foreign_headers() -> None:
    ours = origin_headers(3, np.array([17, 1 << 40]))
    foreign = Spans.of([encode_headers([("other.header", bytes(16))]), encode_headers([])])
    data = np.concatenate([ours.data, foreign.data])
    both = Spans(
        data, np.r_[ours.start, foreign.start + len(ours.data)], np.r_[ours.end, foreign.end + len(ours.data)]
    )  # fmt: skip
    batch = record_batch("trades-by-account", 0, [b"x"] * 4, headers=both)
    partitions, offsets = origins_of(batch.header_spans)
    assert partitions.tolist() == [3, 3, -1, -1]
    assert offsets.tolist() == [17, 1 << 40, -1, -1]
    assert batch.headers(0)[0][0] == "tsrec.origin"


async def test_a_crash_loses_no_order_no_position_and_no_alert() -> None:
    trades = sorted(honest(600) + washing("washer", pairs=8), key=lambda t: t.ts)
    whole, desk = Desk(), Desk()
    for k in range(0, len(trades), 50):
        await whole.send("trades", trades[k : k + 50])
    for k in range(0, 300, 50):
        await desk.send("trades", trades[k : k + 50])
    desk.checkpoint()
    await desk.crash()
    desk.metrics = desk.desk.alerts.metrics
    for k in range(300, len(trades), 50):
        await desk.send("trades", trades[k : k + 50])
    assert desk.alerts(None) == whole.alerts(None)
    assert len(whole.alerts()) > 0
    for partition in range(4):
        got, expected = (d.desk.accounts.partition(partition) for d in (desk, whole))
        assert got.account_numbers.next == expected.account_numbers.next
        numbers = np.arange(expected.account_numbers.next)
        if not len(numbers):
            continue
        assert [got.account_numbers.name(k) for k in numbers] == [expected.account_numbers.name(k) for k in numbers]
        for name in ("ring_ts", "ring_quantity", "wash_score", "realised", "peak", "velocity_counts"):
            np.testing.assert_allclose(
                got.watch.accounts[name][numbers], expected.watch.accounts[name][numbers], err_msg=name
            )
        mine, theirs = got.watch.positions_of(numbers), expected.watch.positions_of(numbers)
        np.testing.assert_allclose(mine["quantity"], theirs["quantity"])
        np.testing.assert_allclose(mine["cost"], theirs["cost"])


async def test_a_batch_that_is_read_again_changes_nothing() -> None:
    desk = Desk()
    trades = [Trade("SYM-0", 100.0, 3.0, START + k, "one", "buy") for k in range(10)]
    await desk.send("trades-by-account", trades)
    before = desk.state()
    await desk.deliver("trades-by-account", wire.encode(trades), 0, 0)
    assert desk.state() == before


async def test_an_account_that_loses_is_alerted_though_it_does_nothing_itself() -> None:
    desk = Desk(surveillance={"loss_limit": 1000.0, "drawdown_limit": 1000.0})
    await desk.send("trades-by-account", [Trade("SYM-0", 100.0, 100.0, START, "holder", "buy")])
    others = [Trade("SYM-0", 100.0 - k, 1.0, START + 2.0 * k, f"other-{k}", "sell") for k in range(1, 15)]
    await desk.send("trades-by-account", others)
    (alert,) = [a for a in desk.alerts() if a.kind == "loss_limit"]
    assert alert.subject == "holder"
    desk.checkpoint()
    await desk.crash()  # what the marking changed is in the row, though the account had no event
    back = [Trade("SYM-0", 99.5, 1.0, START + 40.0 + 2 * k, "other-1", "buy") for k in range(3)]
    await desk.send("trades-by-account", back)
    assert [a.status for a in desk.alerts(None) if a.subject == "holder"] == ["firing", "resolved"]


async def test_more_positions_than_a_row_holds_keep_the_largest() -> None:
    desk = Desk()
    trades = [Trade(f"SYM-{k}", 100.0, 1.0 + k, START + k, "one", "buy") for k in range(70)]
    await desk.send("trades-by-account", trades)
    desk.checkpoint()
    await desk.crash()
    held = desk.desk.accounts.partition(0).watch.positions_of(np.zeros(1, np.int64))
    assert sorted(held["quantity"].tolist()) == pytest.approx([1.0 + k for k in range(6, 70)])
