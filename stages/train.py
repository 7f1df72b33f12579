"""Stage `train`: fit the network, log every epoch, keep the best one.

python -m stages.train data/train.h5 data/windows.h5 models/model.safetensors metrics/train
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
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
from tonesift.network import torch_generator
from tonesift.period import common_period

VALIDATION_BATCH = 512  # windows in a pass; part of the bits, so not a matter of taste


def train(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the model and its curves, and say what the best epoch came to."""
    model_params, settings = stages.settings(arguments.params, "model", "train")
    split = windows.read(arguments.windows)
    device = compute.choose_device(settings.device)
    compute.check_precision(settings.precision, device)
    facts, signals = read(arguments.recordings, split, device)
    check_hop(split.sequence_length, model_params.hop)
    config = {"model": model_params.model_dump(), "train": settings.model_dump()}
    setup = Setup(model_params, settings, split, facts, signals)
    begin = time.perf_counter()
    with replacing(arguments.curves) as aside:
        live = start_live(aside)
        members = [fit(setup, number, live) for number in range(settings.ensemble)]
        summary = members[0].summary if len(members) == 1 else average(setup, members)
        live.summary = summary | {"parameters": sum(count(member.network) for member in members)}
        live.end()  # adds the last epoch, as `step`
    seconds = time.perf_counter() - begin
    networks = [member.network for member in members]
    model = networks[0] if len(networks) == 1 else models.Ensemble(networks)
    digest = models.save(arguments.model, model, {**config, **origin(split, facts), "summary": live.summary})
    return {
        "model": digest,
        "epoch_seconds": round(seconds / sum(member.epochs for member in members), 2),
        "samples_per_second": round(sum(member.samples for member in members) / seconds),
    }


class Setup(NamedTuple):
    """All that a network is trained with: parameters, and the recordings on the device."""

    model_params: params.Model
    settings: params.Train
    split: windows.Split
    facts: recordings.Facts
    signals: sequences.Signals


class Member(NamedTuple):
    """A trained network.

    Attributes
    ----------
    network : Network
        With the best epoch's weights.
    lesson : Lesson
        What it was trained and examined with.
    summary : dict
        Best epoch and what it came to.
    epochs, samples : int
        Epochs run, and output samples seen in them.
    """

    network: models.Network
    lesson: "Lesson"
    summary: dict[str, Any]
    epochs: int
    samples: int


