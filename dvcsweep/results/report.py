"""A search's report: a table, pictures, advice, the best configuration, as files beside the study and as text.

Equal ledgers give equal bytes: nothing here looks at the clock.
"""

import base64
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from tabulate import tabulate

from dvcsweep.files import write_whole
from dvcsweep.naming import short
from dvcsweep.plan.studies import HalvingSettings, Study
from dvcsweep.record.ledger import Campaign
from dvcsweep.record.trials import Trial
from dvcsweep.results.advice import advice
from dvcsweep.results.analysis import Analysis, text
from dvcsweep.results.pictures import Picture, drawn, png
from dvcsweep.results.table import OWN, column, experiment_names, figures, frame, statistics, to_csv, where
from dvcsweep.results.template import HTML, MARKDOWN, SCRIPT, STYLE
from dvcsweep.results.winner import as_yaml
from dvcsweep.wording import markdown, printable

TOP = 10
DIGITS = 6
MADE = re.compile(
    r"(top|pareto|rungs|history|distribution|parallel|times|(importances|effects|choices|one-at-a-time)(-.+)?"
    r"|(map|curve)-.+)\.png|best(-\d+)?\.yaml"
)  # what an earlier report may have left
KINDS = {
    "grid": "grid",
    "points": "points by name",
    "one-at-a-time": "one parameter at a time",
    "coarse-to-fine": "grids from coarse to fine",
    "random": "random draws",
    "qmc": "quasi-random draws (Sobol)",
    "tpe": "TPE (Bayesian)",
    "gp": "Gaussian process (Bayesian)",
    "nsga2": "NSGA-II (evolution)",
    "halving": "successive halving",
}


def write(study: Study, campaign: Campaign, folder: Path, extra_html: str = "") -> list[Path]:
    """Write a report.

    Parameters
    ----------
    study : Study
        What was searched.
    campaign : Campaign
        What came out.
    folder : Path
        Where it goes; made if need be. Pictures and configurations of an earlier report that this one does not make
        anew are removed.
    extra_html : str
        A part of one's own for the HTML page, before the pictures.

    Returns
    -------
    list of Path
        What was written: `trials.csv`, `best.yaml` (`best-NUMBER.yaml` for each trial on a Pareto front), a PNG for
        each picture, `report.md` and `report.html`.
    """
    analysis = Analysis.of(study, campaign)
    configurations = _configurations(analysis, campaign)
    shown = drawn(study, campaign)
    images = {f"{picture.name}.png": png(picture.figure) for picture in shown}
    content = _content(analysis, campaign, configurations)
    content["pictures"] = [_embedded(picture, images[f"{picture.name}.png"]) for picture in shown]
    files: dict[str, bytes] = {"trials.csv": to_csv(frame(study, campaign)).encode()}
    files |= {name: made.encode() for name, made in configurations} | images
    files["report.md"] = _markdown(content).encode()
    files["report.html"] = _html(content, extra_html).encode()
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        if MADE.fullmatch(path.name) and path.name not in files:
            path.unlink()
    return [write_whole(folder / name, made) for name, made in files.items()]


def show(
    study: Study, campaign: Campaign, top: int = TOP, criteria: Iterable[str] = (), metric: str | None = None
) -> str:
    """The best trials, statistics and advice as text.

    Parameters
    ----------
    study, campaign : Study, Campaign
        What was searched, and what came out.
    top : int
        How many trials at most.
    criteria : iterable of str
        Only those that meet all of these; see `dvcsweep.results.table.where`.
    metric : str, optional
        Statistics of this figure instead of the objectives.

    Raises
    ------
    StudyError
        If a criterion or the metric names no column.
    """
    analysis = Analysis.of(study, campaign)
    kept = where(frame(study, campaign), criteria)
    wanted = set(kept["index"])
    chosen = [trial for trial in analysis.ranking if trial.index in wanted][:top]
    parts = [f"{campaign.name}: {_result(analysis)}"]
    if chosen:
        table = _shown(analysis, chosen)
        parts.append(tabulate(table.map(_cell), headers=list(table), showindex=False, disable_numparse=True))
    elif analysis.ranking:
        parts.append("No trial meets the criteria.")
    if analysis.values:
        summed = statistics(study, campaign, metric)
        parts.append(tabulate(summed.map(_cell), headers=["", *summed], disable_numparse=True))
    parts += ["\n".join(f"- {sentence}" for sentence in advice(study, campaign))]
    return printable("\n\n".join(filter(None, parts)) + "\n")


