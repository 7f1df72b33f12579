import copy
import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tonesift.data.signals import mix, sinusoid
from tonesift.estimators import filters
from tonesift.full_evaluation import robustness
from tonesift.full_evaluation.robustness import Recording, curves, perturbations
from tonesift.metrics import tally

BASELINE = Recording((1.0, 3.0, 5.0, 7.0), (0.0, 45.0, 90.0, 135.0), (1.0, 1.0, 1.0, 1.0), 0.1, 1000.0, 2000)
SINGLE = Recording((2.0,), (30.0,), (1.5,), 0.2, 500.0, 1000)
NAMES = ["noise_std", "frequency_offset_hz", "phase_offset_deg", "amplitude", "clipped", "missing"]


def named(recording, name):
    return {each.name: each for each in perturbations(recording)}[name]


def applied(recording, name, value, seed=0):
    return named(recording, name).apply(recording, value, np.random.default_rng(seed))


def plain(recording, seed=0):
    each = zip(recording.frequencies, recording.phases, recording.amplitudes, strict=True)
    tones = np.stack([sinusoid(f, recording.sampling_rate, recording.samples, p, a) for f, p, a in each])
    return mix(tones, recording.noise_std, np.random.default_rng(seed)), tones


def by_formula(recording, shift_hz=0.0):
    time = np.arange(recording.samples) / recording.sampling_rate
    each = zip(recording.frequencies, recording.phases, recording.amplitudes, strict=True)
    return np.stack([a * np.sin(2 * np.pi * (f + shift_hz) * time + np.deg2rad(p)) for f, p, a in each])


def curve(rows, perturbation, estimator):
    return [row["r2"] for row in rows if (row["perturbation"], row["estimator"]) == (perturbation, estimator)]


@pytest.mark.parametrize("recording", [BASELINE, SINGLE, replace(BASELINE, noise_std=0.0)])
def test_neutral_values_give_the_unperturbed_recording_bit_for_bit(recording):
    expected_mixture, expected_tones = plain(recording)
    for perturbation in perturbations(recording):
        assert perturbation.neutral in perturbation.values
        mixture, tones = perturbation.apply(recording, perturbation.neutral, np.random.default_rng(0))
        np.testing.assert_array_equal(mixture, expected_mixture)
        np.testing.assert_array_equal(tones, expected_tones)


def test_perturbations_have_six_to_eight_values_each_in_order():
    found = perturbations(BASELINE)
    assert [each.name for each in found] == NAMES
    for each in found:
        assert 6 <= len(each.values) <= 8
        assert list(each.values) in (sorted(each.values), sorted(each.values, reverse=True))


def test_noise_is_the_same_at_every_level_but_for_its_size():
    clean = by_formula(BASELINE).mean(axis=0)
    unit = np.random.default_rng(0).standard_normal(BASELINE.samples)
    for value in (0.0, 0.05, 0.5):
        mixture, tones = applied(BASELINE, "noise_std", value)
        np.testing.assert_allclose(mixture - clean, value * unit, atol=1e-10)
        np.testing.assert_array_equal(tones, plain(BASELINE)[1])


def test_frequencies_all_shift():
    mixture, tones = applied(BASELINE, "frequency_offset_hz", 0.3)
    np.testing.assert_allclose(tones, by_formula(BASELINE, shift_hz=0.3), atol=1e-10)
    noise = np.random.default_rng(0).standard_normal(BASELINE.samples)
    np.testing.assert_allclose(mixture, tones.mean(axis=0) + 0.1 * noise, atol=1e-10)


@pytest.mark.parametrize(("recording", "tone"), [(BASELINE, 1), (SINGLE, 0)])
def test_one_tone_changes_its_phase(recording, tone):
    before, (mixture, tones) = by_formula(recording), applied(recording, "phase_offset_deg", 180.0)
    before[tone] *= -1
    np.testing.assert_allclose(tones, before, atol=1e-10)
    noise = np.random.default_rng(0).standard_normal(recording.samples)
    np.testing.assert_allclose(mixture, before.mean(axis=0) + recording.noise_std * noise, atol=1e-10)


