"""How delimited text is to be read: recognised from its first lines, by few rules, and said where it is not plain.

The rules are told in `docs/reading.md`. They look at nothing behind the first row, because a pipe has to be answered
line by line; every later row is held to what they found.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from typing import NamedTuple, TextIO

from tonesift.errors import InputError
from tonesift.formats import clock
from tonesift.formats.base import Selection

TAB, BLANKS, NONE = "\t", " ", ""
SEPARATORS = (TAB, ";", ",", BLANKS, NONE)  # the first that fits
NAMED = {"tab": TAB, "space": BLANKS, "none": NONE}
GAPS = {"", "na", "n/a", "#n/a", "nan", "+nan", "-nan", "null", "none", "-", "--"}
LONGEST_LINE, MOST_LINES = 1_000_000, 1000  # characters; lines before the first row
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE | re.ASCII)
WORD = re.compile(r"[^\W\d_]")  # a letter
EXPONENT = re.compile(r"(?<=\d)e(?=[+-]?\d)", re.IGNORECASE)
COMMENT = re.compile(r"\s*(#(?!N/A|VALUE!|DIV/0!|NUM!|REF!|NAME\?)|%|//)")
TWO_READINGS = re.compile(r"\s*[+-]?\d+,\d+(e[+-]?\d+)?\s*", re.IGNORECASE | re.ASCII)
WHOLE = re.compile(r"\d+")  # a column may be called a number, but not 0.5
UNIT = re.compile(r"[\d.]+ [^\W\d]+")  # a title such as 2.5 Hz
PANDAS_DIGITS = 15  # of a number as pandas writes float64; its zeros are 0.0


class Line(NamedTuple):
    """A line of a file, which may be several where a quoted title runs on."""

    number: int
    text: str


class Lines:
    """The lines of a text that hold something, one at a time; comments and empty lines are passed over.

    Attributes
    ----------
    comment : str
        The last comment, without its sign, if no other line came behind it.
    empty : int
        Empty lines between others, so far.
    """

    def __init__(self, file: TextIO, name: str) -> None:
        self.name, self.number, self.comment, self.empty = name, 0, "", 0
        self._file, self._blank = file, 0

    def __iter__(self) -> Iterator[Line]:
        return self

    def __next__(self) -> Line:
        while text := self._file.readline(LONGEST_LINE):
            self.number += 1
            if len(text) >= LONGEST_LINE:
                raise InputError(f"{self.name}, line {self.number}: longer than {LONGEST_LINE:,} characters: no text")
            text = _decoded(text.rstrip("\n"))
            text = text.removeprefix("\ufeff") if self.number == 1 else text
            if comment := COMMENT.match(text):
                self.comment = text[comment.end() :].strip()
            elif text.strip():
                self.settle()
                return Line(self.number, text)
            elif self.number > 1:
                self._blank += 1
        raise StopIteration

    def settle(self) -> None:
        """Count the empty lines since the last one: a row follows."""
        self.empty, self._blank = self.empty + self._blank, 0

    def take_over(self, other: "Lines") -> None:
        """Go on counting where another left off."""
        self.number, self.empty, self._blank = other.number, other.empty, other._blank

    def forget(self) -> None:
        """Count no empty line so far: they stood in the header."""
        self.empty = self._blank = 0


def _decoded(text: str) -> str:
    """Text of bytes that may be no UTF-8: then they are Windows'."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="surrogateescape").decode("cp1252", errors="replace")
    return text


def is_gap(cell: str) -> bool:
    """Whether a cell says that there is no number."""
    return cell.strip().lower() in GAPS


def is_number(cell: str) -> bool:
    """Whether a cell is a number, with a point or a comma."""
    return NUMBER.fullmatch(cell.strip()) is not None


def is_time(cell: str) -> bool:
    """Whether a cell is a date and time or a time of day."""
    try:
        clock.moment(cell.strip())
    except ValueError:
        return False
    return True


def is_title(cell: str) -> bool:
    """Whether a cell is words, not a number or a spoilt one."""
    return not (is_gap(cell) or is_number(cell) or is_time(cell)) and bool(WORD.search(EXPONENT.sub("", cell)))


