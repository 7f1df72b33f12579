"""Stage `evaluate`: what is written where a figure has no meaning."""

import csv
import io
import json
import re

from conftest import PATHS


def test_streams_of_less_than_a_second_have_no_settled_figures(workspace):
    workspace.set(
        {
            "data": {"duration": 1.6},
            "prepare": {"sequence_length": 5, "val_split": 0.2},
            "model": {"conditioning": "heads", "hop": 3},
            "train": {"stateful": True, "stream_steps": 2, "epochs": 1},
            "evaluate": {"detail": "scores"},
        }
    )
    for stage, paths in PATHS.items():
        said = workspace.stage(stage, *paths)
        assert "Traceback" not in said.stderr
    assert re.search("R2 .* on test, .* of the best possible", said.stdout)
    assert set(json.loads(workspace.read("metrics/evaluate/metrics.json"))) == {"test", "limit"}
    rows = list(csv.DictReader(io.StringIO(workspace.read("metrics/evaluate/comparison.csv"))))
    assert {row["r2_settled"] for row in rows} == {""}
    positions = list(csv.DictReader(io.StringIO(workspace.read("metrics/evaluate/context.csv"))))
    assert 20 <= len(positions) < 100
