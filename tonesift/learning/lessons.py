"""A training as its parameters have it: what an epoch is, how it is examined, and the network that learns from it."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch

from tonesift import arithmetic, compute, memory, metrics, params
from tonesift.data import recordings, windows
from tonesift.data.period import common_period
from tonesift.errors import InputError
from tonesift.learning import sequences, streams, training
from tonesift.networks import model as models
from tonesift.networks.base import torch_generator

VALIDATION_BATCH = 512  # windows in a pass; part of the bits, so not a matter of taste


class Setup(NamedTuple):
    """All that a network is trained with: parameters, and the recordings on the device."""

    model_params: params.Model
    settings: params.Train
    split: windows.Split
    facts: recordings.Facts
    signals: sequences.Signals


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
    lesson: Lesson
    summary: dict[str, Any]
    epochs: int
    samples: int


def prepare(model_params: params.Model, settings: params.Train, split: windows.Split, path: Path) -> Setup:
    """Setup of a training on a set of recordings, refused where it cannot work here or the parts do not fit."""
    device = compute.choose_device("cpu" if settings.arithmetic == "portable" else settings.device)
    compute.check_precision(settings.precision, device)
    if split.sequence_length % model_params.hop:
        raise InputError(
            f"windows of {split.sequence_length} samples are no whole number of steps of {model_params.hop}: "
            "run `dvc repro`"
        )
    with recordings.opened(path) as source:
        windows.check_fit(split, source)
        memory.check(memory_needed(model_params, settings, split, source))
        signals = sequences.read_signals(source, split.center, split.scale, device)
        return Setup(model_params, settings, split, source.facts, signals)


def memory_needed(
    model_params: params.Model, settings: params.Train, split: windows.Split, source: recordings.Recordings
) -> dict[str, float]:
    """Bytes for a training in float32, by what they are for."""
    tones, size = len(source.facts.frequencies), settings.batch_size
    positions = 0.0
    if model_params.family == "transformer":
        positions = 8.0 * model_params.num_layers * model_params.context * model_params.model_dim
    with torch.device("meta"):  # shapes without values
        network = models.Network(tones, **model_params.model_dump())
    if not settings.stateful:
        size = min(size, windows.count(split.train) * network.examples)
    steps, width = split.sequence_length // network.hop, network.body.width
    return {
        str(source.path): 8.0 * source.count * source.samples * (1 + tones),
        "model, train.ensemble": 4.0 * models.count(network) * (3 + settings.ensemble),  # gradients, two moments
        "train.batch_size x prepare.sequence_length": 4.0 * size * steps * (network.inputs + network.outputs + width),
        "train.batch_size x model.context": positions * size,
    }


def begin(
    setup: Setup, number: int, on_step: Callable[[int, int, float], None]
) -> tuple[models.Network, Lesson, Iterator[training.Epoch]]:
    """Network with the seed of its number, from 0, its lesson, and the epochs in which it learns as they are asked for.

    `on_step` is told of each step as by `training.fit`.
    """
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
        on_step=on_step,
    )
    return network, lesson, epochs


def learnt(signals: sequences.Signals, split: windows.Split, settings: params.Train) -> sequences.Signals:
    """What is read in training: the recordings, or what they were before noise came in."""
    return sequences.without_noise(signals, split.center, split.scale) if settings.fresh_noise else signals


def noise(facts: recordings.Facts, split: windows.Split, settings: params.Train) -> float:
    """Standard deviation of new noise, as the network sees it."""
    return math.hypot(facts.noise_std if settings.fresh_noise else 0.0, settings.jitter) / split.scale


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


def average(setup: Setup, members: Sequence[Member]) -> dict[str, Any]:
    """Summary of an ensemble: its own validation, its members' means beside it, and how much of the loss is gone."""
    model = models.Ensemble([member.network for member in members])
    with compute.workers(setup.signals.mixture.device, setup.settings.shards) as run:
        together = scores(members[0].lesson.validate(model, run))
    means = {
        part: {name: metrics.rounded(fmean(one.summary[part][name] for one in members)) for name in together}
        for part in ("train", "validation")
    }
    return {
        "best_epoch": members[0].summary["best_epoch"],
        "train": means["train"],
        "validation": together,
        "members": {"validation": means["validation"]},
        "gain": metrics.rounded(1 - together["loss"] / means["validation"]["loss"]),
    }


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


def facts(setup: Setup, summary: dict[str, Any]) -> dict[str, Any]:
    """What a model file says: the parameters, what the data was, what made it, and what it came to."""
    known, split = setup.facts, setup.split
    return {
        "model": setup.model_params.model_dump(),
        "train": setup.settings.model_dump(),
        "sampling_rate": known.sampling_rate,
        "frequencies": list(known.frequencies),
        "noise_std": known.noise_std,
        "second_moment": known.second_moment,
        "task": known.task,
        "sequence_length": split.sequence_length,
        "step_size": split.step_size,
        "center": split.center,
        "scale": split.scale,
        "build": arithmetic.facts(),
        "summary": summary,
    }
