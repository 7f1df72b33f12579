"""Batches of windows, gathered from the recordings by index on the device that trains.

The plain way writes every window out: 191 MB for 10 000 samples. Here the recordings stay as they are and a batch is
one indexed read, so memory is that of the recordings whatever the windows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tonesift.compute import ParallelMap
from tonesift.metrics import Pair
from tonesift.networks.model import Model

AT_A_TIME = 8  # batches that are computed before the first of them is handed on: finished ones wait in memory


class Signals(NamedTuple):
    """Mixtures (R, N), scaled, and tones (R, K, N) of a set of recordings, on one device.

    For a network that corrects filters `mixture` is frames (R, K, S, FRAME), the tones are in units of their root mean
    square amplitude, and an error counts by its recording's weight (R,).
    """

    mixture: Tensor
    tones: Tensor
    weights: Tensor | None = None


class Batch(NamedTuple):
    """Segments to read, one for each of B examples.

    Attributes
    ----------
    starts : ndarray of int64, shape (B, 2)
        Recording and first sample.
    wanted : ndarray of int64, shape (B,)
        The tone that is to be given; without meaning where all of them are.
    fresh : ndarray of bool, shape (B,)
        Whether an example starts from a reset state; otherwise it goes on where the batch before ended.
    steps : int
        L, steps of the network in each example.
    """

    starts: NDArray[np.int64]
    wanted: NDArray[np.int64]
    fresh: NDArray[np.bool_]
    steps: int

    def split(self, parts: int) -> "list[Batch]":
        """So many batches with neighbouring examples, as far as there are any."""
        cut = zip(*(np.array_split(column, parts) for column in self[:3]), strict=True)
        return [Batch(*columns, self.steps) for columns in cut if len(columns[0])]


def scaled(mixture: NDArray, center: float, scale: float) -> NDArray[np.float32]:
    """What the network is fed: (mixture - center) / scale, in float32."""
    return (mixture.astype(np.float32, copy=False) - np.float32(center)) / np.float32(scale)


def to_device(mixture: NDArray, tones: NDArray, center: float, scale: float, device: torch.device) -> Signals:
    """Recordings as the network is fed them: mixtures (R, N) as (mixture - center) / scale, and tones (R, K, N)."""
    return Signals(torch.from_numpy(scaled(mixture, center, scale)).to(device), torch.from_numpy(tones).to(device))


def without_noise(signals: Signals, center: float, scale: float) -> Signals:
    """The same recordings before noise came in: the mixture is the mean of the tones."""
    return Signals((signals.tones.mean(dim=1) - center) / scale, signals.tones)


def gather(signals: Signals, batch: Batch, model: Model) -> tuple[Tensor, Tensor]:
    """Frames of the mixture (L, B, hop) and what is to be made of them (L, B, outputs), L steps of each example."""
    count, samples = signals.tones.shape[1:]
    recordings, first = batch.starts.T
    at = first[:, None] + np.arange(batch.steps * model.hop).reshape(-1, 1, model.hop)  # (L, B, hop)
    if model.front and model.selects:
        frames = signals.mixture[recordings, batch.wanted, at[:, :, 0] // model.hop]
    elif model.front:
        frames = signals.mixture[recordings, :, at[:, :, 0] // model.hop].flatten(start_dim=2)
    else:
        frames = _take(signals.mixture, recordings[:, None] * samples + at)
    if model.selects:
        return frames, _take(signals.tones, (recordings * count + batch.wanted)[:, None] * samples + at)
    rows = recordings[:, None] * count + np.arange(count)  # (B, K)
    return frames, _take(signals.tones, rows[..., None] * samples + at[:, :, None]).flatten(start_dim=2)


def _take(signal: Tensor, indices: NDArray[np.int64]) -> Tensor:
    return signal.view(-1)[torch.from_numpy(indices).to(signal.device)]


def by_tone(values: NDArray, wanted: NDArray[np.int64], model: Model) -> list[NDArray]:
    """Targets or outputs (L, B, outputs) apart for each tone: K arrays (windows, L hop), samples in order."""
    steps, examples, _ = values.shape
    parts = (
        values.reshape(steps, examples, -1, model.hop).transpose(2, 1, 0, 3).reshape(-1, examples, steps * model.hop)
    )
    if model.selects:
        return [parts[0, wanted == tone] for tone in range(model.tones)]
    return list(parts)


@dataclass(frozen=True)
class Windows:
    """Windows of a set of recordings, each an example for every tone, or one for all of them.

    Attributes
    ----------
    signals : Signals
        Scaled mixtures (R, N) and clean tones (R, K, N), on the device to compute on.
    starts : ndarray of int64, shape (W, 2)
        Recording and first sample of each window.
    samples : int
        Samples in a window, a multiple of the model's hop.
    examples, hop : int
        Examples that each window makes, and samples in a step: the network's own.
    """

    signals: Signals
    starts: NDArray[np.int64]
    samples: int
    examples: int
    hop: int

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.starts) * self.examples

    @property
    def steps(self) -> int:
        """Steps of the network in a window."""
        return self.samples // self.hop

    def batch(self, examples: NDArray[np.int64]) -> Batch:
        """Batch of examples (B,) by their numbers: example e is window e // K, tone e % K."""
        windows, wanted = np.divmod(examples, self.examples)
        return Batch(self.starts[windows], wanted, np.ones(len(examples), dtype=bool), self.steps)

    def batches(self, size: int, order: NDArray[np.int64] | None = None) -> list[Batch]:
        """Every example once, in an order or as they come, in batches of so many; the last one may be smaller."""
        order = np.arange(len(self)) if order is None else order
        return [self.batch(part) for part in np.split(order, np.arange(size, len(order), size))]


def predict(model: Model, windows: Windows, batch_size: int, pmap: ParallelMap) -> Iterator[Pair]:
    """Pass over every window in order, each from a reset state and without dropout.

    Parameters
    ----------
    model : Network or Ensemble
        On the device of `windows`.
    windows : Windows
        What to pass over.
    batch_size : int
        Examples in one pass; memory grows with it, results do not depend on it but for rounding.
    pmap : ParallelMap
        From `compute.parallel_map`.

    Yields
    ------
    targets, outputs : list of ndarray, shape (windows, samples), float32
        One for each tone; with a selector a batch may hold more windows of one tone than of another.
    """

    def work(batch: Batch) -> Pair:
        with torch.inference_mode():
            frames, target = gather(windows.signals, batch, model)
            wanted = torch.from_numpy(batch.wanted).to(frames.device)
            output, _ = model(model.features(frames, wanted))
        target, output = (by_tone(values.cpu().numpy(), batch.wanted, model) for values in (target, output))
        return target, output

    batches = windows.batches(batch_size)
    for begin in range(0, len(batches), AT_A_TIME):
        yield from pmap(work, batches[begin : begin + AT_A_TIME])
