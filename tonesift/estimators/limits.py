"""The best that any estimator could do on a mixture of tones in white noise.

A score means little until it is set beside the best possible one. Two tasks have a best estimator that can be computed:

- **fixed**: the waveforms are known and only the offset of the segment within them is not. The posterior mean over
  the offsets is optimal. Its error has no closed form, so it is averaged over simulated noise: 4000 draws take seconds
  and leave R^2 uncertain by about 0.001.
- **general**: amplitudes and phases are random and only the frequencies are known. The Kalman filter is optimal among
  linear estimators. Its error is exact and costs microseconds a sample, but a non-linear estimator that exploits the
  shape of the amplitude prior could do slightly better.

Every limit depends on how much of the segment was read before each answer. That is the argument ``seen`` everywhere:
``seen[t]`` counts the samples, from the start of the segment, which are known when sample ``t`` is answered. A state
which is reset every 50 samples is a segment of 50; a state which is carried on is a long segment.

    mse, _ = fixed_mse(tones, 0.1, causal(50), draws=4000, generator=np.random.default_rng(1))
    r2(mse, power=np.full(4, 0.5))

Model: ``tone_k(t) = A_k sin(2 pi f_k t + phi_k)``, ``mixture(t) = mean_k tone_k(t) + noise(t)``, white Gaussian noise.
"""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tonesift.arguments import (
    Array,
    Counts,
    checked_mixture,
    checked_noise,
    checked_second_moment,
    checked_seen,
)
from tonesift.estimators.kalman import kalman_updates, oscillators

# A candidate this much less likely than the truth (log ratio) is dropped: exp(-45) is 3e-20.
PRUNE_LOG_RATIO = -45.0
# Samples between two attempts to drop candidates.
PRUNE_EVERY = 4
# Numbers held at once for a block of segments: 1 MB of float64, which stays in the processor's cache.
BLOCK_NUMBERS = 2**17
# The noise of a simulated segment is read once, sample by sample: it may be this many times longer than that.
NOISE_SHARE = 16
# Noise below this fraction of the amplitude is lost in double precision and is raised to it.
OFFSET_NOISE_FLOOR = 1e-9


# ---------------------------------------------------------------------------------------------------------------------
# How much has been seen


def causal(samples: int) -> Counts:
    """Count what an estimator has seen that reads one sample and then answers about it.

    Parameters
    ----------
    samples : int
        Length T of the segment, at least 1.

    Returns
    -------
    Counts
        ``t + 1`` for every sample t, shape (T,).
    """
    return hopped(samples, hop=1)


