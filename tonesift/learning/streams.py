"""Recordings as streams: the state is carried on from step to step, for as long as there are samples.

Training reads many streams side by side, each through a segment of a recording from a random offset on. A batch is the
next few steps of each; gradients go back through those steps and no further (truncated back-propagation), while the
state goes on. A stream whose segment is used up starts anew elsewhere, from a reset state: the network must learn to
begin, too.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tonesift.compute import ParallelMap
from tonesift.data.segments import Segment
from tonesift.learning.batches import Batch, Signals
from tonesift.metrics import Pair
from tonesift.networks.model import Model

CHUNK_STEPS = 500  # steps passed through a network at once: bounds memory
STREAM_ROWS = 32  # streams passed side by side; part of the bits, so not a matter of taste
VALIDATION_SAMPLES = 100_000  # that a stream reads before a validation segment, and in it, at most
VALIDATION_STARTS = 64  # streams that begin inside the validation segments, all together


class StreamBatches:
    """Batches of streams side by side through segments of recordings, for training.

    Parameters
    ----------
    segments : sequence of Segment
        What may be read; those shorter than `samples` are left out.
    count : int
        B, streams side by side.
    samples : int
        Samples of a stream in a batch, at most.
    examples, hop : int
        Tones to choose from, drawn for a stream when it starts, and samples in a step: the network's own.
    from_begin : bool
        Whether streams read a segment from its beginning, but for the first ones, so that they are not in step.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        count: int,
        samples: int,
        examples: int,
        hop: int,
        *,
        from_begin: bool = False,
    ) -> None:
        table = np.array(segments, dtype=np.int64).reshape(-1, 3)
        self._segments = table[table[:, 2] - table[:, 1] >= samples]
        self._starts = np.cumsum(self._segments[:, 2] - self._segments[:, 1] - samples + 1)
        self._samples, self._examples, self._hop, self._from_begin = samples, examples, hop, from_begin
        self._recording, self._next, self._end = (np.zeros(count, dtype=np.int64) for _ in range(3))
        self._wanted = np.zeros(count, dtype=np.int64)

    def next(self, generator: np.random.Generator, steps: int) -> Batch:
        """The next so many steps of each stream.

        The generator draws where used up ones start anew, and with which tone; a stream is used up where less is left
        than may be asked for.
        """
        fresh = self._next + self._samples > self._end
        self._restart(np.flatnonzero(fresh), generator)
        batch = Batch(np.stack([self._recording, self._next], axis=1), self._wanted.copy(), fresh, steps)
        self._next += steps * self._hop
        return batch

    def _restart(self, streams: NDArray[np.int64], generator: np.random.Generator) -> None:
        drawn = generator.integers(self._starts[-1], size=len(streams))
        which = np.searchsorted(self._starts, drawn, side="right")
        recording, begin, end = self._segments[which].T
        start = end - self._samples - (self._starts[which] - 1 - drawn)
        if self._from_begin:
            whole = (start - begin) // self._samples * self._samples
            start = begin + np.where(self._end[streams] == 0, whole, 0)
        self._recording[streams], self._next[streams], self._end[streams] = recording, start, end
        self._wanted[streams] = generator.integers(self._examples, size=len(streams))


