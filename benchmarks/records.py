"""The best R² on each task in four minutes of training on two cores: the last commit against the record.

    python -m benchmarks.records fixed                            # measure, and say whether it is a record
    python -m benchmarks.records fixed --study mine               # the configuration of studies/mine.yaml
    python -m benchmarks.records fixed --enter "what was learnt"  # and enter it in docs/records.csv, docs/records.md
    python -m benchmarks.records --page                           # docs/records.md again, from docs/records.csv

Both commits run here and now, in clones, on two cores, from five training seeds and on the same test recordings. All
seeds come from the hash of the commit on trial, so nothing can have been chosen on them. It is a record if its mean R²
is the higher one and Welch's t-test gives p < 0.05 (one-sided).
"""

import argparse
import csv
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from scipy import stats
from tabulate import tabulate

from benchmarks import machine

LEDGER, PAGE = Path("docs/records.csv"), Path("docs/records.md")
RUNS = Path(".dvc/tmp/records")
RUN_COUNT, CORES, LIMIT, LEVEL = 5, 2, 240.0, 0.05
MEASURED = ("task", "study", "commit", "date", "first_seed", "mean", "worst", "seconds")
COLUMNS = (*MEASURED, "record", "record_mean", "p", "machine", "lesson")
BEGIN, END = "<!-- entries -->\n", "<!-- end -->\n"
# Where the R² after the first second stands that is the task's.
METRICS = {
    "fixed": "metrics/evaluate/metrics.json:settled.r2",
    "general": "metrics/evaluate/metrics.json:settled.r2",
    "any-tones": "any-tones/metrics/judge.json:everything.r2",
    "switching": "switching/metrics/judge.json:switching.r2",
    "hum": "hum/metrics/judge.json:ecg.r2",
}


class RecordError(Exception):
    """A user's mistake, in one line."""


class Side(NamedTuple):
    """A study's base and fixed parameters, as of a commit."""

    commit: str
    study: str


class Run(NamedTuple):
    """One training, judged."""

    r2: float
    seconds: float


def measured(side: Side, metric: str, seed: int, test_seed: int) -> Run:
    """Train a configuration from a seed and judge it; what ran here before is read again.

    Raises
    ------
    RecordError
        The commit has no such study, or does not run in this environment.
    """
    kept = RUNS / f"{side.commit}-{side.study}-{seed}-{test_seed}.json"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            run = _trained(Path(folder, "clone"), side, metric, seed, test_seed)
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part")
        part.write_text(json.dumps(run))
        part.replace(kept)
    return Run(*json.loads(kept.read_text()))


def _trained(clone: Path, side: Side, metric: str, seed: int, test_seed: int) -> Run:
    _run("git", "clone", "--quiet", "--no-checkout", ".", str(clone))
    _run("git", "checkout", "--quiet", side.commit, at=clone)
    pipeline = _configured(clone, side, metric, seed, test_seed)
    _run(sys.executable, "-m", "dvc", "repro", pipeline, at=clone)
    file, keys = metric.split(":")
    found: Any = json.loads((clone / file).read_text())
    for key in keys.split("."):
        found = found[key]
    clock = json.loads((clone / pipeline).with_name("metrics").joinpath("run.json").read_text())
    return Run(found, clock["run"]["train_seconds"])


def _configured(clone: Path, side: Side, metric: str, seed: int, test_seed: int) -> str:
    """Write the parameters of a run, and say which pipeline has them."""
    file = clone / "studies" / f"{side.study}.yaml"
    if not file.exists():
        raise RecordError(f"commit {side.commit} has no studies/{side.study}.yaml")
    study = yaml.safe_load(file.read_text())
    pipeline = study.get("pipeline", "dvc.yaml")
    if not metric.startswith(f"{pipeline.removesuffix('dvc.yaml')}metrics/"):
        raise RecordError(f"studies/{side.study}.yaml is of {pipeline}, which does not write {metric}")
    target = clone / study.get("params", "params.yaml")
    params = yaml.safe_load((file.parent / study["base"] if "base" in study else target).read_text())
    for key, value in (study.get("fixed", {}) | {"train.seed": seed, "data.test_seed": test_seed}).items():
        *sections, name = key.split(".")
        place = params
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    target.write_text(yaml.safe_dump(params, sort_keys=False))
    return pipeline


