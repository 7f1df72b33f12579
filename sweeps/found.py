"""Where a study's results are kept, and how they are found: the live ledger, the committed one, or experiments."""

import shutil
from pathlib import Path

from sweeps.campaigns import begun, belongs, folder
from sweeps.driver import take_over
from sweeps.errors import StudyError
from sweeps.ledger import FILE, Campaign, open_ledger
from sweeps.repository import Repository
from sweeps.studies import Study


def results(path: Path) -> Path:
    """The folder beside a study file that holds its committed results."""
    return path.with_suffix("")


def locate(study: Study, repository: Repository, path: Path) -> Campaign:
    """The newest campaign of a study.

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
        From this clone's ledger; without one, from the ledger beside the study file; without that, rebuilt from the
        experiments.

    Raises
    ------
    StudyError
        If there is nothing of it anywhere.
    """
    live = folder(repository, study) / FILE
    for ledger in (live, results(path) / FILE):
        if ledger.exists():
            campaigns = begun(open_ledger(ledger))
            if campaigns:
                return campaigns[-1]
    if any(belongs(experiment, study.name) for experiment in repository.experiments()):
        return take_over(study, repository, path)
    raise StudyError(
        f"study {study.name} has not been run here, and no results are committed: python -m sweeps run {path}"
    )


def publish_ledger(study: Study, repository: Repository, path: Path) -> None:
    """Copy this clone's ledger beside the study file, to be committed; a committed one without a live one stays."""
    live = folder(repository, study) / FILE
    if live.exists():
        results(path).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(live, results(path) / FILE)
