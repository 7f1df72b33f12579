"""Trials as a table: one row each, to be sorted, filtered, summed up and written as CSV."""

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, stdev
from typing import Any

import pandas as pd
from ruamel.yaml import YAML, YAMLError

from dvcsweep.errors import StudyError
from dvcsweep.naming import short
from dvcsweep.plan.resolution import HELD_OUT
from dvcsweep.plan.spaces import label
from dvcsweep.plan.studies import Objective, Study
from dvcsweep.record.ledger import Campaign
from dvcsweep.record.trials import Trial
from dvcsweep.results.analysis import Analysis, is_number
from dvcsweep.wording import cell

CRITERION = re.compile(r"\s*([^<>=!]+?)\s*(<=|>=|==|!=|=|<|>)\s*(.+?)\s*")
COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
}
OWN = ("index", "trial", "label", "state", "budget", "seconds", "experiment", "experiments", "commits", "error")
STATISTICS = ("n", "mean", "std", "min", "median", "max")


def frame(study: Study, campaign: Campaign, metrics: Sequence[str] = ()) -> pd.DataFrame:
    """Every trial in a row.

    Parameters
    ----------
    study : Study
        The study.
    campaign : Campaign
        Its trials.
    metrics : sequence of str
        Further figures as FILE:KEY, beside all those in the objectives' own files.

    Returns
    -------
    DataFrame
        Columns index, label, state, `params.KEY`, each objective by its key (and its standard deviation over what it is
        averaged over), the study's further figures as FILE:KEY (likewise), budget, seconds (of all experiments; none
        where one of them was restored from the run-cache), experiments, commits, `FILE:KEY` and error. What a trial
        lacks is NaN; null is the text null.
    """
    analysis = Analysis.of(study, campaign)
    named = [name for name in _metrics(analysis, metrics) if name not in study.figures]
    rows = [_row(analysis, trial, named) for trial in analysis.trials]
    columns = [
        *("index", "label", "state"),
        *(f"params.{key}" for key in analysis.keys),
        *(name for one in study.objective for name in (column(one), f"{column(one)} (std)")),
        *(name for one in study.figures for name in (one, f"{one} (std)")),
        *("budget", "seconds", "experiments", "commits"),
        *named,
        "error",
    ]
    whole = pd.DataFrame(rows, columns=columns, dtype=object)
    empty = [name for name in whole if name.endswith(" (std)") and whole[name].isna().all()]
    empty += ["budget"] if not analysis.study.halved else []
    return whole.drop(columns=empty)


def _metrics(analysis: Analysis, wanted: Sequence[str]) -> list[str]:
    """Numbers in the objectives' files, but for the objectives themselves and figures on test data."""
    files = {one.file for one in analysis.study.objective}
    own = {f"{one.file}:{one.key}" for one in analysis.study.objective}
    outcomes = [outcome for trial in analysis.trials for outcome in analysis.top(trial)]
    known = dict.fromkeys(name for one in outcomes for name, value in one.metrics.items() if is_number(value))
    missing = [name for name in wanted if name not in known]
    if missing and known:
        raise StudyError(f"no experiment has the figure {missing[0]}; there are {', '.join(known)}")
    chosen = [name for name in known if name.rpartition(":")[0] in files and not _held_out(name.rpartition(":")[2])]
    return [name for name in dict.fromkeys([*chosen, *wanted]) if name not in own]


def _held_out(key: str) -> bool:
    return bool(HELD_OUT & set(re.split(r"[^a-z0-9]+", key.lower())))


def _row(analysis: Analysis, trial: Trial, named: Iterable[str]) -> dict[str, Any]:
    outcomes = list(trial.experiments.values())
    seconds = [outcome.seconds for outcome in outcomes]
    row: dict[str, Any] = {"index": trial.index, "label": trial.label, "state": trial.state}
    row |= {f"params.{key}": plain(value) for key, value in trial.params.items()}
    for place, one in enumerate(analysis.study.objective):
        row[column(one)] = trial.values[place] if trial.values else None
        row[f"{column(one)} (std)"] = analysis.spread(trial, place) if trial.values else None
    row |= figures(analysis, trial)
    row["budget"] = analysis.budget(trial)
    row["seconds"] = round(sum(seconds), 3) if seconds and None not in seconds else None
    row["experiments"] = " ".join(experiment_names(analysis, trial)) or None
    row["commits"] = " ".join(short(outcome.commit) for outcome in outcomes if outcome.commit) or None
    for name in named:
        row[name] = _mean([outcome.metrics.get(name) for outcome in analysis.top(trial)])
    row["error"] = trial.error.strip().splitlines()[0] if trial.error and trial.error.strip() else None
    return row


def figures(analysis: Analysis, trial: Trial) -> dict[str, float | None]:
    """The study's further figures of a trial by FILE:KEY: means over what it averages over, standard deviations."""
    row: dict[str, float | None] = {}
    for name in analysis.study.figures:
        values = [outcome.metrics.get(name) for outcome in analysis.top(trial)]
        mean = _mean(values)
        row[name] = mean
        row[f"{name} (std)"] = stdev(values) if mean is not None and len(values) > 1 else None
    return row


