"""What becomes of an estimator when the recording is not what it was made for.

A perturbation changes one thing about a recording: what its tones are made of (noise level, frequencies, phase,
amplitude) or what happened to the mixture afterwards (clipping, gaps). Estimators are told nothing of it: what they
know is the unperturbed recording. The targets are the clean tones as they are after the change.

Every value of every perturbation gets the same noise, and a longer gap holds the shorter ones, so that a curve shows
the perturbation and not the luck of the draw. The neutral value gives the unperturbed recording, bit for bit.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tonesift.arguments import Array, checked_frequencies, checked_noise
from tonesift.data.signals import mix, sinusoid
from tonesift.metrics import tally

BURST = 10  # samples that go missing together
NOISE_STDS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
FREQUENCY_OFFSETS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)  # Hz
PHASE_OFFSETS = (0.0, 15.0, 30.0, 60.0, 90.0, 135.0, 180.0)  # degrees
AMPLITUDES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
CLIP_LEVELS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.3, 0.2)
MISSING_SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)

Estimator = Callable[[Array], Array]


@dataclass(frozen=True)
class Recording:
    """What one recording is made of.

    Attributes
    ----------
    frequencies : tuple of float
        Hz, one for each of the K tones, above 0 and below half the sampling rate.
    phases : tuple of float
        Degrees, K of them.
    amplitudes : tuple of float
        K of them, in the unit of the mixture, before the mean over tones is taken.
    noise_std : float
        Standard deviation of the mixture's noise, at least 0.
    sampling_rate : float
        Hz.
    samples : int
        N, at least 1.

    Raises
    ------
    ValueError
        If a number is not finite or lies outside its range, or the tones' lists differ in length.
    """

    frequencies: tuple[float, ...]
    phases: tuple[float, ...]
    amplitudes: tuple[float, ...]
    noise_std: float
    sampling_rate: float
    samples: int

    def __post_init__(self) -> None:
        count = len(checked_frequencies(self.frequencies, self.sampling_rate))
        checked_noise(self.noise_std)
        for name, values in (("phases", self.phases), ("amplitudes", self.amplitudes)):
            if len(values) != count or not np.isfinite(values).all():
                raise ValueError(
                    f"{name} must be finite numbers, one for each of the {count} frequencies, but got {name}={values}."
                )
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, but got samples={self.samples}.")

    def tones(self) -> Array:
        """Clean tones, shape (K, N)."""
        each = zip(self.frequencies, self.phases, self.amplitudes, strict=True)
        return np.stack([sinusoid(f, self.sampling_rate, self.samples, phase, a) for f, phase, a in each])


Change = Callable[[Recording, float], Recording]
Damage = Callable[[Array, float, np.random.Generator], Array]


@dataclass(frozen=True)
class Perturbation:
    """A named way in which a recording may differ from what an estimator was made for.

    Attributes
    ----------
    name : str
        Short name, with the unit of `values` where they have one.
    label : str
        What it does, for readers; an axis title.
    values : tuple of float
        Strengths to try, `neutral` among them.
    neutral : float
        Strength that changes nothing.
    change : callable
        Takes a recording and a value, gives the recording that is made instead.
    damage : callable
        Takes a mixture (N,), a value and a generator, gives the mixture (N,) that is read instead.
    """

    name: str
    label: str
    values: tuple[float, ...]
    neutral: float
    change: Change
    damage: Damage

    def apply(self, recording: Recording, value: float, generator: np.random.Generator) -> tuple[Array, Array]:
        """Make the perturbed recording.

        Parameters
        ----------
        recording : Recording
            What is perturbed.
        value : float
            How strongly, see the perturbation's label.
        generator : numpy.random.Generator
            Source of the noise first and of the place of gaps afterwards. Generators in the same state give the same
            noise whatever the value.

        Returns
        -------
        mixture : Array, shape (N,)
        tones : Array, shape (K, N)
            Clean, at full amplitude.

        Raises
        ------
        ValueError
            If the value lies outside the perturbation's range.
        """
        if not math.isfinite(value):
            raise ValueError(f"{self.name} must be finite, but got {value}.")
        changed = self.change(recording, value)
        tones = changed.tones()
        return self.damage(mix(tones, changed.noise_std, generator), value, generator), tones


# ---------------------------------------------------------------------------------------------------------------------
# Changes of the recording and damage to the mixture


def _unchanged(recording: Recording, value: float) -> Recording:
    return recording


def _noise(recording: Recording, value: float) -> Recording:
    return replace(recording, noise_std=value)


def _shift_frequencies(recording: Recording, value: float) -> Recording:
    return replace(recording, frequencies=tuple(frequency + value for frequency in recording.frequencies))


def _shift_phase(recording: Recording, value: float) -> Recording:
    """The second tone's phase shifted; that of the only tone where there is one."""
    phases = list(recording.phases)
    phases[min(1, len(phases) - 1)] += value
    return replace(recording, phases=tuple(phases))


def _scale(recording: Recording, value: float) -> Recording:
    return replace(recording, amplitudes=tuple(value * amplitude for amplitude in recording.amplitudes))


