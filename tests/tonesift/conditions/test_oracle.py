"""The oracle's error against conditioning on a joint covariance, written out, and against recordings that were made."""

import numpy as np
import pytest
from conditioned import made

from tonesift import memory, params
from tonesift.conditions import oracle
from tonesift.conditions.oracle import knowledge, oracle_mse
from tonesift.errors import InputError
from tonesift.estimators import limits

SAMPLES = 300
ALL = {
    **{"drift": 0.05, "drift_time": 0.05, "wander": 0.3, "phase_walk": 3.0, "dwell": 0.1, "tail_scale": [0.05, 0.1]},
    **{"jitter_phase": 30.0, "jitter_amplitude": 0.2, "burst_share": 0.2, "coloured": [0.2, 0.3], "gap_share": 0.3},
    **{"outlier_share": 0.1, "noise_std": 0.02, "amplitude_ranges": [[1.0, 2.0], [0.5, 0.6], [3.0, 3.0], [0.1, 0.2]]},
}


def covariances(told):
    """Of the mixture (N, N), of each tone with the mixture (K, N, N), and variances of the tones (K, N)."""
    samples, tones = told.heard.shape[:2]
    period = np.cumsum(told.onsets, axis=1)
    moments = 0.5 * told.second_moments[:, None, None] * (period[:, :, None] == period[:, None, :])
    heard, wanted = told.heard.transpose(1, 0, 2) / tones, told.wanted.transpose(1, 0, 2)
    mixture = np.sum(moments * (heard @ heard.swapaxes(1, 2)), axis=0)
    mixture += np.diag(np.where(np.isfinite(told.variances), told.variances, 0.0))
    if told.covariance is not None:
        mixture += told.covariance[np.abs(np.arange(samples)[:, None] - np.arange(samples))]
    power = 0.5 * told.second_moments[:, None] * np.sum(wanted**2, axis=2)
    return mixture, moments * (wanted @ heard.swapaxes(1, 2)), power


def closed_form(told, seen):
    mixture, cross, power = covariances(told)
    mse = np.empty(power.shape)
    for sample, count in enumerate(seen):
        known = np.flatnonzero(np.isfinite(told.variances[:count]))
        inverse = np.linalg.inv(mixture[np.ix_(known, known)]) if len(known) else np.zeros((0, 0))
        for tone in range(len(power)):
            row = cross[tone, sample, known]
            mse[tone, sample] = power[tone, sample] - row @ inverse @ row
    return mse


@pytest.mark.parametrize("hop", [1, 10])
def test_it_is_the_limit_of_the_general_task_without_conditions(hop):
    facts, _, _ = made(noise_std=0.1, clip=[1e6, 1e6])
    seen = limits.hopped(SAMPLES, hop)
    found = oracle_mse(knowledge(facts, SAMPLES, 0), seen)
    expected = limits.general_mse(facts.frequencies, 1000.0, 0.1, facts.second_moment, seen)
    assert np.allclose(found, expected, rtol=1e-6, atol=1e-12)


EXACT = ({"noise_std": 0.1, "coloured": [0.1, 0.3]}, {"noise_std": 0.1, "gap_share": 0.5})


@pytest.mark.parametrize("chosen", [ALL, *EXACT])
@pytest.mark.parametrize("seen", [limits.causal(60), limits.hopped(60, 10), limits.smoother(60), np.zeros(60, int)])
def test_it_is_the_variance_given_what_was_seen(chosen, seen):
    facts, _, _ = made(train_recordings=3, duration=0.06, **{"gap_length": [0.002, 0.01], **chosen})
    told = knowledge(facts, 60, 2)
    assert np.allclose(oracle_mse(told, seen), closed_form(told, seen), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("chosen", [ALL, *EXACT])
def test_one_that_begins_later_is_told_what_happens_from_there_on(chosen):
    facts, _, _ = made(train_recordings=1, duration=0.06, **{"gap_length": [0.002, 0.01], **chosen})
    later = oracle.cut(knowledge(facts, 60, 0), 20, 30)
    assert later.heard.shape == (30, 4, 2)
    assert np.allclose(
        oracle_mse(later, limits.hopped(30, 3)), closed_form(later, limits.hopped(30, 3)), rtol=1e-6, atol=1e-9
    )


def test_an_estimator_that_is_told_as_much_errs_as_much():
    """Recordings as they are made, and the best linear estimate of each, with all of it seen."""
    facts, mixtures, tones = made(train_recordings=60, duration=SAMPLES / 1000, **ALL)
    errors = []
    for index in range(60):
        told = knowledge(facts, SAMPLES, index)
        known = np.isfinite(told.variances)
        mixture, cross, _ = covariances(told)
        weights = np.linalg.solve(mixture[np.ix_(known, known)], mixtures[index, known])
        squares = (cross[:, :, known] @ weights - tones[index]) ** 2
        errors.append([squares.mean(), oracle_mse(told, limits.smoother(SAMPLES)).mean()])
    measured, expected = np.array(errors).T
    assert abs((measured - expected).mean()) < 4 * (measured - expected).std() / np.sqrt(60)
    assert measured.mean() == pytest.approx(expected.mean(), rel=0.2)


def test_what_is_told_that_nobody_knows_is_said():
    exact = params.Conditions(coloured=[0.1, 0.1], gap_share=0.5, tone_range=[1.0, 9.0])
    assert oracle.unknowable(exact) == []
    told = params.Conditions(drift=0.01, jitter_phase=1.0, jitter_amplitude=0.1, clip=[1.0, 1.0])
    assert oracle.unknowable(told) == ["frequency paths", "jitter", "what was clipped off"]
    assert {*oracle.ORACLES, "coloured", "gap_share", "tone_range", "amplitude_ranges"} == set(params.SWITCHES)


def test_covariances_that_no_memory_holds_are_refused(monkeypatch):
    facts, _, _ = made(noise_std=0.1, coloured=[0.1, 0.1], outlier_share=0.1)
    monkeypatch.setattr(memory, "available", lambda: 1000)
    with pytest.raises(InputError, match="covariances of coloured noise: takes"):
        oracle_mse(knowledge(facts, SAMPLES, 0), limits.causal(SAMPLES))
