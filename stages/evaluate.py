r"""Stage `evaluate`: judge the model on recordings it has never seen, and draw what it does.

python -m stages.evaluate data/train.h5 data/windows.h5 data/test.h5 models/model.safetensors \
        metrics/train/plots metrics/evaluate plots/evaluate
"""

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

import stages
from tonesift import figures, metrics, recordings, sequences, windows
from tonesift import model as models
from tonesift.atomic import replacing
from tonesift.errors import InputError
from tonesift.metrics import Tally, rounded

PARALLEL = 8  # batches at a time, at most


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the metrics, the table of tones and the pictures."""
    (settings,) = stages.settings(arguments.params, "evaluate")
    device = sequences.choose_device(settings.device)
    model, facts = models.load(arguments.model)
    model = model.to(device)
    history = read_history(arguments.history)
    split = windows.read(arguments.windows)
    with recordings.opened(arguments.test) as test, sequences.workers(device, PARALLEL) as run:
        check_fit(test, facts)
        signals = sequences.read_signals(test, facts["center"], facts["scale"], device)
        judged = Judge(model, facts, settings.batch_size, run)
        begin = time.perf_counter()
        test_tallies = judged.score(signals, judged.all_windows(test))
        seconds = time.perf_counter() - begin
        rows = table(test_tallies, train_tallies(arguments.train, judged, split, device), test)
        drawn = draw(test, judged, signals, rows, history)
    write(arguments, rows, drawn)
    samples = sum(seen.count for seen in test_tallies)
    return {"us_per_sample": round(1e6 * seconds / samples, 3), "model": models.digest(arguments.model)}


class Judge:
    """A model with what is needed to run it over recordings: its facts, a batch size and threads."""

    def __init__(self, model: models.ToneLSTM, facts: dict[str, Any], batch_size: int, run: sequences.Workers) -> None:
        self.model, self.batch_size, self.run = model, batch_size, run
        self.length, self.step = facts["sequence_length"], facts["step_size"]

    def all_windows(self, source: recordings.Recordings) -> windows.Runs:
        """Every window of some recordings."""
        return windows.all_windows(source.count, source.samples, self.length, self.step)

    def score(self, signals: sequences.Signals, runs: windows.Runs) -> list[Tally]:
        """Tally of each tone over the windows."""
        chosen = sequences.Sequences(signals, windows.starts(runs, self.step), self.length)
        return sequences.score(self.model, chosen, self.batch_size, self.run)

    def stitched(self, signals: sequences.Signals, samples: int) -> NDArray[np.float32]:
        """Outputs (K, n) over the first samples of the first recording, window after window, n <= samples."""
        firsts = np.arange(0, samples - self.length + 1, self.length)
        starts = np.stack([np.zeros_like(firsts), firsts], axis=1)
        chosen = sequences.Sequences(signals, starts, self.length)
        passed = sequences.predict(self.model, chosen, self.batch_size, self.run)
        outputs = np.concatenate([output for _, _, output in passed], axis=1)  # (L, W K)
        return outputs.T.reshape(len(firsts), chosen.tones, self.length).transpose(1, 0, 2).reshape(chosen.tones, -1)


def check_fit(test: recordings.Recordings, facts: dict[str, Any]) -> None:
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


def train_tallies(path: Path, judged: Judge, split: windows.Split, device: torch.device) -> list[Tally]:
    """Tally of each tone over the windows the model was trained on."""
    with recordings.opened(path) as train:
        signals = sequences.read_signals(train, split.center, split.scale, device)
    return judged.score(signals, split.train)


def table(test: list[Tally], train: list[Tally], source: recordings.Recordings) -> list[dict[str, Any]]:
    """Figures over all tones (first row) and of each tone."""
    target = np.stack([source.tones(index) for index in range(source.count)])  # (R, K, N)
    mixture = np.stack([source.mixture(index) for index in range(source.count)])  # (R, N)
    count = target.shape[1]
    before = [metrics.input_snr_db(target[:, tone], mixture, count) for tone in range(count)]
    rows = [
        row(f"tone_{number}", frequency, *figures_of)
        for number, (frequency, *figures_of) in enumerate(
            zip(source.facts.frequencies, test, train, before, strict=True), start=1
        )
    ]
    return [row("all", "", sum(test, Tally()), sum(train, Tally()), float(np.mean(before))), *rows]


def row(tone: str, frequency: float | str, test: Tally, train: Tally, snr_before: float) -> dict[str, Any]:
    """Figures of one tone, or of all; SNR and PSNR in dB."""
    values = {
        "r2": test.r2,
        "mse": test.mse,
        "rmse": test.rmse,
        "mae": test.mae,
        "correlation": test.correlation,
        "snr_db": test.snr_db,
        "snr_gain_db": test.snr_db - snr_before,
        "psnr_db": test.psnr_db,
        "train_mse": train.mse,
        "train_ratio": test.mse / train.mse if train.mse > 0 else float("inf"),
    }
    return {"tone": tone, "frequency_hz": frequency, **{name: rounded(value) for name, value in values.items()}}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The few figures that experiments are compared by."""
    overall, tones = rows[0], rows[1:]
    names = ("r2", "mse", "correlation", "snr_gain_db", "train_ratio")
    return {"test": {name: overall[name] for name in names} | {"worst_tone_mse": max(tone["mse"] for tone in tones)}}


def draw(
    test: recordings.Recordings,
    judged: Judge,
    signals: sequences.Signals,
    rows: list[dict[str, Any]],
    history: dict[str, NDArray],
) -> dict[str, Figure]:
    """The pictures, by name."""
    frequencies, rate = test.facts.frequencies, test.facts.sampling_rate
    mixture, tones = test.mixture(0), test.tones(0)
    shown = min(test.samples, max(judged.length, round(2 * rate / min(frequencies))))
    outputs = judged.stitched(signals, shown)
    detail = int(np.argmin(np.abs(np.array(frequencies) - 3)))  # the 3 Hz tone, or the nearest there is
    half = slice(0, max(outputs.shape[1] // 2, judged.length))
    shown = slice(0, outputs.shape[1])
    return {
        "data": figures.data(mixture, tones, frequencies, rate),
        "spectrogram": figures.spectrogram(mixture, frequencies, rate),
        "training": figures.training(history),
        "graph1": figures.one_tone(
            mixture[half], tones[detail, half], outputs[detail, half], frequencies[detail], rate, judged.length
        ),
        "graph2": figures.all_tones(
            mixture[shown], tones[:, shown], outputs, frequencies, [r["r2"] for r in rows[1:]], rate, judged.length
        ),
    }


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


def write(arguments: argparse.Namespace, rows: list[dict[str, Any]], drawn: dict[str, Figure]) -> None:
    """Write metrics, table and pictures, each whole or not at all."""
    stages.write_json(arguments.metrics / "metrics.json", summary(rows))
    with replacing(arguments.metrics / "tones.csv") as aside, aside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with replacing(arguments.pictures) as aside:
        aside.mkdir()
        for name, figure in drawn.items():
            figures.save(figure, aside / f"{name}.png")
    print(f"R2 {rows[0]['r2']:.4f} on test; pictures in {arguments.pictures}")


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
