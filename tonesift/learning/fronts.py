"""What a network that corrects filters reads of recordings: frames of every tone, from filters run over them once.

The filters are told the frequencies, where the recorder clips, what is missing, and a tone's amplitude (root mean
square), which in training is off by a factor from 1/2 to 2: whoever uses the network knows it no better. Recordings in
a background are told as a stream's are: on the scale that their first second shows.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tonesift.compute import ParallelMap, one_thread
from tonesift.data.recordings import Facts, Recordings
from tonesift.data.segments import Segment
from tonesift.estimators.tracking.front import Front
from tonesift.frame import FRAME, wide
from tonesift.learning.batches import Signals
from tonesift.metadata import Metadata
from tonesift.metrics import Pair
from tonesift.networks import hybrid
from tonesift.networks.model import Model, Network

ROWS = 64  # tones of recordings passed through a network side by side; part of the bits
CHUNK_STEPS = 500
WRONG = (0.5, 2.0)  # factor by which filters are told a wrong amplitude
LEAST_ERROR = 1e-3  # beside it, in units of a tone's mean square amplitude


def amplitude(facts: Facts) -> float:
    """Root mean square amplitude of a tone as heard: a mixture is the mean of its tones."""
    return math.sqrt(facts.second_moment) / facts.phases.shape[1]


class Scale(NamedTuple):
    """The scale on which filters read samples: what these stand at, a tone's amplitude, and where they are clipped."""

    offset: float
    unit: float
    clip: tuple[float, float]

    def scaled(self, samples: NDArray) -> NDArray:
        """Samples in units of the amplitude."""
        return (samples - self.offset) / self.unit

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest value in units of the amplitude."""
        low, high = ((limit - self.offset) / self.unit for limit in self.clip)
        return low, high


def estimate_scale(samples: NDArray, frequencies: Sequence[float], rate: float) -> Scale:
    """What the first second of a recording (N,) shows of it, as `tonesift filter` sees it; NaN is a missing sample."""
    from tonesift.estimators.tracking.methods import base, dc_offset, estimate_facts

    facts = estimate_facts(np.asarray(samples[: round(rate)], dtype="f8"), frequencies, rate, None)
    return Scale(dc_offset(facts), base(facts, len(frequencies)).amplitude, facts.clip)


def scale(source: Recordings, index: int, center: float, factor: float = 1.0) -> Scale:
    """Scale of a recording of a set: in a background as its first second shows, otherwise as made, times a factor."""
    facts = source.facts
    if facts.conditions.background:
        return estimate_scale(_mixture_with_gaps(source, index), facts.tones_of(index), facts.sampling_rate)
    unit = amplitude(facts) * factor
    level = float(facts.drawn["clip"][index]) if "clip" in facts.drawn else math.inf
    return Scale(center, unit, (-level, level))


def _mixture_with_gaps(source: Recordings, index: int) -> NDArray:
    """Mixture (N,) of a recording, NaN where a sample is missing."""
    return np.where(source.missing(index), np.nan, source.mixture(index))


def make_frames(
    mixture: NDArray, frequencies: Sequence[float], rate: float, hop: int, clip: tuple[float, float], **kind: Any
) -> NDArray[np.float32]:
    """Frames (K, S, FRAME) of a recording (N,) in units of a tone's amplitude; NaN is a missing sample.

    Behind the end, up to a whole number of steps, samples are missing. Keywords are those of `Front`.
    """
    padded = np.pad(np.asarray(mixture, dtype="f8"), (0, -len(mixture) % hop), constant_values=np.nan)
    return Front(frequencies, rate, hop, clip, **kind).push(padded).swapaxes(0, 1)


def recording_frames(source: Recordings, index: int, hop: int, known: Scale, **kind: Any) -> NDArray[np.float32]:
    """Frames (K, S, FRAME) of a recording of a set, on a scale; keywords are those of `Front`."""
    facts = source.facts
    mixture = known.scaled(_mixture_with_gaps(source, index))
    return make_frames(mixture, facts.tones_of(index), facts.sampling_rate, hop, known.limits, **kind)


def front_options(model: Model | Network, whitening: tuple[float, ...]) -> dict[str, Any]:
    """What of `Front` depends on a model, by keyword."""
    return {"whitening": whitening, "widely": not model.selects}


def whitening(source: Recordings, used: Iterable[int]) -> tuple[float, ...]:
    """How the background of recordings, by their numbers, predicts itself; () where there is none."""
    if not source.facts.conditions.background:
        return ()
    from tonesift.estimators.tracking.methods import whitening as predicting

    rest = [source.mixture(index) - source.tones(index).mean(axis=0, dtype="f8") for index in used]
    return predicting(np.concatenate(rest) - np.median(np.concatenate(rest)))


def read_signals(sources: Sequence[Recordings], hop: int, center: float, device: torch.device, **kind: Any) -> Signals:
    """Frames, tones and weights of sets of recordings with as many samples and tones each; see `front_options`."""
    total, count, samples = sum(each.count for each in sources), sources[0].facts.phases.shape[1], sources[0].samples
    width = wide(hop) if kind.get("widely") else FRAME
    frames = np.empty((total, count, samples // hop, width), dtype="f4")
    tones = np.empty((total, count, samples), dtype="f4")
    pairs = ((source, index) for source in sources for index in range(source.count))
    for row, (source, index) in enumerate(pairs):
        factor = np.random.default_rng([source.facts.seed, index]).uniform(*WRONG)
        known = scale(source, index, center, factor)
        frames[row] = recording_frames(source, index, hop, known, **kind)[:, : samples // hop]
        tones[row] = source.tones(index) / _whole(source, known, factor)
    signals = Signals(torch.from_numpy(frames).to(device), torch.from_numpy(tones).to(device))
    with one_thread():
        return signals._replace(weights=_weights(signals, hop))


def _whole(source: Recordings, known: Scale, factor: float) -> float:
    """What tones are divided by, of which the mixture is the mean."""
    if source.facts.conditions.background:
        return known.unit * source.facts.phases.shape[1]
    return math.sqrt(source.facts.second_moment) * factor


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
    return hybrid.correct(frames, frames.new_zeros(*frames.shape[:-1], hybrid.CORRECTIONS), hop).flatten(1)


def run_network(model: Model, frames: Tensor, pmap: ParallelMap) -> NDArray[np.float32]:
    """Tones (M, K, S hop) of frames (M, K, S, FRAME), from a reset state each, in the frames' units."""
    read = frames.flatten(0, 1) if model.selects else frames.transpose(1, 2).flatten(2)
    found = np.concatenate(pmap(lambda part: _pass(model, part), read.split(ROWS)))
    return found.reshape(*frames.shape[:2], -1)


