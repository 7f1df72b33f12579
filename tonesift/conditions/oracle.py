"""The best linear estimate of tones under conditions: exact where nothing more need be told, otherwise an oracle's.

Told how each tone's angle and relative amplitude run, when it sets in, and the variance of the noise at every sample,
what is left to find out is a pair of numbers for each tone and onset, as in `estimators.kalman`: the problem is
linear, and Gaussian but for the amplitudes' distribution. Under white and coloured noise and gaps that is no more than
what `limits.general_mse` presumes, so the error is the limit of linear estimators. Where paths or scales are told that
nobody knows (`unknowable`), it is an oracle's: nobody who has to find them out does better by linear means, and how
near one can come is another question.

    oracle_mse(knowledge(facts, samples, index), limits.hopped(samples, 10))
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import linalg

from tonesift import memory, params
from tonesift.arguments import Array, Counts, checked_seen
from tonesift.conditions import elementary, processes, run
from tonesift.data import signals
from tonesift.data.recordings import Facts
from tonesift.estimators.kalman import NOISE_FLOOR


class Knowledge(NamedTuple):
    """What an oracle knows of a recording of K tones and N samples.

    Attributes
    ----------
    heard, wanted : Array, shape (N, K, 2)
        What a tone's pair of numbers is multiplied by to give the tone as the mixture holds it (before the mean over
        tones), and as it is to be found: relative amplitude times sine and cosine of its angle.
    onsets : ndarray of bool, shape (K, N)
        Samples at which a tone's pair is another one from here on; the first needs no mark.
    variances : Array, shape (N,)
        Of the noise that is white; infinite where a sample is missing or holds nothing of the tones.
    second_moments : Array, shape (K,)
        Prior E[A^2] of each tone's amplitude, above 0.
    covariance : Array, shape (N,), or None
        Of stationary coloured noise beside it, 0 to N - 1 samples apart.
    """

    heard: Array
    wanted: Array
    onsets: npt.NDArray[np.bool_]
    variances: Array
    second_moments: Array
    covariance: Array | None = None


def oracle_mse(given: Knowledge, seen: npt.ArrayLike) -> Array:
    """Expected squared error of the best linear estimator that knows this, for each tone and sample.

    Parameters
    ----------
    given : Knowledge
        What it knows.
    seen : array_like of int, shape (N,)
        Samples known when each sample is answered, from 0 to N.

    Returns
    -------
    Array, shape (K, N)
        In the amplitudes' unit squared.

    Raises
    ------
    InputError
        If there is coloured noise, and no memory for its N^2 covariances.

    Notes
    -----
    Bayesian linear regression on all pairs at once, one sample after the other, so that answers may use samples after
    the next onset. Coloured noise is whitened sample by sample, by what those before it predict: where all noise is
    stationary and no sample is missing by Levinson's recursion in N^2 operations, otherwise by the Cholesky factor of
    its covariance in N^3 / 3.
    """
    counts = checked_seen(seen)
    pairs = np.maximum(
        np.cumsum(given.onsets, axis=1) - given.onsets[:, :1], 0
    )  # (K, N): which of a tone's pairs holds
    first = np.concatenate([[0], np.cumsum(pairs[:, -1] + 1)])  # of each tone, among all pairs
    columns = 2 * (first[:-1, None] + pairs)
    known = np.concatenate([[0], np.cumsum(np.isfinite(given.variances))])[counts]  # samples that were not missing
    prior = np.repeat(0.5 * given.second_moments, 2 * np.diff(first))
    mse = np.empty(columns.shape)
    covariances = _covariances(prior, _whitened(given, columns, len(prior)))
    order = np.argsort(known, kind="stable")  # answers in the order in which they can be given
    bounds = np.searchsorted(known[order], np.arange(known.max() + 2))
    sines, cosines = given.wanted.transpose(2, 1, 0)  # (K, N) each
    for count, covariance in enumerate(itertools.islice(covariances, int(known.max()) + 1)):
        samples = order[bounds[count] : bounds[count + 1]]
        if samples.size:
            at, sine, cosine = columns[:, samples], sines[:, samples], cosines[:, samples]
            both = 2.0 * sine * cosine * covariance[at, at + 1]
            mse[:, samples] = sine**2 * covariance[at, at] + both + cosine**2 * covariance[at + 1, at + 1]
    return np.maximum(mse, 0.0)


def cut(given: Knowledge, begin: int, samples: int) -> Knowledge:
    """What an oracle knows that begins to read at a sample, and stops so many later."""
    part = slice(begin, begin + samples)
    return Knowledge(
        heard=given.heard[part],
        wanted=given.wanted[part],
        onsets=given.onsets[:, part],
        variances=given.variances[part],
        second_moments=given.second_moments,
        covariance=None if given.covariance is None else given.covariance[:samples],
    )


def _whitened(given: Knowledge, columns: Counts, size: int) -> Array:
    """What each sample that is not missing tells of all pairs, in noise of variance 1: shape (M, D)."""
    samples, tones = given.heard.shape[:2]
    rows = np.zeros((samples, size))
    for tone in range(tones):
        for half in range(2):
            rows[np.arange(samples), columns[tone] + half] = given.heard[:, tone, half] / tones
    present = np.flatnonzero(np.isfinite(given.variances))
    variances = np.maximum(given.variances[present], NOISE_FLOOR**2 * given.second_moments.max())
    if given.covariance is None:
        return rows[present] / np.sqrt(variances)[:, None]
    if _is_stationary(given):
        return _predicted(given.covariance, float(variances[0]), rows)
    memory.check({"covariances of coloured noise": 16.0 * len(present) ** 2})
    full = given.covariance[np.abs(present[:, None] - present)]
    full[np.diag_indices_from(full)] += variances
    factor = linalg.cholesky(full, lower=True, overwrite_a=True)
    return linalg.solve_triangular(factor, rows[present], lower=True)


def _is_stationary(given: Knowledge) -> bool:
    """Whether the noise is, and no sample is missing."""
    return bool((given.variances == given.variances[0]).all() and np.isfinite(given.variances[0]))


def _predicted(covariance: Array, white: float, rows: Array) -> Array:
    """Rows (N, D) less what those before them predict in stationary noise, each in its own standard deviation."""
    found, backwards, samples = np.empty(rows.shape), rows[::-1].copy(), len(rows)
    weights, error = np.zeros(0), float(covariance[0]) + white  # of the last sample, the one before it, ...
    for sample, row in enumerate(rows):
        predicted = np.einsum("i,ij->j", weights, backwards[samples - sample :])
        found[sample] = (row - predicted) / np.sqrt(error)
        if sample + 1 < samples:
            left = covariance[sample + 1] - np.einsum("i,i->", weights, covariance[sample:0:-1])
            reflection = left / error
            weights = np.append(weights - reflection * weights[::-1], reflection)
            error *= 1.0 - reflection * reflection
    return found


def _covariances(prior: Array, rows: Array) -> Iterator[Array]:
    """Covariance (D, D) of the pairs' error before the first row, and after each."""
    covariance = np.diag(prior)
    yield covariance
    for row in rows:
        projected = covariance @ row
        covariance -= np.outer(projected, projected / (1.0 + row @ projected))
        yield covariance


