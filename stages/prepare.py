"""Stage `prepare`: decide which windows train and which validate, and fit the scaling on the training part.

python -m stages.prepare data/train.h5 data/windows.h5
"""

import argparse
import itertools
from pathlib import Path
from typing import Any

import numpy as np

import stages
from tonesift import params, recordings, windows


def prepare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the split and say how large its parts are."""
    settings, hop = stages.settings(arguments.params, "prepare", "model.hop")
    length = settings.sequence_length * hop
    with recordings.opened(arguments.recordings) as source:
        train, validation = split(settings, length, source.count, source.samples)
        center, scale = fit(settings, length, source, train)
        shape = (source.count, source.samples)
    found = windows.Split(
        train=train,
        validation=validation,
        sequence_length=length,
        step_size=settings.step_size,
        center=center,
        scale=scale,
        shape=shape,
    )
    windows.write(arguments.windows, found)
    print(f"{arguments.windows}: {windows.count(train)} windows to train, {windows.count(validation)} to validate")
    return {}


def split(settings: params.Prepare, length: int, count: int, samples: int) -> tuple[windows.Runs, windows.Runs]:
    """Training and validation windows of `length` samples of `count` recordings of `samples` samples."""
    common = (count, samples, length, settings.step_size, settings.val_split)
    if settings.split == "random":
        return windows.split_random(*common, np.random.default_rng(settings.seed))
    fold = None if settings.fold is None else (settings.fold, settings.folds)
    return windows.split_blocks(*common, fold)


def fit(
    settings: params.Prepare, length: int, source: recordings.Recordings, train: windows.Runs
) -> tuple[float, float]:
    """Center and scale of the mixture over the samples that training windows cover."""
    stretches = windows.covered(train, length, settings.step_size)
    parts = []
    for recording, group in itertools.groupby(stretches, key=lambda stretch: stretch[0]):
        mixture = source.mixture(recording)
        parts += [mixture[begin:end] for _, begin, end in group]
    return windows.fit_scaling(settings.scaling, parts)


if __name__ == "__main__":
    command = stages.parser(__doc__)
    command.add_argument("recordings", type=Path, help="recordings to split")
    command.add_argument("windows", type=Path, help="where to write the split")
    stages.main(prepare, command.parse_args())
