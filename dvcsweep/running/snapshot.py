"""How a running search stands, for whoever watches it: a small file beside the ledger, replaced as things change."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dvcsweep.files import write_whole

FILE = "now.json"


@dataclass(frozen=True)
class Experiment:
    """An experiment that runs.

    Attributes
    ----------
    name : str
        Its name.
    params : dict
        Values of what the study varies.
    began : float
        Seconds since 1970.
    curve : list of float
        What its watched table holds so far.
    threshold : float or None
        What its best is held against, if the study's rule of pruning can tell.
    """

    name: str
    params: dict[str, Any]
    began: float
    curve: list[float] = field(default_factory=list)
    threshold: float | None = None


@dataclass(frozen=True)
class Snapshot:
    """The state of a search.

    Attributes
    ----------
    campaign : str
        Its name.
    done, failed, total : int
        Trials; `total` is what is planned so far.
    best, left : str
        The best so far and the time left, in words.
    sign : int
        1 where small values of the curves are good, -1 where large ones are.
    points : int or None
        How many points the longest curve of a complete trial has.
    running : list of Experiment
        What runs.
    failures : list of str
        The last experiments that failed, and why.
    """

    campaign: str
    done: int
    failed: int
    total: int
    best: str
    left: str
    sign: int = 1
    points: int | None = None
    running: list[Experiment] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Replace the file in a search's own folder."""
        write_whole(folder / FILE, json.dumps(asdict(self)))


def read(folder: Path) -> Snapshot | None:
    """What a search's driver wrote last; None where there is nothing that can be read."""
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        running = [Experiment(**_known(Experiment, one)) for one in content["running"]]
        return Snapshot(**_known(Snapshot, content) | {"running": running})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _known(kind: type, content: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    return {name: value for name, value in content.items() if name in names}
