"""Hum in a background: by formula, in whose stretches, and the same bits whatever else is made."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from tonesift import params
from tonesift.conditions import mains
from tonesift.errors import InputError

ECG = "benchmarks/ecg-208.npz"
RATE = 360.0


@pytest.fixture(scope="module")
def data():
    (found,) = params.load(ROOT / "hum" / "params.yaml", "data")
    return found.model_copy(update={"duration": 8.0, "train_recordings": 60, "test_recordings": 30})


@pytest.fixture(scope="module", params=[False, True], ids=["train", "test"])
def made(request, data):
    """Facts, mixtures (R, N) and tones (R, K, N) of a set, and whether it is to test on."""
    facts, pairs = mains.draw_set(data, request.param, ECG)
    mixtures, tones = (np.stack(each) for each in zip(*pairs, strict=True))
    return facts, mixtures, tones, request.param


def millivolts():
    with np.load(ROOT / ECG) as file:
        return (file["ecg"].astype("f8") - 1024) / 200


def test_what_is_not_hum_is_the_ecg_as_it_is_or_played_otherwise(made):
    facts, mixtures, tones, testing = made
    ecg, border = millivolts(), 200 * 360
    for index in range(4):
        start, gain = (round(float(facts.drawn[f"background_{name}"][index]), 9) for name in ("start", "gain"))
        rest = mixtures[index] - tones[index].mean(axis=0)
        if testing:
            assert start >= border
            np.testing.assert_allclose(rest, ecg[int(start) : int(start) + len(rest)], atol=1e-12)
        else:
            stretch = next(
                (speed for speed in np.linspace(*mains.SPEED, 3501) if _fits(rest, ecg, int(start), gain, speed)), None
            )
            assert stretch is not None
            assert start + len(rest) * stretch < border


def _fits(rest, ecg, start, gain, speed):
    """Whether a stretch is the ECG at this speed, as linear interpolation has it."""
    at = start + 1 + speed * np.arange(len(rest))
    return np.corrcoef(np.interp(at, np.arange(len(ecg)), ecg), rest / gain)[0, 1] > 0.999


def test_the_cubic_goes_through_the_samples_and_is_exact_for_a_parabola():
    sound = np.arange(100.0) ** 2
    stretch = mains.Stretch(10, 0.9, -2.0)
    expected = -2.0 * (11 + 0.9 * np.arange(50)) ** 2
    np.testing.assert_allclose(mains.played(sound, stretch, 50), expected)


def test_tones_are_as_the_formula_has_them(made):
    """Of the angle by the Hilbert transform: common to the tones, 0.3 % and 0.2 % off; amplitudes swing by 10 %."""
    from scipy import signal

    facts, _, tones, testing = made
    there = facts.amplitudes[:, 0] > 0
    assert there.all() if testing else 0.75 < there.mean() < 1
    assert not tones[~there].any()
    facts, tones = replace(facts, amplitudes=facts.amplitudes[there]), tones[there]
    angle = np.unwrap(np.angle(signal.hilbert(tones, axis=-1)), axis=-1)[..., 360:-360]
    offsets = np.diff(angle[..., ::90], axis=-1) / (2 * np.pi * 90 / RATE) / np.array([50.0, 100.0, 150.0])[:, None] - 1
    np.testing.assert_allclose(offsets[:, 0], offsets[:, 2], atol=4e-3)
    assert np.corrcoef(offsets[:, 0].ravel(), offsets[:, 1].ravel())[0, 1] > 0.97
    assert np.std(offsets[:, 0]) == pytest.approx(np.hypot(0.003, 0.002), rel=0.35)
    size = np.abs(signal.hilbert(tones, axis=-1))[..., 360:-360] / facts.amplitudes[..., None]
    assert size.mean() == pytest.approx(1.0, abs=0.03)
    assert size.std() == pytest.approx(0.1, rel=0.2)
    np.testing.assert_allclose(facts.amplitudes / facts.amplitudes[:, :1], [[1.0, 0.15, 0.25]] * len(tones))
    assert facts.amplitudes[:, 0].min() > 0.09
    assert facts.amplitudes[:, 0].max() < 1.5
    power = np.mean(facts.amplitudes**2)
    assert facts.second_moment == pytest.approx(power, rel=0.5)


def test_a_recording_depends_on_its_seed_and_number_alone(data, made):
    _, mixtures, tones, testing = made
    _, pairs = mains.draw_set(data, testing, ECG)
    for (mixture, clean), other, same in zip(pairs, mixtures[:3], tones[:3], strict=False):
        assert np.array_equal(mixture, other)
        assert np.array_equal(clean, same)


def test_another_seed_is_another_set(data):
    changed = data.model_copy(update={"test_seed": 77})
    one, other = (next(mains.draw_set(each, True, ECG)[1])[0] for each in (data, changed))
    assert not np.allclose(one, other)


def test_a_background_of_another_kind_is_read_and_what_cannot_serve_refused(data, tmp_path):
    np.save(tmp_path / "own.npy", np.sin(np.arange(72_000) / 50.0) + 0.01 * np.arange(72_000) % 1)
    assert mains.draw_set(data, True, str(tmp_path / "own.npy"))[0].source.startswith("own.npy ")
    np.savez(tmp_path / "other.npz", pressure=np.zeros(5))
    with pytest.raises(InputError, match=r"other\.npz: no archive of NumPy's with an array 'ecg'"):
        mains.draw_set(data, True, str(tmp_path / "other.npz"))
    np.savez(tmp_path / "short.npz", ecg=np.arange(900))
    with pytest.raises(InputError, match=r"short\.npz: 600 samples to train on .*, but a recording takes up to 3460:"):
        mains.draw_set(data, False, str(tmp_path / "short.npz"))
    np.savez(tmp_path / "fits.npz", ecg=np.arange(3 * 2880) % 7)  # a third to test on, as it is
    assert len(list(mains.draw_set(data, True, str(tmp_path / "fits.npz"))[1])) == 30
    np.savez(tmp_path / "fits.npz", ecg=np.arange(3 * 2880 - 3) % 7)
    with pytest.raises(InputError, match=r"2879 samples to test on .*, but a recording takes 2880: take a longer"):
        mains.draw_set(data, True, str(tmp_path / "fits.npz"))


PROGRAM = """
import hashlib
from tonesift import params
from tonesift.conditions import mains
(data,) = params.load("hum/params.yaml", "data")
data = data.model_copy(update={"duration": 8.0, "train_recordings": 3})
found = hashlib.md5()
for pair in mains.draw_set(data, False, "benchmarks/ecg-208.npz")[1]:
    for part in pair:
        found.update(part.tobytes())
print(found.hexdigest())
"""


def test_the_same_bits_with_and_without_vector_instructions():
    from numpy._core._multiarray_umath import __cpu_dispatch__

    seen = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PROGRAM],
            cwd=ROOT,
            env=os.environ | {"NPY_DISABLE_CPU_FEATURES": features},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for features in ("", " ".join(__cpu_dispatch__))
    }
    assert len(seen) == 1
