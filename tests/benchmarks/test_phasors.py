"""The tests of a phasor measurement unit: what is measured of a known filter is what its response says."""

import csv
from pathlib import Path

import numpy as np
import pytest

from benchmarks import phasors
from benchmarks.phasors import F0, RATE

DOCS = Path(__file__).parents[2] / "docs"
WINDOW = np.hanning(43)[1:-1]
WINDOW = WINDOW / WINDOW.sum()


def response(frequency):
    """Of the symmetric window, at a frequency in Hz."""
    places = np.arange(len(WINDOW)) - len(WINDOW) // 2
    return float(np.sum(WINDOW * np.cos(2 * np.pi * frequency * places / RATE)))


@pytest.mark.parametrize("offset", [-2.0, -0.5, 0.0, 1.5])
def test_the_error_of_a_known_filter_is_the_analytic_one(offset):
    t, phase = phasors.times(), 0.3
    true = phasors.truth(t, 1.2, np.full_like(t, offset), 2 * np.pi * offset * t + phase)
    found = phasors.fir(true.samples, WINDOW)
    measured = phasors.total_vector_error(found.phasor, true.phasor)
    # The tone is moved to its offset, and its mirror image to minus 100 Hz less the offset.
    mirror = np.exp(-2j * (phase + 2 * np.pi * (F0 + offset) * t)) * response(-2 * F0 - offset)
    analytic = np.abs(response(offset) - 1 + mirror)
    inside = np.isfinite(measured)
    assert inside.sum() == len(t) - len(WINDOW) + 1
    np.testing.assert_allclose(measured[inside], analytic[inside], rtol=0, atol=1e-9)


def test_what_is_true_of_a_signal_fits_together():
    """Frequency is the phase's derivative, and its rate of change the frequency's."""
    for make, _ in phasors.GROUPS.values():
        for true in make():
            if make is phasors.steps:
                continue
            turned = np.unwrap(np.angle(true.phasor)) / (2 * np.pi)
            slope = np.gradient(turned, 1 / RATE)
            corner = slice(round(1.01 * RATE), -5)
            np.testing.assert_allclose(F0 + slope[corner], true.frequency[corner], atol=2e-4)
            np.testing.assert_allclose(np.gradient(true.frequency, 1 / RATE)[corner], true.rate[corner], atol=2e-3)


def test_a_perfect_answer_passes_and_a_late_one_is_told():
    true = next(phasors.steps())
    exact = phasors.Estimate(true.phasor, true.frequency, true.rate)
    assert phasors.stepped(exact, true) == pytest.approx((0.0, 0.0, 0.0003), abs=1e-6)
    late = exact._replace(phasor=np.roll(true.phasor, 30))
    late.phasor[:30] = true.phasor[0]
    assert phasors.stepped(late, true) == pytest.approx((0.029, 0.0, 0.0303), abs=1e-6)
    still = next(phasors.magnitudes())
    wrong = phasors.Estimate(1.02 * still.phasor, still.frequency + 0.01, still.rate)
    assert phasors.worst(wrong, still) == pytest.approx((2.0, 0.01, 0.0))


def test_taylor_fourier_is_exact_for_a_tone_off_its_nominal_frequency():
    true = next(iter(phasors.frequencies()))
    first, second, third = phasors.worst(phasors.taylor_fourier(true.samples), true)
    assert (first < 1e-6, second < 1e-6, third < 1e-4) == (True, True, True)


def test_the_table_in_the_documents_is_the_committed_file():
    page = (DOCS / "yardsticks.md").read_text(encoding="utf-8")
    with (DOCS / "phasors.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["group"] for row in rows} == set(phasors.GROUPS)
    for row in rows:
        first = float(row["first"])
        shown = f"{1000 * first:.0f} ms" if row["group"] == "step" else f"{first:.2f} %"
        assert (f"| **{shown}** |" if row["passes"] == "True" else f"| {shown} |") in page, row
