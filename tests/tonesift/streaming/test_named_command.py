"""`filter --tones`, without a model: what it writes, what it says, and what it refuses."""

import argparse
import itertools
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from networks import metadata
from scipy.io import wavfile

from tonesift.errors import InputError
from tonesift.networks import model as models
from tonesift.streaming import command as filtering

HUM = ("--tones", "5,12Hz", "--rate", "100")


def recording(samples=1000):
    """Two tones (2, N) and their noisy sum."""
    times = np.arange(samples) / 100
    true = np.stack([1.5 * np.sin(2 * np.pi * 5 * times + 1), 0.5 * np.sin(2 * np.pi * 12 * times + 2)])
    return true, true.sum(axis=0) + 0.1 * np.random.default_rng(0).standard_normal(samples)


@pytest.fixture
def place(tmp_path):
    np.save(tmp_path / "in.npy", recording()[1])
    return tmp_path


def filtered(capsys, *words):
    """What a run in this process says."""
    parser = argparse.ArgumentParser()
    filtering.add_arguments(parser)
    status = filtering.run(parser.parse_args([str(word) for word in words]))
    assert status == 0
    return capsys.readouterr().err.splitlines()


def error(array, true):
    return np.mean((array - true)[..., 100:] ** 2)


def test_no_model_is_asked_for_and_one_line_says_what_was_chosen(place, monkeypatch):
    """In a process of its own, in a folder without a model; and PyTorch is not needed either."""
    code = (
        "import runpy, sys; sys.modules['torch'] = None; sys.argv[0] = 'tonesift'; "
        "runpy.run_module('tonesift', run_name='__main__')"
    )
    words = [sys.executable, "-c", code, "filter", "in.npy", *HUM, "-o", "out.csv"]
    done = subprocess.run(words, cwd=place, env=environment(), text=True, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("compiling the filters, once: ")]
    assert lines[0].startswith("note: in.npy: method auto, after 10 s: kalman")
    assert re.match(
        r"filter: 1000 samples, 10 s of signal in .*; latency 1 samples \(10 ms\); gaps filled: 0$", lines[1]
    )
    assert len(lines) == 2
    assert (place / "out.csv").read_text().splitlines()[0] == "5 Hz,12 Hz"
    assert error(np.genfromtxt(place / "out.csv", delimiter=",", skip_header=1).T, recording()[0]) < 1e-3


def environment():
    return os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


def test_the_recording_is_the_sum_of_its_tones(place, capsys):
    true, samples = recording()
    filtered(capsys, place / "in.npy", *HUM, "-o", place / "tones.npy", "--residual", place / "left.npy")
    filtered(capsys, place / "in.npy", *HUM, "-o", place / "sum.npy", "--sum")
    filtered(capsys, place / "in.npy", *HUM, "-o", place / "heard.npy", "--as-heard")
    filtered(capsys, place / "in.npy", *HUM, "-o", place / "second.npy", "--tone", "2")
    tones, left, total, heard = (np.load(place / f"{name}.npy") for name in ("tones", "left", "sum", "heard"))
    assert error(tones, true) < 1e-3
    assert np.array_equal(heard, tones)
    assert np.allclose(total, tones.sum(axis=0), rtol=0, atol=1e-6)
    assert np.allclose(total + left, samples, rtol=0, atol=1e-6)
    assert np.array_equal(np.load(place / "second.npy"), tones[1:])


def test_a_state_goes_on_where_it_ended(place, capsys):
    samples, state = np.load(place / "in.npy"), place / "state.npz"
    filtered(capsys, place / "in.npy", *HUM, "-o", place / "whole.npy")
    found, said = [], []
    for number, (begin, end) in enumerate([(0, 30), (30, 260), (260, 1000)]):
        np.save(place / "part.npy", samples[begin:end])
        said += filtered(capsys, place / "part.npy", *HUM, "-o", place / f"{number}.npy", "--state", state)
        found.append(np.load(place / f"{number}.npy"))
    waits = [line for line in said if "wait" in line]
    assert waits == [f"30 samples wait in {state} for more to choose a filter by"]
    assert [part.shape[1] for part in found] == [0, 260, 740]
    assert np.array_equal(np.concatenate(found, axis=1), np.load(place / "whole.npy"))


def test_a_method_that_is_asked_for_is_taken(place, capsys):
    lines = filtered(capsys, place / "in.npy", *HUM, "--method", "extended-student", "-o", place / "out.npy")
    assert lines[0].startswith(f"note: {place / 'in.npy'}: method extended-student, as asked: frequencies that drift")


@pytest.fixture
def states(place, monkeypatch):
    """The folder, to be in, with a state of every maker; of filters also one that waits for more."""
    monkeypatch.chdir(place)
    described = metadata(
        {"family": "hybrid", "hop": 5}, {"stateful": True}, frequencies=(5.0, 12.0), sampling_rate=100.0, center=0.0
    )
    models.save(place / "hybrid.safetensors", models.build(described), described)
    own = metadata({}, {"stateful": True}, sampling_rate=100.0)
    models.save(place / "own.safetensors", models.build(own), own)
    np.save("few.npy", recording()[1][:20])
    for state, (source, *options) in MAKERS.items():
        assert run(source, *options, "--state", state, "-o", "out.npy", "--force") == 0
    return place


