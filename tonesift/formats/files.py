"""Open a signal to read, whatever kind of file it is, and create one: told apart by their suffix; `-` is a pipe.

    with opened(Path("logger.csv"), Selection(column="x")) as source:
        for samples in source.chunks: ...

Both sides work a stretch at a time, so that memory stays the same however long a signal is. What is written becomes
the file asked for only once it is whole.
"""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from numpy.typing import NDArray

from tonesift.errors import InputError
from tonesift.formats import arrays, hdf5, matlab, sound, text
from tonesift.formats.base import ONLY, PIPE, Form, Selection, Source, Write

TEXT = {"column", "separator", "decimal", "header"}
ARRAY = {"column", "recording"}
READERS = {
    **dict.fromkeys((".csv", ".tsv", ".txt", ".dat", ".asc"), (text.read, TEXT)),
    **dict.fromkeys(sound.SUFFIXES, (sound.read, {"column"})),
    ".npy": (arrays.read, ARRAY),
    **dict.fromkeys((".h5", ".hdf5", ".hdf"), (hdf5.read, ARRAY | {"dataset"})),
    ".mat": (matlab.read, ARRAY | {"dataset"}),
}
WRITERS = {".csv": text.write, ".wav": sound.write, ".npy": arrays.write, ".h5": hdf5.write, ".hdf5": hdf5.write}
DEVICES = ("/dev/", "/proc/")  # where a name may stand for something else than a file of its own


@contextmanager
def opened(path: Path, selection: Selection = ONLY) -> Iterator[Source]:
    """Open a signal to read.

    Parameters
    ----------
    path : Path
        A file with one of the suffixes of `READERS`, a named pipe of text, or `PIPE`.
    selection : Selection
        Which of its signals is meant.

    Raises
    ------
    InputError
        If it is missing, damaged, of another kind, or it is not clear which signal is meant; also while it is read.
    """
    reader, allowed = _reader(path)
    for option, value in selection._asdict().items():
        if value is not None and option not in (*allowed, "rate"):
            raise InputError(f"--{option} {value}: {path} has no {option}s to choose from: leave it out")
    with reader(path, selection) as source:
        yield source


def _reader(path: Path) -> tuple:
    if path == PIPE:
        return text.read_pipe, TEXT
    if path.is_dir():
        raise InputError(f"{path}: a folder: name a file")
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_file():
        return READERS[_known(path, READERS)]
    if READERS.get(path.suffix.lower(), (text.read,))[0] is not text.read:
        raise InputError(f"{path}: a pipe or device, which can be read as text only: save it as a file first")
    return text.read_pipe, TEXT


@contextmanager
def created(path: Path, form: Form) -> Iterator[Write]:
    """New file for signals, which becomes `path` when the block ends; a pipe or device stays what it is.

    Parameters
    ----------
    path : Path
        The suffix says what it is: .csv (a column for each signal, with a header), .wav (a channel for each, 32-bit
        float), .npy (shape (K, N), float32), .h5 or .hdf5 (a dataset of shape (K, N), float32). A device or named pipe
        gets CSV.
    form : Form
        What will be written.

    Yields
    ------
    callable
        Takes the next samples of the signals, an array of shape (K, n).
    """
    make = text.write_stream if is_stream(path) else WRITERS[known_output(path)]
    ours = True  # whether it is the output that fails
    try:
        with make(path if make is text.write_stream else _followed(path), form) as write:
            ours = False
            yield partial(_named, path, write)
            ours = True
    except OSError as error:
        raise _of(path, error) if ours else error from None


def _named(path: Path, write: Write, signals: NDArray) -> None:
    try:
        write(signals)
    except OSError as error:
        raise _of(path, error) from error


def _of(path: Path, error: OSError) -> OSError:
    """A failure to write with the name of what could not be written: the system gives none where a disk is full."""
    if error.filename is not None:
        return error
    return type(error)(error.errno, error.strerror, "standard output" if path == PIPE else str(path))


def is_stream(path: Path) -> bool:
    """Whether it is `PIPE`, a device or a named pipe: written as it is, not replaced."""
    if path == PIPE or str(path.absolute()).startswith(DEVICES):
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def known_output(path: Path) -> str:
    """Suffix of a file that can be written, in lower case."""
    if path.suffix.lower() in READERS.keys() - WRITERS.keys():
        raise InputError(f"{path}: {path.suffix} is read, not written: write one of {', '.join(WRITERS)}")
    return _known(path, WRITERS)


def _known(path: Path, table: dict) -> str:
    suffix = path.suffix.lower()
    if suffix not in table:
        raise InputError(f"{path}: its suffix is {suffix!r}, but must be one of {', '.join(table)}; or - for a pipe")
    return suffix


def _followed(path: Path) -> Path:
    """The file that a symbolic link leads to: that one is replaced, and the link stays."""
    return path.resolve() if path.is_symlink() else path
