"""HDF5 files, MATLAB's of version 7.3 among them: a dataset's row or column, with the rate where people put it."""

import math
import re
import reprlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tonesift.errors import InputError
from tonesift.formats.base import CHUNK, Form, Selection, Source, Write, first_line, pick
from tonesift.formats.clock import Clock, time_unit
from tonesift.formats.preallocated import created

RATES = ("samplingrate", "samplerate", "fs", "sfreq", "samplingfrequency", "samplefrequency", "sr", "rate")
MIXTURE = "mixture"
OURS = "tonesift recordings"  # whose rows are recordings, as its attribute `format` says
LARGEST_CHUNK = 2**28  # bytes that are unpacked at once
MATLAB_NUMBERS = {
    b"double",
    b"single",
    *(f"{sign}int{bits}".encode() for sign in ("", "u") for bits in (8, 16, 32, 64)),
}


@contextmanager
def read(path: Path, selection: Selection) -> Iterator[Source]:
    """Open an HDF5 file."""
    try:
        file = h5py.File(path, "r")
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: not a whole HDF5 file ({first_line(error)})") from error
    with file:
        try:
            yield _source(path, file, selection)
        except (OSError, RuntimeError, KeyError, TypeError) as error:
            raise InputError(f"{path}: cannot be read ({first_line(error)})") from error


def _source(path: Path, file: h5py.File, selection: Selection) -> Source:
    chosen, dataset = _dataset(path, file, selection.dataset)
    _check_stored(path, dataset)
    turned = "MATLAB_class" in dataset.attrs  # MATLAB's rows are HDF5's columns
    shape = dataset.shape[::-1] if turned else dataset.shape
    time, signal = pick(path, shape, selection, rows_are_signals=file.attrs.get("format") == OURS)
    samples = shape[time]
    axis = len(shape) - 1 - time if turned else time
    source = Source(str(path), _chunks(path, dataset, axis, signal), samples=samples)
    source.notes += [f"recognised: dataset {_name(dataset)!r}"] if chosen else []
    rate = _rate(path, file, dataset)
    source.rate = rate[0] if rate else None
    if source.rate is None:
        _read_times(path, file, dataset, source)
    source.frequencies = hertz(path, {**file.attrs, **dataset.attrs}, "frequencies", several=True)
    return source


# The dataset


def _dataset(path: Path, file: h5py.File, name: str | None) -> tuple[bool, h5py.Dataset]:
    """The dataset meant, and whether it was chosen as the only one that can be a signal."""
    found = file.get(name or MIXTURE)
    if isinstance(found, h5py.Dataset) and _is_numbers(found):
        return False, found
    known = list(_datasets(file))
    signals = [item for item in known if _is_numbers(item) and (item.size > 1 or item.ndim == 1) and not _aside(item)]
    if name is None and found is None and len(signals) == 1:
        return True, signals[0]
    names = [f"{_name(item)} {item.shape}" for item in known]
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    raise InputError(
        f"{path}: there is no dataset {name or MIXTURE!r} of numbers, shape (N,) or two-dimensional, only "
        f"{shown or 'none'}: choose one with --dataset"
    )


def _datasets(group: h5py.Group) -> Iterator[h5py.Dataset]:
    """All datasets but MATLAB's own."""
    found: list[h5py.Dataset] = []
    group.visititems(
        lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) and not name.startswith("#") else None
    )
    yield from found


def _name(dataset: h5py.Dataset) -> str:
    return dataset.name.removeprefix("/")


def _is_numbers(dataset: h5py.Dataset) -> bool:
    kind = dataset.attrs.get("MATLAB_class", b"double")
    plain = dataset.shape is not None and dataset.ndim in (1, 2) and dataset.dtype.kind in "fiu"
    return plain and kind in MATLAB_NUMBERS and "MATLAB_empty" not in dataset.attrs


def _aside(dataset: h5py.Dataset) -> bool:
    """Whether it tells of a signal rather than being one: times or a rate."""
    return _is_time(dataset) or rate_name({_name(dataset).rpartition("/")[2]: None}) is not None


def _is_time(dataset: h5py.Dataset) -> bool:
    return time_unit(_name(dataset).rpartition("/")[2]) is not None


