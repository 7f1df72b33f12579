"""A training as its parameters have it: the network, the epochs in which it learns, and what its file says of it."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch

from tonesift import arithmetic, compute, memory, metrics, params
from tonesift.data import recordings, windows
from tonesift.errors import InputError
from tonesift.families import FAMILIES
from tonesift.learning import batches, epochs, fronts, training
from tonesift.metadata import Metadata, Summary
from tonesift.networks import model as models
from tonesift.networks.base import torch_generator

WHITENED = 128  # recordings from which the background is learnt, at most


class Setup(NamedTuple):
    """All that a network is trained with: parameters, and the recordings on the device."""

    model_params: params.Model
    settings: params.Train
    split: windows.Split
    facts: recordings.Facts
    signals: batches.Signals
    whitening: tuple[float, ...] = ()


class Trained(NamedTuple):
    """A trained network.

    Attributes
    ----------
    network : Network
        With the best epoch's weights.
    epoch : Epoch
        What it learnt from and was validated on.
    summary : dict
        Best epoch and what it came to.
    epochs, samples : int
        Epochs run, and output samples seen in them.
    """

    network: models.Network
    epoch: epochs.Epoch
    summary: dict[str, Any]
    epochs: int
    samples: int


def prepare(model_params: params.Model, settings: params.Train, split: windows.Split, *paths: Path) -> Setup:
    """Setup of a training on sets of recordings, refused where it cannot work here or the parts do not fit.

    One that corrects filters may learn from several sets, each split as the first one is, and from recordings that have
    tones of their own.
    """
    device = compute.choose_device("cpu" if settings.arithmetic == "portable" else settings.device)
    compute.check_precision(settings.precision, device)
    if split.window_samples % model_params.hop:
        raise InputError(
            f"windows of {split.window_samples} samples are no whole number of steps of {model_params.hop}: "
            "run `dvc repro`"
        )
    front = FAMILIES[model_params.family].front
    if len(paths) > 1 and not front:
        raise InputError(f"{paths[1]}: family {model_params.family} learns from one set of recordings: leave it out")
    with ExitStack() as stack:
        sources = [stack.enter_context(recordings.opened(path, any_tones=front)) for path in paths]
        for source in sources:
            windows.check_fit(split, source)
            _check_alike(source, sources[0])
        memory.check(memory_needed(model_params, settings, split, *sources))
        facts, signals = sources[0].facts, None
        if front:
            trained = sorted({*split.train[:, 0].tolist()})
            whitening = fronts.whitening(sources[0], trained[:: -(-len(trained) // WHITENED)])
            kind = {"whitening": whitening, "widely": model_params.conditioning == "heads"}
            signals = fronts.read_signals(sources, model_params.hop, split.center, device, **kind)
            return Setup(model_params, settings, windows.repeated(split, len(sources)), facts, signals, whitening)
        signals = batches.to_device(*sources[0].read(), split.center, split.scale, device)
        return Setup(model_params, settings, split, facts, signals)


def _check_alike(source: recordings.Recordings, first: recordings.Recordings) -> None:
    """Refuse a set that cannot be learnt from together with the first."""
    for name in ("sampling_rate", "second_moment"):
        found, wanted = getattr(source.facts, name), getattr(first.facts, name)
        if found != wanted:
            raise InputError(f"{source.path}: {name} {found:g}, but {first.path} has {wanted:g}: make them alike")
    if source.facts.phases.shape[1] != first.facts.phases.shape[1]:
        raise InputError(f"{source.path}: as many tones as in {first.path} are wanted: make them alike")


def memory_needed(
    model_params: params.Model, settings: params.Train, split: windows.Split, *sources: recordings.Recordings
) -> dict[str, float]:
    """Bytes for a training in float32, by what they are for."""
    source, tones, size = sources[0], sources[0].facts.phases.shape[1], settings.batch_size
    positions = 0.0
    if model_params.family == "transformer":
        positions = 8.0 * model_params.num_layers * model_params.context * model_params.model_dim
    with torch.device("meta"):  # shapes without values
        network = models.Network(tones, **model_params.model_dump())
    if not settings.stateful:
        size = min(size, windows.count(split.train) * network.examples)
    steps, width = split.window_samples // network.hop, network.body.width
    frames = network.frame * (tones if network.selects else 1)
    read = 1 + tones if not network.front else tones + frames / network.hop
    return {
        str(source.path): 8.0 * source.count * source.samples * read * len(sources),
        "model, train.ensemble": 4.0 * models.count(network) * (3 + settings.ensemble),  # gradients, two moments
        "train.batch_size x prepare.sequence_length": 4.0 * size * steps * (network.inputs + network.outputs + width),
        "train.batch_size x model.context": positions * size,
    }


def begin(
    setup: Setup, number: int, on_step: Callable[[int, int, float], None]
) -> tuple[models.Network, epochs.Epoch, Iterator[training.EpochResult]]:
    """Network with the seed of its number, from 0, its epoch, and the epochs' results as they are asked for.

    `on_step` is told of each step as by `training.fit`.
    """
    settings = setup.settings.model_copy(update={"seed": setup.settings.seed + number})
    network = models.Network(setup.facts.phases.shape[1], **setup.model_params.model_dump())
    network.to(setup.signals.mixture.device)
    network.initialise(torch_generator(training.seed_for(settings.seed, "weights"), setup.signals.mixture.device))
    epoch = epochs.make_epoch(network, settings, setup.split, setup.facts, setup.signals)
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
        settings.epochs * epoch.steps,
        settings.warmup,
        settings.scheduler_factor,
        settings.scheduler_patience,
    )
    results = training.fit(
        network,
        training_signals(setup.signals, setup.split, settings),
        epoch.batches,
        epoch.validate,
        optimizer,
        schedule,
        epochs=settings.epochs,
        grad_clip=settings.grad_clip,
        patience=settings.early_stop_patience,
        seed=settings.seed,
        shards=settings.shards,
        noise_std=fresh_noise_std(setup.facts, setup.split, settings),
        precision=settings.precision,
        gradient_noise=settings.gradient_noise,
        on_step=on_step,
    )
    return network, epoch, results


def training_signals(signals: batches.Signals, split: windows.Split, settings: params.Train) -> batches.Signals:
    """What is read in training: the recordings, or what they were before noise came in."""
    return batches.without_noise(signals, split.center, split.scale) if settings.fresh_noise else signals


def fresh_noise_std(facts: recordings.Facts, split: windows.Split, settings: params.Train) -> float:
    """Standard deviation of new noise, as the network sees it."""
    return math.hypot(facts.noise_std if settings.fresh_noise else 0.0, settings.jitter) / split.scale


def ensemble_summary(setup: Setup, members: Sequence[Trained]) -> dict[str, Any]:
    """Summary of an ensemble: its own validation, its members' means beside it, and how much of the loss is gone."""
    model = models.Ensemble([member.network for member in members])
    with compute.parallel_map(setup.signals.mixture.device, setup.settings.shards) as pmap:
        together = figures(members[0].epoch.validate(model, pmap))
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


