"""Searches on two Ray nodes of one CPU beside two workers on this machine, and what a trial on Ray costs.

python -m benchmarks.cluster      # about ten minutes; starts its own cluster on loopback

The stage computes; nodes get code from a Git remote and data from a DVC remote, folders here, and hand results to them.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import machine
from benchmarks.loopback import Nodes
from benchmarks.searches import ROOT, STAGE, STUDY, SWEEPS, environment, repository

SECONDS, TRIALS, ROUNDS = 20.0, 8, 3
SHORT, MANY = 0.5, 24
LOOP = "for turn in range(int({rate} * p['sleep'])): pass"


def rate() -> int:
    """Turns of the stage's loop that a core does in a second."""
    turns = 20_000_000
    begin = time.process_time()
    exec(LOOP.format(rate=turns), {"p": {"sleep": 1}})  # noqa: S102 (as in the stage, with global names)
    return int(turns / (time.process_time() - begin))


def prepare(folder: Path) -> Path:
    """A repository with both remotes, everything pushed."""
    path, times = folder / "driver", folder / "times"
    repository(path, times)
    stage = STAGE.replace('time.sleep(p["sleep"])', LOOP.format(rate=rate()))
    (path / "fit.py").write_text(stage, encoding="utf-8")
    for command in (
        ["git", "init", "--quiet", "--bare", str(folder / "code.git")],
        ["git", "remote", "add", "origin", str(folder / "code.git")],
        ["dvc", "remote", "add", "--quiet", "--default", "store", str(folder / "store")],
        ["dvc", "repro", "--quiet"],
        ["git", "commit", "--quiet", "--all", "--message", "a stage that computes"],
        ["git", "push", "--quiet", "origin", "HEAD"],
        ["dvc", "push", "--quiet"],
    ):
        subprocess.run(command, cwd=path, env=environment(times), check=True)
    return path


def search(path: Path, name: str, trials: int, seconds: float, *options: str) -> tuple[float, float]:
    """Seconds that a search takes, and seconds before its first trial could begin."""
    study = path / f"{name}.yaml"
    seed = len(list(path.glob("*.yaml")))  # another one each time, or results would come from the run-cache
    content = STUDY.format(strategy="random", trials=trials, seed=seed, jobs=2, sleep=seconds)
    study.write_text(content, encoding="utf-8")
    command = [sys.executable, "-c", SWEEPS, str(ROOT), "run", str(study), "--no-report", *options]
    begin = time.perf_counter()
    driver = subprocess.Popen(
        command, cwd=path, env=environment(path.parent / "times"), stdout=subprocess.PIPE, text=True
    )
    ready = begin
    for line in driver.stdout:
        if line.startswith("Ray:"):
            ready = time.perf_counter()
    if driver.wait():
        raise SystemExit(f"{name} failed")
    return time.perf_counter() - begin, ready - begin


def beyond(path: Path, wall: float, trials: int) -> float:
    """Seconds a trial beyond its stage, of what two workers had; empties the list of times."""
    times = path.parent / "times"
    stages = [float(line) for line in times.read_text(encoding="utf-8").splitlines()]
    assert len(stages) == trials, f"{len(stages)} stages ran instead of {trials}"
    times.unlink()
    return (wall * 2 - sum(stages)) / trials


def compare(path: Path, address: str) -> None:
    """Trials an hour, in turn."""
    ratios = []
    for number in range(ROUNDS):
        there, ready = search(path, f"ray-{number}", TRIALS, SECONDS, "--ray", address)
        here, _ = search(path, f"here-{number}", TRIALS, SECONDS)
        ratios.append(here / there)
        print(
            f"{TRIALS} trials of {SECONDS:g} s: two nodes {there:.1f} s, {ready:.1f} s of it before the "
            f"first trial; two local workers {here:.1f} s; {ratios[-1]:.3f} times their trials an hour",
            flush=True,
        )
    (path.parent / "times").unlink()
    print(f"two Ray nodes beside two local workers: {statistics.median(ratios):.2f} times the trials an hour (median)")


def overhead(path: Path, address: str) -> None:
    """Seconds a trial beyond its stage, on Ray and here."""
    found: dict[str, list[float]] = {"Ray": [], "local": []}
    for number in range(ROUNDS):
        wall, _ = search(path, f"short-ray-{number}", MANY, SHORT, "--ray", address)
        found["Ray"].append(beyond(path, wall, MANY))
        wall, _ = search(path, f"short-here-{number}", MANY, SHORT)
        found["local"].append(beyond(path, wall, MANY))
    told = ", ".join(f"{name} {statistics.median(values):.2f} s" for name, values in found.items())
    print(f"a trial beyond its stage, {MANY} trials of {SHORT:g} s, {ROUNDS} rounds in turn (medians): {told}")


def main() -> None:
    """Measure, in folders that are removed afterwards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("compare", "overhead"), help="measure this alone")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        path = prepare(Path(name))
        (path.parent / "times").unlink(missing_ok=True)
        nodes = Nodes(Path(name) / "nodes", environment(path.parent / "times"))
        try:
            begin = time.perf_counter()
            nodes.head.start()
            for _ in range(2):
                nodes.add().start()
            print(f"starting the cluster: {time.perf_counter() - begin:.1f} s", flush=True)
            if arguments.only != "compare":
                overhead(path, nodes.address)
            if arguments.only != "overhead":
                compare(path, nodes.address)
        finally:
            nodes.close()
    print(machine.describe())


if __name__ == "__main__":
    main()
