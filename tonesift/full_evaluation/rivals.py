"""The network's rivals at work: classical filters, and the posterior mean where the waveforms are known."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tonesift.estimators import filters, limits
from tonesift.evaluation.comparison import Row, Task

WORDS = {"frequencies": "frequencies", "noise_std": "noise level", "second_moment": "amplitude prior"}
Estimator = Callable[[NDArray], NDArray]


class Rival(NamedTuple):
    """An estimator to set beside the network; `label` to `drawn` as in `comparison.Row`.

    `estimate` takes mixtures (..., T) and gives tones (..., K, T).
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
    found = {
        name: Rival(entry.label, entry.causal, _knows(entry), 1, entry.drawn, _filter(name, task))
        for name, entry in filters.FILTERS.items()
    }
    if task.tones is not None:
        knows, estimate = "waveforms, noise level", _posterior(task, hop)
        found["posterior_mean"] = Rival("posterior mean", True, knows, hop, False, estimate)
    return found


def _knows(entry: filters.Filter) -> str:
    return ", ".join(words for fact, words in WORDS.items() if fact in entry.knows) or "nothing"


def _filter(name: str, task: Task) -> Estimator:
    facts = task.facts

    def estimate(mixture: NDArray) -> NDArray:
        return filters.separate(
            name,
            mixture,
            facts.sampling_rate,
            facts.frequencies,
            noise_std=facts.noise_std,
            second_moment=facts.second_moment,
            generator=np.random.default_rng(0),
        )

    return estimate


def _posterior(task: Task, hop: int) -> Estimator:
    def estimate(mixture: NDArray) -> NDArray:
        seen = limits.hopped(mixture.shape[-1], hop)
        return limits.posterior_mean(mixture, task.tones, task.facts.noise_std, seen, periodic=task.periodic)

    return estimate


def rival_rows(task: Task, mixture: NDArray, targets: NDArray, context: str, hop: int = 1) -> list[Row]:
    """Every rival on the same segments.

    Parameters
    ----------
    task : Task
        What they may know.
    mixture, targets : ndarray, shapes (S, T) and (S, K, T)
        Segments, each a fresh start.
    context : str
        What a segment is, in words.
    hop : int
        Samples the posterior mean reads before it answers about them.

    Returns
    -------
    list of Row
    """
    rows = []
    for name, (label, causal, knows, own_hop, drawn, estimate) in all_rivals(task, hop).items():
        mse = np.mean((estimate(mixture.astype(np.float64)) - targets) ** 2, axis=0)
        rows.append(Row(name, label, context, causal, knows, mse, own_hop, drawn))
    return rows


def is_filter(row: Row) -> bool:
    """Whether a row is a causal filter; such may know the frequencies but not the waveforms."""
    return row.name in filters.FILTERS and row.causal


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