def _check_stored(path: Path, dataset: h5py.Dataset) -> None:
    """Refuse samples that the file announces and does not hold: HDF5 gives zeros in their place."""
    if dataset.is_virtual:
        for source in dataset.virtual_sources():
            _check_virtual(path, dataset, source)
    for name, offset, size in dataset.external or ():
        outside = Path(name)  # HDF5 looks for it where the process is
        if not outside.is_file() or (size != h5py.h5f.UNLIMITED and outside.stat().st_size < offset + size):
            raise InputError(f"{path}: the samples of {_name(dataset)} are in {name}, which is missing or too short")
    if dataset.is_virtual or dataset.external or not dataset.size:
        return
    if dataset.chunks is not None:
        if math.prod(dataset.chunks) * dataset.dtype.itemsize > LARGEST_CHUNK:
            raise InputError(f"{path}: {_name(dataset)} is stored in pieces of more than 256 MiB: store it in smaller")
        wanted = math.prod(-(-length // chunk) for length, chunk in zip(dataset.shape, dataset.chunks, strict=True))
        stored = dataset.id.get_num_chunks()
    else:
        wanted, stored = dataset.size * dataset.dtype.itemsize, dataset.id.get_storage_size()
    if stored < wanted:
        raise InputError(
            f"{path}: {_name(dataset)} is of shape {dataset.shape}, but only {stored} of its {wanted} "
            f"{'pieces' if dataset.chunks else 'bytes'} were ever written: the rest would be read as zeros"
        )


def _check_virtual(path: Path, dataset: h5py.Dataset, source: Any) -> None:
    places = [path] if source.file_name == "." else [path.parent / source.file_name, Path(source.file_name)]
    if not any(_holds(place, source.dset_name) for place in places):
        raise InputError(
            f"{path}: the samples of {_name(dataset)} are in {source.file_name}, dataset {source.dset_name}, which is "
            "not there: they would be read as zeros"
        )


def _holds(path: Path, name: str) -> bool:
    try:
        with h5py.File(path, "r") as file:
            return name in file
    except (OSError, RuntimeError):
        return False


def _chunks(path: Path, dataset: h5py.Dataset, axis: int, signal: int) -> Iterator[NDArray]:
    for begin in range(0, dataset.shape[axis], CHUNK):
        part = slice(begin, begin + CHUNK)
        index = part if dataset.ndim == 1 else (part, signal) if axis == 0 else (signal, part)
        try:
            yield dataset[index]
        except (OSError, RuntimeError) as error:
            raise InputError(f"{path}: cannot be read ({first_line(error)})") from error


# The sampling rate


def _rate(path: Path, file: h5py.File, dataset: h5py.Dataset) -> tuple[float, ...] | None:
    """Rate by an attribute of the dataset, or by an attribute or number beside it or above, the nearest first."""
    if found := rate_name(dataset.attrs):
        return hertz(path, dict(dataset.attrs), found, several=False)
    group = dataset.parent
    while True:
        if found := rate_name(group.attrs):
            return hertz(path, dict(group.attrs), found, several=False)
        numbers = {name: item for name, item in group.items() if isinstance(item, h5py.Dataset) and item.size == 1}
        if found := rate_name(numbers):
            return hertz(path, {found: numbers[found][()]}, found, several=False, what="dataset")
        if group.name == "/":
            return None
        group = group.parent


def rate_name(facts: Any) -> str | None:
    """The name under which a rate stands."""
    plain = {re.sub(r"[ _-]|\(?hz\)?$", "", name.lower()): name for name in facts}
    return next((plain[name] for name in RATES if name in plain), None)


def hertz(
    path: Path, facts: dict[str, Any], name: str, several: bool, what: str = "attribute"
) -> tuple[float, ...] | None:
    """Numbers of an attribute, if there is one."""
    if name not in facts:
        return None
    values = np.asarray(facts[name])
    fits = values.ndim == 1 and values.size if several else values.size == 1
    if fits and values.dtype.kind in "fiu" and np.all(np.isfinite(values) & (values > 0)):
        return tuple(values.ravel().astype("f8").tolist())
    rule = "a list of numbers of Hz, each" if several else "one number of Hz,"
    raise InputError(
        f"{path}: its {what} {name} is {reprlib.repr(values.tolist())}, but must be {rule} finite and above 0: "
        "correct or remove it"
    )


def _read_times(path: Path, file: h5py.File, dataset: h5py.Dataset, source: Source) -> None:
    """Work the rate out of a dataset of times beside the signal, as long as it."""
    for item in dataset.parent.values():
        if isinstance(item, h5py.Dataset) and _is_numbers(item) and _is_time(item) and item.size == source.samples:
            name, axis = _name(item), int(item.shape[0] == 1 and item.ndim == 2)
            clock = Clock(time_unit(name.rpartition("/")[2]) or "")
            tell(source, clock, _chunks(path, item, axis, 0), f"dataset {name!r}")
            return


def tell(source: Source, clock: Clock, parts: Iterable[NDArray], what: str) -> None:
    """Set a source's rate by times."""
    begin = 1
    for part in parts:
        clock.push(part.astype("f8"), begin + np.arange(len(part)))
        begin += len(part)
    source.rate, source.measured = clock.rate(), True
    source.doubt = f"its {what}: {clock.problem}" if clock.problem else ""
    source.notes += [f"recognised: {source.rate:.12g} Hz by its {what}"] if source.rate else []


# Written


@contextmanager
def write(path: Path, form: Form) -> Iterator[Write]:
    """Write an HDF5 file of one dataset, shape (K, N), or (N,) if it is a single signal."""
    if form.samples is None:
        raise InputError(
            f"{path}: an HDF5 file must know its length beforehand, which a pipe does not tell: write .npy"
        )
    shape, written = (len(form.names), form.samples), 0

    def put(signals: NDArray) -> None:
        nonlocal written
        part = slice(written, written + signals.shape[1])
        dataset[part if form.single else (slice(None), part)] = signals[0] if form.single else signals
        written += signals.shape[1]

    with created(path, 4 * shape[0] * shape[1]) as file:
        file.attrs["sampling_rate"] = form.rate
        if form.frequencies:
            file.attrs["frequencies"] = form.frequencies
        dataset = file.create_dataset(form.dataset, shape[1:] if form.single else shape, "f4")
        yield put
        if written != form.samples:
            raise InputError(f"{path}: only {written} of {form.samples} samples came: write .npy")