def run(*words):
    parser = argparse.ArgumentParser()
    filtering.add_arguments(parser)
    return filtering.run(parser.parse_args(list(words)))


KALMAN, HYBRID = (*HUM, "--method", "kalman-student"), (*HUM, "--model", "hybrid.safetensors")
MAKERS = {
    "auto.npz": ("in.npy", *HUM),
    "kalman.npz": ("in.npy", *KALMAN),
    "few.npz": ("few.npy", *HUM),
    "hybrid.npz": ("in.npy", *HYBRID),
    "own.npz": ("in.npy", "--rate", "100", "--model", "own.safetensors"),
}
MADE = (
    "method auto, with filters alone",
    "method kalman-student",
    "filters of named tones",
    "method hybrid",
    "a model of its own tones",
)


def test_a_state_of_another_method_is_refused_by_both_names(states):
    for (state, made), (other, wanted) in itertools.permutations(zip(MAKERS, MADE, strict=True), 2):
        message = f"{state}: made by {made}.*, but this is {wanted}.*: go on as it was begun, or name another --state"
        if other == "few.npz":  # that is method auto too
            continue
        if state == "few.npz" and other == "kalman.npz":  # what it waits for is not said in it
            message = "few.npz: the state of filter .*: go on with the same tones, sampling rate and method"
        if (state, other) != ("few.npz", "auto.npz"):
            with pytest.raises(InputError, match=message):
                run(*MAKERS[other], "--state", state, "-o", "out.npy", "--force")
    np.savez("auto.npz", x=np.zeros(3))
    with pytest.raises(InputError, match=r"auto\.npz: not the state of a filter: remove it to begin a new stream"):
        run(*MAKERS["auto.npz"], "--state", "auto.npz", "-o", "out.npy")


@pytest.mark.parametrize(("gap", "said"), [(1, "0.1% missing"), (14, "1% missing"), (300, "30% missing")])
def test_a_small_share_is_no_0(place, capsys, gap, said):
    samples = recording()[1]
    samples[500 : 500 + gap] = np.nan
    np.save(place / "in.npy", samples)
    lines = filtered(capsys, place / "in.npy", *HUM, "--method", "kalman", "-o", place / "out.npy")
    assert lines[0].endswith(f", {said}")


def test_limits_may_be_told(place, capsys):
    np.save(place / "in.npy", np.clip(recording()[1], -0.8, 0.8))
    lines = filtered(capsys, place / "in.npy", *HUM, "--clip=-0.8,0.8", "-o", place / "out.npy")
    assert "clipped at -0.8 and 0.8" in lines[0]
    assert error(np.load(place / "out.npy"), recording()[0]) < 0.02


def test_gaps_are_predicted_unless_it_is_said_otherwise(place, capsys):
    samples = recording()[1]
    samples[500:520] = np.nan
    np.save(place / "in.npy", samples)
    lines = filtered(capsys, place / "in.npy", *HUM, "-o", place / "out.npy")
    assert "2% missing" in lines[0] or "3% missing" in lines[0]
    assert lines[-1].endswith("gaps filled: 20")
    assert error(np.load(place / "out.npy"), recording()[0]) < 2e-3
    refused("sample 500 of the stream", place, *HUM, "--gaps", "refuse")


def test_the_rate_of_the_recording_is_taken_whatever_it_is(place, capsys):
    times = np.arange(22_050) / 44_100
    wavfile.write(place / "in.wav", 44_100, np.sin(2 * np.pi * 440 * times).astype("f4"))
    filtered(capsys, place / "in.wav", "--tones", "440", "--method", "kalman", "-o", place / "out.npy")
    assert np.mean((np.load(place / "out.npy")[0] - np.sin(2 * np.pi * 440 * times))[5000:] ** 2) < 1e-4


def test_tones_and_rates_of_tides(place, capsys):
    """Half a year, a sample an hour, two tides given by their periods, and the sea level that they are on."""
    hours = np.arange(4000)
    true = np.stack([60 * np.sin(2 * np.pi * hours / 12.4206 + 1), 30 * np.sin(2 * np.pi * hours / 23.9345 + 2)])
    np.save(place / "in.npy", 1300 + true.sum(axis=0) + 5 * np.random.default_rng(0).standard_normal(4000))
    words = ("--tones", "12.4206h,23.9345h", "--rate", "1h")
    lines = filtered(capsys, place / "in.npy", *words, "-o", place / "out.npy")
    assert error(np.load(place / "out.npy")[:, 500:], true[:, 500:]) < 4
    assert "gaps filled: 0" in lines[-1]


def test_what_cannot_be_told_apart_is_said(place, capsys):
    words = (place / "in.npy", "--rate", "100", "--tones", "5,5.01", "--method", "kalman", "-o", place / "out.npy")
    assert "the tones take 100 s to be told apart, but there are 10 s of it" in "\n".join(filtered(capsys, *words))