def logged(result: training.EpochResult) -> dict[str, float]:
    """What is logged of an epoch."""
    parts = {"train": result.train, "validation": result.validation}
    found = {f"{part}/{name}": value for part, seen in parts.items() for name, value in figures(seen).items()}
    rest = {"learning_rate": result.learning_rate, "grad_norm": result.grad_norm}
    return found | {name: metrics.rounded(value) for name, value in rest.items()}


def figures(seen: metrics.Tally) -> dict[str, float]:
    """Loss (mean squared error), R^2 and Pearson's r."""
    values = {"loss": seen.mse, "r2": seen.r2, "correlation": seen.correlation}
    return {name: metrics.rounded(value) for name, value in values.items()}


def metadata(setup: Setup, summary: dict[str, Any]) -> Metadata:
    """What the model's file says of it: the parameters, what the data was, what made it, and what it came to."""
    facts, split = setup.facts, setup.split
    return Metadata(
        model=setup.model_params,
        train=setup.settings,
        sampling_rate=facts.sampling_rate,
        frequencies=facts.frequencies,
        noise_std=facts.noise_std,
        second_moment=facts.second_moment,
        task=facts.task,
        window_samples=split.window_samples,
        step_size=split.step_size,
        center=split.center,
        scale=split.scale,
        build=arithmetic.build(),
        summary=Summary.model_validate(summary),
        **_own_tones(facts),
        **({"whitening": setup.whitening} if setup.whitening else {}),
    )


def _own_tones(facts: recordings.Facts) -> dict[str, Any]:
    """What is said of tones that every recording has of its own; nothing where there is one set of them."""
    if facts.frequencies:
        return {}
    return {"tones": facts.phases.shape[1], "tone_range": tuple(facts.conditions.tone_range)}
