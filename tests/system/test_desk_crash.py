"""The application dies while a checkpoint is written: outputs and state are those of a run that nobody disturbed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.system.brokers import Kafka
from tests.system.desk import PURCHASES, Desk, counts, purchases, tables
from tests.system.workers import WorkerProcess
from tsrec_models.risk.surveillance_state import ACCOUNT, SYMBOL

pytestmark = [pytest.mark.system, pytest.mark.kafka, pytest.mark.timeout(240)]

#: Tables whose rows are compared column by column, without the offsets of topics that a crash lengthens.
EXACT = {
    "users": (
        "recent.fill",
        "recent.item",
        "recent.ts",
        "recent.kind",
        "purchases_28d.newest",
        "purchases_28d.ring",
    ),
    "symbols": ("begun", "owned", "bars", "watch"),
    "symbol-models": ("told", "models"),
    "bar-anomalies": ("begun", "volume", "trades", "change"),
    "scenarios": ("begun", "last", "close", "state"),
    "account-population": ("values",),
    "demand-counts": ("window", "count"),
}

#: Tables in which the checkpoint breaks off: one with another that numbers its items, one with others beside it whose
#: rows know no offsets. DESK_CRASH_TABLES=all, or some names, for a sweep.
TABLES = ["users", "symbol-models"]
if named := os.environ.get("DESK_CRASH_TABLES"):
    TABLES = list(tables(Desk("nowhere:1", "x").env)) if named == "all" else named.split(",")

_FORECAST = ("mean", "lower", "upper", "var_99", "value")

Rows = dict[tuple[int, bytes], np.void]


@dataclass
class Left:
    """What a run leaves on the broker."""

    state: dict[str, Rows]
    forecasts: list[dict[str, Any]]
    alerts: list[dict[str, Any]]
    decisions: list[dict[str, Any]]


async def run(desk: Desk, folder: Path, dies_after: str | None) -> Left:
    """Have the backlog processed: by one worker, or by one that dies and another."""
    await desk.fill()
    second = WorkerProcess(folder, f"{desk.name}-second", "-m", "stream_app.cli", "worker", **desk.env)
    if dies_after is not None:
        now = folder / "now"
        first = WorkerProcess(
            folder, f"{desk.name}-first", "-m", "tests.system.dies_within", "worker",
            DIES_WHEN=str(now), DIES_AFTER=dies_after, **desk.env,
        ).start()  # fmt: skip
        try:
            first.wait_for_log("worker ready", 90)
            deadline = time.monotonic() + 60
            # Whichever comes first: on a machine that is cold or busy purchases go ahead of forecasts.
            while await desk.done("forecasts") < 200 and await desk.done("recommendations") < 0.2 * PURCHASES:
                assert time.monotonic() < deadline, first.log()[-3000:]
                await asyncio.sleep(0.1)
            now.touch()
            # It dies only where there are rows of the table to be written: the backlog is not over.
            assert first.wait(20) == -signal.SIGKILL, first.log()[-3000:]
        finally:
            first.close()
    second.start()
    try:
        second.wait_for_log("worker ready", 90)
        await desk.settled()
        assert second.terminate() == 0, second.log()[-3000:]
    finally:
        second.close()
    assert await desk.outputs("dead-letters") == []
    state = {name: await desk.state(table) for name, table in tables(desk.env).items()}
    return Left(
        state, await desk.outputs("forecasts"), await desk.outputs("risk-alerts"), await desk.outputs("recommendations")
    )


@pytest.fixture(scope="module")
def undisturbed(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Left:
    return asyncio.run(run(Desk(kafka.bootstrap, "undisturbed"), Path(tmp_path_factory.mktemp("desk")), None))


def same_rows(name: str, got: Rows, expected: Rows, columns: Iterable[str]) -> None:
    assert got.keys() == expected.keys(), name
    for column in columns:
        mine = np.stack([got[key][column] for key in expected])
        theirs = np.stack([expected[key][column] for key in expected])
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12, err_msg=f"{name}.{column}")


def same_records(name: str, got: Rows, expected: Rows, dtype: np.dtype[Any]) -> None:
    """Rows that hold a structured record, without the offsets of topics that a crash lengthens."""
    assert got.keys() == expected.keys(), name
    mine, theirs = (
        np.concatenate([np.atleast_1d(rows[key]["state"].view(dtype)) for key in expected]) for rows in (got, expected)
    )
    for field in dtype.names or ():
        if "source" not in field and field not in ("unrealised", "exposure", "top_exposure", "top_symbol"):
            np.testing.assert_allclose(mine[field], theirs[field], rtol=1e-9, atol=1e-9, err_msg=f"{name}.{field}")


def of_symbols(forecasts: list[dict[str, Any]]) -> dict[tuple[str, float], set[tuple[float, ...]]]:
    found = defaultdict(set)
    for one in forecasts:
        if one["step_s"] == 2.0:
            found[one["subject"], one["ts"]].add(tuple(round(one.get(name) or 0.0, 9) for name in _FORECAST))
    return found


def sources(decisions: list[dict[str, Any]]) -> set[str]:
    return {one["source"].split("-", 1)[1] for one in decisions}


def same_outputs(name: str, got: Any, expected: Any) -> None:
    if isinstance(got, dict):
        got, expected = (
            {(*key, *value) for key, values in found.items() for value in values} for found in (got, expected)
        )
    missing, more = sorted(expected - got), sorted(got - expected)
    assert not missing, f"{len(missing)} missing {missing[:3]}, {len(more)} more {more[:3]}"
    assert not more, f"{len(more)} more {more[:3]}"


def told(alerts: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    return {(a["kind"], a["subject"], a["severity"], a["status"], a["first_ts"], round(a["value"], 6)) for a in alerts}


def same_demand(state: Rows) -> None:
    """The counts of each item and window are those of the purchases."""
    expected = counts(purchases())
    found = {}
    for (_, item), row in state.items():
        size = len(row["ring"])
        for window in range(int(row["first"]), int(row["newest"]) + 1):
            if row["ring"][window % size]:
                found[item.decode(), window] = int(row["ring"][window % size])
    wrong = {key: (found.get(key), n) for key, n in expected.items() if found.get(key) != n}
    assert not wrong, f"{len(wrong)} of {len(expected)}: {list(wrong.items())[:5]}"


def same_trends(got: Rows, expected: Rows) -> None:
    assert got.keys() == expected.keys()
    for name in ("number", "rule_ids"):
        assert np.array_equal(
            np.stack([got[k][name] for k in expected]), np.stack([expected[k][name] for k in expected])
        )
    for weight, landmark in (("rule_totals", "rule_landmark"), ("trend_weight", "trend_landmark")):
        half_life_s = 3 * 86_400.0 if weight == "trend_weight" else None
        for key, row in expected.items():
            shift = got[key][landmark] - row[landmark]
            if half_life_s is not None:
                np.testing.assert_allclose(got[key][weight], row[weight] * 2 ** (-shift / half_life_s), rtol=1e-6)
            elif shift == 0:
                np.testing.assert_allclose(got[key][weight], row[weight], rtol=1e-6, err_msg=str(key))


def differences(left: Left, undisturbed: Left) -> list[str]:
    """What of a run is not as in another, in words."""
    checks: list[tuple[Any, ...]] = [
        (same_rows, name, left.state[name], undisturbed.state[name], columns) for name, columns in EXACT.items()
    ]
    checks += [
        (same_records, "accounts", left.state["accounts"], undisturbed.state["accounts"], ACCOUNT),
        (same_records, "traded-symbols", left.state["traded-symbols"], undisturbed.state["traded-symbols"], SYMBOL),
        (same_trends, left.state["items"], undisturbed.state["items"]),
        (same_demand, left.state["item-demand"]),
        (same_outputs, "forecasts", of_symbols(left.forecasts), of_symbols(undisturbed.forecasts)),
        (same_outputs, "alerts", told(left.alerts), told(undisturbed.alerts)),
        (same_outputs, "decisions", sources(left.decisions), sources(undisturbed.decisions)),
    ]
    found = []
    for check, *arguments in checks:
        try:
            check(*arguments)
        except AssertionError as error:
            found.append(f"{check.__name__} {arguments[0] if isinstance(arguments[0], str) else ''}: {error}")
    return found


@pytest.mark.parametrize("dies_after", TABLES)
async def test_a_worker_that_dies_while_a_table_is_written_changes_nothing(
    kafka: Kafka, tmp_path: Path, name: str, undisturbed: Left, dies_after: str
) -> None:
    left = await run(Desk(kafka.bootstrap, f"{name}desk"), tmp_path, dies_after)
    assert not differences(left, undisturbed)
