"""What every kind of file is read into and written from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from numpy.typing import NDArray

from tonesift.errors import InputError

PIPE = Path("-")
CHUNK = 65_536  # samples read at a time


class Selection(NamedTuple):
    """Which signal of a file is meant, and what the user says of it.

    Attributes
    ----------
    column : str or None
        Name or number (from 1) of a column of text, number of a channel or of an array's column.
    recording : int or None
        Row of an array, from 0.
    dataset : str or None
        Name of an HDF5 dataset or MATLAB variable.
    separator : str or None
        Between the cells of text: a character, 'tab', 'space' or 'none'; recognised without it.
    decimal : str or None
        Decimal sign of text, '.' or ','; recognised without it.
    header : int or None
        Lines of text before the first row, beside comments and empty ones; recognised without it.
    rate : float or None
        Hz, where the user says it: times in the file are then not asked.
    """

    column: str | None = None
    recording: int | None = None
    dataset: str | None = None
    separator: str | None = None
    decimal: str | None = None
    header: int | None = None
    rate: float | None = None


ONLY = Selection()  # the only signal there is


@dataclass
class Source:
    """A signal to read.

    Attributes
    ----------
    name : str
        What an error calls it.
    chunks : iterator of ndarray, shape (n,)
        The samples, once.
    rate : float, optional
        Hz, if it is known.
    measured : bool
        Whether the rate was worked out from times: the user may then know better.
    doubt : str
        Why the rate could not be worked out from the times that there are.
    frequencies : tuple of float, optional
        Hz, of the tones in it, if they are known.
    samples : int, optional
        How many there are, if that is known beforehand.
    live : bool
        Whether it comes as it is made: a pipe, which ends when somebody ends it.
    notes : list of str
        What was recognised and is not the plain case; may grow while it is read.
    faults : list of str
        What it announces and does not hold, or holds and does not announce; may grow while it is read.
    """

    name: str
    chunks: Iterator[NDArray]
    rate: float | None = None
    measured: bool = False
    doubt: str = ""
    frequencies: tuple[float, ...] | None = None
    samples: int | None = None
    live: bool = False
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Form(NamedTuple):
    """What is written.

    Attributes
    ----------
    rate : float
        Hz.
    names : tuple of str
        One for each of the K signals.
    samples : int or None
        How many there will be, if that is known beforehand.
    frequencies : tuple of float
        Hz, of tones; empty for other signals.
    dataset : str
        Name in an HDF5 file.
    single : bool
        Whether it is one signal, to be read again as one: an array of one dimension.
    """

    rate: float
    names: tuple[str, ...]
    samples: int | None
    frequencies: tuple[float, ...] = ()
    dataset: str = "tones"
    single: bool = False


Write = Callable[[NDArray], None]  # takes the next samples of the signals, shape (K, n)


def tones_form(rate: float, frequencies: tuple[float, ...], samples: int | None) -> Form:
    """Form of tones, named by their frequencies, such as '1 Hz'."""
    return Form(rate, tuple(f"{frequency:.12g} Hz" for frequency in frequencies), samples, frequencies)


def first_line(error: BaseException) -> str:
    """What an error says, cut to a line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def pick(path: Path, shape: tuple[int, ...], selection: Selection, rows_are_signals: bool = False) -> tuple[int, int]:
    """Axis of time and number of the signal on the other axis; shape (N,) has only one.

    Parameters
    ----------
    path : Path
        What an error calls the file.
    shape : tuple of int
        Of one or two dimensions, rows first.
    selection : Selection
        `recording` picks a row, `column` a column.
    rows_are_signals : bool
        Whether the file says so: the first row is taken without a choice.
    """
    rows, columns = (1, *shape) if len(shape) == 1 else shape
    if selection.recording is not None:
        if not 0 <= selection.recording < rows:
            raise InputError(f"{path}: --recording {selection.recording}: its recordings are 0 to {rows - 1}")
        return len(shape) - 1, selection.recording
    if selection.column is not None and len(shape) == 2:
        if not (selection.column.isdecimal() and 1 <= int(selection.column) <= columns):
            raise InputError(f"{path}: --column {selection.column}: its columns are 1 to {columns}")
        return 0, int(selection.column) - 1
    if selection.column not in (None, "1"):
        raise InputError(f"{path}: --column {selection.column}: it holds one signal: leave it out")
    if rows_are_signals or rows == 1 or len(shape) == 1:
        return len(shape) - 1, 0
    if columns == 1:
        return 0, 0
    raise InputError(
        f"{path}: an array of {rows} rows and {columns} columns: say which is the signal, a row with --recording 0 to "
        f"{rows - 1}, or a column with --column 1 to {columns}"
    )
