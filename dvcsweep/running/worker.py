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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TextIO

import psutil

from dvcsweep.errors import KilledError, NotFiniteError, StudyError
from dvcsweep.files import copy, write_whole
from dvcsweep.record.trials import Outcome
from dvcsweep.repository import RECEIVE, Repository, dvc_folder, git, reference
from dvcsweep.running.handover import LONGEST_TRANSFER, Exchange, as_attempt, hand_over, mirror, persist, there
from dvcsweep.settings import curve, flatten, number, write_settings

MARK = "SWEEPS_CLONE"
PUSH = ("--quiet", "--no-verify", "--no-signed", "--recurse-submodules=no")
CLONED = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "gc.auto": "0",
    "advice.detachedHead": "false",
    "submodule.recurse": "false",
}
MISSING = re.compile(r"No such file or directory: ['\"]([^'\"]+)['\"]")
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
ATTEMPTS = 3
PATIENCE = 5.0  # seconds in which to try again what the user's own work in the repository may spoil
POLL = 0.02
# SIGKILL and SIGTERM, as Python says it and as a shell does; a segmentation fault is the stage's own doing.
KILLED = re.compile(r"exited with (-9|-15|137|143)\b|^git \S+: (gave -(9|15)\b|Killed)|died of signal (9|15)\b")
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
    watched : str or None
        The table whose growth is told while the job runs.
    varied : list of str
        Stages that read a parameter the study varies: if one of them did not run, the time is not this trial's own.
    outputs : list of str
        What stages make: left where it is between experiments, since DVC brings it up to date itself.
    composed : str
        Text of the parameters file before the settings, where Hydra makes it and Git's is not to be relied on.
    copies : list of str
        Files and folders that each clone is given a copy of, relative to the top.
    copied : str
        The folder that they lie in.
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
    watched: str | None = None
    varied: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    composed: str = ""
    copies: list[str] = field(default_factory=list)
    copied: str = ""
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
        if status == STOPPED:
            shown = {file: found for file in job.curves if (found := so_far(clone / file)) is not None}
            _remove(clone)
            return Outcome(job.name, stopped=True, curves=shown)
        if status or not commit:
            raise StudyError(_reason(job, status) + (" (stop.trial_minutes)" if status == TIMED_OUT else ""))
        outcome = read(job, Repository(clone), commit)
        if job.exchange:
            first = hand_over(clone, job.exchange, ref, _attempt(job, dvc, "push"))
            if first != commit:
                return read(job, Repository(clone), first)
        else:
            persist(push(job, ref, commit), PATIENCE)
    except Exception as error:  # whatever it is, it is this one experiment's
        _remove(clone)
        text = str(error) if isinstance(error, StudyError | KilledError) else f"{type(error).__name__}: {error}"
        return Outcome(
            job.name,
            error=text + _hint(job, text),
            diverged=isinstance(error, NotFiniteError),
            interrupted=KILLED.search(text) is not None,
        )
    ran = re.findall(r"^Running stage '([^']+)'", _text(job.log), re.MULTILINE)
    own = set(job.varied) <= set(ran) and bool(ran)
    return replace(outcome, seconds=round(seconds, 3) if own else None, stages=ran)


def _remove(clone: Path) -> None:
    """Remove a clone whatever state it is in, and end what still runs there."""
    end_marked(clone, spare=os.getpid())
    shutil.rmtree(clone, ignore_errors=True)


def so_far(path: Path) -> tuple[list[float], list[float]] | None:
    """A table that is being written, up to its last whole line; None where there is none."""
    try:
        text = path.read_text(encoding="utf-8")
        return curve(path.name, text[: text.rfind("\n") + 1])
    except (OSError, ValueError):  # a StudyError is one: what is not a table yet may become one
        return None


def prepare(job: Job, dvc: Runner) -> None:
    """Bring the clone to the baseline and write the parameters; where nothing is shared, get the data first."""
    clone = Path(job.clone)
    Path(job.log).parent.mkdir(parents=True, exist_ok=True)
    if job.exchange:
        mirror(Path(job.root), job.exchange, job.baseline)
    if not (clone / ".git").exists():
        persist(as_attempt(lambda: _make_clone(job)), PATIENCE)
        if job.exchange:  # what the remote lacks, stages make again
            persist(_attempt(job, dvc, "pull", "--allow-missing"), job.exchange.patience)
    git(clone, "reset", "--quiet", "--hard", job.baseline)
    if not job.exchange:
        _check_out_submodules(clone, Path(job.root))
    kept = (*(f"/{path}" for path in job.outputs), "/.dvc", "**/.dvc", "__pycache__")
    git(clone, "clean", "--quiet", "--force", "--force", "-d", "-x", *(f"--exclude={path}" for path in kept))
    for path in job.copies:
        copy(Path(job.copied, path), clone / path)
    if job.composed:
        write_whole(clone / job.params, job.composed)
    write_settings(clone / job.params, job.settings)


