"""Accounts that are idle go, those that hold something stay; numbers are used again, before and after a crash."""

from __future__ import annotations

from typing import Any

import numpy as np
from faust.types import TP

from tests.stream_app.agents.desk import Desk
from topics.events import Trade

START = 1_700_000_000.0
DAY = 86_400.0


def pass_time(desk: Desk, ts: float, partition: int = 0) -> None:
    """Time of the last commit, by which rows are evicted; and a checkpoint."""
    desk.app.event_time.settled[TP("trades-by-account", partition)] = ts
    desk.checkpoint()


def order(account: str, ts: float, side: Any = "buy", quantity: float = 2.0) -> Trade:
    return Trade("SYM-0", 100.0, quantity, ts, account, side)


async def opened() -> Desk:
    """Three accounts: one flat, one that holds a position, one that came late."""
    desk = Desk(surveillance={"account_retention_days": 10.0})
    await desk.send("trades-by-account", [
        order("flat", START), order("flat", START + 60, "sell"), order("holder", START), order("late", START + 9 * DAY),
        order("late", START + 9 * DAY + 1, "sell"),
    ])  # fmt: skip
    desk.checkpoint()
    return desk


async def test_an_idle_account_goes_and_one_with_a_position_stays() -> None:
    desk = await opened()
    accounts = desk.desk.accounts.accounts
    pass_time(desk, START + 9 * DAY)
    assert len(accounts) == 3
    pass_time(desk, START + 12 * DAY)
    assert accounts.get("flat") is None
    assert accounts.get("holder") is not None
    assert accounts.get("late") is not None
    assert desk.log["accounts", 0][b"flat"] is None  # the changelog says so
    pass_time(desk, START + 500 * DAY)
    assert len(accounts) == 1
    state = desk.desk.accounts.partition(0)
    assert state.account_numbers.free == [0, 2]
    # The holder closes its position; then it is idle like any other.
    await desk.send("trades-by-account", [order("holder", START + 501 * DAY, "sell")])
    pass_time(desk, START + 505 * DAY)
    assert len(accounts) == 1
    pass_time(desk, START + 512 * DAY)
    assert len(accounts) == 0


async def test_a_number_that_is_used_again_knows_nothing_of_its_first_account() -> None:
    desk = await opened()
    await desk.send(
        "trades-by-account", [order("flat", START + k, side) for k in range(100, 140) for side in ("buy", "sell")]
    )
    pass_time(desk, START + 500 * DAY)
    fresh = Desk()
    for one in (desk, fresh):
        await one.send("trades-by-account", [order("new", START + 501 * DAY, quantity=3.0)])
    state, expected = (one.desk.accounts.partition(0) for one in (desk, fresh))
    assert state.account_numbers.name(0) == "new"
    for name in ("usual_orders", "wash_score", "realised", "peak", "exposure", "ring_head", "material_head"):
        assert state.watch.accounts[name][0] == expected.watch.accounts[name][0], name
    held = state.watch.positions_of(np.arange(3))
    assert held["quantity"].tolist() == [3.0, 2.0]
    assert held["account"].tolist() == [0, 1]


async def test_a_crash_after_an_eviction_gives_the_same_numbers_and_state() -> None:
    more = [order(f"acc-{k}", START + 501 * DAY + k, quantity=1.0 + k) for k in range(6)]
    desks = []
    for crashes in (False, True):
        desk = await opened()
        pass_time(desk, START + 500 * DAY)
        if crashes:
            await desk.crash()
        await desk.send("trades-by-account", more[:3])
        desk.checkpoint()
        if crashes:
            await desk.crash()
        await desk.send("trades-by-account", more[3:])
        desks.append(desk)
    one, other = (desk.desk.accounts.partition(0) for desk in desks)
    for field in one.watch.accounts.dtype.names or ():
        np.testing.assert_array_equal(one.watch.accounts[field][:7], other.watch.accounts[field][:7], err_msg=field)
    held, expected = (state.watch.positions_of(np.arange(7)) for state in (one, other))
    assert held.tolist() == expected.tolist()
    names = [[d.desk.accounts.partition(0).account_numbers.name(k) for k in range(7)] for d in desks]
    assert names[0] == names[1] == ["acc-0", "holder", "acc-1", "acc-2", "acc-3", "acc-4", "acc-5"]


async def test_many_accounts_come_and_go_in_bounded_memory() -> None:
    desk = Desk(surveillance={"account_retention_days": 1.0})
    for day in range(12):
        ts = START + 2.0 * day * DAY
        names = [f"acc-{day}-{k}" for k in range(50)]
        await desk.send(
            "trades-by-account", [order(n, ts + side, s) for side, s in enumerate(("buy", "sell")) for n in names]
        )
        desk.checkpoint()
        pass_time(desk, ts)
    assert len(desk.desk.accounts.accounts) == 50
    assert desk.desk.accounts.partition(0).account_numbers.next == 100
