"""The best linear estimator's error against the limit of the general task, and against least squares on recordings."""

import numpy as np
import pytest
from conditioned import made

from tonesift.conditions import linear
from tonesift.errors import InputError
from tonesift.estimators import limits

SLOW = {"sampling_rate": 100.0, "noise_std": 0.1}
MOVING = {
    "drift": {"drift": 0.05, "drift_time": 0.3},
    "wander": {"wander": 0.5, "wander_time": 0.2},
    "phase_walk": {"phase_walk": 1.5},
    "dwell": {"dwell": 0.5},
    "all": {"drift": 0.05, "wander": 0.5, "phase_walk": 1.0, "dwell": 1.0, "amplitude_ranges": [[1.0, 2.0]] * 4},
}
DAMAGED = {
    "jitter": {"jitter_amplitude": 0.2, "jitter_phase": 45.0},
    "outliers": {"outlier_share": 0.1, "outlier_std": 1.0},
    "bursts": {"burst_share": 0.2, "burst_factor": 3.0, "burst_length": [0.02, 0.1]},
    "tails": {"tail_scale": [0.1, 0.1], "tail_freedom": 5.0},
    "coloured": {"coloured": [0.3, 0.3], "coloured_exponent": [1.0, 1.0]},
}


@pytest.mark.parametrize("hop", [1, 10])
def test_without_conditions_it_is_the_limit_of_the_general_task(hop):
    facts, _, _ = made(noise_std=0.1, clip=[1e6, 1e6])
    facts = type(facts)(**{**vars(facts), "conditions": type(facts.conditions)()})
    found = linear.linear_mse(facts, 10_000, 0, 500, hop)
    mse = limits.general_mse(facts.frequencies, 1000.0, 0.1, facts.second_moment, limits.hopped(500, hop))
    assert np.allclose(found, mse[:, -hop:].mean(axis=1), rtol=1e-6)


@pytest.mark.parametrize("name", MOVING)
def test_the_covariance_of_a_tone_is_that_of_tones_that_were_made(name):
    facts, _, tones = made(**SLOW, **MOVING[name], train_recordings=400)
    expected = linear.tone_covariances(facts, 0, 60)
    assert expected.shape == (4, 60)
    for lag in (0, 7, 20, 59):
        products = (tones[..., : tones.shape[2] - lag] * tones[..., lag:]).mean(axis=2)  # (R, K)
        error = products.std(axis=0) / np.sqrt(400)
        assert (np.abs(products.mean(axis=0) - expected[:, lag]) < 4 * error + 1e-3).all(), lag


@pytest.mark.parametrize("name", [*DAMAGED, "all"])
def test_least_squares_on_recordings_reaches_it_and_no_more(name):
    """Linear weights fitted to half of the recordings, tried on the others."""
    past, hop = 30, 3
    chosen = MOVING["all"] if name == "all" else DAMAGED[name]
    facts, mixtures, tones = made(**SLOW, **chosen, train_recordings=400)
    windows = np.lib.stride_tricks.sliding_window_view(mixtures, past, axis=1)[:, ::7]  # (R, W, past)
    ends = np.arange(past - 1, mixtures.shape[1])[::7]
    wanted = np.stack([tones[:, :, ends - lag] for lag in range(hop)], axis=-1).transpose(0, 2, 1, 3)  # (R, W, K, hop)
    fit, probe = (slice(0, 200), slice(200, 400))
    weights, *_ = np.linalg.lstsq(windows[fit].reshape(-1, past), wanted[fit].reshape(-1, 4 * hop))
    errors = (windows[probe] @ weights - wanted[probe].reshape(200, len(ends), -1)) ** 2
    errors = errors.reshape(200, len(ends), 4, hop).mean(axis=(1, 3))
    expected = linear.linear_mse(facts, mixtures.shape[1], 0, past, hop)
    spread = errors.std(axis=0) / np.sqrt(200)
    assert (np.abs(errors.mean(axis=0) - expected) < 4 * spread + 0.01 * expected).all()


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"gap_share": 0.5}, r"gap_share: there is no stationary covariance: take the oracle's limit"),
        ({"clip": [0.1, 0.4]}, "clip: there is no stationary covariance"),
        ({"tail_scale": [0.1, 0.1]}, r"tail_freedom: got 1\.5, but Student's t has no variance up to 2"),
    ],
)
def test_what_has_no_such_covariance_is_refused(chosen, message):
    facts, _, _ = made(noise_std=0.1, **chosen)
    with pytest.raises(InputError, match=message):
        linear.linear_mse(facts, 10_000, 0, 50)
