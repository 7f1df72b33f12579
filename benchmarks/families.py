"""The families of networks side by side: what each reached, what it took to train, and what a sample costs as a stream.

    python -m benchmarks.families docs/families.csv

R², parameters and training time come from the committed tables of studies `family-parameters` (as many steps)
and `family-time` (the same training time). The cost of a stream is measured here: `ToneFilter.push`, one step at a time
on one thread, the families in turns in one process; the medians of the rounds count. What a step costs does not depend
on the weights, so they are random ones.
"""

import csv
import statistics
import sys
from pathlib import Path

import numpy as np
import torch
from ruamel.yaml import YAML

from benchmarks import machine
from benchmarks.streaming import FREQUENCIES, RATE, round_of
from tonesift.model import Network
from tonesift.tonefilter import ToneFilter

PUSHES, ROUNDS = 300, 9
BASE = Path("studies/bases/promoted.yaml")
SCORES, CLOCK = "metrics/evaluate/metrics.json", "metrics/run.json:run.train_seconds"
PARAMETERS = "metrics/train/metrics.json:parameters"


def trials(study: str) -> dict[str, dict[str, str]]:
    """Complete trials of a study by their labels."""
    with Path(f"studies/{study}/trials.csv").open(encoding="utf-8", newline="") as file:
        return {row["label"]: row for row in csv.DictReader(file) if row["state"] == "complete"}


def make_filter(row: dict[str, str]) -> ToneFilter:
    """Filter of a trial's shape."""
    section = YAML(typ="safe", pure=True).load(BASE.read_text(encoding="utf-8"))["model"]
    for name in section:
        if row.get(f"params.model.{name}"):
            section[name] = type(section[name])(row[f"params.model.{name}"])
    model = Network(len(FREQUENCIES), **section)
    model.initialise(torch.Generator().manual_seed(1))
    facts = {"sampling_rate": RATE, "frequencies": FREQUENCIES, "center": 0.0, "scale": 0.5, "sequence_length": 500}
    return ToneFilter(model, facts | {"model": section, "train": {"stateful": True}})


def costs(filters: dict[str, ToneFilter]) -> dict[str, float]:
    """Median microseconds a sample of each."""
    rounds: dict[str, list[float]] = {label: [] for label in filters}
    for number in range(ROUNDS + 1):
        for label, tone_filter in filters.items():
            samples = np.random.default_rng(number).normal(size=(PUSHES, tone_filter.hop)).astype("f4")
            rounds[label].append(round_of(tone_filter.push, samples))
    return {label: statistics.median(times[1:]) for label, times in rounds.items()}  # the first warms up


def main() -> None:
    """Measure, print and write."""
    torch.set_num_threads(1)
    same_steps, same_time = trials("family-parameters"), trials("family-time")
    cost = costs({label: make_filter(row) for label, row in same_steps.items()})
    rows = []
    for label, row in same_steps.items():
        other = same_time[label]
        rows.append(
            {
                "family": label,
                "parameters": round(float(row[PARAMETERS])),
                "r2": f"{float(row[f'{SCORES}:test.r2']):.4f}",
                "r2_std": f"{float(row[f'{SCORES}:test.r2 (std)']):.4f}",
                "settled_r2": f"{float(row[f'{SCORES}:settled.r2']):.4f}",
                "seconds": f"{float(row[CLOCK]):.0f}",
                "same_time_r2": f"{float(other[f'{SCORES}:test.r2']):.4f}",
                "same_time_r2_std": f"{float(other[f'{SCORES}:test.r2 (std)']):.4f}",
                "same_time_seconds": f"{float(other[CLOCK]):.0f}",
                "stream_us_a_sample": f"{cost[label]:.1f}",
            }
        )
    print(f"families, one step at a time, one thread; {machine.describe()}")
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    with Path(sys.argv[1]).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
