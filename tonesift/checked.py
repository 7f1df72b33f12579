"""What a file says of its content, checked in one way: a model for each kind of file, and one line for what is wrong.

The files are our own, so what is wrong with one is damage, or another time's: the first fault is told, and what to do.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tonesift.errors import InputError, shown


class Content(BaseModel):
    """Content of a file: of the types that it says; what is there beside it is passed over."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


AnyContent = TypeVar("AnyContent", bound=Content)


def validated(kind: type[AnyContent], values: Mapping[str, Any], path: str | Path, remedy: str) -> AnyContent:
    """The content of a file, out of plain values by their names.

    Raises
    ------
    InputError
        If one is missing, of another type or out of its range.
    """
    try:
        return kind.model_validate(values, extra="ignore")
    except ValidationError as error:
        raise damaged(error, path, remedy) from error


def damaged(error: ValidationError, path: str | Path, remedy: str) -> InputError:
    """What is said of a file's content: its first fault."""
    details = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in details["loc"])
    fault = f"{key} is missing"
    if details["type"] != "missing":
        fault = f"{key} is {shown(details['input'])}, but {details['msg'][0].lower()}{details['msg'][1:]}"
    return InputError(f"{path}: incomplete or damaged ({fault}): {remedy}")
