"""Strategies that are Optuna's: random, quasi-random, TPE, Gaussian process, NSGA-II.

The same seed gives the same trials, whatever the number of workers and through any interruption: the sampler of a trial
is made anew from the study's seed and the trial's number, and what it may learn from is every earlier generation, told
in the order of the trials, with its own generation shown as running. Optuna repeats its first draws when a study that
goes on is given the same seed again; this does not.
"""

import itertools
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from dvcsweep.plan.spaces import Dimension, Scalar, is_active, label, points
from dvcsweep.plan.strategies.base import Past, Plan, Proposal
from dvcsweep.plan.studies import AdaptiveSettings, Study

REDRAWS = 100


class _Sobol(QMCSampler):
    """Optuna's sampler with the space known from the start; Optuna's own draws the first trial at random to see it."""

    def __init__(self, space: dict[str, BaseDistribution], number: int, seed: int) -> None:
        with warnings.catch_warnings():  # that it is experimental: Optuna's version is pinned
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            super().__init__(scramble=True, seed=seed, warn_independent_sampling=False)
        self._known, self._number = space, number

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._known

    def _find_sample_id(self, study: optuna.Study, search_space: dict[str, BaseDistribution]) -> int:
        return self._number


class _Genetic(NSGAIISampler):
    """Optuna's sampler with parents always in the same order; its own has another the first time it is asked."""

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        return sorted(super().get_parent_population(study, generation), key=lambda trial: trial.number)


def _seed(*words: int) -> int:
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def sampler(study: Study, number: int, attempt: int = 0) -> BaseSampler:
    """Sampler for one trial, seeded by the study's seed and the trial's number."""
    seed = _seed(study.seed, number, attempt)
    strategy = study.strategy
    if strategy.kind == "tpe":
        return TPESampler(seed=seed, n_startup_trials=strategy.startup)
    if strategy.kind == "gp":
        return GPSampler(seed=seed, n_startup_trials=strategy.startup, warn_independent_sampling=False)
    if strategy.kind == "nsga2":
        return _Genetic(seed=seed, population_size=max(2, strategy.generation))
    if strategy.kind == "qmc":
        space = {name: dimension.distribution() for name, dimension in study.space.items()}
        return _Sobol(space, number, _seed(study.seed))
    return RandomSampler(seed=seed)


class Sampled:
    """Trials drawn by Optuna's samplers."""

    def __init__(self, study: Study, settings: Mapping[str, Any]) -> None:
        self.study, self.settings = study, settings
        self._forget()

    def _forget(self) -> None:
        self._copy = _empty(self.study)
        self._told = 0
        self._seen: set[str] = set()

    def plan(self, trials: Sequence[Past], limit: int | None) -> Plan:
        """The rest of the generation under way, or the next one once that is done."""
        limit = self.study.trials if limit is None else limit
        start, end = self._generation(len(trials))
        if len(trials) >= limit or not all(trial.done for trial in trials[:start]):
            return Plan()
        self._tell(trials, start)
        proposals = (self._ask(number) for number in range(len(trials), min(end or limit, limit)))
        return Plan(list(itertools.takewhile(lambda proposal: proposal is not None, proposals)))

    def _generation(self, number: int) -> tuple[int, int | None]:
        """First trial of a trial's generation, and of the next; trials drawn blindly make up a single one."""
        strategy = self.study.strategy
        if not isinstance(strategy, AdaptiveSettings):
            return 0, None
        first = strategy.generation if strategy.kind == "nsga2" else strategy.startup
        if number < first:
            return 0, first
        start = first + (number - first) // strategy.generation * strategy.generation
        return start, start + strategy.generation

    def _tell(self, trials: Sequence[Past], start: int) -> None:
        """Bring the copy to what the sampler may know: earlier generations told, this one running."""
        if len(self._copy.get_trials(deepcopy=False)) > len(trials):
            self._forget()
        known = self._copy.get_trials(deepcopy=False)
        for trial in trials[self._told :]:
            finished = trial.index < start
            if trial.index >= len(known):
                self._seen.add(_key(trial.params))
                self._copy.add_trial(self._frozen(trial, finished))
            elif finished:
                state = TrialState.FAIL if trial.values is None else TrialState.COMPLETE
                self._copy.tell(trial.index, trial.values, state=state)
        self._told = max(self._told, min(start, len(trials)))

    def _frozen(self, trial: Past, finished: bool) -> FrozenTrial:
        state = TrialState.RUNNING
        if finished:
            state = TrialState.FAIL if trial.values is None else TrialState.COMPLETE
        return create_trial(
            state=state,
            values=trial.values if state == TrialState.COMPLETE else None,
            system_attrs=dict(trial.notes),
            params={name: label(value) for name, value in trial.params.items()},
            distributions={name: self.study.space[name].distribution() for name in trial.params},
        )

    def _ask(self, number: int) -> Proposal | None:
        """One trial; where the values can be counted and are drawn blindly, one that has not been before, or none."""
        blind = self.study.strategy.kind in ("random", "halving") and all(d.finite for d in self.study.space.values())
        self._copy.sampler = sampler(self.study, number)
        params: dict[str, Any] | None = self._suggest(self._copy.ask())
        attempts = itertools.count(1)
        while blind and params is not None and _key(params) in self._seen:
            attempt = next(attempts)
            if attempt < REDRAWS:
                params = self._suggest(optuna.create_study(sampler=sampler(self.study, number, attempt)).ask())
            else:
                params = self._undrawn(number)
        if params is None:
            return None
        self._seen.add(_key(params))
        return Proposal(params, notes=dict(self._copy.get_trials(deepcopy=False)[number].system_attrs))

    def _undrawn(self, number: int) -> dict[str, Any] | None:
        """One of the points not drawn yet; few are left where so many draws came upon others."""
        space = {
            name: Dimension(choices=dimension.all_values(), when=dimension.when)
            for name, dimension in self.study.space.items()
        }
        left = [point for point in points(space, self.settings, 1) if _key(point) not in self._seen]
        generator = np.random.default_rng([self.study.seed, number, REDRAWS])
        return left[generator.integers(len(left))] if left else None

    def _suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        params: dict[str, Any] = {}
        for name, dimension in self.study.space.items():
            if is_active(dimension, {**self.settings, **params}):
                params[name] = dimension.value(_suggest(trial, name, dimension))
        return params


def _suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> Scalar:
    form = dimension.distribution()
    if dimension.choices is not None:
        return trial.suggest_categorical(name, form.choices)
    draw = trial.suggest_int if dimension.integer else trial.suggest_float
    return draw(name, form.low, form.high, step=form.step, log=form.log)


def _empty(study: Study) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(directions=[objective.direction for objective in study.objective])


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True, default=str)