# Content


def _content(analysis: Analysis, campaign: Campaign, configurations: Sequence[tuple[str, str]]) -> dict[str, Any]:
    study = analysis.study
    rows = None if study.strategy.kind == "points" else TOP  # points have names: each is of interest
    ranked = analysis.best if analysis.several else analysis.ranking[:rows]
    return {
        "title": f"Study {study.name}",
        "description": " ".join(study.description.split()),
        "result": _result(analysis),
        "facts": _facts(analysis, campaign),
        "best_heading": "The Pareto front" if analysis.several else f"The best {len(ranked)} trials",
        "best": _shown(analysis, ranked),
        "notes": list(_notes(analysis, ranked)),
        "statistics": statistics(study, campaign),
        "statistics_note": "Over all trials that reached the budget."
        if analysis.study.halved
        else "Over all complete trials; std is the sample's standard deviation.",
        "advice": advice(study, campaign),
        "trials": _everything(analysis, campaign),
        "first": {trial.index for trial in (analysis.best if analysis.several else analysis.best[:1])},
        "configurations": configurations,
        "configuration_heading": "Configurations of the Pareto front" if analysis.several else "The best configuration",
        "commands": _commands(analysis, campaign),
    }


def _result(analysis: Analysis) -> str:
    if not analysis.trials:
        return "No trial has been begun."
    if not analysis.best:
        return f"None of {len(analysis.trials)} trials is complete."
    if analysis.several:
        done = sum(trial.state == "complete" for trial in analysis.trials)
        names = " and ".join(one.name for one in analysis.study.objective)
        return f"{len(analysis.best)} of {done} complete trials are on the Pareto front of {names}."
    best = analysis.best[0]
    spread = analysis.spread(best)
    value = f"{best.values[0]:.{DIGITS}g}" + (f" ± {spread:.2g}" if spread is not None else "")
    label = f"{best.label}: " if best.label else ""
    settings = label + analysis.settings(best)
    names = experiment_names(analysis, best)
    return (
        f"Best {analysis.study.objective[0].name}: {value} with {settings} (experiment {names[0] if names else '?'})."
    )


def _facts(analysis: Analysis, campaign: Campaign) -> list[tuple[str, str]]:
    study = analysis.study
    objectives = "; ".join(f"{one.file}:{one.key}, {one.direction}d" for one in study.objective)
    counts = {
        state: sum(trial.state == state for trial in analysis.trials) for state in ("complete", "pruned", "failed")
    }
    counts["still to run"] = len(analysis.trials) - sum(counts.values())
    listed = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
    facts = [
        ("Strategy", _strategy(study)),
        ("Trials", f"{len(analysis.trials)}" + (f" ({listed})" if listed else "")),
        ("Objective", objectives),
        ("Varied", "; ".join(_range(analysis, key) for key in analysis.keys)),
        ("Fixed", ", ".join(f"{key} {text(value)}" for key, value in study.fixed.items())),
        ("Mean over", "; ".join(f"{key} {', '.join(map(text, values))}" for key, values in study.average_over.items())),
        ("Seed", str(study.seed)),
        ("Baseline", short(campaign.facts.baseline)),
    ]
    return [(name, value) for name, value in facts if value]


