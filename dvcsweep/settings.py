"""Files of parameters, metrics and curves: read, checked, and parameters written back with their comments."""

import csv
import io
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, Event, ScalarEvent
from ruamel.yaml.nodes import Node
from ruamel.yaml.resolver import implicit_resolvers

from dvcsweep.errors import NotFiniteError, StudyError, shown
from dvcsweep.files import write_whole

CHARACTERS = 2 * 10**6  # of a YAML file, once every alias stands for what it names
DEPTH = 50


def parse(path: str, text: str) -> dict[str, Any]:
    """A mapping from the text of a YAML, JSON or TOML file, told by its name."""
    kind = {".json": "JSON", ".toml": "TOML"}.get(PurePath(path).suffix, "YAML")
    try:
        if kind == "JSON":
            content = json.loads(text)
        elif kind == "TOML":
            content = tomllib.loads(text)
        else:
            reader = YAML(typ="safe", pure=True)
            reader.Constructor = _Constructor
            _check_size(path, reader.parse(text))
            content = reader.load(text)
    except StudyError:
        raise
    except (ValueError, YAMLError, RecursionError) as error:
        raise StudyError(f"{path}: not readable as {kind}: {unreadable(error)}") from error
    if not isinstance(content, dict):
        raise StudyError(f"{path}: must hold a mapping of names to values")
    return content


class _Constructor(SafeConstructor):
    """A value's tag calls Python's own constructors, which raise what they like and name no line."""

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except YAMLError:
            raise
        except Exception as error:
            problem = f"{shown(node.value)} cannot be read as {str(node.tag).rpartition(':')[2]}"
            raise ConstructorError(problem=problem, problem_mark=node.start_mark) from error


def _check_size(path: str, events: Iterable[Event]) -> None:
    """Refuse what is nested too deeply, and aliases of aliases that stand for more than anyone writes."""
    sizes: dict[str | None, int] = {}
    parents: list[tuple[str | None, int]] = []
    total = 0
    for event in events:
        if isinstance(event, CollectionStartEvent):
            parents.append((event.anchor, total))
        elif isinstance(event, CollectionEndEvent):
            anchor, before = parents.pop()
            sizes[anchor] = total - before
        elif isinstance(event, ScalarEvent):
            total += len(event.value) + 1
            sizes[event.anchor] = len(event.value) + 1
        elif isinstance(event, AliasEvent):
            total += sizes.get(event.anchor, CHARACTERS)  # of what it lies in itself, or of nothing
        if len(parents) > DEPTH:
            raise StudyError(f"{path}: nested more than {DEPTH} deep in line {event.start_mark.line + 1}")
        if total >= CHARACTERS:
            line = event.start_mark.line + 1
            raise StudyError(
                f"{path}: more than {CHARACTERS} characters by line {line}, what aliases stand for counted"
            )


def unreadable(error: Exception) -> str:
    """What is wrong with a file's text, in one line."""
    place = getattr(error, "problem_mark", None)
    if place is None:
        return " ".join(str(error).split())
    return f"{' '.join(error.problem.split())} in line {place.line + 1}"


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of nested mappings by keys with dots; an empty mapping has none."""
    found = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= flatten(value, f"{name}.")
        else:
            found[name] = value
    return found


def nest(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse of `flatten`."""
    content: dict[str, Any] = {}
    for key, value in settings.items():
        *parents, last = key.split(".")
        place = content
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return content


