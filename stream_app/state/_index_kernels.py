"""The hash table of `KeyIndex`: open addressing with linear probing, deletion by moving back, no tombstones.

A slot is a uint64: the upper half a tag (32 bits of the key's hash, whose low bits are also the home position), the
lower half row + 1; zero is empty. A place is an int64 a row: start of the key in the arena << 24 | its length; a free
row holds -2 - (next free row), so that free rows are a chain that needs no memory of its own.
"""
# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

from stream_app.kernels import releasing
from topics._bits import load_word, word_at

__all__ = ["ARENA_DEAD", "ARENA_USED", "FREE", "LIVE", "MAX_KEY_BYTES", "META_SIZE", "NEXT_ROW", "compact", "find_many"]
__all__ += ["gather", "insert_many", "rebuild", "remove_many", "tag_many"]

#: Positions in `meta`: keys held, first row never used, head of the chain of free rows, bytes of the arena in use,
#: and bytes among them that belong to removed keys.
LIVE, NEXT_ROW, FREE, ARENA_USED, ARENA_DEAD = range(5)
META_SIZE = 5

LENGTH_BITS = 24
MAX_KEY_BYTES = (1 << LENGTH_BITS) - 1

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)

#: Keys that are looked ahead, a stage: enough that a line is there when it is needed, few enough that it still is.
AHEAD = 8

#: Slots of a table that fits into the second cache level; looking ahead gains nothing there.
SMALL_TABLE = 1 << 14


