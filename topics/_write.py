"""Integers, floats and strings as JSON text, for the encoding kernels.

Every function writes into uint8 `out` at `at` and returns the position after what it wrote; up to seven bytes beyond
may be overwritten.
"""
# mypy: disable-error-code="no-untyped-def,assignment"

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from topics._bits import load_word, multiply_high, store_word

__all__ = ["LONGEST_FLOAT", "LONGEST_INT", "copy_bytes", "write_escaped", "write_float", "write_int"]

#: -9223372036854775808
LONGEST_INT = 20

#: -1.7976931348623157e308, and -0.00001234567890123456 likewise
LONGEST_FLOAT = 25

_TENS = np.array([10**k for k in range(20)], np.uint64)

_LOWEST_POWER = -292
_HIGHEST_POWER = 324


def _powers_of_ten() -> NDArray[np.uint64]:
    """[powers, 2]: upper and lower word of 10^k with its highest bit moved to bit 127, rounded up."""
    rows = []
    for k in range(_LOWEST_POWER, _HIGHEST_POWER + 1):
        power = 10 ** abs(k)
        bits = power.bit_length()
        if k >= 0:
            value = power << (128 - bits) if bits <= 128 else -(-power >> (bits - 128))
        else:
            value = -(-(1 << (127 + bits)) // power)  # in (2^127, 2^128]: 10^|k| is no power of two
        rows.append((value >> 64, value & (2**64 - 1)))
    return np.array(rows, np.uint64)


_POWERS = _powers_of_ten()


@njit(_nrt=False, error_model="numpy")
def copy_bytes(out, at, data, start, end):
    """Copy data[start:end]; a word at a time where the source has whole words left."""
    size = len(data)
    while start < end and start + 8 <= size:
        store_word(out, at, load_word(data, start))
        step = min(end - start, 8)
        start += step
        at += step
    while start < end:
        out[at] = data[start]
        start += 1
        at += 1
    return at


@njit(_nrt=False, error_model="numpy")
def _count_digits(value):
    digits = 1
    while digits < 20 and value >= _TENS[digits]:
        digits += 1
    return digits


@njit(_nrt=False, error_model="numpy")
def _write_digits(out, at, value, digits):
    for k in range(digits):
        rest = value // np.uint64(10)
        out[at + digits - 1 - k] = np.uint8(value - rest * np.uint64(10) + np.uint64(0x30))
        value = rest
    return at + digits


@njit(_nrt=False, error_model="numpy")
def write_int(out, at, value):
    """An int64 in decimal."""
    if value < 0:
        out[at] = 0x2D
        magnitude = ~np.uint64(value) + np.uint64(1)  # right for the lowest int64 too
        return _write_digits(out, at + 1, magnitude, _count_digits(magnitude))
    magnitude = np.uint64(value)
    return _write_digits(out, at, magnitude, _count_digits(magnitude))


@njit(_nrt=False, error_model="numpy")
def _round_to_odd(power, factor):
    """Upper 64 bits of the 192-bit product of 10^k and factor, the lowest bit set where anything follows them."""
    carry = multiply_high(_POWERS[power, 1], factor)
    lower = _POWERS[power, 0] * factor
    upper = multiply_high(_POWERS[power, 0], factor)
    lower = lower + carry
    if lower < carry:
        upper = upper + np.uint64(1)
    return upper | np.uint64(lower > np.uint64(1))


@njit(_nrt=False, error_model="numpy")
def _shortest(bits):
    """The shortest decimal that reads back as the positive float64 of these bits: (digits as an integer, exponent).

    The algorithm of R. Giulietti, "The Schubfach way to render doubles" (2020): the interval of numbers that round to
    the float, scaled by a power of ten so that it holds one or two integers, and perhaps one that ends in zero.
    """
    fraction = bits & np.uint64((1 << 52) - 1)
    biased = np.int64(bits >> np.uint64(52))
    c = fraction
    q = -1074
    if biased > 0:
        c = fraction | np.uint64(1 << 52)
        q = biased - 1075
    irregular = fraction == np.uint64(0) and biased > 1  # the float below is half as far away
    k = (q * 1262611 - (524031 if irregular else 0)) >> 22  # floor(log10(2^q)), or of 3/4 of it
    h = np.uint64(q + ((-k * 1741647) >> 19) + 1)
    power = -k - _LOWEST_POWER
    odd = c & np.uint64(1)
    middle = _round_to_odd(power, (c << np.uint64(2)) << h)
    low = _round_to_odd(power, ((c << np.uint64(2)) - (np.uint64(1) if irregular else np.uint64(2))) << h) + odd
    high = _round_to_odd(power, ((c << np.uint64(2)) + np.uint64(2)) << h) - odd
    s = middle >> np.uint64(2)
    if s >= np.uint64(10):
        tens = s // np.uint64(10)
        down = low <= np.uint64(40) * tens
        up = np.uint64(40) * tens + np.uint64(40) <= high
        if down != up:
            return tens + np.uint64(up), k + 1
    down = low <= np.uint64(4) * s
    up = np.uint64(4) * s + np.uint64(4) <= high
    if down != up:
        return s + np.uint64(up), k
    half = np.uint64(4) * s + np.uint64(2)
    return s + np.uint64(middle > half or (middle == half and (s & np.uint64(1)) == np.uint64(1))), k


@njit(_nrt=False, error_model="numpy")
def write_float(out, at, value):
    """A finite float64 as msgspec writes it: the shortest digits, an exponent below 1e-5 and from 1e16."""
    bits = np.float64(value).view(np.uint64)
    if bits >> np.uint64(63):
        out[at] = 0x2D
        at += 1
        bits = bits & ~np.uint64(1 << 63)
    if bits == np.uint64(0):
        out[at] = 0x30
        out[at + 1] = 0x2E
        out[at + 2] = 0x30
        return at + 3
    digits, exponent = _shortest(bits)
    while digits % np.uint64(10) == np.uint64(0):
        digits = digits // np.uint64(10)
        exponent += 1
    size = _count_digits(digits)
    point = size + exponent  # digits before the decimal point
    if exponent >= 0 and point <= 16:
        at = _write_digits(out, at, digits, size)
        for _ in range(exponent):
            out[at] = 0x30
            at += 1
        out[at] = 0x2E
        out[at + 1] = 0x30
        return at + 2
    if 0 < point <= 16:
        _write_digits(out, at + 1, digits, size)
        for k in range(point):
            out[at + k] = out[at + k + 1]
        out[at + point] = 0x2E
        return at + size + 1
    if -5 < point <= 0:
        out[at] = 0x30
        out[at + 1] = 0x2E
        at += 2
        for _ in range(-point):
            out[at] = 0x30
            at += 1
        return _write_digits(out, at, digits, size)
    _write_digits(out, at + 1, digits, size)
    out[at] = out[at + 1]
    at += 1
    if size > 1:
        out[at] = 0x2E
        at += size
    out[at] = 0x65
    return write_int(out, at + 1, point - 1)


@njit(_nrt=False, error_model="numpy")
def write_escaped(out, at, data, start, end):
    """A string's bytes with quotes, backslashes and controls escaped."""
    for i in range(start, end):
        c = data[i]
        short = 0
        if c == 0x22 or c == 0x5C:
            short = c
        elif c == 0x08:
            short = 0x62
        elif c == 0x09:
            short = 0x74
        elif c == 0x0A:
            short = 0x6E
        elif c == 0x0C:
            short = 0x66
        elif c == 0x0D:
            short = 0x72
        if short:
            out[at] = 0x5C
            out[at + 1] = short
            at += 2
        elif c < 0x20:
            out[at] = 0x5C
            out[at + 1] = 0x75
            out[at + 2] = 0x30
            out[at + 3] = 0x30
            out[at + 4] = 0x30 + (c >> 4)
            low = c & 0xF
            out[at + 5] = low + (0x30 if low < 10 else 0x57)
            at += 6
        else:
            out[at] = c
            at += 1
    return at
