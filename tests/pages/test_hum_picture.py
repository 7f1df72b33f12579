"""The picture of docs/hum.md: its command cleans its recording, and the figures in it are what they say."""

import json

import numpy as np
import pytest
from conftest import ROOT

from pages import cleaning
from pages import hum as picture

PAGE = ROOT / "docs" / "hum.md"


def test_figures_are_root_mean_squares_behind_the_first_second_and_at_the_beats():
    with np.load(ROOT / cleaning.ECG) as file:
        ecg = (file["ecg"][: 20 * 360].astype("f8") - 1024) / 200
    time = np.arange(len(ecg)) / picture.RATE
    found = picture.figures(ecg, {"tone": 0.05 * np.sin(2 * np.pi * 50 * time), "begin": np.where(time < 1, 9.0, 0.0)})
    assert found["tone"][0] == pytest.approx(50 / np.sqrt(2), rel=0.01)
    assert found["tone"][1] == pytest.approx(50 / np.sqrt(2), rel=0.05)
    assert found["begin"] == pytest.approx((0.0, 0.0), abs=1e-9)


def test_the_page_shows_its_picture_and_its_figures_are_those_of_its_command(tmp_path):
    if not (ROOT / picture.MODEL).is_file():
        pytest.skip("the model is in DVC's cache: dvc repro hum/dvc.yaml")
    ecg, beside = picture.residuals(PAGE, tmp_path / "made")
    text = PAGE.read_text(encoding="utf-8")
    for name, (whole, at_qrs) in picture.figures(ecg, beside).items():
        assert f"{whole:.1f} µV, at QRS complexes {at_qrs:.1f} µV" in text, name
    assert "](hum.png)" in text
    assert (ROOT / "docs" / "hum.png").stat().st_size < 150_000


def test_the_table_of_the_page_is_that_of_the_committed_figures():
    found = json.loads((ROOT / "hum" / "metrics" / "judge.json").read_text(encoding="utf-8"))["ecg"]
    text = PAGE.read_text(encoding="utf-8")
    for label, name, prefix in (
        ("Q 10", "notch", "notch_"),
        ("Q 30", "narrow_notch", "narrow_notch_"),
        ("auto", "auto", "auto_"),
        ("network", "streamed", ""),
    ):
        figures = [found[f"{prefix}{what}_uv"] for what in ("median", "qrs", "between", "distortion")]
        cells = [*(f"{value:.1f}" for value in figures), f"{found[f'{name}_hum_r2']:.4f}"]
        (row,) = [line for line in text.splitlines() if line.startswith("| ") and label in line.split("|")[1]]
        assert [cell.strip(" *") for cell in row.strip("|").split("|")][1:] == cells, label
