"""A worker that dies in the middle of a checkpoint: `python -m tests.system.dies_within worker …`.

Told by the environment: DIES_WHEN, a file that there is when the time has come, and DIES_AFTER, a table: the worker
dies in the next checkpoint, when the broker has the first batch of the table's rows. Rows of other tables take half a
second meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from stream_app.checkpoint import Checkpoint
from stream_app.cli import main
from stream_app.transport.outbox import Outbox

_DELAY_S = float(os.environ.get("DIES_DELAY_S", "0.5"))
_deliver, _take_rows = Outbox._deliver, Checkpoint._take_rows
_due = False


def _take_rows_in_time(self: Checkpoint, *args: Any) -> Any:
    """The beginning of a checkpoint: one that is under way when the time comes goes on undisturbed."""
    global _due
    _due = os.path.exists(os.environ["DIES_WHEN"])
    return _take_rows(self, *args)


async def _deliver_or_die(self: Outbox, producer: Any, tp: Any, batch: Any) -> int:
    due = _due and tp.topic.endswith("-changelog")
    named = tp.topic.endswith(f"-{os.environ['DIES_AFTER']}-changelog")
    if due and not named:
        await asyncio.sleep(_DELAY_S)
    offset = await _deliver(self, producer, tp, batch)
    if due and named:
        os.kill(os.getpid(), signal.SIGKILL)
    return offset


if __name__ == "__main__":
    Checkpoint._take_rows = _take_rows_in_time  # type: ignore[method-assign]
    Outbox._deliver = _deliver_or_die  # type: ignore[method-assign]
    main()