def _check_out_submodules(clone: Path, source: Path) -> None:
    """Bring submodules to their commits, from the user's own copies; what is not checked out there stays empty."""
    for path, commit in Repository(clone).submodules("HEAD").items():
        theirs, mine = source / path, clone / path
        if (theirs / ".git").exists():
            if not (mine / ".git").exists():
                _clone(theirs, mine)
            git(mine, "update-ref", "--no-deref", "HEAD", commit)
            git(mine, "reset", "--quiet", "--hard", commit)
            git(mine, "clean", "--quiet", "--force", "--force", "-d", "-x")
            _check_out_submodules(mine, theirs)


def _attempt(job: Job, dvc: Runner, *command: str) -> Callable[[], str | None]:
    """A transfer to or from the DVC remote; what DVC says goes to a file beside the log."""
    aside = replace(job, log=f"{job.log}.{command[0]}", seconds=LONGEST_TRANSFER)

    def attempt() -> str | None:
        status = dvc(aside, [*command, "--quiet", "--remote", job.exchange.remote])
        return f"dvc {command[0]}: {_reason(aside, status)}" if status else None

    return attempt


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


def _make_clone(job: Job) -> None:
    clone, root = Path(job.clone), Path(job.root)
    shutil.rmtree(clone, ignore_errors=True)
    clone.parent.mkdir(parents=True, exist_ok=True)
    making = clone.with_name(f"{clone.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    _clone(root, making)
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


def _clone(source: Path, target: Path) -> None:
    """Clone without a work tree; hard links where they can be, and none of the user's settings that would reach in."""
    Repository(source).await_gc()
    settings = [part for name, value in CLONED.items() for part in ("--config", f"{name}={value}")]
    options = ("--quiet", "--no-checkout", "--no-tags", "--template=", "--origin", "origin", *settings)
    git(source, "-c", "clone.rejectShallow=false", "clone", *options, str(source), str(target))
    common = Path(source, git(source, "rev-parse", "--git-common-dir"))
    if (common / "lfs").is_dir():  # Git LFS finds there what no remote of a clone has
        git(target, "config", "lfs.storage", str(common / "lfs"))


def configure(folder: Path, cache: str, exchange: Exchange | None, scm: bool = True) -> None:
    """Local settings of the `.dvc` folder: the cache, the remote, and whether it lies in a Git repository."""
    from dvc.config import Config

    with Config(str(folder), validate=False).edit("local", validate=False) as settings:
        settings.setdefault("cache", {})["dir"] = cache
        settings.setdefault("hydra", {})["enabled"] = "false"  # the parameters are composed already
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


def _hint(job: Job, text: str) -> str:
    """What to do where a stage missed a file that is there, but not in the clone."""
    for name in MISSING.findall(text):
        for folder in (PurePosixPath(job.pipeline).parent, PurePosixPath()):
            path = os.path.normpath(folder / name)
            if not job.exchange and not path.startswith(("/", "..")) and Path(job.root, path).exists():
                return f"\n{path} is here, but no clone has it: name it under `copy` in the study, or commit it"
    return ""


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


TIMED_OUT, STOPPED = 124, 125
LOOK = 0.5  # seconds between looks at the watched table


class Channel:
    """What connects a worker with its driver: standard input and output.

    Parameters
    ----------
    jobs : file
        Standard input, unbuffered: lines of JSON. While a job runs, one may say that it is to be stopped.
    answers : text file
        Where outcomes go, and curves as they grow.
    """

    def __init__(self, jobs: BinaryIO, answers: TextIO) -> None:
        self.jobs, self.answers = jobs, answers
        self._looked, self._before = 0.0, None
        self._table: Path | None = None

    def next(self) -> Job | None:
        """The next job; None where there is no driver any more. What was to stop one that has ended is passed over."""
        while line := self.jobs.readline():
            content = json.loads(line)
            if "stop" not in content:
                return Job.of(content)
        return None

    def answer(self, content: Mapping[str, Any]) -> None:
        """Write a line."""
        print(json.dumps(content), file=self.answers, flush=True)

    def watch(self, table: Path | None) -> None:
        """Tell of this table from now on; what it holds already is of another run."""
        self._table, self._before = table, _signature(table)

    def says(self, job: Job) -> str | None:
        """What the driver wants: 'stop', or 'gone' where there is none any more; None after a moment of silence."""
        readable, _, _ = select.select([self.jobs], [], [], POLL)
        if readable:
            line = self.jobs.readline()
            if not line:
                return "gone"
            if json.loads(line).get("stop") == job.name:
                return "stop"
        if self._table is not None and time.monotonic() > self._looked + LOOK:
            self._looked = time.monotonic()
            self._tell()
        return None

    def _tell(self) -> None:
        now = _signature(self._table)
        if now is None or now == self._before:
            return
        self._before, found = now, so_far(self._table)
        if found is not None and found[1]:
            self.answer({"curve": found[1]})


def _signature(path: Path | None) -> tuple[int, ...] | None:
    """What changes with a file."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return found and (found.st_ino, found.st_size, found.st_mtime_ns)


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
