"""Whether method auto takes a network: where recordings show what one is ahead for, and nowhere else."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from networks import metadata, network
from scipy import signal

from tonesift.errors import InputError
from tonesift.formats.base import Source
from tonesift.networks import model as models
from tonesift.streaming import command as filtering
from tonesift.streaming import network_choice

RATE, TONES, SECONDS = 1000.0, (4.0, 11.0, 30.0), 10.0
HUM = (50.0, 100.0, 150.0)
NAMED = ("--rate", "1000", "--tones", "4,11,30")
FIGURES = {"streamed_r2": 0.9139, "auto_r2": 0.8801}


def recording(dwell=None, tones=TONES, rate=RATE, noise=0.1, seed=3):
    """Tones, on for `dwell` seconds and off for as long, with amplitudes and phases anew; or steady ones."""
    generator, samples = np.random.default_rng(seed), round(SECONDS * rate)
    times, mixture = np.arange(samples) / rate, noise * generator.standard_normal(samples)
    for number, tone in enumerate(tones):
        turn = np.zeros(samples, dtype=int) if dwell is None else np.int64((times + 0.37 * number) / dwell)
        amplitudes, phases = generator.uniform(0.5, 2, 99), generator.uniform(0, 2 * np.pi, 99)
        on = turn % 2 == 0
        mixture += on * amplitudes[turn] * np.sin(2 * np.pi * tone * times + phases[turn])
    return mixture


def put_network(folder, model, described, figures):
    """A pipeline's model and what its evaluation came to."""
    (folder / "models").mkdir(parents=True)
    (folder / "metrics").mkdir()
    models.save(folder / "models" / "model.safetensors", model, described)
    (folder / "metrics" / "judge.json").write_text(json.dumps(figures), encoding="utf-8")


def random_network(tones, **options):
    """A network with random weights."""
    model = network(tones, **options)
    generator = torch.Generator().manual_seed(1)
    model.initialise(generator)
    torch.nn.init.normal_(model.head.weight, std=0.1, generator=generator)
    return model