def _run(*command: str, at: Path | None = None) -> str:
    """What a command prints, on two cores."""
    paths = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    cores = set(sorted(os.sched_getaffinity(0))[:CORES])
    done = subprocess.run(
        command,
        cwd=at,
        env=os.environ | {"PATH": paths},
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
        raise RecordError(f"{' '.join(command[:5])} failed: {said[-1]}")
    return done.stdout.strip()


def trial(name: str, study: str | None) -> dict[str, Any]:
    """Measure the last commit and the record on a task: the row of the ledger that this would be."""
    if _run("git", "status", "--porcelain", "--untracked-files=no"):
        raise RecordError("there are changes that are not committed: a record is of a commit")
    before = [Side(row["commit"], row["study"]) for row in entries() if row["task"] == name]
    ours = Side(
        _run("git", "rev-parse", "--short=12", "HEAD"), study or (before[-1].study if before else f"{name}-seeds")
    )
    if ours in before[-1:]:
        raise RecordError(f"{ours.study} at {ours.commit} is the record itself")
    first = int(ours.commit[:6], 16)
    runs: dict[Side, list[Run]] = {side: [] for side in (ours, *before[-1:])}
    for seed in range(first, first + RUN_COUNT):
        for side, found in runs.items():
            found.append(measured(side, METRICS[name], seed, test_seed=first))
            said = f"R² {found[-1].r2:.6f}  {found[-1].seconds:.0f} s of training"
            print(f"{side.commit[:7]} {side.study}  seed {seed}  {said}", flush=True)
    row = {"task": name, "study": ours.study, "commit": ours.commit, "date": datetime.date.today().isoformat()}
    row |= {"first_seed": first, "machine": machine.describe()} | _figures(runs[ours])
    if before:
        ours_r2, theirs = ([run.r2 for run in runs[side]] for side in (ours, before[-1]))
        row |= {"record": before[-1].commit, "record_mean": f"{statistics.mean(theirs):.6f}"}
        row |= {"p": f"{p_value(ours_r2, theirs):.2g}"}
    return row


def _figures(runs: list[Run]) -> dict[str, str]:
    found = [run.r2 for run in runs]
    slowest = max(run.seconds for run in runs)
    return {"mean": f"{statistics.mean(found):.6f}", "worst": f"{min(found):.6f}", "seconds": f"{slowest:.0f}"}


def p_value(ours: list[float], theirs: list[float]) -> float:
    """How likely a mean R² that much higher is, were both the same: Welch's t-test, one-sided."""
    return float(stats.ttest_ind(ours, theirs, equal_var=False, alternative="greater").pvalue)


def verdict(row: dict[str, Any]) -> tuple[bool, str]:
    """Whether a row of the ledger is a record, and why in words."""
    if float(row["seconds"]) > LIMIT:
        return False, f"no record: training took {row['seconds']} s, beyond {LIMIT:.0f}"
    if "record" not in row:
        return True, f"the first record on {row['task']}: R² {row['mean']}"
    beside = f"R² {row['mean']} beside {row['record_mean']} of {row['record']}, p = {row['p']}"
    better = float(row["mean"]) > float(row["record_mean"]) and float(row["p"]) < LEVEL
    return better, f"a record: {beside}" if better else f"no record: {beside}, where less than {LEVEL} is asked"


def entries() -> list[dict[str, str]]:
    """Rows of the ledger, oldest first."""
    if not LEDGER.exists():
        return []
    with LEDGER.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def enter(row: dict[str, Any], lesson: str) -> None:
    """Add a row to the ledger, and make the page again."""
    rows = [*entries(), row | {"lesson": lesson}]
    with LEDGER.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), entries()), encoding="utf-8")


def page(text: str, rows: list[dict[str, str]]) -> str:
    """The page with the ledger's entries between its marks."""
    header = [
        "task",
        "date",
        "commit, study",
        "R² (worst seed)",
        "training, s",
        "the record before, here",
        "p",
        "lesson",
    ]
    body = [
        [
            row["task"],
            row["date"],
            f"`{row['commit'][:7]}` [{row['study']}](../studies/{row['study']}.yaml)",
            f"{float(row['mean']):.5f} ({float(row['worst']):.5f})",
            row["seconds"],
            f"{float(row['record_mean']):.5f} (`{row['record'][:7]}`)" if row["record"] else "the first",
            row["p"],
            row["lesson"],
        ]
        for row in rows
    ]
    before, behind = text.split(BEGIN)[0], text.split(END)[1]
    return before + BEGIN + tabulate(body, header, tablefmt="github", disable_numparse=True) + "\n" + END + behind


def main() -> int:
    """Measure; 0 if it is a record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", nargs="?", choices=METRICS)
    parser.add_argument("--study", help="whose configuration, a file in studies/ (default: the record's)")
    parser.add_argument("--enter", metavar="LESSON", help="enter a record, with what was learnt, in a sentence")
    parser.add_argument("--page", action="store_true", help="make docs/records.md again, from docs/records.csv")
    given = parser.parse_args()
    if given.page:
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), entries()), encoding="utf-8")
        return 0
    if given.task is None:
        parser.error(f"a task is missing: {', '.join(METRICS)}")
    try:
        row = trial(given.task, given.study)
    except RecordError as error:
        print(f"records: {error}", file=sys.stderr)
        return 2
    good, said = verdict(row)
    print(said)
    if good and given.enter:
        enter(row, given.enter)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
