"""MATLAB's files: those of version 7.3 are HDF5; older ones are read by SciPy, a variable at a time, as a whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tonesift.errors import InputError
from tonesift.formats import hdf5
from tonesift.formats.base import CHUNK, Selection, Source, first_line, pick
from tonesift.formats.clock import Clock, time_unit

LARGEST = 2**30  # bytes of a file that is read as a whole


@contextmanager
def read(path: Path, selection: Selection) -> Iterator[Source]:
    """Open a MATLAB file of any version from 4 on."""
    if h5py.is_hdf5(path):
        with hdf5.read(path, selection) as source:
            yield source
        return
    values = _variables(path)
    name = _chosen(path, values, selection.dataset)
    array = values[name]
    time, signal = pick(path, array.shape, selection)
    samples = np.take(array, signal, axis=1 - time)
    chunks = (samples[begin : begin + CHUNK] for begin in range(0, len(samples), CHUNK))
    source = Source(str(path), chunks, samples=len(samples))
    source.notes += [f"recognised: variable {name!r}"] if selection.dataset is None and name != hdf5.MIXTURE else []
    _set_rate(path, source, values, name)
    yield source


def _variables(path: Path) -> dict[str, NDArray]:
    """Its arrays of real numbers."""
    from scipy import io  # takes a while to import, and few need it

    if path.stat().st_size > LARGEST:
        raise InputError(f"{path}: larger than 1 GiB: save it with -v7.3, which is read a stretch at a time")
    try:
        content: dict[str, Any] = io.loadmat(path)
    except Exception as error:  # whatever a spoilt file makes SciPy raise
        raise InputError(f"{path}: not a whole MATLAB file ({first_line(error)})") from error
    arrays = {name: value for name, value in content.items() if isinstance(value, np.ndarray) and value.ndim == 2}
    return {name: value for name, value in arrays.items() if value.dtype.kind in "fiu"}


def _chosen(path: Path, values: dict[str, NDArray], wanted: str | None) -> str:
    if (wanted or hdf5.MIXTURE) in values:
        return wanted or hdf5.MIXTURE
    signals = [name for name, value in values.items() if value.size > 1 and time_unit(name) is None]
    if wanted is None and len(signals) == 1:
        return signals[0]
    known = ", ".join(f"{name} {value.shape}" for name, value in values.items())
    raise InputError(
        f"{path}: there is no variable {wanted or hdf5.MIXTURE!r} of numbers, only {known or 'none'}: choose one with "
        "--dataset"
    )


def _set_rate(path: Path, source: Source, values: dict[str, NDArray], name: str) -> None:
    numbers = {name: value for name, value in values.items() if value.size == 1}
    if found := hdf5.rate_name(numbers):
        source.rate = hdf5.hertz(path, numbers, found, several=False, what="variable")[0]
        return
    times = next((key for key in values if time_unit(key) is not None and values[key].size == source.samples), None)
    if times is not None:
        clock = Clock(time_unit(times) or "")
        hdf5.tell(source, clock, [values[times].ravel()], f"variable {times!r}")
