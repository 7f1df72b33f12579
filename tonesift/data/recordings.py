"""Recordings on disk: one HDF5 file for a set of equally long recordings.

`mixture` (R, N) and `tones` (R, K, N), both float32 and contiguous, so that they can be read a row at a time or
memory-mapped; what was drawn and at which rate stands in the attributes. Everything read is checked: a file that is
truncated, foreign, of another version or holds NaN is refused in one line, never half used.

A file of recordings under conditions (`tonesift.conditions`) is of version 2, which readers of version 1 would take for
something else: the attribute `conditions` says which, NaN in `mixture` is a missing sample, and where every recording
has tones of its own their frequencies are an attribute of shape (R, K). All else is as in version 1.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from tonesift import params
from tonesift.checked import Content
from tonesift.data import signals, stored
from tonesift.data.stored import Stored
from tonesift.errors import InputError, shown
from tonesift.formats.preallocated import created

FORMAT = "tonesift recordings"
VERSION = 1
WITH_CONDITIONS = 2
DRAWN = "drawn_"  # what attributes of what was drawn for each recording begin with
LOUDEST = 1e9  # beyond what any parameters make; squares of it fit in a float32


@dataclass(frozen=True)
class Facts:
    """How a set of recordings was made.

    Attributes
    ----------
    sampling_rate : float
        Hz.
    frequencies : tuple of float
        Hz, one for each of the K tones; empty where every recording has tones of its own.
    phases, amplitudes : ndarray, shape (R, K)
        Degrees; amplitude of each tone before the mean over tones is taken.
    second_moment : float
        Expected square of an amplitude under the task: what an estimator may be told of amplitudes beforehand.
    noise_std : float
        Standard deviation of the noise in the mixture.
    task : str
        'fixed' or 'general'.
    seed : int
        Seed of the set.
    conditions : Conditions
        What they went through beside white noise. Phases, amplitudes and their second moment are those that tones
        begin with.
    drawn : dict of str to ndarray
        What of the conditions was drawn once for each recording, shape (R, ...), by name.
    source : str
        File of the background and the SHA-256 of its samples, if there is one.
    """

    sampling_rate: float
    frequencies: tuple[float, ...]
    phases: NDArray[np.float64]
    amplitudes: NDArray[np.float64]
    second_moment: float
    noise_std: float
    task: str
    seed: int
    conditions: params.Conditions = field(default_factory=params.Conditions)
    drawn: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    source: str = ""

    def tones_of(self, recording: int) -> tuple[float, ...]:
        """Frequencies in Hz of one recording's tones."""
        return self.frequencies or tuple(self.drawn["frequencies"][recording].tolist())


class _Attributes(Content):
    sampling_rate: params.Hertz
    frequencies: params.Frequencies
    phases: Annotated[list[list[params.Finite]], Field(min_length=1)]
    amplitudes: Annotated[list[list[params.Amplitude]], Field(min_length=1)]
    second_moment: params.Positive
    noise_std: params.Amplitude
    task: Literal["fixed", "general"]
    seed: params.Seed


_Rows = Annotated[list[params.Finite], Field(min_length=1)] | None


class _ConditionsAttributes(_Attributes):
    frequencies: Annotated[list[params.Hertz], Field(default_factory=list, max_length=params.TONES)]
    conditions: Annotated[str, Field(max_length=100_000)]
    source: Annotated[str, Field(max_length=2000)] = ""
    drawn_frequencies: Annotated[list[params.Frequencies], Field(min_length=1)] | None = None
    drawn_tail_scale: _Rows = None
    drawn_coloured: _Rows = None
    drawn_coloured_exponent: _Rows = None
    drawn_background_gain: _Rows = None
    drawn_background_start: _Rows = None
    drawn_clip: _Rows = None


