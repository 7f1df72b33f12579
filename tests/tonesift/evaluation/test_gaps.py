"""What is missing in recordings reaches a network that corrects filters as missing, and others as 0."""

import math

import numpy as np
import pytest
import torch
from conditioned import made
from networks import metadata

from tonesift import compute, params
from tonesift.data import recordings, windows
from tonesift.estimators.tracking.front import Front
from tonesift.evaluation import run
from tonesift.evaluation.estimator import NetworkEstimator
from tonesift.networks import model as models
from tonesift.streaming.tonefilter import FrontStepper, ToneFilter

RATE, SAMPLES = 200.0, 800
SETTINGS = params.Evaluate(streams=4, batch_size=4, detail="scores", device="cpu")


@pytest.fixture
def files(tmp_path):
    """Recordings with gaps to train and to test on."""
    paths = [tmp_path / "train.h5", tmp_path / "test.h5"]
    for path, testing in zip(paths, (False, True), strict=True):
        facts, mixtures, tones = made(
            testing=testing, gap_share=0.3, noise_std=0.1, sampling_rate=RATE, duration=SAMPLES / RATE
        )
        recordings.write(path, facts, SAMPLES, zip(mixtures, tones, strict=True))
    assert np.isnan(mixtures).mean() > 0.1
    return paths, facts


def evaluated(paths, facts, family):
    """A network with random weights, what its file would say, and what an evaluation finds."""
    described = metadata(
        {"family": family, "hop": 5, "conditioning": "heads"},
        {"stateful": True},
        frequencies=facts.frequencies,
        sampling_rate=RATE,
        second_moment=facts.second_moment,
        center=0.1,
        scale=0.5,
    )
    model = models.build(described)
    model.initialise(torch.Generator().manual_seed(1))
    torch.nn.init.normal_(model.head.weight, std=0.1, generator=torch.Generator().manual_seed(2))
    blocks = windows.split_blocks(2, SAMPLES, 60, 5, 0.4)
    split = windows.Split(*blocks, 60, 5, 0.1, 0.5, (2, SAMPLES))
    with (
        recordings.opened(paths[0]) as train,
        recordings.opened(paths[1]) as test,
        compute.parallel_map(torch.device("cpu"), 1) as pmap,
    ):
        network = NetworkEstimator(model, described, 4, pmap, torch.device("cpu"))
        return model, described, run.evaluate(network, SETTINGS, split, train, test)


def streamed(model, described, samples):
    """Tones (K, T) of a mixture (T,) by what a stream goes through, in NumPy."""
    if not model.front:
        return ToneFilter(model, described, gaps="zero").push(samples)
    front = Front(described.frequencies, RATE, 5, widely=True)
    amplitude = math.sqrt(described.second_moment)
    tones = range(len(described.frequencies))
    step = FrontStepper(model, front, tones, amplitude / len(tones), amplitude)
    return step((samples - described.center).reshape(-1, 5)).transpose(1, 0, 2).reshape(len(tones), -1)


@pytest.mark.parametrize("family", ["hybrid", "lstm"])
def test_a_network_is_judged_on_what_it_would_hear(files, family):
    model, described, result = evaluated(*files, family)
    heard, targets = (result.segments.cut(signal) for signal in (result.heard, result.targets))
    assert np.isnan(heard).any()
    outputs = np.stack([streamed(model, described, samples) for samples in heard]).astype("f8")
    expected = 1 - np.sum((outputs - targets) ** 2) / np.sum((targets - targets.mean(dtype="f8")) ** 2)
    assert result.tones[0]["r2"] == pytest.approx(expected, abs=2e-4)
