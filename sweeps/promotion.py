"""The winner of a search: its configuration as YAML, and as the content of the parameters file."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

from sweeps.errors import StudyError
from sweeps.ledger import Campaign, Trial
from sweeps.repository import Repository, environment, round_trip, write_settings
from sweeps.studies import Study, flatten, nest
from sweeps.trials import best_trials, rung_name


def choose(study: Study, campaign: Campaign, number: int | None = None) -> Trial:
    """The best trial, or the one with a number.

    Raises
    ------
    StudyError
        If it is not complete, or none is.
    """
    trials = campaign.trials()
    if number is not None:
        found = [trial for trial in trials if trial.index == number]
        if not found or found[0].state != "complete":
            state = found[0].state if found else f"not there: {campaign.name} has {len(trials)}"
            raise StudyError(f"trial {number} is {state}; only a complete one can be taken")
        return found[0]
    best = best_trials(study, trials)
    if not best:
        raise StudyError(f"{campaign.name} has no complete trial yet")
    return best[0]


def configuration(study: Study, campaign: Campaign, trial: Trial) -> dict[str, Any]:
    """All parameters of a trial, by key with dots; what is averaged over stays as in the base."""
    settings = {**campaign.facts.get("settings_values", {}), **study.fixed, **trial.params}
    if study.budgets[-1] is not None:
        settings[study.strategy.budget] = study.budgets[-1]
    return settings


def as_yaml(study: Study, campaign: Campaign, trial: Trial) -> str:
    """A trial's configuration as YAML, with a comment that says where it is from."""
    text = io.StringIO()
    for objective, value in zip(study.objective, trial.values, strict=True):
        text.write(f"# {objective.name}: {value:.6g} ({objective.direction}d)\n")
    last = rung_name(study, len(study.budgets) - 1)
    for member, outcome in trial.experiments.items():
        if member.startswith(last):
            text.write(f"# experiment: {outcome['name']}\n")
    round_trip().dump(nest(configuration(study, campaign, trial)), text)
    return text.getvalue()


def promote(study: Study, repository: Repository, campaign: Campaign, trial: Trial) -> None:
    """Write a trial's configuration to the parameters file and run the pipeline, ready to be committed.

    Raises
    ------
    StudyError
        If something is not committed, which the way back would lose (what the search itself has written does not count:
        `report` writes it again); or if the pipeline fails.
    """
    dirty = repository.dirty([str(Path(campaign.facts["file"]).with_suffix(""))], untracked=False)
    if dirty:
        raise StudyError(f"not committed: {', '.join(dirty[:5])}: commit or stash first, so that there is a way back")
    settings = {**configuration(study, campaign, trial), **study.promote}
    before = flatten(repository.content(repository.head, study.params))
    unknown = [key for key in settings if key not in before]
    if unknown:
        raise StudyError(f"{study.params} has no {unknown[0]} any more: promote at the commit the study ran on")
    write_settings(repository.root / study.params, settings)
    for key, value in settings.items():
        if before[key] != value:
            print(f"{study.params}: {key}: {before[key]} -> {value}", flush=True)
    folder = (repository.root / study.pipeline).parent
    done = subprocess.run([sys.executable, "-m", "dvc", "repro"], cwd=folder, env=environment(), check=False)
    if done.returncode:
        raise StudyError("dvc repro failed; back to the last commit: git reset --hard && dvc checkout --force")
    name = list(trial.experiments.values())[-1]["name"]
    print(
        "\nReady to commit:\n  git add --update\n"
        f"  git commit --message 'Promote trial {trial.index} of study {study.name} ({name})'\n"
        "Before that, compare: dvc metrics diff; dvc params diff. "
        "Back instead: git reset --hard && dvc checkout --force"
    )
