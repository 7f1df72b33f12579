"""A tracking filter: samples go in as they come, the tones come out at once, with nothing looked ahead.

    tracker = Tracker([50.0, 150.0], 1000.0, Settings(amplitude=1.0, noise_std=0.1, drift=0.002))
    tones = tracker.push(samples).tones  # (K, n)

However a stream is cut, the same bits come out. A sample that is NaN is missing: the tones go on as they were.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tonesift.arguments import Array
from tonesift.errors import InputError
from tonesift.estimators.tracking import levels
from tonesift.estimators.tracking.compiled import kernel
from tonesift.estimators.tracking.hazard import table
from tonesift.estimators.tracking.settings import Plan, Settings, plan

ARRAYS = ("state", "covariance", "past", "doubt", "levels")


class Tracked(NamedTuple):
    """What a filter makes of n samples.

    Attributes
    ----------
    tones : Array, shape (K, n)
        In the recording's units.
    innovations : Array, shape (n,)
        How far each sample, or the limit that it was clipped at, lay from what was expected; NaN where it was missing.
    variances : Array, shape (n,)
        What the filter thought of that beforehand.
    """

    tones: Array
    innovations: Array
    variances: Array


class Tracker:
    """Kalman filter over tones of known frequencies, extended and robust as the settings say.

    Parameters
    ----------
    frequencies : sequence of float, shape (K,)
        Hz, each above 0 and below half the sampling rate.
    rate : float
        Hz.
    settings : Settings
        The model.
    """

    def __init__(self, frequencies: Sequence[float], rate: float, settings: Settings) -> None:
        self.settings = settings
        self._plan = plan(settings, np.asarray(frequencies, dtype="f8"), rate)
        self.reset()

    def reset(self) -> None:
        """Begin a new stream."""
        self._memory = start(self._plan)

    def push(self, samples: npt.ArrayLike) -> Tracked:
        """Take the next samples (n,), NaN where one is missing."""
        given = np.ascontiguousarray(samples, dtype="f8") - self.settings.offset
        if given.ndim != 1:
            raise InputError(f"samples: got shape {given.shape}, but a stream is one-dimensional, shape (n,)")
        found = Tracked(np.empty((len(self._plan.tones), len(given))), np.empty(len(given)), np.empty(len(given)))
        options, tones, background, whitening, prior = self._plan
        memory = [self._memory[name] for name in ARRAYS]
        kernel()(given, tones, background, whitening, prior, options, table(), *memory, *found)
        return found

    def state(self) -> dict[str, Array]:
        """Copies of all that is remembered, by name."""
        return {name: value.copy() for name, value in self._memory.items()}

    def set_state(self, state: dict[str, Array]) -> None:
        """Go on from what `state` gave.

        Raises
        ------
        InputError
            If it is of other settings, or damaged; nothing has changed then.
        """
        if not self.fits(state):
            raise InputError("state: not one of a filter with these tones and settings: begin a new stream")
        self._memory = {name: np.array(state[name], dtype="f8") for name in ARRAYS}

    def fits(self, state: dict[str, Array]) -> bool:
        """Whether it is a state that this filter can be in."""
        if set(state) != set(ARRAYS):
            return False
        pairs = [(np.asarray(state[name]), self._memory[name]) for name in ARRAYS]
        return all(
            value.shape == own.shape and value.dtype == own.dtype and np.isfinite(value).all() for value, own in pairs
        )

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise as it is known by now."""
        return math.sqrt(self._level(levels.NOISE))

    @property
    def restarts(self) -> int:
        """Times the filter had diverged and began anew."""
        return int(self._level(levels.RESTARTS))

    @property
    def missing(self) -> int:
        """Samples that were missing."""
        return int(self._level(levels.MISSING))

    @property
    def clipped(self) -> int:
        """Samples at the recorder's limits."""
        return int(self._level(levels.CLIPPED))

    def _level(self, place: int) -> float:
        return float(self._memory["levels"][place])


def start(plan: Plan) -> dict[str, Array]:
    """What is remembered before the first sample."""
    size, order = len(plan.prior), len(plan.whitening)
    known = np.zeros(levels.LEVELS)
    known[levels.NOISE], known[levels.SURPRISE] = plan.options.noise_start, 1.0
    # Nothing is known of the samples before the first: they are the background's mean, give or take its spread.
    doubt = np.full(order, plan.options.spread)
    return dict(zip(ARRAYS, (np.zeros(size), np.diag(plan.prior), np.zeros(order), doubt, known), strict=True))