def hopped(samples: int, hop: int) -> Counts:
    """Count what an estimator has seen that reads `hop` samples at a time and then answers about all of them.

    Parameters
    ----------
    samples : int
        Length T of the segment, at least 1.
    hop : int
        Samples read at a time, at least 1; the last group may be shorter.

    Returns
    -------
    Counts
        ``min((t // hop + 1) * hop, T)`` for every sample t, shape (T,).
    """
    for name, value in (("samples", samples), ("hop", hop)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, but got {name}={value}: count whole samples.")
    return np.minimum((np.arange(samples, dtype=np.int64) // hop + 1) * hop, samples)


def smoother(samples: int) -> Counts:
    """Count what an estimator has seen that reads the whole segment before its first answer.

    Parameters
    ----------
    samples : int
        Length T of the segment, at least 1.

    Returns
    -------
    Counts
        T for every sample, shape (T,).
    """
    return hopped(samples, hop=samples)


# ---------------------------------------------------------------------------------------------------------------------
# Fixed task: the waveforms are known, the offset is not


def fixed_mse(
    tones: npt.ArrayLike,
    noise_std: float,
    seen: npt.ArrayLike,
    *,
    draws: int,
    generator: np.random.Generator,
    periodic: bool = True,
) -> tuple[Array, Array]:
    """Mean squared error of the posterior mean when only the segment's offset is unknown.

    Parameters
    ----------
    tones : array_like, shape (K, N)
        Clean tones: one common period if `periodic`, otherwise a recording of at least T samples.
    noise_std : float
        Standard deviation of the mixture's noise, in the unit of the tones, at least 0.
    seen : array_like of int, shape (T,)
        Samples known when each sample is answered, from 0 to T.
    draws : int
        Simulated segments, an even number. The Monte Carlo error falls as ``1 / sqrt(draws)``.
    generator : numpy.random.Generator
        Source of the simulated offsets and noise.
    periodic : bool
        Whether the tones repeat after N samples, so that all N offsets are candidates. Otherwise the candidates are
        the offsets 0 to N - T at which the segment lies within the recording.

    Returns
    -------
    mse : Array, shape (K, T)
        Expected squared error for each tone and sample, in the tones' unit squared.
    standard_error : Array, shape (K, T)
        Standard error of `mse` over the draws. Neighbouring samples share their draws: averaging `mse` over samples
        hardly lowers it, and the average of `standard_error` is an upper bound for that of the average.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or lies outside its range.

    Notes
    -----
    The expected squared error of a posterior mean is the expected posterior variance. Averaging that variance instead
    of simulated errors removes most of the Monte Carlo noise (Rao-Blackwellisation). True offsets are spread evenly
    over the candidates, one to each of as many strata as draws; the standard error comes from the differences within
    pairs of neighbouring strata [1]_, which overstates it slightly.

    Candidates are dropped once they are ``exp(-45)`` times less likely than the truth. The likelihood ratio of a false
    candidate to the truth is a martingale under the truth, so its expected weight at any later time is at most its
    weight when it was dropped: the bias is below ``4 N exp(-45) max|tone|^2``, under 1e-14 for a thousand candidates.

    References
    ----------
    .. [1] W. G. Cochran, "Sampling Techniques", 3rd edition, 1977, chapter 5A (one unit per stratum).
    """
    counts = checked_seen(seen)
    std = checked_noise(noise_std)
    track = _unrolled(tones, len(counts), periodic)
    if draws < 2 or draws % 2:
        raise ValueError(f"draws must be an even number above 0, but got draws={draws}: the error compares pairs.")
    offsets = track.shape[1] - len(counts) + 1
    truths = stratified_offsets(offsets, draws, generator)
    total, total_squares = np.zeros((2, len(track), len(counts)))
    for block in _paired_blocks(truths, width=max(offsets, len(counts) // NOISE_SHARE)):
        for sample, variance in _simulated_variances(track, std, counts, block, generator):
            total[:, sample] += variance.sum(axis=1)
            total_squares[:, sample] += ((variance[:, ::2] - variance[:, 1::2]) ** 2).sum(axis=1)
    return total / draws, np.sqrt(total_squares) / draws


def posterior_mean(
    mixture: npt.ArrayLike, tones: npt.ArrayLike, noise_std: float, seen: npt.ArrayLike, *, periodic: bool = True
) -> Array:
    """Estimate the tones from segments of known waveforms at unknown offsets.

    It is the estimator whose error `fixed_mse` gives; no other has a smaller mean squared error on the fixed task.

    Parameters
    ----------
    mixture : array_like, shape (..., T)
        Noisy segments, each with an offset of its own.
    tones : array_like, shape (K, N)
        Clean tones: one common period if `periodic`, otherwise a recording of at least T samples.
    noise_std : float
        Standard deviation of the mixture's noise, in the unit of the tones, at least 0.
    seen : array_like of int, shape (T,)
        Samples used for the answer about each sample, from 0 to T.
    periodic : bool
        Whether the tones repeat after N samples, see `fixed_mse`.

    Returns
    -------
    Array, shape (..., K, T)
        Posterior mean of every tone at every sample.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or lies outside its range.

    Notes
    -----
    With all offsets o equally likely beforehand, the weight of one is
    ``exp(-sum_i (y_i - m(o + i))^2 / (2 sigma^2))`` over the samples i seen, and the estimate of ``tone_k(o + t)`` is
    its weighted mean [1]_. Noise below 1e-9 of the largest tone counts as that: without noise the weight is then
    uniform over the offsets which match.

    References
    ----------
    .. [1] S. M. Kay, "Fundamentals of Statistical Signal Processing: Estimation Theory", 1993, chapter 11.
    """
    counts = checked_seen(seen)
    segments = checked_mixture(mixture)
    if segments.shape[-1] != len(counts):
        raise ValueError(
            f"seen needs one count for each of the mixture's samples, but got {len(counts)} counts for "
            f"{segments.shape[-1]} samples: build it for the length of the segments."
        )
    track = _unrolled(tones, len(counts), periodic)
    flat = segments.reshape(-1, len(counts))
    std = checked_noise(noise_std)
    blocks = min(len(flat), math.ceil(len(flat) * track.shape[1] / BLOCK_NUMBERS))
    estimates = [_block_means(block, track, std, counts) for block in np.array_split(flat, blocks)]
    return np.concatenate(estimates).reshape(*segments.shape[:-1], len(track), len(counts))


def _unrolled(tones: npt.ArrayLike, samples: int, periodic: bool) -> Array:
    """Tones (K, O + T - 1) in which the segment at offset o is the slice ``[o, o + T)``, for O offsets."""
    checked = np.asarray(tones, dtype=np.float64)
    if checked.ndim != 2 or not checked.size or not np.isfinite(checked).all():
        raise ValueError(
            f"tones must be finite numbers of shape (tones, samples), but got shape {checked.shape}: "
            "pass the clean tones, one row each."
        )
    if periodic:
        return np.take(checked, np.arange(checked.shape[1] + samples - 1), axis=1, mode="wrap")
    if checked.shape[1] < samples:
        raise ValueError(
            f"a recording must be as long as the segment, but got {checked.shape[1]} samples for a segment of "
            f"{samples}: pass a longer recording or fewer counts in seen."
        )
    return checked


def stratified_offsets(offsets: int, draws: int, generator: np.random.Generator) -> Counts:
    """Offsets (D,), one uniformly from each of D equal parts of the range, in rising order."""
    places = (np.arange(draws) + generator.random(draws)) / draws
    return np.minimum((places * offsets).astype(np.int64), offsets - 1)


def _paired_blocks(truths: Counts, width: int) -> list[Counts]:
    """Split the draws into blocks of a bounded size for `width` numbers each, keeping neighbours in pairs."""
    pairs = truths.reshape(-1, 2)
    blocks = min(len(pairs), math.ceil(len(truths) * width / BLOCK_NUMBERS))
    return [block.reshape(-1) for block in np.array_split(pairs, blocks)]


def _precision(track: Array, noise_std: float) -> float:
    """Half the inverse noise variance, with the noise raised to the level of rounding errors."""
    peak = float(np.abs(track).max()) or 1.0
    return 0.5 / max(noise_std, OFFSET_NOISE_FLOOR * peak) ** 2


def _simulated_variances(
    track: Array, noise_std: float, seen: Counts, truths: Counts, generator: np.random.Generator
) -> Iterator[tuple[int, Array]]:
    """Simulate one segment for each true offset; yield samples and their posterior variances (K, D)."""
    mixture, precision = track.mean(axis=0), _precision(track, noise_std)
    noise = noise_std * generator.standard_normal((len(truths), int(seen.max())))
    candidates = np.tile(np.arange(track.shape[1] - len(seen) + 1), (len(truths), 1))
    log_ratio = np.zeros(candidates.shape)
    known = 0
    for count in np.unique(seen):
        for sample in range(known, count):
            log_ratio -= precision * _excess(mixture, noise[:, sample], candidates + sample, truths + sample)
            if sample % PRUNE_EVERY == PRUNE_EVERY - 1:
                candidates, log_ratio = without_unlikely(candidates, log_ratio)
        if candidates.shape[1] == 1:
            return  # every draw's offset is known, so all later variances are 0
        known = count
        weights = np.exp(log_ratio)
        weights /= weights.sum(axis=1, keepdims=True)
        for sample in np.flatnonzero(seen == count):
            yield sample, weighted_variances(track, weights, candidates + sample)


def _excess(mixture: Array, noise: Array, candidates: Counts, truths: Counts) -> Array:
    """Squared residuals (D, C) of the candidates at one sample, less that of the truth."""
    observed = mixture[truths] + noise
    residual = observed[:, None] - mixture[candidates]
    return residual**2 - noise[:, None] ** 2


def without_unlikely(candidates: Counts, log_ratio: Array) -> tuple[Counts, Array]:
    """Keep each draw's likeliest candidates, as many as the draw with the most likely ones needs."""
    width = int((log_ratio > PRUNE_LOG_RATIO).sum(axis=1).max())
    if width > 0.9 * candidates.shape[1]:
        return candidates, log_ratio
    kept = np.argpartition(log_ratio, -width, axis=1)[:, -width:]
    return np.take_along_axis(candidates, kept, axis=1), np.take_along_axis(log_ratio, kept, axis=1)


def weighted_variances(track: Array, weights: Array, places: Counts) -> Array:
    """Variances (K, D) of the tones at candidate places (D, C) of the track under weights (D, C)."""
    variances = np.empty((len(track), len(weights)))
    for tone, row in enumerate(track):
        values = row[places]
        weighted = weights * values
        variances[tone] = np.vecdot(weighted, values) - weighted.sum(axis=1) ** 2
    return np.maximum(variances, 0.0)


def _block_means(segments: Array, track: Array, noise_std: float, seen: Counts) -> Array:
    """Posterior means (W, K, T) for a block of segments (W, T)."""
    mixture, precision = track.mean(axis=0), _precision(track, noise_std)
    offsets = track.shape[1] - len(seen) + 1
    log_weight = np.zeros((len(segments), offsets))
    means = np.empty((len(seen), len(segments), len(track)))
    known = 0
    for count in np.unique(seen):
        for sample in range(known, count):
            log_weight -= precision * (segments[:, sample, None] - mixture[sample : sample + offsets]) ** 2
        known = count
        weights = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        for sample in np.flatnonzero(seen == count):
            means[sample] = weights @ track[:, sample : sample + offsets].T
    return np.moveaxis(means, 0, -1)


# ---------------------------------------------------------------------------------------------------------------------
# General task: amplitudes and phases are random, the frequencies are known


def general_mse(
    frequencies: npt.ArrayLike,
    sampling_rate: float,
    noise_std: float,
    second_moment: float,
    seen: npt.ArrayLike,
) -> Array:
    """Mean squared error of the best linear estimator when amplitudes and phases are random.

    Parameters
    ----------
    frequencies : array_like, shape (K,)
        Frequencies in Hz, above 0 and below half the sampling rate.
    sampling_rate : float
        Samples per second (Hz).
    noise_std : float
        Standard deviation of the mixture's noise, in the unit of the amplitudes, at least 0.
    second_moment : float
        Prior second moment E[A^2] of every amplitude, above 0.
    seen : array_like of int, shape (T,)
        Samples known when each sample is answered, from 0 to T.

    Returns
    -------
    Array, shape (K, T)
        Expected squared error for each tone and sample, in the amplitudes' unit squared.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or lies outside its range.

    Notes
    -----
    With a uniform phase, ``A cos(phi)`` and ``A sin(phi)`` are uncorrelated, with mean 0 and variance ``E[A^2] / 2``.
    They are the constant state of a Kalman filter which observes the mixture [1]_. The result would bound every
    estimator if that state were Gaussian; as it is, it bounds the linear ones.

    References
    ----------
    .. [1] S. M. Kay, "Fundamentals of Statistical Signal Processing: Estimation Theory", 1993, chapters 12-13.
    """
    counts = checked_seen(seen)
    waves = oscillators(frequencies, sampling_rate, len(counts))
    tones = waves.shape[1]
    blocks = np.empty((len(counts) + 1, tones, 2, 2))
    blocks[0] = 0.5 * checked_second_moment(second_moment) * np.eye(2)
    updates = kalman_updates(waves, noise_std, second_moment)
    diagonal = np.arange(tones)
    for known, (_, covariance) in enumerate(updates, start=1):
        blocks[known] = covariance.reshape(tones, 2, tones, 2)[diagonal, :, diagonal]
    return np.maximum(np.einsum("tki,tkij,tkj->kt", waves, blocks[counts], waves), 0.0)


# ---------------------------------------------------------------------------------------------------------------------
# From errors to R^2


def r2(mse: npt.ArrayLike, power: npt.ArrayLike, axis: int | None = None) -> Array:
    """Share of the tones' power that an estimator with this error explains.

    Parameters
    ----------
    mse : array_like, shape (K, T)
        Mean squared error for each tone and sample.
    power : array_like, shape (K,)
        Mean square of each tone, above 0: ``A^2 / 2`` over whole cycles, ``E[A^2] / 2`` for random amplitudes.
    axis : int or None
        None pools everything into one number; 1 gives one for each tone, 0 one for each sample.

    Returns
    -------
    Array, shape (), (K,) or (T,)
        ``1 - mean(mse) / mean(power)``: 1 is perfect, 0 no better than the mean.

    Raises
    ------
    ValueError
        If a power is not positive or there is not one for each tone.
    """
    errors, powers = np.asarray(mse, dtype=np.float64), np.asarray(power, dtype=np.float64)
    if errors.ndim != 2 or powers.shape != errors.shape[:1]:
        raise ValueError(
            f"power needs one value for each tone of mse, shape (tones, samples), but got shapes {powers.shape} and "
            f"{errors.shape}: pass A^2 / 2 for every tone."
        )
    if not (powers > 0).all():
        raise ValueError(f"every power must be above 0, but got power={powers.tolist()}: R^2 needs a tone to explain.")
    return np.asarray(1.0 - errors.mean(axis=axis) / np.broadcast_to(powers[:, None], errors.shape).mean(axis=axis))
