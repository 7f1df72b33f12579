"""Time of stage `evaluate` beyond running the network, in both details; run it after `make repro`.

    python -m benchmarks.evaluation

The stage runs as DVC runs it, as a process of its own. Running the network over what it is judged on, and for `full`
over whole recordings and their 43 perturbations, is measured here in the same round and taken off.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from ruamel.yaml import YAML

from benchmarks import machine
from stages.evaluate import PARALLEL
from tonesift import compute, params
from tonesift.data import recordings, windows
from tonesift.evaluation import comparison
from tonesift.evaluation.estimator import NetworkEstimator
from tonesift.evaluation.segments import JudgedSegments, choose_segments
from tonesift.full_evaluation.run import ROBUST_SAMPLES, WHOLE_SAMPLES
from tonesift.networks import model as models

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
    device = torch.device("cpu")
    model, metadata = models.load("models/model.safetensors")
    (settings,) = params.load(Path("params.yaml"), "evaluate")
    with compute.parallel_map(device, PARALLEL) as pmap:
        estimator = NetworkEstimator(model, metadata, settings.batch_size, pmap, device)
        (mixture, tones), (other_mixture, other_tones), segments = read(estimator, settings)
        begin = time.perf_counter()
        estimator.score(mixture, tones, segments.test)
        estimator.score(other_mixture, other_tones, segments.train)
        if metadata.reset_samples is None:
            estimator.estimate(mixture)
        if detail == "full":
            estimator.estimate(mixture[: max(1, WHOLE_SAMPLES // mixture.shape[1])])
            estimator.estimate(np.repeat(mixture[:1, :ROBUST_SAMPLES], PERTURBED, axis=0))
        return time.perf_counter() - begin


def read(
    estimator: NetworkEstimator, settings: params.Evaluate
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray], JudgedSegments]:
    """Mixtures and tones of the test and of the training recordings, and what of them the stage judges."""
    split = windows.read("data/windows.h5")
    with recordings.opened("data/test.h5") as test, recordings.opened("data/train.h5") as train:
        task = comparison.make_task(test.facts, test.samples)
        segments = choose_segments(estimator.metadata, settings, task, (test.count, test.samples), split)
        return test.read(), train.read(), segments


def main() -> None:
    """Run both details in turns and print the medians."""
    print(f"stage evaluate; {machine.describe()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rounds = [{detail: (stage(folder, detail), network(detail)) for detail in WANTED} for _ in range(ROUNDS)]
    for detail, wanted in WANTED.items():
        total = statistics.median(found[detail][0] for found in rounds)
        beyond = statistics.median(found[detail][0] - found[detail][1] for found in rounds)
        print(f"{detail:7}{total:6.1f} s, beyond the network {beyond:5.1f} s (wanted: below {wanted})")


if __name__ == "__main__":
    main()
