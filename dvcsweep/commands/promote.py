"""The winner of a search: its configuration as YAML, and as the content of the parameters file."""

import shlex
import subprocess
import sys
from pathlib import Path

from dvcsweep.errors import StudyError
from dvcsweep.plan.resolution import parameters
from dvcsweep.plan.studies import Study
from dvcsweep.record.ledger import Campaign
from dvcsweep.record.trials import Trial, outcomes
from dvcsweep.repository import Repository, environment
from dvcsweep.results.winner import configuration
from dvcsweep.running.pool import PACKAGE
from dvcsweep.settings import write_settings

START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from dvcsweep.running.runcache import main; sys.exit(main())"


def promote(study: Study, repository: Repository, campaign: Campaign, trial: Trial) -> None:
    """Write a trial's configuration to the parameters file and run the pipeline, ready to be committed.

    Raises
    ------
    StudyError
        If something is not committed, which the way back would lose (what the search itself has written does not count:
        `report` writes it again); or if the pipeline fails.
    """
    dirty = repository.dirty([str(Path(campaign.facts.file).with_suffix(""))], untracked=False)
    if dirty:
        raise StudyError(f"not committed: {', '.join(dirty[:5])}: commit or stash first, so that there is a way back")
    settings = {**configuration(study, campaign, trial), **study.promote}
    before = parameters(repository, study, repository.head)
    unknown = [key for key in settings if key not in before]
    if unknown:
        raise StudyError(f"{study.params} has no {unknown[0]} any more: promote at the commit the study ran on")
    loose = repository.untracked()
    write_settings(repository.root / study.params, settings)
    for key, value in settings.items():
        if before[key] != value:
            print(f"{study.params}: {key}: {before[key]} -> {value}", flush=True)
    folder = (repository.root / study.pipeline).parent
    start = [sys.executable, "-c", START, str(PACKAGE), "repro"]
    done = subprocess.run(start, cwd=folder, env=environment(), check=False)
    if done.returncode:
        raise StudyError("dvc repro failed; back to the last commit: git reset --hard && dvc checkout --force")
    name = outcomes(study, trial, len(study.budgets) - 1)[-1].name
    new = sorted(repository.untracked() - loose)
    print(
        f"\nReady to commit:\n  git add --update{f' && git add {shlex.join(new)}' if new else ''}\n"
        f"  git commit --message 'Promote trial {trial.index} of study {study.name} ({name})'\n"
        "Before that, compare: dvc metrics diff; dvc params diff. "
        "Back instead: git reset --hard && dvc checkout --force"
    )
