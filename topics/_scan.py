"""Strings, white space and values to be skipped in JSON text, for the decoding kernel.

Every function takes the text as uint8 `data`, a position `i`, and `end`, where the record ends; it returns the position
after what it read, or -1 where it is not sure that the text is right. What they accept, msgspec accepts: -1 only means
that msgspec shall look.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np
from numba import njit

from topics._bits import count_trailing_zeros, load_word

__all__ = ["next_special", "scan_string", "skip_space", "skip_value", "utf8_character"]

_ONES = np.uint64(0x0101010101010101)
_HIGHS = np.uint64(0x8080808080808080)
_QUOTES = np.uint64(0x2222222222222222)
_SLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES = np.uint64(0x2020202020202020)

#: Objects and arrays within each other that the kernel follows: one bit of a word each.
MAX_DEPTH = 60


@njit(_nrt=False, error_model="numpy")
def skip_space(data, i, end):
    while i < end and (data[i] == 0x20 or data[i] == 0x0A or data[i] == 0x0D or data[i] == 0x09):
        i += 1
    return i


@njit(_nrt=False, error_model="numpy")
def utf8_character(data, i, end):
    """Position after the one well-formed character at `i` (RFC 3629), whose first byte is 0x80 or more."""
    lead = data[i]
    if 0xC2 <= lead <= 0xDF:
        more, low, high = 1, 0x80, 0xBF
    elif lead == 0xE0:
        more, low, high = 2, 0xA0, 0xBF
    elif lead == 0xED:
        more, low, high = 2, 0x80, 0x9F
    elif 0xE1 <= lead <= 0xEF:
        more, low, high = 2, 0x80, 0xBF
    elif lead == 0xF0:
        more, low, high = 3, 0x90, 0xBF
    elif 0xF1 <= lead <= 0xF3:
        more, low, high = 3, 0x80, 0xBF
    elif lead == 0xF4:
        more, low, high = 3, 0x80, 0x8F
    else:
        return -1
    if i + more >= end or data[i + 1] < low or data[i + 1] > high:
        return -1
    for k in range(2, more + 1):
        if data[i + k] & 0xC0 != 0x80:
            return -1
    return i + more + 1


@njit(_nrt=False, error_model="numpy")
def _escape(data, i, end):
    """Position after the escape at `i`, a backslash. Surrogates are left to msgspec."""
    if i + 1 >= end:
        return -1
    c = data[i + 1]
    if c == 0x75:  # u
        if i + 6 > end:
            return -1
        code = np.int64(0)
        for k in range(2, 6):
            h = np.int64(data[i + k])
            if 0x30 <= h <= 0x39:
                code = code * 16 + h - 0x30
            elif 0x41 <= h <= 0x46 or 0x61 <= h <= 0x66:
                code = code * 16 + (h & 0xDF) - 55
            else:
                return -1
        return -1 if 0xD800 <= code <= 0xDFFF else i + 6
    if c == 0x22 or c == 0x5C or c == 0x2F or c == 0x62 or c == 0x66 or c == 0x6E or c == 0x72 or c == 0x74:
        return i + 2
    return -1


@njit(inline="always")
def next_special(data, i, end):
    """Position of the first byte from `i` that is a quote, a backslash, a control or not ASCII; or >= end."""
    size = len(data)
    while i + 8 <= size:
        word = load_word(data, i)
        quote = word ^ _QUOTES
        slash = word ^ _SLASHES
        # A byte below b makes the subtraction borrow into its own high bit; the lowest bit set is always a true one.
        special = ((quote - _ONES) & ~quote) | ((slash - _ONES) & ~slash) | ((word - _SPACES) & ~word) | word
        special &= _HIGHS
        if special:
            return i + (count_trailing_zeros(special) >> 3)
        i += 8
        if i >= end:
            return i
    while i < end:
        c = data[i]
        if c == 0x22 or c == 0x5C or c < 0x20 or c >= 0x80:
            return i
        i += 1
    return i


@njit(_nrt=False, error_model="numpy")
def _scan_rest(data, i, end):
    """The general case of `scan_string`, from the first special byte that is not the closing quote."""
    escaped = False
    continuations = 0
    while i < end:
        c = data[i]
        if c == 0x22:
            return i, escaped, continuations
        if c == 0x5C:
            i = _escape(data, i, end)
            escaped = True
        elif c >= 0x80:
            start = i
            i = utf8_character(data, i, end)
            continuations += i - start - 1
        elif c < 0x20:
            return -1, escaped, continuations
        if i < 0:
            return -1, escaped, continuations
        i = next_special(data, i, end)
    return -1, escaped, continuations


@njit(inline="always")
def scan_string(data, i, end):
    """From after the opening quote: (position of the closing quote or -1, has escapes, UTF-8 continuation bytes)."""
    i = next_special(data, i, end)
    if i < end and data[i] == 0x22:
        return i, False, 0
    return _scan_rest(data, i, end)


@njit(_nrt=False, error_model="numpy")
def _skip_number(data, i, end):
    if i < end and data[i] == 0x2D:
        i += 1
    if i >= end or data[i] < 0x30 or data[i] > 0x39:
        return -1
    first = data[i]
    i += 1
    if first == 0x30 and i < end and 0x30 <= data[i] <= 0x39:
        return -1
    while i < end and 0x30 <= data[i] <= 0x39:
        i += 1
    if i < end and data[i] == 0x2E:
        start = i + 1
        i = start
        while i < end and 0x30 <= data[i] <= 0x39:
            i += 1
        if i == start:
            return -1
    if i < end and (data[i] == 0x65 or data[i] == 0x45):
        i += 1
        if i < end and (data[i] == 0x2B or data[i] == 0x2D):
            i += 1
        start = i
        while i < end and 0x30 <= data[i] <= 0x39:
            i += 1
        if i == start:
            return -1
    return i


@njit(_nrt=False, error_model="numpy")
def _skip_word(data, i, end):
    """Position after true, false or null."""
    if i + 4 <= end and data[i] == 0x74 and data[i + 1] == 0x72 and data[i + 2] == 0x75 and data[i + 3] == 0x65:
        return i + 4
    if i + 4 <= end and data[i] == 0x6E and data[i + 1] == 0x75 and data[i + 2] == 0x6C and data[i + 3] == 0x6C:
        return i + 4
    if i + 5 <= end and data[i] == 0x66 and data[i + 1] == 0x61 and data[i + 2] == 0x6C and data[i + 3] == 0x73:
        return i + 5 if data[i + 4] == 0x65 else -1
    return -1


@njit(_nrt=False, error_model="numpy")
def _skip_key(data, i, end):
    """From a key's opening quote to after the colon and the space that follows."""
    if i >= end or data[i] != 0x22:
        return -1
    i, _, _ = scan_string(data, i + 1, end)
    if i < 0:
        return -1
    i = skip_space(data, i + 1, end)
    if i >= end or data[i] != 0x3A:
        return -1
    return skip_space(data, i + 1, end)


