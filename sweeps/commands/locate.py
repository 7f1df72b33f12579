"""Where a study's results are kept, and how they are found: the live ledger, the committed one, or experiments."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from sweeps.errors import StudyError
from sweeps.plan.studies import Study
from sweeps.record.campaigns import begun, driver_of, folder
from sweeps.record.ledger import FILE, Campaign, check_fit, open_ledger
from sweeps.repository import Repository
from sweeps.running.driver import take_over


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
        From this clone's ledger or from the one beside the study file, whichever has more finished trials; with
        experiments that are here but in neither, such as those that DVC's queue has made, taken over first.

    Raises
    ------
    StudyError
        If there is nothing of it anywhere, or only of another definition.
    """
    live = folder(repository, study) / FILE
    committed = results(path) / FILE
    if _unwritten(study, repository, (live, committed)) and not driver_of(live.parent):
        take_over(study, repository, path)
    found = [_campaigns(live), _campaigns(committed)]
    if not any(found):
        raise StudyError(f"study {study.name} has not been run here, and no results are committed: sweeps run {path}")
    same = [[one for one in campaigns if one.facts["fingerprint"] == study.fingerprint()] for campaigns in found]
    if not any(same):
        other = next(campaigns[-1] for campaigns in found if campaigns)
        raise StudyError(
            f"{path} is not what {other.name} was run with: run it as it is now, or take the old file back"
        )
    newest = max((campaigns[-1] for campaigns in same if campaigns), key=finished)  # of equals the live one
    check_fit(newest, study)
    return newest


def finished(campaign: Campaign) -> int:
    """How many trials of a campaign are done."""
    return sum(trial.finished for trial in campaign.trials())


def _campaigns(ledger: Path) -> list[Campaign]:
    return begun(open_ledger(ledger)) if ledger.exists() else []


def _unwritten(study: Study, repository: Repository, ledgers: Iterable[Path]) -> bool:
    """Whether there are experiments that no ledger knows, on the commit that a run would go on from."""
    mine = [experiment for experiment in repository.experiments() if experiment.belongs_to(study.name)]
    if not mine:
        return False
    campaigns = [campaign for ledger in ledgers for campaign in _campaigns(ledger)]
    bases = {campaign.facts["baseline"] for campaign in campaigns} | {repository.head}
    known = {
        outcome.commit
        for campaign in campaigns
        for trial in campaign.trials()
        for outcome in trial.experiments.values()
    }
    return any(one.commit not in known and (not campaigns or one.baseline in bases) for one in mine)


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