def split(text: str, separator: str, line: int, name: str) -> list[str]:
    """Cells of a line; a quoted cell ends where it began."""
    if '"' not in text:
        return [text] if separator == NONE else text.split(None if separator == BLANKS else separator)
    try:
        rows = csv.reader([text], delimiter=separator or "\0", skipinitialspace=True, strict=True)
        return next(rows)
    except csv.Error as error:
        what = "a quote is left open" if "unexpected end" in str(error) else f"not CSV ({error})"
        raise InputError(f"{name}, line {line}: {what}: a quoted cell ends on its line") from error


@dataclass(frozen=True)
class Dialect:
    """How the rows of a text are read.

    Attributes
    ----------
    separator : str
        Between cells: a character, `BLANKS` or `NONE`.
    decimal : str
        Decimal sign; '' as long as no number had one.
    titles : tuple of tuple of str
        Lines of titles, each as wide as the rows.
    width : int
        Cells in a row.
    column : int
        Which one is the signal, from 0.
    time : int or None
        Which one may be times.
    unit : str or None
        Unit of the times as their title has it; None if it names no time.
    moments : bool
        Whether the times are dates or times of day.
    chosen : bool
        Whether the signal's column was neither said nor the only one.
    headers : int
        Lines before the first row.
    pandas : bool
        Whether the header is pandas' default one.
    """

    separator: str
    decimal: str
    titles: tuple[tuple[str, ...], ...]
    width: int
    column: int
    time: int | None
    unit: str | None
    moments: bool
    chosen: bool
    headers: int
    pandas: bool

    def notes(self) -> list[str]:
        """What is not plain about it."""
        said = {TAB: "tabs", BLANKS: "blanks"}.get(self.separator, self.separator)
        found = [f"separator {said}"] if self.width > 1 and self.separator != "," else []
        found += ["decimal comma"] if self.decimal == "," else []
        found += [f"{self.headers} header lines"] if self.headers > 1 else []
        found += [f"first line {','.join(self.titles[0])} taken as pandas' header (--header 0)"] if self.pandas else []
        found += [f"line {','.join(self.titles[-1])} taken as a header (--header 0)"] if self.doubtful else []
        found += [f"column {self.title(self.column) or self.column + 1!r}"] if self.chosen else []
        return found

    @property
    def doubtful(self) -> bool:
        """Whether the header could be a row: it holds a number, or something like one."""
        numbers = any(re.match(r"[+-]?\.?\d", cell) and not UNIT.fullmatch(cell) for cell in chain(*self.titles[-1:]))
        return self.headers > 0 and not self.pandas and numbers

    def title(self, column: int) -> str:
        """Title of a column, its lines joined."""
        return " ".join(line[column] for line in self.titles if line[column])


def recognised(lines: Lines, selection: Selection, whole: bool) -> tuple[Dialect | None, Iterator[Line]]:
    """Dialect of a text, None if it has no rows, and its rows from the first one on.

    Parameters
    ----------
    lines : Lines
        At the beginning.
    selection : Selection
        What the user says.
    whole : bool
        Whether it is a file; in a pipe a first line of numbers is a row at once.
    """
    head, first, rows = _first_row(lines, selection, whole)
    if first is None:
        return None, rows
    pandas = bool(head) and selection.header is None and not any(map(is_title, _loosely(head[-1].text)))
    separator, titles, cells = _separator(lines, head, first, selection)
    column, chosen = _column(titles, cells, selection.column, lines.name)
    time, unit, moments = _time(titles, cells, column)
    decimal = selection.decimal or _decimal([cells[column], *([cells[time]] if time is not None else [])])
    known = (separator, decimal, titles, len(cells), column, time, unit, moments, chosen, len(head), pandas)
    return Dialect(*known), rows


def _loosely(text: str) -> list[str]:
    """Cells by whatever separator comes first."""
    separator = next(separator for separator in SEPARATORS if separator in text)
    return [cell.strip().strip('"') for cell in _plain(text, separator)]


