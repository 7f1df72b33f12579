"""Hum in an ECG: the recipe's statistics, and measures of filters whose answer is known."""

import numpy as np
import pytest
from scipy import signal

from benchmarks import hum

LENGTH = 20_000


def test_hum_is_what_the_recipe_says():
    found = np.stack([hum.hum(np.random.default_rng(seed), LENGTH) for seed in range(40)])
    assert found.shape == (40, 3, LENGTH)
    powers = np.sqrt(2 * np.mean(found**2, axis=2))
    assert np.median(powers[:, 1] / powers[:, 0]) == pytest.approx(0.15, rel=0.05)
    assert np.median(powers[:, 2] / powers[:, 0]) == pytest.approx(0.25, rel=0.05)
    assert np.exp(np.mean(np.log(powers[:, 0]))) == pytest.approx(np.sqrt(0.03 * 0.5), rel=0.35)
    frequencies = [np.sum(np.diff(np.signbit(one[0]))) / 2 / (LENGTH / hum.RATE) for one in found]
    assert np.mean(frequencies) == pytest.approx(50, abs=0.1)
    assert np.std(frequencies) == pytest.approx(50 * 0.003, rel=0.4)


def test_a_process_that_returns_has_its_spread_and_time_constant():
    found = np.stack([hum.ornstein_uhlenbeck(np.random.default_rng(seed), 2000, 0.2, 1.0) for seed in range(400)])
    assert found[:, 0].std() == pytest.approx(0.2, rel=0.1)
    assert found[:, -1].std() == pytest.approx(0.2, rel=0.1)
    assert np.mean(found[:, 1000] * found[:, 1360]) == pytest.approx(0.04 / np.e, rel=0.25)


def test_what_is_measured_of_filters_whose_answer_is_known():
    true = np.zeros((3, 3600))
    true[0] = 0.1 * np.sin(np.arange(3600))
    drawn = [hum.Stretch(np.full(3600, 0.5), true)] * 3
    left, distorted, share = hum.measured(lambda samples: np.zeros_like(samples), drawn)
    assert (left, distorted, share) == (pytest.approx(100 / np.sqrt(2), rel=0.01), 0.0, pytest.approx(0.0))
    left, distorted, share = hum.measured(lambda samples: samples - 0.5 + 0.002, drawn)
    assert (left, distorted) == (pytest.approx(2.0), pytest.approx(2.0))
    assert share == pytest.approx(1 - 2**2 / (100**2 / 2), rel=1e-4)


def test_notch_filters_take_out_steady_hum_and_leave_the_rest():
    times = np.arange(7200) / hum.RATE
    steady = sum(np.sin(2 * np.pi * order * 50 * times) for order in (1, 2, 3))
    slow = np.sin(2 * np.pi * 5 * times)
    taken = hum.notch(30.0)(steady + slow)
    assert np.sqrt(np.mean((taken - steady)[3600:] ** 2)) < 0.02
    response = np.abs(signal.freqz(*signal.iirnotch(50, 30, hum.RATE), worN=[50.0, 5.0], fs=hum.RATE)[1])
    assert response == pytest.approx([0.0, 1.0], abs=1e-3)


def test_the_recording_is_in_millivolts_and_what_is_tested_lies_behind_what_was_chosen_on():
    recording = hum.ecg()
    assert len(recording) == 108_000
    assert -4 < recording.min() < recording.max() < 4
    samples = hum.stretches(3, 5, 20.0)[0].ecg
    tested = recording[round(200 * hum.RATE) :]
    assert any(
        np.array_equal(tested[at : at + len(samples)], samples)
        for at in np.flatnonzero(tested == samples[0])[:99999]
        if at + len(samples) <= len(tested)
    )
