"""The common period of sampled tones: how long until a recording has seen all that it does."""

import math
from fractions import Fraction

import numpy.typing as npt

from tonesift.arguments import checked_frequencies


def common_period(frequencies: npt.ArrayLike, sampling_rate: float, max_samples: int) -> int | None:
    """Count the samples after which all sampled tones repeat together, exactly.

    Parameters
    ----------
    frequencies : array_like, shape (K,)
        Frequencies in Hz, above 0 and below half the sampling rate.
    sampling_rate : float
        Samples per second (Hz).
    max_samples : int
        Longest period of interest, in samples.

    Returns
    -------
    int or None
        The common period in samples; None if it is longer than `max_samples`.

    Notes
    -----
    Tone k repeats after n samples when ``n f_k / fs`` is a whole number. Each ratio is the exact fraction of the two
    decimal numbers as printed (0.1 is one tenth), so n is the least common multiple of the denominators. A single tone
    of 3 Hz at 1000 Hz therefore repeats after 1000 samples, three of its cycles, although one cycle is no whole number
    of samples.
    """
    checked = checked_frequencies(frequencies, sampling_rate)
    rate = _decimal_fraction(sampling_rate)
    period = math.lcm(*((_decimal_fraction(frequency) / rate).denominator for frequency in checked))
    return period if period <= max_samples else None


def _decimal_fraction(value: float) -> Fraction:
    """Fraction equal to a number's shortest decimal form, so that 0.1 is one tenth."""
    return Fraction(repr(float(value)))
