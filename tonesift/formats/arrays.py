"""NumPy's NPY files: exactly the samples that the header declares."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from tonesift.atomic import replacing
from tonesift.errors import InputError
from tonesift.formats.base import CHUNK, Form, Selection, Source, Write, first_line, pick


@contextmanager
def read(path: Path, selection: Selection) -> Iterator[Source]:
    """Open an NPY file of one dimension, or a row or column of two."""
    shape, fortran, dtype, offset = _header(path)
    time, signal = pick(path, shape, selection)
    stride = 1 if len(shape) == 1 or (time == 0) == fortran else shape[1 - time]
    begin = 0 if len(shape) == 1 else signal * (shape[time] if stride == 1 else 1)
    with path.open("rb") as file:  # not a memory map, whose pages would count as memory of ours
        chunks = _chunks(path, file, offset, dtype, begin, stride, shape[time])
        source = Source(str(path), chunks, samples=shape[time])
        excess = path.stat().st_size - offset - dtype.itemsize * int(np.prod(shape, dtype=object))
        if excess:
            source.faults.append(f"{excess:,} bytes follow the array that its header declares: they are not read")
        yield source


def _header(path: Path) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether columns are contiguous, type, and where the data begin."""
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # whatever a spoilt header makes NumPy raise
        raise InputError(f"{path}: not a whole NumPy array of numbers ({first_line(error)})") from error
    if not isinstance(mapped, np.memmap):
        raise InputError(f"{path}: not a NumPy array: an archive of several is no signal")
    shape, fortran, dtype, offset = mapped.shape, np.isfortran(mapped), mapped.dtype, mapped.offset
    if len(shape) not in (1, 2):
        raise InputError(f"{path}: an array of shape {shape}, but a mixture is one-dimensional: save one row")
    if dtype.kind not in "fiu":
        raise InputError(f"{path}: an array of {dtype}, but samples must be real numbers (float or integer)")
    return shape, fortran, dtype, offset


def _chunks(
    path: Path, file: BinaryIO, offset: int, dtype: np.dtype, begin: int, stride: int, samples: int
) -> Iterator[NDArray]:
    step = max(1, CHUNK // stride)
    for first in range(0, samples, step):
        count = min(step, samples - first)
        file.seek(offset + dtype.itemsize * (begin + first * stride if stride == 1 else first * stride))
        block = np.fromfile(file, dtype=dtype, count=count * stride)
        if len(block) != count * stride:
            raise InputError(f"{path}: it ends before the {samples} samples that its header declares")
        yield block if stride == 1 else block[begin::stride]


@contextmanager
def write(path: Path, form: Form) -> Iterator[Write]:
    """Write an NPY file of shape (K, N), or (N,) if it is a single signal."""
    written = 0

    def put(signals: NDArray) -> None:
        nonlocal written
        file.write(sample_by_sample(signals))
        written += signals.shape[1]

    with replacing(path) as aside, aside.open("wb") as file:
        _write_header(file, form, 0)
        yield put
        file.seek(0)
        _write_header(file, form, written)


def sample_by_sample(signals: NDArray) -> bytes:
    """Signals (K, n) as 32-bit floats, the K of a sample side by side."""
    return np.ascontiguousarray(signals.T, dtype="<f4").tobytes()


def _write_header(file: BinaryIO, form: Form, samples: int) -> None:
    """Header of an array that lies sample by sample; NumPy leaves room in it for more of them."""
    shape = (samples,) if form.single else (len(form.names), samples)
    npy.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": True, "shape": shape})
