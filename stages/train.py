"""Stage `train`: fit the network, log every epoch, keep the best one.

python -m stages.train data/train.h5 data/windows.h5 models/model.safetensors metrics/train
"""

import argparse
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from dvclive import Live
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm import tqdm

import stages
from tonesift import metrics, params, recordings, sequences, training, windows
from tonesift import model as models
from tonesift.atomic import replacing
from tonesift.errors import InputError


def train(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the model and its curves, and say what the best epoch came to."""
    model_params, train_params = stages.settings(arguments.params, "model", "train")
    split = windows.read(arguments.windows)
    device = sequences.choose_device(train_params.device)
    facts, parts = examples(arguments.recordings, split, device)
    model = models.ToneLSTM(len(facts.frequencies), **model_params.model_dump()).to(device)
    model.initialise(models.torch_generator(training.stream(train_params.seed, "weights"), device))
    begin = time.perf_counter()
    with replacing(arguments.curves) as aside:
        summary = fit(model, *parts, train_params, aside)
    seconds = time.perf_counter() - begin
    config = {"model": model_params.model_dump(), "train": train_params.model_dump()}
    digest = models.save(arguments.model, model, {**config, **origin(split, facts), "summary": summary})
    return {
        "model": digest,
        "epoch_seconds": round(seconds / summary["step"], 2),
        "windows_per_second": round(len(parts[0]) * summary["step"] / seconds),
    }


def examples(
    path: Path, split: windows.Split, device: torch.device
) -> tuple[recordings.Facts, list[sequences.Sequences]]:
    """Facts of the recordings, and their training and validation examples on the device."""
    with recordings.opened(path) as source:
        if (source.count, source.samples) != split.shape:
            raise InputError(
                f"{path}: {source.count} recordings of {source.samples} samples, but the windows were made for "
                f"{split.shape[0]} of {split.shape[1]}: run `dvc repro`"
            )
        signals = sequences.read_signals(source, split.center, split.scale, device)
    parts = [windows.starts(runs, split.step_size) for runs in (split.train, split.validation)]
    return source.facts, [sequences.Sequences(signals, part, split.sequence_length) for part in parts]


def fit(
    model: models.ToneLSTM,
    train_part: sequences.Sequences,
    validation_part: sequences.Sequences,
    settings: params.Train,
    folder: Path,
) -> dict[str, Any]:
    """Train with DVCLive's history in `folder` and progress on the terminal; give the summary of the best epoch."""
    optimizer = training.make_optimizer(
        model, settings.optimizer, settings.learning_rate, settings.weight_decay, settings.momentum
    )
    scheduler = None
    if settings.scheduler == "plateau":
        scheduler = ReduceLROnPlateau(optimizer, factor=settings.scheduler_factor, patience=settings.scheduler_patience)
    progress = Progress(settings.epochs)
    epochs = training.fit(
        model,
        train_part,
        validation_part,
        optimizer,
        scheduler,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        grad_clip=settings.grad_clip,
        patience=settings.early_stop_patience,
        seed=settings.seed,
        shards=settings.shards,
        on_step=progress.step,
    )
    return log(epochs, folder, progress)


def log(epochs: Iterable[training.Epoch], folder: Path, progress: "Progress") -> dict[str, Any]:
    """Write every epoch's figures with DVCLive, and in the end those of the best epoch as its summary."""
    live = start_live(folder)
    summary: dict[str, Any] = {}
    for epoch in epochs:
        live.step = epoch.number
        for name, value in figures(epoch).items():
            live.log_metric(name, value)
        live.make_summary()
        progress.epoch(epoch)
        if epoch.best:
            summary = {"best_epoch": epoch.number, "train": scores(epoch.train), "validation": scores(epoch.validation)}
    live.summary = summary
    live.end()  # adds the last epoch, as `step`
    progress.end(summary)
    return live.summary


def start_live(folder: Path) -> Live:
    """DVCLive that writes into `folder` and leaves experiments and `dvc.yaml` to DVC."""
    try:
        return Live(str(folder), save_dvc_exp=False, dvcyaml=False)
    except Exception as error:  # it opens the DVC repository: no commit yet, a full disk and more, each its own class
        raise InputError(f"DVCLive cannot open this repository: {str(error).splitlines()[0]}") from error


def figures(epoch: training.Epoch) -> dict[str, float]:
    """What is logged of an epoch."""
    parts = {"train": epoch.train, "validation": epoch.validation}
    found = {f"{part}/{name}": value for part, seen in parts.items() for name, value in scores(seen).items()}
    rest = {"learning_rate": epoch.learning_rate, "grad_norm": epoch.grad_norm}
    return found | {name: metrics.rounded(value) for name, value in rest.items()}


def scores(seen: metrics.Tally) -> dict[str, float]:
    """Loss (mean squared error), R^2 and Pearson's r."""
    values = {"loss": seen.mse, "r2": seen.r2, "correlation": seen.correlation}
    return {name: metrics.rounded(value) for name, value in values.items()}


class Progress:
    """A bar with losses, R^2 and time left (at most) on a terminal; a line for each epoch elsewhere."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.bar: tqdm | None = tqdm(unit="step", dynamic_ncols=True) if sys.stderr.isatty() else None
        self.last = ""

    def step(self, step: int, steps: int, loss: float) -> None:
        """Count a step."""
        if self.bar is None:
            return
        self.bar.total = steps * self.epochs
        if step % 10 == 0:
            self.bar.set_postfix_str(f"loss {loss:.4f}{self.last}", refresh=False)
        self.bar.update()

    def epoch(self, epoch: training.Epoch) -> None:
        """Show an epoch's figures."""
        mark = " *" if epoch.best else ""
        if self.bar is None:
            print(
                f"epoch {epoch.number}/{self.epochs}: loss {epoch.train.mse:.4f}, "
                f"validation {epoch.validation.mse:.4f}, R2 {epoch.validation.r2:.4f}, "
                f"learning rate {epoch.learning_rate:.2g}{mark}",
                flush=True,
            )
            return
        self.bar.set_description_str(f"epoch {epoch.number}/{self.epochs}")
        self.last = f" | validation {epoch.validation.mse:.4f}, R2 {epoch.validation.r2:.4f}{mark}"

    def end(self, summary: dict[str, Any]) -> None:
        """Leave the bar and say what was kept."""
        if self.bar is not None:
            self.bar.close()
        validation = summary["validation"]
        print(
            f"kept epoch {summary['best_epoch']} of {summary['step']}: validation loss {validation['loss']:.4f}, "
            f"R2 {validation['r2']:.4f}"
        )


def origin(split: windows.Split, facts: recordings.Facts) -> dict[str, Any]:
    """What the model must know of its data to be used, and of its build to be made again."""
    return {
        "sampling_rate": facts.sampling_rate,
        "frequencies": list(facts.frequencies),
        "noise_std": facts.noise_std,
        "second_moment": facts.second_moment,
        "task": facts.task,
        "sequence_length": split.sequence_length,
        "step_size": split.step_size,
        "center": split.center,
        "scale": split.scale,
        "build": models.build_facts(),
    }


if __name__ == "__main__":
    command = stages.parser(__doc__)
    command.add_argument("recordings", type=Path, help="recordings to train on")
    command.add_argument("windows", type=Path, help="which windows train and which validate")
    command.add_argument("model", type=Path, help="where to write the model")
    command.add_argument("curves", type=Path, help="folder for DVCLive's history")
    stages.main(train, command.parse_args())