@intrinsic
def _prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Asks for the cache line of array[index], for reading."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        struct = context.make_array(signature.args[0])(context, builder, arguments[0])
        number = ir.IntType(32)
        pointer = ir.IntType(8).as_pointer()
        signature_type = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        prefetch = builder.module.globals.get("llvm.prefetch.p0") or ir.Function(
            builder.module, signature_type, "llvm.prefetch.p0"
        )
        address = builder.bitcast(builder.gep(struct.data, [arguments[1]]), pointer)
        builder.call(prefetch, [address, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@njit(inline="always")
def _rest(data, i, size):
    """The `size` bytes from `i`, one to seven, as a word; what lies behind them may be read but does not count."""
    if i + 8 <= data.size:
        return load_word(data, i) & ((np.uint64(1) << np.uint64(8 * size)) - np.uint64(1))
    return word_at(data, i, i + size)


@njit(inline="always")
def _tag(data, start, end, seed):
    """32 bits of a seeded hash: multiply and fold a word, then the finalizer of SplitMix64 (Steele et al. 2014)."""
    h = seed ^ (np.uint64(end - start) * _MULTIPLIER)
    i = start
    while i + 8 <= end:
        h = (h ^ load_word(data, i)) * _MULTIPLIER
        h ^= h >> _32
        i += 8
    if i < end:
        h = (h ^ _rest(data, i, end - i)) * _MULTIPLIER
        h ^= h >> _32
    h = (h ^ (h >> np.uint64(30))) * _MIX_1
    h = (h ^ (h >> np.uint64(27))) * _MIX_2
    return h >> _32


@njit(inline="always")
def _equal(arena, a, data, b, size):
    i = 0
    while i + 8 <= size:
        if load_word(arena, a + i) != load_word(data, b + i):
            return False
        i += 8
    return i == size or _rest(arena, a + i, size - i) == _rest(data, b + i, size - i)


@njit(inline="always")
def _find(slots, places, arena, data, start, end, tag):
    """(row, slot) of a key; row -1 and the empty slot where it belongs if it is not there."""
    mask = np.uint64(slots.size - 1)
    j = tag & mask
    size = end - start
    while True:
        slot = slots[j]
        if slot == np.uint64(0):
            return np.int64(-1), np.int64(j)
        if slot >> _32 == tag:
            row = np.int64(slot & _LOW) - 1
            place = places[row]
            if place & MAX_KEY_BYTES == size and _equal(arena, place >> LENGTH_BITS, data, start, size):
                return row, np.int64(j)
        j = (j + np.uint64(1)) & mask


@releasing(lambda *args: len(args[4]))
def tag_many(data, start, end, seed, tags):
    """The tag of each key that is not null."""
    for i in range(start.size):
        if start[i] >= 0:
            tags[i] = _tag(data, start[i], end[i], seed)


@njit(inline="always")
def _look_ahead(slots, places, arena, tags, i):
    """Asks for what the next keys need: the slot of one far ahead, the place of one nearer, the bytes of one nearer.

    In a large table each of the three is a cache miss, and each depends on the one before.
    """
    mask = np.uint64(slots.size - 1)
    if i + 3 * AHEAD < tags.size:
        _prefetch(slots, np.int64(tags[i + 3 * AHEAD] & mask))
    if i + 2 * AHEAD < tags.size:
        slot = slots[tags[i + 2 * AHEAD] & mask]
        if slot != np.uint64(0):
            _prefetch(places, np.int64(slot & _LOW) - 1)
    if i + AHEAD < tags.size:
        slot = slots[tags[i + AHEAD] & mask]
        if slot != np.uint64(0):
            _prefetch(arena, places[np.int64(slot & _LOW) - 1] >> LENGTH_BITS)


@releasing(lambda *args: len(args[6]))
def find_many(slots, places, arena, data, start, end, tags, rows):
    """rows[i] = row of key i, -1 where it is null or absent."""
    large = slots.size > SMALL_TABLE
    for i in range(start.size):
        if large:
            _look_ahead(slots, places, arena, tags, i)
        if start[i] < 0:
            rows[i] = -1
        else:
            rows[i] = _find(slots, places, arena, data, start[i], end[i], tags[i])[0]


@releasing(lambda *args: len(args[7]))
def insert_many(slots, places, arena, meta, data, start, end, tags, first, rows, new, n_new):
    """As `find_many` from key `first` on, taking a row for each absent key and noting it in `new`.

    Returns (where it stopped because something is full, n_new).
    """
    large = slots.size > SMALL_TABLE
    limit = np.int64(slots.size * 0.7)
    for i in range(first, start.size):
        if large:
            _look_ahead(slots, places, arena, tags, i)
        if start[i] < 0:
            rows[i] = -1
            continue
        row, slot = _find(slots, places, arena, data, start[i], end[i], tags[i])
        if row < 0:
            size = end[i] - start[i]
            used = meta[ARENA_USED]
            row = meta[FREE]
            if meta[LIVE] >= limit or used + size > arena.size or (row < 0 and meta[NEXT_ROW] >= places.size):
                return i, n_new
            if row < 0:
                row = meta[NEXT_ROW]
                meta[NEXT_ROW] += 1
            else:
                meta[FREE] = -2 - places[row]
            for k in range(size):
                arena[used + k] = data[start[i] + k]
            places[row] = (used << LENGTH_BITS) | size
            meta[ARENA_USED] += size
            meta[LIVE] += 1
            slots[slot] = (tags[i] << _32) | np.uint64(row + 1)
            new[n_new] = row
            n_new += 1
        rows[i] = row
    return start.size, n_new


@njit(cache=True, nogil=True)
def remove_many(slots, places, arena, meta, seed, rows):
    """Forgets the keys of `rows`; rows that are free or negative are passed over."""
    mask = np.uint64(slots.size - 1)
    one = np.uint64(1)
    for i in range(rows.size):
        row = rows[i]
        if row < 0 or places[row] < 0:
            continue
        begin = places[row] >> LENGTH_BITS
        size = places[row] & MAX_KEY_BYTES
        hole = _tag(arena, begin, begin + size, seed) & mask
        while slots[hole] & _LOW != np.uint64(row + 1):
            hole = (hole + one) & mask
        j = hole
        while True:
            j = (j + one) & mask
            if slots[j] == np.uint64(0):
                break
            home = (slots[j] >> _32) & mask
            if ((j - home) & mask) >= ((j - hole) & mask):  # its home is not after the hole: it may move into it
                slots[hole] = slots[j]
                hole = j
        slots[hole] = np.uint64(0)
        places[row] = -2 - meta[FREE]
        meta[FREE] = row
        meta[LIVE] -= 1
        meta[ARENA_DEAD] += size


@njit(cache=True, nogil=True)
def rebuild(old, new):
    """Moves every slot of the table `old` to the larger, empty table `new`."""
    mask = np.uint64(new.size - 1)
    for i in range(old.size):
        if old[i] != np.uint64(0):
            j = (old[i] >> _32) & mask
            while new[j] != np.uint64(0):
                j = (j + np.uint64(1)) & mask
            new[j] = old[i]


@njit(cache=True, nogil=True)
def compact(places, used_rows, old, new):
    """Copies the keys that are held from the arena `old` to `new`; returns the bytes in use."""
    at = 0
    for row in range(used_rows):
        place = places[row]
        if place >= 0:
            begin = place >> LENGTH_BITS
            size = place & MAX_KEY_BYTES
            for k in range(size):
                new[at + k] = old[begin + k]
            places[row] = (at << LENGTH_BITS) | size
            at += size
    return at


@releasing(lambda *args: len(args[2]))
def gather(places, arena, rows, start, end, data):
    """Copies the keys of `rows` into `data`, one after another."""
    at = 0
    for i in range(rows.size):
        begin = places[rows[i]] >> LENGTH_BITS
        size = places[rows[i]] & MAX_KEY_BYTES
        for k in range(size):
            data[at + k] = arena[begin + k]
        start[i] = at
        at += size
        end[i] = at
