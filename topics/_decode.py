"""The decoding kernel: a batch of flat JSON objects straight into columns."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np
from numba import njit

from topics._bits import word_at
from topics._number import parse_iso, parse_number, to_float
from topics._plan import (
    BOOL,
    CODE,
    DEFAULT,
    FIRST_TOKEN,
    FLOAT,
    HIGH,
    HOLDS,
    INT,
    ISO,
    KIND,
    LAST_TOKEN,
    LOW,
    MISSING,
    NUMERIC,
    OPTIONAL,
    SIZE,
    SLOT,
    STRING,
)
from topics._scan import scan_string, skip_space, skip_value

__all__ = ["GOOD", "NULL", "UNSURE", "decode_kernel"]

# What became of a record. UNSURE: msgspec decides.
GOOD, UNSURE, NULL = range(3)

#: Largest magnitude of an int column that is read here: nothing below it can overflow.
_INT_LIMIT = np.uint64(1 << 62)


@njit(inline="always")
def _matches(words, k, data, i):
    """Whether text `k` and its closing quote stand at `i`. Reads beyond the text itself, never beyond `data`."""
    size = len(data)
    if (word_at(data, i, size) ^ words[k, 0]) & words[k, 1]:
        return False
    for w in range(2, words.shape[1], 2):
        if words[k, w + 1] == np.uint64(0):
            return True
        i += 8
        if i >= size or (word_at(data, i, size) ^ words[k, w]) & words[k, w + 1]:
            return False
    return True


@njit(_nrt=False, error_model="numpy")
def _find(words, first, last, data, i):
    """Which of the texts first .. last - 1 stands at `i`, or -1."""
    for k in range(first, last):
        if _matches(words, k, data, i):
            return k
    return -1


@njit(_nrt=False, error_model="numpy")
def _is_null(data, i, end):
    return i + 4 <= end and data[i] == 0x6E and data[i + 1] == 0x75 and data[i + 2] == 0x6C and data[i + 3] == 0x6C


@njit(inline="always")
def _number(integer_only, low, high, bounds, field, data, i, end):
    """The number at `i`: (position after it or -1, its value as the bits of a column)."""
    i, negative, mantissa, exponent, integer = parse_number(data, i, end)
    if i < 0:
        return -1, 0
    if integer_only:
        whole = -np.int64(mantissa) if negative else np.int64(mantissa)
        if not integer or mantissa > _INT_LIMIT or whole < low or whole > high:
            return -1, 0
        return i, whole
    value, sure = to_float(mantissa, exponent)
    if negative and not (integer and mantissa == np.uint64(0)):  # msgspec reads -0 as the integer 0
        value = -value
    if bounds[field, 2] != 1.0:
        value = value / bounds[field, 2]
    if not sure or not (bounds[field, 0] <= value <= bounds[field, 1]):
        return -1, 0
    return i, np.float64(value).view(np.int64)


@njit(_nrt=False, error_model="numpy")
def _numeric_id(low, high, data, i, end):
    """Position after a plain non-negative integer that stands for an id, or -1."""
    start = i
    while i < end and 0x30 <= data[i] <= 0x39:
        i += 1
    size = i - start
    if size == 0 or size > 18 or (size > 1 and data[start] == 0x30):
        return -1
    if i < end and (data[i] == 0x2E or data[i] == 0x65 or data[i] == 0x45):
        return -1
    return i if low <= size <= high else -1


@njit(_nrt=False, error_model="numpy")
def _iso(low, high, data, i, end):
    """The time in the string that opens at `i`: (position after it or -1, its value as the bits of a column)."""
    if data[i] != 0x22:
        return -1, 0
    stop, escaped, _ = scan_string(data, i + 1, end)
    if stop < 0 or escaped:
        return -1, 0
    seconds, sure = parse_iso(data, i + 1, stop)
    if not sure or not (low <= seconds <= high):
        return -1, 0
    return stop + 1, np.float64(seconds).view(np.int64)


@njit(inline="always")
def _value(table, bounds, words, field, data, i, end, row, out):
    """Read the value at `i`, not a null, into its column; position after it or -1."""
    kind = table[field, KIND]
    slot = table[field, SLOT]
    if kind == STRING:
        if data[i] == 0x22:
            start = i + 1
            stop, escaped, continuations = scan_string(data, start, end)
            size = stop - start - continuations
            if stop < 0 or escaped or size < table[field, LOW] or size > table[field, HIGH]:
                return -1
            out[slot, row] = start
            out[slot + 1, row] = stop
            return stop + 1
        if not table[field, NUMERIC]:
            return -1
        stop = _numeric_id(table[field, LOW], table[field, HIGH], data, i, end)
        out[slot, row] = i
        out[slot + 1, row] = stop
        return stop
    if kind == FLOAT or kind == INT:  # noqa: SIM109  (numba makes a tuple of the other)
        stop, bits = _number(kind == INT, table[field, LOW], table[field, HIGH], bounds, field, data, i, end)
        out[slot, row] = bits
        return stop
    if kind == CODE:
        if data[i] != 0x22:
            return -1
        token = _find(words, table[field, FIRST_TOKEN], table[field, LAST_TOKEN], data, i + 1)
        if token < 0:
            return -1
        out[slot, row] = table[token, DEFAULT]
        return i + table[token, SIZE] + 2
    if kind == ISO:
        stop, bits = _iso(bounds[field, 0], bounds[field, 1], data, i, end)
        out[slot, row] = bits
        return stop
    if kind == BOOL:
        out[slot, row] = data[i] == 0x74
        return skip_value(data, i, end) if data[i] == 0x74 or data[i] == 0x66 else -1
    return -1


@njit(_nrt=False, error_model="numpy")
def _set_missing(table, field, row, out, missing):
    """Fill in a field that is null (missing: the NaN or zero of its column) or absent (missing: its default)."""
    slot = table[field, SLOT]
    out[slot, row] = missing
    if table[field, HOLDS] == STRING:
        out[slot + 1, row] = -1


@njit(inline="always")
def _space(data, i, end):
    """`skip_space` for where there usually is none."""
    return skip_space(data, i, end) if i < end and data[i] <= 0x20 else i


@njit(_nrt=False, error_model="numpy")
def _scan_key(data, i, end):
    """`scan_string`, compiled once for what is rarely called."""
    return scan_string(data, i, end)


@njit(inline="always")
def _record(table, bounds, words, n_fields, closed, data, i, end, row, follow, out):
    """One object into row `row`: (sure, bits of the fields found, bits of those that are not null).

    follow: int64 [fields + 1], the field that last came after each; most sources write one order.
    """
    found = np.uint64(0)
    nulls = np.uint64(0)
    before = n_fields
    i = _space(data, i, end)
    if i >= end or data[i] != 0x7B:
        return False, found, nulls
    i = _space(data, i + 1, end)
    if i < end and data[i] == 0x7D:
        return _space(data, i + 1, end) >= end, found, nulls
    while True:
        if i >= end or data[i] != 0x22:
            return False, found, nulls
        i += 1
        field = follow[before]
        if not _matches(words, field, data, i):
            field = _find(words, 0, n_fields, data, i)
            if field >= 0:
                follow[before] = field
        if field >= 0:
            i = _space(data, i + table[field, SIZE] + 1, end)
        else:
            i, escaped, _ = _scan_key(data, i, end)
            if i < 0 or escaped or closed:  # an escaped key may be one of ours
                return False, found, nulls
            i = _space(data, i + 1, end)
        if i >= end or data[i] != 0x3A:
            return False, found, nulls
        i = _space(data, i + 1, end)
        if i >= end:
            return False, found, nulls
        if field >= 0:
            bit = np.uint64(1) << np.uint64(field)
            found |= bit
            before = field
            if data[i] == 0x6E and table[field, OPTIONAL] and _is_null(data, i, end):
                nulls |= bit
                i += 4
            else:
                nulls &= ~bit
                i = _value(table, bounds, words, field, data, i, end, row, out)
        else:
            i = skip_value(data, i, end)
        if i < 0:
            return False, found, nulls
        i = _space(data, i, end)
        if i >= end:
            return False, found, nulls
        if data[i] == 0x2C:
            i = _space(data, i + 1, end)
        elif data[i] == 0x7D:
            return _space(data, i + 1, end) >= end, found, nulls
        else:
            return False, found, nulls


@njit(cache=True, _nrt=False, error_model="numpy")
def decode_kernel(
    table,
    bounds,
    words,
    n_fields,
    required,
    defaulted,
    closed,
    data,
    start,
    end,
    max_bytes,
    follow,
    out,
    valued,
    status,
):
    """Decode record r, data[start[r]:end[r]], into column r of the outputs, and say in status[r] what became of it.

    table, bounds, words, n_fields, required, defaulted, closed: see topics._plan.Plan. out: int64 [slots, records], a
    string's start and end, an int, a code, or the bits of a float64; valued: uint64 [records], bit f set where field f
    has a value; status: uint8 [records]. follow: int64 [fields + 1], for use by the kernel.
    """
    for field in range(n_fields):
        follow[field] = (field + 1) % n_fields
    follow[n_fields] = 0
    every = (np.uint64(1) << np.uint64(n_fields)) - np.uint64(1)
    for row in range(len(start)):
        found = np.uint64(0)
        nulls = np.uint64(0)
        sure = False
        if start[row] >= 0 and end[row] - start[row] <= max_bytes:
            sure, found, nulls = _record(
                table, bounds, words, n_fields, closed, data, start[row], end[row], row, follow, out
            )
            sure = sure and (found & required) == required
        if sure:
            status[row] = GOOD
            absent = every & ~found
            if absent | nulls:
                for field in range(n_fields):
                    if (absent >> np.uint64(field)) & np.uint64(1):
                        _set_missing(table, field, row, out, table[field, DEFAULT])
                    elif (nulls >> np.uint64(field)) & np.uint64(1):
                        _set_missing(table, field, row, out, table[field, MISSING])
            valued[row] = (found & ~nulls) | (absent & defaulted)
        else:
            status[row] = NULL if start[row] < 0 else UNSURE
            valued[row] = np.uint64(0)
            for field in range(n_fields):
                _set_missing(table, field, row, out, table[field, MISSING])
