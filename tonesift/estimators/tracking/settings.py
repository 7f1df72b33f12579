"""What a tracking filter is told, in one object, and the numbers of one sample that the compiled kernel makes of it."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tonesift.arguments import Array, checked_frequencies
from tonesift.errors import InputError
from tonesift.estimators.tracking.rotation import phasor

LARGEST_OFFSET = 0.1  # of a tone's frequency: without a bound the extended Kalman filter diverged
NOISE_FLOOR = 1e-12  # of the prior's power: less is lost in double precision


@dataclass(frozen=True)
class Settings:
    """A model of the recording: tones, background and noise. A recording is the sum of its tones and the rest.

    Attributes
    ----------
    amplitude : float
        Root mean square amplitude of a tone beforehand, in the recording's units, above 0.
    noise_std : float
        Standard deviation of the white noise, in the recording's units; where `adapt` is given, the first guess.
    wander : float
        Relative change of a tone in one period, as a standard deviation of its amplitude, and of its phase in radians.
    renewal : float
        The same as a share of `amplitude`, whatever the tone's own: lets a tone that is not there appear.
    memory : float
        Time constant in periods with which a tone that is not heard is expected to fade; infinite for never.
    drift : float
        Standard deviation of the frequency's relative offset; 0 for frequencies that are exact.
    drift_time : float
        Time constant of the offset in periods.
    degrees : float
        Degrees of freedom of the noise's Student t distribution; infinite for Gaussian noise.
    adapt : float
        Time constant in periods with which the noise level is learnt; infinite for one that is known.
    fading : float
        Mean of squared normalised innovations above which the past is forgotten; infinite for never.
    fading_time : float
        Time constant in periods of that mean.
    background : tuple of (float, float)
        Standard deviation and time constant in periods of each first-order autoregressive part of the background.
    whitening : tuple of float
        a_1 ... a_p of a background ``v(n) = a_1 v(n-1) + ... + a_p v(n-p) + e(n)``; `noise_std` is then that of e.
    clip : (float, float)
        The recorder's lowest and highest value; what is there lay there or beyond.
    offset : float
        What the recording stands at without its tones, taken off every sample.

    Notes
    -----
    A period is that of the geometric mean of the tones' frequencies: so the same settings serve tides and hum.
    """

    amplitude: float
    noise_std: float
    wander: float = 0.0
    renewal: float = 0.0
    memory: float = math.inf
    drift: float = 0.0
    drift_time: float = 10.0
    degrees: float = math.inf
    adapt: float = math.inf
    fading: float = math.inf
    fading_time: float = 0.05
    background: tuple[tuple[float, float], ...] = ()
    whitening: tuple[float, ...] = ()
    clip: tuple[float, float] = (-math.inf, math.inf)
    offset: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name in ("amplitude", "memory", "drift_time", "degrees", "adapt", "fading", "fading_time"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name}: got {getattr(self, name)}, but it is a number above 0")
        for name in ("noise_std", "wander", "renewal", "drift"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name}: got {getattr(self, name)}, but it is a number of at least 0")
        for name in ("amplitude", "offset"):
            if not math.isfinite(getattr(self, name)):
                raise InputError(f"{name}: got {getattr(self, name)}, but it is a finite number")
        if not all(std >= 0 and time > 0 for std, time in self.background):
            raise InputError(f"background: got {self.background}, but each part has a spread from 0 and a time above 0")
        if not self.clip[0] < self.clip[1]:
            raise InputError(f"clip: got {self.clip}, but the lowest value comes first, the highest second")


class Options(NamedTuple):
    """Settings as the kernel reads them, a sample at a time; variances are in the recording's units squared."""

    width: int  # states of a tone: sine and cosine, and the frequency's offset if it is followed
    kept: float  # of a tone from sample to sample
    wander: float
    renewal: float
    offset_kept: float
    offset_noise: float
    offset_limit: float
    degrees: float  # 0 for Gaussian noise
    adapt: float  # share of the noise level that a sample renews; 0 for one that is known
    noise_start: float
    noise_low: float
    noise_high: float
    lower: float
    upper: float
    fading: float
    fading_share: float
    watch: float
    spread: float  # variance of the background beside that of its innovations


