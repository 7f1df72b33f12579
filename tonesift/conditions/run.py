"""Recordings under conditions, made: the formulas of docs/conditions.md, in their order.

    tone_k(n) = A_k(n) sin(2 pi c_k(n))                          what `tones` holds
    x(n) = 1/K sum_k jittered_k(n) + noise(n) + coloured(n) + gain background(n)
    mixture(n) = x(n), or noise alone (outliers), clipped, NaN where it is missing

Every condition draws from random numbers of its own, so that turning one on leaves the others' draws alone.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tonesift import params
from tonesift.conditions import background, elementary, processes
from tonesift.conditions.background import Background
from tonesift.data import recordings, signals
from tonesift.data.recordings import Facts
from tonesift.errors import InputError

Array = NDArray[np.float64]


class Paths(NamedTuple):
    """How the tones of a recording run.

    Attributes
    ----------
    turns : ndarray, shape (K, N)
        c_k(n): angle of each tone in turns.
    amplitudes : ndarray, shape (K, N)
        A_k(n), 0 where a tone is off.
    gains : ndarray, shape (K, N)
        A_k(n) beside the amplitude that was drawn for the tone or its last onset: 0 where it is off.
    onsets : ndarray of bool, shape (K, N)
        Samples at which a tone sets in with an amplitude and a phase drawn anew.
    """

    turns: Array
    amplitudes: Array
    gains: Array
    onsets: NDArray[np.bool_]

    def tones(self) -> Array:
        """Tones (K, N)."""
        return self.amplitudes * elementary.sine(self.turns)


def read_background(data: params.Data) -> Background | None:
    """The background recording, if there is one; `background.read` says what is refused."""
    name = data.conditions.background
    return background.read(name, data.sampling_rate, data.samples) if name else None


def draw_set(data: params.Data, testing: bool, sound: Background | None) -> tuple[Facts, Iterator[tuple[Array, Array]]]:
    """Facts of the recordings to test on, or to train on, and each recording in turn.

    Parameters
    ----------
    data : params.Data
        Section `data`.
    testing : bool
        Whether the set is to test on; of a background it gets another part.
    sound : Background or None
        From `read_background`.

    Raises
    ------
    InputError
        If no random set of tones can be found.
    """
    facts = _draw_facts(data, testing, sound)
    return facts, (make_one(facts, data.samples, index, sound) for index in range(len(facts.phases)))


def _draw_facts(data: params.Data, testing: bool, sound: Background | None) -> Facts:
    count, seed = recordings.count_and_seed(data, testing)
    conditions = data.conditions
    ranges = conditions.amplitude_ranges or [data.amplitude_range] * len(data.frequencies)
    changes: dict[str, Any] = {"drawn": _draw(data, count, seed, testing, sound), "conditions": conditions}
    if conditions.amplitude_ranges:
        generators = [signals.random_generator(seed, "amplitudes", index) for index in range(count)]
        changes["amplitudes"] = np.stack([generator.uniform(*np.transpose(ranges)) for generator in generators])
        changes["second_moment"] = float(np.mean([signals.uniform_second_moment(*each) for each in ranges]))
    if conditions.dwell:  # what onsets draw from
        changes["conditions"] = conditions.model_copy(update={"amplitude_ranges": ranges})
    if conditions.tone_range:
        changes["frequencies"] = ()
    if sound:
        changes["source"] = sound.source
    return replace(recordings.draw_facts(data, count, seed), **changes)


def _draw(data: params.Data, count: int, seed: int, testing: bool, sound: Background | None) -> dict[str, Array]:
    """What is drawn once for each recording."""
    conditions = data.conditions
    rows: dict[str, list] = {}
    for index in range(count):
        for name, value in _draw_one(conditions, len(data.frequencies), seed, index).items():
            rows.setdefault(name, []).append(value)
        if sound:
            generator = signals.random_generator(seed, "background", index)
            start = background.draw_start(sound, testing, data.samples, index, count, generator)
            gain = processes.log_uniform(generator, *conditions.background_gain)
            rows.setdefault("background_start", []).append(start)
            rows.setdefault("background_gain", []).append(gain)
    return {name: np.array(values, dtype=np.float64) for name, values in rows.items()}


def redrawn(facts: Facts, conditions: params.Conditions, noise_std: float, count: int) -> Facts:
    """Facts of so many recordings of the same tones and seed under other conditions, none of them a background's.

    Their phases and amplitudes are those of the first recordings, in turn. Tones that switch draw their amplitudes from
    between the smallest and the largest that a tone has in them.
    """
    which = np.arange(count) % len(facts.phases)
    if conditions.dwell:
        ends = (facts.amplitudes.min(axis=0), facts.amplitudes.max(axis=0))
        conditions = conditions.model_copy(update={"amplitude_ranges": np.stack(ends, axis=-1).tolist()})
    rows = [_draw_one(conditions, facts.phases.shape[1], facts.seed, index) for index in range(count)]
    return replace(
        facts,
        phases=facts.phases[which],
        amplitudes=facts.amplitudes[which],
        noise_std=noise_std,
        conditions=conditions,
        drawn={name: np.array([row[name] for row in rows]) for name in rows[0]},
        source="",
    )


def _draw_one(conditions: params.Conditions, tones: int, seed: int, index: int) -> dict[str, float | list[float]]:
    found: dict[str, float | list[float]] = {}
    if conditions.tone_range:
        generator = signals.random_generator(seed, "tones", index)
        found["frequencies"] = processes.random_set(generator, tones, *conditions.tone_range, conditions.tone_distance)
        if not found["frequencies"]:
            raise InputError(
                f"data.conditions.tone_distance: no {tones} tones {conditions.tone_distance:g} Hz apart were found in "
                f"{conditions.tone_range} Hz (tone_range): make the distance smaller or the range wider"
            )
    if conditions.tail_scale:
        generator = signals.random_generator(seed, "tails", index)
        found["tail_scale"] = processes.log_uniform(generator, *conditions.tail_scale)
    if conditions.coloured:
        generator = signals.random_generator(seed, "coloured", index)
        found["coloured"] = processes.log_uniform(generator, *conditions.coloured)
        found["coloured_exponent"] = generator.uniform(*conditions.coloured_exponent)
    if conditions.clip:
        found["clip"] = signals.random_generator(seed, "clip", index).uniform(*conditions.clip)
    return found


def make_one(facts: Facts, samples: int, index: int, sound: Background | None) -> tuple[Array, Array]:
    """Mixture (N,) and tones (K, N) of one recording, the same whatever else is made; NaN where a sample is missing."""
    conditions = facts.conditions
    if conditions.needs(*params.MOVING):
        tones = paths(facts, samples, index).tones()
    else:
        each = zip(facts.tones_of(index), facts.phases[index], facts.amplitudes[index], strict=True)
        tones = np.stack([signals.sinusoid(f, facts.sampling_rate, samples, phase, a) for f, phase, a in each])
    heard = tones
    if conditions.needs("jitter_amplitude", "jitter_phase"):
        heard = _jittered(facts, samples, index)
    mixture = signals.mix(heard, 0.0, _generator(facts, "noise", index))  # their mean
    mixture += noise(facts, samples, index)
    if conditions.coloured:
        mixture += _coloured(facts, samples, index)
    if sound:
        start = int(facts.drawn["background_start"][index])
        mixture += facts.drawn["background_gain"][index] * sound.samples[start : start + samples]
    mixture = _damaged(facts, mixture, index)
    loudest = max(float(np.nanmax(np.abs(mixture), initial=0.0)), float(np.abs(tones).max()))
    if loudest > recordings.LOUDEST:
        raise InputError(
            f"data.conditions: recording {index} reaches {loudest:g}, but no reader takes more than "
            f"{recordings.LOUDEST:g}: make tail_scale, burst_factor, wander or amplitudes smaller"
        )
    return mixture, tones


def paths(facts: Facts, samples: int, index: int) -> Paths:
    """How the tones of one recording run; what a file says of itself is enough to tell."""
    conditions, rate, shape = facts.conditions, facts.sampling_rate, (len(facts.tones_of(index)), samples)
    time = np.broadcast_to(np.arange(float(samples)), shape)
    if conditions.drift:
        drift = processes.ornstein_uhlenbeck(
            _generator(facts, "drift", index), shape, conditions.drift, conditions.drift_time * rate
        )
        time = time + (np.cumsum(drift, axis=1) - drift)  # of the samples before
    turns = np.fmod(time * np.array(facts.tones_of(index))[:, None] / rate, 1.0)
    amplitudes, phases, onsets = _switched(facts, shape, index)
    turns += phases / 360.0
    if conditions.phase_walk:
        step = conditions.phase_walk / (2.0 * np.pi) / np.sqrt(rate)
        turns += processes.random_walk(_generator(facts, "phase_walk", index), shape, step)
    gains = (amplitudes > 0).astype(np.float64)
    if conditions.wander:
        wander = processes.ornstein_uhlenbeck(
            _generator(facts, "wander", index), shape, conditions.wander, conditions.wander_time * rate
        )
        gains *= elementary.exp(wander)
    return Paths(turns, amplitudes * gains, gains, onsets)


def _switched(facts: Facts, shape: tuple[int, int], index: int) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Amplitudes and phases (K, N) in degrees as they are drawn at onsets, amplitudes 0 between, and the onsets."""
    amplitudes = np.repeat(facts.amplitudes[index][:, None], shape[1], axis=1)
    phases = np.repeat(facts.phases[index][:, None], shape[1], axis=1)
    onsets = np.zeros(shape, dtype=bool)
    if facts.conditions.dwell:
        generator, dwell = _generator(facts, "dwell", index), facts.conditions.dwell * facts.sampling_rate
        for tone, limits in enumerate(facts.conditions.amplitude_ranges):
            on, changes = processes.switch_times(generator, shape[1], dwell)
            amplitudes[tone] *= on
            onsets[tone, 0] = on
            for begin, end in zip(changes, [*changes[1:], shape[1]], strict=False):
                on = not on
                amplitudes[tone, begin:end] = generator.uniform(*limits) if on else 0.0
                phases[tone, begin:end] = generator.uniform(0.0, 360.0) if on else 0.0
                onsets[tone, begin] = on
    return amplitudes, phases, onsets