def test_amplitudes_scale_and_the_noise_does_not():
    mixture, tones = applied(BASELINE, "amplitude", 2.0)
    np.testing.assert_allclose(tones, 2 * by_formula(BASELINE), atol=1e-10)
    np.testing.assert_allclose(mixture - plain(BASELINE)[0], by_formula(BASELINE).mean(axis=0), atol=1e-10)


def test_clipping_flattens_what_is_above_a_share_of_the_peak():
    before, after = plain(BASELINE)[0], applied(BASELINE, "clipped", 0.3)[0]
    level = 0.3 * np.abs(before).max()
    inside = np.abs(before) <= level
    np.testing.assert_array_equal(after[inside], before[inside])
    np.testing.assert_array_equal(after[~inside], level * np.sign(before[~inside]))
    assert 0 < inside.sum() < inside.size


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 1.0])
def test_samples_go_missing_in_bursts_of_ten(share):
    before, after = plain(BASELINE)[0], applied(BASELINE, "missing", share)[0]
    gone = after == 0
    assert gone.mean() == pytest.approx(share)
    assert (gone.reshape(-1, 10).all(axis=1) == gone.reshape(-1, 10).any(axis=1)).all()
    np.testing.assert_array_equal(after[~gone], before[~gone])
    assert np.flatnonzero(np.diff(gone.astype(int))).size > 2 or share == 1


def test_larger_gaps_hold_the_smaller_ones():
    smaller, larger = (applied(BASELINE, "missing", share)[0] == 0 for share in (0.1, 0.4))
    assert larger[smaller].all()
    assert larger.sum() > smaller.sum()


def test_values_follow_the_recording():
    assert 0.07 in named(replace(BASELINE, noise_std=0.07), "noise_std").values
    near = replace(SINGLE, frequencies=(249.9,))
    assert named(near, "frequency_offset_hz").values == (0.0, 0.02, 0.05)
    assert "second tone" in named(BASELINE, "phase_offset_deg").label
    assert "second" not in named(SINGLE, "phase_offset_deg").label


# -- curves


def known_waveform(mixture):
    """Estimator that says the unperturbed tone whatever it reads."""
    return np.broadcast_to(plain(SINGLE)[1], (len(mixture), 1, SINGLE.samples))


def identity(mixture):
    """Estimator that takes the mixture for the tone."""
    return mixture[:, None]


def test_curves_agree_with_closed_forms():
    clean = replace(SINGLE, noise_std=0.0)
    rows = curves({"identity": identity, "known": known_waveform}, clean, np.random.default_rng(3))
    power = 1.5**2 / 2  # four whole cycles
    noise = np.random.default_rng(3).standard_normal(SINGLE.samples)
    levels = named(clean, "noise_std").values
    expected = [1 - np.mean((level * noise) ** 2) / power for level in levels]
    assert curve(rows, "noise_std", "identity") == pytest.approx(expected)
    shifts = np.deg2rad(named(clean, "phase_offset_deg").values)
    assert curve(rows, "phase_offset_deg", "known") == pytest.approx(list(1 - 2 * (1 - np.cos(shifts))), abs=1e-9)
    factors = np.array(named(clean, "amplitude").values)
    assert curve(rows, "amplitude", "known") == pytest.approx(list(1 - (1 / factors - 1) ** 2))
    for name in ("phase_offset_deg", "amplitude", "frequency_offset_hz"):
        assert curve(rows, name, "identity") == [1.0] * len(named(clean, name).values)


@pytest.mark.parametrize("name", ["noise_std", "clipped", "missing"])
def test_an_honest_estimator_falls_the_harder_it_is_hit(name):
    clean = replace(SINGLE, noise_std=0.0)  # clipping takes off more of the noise than of the tone at first
    found = curve(curves({"identity": identity}, clean, np.random.default_rng(3)), name, "identity")
    assert all(later < earlier for earlier, later in pairwise(found))
    assert found[-1] < found[0] - 0.05


