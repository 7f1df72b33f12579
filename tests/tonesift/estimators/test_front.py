"""Frames: each number beside what it is by its formula, from a tracker's own samples and innovations."""

import numpy as np
import pytest

from tonesift.errors import InputError
from tonesift.estimators.tracking.front import (
    BACKGROUND_STD,
    IN_BACKGROUND,
    INNOVATION_STD,
    KINDS,
    NOISE_STD,
    SLOW,
    Front,
)
from tonesift.estimators.tracking.settings import Settings
from tonesift.estimators.tracking.tracker import Tracker
from tonesift.frame import DIRECTION, FEATURES, FILTERS, FRAME, OWN, PHASOR, SAMPLES, wide

RATE, TONES, HOP = 1000.0, (3.0, 20.0, 47.0), 10


def recording(samples=1500, seed=1):
    """Three tones of about unit amplitude in noise, a gap in them."""
    generator, times = np.random.default_rng(seed), np.arange(samples) / RATE
    tones = [np.sin(2 * np.pi * tone * times + phase) for tone, phase in zip(TONES, (0.3, 1.1, 2.0), strict=True)]
    mixture = np.sum(tones, axis=0) + 0.3 * generator.standard_normal(samples)
    mixture[600:645] = np.nan
    return mixture


def trackers(samples, **more):
    """Each filter at the end of every step: phasors (4, S, K), and innovations and variances (4, N)."""
    phasors, innovations, variances = [], [], []
    for kind in KINDS:
        tracker = Tracker(TONES, RATE, Settings(amplitude=1.0, noise_std=NOISE_STD, **kind, **more))
        own = []
        for step in samples.reshape(-1, HOP):
            found = tracker.push(step)
            sine, cosine = tracker.state()["state"].reshape(len(TONES), 2).T
            own.append((cosine + 1j * sine, found.innovations, found.variances))
        for into, column in zip((phasors, innovations, variances), zip(*own, strict=True), strict=True):
            into.append(np.array(column))
    return np.array(phasors), np.array(innovations).reshape(FILTERS, -1), np.array(variances).reshape(FILTERS, -1)


def bounded(value):
    return value / np.sqrt(1 + value**2 / 9)


def test_phasors_are_those_of_the_filters():
    samples = recording()
    frames, (phasors, _, _) = Front(TONES, RATE, HOP).push(samples), trackers(samples)
    assert frames.shape == (150, 3, FRAME)
    assert frames.dtype == np.float32
    given = frames[..., PHASOR::2] + 1j * frames[..., PHASOR + 1 :: 2]
    np.testing.assert_allclose(given[..., 0], phasors[0], atol=1e-6)
    np.testing.assert_allclose(given[..., 1:], np.moveaxis(phasors[1:] - phasors[0], 0, -1), atol=1e-5)
    np.testing.assert_allclose(frames[..., 0], np.tile(2 * np.pi * np.array(TONES) / RATE, (150, 1)), rtol=1e-6)


@pytest.mark.parametrize("number", range(FILTERS))
def test_what_the_errors_say_is_their_projection_on_a_tones_own_direction(number):
    samples = recording()
    phasors, innovations, variances = trackers(samples)
    own = Front(TONES, RATE, HOP).push(samples)[..., 1 + number * OWN : 1 + (number + 1) * OWN]
    back = np.arange(HOP - 1, -1, -1)
    for tone, frequency in enumerate(TONES):
        turned = np.exp(2j * np.pi * frequency / RATE * back)
        size = np.abs(phasors[number, :, tone])
        direction = phasors[number, :, tone] / np.where(size > 0, size, 1)
        errors = np.nan_to_num(innovations[number])
        normal = np.nan_to_num(bounded(innovations[number] / np.sqrt(variances[number])))
        plain, beside = (
            1j * direction.conj() * (each.reshape(-1, HOP) * turned).sum(axis=1) for each in (errors, normal)
        )
        root = np.sqrt(2 / HOP)
        np.testing.assert_allclose(own[:, tone, 0], bounded(beside.real * root), atol=1e-5)
        np.testing.assert_allclose(own[:, tone, 1], bounded(beside.imag * root), atol=1e-5)
        np.testing.assert_allclose(own[:, tone, 2], bounded(plain.real * 2 / HOP / (size + 0.1)), atol=1e-5)
        np.testing.assert_allclose(own[:, tone, 3], bounded(plain.imag * 2 / HOP / (size + 0.1)), atol=1e-5)
        # straight between powers of two: never further than 0.09 from the logarithm
        np.testing.assert_allclose(4 * own[:, tone, 4], np.log2(0.05 + np.abs(beside * root) ** 2), atol=0.09)
        np.testing.assert_allclose(4 * own[:, tone, 7], np.log2(1e-4 + size**2), atol=0.09)


