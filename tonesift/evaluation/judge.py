"""How a network is judged: on stretches of recordings, each from a reset state, as long as its state lasts.

A network whose state is reset is judged on every window of a recording. One whose state is carried on is judged on
streams: long stretches that begin anywhere within one common period, so that knowing how a recording begins is of no
use to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tonesift.compute import Workers
from tonesift.data import windows
from tonesift.learning import sequences, streams
from tonesift.learning.sequences import Scores, Signals
from tonesift.metrics import Tally, tally
from tonesift.networks.model import Model

ALL_THE_PAST = "all the past"
LONGEST = 100_000  # samples of a stream, at most: memory grows with it


class Stretches(NamedTuple):
    """Stretches of recordings, all of one length.

    Attributes
    ----------
    starts : ndarray of int64, shape (S, 2)
        Recording and first sample of each.
    length : int
        T, samples in each.
    """

    starts: NDArray[np.int64]
    length: int

    def cut(self, signal: NDArray) -> NDArray:
        """Copies (S, ..., T) out of recordings (R, ..., N)."""
        every = np.lib.stride_tricks.sliding_window_view(signal, self.length, axis=-1)
        recordings, first = self.starts.T
        return every[recordings, ..., first, :]


@dataclass(frozen=True)
class Judge:
    """A network, and how it is run over recordings.

    Attributes
    ----------
    model : Network or Ensemble
        On `device`.
    facts : mapping
        The model file's own.
    batch_size : int
        Windows in one pass.
    run : Workers
        From `compute.workers`.
    device : torch.device
        Where the model is.
    """

    model: Model
    facts: Mapping[str, Any]
    batch_size: int
    run: Workers
    device: torch.device

    @property
    def reset(self) -> int | None:
        """Samples after which the state is reset; None for never."""
        return None if self.facts["train"]["stateful"] else self.facts["sequence_length"]

    @property
    def latency(self) -> int:
        """Samples read before the first of them is answered: a step, or the whole window if that is read both ways."""
        return self.model.hop if self.model.causal else self.facts["sequence_length"]

    @property
    def context(self) -> str:
        """What the network may read before it answers, in words."""
        return ALL_THE_PAST if self.reset is None else f"{self.reset} samples"

    @property
    def settled(self) -> int:
        """Samples in the first second of a stretch, after which a carried state has settled."""
        return round(self.facts["sampling_rate"])

    def score(self, signals: Signals, stretches: Stretches) -> Scores:
        """Scores over stretches of recordings."""
        if self.reset is not None:
            chosen = sequences.Sequences(signals, stretches.starts, self.reset, self.model.examples, self.model.hop)
            return sequences.score(self.model, chosen, self.batch_size, self.run)
        target = stretches.cut(signals.tones.cpu().numpy())
        return scores(target, self._run(stretches.cut(signals.mixture.cpu().numpy())), self.settled)

    def estimate(self, mixture: NDArray) -> NDArray:
        """Outputs (M, K, N) for whole recordings (M, N), as they come."""
        return self._run(sequences.scaled(mixture, self.facts["center"], self.facts["scale"]))

    def _run(self, mixture: NDArray) -> NDArray:
        return streams.estimate(self.model, mixture, self.reset, self.batch_size, self.run)


def scores(target: NDArray, output: NDArray, settled: int) -> Scores:
    """Scores of outputs (S, K, T) beside targets of the same shape; a state settles within so many samples."""
    position_mse = np.mean(np.square(output - target, dtype=np.float64), axis=0)
    later = _tallies(target[..., settled:], output[..., settled:]) if target.shape[-1] > settled else None
    return Scores(_tallies(target, output), position_mse, later)


def _tallies(target: NDArray, output: NDArray) -> list[Tally]:
    return [tally(target[:, tone], output[:, tone]) for tone in range(target.shape[1])]


def all_windows(recordings: int, samples: int, length: int, step: int) -> Stretches:
    """Every window of every recording."""
    return Stretches(windows.starts(windows.all_windows(recordings, samples, length, step), step), length)


def drawn_streams(held: list[streams.Stretch], count: int, length: int, spread: int, seed: int) -> Stretches:
    """Streams that begin within so many samples of where stretches of recordings begin.

    Parameters
    ----------
    held : list of (int, int, int)
        Recording, begin and end of what may be read; those shorter than `spread + length` are left out.
    count : int
        S; the stretches take turns.
    length : int
        T, samples in a stream.
    spread : int
        Samples from which the starts are drawn, one from each of S equal parts.
    seed : int
        Of the starts.
    """
    generator = np.random.default_rng(seed)
    begins = np.array([(recording, begin) for recording, begin, end in held if end - begin >= spread + length])
    chosen = begins[np.arange(count) % len(begins)]
    offsets = generator.permutation(streams.drawn_starts(count, spread, generator))
    return Stretches(chosen + np.stack([np.zeros(count, dtype=np.int64), offsets], axis=1), length)