def hybrid(**facts):
    options = {"family": "hybrid", "hop": 10}
    described = metadata(options, {"stateful": True}, **({"frequencies": (), "center": 0.0} | facts))
    return random_network(4, **options), described


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a network of any tones that was ahead on recordings that switch, and two recordings."""
    put_network(
        tmp_path / "any-tones", *hybrid(tones=4, tone_range=(0.7, 60.0)), {"switching": FIGURES, "everything": FIGURES}
    )
    np.save(tmp_path / "switching.npy", recording(dwell=1.0))
    np.save(tmp_path / "steady.npy", recording())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def filtered(capsys, *words):
    """What a run in this process says."""
    parser = argparse.ArgumentParser()
    filtering.add_arguments(parser)
    assert filtering.run(parser.parse_args([str(word) for word in words])) == 0
    return capsys.readouterr().err.splitlines()


TAKEN = (
    "method auto: the network of any-tones: tones come and go here, where its own evaluation gives R2 0.914 beside the "
    "filters' 0.880 (without it: --method filters)"
)


def test_a_recording_whose_tones_come_and_go_gets_the_network(place, capsys):
    """The same as when it is asked for, to the bit, residual and all."""
    lines = filtered(capsys, "switching.npy", *NAMED, "-o", "auto.npy", "--residual", "left.npy", "--tone", "3")
    filtered(capsys, "switching.npy", *NAMED, "-o", "asked.npy", "--method", "hybrid", "--tone", "3")
    filtered(capsys, "switching.npy", *NAMED, "-o", "filters.npy", "--method", "filters", "--tone", "3")
    assert lines[0] == f"note: switching.npy: {TAKEN}"
    assert len(lines) == 2
    tones = np.load("auto.npy")
    assert np.array_equal(tones, np.load("asked.npy"))
    assert not np.allclose(tones, np.load("filters.npy"), atol=0.01)
    np.testing.assert_allclose(np.load("switching.npy") - tones[0], np.load("left.npy"), atol=1e-6)


def test_any_other_recording_stays_with_the_filters_and_needs_no_pytorch(place):
    code = (
        "import runpy, sys; sys.modules['torch'] = None; sys.argv[0] = 'tonesift'; "
        "runpy.run_module('tonesift', run_name='__main__')"
    )
    words = [sys.executable, "-c", code, "filter", "steady.npy", *NAMED, "-o", "out.npy"]
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(words, env=os.environ | paths, text=True, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "note: steady.npy: method auto, after 10 s: kalman" in done.stderr


@pytest.mark.parametrize(
    "figures",
    [
        '{"switching": {"streamed_r2": 0.88, "auto_r2": 0.88}, "everything": {"streamed_r2": 0.9, "auto_r2": 0.8}}',
        '{"clean": {"streamed_r2": 0.9, "auto_r2": 0.8}}',
        '{"switching": {"r2": 0.9, "first_filter_r2": 0.8}}',
        '{"switching": {"streamed_r2": null, "auto_r2": 0.8}}',
        "[]",
        "{",
        None,
    ],
)
def test_without_figures_that_are_ahead_it_stays_with_the_filters(place, capsys, figures):
    judged = place / "any-tones" / "metrics" / "judge.json"
    judged.unlink() if figures is None else judged.write_text(figures, encoding="utf-8")
    lines = filtered(capsys, "switching.npy", *NAMED, "-o", "out.npy")
    assert lines[0].startswith("note: switching.npy: method auto, after 10 s: fading")
    assert len(lines) == 2


def test_a_network_that_was_not_made_yet_is_pointed_out_only_where_it_would_be_taken(place, capsys):
    shutil.rmtree(place / "any-tones" / "models")
    lines = filtered(capsys, "switching.npy", *NAMED, "-o", "out.npy")
    assert lines[0].startswith("note: switching.npy: method auto, after 10 s: fading")
    assert lines[1] == (
        "note: switching.npy: tones come and go here, where the network of any-tones has R2 0.914 beside the filters' "
        "0.880: `dvc repro any-tones/dvc.yaml`"
    )
    for words in (("steady.npy", *NAMED), ("switching.npy", *NAMED, "--method", "filters")):
        assert len(filtered(capsys, *words, "-o", "out.npy")) == 2


@pytest.mark.parametrize(
    ("tones", "rate"),
    [((0.5, 4.0), 1000.0), ((4.0, 61.0), 1000.0), ((4.0, 5.0), 1000.0), ((4.0, 11.0), 500.0)],
    ids=["too slow", "too fast", "too close", "rate"],
)
def test_tones_and_rates_that_it_was_not_trained_for_are_the_filters(place, tones, rate):
    assert network_choice.any_network(TONES, RATE)
    assert not network_choice.any_network(tones, rate)


def test_a_model_of_other_recordings_than_its_pipelines_is_passed_over(place, capsys):
    shutil.rmtree(place / "any-tones")
    figures = {"switching": FIGURES}
    put_network(place / "any-tones", *hybrid(tones=4, tone_range=(0.7, 20.0)), figures)
    assert "method auto, after" in filtered(capsys, "switching.npy", *NAMED, "-o", "out.npy")[0]
    shutil.rmtree(place / "any-tones")
    put_network(place / "any-tones", *hybrid(tones=4, tone_range=(0.7, 60.0), sampling_rate=500.0), figures)
    assert "method auto, after" in filtered(capsys, "switching.npy", *NAMED, "-o", "out.npy")[0]


def test_what_was_chosen_is_kept_in_the_state(place, capsys):
    """A stretch that shows nothing of the kind goes on with the network; pieces are the whole."""
    samples = np.concatenate([np.load("switching.npy"), recording()[:3000]])
    np.save("whole.npy", samples)
    filtered(capsys, "whole.npy", *NAMED, "-o", "expected.npy", "--method", "hybrid")
    found = []
    for number, piece in enumerate(np.split(samples, [10_000, 10_503])):
        np.save("part.npy", piece)
        lines = filtered(capsys, "part.npy", *NAMED, "-o", "out.npy", "--state", "state.npz")
        expected = TAKEN if number == 0 else "method auto: the network of any-tones, taken when state.npz was begun"
        assert lines[0] == f"note: part.npy: {expected}"
        found.append(np.load("out.npy"))
    assert np.array_equal(np.concatenate(found, axis=1), np.load("expected.npy"))
    filtered(capsys, "part.npy", *NAMED, "-o", "out.npy", "--state", "state.npz", "--method", "hybrid")


def test_a_state_of_filters_stays_with_the_filters(place, capsys):
    filtered(capsys, "steady.npy", *NAMED, "-o", "out.npy", "--state", "state.npz")
    lines = filtered(capsys, "switching.npy", *NAMED, "-o", "out.npy", "--state", "state.npz")
    assert "the network" not in "".join(lines)


def refused(message, *words):
    parser = argparse.ArgumentParser()
    filtering.add_arguments(parser)
    with pytest.raises(InputError, match=re.escape(message)):
        filtering.run(parser.parse_args([*words, "-o", "out.npy", "--state", "state.npz"]))


def test_a_state_whose_network_cannot_go_on_is_refused(place, capsys):
    filtered(capsys, "switching.npy", *NAMED, "-o", "out.npy", "--state", "state.npz")
    refused("does not take this: go on with the same tones", "steady.npy", "--rate", "1000", "--tones", "4,61")
    for method, wanted in {"filters": "method auto, with filters alone", "kalman": "method kalman"}.items():
        message = f"state.npz: made by method auto, with the network of any-tones, but this is {wanted}: go on as"
        refused(message, "steady.npy", *NAMED, "--method", method)
    state = dict(np.load("state.npz"))
    np.savez("state.npz", **(state | {"network": np.array("another")}))
    refused("it goes on with a network that is not known here: begin a new stream", "steady.npy", *NAMED)
    np.savez("state.npz", **state)
    shutil.rmtree(place / "any-tones" / "models")
    refused("make it with `dvc repro any-tones/dvc.yaml`, or begin a new stream", "steady.npy", *NAMED)


def test_of_a_stream_nothing_is_read_beforehand(place):
    chunks = iter([recording(dwell=1.0)])
    wanted = network_choice.Request(TONES)
    assert (
        network_choice.choose_network(Source("pipe", chunks, live=True), RATE, wanted, None)
        == network_choice.NetworkChoice()
    )
    assert len(next(chunks)) == 10_000


def test_of_a_file_no_sample_is_lost():
    source = Source("file", iter(np.split(np.arange(100_000.0), 10)))
    assert np.array_equal(network_choice.beginning(source, 1000.0), np.arange(60_000.0))
    assert np.array_equal(np.concatenate(list(source.chunks)), np.arange(100_000.0))


def lstm(level=1.0):
    """A plain network of 1, 3, 5, 7 Hz whose training had a mixture of tones of this level, and what its file says."""
    options = {"hop": 10, "hidden_size": 8}
    facts = {"frequencies": (1.0, 3.0, 5.0, 7.0), "task": "general", "second_moment": 16 * level**2, "noise_std": 0.1}
    return random_network(4, **options), metadata(options, {"stateful": True}, **facts)


FOUR = ("--rate", "1000", "--tones", "7,1,3,5")


def test_a_network_of_these_tones_alone_comes_first_and_gives_them_as_they_are_in_the_recording(place, capsys):
    put_network(place / "switching", *lstm(), {"switching": {"r2": 0.8, "auto_r2": 0.7}})
    np.save("four.npy", recording(dwell=1.0, tones=(1.0, 3.0, 5.0, 7.0)))
    lines = filtered(capsys, "four.npy", *FOUR, "-o", "auto.npy", "--residual", "left.npy")
    model = ("--model", "switching/models/model.safetensors")
    filtered(capsys, "four.npy", "--rate", "1000", *model, "-o", "asked.npy", "--as-heard", "--residual", "same.npy")
    assert "the network of switching: tones come and go here, where its own evaluation gives R2 0.800" in lines[0]
    assert np.array_equal(np.load("auto.npy"), np.load("asked.npy")[[3, 0, 1, 2]])
    np.testing.assert_allclose(np.load("left.npy"), np.load("same.npy"), atol=1e-6)
    filtered(capsys, "four.npy", *FOUR, "-o", "first.npy", "--tone", "1")
    np.testing.assert_allclose(np.load("first.npy"), np.load("auto.npy")[:1], atol=1e-6)


@pytest.mark.parametrize("way", ["level", "offset", "gaps", "clipped", "told limits"])
def test_it_is_passed_over_where_it_knows_no_such_recordings(place, capsys, way):
    """What corrects filters bears gaps, clipping and any level, and is taken then."""
    put_network(place / "switching", *lstm(), {"switching": {"streamed_r2": 0.8, "auto_r2": 0.7}})
    samples = recording(dwell=1.0, tones=(1.0, 3.0, 5.0, 7.0))
    if way == "level":
        samples *= 10
    elif way == "offset":
        samples += 0.7
    elif way == "gaps":
        samples[3000:3020] = np.nan
    elif way == "clipped":
        samples = np.clip(samples, -2.0, 2.0)
    np.save("four.npy", samples)
    told = ("--clip=-9,9",) if way == "told limits" else ()
    lines = filtered(capsys, "four.npy", *FOUR, "-o", "out.npy", *told)
    assert "the network of any-tones: " in lines[0]


def spikes(seed=5, seconds=20, rate=360.0):
    """A background like an ECG's: sharp beats with a slow wave behind them, and hum whose 50 Hz wander by a tenth."""
    generator, times = np.random.default_rng(seed), np.arange(round(seconds * rate)) / rate
    beats = np.cumsum(generator.uniform(0.7, 0.9, 40))
    found = 0.01 * generator.standard_normal(len(times)) + 0.1 * np.sin(2 * np.pi * 0.2 * times)
    for beat in beats:
        found += np.exp(-0.5 * ((times - beat) / 0.012) ** 2) + 0.3 * np.exp(-0.5 * ((times - beat - 0.3) / 0.05) ** 2)
    wandering = times + 0.002 / 2.5 * np.sin(2.5 * times)
    hum = sum(a * np.sin(2 * np.pi * tone * wandering + a) for a, tone in ((0.1, 50), (0.02, 100), (0.03, 150)))
    return found + hum