def count(network: models.Network) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


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
    steps : int
        Batches in an epoch.
    """

    batches: Callable[[np.random.Generator], list[sequences.Batch]]
    validate: Callable[[models.Model, compute.Workers], metrics.Tally]
    steps: int


def windowed(network: models.Network, setup: Setup) -> Lesson:
    """Every window once, in random order, the state reset with each; validation on every window."""
    settings, split = setup.settings, setup.split
    size, shape = settings.batch_size, (split.sequence_length, network.examples, network.hop)
    train, validation = (
        sequences.Sequences(setup.signals, windows.starts(runs, split.step_size), *shape)
        for runs in (split.train, split.validation)
    )

    def batches(generator: np.random.Generator) -> list[sequences.Batch]:
        order, chosen = generator.permutation(len(train)), train
        if settings.any_start:
            chosen = replace(train, windows=windows.starts_anywhere(split.train, split.step_size, generator))
        made = chosen.batches(size, order)
        lengths = drawn_steps(settings.shortest, train.steps, len(made), generator)
        return [batch._replace(steps=length) for batch, length in zip(made, lengths, strict=True)]

    return Lesson(
        batches=batches,
        validate=lambda model, run: sum(
            sequences.score(model, validation, VALIDATION_BATCH, run).tallies, metrics.Tally()
        ),
        steps=-(-len(train) // size),
    )


def carried(network: models.Network, setup: Setup) -> Lesson:
    """Streams with their state carried on; validation on streams through what the validation windows cover."""
    settings, split, facts = setup.settings, setup.split, setup.facts
    length, steps = split.sequence_length, settings.stream_steps
    stretches, held_out = (windows.covered(runs, length, split.step_size) for runs in (split.train, split.validation))
    reading = streams.Streams(stretches, settings.batch_size, length, network.examples, network.hop)
    period = common_period(facts.frequencies, facts.sampling_rate, split.shape[1]) or split.shape[1]
    generator = np.random.default_rng(training.stream(0, "validation"))  # the same streams whatever the seed
    courses = streams.courses(held_out, period, generator)

    def batches(generator: np.random.Generator) -> list[sequences.Batch]:
        lengths = drawn_steps(settings.shortest, length // network.hop, steps, generator)
        return [reading.next(generator, steps) for steps in lengths]

    return Lesson(
        batches=batches,
        validate=lambda model, run: sum(streams.score(model, setup.signals, courses, run), metrics.Tally()),
        steps=steps,
    )


def drawn_steps(shortest: float, steps: int, number: int, generator: np.random.Generator) -> list[int]:
    """Lengths of so many batches: drawn from a share of the longest up, or all of them the longest."""
    if shortest == 1:
        return [steps] * number
    return generator.integers(math.ceil(shortest * steps), steps + 1, size=number).tolist()


def fit(setup: Setup, number: int, live: Live) -> Member:
    """Train a network with the seed of its number, from 0; log every epoch, and show progress on the terminal."""
    settings = setup.settings.model_copy(update={"seed": setup.settings.seed + number})
    network = models.Network(len(setup.facts.frequencies), **setup.model_params.model_dump())
    network.to(setup.signals.mixture.device)
    network.initialise(torch_generator(training.stream(settings.seed, "weights"), setup.signals.mixture.device))
    lesson = (carried if settings.stateful else windowed)(network, setup)
    optimizer = training.make_optimizer(
        network,
        settings.optimizer,
        settings.learning_rate,
        settings.weight_decay,
        settings.momentum,
        layer_decay=settings.layer_decay,
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
    progress = Progress(settings.epochs, f"network {number + 1}/{settings.ensemble}, " if settings.ensemble > 1 else "")
    epochs = training.fit(
        network,
        learnt(setup.signals, setup.split, settings),
        lesson.batches,
        lesson.validate,
        optimizer,
        schedule,
        epochs=settings.epochs,
        grad_clip=settings.grad_clip,
        patience=settings.early_stop_patience,
        seed=settings.seed,
        shards=settings.shards,
        noise_std=noise(setup.facts, setup.split, settings),
        precision=settings.precision,
        gradient_noise=settings.gradient_noise,
        on_step=progress.step,
    )
    return Member(network, lesson, *log(epochs, live, f"members/{number + 1}/" if number else "", progress))


def log(
    epochs: Iterable[training.Epoch], live: Live, prefix: str, progress: "Progress"
) -> tuple[dict[str, Any], int, int]:
    """Log each epoch under names that begin with the prefix; give the best one's summary, epochs run, samples seen."""
    summary: dict[str, Any] = {}
    seen = 0
    for epoch in epochs:
        live.step = epoch.number
        for name, value in figures(epoch).items():
            live.log_metric(prefix + name, value)
        live.make_summary()
        progress.epoch(epoch)
        seen += int(epoch.train.count)
        if epoch.best:
            summary = {"best_epoch": epoch.number, "train": scores(epoch.train), "validation": scores(epoch.validation)}
    progress.end(summary, live.step)
    return summary, live.step, seen


def average(setup: Setup, members: list[Member]) -> dict[str, Any]:
    """Summary of an ensemble: its own validation, its members' means beside it, and how much of the loss is gone."""
    model = models.Ensemble([member.network for member in members])
    with compute.workers(setup.signals.mixture.device, setup.settings.shards) as run:
        together = scores(members[0].lesson.validate(model, run))
    means = {
        part: {name: metrics.rounded(fmean(one.summary[part][name] for one in members)) for name in together}
        for part in ("train", "validation")
    }
    gain = metrics.rounded(1 - together["loss"] / means["validation"]["loss"])
    print(f"{len(members)} networks averaged: validation loss {together['loss']:.4f}, {gain:.1%} below their mean")
    return {
        "best_epoch": members[0].summary["best_epoch"],
        "train": means["train"],
        "validation": together,
        "members": {"validation": means["validation"]},
        "gain": gain,
    }


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

    def __init__(self, epochs: int, prefix: str) -> None:
        self.epochs, self.prefix = epochs, prefix
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
                f"{self.prefix}epoch {epoch.number}/{self.epochs}: loss {epoch.train.mse:.4f}, "
                f"validation {epoch.validation.mse:.4f}, R2 {epoch.validation.r2:.4f}, "
                f"learning rate {epoch.learning_rate:.2g}{mark}",
                flush=True,
            )
            return
        self.bar.set_description_str(f"{self.prefix}epoch {epoch.number}/{self.epochs}")
        self.last = f" | validation {epoch.validation.mse:.4f}, R2 {epoch.validation.r2:.4f}{mark}"

    def end(self, summary: dict[str, Any], epochs: int) -> None:
        """Leave the bar and say what was kept."""
        if self.bar is not None:
            self.bar.close()
        validation = summary["validation"]
        print(
            f"{self.prefix}kept epoch {summary['best_epoch']} of {epochs}: validation loss {validation['loss']:.4f}, "
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
