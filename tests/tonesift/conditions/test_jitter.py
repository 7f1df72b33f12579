"""The limit under jitter where waveforms are known: its likelihood against recordings, its error against others."""

import numpy as np
import pytest
from conditioned import made

from tonesift.conditions import jitter
from tonesift.estimators import limits
from tonesift.evaluation import comparison

FREQUENCIES, RATE, PERIOD = [1.0, 3.0, 5.0], 100.0, 100
FIXED = {
    **{"task": "fixed", "frequencies": FREQUENCIES, "phases": [0.0, 45.0, 90.0], "amplitudes": [1.0, 0.5, 2.0]},
    **{"sampling_rate": RATE, "duration": 1.0},
}
DRAWS = {"draws": 400, "generator": np.random.default_rng(1)}


def known(amplitude=0.0, phase=0.0, noise_std=0.0):
    turns = np.outer(FREQUENCIES, np.arange(PERIOD)) / RATE + np.array([[0.0], [45.0], [90.0]]) / 360
    return jitter.Jitter(turns, np.array([1.0, 0.5, 2.0]), amplitude, phase, noise_std)


@pytest.mark.parametrize(("amplitude", "phase", "noise"), [(0.2, 45.0, 0.0), (0.5, 10.0, 0.1), (0.0, 180.0, 0.0)])
def test_the_mixture_is_distributed_as_in_recordings(amplitude, phase, noise):
    count, of = 2000, known(amplitude, phase, noise)
    conditions = {"jitter_amplitude": amplitude, "jitter_phase": phase}
    _, mixtures, _ = made(**FIXED, **conditions, noise_std=noise, train_recordings=count)
    table = np.exp(jitter.log_probabilities(of))
    middles = (np.arange(jitter.BINS) - jitter.BINS // 2) * of.width
    for place in range(0, PERIOD, 7):
        expected = np.interp(np.sort(mixtures[:, place]), middles + of.width / 2, np.cumsum(table[:, place]))
        assert np.abs(expected - (np.arange(count) + 0.5) / count).max() < 2.2 / count**0.5  # Kolmogorov: 1 in 8000
        drawn = of.mixtures(np.full(count, place), np.random.default_rng(place))
        expected = np.interp(np.sort(drawn), middles + of.width / 2, np.cumsum(table[:, place]))
        assert np.abs(expected - (np.arange(count) + 0.5) / count).max() < 2.2 / count**0.5


def test_without_jitter_it_is_the_limit_of_white_noise():
    seen = limits.hopped(80, 4)
    found = jitter.jittered_mse(known(noise_std=0.4), seen, **DRAWS)
    expected, error = limits.fixed_mse(known().tones, 0.4, seen, **DRAWS)
    assert expected[:, -1].mean() < 0.2 * expected[:, 0].mean()
    assert np.abs(found - expected).max() < 5 * 2**0.5 * error.max()
    assert found.mean() == pytest.approx(expected.mean(), rel=0.05)


def test_a_posterior_mean_that_takes_jitter_for_white_noise_does_a_little_worse():
    of, seen, share = known(0.2, 60.0), limits.causal(100), np.sinc(60 / 180)
    best = jitter.jittered_mse(of, seen, **DRAWS).mean(axis=0)
    generator = np.random.default_rng(2)
    places = (np.arange(400)[:, None] * PERIOD // 400 + np.arange(100)) % PERIOD
    mixtures = of.mixtures(places, generator)
    std = np.std(mixtures - share * of.tones.mean(axis=0)[places])
    estimate = limits.posterior_mean(mixtures / share, of.tones, std / share, seen)
    reached = np.mean((estimate - of.tones[:, places].swapaxes(0, 1)) ** 2, axis=(0, 1))
    assert best[:20].mean() < reached[:20].mean() < 1.3 * best[:20].mean()
    assert best[20:].mean() < reached[20:].mean()


def test_evaluation_has_it_as_the_limit_of_a_fixed_task():
    facts, _, _ = made(**FIXED, jitter_amplitude=0.2, jitter_phase=60.0)
    task = comparison.make_task(facts, 200)
    (row,) = comparison.limit_rows(task, comparison.Segments(np.zeros((1, 2), dtype=np.int64), 60), "all", hop=2)
    assert (row.name, row.label, row.knows) == ("limit", "best possible", "waveforms, noise level, jitter")
    expected = jitter.jittered_mse(known(0.2, 60.0), limits.hopped(60, 2), **DRAWS)
    np.testing.assert_allclose(row.mse.mean(), expected.mean(), rtol=0.1)
