"""Which filter is chosen for signals whose making is known, and what is learnt of them."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from scipy import signal

from tonesift.errors import InputError
from tonesift.estimators.tracking import methods
from tonesift.estimators.tracking.bank import Bank

RATE, FREQUENCIES = 200.0, (3.0, 7.0)


def tones(samples=1600, seed=0, offset=None, amplitude=1.0):
    """Tones (K, N); their frequencies are off by the share `offset` (N,)."""
    phase = np.random.default_rng(seed).uniform(0, 2 * np.pi, (2, 1))
    turns = np.cumsum(np.ones(samples) if offset is None else 1 + offset)
    return amplitude * np.sin(2 * np.pi * np.outer(FREQUENCIES, turns) / RATE + phase)


def white(samples=1600, seed=1):
    return np.random.default_rng(seed).standard_normal(samples)


class Made(NamedTuple):
    """What a bank makes of a stretch: tones (K, n), its share of each method, and the bank."""

    tones: np.ndarray
    shares: dict[str, float]
    bank: Bank

    def share(self, word):
        """Weight of all filters of whose method's name this is a part."""
        return sum(share for method, share in self.shares.items() if word in method.split("-"))


def chosen(samples, method="auto", clip=None):
    facts = methods.estimate_facts(samples, FREQUENCIES, RATE, clip)
    bank, averaged = methods.make_bank(samples, FREQUENCIES, RATE, method, facts)
    shares = dict.fromkeys((one.method for one in bank.candidates), 0.0)
    for one, weight in zip(bank.candidates, bank.weights, strict=True):
        shares[one.method] += weight
    assert sum(shares.values()) == pytest.approx(1)
    return Made(averaged, shares, bank)


def test_steady_tones_get_a_filter_for_steady_tones():
    true = tones()
    found = chosen(true.sum(axis=0) + 0.2 * white())
    assert found.share("kalman") > 0.9
    assert found.bank.gains("kalman")["kalman"] > 0
    assert np.mean((found.tones - true)[:, 800:] ** 2) < 1e-3


def test_frequencies_that_are_off_get_the_extended_filter():
    true = tones(offset=np.linspace(-0.02, 0.03, 1600))
    found = chosen(true.sum(axis=0) + 0.2 * white())
    assert found.share("extended") > 0.9
    assert np.mean((found.tones - true)[:, 800:] ** 2) < 5e-3
    plain = chosen(true.sum(axis=0) + 0.2 * white(), "kalman")
    assert np.mean((plain.tones - true)[:, 800:] ** 2) > 0.01


def test_outliers_get_student_noise():
    samples = tones().sum(axis=0) + 0.1 * white()
    samples[::9] += 5 * white(len(samples[::9]), 2)
    assert chosen(samples).share("student") > 0.9


def test_a_background_that_can_be_foreseen_gets_whitened_or_states():
    background = signal.lfilter([1], [1, -1.8, 0.9], 0.1 * white())
    found = chosen(tones(amplitude=0.3).sum(axis=0) + background)
    assert found.share("whitened") + found.share("background") > 0.9
    assert max(found.bank.gains("kalman-whitened").values()) > 0.1


def test_an_autoregressive_background_is_learnt():
    background = signal.lfilter([1], [1, -0.9, 0.5], white(50_000))
    background[[7, 800]] = np.nan
    found = methods.whitening(background, 2)
    assert found == pytest.approx((0.9, -0.5), abs=0.02)
    assert methods.whitening(np.zeros(100)) == ()


def test_limits_are_found_where_samples_stand_at_them():
    samples = np.clip(tones().sum(axis=0), -0.8, 1.1)
    facts = methods.estimate_facts(samples, FREQUENCIES, RATE, None)
    assert facts.clip == (-0.8, 1.1)
    assert facts.clipped == pytest.approx(np.mean((samples == -0.8) | (samples == 1.1)))
    assert methods.estimate_facts(tones().sum(axis=0) + 0.01 * white(), FREQUENCIES, RATE, None).clip == (
        -math.inf,
        math.inf,
    )
    assert methods.clipping(np.zeros(50)) == (-math.inf, math.inf)  # a constant stands at no limit
    assert methods.estimate_facts(samples, FREQUENCIES, RATE, (-9.0, 9.0)).clip == (-9.0, 9.0)


def test_what_is_learnt_of_a_stretch():
    samples = 5 + tones().sum(axis=0) + 0.2 * white()
    samples[:400] = np.nan
    facts = methods.estimate_facts(samples, FREQUENCIES, RATE, None)
    assert facts.missing == 0.25
    assert facts.offset == pytest.approx(5, abs=0.1)
    assert facts.noise_std == pytest.approx(0.2, rel=0.1)
    assert facts.level == pytest.approx(1.0, rel=0.3)  # two tones of power 1/2


def test_an_offset_is_no_part_of_a_tone():
    true = tones()
    found = chosen(1000 + true.sum(axis=0) + 0.2 * white())
    assert np.mean((found.tones - true)[:, 800:] ** 2) < 2e-3


def test_a_name_says_what_is_left_open():
    for method in ("student", "extended-student", "student-extended", "whitened", "fading-background"):
        for one in chosen(tones(400).sum(axis=0) + 0.2 * white(400), method).bank.candidates:
            assert set(method.split("-")) <= set(one.method.split("-")) <= {*method.split("-"), "kalman"}
            assert bool(one.settings.whitening) == ("whitened" in method)
            assert bool(one.settings.background) == ("background" in method)


@pytest.mark.parametrize(
    "method", ["", "kalmann", "kalman-kalman", "kalman-extended", "background-whitened", "auto-kalman"]
)
def test_a_name_that_is_none_is_refused(method):
    with pytest.raises(InputError, match=f"method '{method}': choose auto, or one of kalman, wander"):
        methods.parse_method(method)


@pytest.mark.parametrize("samples", [np.zeros(300), np.full(300, np.nan), np.full(300, 7.0), np.array([1.0])])
def test_a_stretch_that_shows_nothing_is_borne(samples):
    found = chosen(samples)
    assert found.tones.shape == (2, len(samples))
    assert np.isfinite(found.tones).all()