def _jittered(facts: Facts, samples: int, index: int) -> Array:
    """Tones (K, N) as the mixture holds them."""
    path = paths(facts, samples, index)
    louder, later = jitter(facts, samples, index)
    return path.amplitudes * louder * elementary.sine(path.turns + later)


def jitter(facts: Facts, samples: int, index: int) -> tuple[Array, Array]:
    """By what factor each tone is louder at each sample, and by how many turns later: shape (K, N)."""
    conditions = facts.conditions
    shape = (2, facts.phases.shape[1], samples)
    louder, later = _generator(facts, "jitter", index).uniform(-1.0, 1.0, shape)
    return 1.0 + conditions.jitter_amplitude * louder, conditions.jitter_phase / 360.0 * later


def noise(facts: Facts, samples: int, index: int) -> Array:
    """White noise and Student's t of one recording, bursts and all, shape (N,)."""
    conditions = facts.conditions
    found = facts.noise_std * _generator(facts, "noise", index).standard_normal(samples)
    if conditions.tail_scale:
        scales, normal = _tails(facts, samples, index)
        found += scales * normal
    if conditions.burst_share:
        found[bursts(facts, samples, index)] *= conditions.burst_factor
    return found


def noise_variances(facts: Facts, samples: int, index: int) -> Array:
    """Variance of `noise` at each sample, shape (N,): given the bursts and Student's scale at each it is normal."""
    conditions = facts.conditions
    found = np.full(samples, facts.noise_std**2)
    if conditions.tail_scale:
        found += np.square(_tails(facts, samples, index)[0])
    if conditions.burst_share:
        found[bursts(facts, samples, index)] *= conditions.burst_factor**2
    return found


