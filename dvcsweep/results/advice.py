"""What a search's results suggest, in plain sentences: where to look next, and what not to believe.

Rules of thumb over a campaign's own figures. Each looks at one thing, and says nothing where that cannot
be judged.
"""

import math
import re
from collections.abc import Callable, Iterator
from statistics import fmean, pstdev
from typing import Any

import pandas as pd

from dvcsweep.plan.spaces import Dimension
from dvcsweep.plan.studies import Study
from dvcsweep.record.ledger import Campaign
from dvcsweep.record.trials import Trial
from dvcsweep.results.analysis import MINOR, Analysis, is_number, text

EDGE = 0.03  # share of a range that counts as its end
REASON = 160  # characters of an error that are quoted
FEW = 10  # trials for each parameter, below which importance is rough
GAP = 0.15  # between training and validation, as a share of the larger: overfitting
CLOSE = 0.05  # the same: none
STRONG = 2 / 3  # of a regulariser's range, from where on it is strong
RANKED = 5  # trials at least whose ranks are compared
AGREE = 0.7  # rank correlation between rungs from where on the early one is a good guide
SEEN = re.compile(r"(?<![a-z])train(ing)?(?![a-z])")
UNSEEN = ("validation", "valid", "val", "dev")
REGULARISERS = ("dropout", "weight_decay", "l1", "l2", "regularization", "regularisation")


def advice(study: Study, campaign: Campaign) -> list[str]:
    """Sentences on a campaign, the most important first; none where nothing is to be said."""
    analysis = Analysis.of(study, campaign)
    return [sentence for rule in RULES for sentence in rule(analysis)]


def unfinished(analysis: Analysis) -> Iterator[str]:
    """Trials that failed, and trials still to be run."""
    failed = [trial for trial in analysis.trials if trial.state == "failed"]
    if failed:
        reason = next(iter((failed[0].error or "").strip().splitlines()), "no reason given")[:REASON].rstrip(".")
        yield (
            f"{len(failed)} of {_count(analysis.trials)} failed; the first, trial {failed[0].index}: {reason}. "
            "Run them again with --retry-failed once the cause is mended."
        )
    waiting = sum(not trial.finished for trial in analysis.trials)
    if waiting:
        yield f"{_are(waiting)} still to be run, so all that follows may change."
    if not analysis.best and analysis.trials:
        yield "No trial is complete, so there is nothing to compare."


def constant(analysis: Analysis) -> Iterator[str]:
    """An objective that does not react."""
    for place in range(len(analysis.study.objective)):
        if len(analysis.values) > 1 and analysis.constant(place):
            yield (
                f"{analysis.title(place)} is {analysis.column(place)[0]:g} in every trial: what was varied makes no "
                "difference to it, or does not reach the stage that makes it."
            )


def lead(analysis: Analysis) -> Iterator[str]:
    """Whether the best is better than the second, measured over what both are averaged over."""
    if analysis.several or len(analysis.best) < 2 or analysis.constant():
        return
    best, second = analysis.best[:2]
    sense = analysis.study.objective[0].sign
    pairs = zip(analysis.top(best), analysis.top(second), strict=False)
    ahead = [sense * (other.values[0] - one.values[0]) for one, other in pairs]
    over = " and ".join(key.rpartition(".")[2] for key in analysis.study.average_over)
    if len(ahead) < 2:
        yield (
            f"Every trial was run once, so a small lead may be luck: trial {best.index} is ahead of trial "
            f"{second.index} by {abs(best.values[0] - second.values[0]):.3g}. Confirm the best with several seeds."
        )
        return
    mean, spread = fmean(ahead), pstdev(ahead) * math.sqrt(len(ahead) / (len(ahead) - 1))
    if mean <= spread:
        yield (
            f"Trial {best.index} and trial {second.index} cannot be told apart: the lead is {mean:.3g}, and over "
            f"{over} it varies by {spread:.3g} (standard deviation of {len(ahead)} differences)."
        )
    else:
        yield (
            f"Trial {best.index} is ahead of trial {second.index} by {mean:.3g}, and over {over} that lead varies by "
            f"only {spread:.3g} (standard deviation of {len(ahead)} differences)."
        )


