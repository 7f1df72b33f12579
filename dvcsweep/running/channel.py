"""What connects a worker with its driver: jobs and stops come in, outcomes and growing curves go out."""

import json
import select
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from dvcsweep.running.job import Job
from dvcsweep.settings import curve

POLL = 0.02
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


def so_far(path: Path) -> tuple[list[float], list[float]] | None:
    """A table that is being written, up to its last whole line; None where there is none."""
    try:
        text = path.read_text(encoding="utf-8")
        return curve(path.name, text[: text.rfind("\n") + 1])
    except (OSError, ValueError):  # a StudyError is one: what is not a table yet may become one
        return None
