"""Put a study's trials into DVC's own queue, for `dvc queue start` to run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from dvcsweep import naming
from dvcsweep.errors import StudyError
from dvcsweep.plan.resolution import parameters, resolve
from dvcsweep.plan.strategies import make
from dvcsweep.plan.studies import AdaptiveSettings, CoarseToFineSettings, HalvingSettings, Study
from dvcsweep.record.trials import members
from dvcsweep.repository import Repository, dvc_folder, environment


def enqueue(study: Study, repository: Repository, limit: int | None) -> int:
    """Queue every trial that is not there yet.

    Parameters
    ----------
    study : Study
        One whose trials do not depend on each other's results.
    repository : Repository
        Where; DVC queues the work tree as it is, so everything must be committed.
    limit : int or None
        Trials at most.

    Returns
    -------
    int
        How many experiments were queued.
    """
    if isinstance(study.strategy, AdaptiveSettings | CoarseToFineSettings | HalvingSettings):
        raise StudyError(
            f"strategy {study.strategy.kind} learns from finished trials, but a queue is filled beforehand: use `run`"
        )
    dirty = repository.dirty(untracked=False)
    if dirty:
        raise StudyError(
            f"not committed: {', '.join(dirty[:5])}: DVC would queue these changes too, so commit them first"
        )
    resolved = resolve(repository, study, repository.head)
    if resolved.hidden:
        raise StudyError(
            f"DVC's run-cache takes no notice of {', '.join(resolved.hidden)}, since it leaves out names such as size: "
            "its queue would give the first trial's figures to all; use `run`, which tells them apart"
        )
    settings = resolved.settings
    committed = parameters(repository, study, repository.head)
    there = {experiment.name for experiment in repository.experiments() if experiment.baseline == repository.head}
    there |= _queued(repository, study)
    count = 0
    for name, wanted in _experiments(study, settings, limit, repository.head):
        if name not in there:
            _queue(repository, study, name, {key: value for key, value in wanted.items() if committed[key] != value})
            count += 1
    return count


def _experiments(
    study: Study, settings: dict[str, Any], limit: int | None, baseline: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    for index, proposal in enumerate(make(study, settings).plan([], study.at_most(limit)).new):
        for member, changes in members(study, 0):
            name = naming.experiment(study.name, index, member, baseline)
            yield name, {**settings, **proposal.params, **changes}


def _dvc(repository: Repository, study: Study, *arguments: str) -> str:
    """Output of a DVC command at the top of the DVC repository."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=dvc_folder(repository.root, study.pipeline).parent,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StudyError(f"dvc {' '.join(arguments[:2])}: {done.stderr.strip()}")
    return done.stdout


def _queued(repository: Repository, study: Study) -> set[str]:
    """Names that wait or run in DVC's queue."""
    lines = [line.split() for line in _dvc(repository, study, "queue", "status").splitlines()]
    return {line[1] for line in lines if len(line) > 1 and line[-1] in ("Queued", "Running")}


def _queue(repository: Repository, study: Study, name: str, changes: dict[str, Any]) -> None:
    folder = dvc_folder(repository.root, study.pipeline).parent
    file, pipeline = (os.path.relpath(repository.root / name, folder) for name in (study.params, study.pipeline))
    prefix = "" if file == "params.yaml" else f"{file}:"
    target = [] if pipeline == "dvc.yaml" else [pipeline]  # the queue's own folders are entered at the top
    arguments = [
        part for key, value in changes.items() for part in ("--set-param", f"{prefix}{key}={as_override(value)}")
    ]
    force = ["--force"] if study.timed else []
    _dvc(repository, study, "exp", "run", "--queue", "--name", name, *force, *arguments, *target)
    print(f"queued {name}", flush=True)


def as_override(value: Any) -> str:
    """A value in the grammar of Hydra, which reads what `--set-param` is given."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(as_override, value))}]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return repr(value)
