"""Mean of a standard normal number that is known to lie above z: ``h(z) = density(z) / (1 - distribution(z))``.

It is the inverse of Mills' ratio. The kernel reads it from a table, because a C library's exponential function has
other last bits on other processors. `decimal` rounds correctly everywhere, and ``h' = h (h - z)`` gives the slopes.
"""

import functools
from decimal import Decimal, localcontext

import numpy as np

from tonesift.arguments import Array

LOWEST, HIGHEST, STEPS = -8, 8, 32  # of z, and points of the table in one unit of it


@functools.cache
def table() -> Array:
    """Values at ``LOWEST + i / STEPS``, ascending, shape ((HIGHEST - LOWEST) STEPS + 1,)."""
    with localcontext(prec=60):
        root = (2 * Decimal("3.14159265358979323846264338327950288419716939937510582097494459")).sqrt()
        points = [Decimal(LOWEST) + Decimal(index) / STEPS for index in range((HIGHEST - LOWEST) * STEPS + 1)]
        return np.array([float(_hazard(point, root)) for point in points])


def _hazard(point: Decimal, root: Decimal) -> Decimal:
    """With the density's inverse d and the series s = z + z^3/3 + z^5/(3 5) + ...: 1 / (d/2 - s)."""
    inverse_density = root * (point * point / 2).exp()
    term, total, odd = point, point, 1
    while abs(term) > Decimal("1e-40"):
        odd += 2
        term *= point * point / odd
        total += term
    return 1 / (inverse_density / 2 - total)
