"""Delimited text: columns of numbers between commas, semicolons, tabs or blanks, and what is written as CSV.

A file is read twice: first to check every row and to read the rate off its times, then for its samples; both in
constant memory. A pipe is read once, a line at a time. Rows of plain numbers go through NumPy's parser in blocks; a
block that holds anything else is read row by row, which finds the line at fault.
"""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from tonesift.atomic import replacing
from tonesift.errors import InputError
from tonesift.formats.base import CHUNK, PIPE, Form, Selection, Source, Write
from tonesift.formats.clock import Clock, moment, resolution
from tonesift.formats.dialect import BLANKS, NONE, Dialect, Line, Lines, is_gap, is_number, recognised, split

BLOCK = 1 << 20  # characters
TIMES_AT_ONCE = 100  # rows of a pipe whose times are looked at together
ENCODINGS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


class Rows(NamedTuple):
    """Some rows: samples and times (n,), the numbers of their lines, and how exactly the times are written."""

    samples: NDArray[np.float64]
    times: NDArray[np.float64]
    lines: NDArray[np.int64]
    finest: float


@contextmanager
def read(path: Path, selection: Selection) -> Iterator[Source]:
    """Open a text file."""
    with path.open("rb") as file:
        encoding = ENCODINGS.get(file.read(2), "utf-8")
    table = Table(path, encoding, selection)
    source = Source(str(path), iter(()), samples=0)
    for rows in table.rows():  # a mistake in the last line is found before any work
        source.samples += len(rows.samples)
        if table.clock:
            table.clock.finest = max(table.clock.finest, rows.finest)
            table.clock.push(rows.times, rows.lines)
    table.settle(source)
    source.chunks = (rows.samples for rows in table.rows(timed=False))
    yield source


class Table:
    """A text file whose rows can be read again and again."""

    def __init__(self, path: Path, encoding: str, selection: Selection) -> None:
        self._path, self._encoding, self._selection = path, encoding, selection
        self.dialect: Dialect | None = None
        self.clock: Clock | None = None
        self._decimal, self.empty = "", 0

    def rows(self, timed: bool = True) -> Iterator[Rows]:
        """All rows, some at a time; without their times it takes less."""
        with self._path.open(encoding=self._encoding, errors="surrogateescape") as file:
            lines = Lines(file, str(self._path))
            dialect, first = recognised(lines, self._selection, whole=True)
            if dialect is None:
                return
            if self.dialect is None:
                self.dialect, self._decimal = dialect, dialect.decimal
                self.clock = Clock(dialect.unit or "") if dialect.time is not None else None
            reader = Reader(dialect if timed else replace(dialect, time=None), self._decimal, str(self._path))
            yield from reader.blocks(file, lines, islice(first, 2))
            self._decimal, self.empty = reader.decimal, lines.empty

    def settle(self, source: Source) -> None:
        """Say what the first reading found: the rate, and what was recognised."""
        if self.dialect is None:
            return
        found = self.dialect.notes()
        found += ["decimal comma"] if self._decimal == "," != self.dialect.decimal else []
        found += [f"{self.empty} empty lines passed over"] if self.empty else []
        if self.clock and not (self.dialect.unit is None and (self.clock.numbers_rows or not self.clock.rate())):
            named = self.dialect.title(self.dialect.time) or str(self.dialect.time + 1)
            source.rate, source.measured = self.clock.rate(), True
            source.doubt = f"its column {named!r}: {self.clock.problem}" if self.clock.problem else ""
            found += [f"{source.rate:.12g} Hz by its column {named!r}"] if source.rate else []
        if found:
            source.notes.append("recognised: " + ", ".join(found))


