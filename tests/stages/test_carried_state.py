"""Stages prepare and train where a step is several samples and the state is carried on."""

import csv
import json

import numpy as np
import pytest
import torch
from conftest import PATHS
from ruamel.yaml import YAML

from tonesift.data import recordings, windows
from tonesift.networks import model as models

STATEFUL = {
    "prepare": {"val_split": 0.3},
    "model": {"conditioning": "heads", "hop": 4},
    "train": {"stateful": True, "stream_steps": 15, "batch_size": 8, "fresh_noise": True},
}


@pytest.fixture
def prepared(workspace):
    """A workspace with recordings of 400 samples, 280 to train and 120 to validate on, in windows of 20 steps of 4."""
    workspace.set(STATEFUL)
    for stage in ("generate", "prepare"):
        workspace.stage(stage, *PATHS[stage])
    return workspace


def train(workspace, check=True, **environment):
    return workspace.stage("train", *PATHS["train"], check=check, **environment)


def trained(workspace, **environment):
    """Network, its facts and what training wrote of its best epoch."""
    train(workspace, **environment)
    model, facts = models.load(workspace.path / "models" / "model.safetensors")
    return model, facts, json.loads(workspace.read("metrics/train/metrics.json"))


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_windows_are_so_many_steps_of_so_many_samples(prepared):
    split = windows.read(prepared.path / "data" / "windows.h5")
    assert split.window_samples == 20 * 4
    starts = [[first for _, first in windows.starts(part, 1).tolist()] for part in (split.train, split.validation)]
    assert starts[0] == list(range(0, 280 - 80 - 80 + 1))  # they end a window before the samples that validate
    assert starts[1] == list(range(280, 400 - 80 + 1))


@pytest.mark.parametrize("conditioning", ["selector", "heads"])
@pytest.mark.parametrize("hop", [1, 4])
def test_a_network_with_a_carried_state_is_trained_and_says_what_it_is(prepared, conditioning, hop):
    prepared.set({"model": {"conditioning": conditioning, "hop": hop}})
    prepared.stage("prepare", *PATHS["prepare"])
    model, metadata, metrics = trained(prepared)
    assert (model.conditioning, model.hop, model.tones) == (conditioning, hop, 2)
    listed = YAML(typ="safe").load(prepared.path / "params.yaml")["model"]
    assert {name: metadata.model.model_dump()[name] for name in listed} == listed
    assert (metadata.model.hidden_size, metadata.model.hop) == (8, hop)
    assert metadata.train.stateful is True
    assert metadata.window_samples == 20 * hop
    assert metadata.as_json()["summary"] == metrics
    assert 0 < metrics["validation"]["loss"] < 1
    assert len(prepared.read("metrics/train/plots/metrics/validation/loss.tsv").splitlines()) == 1 + 2  # epochs
    clock = json.loads(prepared.read("metrics/run.json"))["run"]
    assert clock["samples_per_second"] > 0


def test_the_validation_loss_is_that_of_streams_through_the_held_out_segment(prepared):
    """One from the recording's start, scored from 280 on; and 64 that begin in the first 60 samples from there.

    The tones repeat after 100 samples, but half the segment is 60. One start is drawn from each 64th of them: it is one
    of two samples at most, and the loss lies between those of the better and of the worse of the two.
    """
    model, _, metrics = trained(prepared)
    with recordings.opened(prepared.path / "data" / "train.h5") as source:
        mixture, tones = torch.from_numpy(source.mixture(0)), source.tones(0)

    def mse(start, scored):
        padded = torch.nn.functional.pad(mixture[start:], (0, -(400 - start) % 4))
        with torch.no_grad():
            output = model(padded.view(-1, 1, 4))[0].view(-1, 2, 4).transpose(0, 1).flatten(1).numpy()
        return np.square(output[:, scored - start : 400 - start] - tones[:, scored:]).sum(), 2 * (400 - scored)

    bounds = np.array([mse(0, 280)] * 2)  # of squares and of their number, lower and upper
    for part in range(64):
        first, last = 280 + part * 60 // 64, 280 + ((part + 1) * 60 - 1) // 64
        either = [mse(start, start) for start in {first, last}]
        bounds += [np.min(either, axis=0), np.max(either, axis=0)]
    (least, fewest), (most, greatest) = bounds
    assert least / greatest <= metrics["validation"]["loss"] <= most / fewest
    assert most / fewest < 1.1 * least / greatest


