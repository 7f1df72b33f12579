"""Mixtures from files and tones to files, a stretch at a time: memory stays the same however long they are.

Files are CSV, WAV, NumPy's NPY and HDF5, told apart by their suffix; `-` is standard input and output, as CSV, a sample
at a time. What is written becomes the file asked for only once it is whole.
"""

import csv
import reprlib
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

import h5py
import numpy as np
import soundfile
from numpy.lib import format as npy
from numpy.typing import NDArray

from tonesift.atomic import replacing
from tonesift.data import recordings
from tonesift.errors import InputError

PIPE = Path("-")
CHUNK = 65_536  # samples read at a time
WAV_BYTES = 2**32 - 4096  # a WAV file's sizes are 32-bit numbers


class Selection(NamedTuple):
    """Which signal of a file is meant.

    Attributes
    ----------
    column : str or None
        Name or number (from 1) of a CSV column, number of a WAV channel.
    recording : int or None
        Row of an HDF5 dataset, from 0.
    dataset : str or None
        Name of an HDF5 dataset; 'mixture' without it.
    """

    column: str | None = None
    recording: int | None = None
    dataset: str | None = None


ONLY = Selection()  # the only signal there is, or the first recording


@dataclass(frozen=True)
class Source:
    """A mixture to read.

    Attributes
    ----------
    name : str
        What an error calls it.
    chunks : iterator of ndarray, shape (n,)
        The samples, once.
    rate : float, optional
        Hz, if it is known.
    frequencies : tuple of float, optional
        Hz, of the tones in it, if they are known.
    samples : int, optional
        How many there are, if that is known beforehand.
    """

    name: str
    chunks: Iterator[NDArray]
    rate: float | None = None
    frequencies: tuple[float, ...] | None = None
    samples: int | None = None


class Form(NamedTuple):
    """What is written.

    Attributes
    ----------
    rate : float
        Hz.
    frequencies : tuple of float
        Hz, one for each of the K tones.
    samples : int or None
        How many there will be, if that is known beforehand.
    """

    rate: float
    frequencies: tuple[float, ...]
    samples: int | None

    @property
    def names(self) -> list[str]:
        """Column titles, such as '1 Hz'."""
        return [f"{frequency:.12g} Hz" for frequency in self.frequencies]


Write = Callable[[NDArray[np.float32]], None]  # takes the next samples of the tones, shape (K, n)


@contextmanager
def opened(path: Path, selection: Selection = ONLY) -> Iterator[Source]:
    """Open a mixture to read.

    Parameters
    ----------
    path : Path
        A .csv, .wav, .npy, .h5 or .hdf5 file, or `PIPE`.
    selection : Selection
        Which of its signals is meant.

    Raises
    ------
    InputError
        If it is missing, damaged, of another kind, or it is not clear which signal is meant; also while it is read.
    """
    if path != PIPE and not path.is_file():
        raise InputError(f"{path}: no such file")
    reader, allowed = READERS[".csv" if path == PIPE else known_suffix(path)]
    for option, value in selection._asdict().items():
        if value is not None and option not in allowed:
            raise InputError(f"--{option} {value}: {path} has no {option}s to choose from: leave it out")
    try:
        with reader(path, selection) as source:
            yield source
    except soundfile.LibsndfileError as error:
        raise InputError(f"{path}: cannot be read as a WAV file ({error.error_string})") from error


@contextmanager
def created(path: Path, form: Form) -> Iterator[Write]:
    """New file for tones, which becomes `path` when the block ends, or `PIPE`.

    Parameters
    ----------
    path : Path
        The suffix says what it is: .csv (a column for each tone, with a header), .wav (a channel for each, 32-bit
        float), .npy (shape (K, N), float32), .h5 or .hdf5 (dataset `tones`, shape (K, N), float32). Its folder is made
        if need be.
    form : Form
        What will be written.

    Yields
    ------
    callable
        Takes the next samples of the tones, an array of shape (K, n).
    """
    if path == PIPE:
        yield _csv_writer(sys.stdout, form)
        return
    with WRITERS[known_suffix(path)](path, form) as write:
        yield write


