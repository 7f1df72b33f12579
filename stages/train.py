"""Stage `train`: fit the network, log every epoch, keep the best one.

python -m stages.train data/train.h5 data/windows.h5 models/model.safetensors metrics/train
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from dvclive import Live
from tqdm import tqdm

import stages
from tonesift import compute, metrics, params, recordings, sequences, streams, training, windows
from tonesift import model as models
from tonesift.atomic import replacing
from tonesift.errors import InputError
from tonesift.period import common_period

VALIDATION_BATCH = 512  # windows in a pass; part of the bits, so not a matter of taste


def train(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the model and its curves, and say what the best epoch came to."""
    model_params, settings = stages.settings(arguments.params, "model", "train")
    split = windows.read(arguments.windows)
    device = compute.choose_device(settings.device)
    compute.check_precision(settings.precision, device)
    facts, signals = read(arguments.recordings, split, device)
    model = models.ToneLSTM(len(facts.frequencies), **model_params.model_dump()).to(device)
    check_hop(split.sequence_length, model.hop)
    model.initialise(models.torch_generator(training.stream(settings.seed, "weights"), device))
    lesson = (
        carried(model, signals, split, facts, settings)
        if settings.stateful
        else windowed(model, signals, split, settings)
    )
    begin = time.perf_counter()
    with replacing(arguments.curves) as aside:
        summary = fit(model, lesson, learnt(signals, split, settings), settings, noise(facts, split, settings), aside)
    seconds = time.perf_counter() - begin
    config = {"model": model_params.model_dump(), "train": settings.model_dump()}
    digest = models.save(arguments.model, model, {**config, **origin(split, facts), "summary": summary})
    return {
        "model": digest,
        "epoch_seconds": round(seconds / summary["step"], 2),
        "samples_per_second": round(lesson.samples * summary["step"] / seconds),
    }


def read(path: Path, split: windows.Split, device: torch.device) -> tuple[recordings.Facts, sequences.Signals]:
    """Facts of the recordings, and their signals on the device."""
    with recordings.opened(path) as source:
        if (source.count, source.samples) != split.shape:
            raise InputError(
                f"{path}: {source.count} recordings of {source.samples} samples, but the windows were made for "
                f"{split.shape[0]} of {split.shape[1]}: run `dvc repro`"
            )
        return source.facts, sequences.read_signals(source, split.center, split.scale, device)


def check_hop(length: int, hop: int) -> None:
    """Refuse windows that are no whole number of steps."""
    if length % hop:
        raise InputError(f"windows of {length} samples are no whole number of steps of {hop}: run `dvc repro`")


def learnt(signals: sequences.Signals, split: windows.Split, settings: params.Train) -> sequences.Signals:
    """What is read in training: the recordings, or what they were before noise came in."""
    return sequences.without_noise(signals, split.center, split.scale) if settings.fresh_noise else signals


def noise(facts: recordings.Facts, split: windows.Split, settings: params.Train) -> float:
    """Standard deviation of new noise, as the network sees it."""
    return math.hypot(facts.noise_std if settings.fresh_noise else 0.0, settings.jitter) / split.scale


class Lesson(NamedTuple):
    """What there is to learn in an epoch, and how it is examined.

    Attributes
    ----------
    batches : callable
        Takes a generator, gives the batches of an epoch.
    validate : callable
        Takes the model and a map over pieces of work, gives the tally over all tones.
    length : int
        Steps of the network in each example.
    steps : int
        Batches in an epoch.
    samples : int
        Output samples in an epoch.
    """

    batches: Callable[[np.random.Generator], list[sequences.Batch]]
    validate: Callable[[models.ToneLSTM, compute.Workers], metrics.Tally]
    length: int
    steps: int
    samples: int


def windowed(
    model: models.ToneLSTM,
    signals: sequences.Signals,
    split: windows.Split,
    settings: params.Train,
) -> Lesson:
    """Every window once, in random order, the state reset with each; validation on every window."""
    size, length = settings.batch_size, split.sequence_length
    parts = [windows.starts(runs, split.step_size) for runs in (split.train, split.validation)]
    train, validation = (sequences.Sequences(signals, part, length, model.examples) for part in parts)
    return Lesson(
        batches=lambda generator: train.batches(size, generator.permutation(len(train))),
        validate=lambda model, run: sum(
            sequences.score(model, validation, VALIDATION_BATCH, run).tallies, metrics.Tally()
        ),
        length=length // model.hop,
        steps=-(-len(train) // size),
        samples=len(train) * length * model.tones // model.examples,
    )


def carried(
    model: models.ToneLSTM,
    signals: sequences.Signals,
    split: windows.Split,
    facts: recordings.Facts,
    settings: params.Train,
) -> Lesson:
    """Streams with their state carried on; validation on streams through what the validation windows cover."""
    size, length, steps = settings.batch_size, split.sequence_length, settings.stream_steps
    stretches, held_out = (windows.covered(runs, length, split.step_size) for runs in (split.train, split.validation))
    reading = streams.Streams(stretches, size, length, model.examples)
    period = common_period(facts.frequencies, facts.sampling_rate, split.shape[1]) or split.shape[1]
    generator = np.random.default_rng(training.stream(0, "validation"))  # the same streams whatever the seed
    courses = streams.courses(held_out, period, generator)
    return Lesson(
        batches=lambda generator: [reading.next(generator) for _ in range(steps)],
        validate=lambda model, run: sum(streams.score(model, signals, courses, run), metrics.Tally()),
        length=length // model.hop,
        steps=steps,
        samples=steps * size * length * model.tones // model.examples,
    )


def fit(
    model: models.ToneLSTM,
    lesson: Lesson,
    signals: sequences.Signals,
    settings: params.Train,
    noise_std: float,
    folder: Path,
) -> dict[str, Any]:
    """Train with DVCLive's history in `folder` and progress on the terminal; give the summary of the best epoch.

    `signals` is what is learnt from, with new noise of standard deviation `noise_std` at every reading.
    """
    optimizer = training.make_optimizer(
        model,
        settings.optimizer,
        settings.learning_rate,
        settings.weight_decay,
        settings.momentum,
        fused=settings.fused,
    )
    schedule = training.Schedule(
        optimizer,
        settings.scheduler,
        settings.epochs * lesson.steps,
        settings.warmup,
        settings.scheduler_factor,
        settings.scheduler_patience,
    )
    progress = Progress(settings.epochs)
    epochs = training.fit(
        model,
        signals,
        lesson.length,
        lesson.batches,
        lesson.validate,
        optimizer,
        schedule,
        epochs=settings.epochs,
        grad_clip=settings.grad_clip,
        patience=settings.early_stop_patience,
        seed=settings.seed,
        shards=settings.shards,
        noise_std=noise_std,
        precision=settings.precision,
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
