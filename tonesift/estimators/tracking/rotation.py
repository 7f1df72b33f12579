"""Sines and cosines with the same last bit on every processor: the C library's depend on it."""

import math


def phasor(turns: float) -> tuple[float, float]:
    """Cosine and sine of so many turns, from 0 to 1/2.

    Notes
    -----
    By symmetry the angle is brought into an eighth of a turn, where the Taylor series converges in a few terms.
    """
    if turns > 0.25:
        cosine, sine = phasor(0.5 - turns)
        return -cosine, sine
    if turns > 0.125:
        cosine, sine = phasor(0.25 - turns)
        return sine, cosine
    angle = 2 * math.pi * turns
    cosine = sine = 0.0
    for order in range(18, -1, -2):  # Horner's rule: 1 - x^2/2! + ..., and x (1 - x^2/3! + ...)
        cosine = 1 - angle * angle / ((order + 1) * (order + 2)) * cosine
        sine = 1 - angle * angle / ((order + 2) * (order + 3)) * sine
    return cosine, angle * sine
