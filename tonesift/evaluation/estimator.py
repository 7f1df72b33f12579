"""The network as an estimator of tones: how it is run over recordings, and scored on segments of them.

A network whose state is reset is judged on windows. One whose state is carried on is judged on streams: long segments,
each from a reset state.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tonesift import metrics
from tonesift.compute import ParallelMap
from tonesift.data.segments import Segments
from tonesift.learning import batches, fronts, streams
from tonesift.metadata import Metadata
from tonesift.networks.model import Model

ALL_THE_PAST = "all the past"


@dataclass(frozen=True)
class NetworkEstimator:
    """A network, and how it is run over recordings.

    Attributes
    ----------
    model : Network or Ensemble
        On `device`.
    metadata : Metadata
        The model file's own.
    batch_size : int
        Windows in one pass.
    pmap : ParallelMap
        From `compute.parallel_map`.
    device : torch.device
        Where the model is.
    """

    model: Model
    metadata: Metadata
    batch_size: int
    pmap: ParallelMap
    device: torch.device

    @property
    def context(self) -> str:
        """What the network may read before it answers, in words."""
        reset = self.metadata.reset_samples
        return ALL_THE_PAST if reset is None else f"{reset} samples"

    @property
    def settling(self) -> int:
        """Samples after which a carried state has settled: those of a second."""
        return round(self.metadata.sampling_rate)

    def score(self, mixture: NDArray, tones: NDArray, segments: Segments) -> metrics.Scores:
        """Scores over segments of recordings: mixtures (R, N), NaN where a sample is missing, and tones (R, K, N)."""
        if self.metadata.reset_samples is None:  # streams are few: cut out and answered at once
            targets, outputs = segments.cut(tones), self.estimate(segments.cut(mixture))  # (S, K, T)
            return score(targets, outputs, self.settling)
        # windows overlap: written out they would be many times the recordings, so they are gathered batch by batch
        known, metadata = without_gaps(mixture), self.metadata
        signals = batches.to_device(known, tones, metadata.center, metadata.scale, self.device)
        chosen = batches.Windows(signals, *segments, self.model.examples, self.model.hop)
        return metrics.score(
            batches.predict(self.model, chosen, self.batch_size, self.pmap), self.model.tones, segments.samples
        )

    def estimate(self, mixture: NDArray) -> NDArray[np.float32]:
        """Outputs (M, K, N) for whole recordings (M, N), as they come; what is missing is known to filters alone."""
        if self.model.front:
            tones = [self.metadata.frequencies] * len(mixture)
            return fronts.estimate(self.model, self.metadata, mixture, tones, self.pmap)
        known = batches.scaled(without_gaps(mixture), self.metadata.center, self.metadata.scale)
        read = torch.from_numpy(known).to(self.device)
        return streams.estimate(self.model, read, self.metadata.reset_samples, self.batch_size, self.pmap)


def without_gaps(mixture: NDArray) -> NDArray:
    """The same with 0 where a sample is missing, for what reads samples only."""
    return np.where(np.isnan(mixture), 0.0, mixture)


def score(targets: NDArray, outputs: NDArray, settling: int) -> metrics.Scores:
    """Scores of outputs (S, K, T) beside targets of the same shape; a state settles within so many samples."""
    _, tones, samples = targets.shape
    return metrics.score([(targets.swapaxes(0, 1), outputs.swapaxes(0, 1))], tones, samples, settling)
