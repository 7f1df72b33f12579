"""Mains hum in a recording of something else: a tone and its harmonics, off their frequencies together, and wandering.

    d(n) = offset + OU(0.002, 2 s)                               relative, the same for all tones
    c_k(n) = f_k / f_s (n + sum_{m<n} d(m)) + phase_k / 360
    tone_k(n) = A s_k (1 + OU_k(0.1, 1 s)) sin(2 pi c_k(n))      A log-uniform in `data.amplitude_range`
    mixture(n) = 1/K sum_k tone_k(n) + gain background(start + speed n)

Training recordings take their stretches from the first two thirds of the background, played faster or slower, louder or
quieter, and upside down, and a tenth of them have no hum; those to test on take them from the rest, as they are. Sums
and products only, as everywhere in this package: the same bits on every processor.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tonesift import params
from tonesift.conditions import background, elementary, processes
from tonesift.conditions.background import Background
from tonesift.data import recordings, signals
from tonesift.data.recordings import Facts
from tonesift.errors import InputError

Array = NDArray[np.float64]
SHARES = (1.0, 0.15, 0.25)  # of the first tone's amplitude; further harmonics have the last one's
OFFSET, DRIFT, DRIFT_TIME = 0.003, 0.002, 2.0  # relative standard deviations, s
SWING, SWING_TIME = 0.1, 1.0  # relative standard deviation, s
SPEED, GAIN = (0.85, 1.2), (0.6, 1.5)  # of the background in training
ZERO, PER_MILLIVOLT = 1024, 200  # of an archive's values
SILENT = 0.1  # share of the training recordings without hum: there nothing is to be taken out
AROUND = 2  # samples beside a stretch that interpolation reads


class Stretch(NamedTuple):
    """What a recording takes of the background: samples from `start` on, `speed` apart, times `gain`."""

    start: int
    speed: float
    gain: float


def draw_set(data: params.Data, testing: bool, name: str) -> tuple[Facts, Iterator[tuple[Array, Array]]]:
    """Facts of the recordings to test on, or to train on, and each recording in turn.

    Parameters
    ----------
    data : params.Data
        Section `data`, for task general; conditions in it are not made.
    testing : bool
        Whether the set is to test on.
    name : str
        File of the background, in mV; `background.read` says what is refused. An archive (.npz) holds values `ecg` as
        records of the MIT-BIH Arrhythmia Database have them.
    """
    takes = data.samples, _reach(data.samples, SPEED[1])
    sound = _archived(name, *takes) or background.read(name, data.sampling_rate, *takes)
    count, seed = recordings.count_and_seed(data, testing)
    drawn = [_draw(seed, testing, sound, data.samples, index, count) for index in range(count)]
    facts = _facts(data, count, seed, sound, drawn, 0.0 if testing else SILENT)
    return facts, (_made(facts, data.samples, index, stretch, sound) for index, stretch in enumerate(drawn))


def _archived(name: str, samples: int, stretch: int) -> Background | None:
    """An archive's values in mV, checked as `background.read` checks; None for other files."""
    if not name.endswith(".npz"):
        return None
    try:
        with np.load(name, allow_pickle=False) as file:
            found = Background(Path(name), (file["ecg"].astype("f8") - ZERO) / PER_MILLIVOLT)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{name}: no archive of NumPy's with an array 'ecg': {type(error).__name__}") from error
    background.check(found, samples, stretch)
    return found


def _facts(data: params.Data, count: int, seed: int, sound: Background, drawn: list[Stretch], silent: float) -> Facts:
    tones, (low, high) = len(data.frequencies), data.amplitude_range
    shares = np.array([SHARES[min(tone, len(SHARES) - 1)] for tone in range(tones)])
    generators = [
        [signals.random_generator(seed, what, index) for index in range(count)] for what in ("amplitudes", "phases")
    ]
    loudness = [processes.log_uniform(generator, low, high) for generator in generators[0]]
    loudness *= np.array([generator.random() >= silent for generator in generators[0]])
    square = (high**2 - low**2) / (2 * math.log(high / low)) if high > low else low**2
    return Facts(
        sampling_rate=data.sampling_rate,
        frequencies=tuple(data.frequencies),
        phases=np.stack([signals.draw_phases(generator, tones) for generator in generators[1]]),
        amplitudes=loudness[:, None] * shares,
        second_moment=float(f"{square * float(np.mean(shares**2)):.6g}"),
        noise_std=0.0,
        task="general",
        seed=seed,
        conditions=params.Conditions(background=str(sound.path)),
        drawn={
            "background_start": np.array([float(stretch.start) for stretch in drawn]),
            "background_gain": np.array([stretch.gain for stretch in drawn]),
        },
        source=sound.source,
    )


def _draw(seed: int, testing: bool, sound: Background, samples: int, index: int, count: int) -> Stretch:
    generator = signals.random_generator(seed, "background", index)
    if testing:
        return Stretch(background.draw_start(sound, testing, samples, index, count, generator), 1.0, 1.0)
    speed, sign = generator.uniform(*SPEED), generator.choice([-1.0, 1.0])
    gain = sign * processes.log_uniform(generator, *GAIN)
    return Stretch(
        background.draw_start(sound, testing, _reach(samples, speed), index, count, generator), speed, float(gain)
    )


def _reach(samples: int, speed: float) -> int:
    """Samples of the background that so many of a recording are made of."""
    return math.ceil(samples * speed) + 2 * AROUND


def _made(facts: Facts, samples: int, index: int, stretch: Stretch, sound: Background) -> tuple[Array, Array]:
    """Mixture (N,) and tones (K, N) of one recording."""
    tones = hum(facts, samples, index)
    return signals.mix(tones, 0.0, signals.random_generator(facts.seed, "noise", index)) + played(
        sound.samples, stretch, samples
    ), tones


def hum(facts: Facts, samples: int, index: int) -> Array:
    """Tones (K, N) of one recording."""
    frequencies, rate = np.array(facts.tones_of(index))[:, None], facts.sampling_rate
    generator = signals.random_generator(facts.seed, "drift", index)
    off = OFFSET * generator.standard_normal()
    off = off + processes.ornstein_uhlenbeck(generator, (samples,), DRIFT, DRIFT_TIME * rate)
    time = np.arange(float(samples)) + (np.cumsum(off) - off)  # of the samples before
    turns = np.fmod(time * frequencies / rate, 1.0) + facts.phases[index][:, None] / 360.0
    generator = signals.random_generator(facts.seed, "wander", index)
    swing = processes.ornstein_uhlenbeck(generator, turns.shape, SWING, SWING_TIME * rate)
    return facts.amplitudes[index][:, None] * (1.0 + swing) * elementary.sine(turns)


def played(sound: Array, stretch: Stretch, samples: int) -> Array:
    """A stretch (N,) of a background (B,), between its samples on the cubic through four neighbours (Catmull-Rom)."""
    if stretch.speed == 1.0:
        return stretch.gain * sound[stretch.start : stretch.start + samples]
    at = stretch.start + 1 + np.arange(float(samples)) * stretch.speed
    place = np.floor(at)
    part, first = at - place, place.astype(np.int64)
    before, here, behind, after = (sound[first + step] for step in (-1, 0, 1, 2))
    slopes = behind - before, 2.0 * before - 5.0 * here + 4.0 * behind - after, 3.0 * (here - behind) + after - before
    return stretch.gain * (here + 0.5 * part * (slopes[0] + part * (slopes[1] + part * slopes[2])))
