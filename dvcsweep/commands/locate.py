"""Where a study's results are kept, and how they are found: the live ledger, the committed one, or experiments."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from dvcsweep.errors import StudyError
from dvcsweep.plan.studies import Study
from dvcsweep.record.campaigns import begun, driver_of, folder
from dvcsweep.record.ledger import FILE, Campaign, check_fit, open_ledger
from dvcsweep.repository import Repository


def results(path: Path) -> Path:
    """The folder beside a study file that holds its committed results."""
    return path.with_suffix("")


def locate(study: Study, repository: Repository, path: Path) -> Campaign:
    """The newest campaign of a study as its file stands.

    Parameters
    ----------
    study : Study
        The study.
    repository : Repository
        Where it was run.
    path : Path
        The study file.

    Returns
    -------
    Campaign
        From this clone's ledger or from the one beside the study file, whichever has more finished trials.

    Raises
    ------
    StudyError
        If there is nothing of it anywhere, or only of another definition.
    """
    live = folder(repository, study) / FILE
    committed = results(path) / FILE
    found = [_campaigns(live), _campaigns(committed)]
    if not any(found):
        raise StudyError(
            f"study {study.name} has no ledger here, and no results are committed: python -m dvcsweep run "
            f"{os.path.relpath(path)}"
        )
    same = [[one for one in campaigns if one.facts.fingerprint == study.fingerprint()] for campaigns in found]
    if not any(same):
        other = next(campaigns[-1] for campaigns in found if campaigns)
        raise StudyError(
            f"{os.path.relpath(path)} is not what {other.name} was run with: run it as it is now, or take the old file "
            "back"
        )
    newest = max((campaigns[-1] for campaigns in same if campaigns), key=finished)  # of equals the live one
    check_fit(newest, study)
    return newest


def finished(campaign: Campaign) -> int:
    """How many trials of a campaign are done."""
    return sum(trial.finished for trial in campaign.trials())


def _campaigns(ledger: Path) -> list[Campaign]:
    return begun(open_ledger(ledger)) if ledger.exists() else []


def unwritten(study: Study, repository: Repository, path: Path) -> int:
    """How many experiments there are, on commits that a run would go on from, that no ledger knows.

    DVC's queue makes such, and a ledger that is lost leaves them. None are told while a driver writes them down.
    """
    live = folder(repository, study)
    mine = [experiment for experiment in repository.experiments() if experiment.belongs_to(study.name)]
    if not mine or driver_of(live):
        return 0
    known = [*_campaigns(live / FILE), *_campaigns(results(path) / FILE)]
    bases = {campaign.facts.baseline for campaign in known} | {repository.head}
    written = {
        outcome.commit for campaign in known for trial in campaign.trials() for outcome in trial.experiments.values()
    }
    return sum(one.commit not in written and (not known or one.baseline in bases) for one in mine)


def stale(campaign: Campaign, changed: Sequence[str]) -> str:
    """That results are of another state of the code."""
    shown = ", ".join(changed[:4]) + (", ..." if len(changed) > 4 else "")
    return f"{shown} changed since {campaign.name} began, so its winner is one of other code or data"


def publish_ledger(study: Study, repository: Repository, path: Path) -> bool:
    """Copy this clone's ledger beside the study file, to be committed.

    Returns
    -------
    bool
        Whether the files beside the study are this clone's to write: not if a ledger there holds more than this one.
    """
    live, committed = folder(repository, study) / FILE, results(path) / FILE
    if not live.exists():
        return True
    theirs, ours = _campaigns(committed), _campaigns(live)
    if theirs and (not ours or finished(theirs[-1]) > finished(ours[-1])):
        return False
    committed.parent.mkdir(parents=True, exist_ok=True)
    aside = committed.with_name(f".{FILE}.{os.getpid()}.partial")
    shutil.copyfile(live, aside)
    aside.replace(committed)
    return True
