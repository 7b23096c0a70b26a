"""Gate functions of recurrent cells that LLVM turns into vector code: float32, inside numba kernels."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["sigmoid", "tanh"]

#: Beyond this tanh is 1 in float32.
_CLAMP = np.float32(7.90531110763549805)

# Odd and even coefficients of the rational approximation of tanh that Eigen uses (a few float32 roundings off).
_P1, _P3, _P5 = np.float32(4.89352455891786e-03), np.float32(6.37261928875436e-04), np.float32(1.48572235717979e-05)
_P7, _P9 = np.float32(5.12229709037114e-08), np.float32(-8.60467152213735e-11)
_P11, _P13 = np.float32(2.00018790482477e-13), np.float32(-2.76076847742355e-16)
_Q0, _Q2 = np.float32(4.89352518554385e-03), np.float32(2.26843463243900e-03)
_Q4, _Q6 = np.float32(1.18534705686654e-04), np.float32(1.19825839466702e-06)
_HALF = np.float32(0.5)


@njit(cache=True, inline="always")
def tanh(x):  # type: ignore[no-untyped-def]
    """tanh of a float32, to about 3e-7."""
    x = min(max(x, -_CLAMP), _CLAMP)
    s = x * x
    p = _P1 + s * (_P3 + s * (_P5 + s * (_P7 + s * (_P9 + s * (_P11 + s * _P13)))))
    return x * p / (_Q0 + s * (_Q2 + s * (_Q4 + s * _Q6)))


@njit(cache=True, inline="always")
def sigmoid(x):  # type: ignore[no-untyped-def]
    """Logistic function of a float32, to about 3e-7."""
    return _HALF + _HALF * tanh(_HALF * x)
