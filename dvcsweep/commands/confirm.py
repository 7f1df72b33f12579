"""Is the best of a search really better? The best few again with seeds the search did not see, beside two rivals.

The best of many trials has been lucky too: its figure is the smallest of many noisy ones. Here the best few, the base
without any search, and the best of a random search of equal cost are each run with the same several new seeds.
"""

import io
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from tabulate import tabulate

from dvcsweep import naming
from dvcsweep.errors import StudyError
from dvcsweep.files import write_whole
from dvcsweep.plan.studies import HalvingSettings, PointsSettings, RandomSettings, Study
from dvcsweep.record.ledger import Campaign
from dvcsweep.record.trials import Trial, best_trials, members
from dvcsweep.repository import Repository
from dvcsweep.running.driver import run_study
from dvcsweep.running.search import Options

BASE, RIVAL = "base", "random"


def confirm(
    study: Study, campaign: Campaign, repository: Repository, path: Path, top: int, seeds: int, options: Options
) -> tuple[Study, pd.DataFrame]:
    """Run the best few, the base and a random search's best with several seeds each.

    Parameters
    ----------
    study, campaign : Study, Campaign
        A search that is done.
    repository, path : Repository, Path
        Where, and its file.
    top : int
        How many of the best trials.
    seeds : int
        How many seeds each, at least two.
    options : Options
        Jobs and limits for these runs too.

    Returns
    -------
    study : Study
        The confirmation, as a study of its own.
    table : DataFrame
        See `compare`.

    Raises
    ------
    StudyError
        If the study cannot be confirmed.
    """
    check(study, path, seeds)
    best = best_trials(study, campaign.trials())[:top]
    if not best:
        raise StudyError(f"{campaign.name} has no complete trial to confirm")
    new_seeds = _new_seeds(study, campaign, seeds)
    end = time.monotonic() + options.minutes * 60 if options.minutes else None
    points: dict[str, dict[str, Any]] = {f"best-{place + 1}": trial.params for place, trial in enumerate(best)}
    points[BASE] = {}
    rival = _random_search(study, campaign, repository, path, _remaining(options, end))
    if rival is not None:
        points[RIVAL] = rival.params
    again = study.model_copy(
        update={
            "name": naming.confirmation(study.name),
            "strategy": PointsSettings(kind="points", points=points),
            "space": {},
            "trials": None,
            "fixed": _fixed(study),
            "average_over": {**study.average_over, study.seed_parameter: new_seeds},
        }
    )
    _, confirmed, status = run_study(again, repository, path, _remaining(options, end))
    if status:
        raise StudyError("the confirmation is not complete: run the same command again to go on")
    return again, compare(again, confirmed.trials())


def check(study: Study, path: Path, seeds: int) -> None:
    """Raise StudyError if a study cannot be confirmed, whatever comes out of it."""
    if study.seed_parameter is None:
        raise StudyError(
            f"study {study.name}: seed_parameter: missing, but --confirm varies training's seed: name the parameter "
            "that holds it, such as `seed_parameter: train.seed`"
        )
    if len(study.objective) > 1:
        raise StudyError(
            f"study {study.name}: --confirm compares by one objective, but there are {len(study.objective)}"
        )
    if seeds < 2:
        raise StudyError(f"--seeds {seeds}: the spread over seeds needs at least 2")
    for name in naming.family(study.name)[1:]:
        if path.with_name(f"{name}.yaml").exists():
            raise StudyError(f"the name {name} is used already, by {path.with_name(f'{name}.yaml')}: rename that study")


def _remaining(options: Options, end: float | None) -> Options:
    """The same options without a limit on trials, and with the time that is left."""
    minutes = None if end is None else max((end - time.monotonic()) / 60, 1e-6)
    return replace(options, trials=None, minutes=minutes)


def _new_seeds(study: Study, campaign: Campaign, count: int) -> list[int]:
    """Seeds above every one that the search has used."""
    key = study.seed_parameter
    used = [campaign.facts.settings_values[key], *study.average_over.get(key, [])]
    used += [trial.params[key] for trial in campaign.trials() if key in trial.params]
    if not all(isinstance(seed, int) and not isinstance(seed, bool) for seed in used):
        raise StudyError(f"study {study.name}: seed_parameter: {key} is {used[0]!r}, but --confirm counts seeds up")
    return [max(used) + 1 + place for place in range(count)]


def _random_search(
    study: Study, campaign: Campaign, repository: Repository, path: Path, options: Options
) -> Trial | None:
    """Best trial of a random search of the same cost; None, and why, where there is nothing to compare with."""
    cost = equal_cost(study, campaign.trials())
    finite = study.space and all(dimension.finite for dimension in study.space.values())
    if isinstance(study.strategy, RandomSettings):
        print("No random search beside it: the study is one.")
    elif not study.space:
        print("No random search beside it: the study has no space to draw from.")
    elif finite and math.prod(len(dimension.all_values()) for dimension in study.space.values()) <= cost:
        print("No random search beside it: at equal cost it would try every point, as the study may have.")
    else:
        update = {
            "name": naming.random_search(study.name),
            "strategy": RandomSettings(kind="random"),
            "trials": cost,
            "fixed": _fixed(study),
        }
        search = study.model_copy(update=update)
        _, found, status = run_study(search, repository, path, options)
        if status:
            raise StudyError("the random search is not complete: run the same command again to go on")
        return best_trials(search, found.trials())[0]
    return None


