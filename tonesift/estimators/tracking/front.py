"""Filters of several kinds side by side, and what they know of each tone at the end of every step, as frames.

    front = Front([3.0, 20.0], 1000.0, hop=10)
    frames = front.push(samples)  # (steps, K, FRAME), as `tonesift.frame` has it

Samples are in units of a tone's root mean square amplitude, and NaN where one is missing. Filters that forget little
know steady tones best, those that forget much find tones that come and go first; none has to be right. Where the
network was trained in a background, three of the filters are told how it predicts itself, and one models it as states.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tonesift.arguments import Array
from tonesift.errors import InputError
from tonesift.estimators.tracking.compiled import step_kernel
from tonesift.estimators.tracking.hazard import table
from tonesift.estimators.tracking.rotation import phasor
from tonesift.estimators.tracking.settings import Settings, plan
from tonesift.estimators.tracking.tracker import ARRAYS, start
from tonesift.frame import FILTERS, FRAME, PHASOR, wide

NOISE_STD = 0.3  # the first guess, in units of a tone's amplitude
# The first is the one that is corrected. Part of what a network learns from: a change makes committed models worse.
KINDS = (
    {"renewal": 0.185, "wander": 0.1, "memory": 13.0, "degrees": 10.0, "adapt": 0.03},
    {"renewal": 0.124, "memory": 4.0, "fading": 4.36, "fading_time": 0.0163},
    {"renewal": 0.6, "memory": 3.5, "degrees": 10.0, "adapt": 0.1},
    {"renewal": 0.001, "degrees": 5.0, "adapt": 0.1},
)
SLOW = ((0.3, 0.1), (0.5, 1.0), (0.5, 10.0))  # standard deviations and time constants in periods
# The same, in a background: frequencies drift together there, and amplitudes change little in a second.
IN_BACKGROUND = (
    {"drift": 0.005, "drift_time": 1500.0, "renewal": 0.0004, "wander": 0.0175, "degrees": 14.0, "adapt": 2.2},
    {"drift": 0.008, "drift_time": 300.0, "renewal": 0.002, "wander": 0.04, "degrees": 14.0, "adapt": 2.2},
    {"drift": 0.0035, "drift_time": 3000.0, "renewal": 0.0002, "wander": 0.009, "degrees": 5.0, "adapt": 30.0},
    {"drift": 0.0036, "drift_time": 590.0, "renewal": 0.0003, "wander": 0.02, "degrees": 6.0, "adapt": 2.0},
)
INNOVATION_STD, BACKGROUND_STD = 0.05, 1.2  # first guesses of what is left of a background, and of all of it


def kinds(clip: tuple[float, float], whitening: tuple[float, ...]) -> list[Settings]:
    """Settings of the filters; in a background with this prediction, if there is one."""
    if not whitening:
        return [Settings(amplitude=1.0, noise_std=NOISE_STD, clip=clip, **kind) for kind in KINDS]
    *whitened, last = IN_BACKGROUND
    shared = {"amplitude": 1.0, "clip": clip}
    found = [Settings(noise_std=INNOVATION_STD, whitening=whitening, **shared, **kind) for kind in whitened]
    return [*found, Settings(noise_std=BACKGROUND_STD, background=SLOW, **shared, **last)]


class Front:
    """The filters, with what they remember.

    Parameters
    ----------
    frequencies : sequence of float, shape (K,)
        Hz, each above 0 and below half the sampling rate.
    rate : float
        Hz.
    hop : int
        Samples in a step.
    clip : (float, float)
        Lowest and highest value of the recorder, in the samples' unit.
    whitening : tuple of float
        Of the background that the network was trained in, as in `Settings`; none without one.
    widely : bool
        Whether to give wide frames.
    """

    def __init__(
        self,
        frequencies: Sequence[float],
        rate: float,
        hop: int,
        clip: tuple[float, float] = (-math.inf, math.inf),
        whitening: tuple[float, ...] = (),
        widely: bool = False,
    ) -> None:
        self.hop, self._width = hop, wide(hop) if widely else FRAME
        self._plans = [plan(one, np.asarray(frequencies, dtype="f8"), rate) for one in kinds(clip, whitening)]
        self._memories = [start(one) for one in self._plans]
        cycles = [frequency / rate for frequency in frequencies]
        self._turns = np.array([_turns(cycle, hop) for cycle in cycles])
        self._fixed = np.array([_fixed(cycles, tone, hop) for tone in range(len(cycles))])

    @property
    def state(self) -> list[Array]:
        """All that is remembered, to be copied or overwritten in place."""
        return [memory[name] for memory in self._memories for name in ARRAYS]

    def reset(self) -> None:
        """Begin a new stream."""
        for memory, one in zip(self._memories, self._plans, strict=True):
            for name, value in start(one).items():
                memory[name][...] = value

    def push(self, samples: Array) -> NDArray[np.float32]:
        """Frames (S, K, FRAME), or wide ones, of the next samples (S hop,)."""
        from tonesift.estimators.tracking.stepping import compare, widen

        given = np.ascontiguousarray(samples, dtype="f8")
        if given.ndim != 1 or len(given) % self.hop:
            raise InputError(f"samples: got shape {given.shape}, but they are a whole number of steps of {self.hop}")
        steps, count = len(given) // self.hop, len(self._turns)
        phasors, frames = np.empty((FILTERS, steps, count, 2)), np.empty((steps, count, self._width))
        frames[:, :, 0], frames[:, :, PHASOR - 2 : PHASOR] = self._fixed[:, 0], self._fixed[:, 1:]
        for number, (one, memory) in enumerate(zip(self._plans, self._memories, strict=True)):
            given_plan = (one.tones, one.background, one.whitening, one.prior, one.options, table())
            remembered = tuple(memory[name] for name in ARRAYS)
            step_kernel()(given, self.hop, given_plan, remembered, self._turns, number, phasors[number], frames)
        compare(phasors, frames)
        if self._width > FRAME:
            widen(given, self.hop, frames)
        return frames.astype("f4")


def _turns(cycle: float, hop: int) -> Array:
    """Cosine and sine (hop, 2) of a tone's angle from each sample of a step to the last one, in cycles a sample."""
    cosine, sine = phasor(cycle)
    found = [(1.0, 0.0)]
    for _ in range(hop - 1):
        real, imaginary = found[-1]
        found.append((real * cosine - imaginary * sine, real * sine + imaginary * cosine))
    return np.array(found[::-1])


def _fixed(cycles: Sequence[float], tone: int, hop: int) -> tuple[float, float, float]:
    """What does not change of a tone: its turn in radians, its frequency, and how far off the nearest other one is."""
    others = [abs(cycles[tone] - cycle) for number, cycle in enumerate(cycles) if number != tone]
    logarithms = (0.25 * _log2(10 * hop * value) for value in (cycles[tone], min(others, default=cycles[tone])))
    return 2 * math.pi * cycles[tone], *logarithms


def _log2(value: float) -> float:
    """Base-2 logarithm, straight between powers of two."""
    mantissa, power = math.frexp(value)
    return power + 2 * mantissa - 2
