"""The report over the real pipeline's outputs, on the small configuration."""

import re
import shutil

import pytest

from pages import report
from tonesift.errors import InputError


@pytest.fixture(scope="module")
def built(make_workspace):
    """A workspace in which the pipeline and the report have run."""
    workspace = make_workspace("reported on")
    workspace.run("dvc", "repro")
    workspace.said = workspace.module("pages.report", "plots/report.html", "models/README.md").stdout
    return workspace


def test_the_page_holds_all_pictures_and_tables(built):
    page = built.read("plots/report.html")
    assert page.count("data:image/png;base64,") == len(list((built.path / "plots" / "evaluate").glob("*.png"))) == 14
    for words in ("best possible", "Kalman", "LSTM", "Uncertainty", "Diagnosis", "dvc exp run -S"):
        assert words in page
    assert not re.findall(r"(?:src|href)=\"https?:", page)


def test_the_card_names_what_the_model_is_for(built):
    card = built.read("models/README.md")
    assert "2 and 5 Hz" in card
    assert "reset every 20 samples" in card


def test_the_report_after_scores_only_leaves_out_what_there_is_not(built, tmp_path):
    path = tmp_path / "scores"
    shutil.copytree(built.path, path, symlinks=True)
    copy = type(built)(path, built.environment)
    copy.set({"evaluate": {"detail": "scores"}})
    copy.run("dvc", "repro")
    copy.module("pages.report", "plots/report.html", "models/README.md")
    page = copy.read("plots/report.html")
    assert "data:image/png" not in page
    assert "Uncertainty" not in page
    assert "best possible" in page


def test_without_outputs_it_says_what_to_run(make_workspace):
    workspace = make_workspace("empty")
    failed = workspace.module("pages.report", "plots/report.html", "models/README.md", check=False)
    assert failed.returncode == 2
    assert re.search(r"models/model\.safetensors: no such file: train it with `dvc repro train`", failed.stderr)
    assert "Traceback" not in failed.stderr


def test_a_figure_that_is_none_is_refused_by_the_name_of_its_file():
    assert report.finite("tones", {"r2": "0.5"}, "r2") == 0.5
    with pytest.raises(InputError, match=r"^metrics/evaluate/tones\.csv: r2 is nan, but a verdict needs a finite"):
        report.finite("tones", {"r2": "nan"}, "r2")


def test_the_diagnosis_ends_with_lines_that_run(built):
    (line,) = re.findall(r"^  (dvc exp run .*)$", built.said, re.MULTILINE)[:1]
    assert "Ran experiment" in built.run(*line.split()).stdout