def test_shares_of_what_is_missing_and_clipped_are_told():
    samples = np.clip(recording(), -1.5, 1.5)
    common = Front(TONES, RATE, HOP, (-1.5, 1.5)).push(samples)[:, 0, PHASOR - 6 : PHASOR - 4]
    steps = samples.reshape(-1, HOP)
    np.testing.assert_allclose(common[:, 0], np.isnan(steps).mean(axis=1), atol=1e-7)
    np.testing.assert_allclose(common[:, 1], (np.abs(steps) == 1.5).mean(axis=1), atol=1e-7)
    assert common.max(axis=0).min() > 0.1


def test_pieces_are_the_whole_and_reset_is_a_beginning():
    samples, front = recording(), Front(TONES, RATE, HOP)
    whole = front.push(samples)
    for _ in range(2):
        front.reset()
        pieces = [front.push(piece) for piece in np.split(samples, [10, 30, 610, 1490])]
        assert np.array_equal(np.concatenate(pieces), whole)


def test_tones_in_another_order_have_their_frames_in_that_order():
    samples, order = recording(), [2, 0, 1]
    frames = Front(TONES, RATE, HOP).push(samples)
    turned = Front([TONES[tone] for tone in order], RATE, HOP).push(samples)
    np.testing.assert_allclose(turned, frames[:, order], atol=1e-4)


def test_features_do_not_tell_the_phase():
    """Half a period of every tone later all is the other way round: the same features."""
    samples = recording()
    there, back = (Front(TONES, RATE, HOP).push(sign * samples) for sign in (1, -1))
    np.testing.assert_allclose(back[..., 1:PHASOR], there[..., 1:PHASOR], atol=1e-5)
    np.testing.assert_allclose(back[..., PHASOR:], -there[..., PHASOR:], atol=1e-5)
    assert FEATURES == PHASOR - 1


def test_a_filter_that_diverges_stays_near_the_first_one():
    samples = recording()
    samples[700:720] = 1e8
    frames = Front(TONES, RATE, HOP).push(samples)
    assert np.isfinite(frames).all()
    assert np.abs(frames[..., 1:PHASOR]).max() < 12
    size = np.hypot(frames[..., PHASOR], frames[..., PHASOR + 1])
    far = np.hypot(frames[..., PHASOR + 2 :: 2], frames[..., PHASOR + 3 :: 2])
    assert (far <= 2.001 * (1 + size[..., None])).all()
    assert (far > 1.99 * (1 + size[..., None])).any()


def test_a_step_that_is_not_whole_is_refused():
    with pytest.raises(InputError, match=r"samples: got shape \(15,\), but they are a whole number of steps of 10"):
        Front(TONES, RATE, HOP).push(np.zeros(15))


WHITENING = (1.2, -0.5, 0.1)


def test_in_a_background_filters_are_told_of_it_and_wide_frames_say_what_frequencies_they_follow():
    """Beside trackers of the same settings: offsets, the turn of the first one, directions and samples."""
    samples = recording()
    frames = Front(TONES, RATE, HOP, whitening=WHITENING, widely=True).push(samples)
    assert frames.shape == (150, 3, wide(HOP))
    settings = [
        *(Settings(1.0, INNOVATION_STD, whitening=WHITENING, **kind) for kind in IN_BACKGROUND[:-1]),
        Settings(1.0, BACKGROUND_STD, background=SLOW, **IN_BACKGROUND[-1]),
    ]
    for number, one in enumerate(settings):
        tracker, offsets, phasors = Tracker(TONES, RATE, one), [], []
        for step in samples.reshape(-1, HOP):
            tracker.push(step)
            sine, cosine, offset = tracker.state()["state"][: 3 * len(TONES)].reshape(-1, 3).T
            offsets.append(offset)
            phasors.append(cosine + 1j * sine)
        offsets, phasors = np.array(offsets), np.array(phasors)
        np.testing.assert_allclose(frames[..., FRAME + number], bounded(100 * offsets), atol=1e-5)
        if number == 0:
            nominal = 2 * np.pi * np.array(TONES) / RATE
            np.testing.assert_allclose(frames[..., 0], nominal * (1 + offsets), rtol=1e-5)
            towards = frames[..., DIRECTION] + 1j * frames[..., DIRECTION + 1]
            np.testing.assert_allclose(towards, phasors / (np.abs(phasors) + 0.1), atol=1e-5)
    given, known = frames[:, 1, SAMPLES:].ravel(), np.nan_to_num(samples)
    np.testing.assert_allclose(given, 0.5 * np.sign(known) * np.log2(1 + 2 * np.abs(known)), atol=0.05)
    assert np.array_equal(frames[:, 0, SAMPLES:], frames[:, 2, SAMPLES:])


def test_wide_frames_in_pieces_are_the_whole_to_the_bit():
    samples, kind = recording(), {"whitening": WHITENING, "widely": True}
    front = Front(TONES, RATE, HOP, **kind)
    pieces = [front.push(piece) for piece in np.split(samples, [10, 500, 740])]
    assert np.array_equal(np.concatenate(pieces), Front(TONES, RATE, HOP, **kind).push(samples))
