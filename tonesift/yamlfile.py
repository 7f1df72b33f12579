"""YAML files, read within limits: what a small file can be made to hold must not fill the memory.

YAML 1.2, as DVC writes it: PyYAML would read DVC's 1e-05 as a string.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, Event, ScalarEvent
from ruamel.yaml.nodes import Node

from tonesift.errors import InputError, shown

BYTES = 2**16
CHARACTERS = 10**6  # once every alias stands for what it names
DEPTH = 20


def read(path: Path) -> Any:
    """Content of a YAML file.

    Raises
    ------
    InputError
        If there is none, it is not YAML in UTF-8, or it goes beyond the limits.
    """
    try:
        with path.open("rb") as file:
            data = file.read(BYTES + 1)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file: run from the top of the repository") from error
    if len(data) > BYTES:
        raise InputError(f"{path}: larger than {BYTES} bytes, which no file of parameters is")
    try:
        text = data.decode("utf-8")
        reader = YAML(typ="safe", pure=True)
        reader.Constructor = _Constructor
        _check(path, reader.parse(text))
        return reader.load(text)
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as YAML: {_reason(error)}") from error


class _Constructor(SafeConstructor):
    """A value's tag calls Python's own constructors, which raise what they like and name no line."""

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except YAMLError:
            raise
        except Exception as error:
            kind = str(node.tag).rpartition(":")[2]
            raise ConstructorError(
                problem=f"{shown(node.value)} cannot be read as {kind}", problem_mark=node.start_mark
            ) from error


def _check(path: Path, events: Iterable[Event]) -> None:
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
            raise InputError(f"{path}: nested more than {DEPTH} deep in line {event.start_mark.line + 1}")
        if total >= CHARACTERS:
            raise InputError(
                f"{path}: its aliases stand for more than {CHARACTERS} characters by line {event.start_mark.line + 1}: "
                "write the values out"
            )


def _reason(error: Exception) -> str:
    if isinstance(error, MarkedYAMLError) and error.problem and error.problem_mark:
        return f"{' '.join(error.problem.split())} in line {error.problem_mark.line + 1}"
    return " ".join(str(error).split()) or type(error).__name__
