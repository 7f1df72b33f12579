"""How trials are chosen, one kind a class, each behind the same small interface.

A new strategy is a class with `plan`, its settings in `dvcsweep.plan.studies`, and a line in `STRATEGIES`.
"""

from collections.abc import Mapping
from typing import Any

from dvcsweep.plan.strategies.base import Past, Plan, Proposal, Strategy
from dvcsweep.plan.strategies.coarse_to_fine import CoarseToFine
from dvcsweep.plan.strategies.halving import Halving
from dvcsweep.plan.strategies.listed import Grid, OneAtATime, Points
from dvcsweep.plan.strategies.sampled import Sampled
from dvcsweep.plan.studies import Study

STRATEGIES: dict[str, type[Strategy]] = {
    "grid": Grid,
    "points": Points,
    "one-at-a-time": OneAtATime,
    "coarse-to-fine": CoarseToFine,
    "random": Sampled,
    "qmc": Sampled,
    "tpe": Sampled,
    "gp": Sampled,
    "nsga2": Sampled,
    "halving": Halving,
}

__all__ = ["STRATEGIES", "Past", "Plan", "Proposal", "Strategy", "make"]


def make(study: Study, settings: Mapping[str, Any]) -> Strategy:
    """The strategy of a study.

    Parameters
    ----------
    study : Study
        What to search.
    settings : mapping of str to value
        Values of all parameters in the base and fixed, which conditions and one-at-a-time look at.
    """
    return STRATEGIES[study.strategy.kind](study, settings)
