"""What a search shows while it runs: a live table on a terminal, a line for each event elsewhere."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from dvcsweep.wording import printable

Params = dict[str, Any]


@dataclass
class Figures:
    """The state of a search.

    Attributes
    ----------
    done, failed, total : int
        Trials; `total` is what is planned so far.
    running : dict
        Start (monotonic seconds) and parameters of experiments under way, by name.
    best : str
        The best so far, in words.
    seconds : list of float
        Times of experiments that ran here.
    """

    total: int = 0
    done: int = 0
    failed: int = 0
    jobs: int = 1
    running: dict[str, tuple[float, Params]] = field(default_factory=dict)
    best: str = ""
    seconds: list[float] = field(default_factory=list)

    def time_left(self) -> str:
        """Time left, guessed from the experiments so far."""
        waiting = self.total - self.done - self.failed
        if not self.seconds or waiting <= 0:
            return ""
        return f"about {clock(sum(self.seconds) / len(self.seconds) * waiting / self.jobs)} left"


class Display(Protocol):
    """Where progress goes."""

    def __enter__(self) -> "Display": ...

    def __exit__(self, *error: object) -> None: ...

    def say(self, text: str) -> None:
        """A line that stays."""

    def refresh(self, figures: Figures) -> None:
        """The state has changed, or time has passed."""


class Plain:
    """Lines only, each at once.

    Parameters
    ----------
    stream : text file
        Where they go.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __enter__(self) -> "Plain":
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def say(self, text: str) -> None:
        """Print it."""
        print(printable(text), file=self.stream, flush=True)

    def refresh(self, figures: Figures) -> None:
        """Nothing: what changed has had its line."""


class Terminal:
    """A bar, what is running, the best so far, the time left; lines that stay go above."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.console = Console()
        self.live = Live(console=self.console, refresh_per_second=4, transient=True)
        self.bar = Progress(TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
        self.task = self.bar.add_task(title, total=None, left="")

    def __enter__(self) -> "Terminal":
        self.live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.__exit__(None, None, None)

    def say(self, text: str) -> None:
        """Print it above what moves."""
        self.console.print(printable(text), highlight=False, markup=False, soft_wrap=True)

    def refresh(self, figures: Figures) -> None:
        """Draw anew."""
        self.bar.update(
            self.task, total=figures.total or None, completed=figures.done + figures.failed, left=figures.time_left()
        )
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for name, (begin, params) in figures.running.items():
            table.add_row(
                "  running", name, clock(time.monotonic() - begin), Text(printable(brief(params), lines=False))
            )
        if figures.best:
            table.add_row("  best", Text(figures.best), "", "")
        self.live.update(Group(self.bar, table))


def choose(title: str, quiet: bool = False) -> Display:
    """The live display on a terminal, lines elsewhere; quiet: lines that do not mix with a command's own output."""
    return Terminal(title) if sys.stdout.isatty() and not quiet else Plain(sys.stderr if quiet else sys.stdout)


def clock(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def took(seconds: float | None, stages: Sequence[str]) -> str:
    """The time of an experiment, or where those of its stages came from that did not run."""
    if seconds is not None:
        return clock(seconds)
    return "in part from the run-cache" if stages else "from the run-cache"


def brief(params: Params) -> str:
    """Parameters in one line, by the last part of their names."""
    return " ".join(f"{key.rpartition('.')[2]}={printable(short(value), lines=False)}" for key, value in params.items())


def short(value: Any) -> str:
    """A value in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else "null" if value is None else str(value)


def figures_line(values: Sequence[float] | None) -> str:
    """Objectives in one line."""
    return ", ".join(f"{value:.6g}" for value in values) if values else "none"
