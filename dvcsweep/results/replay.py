"""What a rule of pruning would have saved of a search that has been run, and whether it would have lost the winner.

The trials' curves are in the ledger. They are gone through in many random orders, because a rule that keeps the winner
in one order may lose it in another.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML, YAMLError
from tabulate import tabulate

from dvcsweep.errors import StudyError
from dvcsweep.plan.pruning import Curve, Prune, Pruning, Rule, by_name
from dvcsweep.plan.studies import Study, explain
from dvcsweep.record.trials import Trial, best_trials, members, outcomes
from dvcsweep.settings import unreadable

Curves = Mapping[str, tuple[float, ...]]  # a trial's, by member


RULES = ("late-median", "median", "patient", "halving", "hyperband")  # that a table shows


def read(text: str) -> Rule:
    """A rule from the command line, written as in a study without its outer braces.

    Raises
    ------
    StudyError
        If there is no such rule, or it has no such setting.
    """
    try:
        content = YAML(typ="safe", pure=True).load(text if text.lstrip().startswith("{") else f"{{rule: {text}}}")
        return RULE.validate_python(by_name(content))
    except YAMLError as error:
        raise StudyError(f"--prune {text}: not readable: {unreadable(error)}") from error
    except ValidationError as error:
        raise StudyError(
            "\n".join(f"--prune {text}: {explain(one | {'loc': ('prune', *one['loc'])})}" for one in error.errors())
        ) from error


RULE = TypeAdapter(Prune)


class Replay(NamedTuple):
    """What came of a rule.

    Attributes
    ----------
    trials : int
        Complete trials that were gone through.
    saved : float
        Share of all points of their curves that would not have been run, on average over the orders.
    least, most : float
        The same in the order that saves least, and most.
    kept : int
        Orders in which the best trial was not stopped.
    orders : int
        How many.
    """

    trials: int
    saved: float
    least: float
    most: float
    kept: int
    orders: int


def replay(study: Study, trials: Sequence[Trial], rule: Rule, orders: int, seed: int = 1) -> Replay:
    """Go through the complete trials of a search in random orders.

    Raises
    ------
    StudyError
        If the study has several objectives, or its ledger holds no curves for the rule.
    """
    if len(study.objective) > 1:
        raise StudyError(f"study {study.name} has several objectives, and so no single winner to lose")
    last = len(study.budgets) - 1
    complete = best_trials(study, list(trials))
    curves = [of_trial(study, rule, trial, last) for trial in complete]
    if len(curves) < 2 or not all(curves):
        raise StudyError(f"study {study.name}: the ledger holds no curves of {study.pruned_by(rule)}")
    generator, found = np.random.default_rng(seed), []
    for _ in range(orders):
        order = generator.permutation(len(curves))
        found.append(once(rule, study.objective[0].sign, [curves[place] for place in order], int(np.argmin(order))))
    saved = [one for one, _ in found]
    return Replay(len(curves), float(np.mean(saved)), min(saved), max(saved), sum(kept for _, kept in found), orders)


def table(studies: Sequence[tuple[Study, Sequence[Trial]]], rules: Sequence[Rule], orders: int) -> str:
    """What each rule would have done to each study, as Markdown; a study without the curves for it has empty cells."""
    rows = []
    for study, trials in studies:
        cells = [_cell(study, trials, rule, orders) for rule in rules]
        if any(cells) or len(studies) == 1:
            rows.append([study.name, len(best_trials(study, list(trials))), *cells])
    if not any(any(cells) for _, _, *cells in rows):
        raise StudyError("no curves for these rules in any ledger: a study keeps the tables named in its `curves`")
    return tabulate(rows, ["study", "trials", *map(described, rules)], tablefmt="github", disable_numparse=True)


def _cell(study: Study, trials: Sequence[Trial], rule: Rule, orders: int) -> str:
    try:
        found = replay(study, trials, rule, orders)
    except StudyError:
        return ""
    return f"{100 * found.saved:.0f} %, {found.kept}/{found.orders}"


def described(rule: Rule) -> str:
    """A rule in words: its name, and the settings that are not the usual ones."""
    changed = rule.model_dump(exclude_defaults=True, exclude={"rule"})
    return ", ".join([rule.rule, *(f"{name}: {value}" for name, value in changed.items())])


def of_trial(study: Study, rule: Rule, trial: Trial, rung: int) -> Curves:
    """What a rule reads of a trial: a curve of each experiment, or one of the objective over all of them."""
    ran = outcomes(study, trial, rung)
    if rule.over_members:
        return {"": tuple(one.values[0] for one in ran)} if len(ran) > 1 else {}
    file = study.pruned_by(rule)
    names = [member for member, _ in members(study, rung)]
    found = {name: tuple(one.curves[file][1]) for name, one in zip(names, ran, strict=True) if file in one.curves}
    return found if len(found) == len(names) and all(found.values()) else {}


def once(rule: Rule, sign: int, trials: Sequence[Curves], best: int) -> tuple[float, bool]:
    """Share of the points saved when trials are run in this order, and whether the best one was kept."""
    pruning, run, kept = Pruning(rule, sign), 0, True
    for index, curves in enumerate(trials):
        ended = {}
        for member, values in curves.items():
            count = pruning.stops(index, member, values)
            ended[member] = Curve(values[:count], complete=count is None)
            run += len(ended[member].values)
            if count is not None:
                kept = kept and index != best
                break  # none of its other members is run
        pruning.end(index, ended)
    return 1 - run / sum(len(values) for curves in trials for values in curves.values()), kept
