"""What pruning and watching cost while two trials run, and how long a replay of 1000 trials takes.

python -m benchmarks.pruning    # about seven minutes
"""

import contextlib
import os
import pty
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks import machine
from benchmarks.searches import PIPELINE, ROOT, SWEEPS, environment, repository
from dvcsweep.plan.pruning import LateMedian
from dvcsweep.results.replay import once

ROUNDS, TRIALS, POINTS = 3, 12, 100
SLOW = 0.1  # seconds from point to point
STAGE = f"""
import json, os, time
p = json.load(open("params.json"))
with open("loss.tsv", "w", buffering=1) as table:
    table.write("step\\tloss\\n")
    for step in range({POINTS}):
        table.write(f"{{step}}\\t{{(p['x'] - 3) ** 2 + 1 / (1 + step)}}\\n")
        time.sleep({SLOW})
json.dump({{"validation": {{"loss": (p["x"] - 3) ** 2}}}}, open("metrics.json", "w"))
open("model.bin", "w").write(str(p))
"""
STUDY = f"""
objective: metrics.json:validation.loss
params: params.json
strategy: random
trials: {TRIALS}
seed: {{seed}}
jobs: 2
curves: [loss.tsv]
fixed: {{{{sleep: {{run}}}}}}  # read by nothing: keeps one search from taking the other's results out of the run-cache
space:
  x: {{{{low: 0.0, high: 9.0}}}}
"""
# All that pruning does, but for stopping any: the same trials run with and without it.
PRUNE = f"prune: {{{{rule: late-median, wait: 0.0, curve: loss.tsv, startup: {TRIALS}}}}}\n"


def begun(path: Path, name: str, seed: int, more: str = "") -> subprocess.Popen:
    """A search that runs."""
    study = path / f"{name}.yaml"
    study.write_text((STUDY + more).format(seed=seed, run=float(bool(more))), encoding="utf-8")
    command = [sys.executable, "-c", SWEEPS, str(ROOT), "run", str(study), "--no-report"]
    return subprocess.Popen(command, cwd=path, env=environment(path / "times"), stdout=subprocess.DEVNULL)


def whole(process: subprocess.Popen) -> tuple[float, float]:
    """Seconds from now to a search's end, and seconds of processor time of all its processes."""
    begin = time.perf_counter()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit("a search failed")
    return time.perf_counter() - begin, usage.ru_utime + usage.ru_stime


def pruning(path: Path) -> None:
    """Searches with and without a rule, in turn."""
    found: dict[str, list[tuple[float, float]]] = {"": [], PRUNE: []}
    for number in range(ROUNDS):
        for more, runs in found.items():
            runs.append(whole(begun(path, f"r{number}{'p' * bool(more)}", number, more)))
    pairs = list(zip(found[PRUNE], found[""], strict=True))
    walls, times = ([(pruned[i] - plain[i]) / TRIALS for pruned, plain in pairs] for i in (0, 1))
    shares = [(pruned[1] - plain[1]) / pruned[0] for pruned, plain in pairs]
    print(
        f"pruning, {TRIALS} trials of {POINTS} points, 2 jobs: {statistics.median(walls):+.3f} s a trial by the clock "
        f"({', '.join(f'{one:+.3f}' for one in walls)}; wanted: below 0.1), {statistics.median(times):+.3f} s of "
        f"processor time, {100 * statistics.median(shares):+.1f} % of a core (wanted: below 2)"
    )


def drain(master: int) -> None:
    """Read what is drawn on a terminal until nobody draws any more."""
    with contextlib.suppress(OSError):
        while os.read(master, 65536):
            pass


def watching(path: Path) -> None:
    """The processor time of `watch` on a terminal beside a search, once it has started."""
    search = begun(path, "watched", 50)
    time.sleep(10)
    command = [sys.executable, "-c", SWEEPS, str(ROOT), "watch", "watched.yaml"]
    master, terminal = pty.openpty()
    watch = subprocess.Popen(command, cwd=path, env=environment(path / "times"), stdout=terminal, stderr=terminal)
    os.close(terminal)
    threading.Thread(target=drain, args=(master,), daemon=True).start()
    time.sleep(5)
    process = psutil.Process(watch.pid)
    before, begin = process.cpu_times(), time.perf_counter()
    time.sleep(20)
    if watch.poll() is not None:
        raise SystemExit(f"watch ended by itself, with status {watch.returncode}")
    after, seconds = process.cpu_times(), time.perf_counter() - begin
    whole(search)
    watch.wait()
    used = after.user + after.system - before.user - before.system
    print(f"watch: {100 * used / seconds:.2f} % of a core (wanted: below 2)")


def replaying(trials: int = 1000, points: int = 20, orders: int = 100) -> None:
    """Replay of falling curves, most of which come near the best."""
    generator = np.random.default_rng(1)
    steps = np.arange(1, points + 1)
    made = [np.exp(-steps / generator.uniform(2, 6)) + generator.exponential(0.02) for _ in range(trials)]
    curves = [{"": tuple(map(float, curve))} for curve in made]
    begin = time.perf_counter()
    for _ in range(orders):
        order = generator.permutation(trials)
        once(LateMedian(rule="late-median"), 1, [curves[place] for place in order], int(np.argmin(order)))
    print(
        f"replay of {trials} trials of {points} points in {orders} orders, late-median: "
        f"{time.perf_counter() - begin:.1f} s (wanted: below 10)"
    )


def main() -> None:
    """Measure."""
    replaying()
    with tempfile.TemporaryDirectory() as name:
        path, times = Path(name) / "search", Path(name) / "search" / "times"
        repository(path, times, STAGE, PIPELINE + "    plots: [{loss.tsv: {cache: false, x: step}}]\n")
        watching(path)
        pruning(path)
    print(machine.describe())


if __name__ == "__main__":
    main()
