"""A trained network that corrects filters, for tones of any frequencies; the face is `NamedToneFilter`'s.

    tone_filter = AnyToneFilter.load("any-tones/models/model.safetensors", [3.0, 20.0])
    tones = tone_filter.push(samples)  # (K, n), as they are in the recording

The first stretch is held back until it is twice as long as the tones take to be told apart: it shows how loud the
recording is, what it stands at and where it is clipped. From then on every step of `hop` samples is answered at once.
Nothing that comes out depends on how the stream was cut into pieces.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tonesift.errors import InputError
from tonesift.estimators.tracking.front import Front
from tonesift.estimators.tracking.methods import base, dc_offset, estimate_facts
from tonesift.metadata import Metadata
from tonesift.networks import model as models
from tonesift.networks.model import Model
from tonesift.streaming import states
from tonesift.streaming.gaps import Gaps, as_samples
from tonesift.streaming.namedtones import WAYS, check_tones, first_samples
from tonesift.streaming.tonefilter import FrontStepper, fingerprint, numbered

NUMBERS = ("samples", "gaps_filled")
OWN = ("filter", "tones", *NUMBERS, "scale", "kept")


class AnyToneFilter(states.Saved):
    """Filters corrected by a network, for a stream of samples.

    Parameters
    ----------
    model : Network or Ensemble
        One that corrects filters.
    metadata : Metadata
        Of the model file.
    frequencies : sequence of float
        Hz, of all tones that are in the recording, K of them, in any order: it is that of what comes out.
    tones : sequence of int, optional
        Which tones to give, from 0, in this order; all of them without a choice.
    gaps : {'predict', 'refuse', 'zero', 'hold'}
        What is done about samples that are missing; see `Gaps`.
    clip : (float, float), optional
        Lowest and highest value of the recorder; found in the first stretch without it.

    Attributes
    ----------
    samples : int
        Pushed so far.

    Raises
    ------
    InputError
        If the model corrects no filters, or a frequency is none that a recording at its rate can hold.
    """

    count = 1  # the recording is the sum of its tones

    def __init__(
        self,
        model: Model,
        metadata: Metadata,
        frequencies: Sequence[float],
        *,
        tones: Sequence[int] | None = None,
        gaps: str = "predict",
        clip: tuple[float, float] | None = None,
    ) -> None:
        if not model.front:
            raise InputError(
                f"the model's tones are {', '.join(f'{tone:.12g}' for tone in metadata.frequencies)} Hz: only one of "
                "family hybrid takes others: leave --tones out"
            )
        self.sampling_rate, self.hop = metadata.sampling_rate, model.hop
        check_tones(frequencies, self.sampling_rate)
        self.tones = tuple(range(len(frequencies))) if tones is None else tuple(tones)
        if not model.selects:
            self.tones = tuple(_places(frequencies, metadata.frequencies)[tone] for tone in self.tones)
            frequencies = metadata.frequencies
        self.all_frequencies = tuple(float(frequency) for frequency in frequencies)
        self.frequencies = tuple(self.all_frequencies[tone] for tone in self.tones)
        self._model, self._metadata, self._clip, self._how = model, metadata, clip, gaps
        self._first = -(-first_samples(self.all_frequencies, self.sampling_rate) // self.hop) * self.hop
        known = [fingerprint(model, metadata), self.all_frequencies, clip]
        self.fingerprint = hashlib.md5(json.dumps(known).encode(), usedforsecurity=False).hexdigest()[:12]
        self.reset()

    @classmethod
    def load(cls, path: str | Path, frequencies: Sequence[float], **options: object) -> "AnyToneFilter":
        """Filter of a model file; parameters as for the class."""
        return cls(*models.load(path), frequencies, **options)

    @property
    def latency(self) -> int:
        """Samples after which a sample's tones are there at the latest, once the first stretch is over."""
        return self.hop

    @property
    def waiting(self) -> int:
        """Samples pushed that are held back."""
        return len(self._kept)

    @property
    def held(self) -> NDArray[np.float64]:
        """The samples that wait."""
        return self._kept

    @property
    def gaps_filled(self) -> int:
        """Samples that were missing."""
        return self._gaps.filled

    def reset(self) -> None:
        """Begin a new stream."""
        self._gaps, self.samples, self._finished = Gaps(self._how, WAYS), 0, False
        self._kept = np.zeros(0)
        self._scale = np.zeros(0)  # offset, amplitude, lowest and highest value, once they are known
        self._stepper: FrontStepper | None = None

    def given(self, more: int) -> int:
        """Samples of the tones that come out when so many more are pushed, and the stream is not finished."""
        known = len(self._kept) + more
        return known // self.hop * self.hop if self._stepper or known >= self._first else 0

    def push(self, samples: ArrayLike) -> NDArray[np.float32]:
        """Take the next samples (n,) of the stream and give the tones (tones, m) that are known by now.

        Raises
        ------
        InputError
            If they are not one-dimensional, no real numbers, missing (with gaps='refuse') or come after `finish`;
            nothing has changed then.
        """
        self._check_open()
        fresh = self._gaps.fill(as_samples(samples, "f8"), self.samples)
        self.samples += len(fresh)
        self._kept, found = np.concatenate([self._kept, fresh]), []
        while not self._stepper and len(self._kept) >= self._first:
            found.append(self._settle(self._first))
        if self._stepper:
            whole = len(self._kept) // self.hop * self.hop
            found.append(self._advance(self._kept[:whole]))
            self._kept = self._kept[whole:].copy()
        return np.concatenate([np.zeros((len(self.tones), 0), dtype="f4"), *found], axis=1)

    def finish(self) -> NDArray[np.float32]:
        """Tones (tones, m) of the samples that wait, as if missing ones came behind; then the stream is over."""
        self._check_open()
        self._finished = True
        silence = self._settle(len(self._kept)) if not self._stepper and len(self._kept) else None
        left, self._kept = self._kept, self._kept[:0]
        if not self._stepper:
            return np.zeros((len(self.tones), 0), dtype="f4") if silence is None else silence
        return self._advance(np.pad(left, (0, -len(left) % self.hop), constant_values=np.nan))[:, : len(left)]

    def _settle(self, samples: int) -> NDArray[np.float32]:
        """Learn the recording's scale from the first samples kept; of silence, which shows none, tones of 0."""
        facts = estimate_facts(self._kept[:samples], self.all_frequencies, self.sampling_rate, self._clip)
        if facts.level == 0:
            self._kept = self._kept[samples:]
            return np.zeros((len(self.tones), samples), dtype="f4")
        amplitude = base(facts, len(self.all_frequencies)).amplitude
        self._scale = np.array([dc_offset(facts), amplitude, *facts.clip])
        self._stepper = self._made()
        return np.zeros((len(self.tones), 0), dtype="f4")

    def _made(self) -> FrontStepper:
        offset, amplitude, *clip = self._scale.tolist()
        low, high = ((limit - offset) / amplitude for limit in clip)
        kind = {"whitening": self._metadata.whitening, "widely": not self._model.selects}
        front = Front(self.all_frequencies, self.sampling_rate, self.hop, (low, high), **kind)
        return FrontStepper(self._model, front, self.tones, amplitude, amplitude)

    def _advance(self, samples: NDArray[np.float64]) -> NDArray[np.float32]:
        """Tones (tones, n) of a whole number of steps."""
        if not len(samples):
            return np.zeros((len(self.tones), 0), dtype="f4")
        found = self._stepper((samples - self._scale[0]).reshape(-1, self.hop))
        return found.transpose(1, 0, 2).reshape(len(self.tones), -1)

    # The state

    def state(self) -> dict[str, NDArray]:
        """Everything needed to go on later, in another filter of the same model and tones: arrays by name."""
        self._check_open()
        return {
            "filter": np.array(self.fingerprint),
            "tones": np.array(self.tones),
            "samples": np.array(self.samples),
            "gaps_filled": np.array(self._gaps.filled),
            "last": np.array(self._gaps.last),
            "scale": self._scale.copy(),
            "kept": self._kept.copy(),
            **numbered(self._stepper.state if self._stepper else []),
        }

    def set_state(self, state: dict[str, NDArray], name: str = "state") -> None:
        """Go on from what `state` gave; `name` is what an error calls it.

        Raises
        ------
        InputError
            If it is of another filter, or damaged; nothing has changed then.
        """
        if not {*OWN, "last"} <= set(state):
            raise InputError(f"{name}: not the state of a filter of any tones: begin a new stream")
        if str(state["filter"]) != self.fingerprint or state["tones"].tolist() != list(self.tones):
            raise InputError(
                f"{name}: the state of filter {state['filter']}, tones {state['tones'].tolist()} (from 0), but this is "
                f"{self.fingerprint}, {list(self.tones)}: go on with the same model and tones, or begin a new stream"
            )
        before = self._scale, self._stepper
        try:
            self._take(state)
        except (TypeError, ValueError, InputError) as error:
            self._scale, self._stepper = before
            raise InputError(f"{name}: a damaged state of this filter: begin a new stream") from error

    def _take(self, state: dict[str, NDArray]) -> None:
        samples, filled = (int(state[key]) for key in NUMBERS)
        kept, self._scale, last = state["kept"], state["scale"].astype("f8"), float(state["last"])
        if not (0 <= filled <= samples and kept.ndim == 1 and kept.dtype == np.float64 and math.isfinite(last)):
            raise ValueError("counts")
        if len(kept) >= (self.hop if len(self._scale) else self._first) or np.isinf(kept).any():
            raise ValueError("kept")
        self._stepper = None
        memories = {key: value for key, value in state.items() if key not in {*OWN, "last"}}
        if len(self._scale):
            _check_scale(self._scale)
            self._stepper = self._made()
            _check_memories(memories, numbered(self._stepper.state))
            self._stepper.state = [memories[key] for key in numbered(self._stepper.state)]
        elif memories:
            raise ValueError("memories")
        self._gaps, self._finished = Gaps(self._how, WAYS), False
        self._kept, self.samples, self._gaps.filled, self._gaps.last = kept.copy(), samples, filled, last

    # Words

    @property
    def method_line(self) -> str:
        """One line that says what answers."""
        summary = self._metadata.summary.validation
        return f"method hybrid: filters corrected by a network (R2 {summary.r2:.4f} on the recordings it validated on)"

    def notes(self) -> list[str]:
        """What is to be said once it is over: of a short recording, and of tones that it was not trained for."""
        found, (low, high) = states.unsettled(self.samples, self.sampling_rate), trained_range(self._metadata)
        outside = [f"{tone:.12g}" for tone in self.all_frequencies if not low <= tone <= high]
        if outside:
            found.append(f"{', '.join(outside)} Hz: the network was trained on tones of {low:g} to {high:g} Hz")
        return found


def trained_range(metadata: Metadata) -> tuple[float, float]:
    """Lowest and highest frequency in Hz of the tones that a model was trained on."""
    return metadata.tone_range or (min(metadata.frequencies), max(metadata.frequencies))


def _places(frequencies: Sequence[float], own: tuple[float, ...]) -> list[int]:
    """Where tones stand among those that a model takes all together."""
    if sorted(frequencies) != sorted(own):
        known = ",".join(f"{tone:.12g}" for tone in own)
        raise InputError(f"--tones: the model corrects the filters of its own tones together: give --tones {known}")
    return [own.index(frequency) for frequency in frequencies]


def _check_scale(scale: NDArray[np.float64]) -> None:
    offset, amplitude, low, high = scale.tolist()
    if not (math.isfinite(offset) and 0 < amplitude < math.inf and low < high):
        raise ValueError("scale")


def _check_memories(found: dict[str, NDArray], wanted: dict[str, NDArray]) -> None:
    if found.keys() != wanted.keys():
        raise ValueError("memories")
    for name, own in wanted.items():
        value = found[name]
        if value.shape != own.shape or value.dtype != own.dtype or not np.isfinite(value).all():
            raise ValueError(name)
