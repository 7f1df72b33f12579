"""Kalman filter over undamped oscillators: the state, its gains and its error, none of which depends on the data.

A tone of known frequency is ``A cos(phi) sin(w t) + A sin(phi) cos(w t)``: two numbers that stay as they are. With a
uniform phase they are uncorrelated, with mean 0 and variance ``E[A^2] / 2``, and the filter over all tones' pairs is
the best linear estimator there is. `filters.kalman` applies it, `limits.general_mse` gives its error.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tonesift.arguments import Array, checked_frequencies, checked_noise, checked_second_moment

# Noise below this fraction of the root mean square amplitude is lost in double precision and is raised to it.
NOISE_FLOOR = 1e-6


def oscillators(frequencies: npt.ArrayLike, sampling_rate: float, samples: int) -> Array:
    """Sine and cosine of every tone, counted from the start of the segment.

    Parameters
    ----------
    frequencies : array_like, shape (K,)
        Frequencies in Hz, above 0 and below half the sampling rate.
    sampling_rate : float
        Samples per second (Hz).
    samples : int
        Length T of the segment.

    Returns
    -------
    Array, shape (T, K, 2)
        ``sin`` and ``cos`` of ``2 pi f_k t``, so that a tone is ``A cos(phi) sin(.) + A sin(phi) cos(.)``.
    """
    checked = checked_frequencies(frequencies, sampling_rate)
    angle = 2 * np.pi * np.arange(samples)[:, None] * (checked / sampling_rate)
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1)


def kalman_updates(waves: Array, noise_std: float, second_moment: float) -> Iterator[tuple[Array, Array]]:
    """Kalman gain and state covariance after each sample of a segment; neither depends on the data.

    Parameters
    ----------
    waves : Array, shape (T, K, 2)
        Sine and cosine of every tone, from `oscillators`.
    noise_std : float
        Standard deviation of the mixture's noise, at least 0.
    second_moment : float
        Prior second moment E[A^2] of every amplitude, above 0.

    Yields
    ------
    gain : Array, shape (2 K,)
        Change of the state (``A_k cos(phi_k)``, ``A_k sin(phi_k)``, tone by tone) per unit of innovation.
    covariance : Array, shape (2 K, 2 K)
        Covariance of the state's error once the sample is known.

    Notes
    -----
    The covariance is updated in Joseph's form, which rounding cannot make indefinite [1]_. Noise below 1e-6 of the
    root mean square amplitude counts as that, so that the innovation's variance never vanishes.

    References
    ----------
    .. [1] R. S. Bucy and P. D. Joseph, "Filtering for Stochastic Processes with Applications to Guidance", 1968.
    """
    noise_variance = noise_variance_floored(noise_std, second_moment)
    covariance = 0.5 * second_moment * np.eye(waves[0].size)
    identity = np.eye(waves[0].size)
    for row in waves.reshape(len(waves), -1) / waves.shape[1]:
        projected = covariance @ row
        gain = projected / (row @ projected + noise_variance)
        remaining = identity - np.outer(gain, row)
        covariance = remaining @ covariance @ remaining.T + noise_variance * np.outer(gain, gain)
        yield gain, covariance


def noise_variance_floored(noise_std: float, second_moment: float) -> float:
    """Noise variance, raised where it would be lost to rounding beside the amplitudes.

    Parameters
    ----------
    noise_std : float
        Standard deviation of the mixture's noise, at least 0.
    second_moment : float
        Prior second moment E[A^2] of every amplitude, above 0.

    Returns
    -------
    float
        ``max(noise_std^2, 1e-12 E[A^2])``.
    """
    floor = NOISE_FLOOR**2 * checked_second_moment(second_moment)
    return max(checked_noise(noise_std) ** 2, floor)