def _strategy(study: Study) -> str:
    name = KINDS[study.strategy.kind]
    if isinstance(study.strategy, HalvingSettings):
        return f"{name}, {study.strategy.budget} {', '.join(map(str, study.budgets))}"
    return name


def _range(analysis: Analysis, key: str) -> str:
    dimension = analysis.study.space.get(key)
    if dimension is None:
        values = dict.fromkeys(text(trial.params[key]) for trial in analysis.trials if key in trial.params)
        return f"{key} {', '.join(values)}"
    if dimension.choices is not None:
        words = ", ".join(map(text, dimension.choices))
    else:
        words = f"{text(dimension.low)} to {text(dimension.high)}"
        words += f" by {text(dimension.step)}" if dimension.step else " (logarithmic)" if dimension.log else ""
    where_ = ", ".join(f"{other} is {text(value)}" for other, value in dimension.when.items())
    return f"{key} {words}" + (f" where {where_}" if where_ else "")


def _notes(analysis: Analysis, ranked: Sequence[Trial]) -> Iterable[str]:
    if analysis.study.halved and any(trial.state != "complete" for trial in ranked):
        yield "Trials that did not climb have their values at a smaller budget, which do not compare with the others."
    if any(analysis.spread(trial) is not None for trial in ranked):
        over = " and ".join(analysis.study.average_over)
        yield f"Values are means over {over}; std is the standard deviation over them."
    for name in analysis.study.figures:
        if ranked and all(figures(analysis, trial)[name] is None for trial in ranked):
            yield f"None of these trials has the figure {name}."


def _shown(analysis: Analysis, trials: Sequence[Trial]) -> pd.DataFrame:
    """The trials given as a short table; columns that would be empty are left out."""
    rows = []
    short = _short_names(analysis)
    for trial in trials:
        row: dict[str, Any] = {"trial": trial.index, "label": trial.label}
        if analysis.several and len(trials) > len(analysis.best):
            row["on the front"] = "yes" if trial in analysis.best else "no"
        for place, one in enumerate(analysis.study.objective):
            row[column(one)] = trial.values[place]
            row["std" if not analysis.several else f"{column(one)} (std)"] = analysis.spread(trial, place)
        if analysis.study.halved:
            row[analysis.study.strategy.budget.rpartition(".")[2]] = analysis.budget(trial)
        row |= {short.get(name, name): value for name, value in figures(analysis, trial).items()}
        row |= {analysis.names[key]: text(trial.params[key]) if key in trial.params else None for key in analysis.keys}
        row["experiment"] = next(iter(experiment_names(analysis, trial)), None)
        rows.append(row)
    table = pd.DataFrame(rows, dtype=object)
    return table.dropna(axis="columns", how="all")


def _short_names(analysis: Analysis) -> dict[str, str]:
    """Figures' names without their file, where nothing else has that name."""
    keys = [name.partition(":")[2] for name in analysis.study.figures]
    taken = {*OWN, "std", *analysis.names.values(), *(one.key for one in analysis.study.objective)}
    found = {}
    for name, key in zip(analysis.study.figures, keys, strict=True):
        if keys.count(key) == 1 and key not in taken:
            found |= {name: key, f"{name} (std)": f"{key} (std)"}
    return found


def _everything(analysis: Analysis, campaign: Campaign) -> pd.DataFrame:
    """The whole table for a page: objectives before parameters, short names, nothing empty."""
    table = frame(analysis.study, campaign)
    own = {name for one in analysis.study.objective for name in (column(one), f"{column(one)} (std)")}
    front = [name for name in table if name in own or name in ("index", "label", "state", "budget")]
    last = [name for name in table if name in ("experiments", "commits", "error")]
    table = table[[*front, *[name for name in table if name not in front and name not in last], *last]]
    short = {f"params.{key}": name for key, name in analysis.names.items()}
    return table.rename(columns={**short, "index": "trial"}).dropna(axis="columns", how="all")


