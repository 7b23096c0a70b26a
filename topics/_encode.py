"""The encoding kernels: one column after the other into the records' places in one buffer.

`cursor` int64 [records] is where each record's next byte goes. Every member is written as `,"name":value`; the comma
that then opens the record becomes its brace at the end. A row has room for all its members and eight bytes more.
"""
# mypy: disable-error-code="no-untyped-def,assignment"

from __future__ import annotations

import numpy as np
from numba import njit

from topics._scan import next_special, utf8_character
from topics._write import copy_bytes, write_escaped, write_float, write_int

__all__ = [
    "close_records",
    "measure",
    "put_codes",
    "put_constant",
    "put_floats",
    "put_ints",
    "put_lists",
    "put_strings",
]


@njit(cache=True, _nrt=False, error_model="numpy")
def measure(data, start, end, escaping, sizes, escaped):
    """sizes[r]: bytes of string r as JSON text without its quotes, -1 for a null; escaped[r]: whether it needs escapes.

    With escaping=False the strings are JSON already. Returns the first row that is not UTF-8, or -1.
    """
    for row in range(len(start)):
        escaped[row] = False
        if start[row] < 0:
            sizes[row] = -1
            continue
        size = end[row] - start[row]
        i = next_special(data, start[row], end[row]) if escaping else end[row]
        while i < end[row]:
            c = data[i]
            if c >= 0x80:
                i = utf8_character(data, i, end[row])
                if i < 0:
                    return row
            else:
                escaped[row] = True
                short = c == 0x22 or c == 0x5C or (0x08 <= c <= 0x0D and c != 0x0B)
                size += 1 if short else 5
                i += 1
            i = next_special(data, i, end[row])
        sizes[row] = size
    return -1


@njit(cache=True, _nrt=False, error_model="numpy")
def put_constant(out, cursor, text):
    """The same text in every record."""
    for row in range(len(cursor)):
        cursor[row] = copy_bytes(out, cursor[row], text, 0, len(text))


@njit(cache=True, _nrt=False, error_model="numpy")
def put_strings(out, cursor, name, null, quoted, data, start, end, escaped):
    """Strings: `name` and the string, or `null` (empty: nothing) where it is null."""
    for row in range(len(cursor)):
        at = cursor[row]
        if start[row] < 0:
            cursor[row] = copy_bytes(out, at, null, 0, len(null))
            continue
        at = copy_bytes(out, at, name, 0, len(name))
        if quoted:
            out[at] = 0x22
            at += 1
        if escaped[row]:
            at = write_escaped(out, at, data, start[row], end[row])
        else:
            at = copy_bytes(out, at, data, start[row], end[row])
        if quoted:
            out[at] = 0x22
            at += 1
        cursor[row] = at


@njit(cache=True, _nrt=False, error_model="numpy")
def put_ints(out, cursor, name, null, values, missing):
    """Integers: int64 [records]; missing: bool [records], or empty where there is none."""
    for row in range(len(cursor)):
        if len(missing) and missing[row]:
            cursor[row] = copy_bytes(out, cursor[row], null, 0, len(null))
        else:
            at = copy_bytes(out, cursor[row], name, 0, len(name))
            cursor[row] = write_int(out, at, values[row])


@njit(cache=True, _nrt=False, error_model="numpy")
def put_floats(out, cursor, name, null, values):
    """Floats: float64 [records]; NaN is null. Infinities are the caller's to refuse."""
    for row in range(len(cursor)):
        if np.isnan(values[row]):
            cursor[row] = copy_bytes(out, cursor[row], null, 0, len(null))
        else:
            at = copy_bytes(out, cursor[row], name, 0, len(name))
            cursor[row] = write_float(out, at, values[row])


@njit(cache=True, _nrt=False, error_model="numpy")
def put_codes(out, cursor, name, null, codes, texts, text_end):
    """Codes: int64 [records], each an index into texts (text k ends at text_end[k]); negative is null."""
    for row in range(len(cursor)):
        code = codes[row]
        if code < 0:
            cursor[row] = copy_bytes(out, cursor[row], null, 0, len(null))
        else:
            at = copy_bytes(out, cursor[row], name, 0, len(name))
            begin = text_end[code - 1] if code > 0 else 0
            cursor[row] = copy_bytes(out, at, texts, begin, text_end[code])


@njit(cache=True, _nrt=False, error_model="numpy")
def close_records(out, start, cursor, opening, closing):
    """The first byte of each record, a comma, becomes `opening`; `closing` is put after its last."""
    for row in range(len(cursor)):
        if cursor[row] == start[row]:
            cursor[row] += 1
        out[start[row]] = opening
        out[cursor[row]] = closing
        cursor[row] += 1


@njit(cache=True, _nrt=False, error_model="numpy")
def put_lists(out, cursor, data, start, end, last):
    """Consecutive values, each after a comma: those before last[row] that no row before has."""
    value = 0
    for row in range(len(cursor)):
        at = cursor[row]
        while value < last[row]:
            out[at] = 0x2C
            at = copy_bytes(out, at + 1, data, start[value], end[value])
            value += 1
        cursor[row] = at