@njit(_nrt=False, error_model="numpy")
def skip_value(data, i, end):
    """Position after the value of any type that begins at `i`."""
    depth = 0
    objects = np.uint64(0)  # bit d: whether level d is an object
    while True:
        if i >= end:
            return -1
        c = data[i]
        if c == 0x7B or c == 0x5B:  # { [
            depth += 1
            if depth > MAX_DEPTH:
                return -1
            bit = np.uint64(1) << np.uint64(depth)
            closing = np.uint8(c + 2)
            i = skip_space(data, i + 1, end)
            if i < end and data[i] == closing:
                depth -= 1
                i += 1
            elif c == 0x7B:
                objects |= bit
                i = _skip_key(data, i, end)
                if i < 0:
                    return -1
                continue
            else:
                objects &= ~bit
                continue
        elif c == 0x22:
            i, _, _ = scan_string(data, i + 1, end)
            if i < 0:
                return -1
            i += 1
        elif c == 0x2D or 0x30 <= c <= 0x39:
            i = _skip_number(data, i, end)
        else:
            i = _skip_word(data, i, end)
        if i < 0:
            return -1
        # After a value: close what ends here, or go on to the next member.
        while depth > 0:
            i = skip_space(data, i, end)
            if i >= end:
                return -1
            in_object = (objects >> np.uint64(depth)) & np.uint64(1)
            if data[i] == 0x2C:
                i = skip_space(data, i + 1, end)
                if in_object:
                    i = _skip_key(data, i, end)
                    if i < 0:
                        return -1
                break
            if (in_object and data[i] == 0x7D) or (not in_object and data[i] == 0x5D):
                depth -= 1
                i += 1
            else:
                return -1
        if depth == 0:
            return i