def test_filter_told_the_facts_is_best_at_the_frequencies_and_noise_it_was_told():
    def kalman(mixture):
        return filters.kalman(
            mixture, BASELINE.sampling_rate, BASELINE.frequencies, noise_std=BASELINE.noise_std, second_moment=1.0
        )

    rows = curves({"kalman": kalman}, BASELINE, np.random.default_rng(3))
    assert curve(rows, "noise_std", "kalman") == sorted(curve(rows, "noise_std", "kalman"), reverse=True)
    offsets = curve(rows, "frequency_offset_hz", "kalman")
    assert offsets == sorted(offsets, reverse=True)
    assert offsets[-1] < offsets[0] - 0.1
    neutral = tally(plain(BASELINE, 3)[1], kalman(plain(BASELINE, 3)[0])).r2
    for perturbation in perturbations(BASELINE):
        at = perturbation.values.index(perturbation.neutral)
        assert curve(rows, perturbation.name, "kalman")[at] == pytest.approx(neutral, rel=1e-12)


def test_each_estimator_is_called_once_and_rows_are_ready_for_json():
    shapes, generator = [], np.random.default_rng(0)
    before = copy.deepcopy(generator.bit_generator.state)

    def zeros(mixture):
        shapes.append(mixture.shape)
        mixture[:] = np.nan  # an estimator that writes on what it reads spoils nothing for the next
        return np.zeros((len(mixture), 4, mixture.shape[1]))

    rows = curves({"first": zeros, "second": zeros}, BASELINE, generator)
    count = sum(len(each.values) for each in perturbations(BASELINE))
    assert shapes == [(count, BASELINE.samples)] * 2
    assert [(row["estimator"]) for row in rows] == ["first"] * count + ["second"] * count
    assert [row["value"] for row in rows[:count]] == [v for each in perturbations(BASELINE) for v in each.values]
    assert set(rows[0]) == {"perturbation", "value", "estimator", "r2"}
    assert max(row["r2"] for row in rows) == pytest.approx(0, abs=1e-3)
    json.dumps(rows, allow_nan=False)
    assert generator.bit_generator.state == before
    assert curves({"first": zeros}, BASELINE, generator, []) == []


def test_silent_tones_have_no_r2():
    silence = replace(named(SINGLE, "amplitude"), values=(0.0, 1.0))
    rows = curves({"identity": identity}, SINGLE, np.random.default_rng(0), [silence])
    assert rows[0]["r2"] is None
    assert math.isfinite(rows[1]["r2"])


# -- refusals


@pytest.mark.parametrize(
    ("estimate", "message"),
    [
        (lambda mixture: mixture[:, None] * np.nan, r"must be finite, but 'rival' gave \d+ values"),
        (lambda mixture: mixture, "must give estimates of shape .mixtures, tones, samples.*'rival' gave shape"),
    ],
)
def test_answers_that_are_no_estimates_are_refused(estimate, message):
    with pytest.raises(ValueError, match=message):
        curves({"rival": estimate}, SINGLE, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frequencies": (math.nan,)}, "frequencies must lie above 0 and below the Nyquist frequency"),
        ({"phases": (math.nan,)}, "phases must be finite numbers, one for each of the 1 frequencies"),
        ({"amplitudes": (1.0, 2.0)}, "amplitudes must be finite numbers, one for each"),
        ({"noise_std": math.nan}, "noise_std must be finite and at least 0, but got noise_std=nan"),
        ({"samples": 0}, "samples must be at least 1, but got samples=0"),
    ],
)
def test_recordings_that_cannot_be_made_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SINGLE, **change)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("noise_std", -0.1, "noise_std must be finite and at least 0"),
        ("noise_std", math.nan, "noise_std must be finite, but got nan"),
        ("amplitude", math.nan, "amplitude must be finite, but got nan"),
        ("frequency_offset_hz", 248.0, "below the Nyquist frequency"),
        ("clipped", 0.0, "clipped must lie above 0 and at most at 1, but got 0.0"),
        ("missing", 1.1, "missing must lie from 0 to 1, but got 1.1"),
    ],
)
def test_values_outside_their_range_are_refused(name, value, message):
    with pytest.raises(ValueError, match=message):
        applied(SINGLE, name, value)


def test_burst_length_is_what_the_label_says():
    assert f"bursts of {robustness.BURST}" in named(SINGLE, "missing").label
