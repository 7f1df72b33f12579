"""Successive halving: many trials on a small budget, the best share of them on a larger one, and so on.

Every rung is an experiment of its own with the budget as a parameter, trained from the start: a stage that stopped
early by itself would be cached by DVC as the result for its parameters.

Jamieson, K. & Talwalkar, A. (2016). Non-stochastic best arm identification and hyperparameter optimization. AISTATS.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dvcsweep.plan.strategies.base import Past, Plan
from dvcsweep.plan.strategies.sampled import Sampled
from dvcsweep.plan.studies import Study


class Halving:
    """Random draws on the smallest budget; then the best share climbs, rung by rung."""

    def __init__(self, study: Study, settings: Mapping[str, Any]) -> None:
        self.study = study
        self.sampled = Sampled(study, settings)

    def plan(self, trials: Sequence[Past], limit: int | None) -> Plan:
        """All trials first; then those that climb from the highest rung reached."""
        total = self.study.trials
        new = self.sampled.plan(trials, total if limit is None else min(limit, total)).new
        if new or (limit is not None and len(trials) >= limit and limit < total):
            return Plan(new)
        reached = max((len(trial.rungs) for trial in trials), default=0)
        if reached in (0, len(self.study.budgets)) or not all(trial.done for trial in trials):
            return Plan()
        ended = {trial.index for trial in trials if trial.ended}
        return Plan(climb=[index for index in self.climbers(trials, reached) if index not in ended])

    def climbers(self, trials: Sequence[Past], rung: int) -> list[int]:
        """The trials whose figure after so many rungs is among the best: a `factor`-th, but at least one."""
        sense = self.study.objective[0].sign
        there = sorted(
            (trial for trial in trials if len(trial.rungs) >= rung),
            key=lambda trial: (sense * trial.rungs[rung - 1], trial.index),
        )
        places = max(1, len(trials) // self.study.strategy.factor**rung)
        return sorted(trial.index for trial in there[:places])