def _first_row(lines: Lines, selection: Selection, whole: bool) -> tuple[list[Line], Line | None, Iterator[Line]]:
    """Lines before the first row, that row, and all rows."""
    head: list[Line] = []
    if selection.header is not None:
        head = list(islice(lines, selection.header))
        first = next(lines, None)
        return head, first, chain([first] if first else [], lines)
    waiting: list[Line] = []
    while line := _next(waiting, lines):
        following = None
        if whole or _kind(line.text) == "mixed":
            following = next(lines, None)
            waiting += [following] if following else []
        if not _is_header(line, following, first=not head):
            return head, line, chain([line], waiting, lines)
        head.append(line if line.text.count('"') % 2 == 0 else _joined(line, waiting, lines))
        lines.forget()
        if len(head) > MOST_LINES:
            break
    if len(head) > MOST_LINES:
        raise InputError(f"{lines.name}: no row of numbers in its first {MOST_LINES} lines: say --header")
    return head, None, iter(())


def _next(waiting: list[Line], lines: Lines) -> Line | None:
    return waiting.pop(0) if waiting else next(lines, None)


def _joined(line: Line, waiting: list[Line], lines: Lines) -> Line:
    """A line with those that follow until its quoted title ends."""
    text = line.text
    for _ in range(10):
        following = _next(waiting, lines)
        text += f" {following.text}" if following else ""
        if text.count('"') % 2 == 0:
            return Line(line.number, text)
    raise InputError(f"{lines.name}, line {line.number}: a quote is left open")


def _kind(text: str) -> str:
    """'row' if some separator makes numbers, gaps and times of all cells, 'title' if it holds no number, or 'mixed'."""
    mixed = False
    for separator in SEPARATORS:
        if separator in text or separator == NONE:
            cells = [cell.strip().strip('"') for cell in _plain(text, separator)]
            titles = [is_title(cell) for cell in cells]
            if not any(titles):
                return "row"
            mixed = mixed or not all(title or not cell for title, cell in zip(titles, cells, strict=True))
    return "mixed" if mixed else "title"


def _plain(text: str, separator: str) -> list[str]:
    return [text] if separator == NONE else text.split(None if separator == BLANKS else separator)


def _is_header(line: Line, following: Line | None, first: bool) -> bool:
    kind = _kind(line.text)
    if kind == "title":
        return True
    if following is None or not first:
        return False
    if kind == "row":
        return _is_pandas(_loosely(line.text), _loosely(following.text))
    separator = next(separator for separator in SEPARATORS if separator in line.text)
    above, below = _plain(line.text, separator), _plain(following.text, separator)
    if len(above) != len(below):
        return True
    named = any(is_title(a) and (is_number(b) or is_time(b.strip())) for a, b in zip(above, below, strict=True))
    return named and not any(is_number(cell) and not WHOLE.fullmatch(cell.strip()) for cell in above)


def _is_pandas(cells: list[str], below: list[str]) -> bool:
    """Whether a line is pandas' header of columns without names: 0, 1, 2, ..., perhaps behind an empty one."""
    indexed = len(cells) > 1 and cells[0] == ""
    names = cells[1:] if indexed else cells
    if names != [str(number) for number in range(len(names))] or len(cells) != len(below):
        return False
    digits = (len(re.sub(r"e.*|\D", "", cell, flags=re.IGNORECASE).lstrip("0")) for cell in below)
    return (indexed and below[0] == "0") or max(digits) >= PANDAS_DIGITS


def _separator(
    lines: Lines, head: list[Line], first: Line, selection: Selection
) -> tuple[str, tuple[tuple[str, ...], ...], list[str]]:
    """Separator, lines of titles and the cells of the first row."""
    misfit = ""
    for separator in _choices(first, bool(head), selection, lines.name):
        cells = split(first.text, separator, first.number, lines.name)
        titles = [_stripped(split(line.text, separator, line.number, lines.name)) for line in head]
        width = _width(cells, titles[-1] if titles else None)
        sure = selection.header is not None or separator == NAMED.get(selection.separator, selection.separator)
        separated = separator == NONE and head and any(other in head[-1].text for other in (TAB, ";", ","))
        if (width is None or separated) and not sure:
            above = "more" if separated else len(titles[-1])
            misfit = misfit or f"its number of cells is {len(cells)}, but that of the header above it {above}"
        elif any(map(_is_spoilt, cells)) and not sure and separator != NONE:
            misfit = misfit or f"{next(filter(_is_spoilt, cells))!r} is not a number"
        else:
            width = width or len(cells)
            commented = _stripped(split(lines.comment, separator, first.number, lines.name)) if not head else ()
            titles += [commented] if len(commented) == width > 1 else []
            return separator, tuple(row[:width] for row in titles if len(row) >= width), cells[:width]
    raise InputError(
        f"{lines.name}, line {first.number}: {misfit or 'no row of numbers'}: say --separator, --decimal or --header"
    )


