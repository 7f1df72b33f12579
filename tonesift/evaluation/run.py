"""An evaluation as every trial of a search pays for it: the network's figures on test recordings."""

import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tonesift import memory, metrics, params
from tonesift.data import recordings, windows
from tonesift.data.segments import Segments
from tonesift.errors import InputError
from tonesift.evaluation import comparison, tables
from tonesift.evaluation.comparison import Row, Task
from tonesift.evaluation.estimator import NetworkEstimator, without_gaps
from tonesift.evaluation.segments import choose_segments
from tonesift.metadata import Metadata
from tonesift.metrics import rounded


class Result(NamedTuple):
    """What every evaluation finds.

    Attributes
    ----------
    task : Task
        What the recordings are.
    tones : tables.Table
        Figures over all tones and of each.
    own : list of Row
        The network's row and, as far as there is one, the limit's.
    settled : dict of str to dict of str to float
        Figures after the first second; empty where the state does not last that long.
    latency_ms : float
        How long the first sample of a step waits for its answer.
    members : list of float
        R^2 of each network of an ensemble; empty if it is none.
    microseconds : float
        For each output sample of the network on test.
    heard, targets : ndarray, shapes (R, N) and (R, K, N)
        The test recordings: mixtures, NaN where a sample is missing, and tones.
    segments : Segments
        What of them the network was judged on.
    """

    task: Task
    tones: tables.Table
    own: list[Row]
    settled: dict[str, dict[str, float]]
    latency_ms: float
    members: list[float]
    microseconds: float
    heard: NDArray
    targets: NDArray
    segments: Segments


def evaluate(
    estimator: NetworkEstimator,
    settings: params.Evaluate,
    split: windows.Split,
    train: recordings.Recordings,
    test: recordings.Recordings,
) -> Result:
    """Judge a network on test recordings, and beside them on those it was trained on.

    Raises
    ------
    InputError
        If the test recordings are not such as the network was made for.
    """
    metadata = estimator.metadata
    check_fit(test, metadata)
    windows.check_fit(split, train)
    task = comparison.make_task(test.facts, test.samples)
    segments = choose_segments(metadata, settings, task, (test.count, test.samples), split)
    memory.check(memory_needed(estimator, segments.test, test))
    heard, targets = _read(test)
    mixture = without_gaps(heard)
    if task.conditions.on:
        task = replace(task, measured=comparison.measure(mixture, targets, np.isnan(heard)))
    begin = time.perf_counter()
    scored = estimator.score(heard, targets, segments.test)
    seconds = time.perf_counter() - begin
    trained = estimator.score(*_read(train), segments.train)
    several = estimator.model.members if len(estimator.model.members) > 1 else []
    members = [replace(estimator, model=member).score(heard, targets, segments.test) for member in several]
    return Result(
        task=task,
        tones=tables.tones(task.facts.frequencies, scored.tallies, trained.tallies, targets, mixture),
        own=own_rows(estimator, task, scored, segments.test),
        settled=settled(estimator, scored, targets, heard),
        latency_ms=1000 * metadata.latency / metadata.sampling_rate,
        members=[sum(each.tallies, metrics.Tally()).r2 for each in members],
        microseconds=1e6 * seconds / sum(seen.count for seen in scored.tallies),
        heard=heard,
        targets=targets,
        segments=segments.test,
    )


def _read(source: recordings.Recordings) -> tuple[NDArray, NDArray]:
    """Mixtures (R, N), NaN where a sample is missing, and tones (R, K, N) of a set of recordings."""
    mixture, tones = source.read()
    missing = np.stack([source.missing(index) for index in range(source.count)])
    return np.where(missing, np.float32(np.nan), mixture), tones


def memory_needed(estimator: NetworkEstimator, segments: Segments, test: recordings.Recordings) -> dict[str, float]:
    """Bytes for judging a network, by what they are for."""
    tones, metadata = len(test.facts.frequencies), estimator.metadata
    needed = {str(test.path): 8.0 * test.count * test.samples * (1 + tones)}
    if metadata.reset_samples is None:
        needed["evaluate.streams"] = 4.0 * len(segments.starts) * segments.samples * (1 + 2 * tones)
    else:
        rows = min(estimator.batch_size, len(segments.starts) * estimator.model.examples)
        needed["evaluate.batch_size"] = 4.0 * rows * metadata.reset_samples
    return needed


def check_fit(test: recordings.Recordings, metadata: Metadata) -> None:
    """Refuse recordings the model was not made for."""
    for name in ("sampling_rate", "frequencies"):
        found, learnt = getattr(test.facts, name), getattr(metadata, name)
        if found != learnt:
            raise InputError(
                f"{test.path}: {name} {_listed(found)}, but the model was trained on {_listed(learnt)}: "
                "run `dvc repro train`"
            )
    if test.samples < metadata.window_samples:
        raise InputError(
            f"{test.path}: {test.samples} samples, but a window has {metadata.window_samples}: use longer recordings"
        )


def _listed(value: float | tuple[float, ...]) -> float | list[float]:
    return list(value) if isinstance(value, tuple) else value


def own_rows(estimator: NetworkEstimator, task: Task, scored: metrics.Scores, segments: Segments) -> list[Row]:
    """The network's own row, and that of the best possible with its context and latency, if it is known."""
    model, context, latency = estimator.model, estimator.context, estimator.metadata.latency
    knows = "nothing; trained on recordings of the same task"
    row = Row("network", model.label, context, model.causal, knows, scored.position_mse, latency, drawn=True)
    return [row, *comparison.limit_rows(task, segments, context, latency)]


def settled(
    estimator: NetworkEstimator, scored: metrics.Scores, targets: NDArray, heard: NDArray
) -> dict[str, dict[str, float]]:
    """Figures after the first second: of the streams, and of the test recordings from their own start."""
    if scored.settled is None:
        return {}
    settling = estimator.settling
    outputs = estimator.estimate(heard)
    pairs = [(targets[..., settling:].swapaxes(0, 1), outputs[..., settling:].swapaxes(0, 1))]
    whole = metrics.tally_tones(pairs, targets.shape[1])
    overall = sum(scored.settled, metrics.Tally())
    return {
        "settled": {
            "r2": rounded(overall.r2),
            "worst_tone_mse": rounded(max(tone.mse for tone in scored.settled)),
            "correlation": rounded(overall.correlation),
        },
        "from_start": {
            "settled_r2": rounded(sum(whole, metrics.Tally()).r2),
            "worst_tone_mse": rounded(max(tone.mse for tone in whole)),
        },
    }
