"""Recordings on disk: one HDF5 file for a set of equally long recordings.

`mixture` (R, N) and `tones` (R, K, N), both float32 and contiguous, so that they can be read a row at a time or
memory-mapped; what was drawn and at which rate stands in the attributes. Everything read is checked: a file that is
truncated, foreign, of another version or holds NaN is refused in one line, never half used.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tonesift import params
from tonesift.checked import Content
from tonesift.data import signals, stored
from tonesift.data.stored import Stored
from tonesift.errors import InputError, shown
from tonesift.formats.preallocated import created

FORMAT = "tonesift recordings"
VERSION = 1
LOUDEST = 1e9  # beyond what any parameters make; squares of it fit in a float32


@dataclass(frozen=True)
class Facts:
    """How a set of recordings was made.

    Attributes
    ----------
    sampling_rate : float
        Hz.
    frequencies : tuple of float
        Hz, one for each of the K tones.
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
    """

    sampling_rate: float
    frequencies: tuple[float, ...]
    phases: NDArray[np.float64]
    amplitudes: NDArray[np.float64]
    second_moment: float
    noise_std: float
    task: str
    seed: int


class _Attributes(Content):
    sampling_rate: params.Hertz
    frequencies: params.Frequencies
    phases: Annotated[list[list[params.Finite]], Field(min_length=1)]
    amplitudes: Annotated[list[list[params.Amplitude]], Field(min_length=1)]
    second_moment: params.Positive
    noise_std: params.Amplitude
    task: Literal["fixed", "general"]
    seed: params.Seed


class Recordings:
    """An open set of recordings; made by `opened`, valid inside its `with` block."""

    def __init__(self, file: Stored) -> None:
        self.path, self._file = file.path, file
        self.facts = _facts(file)
        self._mixture, self._tones = file.dataset("mixture", np.float32, 2), file.dataset("tones", np.float32, 3)
        self._check_shapes()
        self.count, self.samples = self._mixture.shape

    def mixture(self, index: int) -> NDArray[np.float32]:
        """Mixture of one recording, shape (N,), finite."""
        return self._finite(self._mixture, index)

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
        if not (np.abs(values) <= LOUDEST).all():
            raise InputError(
                f"{self.path}: recording {index} holds NaN or infinity in its {dataset.name[1:]}, or more than "
                f"{LOUDEST:g}, but every sample must be finite: {REMEDY}"
            )
        return values

    def _check_shapes(self) -> None:
        mixture, tones, phases = self._mixture.shape, self._tones.shape, self.facts.phases.shape
        fit = tones == (*phases, mixture[1]) and mixture[0] == phases[0] and self.facts.amplitudes.shape == phases
        if not fit or phases[1] != len(self.facts.frequencies):
            raise InputError(
                f"{self.path}: mixture {mixture} and tones {tones} do not fit {len(self.facts.frequencies)} "
                f"frequencies and phases {phases}: mixture is (R, N), tones (R, K, N), phases and amplitudes (R, K): "
                f"{REMEDY}"
            )


def _facts(file: Stored) -> Facts:
    found = file.content(_Attributes)
    highest = max(found.frequencies)
    if highest >= found.sampling_rate / 2 or len(set(found.frequencies)) < len(found.frequencies):
        raise file.damaged(f"frequencies {shown(found.frequencies)} at {found.sampling_rate:g} Hz")
    arrays = {name: np.array(getattr(found, name), dtype=np.float64) for name in ("phases", "amplitudes")}
    return Facts(**{**dict(found), **arrays, "frequencies": tuple(found.frequencies)})


REMEDY = "make it again with `dvc repro -f generate`, or bring the committed one back with `make undo`"


@contextmanager
def opened(path: str | Path) -> Iterator[Recordings]:
    """Open a set of recordings to read, after checking that it is one and whole.

    Parameters
    ----------
    path : str or Path
        HDF5 file written by `write`.

    Raises
    ------
    InputError
        If the file is missing, truncated, not HDF5, of another format or version, or its parts do not fit together.
    """
    with stored.opened(Path(path), FORMAT, VERSION, REMEDY) as file:
        yield Recordings(file)


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
    size = 4 * count * (1 + tones) * samples + 16 * facts.phases.size
    with created(path, size) as file:
        mixture_data = file.create_dataset("mixture", (count, samples), "f4")
        tones_data = file.create_dataset("tones", (count, tones, samples), "f4")
        for index, (mixture, clean) in enumerate(signals):
            mixture_data[index] = mixture.astype("f4")
            tones_data[index] = clean.astype("f4")
        _set_attributes(file, facts)


def _set_attributes(file: h5py.File, facts: Facts) -> None:
    values = {"format": FORMAT, "version": VERSION, **vars(facts)}
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


def memory_needed(data: params.Data) -> dict[str, float]:
    """Bytes for making a recording, by the parameters they come from."""
    return {"data.duration x data.sampling_rate": 16.0 * data.samples * (len(data.frequencies) + 1)}


def make(data: params.Data, facts: Facts) -> Iterator[tuple[NDArray, NDArray]]:
    """Mixture (N,) and tones (K, N) of each recording in turn."""
    for index, (phases, amplitudes) in enumerate(zip(facts.phases, facts.amplitudes, strict=True)):
        each = zip(facts.frequencies, phases, amplitudes, strict=True)
        tones = np.stack([signals.sinusoid(f, data.sampling_rate, data.samples, phase, a) for f, phase, a in each])
        yield signals.mix(tones, data.noise_std, signals.random_generator(facts.seed, "noise", index)), tones
