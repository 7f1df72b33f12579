"""What befalls a search while it runs: processes are killed, its user works with Git, the disk is full for a while."""

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from foreign import FIT, Foreign, kill_children

DISK = 128 * 2**20  # bytes; a search does not begin with less than 100 MiB
SIDE = "side"  # a branch with other code, parameters and results
OTHER = "other"  # a branch whose code is main's


def stages(process: psutil.Process) -> bool:
    """Whether a process is a stage."""
    return any(argument.endswith("fit.py") for argument in process.cmdline())


def workers(process: psutil.Process) -> bool:
    """Whether a process is a worker, or DVC, which is a fork of one."""
    return any("dvcsweep.running.worker" in argument for argument in process.cmdline())


def kill(process: subprocess.Popen[str], kind: str, chance: random.Random) -> int:
    """Kill the driver, what it has started, or some of that; how many there were."""
    picks: dict[str, Callable[[psutil.Process], bool]] = {
        "driver": lambda _: False,
        "worker": workers,
        "stage": stages,
        "any": lambda _: chance.random() < 0.5,
        "everything": lambda _: True,
    }
    if kind == "everything":
        os.kill(process.pid, signal.SIGSTOP)  # or it would begin anew what is killed first
    killed, end = kill_children(process, picks[kind]), time.monotonic() + 5
    while kind == "stage" and not killed and time.monotonic() < end:  # they are short
        time.sleep(0.02)
        killed = kill_children(process, stages)
    if kind in ("driver", "everything"):
        process.kill()
        killed += 1
    return killed


@dataclass(frozen=True)
class Disk:
    """A small disk of its own."""

    path: Path

    def fill(self, seconds: float) -> None:
        """Leave not a byte free for so long."""
        ballast = self.path / "ballast"
        end = time.monotonic() + seconds
        try:
            with ballast.open("wb", buffering=0) as file:
                while time.monotonic() < end:
                    with contextlib.suppress(OSError):
                        file.write(bytes(max(4096, os.statvfs(self.path).f_bavail * 4096)))
                    time.sleep(0.01)
        finally:
            ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[Disk | None]:
    """A disk mounted at a folder; None where this user may not mount any."""
    path.mkdir()
    options = ("-t", "tmpfs", "-o", f"size={DISK}", "none", str(path))
    try:
        mounted = subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield Disk(path) if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(path)], check=True)


class User(threading.Thread):
    """Works in the repository while a search runs there, at random moments.

    Parameters
    ----------
    foreign : Foreign
        The repository; gets two branches beside main, of which one has other code.
    disk : Disk or None
        Which is full now and then.
    seed : int
        Of what is done and when.

    Attributes
    ----------
    at_home : threading.Lock
        Held while other code is checked out: a search that is begun then would be one of that code.
    acts : Counter
        How often each thing was done.
    heads : dict of str to str
        The commits that branches are to be at.
    full : float
        When the disk was full last, by the monotonic clock.
    """

    def __init__(self, foreign: Foreign, disk: Disk | None, seed: int) -> None:
        super().__init__(daemon=True)
        self.foreign, self.disk, self.chance = foreign, disk, random.Random(seed)  # noqa: S311
        self.at_home, self.over = threading.Lock(), threading.Event()
        self.acts: Counter[str] = Counter()
        self.heads: dict[str, str] = {}
        self.full = 0.0
        self.driver: subprocess.Popen[str] | None = None
        self.error: BaseException | None = None
        self._branch(OTHER, {"other.txt": "other\n"})
        self._branch(SIDE, {"ml/fit.py": FIT.replace("** 2 +", "** 2 + 1000 +"), "ml/weights.txt": "no weights\n"})
        self.heads["main"] = self._git("rev-parse", "main")

    def _git(self, *arguments: str) -> str:
        return self.foreign.run("git", *arguments).stdout.strip()

    def _branch(self, name: str, files: dict[str, str]) -> None:
        self._git("switch", "--quiet", "--create", name)
        for path, text in files.items():
            (self.foreign.path / path).write_text(text)
            self._git("add", path)
        self._git("commit", "--quiet", "--message", name)
        self.heads[name] = self._git("rev-parse", "HEAD")
        self._git("switch", "--quiet", "main")

    def run(self) -> None:
        """Until it is over."""
        acts = [self.commit, self.switch, self.branch, self.gc, self.gc, self.other_code]
        acts += [self.full_disk] if self.disk else []
        try:
            while not self.over.wait(self.chance.uniform(0, 2)):
                self.chance.choice(acts)()
        except BaseException as error:
            self.error = error

    def close(self) -> None:
        """Do no more, and raise what went wrong."""
        self.over.set()
        self.join()
        if self.error is not None:
            raise self.error

    def commit(self) -> None:
        """Commit a file that no stage knows."""
        self.acts["commit"] += 1
        branch = self._git("branch", "--show-current")
        with (self.foreign.path / "notes.txt").open("a") as notes:
            notes.write(f"{self.acts['commit']}\n")
        self._git("add", "notes.txt")
        self._git("commit", "--quiet", "--message", f"note {self.acts['commit']}")
        self.heads[branch] = self._git("rev-parse", "HEAD")

    def switch(self) -> None:
        """Switch to a branch of the same code, perhaps commit there, and go back."""
        self.acts["switch"] += 1
        self._git("switch", "--quiet", OTHER)
        self.over.wait(self.chance.uniform(0, 1))
        if self.chance.random() < 0.5:
            self.commit()
        self._git("switch", "--quiet", "main")

    def branch(self) -> None:
        """Make a branch."""
        self.acts["branch"] += 1
        name = f"topic-{self.acts['branch']}"
        self._git("branch", name)
        self.heads[name] = self._git("rev-parse", "HEAD")

    def gc(self) -> None:
        """Have Git drop what nothing refers to."""
        self.acts["gc"] += 1
        self._git("gc", "--quiet", "--prune=now")

    def other_code(self) -> None:
        """Look at a branch of other code, where a search has begun already, and go back."""
        lock = self.foreign.path / ".dvc/tmp/sweeps/grid/lock"
        with self.at_home:
            if self.driver is None or not lock.exists() or f"process {self.driver.pid}," not in lock.read_text():
                return
            self.acts["other code"] += 1
            self._git("switch", "--quiet", SIDE)
            self.over.wait(self.chance.uniform(0, 2))
            self._git("switch", "--quiet", "main")

    def full_disk(self) -> None:
        """No space is left for a while."""
        self.acts["full disk"] += 1
        seconds = self.chance.uniform(0.2, 1.5)
        self.full = time.monotonic() + seconds
        self.disk.fill(seconds)
