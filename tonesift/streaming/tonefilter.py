"""A trained model as a causal filter: samples go in as they come, the tones come out a hop later.

    tone_filter = ToneFilter.load("models/model.safetensors")
    tones = tone_filter.push(samples)  # (K, n): whatever whole hops there are by now

What comes out does not depend on how the stream was cut: it is `streams.estimate` of the whole, to float32 rounding.

The network is computed in NumPy, a frame at a time, because PyTorch's call costs ten times the arithmetic: an LSTM of
hidden size 128 and two layers takes 18 us a frame here and 195 us as a call of `nn.LSTM` (`benchmarks/streaming.py`
measures it). PyTorch given many frames at once would take 9 us for each; one way of computing was preferred to two.
"""

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import ThreadpoolController

from tonesift.errors import InputError
from tonesift.estimators.tracking.front import Front
from tonesift.learning.batches import scaled
from tonesift.metadata import Metadata
from tonesift.networks import hybrid
from tonesift.networks import model as models
from tonesift.networks.base import Stepper, with_bias
from tonesift.networks.model import Model, Network
from tonesift.streaming import states
from tonesift.streaming.gaps import LARGEST, Gaps, as_samples

# What a state depends on beside the weights.
DEPENDS = {"sampling_rate", "frequencies", "center", "scale", "window_samples", "model"}
STATE = ("model", "tones", "waiting", "position", "samples", "last", "gaps_filled")  # and memory_0, memory_1, ...


class Remembering(ABC):
    """What computes a frame at a time, with memories that can be taken and put back."""

    @property
    @abstractmethod
    def _state(self) -> list[NDArray]:
        """The memories themselves."""

    @property
    def state(self) -> list[NDArray]:
        """Copies of all that is remembered."""
        return [part.copy() for part in self._state]

    @state.setter
    def state(self, state: Sequence[NDArray]) -> None:
        for part, value in zip(self._state, state, strict=True):
            part[...] = value