def refused(message, place, *options):
    """A run that must fail with one line and leave nothing."""
    parser = argparse.ArgumentParser()
    filtering.add_arguments(parser)
    before = sorted(place.iterdir())
    words = parser.parse_args([str(word) for word in (place / "in.npy", "-o", place / "out.npy", *options)])
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        filtering.run(words)
    assert "\n" not in str(caught.value)
    assert sorted(place.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--tones", "5,50", "--rate", "100"),
            "tone 50 Hz: sampled at 100 Hz, a recording holds tones above 0 and below",
        ),
        (("--tones", "5,0.2s", "--rate", "100"), "two of them are the same: name each once"),
        (("--tones", "0", "--rate", "100"), "0: a frequency is a number above 0"),
        (("--tones=-5", "--rate", "100"), "-5: a frequency is a number above 0"),
        (("--tones", "5,,7", "--rate", "100"), "nothing: a frequency is a number above 0"),
        (("--tones", "five", "--rate", "100"), "five: a frequency is a number above 0"),
        (
            ("--tones", "5"),
            "it does not tell its sampling rate: say it, such as --rate 1000, or 1h for one sample an hour",
        ),
        ((*HUM, "--method", "lstm"), "--method 'lstm': choose auto, or one of kalman, wander"),
        ((*HUM, "--method", "lstm"), "; or filters (auto without networks), or hybrid"),
        ((*HUM, "--clip", "3"), "--clip 3: two numbers with a comma between them, the lowest first"),
        ((*HUM, "--clip", "3,1"), "--clip 3,1: two numbers with a comma between them, the lowest first"),
        ((*HUM, "--tone", "3"), "--tone 3: tones are different numbers from 1 to 2"),
        ((*HUM, "--resample"), "--resample: filters of named tones have no sampling rate of their own"),
        ((*HUM, "--model", "a.safetensors"), "a.safetensors: no such file"),
        (("--method", "kalman"), "--method: it is of filters without a model: say which tones"),
        (("--clip", "0,1"), "--clip: it is of filters without a model: say which tones"),
        (("--gaps", "predict"), "--gaps predict: a network cannot go on without samples"),
    ],
)
def test_mistakes_are_one_line(place, options, message):
    refused(message, place, *options)


@pytest.mark.parametrize("samples", [np.zeros(300), np.full(300, 2.5), np.full(300, np.nan)], ids=["0", "2.5", "nan"])
def test_a_file_without_a_signal_is_refused(place, samples):
    np.save(place / "in.npy", samples)
    refused("there is no signal in it, or go on all the same with --force", place, *HUM)


def test_what_no_recorder_gives_is_silence(place, capsys):
    """Squares of such samples are 0 in double precision, and a filter would divide by them."""
    np.save(place / "faint.npy", 1e-200 * recording()[1])
    lines = filtered(capsys, place / "faint.npy", *HUM, "-o", place / "out.npy")
    assert lines[-1].startswith("filter: 1000 samples")
    assert not np.load(place / "out.npy").any()


def test_limits_that_every_sample_lies_beyond_are_pointed_out(place, capsys):
    lines = filtered(capsys, place / "in.npy", *HUM, "-o", place / "out.npy", "--clip=5,9")
    assert "every sample lies at or beyond 5 and 9 (--clip)" in lines[1]
    assert not [line for line in filtered(capsys, place / "in.npy", *HUM, "-o", place / "out.npy") if "--clip" in line]


def test_an_empty_file_and_one_sample_are_no_riddles(place, capsys):
    np.save(place / "in.npy", np.zeros(0))
    refused("it holds no samples", place, *HUM)
    np.save(place / "in.npy", np.array([1.0, 2.0, -1.0]))
    filtered(capsys, place / "in.npy", *HUM, "-o", place / "out.npy")
    assert np.load(place / "out.npy").shape == (2, 3)


def test_a_pipe_gets_a_line_for_a_line_once_a_filter_is_chosen(place):
    words = [sys.executable, "-m", "tonesift", "filter", "-", *HUM, "--method", "kalman", "-o", "-"]
    process = subprocess.Popen(
        words, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    true, samples = recording(300)
    assert process.stdout.readline() == "5 Hz,12 Hz\n"
    process.stdin.writelines(f"{value:.9g}\n" for value in samples[:100])
    process.stdin.flush()
    found = [process.stdout.readline() for _ in range(100)]
    for value in samples[100:110]:
        process.stdin.write(f"{value:.9g}\n")
        process.stdin.flush()
        found.append(process.stdout.readline())
    process.stdin.writelines(f"{value:.9g}\n" for value in samples[110:])
    rest, errors = process.communicate(timeout=300)
    table = np.array([[float(cell) for cell in line.split(",")] for line in [*found, *rest.splitlines()]]).T
    assert process.returncode == 0
    assert table.shape == (2, 300)
    assert error(table, true) < 5e-3
    assert "note: standard input: method kalman, as asked" in errors