def column(objective: Objective) -> str:
    """An objective's column: its key, with its file where the table has such a column of its own."""
    return f"{objective.file}:{objective.key}" if objective.key in OWN else objective.key


def experiment_names(analysis: Analysis, trial: Trial) -> list[str]:
    """Names of a trial's experiments, those of its highest rung first."""
    top = analysis.top(trial)
    return [
        outcome.name for outcome in sorted(trial.experiments.values(), key=lambda one: one not in top) if outcome.commit
    ]


def _mean(values: Sequence[Any]) -> float | None:
    numbers = [value for value in values if is_number(value)]
    return fmean(numbers) if numbers and len(numbers) == len(values) else None


def plain(value: Any) -> Any:
    """A parameter as a cell: numbers and text as they are, all else as JSON."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return label(value)


def to_csv(table: pd.DataFrame) -> str:
    """The table as text; numbers in as many digits as they need, and no text that a spreadsheet would work out."""
    rows = [[cell(value) if isinstance(value, str) else value for value in row] for row in table.to_numpy(dtype=object)]
    safe = pd.DataFrame(rows, columns=[cell(name) for name in table], dtype=object)
    return safe.to_csv(index=False, lineterminator="\n")


def where(table: pd.DataFrame, criteria: Iterable[str]) -> pd.DataFrame:
    """Rows that meet all criteria.

    Parameters
    ----------
    table : DataFrame
        From `frame`.
    criteria : iterable of str
        Such as `model.dropout<=0.2` or `optimizer=adam`: the ending of a column's name, a comparison, a value. Rows
        without a value there meet none.

    Raises
    ------
    StudyError
        If a criterion is not of that form, or its name fits no column or several.
    """
    for criterion in criteria:
        table = table[_meets(table, criterion)]
    return table


def _meets(table: pd.DataFrame, criterion: str) -> pd.Series:
    parts = CRITERION.fullmatch(criterion)
    if not parts:
        raise StudyError(f"criterion {criterion!r}: write NAME OPERATOR VALUE, with one of {', '.join(COMPARISONS)}")
    name, sign, wanted = parts.groups()
    cells = table[resolve(table, name)]
    value = _value(wanted)
    if isinstance(value, int | float):
        return COMPARISONS[sign](pd.to_numeric(cells, errors="coerce"), value) & cells.notna()
    if sign not in ("==", "=", "!="):
        raise StudyError(f"criterion {criterion!r}: {sign} compares numbers, but {wanted!r} is none")
    return COMPARISONS[sign](cells.map(str), value) & cells.notna()


def _value(written: str) -> float | str:
    """A number, or the text that a cell of the table would hold."""
    try:
        value = YAML(typ="safe", pure=True).load(written)
    except YAMLError:
        return written
    held = plain(value) if isinstance(value, bool | int | float | str | None) else written
    try:
        return float(held)
    except ValueError:
        return held


def resolve(table: pd.DataFrame, name: str) -> str:
    """The column that a name means: the one so called, or the only one that ends in it after a dot or a colon."""
    names = [str(column) for column in table]
    found = [one for one in names if one == name] or [one for one in names if one.endswith((f".{name}", f":{name}"))]
    if len(found) != 1:
        reason = f"could be {' or '.join(found)}" if found else f"is no column: there are {', '.join(names)}"
        raise StudyError(f"{name} {reason}")
    return found[0]


def statistics(study: Study, campaign: Campaign, metric: str | None = None) -> pd.DataFrame:
    """Number, mean, standard deviation, minimum, median and maximum of the figures told, or of one, over the trials.

    With successive halving there is a row for each budget, since values at different budgets cannot be compared.

    Parameters
    ----------
    study : Study
        The study.
    campaign : Campaign
        Its trials.
    metric : str, optional
        The ending of a column's name, instead of the objectives.

    Returns
    -------
    DataFrame
        One row for each figure (and budget), `STATISTICS` in columns; the standard deviation is the sample's.
    """
    analysis = Analysis.of(study, campaign)
    if metric is None and analysis.study.halved:
        series = _by_budget(analysis)
    else:
        table = frame(study, campaign)
        table = table[table["state"] == "complete"]
        told = [*(column(one) for one in study.objective), *study.figures]
        names = told if metric is None else [resolve(table, metric)]
        series = {name: pd.to_numeric(table[name], errors="coerce").dropna() for name in names}
    rows = {
        name: [len(values), values.mean(), values.std(), values.min(), values.median(), values.max()]
        for name, values in series.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(STATISTICS))


def _by_budget(analysis: Analysis) -> dict[str, pd.Series]:
    found = {}
    name = analysis.study.strategy.budget.rpartition(".")[2]
    for rung, budget in enumerate(analysis.study.budgets):
        values = [rungs[rung][0] for trial in analysis.trials if len(rungs := analysis.rungs(trial)) > rung]
        found[f"{analysis.study.objective[0].name} at {name} {budget}"] = pd.Series(values, dtype=float)
    return found
