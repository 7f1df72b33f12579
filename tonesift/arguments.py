"""What filters and limits refuse, and how they say so: the rule, the value and what to do."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def checked_frequencies(frequencies: npt.ArrayLike, sampling_rate: float) -> Array:
    """Return frequencies in Hz, shape (K,), unless one is not above 0 and below half the sampling rate in Hz."""
    checked = np.asarray(frequencies, dtype=np.float64)
    if checked.ndim != 1 or not checked.size:
        raise ValueError(f"frequencies must be a list of at least one, but got shape {checked.shape}: pass shape (K,).")
    if not (np.isfinite(sampling_rate) and sampling_rate > 0):
        raise ValueError(f"sampling_rate must be finite and above 0 Hz, but got sampling_rate={sampling_rate}.")
    if not ((checked > 0) & (checked < sampling_rate / 2)).all():
        raise ValueError(
            f"frequencies must lie above 0 and below the Nyquist frequency, {sampling_rate / 2} Hz, but got "
            f"frequencies={checked.tolist()}: sample faster or drop the tone."
        )
    return checked


def checked_mixture(mixture: npt.ArrayLike) -> Array:
    """Return a mixture, shape (..., N), as float64, unless it is empty or not finite."""
    checked = np.asarray(mixture, dtype=np.float64)
    if checked.ndim < 1 or not checked.size:
        raise ValueError(
            f"mixture must hold at least one sample, but got shape {checked.shape}: pass shape (..., samples)."
        )
    bad = int((~np.isfinite(checked)).sum())
    if bad:
        raise ValueError(f"mixture must be finite, but got {bad} values that are not: cut out or interpolate the gaps.")
    return checked


def checked_seen(seen: npt.ArrayLike) -> Counts:
    """Return counts of the samples seen, shape (T,), unless they are not whole numbers from 0 to T."""
    counts = np.asarray(seen)
    if counts.ndim != 1 or not counts.size or not np.issubdtype(counts.dtype, np.integer):
        raise ValueError(
            f"seen must be one whole number for each sample, but got {counts.dtype} of shape {counts.shape}: "
            "build it with causal, hopped or smoother."
        )
    if counts.min() < 0 or counts.max() > len(counts):
        raise ValueError(
            f"seen must lie from 0 to the segment's length, {len(counts)}, but got {counts.min()} to {counts.max()}: "
            "samples outside the segment cannot be read."
        )
    return counts.astype(np.int64)


def checked_noise(noise_std: float) -> float:
    """Return a noise standard deviation, unless it is negative or not finite."""
    if not (np.isfinite(noise_std) and noise_std >= 0):
        raise ValueError(
            f"noise_std must be finite and at least 0, but got noise_std={noise_std}: pass a standard deviation, "
            "not a level in dB."
        )
    return float(noise_std)


def checked_second_moment(second_moment: float) -> float:
    """Return a second moment E[A^2], unless it is not finite and above 0."""
    if not (np.isfinite(second_moment) and second_moment > 0):
        raise ValueError(
            f"second_moment must be finite and above 0, but got second_moment={second_moment}: pass E[A^2], "
            "which is 1 for unit amplitudes."
        )
    return float(second_moment)
