"""What a search costs beyond the stages' own time, beside DVC's queue; two jobs beside one; a study of 500 trials.

python -m benchmarks.searches              # overhead and jobs: about five minutes
python -m benchmarks.searches --trials 500 # the large study too: about five minutes more
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks import machine

ROUNDS, TRIALS, JOBS = 3, 12, 2
ROOT = Path.cwd()
SWEEPS = "import sys; sys.path.insert(0, sys.argv.pop(1)); from dvcsweep.__main__ import main; sys.exit(main())"
STAGE = """
import json, os, time
p = json.load(open("params.json"))
time.sleep(p["sleep"])
json.dump({"validation": {"loss": (p["x"] - 3) ** 2}}, open("metrics.json", "w"))
open("model.bin", "w").write(str(p))
with open(os.environ["TIMES"], "a") as times:
    began = int(open("/proc/self/stat").read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    times.write(f"{now - began} {now}\\n")  # seconds since this process was started, and when it ended
"""
PIPELINE = """
stages:
  fit:
    cmd: python fit.py
    deps: [fit.py]
    params: [{params.json: [x, sleep]}]
    outs: [model.bin]
    metrics: [{metrics.json: {cache: false}}]
"""
STUDY = """
objective: metrics.json:validation.loss
params: params.json
strategy: {strategy}
trials: {trials}
seed: {seed}
jobs: {jobs}
fixed: {{sleep: {sleep}}}
space:
  x: {{low: 0.0, high: 9.0}}
"""


def environment(times: Path) -> dict[str, str]:
    """DVC and Python of this environment; stages write their own times to a file."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    identity = {f"GIT_{role}_{kind}": "b@example.org" for role in ("AUTHOR", "COMMITTER") for kind in ("NAME", "EMAIL")}
    return os.environ | identity | {"PATH": path, "TIMES": str(times), "DVC_NO_ANALYTICS": "1"}


def repository(path: Path, times: Path, stage: str = STAGE, pipeline: str = PIPELINE) -> None:
    """A small repository with a stage that mostly sleeps."""
    path.mkdir()
    (path / "fit.py").write_text(stage, encoding="utf-8")
    (path / "dvc.yaml").write_text(pipeline, encoding="utf-8")
    (path / "params.json").write_text(json.dumps({"x": 1.0, "sleep": 0.0}), encoding="utf-8")
    for command in (
        ["git", "init", "--quiet"],
        ["dvc", "init", "--quiet"],
        ["dvc", "repro", "--quiet"],
        ["git", "add", "--all"],
        ["git", "commit", "--quiet", "--message", "start"],
    ):
        subprocess.run(command, cwd=path, env=environment(times), check=True)


def search(path: Path, times: Path, name: str, **values: object) -> float:
    """Seconds of a whole search."""
    study = path / f"{name}.yaml"
    study.write_text(STUDY.format(**{"strategy": "random", "sleep": 0.5, "jobs": JOBS} | values), encoding="utf-8")
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", SWEEPS, str(ROOT), "run", str(study), "--no-report"],
        cwd=path,
        env=environment(times),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - begin


def queue(path: Path, times: Path, seed: int) -> float:
    """Seconds that DVC's queue takes for as many experiments, from its start to the last result, without filling it."""
    for index in range(TRIALS):
        subprocess.run(
            [
                "dvc",
                "exp",
                "run",
                "--queue",
                "-S",
                f"params.json:x={seed + index / 1000}",
                "-S",
                "params.json:sleep=0.5",
            ],
            cwd=path,
            env=environment(times),
            check=True,
            capture_output=True,
        )
    before = experiments(path)
    begin = time.perf_counter()
    subprocess.run(["dvc", "queue", "start", "--jobs", str(JOBS)], cwd=path, env=environment(times), check=True)
    while experiments(path) < before + TRIALS:
        time.sleep(0.1)
    seconds = time.perf_counter() - begin
    # its workers end by themselves after a while; they must be gone before anything else is timed
    while (
        "0 active, 0 idle"
        not in subprocess.run(
            ["dvc", "queue", "status"], cwd=path, env=environment(times), check=True, capture_output=True, text=True
        ).stdout
    ):
        time.sleep(1)
    return seconds


def experiments(path: Path) -> int:
    """How many there are, by their references."""
    listed = subprocess.run(
        ["git", "for-each-ref", "refs/exps"], cwd=path, check=True, capture_output=True, text=True
    ).stdout
    return sum("/exec/" not in line and "celery" not in line for line in listed.splitlines())


def stage_times(times: Path, trials: int) -> list[tuple[float, float]]:
    """Seconds that each stage took, and when it ended; empties the list."""
    stages = [tuple(map(float, line.split())) for line in times.read_text(encoding="utf-8").splitlines()]
    assert len(stages) == trials, f"{len(stages)} stages ran instead of {trials}"
    times.unlink()
    return stages


def beyond(wall: float, times: Path) -> float:
    """Seconds a trial beyond its stages: what the workers had, less what the stages took."""
    return (wall * JOBS - sum(took for took, _ in stage_times(times, TRIALS))) / TRIALS


def overhead(folder: Path) -> None:
    """Searches and DVC's queue in turn, on the same repository."""
    path, times = folder / "overhead", folder / "times"
    repository(path, times)
    times.unlink()
    ours, theirs = [], []
    for round_number in range(ROUNDS):
        ours.append(beyond(search(path, times, f"s{round_number}", trials=TRIALS, seed=round_number), times))
        theirs.append(beyond(queue(path, times, 10 + round_number), times))
        print(f"round {round_number + 1}: {ours[-1]:.2f} s a trial beyond the stages; DVC's queue {theirs[-1]:.2f} s")
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
    print(
        f"overhead a trial, {ROUNDS * TRIALS} trials, {JOBS} jobs: {statistics.median(ours):.2f} s, DVC's queue "
        f"{statistics.median(theirs):.2f} s; {ratio:.2f} times the queue's (median; wanted: at most 0.6)"
    )


def two_jobs(folder: Path) -> None:
    """Real trainings, one thread each: trials an hour with one job and with two."""
    path = folder / "jobs"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(path)], check=True)
    content = (ROOT / "studies" / "quick.yaml").read_text(encoding="utf-8")
    content = content.replace("train.epochs: 5", "train.epochs: 2, prepare.step_size: 2")
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for seed, jobs in enumerate([1, 2, 2, 1], start=1):
        name = f"jobs-{seed}"
        changed = content.replace("fixed: {", f"fixed: {{train.seed: {seed + 1}, ")
        (path / "studies" / f"{name}.yaml").write_text(changed, encoding="utf-8")
        if seed == 1:  # data into the cache, and files into memory
            run_study(path, "quick", jobs, "--trials", "1")
        seconds[jobs].append(run_study(path, name, jobs))
    one, two = (sum(seconds[jobs]) for jobs in (1, 2))
    print(f"two jobs: {one / two:.2f} times the trials an hour of one (4 trainings each, twice; wanted: at least 1.7)")


