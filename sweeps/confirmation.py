"""Is the best of a search really better? The best few again with seeds the search did not see, beside two rivals.

The best of many trials has been lucky too: its figure is the smallest of many noisy ones. Here the best few, the base
without any search, and the best of a random search of equal cost are each run with the same several new seeds.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from sweeps.driver import Options, best_trials, members, run_study
from sweeps.errors import StudyError
from sweeps.ledger import Campaign, Trial
from sweeps.repository import Repository
from sweeps.strategies.base import SENSE
from sweeps.studies import Halving, Points, Random, Study

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
    if study.seed_parameter is None:
        raise StudyError(f"study {study.name}: seed_parameter: missing, but --confirm varies training's seed")
    if len(study.objective) > 1:
        raise StudyError(
            f"study {study.name}: --confirm compares by one objective, but there are {len(study.objective)}"
        )
    if seeds < 2:
        raise StudyError(f"--seeds {seeds}: the spread over seeds needs at least 2")
    best = best_trials(study, campaign.trials())[:top]
    if not best:
        raise StudyError(f"{campaign.name} has no complete trial to confirm")
    points: dict[str, dict[str, Any]] = {f"best-{place + 1}": trial.params for place, trial in enumerate(best)}
    points[BASE] = {}
    rival = _random_search(study, repository, path, options)
    if rival is not None:
        points[RIVAL] = rival.params
    again = _again(study, campaign, points, seeds)
    _, confirmed, status = run_study(again, repository, path, options)
    if status:
        raise StudyError("the confirmation is not complete: run the same command again to go on")
    return again, compare(again, confirmed.trials())


def _random_search(study: Study, repository: Repository, path: Path, options: Options) -> Trial | None:
    """Best trial of a random search of the same cost; None where the study is one, or has no space to draw from."""
    if isinstance(study.strategy, Random) or not study.space:
        return None
    search = study.model_copy(
        update={
            "name": f"{study.name}-random",
            "strategy": Random(kind="random"),
            "trials": equal_cost(study),
            "fixed": _fixed(study),
        }
    )
    _, campaign, _ = run_study(search, repository, path, options)
    best = best_trials(search, campaign.trials())
    if not best:
        raise StudyError(f"{campaign.name} has no complete trial to compare with")
    return best[0]


def equal_cost(study: Study) -> int:
    """Trials that cost as much as the study's, in the unit of its largest budget."""
    if isinstance(study.strategy, Halving):
        budgets, factor = study.budgets, study.strategy.factor
        spent = sum(budget * max(1, study.trials // factor**rung) for rung, budget in enumerate(budgets))
        return max(1, round(spent / budgets[-1]))
    from sweeps.strategies import make

    return study.trials or len(make(study, dict(study.base or {})).plan([], None).new)


def _fixed(study: Study) -> dict[str, Any]:
    """Fixed settings, the budget at its largest among them."""
    if isinstance(study.strategy, Halving):
        return {**study.fixed, study.strategy.budget: study.budgets[-1]}
    return dict(study.fixed)


def _again(study: Study, campaign: Campaign, points: dict[str, dict[str, Any]], seeds: int) -> Study:
    first = campaign.facts["settings_values"][study.seed_parameter] + 1
    others = {key: values for key, values in study.average_over.items() if key != study.seed_parameter}
    return study.model_copy(
        update={
            "name": f"{study.name}-confirm",
            "strategy": Points(kind="points", points=points),
            "space": {},
            "trials": None,
            "fixed": _fixed(study),
            "average_over": {**others, study.seed_parameter: list(range(first, first + seeds))},
        }
    )


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
        A row for each point: mean, standard deviation, smallest and largest over the seeds; and how much better than
        the base it is on average, with the 95 % interval of the paired differences (Student's t over the seeds).
    """
    seeds = study.average_over[study.seed_parameter]
    figures = {trial.label: np.array([_mean_of(study, trial, seed) for seed in seeds]) for trial in trials}
    sense = SENSE[study.objective[0].direction]
    rows = []
    for trial in trials:
        values = figures[trial.label]
        gains = sense * (figures[BASE] - values)
        half = stats.t.ppf(0.975, len(gains) - 1) * stats.sem(gains)
        rows.append(
            {
                "point": trial.label,
                "mean": values.mean(),
                "std": values.std(ddof=1),
                "min": values.min(),
                "max": values.max(),
                "gain": gains.mean(),
                "gain_low": gains.mean() - half,
                "gain_high": gains.mean() + half,
                **{f"params.{key}": value for key, value in trial.params.items()},
            }
        )
    return pd.DataFrame(rows)


def _mean_of(study: Study, trial: Trial, seed: int) -> float:
    """Mean over the other things averaged over, at one seed."""
    chosen = [member for member, settings in members(study) if settings[study.seed_parameter] == seed]
    return fmean(trial.experiments[member]["values"][0] for member in chosen)


def in_words(study: Study, table: pd.DataFrame) -> str:
    """What a comparison shows, as Markdown."""
    key, seeds = study.objective[0].key, len(study.average_over[study.seed_parameter])
    lines = [
        f"`{key}` with {seeds} seeds that the search did not see ({study.seed_parameter} "
        f"{', '.join(map(str, study.average_over[study.seed_parameter]))}); gain: how much better than the base, "
        "paired by seed, with its 95 % interval.",
        "",
        "| point | mean | std | gain over the base | 95 % interval |",
        "|---|---|---|---|---|",
    ]
    for row in table.to_dict("records"):
        interval = "" if row["point"] == BASE else f"{row['gain_low']:.4g} to {row['gain_high']:.4g}"
        gain = "" if row["point"] == BASE else f"{row['gain']:.4g}"
        lines.append(f"| {row['point']} | {row['mean']:.5g} | {row['std']:.2g} | {gain} | {interval} |")
    lines += ["", *_verdicts(table)]
    return "\n".join(lines) + "\n"


def _verdicts(table: pd.DataFrame) -> list[str]:
    rows = {row["point"]: row for row in table.to_dict("records")}
    first = rows["best-1"]
    found = []
    if first["gain_low"] > 0:
        found.append("The search's best is better than the base, beyond the spread over seeds.")
    elif first["gain_high"] < 0:
        found.append("The search's best is worse than the base: it won by luck.")
    else:
        found.append("The search's best and the base cannot be told apart by these seeds.")
    order = max((name for name in rows if name.startswith("best-")), key=lambda name: rows[name]["gain"])
    if order != "best-1":
        found.append(f"With these seeds {order} comes out ahead of best-1: their order in the search was chance.")
    if RIVAL in rows:
        ahead = first["gain"] - rows[RIVAL]["gain"]
        than = "better" if ahead > 0 else "no better"
        found.append(
            f"It is {than} than the best of a random search at equal cost (difference of the means {ahead:.4g})."
        )
    return found


def write(study: Study, table: pd.DataFrame, folder: Path) -> None:
    """Write the comparison as confirm.csv and confirm.md."""
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    table.to_csv(text, index=False, float_format="%.8g", lineterminator="\n")
    (folder / "confirm.csv").write_text(text.getvalue(), encoding="utf-8")
    (folder / "confirm.md").write_text(f"# Study {study.name}\n\n{in_words(study, table)}", encoding="utf-8")
