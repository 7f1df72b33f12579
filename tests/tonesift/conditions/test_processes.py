"""Each process against its theory: closed forms of its moments, and SciPy's distributions."""

import numpy as np
import pytest
from scipy import signal, stats

from tonesift.conditions import processes


@pytest.fixture
def generator():
    return np.random.default_rng(7)


def test_ornstein_uhlenbeck_has_its_variance_and_autocovariance(generator):
    series = processes.ornstein_uhlenbeck(generator, (40_000, 60), 0.3, 20.0)
    for lag in (0, 1, 10, 40):
        found = np.mean(series[:, 0] * series[:, lag])
        error = 0.09 * np.sqrt((1 + np.exp(-lag / 10)) / 40_000)  # of a product of two normal values
        assert abs(found - 0.09 * np.exp(-lag / 20)) < 4 * error
    assert abs(series[:, 59].var() - 0.09) < 4 * 0.09 * np.sqrt(2 / 40_000)  # as at the start


def test_a_random_walk_spreads_with_the_root_of_time(generator):
    walk = processes.random_walk(generator, (20_000, 101), 0.5)
    assert not walk[:, 0].any()
    assert walk[:, 100].var() == pytest.approx(25.0, rel=4 * np.sqrt(2 / 20_000))
    assert stats.kstest(np.diff(walk, axis=1).ravel()[:50_000] / 0.5, "norm").pvalue > 0.01


@pytest.mark.parametrize("exponent", [0.0, 0.8, 1.4, 2.0])
def test_coloured_noise_falls_with_its_exponent(generator, exponent):
    series = np.stack([processes.coloured(generator, 4096, exponent, 0.2) for _ in range(200)])
    frequency, power = signal.periodogram(series, window="hann")
    chosen = (frequency > 0.005) & (frequency < 0.3)
    slope = np.polyfit(np.log(frequency[chosen]), np.log(power.mean(axis=0)[chosen]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.03)


@pytest.mark.parametrize("samples", [1, 2, 100])
def test_coloured_noise_has_the_covariance_that_is_told(generator, samples):
    told = processes.coloured_covariance(samples, 1.2, 0.2)
    period = max(1 << (2 * samples - 1).bit_length(), 4)
    j = np.arange(1, period // 2)
    weights = j**-1.2 / np.sum(j**-1.2)
    closed = [0.04 * np.sum(weights * np.cos(2 * np.pi * j * lag / period)) for lag in range(samples)]
    assert np.allclose(told, closed, atol=1e-15)
    series = np.stack([processes.coloured(generator, samples, 1.2, 0.2) for _ in range(20_000)])
    found = series[:, :1] * series
    assert np.abs(found.mean(axis=0) - told).max() < 5 * 0.04 * np.sqrt(2 / 20_000)


def test_pieces_cover_their_share_from_the_first_sample_to_the_last(generator):
    drawn = np.stack([processes.pieces(generator, 300, 0.3, (5.0, 50.0)) for _ in range(8000)])
    error = np.sqrt(0.3 * 0.7 / 8000)
    assert np.abs(drawn.mean(axis=0) - 0.3).max() < 4.5 * error


def test_pieces_are_as_long_as_they_are_told_to_be(generator):
    inside = processes.pieces(generator, 4_000_000, 0.5, (200.0, 1000.0)).astype(int)
    begins, ends = np.flatnonzero(np.diff(inside) == 1), np.flatnonzero(np.diff(inside) == -1)
    ends = ends[ends > begins[0]]
    lengths = ends - begins[: len(ends)]
    assert lengths.min() >= 200 - 1
    # pieces never overlap, but some follow each other within a sample: few, of a mean pause of 600
    lengths = lengths[lengths <= 1000]
    assert stats.kstest(lengths, stats.uniform(200, 800).cdf).pvalue > 0.01
    pauses = begins[1 : len(ends)] - ends[: len(begins[1 : len(ends)])]
    assert stats.kstest(pauses, stats.expon(scale=600).cdf).pvalue > 0.01


@pytest.mark.parametrize("share", [1e-6, 0.999_999])
def test_pieces_of_extreme_shares_end(generator, share):
    assert processes.pieces(generator, 5000, share, (1.0, 1.0)).mean() == pytest.approx(share, abs=0.05)


def test_dwell_times_are_exponential_and_half_begin_on(generator):
    _, changes = processes.switch_times(generator, 4_000_000, 1000.0)
    assert stats.kstest(np.diff(changes), stats.expon(scale=1000).cdf).pvalue > 0.01
    first = [processes.switch_times(generator, 10, 1000.0)[0] for _ in range(4000)]
    assert abs(np.mean(first) - 0.5) < 4 * 0.5 / np.sqrt(4000)


def test_a_log_uniform_number_is_one(generator):
    drawn = [processes.log_uniform(generator, 0.03, 0.4) for _ in range(5000)]
    assert stats.kstest(drawn, stats.loguniform(0.03, 0.4).cdf).pvalue > 0.01
    assert processes.log_uniform(generator, 2.0, 2.0) == 2.0


def test_a_random_set_keeps_its_distances_and_order(generator):
    sets = np.array([processes.random_set(generator, 4, 0.7, 60.0, 1.5) for _ in range(2000)])
    assert np.diff(sets, axis=1).min() >= 1.5
    assert sets.min() >= 0.7
    assert sets.max() <= 60.0
    alone = np.array([processes.random_set(generator, 1, 0.7, 60.0, 1.5) for _ in range(5000)])
    assert stats.kstest(alone[:, 0], stats.loguniform(0.7, 60.0).cdf).pvalue > 0.01


def test_a_random_set_that_hardly_fits_is_found_or_given_up(generator):
    assert len(processes.random_set(generator, 12, 0.7, 60.0, 1.5)) == 12
    assert processes.random_set(generator, 3, 1.0, 3.0, 1.0) == []
