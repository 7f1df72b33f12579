"""A whole evaluation: the network's figures, and with `detail: full` everything that takes longer."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tonesift import compute, memory, metrics, params
from tonesift.data import recordings, windows
from tonesift.evaluation import comparison, evaluation, tables
from tonesift.evaluation.judge import Judge
from tonesift.learning import sequences
from tonesift.networks.model import Model

if TYPE_CHECKING:
    from tonesift.examination.examination import Examination

PARALLEL = 8  # batches at a time, at most


def evaluate(
    model: Model,
    facts: Mapping[str, Any],
    settings: params.Evaluate,
    split: windows.Split,
    train: recordings.Recordings,
    test: recordings.Recordings,
    history: Mapping[str, NDArray],
) -> "tuple[evaluation.Found, Examination | None, float]":
    """Judge a model on test recordings.

    Parameters
    ----------
    model, facts
        From `model.load`.
    settings : params.Evaluate
        With `detail: full` more is found than figures.
    split : windows.Split
        What it was trained on.
    train, test : Recordings
        Open ones.
    history : mapping
        Curves of its training, from `tables.read_history`.

    Returns
    -------
    found : Found
    more : Examination or None
        The classical filters, robustness, statistics and pictures.
    microseconds : float
        For each output sample of the network on test.
    """
    evaluation.check_fit(test, facts)
    windows.check_fit(split, train)
    device = compute.choose_device(settings.device)
    with compute.workers(device, PARALLEL) as run:
        ours = Judge(model.to(device), facts, settings.batch_size, run, device)
        task = comparison.make_task(test.facts, test.samples)
        tried = evaluation.choose(ours, settings, task, (test.count, test.samples), split)
        memory.check(memory_needed(ours, tried, test))
        signals = sequences.read_signals(test, facts["center"], facts["scale"], device)
        begin = time.perf_counter()
        scored = ours.score(signals, tried.test)
        seconds = time.perf_counter() - begin
        trained = ours.score(sequences.read_signals(train, split.center, split.scale, device), tried.train)
        target = np.stack([test.tones(index) for index in range(test.count)])  # (R, K, N)
        mixture = np.stack([test.mixture(index) for index in range(test.count)])  # (R, N)
        several = model.members if len(model.members) > 1 else []
        members = [replace(ours, model=member).score(signals, tried.test) for member in several]
        found = evaluation.Found(
            task=task,
            tones=tables.tones(task.facts.frequencies, scored.tallies, trained.tallies, target, mixture),
            own=evaluation.own_rows(ours, task, scored),
            settled=evaluation.settled(ours, scored, target, mixture),
            latency_ms=1000 * ours.latency / facts["sampling_rate"],
            members=[sum(each.tallies, metrics.Tally()).r2 for each in members],
        )
        more = None
        if settings.detail == "full":
            from tonesift.examination import examination  # two seconds of imports that scores need not wait for

            subject = examination.Subject(
                model.label, ours.estimate, ours.reset, ours.context, ours.latency, found.tones, history
            )
            more = examination.examine(subject, task, found.own, mixture, target, tried.test)
    return found, more, 1e6 * seconds / sum(seen.count for seen in scored.tallies)


def memory_needed(ours: Judge, tried: evaluation.Tried, test: recordings.Recordings) -> dict[str, float]:
    """Bytes for judging a network, by what they are for."""
    tones = len(test.facts.frequencies)
    needed = {str(test.path): 8.0 * test.count * test.samples * (1 + tones)}
    if ours.reset is None:
        needed["evaluate.streams"] = 4.0 * len(tried.test.starts) * tried.test.length * (1 + 2 * tones)
    else:
        rows = min(ours.batch_size, len(tried.test.starts) * ours.model.examples)
        needed["evaluate.batch_size"] = 4.0 * rows * ours.reset
    return needed
