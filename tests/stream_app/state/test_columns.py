from __future__ import annotations

import numpy as np
import pytest

from stream_app.errors import StateError
from stream_app.state import Column, Columns, Layout, Ring, Shard, TumblingCounts
from topics.spans import Spans

WINDOWS = TumblingCounts(300, windows=12)


@pytest.mark.parametrize(
    "source",
    [WINDOWS, [WINDOWS], Columns(WINDOWS)],
    ids=["a feature", "several", "columns"],
)
def test_a_table_may_be_declared_by(source: object) -> None:
    assert [name for name, _ in Columns.of(source).items()] == ["tumbling.newest", "tumbling.ring"]  # type: ignore[arg-type]


def test_plain_columns_may_come_as_a_mapping() -> None:
    assert dict(Columns.of({"score": Column(np.float32)}).items()) == {"score": Column(np.float32)}


def test_a_mapping_may_hold_features_under_their_names() -> None:
    columns = Columns.of({"tumbling": WINDOWS, "score": Column(np.float32)})
    assert [name for name, _ in columns.items()] == ["tumbling.newest", "tumbling.ring", "score"]
    with pytest.raises(StateError, match="give it name='hourly'"):
        Columns.of({"hourly": WINDOWS})


def test_features_of_one_kind_need_names() -> None:
    with pytest.raises(StateError, match=r"'tumbling\.newest' is declared twice"):
        Columns(WINDOWS, TumblingCounts(3600, windows=24))
    assert len(Columns(WINDOWS, TumblingCounts(3600, windows=24, name="hourly")).items()) == 4  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"_mine": Column(np.int64)}, "start with _"),
        ({}, "at least one column"),
    ],
)
def test_columns_that_cannot_be(columns: dict[str, Column], reason: str) -> None:
    with pytest.raises(StateError, match=reason):
        Columns(**columns)


def test_objects_are_no_columns() -> None:
    with pytest.raises(StateError, match="numbers or bools"):
        Layout(Columns(who=Column(object)), ("clicks",))


def test_every_column_is_aligned_and_begins_as_declared() -> None:
    columns = Columns(
        WINDOWS,
        Ring(7, kind=np.int8, price=np.float64, item=np.int16),
        flag=Column(bool),
        z=Column(np.float32, (3,), 2.5),
    )
    layout = Layout(columns, ("clicks", "purchases"))
    assert layout.row_bytes % 8 == 0
    shard = Shard(layout)
    rows = shard.locate(Spans.of([b"ann"]))
    for name in layout.dtype.names or ():
        assert shard.column(name).flags.aligned
    assert shard.column("z")[rows].tolist() == [[2.5, 2.5, 2.5]]
    assert shard.column("_mark")[rows].tolist() == [[-1, -1]]
    assert shard.column("_ts")[rows].tolist() == [-np.inf]
    assert layout.row_bytes < sum(dtype.itemsize for dtype, _ in (layout.dtype.fields or {}).values()) + 8


def test_the_schema_id_is_the_same_in_every_process() -> None:
    """A changelog outlives the process: this number must only change when the bytes mean something else."""
    layout = Layout(Columns(WINDOWS, hidden=Column(np.float32, (64,))), ("clicks", "purchases"))
    assert (
        layout.schema_id
        == Layout(Columns(TumblingCounts(300.0, 12), hidden=Column("<f4", (64,))), layout.sources).schema_id
    )
    assert layout.schema_id == SCHEMA_ID


SCHEMA_ID = 2605917364


def test_an_unknown_column_is_named_with_those_there_are() -> None:
    with pytest.raises(StateError, match=r"no column 'nope'; it has .*tumbling\.ring"):
        Shard(Layout(Columns(WINDOWS), ("clicks",)), "users").column("nope")
