"""What is said of a signal that a model was not trained on; each threshold from both sides."""

import numpy as np
import pytest

from tonesift.streaming.input_check import InputCheck, Trained

FIXED = Trained((1.0, 3.0, 5.0, 7.0), 0.1, 1.0, "fixed")
GENERAL = FIXED._replace(task="general", second_moment=1.75)
RATE = 1000.0


def mixture(seconds=10, frequencies=FIXED.frequencies, amplitude=1.0, noise=0.1, offset=0.0, rate=RATE, seed=0):
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    tones = [amplitude * np.sin(2 * np.pi * f * time + random.uniform(0, 6.28)) for f in frequencies]
    return np.mean(tones, axis=0) + noise * random.normal(size=len(time)) + offset


def said(samples, model=FIXED, rate=RATE, size=65_536):
    """What is said, and after how many samples each line came."""
    fit, lines = InputCheck(model, rate), []
    for begin in range(0, len(samples), size):
        lines += [(line, begin + size) for line in fit.push(samples[begin : begin + size])]
    return lines + [(line, len(samples)) for line in fit.finish()]


def kinds(*arguments, **options):
    words = {"level": "its level is", "share": "of its power lies at", "offset": "its mean is"}
    lines = [line for line, _ in said(*arguments, **options)]
    assert all(sum(word in line for word in words.values()) == 1 for line in lines)
    return {kind for kind, word in words.items() if any(word in line for line in lines)}


def test_the_expected_level_and_share_are_those_of_the_signal_model():
    many = np.concatenate([mixture(1, seed=seed) for seed in range(200)])
    assert np.isclose(FIXED.level, np.sqrt(np.mean(many**2)), rtol=0.01)
    assert np.isclose(1 - FIXED.share, 0.1**2 / np.mean(many**2), rtol=0.02)


@pytest.mark.parametrize("rate", [20.0, 1000.0, 44_100.0])
@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_said_of_what_it_was_trained_on(rate, seed):
    assert kinds(mixture(rate=rate, seed=seed), rate=rate) == set()
    assert kinds(mixture(2, rate=rate, seed=seed), rate=rate) == set()


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"amplitude": 1.3}, set()),
        ({"amplitude": 1.6}, {"level"}),
        ({"amplitude": 0.8}, set()),
        ({"amplitude": 0.5}, {"level"}),
        ({"amplitude": 1000, "noise": 100}, {"level"}),
        ({"amplitude": 0.001, "noise": 0.0001}, {"level"}),
        ({"noise": 0.3}, set()),
        ({"noise": 0.5}, {"level", "share"}),
        ({"noise": 0}, set()),
        ({"offset": 0.08}, set()),
        ({"offset": -0.12}, {"offset"}),
        ({"offset": 3, "amplitude": 1000, "noise": 100}, {"level"}),
        ({"frequencies": (2.0, 4.0, 6.0, 8.0)}, {"share"}),
        ({"frequencies": (1.02, 3.01, 5.0, 6.98)}, set()),
        ({"frequencies": (1.5, 3.5, 5.5, 7.5)}, {"share"}),
        ({"frequencies": (50.0,), "amplitude": 0.5}, {"share"}),
    ],
)
def test_each_misfit_is_said_and_nothing_else(changes, found):
    assert kinds(mixture(**changes)) == found


@pytest.mark.parametrize(("amplitude", "found"), [(0.5, set()), (2.0, set()), (0.3, {"level"}), (2.6, {"level"})])
def test_drawn_amplitudes_may_vary_more(amplitude, found):
    assert kinds(mixture(amplitude=amplitude, noise=0.02), GENERAL._replace(noise_std=0.02)) == found


def test_a_stream_is_judged_after_two_seconds_and_at_its_end():
    good, bad = mixture(10), mixture(30, amplitude=10, noise=1)
    assert [at for _, at in said(np.concatenate([bad, good]), size=1)] == [2000]
    assert [at for _, at in said(np.concatenate([good, bad]), size=1)] == [40_000]


def test_no_line_comes_twice():
    lines = [line for line, _ in said(mixture(60, amplitude=10, noise=5), size=100)]
    assert len(lines) == len(set(lines)) == 2


def test_a_stretch_too_short_to_tell_the_tones_apart_is_not_judged():
    assert said(1000 * mixture(0.9)) == []
    assert {line[:12] for line, _ in said(1000 * mixture(1.1))} == {"its level is"}


@pytest.mark.parametrize(
    ("values", "told"),
    [([0, 0, 0], "every sample is 0"), ([2.5, 2.5], "every sample is 2.5"), ([np.nan] * 3, "no sample is a number"),
     ([0, np.nan, 1], "")],
)  # fmt: skip
def test_a_constant_is_noticed(values, told):
    fit = InputCheck(FIXED, RATE)
    for value in values:
        fit.push(np.array([value]))
    assert fit.constant == told


def test_memory_is_that_of_a_block():
    fit = InputCheck(FIXED, RATE)
    for _ in range(1000):
        fit.push(np.ones(777))
        assert sum(map(len, fit._held)) < 2000 + 777
