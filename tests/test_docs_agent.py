"""The agent of `docs/your-own-agent.md` does what it says, and takes no trade twice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from tests.stream_app.agents.conftest import batch_of
from topics.events import Trade

PAGE = Path(__file__).resolve().parents[1] / "docs" / "your-own-agent.md"


def agent() -> dict[str, Any]:
    """The names that its code defines."""
    (code,) = re.findall(r'```python title="an agent"\n(.*?)```', PAGE.read_text(), re.S)
    names: dict[str, Any] = {"__name__": "page"}
    exec(code, names)
    return names


async def test_turnover_is_summed_by_symbol_and_a_replay_adds_nothing() -> None:
    names = agent()
    await names["app"].rehearse()
    rows = [("A", 10.0, 2.0), ("B", 5.0, 1.0), ("A", 11.0, 1.0)]
    trades = [Trade(symbol, price, quantity, 1000.0 + i) for i, (symbol, price, quantity) in enumerate(rows)]
    for _ in range(2):  # the second time as after a crash
        batch = batch_of(names["trades"], trades, partition=1)
        await names["turnover"](batch)
        (sent,) = batch.outgoing
        told = dict(zip(sent.keys.tolist(), sent.values.tolist(), strict=True))
        assert told == {b"A": b'{"sum":31.00}', b"B": b'{"sum":5.00}'}
    assert np.isclose(names["totals"].shard(1).column("sum").sum(), 36.0)
