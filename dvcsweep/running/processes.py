"""Processes that are marked with the clone they work in: DVC in a fork of the worker, what it starts, their end.

Everything started carries the clone's path in its environment, by which left-overs are found.
"""

import contextlib
import importlib
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil

from dvcsweep.running.channel import Channel
from dvcsweep.running.job import STOPPED, TIMED_OUT, Job

MARK = "SWEEPS_CLONE"
THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
# What `dvc exp run` imports by and by; whichever of them a version of DVC lacks is left to it.
PRELOADED = (
    "celery",
    "dulwich.porcelain",
    "dvc.api",
    "dvc.cli",
    "dvc.commands.experiments.run",
    "dvc.repo.experiments.executor.base",
    "dvc.repo.experiments.queue.celery",
    "dvc.repo.experiments.queue.workspace",
    "dvc.repo.reproduce",
    "dvc.stage.cache",
    "dvc_render",
    "networkx",
    "pygit2",
    "requests",
    "scmrepo.git.backend.pygit2",
)


def forked(job: Job, arguments: Sequence[str], channel: Channel) -> int:
    """A command of DVC's in a fork of this process, which has DVC imported.

    Parameters
    ----------
    job : Job
        Where, with which log and time limit.
    arguments : sequence of str
        What follows `dvc`.
    channel : Channel
        Asked again and again; when the driver is gone, all that was started is killed and this process ends.

    Returns
    -------
    int
        Exit status; the negative number of a signal that ended it; `TIMED_OUT` if it took longer than allowed;
        `STOPPED` if the driver wanted that.
    """
    begin = time.perf_counter()
    watched = job.watched and list(arguments[:2]) == ["exp", "run"]
    channel.watch(Path(job.clone) / job.watched if watched else None)
    child = os.fork()
    if child == 0:
        _become_dvc(job, arguments)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        wanted = channel.says(job)
        if wanted == "gone":
            end_marked(Path(job.clone), spare=os.getpid())
            os._exit(1)
        late = job.seconds is not None and time.perf_counter() - begin > job.seconds
        if wanted == "stop" or late:
            end_marked(Path(job.clone), spare=os.getpid())
            with contextlib.suppress(ChildProcessError):  # psutil has waited for it already
                os.waitpid(child, 0)
            return STOPPED if wanted == "stop" else TIMED_OUT


def _become_dvc(job: Job, arguments: Sequence[str]) -> None:
    """In the child: run DVC's command line and end the process."""
    status = 1
    try:
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # or the driver would not notice the worker's death
        log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, nothing), (1, log), (2, log)):
            os.dup2(source, target)
        os.chdir((Path(job.clone) / job.pipeline).parent)
        os.environ |= {name: str(job.threads) for name in THREADS} | job.variables
        from dvcsweep.running.runcache import main as dvc

        status = dvc(list(arguments))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def end_marked(folder: Path, spare: int = 0) -> int:
    """Kill every process marked with a clone, or any clone in a folder; until none is left, since one may start others.

    Returns
    -------
    int
        How many were killed.
    """
    killed = 0
    for _ in range(50):
        found = [process for process in _marked(folder) if process.pid != spare]
        if not found:
            break
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
                killed += 1
        psutil.wait_procs(found, timeout=1)
    return killed


def _marked(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            mark = process.environ().get(MARK)
            if mark and Path(mark).is_relative_to(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def preload(modules: Iterable[str] = PRELOADED) -> None:
    """Import what every `dvc exp run` needs."""
    for module in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
