"""A background recording: a file whose stretches are added to mixtures, each for training or for testing only."""

import hashlib
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tonesift import memory
from tonesift.errors import InputError
from tonesift.formats import files

TRAINING = (2, 3)  # share of the file that is for training: what follows is for testing


class Background(NamedTuple):
    """A background recording.

    Attributes
    ----------
    path : Path
        Its file.
    samples : ndarray of float64, shape (B,)
        All of it.
    """

    path: Path
    samples: NDArray[np.float64]

    @property
    def source(self) -> str:
        """Its name and the SHA-256 of its samples."""
        return f"{self.path.name} {hashlib.sha256(self.samples.astype('<f8').tobytes()).hexdigest()}"

    def block(self, testing: bool) -> tuple[int, int]:
        """First sample and end of what is for testing, or for training."""
        border = len(self.samples) * TRAINING[0] // TRAINING[1]
        return (border, len(self.samples)) if testing else (0, border)


def read(name: str, sampling_rate: float, samples: int, stretch: int = 0) -> Background:
    """Read a background recording, refused where it cannot serve.

    Parameters
    ----------
    name : str
        File of a kind that `tonesift.formats` reads, with one signal.
    sampling_rate : float
        Hz that it must have been sampled at; a file that says nothing of it is taken to be.
    samples : int
        N of the recordings that are to be made.
    stretch : int
        Samples of the background that a training recording takes at most, where that is more than N.

    Raises
    ------
    InputError
        If it is missing, of another rate, too short, constant, or not finite.
    """
    path = Path(name)
    if not path.is_file():
        raise InputError(f"{name}: no such file (data.conditions.background): a pipe or a folder will not do")
    with files.opened(path) as source:
        if source.samples is not None:
            memory.check({name: 8.0 * source.samples})
        chunks = [np.asarray(chunk, dtype=np.float64) for chunk in source.chunks]
        rate, tolerance = source.rate, 1e-3 if source.measured else 1e-9
    if source.faults:
        raise InputError(f"{name}: {source.faults[0]}: a background must be whole")
    if rate is not None and not math.isclose(rate, sampling_rate, rel_tol=tolerance):
        raise InputError(
            f"{name}: sampled at {rate:.12g} Hz, but data.sampling_rate is {sampling_rate:.12g} Hz: bring one to the "
            "other"
        )
    found = Background(path, np.concatenate(chunks) if chunks else np.zeros(0))
    check(found, samples, stretch)
    return found


def check(background: Background, samples: int, stretch: int = 0) -> None:
    """Refuse a background that is not finite, or too short for what `read` says of recordings."""
    values, name = background.samples, background.path
    finite = np.isfinite(values)
    if not finite.all():
        raise InputError(
            f"{name}: sample {int(np.argmin(finite))} is NaN or infinite, but a background must be finite: cut it out"
        )
    for testing, use in ((False, "train on (the first two thirds)"), (True, "test on (the last third)")):
        begin, end = background.block(testing)
        longest = samples if testing else max(samples, stretch)
        if end - begin < longest:
            raise InputError(
                f"{name}: {end - begin} samples to {use}, but a recording takes "
                f"{'up to ' if longest > samples else ''}{longest}: take a longer background or a shorter data.duration"
            )
        if values[begin:end].min() == values[begin:end].max():
            raise InputError(f"{name}: silent in what there is to {use}: take another background")


def draw_start(
    background: Background, testing: bool, samples: int, recording: int, count: int, generator: np.random.Generator
) -> int:
    """Where the stretch of a recording begins: in the recording's turn of `count` equal parts of the block.

    So recordings that validate, the last ones, share no more with those that train than neighbours do.
    """
    begin, end = background.block(testing)
    room = end - begin - samples + 1
    return begin + min(int((recording + generator.random()) / count * room), room - 1)
