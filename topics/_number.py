"""Numbers and times in JSON text, to the nearest float64, for the decoding kernel."""
# mypy: disable-error-code="no-untyped-def,assignment"

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from topics._bits import count_leading_zeros, multiply_high

__all__ = ["FIVES", "parse_iso", "parse_number", "to_float"]

#: Decimal exponents the kernel converts; beyond them msgspec does.
MAX_EXPONENT = 55

#: Digits that always fit a uint64.
MAX_DIGITS = 19

_POWERS_OF_TEN = 10.0 ** np.arange(23)
_EXACT = np.uint64(1 << 53)


def _fives() -> NDArray[np.uint64]:
    """[2 * MAX_EXPONENT + 1, 2]: upper and lower word of 5^q, its highest bit moved to bit 127.

    Powers are cut off; reciprocals are rounded up, as the proof of the conversion wants it.
    """
    rows = []
    for q in range(-MAX_EXPONENT, MAX_EXPONENT + 1):
        power = 5 ** abs(q)
        bits = power.bit_length()
        if q >= 0:
            value = power << (128 - bits) if bits <= 128 else power >> (bits - 128)
        else:
            value = (1 << (bits + 127)) // power + 1
            value >>= value.bit_length() - 128
        rows.append((value >> 64, value & (2**64 - 1)))
    return np.array(rows, np.uint64)


FIVES = _fives()


@njit(_nrt=False, error_model="numpy")
def _eisel_lemire(mantissa, exponent):
    """mantissa * 10^exponent to the nearest float64, ties to even; (value, sure).

    The algorithm of D. Lemire, "Number parsing at a gigabyte per second", Software: Practice and Experience 51 (2021):
    the upper bits of mantissa * 5^exponent from one or two 128-bit products. Not sure only where the product is too
    close to the middle of two floats, or the result is not a normal number.
    """
    shift = count_leading_zeros(mantissa)
    w = mantissa << np.uint64(shift)
    high5 = FIVES[exponent + MAX_EXPONENT, 0]
    upper = multiply_high(w, high5)
    lower = w * high5
    if upper & np.uint64(0x1FF) == np.uint64(0x1FF):  # the lower half of 5^q may change the bits that are kept
        carry = multiply_high(w, FIVES[exponent + MAX_EXPONENT, 1])
        lower = lower + carry
        if lower < carry:
            upper = upper + np.uint64(1)
    if lower == ~np.uint64(0) and (exponent < -27 or exponent > 55):
        return 0.0, False
    top = upper >> np.uint64(63)
    cut = top + np.uint64(9)  # leaves 54 bits: 53 and the one that decides the rounding
    bits = upper >> cut
    power = ((217706 * exponent) >> 16) + 63 + np.int64(top) - shift + 1023  # 217706 / 2^16: log2(10)
    if power <= 0 or power >= 2046:
        return 0.0, False
    tie = lower <= np.uint64(1) and -4 <= exponent <= 23 and (bits & np.uint64(3)) == np.uint64(1)
    if tie and (bits << cut) == upper:
        bits = bits & ~np.uint64(1)  # exactly in the middle: to even
    bits = (bits + (bits & np.uint64(1))) >> np.uint64(1)
    if bits == np.uint64(1 << 53):
        bits = np.uint64(1 << 52)
        power += 1
    word = (bits & np.uint64((1 << 52) - 1)) | (np.uint64(power) << np.uint64(52))
    return np.uint64(word).view(np.float64), True


@njit(_nrt=False, error_model="numpy")
def to_float(mantissa, exponent):
    """mantissa * 10^exponent as the nearest float64; (value, sure)."""
    if mantissa == np.uint64(0):
        return 0.0, True
    if exponent == 0:
        return np.float64(mantissa), True  # the machine rounds to nearest
    if mantissa <= _EXACT and -22 <= exponent <= 22:  # both factors are exact, so one rounding gives the nearest
        if exponent < 0:
            return np.float64(mantissa) / _POWERS_OF_TEN[-exponent], True
        return np.float64(mantissa) * _POWERS_OF_TEN[exponent], True
    if exponent < -MAX_EXPONENT or exponent > MAX_EXPONENT:
        return 0.0, False
    return _eisel_lemire(mantissa, exponent)