def write_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Set values, by keys with dots, in a YAML, JSON or TOML file, whole or not at all; see `updated`."""
    write_whole(path, updated(path.name, path.read_text(encoding="utf-8"), settings))


def updated(path: str, text: str, settings: Mapping[str, Any]) -> str:
    """Text of a YAML, JSON or TOML file, told by its name, with other values by keys with dots.

    Comments and order stay, but where values that aliases or merge keys share are to differ. Floats and text are
    written so that readers of YAML 1.1 see the same: PyYAML takes 1e-05 for text, `no` for false.
    """
    suffix = PurePath(path).suffix
    if suffix == ".json":
        content = json.loads(text)
        _update(content, settings)
        return json.dumps(content, indent=2) + "\n"
    if suffix == ".toml":
        import tomlkit

        content = tomlkit.parse(text)
        _update(content, settings)
        return tomlkit.dumps(content)
    yaml = round_trip()
    content = yaml.load(text)
    _update(content, settings)
    written = _dumped(yaml, content)
    wanted = flatten(parse(path, text)) | dict(settings)
    if flatten(parse(path, written)) == wanted:
        return written
    # An alias or a merge key has carried a value to another place as well: every place gets values of its own.
    return _dumped(yaml, nest(wanted))


def _dumped(yaml: YAML, content: Any) -> str:
    stream = io.StringIO()
    yaml.dump(content, stream)
    return stream.getvalue()


def round_trip() -> YAML:
    """Reader and writer of YAML that keeps comments, and writes floats and text as YAML 1.1 reads them too."""
    yaml = YAML()
    yaml.width = 4096
    yaml.preserve_quotes = True
    yaml.Representer = type("Representer", (yaml.Representer,), {})
    yaml.Representer.add_representer(float, _represent_float)
    yaml.Representer.add_representer(str, _represent_text)
    yaml.Representer.add_representer(type(None), lambda it, _: it.represent_scalar("tag:yaml.org,2002:null", "null"))
    return yaml


def _represent_float(representer: Any, value: float) -> Any:
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e", 1)
    special = {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}
    return representer.represent_scalar("tag:yaml.org,2002:float", special.get(text, text))


def _represent_text(representer: Any, value: str) -> Any:
    other = any((1, 1) in versions and pattern.match(value) for versions, _, pattern, _ in implicit_resolvers)
    style = "|" if "\n" in value else '"' if other else None
    return representer.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _update(content: dict[str, Any], settings: Mapping[str, Any]) -> None:
    present = flatten(content)
    for key, value in settings.items():
        if key in present and present[key] == value and isinstance(present[key], bool) == isinstance(value, bool):
            continue
        *parents, last = key.split(".")
        place = content
        for parent in parents:
            place = place.get(parent)
            if not isinstance(place, dict):
                raise StudyError(f"{key}: cannot be set, since its path has names that are no text, or hold dots")
        place[last] = _styled(value, place.get(last))


def _styled(value: Any, old: Any) -> Any:
    """A list in brackets where the old one was."""
    if not isinstance(value, list) or not isinstance(old, CommentedSeq) or not old.fa.flow_style():
        return value
    found = CommentedSeq(value)
    found.fa.set_flow_style()
    return found


def number(content: Mapping[str, Any], file: str, key: str) -> float:
    """A finite number from a metrics file's content.

    Raises
    ------
    StudyError
        If it is missing or not a number that can be compared; NotFiniteError if it is NaN or infinite.
    """
    figures = flatten(content)
    if key not in figures:
        near = [name for name in figures if name.endswith(key.rpartition(".")[2])] or list(figures)
        raise StudyError(f"{file} has no {key}; it has {', '.join(near[:8]) or 'nothing'}")
    value = figures[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise StudyError(f"{file}: {key} is {value!r}, but an objective must be a number")
    if value != value or value in (float("inf"), float("-inf")):
        raise NotFiniteError(f"{file}: {key} is {value}, which cannot be compared")
    return float(value)


def curve(path: str, text: str) -> tuple[list[float], list[float]]:
    """Column step, or else the rows' numbers, and the last column of a table of tab- or comma-separated values."""
    rows = list(csv.DictReader(io.StringIO(text), delimiter="\t" if path.endswith(".tsv") else ","))
    if any(None in row for row in rows):
        raise StudyError(f"{path}: not a table of numbers")
    names = list(rows[0]) if rows else []
    value = next((name for name in reversed(names) if name not in ("step", "timestamp")), None)
    try:
        steps = [float(row.get("step", index)) for index, row in enumerate(rows)]
        return steps, [float(row[value]) for row in rows] if value else []
    except (TypeError, ValueError) as error:
        raise StudyError(f"{path}: not a table of numbers") from error
