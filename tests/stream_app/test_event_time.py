"""Late events, by a plain loop; verdicts do not depend on where batches begin."""

from __future__ import annotations

import msgspec
import numpy as np
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from stream_app.app import build
from stream_app.batch import BatchTopic
from stream_app.event_time import EventTime
from stream_app.settings import Settings
from stream_app.settings_topics import TopicSettings
from stream_app.transport.records import RecordBatch
from topics.errors import Reason
from topics.events import Click
from topics.spans import Spans

LATENESS_S, AHEAD_S, ARRIVED_S = 60.0, 86_400.0, 1_700_000_000.0
TOPIC = BatchTopic("clicks", Click, 4, lateness_s=LATENESS_S, max_ahead_s=AHEAD_S)
CLICKS = TP("clicks", 0)

times = st.lists(st.integers(-500, 500).map(float) | st.just(AHEAD_S + 10), max_size=30)


def _batch(ts: list[float], after_s: float = 0.0) -> RecordBatch:
    """Clicks `ts` seconds from the timestamp of their records, which is `after_s` after the first ones'."""
    arrived_s = ARRIVED_S + after_s
    values = Spans.of(msgspec.json.encode(Click("u", "i", arrived_s + t)) for t in ts)
    n = len(ts)
    none = Spans(values.data, np.full(n, -1, np.int64), np.full(n, -1, np.int64))
    arrived = np.full(n, int(arrived_s * 1000), np.int64)
    return RecordBatch("clicks", 0, np.arange(n), arrived, none, values, 0, n, none)


def _judge(clock: EventTime, ts: list[float], after_s: float = 0.0) -> list[str]:
    batch = _batch(ts, after_s)
    verdicts = ["good"] * len(ts)
    for row, error, _stage in clock.check(CLICKS, TOPIC, batch, TOPIC.decode(batch.values)):
        verdicts[row] = "late" if error.reason is Reason.LATE else "ahead"
    return verdicts


def _plainly(ts: list[float]) -> list[str]:
    newest, verdicts = float("-inf"), []
    for t in ts:
        if t > AHEAD_S:
            verdicts.append("ahead")
        elif t < newest - LATENESS_S:
            verdicts.append("late")
        else:
            verdicts.append("good")
            newest = max(newest, min(t, 0.0))  # no further than the record's own timestamp
    return verdicts


@given(ts=times, cut=st.integers(0, 30))
def test_verdicts_are_those_of_a_plain_loop_wherever_batches_begin_and_after_a_restart(
    ts: list[float], cut: int
) -> None:
    first = EventTime()
    before = _judge(first, ts[:cut])
    after_crash = EventTime()
    after_crash.restore(first.metadata())
    assert before + _judge(after_crash, ts[cut:]) == _plainly(ts)


def test_rows_are_forgotten_by_the_watermark_of_the_last_commit() -> None:
    clock = EventTime()
    _judge(clock, [0.0])
    assert clock.settled_watermark(CLICKS, TOPIC) is None
    clock.settle(clock.metadata())
    _judge(clock, [-10.0], after_s=500.0)
    assert clock.settled_watermark(CLICKS, TOPIC) == ARRIVED_S - LATENESS_S
    assert clock.watermark(CLICKS, TOPIC) == ARRIVED_S + 490 - LATENESS_S


def test_one_clock_that_is_ahead_makes_no_event_of_the_others_late() -> None:
    clock = EventTime()
    assert _judge(clock, [-1.0, AHEAD_S - 1.0]) == ["good", "good"]
    for second in range(1, 200):
        assert _judge(clock, [-1.0], after_s=float(second)) == ["good"]
    assert _judge(clock, [-LATENESS_S - 3.0], after_s=199.0) == ["late"]


def test_a_record_without_a_timestamp_is_judged_by_when_it_was_received() -> None:
    clock = EventTime()
    batch = _batch([-5.0, AHEAD_S + 10.0, 300.0])
    batch.timestamps_ms[:] = -1
    batch.received_s = ARRIVED_S
    (error,) = clock.check(CLICKS, TOPIC, batch, TOPIC.decode(batch.values))
    assert error[0] == 1
    assert clock.newest[CLICKS] == ARRIVED_S


def test_how_far_ahead_a_clock_may_be_is_a_setting_of_each_topic() -> None:
    app = build(Settings(web_port=0, trades=TopicSettings(max_ahead_s=5.0))).processor
    assert app.batch_topics["trades"].max_ahead_s == 5.0
    assert app.batch_topics["clicks"].max_ahead_s == 3600.0