class Reader:
    """Reads rows of a dialect.

    Attributes
    ----------
    decimal : str
        Decimal sign; '' as long as no number had one.
    """

    def __init__(self, dialect: Dialect, decimal: str, name: str) -> None:
        self.dialect, self.decimal, self._name = dialect, decimal, name
        self._columns = [dialect.column] + ([dialect.time] if dialect.time is not None else [])

    def blocks(self, file: TextIO, lines: Lines, first: Iterator[Line]) -> Iterator[Rows]:
        """All rows: those that were looked at, then the rest in blocks."""
        begun = list(first)
        yield self.slowly(begun)
        while text := file.read(BLOCK):
            text += file.readline() if not text.endswith("\n") else ""
            count = text.count("\n") + (not text.endswith("\n"))
            rows = self._quickly(text, lines.number)
            if rows is not None:
                lines.number += count
                lines.settle()
                yield rows
                continue
            part = Lines(io.StringIO(text), self._name)
            part.take_over(lines)
            while some := list(islice(part, CHUNK)):
                yield self.slowly(some)
            lines.take_over(part)

    def _quickly(self, text: str, before: int) -> Rows | None:
        """Rows of a block in which every line is a row of plain numbers, or None."""
        separator = self.dialect.separator
        if (self.dialect.moments and self.dialect.time is not None) or "\n\n" in text or text[0] == "\n":
            return None
        content = text.removesuffix("\n").encode(errors="surrogateescape")
        if content.translate(None, f"0123456789+-eE\n {self.decimal}{separator}".encode()):
            return None
        rows = text.removesuffix("\n").split("\n")
        if separator == BLANKS:
            if {len(row.split()) for row in rows} != {self.dialect.width}:
                return None
        elif separator != NONE and not _are_wide(content, separator, self.dialect.width):
            return None
        finest = self._finest_of(rows)
        rows = [row.replace(",", ".") for row in rows] if self.decimal == "," else rows
        delimiter = None if separator in (BLANKS, NONE) else separator
        try:
            found = np.loadtxt(rows, delimiter=delimiter, usecols=self._columns, comments=None, ndmin=2)
        except ValueError:
            return None
        if len(found) != len(rows):  # a line of blanks
            return None
        return Rows(found[:, 0], found[:, -1], before + 1 + np.arange(len(rows)), finest)

    def finest(self, lines: list[Line]) -> float:
        """How exactly the times of rows are written, in their unit."""
        return self._finest_of([line.text for line in lines])

    def _finest_of(self, rows: list[str]) -> float:
        if self.dialect.time is None:
            return 0.0
        some = rows[:: max(1, len(rows) // 50)]
        cells = [split(row, self.dialect.separator, 0, self._name)[self.dialect.time] for row in some]
        return min((resolution(cell) for cell in cells if is_number(cell) or self.dialect.moments), default=0.0)

    def slowly(self, lines: list[Line]) -> Rows:
        """Rows of any lines, one by one."""
        pairs = [self.row(line) for line in lines]
        known = np.array(pairs, dtype="f8").reshape(-1, 2)
        return Rows(known[:, 0], known[:, 1], np.array([line.number for line in lines]), self.finest(lines))

    def row(self, line: Line) -> tuple[float, float]:
        """Sample and time of a line; the time is NaN where there is no column of times."""
        dialect = self.dialect
        cells = split(line.text, dialect.separator, line.number, self._name)
        if len(cells) != dialect.width and not (len(cells) == dialect.width + 1 and not cells[-1].strip()):
            raise InputError(
                f"{self._name}, line {line.number}: a row of {len(cells)}, but those above are of {dialect.width} cells"
            )
        sample = self._number(cells[dialect.column], line.number)
        return sample, self._time(cells[dialect.time], line.number) if dialect.time is not None else np.nan

    def _time(self, cell: str, line: int) -> float:
        if self.dialect.unit is None or is_gap(cell):  # the first column, which need not be times at all
            return self._number(cell, line) if is_number(cell) else np.nan
        try:
            return moment(cell.strip()) if self.dialect.moments else self._number(cell, line)
        except ValueError:
            return np.nan

    def _number(self, cell: str, line: int) -> float:
        cell = cell.strip()
        if is_gap(cell):
            return np.nan
        sign = "," if "," in cell else "." if "." in cell else ""
        if is_number(cell) and sign in ("", self.decimal or sign):
            self.decimal = self.decimal or sign
            return float(cell.replace(",", "."))
        reason = " with a decimal " + {",": "comma", ".": "point"}[self.decimal] if is_number(cell) else ""
        raise InputError(f"{self._name}, line {line}: {_shown(cell)} is not a number{reason}")


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= 40 else cell[:40] + "…")


def _are_wide(content: bytes, separator: str, width: int) -> bool:
    """Whether every line has as many cells."""
    codes = np.frombuffer(content + b"\n", dtype="u1")
    before = np.searchsorted(np.flatnonzero(codes == ord(separator)), np.flatnonzero(codes == ord("\n")))
    return bool((np.diff(before, prepend=0) == width - 1).all())


# Pipes


@contextmanager
def read_pipe(path: Path, selection: Selection) -> Iterator[Source]:
    """Open standard input (`PIPE`) or a named pipe, whose lines are read as they come."""
    if path == PIPE:
        yield _live(_standard_input(), "standard input", selection)
        return
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        yield _live(file, str(path), selection)


def _standard_input() -> TextIO:
    if sys.stdin is None:
        raise InputError("standard input is closed: give it something to read")
    if isinstance(sys.stdin, io.TextIOWrapper):
        return open(sys.stdin.fileno(), encoding="utf-8", errors="surrogateescape", closefd=False)
    return sys.stdin


def _live(file: TextIO, name: str, selection: Selection) -> Source:
    stream = Stream(Lines(file, name), selection)
    source = Source(name, stream.samples(), live=True)
    stream.source = source
    if selection.rate is None:  # else nothing is read before it is asked for: whoever sends may wait for an answer
        stream.begin()
    return source


class Stream:
    """Rows as they come. Their times tell the rate by the first two rows, and every later one is held to it."""

    source: Source

    def __init__(self, lines: Lines, selection: Selection) -> None:
        self._lines, self._selection = lines, selection
        self._reader: Reader | None = None
        self._rows: Iterator[Line] = iter(())
        self._begun: list[tuple[Line, float, float]] = []
        self._clock: Clock | None = None
        self._times: list[tuple[float, int]] = []

    def begin(self) -> None:
        """Recognise the dialect, and the rate if times tell it."""
        dialect, self._rows = recognised(self._lines, self._selection, whole=False)
        if dialect is None:
            return
        self._reader = Reader(dialect, dialect.decimal, self._lines.name)
        found = dialect.notes()
        if dialect.unit is not None and self._selection.rate is None:
            self._begun = [(line, *self._reader.row(line)) for line in islice(self._rows, 2)]
            self._clock = Clock(dialect.unit)
            self._clock.finest = self._reader.finest([line for line, *_ in self._begun])
            self._push([(time, line.number) for line, _, time in self._begun])
            named = dialect.title(dialect.time) or str(dialect.time + 1)
            self.source.rate, self.source.measured = self._clock.rate(), True
            self.source.doubt = f"its column {named!r}: {self._clock.problem}" if self._clock.problem else ""
            found += [f"{self.source.rate:.12g} Hz by its column {named!r}"] if self.source.rate else []
        if found:
            self.source.notes.append("recognised: " + ", ".join(found))

    def samples(self) -> Iterator[NDArray[np.float64]]:
        """Samples, one at a time."""
        if self._reader is None:
            self.begin()
        for _, sample, _ in self._begun:
            yield np.array([sample])
        for line in self._rows if self._reader else ():
            sample, time = self._reader.row(line)
            if self._clock:
                self._times.append((time, line.number))
                if len(self._times) == TIMES_AT_ONCE:
                    self._check()
            yield np.array([sample])
        self._check()
        if self._lines.empty:
            self.source.notes.append(f"{self._lines.empty} empty lines passed over")

    def _push(self, times: list[tuple[float, int]]) -> None:
        self._clock.push(np.array([time for time, _ in times]), np.array([line for _, line in times]))

    def _check(self) -> None:
        """Hold the times to the rate that the first two told."""
        if not self._times:
            return
        self._push(self._times)
        self._times = []
        if problem := self._clock.disagreement(self.source.rate):
            raise InputError(f"{self.source.name}: its times: {problem}: say the sampling rate with --rate")


# Written


@contextmanager
def write(path: Path, form: Form) -> Iterator[Write]:
    """Write a CSV file: a column for each signal, with a header."""
    with replacing(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        yield writer(file, form)


@contextmanager
def write_stream(path: Path, form: Form) -> Iterator[Write]:
    """Write CSV to standard output (`PIPE`), or to a device or named pipe that stays what it is."""
    if path == PIPE:
        if sys.stdout is None:
            raise InputError("standard output is closed: name a file to write")
        yield writer(sys.stdout, form)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        yield writer(file, form)


def writer(file: TextIO, form: Form) -> Write:
    """Writer of CSV lines, each at once."""
    file.write(",".join(form.names) + "\n")
    file.flush()

    def put(signals: NDArray) -> None:
        if signals.size:
            np.savetxt(file, signals.T, fmt="%.9g", delimiter=",")
            file.flush()

    return put
