"""Where a filter stands, as a file: arrays by name, written whole or not at all."""

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
