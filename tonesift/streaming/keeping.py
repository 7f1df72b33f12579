"""A filter's state as a file that also says whose network method `auto` took: it is looked for once, and then kept."""

from pathlib import Path

import numpy as np

from tonesift.streaming import states

NETWORK = "network"


def save(tone_filter: states.Saved, path: Path, network: str = "") -> None:
    """Write a filter's state, and the pipeline whose network it has, if that was chosen."""
    states.write(path, tone_filter.state() | ({NETWORK: np.array(network)} if network else {}))


def restore(tone_filter: states.Saved, path: Path) -> None:
    """Go on from a state that `save` wrote; errors are those of the filter."""
    state = states.read(path)
    state.pop(NETWORK, None)
    tone_filter.set_state(state, str(path))


def network(path: Path) -> str:
    """The pipeline whose network a state was chosen to go on with; '' where there is none."""
    return str(states.read(path).get(NETWORK, ""))
