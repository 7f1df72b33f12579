"""The best that any linear estimator can do under conditions, told the frequencies and statistics but no path.

What a tone at one sample tells of it at another is its covariance; that decides the best linear estimate, and
its error, whatever the distribution. Estimators that are not linear, such as one that follows the frequency, can do
better; `oracle` has what bounds those.
"""

import numpy as np
from scipy import linalg

from tonesift.arguments import Array
from tonesift.conditions import processes
from tonesift.data import signals
from tonesift.data.recordings import Facts
from tonesift.errors import InputError
from tonesift.estimators.kalman import NOISE_FLOOR

NOT_STATIONARY = ("background", "clip", "gap_share")  # what such a covariance cannot say


def linear_mse(facts: Facts, samples: int, index: int, past: int, hop: int = 1) -> Array:
    """Expected squared error of the best linear estimator with so much of the past, for each tone.

    Parameters
    ----------
    facts : Facts
        Of recordings for task general.
    samples : int
        N of the recordings: coloured noise is slower in longer ones.
    index : int
        The recording: its frequencies, levels and exponent are told.
    past : int
        Samples known when a step is answered, the step's own `hop` the last of them.
    hop : int
        Samples that are answered at once.

    Returns
    -------
    Array, shape (K,)
        In the amplitudes' unit squared; the mean over the samples of a step.

    Raises
    ------
    InputError
        If a condition has no stationary covariance: gaps, clipping, a background, or tails without a variance.

    Notes
    -----
    With r_k(l) the covariance of tone k, c what is left of a tone in the mixture on average, and y_i the mixture i
    samples before the last: cov(y_i, y_j) = c^2 / K^2 sum_k r_k(i - j) for i other than j, and cov(y_i, tone_k) at the
    sample j before the last is c / K r_k(i - j). Jitter and outliers take c from the mixture and add white noise.
    """
    refused = [name for name in NOT_STATIONARY if facts.conditions.needs(name)]
    if refused:
        raise InputError(f"data.conditions.{refused[0]}: there is no stationary covariance: take the oracle's limit")
    tones = tone_covariances(facts, index, past)
    share, mixture = _mixture_covariance(facts, samples, index, tones)
    lags = np.abs(np.arange(past)[:, None] - np.arange(hop))  # (past, hop)
    cross = share / len(tones) * tones[:, lags].transpose(1, 0, 2).reshape(past, -1)
    explained = np.sum(cross * linalg.solve_toeplitz(mixture, cross), axis=0).reshape(len(tones), hop)
    return tones[:, 0] - explained.mean(axis=1)


def tone_covariances(facts: Facts, index: int, lags: int) -> Array:
    """Covariance of each tone with itself 0 to `lags` - 1 samples apart, shape (K, lags).

    Notes
    -----
    A cosine, times E[A^2] / 2, times what each condition leaves: exp(-V / 2) of a phase whose difference has variance
    V, exp(s^2 (1 + rho)) of a log amplitude of variance s^2 and correlation rho, and half the chance that a tone does
    not switch in between.
    """
    conditions, rate, lag = facts.conditions, facts.sampling_rate, np.arange(float(lags))
    frequencies = np.array(facts.tones_of(index))[:, None]
    moments = [signals.uniform_second_moment(*each) for each in conditions.amplitude_ranges or ()]
    moments = np.array(moments or [facts.second_moment] * len(frequencies))[:, None]
    found = 0.5 * moments * np.cos(2 * np.pi * frequencies / rate * lag)
    if conditions.drift:
        decay = np.exp(-lag / (conditions.drift_time * rate))
        steps = 1.0 + 2.0 * np.cumsum(np.concatenate([[0.0], decay[1:]]))
        spread = np.concatenate([[0.0], np.cumsum(steps)])[:lags]  # of a sum of n values: n + 2 sum_l (n - l) decay^l
        found *= np.exp(-0.5 * (2 * np.pi * frequencies / rate * conditions.drift) ** 2 * spread)
    if conditions.phase_walk:
        found *= np.exp(-0.5 * conditions.phase_walk**2 * lag / rate)
    if conditions.wander:
        found *= np.exp(conditions.wander**2 * (1.0 + np.exp(-lag / (conditions.wander_time * rate))))
    if conditions.dwell:
        found *= 0.5 * np.exp(-lag / (conditions.dwell * rate))
    return found


def _mixture_covariance(facts: Facts, samples: int, index: int, tones: Array) -> tuple[float, Array]:
    """What is left of a tone in the mixture on average, and the mixture's covariance, shape (lags,)."""
    conditions = facts.conditions
    angle = np.deg2rad(conditions.jitter_phase)
    jitter = float(np.sinc(angle / np.pi))  # the mean of a cosine
    clean = tones.sum(axis=0) / len(tones) ** 2
    mixture = jitter**2 * clean
    mixture[0] = (1.0 + conditions.jitter_amplitude**2 / 3.0) * clean[0] + _noise_variance(facts, index)
    if conditions.coloured:
        exponent, std = (float(facts.drawn[name][index]) for name in ("coloured_exponent", "coloured"))
        mixture += processes.coloured_covariance(samples, exponent, std)[: len(mixture)]
    present, variance = 1.0 - conditions.outlier_share, mixture[0]
    mixture *= present**2
    mixture[0] = present * variance + conditions.outlier_share * conditions.outlier_std**2
    return present * jitter, mixture


def _noise_variance(facts: Facts, index: int) -> float:
    conditions, variance = facts.conditions, facts.noise_std**2
    if conditions.tail_scale:
        freedom = conditions.tail_freedom
        if freedom <= 2:
            raise InputError(
                f"data.conditions.tail_freedom: got {freedom:g}, but Student's t has no variance up to 2, and no "
                "linear estimator an error: take the oracle's limit"
            )
        variance += facts.drawn["tail_scale"][index] ** 2 * freedom / (freedom - 2.0)
    variance *= 1.0 + conditions.burst_share * (conditions.burst_factor**2 - 1.0)
    return max(variance, NOISE_FLOOR**2 * facts.second_moment)
