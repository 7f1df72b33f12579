"""The network's rivals at work: classical filters, and the posterior mean where the waveforms are known.

Two kinds of classical filters: those of `estimators.filters`, all linear, which are told more or less and take a
missing sample for 0; and those of named tones (`estimators.tracking`), which bear what recordings bring and predict
what is missing. Of these, some have settings of one strength and are told as much as the Kalman filter is; `auto` is
the filter that `tonesift filter --tones` would use: told the frequencies, it finds its settings itself.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tonesift.estimators import filters, limits
from tonesift.estimators.tracking.settings import Settings
from tonesift.estimators.tracking.tracker import Tracker
from tonesift.evaluation.comparison import Row, Task
from tonesift.evaluation.estimator import without_gaps
from tonesift.streaming.namedtones import NamedToneFilter

WORDS = {"frequencies": "frequencies", "noise_std": "noise level", "second_moment": "amplitude prior"}
TOLD = ", ".join(WORDS.values())
# Strengths in the middle of those that `tracking.methods` tries.
TRACKERS: dict[str, tuple[str, dict[str, Any]]] = {
    "tracked": ("Kalman, missing samples predicted", {}),
    "extended": ("extended Kalman, frequencies may drift", {"drift": 0.01, "drift_time": 3.0, "renewal": 0.03}),
    "student": ("Kalman, Student t noise", {"degrees": 1.5, "adapt": 0.1, "renewal": 0.01}),
}
MOST_TONES = 8  # that they are tried on: what they cost grows with the square
AUTO = "auto"
AUTO_SAMPLES = 40_000  # that `auto` is judged on, at most: it takes a fifth of a second to choose
Estimator = Callable[[NDArray], NDArray]


class Rival(NamedTuple):
    """An estimator to set beside the network; `label` to `drawn` as in `comparison.Row`.

    `estimate` takes mixtures (..., T), NaN where a sample is missing, and gives tones (..., K, T).
    """

    label: str
    causal: bool
    knows: str
    hop: int
    drawn: bool
    estimate: Estimator


def all_rivals(task: Task, hop: int = 1) -> dict[str, Rival]:
    """Every rival by name.

    The posterior mean reads `hop` samples before it answers about them, as the network does; filters answer at once.
    """
    gaps = ", missing samples as 0" if task.conditions.gap_share else ""
    found = {}
    for name, entry in filters.FILTERS.items():
        label = entry.label + (gaps if name not in ("mean", "random") else "")
        found[name] = Rival(label, entry.causal, _knows(entry), 1, entry.drawn, _filter(name, task))
    if task.tones is not None:
        label = f"posterior mean{' for white noise' if task.conditions.on else ''}{gaps}"
        found["posterior_mean"] = Rival(label, True, "waveforms, noise level", hop, False, _posterior(task, hop))
    return found


def named_tones(task: Task) -> dict[str, Rival]:
    """Filters of named tones by name, which need all the past; the plainest only where it differs from `kalman`."""
    if len(task.facts.frequencies) > MOST_TONES:
        return {}
    found = {
        name: Rival(label, True, TOLD, 1, False, _tracker(task, options))
        for name, (label, options) in TRACKERS.items()
        if name != "tracked" or task.conditions.gap_share
    }
    knows = "frequencies; reads a stretch before its first answer"
    return found | {AUTO: Rival("named tones, settings found", False, knows, 1, False, Auto(task))}


def _knows(entry: filters.Filter) -> str:
    return ", ".join(words for fact, words in WORDS.items() if fact in entry.knows) or "nothing"


def _filter(name: str, task: Task) -> Estimator:
    facts = task.facts

    def estimate(mixture: NDArray) -> NDArray:
        return filters.separate(
            name,
            without_gaps(mixture),
            facts.sampling_rate,
            facts.frequencies,
            noise_std=task.noise_std,
            second_moment=task.second_moment,
            generator=np.random.default_rng(0),
        )

    return estimate


def _posterior(task: Task, hop: int) -> Estimator:
    def estimate(mixture: NDArray) -> NDArray:
        seen = limits.hopped(mixture.shape[-1], hop)
        return limits.posterior_mean(without_gaps(mixture), task.tones, task.noise_std, seen, periodic=task.periodic)

    return estimate


def _tracker(task: Task, options: dict[str, Any]) -> Estimator:
    """A filter of named tones; to it a mixture is the sum of its tones, not their mean."""
    frequencies, count = task.facts.frequencies, len(task.facts.frequencies)
    settings = Settings(amplitude=task.second_moment**0.5 / count, noise_std=task.noise_std, **options)

    def track(samples: NDArray) -> NDArray:
        return count * Tracker(frequencies, task.facts.sampling_rate, settings).push(samples).tones

    return lambda mixture: _each(track, mixture)


class Auto:
    """What `tonesift filter --tones` makes of mixtures that it is told nothing of.

    Attributes
    ----------
    taken : list of str
        Methods that counted most in the end, one for each mixture.
    """

    def __init__(self, task: Task) -> None:
        self._frequencies, self._rate = task.facts.frequencies, task.facts.sampling_rate
        self.taken: list[str] = []

    def __call__(self, mixture: NDArray) -> NDArray:
        """Tones (..., K, T) of mixtures (..., T)."""
        return _each(self._one, mixture)

    def _one(self, samples: NDArray) -> NDArray:
        tone_filter = NamedToneFilter(self._frequencies, self._rate)
        tones = np.concatenate([tone_filter.push(samples), tone_filter.finish()], axis=1)
        self.taken.append(next(iter(tone_filter.shares), "none"))
        return len(self._frequencies) * tones.astype(np.float64)


def _each(track: Estimator, mixture: NDArray) -> NDArray:
    """Apply what takes one mixture (T,) to each of (..., T)."""
    flat = mixture.reshape(-1, mixture.shape[-1])
    found = np.stack([track(samples) for samples in flat])
    return found.reshape(*mixture.shape[:-1], *found.shape[1:])


def most_taken(taken: list[str]) -> str:
    """The method taken most often, of equals the first by name, and how often; nothing for none."""
    counts = Counter(taken)
    method = min(counts, key=lambda name: (-counts[name], name), default="")
    return method if len(counts) <= 1 else f"{method} {counts[method]} of {len(taken)} times"


def rival_rows(rivals: dict[str, Rival], mixture: NDArray, targets: NDArray, context: str) -> list[Row]:
    """Rivals on the same segments, `auto` on some of them.

    Parameters
    ----------
    rivals : dict of str to Rival
        By name.
    mixture, targets : ndarray, shapes (S, T) and (S, K, T)
        Segments, each a fresh start; NaN where a sample is missing.
    context : str
        What a segment is, in words.

    Returns
    -------
    list of Row
    """
    rows = []
    for name, (label, causal, knows, hop, drawn, estimate) in rivals.items():
        some, where = slice(None), context
        if isinstance(estimate, Auto) and mixture.size > AUTO_SAMPLES:
            some = slice(None, None, -(-mixture.size // AUTO_SAMPLES))
            where = f"{context}, {len(mixture[some])} of {len(mixture)} segments"
        mse = np.mean((estimate(mixture[some].astype(np.float64)) - targets[some]) ** 2, axis=0)
        if isinstance(estimate, Auto):
            label = f"{label}: {most_taken(estimate.taken)}"
        rows.append(Row(name, label, where, causal, knows, mse, hop, drawn))
    return rows


def is_filter(row: Row) -> bool:
    """Whether a row is a causal filter; such may know the frequencies but not the waveforms."""
    return row.name in (*filters.FILTERS, *TRACKERS) and row.causal


def best_filter(rows: list[Row]) -> Row:
    """The causal filter with the lowest error."""
    return min(filter(is_filter, rows), key=lambda row: row.mse.mean())


def in_windows(estimate: Estimator, length: int) -> Estimator:
    """Apply an estimator to windows laid end to end, each a fresh start, as a network with a reset state works.

    Parameters
    ----------
    estimate : callable
        Mixtures (S, L) to estimates (S, K, L).
    length : int
        L.

    Returns
    -------
    callable
        Mixtures (M, N), N at least L, to estimates (M, K, N). Where N is no multiple of L, a last window that ends with
        the recording fills the rest.
    """

    def windowed(mixture: NDArray) -> NDArray:
        count, samples = mixture.shape
        whole = samples // length * length
        found = estimate(mixture[:, :whole].reshape(-1, length))  # (M W, K, L)
        parts = [found.reshape(count, -1, *found.shape[1:]).swapaxes(1, 2).reshape(count, found.shape[1], whole)]
        if whole < samples:
            parts.append(estimate(mixture[:, samples - length :])[:, :, whole - samples :])
        return np.concatenate(parts, axis=2)

    return windowed
