"""Which trials are stopped early: rules over the curves of a search.

A rule reads a trial's curve point by point beside the trials before it, and says when to stop. What it says depends on
the study and on curves alone: a trial is compared with all trials of earlier *groups* of a fixed size, as they ended,
whatever the number of workers and whichever was faster. Where a decision has to wait for an earlier trial it comes
late, which costs time; the trial is then cut where the rule would have stopped it, so that the outcome is the same.

    prune: late-median                      # in a study; or a mapping with `rule` and its settings
"""

import itertools
import math
from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median
from typing import Annotated, Any, Literal, NamedTuple, Protocol

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, PatientPruner, PercentilePruner, SuccessiveHalvingPruner
from optuna.trial import TrialState
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from dvcsweep.quiet import quiet

WORST = 1e300  # for values that are no numbers, which Optuna passes over
Share = Annotated[float, Field(ge=0, lt=1)]


class _Rule(BaseModel):
    """What every rule is told.

    Attributes
    ----------
    curve : str, optional
        The table (.tsv, .csv) that is read while a trial runs; without it the one of the study's `curves` that is named
        after the objective's key.
    group : int
        Trials that are not compared with each other. With as many workers or fewer, decisions hardly wait.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    curve: str | None = None
    group: PositiveInt = 2

    @property
    def over_members(self) -> bool:
        """Whether values of folds or seeds are compared, instead of points of a curve."""
        return isinstance(self, Wilcoxon)


class LateMedian(_Rule):
    """Stops a trial whose best value so far is worse than the median of the complete trials' best by then, but late.

    Attributes
    ----------
    startup : int
        Complete trials before any is stopped.
    wait : float
        Share of the longest curve's points before which no trial is stopped: a trial that learns slowly may still win.
    """

    rule: Literal["late-median"]
    startup: PositiveInt = 5
    wait: Share = 0.6


class Percentile(_Rule):
    """Optuna's pruner: stops a trial whose best value so far is not among the best `percentile` of the complete ones.

    Attributes
    ----------
    percentile : float
        The share that goes on; 50 is the median.
    startup, warmup : int
        Complete trials, and points of a curve, before any is stopped.
    """

    rule: Literal["median", "percentile"]
    percentile: Annotated[float, Field(gt=0, lt=100)] = 50.0
    startup: PositiveInt = 5
    warmup: Annotated[int, Field(ge=0)] = 0


class SuccessiveHalving(_Rule):
    """Optuna's asynchronous successive halving, or Hyperband, which hedges between several of them.

    Attributes
    ----------
    minimum : int
        Points of a curve that every trial is given.
    factor : int
        One trial in so many goes on at each rung.
    """

    rule: Literal["halving", "hyperband"]
    minimum: PositiveInt = 1
    factor: Annotated[int, Field(ge=2)] = 3


class Patient(_Rule):
    """Optuna's pruner: stops a trial by the median, but only once it has not improved for `patience` points."""

    rule: Literal["patient"]
    patience: Annotated[int, Field(ge=0)] = 3
    startup: PositiveInt = 5


class Wilcoxon(_Rule):
    """Optuna's pruner over folds or seeds: runs no further ones of a trial that is worse than the best, by a test.

    Attributes
    ----------
    p : float
        Largest p-value of Wilcoxon's signed-rank test at which a trial is given up.
    startup : int
        Folds or seeds that every trial is given.
    """

    rule: Literal["wilcoxon"]
    p: Annotated[float, Field(gt=0, lt=1)] = 0.1
    startup: PositiveInt = 2


Rule = LateMedian | Percentile | SuccessiveHalving | Patient | Wilcoxon
Prune = Annotated[Rule, Field(discriminator="rule")]


def by_name(value: Any) -> Any:
    """Settings of a study's `prune`, which may be a rule's name alone."""
    return {"rule": value} if isinstance(value, str) else value


class Curve(NamedTuple):
    """A trial's values in their order, and whether they are all of them: it was not stopped."""

    values: tuple[float, ...]
    complete: bool


class Pruner(Protocol):
    """A rule at work on one trial after the other."""

    def stops(self, values: Sequence[float], past: Sequence[Curve]) -> bool:
        """Whether a trial with these values so far is to be stopped.

        Parameters
        ----------
        values : sequence of float
            One more each time; a single one where another trial begins.
        past : sequence of Curve
            The trials to compare with, in the order of their numbers; later trials see the same ones and more.
        """


def make(rule: Rule, sign: int) -> Pruner:
    """A rule, ready to work; `sign` is 1 where small values are good and -1 where large ones are."""
    if isinstance(rule, LateMedian):
        return Late(rule, sign)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with quiet():
        return OptunaPruner(MAKERS[type(rule)](rule), sign, rule.over_members)


class Late:
    """See `LateMedian`."""

    def __init__(self, rule: LateMedian, sign: int) -> None:
        self.rule, self.sign = rule, sign
        self._known = 0
        self._final: list[float] = []  # the best of each complete trial
        self._best: list[list[float]] = []  # at each point, the best by then of each of them, sorted

    def stops(self, values: Sequence[float], past: Sequence[Curve]) -> bool:
        """See `Pruner.stops`."""
        for curve in past[self._known :]:
            if curve.complete:
                self._learn(list(itertools.accumulate(self._signed(curve.values), min)))
        self._known = len(past)
        threshold = self.threshold(len(values))
        return threshold is not None and min(self._signed(values)) > threshold

    def _learn(self, best: list[float]) -> None:
        """Sort in a trial's best at each point; one with fewer points, as training ended by itself, keeps its last."""
        self._best += [sorted(self._final) for _ in range(len(best) - len(self._best))]
        for place, known in enumerate(self._best):
            insort(known, best[min(place, len(best) - 1)])
        self._final.append(best[-1])

    def threshold(self, count: int) -> float | None:
        """The median, small being good, that a best after `count` points is held against; None too early."""
        if len(self._final) < self.rule.startup or count <= self.rule.wait * len(self._best):
            return None
        return median(self._best[min(count, len(self._best)) - 1])

    def _signed(self, values: Sequence[float]) -> list[float]:
        return [self.sign * value if math.isfinite(value) else math.inf for value in values]


