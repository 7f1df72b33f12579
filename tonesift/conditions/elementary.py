"""Sine, exponential and logarithm of arrays in IEEE sums and products: the same bits on every processor.

NumPy picks its own by instruction set, and the C library's take a call for each number. Each is brought into a small
range, exactly or nearly so, and is a polynomial there: within 4e-16 of the exact value, relative for `exp`.
"""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_SINE = [(-1.0) ** k / math.factorial(2 * k + 1) for k in range(9)]
_COSINE = [(-1.0) ** k / math.factorial(2 * k) for k in range(9)]
_EXP = [1.0 / math.factorial(k) for k in range(14)]
_LOG = [2.0 / (2 * k + 1) for k in range(12)]
LOG2_HIGH, LOG2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10  # the high one times 1024 is exact


def sine(turns: Array) -> Array:
    """Sine of angles in turns: sin(2 pi x)."""
    quarter = np.rint(4.0 * turns)
    angle = 2.0 * math.pi * (turns - 0.25 * quarter)  # -pi / 4 to pi / 4
    square = angle * angle
    odd, even = angle * _polynomial(_SINE, square), _polynomial(_COSINE, square)
    which = quarter - 4.0 * np.floor(0.25 * quarter)
    value = np.where((which == 1) | (which == 3), even, odd)
    return np.where(which >= 2, -value, value)


def exp(x: Array) -> Array:
    """Exponential of numbers from -700 to 700."""
    power = np.rint(x * (1.0 / math.log(2.0)))
    rest = (x - power * LOG2_HIGH) - power * LOG2_LOW
    return np.ldexp(_polynomial(_EXP, rest), power.astype(np.int64))


def log(x: Array) -> Array:
    """Natural logarithm of numbers above 0."""
    mantissa, power = np.frexp(x)  # 0.5 to 1
    low = mantissa < math.sqrt(0.5)
    mantissa, power = np.where(low, 2.0 * mantissa, mantissa), power - low
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    return power * LOG2_HIGH + (ratio * _polynomial(_LOG, ratio * ratio) + power * LOG2_LOW)


def _polynomial(coefficients: list[float], x: Array) -> Array:
    """Horner's rule, the constant first."""
    value = np.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value *= x
        value += coefficient
    return value