def known_suffix(path: Path) -> str:
    """Suffix in lower case, if it is one that can be read and written."""
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise InputError(f"{path}: its suffix is {suffix!r}, but must be one of {', '.join(READERS)}; or - for a pipe")
    return suffix


# CSV


@contextmanager
def _read_csv(path: Path, selection: Selection) -> Iterator[Source]:
    if path == PIPE:
        values = csv_values(sys.stdin, "standard input", selection.column)
        yield Source("standard input", (np.array([value]) for value in values))
        return
    with path.open(encoding="utf-8", newline="") as file:  # a mistake in the last line is found before any work
        samples = sum(1 for _ in csv_values(file, str(path), selection.column))
    with path.open(encoding="utf-8", newline="") as file:
        yield Source(str(path), _in_chunks(csv_values(file, str(path), selection.column)), samples=samples)


def _in_chunks(values: Iterator[float]) -> Iterator[NDArray[np.float64]]:
    while len(chunk := np.fromiter(islice(values, CHUNK), dtype="f8")):
        yield chunk


def csv_values(lines: Iterable[str], name: str, column: str | None) -> Iterator[float]:
    """Numbers in one column of CSV, as the lines come; an empty cell is NaN, an empty line is passed over.

    Parameters
    ----------
    lines : iterable of str
        A first one that is not numbers is a header; a byte order mark before it is no part of it.
    name : str
        What an error calls the file.
    column : str, optional
        Name, or number from 1; needed only if there are several.
    """
    rows = csv.reader(_unmarked(iter(lines)))
    try:
        first = next((row for row in rows if row), [])
        index = _column(first, column, name)
        if _is_header(first):
            first = []
        for row in _and_then(first, rows):
            if row:
                yield float(row[index].strip() or "nan")
    except IndexError as error:
        raise InputError(f"{name}, line {rows.line_num}: it has no column {index + 1}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not a text file in UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{name}, line {rows.line_num}: not CSV ({error})") from error
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{name}, line {rows.line_num}: {row[index]!r} is not a number") from error


def _unmarked(lines: Iterator[str]) -> Iterator[str]:
    yield next(lines, "").removeprefix("\ufeff")  # before CSV is made of it: a quoted cell may follow
    yield from lines


def _and_then(first: list[str], rest: Iterable[list[str]]) -> Iterator[list[str]]:
    yield first
    yield from rest


def _is_header(row: list[str]) -> bool:
    return any(cell.strip() and not _is_number(cell) for cell in row)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _column(first: list[str], column: str | None, name: str) -> int:
    """Which column is meant, from 0."""
    titles = [cell.strip() for cell in first] if _is_header(first) else []
    if column is None and len(first) > 1:
        named = f" ({', '.join(titles)})" if titles else ""
        raise InputError(f"{name}: it has {len(first)} columns{named}: say which with --column, its name or number")
    if column is None or not first:
        return 0
    if column in titles:
        return titles.index(column)
    if column.isdecimal() and 1 <= int(column) <= len(first):
        return int(column) - 1
    known = f"its header names {', '.join(titles)}" if titles else "it has no header"
    raise InputError(f"{name}: there is no column {column!r}: {known}; numbers are 1 to {len(first)}")