def _pass(model: Model, rows: Tensor) -> NDArray[np.float32]:
    """Tones (rows, S hop), or one behind the other where the model gives all of them (rows, K S hop)."""
    outputs, state = [], None
    with torch.inference_mode():
        for part in rows.transpose(0, 1).split(CHUNK_STEPS):
            output, state = model(part, state)
            outputs.append(output.cpu())
    found = torch.cat(outputs).transpose(0, 1)
    return found.unflatten(-1, (-1, model.hop)).transpose(1, 2).flatten(1).numpy()


def estimate(
    model: Model, metadata: Metadata, mixture: NDArray, frequencies: Sequence[Sequence[float]], pmap: ParallelMap
) -> NDArray[np.float32]:
    """Tones (M, K, N) of recordings (M, N) whose tones have these frequencies (M, K) in Hz; NaN is a missing sample."""
    unit, device = math.sqrt(metadata.second_moment) / metadata.count, next(model.parameters()).device
    known = [Scale(metadata.center, unit, (-math.inf, math.inf))] * len(mixture)
    if metadata.whitening:
        each = zip(mixture, frequencies, strict=True)
        known = [estimate_scale(samples, tones, metadata.sampling_rate) for samples, tones in each]
    framing, kind = (metadata.sampling_rate, model.hop), front_options(model, metadata.whitening)
    each = zip(mixture, frequencies, known, strict=True)
    frames = [
        make_frames(units.scaled(samples), tones, *framing, units.limits, **kind) for samples, tones, units in each
    ]
    found = run_network(model, torch.from_numpy(np.stack(frames)).to(device), pmap)[..., : mixture.shape[1]]
    return found * np.array([one.unit * metadata.count for one in known], dtype="f4")[:, None, None]


def predict(model: Model, signals: Signals, segments: Sequence[Segment], pmap: ParallelMap) -> Iterator[Pair]:
    """Targets and outputs over segments, K arrays (1, T), a pair for each; segments begin and end with a step."""
    hop = model.hop
    for length in sorted({segment.samples for segment in segments}):
        group = [segment for segment in segments if segment.samples == length]
        frames = torch.stack([signals.mixture[r, :, begin // hop : end // hop] for r, begin, end in group])
        for output, (recording, begin, end) in zip(run_network(model, frames, pmap), group, strict=True):
            yield signals.tones[recording, :, begin:end].cpu().numpy()[:, None], output[:, None]
