"""Recordings as frames: what the filters are told of them, and how much each recording counts."""

import numpy as np
import pytest
import torch
from conditioned import made

from tonesift.data import recordings, windows
from tonesift.estimators.tracking.front import Front
from tonesift.learning import fronts

HOP = 10
CONDITIONS = {"tone_range": [1.0, 40.0], "gap_share": 0.2, "clip": [0.3, 0.5], "duration": 2.0}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Three recordings with tones of their own, gaps and clipping, as a file; their mixtures and tones."""
    path = tmp_path_factory.mktemp("fronts") / "r.h5"
    facts, mixtures, tones = made(train_recordings=3, noise_std=0.1, **CONDITIONS)
    recordings.write(path, facts, mixtures.shape[1], zip(mixtures, tones, strict=True))
    return path, facts, mixtures.astype("f4"), tones.astype("f4")


def test_filters_are_told_what_is_missing_where_it_clips_and_the_amplitude_wrong_by_a_factor(written):
    path, facts, mixtures, _ = written
    with recordings.opened(path, any_tones=True) as source:
        found = fronts.recording_frames(source, 1, HOP, fronts.scale(source, 1, 0.0, factor=1.5))
    unit = 1.5 * np.sqrt(facts.second_moment) / 4  # the mixture is the mean of four tones
    level = facts.drawn["clip"][1] / unit
    front = Front(facts.drawn["frequencies"][1], 1000.0, HOP, (-level, level))
    np.testing.assert_allclose(found, front.push(mixtures[1] / unit).swapaxes(0, 1), atol=1e-4)
    assert np.isnan(mixtures[1]).any()


def test_tones_are_in_the_unit_that_the_filters_were_told_and_weights_fall_with_the_first_filters_error(written):
    path, facts, _, tones = written
    with recordings.opened(path, any_tones=True) as source:
        signals = fronts.read_signals([source, source], HOP, 0.0, torch.device("cpu"))
    assert signals.mixture.shape[:3] == (6, 4, 200)
    factors = tones[0] / np.sqrt(facts.second_moment) / signals.tones[0].numpy()
    assert 0.5 <= np.nanmedian(factors) <= 2
    np.testing.assert_allclose(factors[np.isfinite(factors)], np.nanmedian(factors), rtol=1e-3)
    assert torch.equal(signals.tones[:3], signals.tones[3:])
    phasor = signals.mixture[..., 51].numpy() + 1j * signals.mixture[..., 52].numpy()
    back = np.exp(-1j * signals.mixture[..., :1].numpy() * np.arange(HOP - 1, -1, -1))
    first = (phasor[..., None] * back).imag.reshape(6, 4, -1)
    errors = np.mean((first - signals.tones.numpy()) ** 2, axis=(1, 2))
    expected = (errors + 1e-3) ** -0.25
    np.testing.assert_allclose(signals.weights, expected / expected.mean(), rtol=1e-4)


def test_several_sets_are_split_like_the_first_one():
    train, validation = windows.split_blocks(5, 100, 10, 10, 0.4)
    split = windows.Split(train, validation, 10, 10, 0.0, 1.0, (5, 100))
    twice = windows.repeated(split, 2)
    assert twice.shape == (10, 100)
    assert twice.train[:, 0].tolist() == [0, 1, 2, 5, 6, 7]
    assert twice.validation.tolist() == [[3, 0, 10], [4, 0, 10], [8, 0, 10], [9, 0, 10]]


def test_recordings_are_weighed_on_one_thread(written, monkeypatch):
    """PyTorch shares arrays of more than 32 768 numbers among its threads; their mean has other last digits then."""
    threads, weigh, before = [], fronts._weights, torch.get_num_threads()
    monkeypatch.setattr(fronts, "_weights", lambda *args: threads.append(torch.get_num_threads()) or weigh(*args))
    try:
        torch.set_num_threads(2)
        with recordings.opened(written[0], any_tones=True) as source:
            fronts.read_signals([source], HOP, 0.0, torch.device("cpu"))
        assert (threads, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)
