"""The standard job of stream processors on the engine's public pieces: clicks counted by user in 5-minute windows.

Reads BOOTSTRAP, INPUT, OUTPUT, GROUP, STATE_DIR and GUARANTEE from the environment. One output a click; state in a
changelog; SIGTERM ends it. The event time decides the window, an hour late is too late.
"""

import os

import msgspec

from stream_app.processor import Processor
from stream_app.state.windows import TumblingCounts
from stream_app.worker import run_worker
from topics.encode import encode_columns
from topics.events import Click

WINDOW_S = 300


class Count(msgspec.Struct):
    """What goes out for each click."""

    user_id: str
    window_start: int
    count: int


app = Processor(
    os.environ["GROUP"],
    bootstrap=os.environ["BOOTSTRAP"],
    guarantee=os.environ.get("GUARANTEE", "at_least_once"),
    partitions=4,
    session_timeout_s=float(os.environ.get("SESSION_TIMEOUT_S", "10")),
    checkpoint_interval_s=float(os.environ.get("CHECKPOINT_INTERVAL_S", "1")),
)
clicks = app.batch_topic(os.environ["INPUT"], Click, lateness_s=3300)
output = app.batch_topic(os.environ["OUTPUT"], Count)
windows = TumblingCounts(WINDOW_S, windows=12)
counts = app.columnar_table("counts", windows, sources=[clicks], retention_s=3600)


@app.process(clicks)
async def count(batch):
    """Count each user's clicks a window, and publish the new count of each click's window."""
    click, shard = batch.columns, counts.shard(batch.partition)
    rows = shard.locate(click.user_id)
    fresh = shard.fresh(rows, 0, batch.offsets)
    if not fresh.all():  # replayed after a crash: already counted, already published
        batch, click, rows = batch.only(fresh), click.take(fresh), rows[fresh]
    n, window_start, _ = windows.add(shard, rows, click.ts)
    shard.advance(rows, 0, batch.offsets, click.ts)
    values = encode_columns(Count, user_id=click.user_id, window_start=window_start.astype("int64"), count=n)
    batch.send(output, click.user_id, values)


if __name__ == "__main__":
    run_worker(app, log_level=os.environ.get("LOG_LEVEL", "WARNING"))