def _configurations(analysis: Analysis, campaign: Campaign) -> list[tuple[str, str]]:
    """YAML of the best trial's parameters, all of them, or of each trial on the front."""
    chosen = analysis.best if analysis.several else analysis.best[:1]
    return [
        (f"best-{trial.index:03d}.yaml" if analysis.several else "best.yaml", as_yaml(analysis.study, campaign, trial))
        for trial in chosen
    ]


def _commands(analysis: Analysis, campaign: Campaign) -> list[str]:
    baseline = short(campaign.facts.baseline)
    file = campaign.facts.file
    names = [name for trial in analysis.best[:1] for name in experiment_names(analysis, trial)[:1]]
    file = shlex.quote(file)
    commands = [f"python -m dvcsweep run {file}  # at commit {baseline}", f"dvc exp show --rev {baseline}"]
    return [*commands, *(f"dvc exp apply {name}" for name in names), f"python -m dvcsweep report {file}"]


# Pages


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else printable(str(value), lines=False)


def _fence(text: str) -> str:
    """What no line of a text ends, as the mark of a block of code."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    return "`" * max(3, longest + 1)


def _embedded(picture: Picture, data: bytes) -> dict[str, Any]:
    title = picture.figure.get_suptitle()
    width, height = (int.from_bytes(data[place : place + 4]) for place in (16, 20))
    return {
        "file": f"{picture.name}.png",
        "alt": title,
        "caption": picture.caption.strip(),
        "data": base64.b64encode(data).decode(),
        "width": width,
        "height": height,
    }


def _grid(table: pd.DataFrame, first: set[int] = frozenset()) -> dict[str, Any]:
    """A table as the HTML template takes it; numbers with their values, to be sorted by."""
    rows = [
        {
            "best": row[0] in first,
            "cells": [{"text": _cell(value), "number": _figure(value)} for value in row],
        }
        for row in table.itertuples(index=False, name=None)
    ]
    columns = [
        {"title": name, "number": any(row["cells"][place]["number"] is not None for row in rows)}
        for place, name in enumerate(table)
    ]
    return {"columns": columns, "rows": rows}


def _figure(value: Any) -> str | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return None if isinstance(value, bool) or not math.isfinite(number) else repr(number)


def _html(content: Mapping[str, Any], extra: str) -> str:
    figures = content["statistics"].reset_index(names="figure")
    grids = {
        "best": _grid(content["best"], content["first"]),
        "statistics": _grid(figures),
        "trials": _grid(content["trials"], content["first"]),
    }
    present = {
        "run": "How it was run",
        "best": content["best_heading"] if len(content["best"]) else "",
        "statistics": "Statistics" if len(content["best"]) else "",
        "advice": "What it suggests" if content["advice"] else "",
        "pictures": "Pictures" if content["pictures"] else "",
        "trials": "All trials" if len(content["trials"]) else "",
        "configuration": content["configuration_heading"] if content["configurations"] else "",
        "reproduce": "How to reproduce",
    }
    sections = [(name, heading) for name, heading in present.items() if heading]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(HTML).render(
        **{**content, **grids}, style=STYLE, script=SCRIPT, extra=extra, sections=sections
    )


def _markdown(content: Mapping[str, Any]) -> str:
    """The page as Markdown; no cell holds what would end it."""
    best = content["best"].map(lambda value: markdown(_cell(value))).rename(columns=markdown)
    figures = content["statistics"].map(_cell).rename(index=markdown)
    tables = {
        "best": _grid(content["best"]),
        "best_table": tabulate(best, headers=list(best), showindex=False, tablefmt="github", disable_numparse=True),
        "statistics_table": tabulate(figures, headers=["", *figures], tablefmt="github", disable_numparse=True),
    }
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701, Markdown is no HTML
    environment.filters |= {"plain": markdown, "fence": _fence}
    return environment.from_string(MARKDOWN).render(**{**content, **tables})
