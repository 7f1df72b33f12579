import math

import numpy as np
import pytest
from scipy import stats

from tonesift import metrics
from tonesift.metrics import Tally, tally


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    target = rng.normal(1.0, 2.0, (30, 40)).astype(np.float32)
    return target, (0.7 * target + rng.normal(0.3, 1.0, (30, 40))).astype(np.float32)


def test_figures_against_scipy_and_definitions(pairs):
    t, y = (values.ravel().astype(float) for values in pairs)
    found = tally(*pairs)
    assert found.mse == pytest.approx(np.mean((y - t) ** 2))
    assert found.rmse == pytest.approx(math.sqrt(np.mean((y - t) ** 2)))
    assert found.mae == pytest.approx(np.mean(np.abs(y - t)))
    assert found.r2 == pytest.approx(1 - np.sum((y - t) ** 2) / np.sum((t - t.mean()) ** 2))
    assert found.correlation == pytest.approx(stats.pearsonr(t, y).statistic)
    assert found.snr_db == pytest.approx(10 * np.log10(np.sum(t**2) / np.sum((y - t) ** 2)))
    assert found.psnr_db == pytest.approx(10 * np.log10(np.max(np.abs(t)) ** 2 / np.mean((y - t) ** 2)))


def test_tallies_of_parts_add_up(pairs):
    target, output = pairs
    parts = sum((tally(t, y) for t, y in zip(target, output, strict=True)), Tally())
    assert vars(parts) == pytest.approx(vars(tally(target, output)))


def test_edges():
    perfect = tally(np.array([1.0, -1.0]), np.array([1.0, -1.0]))
    assert (perfect.mse, perfect.r2, perfect.correlation, perfect.snr_db) == (0, 1, pytest.approx(1), math.inf)
    silent = tally(np.array([1.0, -1.0]), np.zeros(2))
    assert (silent.r2, silent.correlation, silent.snr_db) == (0, 0, 0)
    assert math.isnan(tally(np.ones(3), np.zeros(3)).r2)
    assert tally(np.zeros(3), np.ones(3)).snr_db == -math.inf


def test_input_snr_is_that_of_a_tone_among_the_others():
    time = np.arange(1000) / 1000
    tones = np.array([np.sin(2 * np.pi * f * time) for f in (1, 3, 5, 7)])
    noise = np.random.default_rng(0).normal(0, 0.1, 1000)
    found = metrics.input_snr_db(tones[0], tones.mean(axis=0) + noise, 4)
    share = 0.5 / 16
    assert found == pytest.approx(10 * math.log10(share / (3 * share + 0.01)), abs=0.2)


def test_rounded_keeps_six_digits_and_what_is_not_finite():
    assert metrics.rounded(1234.56789) == 1234.57
    assert metrics.rounded(1.23456789e-7) == 1.23457e-7
    assert metrics.rounded(math.inf) == math.inf
    assert math.isnan(metrics.rounded(math.nan))
