"""A filter's state as a file that also says whose network method `auto` took: it is looked for once, and then kept."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tonesift.errors import InputError
from tonesift.streaming import states

NETWORK = "network"
# What makes a state, by an array that no other one has.
MAKERS = {"bank": "filters of named tones", "scale": "method hybrid", "model": "a model of its own tones (no --tones)"}
METHOD = re.compile(r'\["([a-z-]+)", \{')  # of a filter in a bank


def save(tone_filter: states.Saved, path: Path, network: str = "") -> None:
    """Write a filter's state, and the pipeline whose network it has, if that was chosen."""
    states.write(path, tone_filter.state() | ({NETWORK: np.array(network)} if network else {}))


def restore(tone_filter: states.Saved, path: Path) -> None:
    """Go on from a state that `save` wrote.

    Raises
    ------
    InputError
        If another method made it, which is named; other errors are those of the filter.
    """
    state, own = states.read(path), tone_filter.state()
    if not _kind(state):
        raise InputError(f"{path}: not the state of a filter: remove it to begin a new stream, or name another --state")
    named = _kind(own) == "bank"
    other = named and _method(state) not in ("", _named(tone_filter.method))
    if other or _kind(state) != _kind(own):
        made, wanted = _maker(state), _words(tone_filter.method) if named else _maker(own)
        raise InputError(
            f"{path}: made by {made}, but this is {wanted}: go on as it was begun, or name another --state"
        )
    state.pop(NETWORK, None)
    tone_filter.set_state(state, str(path))


def network(path: Path) -> str:
    """The pipeline whose network a state was chosen to go on with; '' where there is none."""
    return str(states.read(path).get(NETWORK, ""))


def _kind(state: Mapping[str, NDArray]) -> str:
    return next((name for name in MAKERS if name in state), "")


def _maker(state: Mapping[str, NDArray]) -> str:
    """What made a state, in the command's words."""
    if NETWORK in state:
        return f"method auto, with the network of {state[NETWORK]}"
    method = _method(state)
    return _words(method) if method else MAKERS.get(_kind(state), "")


def _words(method: str) -> str:
    return "method auto, with filters alone" if method == "auto" else f"method {method}"


def _method(state: Mapping[str, NDArray]) -> str:
    """Method of filters of named tones; '' as long as there are none."""
    found = set(METHOD.findall(str(state.get("bank", ""))))
    return found.pop() if len(found) == 1 else "auto" if found else ""


def _named(method: str) -> str:
    """A method as filters are called by it: its parts in their order."""
    from tonesift.estimators.tracking.methods import parse_method  # imports SciPy: only where such a filter is there

    return method if method == "auto" else "-".join(filter(None, parse_method(method)))