class NetworkStepper(Remembering):
    """A network, or the mean of several, computed a frame at a time.

    Parameters
    ----------
    model : Network or Ensemble
        Its weights are copied.
    wanted : sequence of int
        Tones to give, from 0.

    Notes
    -----
    OpenBLAS is kept to one thread: it would share even 8 rows among several, ten times slower where cores are busy.
    """

    def __init__(self, model: Model, wanted: Sequence[int]) -> None:
        rows = len(wanted) if model.selects else 1
        self._members = [(network.body.stepper(rows), _head_weights(network, wanted)) for network in model.members]
        self._share = np.float32(1 / len(self._members))
        self._blas = ThreadpoolController().select(user_api="blas")
        self._shape, self._hop = (rows, self._members[0][1].shape[1]), model.hop
        self.reset()
        if model.selects:
            for stepper, _ in self._members:
                stepper.reads[np.arange(rows), model.hop + np.array(wanted)] = 1

    def __call__(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs (L, rows, outputs) at each of the frames (L, hop); the state goes on."""
        given = np.zeros((len(frames), *self._shape), dtype="f4")
        with self._blas.limit(limits=1), np.errstate(over="ignore"):  # squares of samples near `LARGEST`
            for stepper, head in self._members:
                self._run(stepper, head, frames, given)
        return given if len(self._members) == 1 else given * self._share

    def _run(
        self, stepper: Stepper, head: NDArray[np.float32], frames: NDArray[np.float32], given: NDArray[np.float32]
    ) -> None:
        into, step, output = stepper.reads[:, : self._hop], stepper.step, stepper.output
        several = len(self._members) > 1
        for number, frame in enumerate(frames):
            into[:] = frame
            step()
            if several:
                given[number] += np.dot(output, head)
            else:
                np.dot(output, head, given[number])

    def reset(self) -> None:
        """Begin anew."""
        for part in self._state:
            part[...] = 0

    @property
    def _state(self) -> list[NDArray]:
        return [part for stepper, _ in self._members for part in stepper.state]


class FrontStepper(Remembering):
    """Filters and the network that corrects them, computed a frame at a time; the face is `NetworkStepper`'s.

    Parameters
    ----------
    model : Network or Ensemble
        Its weights are copied.
    front : Front
        The filters.
    wanted : sequence of int
        Tones to give, from 0.
    unit, given : float
        What stands for a tone's amplitude in the frames, and in the outputs.
    """

    def __init__(self, model: Model, front: Front, wanted: Sequence[int], unit: float, given: float) -> None:
        self._front, self._wanted, self._unit, self._given = front, list(wanted), unit, np.float32(given)
        self._apart = model.selects  # tone by tone, or all of them at once
        rows = len(wanted) if self._apart else 1
        self._members = [
            (network.body.stepper(rows), with_bias(network.head.weight, network.head.bias)) for network in model.members
        ]
        self._blas = ThreadpoolController().select(user_api="blas")

    def __call__(self, frames: NDArray[np.floating]) -> NDArray[np.float32]:
        """Outputs (L, rows, hop) at each of the frames (L, hop); the state goes on."""
        known = self._front.push(frames.reshape(-1) / self._unit)
        if self._apart:
            known = known[:, self._wanted]
        read, corrections = (
            hybrid.read_steps(known, self._apart),
            np.zeros((*known.shape[:2], hybrid.CORRECTIONS), "f4"),
        )
        with self._blas.limit(limits=1), np.errstate(over="ignore"):
            for stepper, head in self._members:
                for number, given in enumerate(read):
                    stepper.reads[:] = given
                    stepper.step()
                    corrections[number] += np.dot(stepper.output, head).reshape(corrections[number].shape)
            corrections /= np.float32(len(self._members))
            found = hybrid.correct_steps(known, corrections, self._front.hop) * self._given
            return found if self._apart else found[:, self._wanted]

    def reset(self) -> None:
        """Begin anew."""
        self._front.reset()
        for stepper, _ in self._members:
            for part in stepper.state:
                part[...] = 0

    @property
    def _state(self) -> list[NDArray]:
        return [*self._front.state, *(part for stepper, _ in self._members for part in stepper.state)]


def _head_weights(model: Network, wanted: Sequence[int]) -> NDArray[np.float32]:
    """Weights (width + 1, outputs) of the head, of the wanted tones only."""
    both = with_bias(model.head.weight, model.head.bias)
    if model.selects:
        return both
    return np.ascontiguousarray(both.reshape(len(both), model.tones, -1)[:, list(wanted)].reshape(len(both), -1))


class ToneFilter(states.Saved):
    """A model that takes a stream of samples and gives the tones in it, with at most one hop of latency.

    Parameters
    ----------
    model : Network or Ensemble
        Its weights are copied.
    metadata : Metadata
        Of the model file: also whether the state is carried on for ever or, as in training, reset with every window.
    tones : sequence of int, optional
        Tones wanted, from 0, in the order in which they are to come; all of them without it.
    gaps : {'refuse', 'zero', 'hold'}
        What is done about samples that are not finite, see `Gaps`.

    Attributes
    ----------
    sampling_rate : float
        Hz, at which the samples must come.
    frequencies : tuple of float
        Hz, of the wanted tones.
    count : int
        K, all the tones that the model knows: a mixture is their mean.
    hop : int
        Samples given at a time.
    samples : int
        Samples pushed so far.
    """

    def __init__(
        self, model: Model, metadata: Metadata, tones: Sequence[int] | None = None, gaps: str = "refuse"
    ) -> None:
        _check_causal(model)
        if not metadata.frequencies:
            raise InputError("the model takes any tones: say which, such as --tones 3,20")
        self.tones, self.count = _chosen(model.tones, tones), model.tones
        self.sampling_rate = metadata.sampling_rate
        self.frequencies = tuple(metadata.frequencies[tone] for tone in self.tones)
        self.hop, self._center, self._scale = model.hop, metadata.center, metadata.scale
        self._reset_frames = _reset_frames(metadata)
        self.fingerprint = fingerprint(model, metadata)
        self._network = _stepper(model, metadata, self.tones)
        self._how = gaps
        self.reset()

    @classmethod
    def load(cls, path: str | Path, tones: Sequence[int] | None = None, gaps: str = "refuse") -> "ToneFilter":
        """Filter of a model file; parameters as for the class."""
        return cls(*models.load(path), tones, gaps)

    @property
    def latency(self) -> int:
        """Samples after which a sample's tones are there at the latest: one hop."""
        return self.hop

    @property
    def waiting(self) -> int:
        """Samples pushed that wait for their hop to be full."""
        return len(self._waiting)

    @property
    def held(self) -> NDArray[np.float32]:
        """The samples that wait, in the mixture's units, to float32 rounding."""
        return self._waiting * np.float32(self._scale) + np.float32(self._center)

    @property
    def gaps_filled(self) -> int:
        """Samples that were not finite and have been replaced."""
        return self._gaps.filled

    def reset(self) -> None:
        """Begin a new stream."""
        self._gaps, self.samples, self._position, self._finished = Gaps(self._how), 0, 0, False
        self._waiting = np.zeros(0, dtype="f4")
        self._network.reset()

    def given(self, more: int) -> int:
        """Samples of the tones that come out when so many more are pushed, and the stream is not finished."""
        return (self.waiting + more) // self.hop * self.hop

    def push(self, samples: ArrayLike) -> NDArray[np.float32]:
        """Take the next samples of the stream and give the tones that can be known by now.

        Parameters
        ----------
        samples : array_like, shape (n,)
            In the units of the training recordings, any float or integer type; n may be 0.

        Returns
        -------
        ndarray of float32, shape (tones, m)
            After n samples in all, floor(n / hop) hop have come out in all.

        Raises
        ------
        InputError
            If they are not one-dimensional, no real numbers, not finite (with gaps='refuse') or come after `finish`;
            nothing has changed then.
        """
        self._check_open()
        fresh = self._gaps.fill(as_samples(samples), self.samples)
        self.samples += len(fresh)
        known = np.concatenate([self._waiting, scaled(fresh, self._center, self._scale)])
        whole = len(known) // self.hop * self.hop
        self._waiting = known[whole:].copy()
        return self._advance(known[:whole])

    def finish(self) -> NDArray[np.float32]:
        """Tones (tones, m) of the samples that wait, as if zeros (filters: nothing) came behind; then it is over."""
        self._check_open()
        self._finished = True
        left, self._waiting = self._waiting, self._waiting[:0]
        behind = {"constant_values": np.nan} if isinstance(self._network, FrontStepper) else {}
        return self._advance(np.pad(left, (0, -len(left) % self.hop), **behind))[:, : len(left)]

    def notes(self) -> list[str]:
        """What is to be said of the recording once it is over."""
        return [] if self._reset_frames else states.unsettled(self.samples, self.sampling_rate)

    def state(self) -> dict[str, NDArray]:
        """Everything needed to go on later, in another filter of the same model and tones: arrays by name."""
        self._check_open()
        return {
            "model": np.array(self.fingerprint),
            "tones": np.array(self.tones),
            "waiting": self._waiting.copy(),
            "position": np.array(self._position),
            "samples": np.array(self.samples),
            "last": np.array(self._gaps.last),
            "gaps_filled": np.array(self._gaps.filled),
            **numbered(self._network.state),
        }

    def set_state(self, state: dict[str, NDArray], name: str = "state") -> None:
        """Go on from what `state` gave; `name` is what an error calls it.

        Raises
        ------
        InputError
            If it is of another model or other tones, or incomplete; nothing has changed then.
        """
        self._check_state(state, name)
        self.reset()
        self._network.state = [state[name] for name in numbered(self._network.state)]
        self._waiting = np.array(state["waiting"], dtype="f4")
        self._position, self.samples = int(state["position"]), int(state["samples"])
        self._gaps.last, self._gaps.filled = float(state["last"]), int(state["gaps_filled"])

    def _check_state(self, state: dict[str, NDArray], name: str) -> None:
        if not set(STATE) <= set(state):
            raise InputError(f"{name}: not the state of a filter: it holds {', '.join(sorted(STATE))} and memories")
        if str(state["model"]) != self.fingerprint:
            raise InputError(
                f"{name}: the state of model {state['model']}, but this filter's is {self.fingerprint}: go on with the "
                f"model it was saved with, or begin a new stream"
            )
        states.check_tones(state["tones"].tolist(), self.tones, name)
        if not self._fits(state):
            raise InputError(f"{name}: a damaged state of this filter: begin a new stream")

    def _fits(self, state: dict[str, NDArray]) -> bool:
        """Whether a state is one that this filter can be in."""
        memories, counts = numbered(self._network.state), ("samples", "position", "gaps_filled")
        shapes = {key: memory.shape for key, memory in memories.items()} | dict.fromkeys((*counts, "last"), ())
        kinds = {key: memory.dtype.kind for key, memory in memories.items()} | dict.fromkeys(counts, "i")
        kinds |= {"waiting": "f", "last": "f"}
        if set(state) != {*STATE, *memories} or any(state[key].shape != shape for key, shape in shapes.items()):
            return False
        if any(state[key].dtype.kind != kind for key, kind in kinds.items()):
            return False
        samples, position, filled = (int(state[key]) for key in counts)
        frames, left = divmod(samples, self.hop)
        if self._reset_frames and frames:  # it is reset once the window is full and another frame comes
            frames = (frames - 1) % self._reset_frames + 1
        if position != frames or state["waiting"].shape != (left,) or not 0 <= filled <= samples:
            return False
        return abs(float(state["last"])) <= LARGEST and all(np.isfinite(state[key]).all() for key in kinds)

    def _advance(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Tones (tones, n) of scaled samples (n,), a whole number of hops."""
        frames, begin, parts = samples.reshape(-1, self.hop), 0, []
        while begin < len(frames):
            if self._position == self._reset_frames:
                self._network.reset()
                self._position = 0
            end = len(frames) if self._reset_frames is None else begin + self._reset_frames - self._position
            parts.append(self._network(frames[begin:end]))
            self._position += len(parts[-1])
            begin += len(parts[-1])
        if not parts:
            return np.zeros((len(self.tones), 0), dtype="f4")
        whole = np.concatenate(parts).reshape(len(frames), len(self.tones), self.hop)
        return whole.transpose(1, 0, 2).reshape(len(self.tones), -1)


def _stepper(model: Model, metadata: Metadata, wanted: Sequence[int]) -> NetworkStepper | FrontStepper:
    if not model.front:
        return NetworkStepper(model, wanted)
    if metadata.whitening:
        known = ",".join(f"{tone:.12g}" for tone in metadata.frequencies)
        raise InputError(f"the model learns how loud a recording and its background are: give --tones {known}")
    front = Front(
        metadata.frequencies, metadata.sampling_rate, model.hop, whitening=metadata.whitening, widely=not model.selects
    )
    amplitude = math.sqrt(metadata.second_moment)
    return FrontStepper(model, front, wanted, amplitude / metadata.count / metadata.scale, amplitude)


def _check_causal(model: Model) -> None:
    if not model.causal:
        raise InputError(
            "the model is bidirectional: it reads a window to its end before it gives the first sample, so it is no "
            "filter for streams; judge it with `dvc repro evaluate`"
        )


def numbered(memories: Sequence[NDArray]) -> dict[str, NDArray]:
    """What a network remembers, by the names that a saved state gives it."""
    return {f"memory_{number}": memory for number, memory in enumerate(memories)}


def _chosen(count: int, tones: Sequence[int] | None) -> tuple[int, ...]:
    """Tones wanted, from 0; all of them without a choice."""
    chosen = tuple(range(count)) if tones is None else tuple(tones)
    if not chosen or len(set(chosen)) < len(chosen) or not all(0 <= tone < count for tone in chosen):
        raise InputError(f"tones: got {list(chosen)}, but they are different numbers from 0 to {count - 1}")
    return chosen


def _reset_frames(metadata: Metadata) -> int | None:
    """Frames after which the state is reset, as in training; None if it is carried on."""
    samples, hop = metadata.reset_samples, metadata.model.hop
    if samples is None:
        return None
    if samples % hop:
        raise InputError(f"the model was trained on windows of {samples} samples, no whole number of hops of {hop}")
    return samples // hop


def fingerprint(model: Model, metadata: Metadata) -> str:
    """12 digits that change with anything that a state depends on."""
    used = metadata.model_dump(by_alias=True, include=DEPENDS) | {"train": metadata.train.stateful}
    found = hashlib.md5(json.dumps(used, sort_keys=True).encode(), usedforsecurity=False)
    for name, tensor in model.state_dict().items():
        found.update(name.encode() + tensor.cpu().numpy().tobytes())
    return found.hexdigest()[:12]
