"""A network judged on a set of recordings; one that corrects filters beside the first of these."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tonesift import metrics
from tonesift.compute import ParallelMap
from tonesift.data.recordings import Recordings
from tonesift.errors import InputError
from tonesift.learning import batches, fronts, streams
from tonesift.metadata import Metadata
from tonesift.networks.model import Model

WINDOWS = 1024  # in a pass, of a network whose state is reset with each


class StreamFilter(Protocol):
    """What `tonesift filter` runs: takes samples as they come, and gives what tones are known by then."""

    def push(self, samples: NDArray) -> NDArray:
        """Tones (K, n) that the next samples make known."""

    def finish(self) -> NDArray:
        """The rest (K, n)."""


def filtered(stream_filter: StreamFilter, samples: NDArray) -> NDArray:
    """Tones (K, N) of a whole recording (N,), read as a stream."""
    return np.concatenate([stream_filter.push(samples), stream_filter.finish()], axis=1)


def figures(
    model: Model, metadata: Metadata, source: Recordings, pmap: ParallelMap, others: dict[str, Callable] | None = None
) -> dict[str, float]:
    """R^2 after the first second, over all tones and recordings, of the network, and of the first filter it corrects.

    Parameters
    ----------
    model, metadata
        As loaded.
    source : Recordings
        To judge it on; of the network's own tones, unless it takes any.
    pmap : ParallelMap
        From `compute.parallel_map`.
    others : dict of str to callable, optional
        What else is judged: takes a recording's samples (N,), NaN where one is missing, and its tones' frequencies,
        gives the tones as heard (K, N).
    """
    facts, settled = source.facts, round(source.facts.sampling_rate)
    if facts.sampling_rate != metadata.sampling_rate:
        raise InputError(f"{source.path}: a model trained at {facts.sampling_rate:g} Hz is wanted")
    if not ((model.front and model.selects) or facts.frequencies == metadata.frequencies):
        raise InputError(f"{source.path}: a model of family hybrid is wanted, or one trained on the tones of that file")
    tallies: dict[str, metrics.Tally] = {}
    for index in range(source.count):
        target = source.tones(index)
        found = answers(model, metadata, source, index, pmap)
        for name, estimate in (others or {}).items():
            samples = np.where(source.missing(index), np.nan, source.mixture(index))
            found[name] = estimate(samples, facts.tones_of(index)) * len(target)
        for name, tones in found.items():
            seen = metrics.tally(target[:, settled:], tones[:, settled:].astype("f4"))
            tallies[name] = tallies.get(name, metrics.Tally()) + seen
    return {name: metrics.rounded(tally.r2) for name, tally in tallies.items()}


def answers(model: Model, metadata: Metadata, source: Recordings, index: int, pmap: ParallelMap) -> dict[str, NDArray]:
    """Tones (K, N) of a recording, of the network and of the first filter that it corrects."""
    if not model.front:
        mixture = torch.from_numpy(batches.scaled(source.mixture(index), metadata.center, metadata.scale))
        return {"r2": streams.estimate(model, mixture[None], metadata.reset_samples, WINDOWS, pmap)[0]}
    known, kind = fronts.scale(source, index, metadata.center), fronts.front_options(model, metadata.whitening)
    frames = torch.from_numpy(fronts.recording_frames(source, index, model.hop, known, **kind))
    plain = fronts.uncorrected(frames, model.hop)
    unit = np.float32(known.unit * len(frames))
    found = {"r2": fronts.run_network(model, frames[None], pmap)[0], "first_filter_r2": plain.numpy()}
    return {name: tones[:, : source.samples] * unit for name, tones in found.items()}
