r"""Stage `evaluate`: judge the model on recordings it has never seen, beside the best possible and classical filters.

python -m stages.evaluate data/train.h5 data/windows.h5 data/test.h5 models/model.safetensors \
    metrics/train/plots metrics/evaluate plots/evaluate
"""

import argparse
import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

import stages
from tonesift import comparison, limits, recordings, sequences, tables, windows
from tonesift import model as models
from tonesift.atomic import replacing
from tonesift.comparison import Row
from tonesift.errors import InputError
from tonesift.metrics import rounded

if TYPE_CHECKING:
    from tonesift.examination import Examination

PARALLEL = 8  # batches at a time, at most


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
        ours = Row(
            "lstm",
            "LSTM",
            judge.context,
            causal=True,
            told="nothing; trained on recordings of the same task",
            mse=scored.position_mse,
        )
        own = [ours, comparison.limit_row(task, limits.causal(judge.length), judge.context)]
        more = None
        if settings.detail == "full":
            from tonesift import examination  # two seconds of imports that scores need not wait for

            subject = examination.Subject(judge.estimate, judge.length, judge.context, tones, history)
            more = examination.examine(subject, task, own, mixture, target, windows.starts(every, facts["step_size"]))
    write(arguments, task, tones, own, more)
    samples = sum(seen.count for seen in scored.tallies)
    return {"us_per_sample": round(1e6 * seconds / samples, 3), "evaluated": models.digest(arguments.model)}


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


def summary(
    task: comparison.Task, tones: tables.Table, own: list[Row], more: "Examination | None"
) -> dict[str, dict[str, float]]:
    """The few figures that experiments are compared by."""
    names = ("r2", "mse", "correlation", "snr_gain_db", "train_ratio")
    test = {name: tones[0][name] for name in names} | {"worst_tone_mse": max(tone["mse"] for tone in tones[1:])}
    best = comparison.scores(own[1], task)["r2"]
    content = {"test": test, "limit": {"r2": best, "share": rounded(test["r2"] / best)}}
    return content | ({"best_filter": {"r2": more.best_filter}} if more else {})


def write(
    arguments: argparse.Namespace,
    task: comparison.Task,
    tones: tables.Table,
    own: list[Row],
    more: "Examination | None",
) -> None:
    """Write metrics, tables and pictures, each whole or not at all."""
    content, rows = summary(task, tones, own, more), [*own, *(more.rows if more else [])]
    compared = comparison.table(rows, task)
    ours = next(row for row in compared if row["name"] == "lstm")  # its R^2 as in the table of tones, over all windows
    ours |= {key: tone["r2"] for key, tone in zip([key for key in ours if key.startswith("r2")], tones, strict=True)}
    curves = comparison.curves(rows, task)
    points = [dict(zip(curves, map(rounded, values), strict=True)) for values in zip(*curves.values(), strict=True)]
    found = {
        "tones": tones,
        "comparison": compared,
        "context": [{"position": at, **point} for at, point in enumerate(points, 1)],
        "uncertainty": more.uncertainty if more else [],
        "paired": more.paired if more else [],
    }
    stages.write_json(arguments.metrics / "metrics.json", content)
    for name, table in found.items():
        write_csv(arguments.metrics / f"{name}.csv", table)
    with replacing(arguments.metrics / "robustness") as aside:
        aside.mkdir()
        for name, table in (more.robustness if more else {}).items():
            write_csv(aside / f"{name}.csv", table)
    with replacing(arguments.pictures) as aside:
        aside.mkdir()
        for name, picture in (more.pictures if more else {}).items():
            (aside / f"{name}.png").write_bytes(picture)
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
