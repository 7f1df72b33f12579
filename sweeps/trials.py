"""What belongs to a trial: its experiments' names and parameters, and which trials are the best."""

import itertools
import operator
import re
from collections.abc import Iterator
from typing import Any

from sweeps.ledger import Trial
from sweeps.strategies.base import SENSE
from sweeps.studies import Study


def rung_name(study: Study, rung: int) -> str:
    """Part of an experiment's name that says its rung; nothing where there is only one."""
    return "" if study.budgets == [None] else f"rung{rung + 1}"


def members(study: Study) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every combination to average over: what it adds to an experiment's name, and its parameters."""
    rung = study.budgets != [None]
    axes = [list(zip(_words(key, values), values, strict=True)) for key, values in study.average_over.items()]
    for combination in itertools.product(*axes):
        text = "-".join(word for word, _ in combination)
        settings = {key: value for key, (_, value) in zip(study.average_over, combination, strict=True)}
        yield (f"-{text}" if rung and text else text), settings


def _words(key: str, values: list[Any]) -> list[str]:
    """A name for each value, of letters, digits and dots; numbered where that leaves two the same."""
    words = [re.sub(r"[^a-z0-9.]", "", f"{key.rpartition('.')[2]}{value}".lower()) for value in values]
    if len(set(words)) < len(words):
        return [f"{key.rpartition('.')[2].lower()}.{number}" for number in range(1, len(values) + 1)]
    return words


def best_trials(study: Study, trials: list[Trial]) -> list[Trial]:
    """Complete trials, best first; with several objectives those that no other surpasses in all of them."""
    complete = [trial for trial in trials if trial.state == "complete"]
    if len(study.objective) == 1:
        sense = SENSE[study.objective[0].direction]
        return sorted(complete, key=lambda trial: (sense * trial.values[0], trial.index))
    costs = {
        trial.index: [SENSE[o.direction] * value for o, value in zip(study.objective, trial.values, strict=True)]
        for trial in complete
    }
    front: list[Trial] = []
    for trial in sorted(complete, key=lambda trial: costs[trial.index]):  # whatever surpasses one comes before it
        mine = costs[trial.index]
        others = (costs[other.index] for other in front)
        if not any(other != mine and all(map(operator.le, other, mine)) for other in others):
            front.append(trial)
    return front