def test_hum_in_an_ecg_is_told_of_the_network_of_hum_and_hum_in_noise_is_not(place, capsys):
    """It is not taken: what is known of it is known of one person."""
    facts = {"frequencies": (50.0, 100.0, 150.0), "sampling_rate": 360.0, "task": "general"}
    model = random_network(3, family="hybrid", hop=10)
    described = metadata({"family": "hybrid", "hop": 10}, {"stateful": True}, center=0.0, **facts)
    put_network(place / "hum", model, described, {"ecg": {"streamed_r2": 0.99, "auto_r2": 0.98}})
    np.save("ecg.npy", spikes())
    hum = ("--rate", "360", "--tones", "50,100,150", "-o", "out.npy")
    lines = filtered(capsys, "ecg.npy", *hum)
    assert "extended-student-whitened" in lines[0]
    (hint,) = [line for line in lines if "such as an ECG" in line]
    assert hint.endswith(
        "the network of hum has R2 0.990 beside the filters' 0.980 if this is what it looks like (one person's ECG was "
        "all that its evaluation had): --model hum/models/model.safetensors"
    )
    generator = np.random.default_rng(7)
    coloured = signal.lfilter([1.0], [1.0, -1.6, 0.8], 0.3 * generator.standard_normal(7200))
    for noise in (0.3 * generator.standard_normal(7200), coloured):
        np.save("noise.npy", noise + spikes()[0] + sum(np.sin(2 * np.pi * f * np.arange(7200) / 360) for f in HUM))
        lines = filtered(capsys, "noise.npy", *hum)
        assert "method auto, after" in lines[0]
        assert not any("network" in line for line in lines)


