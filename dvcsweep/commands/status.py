"""How a study stands, from its ledger alone."""

from collections import Counter
from pathlib import Path

from dvcsweep import progress
from dvcsweep.plan.studies import Study
from dvcsweep.record.campaigns import driver_of, folder
from dvcsweep.record.ledger import Campaign
from dvcsweep.record.trials import Trial, best_trials
from dvcsweep.repository import Repository

SHOWN = 10


def status(study: Study, repository: Repository, campaign: Campaign) -> str:
    """What is done, running and failed, and the best so far.

    Parameters
    ----------
    study : Study
        The study.
    repository : Repository
        Where.
    campaign : Campaign
        Its newest campaign.

    Returns
    -------
    str
        Lines for a terminal.
    """
    trials = campaign.trials()
    place = folder(repository, study)
    driver = driver_of(place)
    counts = Counter(trial.state for trial in trials)
    parts = [
        f"{counts[state]} {state}" for state in ("complete", "pruned", "failed", "running", "waiting") if counts[state]
    ]
    planned = f" of {study.trials}" if study.trials and study.trials != len(trials) else ""
    lines = [f"{campaign.name}: {len(trials)}{planned} trials: {', '.join(parts) or 'none yet'}"]
    lines.append(f"  run by {driver}" if driver else "  not being run")
    best = best_trials(study, trials)
    for trial in best[: 1 if len(study.objective) == 1 else SHOWN]:
        keys = ", ".join(objective.key for objective in study.objective)
        lines.append(
            f"  best: trial {trial.index}: {keys} {progress.figures_line(trial.values)}  {progress.brief(trial.params)}"
        )
    if driver:
        lines += [
            f"  running: trial {trial.index}  {progress.brief(trial.params)}"
            for trial in trials
            if trial.state == "running"
        ]
    failed = [trial for trial in trials if trial.state == "failed"]
    for trial in failed[:SHOWN]:
        lines += _failure(trial, place)
    if len(failed) > SHOWN:
        lines.append(f"  and {len(failed) - SHOWN} more")
    return "\n".join(lines)


def _failure(trial: Trial, place: Path) -> list[str]:
    lines = [f"  failed: trial {trial.index}  {progress.brief(trial.params)}"]
    lines += [f"    {line}" for line in (trial.error or "").splitlines()]
    for outcome in trial.experiments.values():
        log = place / "logs" / f"{outcome.name}.log"
        if outcome.values is None and log.exists():
            lines.append(f"    whole output: {log}")
    return lines
