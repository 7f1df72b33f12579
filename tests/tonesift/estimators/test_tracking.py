"""The tracking filters against dense Gaussian posteriors, numerical integrals, other filters and formulas by hand."""

import math
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from scipy import integrate, stats

from tonesift.errors import InputError
from tonesift.estimators import filters
from tonesift.estimators.tracking import compiled, hazard, levels, rotation
from tonesift.estimators.tracking.settings import Settings, plan
from tonesift.estimators.tracking.tracker import ARRAYS, Tracker

RATE = 100.0
FREQUENCIES = np.array([2.0, 5.0, 9.0])
PERIOD = 22.3144  # samples in one of the geometric mean, 90 ** (1 / 3) Hz: the filters take six digits of it
KNOWN = Settings(amplitude=1.2, noise_std=0.3)
ALL = Settings(
    1.0, 0.3, wander=0.02, renewal=0.05, drift=0.01, degrees=3.0, adapt=5.0, fading=3.0,
    background=((0.1, 0.2),), whitening=(0.4, -0.2, 0.1), clip=(-1.5, 1.6),
)  # fmt: skip


def mixture(samples=300, frequencies=FREQUENCIES, noise=0.3, seed=0):
    """Tones (K, N) of random amplitude and phase, and their noisy sum (N,)."""
    generator = np.random.default_rng(seed)
    shape = (len(frequencies), 1)
    phase = generator.uniform(0, 2 * np.pi, shape)
    angle = 2 * np.pi * np.asarray(frequencies)[:, None] * np.arange(samples) / RATE
    tones = generator.uniform(0.5, 2, shape) * np.sin(angle + phase)
    return tones, tones.sum(axis=0) + noise * generator.standard_normal(samples)


def spoilt(samples):
    """The same with gaps, outliers and samples beyond the limits of `ALL`."""
    samples = samples.copy()
    samples[[3, 4, 50, 51, 52, 120]] = np.nan
    samples[[30, 31, 200]] += 20
    return np.clip(samples, -1.5, 1.6)


# ---------------------------------------------------------------------------------------------------------------------
# The linear filters