class Plan(NamedTuple):
    """All that the kernel is given and does not change.

    Attributes
    ----------
    options : Options
        Numbers.
    tones : Array, shape (K, 5)
        Cosine and sine of the turn in a sample, the turn in radians, and how a tone's sine and cosine are observed.
    background : Array, shape (B, 2)
        What is kept of a part of the background from sample to sample, and the variance of what is added.
    whitening : Array, shape (p,)
        Coefficients of the background's prediction.
    prior : Array, shape (n,)
        Variances of the states before the first sample.
    """

    options: Options
    tones: Array
    background: Array
    whitening: Array
    prior: Array


def period_samples(frequencies: Array, rate: float) -> float:
    """Samples in a period of the frequencies' geometric mean."""
    return rate / float(np.exp(np.mean(np.log(frequencies))))


def plan(settings: Settings, frequencies: Array, rate: float) -> Plan:
    """What the kernel needs for these tones (Hz) at this sampling rate (Hz)."""
    checked = checked_frequencies(frequencies, rate)
    # The logarithm's last bits differ between processors: six digits are enough, and are the same everywhere.
    period = float(f"{period_samples(checked, rate):.6g}")
    tones = np.array([_tone(frequency / rate, settings.whitening) for frequency in checked])
    kept = np.array([1 / (1 + 1 / (time * period)) for _, time in settings.background])
    variances = np.array([std**2 for std, _ in settings.background])
    offset_kept = 1 / (1 + 1 / (settings.drift_time * period))
    pair = 0.5 * settings.amplitude**2
    tone = [pair, pair, settings.drift**2] if settings.drift else [pair, pair]
    floor = NOISE_FLOOR * pair
    noise = max(settings.noise_std**2, floor)
    learns = math.isfinite(settings.adapt)
    options = Options(
        width=len(tone),
        kept=1 / (1 + 1 / (settings.memory * period)),
        wander=settings.wander**2 / period,
        renewal=settings.renewal**2 * pair / period,
        offset_kept=offset_kept,
        offset_noise=(1 - offset_kept**2) * settings.drift**2,
        offset_limit=LARGEST_OFFSET,
        degrees=settings.degrees if math.isfinite(settings.degrees) else 0.0,
        adapt=1 / (1 + settings.adapt * period) if learns else 0.0,
        noise_start=noise,
        noise_low=max(noise * 1e-4, floor) if learns else noise,
        noise_high=noise * 1e4 if learns else noise,
        lower=settings.clip[0] - settings.offset,
        upper=settings.clip[1] - settings.offset,
        fading=settings.fading,
        fading_share=1 / (1 + settings.fading_time * period),
        watch=1 / (1 + 10 * period),
        spread=_spread(settings.whitening),
    )
    return Plan(
        options,
        tones,
        np.stack([kept, (1 - kept**2) * variances], axis=-1).reshape(-1, 2),
        np.array(settings.whitening, dtype="f8"),
        np.concatenate([np.tile(tone, len(checked)), variances]),
    )


def _tone(turns: float, whitening: tuple[float, ...]) -> list[float]:
    """A row of `Plan.tones`: a whitened sample holds a tone with the whitening's gain and phase at its frequency."""
    cosine, sine = phasor(turns)
    seen_sine, seen_cosine, real, imaginary = 1.0, 0.0, 1.0, 0.0
    for weight in whitening:
        real, imaginary = real * cosine - imaginary * sine, real * sine + imaginary * cosine
        seen_sine -= weight * real
        seen_cosine += weight * imaginary
    return [cosine, sine, 2 * math.pi * turns, seen_sine, seen_cosine]


def _spread(whitening: tuple[float, ...]) -> float:
    """Variance of an autoregressive process of unit innovations: the power of its impulse response, up to 1e6."""
    past, power = [0.0] * len(whitening), 1.0
    latest = 1.0
    for _ in range(10_000 if whitening else 0):
        past = [latest, *past[:-1]]
        latest = sum(weight * value for weight, value in zip(whitening, past, strict=True))
        power += latest * latest
        if power > 1e6 or max(map(abs, past)) < 1e-6:
            break
    return min(power, 1e6)
