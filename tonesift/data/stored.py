"""HDF5 files of ours as they are read: whole, of the right kind and version, and no larger than the file itself.

HDF5 lets a small file announce more than any memory holds (chunks that are not there, fill values, other files), and
raises what it likes over damage. Ours are plain: contiguous arrays, and attributes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from tonesift.checked import Content, validated
from tonesift.errors import InputError, shown

AnyContent = TypeVar("AnyContent", bound=Content)


class Stored:
    """An open file; made by `opened`."""

    def __init__(self, path: Path, file: h5py.File, remedy: str) -> None:
        self.path, self._file, self._remedy = path, file, remedy
        self.version = self.attribute("version")

    def attribute(self, name: str) -> Any:
        """An attribute as Python's own numbers, text and lists; None if there is none, or none that can be read."""
        try:
            value = self._file.attrs[name]
        except Exception:  # of h5py: OSError, KeyError, TypeError, ValueError, RuntimeError
            return None
        return value.tolist() if isinstance(value, np.ndarray | np.generic) else value

    def content(self, kind: type[AnyContent]) -> AnyContent:
        """The attributes that a model names, checked."""
        values = {name: self.attribute(name) for name in kind.model_fields}
        present = {name: value for name, value in values.items() if value is not None}
        return validated(kind, present, self.path, self._remedy)

    def dataset(self, name: str, dtype: type, dimensions: int) -> h5py.Dataset:
        """A dataset whose every value is in the file.

        Raises
        ------
        InputError
            If there is none, or none of the type and with so many dimensions.
        """
        try:
            found = self._file[name]
            fault = _fault(found, dtype, dimensions)
        except Exception as error:
            raise self.damaged(f"{name}: {first_line(error)}") from error
        if fault:
            raise self.damaged(f"{name} {fault}")
        return found

    def read(self, dataset: h5py.Dataset, place: Any) -> np.ndarray:
        """Values of a dataset."""
        try:
            return dataset[place]
        except Exception as error:
            raise InputError(f"{self.path}: cannot be read ({first_line(error)}): {self._remedy}") from error

    def damaged(self, fault: str) -> InputError:
        """The error that says what is wrong with the file."""
        return InputError(f"{self.path}: incomplete or damaged ({fault}): {self._remedy}")


@contextmanager
def opened(path: Path, format_name: str, versions: tuple[int, ...], remedy: str) -> Iterator[Stored]:
    """Open a file to read, after checking that it is there, HDF5, and of a format and one of some versions.

    Raises
    ------
    InputError
        If it is not.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file: {remedy}")
    try:
        file = h5py.File(path, "r")
    except Exception as error:
        raise InputError(f"{path}: not a whole HDF5 file, or damaged ({first_line(error)}): {remedy}") from error
    with file:
        stored = Stored(path, file, remedy)
        if stored.attribute("format") != format_name:
            raise InputError(f"{path}: an HDF5 file, but not of {format_name} (no attribute format={format_name!r})")
        if stored.version not in versions:
            known = " and ".join(map(str, versions))
            raise InputError(
                f"{path}: {format_name} of version {shown(stored.version)}, but this tonesift reads {known}: {remedy}"
            )
        yield stored


def _fault(found: Any, dtype: type, dimensions: int) -> str | None:
    if not isinstance(found, h5py.Dataset):
        return "is no dataset"
    if found.dtype != dtype:
        return f"is {found.dtype}, but it must be {np.dtype(dtype)}"
    if found.shape is None or found.ndim != dimensions or not found.size:
        return f"has shape {found.shape}, but it must have {dimensions} dimensions and hold something"
    if found.chunks is not None or found.external or found.is_virtual or found.id.get_offset() is None:
        return "is not stored in one piece"
    if found.id.get_storage_size() < found.nbytes:
        return f"announces {found.nbytes} bytes, but holds {found.id.get_storage_size()}"
    return None


def first_line(error: Exception) -> str:
    """An error of HDF5's in one line."""
    return (str(error) or type(error).__name__).splitlines()[0].strip("'\"")
