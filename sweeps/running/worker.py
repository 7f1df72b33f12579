"""Run one experiment in a clone of the repository; and a process that does so for one job after the other.

A worker has a clone of its own of the commit that the study is based on, with DVC's cache shared, so that the user may
edit and commit meanwhile. For each job: reset the clone, write the parameters, `dvc exp run`, check by the reference
that the experiment is there and holds the parameters wanted, read the figures at its commit, push the one reference.

A worker is started once and imports DVC once; each `dvc exp run` is a fork of it, which saves most of DVC's own time a
trial. A worker ends, with all it has started, when its standard input does: a killed driver leaves nothing behind.
Everything started carries the clone's path in its environment, by which left-overs are found.
"""

import contextlib
import importlib
import json
import os
import re
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from sweeps.errors import StudyError
from sweeps.record.trials import Outcome
from sweeps.repository import RECEIVE, Repository, dvc_folder, git, reference
from sweeps.running.handover import LONGEST_TRANSFER, Exchange, hand_over, mirror, persist, there
from sweeps.settings import curve, flatten, number, write_settings

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
    "dvc_render",
    "networkx",
    "pygit2",
    "requests",
    "scmrepo.git.backend.pygit2",
)
ATTEMPTS = 3
POLL = 0.02
# SIGKILL and SIGTERM, as Python says it and as a shell does; a segmentation fault is the stage's own doing.
KILLED = re.compile(r"exited with (-9|-15|137|143)\b")
QUIET_LINES = ("Reproducing experiment", "Running stage", "> ", "Stage '", "Updating lock", "To track", "\tgit add")


@dataclass(frozen=True)
class Job:
    """One experiment to be run.

    Attributes
    ----------
    name : str
        The experiment's.
    baseline : str
        Commit to base it on.
    root, clone, cache, log : str
        The user's repository; the clone to work in, made if need be; DVC's cache; where DVC's output goes.
    pipeline, params : str
        dvc.yaml and parameters file, relative to the top.
    settings : dict
        All parameters by key with dots.
    objectives : list of (str, str)
        File and key of each.
    metrics, curves : list of str
        Further metrics files and tables to be kept, where they exist.
    varied : list of str
        Stages that read a parameter the study varies: if one of them did not run, the time is not this trial's own.
    outputs : list of str
        What stages make: left where it is between experiments, since DVC brings it up to date itself.
    force : bool
        Run every stage anew.
    threads : int
        For each library that asks the environment.
    seconds : float or None
        Time allowed.
    variables : dict of str to str
        Further variables of the environment.
    exchange : Exchange or None
        Where the machine shares nothing with the user's repository: `root` is then a bare copy of this machine's own.
    """

    name: str
    baseline: str
    root: str
    clone: str
    cache: str
    log: str
    pipeline: str
    params: str
    settings: dict[str, Any]
    objectives: list[tuple[str, str]]
    metrics: list[str] = field(default_factory=list)
    curves: list[str] = field(default_factory=list)
    varied: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    force: bool = False
    threads: int = 1
    seconds: float | None = None
    variables: dict[str, str] = field(default_factory=dict)
    exchange: Exchange | None = None

    @classmethod
    def of(cls, content: dict[str, Any]) -> "Job":
        """A job from what `asdict` and JSON made of it."""
        changes = {"objectives": [tuple(objective) for objective in content["objectives"]]}
        if content["exchange"]:
            changes["exchange"] = Exchange(**content["exchange"] | {"author": tuple(content["exchange"]["author"])})
        return cls(**content | changes)


Runner = Callable[[Job, Sequence[str]], int]


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
        if job.exchange and (commit := there(clone, job.exchange, ref)):
            return read(job, Repository(clone), commit)
        begin = time.perf_counter()
        status = dvc(job, ["exp", "run", "--name", job.name, *(["--force"] if job.force else [])])
        seconds = time.perf_counter() - begin
        commit = git(clone, "rev-parse", "--verify", "--quiet", ref, check=False)
        if status or not commit:
            raise StudyError(_reason(job, status) + (" (stop.trial_minutes)" if status == TIMED_OUT else ""))
        outcome = read(job, Repository(clone), commit)
        if job.exchange:
            first = hand_over(clone, job.exchange, ref, _attempt(job, dvc, "push"))
            if first != commit:
                return read(job, Repository(clone), first)
        else:
            git(clone, "push", "--quiet", "--no-verify", RECEIVE, "origin", f"+{ref}:{ref}")
    except Exception as error:  # whatever it is, it is this one experiment's
        end_marked(clone, spare=os.getpid())
        shutil.rmtree(clone, ignore_errors=True)
        text = str(error) if isinstance(error, StudyError) else f"{type(error).__name__}: {error}"
        return Outcome(job.name, error=text, interrupted=KILLED.search(text) is not None)
    ran = re.findall(r"^Running stage '([^']+)'", _text(job.log), re.MULTILINE)
    stages = [stage.rpartition(":")[2] for stage in ran]
    own = set(job.varied) <= {stage.partition("@")[0] for stage in stages} and bool(stages)
    return replace(outcome, seconds=round(seconds, 3) if own else None, stages=stages)


