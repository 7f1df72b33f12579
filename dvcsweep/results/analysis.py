"""A search's results made comparable: one value a trial, all at the same budget, with short names for parameters.

Successive halving leaves values at several budgets. What compares all trials uses those after the first rung, which
every trial has; what names a best one uses the last rung alone.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import pstdev
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState, create_trial

from dvcsweep.plan.spaces import Dimension
from dvcsweep.plan.studies import OneAtATimeSettings, PointsSettings, Study
from dvcsweep.quiet import quiet
from dvcsweep.record.ledger import Campaign
from dvcsweep.record.trials import Outcome, Trial, best_trials, outcomes, rungs
from dvcsweep.wording import printable

ENOUGH = 4  # trials, to say anything of a parameter's importance
WEIGHED = 500  # trials at most that importance is measured on, since its cost grows faster than their number
MINOR = 0.05  # importance below which a parameter may as well be fixed
WIDE = 20  # choices whose largest is so many times the smallest are shown in the logarithm


@dataclass(frozen=True)
class Analysis:
    """A study and its trials.

    Attributes
    ----------
    study : Study
        The study.
    trials : list of Trial
        In the order of their numbers.
    """

    study: Study
    trials: list[Trial]

    @classmethod
    def of(cls, study: Study, campaign: Campaign) -> "Analysis":
        """The analysis of a campaign as it stands."""
        return cls(study, campaign.trials())

    @cached_property
    def best(self) -> list[Trial]:
        """Complete trials, best first; with several objectives those on the Pareto front."""
        return best_trials(self.study, self.trials)

    @cached_property
    def ranking(self) -> list[Trial]:
        """The best; then the other complete trials; then those that did not climb, by the rungs they reached."""
        first = {trial.index for trial in self.best}
        others = [trial for trial in self.trials if trial.values and trial.index not in first]
        sense = self.study.objective[0].sign
        return [
            *self.best,
            *sorted(others, key=lambda one: (-len(self.rungs(one)), sense * one.values[0], one.index)),
        ]

    @property
    def listed(self) -> bool:
        """Whether trials are points by name or vary one parameter at a time, so that effects do not mix."""
        return isinstance(self.study.strategy, PointsSettings | OneAtATimeSettings)

    @property
    def several(self) -> bool:
        """Whether there is more than one objective."""
        return len(self.study.objective) > 1

    def rungs(self, trial: Trial) -> list[tuple[float, ...]]:
        """Objectives after each complete rung, averaged over its experiments."""
        return rungs(self.study, trial)

    def top(self, trial: Trial) -> list[Outcome]:
        """Outcomes of the highest complete rung."""
        reached = len(self.rungs(trial))
        return outcomes(self.study, trial, reached - 1) if reached else []

    def budget(self, trial: Trial) -> int | None:
        """Budget of the highest complete rung."""
        rungs = self.rungs(trial)
        return self.study.budgets[len(rungs) - 1] if rungs else None

    def spread(self, trial: Trial, objective: int = 0) -> float | None:
        """Standard deviation of an objective over what a trial averages over; None where that is a single one."""
        values = [outcome.values[objective] for outcome in self.top(trial)]
        return pstdev(values) * (len(values) / (len(values) - 1)) ** 0.5 if len(values) > 1 else None

    @cached_property
    def values(self) -> dict[int, tuple[float, ...]]:
        """Objectives by trial, all at the same budget: the first rung's."""
        if not self.study.halved:
            return {trial.index: trial.values for trial in self.trials if trial.state == "complete"}
        first = {trial.index: self.rungs(trial) for trial in self.trials}
        return {index: rungs[0] for index, rungs in first.items() if rungs}

    def column(self, objective: int = 0) -> list[float]:
        """One objective of all comparable trials."""
        return [values[objective] for values in self.values.values()]

    def constant(self, objective: int = 0) -> bool:
        """Whether an objective has one value in all comparable trials, or there are none."""
        return len(set(self.column(objective))) < 2

    def title(self, objective: int = 0) -> str:
        """Name of an objective, with the budget that comparisons are made at."""
        return f"{self.study.objective[objective].name}{self.at}"

    @property
    def at(self) -> str:
        """The budget that comparisons are made at, in words."""
        if not self.study.halved:
            return ""
        return f" at {self.study.strategy.budget.rpartition('.')[2]} {self.study.budgets[0]}"

    @cached_property
    def keys(self) -> list[str]:
        """Parameters of the trials, in the study's order."""
        return list(dict.fromkeys([*self.study.space, *(key for trial in self.trials for key in trial.params)]))

    @cached_property
    def varied(self) -> list[str]:
        """Parameters with more than one value among the comparable trials."""
        found = {key: set() for key in self.keys}
        for trial in self.comparable:
            for key in self.keys:
                found[key].add(text(trial.params[key]) if key in trial.params else None)
        return [key for key, values in found.items() if len(values - {None}) > 1]

    @property
    def comparable(self) -> list[Trial]:
        """Trials that have a value at the same budget."""
        return [trial for trial in self.trials if trial.index in self.values]

    @cached_property
    def names(self) -> dict[str, str]:
        """Short names of the parameters."""
        return shortened(self.keys)

    def settings(self, trial: Trial) -> str:
        """A trial's parameters in one line."""
        return ", ".join(f"{self.names[key]} {text(value)}" for key, value in trial.params.items())

    def numeric(self, key: str) -> bool:
        """Whether all values of a parameter are numbers."""
        values = [trial.params[key] for trial in self.trials if key in trial.params]
        return all(map(is_number, values))

    @cached_property
    def placed(self) -> optuna.Study:
        """Optuna's form of the comparable trials, to be drawn: choices among numbers are places on an axis."""
        return self._study(self.comparable, {key: self._axis(key) for key in self.keys})

    def _study(
        self, trials: Iterable[Trial], forms: dict[str, BaseDistribution], logarithms: Iterable[str] = ()
    ) -> optuna.Study:
        """Trials under their own numbers; the others stand in as failed ones."""
        with quiet():
            study = optuna.create_study(directions=[one.direction for one in self.study.objective])
            study.set_metric_names([self.title(index) for index in range(len(self.study.objective))])
        there = {trial.index: trial for trial in trials}
        for number in range(max(there, default=-1) + 1):
            if number not in there:
                study.add_trial(create_trial(state=TrialState.FAIL))
                continue
            params = there[number].params
            held = {
                key: text(value) if isinstance(forms[key], CategoricalDistribution) else value
                for key, value in params.items()
            }
            held |= {key: math.log10(held[key]) for key in logarithms if key in held}
            study.add_trial(
                create_trial(
                    values=self.values[number],
                    params={self.names[key]: value for key, value in held.items()},
                    distributions={self.names[key]: forms[key] for key in params},
                )
            )
        return study

    def climbing(self) -> optuna.Study:
        """Optuna's form of halved trials: a value for each budget."""
        with quiet():
            study = optuna.create_study(direction=self.study.objective[0].direction)
        there = {trial.index: trial for trial in self.trials}
        for number in range(max(self.values, default=-1) + 1):
            found = self.rungs(there[number]) if number in there else []
            reported = {budget: values[0] for budget, values in zip(self.study.budgets, found, strict=False)}
            last = list(reported.values())[-1:] or None
            state = TrialState.PRUNED if last else TrialState.FAIL
            study.add_trial(create_trial(state=state, values=last, intermediate_values=reported))
        return study

    def _axis(self, key: str) -> BaseDistribution:
        values = [trial.params[key] for trial in self.trials if key in trial.params]
        dimension = self.study.space.get(key)
        if not self.numeric(key) or not values:
            return CategoricalDistribution(self._labels(key))
        known = _ends(dimension) + values
        low, high = min(known), max(known)
        log = dimension.log if dimension and dimension.choices is None else low > 0 and high >= WIDE * low
        if all(isinstance(value, int) for value in known):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(float(low), float(high), log=log)

    def _labels(self, key: str) -> list[str]:
        dimension = self.study.space.get(key)
        known = list(dimension.choices or []) if dimension else []
        known += [trial.params[key] for trial in self.trials if key in trial.params]
        return list(dict.fromkeys(map(text, known))) or ["none"]

    @property
    def assessable(self) -> bool:
        """Whether there is enough to say how much each parameter matters."""
        return len(self.values) >= ENOUGH and len(self.varied) > 1 and not self.listed

    @cached_property
    def sample(self) -> list[Trial]:
        """The comparable trials, or so many of them, evenly spaced, as importance is measured on."""
        comparable = self.comparable
        step = max(1.0, len(comparable) / WEIGHED)
        return [comparable[int(place * step)] for place in range(min(len(comparable), WEIGHED))]

    @cached_property
    def weighed(self) -> optuna.Study:
        """Optuna's form of the sample, to weigh parameters: choices are equally likely, whatever they are.

        A range that a study takes in the logarithm stands as the logarithm, which fANOVA does not do by itself.
        """
        forms: dict[str, BaseDistribution] = {}
        logarithms = []
        for key in self.keys:
            dimension = self.study.space.get(key)
            if dimension is None or dimension.choices is not None or not self.numeric(key):
                forms[key] = CategoricalDistribution(self._labels(key))
            else:
                low, high = self._range(key, dimension)
                if dimension.log:
                    low, high = math.log10(low), math.log10(high)
                forms[key] = FloatDistribution(low, high)
                logarithms += [key] if dimension.log else []
        return self._study(self.sample, forms, logarithms)

    def _range(self, key: str, dimension: Dimension) -> tuple[float, float]:
        known = _ends(dimension) + [trial.params[key] for trial in self.trials if key in trial.params]
        return float(min(known)), float(max(known))

    def importances(self, objective: int = 0) -> dict[str, float]:
        """Share of an objective's variation that each parameter explains by itself, largest first, by short name.

        Only parameters that all comparable trials have; empty where nothing can be said.

        Notes
        -----
        fANOVA (Hutter, Hoos & Leyton-Brown 2014) over a random forest of fixed seed.
        """
        return self._importances[objective]

    @cached_property
    def _importances(self) -> list[dict[str, float]]:
        return [
            self._weigh(place)
            if self.assessable and len({self.values[trial.index][place] for trial in self.sample}) > 1
            else {}
            for place in range(len(self.study.objective))
        ]

    def _weigh(self, place: int) -> dict[str, float]:
        try:
            return get_param_importances(self.weighed, evaluator=evaluator(), target=lambda trial: trial.values[place])
        except AssertionError:  # Optuna's, that a variance is not negative: rounding, where values hardly differ
            return {}

    def curve(self, key: str) -> list[Trial]:
        """Of a study that varies one parameter at a time: the base and the trials that vary this one, by its value."""
        base = next((trial for trial in self.comparable if trial.label == "base"), None)
        if base is None or key not in base.params:
            return []
        same = [
            trial
            for trial in self.comparable
            if all(trial.params.get(other) == value for other, value in base.params.items() if other != key)
        ]
        return sorted(same, key=lambda trial: trial.params[key]) if self.numeric(key) else same


def evaluator() -> FanovaImportanceEvaluator:
    """How importance is measured; always the same forest."""
    return FanovaImportanceEvaluator(seed=1)


def _ends(dimension: Dimension | None) -> list[Any]:
    """Ends of a range, or the numbers among choices."""
    if dimension is None:
        return []
    if dimension.choices is None:
        return [dimension.low, dimension.highest]
    return [choice for choice in dimension.choices if is_number(choice)]


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def text(value: Any) -> str:
    """A parameter's value as tables and pictures show it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return printable(value, lines=False) if isinstance(value, str) else json.dumps(value)


def shortened(keys: Sequence[str]) -> dict[str, str]:
    """The shortest endings of keys, cut at dots, that tell them apart."""
    found = {}
    for key in keys:
        parts = key.split(".")
        endings = (".".join(parts[place:]) for place in range(len(parts) - 1, -1, -1))
        found[key] = next(
            ending
            for ending in endings
            if ending == key or not any(other != key and f".{other}".endswith(f".{ending}") for other in keys)
        )
    return found