def edges(analysis: Analysis) -> Iterator[str]:
    """Best values at an end of what was tried."""
    if not analysis.best or all(analysis.constant(place) for place in range(len(analysis.study.objective))):
        return
    first = analysis.best if analysis.several else analysis.best[:1]
    whose = "every trial on the Pareto front has" if analysis.several else f"the best trial, {first[0].index}, has"
    weights = {} if analysis.several else analysis.importances()
    for key, dimension in analysis.study.space.items():
        if weights.get(analysis.names[key], 1) < MINOR:
            continue
        ends = {_end(dimension, trial.params.get(key)) for trial in first}
        if len(ends) == 1 and (end := ends.pop()):
            beyond, way = ("larger", "upwards") if end > 0 else ("smaller", "downwards")
            yield (
                f"{analysis.names[key]}: {whose} {text(first[0].params[key])}, {_where(dimension, end)}; if {beyond} "
                f"values make sense, widen the space {way}."
            )


def _where(dimension: Dimension, end: int) -> str:
    if dimension.choices is not None:
        return f"the {'largest' if end > 0 else 'smallest'} of the choices"
    return f"at the {'upper' if end > 0 else 'lower'} end of {text(dimension.low)} to {text(dimension.high)}"


def _end(dimension: Dimension, value: Any) -> int:
    """1 at the upper end of an ordered range or choices, -1 at the lower, 0 elsewhere."""
    if not is_number(value):
        return 0
    if dimension.choices is not None:
        if len(dimension.choices) < 2 or not all(map(is_number, dimension.choices)):
            return 0
        return (value == max(dimension.choices)) - (value == min(dimension.choices))
    place = _place(dimension, value)
    return 0 if place is None else (place >= 1 - EDGE) - (place <= EDGE)


def _place(dimension: Dimension, value: float) -> float | None:
    """Where a value lies between the ends, from 0 to 1; None where they are one, or not ordered."""
    numbers = [dimension.low, dimension.highest] if dimension.choices is None else dimension.choices
    if not all(map(is_number, numbers)) or not is_number(value):
        return None
    low, high = float(min(numbers)), float(max(numbers))
    if low == high:
        return None
    if dimension.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def importance(analysis: Analysis) -> Iterator[str]:
    """The parameter that matters most, and those that may be fixed."""
    for place in range(len(analysis.study.objective)):
        shares = analysis.importances(place)
        if not shares or not sum(shares.values()):
            continue
        (name, share), minor = next(iter(shares.items())), [key for key, value in shares.items() if value < MINOR]
        yield f"{name} matters most for {analysis.title(place)}: it explains {share:.0%} of the variation among trials."
        if minor and not analysis.several:
            what = (
                "with so few trials, see whether the pictures agree before fixing any of them"
                if _is_few(analysis)
                else "they may be fixed, and the trials spent on the rest"
            )
            yield f"Of little effect within the values tried: {_listed(minor)}; {what}."
    if analysis.study.strategy.kind == "one-at-a-time" and not analysis.constant():
        yield from _largest_effect(analysis)


def _largest_effect(analysis: Analysis) -> Iterator[str]:
    ranges = {}
    for key in analysis.keys:
        values = [analysis.values[trial.index][0] for trial in analysis.curve(key)]
        if len(values) > 1:
            ranges[key] = max(values) - min(values)
    if ranges:
        key = max(ranges, key=ranges.__getitem__)
        yield (
            f"{analysis.names[key]} moves {analysis.title()} the most, by {ranges[key]:.3g} from its best value to its "
            "worst; parameters that work only together do not show when one varies at a time."
        )


def few(analysis: Analysis) -> Iterator[str]:
    """Too few trials for the number of parameters."""
    if _is_few(analysis) and not analysis.constant():
        yield (
            f"{_count(analysis.comparable)} are few for {len(analysis.varied)} parameters: take importance and effects "
            "as hints only."
        )


def _is_few(analysis: Analysis) -> bool:
    parameters = len(analysis.varied)
    return not analysis.listed and parameters > 1 and 1 < len(analysis.values) < FEW * parameters


def fit(analysis: Analysis) -> Iterator[str]:
    """Training against validation, where the metrics hold the objective for both."""
    if analysis.several or not analysis.best:
        return
    best, objective = analysis.best[0], analysis.study.objective[0]
    seen = _counterpart(objective.key, [name.rpartition(":")[2] for name in _figures(analysis, best, objective.file)])
    if seen is None:
        return
    outcomes = analysis.top(best)
    trained = fmean(outcome.metrics[f"{objective.file}:{seen}"] for outcome in outcomes)
    gap = objective.sign * (best.values[0] - trained) / (max(abs(best.values[0]), abs(trained)) or 1)
    figures = f"{seen} {trained:.4g}, {objective.key} {best.values[0]:.4g}"
    if gap > GAP:
        yield (
            f"The best trial does better, by {gap:.0%}, on what it was trained on than on new data ({figures}): if "
            "the two are measured alike it overfits, and more regularisation, more data or a smaller model may help "
            "more than further search."
        )
    elif gap < CLOSE:
        yield (
            f"The best trial does about as well on new data as on what it was trained on ({figures}): no sign of "
            "overfitting; if the figure is not good enough, try a larger model or longer training."
        )