@contextmanager
def _write_csv(path: Path, form: Form) -> Iterator[Write]:
    with replacing(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        yield _csv_writer(file, form)


def _csv_writer(file: TextIO, form: Form) -> Write:
    file.write(",".join(form.names) + "\n")
    file.flush()

    def write(tones: NDArray[np.float32]) -> None:
        if tones.size:
            np.savetxt(file, tones.T, fmt="%.9g", delimiter=",")
            file.flush()

    return write


# WAV


@contextmanager
def _read_wav(path: Path, selection: Selection) -> Iterator[Source]:
    with soundfile.SoundFile(path) as file:
        channel = _channel(path, file.channels, selection.column)
        chunks = _until_empty(lambda: file.read(CHUNK, dtype="float32", always_2d=True)[:, channel])
        yield Source(str(path), chunks, rate=float(file.samplerate), samples=file.frames)


def _until_empty(read: Callable[[], NDArray]) -> Iterator[NDArray]:
    while len(chunk := read()):
        yield chunk


def _channel(path: Path, count: int, column: str | None) -> int:
    if column is None and count == 1:
        return 0
    if column is not None and column.isdecimal() and 1 <= int(column) <= count:
        return int(column) - 1
    raise InputError(f"{path}: it has {count} channels: say which with --column, a number from 1 to {count}")


@contextmanager
def _write_wav(path: Path, form: Form) -> Iterator[Write]:
    rate, channels = round(form.rate), len(form.frequencies)
    if rate != form.rate:
        raise InputError(f"{path}: a WAV file's rate is a whole number, not {form.rate:.12g} Hz: write .npy or .h5")
    frame, written = 4 * channels, 0

    def write(tones: NDArray[np.float32]) -> None:
        nonlocal written
        written += tones.shape[1]
        if frame * written > WAV_BYTES:
            raise InputError(f"{path}: a WAV file holds at most 4 GiB: write .npy or .h5")
        file.write(_sample_by_sample(tones))

    with replacing(path) as aside, aside.open("wb") as file:
        file.write(_wav_header(rate, channels, 0))
        yield write
        file.seek(0)
        file.write(_wav_header(rate, channels, written))


def _wav_header(rate: int, channels: int, samples: int) -> bytes:
    """Header of 32-bit float samples; libsndfile would add the time of day, in a chunk that SciPy warns of."""
    size = 4 * channels * samples
    form = struct.pack("<4sIHHIIHHH", b"fmt ", 18, 3, channels, rate, 4 * channels * rate, 4 * channels, 32, 0)
    body = b"WAVE" + form + struct.pack("<4sII4sI", b"fact", 4, samples, b"data", size)
    return struct.pack("<4sI", b"RIFF", len(body) + size) + body


def _sample_by_sample(tones: NDArray[np.float32]) -> bytes:
    return np.ascontiguousarray(tones.T, dtype="<f4").tobytes()


# NPY


@contextmanager
def _read_npy(path: Path, selection: Selection) -> Iterator[Source]:
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        shape, dtype, offset = mapped.shape, mapped.dtype, mapped.offset
    except (ValueError, EOFError, AttributeError) as error:
        raise InputError(f"{path}: not a whole NumPy array of numbers ({str(error).splitlines()[0]})") from error
    if len(shape) != 1:
        raise InputError(f"{path}: an array of shape {shape}, but a mixture is one-dimensional: save one row")
    with path.open("rb") as file:  # not the memory map, whose pages would count as memory of ours
        file.seek(offset)
        chunks = _until_empty(lambda: np.fromfile(file, dtype=dtype, count=CHUNK))
        yield Source(str(path), chunks, samples=shape[0])


@contextmanager
def _write_npy(path: Path, form: Form) -> Iterator[Write]:
    written = 0

    def write(tones: NDArray[np.float32]) -> None:
        nonlocal written
        file.write(_sample_by_sample(tones))
        written += tones.shape[1]

    with replacing(path) as aside, aside.open("wb") as file:
        _npy_header(file, len(form.frequencies), 0)
        yield write
        file.seek(0)
        _npy_header(file, len(form.frequencies), written)


def _npy_header(file: BinaryIO, channels: int, samples: int) -> None:
    """Header of an array (channels, samples) that lies sample by sample; NumPy leaves room in it for more of them."""
    npy.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": True, "shape": (channels, samples)})


# HDF5


@contextmanager
def _read_hdf5(path: Path, selection: Selection) -> Iterator[Source]:
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path}: not a whole HDF5 file ({str(error).splitlines()[0]})") from error
    with file:
        dataset = _dataset(path, file, selection.dataset or "mixture")
        row = _row(path, dataset, selection.recording)
        facts = {**file.attrs, **dataset.attrs}
        rate = _hertz(path, facts, "sampling_rate", several=False)
        frequencies = _hertz(path, facts, "frequencies", several=True)
        chunks = _hdf5_chunks(path, dataset, row)
        yield Source(str(path), chunks, rate[0] if rate else None, frequencies, dataset.shape[-1])


