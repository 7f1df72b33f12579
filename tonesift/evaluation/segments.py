"""What a network is judged on: every window where its state is reset, otherwise streams from all over a period.

A stream begins anywhere within one common period of the tones, so that knowing how a recording begins is of no use.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tonesift import params
from tonesift.data import windows
from tonesift.data.segments import Segment, Segments
from tonesift.evaluation.comparison import Task
from tonesift.learning import streams
from tonesift.metadata import Metadata

LONGEST = 100_000  # samples of a stream, at most: memory grows with it
START_SEED = 0  # of where streams begin


class JudgedSegments(NamedTuple):
    """Segments of the test and of the training recordings that the network is judged on."""

    test: Segments
    train: Segments


def choose_segments(
    metadata: Metadata, settings: params.Evaluate, task: Task, shape: tuple[int, int], split: windows.Split
) -> JudgedSegments:
    """Every window where the state is reset; otherwise streams, equally long in test and training recordings.

    Parameters
    ----------
    metadata : Metadata
        Of the model.
    settings : params.Evaluate
        With the number of streams.
    task : Task
        What the recordings are.
    shape : (int, int)
        (R, N) of the test recordings.
    split : Split
        What it was trained on.
    """
    count, samples = shape
    if metadata.reset_samples is not None:
        return JudgedSegments(
            all_windows(count, samples, metadata.reset_samples, metadata.step_size),
            Segments(windows.starts(split.train, split.step_size), metadata.reset_samples),
        )
    read = windows.covered(split.train, split.window_samples, split.step_size)
    longest = min(samples, max(segment.samples for segment in read), LONGEST)
    spread = min(spread_of_starts(task), longest // 2)
    whole = [Segment(index, 0, samples) for index in range(count)]
    anywhere = spread if task.tones is None or task.periodic else samples - (longest - spread)  # as the limit has it
    return JudgedSegments(
        drawn_streams(whole, max(settings.streams, count), longest - spread, anywhere, START_SEED),
        drawn_streams(read, settings.streams, longest - spread, spread, START_SEED),
    )


def spread_of_starts(task: Task) -> int:
    """Samples that the streams' starts are drawn from: a period of the waveform, or a second."""
    return task.tones.shape[1] if task.periodic else round(task.facts.sampling_rate)


def all_windows(recordings: int, samples: int, length: int, step: int) -> Segments:
    """Every window of every recording."""
    return Segments(windows.starts(windows.all_windows(recordings, samples, length, step), step), length)


def drawn_streams(held: Sequence[Segment], count: int, samples: int, spread: int, seed: int) -> Segments:
    """Streams that begin within so many samples of where segments of recordings begin.

    Parameters
    ----------
    held : sequence of Segment
        What may be read; those shorter than `spread + samples` are left out.
    count : int
        S; the segments take turns.
    samples : int
        T, in a stream.
    spread : int
        Samples from which the starts are drawn, one from each of S equal parts.
    seed : int
        Of the starts.
    """
    generator = np.random.default_rng(seed)
    begins = np.array([(recording, begin) for recording, begin, end in held if end - begin >= spread + samples])
    chosen = begins[np.arange(count) % len(begins)]
    # Shuffled, so that a segment that comes every few turns is not read from the same part of the spread each time.
    offsets = generator.permutation(streams.drawn_starts(count, spread, generator))
    return Segments(chosen + np.stack([np.zeros(count, dtype=np.int64), offsets], axis=1), samples)
