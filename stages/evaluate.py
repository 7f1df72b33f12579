r"""Stage `evaluate`: judge the model on recordings it has never seen, beside the best possible and classical filters.

python -m stages.evaluate data/train.h5 data/windows.h5 data/test.h5 models/model.safetensors \
        metrics/train/plots metrics/evaluate plots/evaluate
"""

import argparse
import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

import stages
from tonesift import comparison, figures, limits, recordings, sequences, tables, uncertainty, windows
from tonesift import model as models
from tonesift.atomic import replacing
from tonesift.comparison import Row
from tonesift.errors import InputError
from tonesift.metrics import rounded

PARALLEL = 8  # batches at a time, at most
RIVAL_STRETCHES = 20_000  # windows the filters are judged on, at most
RIVAL_SAMPLES = 200_000  # samples, recordings together, they are judged on with all the past, at most


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write metrics and tables, and with `detail: full` everything that takes longer."""
    (settings,) = stages.settings(arguments.params, "evaluate")
    model, facts = models.load(arguments.model)
    history = read_history(arguments.history)
    split = windows.read(arguments.windows)
    device = sequences.choose_device(settings.device)
    with recordings.opened(arguments.test) as test, sequences.workers(device, PARALLEL) as run:
        check_fit(test, facts)
        judge = Judge(model.to(device), facts, settings.batch_size, run, device)
        every = windows.all_windows(test.count, test.samples, judge.length, facts["step_size"])
        signals = sequences.read_signals(test, facts["center"], facts["scale"], device)
        begin = time.perf_counter()
        scored = judge.score(signals, every)
        seconds = time.perf_counter() - begin
        with recordings.opened(arguments.train) as train:
            trained = judge.score(sequences.read_signals(train, split.center, split.scale, device), split.train)
        target = np.stack([test.tones(index) for index in range(test.count)])  # (R, K, N)
        mixture = np.stack([test.mixture(index) for index in range(test.count)])  # (R, N)
        task = comparison.make_task(test.facts, test.samples)
        tones = tables.tones(task.facts.frequencies, scored.tallies, trained.tallies, target, mixture)
        ours = Row("lstm", "LSTM", judge.context, causal=True, told="nothing: learnt", mse=scored.position_mse)
        limit = comparison.limit_row(task, limits.causal(judge.length), judge.context)
        found = Findings(task, tones, [ours, limit])
        if settings.detail == "full":
            examine(found, judge, every, mixture, target, history)
    write(arguments, found)
    samples = sum(seen.count for seen in scored.tallies)
    return {"us_per_sample": round(1e6 * seconds / samples, 3), "model": models.digest(arguments.model)}


@dataclass(frozen=True)
class Judge:
    """A network, and how it is run over recordings."""

    model: models.ToneLSTM
    facts: Mapping[str, Any]
    batch_size: int
    run: sequences.Workers
    device: torch.device

    @property
    def length(self) -> int:
        """Samples in a window."""
        return self.facts["sequence_length"]

    @property
    def context(self) -> str:
        """What the network may read before it answers, in words."""
        return f"{self.length} samples"

    def score(self, signals: sequences.Signals, runs: windows.Runs) -> sequences.Scores:
        """Scores over some windows."""
        chosen = sequences.Sequences(signals, windows.starts(runs, self.facts["step_size"]), self.length)
        return sequences.score(self.model, chosen, self.batch_size, self.run)

    def estimate(self, mixture: NDArray) -> NDArray:
        """Outputs (M, K, N) for mixtures (M, N), windows laid end to end."""
        scaled = (mixture.astype(np.float32) - np.float32(self.facts["center"])) / np.float32(self.facts["scale"])
        shape = (len(mixture), len(self.facts["frequencies"]), mixture.shape[1])
        signals = sequences.Signals(torch.from_numpy(scaled), torch.zeros(shape))
        moved = sequences.Signals(*(signal.to(self.device) for signal in signals))
        return sequences.stitched(self.model, moved, self.length, self.batch_size, self.run)


@dataclass
class Findings:
    """What is written in the end: estimators' rows (ours and the limit first), tables by name, pictures by name."""

    task: comparison.Task
    tones: tables.Table
    rows: list[Row] = field(default_factory=list)
    details: dict[str, tables.Table] = field(default_factory=dict)
    robustness: dict[str, tables.Table] = field(default_factory=dict)
    pictures: dict[str, Figure] = field(default_factory=dict)


