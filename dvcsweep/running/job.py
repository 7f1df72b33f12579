"""One experiment to be run, and what DVC wrote while it ran."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvcsweep.running.handover import Exchange

QUIET_LINES = ("Reproducing experiment", "Running stage", "> ", "Stage '", "Updating lock", "To track", "\tgit add")
TIMED_OUT, STOPPED = 124, 125


@dataclass(frozen=True)
class Job:
    """One experiment to be run.

    Attributes
    ----------
    name : str
        The experiment's.
    baseline : str
        Commit to base it on.
    root, clone, cache, log : str
        The user's repository; the clone to work in, made if need be; DVC's cache; where DVC's output goes.
    pipeline, params : str
        dvc.yaml and parameters file, relative to the top.
    settings : dict
        All parameters by key with dots.
    objectives : list of (str, str)
        File and key of each.
    metrics, curves : list of str
        Further metrics files and tables to be kept, where they exist.
    watched : str or None
        The table whose growth is told while the job runs.
    varied : list of str
        Stages that read a parameter the study varies: if one of them did not run, the time is not this trial's own.
    outputs : list of str
        What stages make: left where it is between experiments, since DVC brings it up to date itself.
    composed : str
        Text of the parameters file before the settings, where Hydra makes it and Git's is not to be relied on.
    copies : list of str
        Files and folders that each clone is given a copy of, relative to the top.
    copied : str
        The folder that they lie in.
    force : bool
        Run every stage anew.
    threads : int
        For each library that asks the environment.
    seconds : float or None
        Time allowed.
    variables : dict of str to str
        Further variables of the environment.
    exchange : Exchange or None
        Where the machine shares nothing with the user's repository: `root` is then a bare copy of this machine's own.
    """

    name: str
    baseline: str
    root: str
    clone: str
    cache: str
    log: str
    pipeline: str
    params: str
    settings: dict[str, Any]
    objectives: list[tuple[str, str]]
    metrics: list[str] = field(default_factory=list)
    curves: list[str] = field(default_factory=list)
    watched: str | None = None
    varied: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    composed: str = ""
    copies: list[str] = field(default_factory=list)
    copied: str = ""
    force: bool = False
    threads: int = 1
    seconds: float | None = None
    variables: dict[str, str] = field(default_factory=dict)
    exchange: Exchange | None = None

    @classmethod
    def of(cls, content: dict[str, Any]) -> "Job":
        """A job from what `asdict` and JSON made of it."""
        changes = {"objectives": [tuple(objective) for objective in content["objectives"]]}
        if content["exchange"]:
            changes["exchange"] = Exchange(**content["exchange"] | {"author": tuple(content["exchange"]["author"])})
        return cls(**content | changes)


Runner = Callable[[Job, Sequence[str]], int]


def output(log: str) -> str:
    """What DVC wrote so far; '' where it wrote nothing."""
    try:
        return Path(log).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def reason(job: Job, status: int) -> str:
    """The lines of DVC's output that say what went wrong."""
    if status == TIMED_OUT:
        return f"stopped after {job.seconds / 60:g} minutes"
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in output(job.log).splitlines()]
    told = [line for line in lines if line and not line.startswith(QUIET_LINES)]
    if told:
        return "\n".join(told[-12:])
    return f"dvc was killed (exited with {status})" if status < 0 else f"dvc gave {status}"