class OptunaPruner:
    """One of Optuna's pruners, on a study in memory that holds the trials of the past, in their order."""

    def __init__(self, pruner: BasePruner, sign: int, over_members: bool) -> None:
        self._pruner, self._sign, self._over_members = pruner, sign, over_members
        self._past = self._empty()
        self._known = 0
        self._trial: optuna.Trial | None = None

    def _empty(self) -> optuna.Study:
        direction = "minimize" if self._sign == 1 else "maximize"
        return optuna.create_study(study_name="pruning", direction=direction, pruner=self._pruner)

    def stops(self, values: Sequence[float], past: Sequence[Curve]) -> bool:
        """See `Pruner.stops`."""
        if len(values) == 1:
            for curve in past[self._known :]:
                self._learn(curve)
            self._known = len(past)
            # A study of its own for each trial: halving counts those that are running among the others.
            study = self._empty()
            study.add_trials(self._past.get_trials(deepcopy=False))
            self._trial = study.ask()
        return self._reported(self._trial, len(values), values[-1])

    def _reported(self, trial: optuna.Trial, count: int, value: float) -> bool:
        trial.report(value if math.isfinite(value) else self._sign * WORST, count)
        return trial.should_prune()

    def _learn(self, curve: Curve) -> None:
        trial = self._past.ask()
        for count, value in enumerate(curve.values, start=1):
            self._reported(trial, count, value)  # so that halving knows who has come how far
        finite = [value for value in curve.values if math.isfinite(value)]
        if not curve.complete or not finite:
            self._past.tell(trial, state=TrialState.PRUNED)
        else:
            best = min(finite, key=lambda value: self._sign * value)
            self._past.tell(trial, fmean(finite) if self._over_members else best)


MAKERS: dict[type, Callable[[Any], BasePruner]] = {
    Percentile: lambda rule: PercentilePruner(rule.percentile, rule.startup, rule.warmup),
    SuccessiveHalving: lambda rule: (
        SuccessiveHalvingPruner(rule.minimum, rule.factor)
        if rule.rule == "halving"
        else HyperbandPruner(rule.minimum, reduction_factor=rule.factor)
    ),
    Patient: lambda rule: PatientPruner(PercentilePruner(50.0, rule.startup), rule.patience),
    Wilcoxon: lambda rule: optuna.pruners.WilcoxonPruner(p_threshold=rule.p, n_startup_steps=rule.startup),
}


class Pruning:
    """The decisions of a search: every trial beside the trials of earlier groups.

    Parameters
    ----------
    rule : Rule
        Its settings.
    sign : int
        1 where small values are good, -1 where large ones are.
    """

    def __init__(self, rule: Rule, sign: int) -> None:
        self.rule, self.sign = rule, sign
        self._ended: dict[int, Mapping[str, Curve]] = {}
        self._taken = 0  # trials whose curves are in the past
        self._past: dict[str, list[Curve]] = {}
        self._lengths: dict[tuple[int, str], int] = {}  # of a member's past, where a group begins
        self._pruners: dict[tuple[str, int], Pruner] = {}
        self._passed: dict[tuple[int, str], int] = {}

    def end(self, index: int, curves: Mapping[str, Curve]) -> None:
        """A trial has ended with these curves by member; with none, it failed, and is compared with nobody."""
        self._ended[index] = curves

    def _first(self, index: int) -> int:
        return index // self.rule.group * self.rule.group

    def ready(self, index: int) -> bool:
        """Whether all trials that this one is compared with have ended."""
        while self._taken in self._ended and self._taken < self._first(index):
            for member, curve in self._ended[self._taken].items():
                self._past.setdefault(member, []).append(curve)
            self._taken += 1
        return self._taken >= self._first(index)

    def past(self, index: int, member: str) -> Sequence[Curve]:
        """The curves that a trial is compared with; it must be ready."""
        key = (self._first(index), member)
        known = self._past.get(member, [])
        return known[: self._lengths.setdefault(key, len(known))]

    def stops(self, index: int, member: str, values: Sequence[float]) -> int | None:
        """After how many of its values a trial is to be stopped; None if it goes on, or that cannot be told yet."""
        if not self.ready(index):
            return None
        past, pruner = self.past(index, member), self._pruner(index, member)
        for count in range(self._passed.get((index, member), 0) + 1, len(values) + 1):
            if pruner.stops(values[:count], past):
                return count
            self._passed[index, member] = count
        return None

    def threshold(self, index: int, member: str, count: int) -> float | None:
        """What the trial's best after so many values is held against, if the rule can tell."""
        pruner = self._pruner(index, member)
        if not isinstance(pruner, Late) or not self.ready(index):
            return None
        found = pruner.threshold(count)
        return None if found is None else self.sign * found

    def _pruner(self, index: int, member: str) -> Pruner:
        key = (member, index % self.rule.group)  # trials of a group are at work at the same time
        if key not in self._pruners:
            self._pruners[key] = make(self.rule, self.sign)
        return self._pruners[key]