def equal_cost(study: Study, trials: Sequence[Trial]) -> int:
    """How many trials of a random search cost as much as these, in the unit of the largest budget."""
    if isinstance(study.strategy, HalvingSettings):
        spent = sum(
            budget
            for trial in trials
            for rung, budget in enumerate(study.budgets)
            if any(member in trial.experiments for member, _ in members(study, rung))
        )
        return max(1, round(spent / study.budgets[-1]))
    return len(trials)


def _fixed(study: Study) -> dict[str, Any]:
    """Fixed settings, the budget at its largest among them."""
    if isinstance(study.strategy, HalvingSettings):
        return {**study.fixed, study.strategy.budget: study.budgets[-1]}
    return dict(study.fixed)


def compare(study: Study, trials: Sequence[Trial]) -> pd.DataFrame:
    """Each point's objective over the seeds, beside the base's.

    Parameters
    ----------
    study : Study
        A confirmation.
    trials : sequence of Trial
        Its trials, complete.

    Returns
    -------
    DataFrame
        A row for each point: mean, standard deviation, smallest and largest over the seeds; how much better than the
        base it is on average (gain) and than best-1 (lead), each with the 95 % interval of the paired differences.
    """
    seeds = study.average_over[study.seed_parameter]
    figures = {trial.label: np.array([_mean_of(study, trial, seed) for seed in seeds]) for trial in trials}
    sense = study.objective[0].sign
    rows = []
    for trial in trials:
        values = figures[trial.label]
        row = {"point": trial.label, "mean": values.mean(), "std": values.std(ddof=1)}
        row |= {"min": values.min(), "max": values.max()}
        for prefix, rival in (("gain", BASE), ("lead", "best-1")):
            low, mean, high = interval(sense * (figures[rival] - values))
            row |= {prefix: mean, f"{prefix}_low": low, f"{prefix}_high": high}
        rows.append(row | {f"params.{key}": value for key, value in trial.params.items()})
    return pd.DataFrame(rows)


def interval(differences: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean of paired differences (S,) between its 95 % limits (Student's t, S - 1 degrees of freedom)."""
    half = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
    return differences.mean() - half, differences.mean(), differences.mean() + half


def _mean_of(study: Study, trial: Trial, seed: int) -> float:
    """Mean over the other things averaged over, at one seed."""
    chosen = [member for member, settings in members(study, 0) if settings[study.seed_parameter] == seed]
    return fmean(trial.experiments[member].values[0] for member in chosen)


def in_words(study: Study, table: pd.DataFrame) -> str:
    """What a comparison shows, as Markdown."""
    key, seeds = study.objective[0].key, len(study.average_over[study.seed_parameter])
    lines = [
        f"`{key}` with {seeds} seeds that the search did not see ({study.seed_parameter} "
        f"{', '.join(map(str, study.average_over[study.seed_parameter]))}); gain: how much better than the base, "
        "paired by seed, with its 95 % interval.",
        "",
    ]
    titles = ("point", "mean", "std", "gain over the base", "95 % interval")
    rows = [_row(row) for row in table.to_dict("records")]
    shown = tabulate(rows, titles, tablefmt="github", disable_numparse=True)
    return "\n".join([*lines, shown, "", *_verdicts(table)]) + "\n"


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    gain, interval = f"{row['gain']:.4g}", f"{row['gain_low']:.4g} to {row['gain_high']:.4g}"
    if row["point"] == BASE:
        gain = interval = ""  # it is what the others gain over
    return row["point"], f"{row['mean']:.5g}", f"{row['std']:.2g}", gain, interval


def _verdicts(table: pd.DataFrame) -> list[str]:
    rows = {row["point"]: row for row in table.to_dict("records")}
    first = rows["best-1"]
    found = []
    if first["gain_low"] > 0:
        found.append("The search's best is better than the base, beyond the spread over seeds.")
    elif first["gain_high"] < 0:
        found.append("The search's best is worse than the base: it had been lucky.")
    else:
        found.append("The search's best and the base cannot be told apart by these seeds.")
    for name, row in rows.items():
        if name in ("best-1", BASE):
            continue
        other = "the best of a random search at equal cost" if name == RIVAL else name
        if row["lead_low"] > 0:
            found.append(f"{other[0].upper()}{other[1:]} is better than best-1, beyond the spread over seeds.")
        elif row["lead_high"] < 0:
            found.append(f"Best-1 is better than {other}, beyond the spread over seeds.")
        else:
            found.append(f"Best-1 and {other} cannot be told apart by these seeds.")
    return found


def write(study: Study, table: pd.DataFrame, folder: Path) -> None:
    """Write the comparison as confirm.csv and confirm.md."""
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    table.to_csv(text, index=False, float_format="%.8g", lineterminator="\n")
    write_whole(folder / "confirm.csv", text.getvalue())
    write_whole(folder / "confirm.md", f"# Study {study.name}\n\n{in_words(study, table)}")