def _choices(first: Line, headed: bool, selection: Selection, name: str) -> tuple[str, ...]:
    """Separators that may be between the cells of the first row."""
    if selection.separator is not None:
        return (NAMED.get(selection.separator, selection.separator),)
    one = selection.column in (None, "1") and selection.decimal is None and not headed
    if one and TWO_READINGS.fullmatch(first.text):
        raise InputError(
            f"{name}, line {first.number}: {first.text.strip()!r} is two whole numbers or one with a decimal comma: "
            "say --separator , or --decimal ,"
        )
    found = [separator for separator in SEPARATORS if separator in first.text.strip()]
    if selection.decimal == "," and '"' not in first.text:
        found = [separator for separator in found if separator != ","]
    return tuple(found)


def _stripped(cells: list[str]) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in cells)


def _width(cells: list[str], titles: tuple[str, ...] | None) -> int | None:
    """Cells in a row; an empty one behind the last separator counts only where both have it. None if they differ."""
    if titles is None:
        return len(cells) - (len(cells) > 1 and not cells[-1].strip())
    if len(cells) == len(titles) or (len(cells) == len(titles) + 1 and not cells[-1].strip()):
        return len(titles)
    return len(cells) if len(titles) == len(cells) + 1 and not titles[-1] else None


def _is_spoilt(cell: str) -> bool:
    return not (is_gap(cell) or is_number(cell) or is_time(cell) or is_title(cell))


def _column(titles: tuple[tuple[str, ...], ...], cells: list[str], wanted: str | None, name: str) -> tuple[int, bool]:
    """Which column is the signal, from 0, and whether it was chosen here."""
    names = [" ".join(line[index] for line in titles if line[index]) for index in range(len(cells))]
    if wanted is None:
        others = [index for index, cell in enumerate(cells) if _unit(titles, index) is None and not is_time(cell)]
        if len(cells) == 1 or len(others) == 1:
            return (others or [0])[0], len(cells) > 1
        named = f" ({', '.join(names)})" if titles else ""
        raise InputError(f"{name}: it has {len(cells)} columns{named}: say which with --column, its name or number")
    found = [index for index in range(len(cells)) if wanted in (names[index], *(line[index] for line in titles))]
    if len(found) > 1:
        numbers = " and ".join(str(index + 1) for index in found)
        raise InputError(
            f"{name}: columns {numbers} are both called {wanted!r}: say which with --column and its number"
        )
    if found:
        return found[0], False
    if wanted.isdecimal() and 1 <= int(wanted) <= len(cells):
        return int(wanted) - 1, False
    known = f"its header names {', '.join(names)}" if titles else "it has no header"
    raise InputError(f"{name}: there is no column {wanted!r}: {known}; numbers are 1 to {len(cells)}")


def _unit(titles: tuple[tuple[str, ...], ...], index: int) -> str | None:
    """Unit of a column that some line of its titles calls a time, or that line with the next, as `clock.time_unit`."""
    cells = [line[index] for line in titles]
    found = [clock.time_unit(title) for title in (*map(" ".join, pairwise(cells)), *cells)]
    return max((unit for unit in found if unit is not None), default=None, key=len)


def _time(titles: tuple[tuple[str, ...], ...], cells: list[str], column: int) -> tuple[int | None, str | None, bool]:
    """Column of times: one that says so, or else the first; its unit, and whether it holds dates or times of day."""
    for index, cell in enumerate(cells):
        unit = _unit(titles, index)
        if index != column and (unit is not None or is_time(cell)):
            return index, unit or "", is_time(cell)
    if column != 0 and is_number(cells[0]) and not (titles and clock.INDEX.fullmatch(titles[-1][0])):
        return 0, None, False
    return None, None, False


def _decimal(cells: list[str]) -> str:
    """Decimal sign of the first number that has one."""
    numbers = [cell for cell in cells if is_number(cell)]
    return next((sign for cell in numbers for sign in ",." if sign in cell), "")
