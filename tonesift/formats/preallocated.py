"""New HDF5 files whose room is reserved before anything is written."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from tonesift.atomic import replacing
from tonesift.errors import InputError

LIBRARY = ("v108", "v108")
PAGE = 4096  # signals begin at multiples of it, as memory maps like
OVERHEAD = 65_536  # bytes; more than the headers and attributes of a file of ours


@contextmanager
def created(path: str | Path, size: int) -> Iterator[h5py.File]:
    """New HDF5 file to fill, which becomes `path` when the block ends; a full disk is noticed before it begins.

    Parameters
    ----------
    path : str or Path
        File to replace.
    size : int
        Bytes of data that will be written.

    Raises
    ------
    InputError
        If there is no room for `size` bytes.

    Notes
    -----
    HDF5 crashes the process when it cannot flush what it has in memory, so room is reserved with the first bytes in
    place and HDF5 fills a file that already has its size. The format is HDF5 1.8's, whatever the library: the same
    bytes tomorrow.
    """
    with replacing(path) as aside:
        try:
            _reserve(aside, size)
        except OSError as error:
            raise InputError(f"{path}: cannot be written, it needs {size:,} bytes: {error.strerror}") from error
        with h5py.File(aside, "r+", libver=LIBRARY, alignment_threshold=PAGE, alignment_interval=PAGE) as file:
            yield file


def _reserve(aside: Path, size: int) -> None:
    empty = io.BytesIO()
    h5py.File(empty, "w", libver=LIBRARY).close()
    with aside.open("wb") as file:
        file.write(empty.getvalue())
        file.flush()
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size + OVERHEAD)
