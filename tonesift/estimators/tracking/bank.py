"""Filters side by side: their tones are averaged, each weighted by how well it has foreseen the samples so far.

What a stretch shows seldom settles which filter suits it, and what comes next may suit another. An average of those
that are about as good is better than any of them where their errors differ, and is seldom far from the best.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tonesift.arguments import Array
from tonesift.estimators.tracking.compiled import average, weigh
from tonesift.estimators.tracking.settings import Settings, period_samples
from tonesift.estimators.tracking.tracker import Tracked, Tracker

SHARPNESS = 0.3  # of weights: at 1 they are likelihoods' under independent noise of exponential absolute values
MEMORY, MEMORY_PERIODS = 2000.0, 6.0  # samples, or periods if that is longer, after which a third of an error counts
LARGEST_ERROR = 1e3  # amplitudes of a tone: what was missed by more was missed by this


class Candidate(NamedTuple):
    """A filter: the method that it is of, and its settings."""

    method: str
    settings: Settings


class Bank:
    """Tracking filters over the same samples, and how much each is trusted.

    Parameters
    ----------
    candidates : sequence of Candidate, M of them
        What the filters are.
    trackers : sequence of Tracker
        The filters.
    losses : Array, shape (M,)
        Sums of their absolute errors, in which older ones count less.
    memory : float
        How many samples these sums are worth.
    kept : float
        Share of these sums that is left after a sample.
    """

    def __init__(
        self, candidates: Sequence[Candidate], trackers: Sequence[Tracker], losses: Array, memory: float, kept: float
    ) -> None:
        self.candidates, self.trackers, self._kept = tuple(candidates), tuple(trackers), kept
        self.losses, self._memory = np.array(losses, dtype="f8"), np.array([memory])

    @property
    def memory(self) -> float:
        """How many samples the losses are worth."""
        return float(self._memory[0])

    @property
    def weights(self) -> Array:
        """Weight of each filter by now, shape (M,), whose sum is 1."""
        weights = np.empty(len(self.losses))
        weigh()(self.losses, self.memory, SHARPNESS, weights)
        return weights

    def push(self, samples: Array) -> Array:
        """Tones (K, n) of the next samples (n,), NaN where one is missing; weights change with every sample."""
        return self.watched(samples)[0]

    def watched(self, samples: Array) -> tuple[Array, Array]:
        """The same, and the tones (M, K, n) of each filter."""
        tracked = [tracker.push(samples) for tracker in self.trackers]
        errors = [
            prediction_errors(one, samples, own.settings) for one, own in zip(tracked, self.candidates, strict=True)
        ]
        tones = np.stack([one.tones for one in tracked])
        averaged = np.empty(tones.shape[1:])
        average()(np.stack(errors), tones, self._kept, SHARPNESS, self.losses, self._memory, averaged)
        return averaged, tones

    def joined(self, other: "Bank") -> "Bank":
        """Its filters and those of another that has had the same samples."""
        return Bank(
            [*self.candidates, *other.candidates],
            [*self.trackers, *other.trackers],
            np.concatenate([self.losses, other.losses]),
            self.memory,
            self._kept,
        )

    def rescaled(self, candidates: Sequence[Candidate], frequencies: Sequence[float], rate: float) -> "Bank":
        """The first filters with other settings of the same kinds; each goes on from where it is."""
        bank = new_bank(candidates, frequencies, rate)
        for new, old in zip(bank.trackers, self.trackers, strict=False):
            new.set_state(old.state())
        return Bank(candidates, bank.trackers, self.losses[: len(candidates)], self.memory, self._kept)

    def at(self, losses: Array, memory: float) -> "Bank":
        """The same filters with what is known of how well they foresee.

        Raises
        ------
        ValueError
            If these are not as many finite numbers of at least 0 as there are filters.
        """
        if losses.shape != self.losses.shape or not (np.append(losses, memory) >= 0).all() or not memory < np.inf:
            raise ValueError(f"losses: got {losses} and {memory}, but these are {len(self.trackers)} numbers and one")
        return Bank(self.candidates, self.trackers, losses, memory, self._kept)

    def gains(self, method: str) -> dict[str, float]:
        """Share by which the best filter of a method came closer than the best that lacks a part of it, by part."""
        least = min(loss for one, loss in zip(self.candidates, self.losses, strict=True) if one.method == method)
        found = {}
        for part in method.split("-"):
            pairs = zip(self.candidates, self.losses, strict=True)
            others = [float(loss) for one, loss in pairs if part not in one.method.split("-")]
            if others and min(others) > 0:
                found[part] = 1 - float(least) / min(others)
        return found

    def averaged(self, tones: Array) -> Array:
        """Tones (M, K, n) of the filters, averaged to (K, n) with the weights of now."""
        total = np.zeros(tones.shape[1:])
        for weight, one in zip(self.weights, tones, strict=True):  # one by one: NumPy's sums differ in the last digit
            total += weight * one
        return total


def new_bank(candidates: Sequence[Candidate], frequencies: Sequence[float], rate: float) -> Bank:
    """A bank that has had no samples yet."""
    trackers = [Tracker(frequencies, rate, one.settings) for one in candidates]
    # The logarithm's last bits differ between processors: six digits are the same everywhere.
    span = float(f"{MEMORY_PERIODS * period_samples(np.asarray(frequencies, dtype='f8'), rate):.6g}")
    return Bank(candidates, trackers, np.zeros(len(trackers)), 0.0, 1 - 1 / max(MEMORY, span))


def prediction_errors(tracked: Tracked, samples: Array, settings: Settings) -> Array:
    """By how much a filter missed each of the samples (n,) that it had not seen yet; NaN where one is missing.

    A sample at a limit was missed by as much as was expected short of it, and not at all by what was expected beyond.
    """
    errors = tracked.innovations.copy()
    high, low = samples >= settings.clip[1], samples <= settings.clip[0]
    errors[high], errors[low] = np.maximum(errors[high], 0), np.minimum(errors[low], 0)
    most = LARGEST_ERROR * settings.amplitude
    return np.where(np.isnan(samples), np.nan, np.fmin(np.abs(errors), most))


def residual(samples: Array, tones: Array) -> Array:
    """What the tones (K, n) leave of the samples (n,), to the same bits however these are cut."""
    rest = samples
    for tone in tones:
        rest = rest - tone
    return rest
