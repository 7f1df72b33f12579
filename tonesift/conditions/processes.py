"""Random processes, sampled: what conditions are made of.

Each takes a generator of its own and draws from nothing else. Sums and products only, and sequential ones: the same
bits on every processor.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from tonesift.conditions import elementary

Array = NDArray[np.float64]


def ornstein_uhlenbeck(
    generator: np.random.Generator, shape: tuple[int, ...], std: float, samples_of_time: float
) -> Array:
    """Stationary Ornstein-Uhlenbeck processes of mean 0, along the last axis.

    Parameters
    ----------
    generator : numpy.random.Generator
        Source.
    shape : tuple of int
        (..., N).
    std : float
        Standard deviation s.
    samples_of_time : float
        Time constant T in samples: the covariance of samples n apart is s^2 exp(-n / T).

    Notes
    -----
    Exact at the samples: x_0 = s g_0, x_n = r x_(n-1) + s sqrt(1 - r^2) g_n, r = exp(-1 / T), g white and standard.
    """
    decay = math.exp(-1.0 / samples_of_time)
    noise = generator.standard_normal(shape)
    noise[..., 0] *= std
    noise[..., 1:] *= std * math.sqrt(-math.expm1(-2.0 / samples_of_time))
    return signal.lfilter([1.0], [1.0, -decay], noise, axis=-1)


def random_walk(generator: np.random.Generator, shape: tuple[int, ...], step: float) -> Array:
    """Sums of steps of a standard deviation along the last axis, which begin at 0."""
    steps = step * generator.standard_normal(shape)
    steps[..., 0] = 0.0
    return np.cumsum(steps, axis=-1)


def coloured(generator: np.random.Generator, samples: int, exponent: float, std: float) -> Array:
    """Stationary Gaussian noise of spectrum 1 / f^a, shape (N,).

    Parameters
    ----------
    generator : numpy.random.Generator
        Source.
    samples : int
        N.
    exponent : float
        a, from 0 up.
    std : float
        Standard deviation of the process.

    Notes
    -----
    The first N samples of one of period P, the smallest power of two that is at least 2 N: sinusoids at 1 to P / 2 - 1
    times fs / P, with independent normal amplitudes of a variance as `coloured_variances` has it.
    """
    period = _period(samples)
    size = np.sqrt(coloured_variances(samples, exponent, std))  # correctly rounded everywhere
    cosines, sines = generator.standard_normal((2, size.size))
    spectrum = np.zeros(period // 2 + 1, dtype=np.complex128)
    spectrum.real[1:-1], spectrum.imag[1:-1] = 0.5 * period * size * cosines, -0.5 * period * size * sines
    return np.fft.irfft(spectrum, period)[:samples]


def coloured_variances(samples: int, exponent: float, std: float) -> Array:
    """Variance of the cosine, and of the sine, at each of the frequencies j fs / P of `coloured`, j from 1 up."""
    j = np.arange(1.0, _period(samples) // 2)
    shape = elementary.exp(-exponent * elementary.log(j))
    return shape * (std * std / float(np.cumsum(shape)[-1]))


def coloured_covariance(samples: int, exponent: float, std: float) -> Array:
    """Covariance of samples 0 to N - 1 apart of `coloured`."""
    variances = coloured_variances(samples, exponent, std)
    spectrum = np.zeros(_period(samples) // 2 + 1)
    spectrum[1:-1] = 0.5 * _period(samples) * variances
    return np.fft.irfft(spectrum, _period(samples))[:samples]


def _period(samples: int) -> int:
    return max(1 << (2 * samples - 1).bit_length(), 4)


def pieces(
    generator: np.random.Generator, samples: int, share: float, length: tuple[float, float]
) -> NDArray[np.bool_]:
    """Which samples lie in pieces that come at random, shape (N,).

    Parameters
    ----------
    generator : numpy.random.Generator
        Source.
    samples : int
        N.
    share : float
        Expected share of the samples that do, above 0 and below 1; the same at every sample.
    length : (float, float)
        Shortest and longest piece in samples, uniform.

    Notes
    -----
    A stationary alternating renewal process: pieces of mean length m, and between them exponential times of mean
    m (1 - share) / share. What is left of a piece that is on at the start is a uniform part of one whose length is
    drawn in proportion to length.
    """
    low, high = length
    between = 0.5 * (low + high) * (1.0 - share) / share
    inside = np.zeros(samples, dtype=bool)
    begin = end = 0.0
    if generator.random() < share:
        end = generator.random() * math.sqrt(low * low + generator.random() * (high * high - low * low))
    while begin < samples:
        inside[math.ceil(begin) : max(math.ceil(end), 0)] = True
        begin = end + generator.exponential(between)
        end = begin + generator.uniform(low, high)
    return inside


def switch_times(generator: np.random.Generator, samples: int, dwell: float) -> tuple[bool, list[int]]:
    """Whether something is on at first, and the samples at which it changes: exponential times of mean `dwell`."""
    on, changes, time = bool(generator.random() < 0.5), [], generator.exponential(dwell)
    while time < samples - 1:
        changes.append(math.ceil(time))
        time += generator.exponential(dwell)
    return on, changes


def log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform."""
    return float(low * math.exp(generator.random() * math.log(high / low)))


def random_set(generator: np.random.Generator, tones: int, low: float, high: float, distance: float) -> list[float]:
    """Frequencies in ascending order, each log-uniform from what is left by those drawn before it; [] if none is.

    Parameters
    ----------
    generator : numpy.random.Generator
        Source.
    tones : int
        How many.
    low, high, distance : float
        Hz; lowest and highest frequency, and least distance.
    """
    for _ in range(SETS):
        found: list[float] = []
        for _ in range(TRIES * tones):
            tone = log_uniform(generator, low, high)
            if all(abs(tone - other) >= max(distance, 1e-9 * tone) for other in found):
                found.append(tone)
            if len(found) == tones:
                return sorted(found)
    return []


TRIES = 100  # draws of a set, for each of its tones
SETS = 100  # sets that are begun
