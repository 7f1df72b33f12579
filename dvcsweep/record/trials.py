"""Trials as they are kept: the experiments of each, what became of them, and which trials are the best."""

import itertools
import operator
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from statistics import fmean
from typing import Any

from dvcsweep import naming
from dvcsweep.plan.studies import Study


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes
    ----------
    name, commit : str
        The experiment; commit is empty if there is none.
    values : list of float or None
        The objectives.
    error : str or None
        Why there are none.
    diverged : bool
        It ran to its end, but an objective is NaN or infinite.
    interrupted : bool
        A stage was killed from outside; the same job may well succeed.
    seconds : float or None
        Wall-clock time of `dvc exp run`; None where stages that the study varies came from DVC's run-cache, so that
        the trial has no time of its own.
    stages : list of str
        Those that ran.
    metrics : dict
        All figures at the commit, by file and key.
    curves : dict
        Steps and values of each table.
    node : str
        Where it ran, if on another machine.
    stopped : bool
        It was stopped from outside because the search had no more use for it: no error, and no experiment.
    """

    name: str
    commit: str = ""
    values: list[float] | None = None
    error: str | None = None
    diverged: bool = False
    interrupted: bool = False
    seconds: float | None = None
    stages: list[str] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    node: str = ""
    stopped: bool = False

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Outcome":
        """An outcome from what a ledger or a worker's message holds of it."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in content.items() if name in known})

    def kept(self) -> dict[str, Any]:
        """What a ledger keeps of it: an interrupted job is run again, so that is no fact about the trial."""
        content = asdict(self)
        del content["interrupted"]
        if not self.stopped:
            del content["stopped"]
        return content


@dataclass(frozen=True)
class Trial:
    """A trial of a campaign, as it stands after its last attempt.

    Attributes
    ----------
    index : int
        Its number in the study, from 0.
    identity : int
        Optuna's, of the last attempt.
    params : dict
        Values of what the study varies.
    state : str
        waiting, running, complete, pruned (did not climb to the last rung, or was stopped early) or failed.
    values : tuple of float or None
        The objectives, averaged over the experiments of its highest rung.
    label : str or None
        Name of a point.
    experiments : dict of str to Outcome
        By member.
    error : str or None
        Why it failed.
    began, ended : datetime or None
        Of the last attempt.
    notes : dict
        The strategy's.
    attempt : int
        How often it was begun anew, from 1.
    stopped : dict of str to int
        By member, after how many points of its curve a rule of pruning stopped it.
    """

    index: int
    identity: int
    params: dict[str, Any]
    state: str
    values: tuple[float, ...] | None
    label: str | None
    experiments: dict[str, Outcome]
    error: str | None
    began: datetime | None
    ended: datetime | None
    notes: dict[str, Any]
    attempt: int
    stopped: dict[str, int] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether nothing of it is still to be run."""
        return self.state in ("complete", "pruned", "failed")


def members(study: Study, rung: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every experiment of a trial in a rung, from 0: its name as a member, and the parameters averaged over."""
    shown = rung if study.halved else None
    axes = [list(zip(naming.values(key, values), values, strict=True)) for key, values in study.average_over.items()]
    for combination in itertools.product(*axes):
        settings = {key: value for key, (_, value) in zip(study.average_over, combination, strict=True)}
        yield naming.member(shown, "-".join(word for word, _ in combination)), settings


def outcomes(study: Study, trial: Trial, rung: int) -> list[Outcome]:
    """Outcomes of a trial's experiments in a rung; none unless all of them are there and have their figures."""
    found = [trial.experiments.get(member) for member, _ in members(study, rung)]
    whole = [one for one in found if one is not None and one.values is not None]
    return whole if len(whole) == len(found) else []


def rungs(study: Study, trial: Trial) -> list[tuple[float, ...]]:
    """Objectives after each complete rung, averaged over its experiments."""
    reached = itertools.takewhile(bool, (outcomes(study, trial, rung) for rung in range(len(study.budgets))))
    return [tuple(map(fmean, zip(*(one.values for one in rung), strict=True))) for rung in reached]


def best_trials(study: Study, trials: list[Trial]) -> list[Trial]:
    """Complete trials, best first; with several objectives those that no other surpasses in all of them."""
    complete = [trial for trial in trials if trial.state == "complete"]
    if len(study.objective) == 1:
        sense = study.objective[0].sign
        return sorted(complete, key=lambda trial: (sense * trial.values[0], trial.index))
    costs = {
        trial.index: [o.sign * value for o, value in zip(study.objective, trial.values, strict=True)]
        for trial in complete
    }
    front: list[Trial] = []
    for trial in sorted(complete, key=lambda trial: costs[trial.index]):  # whatever surpasses one comes before it
        mine = costs[trial.index]
        others = (costs[other.index] for other in front)
        if not any(other != mine and all(map(operator.le, other, mine)) for other in others):
            front.append(trial)
    return front