def _tails(facts: Facts, samples: int, index: int) -> tuple[Array, Array]:
    """Scales (N,) and normal numbers (N,) whose product is Student's t: one over the root of a chi-square."""
    generator, freedom = _generator(facts, "tails", index), facts.conditions.tail_freedom
    generator.random()  # the scale of the recording
    chi_square = generator.chisquare(freedom, samples)
    return facts.drawn["tail_scale"][index] * np.sqrt(freedom / chi_square), generator.standard_normal(samples)


def bursts(facts: Facts, samples: int, index: int) -> NDArray[np.bool_]:
    """Which samples of one recording have louder noise, shape (N,)."""
    conditions = facts.conditions
    return _pieces(facts, samples, index, "bursts", conditions.burst_share, conditions.burst_length)


def _coloured(facts: Facts, samples: int, index: int) -> Array:
    generator = _generator(facts, "coloured", index)
    generator.random(2)  # standard deviation and exponent
    exponent, std = (float(facts.drawn[name][index]) for name in ("coloured_exponent", "coloured"))
    return processes.coloured(generator, samples, exponent, std)


def _damaged(facts: Facts, mixture: Array, index: int) -> Array:
    conditions, samples = facts.conditions, len(mixture)
    if conditions.outlier_share:
        mixture = np.where(
            outliers(facts, samples, index), conditions.outlier_std * _outlier_draws(facts, samples, index)[1], mixture
        )
    if conditions.clip:
        level = facts.drawn["clip"][index]
        mixture = np.clip(mixture, -level, level)
    if conditions.gap_share:
        mixture = np.where(gaps(facts, samples, index), np.nan, mixture)
    return mixture


def gaps(facts: Facts, samples: int, index: int) -> NDArray[np.bool_]:
    """Which samples of one recording are missing, shape (N,)."""
    conditions = facts.conditions
    return _pieces(facts, samples, index, "gaps", conditions.gap_share, conditions.gap_length)


def outliers(facts: Facts, samples: int, index: int) -> NDArray[np.bool_]:
    """Which samples of one recording are noise alone, shape (N,)."""
    return _outlier_draws(facts, samples, index)[0] < facts.conditions.outlier_share


def _outlier_draws(facts: Facts, samples: int, index: int) -> tuple[Array, Array]:
    generator = _generator(facts, "outliers", index)
    return generator.random(samples), generator.standard_normal(samples)


def _pieces(
    facts: Facts, samples: int, index: int, purpose: str, share: float, seconds: list[float]
) -> NDArray[np.bool_]:
    low, high = (each * facts.sampling_rate for each in seconds)
    return processes.pieces(_generator(facts, purpose, index), samples, share, (low, high))


def _generator(facts: Facts, purpose: str, index: int) -> np.random.Generator:
    return signals.random_generator(facts.seed, purpose, index)


def memory_needed(data: params.Data) -> dict[str, float]:
    """Bytes for making a recording under conditions, beside those of `recordings.memory_needed`."""
    found, values = {}, 8.0 * data.samples
    if data.conditions.needs(*params.MOVING, "jitter_amplitude", "jitter_phase"):
        found["data.conditions: tones that are no sines"] = 4 * values * len(data.frequencies)
    if data.conditions.coloured:
        found["data.conditions.coloured"] = 6 * values
    return found
