"""What a network that corrects filters reads of recordings: frames of every tone, from filters run over them once.

The filters are told the frequencies, where the recorder clips, what is missing, and a tone's amplitude (root mean
square), which in training is off by a factor from 1/2 to 2: whoever uses the network knows it no better.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tonesift.compute import ParallelMap, one_thread
from tonesift.data.recordings import Facts, Recordings
from tonesift.data.segments import Segment
from tonesift.estimators.tracking.front import Front
from tonesift.frame import FRAME
from tonesift.learning.batches import Signals
from tonesift.metadata import Metadata
from tonesift.metrics import Pair
from tonesift.networks import hybrid
from tonesift.networks.model import Model

ROWS = 64  # tones of recordings passed through a network side by side; part of the bits
CHUNK_STEPS = 500
WRONG = (0.5, 2.0)  # factor by which the amplitude is told wrong
LEAST_ERROR = 1e-3  # beside it, in units of a tone's mean square amplitude


def amplitude(facts: Facts) -> float:
    """Root mean square amplitude of a tone as heard: a mixture is the mean of its tones."""
    return math.sqrt(facts.second_moment) / facts.phases.shape[1]


def framed(
    mixture: NDArray, frequencies: Sequence[float], rate: float, hop: int, clip: tuple[float, float]
) -> NDArray[np.float32]:
    """Frames (K, S, FRAME) of a recording (N,) in units of a tone's amplitude; NaN is a missing sample.

    Behind the end, up to a whole number of steps, samples are missing.
    """
    padded = np.pad(np.asarray(mixture, dtype="f8"), (0, -len(mixture) % hop), constant_values=np.nan)
    return Front(frequencies, rate, hop, clip).push(padded).swapaxes(0, 1)


def of_recording(source: Recordings, index: int, hop: int, center: float, told: float = 1.0) -> NDArray[np.float32]:
    """Frames (K, S, FRAME) of a recording of a set, in units of the amplitude, told wrong by a factor."""
    facts = source.facts
    unit = amplitude(facts) * told
    mixture = np.where(source.missing(index), np.nan, source.mixture(index))
    level = float(facts.drawn["clip"][index]) / unit if "clip" in facts.drawn else math.inf
    return framed((mixture - center) / unit, facts.tones_of(index), facts.sampling_rate, hop, (-level, level))


def read(sources: Sequence[Recordings], hop: int, center: float, device: torch.device) -> Signals:
    """Frames, tones and weights of sets of recordings with as many samples and tones each."""
    total, count, samples = sum(each.count for each in sources), sources[0].facts.phases.shape[1], sources[0].samples
    frames = np.empty((total, count, samples // hop, FRAME), dtype="f4")
    tones = np.empty((total, count, samples), dtype="f4")
    pairs = ((source, index) for source in sources for index in range(source.count))
    for row, (source, index) in enumerate(pairs):
        told = np.random.default_rng([source.facts.seed, index]).uniform(*WRONG)
        frames[row] = of_recording(source, index, hop, center, told)[:, : samples // hop]
        tones[row] = source.tones(index) / (math.sqrt(source.facts.second_moment) * told)
    signals = Signals(torch.from_numpy(frames).to(device), torch.from_numpy(tones).to(device))
    with one_thread():
        return signals._replace(weights=_weights(signals, hop))


def _weights(signals: Signals, hop: int) -> Tensor:
    """Weights (R,) of mean 1, less where the first filter errs much: or steady tones would count for nothing."""
    errors = []
    for frames, tones in zip(signals.mixture, signals.tones, strict=True):
        plain = uncorrected(frames, hop)
        errors.append((tones[:, : plain.shape[1]] - plain).square().mean())
    found = 1 / (torch.stack(errors) + LEAST_ERROR).sqrt().sqrt()
    return found / found.mean()


def uncorrected(frames: Tensor, hop: int) -> Tensor:
    """What the first filter makes (K, S hop) of frames (K, S, FRAME)."""
    return hybrid.corrected(frames, frames.new_zeros(*frames.shape[:-1], hybrid.CORRECTIONS), hop).flatten(1)


def passed(model: Model, frames: Tensor, pmap: ParallelMap) -> NDArray[np.float32]:
    """Tones (M, K, S hop) of frames (M, K, S, FRAME), from a reset state each, in the frames' units."""
    rows = frames.flatten(0, 1).split(ROWS)
    found = np.concatenate(pmap(lambda part: _pass(model, part), rows))
    return found.reshape(*frames.shape[:2], -1)


def _pass(model: Model, rows: Tensor) -> NDArray[np.float32]:
    outputs, state = [], None
    with torch.inference_mode():
        for part in rows.transpose(0, 1).split(CHUNK_STEPS):
            output, state = model(part, state)
            outputs.append(output.cpu())
    return torch.cat(outputs).transpose(0, 1).flatten(1).numpy()


def estimate(
    model: Model, metadata: Metadata, mixture: NDArray, frequencies: Sequence[Sequence[float]], pmap: ParallelMap
) -> NDArray[np.float32]:
    """Tones (M, K, N) of recordings (M, N) whose tones have these frequencies (M, K) in Hz; NaN is a missing sample."""
    unit, device = math.sqrt(metadata.second_moment) / metadata.count, next(model.parameters()).device
    framing = (metadata.sampling_rate, model.hop, (-math.inf, math.inf))
    each = zip((mixture - metadata.center) / unit, frequencies, strict=True)
    frames = torch.from_numpy(np.stack([framed(samples, tones, *framing) for samples, tones in each]))
    found = passed(model, frames.to(device), pmap)[..., : mixture.shape[1]]
    return found * np.float32(unit * metadata.count)


def predict(model: Model, signals: Signals, segments: Sequence[Segment], pmap: ParallelMap) -> Iterator[Pair]:
    """Targets and outputs over segments, K arrays (1, T), a pair for each; segments begin and end with a step."""
    hop = model.hop
    for length in sorted({segment.samples for segment in segments}):
        group = [segment for segment in segments if segment.samples == length]
        frames = torch.stack([signals.mixture[r, :, begin // hop : end // hop] for r, begin, end in group])
        for output, (recording, begin, end) in zip(passed(model, frames, pmap), group, strict=True):
            yield signals.tones[recording, :, begin:end].cpu().numpy()[:, None], output[:, None]
