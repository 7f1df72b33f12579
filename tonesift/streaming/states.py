"""Where a filter stands, as a file: arrays by name, written whole or not at all."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tonesift.atomic import replacing
from tonesift.errors import InputError

SETTLING = 1.0  # s, after which evaluations call a network settled


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


def unsettled(samples: int, sampling_rate: float) -> list[str]:
    """What is to be said of a signal that ends before a network's state has settled; nothing of a longer one."""
    seconds = samples / sampling_rate
    if seconds >= SETTLING:
        return []
    return [f"{seconds:.3g} s of it, but the network takes about {SETTLING:g} s to settle: until then it is less exact"]


class Saved(ABC):
    """What every filter of a stream has: a state that can be a file, and an end."""

    _finished = False

    @abstractmethod
    def state(self) -> dict[str, NDArray]:
        """Everything needed to go on later, in another filter of the same kind: arrays by name."""

    @abstractmethod
    def set_state(self, state: dict[str, NDArray], name: str = "state") -> None:
        """Go on from what `state` gave; `name` is what an error calls it."""

    def save(self, path: str | Path) -> None:
        """Write the state to a NumPy .npz file, replaced only once the new one is whole."""
        write(path, self.state())

    def restore(self, path: str | Path) -> None:
        """Go on from a file that `save` wrote.

        Raises
        ------
        InputError
            If it is missing, damaged, or of another filter; nothing has changed then.
        """
        self.set_state(read(path), str(path))

    def _check_open(self) -> None:
        if self._finished:
            raise InputError("the stream was finished: call reset() to begin a new one")