def test_a_damaged_network_leaves_the_filters(place, capsys):
    (place / "any-tones" / "models" / "model.safetensors").write_bytes(b"half a mod")
    lines = filtered(capsys, "switching.npy", *NAMED, "-o", "out.npy")
    assert lines[0].startswith("note: switching.npy: method auto, after 10 s: fading")
    assert "tones come and go here, but any-tones cannot be used: any-tones/models/model.safetensors" in lines[1]


def test_what_lies_before_a_tone_is_first_heard_is_no_pause():
    times = np.arange(20_000) / RATE
    late = np.where(times > 10, np.sin(2 * np.pi * 5 * times), 0.0)[None]
    assert network_choice.quiet(late, (5.0,), RATE) == 0
    late[:, 12_000:14_000] = 0
    assert network_choice.quiet(late, (5.0,), RATE) == pytest.approx(0.2, abs=0.02)


def test_the_share_of_quiet_periods_is_that_of_the_pauses():
    times = np.arange(20_000) / RATE
    on = np.where(times % 2 < 1, 1.0, 0.0)
    tones = np.stack([on * np.sin(2 * np.pi * 5 * times), 3 * np.sin(2 * np.pi * 8 * times)])
    tones[:, 4000:5000] = np.nan
    assert network_choice.quiet(tones[:1], (5.0,), RATE) == pytest.approx(10 / 19, abs=0.01)
    assert network_choice.quiet(tones, (5.0, 8.0), RATE) == pytest.approx(5 / 19, abs=0.01)


@pytest.mark.parametrize("samples", [np.zeros(20_000), np.full(20_000, np.nan), np.zeros(0), recording(1.0)[:4000]])
def test_silence_gaps_and_few_samples_show_nothing(samples):
    assert network_choice.analyse(samples, TONES, RATE, None).kind == ""


def test_the_pipelines_of_this_repository_are_what_is_said_of_them():
    """Of those that are here: where their evaluation is, and the rate that they train at."""
    from tonesift import params

    for pipeline in network_choice.PIPELINES:
        path = ROOT / pipeline.name / "params.yaml"
        if path.is_file():
            (data,) = params.load(path, "data")
            assert data.sampling_rate == pipeline.rate
            assert pipeline.apart or network_choice.same(data.frequencies, pipeline.tones)
            judged = json.loads((ROOT / pipeline.name / "metrics" / "judge.json").read_text(encoding="utf-8"))
            assert set(pipeline.kinds) <= set(judged)
