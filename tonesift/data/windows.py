"""Which windows train and which validate, and how the mixture is scaled: decided once, written down, never copied out.

A window is a segment as long as `prepare.sequence_length` steps; windows start `step_size` samples apart. Overlapping
windows share samples and noise, so a random split hands the training set's noise to the validation set. The default is
therefore by contiguous block: validation takes one block of the recording (or whole recordings, where there are
several), and windows that come within one window's length of it belong to neither part.

Windows are kept run-length encoded, as rows (recording, first start, count): a contiguous part of an hour-long
recording is one row, and even a random split stays proportional to the number of windows.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tonesift import memory, params
from tonesift.checked import Content
from tonesift.data import stored
from tonesift.data.recordings import Recordings, created
from tonesift.data.segments import Segment
from tonesift.data.stored import Stored
from tonesift.errors import InputError

FORMAT = "tonesift windows"
VERSION = 1
Whole = Annotated[int, Field(ge=1, le=2**53)]
WindowRuns = NDArray[np.int64]  # (M, 3): recording, first start, count of windows


@dataclass(frozen=True)
class Split:
    """Training and validation windows of a set of recordings, and the scaling fitted on the training part.

    Attributes
    ----------
    train, validation : ndarray of int64, shape (M, 3)
        Runs of windows: recording, first start in samples, number of windows.
    window_samples, step_size : int
        Samples in a window, and between the starts of neighbouring windows.
    center, scale : float
        The model is fed (mixture - center) / scale.
    shape : tuple of int
        (R, N) of the recordings this was made for.
    """

    train: WindowRuns
    validation: WindowRuns
    window_samples: int
    step_size: int
    center: float
    scale: float
    shape: tuple[int, int]


def starts(runs: WindowRuns, step_size: int) -> NDArray[np.int64]:
    """Recording and first sample of every window, shape (W, 2), in the order of the runs."""
    recordings, first, counts = runs.T
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.stack([np.repeat(recordings, counts), np.repeat(first, counts) + step_size * within], axis=1)


def count(runs: WindowRuns) -> int:
    """Number of windows in the runs."""
    return int(runs[:, 2].sum())


def all_windows(recordings: int, samples: int, length: int, step: int) -> WindowRuns:
    """Every window of every recording, as runs."""
    return _runs([(recording, 0, samples) for recording in range(recordings)], length, step)


def split_blocks(
    recordings: int, samples: int, length: int, step: int, share: float, fold: tuple[int, int] | None = None
) -> tuple[WindowRuns, WindowRuns]:
    """Split by contiguous block, with a gap of one window between the parts.

    Parameters
    ----------
    recordings, samples : int
        R recordings of N samples. Where R > 1 whole recordings are split, and no gap is needed.
    length, step : int
        Samples in a window, and between the starts of neighbours.
    share : float
        Part of the samples (or recordings) that validates, the last ones. Not used with `fold`.
    fold : (int, int), optional
        Number i of n, from 1: the i-th of n equal blocks validates, the others train.

    Returns
    -------
    train, validation : WindowRuns
    """
    units = recordings if recordings > 1 else samples
    begin, end = _block(units, share, fold)
    if recordings > 1:
        inside = [(index, 0, samples) for index in range(begin, end)]
        outside = [(index, 0, samples) for index in range(recordings) if not begin <= index < end]
    else:
        inside = [(0, begin, end)]
        outside = [(0, 0, begin - length), (0, end + length, samples)]
    return _runs(outside, length, step), _runs(inside, length, step)


def split_random(
    recordings: int, samples: int, length: int, step: int, share: float, generator: np.random.Generator
) -> tuple[WindowRuns, WindowRuns]:
    """Split window by window at random: neighbours share all but `step` samples, so the parts leak into each other.

    Parameters and returns are those of `split_blocks`; `generator` draws which windows validate.
    """
    windows = starts(all_windows(recordings, samples, length, step), step)
    chosen = np.zeros(len(windows), dtype=bool)
    chosen[generator.permutation(len(windows))[: round(share * len(windows))]] = True
    return _merge(windows[~chosen], step), _merge(windows[chosen], step)


def _block(units: int, share: float, fold: tuple[int, int] | None) -> tuple[int, int]:
    if fold is None:
        return units - max(1, round(share * units)), units
    number, of = fold
    return (number - 1) * units // of, number * units // of


def _runs(segments: Sequence[tuple[int, int, int]], length: int, step: int) -> WindowRuns:
    rows = [(recording, begin, (end - begin - length) // step + 1) for recording, begin, end in segments]
    return np.array([row for row in rows if row[2] > 0], dtype=np.int64).reshape(-1, 3)


def _merge(windows: NDArray[np.int64], step: int) -> WindowRuns:
    """Runs of neighbouring windows, from their recordings and starts (W, 2) in ascending order."""
    follows = (np.diff(windows[:, 0]) == 0) & (np.diff(windows[:, 1]) == step)
    first = np.flatnonzero(np.concatenate([[True], ~follows])) if len(windows) else np.zeros(0, dtype=np.int64)
    counts = np.diff(np.concatenate([first, [len(windows)]]))
    return np.column_stack([windows[first], counts]).astype(np.int64)


def covered(runs: WindowRuns, length: int, step: int) -> list[Segment]:
    """What windows of the runs cover, overlaps merged."""
    segments: list[Segment] = []
    for recording, first, number in runs.tolist():
        end = first + (number - 1) * step + length
        if segments and segments[-1].recording == recording and first <= segments[-1].end:
            segments[-1] = segments[-1]._replace(end=max(end, segments[-1].end))
        else:
            segments.append(Segment(recording, first, end))
    return segments


def fit_scaling(kind: str, parts: list[NDArray[np.float32]]) -> tuple[float, float]:
    """Center and scale of the training part of a mixture.

    Parameters
    ----------
    kind : {'none', 'standard', 'minmax', 'robust'}
        0 and 1; mean and standard deviation; middle and half the range, so that the result spans -1 to 1; median and
        interquartile range.
    parts : list of ndarray, shape (n,)
        The mixture's segments to fit on.

    Returns
    -------
    center, scale : float

    Raises
    ------
    InputError
        If the mixture is constant, so that no scale can be fitted.
    """
    center, scale = _FITS[kind](parts)
    if not scale > 0:
        raise InputError(
            f"prepare.scaling: '{kind}' needs a mixture that varies, but its spread is {scale:g}: use 'none'"
        )
    return center, scale


def _fit_standard(parts: list[NDArray[np.float32]]) -> tuple[float, float]:
    size = sum(part.size for part in parts)
    mean = sum(float(part.sum(dtype=np.float64)) for part in parts) / size
    square = sum(float(np.square(part - mean, dtype=np.float64).sum()) for part in parts) / size
    return mean, square**0.5


def _fit_minmax(parts: list[NDArray[np.float32]]) -> tuple[float, float]:
    low, high = min(float(part.min()) for part in parts), max(float(part.max()) for part in parts)
    return (low + high) / 2, (high - low) / 2


def _fit_robust(parts: list[NDArray[np.float32]]) -> tuple[float, float]:
    low, middle, high = np.quantile(np.concatenate(parts), [0.25, 0.5, 0.75])
    return float(middle), float(high - low)


_FITS = {"none": lambda parts: (0.0, 1.0), "standard": _fit_standard, "minmax": _fit_minmax, "robust": _fit_robust}


def write(path: str | Path, split: Split) -> None:
    """Write a split to an HDF5 file, replaced only once the new one is whole."""
    with created(path, split.train.nbytes + split.validation.nbytes) as file:
        file.create_dataset("train", data=split.train, dtype="i8")
        file.create_dataset("validation", data=split.validation, dtype="i8")
        attributes = {
            "format": FORMAT,
            "version": VERSION,
            "sequence_length": split.window_samples,  # the file's word; in `params.yaml` it counts steps
            "step_size": split.step_size,
            "center": split.center,
            "scale": split.scale,
            "shape": split.shape,
        }
        for name, value in attributes.items():
            file.attrs[name] = value


def read(path: str | Path) -> Split:
    """Read a split written by `write`.

    Raises
    ------
    InputError
        If the file is missing, damaged, foreign or of another version.
    """
    with stored.opened(Path(path), FORMAT, (VERSION,), REMEDY) as file:
        facts = file.content(_Attributes)
        recordings, samples = facts.shape
        if facts.sequence_length > samples:
            raise file.damaged(f"windows of {facts.sequence_length} samples in recordings of {samples}")
        parts = {part: _read_runs(file, part, facts) for part in ("train", "validation")}
    return Split(
        **parts,
        window_samples=facts.sequence_length,
        step_size=facts.step_size,
        center=facts.center,
        scale=facts.scale,
        shape=(recordings, samples),
    )


REMEDY = "make it again with `dvc repro -f prepare`, or bring the committed one back with `make undo`"


class _Attributes(Content):
    sequence_length: Whole
    step_size: Whole
    center: params.Finite
    scale: params.Positive
    shape: Annotated[list[Whole], Field(min_length=2, max_length=2)]


def _read_runs(file: Stored, part: str, facts: _Attributes) -> WindowRuns:
    """Runs of windows that lie in the recordings, none twice: as many as there are starts at the most."""
    runs = file.read(file.dataset(part, np.int64, 2), ...)
    if runs.shape[1] != 3:
        raise file.damaged(f"{part} has {runs.shape[1]} columns, but it is recording, first start, count")
    recordings, samples = facts.shape
    last = samples - facts.sequence_length  # where a window can start
    recording, first, counts = runs.T
    inside = (recording >= 0) & (recording < recordings) & (first >= 0) & (first <= last) & (counts >= 1)
    inside &= counts - 1 <= (last - first) // facts.step_size
    if not inside.all() or sum(counts.tolist()) > recordings * (last + 1):
        row = runs[int(np.argmin(inside))].tolist()
        raise file.damaged(f"{part}: windows that are not in {recordings} recordings of {samples} samples: {row}")
    return runs


def check_fit(split: Split, source: Recordings) -> None:
    """Refuse windows of other recordings."""
    if (source.count, source.samples) != split.shape:
        raise InputError(
            f"{source.path}: {source.count} recordings of {source.samples} samples, but the windows were made for "
            f"{split.shape[0]} of {split.shape[1]}: run `dvc repro`"
        )


def repeated(split: Split, sets: int) -> Split:
    """The split of so many sets of recordings one behind the other, each split like the first."""
    count, samples = split.shape
    parts = [
        np.concatenate([runs + np.array([number * count, 0, 0]) for number in range(sets)])
        for runs in (split.train, split.validation)
    ]
    return replace(split, train=parts[0], validation=parts[1], shape=(count * sets, samples))


def prepare(settings: params.Prepare, length: int, source: Recordings) -> Split:
    """Windows of `length` samples of a set of recordings, split and with their scaling, as the parameters have it."""
    common = (source.count, source.samples, length, settings.step_size, settings.val_split)
    memory.check({str(source.path): 4.0 * source.count * source.samples})
    if settings.split == "random":
        windows = source.count * max((source.samples - length) // settings.step_size + 1, 0)
        memory.check({"prepare.step_size (with split random)": 48.0 * windows})
        train, validation = split_random(*common, np.random.default_rng(settings.seed))
    else:
        fold = None if settings.fold is None else (settings.fold, settings.folds)
        train, validation = split_blocks(*common, fold)
    parts = []
    for recording, group in itertools.groupby(covered(train, length, settings.step_size), key=lambda part: part[0]):
        mixture = source.mixture(recording)
        parts += [mixture[begin:end] for _, begin, end in group]
    center, scale = fit_scaling(settings.scaling, parts)
    shape = (source.count, source.samples)
    return Split(train, validation, length, settings.step_size, center, scale, shape)
