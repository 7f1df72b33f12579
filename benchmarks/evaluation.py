"""Time of stage `evaluate` beyond running the network, in both details; run it after `make repro`.

    python -m benchmarks.evaluation

The stage runs as DVC runs it, as a process of its own. Running the network over the test and training windows, and for
`full` over the recordings laid end to end and their 43 perturbations, is measured here in the same round and taken off.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from ruamel.yaml import YAML

from benchmarks import machine
from tonesift import model as models
from tonesift import recordings, sequences, windows

ROUNDS = 5
WANTED = {"full": 30, "scores": 3}
PERTURBED = 43  # recordings


def stage(folder: Path, detail: str) -> float:
    """Seconds of the stage."""
    yaml = YAML()
    content = yaml.load(Path("params.yaml"))
    content["evaluate"]["detail"] = detail
    yaml.dump(content, folder / "params.yaml")
    inputs = ("data/train.h5", "data/windows.h5", "data/test.h5", "models/model.safetensors", "metrics/train/plots")
    options = ("--params", str(folder / "params.yaml"), "--clock", str(folder / "run.json"))
    command = [sys.executable, "-m", "stages.evaluate", *inputs, str(folder / "m"), str(folder / "p"), *options]
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def network(detail: str) -> float:
    """Seconds of running the network alone."""
    model, facts = models.load("models/model.safetensors")
    split, device = windows.read("data/windows.h5"), torch.device("cpu")
    length, step = facts["sequence_length"], facts["step_size"]
    with recordings.opened("data/test.h5") as test:
        signals = sequences.read_signals(test, facts["center"], facts["scale"], device)
        every = windows.all_windows(test.count, test.samples, length, step)
    begin = time.perf_counter()
    with sequences.workers(device, 8) as run:
        for runs in (every, split.train):
            sequences.score(model, sequences.Sequences(signals, windows.starts(runs, step), length), 1024, run)
        if detail == "full":
            copies = sequences.Signals(*(signal.repeat(PERTURBED + 1, *[1] * (signal.dim() - 1)) for signal in signals))
            sequences.stitched(model, copies, length, 1024, run)
    return time.perf_counter() - begin


def main() -> None:
    """Run both details in turns and print the medians."""
    print(f"evaluate at the baseline; {machine.describe()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rounds = [{detail: (stage(folder, detail), network(detail)) for detail in WANTED} for _ in range(ROUNDS)]
    for detail, wanted in WANTED.items():
        total = statistics.median(found[detail][0] for found in rounds)
        beyond = statistics.median(found[detail][0] - found[detail][1] for found in rounds)
        print(f"{detail:7}{total:6.1f} s, beyond the network {beyond:5.1f} s (wanted: below {wanted})")


if __name__ == "__main__":
    main()
