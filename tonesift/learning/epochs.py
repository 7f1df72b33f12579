"""What an epoch is: the batches that it learns from, and the validation at its end.

There are two kinds. Where the state is reset with every window, an epoch is every training window once, in random
order. Where the state is carried on (`train.stateful`), it is `train.stream_steps` batches of streams. A network that
corrects filters reads streams from their beginning, where its filters begin.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from tonesift import compute, metrics, params
from tonesift.data import recordings, windows
from tonesift.data.period import common_period
from tonesift.data.segments import Segment
from tonesift.learning import batches, fronts, streams, training
from tonesift.networks import model as models

VALIDATION_BATCH = 512  # windows in a pass; part of the bits, so not a matter of taste


class Epoch(NamedTuple):
    """What an epoch is made of.

    Attributes
    ----------
    batches : callable
        Takes a generator, gives the batches of an epoch.
    validate : callable
        Takes the model and a map over pieces of work, gives the tally over all tones.
    steps : int
        Batches in an epoch.
    """

    batches: Callable[[np.random.Generator], list[batches.Batch]]
    validate: Callable[[models.Model, compute.ParallelMap], metrics.Tally]
    steps: int


def make_epoch(
    network: models.Network,
    settings: params.Train,
    split: windows.Split,
    facts: recordings.Facts,
    signals: batches.Signals,
) -> Epoch:
    """Epoch of a network on a set of recordings, as the parameters have it."""
    if network.front:
        return front_epoch(network, settings, split, signals)
    if settings.stateful:
        return stream_epoch(network, settings, split, facts, signals)
    return window_epoch(network, settings, split, signals)


def window_epoch(
    network: models.Network, settings: params.Train, split: windows.Split, signals: batches.Signals
) -> Epoch:
    """Every window once, in random order, the state reset with each; validation on every window."""
    size, shape = settings.batch_size, (split.window_samples, network.examples, network.hop)
    train, validation = (
        batches.Windows(signals, windows.starts(runs, split.step_size), *shape)
        for runs in (split.train, split.validation)
    )

    def shuffled(generator: np.random.Generator) -> list[batches.Batch]:
        made = train.batches(size, generator.permutation(len(train)))
        lengths = drawn_steps(settings.shortest, train.steps, len(made), generator)
        return [batch._replace(steps=length) for batch, length in zip(made, lengths, strict=True)]

    def validate(model: models.Model, pmap: compute.ParallelMap) -> metrics.Tally:
        return tally_all(batches.predict(model, validation, VALIDATION_BATCH, pmap), model)

    return Epoch(shuffled, validate, steps=-(-len(train) // size))


def stream_epoch(
    network: models.Network,
    settings: params.Train,
    split: windows.Split,
    facts: recordings.Facts,
    signals: batches.Signals,
) -> Epoch:
    """Streams with their state carried on; validation on streams through what the validation windows cover."""
    samples, steps = split.window_samples, settings.stream_steps
    train, held_out = (windows.covered(runs, samples, split.step_size) for runs in (split.train, split.validation))
    streamed = streams.StreamBatches(train, settings.batch_size, samples, network.examples, network.hop)
    period = common_period(facts.frequencies, facts.sampling_rate, split.shape[1]) or split.shape[1]
    # The same streams whatever the seed, so that trainings with different seeds are compared on the same data.
    generator = np.random.default_rng(training.seed_for(0, "validation"))
    validation = streams.validation_segments(held_out, period, generator)

    def following(generator: np.random.Generator) -> list[batches.Batch]:
        lengths = drawn_steps(settings.shortest, samples // network.hop, steps, generator)
        return [streamed.next(generator, length) for length in lengths]

    def validate(model: models.Model, pmap: compute.ParallelMap) -> metrics.Tally:
        return tally_all(streams.predict(model, signals, validation, pmap), model)

    return Epoch(following, validate, steps)


def front_epoch(
    network: models.Network, settings: params.Train, split: windows.Split, signals: batches.Signals
) -> Epoch:
    """Streams of single tones' frames, each from the beginning of a segment; validation on all validation segments."""
    samples, hop = split.window_samples, network.hop
    train, held_out = (
        [_whole_steps(segment, hop) for segment in windows.covered(runs, samples, split.step_size)]
        for runs in (split.train, split.validation)
    )
    shape = (settings.batch_size, samples, network.examples, hop)
    streamed = streams.StreamBatches(train, *shape, from_begin=True)

    def following(generator: np.random.Generator) -> list[batches.Batch]:
        lengths = drawn_steps(settings.shortest, samples // hop, settings.stream_steps, generator)
        return [streamed.next(generator, length) for length in lengths]

    def validate(model: models.Model, pmap: compute.ParallelMap) -> metrics.Tally:
        return tally_all(fronts.predict(model, signals, held_out, pmap), model)

    return Epoch(following, validate, settings.stream_steps)


def _whole_steps(segment: Segment, hop: int) -> Segment:
    """The steps that lie in a segment."""
    return Segment(segment.recording, -(-segment.begin // hop) * hop, segment.end // hop * hop)


def tally_all(pairs: Iterable[metrics.Pair], model: models.Model) -> metrics.Tally:
    """Tally over all tones."""
    return sum(metrics.tally_tones(pairs, model.tones), metrics.Tally())


def drawn_steps(shortest: float, steps: int, number: int, generator: np.random.Generator) -> list[int]:
    """Lengths of so many batches: drawn from a share of the longest up, or all of them the longest."""
    if shortest == 1:
        return [steps] * number
    return generator.integers(math.ceil(shortest * steps), steps + 1, size=number).tolist()
