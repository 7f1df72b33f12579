"""Samples as they come from outside, and what is done about those that are no numbers to compute with."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tonesift.errors import InputError

GAPS = ("refuse", "zero", "hold")
LARGEST = 1e30  # beyond it float32 arithmetic overflows, and a network's state would never recover


class Gaps:
    """What is done about samples that are no numbers to compute with: NaN, infinite or beyond 1e30.

    Parameters
    ----------
    how : {'refuse', 'zero', 'hold', 'predict'}
        'refuse' raises; 'zero' puts 0 in their place; 'hold' the last good sample before them, 0 if there was none;
        'predict' NaN, for a filter that knows how to go on without them.
    allowed : tuple of str
        Which of these the filter can do with.

    Attributes
    ----------
    filled : int
        Samples replaced so far.
    last : float
        The last good sample.
    """

    def __init__(self, how: str, allowed: tuple[str, ...] = GAPS) -> None:
        if how not in allowed:
            raise InputError(f"gaps: got {how!r}, but it is one of {', '.join(allowed)}")
        self.how, self.filled, self.last = how, 0, 0.0

    def fill(self, samples: NDArray, first: int) -> NDArray:
        """Samples (n,) with every gap filled; `first` is the number of the first one in the stream, from 0."""
        good = np.abs(samples) <= LARGEST
        if not good.all():
            samples = self._filled(samples, good, first)
        if len(samples) and self.how != "predict":
            self.last = float(samples[-1])
        return samples

    def _filled(self, samples: NDArray, good: NDArray[np.bool_], first: int) -> NDArray:
        if self.how == "refuse":
            at = int(np.argmin(good))
            raise InputError(
                f"sample {first + at} of the stream (counted from 0) is {samples[at]}, but every sample must be finite "
                f"and within +-{LARGEST:g}: mend the signal, or have gaps filled (zero or hold)"
            )
        self.filled += int(np.count_nonzero(~good))
        if self.how != "hold":
            return np.where(good, samples, samples.dtype.type(0 if self.how == "zero" else np.nan))
        known = np.concatenate([np.array([self.last], dtype=samples.dtype), samples])
        latest = np.maximum.accumulate(np.where(good, np.arange(1, len(known)), 0))
        return known[latest]


def as_samples(values: ArrayLike, dtype: str = "f4") -> NDArray:
    """Samples (n,) as float32, or another type of float; what does not fit becomes infinite.

    Raises
    ------
    InputError
        If they are not one-dimensional or no real numbers.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(f"samples: got shape {array.shape}, but a stream is one-dimensional, shape (n,): push one row")
    if array.dtype.kind not in "fiu":
        raise InputError(f"samples: got {array.dtype}, but they must be real numbers (float or integer)")
    with np.errstate(over="ignore"):
        return array.astype(dtype, copy=False)
