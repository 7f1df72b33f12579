"""Tables as the pipeline and DVCLive write them, checked as they are read: whole lines, numbers where they belong.

For files of our own; what people bring as signals is read elsewhere.
"""

import csv
import io
from collections.abc import Collection, Iterable
from pathlib import Path

from tonesift.errors import InputError, shown

BYTES = 2**24
LARGEST = 1e100  # beyond it sums and products of figures overflow

Rows = list[dict[str, str]]


def read(
    path: Path, *, words: Collection[str] | None = (), needed: Iterable[str] = (), remedy: str, delimiter: str = ","
) -> Rows:
    """Rows of a table, by its header; none of a table with a header alone.

    Parameters
    ----------
    path : Path
        The file.
    words : collection of str or None
        Columns that hold text; all others hold numbers, or nothing. None: all of them may hold text.
    needed : iterable of str
        Columns that there must be, with something in every row.
    remedy : str
        What to do about a file that is missing or damaged.

    Raises
    ------
    InputError
        If it is no such table; with the line's number.
    """
    header, *lines = _cells(path, remedy, delimiter)
    if len(set(header)) < len(header):
        raise InputError(f"{path}: damaged (columns {shown(header)}: two have one name): {remedy}")
    rows = []
    for number, cells in enumerate(lines, 2):
        if len(cells) != len(header):
            raise InputError(f"{path}: damaged (line {number} has {len(cells)} cells for {len(header)}): {remedy}")
        row = dict(zip(header, cells, strict=True))
        missing = [name for name in needed if not row.get(name)]
        if missing:
            raise InputError(f"{path}: incomplete or damaged (line {number} has no {', '.join(missing)}): {remedy}")
        figures = () if words is None else [name for name in header if name not in words]
        wrong = next((name for name in figures if not _is_figure(row[name])), None)
        if wrong is not None:
            raise InputError(
                f"{path}: damaged (line {number}, {shown(wrong)} is {shown(row[wrong])}, no number): {remedy}"
            )
        rows.append(row)
    return rows


def _cells(path: Path, remedy: str, delimiter: str) -> list[list[str]]:
    try:
        with path.open("rb") as file:
            data = file.read(BYTES + 1)
        if len(data) > BYTES:
            raise InputError(f"{path}: larger than {BYTES} bytes, which no table of the pipeline is")
        text = io.StringIO(data.decode("utf-8"), newline="")
        found = [row for row in csv.reader(text, delimiter=delimiter, strict=True) if row]
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file: {remedy}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a table of text ({error}): {remedy}") from error
    if not found:
        raise InputError(f"{path}: empty: {remedy}")
    return found


def _is_figure(cell: str) -> bool:
    """Whether a cell is a number, infinite, NaN or empty."""
    if not cell:
        return True
    try:
        value = abs(float(cell))
    except ValueError:
        return False
    return "_" not in cell and not LARGEST < value < float("inf")
