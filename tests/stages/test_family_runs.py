"""Every family through train and evaluate, in this process: starting Python for each would take most of the time."""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PATHS

from stages import evaluate, train
from tonesift.errors import InputError
from tonesift.families import FAMILIES
from tonesift.learning import training
from tonesift.networks import model as models
from tonesift.networks.base import torch_generator
from tonesift.streaming.tonefilter import ToneFilter

TINY = {"model_dim": 8, "num_heads": 2, "ff_dim": 16, "context": 6}
CARRIED = {"stateful": True, "stream_steps": 10, "batch_size": 8, "fresh_noise": True}


@pytest.fixture(scope="module")
def prepared(make_workspace):
    """A workspace with recordings and windows of 20 samples."""
    workspace = make_workspace("families")
    workspace.set(
        {"prepare": {"val_split": 0.3, "step_size": 2}, "model": TINY, "evaluate": {"detail": "scores", "streams": 8}}
    )
    for stage in ("generate", "prepare"):
        workspace.stage(stage, *PATHS[stage])
    workspace.start = workspace.read("params.yaml")
    return workspace


@pytest.fixture
def at(prepared, monkeypatch):
    """The workspace as it was prepared, and the place to be."""
    (prepared.path / "params.yaml").write_text(prepared.start, encoding="utf-8")
    monkeypatch.chdir(prepared.path)
    return prepared


def run(workspace, **sections):
    """Train and evaluate with changed parameters; metrics of both, and the wall-clock figures."""
    workspace.set(sections)
    options = {"params": Path("params.yaml"), "clock": Path("metrics/run.json")}
    names = ("recordings", "windows", "model", "curves")
    given = dict(zip(names, map(Path, PATHS["train"]), strict=True))
    figures = train.train(argparse.Namespace(**options, **given | {"recordings": [given["recordings"]]}))
    names = ("train", "windows", "test", "model", "history", "metrics", "pictures")
    evaluate.evaluate(argparse.Namespace(**options, **dict(zip(names, map(Path, PATHS["evaluate"]), strict=True))))
    return (
        json.loads(workspace.read("metrics/train/metrics.json")),
        json.loads(workspace.read("metrics/evaluate/metrics.json")),
        figures,
    )


CASES = [
    (family, stateful)
    for family, entry in FAMILIES.items()
    for stateful in (False, True)
    if stateful or not entry.front
]
CORRECTING = {"conditioning": "selector"}, {"fresh_noise": False}  # a family that corrects filters


@pytest.mark.parametrize(("family", "stateful"), CASES)
def test_every_family_is_trained_judged_and_a_filter(at, family, stateful):
    model, train = CORRECTING if FAMILIES[family].front else ({}, {})
    train = {"epochs": 6} | (CARRIED if stateful else {}) | train
    trained, judged, _ = run(at, model={"family": family} | model, train=train)
    assert 0 < trained["validation"]["loss"] < 0.9 * 0.5  # that of an output of 0 is the tones' mean square, 0.5
    assert judged["test"]["r2"] < judged["limit"]["r2"] + 0.05
    model, metadata = models.load("models/model.safetensors")
    assert metadata.model.family == family
    assert trained["parameters"] == sum(weight.numel() for weight in model.parameters())
    rows = list(csv.DictReader(at.read("metrics/evaluate/comparison.csv").splitlines()))
    assert next(row["label"] for row in rows if row["name"] == "network") == FAMILIES[family].label
    tones = ToneFilter.load("models/model.safetensors").push(np.random.default_rng(1).normal(size=100))
    assert tones.shape == (2, 100)
    assert np.isfinite(tones).all()


def test_a_family_gives_the_same_bits_again(at):
    one, other = (run(at, model={"family": "transformer", "dropout": 0.2})[2]["model"] for _ in range(2))
    assert one == other


def test_reading_both_ways_is_said_and_is_no_filter(at):
    _, judged, _ = run(at, model={"bidirectional": True})
    assert judged["test"]["latency_ms"] == pytest.approx(20 * 10)  # the whole window
    rows = list(csv.DictReader(at.read("metrics/evaluate/comparison.csv").splitlines()))
    row = next(row for row in rows if row["name"] == "network")
    assert (row["label"], row["causal"], row["hop"]) == ("Bidirectional LSTM", "no", "20")
    with pytest.raises(InputError, match="the model is bidirectional"):
        ToneFilter.load("models/model.safetensors")


def test_an_ensemble_is_one_file_whose_members_are_those_of_their_seeds(at):
    members = []
    for seed in (3, 4):
        trained, judged, _ = run(at, train={"seed": seed})
        members.append((models.load("models/model.safetensors")[0], trained, judged))
    trained, judged, _ = run(at, train={"seed": 3, "ensemble": 2})
    model, _ = models.load("models/model.safetensors")
    for member, (alone, _, _) in zip(model.members, members, strict=True):
        for one, other in zip(member.parameters(), alone.parameters(), strict=True):
            assert torch.equal(one, other)
    losses = [one["validation"]["loss"] for _, one, _ in members]
    assert trained["members"]["validation"]["loss"] == pytest.approx(np.mean(losses), abs=1e-6)
    assert trained["gain"] == pytest.approx(1 - trained["validation"]["loss"] / np.mean(losses), abs=1e-4)
    assert trained["validation"]["loss"] < np.mean(losses)  # the square is convex
    scores = [one["test"]["r2"] for _, _, one in members]
    assert judged["members"]["r2"] == pytest.approx(np.mean(scores), abs=1e-5)
    assert judged["members"]["best_r2"] == pytest.approx(max(scores), abs=1e-5)
    assert judged["test"]["r2"] > np.mean(scores)
    rows = list(csv.DictReader(at.read("metrics/evaluate/comparison.csv").splitlines()))
    assert next(row["label"] for row in rows if row["name"] == "network") == "LSTM, mean of 2"
    curves = sorted(path.parent.name for path in Path("metrics/train/plots/metrics").rglob("validation/loss.tsv"))
    assert len(curves) == 2


@pytest.mark.parametrize("option", [{"gradient_noise": 0.01}, {"layer_decay": 0.5}, {"shortest": 0.5}])
def test_an_option_of_training_changes_what_is_learnt_and_gives_the_same_bits_again(at, option):
    plain, one, other = (trained(at, changes) for changes in ({}, option, option))
    assert not same(plain, untrained())
    assert not same(plain, one)
    assert same(one, other)


def trained(workspace, changes):
    """Weights after training."""
    run(workspace, train=changes)
    return models.load("models/model.safetensors")[0].state_dict()


def untrained():
    """Those it began with."""
    _, metadata = models.load("models/model.safetensors")
    network = models.build(metadata)
    network.initialise(torch_generator(training.seed_for(metadata.train.seed, "weights"), torch.device("cpu")))
    return network.state_dict()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)