class Recordings:
    """An open set of recordings; made by `opened`, valid inside its `with` block."""

    def __init__(self, file: Stored) -> None:
        self.path, self._file = file.path, file
        self.facts = _facts(file)
        self._mixture, self._tones = file.dataset("mixture", np.float32, 2), file.dataset("tones", np.float32, 3)
        self._check_shapes()
        self.count, self.samples = self._mixture.shape

    def mixture(self, index: int) -> NDArray[np.float32]:
        """Mixture of one recording, shape (N,), finite: 0 where a sample is missing."""
        return self._finite(self._mixture, index)

    def missing(self, index: int) -> NDArray[np.bool_]:
        """Which samples of a recording's mixture are missing, shape (N,)."""
        return np.isnan(self._file.read(self._mixture, index)) & bool(self.facts.conditions.gap_share)

    def tones(self, index: int) -> NDArray[np.float32]:
        """Clean tones of one recording, shape (K, N), finite."""
        return self._finite(self._tones, index)

    def read(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mixtures (R, N) and clean tones (R, K, N) of all recordings."""
        each = [(self.mixture(index), self.tones(index)) for index in range(self.count)]
        mixture, tones = (np.stack(signals) for signals in zip(*each, strict=True))
        return mixture, tones

    def _finite(self, dataset: h5py.Dataset, index: int) -> NDArray[np.float32]:
        values = self._file.read(dataset, index)
        if dataset is self._mixture and self.facts.conditions.gap_share:
            values[np.isnan(values)] = 0.0
        if not (np.abs(values) <= LOUDEST).all():
            raise InputError(
                f"{self.path}: recording {index} holds NaN or infinity in its {dataset.name[1:]}, or more than "
                f"{LOUDEST:g}, but every sample must be finite: {REMEDY}"
            )
        return values

    def _check_shapes(self) -> None:
        mixture, tones, phases = self._mixture.shape, self._tones.shape, self.facts.phases.shape
        fit = tones == (*phases, mixture[1]) and mixture[0] == phases[0] and self.facts.amplitudes.shape == phases
        frequencies = [len(self.facts.tones_of(0))] + [len(each) for each in self.facts.drawn.get("frequencies", ())]
        fit &= all(len(values) == phases[0] for values in self.facts.drawn.values())
        if not fit or set(frequencies) != {phases[1]}:
            raise InputError(
                f"{self.path}: mixture {mixture} and tones {tones} do not fit {frequencies[0]} "
                f"frequencies and phases {phases}: mixture is (R, N), tones (R, K, N), phases and amplitudes (R, K): "
                f"{REMEDY}"
            )


def _facts(file: Stored) -> Facts:
    found = file.content(_Attributes if file.version == VERSION else _ConditionsAttributes)
    values = {name: value for name, value in dict(found).items() if not name.startswith(DRAWN)}
    values["frequencies"] = tuple(found.frequencies)
    values |= {name: np.array(values[name], dtype=np.float64) for name in ("phases", "amplitudes")}
    if isinstance(found, _ConditionsAttributes):
        values |= {"conditions": _conditions(file, found.conditions), "drawn": _drawn(file, found)}
    for each in [values["frequencies"]] if found.frequencies else values["drawn"]["frequencies"].tolist():
        if max(each) >= found.sampling_rate / 2 or len(set(each)) < len(each):
            raise file.damaged(f"frequencies {shown(list(each))} at {found.sampling_rate:g} Hz")
    return Facts(**values)


def _conditions(file: Stored, text: str) -> params.Conditions:
    try:
        return params.Conditions.model_validate_json(text)
    except ValidationError as error:
        raise file.damaged(f"conditions {shown(text)}") from error


def _drawn(file: Stored, found: _ConditionsAttributes) -> dict[str, NDArray[np.float64]]:
    lists = {name.removeprefix(DRAWN): value for name, value in dict(found).items() if name.startswith(DRAWN) and value}
    if not found.frequencies and "frequencies" not in lists:
        raise file.damaged("frequencies is missing")
    if len({len(each) for each in lists.get("frequencies", ())}) > 1:
        raise file.damaged("as many tones in every recording are wanted")
    return {name: np.array(value, dtype=np.float64) for name, value in lists.items()}


REMEDY = "make it again with `dvc repro -f generate`, or bring the committed one back with `make undo`"


@contextmanager
def opened(path: str | Path, any_tones: bool = False) -> Iterator[Recordings]:
    """Open a set of recordings to read, after checking that it is one and whole.

    Parameters
    ----------
    path : str or Path
        HDF5 file written by `write`.
    any_tones : bool
        Whether every recording may have tones of its own; they are refused otherwise.

    Raises
    ------
    InputError
        If the file is missing, truncated, not HDF5, of another format or version, or its parts do not fit together.
    """
    with stored.opened(Path(path), FORMAT, (VERSION, WITH_CONDITIONS), REMEDY) as file:
        found = Recordings(file)
        if not (found.facts.frequencies or any_tones):
            raise InputError(
                f"{path}: every recording has tones of its own (data.conditions.tone_range), but a network learns one "
                "set of tones: set that to null"
            )
        yield found


def write(path: str | Path, facts: Facts, samples: int, signals: Iterable[tuple[NDArray, NDArray]]) -> None:
    """Write a set of recordings, one at a time, so that memory stays that of one recording.

    Parameters
    ----------
    path : str or Path
        File to write; replaced only once the new one is whole.
    facts : Facts
        How they were made; the number of recordings R and of tones K is the shape of `facts.phases`.
    samples : int
        Samples N of each recording.
    signals : iterable of (mixture, tones)
        Arrays of shape (N,) and (K, N), one pair for each recording.
    """
    count, tones = facts.phases.shape
    size = (
        4 * count * (1 + tones) * samples + 16 * facts.phases.size + sum(each.nbytes for each in facts.drawn.values())
    )
    with created(path, size) as file:
        mixture_data = file.create_dataset("mixture", (count, samples), "f4")
        tones_data = file.create_dataset("tones", (count, tones, samples), "f4")
        for index, (mixture, clean) in enumerate(signals):
            mixture_data[index] = mixture.astype("f4")
            tones_data[index] = clean.astype("f4")
        _set_attributes(file, facts)


def _set_attributes(file: h5py.File, facts: Facts) -> None:
    values: dict[str, Any] = {"format": FORMAT, "version": VERSION, **vars(facts)}
    conditions, drawn, source = (values.pop(name) for name in ("conditions", "drawn", "source"))
    if conditions.on:
        values |= {"version": WITH_CONDITIONS, "conditions": conditions.model_dump_json()}
        values |= {"source": source} if source else {}
        values |= {DRAWN + name: each for name, each in drawn.items()}
        values = {name: value for name, value in values.items() if name != "frequencies" or value}
    for name, value in values.items():
        file.attrs[name] = value


def draw_facts(data: params.Data, count: int, seed: int) -> Facts:
    """Facts of a set, its phases and amplitudes (count, K) as listed (task fixed) or drawn (task general)."""
    tones = len(data.frequencies)
    if data.task == "fixed":
        phases, amplitudes = np.tile(data.phases, (count, 1)), np.tile(data.amplitudes, (count, 1))
        second_moment = float(np.mean(np.square(data.amplitudes)))
    else:
        sources = [[signals.random_generator(seed, what, i) for i in range(count)] for what in ("phases", "amplitudes")]
        phases = np.stack([signals.draw_phases(source, tones) for source in sources[0]])
        amplitudes = np.stack([signals.draw_amplitudes(source, tones, *data.amplitude_range) for source in sources[1]])
        second_moment = signals.uniform_second_moment(*data.amplitude_range)
    return Facts(
        sampling_rate=data.sampling_rate,
        frequencies=tuple(data.frequencies),
        phases=phases,
        amplitudes=amplitudes,
        second_moment=second_moment,
        noise_std=data.noise_std,
        task=data.task,
        seed=seed,
    )


def count_and_seed(data: params.Data, testing: bool) -> tuple[int, int]:
    """Number and seed of the recordings to test on, or to train on."""
    return (data.test_recordings, data.test_seed) if testing else (data.train_recordings, data.train_seed)


def draw_set(data: params.Data, testing: bool) -> tuple[Facts, Iterator[tuple[NDArray, NDArray]]]:
    """Facts of the recordings to test on, or to train on, and each recording in turn."""
    facts = draw_facts(data, *count_and_seed(data, testing))
    return facts, make(data, facts)


def memory_needed(data: params.Data) -> dict[str, float]:
    """Bytes for making a recording, by the parameters they come from."""
    return {"data.duration x data.sampling_rate": 16.0 * data.samples * (len(data.frequencies) + 1)}


def make(data: params.Data, facts: Facts) -> Iterator[tuple[NDArray, NDArray]]:
    """Mixture (N,) and tones (K, N) of each recording in turn."""
    for index, (phases, amplitudes) in enumerate(zip(facts.phases, facts.amplitudes, strict=True)):
        each = zip(facts.frequencies, phases, amplitudes, strict=True)
        tones = np.stack([signals.sinusoid(f, data.sampling_rate, data.samples, phase, a) for f, phase, a in each])
        yield signals.mix(tones, data.noise_std, signals.random_generator(facts.seed, "noise", index)), tones
