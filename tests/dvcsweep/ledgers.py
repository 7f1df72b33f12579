"""Ledgers for tests: studies played through with a plain function instead of experiments."""

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from dvcsweep.plan.strategies import make
from dvcsweep.plan.strategies.base import Past
from dvcsweep.plan.studies import Study
from dvcsweep.record.ledger import Campaign, forms, open_ledger
from dvcsweep.record.trials import Outcome, members, rungs

FILE = "metrics/train.json"
BASELINE = "84a7567" + "0" * 33
Made = Mapping[str, Any]  # what an experiment leaves: values, and perhaps metrics, curves, seconds, error


def study(**content: Any) -> Study:
    """A study with one objective unless told otherwise."""
    given = {"name": "demo", "objective": f"{FILE}:validation.loss", "strategy": "grid"} | content
    if not isinstance(given["objective"], list):
        given["objective"] = [given["objective"]]
    return Study.model_validate(given)


def begun(study: Study, folder: Path, settings: Mapping[str, Any]) -> Campaign:
    """A campaign without trials."""
    facts = {
        "file": f"studies/{study.name}.yaml",
        "label": study.name,
        "baseline": BASELINE,
        "settings_values": settings,
        "fingerprint": study.fingerprint(),
        "code": {},
    }
    storage = open_ledger(folder / "ledger.jsonl", write=True)
    return Campaign.begin(storage, f"{study.name}@{BASELINE[:7]}", study, facts)


def played(
    study: Study,
    folder: Path,
    make_outcome: Callable[[dict[str, Any]], Made],
    settings: Mapping[str, Any] | None = None,
) -> Campaign:
    """A campaign with the outcome of every experiment that the study's own strategy asks for."""
    settings = dict(settings or {})
    campaign = begun(study, folder, settings)
    strategy, kinds = make(study, settings), forms(study, settings)
    while True:
        pasts = [_past(study, trial) for trial in campaign.trials()]
        plan = strategy.plan(pasts, study.trials)
        for trial in campaign.trials():
            if plan.climb and not trial.finished and trial.index not in plan.climb:
                campaign.finish(trial.identity, "pruned", [_rungs(study, trial)[-1]])
        for proposal in plan.new:
            trial = campaign.add(len(campaign.trials()), proposal, kinds)
            campaign.begin_trial(trial.identity)
            _run(study, campaign, trial.identity, settings, make_outcome)
        for index in plan.climb:
            _run(study, campaign, campaign.trials()[index].identity, settings, make_outcome)
        if not plan.new and not plan.climb:
            return campaign


def _run(study: Study, campaign: Campaign, identity: int, settings: dict[str, Any], make_outcome: Callable) -> None:
    trial = campaign.trial(identity)
    rung = len(_rungs(study, trial))
    found = []
    for member, extra in members(study, rung):
        wanted = settings | trial.params | extra
        if study.budgets[rung] is not None:
            wanted |= {study.strategy.budget: study.budgets[rung]}
        name = "-".join(filter(None, (study.name, f"{trial.index:03d}", member, BASELINE[:7])))
        made = dict(make_outcome(wanted))
        blank = {"commit": f"{trial.index:07x}" + "0" * 33, "error": None, "seconds": 1.5, "stages": ["train"]}
        outcome = {"name": name, "metrics": {}, "curves": {}} | blank | made
        if outcome["error"]:
            outcome |= {"values": None, "commit": ""}
            campaign.record(identity, member, Outcome.of(outcome))
            return campaign.finish(identity, "failed", None, f"{name}: {outcome['error']}")
        campaign.record(identity, member, Outcome.of(outcome))
        found.append(outcome["values"])
    means = [fmean(column) for column in zip(*found, strict=True)]
    if study.budgets[rung] is not None:
        campaign.report(identity, study.budgets[rung], means[0])
    if rung == len(study.budgets) - 1:
        campaign.finish(identity, "complete", means)
    return None


def _rungs(study: Study, trial: Any) -> list[float]:
    return [values[0] for values in rungs(study, trial)]


def _past(study: Study, trial: Any) -> Past:
    rungs = tuple(_rungs(study, trial)) if study.budgets != [None] else ()
    return Past(trial.index, trial.params, trial.values, True, trial.finished, rungs, trial.notes)
