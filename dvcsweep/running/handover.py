"""What a job gets and hands over on a machine that shares nothing with the driver but a Git and a DVC remote.

Code comes through Git, data through the DVC remote. What an experiment has made goes back the same way: first the cache
to the DVC remote, then the one reference to the Git remote, so that whoever sees an experiment can get all of it. Each
machine keeps a bare copy of the Git repository and a DVC cache of its own. A remote that is away is tried again for a
while. Where two machines have run the same job, because one of them was taken for dead, the reference that came first
counts, and the other takes it over.
"""

import contextlib
import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dvcsweep.errors import KilledError, StudyError
from dvcsweep.naming import short
from dvcsweep.repository import RECEIVE, Repository, git

LONGEST_PAUSE = 30.0
LONGEST_ANSWER, LONGEST_TRANSFER = 120.0, 3600.0  # seconds after which a remote has got stuck


@dataclass(frozen=True)
class Exchange:
    """Where to get things from, and where to hand them over.

    Attributes
    ----------
    git : str
        URL or path of the Git remote.
    remote : str
        Name of the DVC remote.
    settings : dict of str to str
        Its settings for DVC, without secrets: those are each machine's own.
    author : (str, str)
        Name and address for the experiments' commits.
    patience : float
        Seconds to go on trying where a remote cannot be reached.
    config : str
        File of DVC's local settings to begin with, where the driver's machine is the only one.
    """

    git: str
    remote: str
    settings: dict[str, str] = field(default_factory=dict)
    author: tuple[str, str] = ("sweeps", "sweeps@localhost")
    patience: float = 600.0
    config: str = ""


def persist(attempt: Callable[[], str | None], patience: float) -> None:
    """Do something again and again until it works.

    Parameters
    ----------
    attempt : callable
        Gives the reason if it did not work, None if it did.
    patience : float
        Seconds after which not to begin again.

    Raises
    ------
    StudyError
        With the last reason, if the time is up.
    """
    end, pause = time.monotonic() + patience, 1.0
    while reason := attempt():
        if time.monotonic() + pause > end:
            raise StudyError(reason)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def as_attempt(action: Callable[[], object]) -> Callable[[], str | None]:
    """An action that gives the reason if it did not work, instead of raising it."""

    def attempt() -> str | None:
        try:
            action()
        except (StudyError, KilledError) as error:
            return str(error)
        return None

    return attempt


def command_attempt(*command: str, folder: Path) -> Callable[[], str | None]:
    """A Git command as an attempt."""
    return as_attempt(lambda: git(folder, *command, seconds=LONGEST_TRANSFER))


def mirror(bare: Path, exchange: Exchange, baseline: str) -> None:
    """Bring a bare copy of the Git remote to hold a commit; made if need be; one process at a time.

    Raises
    ------
    StudyError
        If the remote cannot be reached, or no branch or tag of it holds the commit.
    """
    bare.parent.mkdir(parents=True, exist_ok=True)
    with _locked(bare.with_suffix(".lock")):
        if not bare.exists():
            _make(bare, exchange)
        here = Repository(bare)
        if not here.exists(baseline):
            specs = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
            persist(
                command_attempt("fetch", "--quiet", "--no-auto-gc", exchange.git, *specs, folder=bare),
                exchange.patience,
            )
        if not here.exists(baseline):
            raise StudyError(f"no branch and no tag of {exchange.git} holds commit {short(baseline)}: git push first")


def _make(bare: Path, exchange: Exchange) -> None:
    making = bare.with_suffix(".making")
    shutil.rmtree(making, ignore_errors=True)
    git(bare.parent, "init", "--quiet", "--bare", "--template=", str(making))
    for key, value in zip(("user.name", "user.email"), exchange.author, strict=True):
        git(making, "config", key, value)
    making.rename(bare)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fetched_commit(clone: Path, exchange: Exchange, ref: str) -> str:
    """Commit of an experiment that the Git remote has, brought to the clone; empty if it has none."""
    listed = ""

    def attempt() -> str | None:
        nonlocal listed
        try:
            listed = git(clone, "ls-remote", exchange.git, ref, seconds=LONGEST_ANSWER)
            if listed:
                fetch = ("fetch", "--quiet", "--no-tags", "--no-auto-gc", exchange.git, f"+{ref}:{ref}")
                git(clone, *fetch, seconds=LONGEST_TRANSFER)
        except StudyError as error:
            return str(error)
        return None

    persist(attempt, exchange.patience)
    return listed.split("\t")[0]


def hand_over(clone: Path, exchange: Exchange, ref: str, push_cache: Callable[[], str | None]) -> str:
    """Push what an experiment has made: first DVC's cache, then its reference.

    Parameters
    ----------
    clone : Path
        The clone it was made in.
    exchange : Exchange
        Where to.
    ref : str
        Full name of the reference.
    push_cache : callable
        Pushes the cache; gives the reason if that did not work.

    Returns
    -------
    str
        The commit that the Git remote has now: the clone's, or another machine's that came first.

    Raises
    ------
    StudyError
        If a remote could not be reached for as long as `exchange.patience`.
    """
    persist(push_cache, exchange.patience)
    mine = git(clone, "rev-parse", ref)
    found = ""

    def push_reference() -> str | None:
        nonlocal found
        options = ("--quiet", "--no-verify", *([RECEIVE] if Path(exchange.git).is_dir() else []))
        reason = command_attempt(
            "push", *options, f"--force-with-lease={ref}:", exchange.git, f"{ref}:{ref}", folder=clone
        )()
        if reason is None:
            found = mine
            return None
        with contextlib.suppress(StudyError):  # it may be there already
            found = git(clone, "ls-remote", exchange.git, ref, seconds=LONGEST_ANSWER).split("\t")[0]
        return None if found else reason

    persist(push_reference, exchange.patience)
    return found if found == mine else fetched_commit(clone, exchange, ref)
