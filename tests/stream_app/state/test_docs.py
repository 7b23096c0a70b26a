"""What docs/state.md shows runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from stream_app.batch import Batch
from stream_app.rehearsal import rehearsal_batch
from topics.columns import decode_columns

PAGE = Path(__file__).parents[3] / "docs" / "state.md"


async def test_the_examples_run_and_the_agent_counts() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 4
    names: dict[str, Any] = {"__name__": __name__}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec", dont_inherit=True), names)
    clicks, counts = names["clicks"], names["counts"]
    records = rehearsal_batch(clicks, 2)
    batch = Batch(clicks, records, decode_columns(clicks.type, records.values))
    for _ in range(2):  # the second time is a replay
        await names["count"](batch)
        (user, *_) = batch.columns.user_id.tolist()
        known = counts.get(user)
        assert known is not None
        assert list(known["tumbling"].values()) == [len(records)]
        assert known["last_event_ts"] == float(np.max(batch.columns.ts))
