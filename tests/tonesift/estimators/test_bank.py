"""Filters side by side: weights and averages against the formula, in NumPy."""

import numpy as np
import pytest

from tonesift.estimators.tracking import bank
from tonesift.estimators.tracking.bank import Candidate, new_bank
from tonesift.estimators.tracking.settings import Settings
from tonesift.estimators.tracking.tracker import Tracked, Tracker

RATE, FREQUENCIES = 200.0, (3.0, 7.0)  # six periods are 262 samples: 2000 are what a third of an error counts after
SETTINGS = (
    Settings(1.0, 0.2),
    Settings(1.0, 0.2, renewal=0.3),
    Settings(1.0, 0.2, drift=0.02, degrees=3.0, adapt=1.0),
    Settings(1.0, 0.2, background=((0.2, 1.0),), clip=(-1.2, 1.3)),
)
CANDIDATES = [Candidate(f"number-{place}", settings) for place, settings in enumerate(SETTINGS)]


def mixture(samples=600):
    """Tones that change once, noise, gaps and limits."""
    generator = np.random.default_rng(0)
    times = np.arange(samples) / RATE
    tones = np.sin(2 * np.pi * np.outer(FREQUENCIES, times) + np.where(times > 1.5, 2.0, 0.0))
    mixed = np.clip(tones.sum(axis=0) + 0.2 * generator.standard_normal(samples), -1.2, 1.3)
    mixed[[0, 50, 51, 300]] = np.nan
    return mixed


def by_hand(samples):
    """Averages (K, N) with exponential weights, and the last weights."""
    alone = [Tracker(FREQUENCIES, RATE, settings).push(samples) for settings in SETTINGS]
    losses, memory, averages = np.zeros(len(alone)), 0.0, []
    for now, sample in enumerate(samples):
        if np.isfinite(sample):
            errors = np.array([one.innovations[now] for one in alone])
            if sample == 1.3:
                errors[3] = max(errors[3], 0)
            if sample == -1.2:
                errors[3] = min(errors[3], 0)
            losses, memory = losses * (1 - 1 / 2000) + np.abs(errors), memory * (1 - 1 / 2000) + 1
        beyond = (losses - losses.min()) / (losses.min() / max(memory, 1) or 1)
        weights = (1 + bank.SHARPNESS * beyond / 64) ** -64.0
        weights /= weights.sum()
        averages.append(sum(weight * one.tones[:, now] for weight, one in zip(weights, alone, strict=True)))
    return np.array(averages).T, weights


def test_the_average_is_that_of_the_filters_weighted_by_what_they_missed():
    found = new_bank(CANDIDATES, FREQUENCIES, RATE)
    expected, weights = by_hand(mixture())
    assert np.ptp(weights) > 0.5
    assert np.allclose(found.push(mixture()), expected, rtol=0, atol=1e-12)
    assert np.allclose(found.weights, weights, rtol=0, atol=1e-12)


def test_weights_are_nearly_exponential():
    losses, memory = np.array([10.0, 10.5, 12.0, 30.0]), 100.0
    found = new_bank(CANDIDATES, FREQUENCIES, RATE).at(losses, memory).weights
    expected = np.exp(-bank.SHARPNESS * (losses - 10) / 0.1)
    assert np.allclose(found, expected / expected.sum(), rtol=0, atol=0.02)


@pytest.mark.parametrize("size", [1, 17, 333])
def test_pieces_give_the_bits_of_the_whole(size):
    whole, pieces, samples = new_bank(CANDIDATES, FREQUENCIES, RATE), new_bank(CANDIDATES, FREQUENCIES, RATE), mixture()
    found = [pieces.push(samples[begin : begin + size]) for begin in range(0, len(samples), size)]
    assert np.array_equal(np.concatenate(found, axis=1), whole.push(samples))
    assert np.array_equal(pieces.losses, whole.losses)


def test_six_periods_of_slow_tones_are_remembered():
    found = new_bank(CANDIDATES[:1], (0.01, 0.01 + 1e-9), RATE)
    found.push(np.ones(2))
    assert found.memory == pytest.approx(1 + (1 - 1 / 120_000), abs=1e-9)


def test_a_filter_that_gives_no_numbers_counts_for_nothing_for_ever():
    found = new_bank(CANDIDATES[:2], FREQUENCIES, RATE)
    broken = found.trackers[0].state()
    found.trackers[0]._memory = broken | {"state": np.full_like(broken["state"], np.nan)}
    found.push(np.ones(1))
    assert np.isfinite(found.losses).all()
    found.push(mixture())
    assert np.isfinite(found.push(mixture())).all()


def test_banks_are_joined_and_go_on_at_another_scale():
    samples = mixture()
    one, other, both = (new_bank(some, FREQUENCIES, RATE) for some in (CANDIDATES[:2], CANDIDATES[2:], CANDIDATES))
    for each in (one, other, both):
        each.push(samples[:400])
    joined = one.joined(other)
    assert np.array_equal(joined.weights, both.weights)
    assert np.array_equal(joined.push(samples[400:]), both.push(samples[400:]))
    weaker = [Candidate("weaker", Settings(1.0, 0.4))]
    alone, rescaled = Tracker(FREQUENCIES, RATE, SETTINGS[0]), None
    alone.push(samples)
    rescaled = both.rescaled(weaker, FREQUENCIES, RATE)
    assert rescaled.losses == both.losses[:1]
    assert np.array_equal(rescaled.trackers[0].state()["covariance"], alone.state()["covariance"])


def test_gains_are_shares_of_what_the_best_without_a_part_missed():
    named = [Candidate(name, SETTINGS[0]) for name in ("kalman", "extended", "extended-student", "kalman-student")]
    found = new_bank(named, FREQUENCIES, RATE).at(np.array([10.0, 6.0, 5.0, 8.0]), 1.0).gains("extended-student")
    assert found == pytest.approx({"extended": 1 - 5 / 8, "student": 1 - 5 / 6})


@pytest.mark.parametrize(
    ("losses", "memory"), [([1.0], 1.0), ([1, 2, 3, np.nan], 1.0), ([1, 2, 3, -1], 1.0), ([1] * 4, np.inf)]
)
def test_losses_that_cannot_be_are_refused(losses, memory):
    with pytest.raises(ValueError, match="but these are 4 numbers and one"):
        new_bank(CANDIDATES, FREQUENCIES, RATE).at(np.array(losses, dtype="f8"), memory)


def test_a_sample_at_a_limit_is_missed_by_what_was_expected_short_of_it():
    tracked = Tracked(np.zeros((1, 4)), np.array([0.5, -0.5, 0.25, np.nan]), np.ones(4))
    settings = Settings(1.0, 1.0, clip=(-2.0, 1.0))
    found = bank.prediction_errors(tracked, np.array([1.0, 1.0, 0.0, np.nan]), settings)
    assert np.array_equal(found, [0.5, 0.0, 0.25, np.nan], equal_nan=True)
