"""Sums of sinusoids in white noise: the recordings everything else learns from and is judged on.

    tone_k(t) = A_k sin(2 pi f_k t + phi_k)        mixture(t) = 1/K sum_k tone_k(t) + noise(t)

The same call gives the same bits on every processor with IEEE arithmetic. NumPy picks its sine by instruction set
(AVX2 and AVX-512 differ in the last bit), so `sinusoid` takes few sines, from the C library, and gets the rest by the
addition theorem in plain products and sums. That is also faster than a sine for each sample.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Of random numbers; part of the bits of what was made, so one is added at the end and none is numbered anew.
_NAMES = (
    *("noise", "phases", "amplitudes", "drift", "wander", "phase_walk", "dwell", "tones", "jitter", "tails", "bursts"),
    *("coloured", "background", "outliers", "clip", "gaps"),
)
PURPOSES = {name: number for number, name in enumerate(_NAMES)}


def random_generator(seed: int, purpose: str, recording: int) -> np.random.Generator:
    """Random numbers of their own for each purpose and recording, so that changing one leaves the others alone.

    Parameters
    ----------
    seed : int
        Seed of the set of recordings, 0 or more.
    purpose : str
        What the numbers are for, one of `PURPOSES`.
    recording : int
        Index of the recording in its set.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(PURPOSES[purpose], recording)))


def sinusoid(
    frequency: float, sampling_rate: float, samples: int, phase: float, amplitude: float = 1.0
) -> NDArray[np.float64]:
    """Sampled sinusoid A sin(2 pi f n / fs + phi).

    Parameters
    ----------
    frequency, sampling_rate : float
        f and fs in Hz.
    samples : int
        Number of samples N.
    phase : float
        phi in degrees.
    amplitude : float
        A.

    Returns
    -------
    ndarray of float64, shape (N,)
        Within 1e-11 of the exact values for up to 10^8 samples.

    Notes
    -----
    With n = b B + m: sin(x_b + y_m) = sin x_b cos y_m + cos x_b sin y_m, about 2 sqrt(N) sines in all.
    """
    block = max(1, math.isqrt(samples))
    starts = [_angle(frequency, sampling_rate, n, phase) for n in range(0, samples, block)]
    steps = [_angle(frequency, sampling_rate, n, 0.0) for n in range(block)]
    sin_start, cos_start = _sines(starts, amplitude)
    sin_step, cos_step = _sines(steps, 1.0)
    wave = np.multiply.outer(sin_start, cos_step)
    wave += np.multiply.outer(cos_start, sin_step)
    return wave.reshape(-1)[:samples]


def _angle(frequency: float, sampling_rate: float, sample: int, phase: float) -> float:
    turns = math.fmod(frequency * sample / sampling_rate, 1.0) + phase / 360.0
    return 2.0 * math.pi * turns


def _sines(angles: list[float], amplitude: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    sines = np.array([amplitude * math.sin(angle) for angle in angles])
    cosines = np.array([amplitude * math.cos(angle) for angle in angles])
    return sines, cosines


def draw_phases(generator: np.random.Generator, tones: int) -> NDArray[np.float64]:
    """Phases in degrees, uniform over 0-360, shape (tones,)."""
    return generator.uniform(0.0, 360.0, tones)


def draw_amplitudes(generator: np.random.Generator, tones: int, low: float, high: float) -> NDArray[np.float64]:
    """Amplitudes uniform over low-high, shape (tones,)."""
    return generator.uniform(low, high, tones)


def uniform_second_moment(low: float, high: float) -> float:
    """Second moment E[A^2] of an amplitude drawn from U(low, high), in the amplitude's unit squared.

    Parameters
    ----------
    low, high : float
        Ends of the range; equal ends mean a fixed amplitude.

    Returns
    -------
    float
        ``(low^2 + low high + high^2) / 3``.
    """
    return (low**2 + low * high + high**2) / 3


def mix(tones: NDArray[np.float64], noise_std: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Mean of the tones plus white Gaussian noise.

    Parameters
    ----------
    tones : ndarray, shape (K, N)
        Clean tones.
    noise_std : float
        Standard deviation of the noise; 0 for none.
    generator : numpy.random.Generator
        Source of the noise.

    Returns
    -------
    ndarray of float64, shape (N,)
    """
    mixture = tones[0].copy()
    for tone in tones[1:]:  # one after the other: the order of a sum is part of its bits
        mixture += tone
    mixture /= len(tones)
    if noise_std > 0:
        noise = generator.standard_normal(mixture.size)
        noise *= noise_std
        mixture += noise
    return mixture


def snr_db(amplitudes: NDArray[np.float64], noise_std: float) -> float:
    """Signal-to-noise ratio of a mixture in dB: power of the mean of the tones over the noise's.

    Parameters
    ----------
    amplitudes : ndarray, shape (..., K)
        Amplitudes of tones of different frequencies; leading axes (recordings) are averaged in power.
    noise_std : float
        Standard deviation of the noise.

    Returns
    -------
    float
        Infinity without noise. Over whole periods a tone's power is A^2 / 2 and that of their mean the sum over K^2.
    """
    tones = amplitudes.shape[-1]
    power = float(np.mean(np.sum(amplitudes**2, axis=-1))) / (2 * tones**2)
    if noise_std == 0:
        return math.inf
    return 10 * math.log10(power / noise_std**2) if power > 0 else -math.inf


def warnings(frequencies: Sequence[float]) -> list[str]:
    """What is hard about telling these tones apart, one sentence for each: harmonics, and tones closer than 2 Hz."""
    found = []
    for index, low in enumerate(sorted(frequencies)):
        for high in sorted(frequencies)[index + 1 :]:
            if high - low < 2:
                found.append(f"{low:g} Hz and {high:g} Hz are closer than 2 Hz: they take long to tell apart")
    harmonics = _harmonics(sorted(frequencies))
    found += [f"{', '.join(over)} Hz: harmonics of {base} Hz" for base, over in harmonics.items()]
    return found


def _harmonics(frequencies: list[float]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for index, low in enumerate(frequencies):
        over = [f"{high:g}" for high in frequencies[index + 1 :] if math.isclose(high / low, round(high / low))]
        if over:
            found[f"{low:g}"] = over
    return found