def estimate(
    model: Model, mixture: Tensor, reset_samples: int | None, batch_size: int, pmap: ParallelMap
) -> NDArray[np.float32]:
    """Outputs of a network over whole recordings, from a reset state each.

    Parameters
    ----------
    model : Network or Ensemble
        On any device.
    mixture : Tensor, shape (M, N)
        Scaled as in training.
    reset_samples : int or None
        Samples after which the state is reset, a multiple of the model's hop; None carries it on to the end.
    batch_size : int
        Windows in one pass where the state is reset; memory grows with it.
    pmap : ParallelMap
        From `compute.parallel_map`.

    Returns
    -------
    ndarray, shape (M, K, N)
        Where N is no multiple of the hop, zeros are read behind the end. In NumPy, because it is far larger than the
        mixture and a GPU need not hold it.
    """
    count, samples = mixture.shape
    length = reset_samples or -(-samples // model.hop) * model.hop
    pieces = -(-samples // length)
    rows = torch.nn.functional.pad(mixture, (0, pieces * length - samples)).view(-1, length)
    parts = rows.split(batch_size if reset_samples else STREAM_ROWS)
    found = np.concatenate(pmap(lambda part: _pass(model, part), parts))  # (M pieces, K, length)
    joined = found.reshape(count, pieces, model.tones, length).swapaxes(1, 2).reshape(count, model.tones, -1)
    return joined[:, :, :samples]


def _pass(model: Model, rows: Tensor) -> NDArray[np.float32]:
    """Outputs (W, K, N) of rows (W, N), N a multiple of the hop."""
    device, count = next(model.parameters()).device, len(rows)
    frames = rows.to(device).view(count, -1, model.hop).transpose(0, 1)  # (L, W, hop)
    wanted = torch.arange(model.examples, device=device).repeat_interleave(count)
    outputs, state = [], None
    with torch.inference_mode():
        for part in frames.split(CHUNK_STEPS if model.causal else len(frames)):
            features = model.features(part.repeat(1, model.examples, 1), wanted)
            output, state = model(features, state)
            outputs.append(output.cpu())
    # the tones stand in the rows with a selector, in the columns with heads
    whole = torch.cat(outputs).view(len(frames), model.examples, count, -1, model.hop)
    return whole.permute(2, 1, 3, 0, 4).reshape(count, model.tones, -1).numpy()


class ScoredSegment(NamedTuple):
    """A stream to validate on: it reads a recording from `begin` to `end`, and its outputs count from `scored` on."""

    recording: int
    begin: int
    scored: int
    end: int


def validation_segments(
    segments: Sequence[Segment], period: int, generator: np.random.Generator
) -> list[ScoredSegment]:
    """Streams to validate on: how well the network goes on, and how well it begins.

    Parameters
    ----------
    segments : sequence of Segment
        What is to be judged.
    period : int
        Samples in which the recording has seen all it does; starts are drawn from as many, or from half a segment.
    generator : numpy.random.Generator
        Draws the starts.

    Returns
    -------
    list of ScoredSegment
        One from each recording's own start, uninterrupted to the end of the segment (in long recordings, within
        `VALIDATION_SAMPLES` of where the segment begins); and where there are no more than
        `VALIDATION_STARTS` segments, so many in all that begin inside them and last two periods at most.
    """
    far = VALIDATION_SAMPLES
    going = [ScoredSegment(recording, max(0, b - far), b, min(e, b + far)) for recording, b, e in segments]
    beginning = []
    for recording, begin, end in segments:
        for start in begin + drawn_starts(
            VALIDATION_STARTS // len(segments), min(period, (end - begin) // 2), generator
        ):
            beginning.append(ScoredSegment(recording, start, start, min(start + 2 * period, end)))
    return going + beginning


def drawn_starts(count: int, samples: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Places (count,) among so many samples, one drawn from each of `count` equal parts, in rising order."""
    return np.floor((np.arange(count) + generator.random(count)) / max(count, 1) * samples).astype(np.int64)


def predict(model: Model, signals: Signals, segments: Sequence[ScoredSegment], pmap: ParallelMap) -> Iterator[Pair]:
    """Targets and outputs over the samples of streams that count: K arrays (1, T), a pair for each stream."""
    # Those that go on read much longer than those that begin; side by side all would be as long as the longest.
    for group in ([s for s in segments if s.begin < s.scored], [s for s in segments if s.begin == s.scored]):
        if not group:
            continue
        mixture = signals.mixture.new_zeros(len(group), max(end - begin for _, begin, _, end in group))
        for row, (recording, begin, _, end) in zip(mixture, group, strict=True):
            row[: end - begin] = signals.mixture[recording, begin:end]
        outputs = estimate(model, mixture, None, STREAM_ROWS, pmap)
        for output, (recording, begin, scored, end) in zip(outputs, group, strict=True):
            target = signals.tones[recording, :, scored:end].cpu().numpy()
            yield target[:, None], output[:, None, scored - begin : end - begin]