@njit(_nrt=False, error_model="numpy")
def parse_number(data, i, end):
    """The JSON number at `i`: (position after it or -1, negative, mantissa, exponent, is an integer)."""
    mantissa = np.uint64(0)
    exponent = 0
    negative = i < end and data[i] == 0x2D
    if negative:
        i += 1
    start = i
    while i < end:
        digit = np.uint64(data[i]) - np.uint64(0x30)
        if digit > np.uint64(9):
            break
        mantissa = mantissa * np.uint64(10) + digit
        i += 1
    digits = i - start
    if digits == 0 or (digits > 1 and data[start] == 0x30):
        return -1, negative, mantissa, exponent, False
    integer = True
    if i < end and data[i] == 0x2E:
        integer = False
        i += 1
        point = i
        while i < end:
            digit = np.uint64(data[i]) - np.uint64(0x30)
            if digit > np.uint64(9):
                break
            mantissa = mantissa * np.uint64(10) + digit
            i += 1
        exponent = point - i
        if exponent == 0:
            return -1, negative, mantissa, exponent, False
        digits -= exponent
    if digits > MAX_DIGITS:  # counts leading zeros too: rare enough to leave to msgspec
        return -1, negative, mantissa, exponent, integer
    if i < end and (data[i] == 0x65 or data[i] == 0x45):
        integer = False
        i += 1
        minus = i < end and data[i] == 0x2D
        if i < end and (data[i] == 0x2D or data[i] == 0x2B):
            i += 1
        begin = i
        power = np.int64(0)
        while i < end and 0x30 <= data[i] <= 0x39 and i - begin < 4:
            power = power * 10 + np.int64(data[i]) - 0x30
            i += 1
        if i == begin or i - begin > 3:
            return -1, negative, mantissa, exponent, False
        exponent += -power if minus else power
    return i, negative, mantissa, exponent, integer


@njit(_nrt=False, error_model="numpy")
def _digits(data, i, count):
    """`count` decimal digits as an int, -1 where one is none."""
    value = np.int64(0)
    for k in range(i, i + count):
        if data[k] < 0x30 or data[k] > 0x39:
            return -1
        value = value * 10 + np.int64(data[k]) - 0x30
    return value


@njit(_nrt=False, error_model="numpy")
def _days(year, month, day):
    """Days since 1970-01-01 in the Gregorian calendar; years begin in March so that the leap day comes last."""
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


@njit(_nrt=False, error_model="numpy")
def _month_days(year, month):
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


@njit(_nrt=False, error_model="numpy")
def parse_iso(data, i, end):
    """`YYYY-MM-DDTHH:MM:SS[.ffffff][Z|+hh:mm]` between `i` and `end`: (seconds since the epoch, sure)."""
    if end - i < 19 or data[i + 4] != 0x2D or data[i + 7] != 0x2D or data[i + 13] != 0x3A or data[i + 16] != 0x3A:
        return 0.0, False
    if data[i + 10] != 0x54 and data[i + 10] != 0x20:
        return 0.0, False
    year, month, day = _digits(data, i, 4), _digits(data, i + 5, 2), _digits(data, i + 8, 2)
    hour, minute, second = _digits(data, i + 11, 2), _digits(data, i + 14, 2), _digits(data, i + 17, 2)
    # Up to 2200 the microseconds fit the 53 bits of a float64, so that one division rounds to the nearest.
    if year < 1970 or year > 2200 or month < 1 or month > 12 or day < 1 or day > _month_days(year, month):
        return 0.0, False
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return 0.0, False
    microseconds = ((_days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second
    microseconds *= 1_000_000
    i += 19
    if i < end and data[i] == 0x2E:
        start = i + 1
        i = start
        unit = 100_000
        while i < end and 0x30 <= data[i] <= 0x39:
            microseconds += (np.int64(data[i]) - 0x30) * unit
            unit //= 10
            i += 1
        if i == start or i - start > 6:
            return 0.0, False
    if i == end:
        return microseconds / 1e6, True
    if i + 1 == end and data[i] == 0x5A:
        return microseconds / 1e6, True
    if i + 6 == end and data[i + 3] == 0x3A and (data[i] == 0x2B or data[i] == 0x2D):
        hours, minutes = _digits(data, i + 1, 2), _digits(data, i + 4, 2)
        if 0 <= hours <= 23 and 0 <= minutes <= 59:
            offset = (hours * 60 + minutes) * 60_000_000
            microseconds += offset if data[i] == 0x2D else -offset
            return microseconds / 1e6, True
    return 0.0, False
