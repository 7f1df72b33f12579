"""Workers: what a search asks of them, and those of this machine, processes with a clone each."""

import contextlib
import json
import os
import selectors
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from dvcsweep.plan.studies import Study
from dvcsweep.progress import Display
from dvcsweep.record.trials import Outcome
from dvcsweep.repository import Repository, environment
from dvcsweep.running.job import Job
from dvcsweep.running.processes import MARK, end_marked

PACKAGE = Path(__file__).resolve().parents[2]
START = "import sys; sys.path.insert(0, sys.argv[1]); from dvcsweep.running.worker import main; main()"


@dataclass(frozen=True)
class Context:
    """The search that workers work for.

    Attributes
    ----------
    study : Study
        What is searched.
    repository : Repository
        Where.
    baseline, label : str
        The commit that its experiments are based on, and what their names begin with.
    place : Path
        Where the search keeps what belongs to this clone alone.
    jobs : int or None
        Experiments at a time that the command line asks for.
    display : Display
        Where progress is shown.
    """

    study: Study
    repository: Repository
    baseline: str
    label: str
    place: Path
    jobs: int | None
    display: Display


class Workers(Protocol):
    """Run jobs, some at a time."""

    @property
    def count(self) -> int:
        """How many jobs at a time, as things stand."""

    @property
    def idle(self) -> int:
        """How many more would be begun at once."""

    def submit(self, job: Job) -> None:
        """Begin a job; the folders it works in are set here."""

    def wait(self, seconds: float) -> Sequence[Outcome]:
        """Outcomes of jobs that ended, after at most so long."""

    def news(self) -> dict[str, list[float]]:
        """The curve so far of each job whose watched table has grown since this was asked last, by the job's name."""

    def stop(self, name: str) -> None:
        """Have a running job stopped; its outcome says so, unless it has ended by itself meanwhile."""

    def close(self) -> None:
        """Stop whatever runs."""


@dataclass
class _Slot:
    clone: Path
    process: subprocess.Popen[bytes] | None = None
    job: Job | None = None
    rest: bytes = b""  # of a line that is not whole yet

    def lines(self) -> list[bytes] | None:
        """Whole lines that the process has written; None if it has ended."""
        chunk = os.read(self.process.stdout.fileno(), 1 << 20)
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        return lines if chunk else None


class Pool:
    """A fixed number of workers.

    Parameters
    ----------
    folder : Path
        Where their clones go; what an earlier driver left there, processes and clones, is removed.
    count : int
        How many.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.selector = selectors.DefaultSelector()
        clean_up(folder)
        self._news: dict[str, list[float]] = {}
        self.slots = [_Slot(folder / f"worker-{index + 1}") for index in range(count)]

    @property
    def count(self) -> int:
        """How many workers there are."""
        return len(self.slots)

    @property
    def idle(self) -> int:
        """Workers without a job."""
        return sum(slot.job is None for slot in self.slots)

    def submit(self, job: Job) -> None:
        """Give a job to an idle worker; its clone is set here."""
        slot = next(slot for slot in self.slots if slot.job is None)
        slot.job = Job(**{**asdict(job), "clone": str(slot.clone)})
        if slot.process is None:
            self._start(slot)
        self._tell(slot, asdict(slot.job))

    def _start(self, slot: _Slot) -> None:
        slot.clone.parent.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{slot.clone.name}.log").open("ab") as log:
            slot.process = subprocess.Popen(
                [sys.executable, "-c", START, str(PACKAGE)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env=environment() | {MARK: str(slot.clone), "PYTHONUNBUFFERED": "1"},
            )
        self.selector.register(slot.process.stdout, selectors.EVENT_READ, slot)

    def wait(self, seconds: float) -> Sequence[Outcome]:
        """Outcomes of jobs that ended, after at most so long; a worker that died has a job that was interrupted."""
        outcomes = []
        for key, _ in self.selector.select(seconds):
            slot: _Slot = key.data
            lines = slot.lines()
            if lines is None:
                outcomes += self._bury(slot)
            for content in map(json.loads, lines or ()):
                if "curve" in content:
                    self._news[slot.job.name] = content["curve"]
                else:
                    slot.job = None
                    outcomes.append(Outcome.of(content))
        return outcomes

    def news(self) -> dict[str, list[float]]:
        """Curves of watched tables that have grown."""
        news, self._news = self._news, {}
        return news

    def stop(self, name: str) -> None:
        """Tell a job's worker to stop it."""
        for slot in self.slots:
            if slot.job is not None and slot.job.name == name:
                self._tell(slot, {"stop": name})

    def _tell(self, slot: _Slot, content: Mapping[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has died: its output says so next
            slot.process.stdin.write(json.dumps(content).encode() + b"\n")
            slot.process.stdin.flush()

    def _bury(self, slot: _Slot) -> list[Outcome]:
        """Remove what a dead worker leaves."""
        job = slot.job
        self._end(slot)
        shutil.rmtree(slot.clone, ignore_errors=True)
        log = (self.folder / f"{slot.clone.name}.log").read_text(encoding="utf-8", errors="replace").splitlines()
        return [Outcome(job.name, error="\n".join(["its worker ended", *log[-5:]]), interrupted=True)] if job else []

    def _end(self, slot: _Slot) -> None:
        if slot.process is None:
            return
        self.selector.unregister(slot.process.stdout)
        slot.process.kill()
        end_marked(slot.clone)
        slot.process.wait()
        with contextlib.suppress(BrokenPipeError):  # of a job that it had died before it could read
            slot.process.stdin.close()
        slot.process.stdout.close()
        slot.process, slot.job, slot.rest = None, None, b""

    def close(self) -> None:
        """Stop all workers at once, with what they run, and remove their clones."""
        for slot in self.slots:
            self._end(slot)
        self.selector.close()
        clean_up(self.folder)


def clean_up(folder: Path) -> None:
    """Kill what still runs in workers' clones, and remove them."""
    end_marked(folder)
    shutil.rmtree(folder, ignore_errors=True)
