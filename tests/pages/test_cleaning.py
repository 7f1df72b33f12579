"""docs/cleaning.md: its commands clean its recordings, and leave what it says."""

import re

import numpy as np
import pytest
from conftest import ROOT

from pages import cleaning

PAGE = ROOT / "docs" / "cleaning.md"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The recordings, cleaned by the page's commands."""
    return cleaning.cases(PAGE, tmp_path_factory.mktemp("recordings"))


def test_the_figures_of_the_page_are_those_of_its_commands(page):
    text = PAGE.read_text(encoding="utf-8")
    assert len(cleaning.commands(PAGE)) == len(page) == 3
    for case in page:
        assert case.line() in text, "run `make pictures`, and write into the page what it prints"


def test_what_is_left_is_what_there_was_without_the_tones(page):
    """Beside the recording's own level of tones, which is known where they were added."""
    for case in page:
        later = slice(len(case.truth) // 5, None)
        wrong = np.std((case.cleaned - case.truth)[later])
        assert wrong < 0.15 * np.std((case.recording - case.truth)[later])
        assert case.error(case.cleaned) == pytest.approx(wrong, rel=0.02)


def test_a_notch_takes_out_a_steady_tone():
    time = np.arange(20_000) / 1000
    tone, rest = np.sin(2 * np.pi * 50 * time), np.sin(2 * np.pi * 7 * time)
    case = cleaning.Case("x", "", "seconds", 1000.0, [50.0], tone + rest, rest, rest, slice(None))
    assert case.error(case.notched) < 0.02
    assert case.error(case.recording) == pytest.approx(np.sqrt(0.5), rel=1e-3)


def test_the_mains_recording_holds_the_hum_that_it_is_said_to():
    found = cleaning.hum(60_000, 1000.0, 0.2, np.random.default_rng(1))
    spectrum = np.abs(np.fft.rfft(found * np.hanning(len(found)))) ** 2
    bands = [spectrum[(order * 50 - 2) * 60 : (order * 50 + 2) * 60].sum() for order in (1, 2, 3)]
    assert sum(bands) > 0.95 * spectrum.sum()
    assert np.sqrt(bands[1] / bands[0]) == pytest.approx(0.15, rel=0.2)
    assert np.sqrt(bands[2] / bands[0]) == pytest.approx(0.25, rel=0.2)


def test_the_pictures_are_small_and_the_page_shows_them():
    shown = re.findall(r"\((cleaning-.*?\.png)\)", PAGE.read_text(encoding="utf-8"))
    assert len(shown) == 3
    for name in shown:
        assert (ROOT / "docs" / name).stat().st_size < 100_000