def test_one_thread_and_two_write_the_same_model(prepared):
    found = []
    for threads in ("1", "2"):
        train(prepared, OMP_NUM_THREADS=threads)
        found.append((prepared.path / "models" / "model.safetensors").read_bytes())
    assert found[0] == found[1]


def test_fresh_noise_takes_the_place_of_what_was_recorded_and_jitter_comes_on_top(prepared):
    """Recordings that differ in their noise alone train the same network; read as they are, they do not."""
    prepared.set({"train": {"epochs": 1}})
    found = {}
    for fresh, jitter, seed in ((True, 0.0, 1), (True, 0.0, 5), (False, 0.0, 1), (False, 0.0, 5), (False, 0.2, 5)):
        prepared.set({"data": {"train_seed": seed}, "train": {"fresh_noise": fresh, "jitter": jitter}})
        prepared.stage("generate", *PATHS["generate"])
        found[fresh, jitter, seed] = weights(trained(prepared)[0])
    assert torch.equal(found[True, 0.0, 1], found[True, 0.0, 5])
    others = [found[True, 0.0, 1], found[False, 0.0, 1], found[False, 0.0, 5], found[False, 0.2, 5]]
    assert len(torch.unique(torch.stack(others), dim=0)) == 4


def test_several_recordings_are_streams_each(prepared):
    prepared.set({"data": {"task": "general", "train_recordings": 5}, "prepare": {"scaling": "standard"}})
    for stage in ("generate", "prepare"):
        prepared.stage(stage, *PATHS[stage])
    assert trained(prepared)[2]["validation"]["loss"] > 0


@pytest.mark.parametrize("scheduler", ["plateau", "one-cycle", "none"])
def test_warming_up_shows_in_the_history_of_the_learning_rate(prepared, scheduler):
    prepared.set({"train": {"scheduler": scheduler, "warmup": 0.5, "epochs": 4}})
    train(prepared)
    rows = csv.DictReader(prepared.read("metrics/train/plots/metrics/learning_rate.tsv").splitlines(), delimiter="\t")
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates[0] < rates[1] < rates[2] == pytest.approx(0.01, rel=0.01)
    assert rates[3] == 0.01 if scheduler != "one-cycle" else rates[3] < 0.009


def test_windows_that_are_no_whole_number_of_steps_are_refused(prepared):
    prepared.set({"model": {"hop": 3}})
    refused = train(prepared, check=False)
    assert refused.returncode == 2
    (said,) = [line for line in refused.stderr.splitlines() if not line.startswith("note:")]
    assert said == "train: windows of 80 samples are no whole number of steps of 3: run `dvc repro`"
    assert not (prepared.path / "models" / "model.safetensors").exists()


def test_streams_over_a_random_split_are_refused_before_any_work(prepared):
    prepared.set({"prepare": {"split": "random"}})
    for stage in ("prepare", "train"):
        refused = prepared.stage(stage, *PATHS[stage], check=False)
        assert refused.returncode == 2
        assert "train.stateful: a stream needs neighbouring windows" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_bfloat16_is_refused_where_the_processor_lacks_it(prepared):
    prepared.set({"train": {"precision": "bfloat16", "arithmetic": "native"}})
    program = (
        "import runpy, sys, torch; torch.cpu.get_capabilities = lambda: {'avx2': True}; "
        "sys.argv = ['stages.train', *sys.argv[1:]]; runpy.run_module('stages.train', run_name='__main__')"
    )
    refused = prepared.run("python", "-c", program, *PATHS["train"], check=False)
    assert refused.returncode == 2
    (said,) = [line for line in refused.stderr.splitlines() if not line.startswith("note:")]
    assert said == "train: train.precision: got 'bfloat16', but this processor (cpu) lacks it: use float32"


def test_advice_is_said_and_training_goes_on(prepared):
    prepared.set({"train": {"jitter": 0.3}})
    said = train(prepared).stderr.splitlines()
    assert "note: train.jitter is 0.3: the advised range is 0 to 0.2" in said
