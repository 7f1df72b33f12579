"""Watch a running search, also from a second terminal: each experiment with its curve, and what it is held against."""

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dvcsweep import progress
from dvcsweep.errors import StudyError
from dvcsweep.record.campaigns import driver_of
from dvcsweep.running import snapshot
from dvcsweep.running.snapshot import Experiment, Snapshot

BLOCKS = "▁▂▃▄▅▆▇█"
POINTS = 24  # of a curve that are drawn
PAUSE, PLAIN_PAUSE = 1.0, 10.0  # seconds between looks, on a terminal and elsewhere
WAIT = 10.0  # seconds for a driver that has begun to write


def watch(place: Path, study: str) -> None:
    """Show how the search in a folder stands until its driver ends.

    Raises
    ------
    StudyError
        If nobody runs the study.
    """
    if driver_of(place) is None:
        raise StudyError(f"study {study} is not being run here: start it with `run`, or see `status`")
    if sys.stdout.isatty():
        with Live(console=Console(), auto_refresh=False) as live:
            for state in states(place, PAUSE):
                live.update(picture(state), refresh=True)
    else:
        for state in states(place, PLAIN_PAUSE):
            print("\n".join(lines(state)), flush=True)
    print(f"study {study} is not being run any more")


def states(place: Path, pause: float) -> Iterator[Snapshot]:
    """What the driver writes, until there is none."""
    patience = time.monotonic() + WAIT
    while driver_of(place) is not None:
        state = snapshot.read(place)
        if state is not None:
            yield state
        elif time.monotonic() > patience:
            raise StudyError(f"{place / snapshot.FILE} cannot be read: was the search started by another version?")
        time.sleep(pause if state is not None else PAUSE)


def heading(state: Snapshot) -> str:
    """The search in one line."""
    parts = [f"{state.campaign}: {state.done} of {state.total} trials done", f"{state.failed} failed", state.left]
    best = f"best {state.best}" if state.best else ""
    return ", ".join(part for part in (*parts, best) if part)


def figures(one: Experiment, state: Snapshot, at: float) -> list[str]:
    """An experiment's cells: name, points so far, its curve, its best and what that is held against, time left."""
    count = len(one.curve)
    of = f"{count}/{state.points}" if state.points and count else str(count)
    best = f"{state.sign * min(state.sign * value for value in one.curve):.5g}" if count else ""
    held = "" if one.threshold is None else f"{'<' if state.sign == 1 else '>'} {one.threshold:.5g}"
    seconds = at - one.began
    left = ""
    if count and state.points and state.points > count:
        left = f"{progress.clock(seconds / count * (state.points - count))} left"
    return [one.name, of, spark(one.curve), best, held, left or progress.clock(seconds), progress.brief(one.params)]


def picture(state: Snapshot) -> Table:
    """The whole state for a terminal."""
    table = Table(
        *("experiment", "points", "curve", "best", "held against", "time", "parameters"),
        box=None,
        title=Text(heading(state)),
        title_justify="left",
        padding=(0, 2, 0, 0),
    )
    for one in state.running:
        table.add_row(*map(Text, figures(one, state, time.time())))
    for failure in state.failures:
        table.add_row(Text(f"failed: {failure}", no_wrap=True))
    return table


def lines(state: Snapshot) -> list[str]:
    """The same in plain lines."""
    rows = ["  ".join(filter(None, figures(one, state, time.time()))) for one in state.running]
    return [heading(state), *(f"  {row}" for row in rows), *(f"  failed: {one}" for one in state.failures)]


def spark(curve: Sequence[float]) -> str:
    """A curve in one line of small bars, from its least to its greatest value; what is no number is a gap."""
    shown = list(curve)[-POINTS:]
    finite = [value for value in shown if abs(value) < float("inf")]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((value - low) * scale)] if abs(value) < float("inf") else " " for value in shown)
