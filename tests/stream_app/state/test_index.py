import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.errors import StateError
from stream_app.state import index as index_module
from stream_app.state.index import KeyIndex
from topics.spans import Spans

# Few different keys, so that they come again; some longer than a word, some empty, some null.
KEYS = st.one_of(st.none(), st.binary(max_size=2), st.sampled_from([b"user-%d" % i for i in range(30)]))
BATCHES = st.lists(
    st.tuples(st.sampled_from(["insert", "find", "remove"]), st.lists(KEYS, max_size=40)), max_size=25
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(BATCHES)
def test_it_does_what_a_dict_does(batches: list[tuple[str, list[bytes | None]]]) -> None:
    index, held = KeyIndex(capacity=1), dict[bytes, int]()
    for what, keys in batches:
        spans = Spans.of(keys)
        if what == "insert":
            rows, new = index.insert(spans)
            fresh = [row for row in rows.tolist() if row >= 0 and row not in held.values()]
            assert new.tolist() == list(dict.fromkeys(fresh))
            held.update({key: row for key, row in zip(keys, rows.tolist(), strict=True) if key is not None})
        elif what == "find":
            assert index.lookup(spans).tolist() == [-1 if key is None else held.get(key, -1) for key in keys]
        else:
            index.remove(index.lookup(spans))
            for key in keys:
                held.pop(key or b"" if key is not None else b"\xff\xff\xff", None)
        assert len(index) == len(held) == len(set(held.values()))
    rows = np.array(list(held.values()), np.int64)
    assert index.keys(rows).tolist() == list(held)
    assert index.lookup(Spans.of(list(held))).tolist() == rows.tolist()


def test_rows_are_dense_and_given_out_again() -> None:
    index = KeyIndex()
    keys = Spans.of([b"%d" % i for i in range(10_000)])
    assert index.lookup(keys, insert=True).tolist() == list(range(10_000))
    index.remove(np.arange(100, 200))
    assert len(index) == 9_900
    assert sorted(index.insert(Spans.of([b"x%d" % i for i in range(100)]))[0].tolist()) == list(range(100, 200))
    assert index.rows_used == 10_000
    assert index.key(5) == b"5"


def test_memory_stays_bounded_when_keys_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "COMPACT_BYTES", 1000)
    index, sizes = KeyIndex(), []
    for generation in range(60):
        rows = index.lookup(Spans.of([b"generation-%d-key-%d" % (generation, i) for i in range(200)]), insert=True)
        assert index.key(int(rows[7])) == b"generation-%d-key-7" % generation
        index.remove(rows)
        sizes.append(index.nbytes)
    assert max(sizes[10:]) <= max(sizes[:10])


def test_a_removed_row_may_be_removed_again() -> None:
    index = KeyIndex()
    rows = index.lookup(Spans.of([b"a", b"b"]), insert=True)
    index.remove(np.r_[rows[:1], rows[:1], -1])
    assert index.lookup(Spans.of([b"a", b"b"])).tolist() == [-1, rows[1]]


def test_a_key_that_is_too_long_is_refused_before_anything_is_inserted() -> None:
    index = KeyIndex()
    long = Spans(np.zeros(1 << 24, np.uint8), np.array([0, 0]), np.array([3, 1 << 24]))
    with pytest.raises(StateError, match="16 MB"):
        index.insert(long)
    assert len(index) == 0


def test_read_only_buffers_and_our_own_are_looked_up_alike() -> None:
    index = KeyIndex()
    fetched = Spans(np.frombuffer(b"..abc", np.uint8), np.array([2]), np.array([5]))
    ours = Spans(np.frombuffer(b"abc", np.uint8).copy(), np.array([0]), np.array([3]))
    assert index.lookup(fetched, insert=True) == index.lookup(ours) == [0]
