"""The winner of a search, and its configuration as YAML."""

import io
from typing import Any

from dvcsweep.errors import StudyError
from dvcsweep.plan.studies import Study
from dvcsweep.record.ledger import Campaign
from dvcsweep.record.trials import Trial, best_trials, outcomes
from dvcsweep.settings import nest, round_trip


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
    settings = {**campaign.facts.settings_values, **study.fixed, **trial.params}
    if study.budgets[-1] is not None:
        settings[study.strategy.budget] = study.budgets[-1]
    return settings


def as_yaml(study: Study, campaign: Campaign, trial: Trial) -> str:
    """A trial's configuration as YAML, with a comment that says where it is from."""
    text = io.StringIO()
    for objective, value in zip(study.objective, trial.values, strict=True):
        text.write(f"# {objective.name}: {value:.6g} ({objective.direction}d)\n")
    for outcome in outcomes(study, trial, len(study.budgets) - 1):
        text.write(f"# experiment: {outcome.name}\n")
    round_trip().dump(nest(configuration(study, campaign, trial)), text)
    return text.getvalue()
