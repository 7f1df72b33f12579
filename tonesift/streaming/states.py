"""Where a filter stands, as a file: arrays by name, written whole or not at all."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tonesift.atomic import replacing
from tonesift.errors import InputError


def write(path: str | Path, state: dict[str, NDArray]) -> None:
    """Write a state to a NumPy .npz file, replaced only once the new one is whole."""
    with replacing(path) as aside, aside.open("wb") as file:
        np.savez(file, **state)


def read(path: str | Path) -> dict[str, NDArray]:
    """What `write` wrote.

    Raises
    ------
    InputError
        If it is missing or damaged.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file: a state is written by `save`")
    try:
        with Path(path).open("rb") as content, np.load(content, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # whatever a spoilt archive makes NumPy raise
        raise InputError(f"{path}: not a whole state of a filter: remove it to begin a new stream") from error


def check_tones(theirs: list[int], own: Sequence[int], name: str) -> None:
    """Refuse a state of other tones, counted from 0, than a filter gives; `name` is what an error calls it."""
    if theirs != list(own):
        raise InputError(
            f"{name}: the state of tones {theirs} (from 0), but this filter gives {list(own)}: ask for the same tones, "
            "or begin a new stream"
        )