def joint_covariance(frequencies, samples, settings):
    """Covariance of all states at all times, (N, n, N, n), by the model's definition, and what is seen of them."""
    steps, kept, noises, start = [], [], [], []
    for frequency in frequencies:
        angle = 2 * np.pi * frequency / RATE
        steps.append([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        noises += 2 * [settings.renewal**2 * settings.amplitude**2 / 2 / PERIOD]
        start += 2 * [settings.amplitude**2 / 2]
    for std, seconds in settings.background:
        kept.append(1 / (1 + 1 / (seconds * PERIOD)))
        noises.append((1 - kept[-1] ** 2) * std**2)
        start.append(std**2)
    step = np.zeros((len(start), len(start)))
    for number, block in enumerate(steps):
        step[2 * number : 2 * number + 2, 2 * number : 2 * number + 2] = block
    for number, value in enumerate(kept):
        step[2 * len(steps) + number, 2 * len(steps) + number] = value
    joint = np.zeros((samples, len(start), samples, len(start)))
    current = np.diag(start)
    for now in range(samples):
        current = step @ current @ step.T + np.diag(noises)
        cross = current
        for later in range(now, samples):
            joint[later, :, now], joint[now, :, later] = cross, cross.T
            cross = step @ cross
    row = np.array([1.0, 0.0] * len(steps) + [1.0] * len(kept))
    return joint, row


def dense_posterior(values, frequencies, settings):
    """Mean of every tone (K, N) given the samples up to it, by conditioning the joint Gaussian distribution."""
    joint, row = joint_covariance(frequencies, len(values), settings)
    seen = np.einsum("aibj,i,j->ab", joint, row, row) + settings.noise_std**2 * np.eye(len(values))
    cross = np.einsum("aibj,j->aib", joint, row)
    found = np.empty((len(frequencies), len(values)))
    for now in range(len(values)):
        past = np.flatnonzero(~np.isnan(values[: now + 1]))
        weights = np.linalg.solve(seen[np.ix_(past, past)], values[past]) if len(past) else np.zeros(0)
        found[:, now] = cross[now][:, past][0 : 2 * len(frequencies) : 2] @ weights
    return found


@pytest.mark.parametrize(
    "changes",
    [{}, {"renewal": 0.3}, {"renewal": 0.1, "background": ((0.5, 0.3), (0.2, 3.0))}],
    ids=["constant", "renewed", "background"],
)
@pytest.mark.parametrize("gaps", [[], [0, 1, 20, 21, 22, 23, 60]], ids=["whole", "gaps"])
def test_linear_filters_give_the_dense_posterior_mean(changes, gaps):
    settings = replace(KNOWN, **changes)
    _, values = mixture(80)
    values[gaps] = np.nan
    found = Tracker(FREQUENCIES, RATE, settings).push(values)
    assert np.allclose(found.tones, dense_posterior(values, FREQUENCIES, settings), rtol=0, atol=1e-10)
    assert np.array_equal(np.isnan(found.innovations), np.isnan(values))


def test_innovations_are_as_large_as_their_variances_say():
    settings = replace(KNOWN, renewal=0.3)
    joint, row = joint_covariance(FREQUENCIES, 60, settings)
    seen = np.einsum("aibj,i,j->ab", joint, row, row) + settings.noise_std**2 * np.eye(60)
    found = Tracker(FREQUENCIES, RATE, settings).push(mixture(60)[1])
    expected = np.diag(np.linalg.cholesky(seen)) ** 2  # the variance of each sample given all before it
    assert np.allclose(found.variances, expected, rtol=1e-9)


@pytest.mark.parametrize("noise", [0.3, 1e-3])
def test_without_process_noise_it_is_the_kalman_filter_of_the_comparison(noise):
    """There the mixture is the mean of the tones, and amplitudes are those of the tones."""
    _, values = mixture(2000, noise=noise)
    expected = filters.kalman(values, RATE, FREQUENCIES, noise_std=noise, second_moment=(3 * 1.2) ** 2)
    found = Tracker(FREQUENCIES, RATE, replace(KNOWN, noise_std=noise)).push(values).tones
    assert np.allclose(3 * found, expected, rtol=0, atol=1e-9)


def test_whitening_gives_the_dense_posterior_of_tones_in_an_autoregressive_background():
    """Given the first three samples, which only serve to whiten the next: what is left of those is white."""
    settings, samples, order = replace(KNOWN, whitening=(0.9, -0.5, 0.2)), 80, 3
    _, values = mixture(samples)
    joint, row = joint_covariance(FREQUENCIES, samples, KNOWN)
    tones = np.einsum("aibj,j->aib", joint, row)[:, ::2]
    whiten = np.eye(samples)
    for lag, weight in enumerate(settings.whitening, 1):
        whiten -= weight * np.eye(samples, k=-lag)
    whiten = whiten[order:]
    seen = whiten @ np.einsum("aibj,i,j->ab", joint, row, row) @ whiten.T + 0.3**2 * np.eye(samples - order)
    expected = [
        tones[now] @ whiten[: now - 2].T @ np.linalg.solve(seen[: now - 2, : now - 2], (whiten @ values)[: now - 2])
        for now in range(order, samples)
    ]
    tracker = Tracker(FREQUENCIES, RATE, settings)
    tracker.set_state(tracker.state() | {"past": values[order - 1 :: -1][:order].copy(), "doubt": np.zeros(order)})
    found = tracker.push(values[order:]).tones
    assert np.allclose(found, np.stack(expected, axis=1), rtol=0, atol=1e-10)


def test_a_whitened_filter_goes_on_over_gaps_with_what_it_expected():
    """By hand, for a tone that is known exactly: what is missing of the background doubles the next sample's noise."""
    tracker = Tracker([5.0], RATE, Settings(1.0, 0.3, whitening=(1.0, -0.5)))
    nothing = {"covariance": np.zeros((2, 2)), "past": np.array([0.7, 0.2]), "doubt": np.zeros(2)}
    tracker.set_state(tracker.state() | nothing)
    found = tracker.push([np.nan, 0.1, 0.4, -0.3])
    first = 0.7 - 0.5 * 0.2
    second = first - 0.5 * 0.7
    assert np.allclose(found.innovations[1:], [0.1 - second, 0.4 - (0.1 - 0.5 * first), -0.3 - (0.4 - 0.5 * 0.1)])
    assert np.allclose(found.variances[1:], 0.09 * np.array([1 + 1.0**2, 1 + 0.5**2, 1]))


# ---------------------------------------------------------------------------------------------------------------------
# What is not linear


def test_the_step_of_the_extended_filter_is_the_derivative_of_its_motion():
    from tonesift.estimators.tracking import kernel

    made = plan(replace(KNOWN, drift=0.05, drift_time=0.7, renewal=0.1, wander=0.2), FREQUENCIES, RATE)
    state = np.array([0.5, 1.0, 0.04, -0.7, 0.1, -0.08, 0.3, 0.3, 0.02])
    root = np.random.default_rng(1).normal(size=(9, 9))

    def moved(values):
        turned = values.copy()
        for tone, frequency in enumerate(FREQUENCIES):
            first, second, offset = values[3 * tone : 3 * tone + 3]
            angle = 2 * np.pi * frequency / RATE * (1 + offset)
            turned[3 * tone] = math.cos(angle) * first + math.sin(angle) * second
            turned[3 * tone + 1] = math.cos(angle) * second - math.sin(angle) * first
            turned[3 * tone + 2] = offset / (1 + 1 / (0.7 * PERIOD))
        return turned

    slopes = np.stack([(moved(state + 1e-6 * unit) - moved(state - 1e-6 * unit)) / 2e-6 for unit in np.eye(9)], axis=1)
    expected_state = moved(state)
    power = expected_state[0::3] ** 2 + expected_state[1::3] ** 2
    phasor_noise = (0.1**2 * 1.2**2 / 2 + 0.2**2 * power) / PERIOD
    offset_noise = 0.05**2 * (1 - 1 / (1 + 1 / (0.7 * PERIOD)) ** 2)
    added = np.stack([phasor_noise, phasor_noise, np.full(3, offset_noise)], axis=1).reshape(-1)
    covariance = root @ root.T
    expected = slopes @ covariance @ slopes.T + np.diag(added)
    kernel.predict(state, covariance, made.tones, made.background, made.options, np.empty((3, 4)))
    assert np.allclose(state, expected_state, rtol=1e-5, atol=1e-12)
    assert np.allclose(covariance, expected, rtol=1e-5, atol=1e-7)
    assert np.array_equal(covariance, covariance.T)


def test_the_extended_filter_finds_how_far_a_frequency_is_off():
    times = np.arange(3000) / RATE
    values = 1.3 * np.sin(2 * np.pi * 5.1 * times + 1) + 0.01 * np.random.default_rng(0).normal(size=3000)
    tracker = Tracker([5.0], RATE, Settings(1.0, 0.01, drift=0.02, drift_time=1e4))
    tones = tracker.push(values).tones
    assert tracker.state()["state"][2] == pytest.approx(0.02, abs=5e-4)  # it is pulled towards 0 for ever
    assert np.abs(tones[0, 1000:] - values[1000:]).max() < 0.06
    plain = Tracker([5.0], RATE, Settings(1.0, 0.01)).push(values).tones
    assert np.abs(plain[0, 1000:] - values[1000:]).max() > 0.5


def test_a_frequency_stays_within_a_tenth():
    tracker = Tracker([5.0], RATE, Settings(1.0, 0.01, drift=0.5, renewal=0.1))
    tracker.push(np.sin(2 * np.pi * 8.0 * np.arange(2000) / RATE))
    assert abs(tracker.state()["state"][2]) <= 0.1


@pytest.mark.parametrize("value", [0.2, -9.0])
def test_student_noise_reweights_a_sample_twice(value):
    """With one tone at a quarter of the rate the first sample sees a state of variance 1/2, told by hand."""
    degrees, noise, prior = 3.0, 0.3**2, 0.5
    weight = 1.0
    for _ in range(2):
        gain = prior / (prior + noise / weight)
        left = value * (1 - gain)
        weight = (degrees + 1) / (degrees + (left**2 + prior * (1 - gain)) / noise)
    gain = prior / (prior + noise / weight)
    tracker = Tracker([RATE / 4], RATE, Settings(1.0, 0.3, degrees=degrees))
    assert tracker.push([value]).tones[0, 0] == pytest.approx(gain * value, rel=1e-12)
    assert tracker.state()["covariance"][0, 0] == pytest.approx(prior * (1 - gain), rel=1e-12)


@pytest.mark.parametrize(("lower", "upper", "value"), [(-0.4, 0.7, 0.7), (-0.4, 0.7, -0.4), (-9.0, -0.5, -0.5)])
@pytest.mark.parametrize("past", [[], [0.3, 0.5, 0.6]])
def test_a_clipped_sample_gives_the_moments_of_the_cut_distribution(lower, upper, value, past):
    """By numerical integration over what the sample would have been."""
    settings = Settings(1.0, 0.3, renewal=0.2, clip=(lower, upper))
    tracker, other = (Tracker([6.0], RATE, settings) for _ in range(2))
    tracker.push(past), other.push(past)
    other.push([np.nan])
    mean, covariance = other.state()["state"], other.state()["covariance"]
    total = covariance[0, 0] + 0.3**2
    gain = covariance[:, 0] / total
    low, high = (upper, np.inf) if value == upper else (-np.inf, lower)
    density = stats.norm(mean[0], math.sqrt(total)).pdf
    moments = [integrate.quad(lambda y, n=n: y**n * density(y), low, high, epsabs=1e-13)[0] for n in range(3)]
    centre = moments[1] / moments[0]
    spread = moments[2] / moments[0] - centre**2
    clipped = tracker.clipped
    tracker.push([value])
    found = tracker.state()
    assert np.allclose(found["state"], mean + gain * (centre - mean[0]), rtol=0, atol=2e-8)
    expected = covariance - np.outer(gain, gain) * (total - spread)
    assert np.allclose(found["covariance"], expected, rtol=0, atol=2e-7)
    assert tracker.clipped == clipped + 1


def test_the_table_of_cut_means_is_that_of_scipy():
    from tonesift.estimators.tracking import kernel

    points = np.linspace(-12, 40, 1001)
    expected = np.exp(stats.norm.logpdf(points) - stats.norm.logsf(points))
    found = np.array([kernel.hazard(point, hazard.table()) for point in points])
    assert np.allclose(found, expected, rtol=1e-7, atol=3e-9)


def test_turns_are_sines_and_cosines():
    from tonesift.estimators.tracking import kernel

    for turns in np.linspace(0, 0.5, 401):
        expected = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns)
        assert rotation.phasor(turns) == pytest.approx(expected, rel=0, abs=5e-16)
    for angle in np.linspace(-0.32, 0.32, 101):
        assert kernel.small_turn(angle) == pytest.approx((math.cos(angle), math.sin(angle)), rel=0, abs=3e-16)


def test_the_noise_level_is_learnt():
    values = mixture(5000, noise=0.9)[1]
    tracker = Tracker(FREQUENCIES, RATE, replace(KNOWN, noise_std=0.1, adapt=50.0))
    tracker.push(values)
    assert tracker.noise_std == pytest.approx(0.9, rel=0.05)


def test_the_noise_level_stays_within_bounds():
    tracker = Tracker(FREQUENCIES, RATE, replace(KNOWN, noise_std=0.1, adapt=0.1))
    tracker.push(np.zeros(2000))
    assert tracker.noise_std == pytest.approx(0.001)
    tracker.push(1e6 * np.random.default_rng(0).normal(size=2000))
    assert tracker.noise_std == pytest.approx(10.0)


def test_surprise_makes_the_past_fade():
    """By hand: a mean of 1.5 times the threshold adds half the fastest share of the prior, until that is reached."""
    settings = replace(KNOWN, fading=2.0)
    tracker = Tracker([5.0], RATE, settings)
    tracker.push(mixture(200, [5.0])[1])
    state, prior = tracker.state(), 1.2**2 / 2
    state["levels"][levels.SURPRISE] = 3.0
    plain, faded = Tracker([5.0], RATE, replace(settings, fading=math.inf)), Tracker([5.0], RATE, settings)
    for one in (plain, faded):
        one.set_state(state)
        one.push([np.nan])
    grown = faded.state()["covariance"] - plain.state()["covariance"]
    assert np.allclose(grown, 0.5 * 0.03 * prior * np.eye(2), rtol=1e-9, atol=1e-15)
    state["covariance"] = 1.1 * prior * np.eye(2)
    faded.set_state(state)
    faded.push([np.nan])
    assert np.allclose(faded.state()["covariance"], 1.1 * prior * np.eye(2))


def test_a_tone_that_is_not_heard_fades_with_the_memory():
    tracker = Tracker([5.0], RATE, replace(KNOWN, memory=3.0))
    before = tracker.push(mixture(200, [5.0])[1]).tones[0]
    after = tracker.push(np.full(120, np.nan)).tones[0]  # six periods of 20 samples
    assert after[-1] == pytest.approx(before[-1] * (1 + 1 / 60) ** -120, rel=1e-9)


# ---------------------------------------------------------------------------------------------------------------------
# Streams


@pytest.mark.parametrize("settings", [KNOWN, ALL], ids=["plain", "all"])
@pytest.mark.parametrize("size", [1, 7, 64])
def test_pieces_give_the_bits_of_the_whole(settings, size):
    values = spoilt(mixture()[1])
    whole = Tracker(FREQUENCIES, RATE, settings).push(values)
    tracker = Tracker(FREQUENCIES, RATE, settings)
    parts = [tracker.push(values[begin : begin + size]) for begin in range(0, len(values), size)]
    for number, name in enumerate(whole._fields):
        assert np.array_equal(
            np.concatenate([part[number] for part in parts], axis=-1), whole[number], equal_nan=True
        ), name


def test_a_state_goes_on_with_the_same_bits():
    values = spoilt(mixture()[1])
    whole = Tracker(FREQUENCIES, RATE, ALL).push(values).tones
    first, second = Tracker(FREQUENCIES, RATE, ALL), Tracker(FREQUENCIES, RATE, ALL)
    first.push(values[:123])
    kept = first.state()
    first.push(values[123:])  # what is kept must not change with it
    second.set_state(kept)
    assert np.array_equal(second.push(values[123:]).tones, whole[:, 123:])
    second.reset()
    assert np.array_equal(second.push(values).tones, whole)


@pytest.mark.parametrize(
    "change",
    [
        {"state": np.zeros(3)},
        {"levels": np.full(levels.LEVELS, np.nan)},
        {"past": np.zeros(3, "f4")},
        {"more": np.zeros(1)},
    ],
)
def test_another_state_is_refused_and_changes_nothing(change):
    tracker = Tracker(FREQUENCIES, RATE, ALL)
    tracker.push(mixture(50)[1])
    before = tracker.state()
    with pytest.raises(InputError, match="not one of a filter with these tones and settings"):
        tracker.set_state(before | change)
    assert set(before) == set(ARRAYS)
    assert all(np.array_equal(tracker.state()[name], value) for name, value in before.items())


@pytest.mark.parametrize("count", [1, 12])
def test_any_number_of_tones(count):
    frequencies = np.linspace(2, 45, count)
    tones, values = mixture(2000, frequencies, noise=0.1)
    found = Tracker(frequencies, RATE, Settings(1.3, 0.1)).push(values).tones
    assert np.abs(found - tones)[:, 1000:].max() < 0.05


def test_a_filter_that_has_lost_its_tones_begins_anew():
    """A tone that turns round, and a filter that knows no change: for long it would be worse than silence."""
    values = np.sin(2 * np.pi * 5 * np.arange(6000) / RATE)
    values[3000:] *= -1
    tracker = Tracker([5.0], RATE, Settings(1.0, 1e-3))
    tones = tracker.push(values).tones[0]
    assert tracker.restarts == 1
    assert np.abs(tones).max() < 2
    assert np.abs(tones - values)[4500:].max() < 1e-2


@pytest.mark.parametrize("spoil", [{"state": 1e80}, {"covariance": 1e200}, {"covariance": -1.0}])
def test_a_filter_that_has_diverged_begins_anew(spoil):
    tones, values = mixture(2000)
    tracker = Tracker(FREQUENCIES, RATE, replace(KNOWN, drift=0.01, renewal=0.02))
    tracker.push(values[:500])
    state = tracker.state()
    for name, value in spoil.items():
        state[name] = np.full_like(state[name], value)
    tracker.set_state(state)
    found = tracker.push(values[500:]).tones
    assert tracker.restarts == 1
    assert np.isfinite(found).all()
    assert np.mean((found - tones[:, 500:])[:, 500:] ** 2) < 0.05


def test_silence_stays_silent():
    assert not Tracker(FREQUENCIES, RATE, replace(ALL, clip=(-math.inf, math.inf))).push(np.zeros(500)).tones.any()


# ---------------------------------------------------------------------------------------------------------------------
# What is refused, and what is paid


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("amplitude", 0.0),
        ("amplitude", math.inf),
        ("noise_std", -1.0),
        ("wander", math.nan),
        ("drift", -0.1),
        ("degrees", 0.0),
        ("adapt", -1.0),
        ("fading", math.nan),
        ("background", ((0.1, 0.0),)),
        ("clip", (1.0, -1.0)),
    ],
)
def test_settings_that_cannot_be_are_refused(name, value):
    with pytest.raises(InputError, match=f"{name}: got"):
        replace(KNOWN, **{name: value})


