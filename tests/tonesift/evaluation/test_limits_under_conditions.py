"""What is said to be possible under conditions: by conditioning, written out, and by filters at work on recordings."""

from dataclasses import replace

import numpy as np
import pytest
from conditioned import made

from tonesift import params
from tonesift.conditions import run
from tonesift.data.segments import Segments
from tonesift.estimators import filters, limits
from tonesift.evaluation import comparison
from tonesift.full_evaluation import rivals

LONG = {"sampling_rate": 100.0, "duration": 60.0, "amplitude_range": [1.0, 1.0]}
SLOW = {"sampling_rate": 100.0, "noise_std": 0.1, "train_recordings": 6, "duration": 2.0}


def task_of(facts, samples=200):
    return comparison.make_task(facts, samples)


def segments(*starts, samples=100):
    return Segments(np.array(starts, dtype=np.int64), samples)


def fixed(**conditions):
    facts, _, _ = made(**SLOW)
    facts = replace(facts, task="fixed", conditions=params.Conditions(**conditions))
    return task_of(facts)


def test_with_gaps_the_limit_is_that_of_regression_on_the_samples_that_are_there():
    facts, _, _ = made(gap_share=0.4, **SLOW)
    starts = [(0, 30), (3, 0), (5, 90)]
    (row,) = comparison.limit_rows(task_of(facts), segments(*starts), "all", hop=5)
    errors = []
    for recording, begin in starts:
        missing = run.gaps(facts, 200, recording)[begin : begin + 100]
        angle = 2 * np.pi * np.outer(np.arange(100) / 100, facts.frequencies)
        basis = np.stack([np.sin(angle), np.cos(angle)], axis=-1)  # (T, K, 2)
        for sample in range(0, 100, 7):
            seen = np.flatnonzero(~missing[: (sample // 5 + 1) * 5])
            rows = basis[seen].reshape(len(seen), 8) / 4
            covariance = np.linalg.inv(rows.T @ rows / 0.1**2 + np.eye(8) / (facts.second_moment / 2))
            covariance = covariance.reshape(4, 2, 4, 2)
            errors.append([basis[sample, k] @ covariance[k, :, k] @ basis[sample, k] for k in range(4)])
    expected = np.mean(np.array(errors).reshape(3, -1, 4), axis=0).T
    assert (row.name, row.label) == ("limit", "best possible")
    np.testing.assert_allclose(row.mse[:, ::7], expected, rtol=1e-6)


def test_the_kalman_filter_that_predicts_what_is_missing_reaches_it():
    facts, mixtures, tones = made(gap_share=0.4, **SLOW | {"train_recordings": 60})
    task, where = task_of(facts), segments(*((index, 50) for index in range(60)), samples=150)
    (limit,) = comparison.limit_rows(task, where, "all")
    found = rivals.named_tones(replace(task, measured=None))["tracked"].estimate(where.cut(mixtures))
    errors = np.mean((found - where.cut(tones)) ** 2, axis=(1, 2))
    assert abs(errors.mean() - limit.mse.mean()) < 4 * errors.std() / np.sqrt(60)
    assert errors.mean() == pytest.approx(limit.mse.mean(), rel=0.15)
    zeros = rivals.all_rivals(task)["kalman"]
    assert zeros.label == "Kalman, missing samples as 0"
    assert np.mean((zeros.estimate(where.cut(mixtures)) - where.cut(tones)) ** 2) > 1.5 * errors.mean()


def test_without_gaps_it_is_the_kalman_filter():
    facts, mixtures, _ = made(gap_share=0.4, **SLOW)
    task = replace(task_of(facts), measured=comparison.Measured(np.full(4, 0.875), 0.1))
    found = rivals.named_tones(task)["tracked"].estimate(rivals.without_gaps(mixtures))
    expected = filters.kalman(
        rivals.without_gaps(mixtures), 100.0, facts.frequencies, noise_std=0.1, second_moment=1.75
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("conditions", "beyond"),
    [
        ({"drift": 0.02}, "frequency paths"),
        ({"clip": [0.1, 0.4]}, "what was clipped off"),
        ({"dwell": 1.0, "tail_scale": [0.1, 0.1]}, "switching times, each sample's noise level"),
    ],
)
def test_what_only_an_oracle_reaches_is_a_bound_that_says_what_it_is_told(conditions, beyond):
    facts, _, _ = made(**conditions, **SLOW)
    (row,) = comparison.limit_rows(task_of(facts), segments((0, 0), (1, 20)), "all", hop=10)
    assert (row.name, row.label) == ("bound", f"bound: an oracle that is told {beyond}")
    assert row.knows.endswith(beyond)
    assert row.mse.shape == (4, 100)


@pytest.mark.parametrize("extra", [{}, {"gap_share": 0.3}])
def test_coloured_noise_is_exact_or_told(extra, monkeypatch):
    """Alone and in short segments it is exact; to whiten it where the noise's level changes takes the cube of that."""
    facts, _, _ = made(coloured=[0.2, 0.2], **extra, **SLOW)
    (exact,) = comparison.limit_rows(task_of(facts), segments((0, 0)), "all", hop=10)
    monkeypatch.setattr(comparison, "WHITENED_SAMPLES", 50)
    (long,) = comparison.limit_rows(task_of(facts), segments((0, 0)), "all", hop=10)
    assert (exact.name, exact.knows.endswith("noise spectrum")) == ("limit", True)
    if extra:
        assert long.label == "bound: an oracle that is told coloured noise"
        assert long.mse.mean() < 0.9 * exact.mse.mean()
    else:
        np.testing.assert_array_equal(long.mse, exact.mse)


@pytest.mark.parametrize("damage", [{"gap_share": 0.3}, {"clip": [0.1, 0.2]}, {"coloured": [0.1, 0.1]}])
def test_of_known_waveforms_damage_leaves_the_limit_of_white_noise_as_a_bound(damage):
    task = fixed(**damage)
    (row,) = comparison.limit_rows(task, segments((0, 0)), "all", hop=10)
    assert (row.name, row.label) == ("bound", "bound: the best possible in white noise alone")
    np.testing.assert_array_equal(row.mse, comparison.limit(task, limits.hopped(100, 10)))


@pytest.mark.parametrize(
    "conditions",
    [
        {"drift": 0.01},
        {"jitter_phase": 10.0, "gap_share": 0.1},
        {"burst_share": 0.5, "burst_factor": 0.5},
        {"wander": 0.1, "clip": [1, 1]},
    ],
)
def test_of_known_waveforms_that_change_no_limit_is_known(conditions):
    assert comparison.limit_rows(fixed(**conditions), segments((0, 0)), "all") == []


@pytest.mark.parametrize("task", ["fixed", "general"])
@pytest.mark.parametrize(("degrees", "explained"), [(180.0, 0.0), (45.0, 0.6)])
def test_with_any_phase_at_every_sample_there_is_nothing_to_learn(task, degrees, explained):
    facts, mixtures, tones = made(**LONG, task=task, jitter_phase=degrees, jitter_amplitude=0.2)
    past = np.lib.stride_tricks.sliding_window_view(mixtures, 50, axis=1).reshape(-1, 50)
    wanted = tones[:, :, 49:].transpose(0, 2, 1).reshape(-1, 4)
    left = wanted - past @ np.linalg.lstsq(past, wanted, rcond=None)[0]
    assert 1 - np.mean(left**2) / np.mean(wanted**2) == pytest.approx(explained, abs=0.02 if degrees == 180 else 0.4)
    rows = comparison.limit_rows(task_of(facts, tones.shape[2]), segments((0, 0)), "all")
    assert any("nothing to learn" in row.label for row in rows) == (degrees == 180)
    assert all(limits.r2(row.mse, task_of(facts).power) == 0 for row in rows if degrees == 180)


def test_what_recordings_hold_is_measured_where_they_are_not_missing():
    tones = np.array([[[1.0, -1.0, 1.0, 1.0], [3.0, 3.0, -3.0, 3.0]]])
    mixture = tones.mean(axis=1) + np.array([[0.5, -0.5, 0.5, 0.5]])
    missing = np.array([[False, False, False, True]])
    found = comparison.measure(np.where(missing, 0.0, mixture), tones, missing)
    assert found.power.tolist() == [1.0, 9.0]
    assert found.noise_std == pytest.approx(0.5)


def test_rivals_are_told_what_was_measured():
    facts, mixtures, tones = made(tail_scale=[0.1, 0.1], tail_freedom=5.0, **SLOW | {"noise_std": 0.0})
    measured = comparison.measure(mixtures, tones, np.isnan(mixtures))
    assert measured.noise_std == pytest.approx(0.1 * np.sqrt(5 / 3), rel=0.15)  # Student's t of 5 degrees
    task = replace(task_of(facts), measured=measured)
    assert (task.noise_std, task.second_moment) == (measured.noise_std, 2 * measured.power.mean())
    expected = filters.kalman(
        mixtures, 100.0, facts.frequencies, noise_std=task.noise_std, second_moment=task.second_moment
    )
    np.testing.assert_array_equal(rivals.all_rivals(task)["kalman"].estimate(mixtures), expected)


def test_where_there_is_nothing_to_learn_the_best_r2_is_nothing_and_no_rounding_error():
    """Words and shares hang on it: a limit of -2e-16 has no share, and was no 0 either."""
    task = replace(fixed(jitter_phase=180.0), measured=comparison.Measured(np.full(4, 0.5000001), 0.3))
    (row,) = comparison.limit_rows(task, segments((0, 0), samples=9001), "all")
    assert float(limits.r2(row.mse, task.power)) != 0
    found = comparison.figures(row, task)
    assert [value for name, value in found.items() if name.startswith("r2")] == [0.0] * 6
