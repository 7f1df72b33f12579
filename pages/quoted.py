"""Figures in prose, each a link to the committed file that it comes from: `[0.588](baseline.csv#r2&name=limit)`.

What stands behind `#` is a dotted path in JSON and YAML; in a table it is a column, then what its row must hold, and
`over=mean` where several rows are meant. A figure is true if it is the file's, rounded, and so close that one per cent
would show. Whatever else has a digit in it is refused: prose quotes no figure without its source.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.parse import unquote_plus

from markdown_it.token import Token

from pages import markdown
from tonesift import yamlfile
from tonesift.errors import InputError

CLOSE = 0.004  # of the figure in the file: less than half of one per cent
NUMBER = re.compile(r"(?P<sign>[-\u2212]?)(?P<digits>\d[\d ]*(?:\.(?P<decimals>\d+))?)(?P<percent> ?%)?")
DELIMITERS = {".csv": ",", ".tsv": "\t"}
KINDS = (*DELIMITERS, ".json", ".yaml")
OVER = {"mean": fmean, "min": min, "max": max}
Row = Mapping[str, str]


@dataclass(frozen=True)
class Figure:
    """A figure as it stands in the prose.

    Attributes
    ----------
    text : str
        What is shown: digits, perhaps with a sign and per cent.
    source : str
        File, relative to that of the prose, and place in it.
    """

    text: str
    source: str


def figures(text: str) -> list[Figure]:
    """Every figure of a text in Markdown.

    Raises
    ------
    InputError
        If a digit stands outside code, mathematics and links, or mathematics holds a decimal fraction.
    """
    found = []
    for block in markdown.parser().parse(text):
        found += _within(block.children or [])
        if block.type.startswith("math"):
            _refuse_decimals(block.content)
    return found


def _within(tokens: list[Token]) -> Iterator[Figure]:
    """Figures of a line of text."""
    source = None
    for token in tokens:
        if token.type == "link_open":
            source = str(token.attrs["href"])
        elif token.type == "link_close":
            source = None
        elif token.type.startswith("math"):
            _refuse_decimals(token.content)
        elif token.type == "text" and source and is_quoted(source):
            yield Figure(token.content, source)
        elif token.type == "text" and source is None and re.search(r"\d", token.content):
            raise InputError(f"{token.content.strip()!r}: a figure without a source: link it to the file it comes from")


def is_quoted(address: str) -> bool:
    """Whether a link leads to a place in a file of figures."""
    path, _, place = address.partition("#")
    return bool(place) and Path(path).suffix in KINDS


def _refuse_decimals(latex: str) -> None:
    if re.search(r"\d\.\d", latex):
        raise InputError(f"${latex.strip()}$: a measured figure in mathematics: put it into the text, with its source")


def value(folder: Path, source: str) -> float:
    """The figure that a source names, relative to a folder.

    Raises
    ------
    InputError
        If there is no such file, no such place in it, or no number there.
    """
    name, _, place = source.partition("#")
    path = (folder / name).resolve()
    try:
        found = _in_table(path, place) if path.suffix in DELIMITERS else _in_tree(path, place)
    except FileNotFoundError as error:
        raise InputError(f"{source}: no such file") from error
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"{source}: no figure there ({type(error).__name__}: {error})") from error
    return found


def _in_tree(path: Path, place: str) -> float:
    """A number in JSON or YAML, by its dotted path."""
    found: Any = _tree(path)
    for key in place.split("."):
        found = found[int(key)] if isinstance(found, list) else found[float(key) if _is_number(key, found) else key]
    return float(found)


def _is_number(key: str, found: Mapping[Any, Any]) -> bool:
    """Whether a mapping has numbers for keys."""
    return key not in found and key.replace("e-", "").isdecimal()


def _in_table(path: Path, place: str) -> float:
    """A number in a table, or several in one."""
    column, *conditions = [unquote_plus(part) for part in place.split("&")]
    wanted = dict(condition.split("=", 1) for condition in conditions)
    over = wanted.pop("over", None)
    rows = [row for row in _table(path) if all(row[key] == cell for key, cell in wanted.items())]
    if len(rows) != 1 and not (over and rows):
        raise ValueError(f"{len(rows)} rows")
    return float(OVER[over]([float(row[column]) for row in rows]) if over else rows[0][column])


@cache
def _table(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=DELIMITERS[path.suffix]))


@cache
def _tree(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else yamlfile.read(path)


def fault(figure: Figure, found: float) -> str | None:
    """What is wrong with a figure, if anything: it is not the file's, or has too few digits to show one per cent.

    Parameters
    ----------
    figure : Figure
        What the prose says.
    found : float
        What the file says.
    """
    match = NUMBER.fullmatch(figure.text)
    if not match:
        return f"{figure.text!r} is no figure: write digits alone, or per cent"
    shown = float(match["digits"].replace(" ", "")) * (-1 if match["sign"] else 1)
    wanted = found * 100 if match["percent"] else found
    unit = 10.0 ** -len(match["decimals"] or "")
    if abs(shown - wanted) > 0.5 * unit * (1 + 1e-9):
        return f"{figure.text} stands where {figure.source} has {wanted:.6g}: correct it, and read the sentence again"
    if abs(shown - wanted) > CLOSE * abs(wanted):
        return f"{figure.text} for {wanted:.6g} of {figure.source} has too few digits: one per cent would not show"
    return None
