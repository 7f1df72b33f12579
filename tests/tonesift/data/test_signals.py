import math
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from tonesift.data import signals


@pytest.mark.parametrize("samples", [1, 2, 3, 999, 1000, 10_000])
@pytest.mark.parametrize(("frequency", "phase", "amplitude"), [(1.0, 0.0, 1.0), (2.5, 45.0, 0.5), (99.7, 351.0, 2.0)])
def test_sinusoid_equals_the_sine_itself(samples, frequency, phase, amplitude):
    time = np.arange(samples) / 1000.0
    expected = amplitude * np.sin(2 * np.pi * frequency * time + np.deg2rad(phase))
    assert np.abs(signals.sinusoid(frequency, 1000.0, samples, phase, amplitude) - expected).max() < 1e-11


def test_sinusoid_stays_exact_over_an_hour():
    samples = 3600 * 1000
    wave = signals.sinusoid(7.0, 1000.0, samples, 30.0)
    assert np.abs(wave[-1000:] - wave[:1000]).max() < 1e-11  # an hour is a whole number of periods


def test_mix_is_the_mean_of_the_tones_plus_noise_of_the_given_spread():
    tones = np.stack([signals.sinusoid(f, 1000.0, 200_000, 0.0) for f in (1.0, 3.0)])
    noise = signals.mix(tones, 0.1, signals.random_generator(1, "noise", 0)) - tones.mean(axis=0)
    assert stats.kstest(noise / 0.1, "norm").pvalue > 0.01
    assert abs(stats.pearsonr(noise[1:], noise[:-1]).statistic) < 0.01


def test_mix_without_noise_is_the_mean():
    tones = np.array([[1.0, 2.0], [3.0, 6.0]])
    assert signals.mix(tones, 0.0, signals.random_generator(1, "noise", 0)).tolist() == [2.0, 4.0]


def test_streams_are_apart_and_repeatable():
    draws = {
        (seed, purpose, recording): signals.random_generator(seed, purpose, recording).standard_normal()
        for seed in (1, 2)
        for purpose in signals.PURPOSES
        for recording in (0, 1)
    }
    assert len(set(draws.values())) == len(draws)
    assert signals.random_generator(1, "noise", 1).standard_normal() == draws[1, "noise", 1]


def test_draws_fill_their_ranges():
    phases = signals.draw_phases(signals.random_generator(1, "phases", 0), 20_000)
    amplitudes = signals.draw_amplitudes(signals.random_generator(1, "amplitudes", 0), 20_000, 0.5, 2.0)
    assert stats.kstest(phases, stats.uniform(0, 360).cdf).pvalue > 0.01
    assert stats.kstest(amplitudes, stats.uniform(0.5, 1.5).cdf).pvalue > 0.01


def test_snr_of_the_baseline_is_its_closed_form():
    # four tones of amplitude 1: power 4 x 1/2 over 4^2 is 0.125
    assert signals.snr_db(np.ones((1, 4)), 0.1) == pytest.approx(10 * math.log10(0.125 / 0.01))


def test_snr_agrees_with_measured_powers():
    amplitudes = np.array([[0.5, 2.0], [1.0, 1.5]])
    tones = [
        [signals.sinusoid(f, 100.0, 1000, 0.0, a) for f, a in zip((2.0, 5.0), row, strict=True)] for row in amplitudes
    ]
    power = np.mean(np.mean(tones, axis=1) ** 2)
    assert signals.snr_db(amplitudes, 0.2) == pytest.approx(10 * math.log10(power / 0.04))


@pytest.mark.parametrize(("noise", "expected"), [(0.0, math.inf), (1.0, -math.inf)])
def test_snr_at_the_ends(noise, expected):
    assert signals.snr_db(np.zeros((1, 2)) if noise else np.ones((1, 2)), noise) == expected


def test_warnings_name_harmonics_and_neighbours():
    assert signals.warnings([1.0, 3.0, 5.0, 7.0]) == ["3, 5, 7 Hz: harmonics of 1 Hz"]
    assert signals.warnings([10.0, 11.5]) == ["10 Hz and 11.5 Hz are closer than 2 Hz: they take long to tell apart"]
    assert signals.warnings([3.0, 7.0]) == []


PROGRAM = """
import hashlib, sys
import numpy as np
from numpy._core._multiarray_umath import __cpu_features__
from tonesift.data import signals
digest = hashlib.sha256()
for recording in range(20):
    tones = np.stack([signals.sinusoid(f, 1000.0, 20_000, p) for f, p in ((1.0, 0.0), (3.3, 45.0), (97.1, 300.0))])
    digest.update(signals.mix(tones, 0.1, signals.random_generator(1, "noise", recording)).astype("f4").tobytes())
print(digest.hexdigest(), __cpu_features__["X86_V4"] or __cpu_features__["AVX512_ICL"])
"""


def test_the_same_bits_with_and_without_avx512():
    from numpy._core._multiarray_umath import __cpu_dispatch__

    names = [name for name in ("X86_V4", "AVX512_ICL", "AVX512_SPR") if name in __cpu_dispatch__]
    with_it, without_it = (
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | {"NPY_DISABLE_CPU_FEATURES": features},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for features in ("", " ".join(names))
    )
    if with_it[1] == "False":
        pytest.skip("this processor has no AVX-512 to switch off")
    assert without_it[1] == "False"
    assert with_it[0] == without_it[0]
