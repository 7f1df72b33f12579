"""A network that knows its tones, judged on recordings of these beside filters of named tones."""

import json

import numpy as np
import pytest
from conftest import PATHS

from tonesift.data import recordings
from tonesift.streaming.namedtones import NamedToneFilter
from tonesift.streaming.tonefilter import ToneFilter

SWITCHING = {
    "data": {
        **{"task": "general", "sampling_rate": 200.0, "duration": 4.0, "train_recordings": 4, "test_recordings": 2},
        "conditions": {"dwell": 1.0},
    },
    "train": {"stateful": True, "stream_steps": 5, "epochs": 1},
}


@pytest.fixture(scope="module")
def judged(make_workspace):
    """A workspace with an LSTM that was trained on tones that switch, and judged on others."""
    workspace = make_workspace("plain judged")
    workspace.set(SWITCHING)
    (workspace.path / "switching").mkdir()
    workspace.stage("generate", "data/train.h5", "switching/test.h5")
    workspace.stage("prepare", *PATHS["prepare"])
    workspace.stage("train", *PATHS["train"])
    workspace.stage("judge", "models/model.safetensors", "judge.json", "switching/test.h5")
    return workspace


def r2(source, estimate):
    """R^2 over all tones and recordings from the second second on, by its definition."""
    target = np.stack([source.tones(index) for index in range(source.count)])[..., 200:].astype("f8")
    found = np.stack([estimate(source.mixture(index)) for index in range(source.count)])[..., 200:]
    return 1 - np.sum((target - found) ** 2) / np.sum((target - target.mean()) ** 2)


def test_figures_are_those_of_the_streams_that_people_run(judged):
    found = json.loads(judged.read("judge.json"))["switching"]
    assert list(found) == ["r2", "auto_r2", "fading_r2"]
    with recordings.opened(judged.path / "switching" / "test.h5") as source:
        tones = source.facts.frequencies

        def network(samples):
            one = ToneFilter.load(judged.path / "models" / "model.safetensors")
            return np.concatenate([one.push(samples), one.finish()], axis=1)

        def fading(samples):
            one = NamedToneFilter(tones, 200.0, "fading")
            return len(tones) * np.concatenate([one.push(samples), one.finish()], axis=1)

        assert found["r2"] == pytest.approx(r2(source, network), abs=2e-6)
        assert found["fading_r2"] == pytest.approx(r2(source, fading), abs=2e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frequencies": [2.0, 9.0]}, "other/test.h5: a model of family hybrid is wanted, or one trained on the tones"),
        ({"sampling_rate": 400.0}, "other/test.h5: a model trained at 400 Hz is wanted"),
    ],
)
def test_recordings_of_other_tones_or_another_rate_are_refused(judged, change, message):
    before = judged.read("params.yaml")
    judged.set({"data": change})
    (judged.path / "other").mkdir(exist_ok=True)
    judged.stage("generate", "other/train.h5", "other/test.h5")
    done = judged.stage("judge", "models/model.safetensors", "other.json", "other/test.h5", check=False)
    (judged.path / "params.yaml").write_text(before, encoding="utf-8")
    assert done.returncode == 2
    assert message in done.stderr