def _hertz(path: Path, facts: dict[str, Any], name: str, several: bool) -> tuple[float, ...] | None:
    """Numbers of an attribute, if there is one."""
    if name not in facts:
        return None
    values = np.asarray(facts[name])
    fits = values.ndim == 1 and values.size if several else values.size == 1
    if fits and values.dtype.kind in "fiu" and np.all(np.isfinite(values) & (values > 0)):
        return tuple(values.ravel().astype("f8").tolist())
    rule = "a list of numbers of Hz, each" if several else "one number of Hz,"
    raise InputError(
        f"{path}: its attribute {name} is {reprlib.repr(values.tolist())}, but must be {rule} finite and above 0: "
        "correct or remove it"
    )


def _hdf5_chunks(path: Path, dataset: h5py.Dataset, row: tuple[int, ...]) -> Iterator[NDArray]:
    for begin in range(0, dataset.shape[-1], CHUNK):
        try:
            yield dataset[(*row, slice(begin, begin + CHUNK))]
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error


def _dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    found = file.get(name)
    if isinstance(found, h5py.Dataset) and found.ndim in (1, 2) and found.dtype.kind in "fiu":
        return found
    names: list[str] = []
    file.visititems(lambda name, item: names.append(f"{name} {item.shape}") if isinstance(item, h5py.Dataset) else None)
    raise InputError(
        f"{path}: there is no dataset {name!r} of numbers, shape (N,) or (R, N), only {', '.join(names) or 'none'}: "
        "choose one with --dataset"
    )


def _row(path: Path, dataset: h5py.Dataset, recording: int | None) -> tuple[int, ...]:
    """Index that picks the recording; empty where the dataset is only one."""
    count = len(dataset) if dataset.ndim == 2 else 1
    if not 0 <= (recording or 0) < count:
        raise InputError(f"{path}: --recording {recording}: its recordings are 0 to {count - 1}")
    return (recording or 0,) if dataset.ndim == 2 else ()


@contextmanager
def _write_hdf5(path: Path, form: Form) -> Iterator[Write]:
    if form.samples is None:
        raise InputError(
            f"{path}: an HDF5 file must know its length beforehand, which standard input does not tell: write .npy"
        )
    shape, written = (len(form.frequencies), form.samples), 0

    def write(tones: NDArray[np.float32]) -> None:
        nonlocal written
        dataset[:, written : written + tones.shape[1]] = tones
        written += tones.shape[1]

    with recordings.created(path, 4 * shape[0] * shape[1]) as file:
        file.attrs["sampling_rate"], file.attrs["frequencies"] = form.rate, form.frequencies
        dataset = file.create_dataset("tones", shape, "f4")
        yield write


READERS = {
    ".csv": (_read_csv, {"column"}),
    ".wav": (_read_wav, {"column"}),
    ".npy": (_read_npy, set()),
    ".h5": (_read_hdf5, {"recording", "dataset"}),
    ".hdf5": (_read_hdf5, {"recording", "dataset"}),
}
WRITERS = {".csv": _write_csv, ".wav": _write_wav, ".npy": _write_npy, ".h5": _write_hdf5, ".hdf5": _write_hdf5}
