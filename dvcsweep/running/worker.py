"""Run one experiment in a clone of the repository; and a process that does so for one job after the other.

A worker has a clone of its own of the commit that the study is based on, with DVC's cache shared, so that the user may
edit and commit meanwhile. For each job: reset the clone, write the parameters, `dvc exp run`, check by the reference
that the experiment is there and holds the parameters wanted, read the figures at its commit, push the one reference.

A worker is started once and imports DVC once; each `dvc exp run` is a fork of it, which saves most of DVC's own time a
trial. A worker ends, with all it has started, when its standard input does: a killed driver leaves nothing behind.
"""

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath

from dvcsweep.errors import KilledError, NotFiniteError, StudyError
from dvcsweep.record.trials import Outcome
from dvcsweep.repository import RECEIVE, Repository, git, reference
from dvcsweep.running.channel import Channel, so_far
from dvcsweep.running.clones import PATIENCE, prepare, remove, transfer
from dvcsweep.running.handover import as_attempt, fetched_commit, hand_over, persist
from dvcsweep.running.job import STOPPED, TIMED_OUT, Job, Runner, output, reason
from dvcsweep.running.processes import forked, preload
from dvcsweep.settings import curve, flatten, number

PUSH = ("--quiet", "--no-verify", "--no-signed", "--recurse-submodules=no")
MISSING = re.compile(r"No such file or directory: ['\"]([^'\"]+)['\"]")
ATTEMPTS = 3
# SIGKILL and SIGTERM, as Python says it and as a shell does; a segmentation fault is the stage's own doing.
KILLED = re.compile(r"exited with (-9|-15|137|143)\b|^git \S+: (gave -(9|15)\b|Killed)|died of signal (9|15)\b")


def run(job: Job, dvc: Runner) -> Outcome:
    """Run a job in its clone.

    Parameters
    ----------
    job : Job
        What to run.
    dvc : callable
        Runs a command of DVC's in the prepared clone and gives its exit status.

    Returns
    -------
    Outcome
        With the error in it if it failed; then the clone is removed, whatever state it is in.
    """
    clone, ref = Path(job.clone), reference(job.baseline, job.name)
    try:
        prepare(job, dvc)
        if job.exchange and (commit := fetched_commit(clone, job.exchange, ref)):
            return read(job, Repository(clone), commit)
        begin = time.perf_counter()
        status = dvc(job, ["exp", "run", "--name", job.name, *(["--force"] if job.force else [])])
        seconds = time.perf_counter() - begin
        commit = git(clone, "rev-parse", "--verify", "--quiet", ref, check=False)
        if status == STOPPED:
            shown = {file: found for file in job.curves if (found := so_far(clone / file)) is not None}
            remove(clone)
            return Outcome(job.name, stopped=True, curves=shown)
        if status or not commit:
            raise StudyError(reason(job, status) + (" (stop.trial_minutes)" if status == TIMED_OUT else ""))
        outcome = read(job, Repository(clone), commit)
        if job.exchange:
            first = hand_over(clone, job.exchange, ref, transfer(job, dvc, "push"))
            if first != commit:
                return read(job, Repository(clone), first)
        else:
            persist(push(job, ref, commit), PATIENCE)
    except Exception as error:  # whatever it is, it is this one experiment's
        remove(clone)
        text = str(error) if isinstance(error, StudyError | KilledError) else f"{type(error).__name__}: {error}"
        text = text.replace(f"{clone}/", "")  # ledgers are committed: no folder of this machine
        return Outcome(
            job.name,
            error=text + _hint(job, text),
            diverged=isinstance(error, NotFiniteError),
            interrupted=KILLED.search(text) is not None,
        )
    ran = re.findall(r"^Running stage '([^']+)'", output(job.log), re.MULTILINE)
    own = set(job.varied) <= set(ran) and bool(ran)
    return replace(outcome, seconds=round(seconds, 3) if own else None, stages=ran)


def push(job: Job, ref: str, commit: str) -> Callable[[], str | None]:
    """Push an experiment to the user's repository, as an attempt.

    The user may run `git gc` there meanwhile. It drops what came after it looked for references, so that an experiment
    is there for good only where one that runs has ended; Git killed half-way leaves the reference locked.
    """
    theirs = Repository(Path(job.root))

    def action() -> None:
        theirs.unlock_reference(ref)
        theirs.await_gc()
        git(Path(job.clone), "push", *PUSH, RECEIVE, job.root, f"+{ref}:{ref}")
        theirs.await_gc()
        if not theirs.whole([commit], job.baseline):
            git(theirs.root, "update-ref", "-d", ref)
            raise StudyError(f"git gc in {job.root} has dropped {job.name} while it came")

    return as_attempt(action)


def read(job: Job, repository: Repository, commit: str) -> Outcome:
    """An experiment's figures, at its commit.

    Raises
    ------
    StudyError
        If it has other parameters than the job's, or an objective that is missing or not a number.
    """
    found = flatten(repository.content(commit, job.params))
    wrong = [key for key, value in job.settings.items() if found.get(key) != value]
    if wrong:
        raise StudyError(
            f"experiment {job.name} has {wrong[0]} {found.get(wrong[0])!r} where {job.settings[wrong[0]]!r} was wanted"
        )
    contents = {file: repository.content(commit, file) for file, _ in job.objectives}
    values = [number(contents[file], file, key) for file, key in job.objectives]
    for file in job.metrics:
        if file not in contents:
            with contextlib.suppress(StudyError):
                contents[file] = repository.content(commit, file)
    figures = {f"{file}:{key}": value for file, content in contents.items() for key, value in flatten(content).items()}
    curves = {}
    for file in job.curves:
        text = repository.read(commit, file)
        if text is not None:
            with contextlib.suppress(StudyError):
                curves[file] = curve(file, text)
    return Outcome(job.name, commit, values, metrics=figures, curves=curves)


def _hint(job: Job, text: str) -> str:
    """What to do where a stage missed a file that is there, but not in the clone."""
    for name in MISSING.findall(text):
        for folder in (PurePosixPath(job.pipeline).parent, PurePosixPath()):
            path = os.path.normpath(folder / name)
            if not job.exchange and not path.startswith(("/", "..")) and Path(job.root, path).exists():
                return f"\n{path} is here, but no clone has it: name it under `copy` in the study, or commit it"
    return ""


def main() -> None:
    """Read jobs from standard input, one a line as JSON; answer each with its outcome; end with the input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to heed
    channel = Channel(os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    preload()
    while job := channel.next():
        channel.answer(asdict(run(job, lambda job, arguments: forked(job, arguments, channel))))


if __name__ == "__main__":
    main()
