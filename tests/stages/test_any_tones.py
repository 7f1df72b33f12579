"""Filters corrected by a network, through the stages: several sets of recordings, each with tones of its own."""

import json

import numpy as np
import pytest
from conftest import PATHS

from tonesift.data import recordings
from tonesift.learning import fronts
from tonesift.networks import model as models

SETS = ("clean", "switching")
RATE = {"sampling_rate": 200.0, "duration": 4.0, "task": "general", "train_recordings": 12, "test_recordings": 3}
HYBRID = {
    "data": RATE,
    "prepare": {"sequence_length": 20, "step_size": 10, "val_split": 0.2},
    "model": {"family": "hybrid", "conditioning": "selector", "hop": 10},
    "train": {"fresh_noise": False, "stateful": True, "batch_size": 16, "stream_steps": 10, "epochs": 3},
}


@pytest.fixture(scope="module")
def trained(make_workspace):
    """A workspace with a model that was trained on two sets, and judged on others."""
    workspace = make_workspace("any tones")
    workspace.set(HYBRID)
    for name in SETS:
        (workspace.path / name).mkdir()
        workspace.stage("generate", "--under", f"{name}, random sets", f"{name}/train.h5", f"{name}/test.h5")
    workspace.stage("prepare", "clean/train.h5", "data/windows.h5")
    workspace.stage("train", *(f"{name}/train.h5" for name in SETS), *PATHS["train"][1:])
    workspace.stage("judge", "models/model.safetensors", "judge.json", *(f"{name}/test.h5" for name in SETS))
    return workspace


def test_the_model_says_how_many_tones_of_what_range_it_was_trained_on(trained):
    model, metadata = models.load(trained.path / "models" / "model.safetensors")
    assert model.front
    assert metadata.frequencies == ()
    assert metadata.tones == 2
    assert metadata.tone_range == (0.7, 60.0)
    assert any(parameter.any() for parameter in model.head.parameters())


def test_it_is_judged_beside_its_first_filter_and_the_chosen_ones(trained):
    found = json.loads(trained.read("judge.json"))
    assert list(found) == list(SETS)
    for figures in found.values():
        assert list(figures) == ["r2", "first_filter_r2", "streamed_r2", "auto_r2"]
        assert figures["r2"] > figures["first_filter_r2"] - 0.02
        assert figures["streamed_r2"] == pytest.approx(figures["r2"], abs=0.1)  # told less, but of the same make
    trained.set({"evaluate": {"detail": "scores"}})
    trained.stage("judge", "--method", "auto", "models/model.safetensors", "short.json", "clean/test.h5")
    trained.set({"evaluate": {"detail": "full"}})
    kept = {name: found["clean"][name] for name in ("r2", "first_filter_r2", "auto_r2")}
    assert json.loads(trained.read("short.json")) == {"clean": kept}


def test_the_first_filters_figure_is_that_of_the_frames(trained):
    """R^2 by hand, from the second second on: frames' phasors turned back."""
    squares, errors = 0.0, 0.0
    total, count = 0.0, 0
    with recordings.opened(trained.path / "switching" / "test.h5", any_tones=True) as source:
        unit = 2 * fronts.amplitude(source.facts)
        for index in range(source.count):
            frames = fronts.recording_frames(source, index, 10, fronts.scale(source, index, 0.0))
            phasor = frames[..., 51] + 1j * frames[..., 52]
            back = np.exp(-1j * frames[..., :1] * np.arange(9, -1, -1))
            tones = unit * (phasor[..., None] * back).imag.reshape(2, -1)
            target = source.tones(index)[:, 200:].astype("f8")
            errors += np.sum((tones[:, 200:] - target) ** 2)
            squares, total, count = squares + np.sum(target**2), total + target.sum(), count + target.size
    expected = 1 - errors / (squares - total**2 / count)
    assert json.loads(trained.read("judge.json"))["switching"]["first_filter_r2"] == pytest.approx(expected, abs=1e-5)


def said(workspace, stage, *arguments):
    done = workspace.stage(stage, *arguments, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("note:")]
    return line


def test_what_cannot_be_learnt_from_is_refused(trained, tmp_path):
    more = ("clean/train.h5", "switching/test.h5")
    assert "3 recordings of 800 samples, but the windows were made for 12 of 800" in said(
        trained, "train", *more, *PATHS["train"][1:]
    )
    assert "conditions 'nothing, random sets': got no such name: it is one of clean; drift" in said(
        trained, "generate", "--under", "nothing, random sets", "a.h5", "b.h5"
    )
    before = trained.read("params.yaml")
    trained.set({"data": {"sampling_rate": 100.0}})
    assert "tone_range: got 60 Hz, but a tone must lie below half of data.sampling_rate" in said(
        trained, "generate", "--under", "clean, random sets", "a.h5", "b.h5"
    )
    trained.set({"data": {"sampling_rate": 200.0}, "model": {"family": "lstm"}})
    assert "switching/train.h5: family lstm learns from one set of recordings: leave it out" in said(
        trained, "train", "clean/train.h5", "switching/train.h5", *PATHS["train"][1:]
    )
    (trained.path / "params.yaml").write_text(before, encoding="utf-8")
