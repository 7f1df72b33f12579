"""Run a study: ask the strategy, run its trials on workers, write down what comes out, until nothing is left to do.

Every step is written to the ledger before the next one depends on it. A driver that is killed at any point finds, at
its next start, trials waiting or running, experiments that were pushed but not yet written down (taken over by their
names), and left-overs of workers (removed).
"""

import shutil
from pathlib import Path

from dvcsweep import progress
from dvcsweep.errors import StudyError
from dvcsweep.plan.resolution import resolve
from dvcsweep.plan.studies import Study
from dvcsweep.record import campaigns
from dvcsweep.record.ledger import FILE, Campaign, open_ledger
from dvcsweep.repository import Repository
from dvcsweep.running.search import Options, Search

LEAST_SPACE = 100 * 2**20


def run_study(study: Study, repository: Repository, path: Path, options: Options) -> tuple[Study, Campaign, int]:
    """Run a study to its end.

    Parameters
    ----------
    study : Study
        The study.
    repository : Repository
        Where.
    path : Path
        Its file, in the repository.
    options : Options
        From the command line.

    Returns
    -------
    study : Study
    campaign : Campaign
        With every trial in it.
    status : int
        0 if every trial planned is there, 1 if some failed or are still to come.

    Raises
    ------
    StudyError
        If it cannot run at all; nothing has been changed then.
    """
    resolved = resolve(repository, study, repository.head)
    place = campaigns.folder(repository, study)
    free = shutil.disk_usage(repository.root).free
    if free < LEAST_SPACE:
        raise StudyError(f"only {free / 2**20:.0f} MiB of disk space are left: make room first")
    with campaigns.sole_driver(place, study.name):
        storage = open_ledger(place / FILE, write=True)
        with progress.choose(study.name, quiet=options.take_over) as display:
            campaign = campaigns.choose(storage, study, repository, path, resolved, display)
            if campaign.facts.baseline != repository.head:
                resolved = resolve(repository, study, campaign.facts.baseline)
            status = Search(study, repository, campaign, resolved, options, display).run()
    return study, campaign, status
