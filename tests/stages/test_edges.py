"""Data at the edges of what can work, through all stages: right, or one clear line."""

import csv
import io
import json

import pytest
from conftest import PATHS

EDGES = {
    "one tone of 2.5 Hz without noise": {
        "frequencies": [2.5],
        "phases": [30.0],
        "amplitudes": [0.7],
        "noise_std": 0.0,
    },
    "eight tones": {
        "frequencies": [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0],
        "phases": [0.0] * 8,
        "amplitudes": [1.0] * 8,
    },
    "a common period longer than the recording": {"frequencies": [2.0, 5.0371]},
    "several general recordings": {"task": "general", "train_recordings": 3, "test_recordings": 2},
}


@pytest.mark.parametrize("name", EDGES)
def test_edges_run_through_every_stage(workspace, name):
    workspace.set({"data": EDGES[name], "train": {"epochs": 1}})
    for stage, paths in PATHS.items():
        said = workspace.stage(stage, *paths)
        assert "Traceback" not in said.stderr
    metrics = json.loads(workspace.read("metrics/evaluate/metrics.json"))
    assert 0 < metrics["limit"]["r2"] <= 1
    assert metrics["test"]["r2"] < metrics["limit"]["r2"] + 0.05
    rows = list(csv.DictReader(io.StringIO(workspace.read("metrics/evaluate/comparison.csv"))))
    limit = next(row["label"] for row in rows if row["name"] == "limit")
    assert ("over this recording's offsets" in limit) == (name == "a common period longer than the recording")
    assert len(list((workspace.path / "plots" / "evaluate").glob("*.png"))) == 14


def test_a_test_recording_shorter_than_a_window_is_refused(workspace):
    for stage in ("generate", "prepare", "train"):
        workspace.stage(stage, *PATHS[stage])
    workspace.set({"data": {"duration": 0.18}, "prepare": {"sequence_length": 5, "val_split": 0.4}})
    workspace.stage("generate", *PATHS["generate"])
    refused = workspace.stage("evaluate", *PATHS["evaluate"], check=False)
    assert refused.returncode == 2
    assert "18 samples, but a window has 20: use longer recordings" in refused.stderr
    assert "Traceback" not in refused.stderr