def test_samples_are_one_row():
    with pytest.raises(InputError, match=r"shape \(2, 5\), but a stream is one-dimensional"):
        Tracker(FREQUENCIES, RATE, KNOWN).push(np.zeros((2, 5)))


def python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        text=True,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_nobody_pays_for_numba_who_does_not_filter():
    code = "import sys, tonesift.estimators.tracking.tracker, tonesift.__main__; print('numba' in sys.modules)"
    assert python(code).stdout == "False\n"


DIGEST = """
import hashlib, sys
sys.path[:0] = ["tests", "tests/tonesift/estimators"]
from test_tracking import ALL, FREQUENCIES, KNOWN, RATE, Tracker, mixture, spoilt
from tonesift.estimators.tracking.bank import Candidate, new_bank
found = Tracker(FREQUENCIES, RATE, ALL).push(spoilt(mixture()[1]))
several = new_bank([Candidate("one", ALL), Candidate("another", KNOWN)], FREQUENCIES, RATE)
found = (*found, several.push(spoilt(mixture()[1])), several.weights)
print(hashlib.md5(b"".join(part.tobytes() for part in found)).hexdigest())
"""


@pytest.mark.whole
def test_it_is_compiled_once_and_gives_the_same_bits_for_every_processor(tmp_path):
    own = python(DIGEST, NUMBA_CACHE_DIR=str(tmp_path / "own"))
    assert own.stderr.startswith("compiling the filters, once: ")
    again = python(DIGEST, NUMBA_CACHE_DIR=str(tmp_path / "own"))
    assert again.stderr == ""
    plain = python(DIGEST, NUMBA_CACHE_DIR=str(tmp_path / "plain"), NUMBA_CPU_NAME="x86-64", NUMBA_CPU_FEATURES="")
    assert own.stdout == again.stdout == plain.stdout
    assert compiled.kernel() is compiled.kernel()


FRONT = """
import numpy as np
from tonesift.estimators.tracking.front import Front
Front([3.0, 7.0], 100.0, 10).push(np.ones(20))
"""


@pytest.mark.whole
def test_that_filters_are_compiled_for_a_network_is_said_once(tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}
    first, again = python(FRONT, **cache), python(FRONT, **cache)
    assert re.fullmatch(r"compiling the filters, once: \d+ s\n", first.stderr)
    assert again.stderr == ""