def examine(
    found: Findings,
    judge: Judge,
    every: windows.Runs,
    mixture: NDArray,
    target: NDArray,
    history: Mapping[str, NDArray],
) -> None:
    """Add filters, uncertainty, robustness and pictures to the findings; mixture (R, N), target (R, K, N)."""
    task, length = found.task, judge.length
    found.rows += filter_rows(task, mixture, target, every, judge)
    share = slice(0, max(1, RIVAL_SAMPLES // target.shape[2]))
    mixture, target = mixture[share], target[share]
    outputs = judge.estimate(mixture)
    rivals = {
        name: comparison.in_windows(estimate, length)
        for name, (_, _, _, estimate) in comparison.estimators(task).items()
    }
    errors = {name: rival(mixture.astype(np.float64)) - target for name, rival in rivals.items()}
    block = uncertainty.block_length(outputs - target, length, task.tones.shape[1] if task.periodic else None)
    labels = {row.name: row.label for row in found.rows}
    found.details["uncertainty"] = tables.sure(outputs - target, target, block)
    found.details["paired"] = tables.paired(outputs - target, errors, labels, judge.context, block)
    best = tables.best_filters([row for row in found.rows if row.context == judge.context])
    tried = {"lstm": judge.estimate, **{name: rivals[name] for name in best}}
    points, found.robustness = tables.robust(tried, task.facts, min(target.shape[2], RIVAL_SAMPLES // 20))
    found.pictures = draw(found, mixture[0], target[0], outputs[0], history, length)
    found.pictures["robustness"] = figures.robustness(points, {name: labels[name] for name in tried})


def check_fit(test: recordings.Recordings, facts: Mapping[str, Any]) -> None:
    """Refuse recordings the model was not made for."""
    for name, found in (
        ("sampling_rate", test.facts.sampling_rate),
        ("frequencies", list(test.facts.frequencies)),
    ):
        if found != facts[name]:
            raise InputError(
                f"{test.path}: {name} {found}, but the model was trained on {facts[name]}: run `dvc repro train`"
            )
    if test.samples < facts["sequence_length"]:
        raise InputError(
            f"{test.path}: {test.samples} samples, but a window has {facts['sequence_length']}: use longer recordings"
        )


def read_history(folder: Path) -> dict[str, NDArray]:
    """DVCLive's history: a column of values for each metric, by its path below `metrics`."""
    root = folder / "metrics"
    found = {}
    for path in sorted(root.rglob("*.tsv")):
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file, delimiter="\t"))
        found[path.relative_to(root).with_suffix("").as_posix()] = np.array([float(line[path.stem]) for line in lines])
    if not found:
        raise InputError(f"{root}: holds no curves: run `dvc repro train`, or `git checkout metrics`")
    return found


def filter_rows(
    task: comparison.Task, mixture: NDArray, target: NDArray, every: windows.Runs, judge: Judge
) -> list[Row]:
    """Classical filters and the posterior mean, on the network's windows and with all the past."""
    starts = windows.starts(every, judge.facts["step_size"])
    starts = starts[:: -(-len(starts) // RIVAL_STRETCHES)]
    at = starts[:, 1, None] + np.arange(judge.length)
    cut = mixture[starts[:, 0, None], at], target[starts[:, 0, None], :, at].transpose(0, 2, 1)
    found = comparison.rival_rows(task, *cut, judge.context)
    past = slice(0, max(1, RIVAL_SAMPLES // mixture.shape[1])), slice(0, RIVAL_SAMPLES)
    whole = comparison.rival_rows(task, mixture[past], target[past[0], :, past[1]], "all the past")
    reached = comparison.limit_row(task, limits.causal(min(mixture.shape[1], RIVAL_SAMPLES)), "all the past")
    return [*found, reached, *whole]


def summary(found: Findings) -> dict[str, Any]:
    """The few figures that experiments are compared by."""
    overall, tones = found.tones[0], found.tones[1:]
    names = ("r2", "mse", "correlation", "snr_gain_db", "train_ratio")
    test = {name: overall[name] for name in names} | {"worst_tone_mse": max(tone["mse"] for tone in tones)}
    ours, limit, *rest = found.rows
    best = comparison.scores(limit, found.task)["r2"]
    content = {"test": test, "limit": {"r2": best, "share": rounded(test["r2"] / best)}}
    if same := [row for row in rest if row.context == ours.context]:
        content["best_filter"] = {"r2": comparison.scores(comparison.best_filter(same), found.task)["r2"]}
    return content


def draw(
    found: Findings, mixture: NDArray, tones: NDArray, outputs: NDArray, history: Mapping[str, NDArray], window: int
) -> dict[str, Figure]:
    """The pictures, by name, of one recording: mixture (N,), tones and outputs (K, N)."""
    frequencies, rate = found.task.facts.frequencies, found.task.facts.sampling_rate
    shown = min(len(mixture), max(window, round(2 * rate / min(frequencies))))
    half = max(shown // 2, min(window, shown))
    nearest = int(np.argmin(np.abs(np.array(frequencies) - 3)))  # the 3 Hz tone, or the nearest there is
    detail = mixture[:half], tones[nearest, :half], outputs[nearest, :half]
    r2 = [row["r2"] for row in found.tones[1:]]
    best = [float(value) for value in limits.r2(found.rows[1].mse, found.task.power, axis=1)]
    bars = {"LSTM": r2, "best possible": best}
    labels = {row.name: row.label for row in found.rows}
    curves = {labels[name]: curve for name, curve in comparison.curves(found.rows, found.task).items()}
    return {
        "data": figures.data(mixture, tones, frequencies, rate),
        "spectrogram": figures.spectrogram(mixture, frequencies, rate),
        "training": figures.training(history),
        "graph1": figures.one_tone(*detail, frequencies[nearest], rate, window),
        "graph2": figures.all_tones(
            mixture[:shown], tones[:, :shown], outputs[:, :shown], frequencies, r2, rate, window
        ),
        "context": figures.context(curves),
        "tones": figures.tones_bars(frequencies, bars),
        "scatter": figures.scatter(tones, outputs),
        "errors": figures.errors(outputs - tones),
        "spectra": figures.spectra(tones, outputs, frequencies, rate),
        "long": figures.long_stretch(tones, outputs, frequencies, rate),
        "overview": figures.overview(detail, (frequencies, rate), history, curves, bars, outputs - tones),
    }


def write(arguments: argparse.Namespace, found: Findings) -> None:
    """Write metrics, tables and pictures, each whole or not at all."""
    content = summary(found)
    stages.write_json(arguments.metrics / "metrics.json", content)
    write_csv(arguments.metrics / "tones.csv", found.tones)
    write_csv(arguments.metrics / "comparison.csv", comparison.table(found.rows, found.task))
    curves = comparison.curves(found.rows, found.task)
    points = [dict(zip(curves, map(rounded, values), strict=True)) for values in zip(*curves.values(), strict=True)]
    write_csv(arguments.metrics / "context.csv", [{"position": at, **point} for at, point in enumerate(points, 1)])
    for name in ("uncertainty", "paired"):
        write_csv(arguments.metrics / f"{name}.csv", found.details.get(name, []))
    with replacing(arguments.metrics / "robustness") as aside:
        aside.mkdir()
        for name, rows in found.robustness.items():
            write_csv(aside / f"{name}.csv", rows)
    with replacing(arguments.pictures) as aside:
        aside.mkdir()
        for name, figure in found.pictures.items():
            figures.save(figure, aside / f"{name}.png")
    print(f"R2 {content['test']['r2']:.4f} on test, {content['limit']['share']:.1%} of the best possible")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table, whole or not at all; one without rows is a file with a line that says so."""
    with replacing(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(
            file, rows[0].keys() if rows else ["only with evaluate.detail: full"], lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    command = stages.parser(__doc__)
    command.add_argument("train", type=Path, help="recordings trained on")
    command.add_argument("windows", type=Path, help="windows trained on")
    command.add_argument("test", type=Path, help="recordings to test on")
    command.add_argument("model", type=Path, help="the model")
    command.add_argument("history", type=Path, help="DVCLive's plots of the training")
    command.add_argument("metrics", type=Path, help="folder for metrics and tables")
    command.add_argument("pictures", type=Path, help="folder for pictures")
    stages.main(evaluate, command.parse_args())