def run_study(path: Path, name: str, jobs: int, *arguments: str) -> float:
    """Seconds of a study in a clone of this repository."""
    options = ("--no-report", "--jobs", str(jobs), *arguments)
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "dvcsweep", "run", f"studies/{name}.yaml", *options],
        cwd=path,
        env=environment(path / "times"),
        check=not arguments,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - begin


def large(folder: Path, trials: int) -> None:
    """A study of many trials: the driver's memory on the way, the cost of early and late trials, `status`."""
    path, times = folder / "large", folder / "large-times"
    repository(path, times)
    study = path / "large.yaml"
    study.write_text(STUDY.format(strategy="random", trials=trials, seed=1, jobs=JOBS, sleep=0.0), encoding="utf-8")
    command = [sys.executable, "-c", SWEEPS, str(ROOT)]
    begin = time.perf_counter()
    driver = subprocess.Popen(
        [*command, "run", str(study), "--no-report"],
        cwd=path,
        env=environment(times),
        stdout=subprocess.PIPE,
        text=True,
    )
    marks = []
    for line in driver.stdout:
        if line.startswith("large-"):
            marks.append((time.perf_counter() - begin, psutil.Process(driver.pid).memory_info().rss / 2**20))
    if driver.wait():
        raise SystemExit("the study failed")
    tenth = trials // 10
    early, late = marks[tenth], marks[-1]
    print(
        f"{trials} trials: {late[0]:.0f} s; the second tenth took {marks[2 * tenth][0] - early[0]:.1f} s, the last "
        f"{late[0] - marks[-1 - tenth][0]:.1f} s; driver's memory {early[1]:.0f} MiB after a tenth, "
        f"{late[1]:.0f} MiB at the end"
    )
    begin = time.perf_counter()
    subprocess.run([*command, "status", str(study)], cwd=path, env=environment(times), check=True, capture_output=True)
    print(f"status of {trials} trials: {time.perf_counter() - begin:.2f} s (wanted: below 2)")


def main() -> None:
    """Measure, in folders that are removed afterwards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, help="run the large study, with so many trials")
    parser.add_argument("--only", choices=("overhead", "jobs", "large"), help="measure this alone")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if arguments.only in (None, "overhead"):
            overhead(Path(name))
        if arguments.only in (None, "jobs"):
            two_jobs(Path(name))
        if arguments.trials:
            large(Path(name), arguments.trials)
    print(machine.describe())


if __name__ == "__main__":
    main()