def knowledge(facts: Facts, samples: int, index: int) -> Knowledge:
    """What an oracle knows of one recording of a general task; `unknowable` has it in words.

    Knowing the jitter, the background, and what was clipped off, it hears what it would hear without them.
    """
    conditions, path = facts.conditions, run.paths(facts, samples, index)
    variances = run.noise_variances(facts, samples, index)
    for name, which in (("gap_share", run.gaps), ("outlier_share", run.outliers)):
        if conditions.needs(name):
            variances[which(facts, samples, index)] = np.inf
    heard = wanted = _waves(path.turns, path.gains)
    if conditions.needs("jitter_amplitude", "jitter_phase"):
        louder, later = run.jitter(facts, samples, index)
        heard = _waves(path.turns + later, path.gains * louder)
    moments = [signals.uniform_second_moment(*each) for each in conditions.amplitude_ranges or ()]
    coloured = [float(facts.drawn[name][index]) for name in ("coloured_exponent", "coloured") if conditions.coloured]
    return Knowledge(
        heard=heard,
        wanted=wanted,
        onsets=path.onsets,
        variances=variances,
        second_moments=np.array(moments or [facts.second_moment] * len(path.turns)),
        covariance=processes.coloured_covariance(samples, *coloured) if coloured else None,
    )


def _waves(turns: Array, gains: Array) -> Array:
    """Sines and cosines (N, K, 2) of angles (K, N), times gains."""
    return (gains * np.stack([elementary.sine(turns), elementary.sine(turns + 0.25)])).transpose(2, 1, 0)


ORACLES = {
    "drift": "frequency paths",
    "wander": "relative amplitudes",
    "phase_walk": "phase paths",
    "dwell": "switching times",
    "jitter_amplitude": "jitter",
    "jitter_phase": "jitter",
    "tail_scale": "each sample's noise level",
    "burst_share": "bursts",
    "background": "background",
    "outlier_share": "outliers",
    "clip": "what was clipped off",
}


def unknowable(conditions: params.Conditions) -> list[str]:
    """What an oracle knows and no estimator can find out, in words; nothing where the limit is exact."""
    return list(dict.fromkeys(words for name, words in ORACLES.items() if conditions.needs(name)))