def prepare(job: Job, dvc: Runner) -> None:
    """Bring the clone to the baseline and write the parameters; where nothing is shared, get the data first."""
    clone = Path(job.clone)
    Path(job.log).parent.mkdir(parents=True, exist_ok=True)
    if job.exchange:
        mirror(Path(job.root), job.exchange, job.baseline)
    if not (clone / ".git").exists():
        _make_clone(job)
        if job.exchange:  # what the remote lacks, stages make again
            persist(_attempt(job, dvc, "pull", "--allow-missing"), job.exchange.patience)
    git(clone, "reset", "--quiet", "--hard", job.baseline)
    kept = (*(f"/{path}" for path in job.outputs), "/.dvc", "**/.dvc", "__pycache__")
    git(clone, "clean", "--quiet", "--force", "--force", "-d", "-x", *(f"--exclude={path}" for path in kept))
    write_settings(clone / job.params, job.settings)


def _attempt(job: Job, dvc: Runner, *command: str) -> Callable[[], str | None]:
    """A transfer to or from the DVC remote; what DVC says goes to a file beside the log."""
    aside = replace(job, log=f"{job.log}.{command[0]}", seconds=LONGEST_TRANSFER)

    def attempt() -> str | None:
        status = dvc(aside, [*command, "--quiet", "--remote", job.exchange.remote])
        return f"dvc {command[0]}: {_reason(aside, status)}" if status else None

    return attempt


def _make_clone(job: Job) -> None:
    clone, root = Path(job.clone), Path(job.root)
    shutil.rmtree(clone, ignore_errors=True)
    clone.parent.mkdir(parents=True, exist_ok=True)
    making = clone.with_name(f"{clone.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    git(root, "clone", "--quiet", "--no-checkout", "--no-tags", "--local", "--template=", str(root), str(making))
    git(making, "config", "core.hooksPath", os.devnull)
    git(making, "config", "gc.auto", "0")
    git(making, "config", "advice.detachedHead", "false")
    identity = git(root, "var", "GIT_COMMITTER_IDENT", check=False)
    who = re.match(r"(.*) <(.*)> ", identity)
    git(making, "config", "user.name", who[1] if who and who[1] else "sweeps")
    git(making, "config", "user.email", who[2] if who and who[2] else "sweeps@localhost")
    git(making, "update-ref", "--no-deref", "HEAD", job.baseline)
    git(making, "reset", "--quiet", "--hard", job.baseline)
    place = dvc_folder(making, job.pipeline)
    mine = Path(job.exchange.config) if job.exchange else root / place.relative_to(making) / "config.local"
    if mine.is_file():
        shutil.copy(mine, place / "config.local")
    configure(place, job.cache, job.exchange)
    making.rename(clone)


def configure(folder: Path, cache: str, exchange: Exchange | None, scm: bool = True) -> None:
    """Local settings of the `.dvc` folder: the cache, the remote, and whether it lies in a Git repository."""
    from dvc.config import Config

    with Config(str(folder), validate=False).edit("local", validate=False) as settings:
        settings.setdefault("cache", {})["dir"] = cache
        if exchange:
            settings.setdefault("core", {})["remote"] = exchange.remote
            settings.setdefault("remote", {}).setdefault(exchange.remote, {}).update(exchange.settings)
        if not scm:
            settings.setdefault("core", {})["no_scm"] = "true"


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


def _text(log: str) -> str:
    try:
        return Path(log).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _reason(job: Job, status: int) -> str:
    """The lines of DVC's output that say what went wrong."""
    if status == TIMED_OUT:
        return f"stopped after {job.seconds / 60:g} minutes"
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in _text(job.log).splitlines()]
    told = [line for line in lines if line and not line.startswith(QUIET_LINES)]
    if told:
        return "\n".join(told[-12:])
    return f"dvc was killed (exited with {status})" if status < 0 else f"dvc gave {status}"


TIMED_OUT = 124


def forked(job: Job, arguments: Sequence[str], alive: Callable[[], bool]) -> int:
    """A command of DVC's in a fork of this process, which has DVC imported.

    Parameters
    ----------
    job : Job
        Where, with which log and time limit.
    arguments : sequence of str
        What follows `dvc`.
    alive : callable
        Asked again and again; when it says no, all that was started is killed and this process ends.

    Returns
    -------
    int
        Exit status; the negative number of a signal that ended it; `TIMED_OUT` if it took longer than allowed.
    """
    begin = time.perf_counter()
    child = os.fork()
    if child == 0:
        _become_dvc(job, arguments)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if not alive():
            end_marked(Path(job.clone), spare=os.getpid())
            os._exit(1)
        if job.seconds is not None and time.perf_counter() - begin > job.seconds:
            end_marked(Path(job.clone), spare=os.getpid())
            with contextlib.suppress(ChildProcessError):  # psutil has waited for it already
                os.waitpid(child, 0)
            return TIMED_OUT


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
        from dvc.cli import main as dvc

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


def main() -> None:
    """Read jobs from standard input, one a line as JSON; answer each with its outcome; end with the input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to heed
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    preload()
    jobs = os.fdopen(os.dup(0), "rb", buffering=0)

    def alive() -> bool:
        """Whether the driver still holds the other end; nothing else comes while a job runs."""
        readable, _, _ = select.select([jobs], [], [], POLL)
        return not readable

    while line := jobs.readline():
        outcome = run(Job.of(json.loads(line)), lambda job, arguments: forked(job, arguments, alive))
        print(json.dumps(asdict(outcome)), file=answers, flush=True)


if __name__ == "__main__":
    main()
