"""The pictures of the course's assignment, and the page's figures beside the study that they come from."""

import csv
import re

import numpy as np
import pytest
from conftest import ROOT

from pages import course


def run(rate=100.0, seconds=2.0):
    time = np.arange(round(rate * seconds)) / rate
    tones = np.sin(2 * np.pi * np.outer([1.0, 3.0], time))
    return course.Run("a run", rate, (1.0, 3.0), tones.mean(axis=0), tones, 0.9 * tones)


def test_graph_1_has_the_target_as_a_line_and_the_output_as_dots_over_the_mixture():
    shown = run()
    for ax in course.one_tone([shown, shown]).axes:
        mixture, target, output = ax.lines
        np.testing.assert_array_equal(mixture.get_ydata(), shown.mixture)
        np.testing.assert_array_equal(target.get_ydata(), shown.tones[1])
        np.testing.assert_array_equal(output.get_ydata(), 0.9 * shown.tones[1, ::5])
        np.testing.assert_array_equal(output.get_xdata(), np.arange(0, 200, 5) / 100)
        assert (target.get_marker(), output.get_marker(), output.get_linestyle()) == ("None", ".", "None")


def test_graph_2_has_a_panel_for_each_tone():
    axes = course.all_tones(run()).axes
    assert [ax.get_ylabel() for ax in axes] == ["1 Hz", "3 Hz"]
    np.testing.assert_array_equal([ax.lines[1].get_ydata() for ax in axes], run().tones)


def test_the_page_tells_what_the_study_found():
    with (ROOT / "studies" / "course" / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    settled = {}
    for row in rows:
        mse = (1 - float(row["metrics/evaluate/metrics.json:settled.r2"])) / 2  # a tone's power is a half
        settled.setdefault(float(row["params.data.conditions.jitter_phase"]), []).append(mse)
    cells = [
        line.split("|") for line in (ROOT / "docs" / "course.md").read_text().splitlines() if line.startswith("| ")
    ]
    told = {cell[1].split(":")[0].strip(): re.findall(r"0\.\d+", cell[6]) for cell in cells if "0." in cell[6]}
    for name, phase in {"±180°": 180.0, "±45°": 45.0, "±1.8°": 1.8, "none, additive 0.1": 0.0}.items():
        assert sorted(map(float, told[name])) == pytest.approx(sorted(settled[phase]), rel=0.05)
