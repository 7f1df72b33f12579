"""The families of networks side by side: what each reached, what it takes to train, what a sample costs as a stream.

    python -m benchmarks.families docs/families.csv

R² and parameters come from the committed tables of studies `family-parameters` (as many steps for each) and
`family-time` (as much time). Times are measured here, the families in turns in one process, and the medians of the
rounds count: steps of training as stage `train` takes them (validation not counted), on two threads; and
`ToneFilter.push`, one step of the network at a time, on one. Neither depends on the weights, so they are random ones.
"""

import argparse
import csv
import statistics
from pathlib import Path

import numpy as np
import torch
from ruamel.yaml import YAML

from benchmarks import machine
from benchmarks.streaming import random_filter, round_of
from benchmarks.training import NOISE_STD, our_step, read_signals, seconds_a_step, stream_batches
from tonesift.atomic import replacing
from tonesift.learning.batches import without_noise

PUSHES, STEPS, ROUNDS = 300, 10, 7
TRAINING = 800  # steps of the studies' trainings
BASE = Path("studies/bases/promoted.yaml")
SCORES = "metrics/evaluate/metrics.json"
PARAMETERS = "metrics/train/metrics.json:parameters"


def trials(study: str) -> dict[str, dict[str, str]]:
    """Complete trials of a study by their labels."""
    with Path(f"studies/{study}/trials.csv").open(encoding="utf-8", newline="") as file:
        return {row["label"]: row for row in csv.DictReader(file) if row["state"] == "complete"}


def shape(row: dict[str, str]) -> dict:
    """Section `model` of a trial."""
    yaml = YAML(typ="safe", pure=True)
    section = yaml.load(BASE.read_text(encoding="utf-8"))["model"]
    told = {name: row.get(f"params.model.{name}") for name in section}
    return section | {name: yaml.load(value) for name, value in told.items() if value}


def push_costs(shapes: dict[str, dict]) -> dict[str, float]:
    """Median microseconds a sample of each."""
    filters = {label: random_filter(section) for label, section in shapes.items()}
    rounds: dict[str, list[float]] = {label: [] for label in filters}
    for number in range(ROUNDS + 1):
        for label, tone_filter in filters.items():
            samples = np.random.default_rng(number).normal(size=(PUSHES, tone_filter.hop)).astype("f4")
            rounds[label].append(round_of(tone_filter.push, samples))
    return {label: statistics.median(times[1:]) for label, times in rounds.items()}  # the first warms up


def step_costs(shapes: dict[str, dict]) -> dict[str, float]:
    """Median seconds of a training step of each."""
    clean, rounds = without_noise(read_signals(1), 0.0, 1.0), {label: [] for label in shapes}
    for _ in range(ROUNDS):
        for label, section in shapes.items():
            with our_step(section, clean, NOISE_STD) as step:
                batches = stream_batches()
                seconds_a_step(step, batches, 2)  # warms up
                rounds[label].append(seconds_a_step(step, batches, STEPS))
    return {label: statistics.median(times) for label, times in rounds.items()}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="The families of networks side by side.")
    parser.add_argument("table", type=Path, help="where to write it, CSV")
    table = parser.parse_args().table
    same_steps, same_time = trials("family-parameters"), trials("family-time")
    shapes = {label: shape(row) for label, row in same_steps.items()}
    step = step_costs(shapes)
    torch.set_num_threads(1)
    push = push_costs(shapes)
    rows = []
    for label, row in same_steps.items():
        figures = {"r2": row, "same_time_r2": same_time[label]}
        rows.append({"family": label, "parameters": round(float(row[PARAMETERS]))})
        for name, source in figures.items():
            rows[-1][name] = f"{float(source[f'{SCORES}:test.r2']):.4f}"
            rows[-1][f"{name}_std"] = f"{float(source[f'{SCORES}:test.r2 (std)']):.4f}"
        rows[-1]["training_seconds"] = f"{TRAINING * step[label]:.0f}"
        rows[-1]["stream_us_a_sample"] = f"{push[label]:.1f}"
    print(f"families, {TRAINING} steps of training on two threads, streams on one; {machine.describe()}")
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    with replacing(table) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
