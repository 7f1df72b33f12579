"""Classical filters which recover tones from a mixture, to set a learned one beside.

All have one signature: ``filter(mixture, sampling_rate, frequencies, **facts)`` takes segments (..., N) and gives the
tones (..., K, N) at full amplitude. Time is the last axis and every leading index is a segment of its own, which starts
without memory. So windows (W, 50) give a filter the context of a model whose state is reset every 50 samples, and one
long segment (1, N) gives it all the past. What their arguments are is said here, once:

    mixture         array_like (..., N), segments of the mixture
    sampling_rate   Hz
    frequencies     array_like (K,), Hz, of the tones; to filters that know nothing only their number counts
    noise_std       standard deviation of the mixture's noise, at least 0
    second_moment   prior second moment E[A^2] of every amplitude, above 0
    generator       source of random numbers

Filters differ in what they know, which `FILTERS` states for each: the fewer facts, the more widely it applies; the
more, the smaller its error. All are linear in the mixture, and none of the causal ones looks ahead. The one optimal
estimator that is not linear needs the waveforms themselves and stands in `limits` as `posterior_mean`.

A new filter is a function here and an entry in `FILTERS`, at the end of this file: tables, statistics, robustness,
curves and the contract tests take it from there.

    for name, entry in FILTERS.items():
        estimate = separate(name, mixture, 1000.0, [1.0, 3.0], noise_std=0.1, second_moment=1.0, generator=generator)

SciPy does the filtering of the band-pass banks and of the Wiener filter.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import signal

from tonesift.arguments import Array, checked_frequencies, checked_mixture, checked_second_moment
from tonesift.estimators.kalman import kalman_updates, noise_variance_floored, oscillators

# Samples fitted at once by the least-squares filter: bounds its memory on long recordings.
BLOCK_SAMPLES = 4096
# Numbers held at once for a block of segments: 32 MB of float64.
BLOCK_NUMBERS = 2**22


# ---------------------------------------------------------------------------------------------------------------------
# Filters that know nothing of the tones


def mean(mixture: npt.ArrayLike, sampling_rate: float, frequencies: npt.ArrayLike) -> Array:
    """Answer with the mean of a tone, which is 0.

    Returns
    -------
    Array, shape (..., K, N)
        Zeros.
    """
    segments, tones = checked_mixture(mixture), len(checked_frequencies(frequencies, sampling_rate))
    return np.zeros((*segments.shape[:-1], tones, segments.shape[-1]))


def random(
    mixture: npt.ArrayLike,
    sampling_rate: float,
    frequencies: npt.ArrayLike,
    *,
    second_moment: float,
    generator: np.random.Generator,
) -> Array:
    """Answer with white Gaussian noise of a tone's power.

    Returns
    -------
    Array, shape (..., K, N)
        Independent noise of variance E[A^2] / 2 for every tone and sample.
    """
    shape = mean(mixture, sampling_rate, frequencies).shape
    return np.sqrt(0.5 * checked_second_moment(second_moment)) * generator.standard_normal(shape)


def persistence(mixture: npt.ArrayLike, sampling_rate: float, frequencies: npt.ArrayLike) -> Array:
    """Answer with the mixture's previous sample, for every tone.

    Returns
    -------
    Array, shape (..., K, N)
        The mixture one sample late and as large as it is; 0 at the first sample.
    """
    delayed = mean(mixture, sampling_rate, frequencies)
    delayed[..., 1:] = checked_mixture(mixture)[..., None, :-1]
    return delayed


# ---------------------------------------------------------------------------------------------------------------------
# Band-pass banks


def bandpass(
    mixture: npt.ArrayLike,
    sampling_rate: float,
    frequencies: npt.ArrayLike,
    *,
    bandwidth: float = 1.0,
    order: int = 2,
) -> Array:
    """Pass the mixture through one causal Butterworth band-pass per tone, each starting at rest.

    Parameters
    ----------
    bandwidth : float
        Width of each pass-band between its -3 dB points in Hz, above 0. The filter settles in about its inverse.
    order : int
        Order of the low-pass prototype, at least 1; the band-pass has twice as many poles.

    Returns
    -------
    Array, shape (..., K, N)
        The tones, exact in amplitude and phase at the centre of each band once settled.
    """
    segments = checked_mixture(mixture)
    banks = bandpass_sections(sampling_rate, frequencies, bandwidth=bandwidth, order=order)
    return len(banks) * np.stack([signal.sosfilt(sections, segments) for sections in banks], axis=-2)


def zero_phase_bandpass(
    mixture: npt.ArrayLike,
    sampling_rate: float,
    frequencies: npt.ArrayLike,
    *,
    bandwidth: float = 1.0,
    order: int = 2,
) -> Array:
    """Pass the mixture through each tone's band-pass forwards and then backwards. Not causal.

    Parameters
    ----------
    bandwidth : float
        Width of each pass-band of a single pass between its -3 dB points in Hz, above 0.
    order : int
        Order of the low-pass prototype, at least 1.

    Returns
    -------
    Array, shape (..., K, N)
        The tones, exact in amplitude and phase at the centre of each band once settled.

    Notes
    -----
    The gain is the square of one pass's and the phase shift 0 [1]_. Both passes start at rest, with zeros beyond both
    ends for as long as the filter takes to settle. Reflecting the segment at its ends, as `scipy.signal.sosfiltfilt`
    does, turns a sinusoid's phase there and did worse: R^2 0.94 instead of 0.99 on 10 s of four tones 2 Hz apart.

    References
    ----------
    .. [1] F. Gustafsson, "Determining the initial states in forward-backward filtering", IEEE Transactions on Signal
           Processing 44(4), 1996, pages 988-992.
    """
    segments = checked_mixture(mixture)
    banks = bandpass_sections(sampling_rate, frequencies, bandwidth=bandwidth, order=order)
    rest = np.zeros((*segments.shape[:-1], round(sampling_rate / bandwidth)))
    extended = np.concatenate([segments, rest], axis=-1)
    passed = [_both_ways(sections, extended)[..., : segments.shape[-1]] for sections in banks]
    return len(banks) * np.stack(passed, axis=-2)


def _both_ways(sections: Array, segments: Array) -> Array:
    """Segments (..., N) filtered forwards and then backwards, each time from rest."""
    return signal.sosfilt(sections, signal.sosfilt(sections, segments)[..., ::-1])[..., ::-1]


def bandpass_sections(
    sampling_rate: float, frequencies: npt.ArrayLike, *, bandwidth: float = 1.0, order: int = 2
) -> Array:
    """Second-order sections of one Butterworth band-pass per tone, with gain 1 and no delay of phase at its frequency.

    Parameters
    ----------
    sampling_rate : float
        Samples per second (Hz).
    frequencies : array_like, shape (K,)
        Centre of each band in Hz.
    bandwidth : float
        Width between the -3 dB points in Hz, above 0.
    order : int
        Order of the low-pass prototype, at least 1.

    Returns
    -------
    Array, shape (K, order, 6)
        Sections as `scipy.signal` takes them.

    Raises
    ------
    ValueError
        If `bandwidth` or `order` lies outside its range.

    Notes
    -----
    The bilinear transform maps f to ``tan(pi f / fs)``, and the centre of a band is the geometric mean of its edges on
    that axis. The edges are therefore ``c r`` and ``c / r`` there, c being the centre: they stay above 0 and below
    Nyquist for any bandwidth [1]_.

    References
    ----------
    .. [1] A. V. Oppenheim and R. W. Schafer, "Discrete-Time Signal Processing", 3rd edition, 2010, chapter 7.
    """
    if not (np.isfinite(bandwidth) and bandwidth > 0):
        raise ValueError(f"bandwidth must be finite and above 0 Hz, but got bandwidth={bandwidth}: 1 Hz is usual.")
    if order < 1:
        raise ValueError(f"order must be at least 1, but got order={order}: 2 is usual.")
    centres = np.tan(np.pi * checked_frequencies(frequencies, sampling_rate) / sampling_rate)
    half_width = np.pi * bandwidth / sampling_rate * (1 + centres**2) / (2 * centres)
    ratio = half_width + np.sqrt(half_width**2 + 1)
    edges = np.arctan(np.stack([centres / ratio, centres * ratio], axis=-1)) * sampling_rate / np.pi
    banks = [signal.butter(order, pair, btype="bandpass", fs=sampling_rate, output="sos") for pair in edges]
    return np.stack(banks)


# ---------------------------------------------------------------------------------------------------------------------
# Fits of sinusoids to the past


def least_squares(
    mixture: npt.ArrayLike,
    sampling_rate: float,
    frequencies: npt.ArrayLike,
    *,
    window: int | None = None,
    cutoff: float = 0.1,
) -> Array:
    """Fit all sinusoids together, by least squares, to the last samples seen.

    Parameters
    ----------
    window : int or None
        Samples fitted at each position, at least 1, fewer while the segment has not yet that many; None for all so far.
    cutoff : float
        Singular values of the fit below this fraction of the largest are dropped, from 1e-6 to 1. Large values keep
        noise down while few samples have been seen; small ones recover clean tones sooner.

    Returns
    -------
    Array, shape (..., K, N)
        The fitted tones at the newest sample of each fit.

    Raises
    ------
    ValueError
        If `window` or `cutoff` lies outside its range.

    Notes
    -----
    The columns are the sine and cosine of every tone. The solution is the one of minimum norm by truncated singular
    value decomposition [1]_: a short segment cannot tell slow tones apart, and without truncation the fit would
    magnify the noise without bound. The decomposition depends on the times alone. It is computed once for each
    position, from the Gram matrix, and applied to all segments.

    References
    ----------
    .. [1] G. H. Golub and C. F. Van Loan, "Matrix Computations", 4th edition, 2013, section 5.5.
    """
    segments = checked_mixture(mixture)
    if window is not None and window < 1:
        raise ValueError(f"window must be at least 1 sample, but got window={window}: pass None for all the past.")
    if not 1e-6 <= cutoff <= 1:
        raise ValueError(f"cutoff must lie from 1e-6 to 1, but got cutoff={cutoff}: 0.1 suits noise, 1e-6 suits none.")
    samples = segments.shape[-1]
    waves = oscillators(frequencies, sampling_rate, samples)
    flat = segments.reshape(-1, samples)
    fitted = [
        _readouts(gram, waves[part], cutoff) @ np.moveaxis(sums, 0, -1)
        for part, gram, sums in _normal_equations(waves.reshape(samples, -1), flat, window or samples)
    ]
    estimates = waves.shape[1] * np.concatenate(fitted)
    return np.moveaxis(estimates, (0, 1), (-1, -2)).reshape(*segments.shape[:-1], waves.shape[1], samples)


def _normal_equations(rows: Array, flat: Array, window: int) -> Iterator[tuple[slice, Array, Array]]:
    """Yield blocks of n samples with the Gram matrices (n, J, J) and projections (B, n, J) of the last `window`.

    Rows (N, J) are the regressors; each of the segments (B, N) is projected on them.
    """
    gram, sums = np.zeros((rows.shape[1], rows.shape[1])), np.zeros((len(flat), 1, rows.shape[1]))
    old_rows, old_flat = _delayed(rows, window, axis=0), _delayed(flat, window, axis=1)
    length = max(1, min(BLOCK_SAMPLES, BLOCK_NUMBERS // (len(flat) * rows.shape[1])))
    for begin in range(0, len(rows), length):
        part = slice(begin, begin + length)
        grams = gram + np.cumsum(_outer(rows[part]) - _outer(old_rows[part]), axis=0)
        entering, leaving = flat[:, part, None] * rows[part], old_flat[:, part, None] * old_rows[part]
        projections = sums + np.cumsum(entering - leaving, axis=1)
        yield part, grams, projections
        gram, sums = grams[-1], projections[:, -1:]


def _readouts(gram: Array, waves: Array, cutoff: float) -> Array:
    """Linear maps (n, K, 2 K) from projections to the fitted value of every tone at each sample."""
    inverse = np.linalg.pinv(gram, rcond=cutoff**2, hermitian=True).reshape(*waves.shape, -1)
    return np.vecdot(np.moveaxis(inverse, -1, -2), waves[:, :, None], axis=-1)


def _outer(rows: Array) -> Array:
    """Outer products (n, J, J) of rows (n, J) with themselves."""
    return rows[:, :, None] * rows[:, None, :]


def _delayed(values: Array, delay: int, axis: int) -> Array:
    """Values moved back by a delay along an axis, with zeros before them."""
    series = np.moveaxis(values, axis, 0)
    late = np.zeros_like(series)
    late[delay:] = series[: max(len(series) - delay, 0)]
    return np.moveaxis(late, 0, axis)


def wiener(
    mixture: npt.ArrayLike,
    sampling_rate: float,
    frequencies: npt.ArrayLike,
    *,
    noise_std: float,
    second_moment: float,
    order: int = 500,
) -> Array:
    """Best linear estimate of each tone from the last `order` samples at most.

    Parameters
    ----------
    order : int
        Samples used, the newest included, at least 1. Tones 2 Hz apart take about half a second to tell apart.

    Returns
    -------
    Array, shape (..., K, N)
        Linear minimum mean squared error estimates for random amplitudes and uniform phases.

    Raises
    ------
    ValueError
        If `order` is below 1.

    Notes
    -----
    A tone of uniform phase is stationary, so one finite impulse response serves every position that has `order`
    samples behind it [1]_. Each earlier position has its own, over the samples there are.

    References
    ----------
    .. [1] S. M. Kay, "Fundamentals of Statistical Signal Processing: Estimation Theory", 1993, chapter 12.
    """
    segments = checked_mixture(mixture)
    if order < 1:
        raise ValueError(f"order must be at least 1 sample, but got order={order}: count the samples to use.")
    taps = min(order, segments.shape[-1])
    # The phase is uniform, so time may be counted backwards from the sample that is answered.
    waves = oscillators(frequencies, sampling_rate, taps)
    responses = _wiener_responses(waves, noise_variance_floored(noise_std, second_moment), second_moment)
    estimates = np.stack([signal.lfilter(response, 1.0, segments) for response in responses[-1]], axis=-2)
    for last in range(taps - 1):
        estimates[..., last] = segments[..., last::-1] @ responses[last][:, : last + 1].T
    return estimates


def _wiener_responses(waves: Array, noise_variance: float, second_moment: float) -> list[Array]:
    """Impulse responses (K, n) over the last n samples, for n from 1 to the number of waves given (T, K, 2)."""
    tones = waves.shape[1]
    rows = waves.reshape(len(waves), -1) / tones
    ridge = noise_variance / (0.5 * second_moment)
    responses = []
    for count in range(1, len(rows) + 1):
        left, singular, right = np.linalg.svd(rows[:count], full_matrices=False)
        # Now, at time 0, every sine is 0 and every cosine 1: a tone is its cosine's coefficient.
        responses.append((right[:, 1::2].T * (singular / (singular**2 + ridge))) @ left.T)
    return responses


def kalman(
    mixture: npt.ArrayLike,
    sampling_rate: float,
    frequencies: npt.ArrayLike,
    *,
    noise_std: float,
    second_moment: float,
) -> Array:
    """Track every tone's amplitude and phase with a Kalman filter from the start of the segment.

    Returns
    -------
    Array, shape (..., K, N)
        Linear minimum mean squared error estimates, from all the samples so far, for random amplitudes and uniform
        phases. `limits.general_mse` gives their error.

    Notes
    -----
    The state ``(A_k cos(phi_k), A_k sin(phi_k))`` is constant, without process noise [1]_. The gains depend on the
    times alone and serve all segments.

    References
    ----------
    .. [1] S. M. Kay, "Fundamentals of Statistical Signal Processing: Estimation Theory", 1993, chapter 13.
    """
    segments = checked_mixture(mixture)
    samples = segments.shape[-1]
    waves = oscillators(frequencies, sampling_rate, samples)
    tones = waves.shape[1]
    flat = np.ascontiguousarray(segments.reshape(-1, samples).T)
    state = np.zeros((flat.shape[1], 2 * tones))
    estimates = np.empty((samples, flat.shape[1], tones))
    for sample, (gain, _) in enumerate(kalman_updates(waves, noise_std, second_moment)):
        row = waves[sample].reshape(-1)
        innovation = flat[sample] - state @ row / tones
        state += innovation[:, None] * gain
        estimates[sample] = (state * row).reshape(-1, tones, 2).sum(axis=-1)
    return np.moveaxis(estimates, 0, -1).reshape(*segments.shape[:-1], tones, samples)


# ---------------------------------------------------------------------------------------------------------------------
# All of them


@dataclass(frozen=True)
class Filter:
    """A filter with what a report needs to know of it.

    Attributes
    ----------
    label : str
        Name for tables and legends.
    function : callable
        Takes a mixture, the sampling rate, the frequencies and the facts in `knows` as keywords.
    causal : bool
        Whether no answer depends on a later sample.
    knows : frozenset of str
        Facts it must be given: "frequencies" beyond their number, "noise_std", "second_moment".
    drawn : bool
        Whether its curve stands in the picture of R^2 against the context.
    """

    label: str
    function: Callable[..., Array]
    causal: bool
    knows: frozenset[str]
    drawn: bool = False


NOTHING: frozenset[str] = frozenset()
TONES = frozenset({"frequencies"})
PRIOR = frozenset({"frequencies", "noise_std", "second_moment"})

# From the plainest to the ablest: curves are drawn in the opposite order.
FILTERS: Mapping[str, Filter] = MappingProxyType(
    {
        "mean": Filter("mean", mean, True, NOTHING),
        "random": Filter("white noise", random, True, frozenset({"second_moment"})),
        "persistence": Filter("previous sample", persistence, True, NOTHING, drawn=True),
        "bandpass": Filter("Butterworth band-pass", bandpass, True, TONES, drawn=True),
        "zero_phase_bandpass": Filter("zero-phase Butterworth (looks ahead)", zero_phase_bandpass, False, TONES),
        "least_squares": Filter("least-squares sinusoids", least_squares, True, TONES, drawn=True),
        "wiener": Filter("Wiener FIR", wiener, True, PRIOR),  # the same as Kalman for its first 500 samples
        "kalman": Filter("Kalman", kalman, True, PRIOR, drawn=True),
    }
)


def separate(
    name: str,
    mixture: npt.ArrayLike,
    sampling_rate: float,
    frequencies: npt.ArrayLike,
    *,
    noise_std: float,
    second_moment: float,
    generator: np.random.Generator,
) -> Array:
    """Apply the filter of that name, a key of `FILTERS`, with the facts it may know and its default settings.

    Returns
    -------
    Array, shape (..., K, N)
        Estimate of every tone.

    Raises
    ------
    ValueError
        If there is no filter of that name.
    """
    if name not in FILTERS:
        raise ValueError(f"name must be one of {sorted(FILTERS)}, but got name={name!r}: choose one of them.")
    offered: dict[str, Any] = {"noise_std": noise_std, "second_moment": second_moment}
    facts = {fact: value for fact, value in offered.items() if fact in FILTERS[name].knows}
    if name == "random":
        facts["generator"] = generator
    return FILTERS[name].function(mixture, sampling_rate, frequencies, **facts)