def _figures(analysis: Analysis, trial: Trial, file: str) -> list[str]:
    """Numbers of a file that all experiments of a trial's highest rung have."""
    outcomes = analysis.top(trial)
    if not outcomes:
        return []
    names = [name for name, value in outcomes[0].metrics.items() if name.startswith(f"{file}:") and is_number(value)]
    return [name for name in names if all(is_number(outcome.metrics.get(name)) for outcome in outcomes)]


def _counterpart(key: str, keys: list[str]) -> str | None:
    """The training figure that belongs to a validation figure."""
    for candidate in keys:
        if SEEN.search(candidate) and any(SEEN.sub(word, candidate) == key for word in UNSEEN):
            return candidate
    return None


def regularisation(analysis: Analysis) -> Iterator[str]:
    """Strong regularisation in the best trial: the model would overfit without."""
    if analysis.several or not analysis.best or analysis.constant():
        return
    weights = analysis.importances()
    for key, dimension in analysis.study.space.items():
        if weights.get(analysis.names[key], 1) < MINOR:
            continue
        value = analysis.best[0].params.get(key)
        place = _place(dimension, value) if value is not None else None
        if key.rpartition(".")[2].lower() in REGULARISERS and place is not None and place >= STRONG:
            yield (
                f"The search prefers a high {analysis.names[key]} ({text(value)}): the model tends to overfit; a "
                "smaller model, or more data, may do as well with less of it."
            )


def rungs(analysis: Analysis) -> Iterator[str]:
    """Whether the first rung of successive halving foretold the later ones."""
    if not analysis.study.halved or len(analysis.study.budgets) < 2:
        return
    found = [analysis.rungs(trial) for trial in analysis.trials]
    depths = range(len(analysis.study.budgets) - 1, 0, -1)
    depth = next((rung for rung in depths if _reached(found, rung) >= RANKED), None)
    name = analysis.study.strategy.budget.rpartition(".")[2]
    if depth is None:
        yield (
            f"Fewer than {RANKED} trials went beyond {name} {analysis.study.budgets[0]}: whether that small budget "
            "ranks trials as a large one would remains open."
        )
        return
    climbed = pd.DataFrame([(each[0][0], each[depth][0]) for each in found if len(each) > depth])
    agreement = climbed.rank().corr().iloc[0, 1]
    if math.isnan(agreement):
        return
    budgets = f"{name} {analysis.study.budgets[0]} and {analysis.study.budgets[depth]}"
    verdict = (
        "the small budget was a good guide"
        if agreement >= AGREE
        else "the small budget was a poor guide, and good trials may have been dropped: begin with a larger one"
    )
    yield (
        f"Of the {len(climbed)} trials that climbed, ranks at {budgets} agree with a correlation of {agreement:.2f}: "
        f"{verdict}."
    )


def _reached(found: list[list[tuple[float, ...]]], rung: int) -> int:
    return sum(len(each) > rung for each in found)


def restored(analysis: Analysis) -> Iterator[str]:
    """Trials without a time of their own."""
    without = [
        trial
        for trial in analysis.trials
        if trial.values
        and any(outcome.seconds is None and not outcome.stopped for outcome in trial.experiments.values())
    ]
    if without:
        yield f"{_have(len(without))} no time: stages that the study varies were restored from DVC's run-cache."


def _count(trials: list[Trial]) -> str:
    return _counted(len(trials), "trial")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _are(number: int) -> str:
    return f"{_counted(number, 'trial')} {'is' if number == 1 else 'are'}"


def _have(number: int) -> str:
    return f"{_counted(number, 'trial')} {'has' if number == 1 else 'have'}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


RULES: tuple[Callable[[Analysis], Iterator[str]], ...] = (
    unfinished,
    constant,
    lead,
    edges,
    importance,
    few,
    rungs,
    fit,
    regularisation,
    restored,
)
