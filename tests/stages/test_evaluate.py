"""Stage `evaluate`: what a network is judged on, and what is told where a figure has no meaning."""

import csv
import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import PATHS
from networks import lstm

from tonesift.data import windows
from tonesift.data.recordings import Facts
from tonesift.evaluation import comparison, evaluation
from tonesift.evaluation.judge import Judge

RATE, SETTINGS = 100.0, SimpleNamespace(streams=24)


def make_judge(stateful):
    facts = {"sampling_rate": RATE, "sequence_length": 20, "step_size": 5, "train": {"stateful": stateful}}
    return Judge(lstm(2, 4, 1, 0.0), facts, 16, map, torch.device("cpu"))


def make_split(recordings, samples, fold=None):
    train, validation = windows.split_blocks(recordings, samples, 20, 5, 0.1, fold)
    return windows.Split(train, validation, 20, 5, 0.0, 1.0, (recordings, samples))


def make_task(name, samples, frequencies=(2.0, 5.0)):
    facts = Facts(RATE, frequencies, np.zeros((1, 2)), np.ones((1, 2)), 1.0, 0.1, name, 1)
    return comparison.make_task(facts, samples)


def chosen(task, recordings=1, samples=400, stateful=True, fold=None):
    split = make_split(recordings, samples, fold)
    return evaluation.choose(make_judge(stateful), SETTINGS, task, (recordings, samples), split), split


def test_a_reset_network_is_judged_on_every_window_and_on_those_trained_on():
    (test, train), split = chosen(make_task("fixed", 400), recordings=2, stateful=False)
    assert test.starts.tolist() == [[index, first] for index in (0, 1) for first in range(0, 381, 5)]
    assert train.starts.tolist() == windows.starts(split.train, 5).tolist()
    assert test.length == train.length == 20


@pytest.mark.parametrize(
    ("name", "frequencies", "spread"),
    [
        ("fixed", (2.0, 5.0), 100),  # a period of one second
        ("fixed", (4.0, 10.0), 50),  # of half a second
        ("fixed", (2.0, 5.0371), 100),  # none within the recording: a second; in test, wherever there is room
        ("general", (4.0, 10.0), 100),  # phases are drawn anyway: a second
    ],
)
@pytest.mark.parametrize(("recordings", "fold"), [(1, None), (1, (2, 5)), (4, None)])
def test_a_carried_network_is_judged_on_streams_from_all_over_a_period(name, frequencies, spread, recordings, fold):
    (test, train), split = chosen(make_task(name, 400, frequencies), recordings, fold=fold)
    held = windows.covered(split.train, 20, 5)
    longest = max(end - begin for _, begin, end in held)
    assert test.length == train.length == longest - spread
    begins = {recording: begin for recording, begin, end in held if end - begin == longest}
    anywhere = 400 - test.length if 5.0371 in frequencies else spread
    whole = dict.fromkeys(range(recordings), 0)
    for stretches, first, among in ((test, whole, anywhere), (train, begins, spread)):
        assert len(stretches.starts) == 24
        offsets = [start - first[recording] for recording, start in stretches.starts.tolist()]
        assert sorted(offset * 24 // among for offset in offsets) == pytest.approx(range(24), abs=1)
        assert 0 <= min(offsets) <= among / 24
        assert among - 1 - among / 24 <= max(offsets) < among
        assert all(start + stretches.length <= 400 for _, start in stretches.starts.tolist())
    assert {recording for recording, _ in test.starts.tolist()} == set(range(recordings))


def test_starts_are_drawn_from_no_more_than_half_of_what_there_is():
    (test, train), split = chosen(make_task("fixed", 160), samples=160)
    longest = max(end - begin for _, begin, end in windows.covered(split.train, 20, 5))
    assert longest < 200
    assert test.length == train.length == longest - longest // 2
    assert train.starts[:, 1].max() < longest // 2


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


def test_every_test_recording_is_judged_even_where_fewer_streams_are_asked_for():
    (test, train), _ = chosen(make_task("general", 400, (4.0, 10.0)), 30)
    assert {recording for recording, _ in test.starts.tolist()} == set(range(30))
    assert len(train.starts) == 24
