"""The table of conditions: what the recordings are, and that its figures are R²."""

from dataclasses import replace

import numpy as np
import pytest
from conditioned import made

from tonesift.data import signals
from tonesift.evaluation import comparison
from tonesift.full_evaluation import rivals, under_conditions


@pytest.fixture
def task():
    facts, _, _ = made(noise_std=0.1, sampling_rate=200.0, duration=4.0)
    return comparison.make_task(facts, 800)


def test_without_conditions_they_are_the_test_recordings(task):
    facts = task.facts
    mixture, tones = under_conditions.recordings(facts, "clean", 800)
    for index in range(under_conditions.RECORDINGS):
        each = zip(facts.frequencies, facts.phases[index], facts.amplitudes[index], strict=True)
        expected = np.stack([signals.sinusoid(f, 200.0, 800, phase, amplitude) for f, phase, amplitude in each])
        np.testing.assert_allclose(tones[index], expected, atol=1e-12)
        noise = signals.random_generator(facts.seed, "noise", index).standard_normal(800)
        np.testing.assert_allclose(mixture[index], expected.mean(axis=0) + 0.1 * noise, atol=1e-9)


def test_each_condition_does_what_it_says(task):
    made_under = {name: under_conditions.recordings(task.facts, name, 800) for name in under_conditions.NAMES}
    assert np.isnan(made_under["gaps"][0]).mean() > 0.1
    assert not np.isnan(made_under["drift"][0]).any()
    levels = np.abs(made_under["clip"][0]).max(axis=1)
    assert ((levels >= 0.1) & (levels <= 0.4)).all()
    assert (made_under["switching"][1] == 0).mean() > 0.1
    np.testing.assert_array_equal(made_under["outliers"][1], made_under["clean"][1])


def test_tones_that_switch_stay_within_the_amplitudes_that_there_were(task):
    facts = replace(task.facts, amplitudes=np.full((1, 4), 1.5), phases=task.facts.phases[:1])
    _, tones = under_conditions.recordings(facts, "switching", 2000)
    assert np.abs(tones).max() <= 1.5
    assert np.abs(tones).max() > 1.49


def test_the_figures_are_r2_after_the_first_second(task):
    answers = np.concatenate([under_conditions.recordings(task.facts, name, 800)[1] for name in under_conditions.NAMES])
    worse = answers.copy()
    worse[..., :200] = 1e3  # in the first second everything may be wrong
    worse[..., 200:] *= 0.9
    rows = under_conditions.table(lambda mixture: worse, task, 800)
    assert [row["condition"] for row in rows] == list(under_conditions.NAMES)
    for row, tones in zip(rows, np.split(answers, len(rows)), strict=True):
        later = tones[..., 200:]
        assert row["network"] == pytest.approx(1 - 0.01 * np.mean(later**2) / later.var(), abs=1e-4)
        assert set(row) == {"condition", "network", "kalman", "extended", "student", "auto", "taken"}
    by_name = {row["condition"]: row for row in rows}
    assert by_name["clean"]["kalman"] > 0.99
    assert by_name["heavy"]["student"] > by_name["heavy"]["kalman"]


def test_the_network_is_told_where_samples_are_missing(task):
    given = []

    def network(mixture):
        given.append(mixture)
        return np.zeros((len(mixture), 4, 800))

    under_conditions.table(network, task, 800)
    heard = np.concatenate([under_conditions.recordings(task.facts, name, 800)[0] for name in under_conditions.NAMES])
    assert np.isnan(heard).any()
    np.testing.assert_array_equal(given[0], heard.astype("f4"))
    assert given[0].dtype == np.float32


def test_what_cannot_be_made_is_left_out(task):
    slow = replace(task.facts, sampling_rate=20.0)  # a gap of 0.02 s is less than a sample
    assert not any(under_conditions.can_be_made(name, slow) for name in under_conditions.NAMES)
    assert under_conditions.table(lambda mixture: mixture, replace(task, facts=slow), 800) == []
    high = replace(task.facts, frequencies=(1.0, 3.0, 5.0, 95.0))
    assert not under_conditions.can_be_made("drift", high)
    assert under_conditions.can_be_made("gaps", high)


def test_the_method_taken_most_often_is_told():
    assert rivals.most_taken(["wander", "wander"]) == "wander"
    assert rivals.most_taken(["wander", "kalman", "wander"]) == "wander 2 of 3 times"
    assert rivals.most_taken([]) == ""