def _undamaged(mixture: Array, value: float, generator: np.random.Generator) -> Array:
    return mixture


def _clip(mixture: Array, value: float, generator: np.random.Generator) -> Array:
    if not 0 < value <= 1:
        raise ValueError(f"clipped must lie above 0 and at most at 1, but got {value}: pass a share of the peak.")
    level = value * np.abs(mixture).max()
    return np.clip(mixture, -level, level)


def _drop(mixture: Array, value: float, generator: np.random.Generator) -> Array:
    """Zeros in bursts of 10 samples, as many as come closest to a share; larger shares add bursts to the same ones."""
    if not 0 <= value <= 1:
        raise ValueError(f"missing must lie from 0 to 1, but got {value}: pass a share of the samples.")
    order = generator.permutation(math.ceil(mixture.size / BURST))
    missing = np.isin(np.arange(mixture.size) // BURST, order[: round(value * order.size)])
    return np.where(missing, 0.0, mixture)


def perturbations(recording: Recording) -> tuple[Perturbation, ...]:
    """The perturbations worth a curve, with values around the recording's own facts.

    Parameters
    ----------
    recording : Recording
        What will be perturbed. Its noise level joins the values of the noise; frequency offsets that would take a tone
        to half the sampling rate are left out.

    Returns
    -------
    tuple of Perturbation
        noise_std, frequency_offset_hz, phase_offset_deg, amplitude, clipped and missing.

    Notes
    -----
    Only the second tone's phase is shifted, which changes how the tones stand to one another. A single tone has its own
    phase shifted, which is no more than a shift in time.
    """
    highest, nyquist = max(recording.frequencies), recording.sampling_rate / 2
    noises = tuple(sorted({*NOISE_STDS, recording.noise_std}))
    offsets = tuple(offset for offset in FREQUENCY_OFFSETS if highest + offset < nyquist)
    which = "second tone" if len(recording.frequencies) > 1 else "tone"
    return (
        Perturbation("noise_std", "noise, standard deviation", noises, recording.noise_std, _noise, _undamaged),
        Perturbation(
            "frequency_offset_hz", "offset of all frequencies, Hz", offsets, 0.0, _shift_frequencies, _undamaged
        ),
        Perturbation(
            "phase_offset_deg", f"offset of the {which}'s phase, degrees", PHASE_OFFSETS, 0.0, _shift_phase, _undamaged
        ),
        Perturbation("amplitude", "amplitude of all tones, times", AMPLITUDES, 1.0, _scale, _undamaged),
        Perturbation("clipped", "mixture clipped at, share of its peak", CLIP_LEVELS, 1.0, _unchanged, _clip),
        Perturbation("missing", f"samples missing in bursts of {BURST}, share", MISSING_SHARES, 0.0, _unchanged, _drop),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Curves


def curves(
    estimators: Mapping[str, Estimator],
    recording: Recording,
    generator: np.random.Generator,
    perturbed: Sequence[Perturbation] | None = None,
) -> list[dict[str, str | float | None]]:
    """R² of estimators against the strength of perturbations.

    Parameters
    ----------
    estimators : mapping of str to callable
        Each takes mixtures (M, N) and gives estimates (M, K, N). It is called once, with all of them.
    recording : Recording
        What is perturbed.
    generator : numpy.random.Generator
        Source of the noise and of the place of gaps. Every mixture draws from a copy of it, so that all get the same
        noise and the generator itself stays where it is: with the one that made a recording, the neutral values give
        that recording.
    perturbed : sequence of Perturbation, optional
        What to try; `perturbations` by default.

    Returns
    -------
    list of dict
        perturbation (name), value, estimator (name) and r2 over all tones: estimator by estimator, in the order of the
        perturbations and their values. r2 is None where the targets are constant.

    Raises
    ------
    ValueError
        If an estimator's answer is not finite or has another shape.
    """
    chosen = perturbations(recording) if perturbed is None else perturbed
    points = [(perturbation, value) for perturbation in chosen for value in perturbation.values]
    if not points:
        return []
    made = [perturbation.apply(recording, value, copy.deepcopy(generator)) for perturbation, value in points]
    mixtures, tones = (np.stack(signals) for signals in zip(*made, strict=True))  # (M, N), (M, K, N)
    rows = []
    for name, estimate in estimators.items():
        estimates = _checked_estimates(name, estimate(mixtures.copy()), tones.shape)
        for (perturbation, value), target, output in zip(points, tones, estimates, strict=True):
            r2 = tally(target, output).r2
            found = None if math.isnan(r2) else r2
            rows.append({"perturbation": perturbation.name, "value": float(value), "estimator": name, "r2": found})
    return rows


def _checked_estimates(name: str, estimates: Array, shape: tuple[int, ...]) -> Array:
    checked = np.asarray(estimates)
    if checked.shape != shape:
        raise ValueError(
            f"an estimator must give estimates of shape (mixtures, tones, samples), {shape}, but {name!r} gave shape "
            f"{checked.shape}."
        )
    bad = int((~np.isfinite(checked)).sum())
    if bad:
        raise ValueError(f"estimates must be finite, but {name!r} gave {bad} values that are not: it diverges.")
    return checked
