"""`python -m tonesift filter` as a process of its own."""

import argparse
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import ROOT
from random_models import TONES, batch_result, filled, make, run_filter
from scipy import signal as dsp
from scipy.io import wavfile

from tonesift.errors import InputError
from tonesift.networks import model as models
from tonesift.streaming import command as filtering

HEADER = "1 Hz,3 Hz,5 Hz"
RATE = ("--rate", "1000")


@pytest.fixture
def place(tmp_path):
    return filled(tmp_path)


def command(place, source, output, *options):
    started = [sys.executable, "-m", "tonesift", "filter", source if source == "-" else place / source]
    return [
        *started,
        "--model",
        place / "model.safetensors",
        "-o",
        output if output == "-" else place / output,
        *options,
    ]


def run(place, source, output, *options, status=0, **process):
    """A run in a process of its own."""
    return run_filter(command(place, source, output, *options)[3:], status, **process)


def refused(message, place, source, output, *options):
    """A run, in this process, that must fail with one line and leave nothing."""
    parser = argparse.ArgumentParser()
    filtering.add_arguments(parser)
    before = sorted(place.iterdir())
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        filtering.run(parser.parse_args([str(word) for word in command(place, source, output, *options)[4:]]))
    assert "\n" not in str(caught.value)
    assert sorted(place.iterdir()) == before


def expected(place):
    return batch_result(*make(hop=10), np.load(place / "in.npy"))


def test_npy_to_npy_gives_the_batch_result_and_says_what_was_done(place):
    done = run(place, "in.npy", "out.npy", *RATE)
    found = np.load(place / "out.npy")
    assert found.shape == (TONES, 123)
    assert np.abs(found - expected(place)).max() < 1e-6
    note, summary = done.stderr.splitlines()
    assert note.endswith(
        "in.npy: 0.123 s of it, but the network takes about 1 s to settle: until then it is less exact"
    )
    assert summary.startswith("filter: 123 samples, 0.123 s of signal in ")
    assert summary.endswith("x real time); latency 10 samples (10 ms); gaps filled: 0")


def test_wanted_tones_resampled_from_wav_to_wav(place):
    mixture = np.random.default_rng(0).uniform(-1, 1, size=5000).astype("f4")
    wavfile.write(place / "in.wav", 2000, mixture)
    refused("2000 Hz, but the model was trained at 1000 Hz: add --resample", place, "in.wav", "out.wav")
    done = run(place, "in.wav", "out.wav", "--resample", "--tone", "3", "--tone", "1")
    assert "latency 60 samples (30 ms)" in done.stderr
    rate, found = wavfile.read(place / "out.wav")
    tones = batch_result(*make(hop=10), dsp.resample_poly(mixture.astype("f8"), 1, 2))[[2, 0]]
    assert rate == 2000
    assert np.abs(found.T - dsp.resample_poly(tones.astype("f8"), 2, 1, axis=1)).max() < 1e-6


def test_hdf5_to_hdf5_and_csv_with_a_state(place):
    mixture = np.load(place / "in.npy")
    with h5py.File(place / "in.h5", "w") as file:
        file.attrs["sampling_rate"], file.attrs["frequencies"] = 1000.0, (1.0, 3.0, 5.0)
        file["mixture"] = np.stack([mixture[:61], mixture[61:122]])
    state = place / "state.npz"
    done = run(place, "in.h5", "first.h5", "--state", state, "--recording", "0")
    assert f"1 samples wait in {state}" in done.stderr
    run(place, "in.h5", "second.csv", "--state", state, "--recording", "1")
    with h5py.File(place / "first.h5") as file:
        first = file["tones"][:]
    second = np.genfromtxt(place / "second.csv", delimiter=",", skip_header=1).T
    assert np.abs(np.concatenate([first, second], axis=1) - expected(place)[:, :120]).max() < 1e-6
    refused("ask for the same tones", place, "in.h5", "third.csv", "--state", state, "--recording", "1", "--tone", "1")


def test_other_frequencies_are_refused(place):
    with h5py.File(place / "in.h5", "w") as file:
        file["mixture"] = np.zeros(100)
        file["mixture"].attrs["frequencies"] = (1.0, 3.0, 7.0)
    refused("its tones are 1, 3, 7 Hz, but the model knows 1, 3, 5 Hz", place, "in.h5", "out.npy", *RATE)


def test_gaps(place):
    (place / "in.csv").write_text("x\n" + "1\n" * 10 + '""\n' + "2\n" * 10)
    refused("sample 10 of the stream (counted from 0) is nan", place, "in.csv", "out.csv", *RATE)
    assert "gaps filled: 1" in run(place, "in.csv", "out.csv", *RATE, "--gaps", "hold").stderr
    assert len((place / "out.csv").read_text().splitlines()) == 1 + 21


@pytest.mark.parametrize(
    ("source", "output", "options", "message"),
    [
        ("none.npy", "out.npy", (), "none.npy: no such file"),
        ("in.npy", "in.npy", (), "written over what is read"),
        ("in.npy", "model.safetensors", (), "written over what is read"),
        ("in.npy", "out.npy", ("--state", "out.npy"), "both --state and --output"),
        ("in.npy", "gone/out.npy", (), "there is no folder"),
        ("in.npy", "folder.npy", (), "folder.npy: a folder: name a file"),
        ("in.npy", "out.mp3", (), ".mp3 is read, not written: write one of .csv, .wav"),
        ("in.npy", "out.pdf", (), "suffix is '.pdf'"),
        ("in.npy", "out.npy", ("--tone", "4"), "--tone 4: tones are different numbers from 1 to 3"),
        ("in.npy", "out.npy", ("--rate", "-1"), "--rate -1: a sampling rate is a number of Hz from 1e-09"),
        ("in.npy", "out.npy", ("--rate", "500", "--resample", "--state", "out.npz"), "not together with --resample"),
        (
            "in.npy",
            "out.npy",
            (),
            "it does not tell its sampling rate: say it, such as --rate 1000 if it is the model's",
        ),
        ("in.npy", "out.npy", ("--rate", "5e-324"), "a sampling rate is a number of Hz from 1e-09 to 1e+09"),
        ("empty.csv", "out.npy", RATE, "it holds no samples"),
        ("short.csv", "out.wav", RATE, "it holds 3 samples, but the model reads 10 at a time"),
    ],
)
def test_mistakes_are_one_line(place, source, output, options, message):
    (place / "folder.npy").mkdir()
    (place / "empty.csv").touch()
    (place / "short.csv").write_text("1\n2\n3\n")
    options = [place / option if option.startswith("out.np") else option for option in options]
    refused(message, place, source, output, *options)


@pytest.mark.parametrize("twice", [("--rate", "1000"), ("--state", "s.npz"), ("-o", "out.npy"), ("--column", "1")])
def test_an_option_that_can_be_given_once_is_refused_twice(place, capsys, twice):
    parser = argparse.ArgumentParser()
    filtering.add_arguments(parser)
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(["in.npy", "-o", "other.npy", *twice, *twice])
    assert f"{twice[0]}" in (said := capsys.readouterr().err.splitlines()[-1])
    assert "given twice" in said


def test_a_rate_that_contradicts_the_file_is_refused(place):
    wavfile.write(place / "in.wav", 1000, np.zeros(100, "f4"))
    refused("--rate 500: but", place, "in.wav", "out.npy", "--rate", "500")


def test_a_rate_of_zero_is_not_taken_for_the_models(place):
    with h5py.File(place / "in.h5", "w") as file:
        file["mixture"], file.attrs["sampling_rate"] = np.zeros(100), 0.0
    refused("its attribute sampling_rate is 0.0, but must be", place, "in.h5", "out.npy")


def test_enough_is_a_hop_of_the_models_samples(place):
    resample = ("--resample", "--rate")
    np.save(place / "in.npy", np.ones(20, "f4"))
    refused("holds 20 samples, but the model reads 441 at a time", place, "in.npy", "out.npy", *resample, "44100")
    np.save(place / "in.npy", np.arange(9, dtype="f4"))
    run(place, "in.npy", "out.npy", *resample, "100")
    assert np.load(place / "out.npy").shape == (TONES, 9)


def test_a_model_of_another_version_is_refused(place, monkeypatch):
    monkeypatch.setattr(models, "VERSION", 1)
    models.save(place / "model.safetensors", *make())
    monkeypatch.undo()
    refused("not a tonesift model of version 3", place, "in.npy", "out.npy")


WITHOUT_PYTORCH = """
import runpy, sys
try:
    runpy.run_module("tonesift", run_name="__main__", alter_sys=True)
except SystemExit as left:
    print(left.code, "torch" in sys.modules, file=sys.stderr)
"""


def test_a_damaged_file_is_refused_before_pytorch_is_imported(place):
    """That takes two seconds."""
    (place / "in.csv").write_text("x\n" + "1.5\n" * 5000 + "1_5\n")
    words = [str(word) for word in command(place, "in.csv", "out.npy", *RATE)[3:]]
    done = subprocess.run([sys.executable, "-c", WITHOUT_PYTORCH, *words], cwd=ROOT, text=True, capture_output=True)
    assert done.stderr.endswith("in.csv, line 5002: '1_5' is not a number\n2 False\n")


def test_a_full_device_behind_a_pipe_is_one_line(place):
    with Path("/dev/full").open("w") as full:
        started = subprocess.run(
            command(place, "in.npy", "-", *RATE), cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120
        )
    assert started.returncode == 2
    assert started.stderr.splitlines()[-1] == "filter: [Errno 28] No space left on device: 'standard output'"


def heeding() -> None:
    """A child hears of Ctrl-C even where the tests themselves run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def pipe(place):
    """The command between two pipes."""
    process = subprocess.Popen(
        command(place, "-", "-", *RATE),
        cwd=ROOT,
        preexec_fn=heeding,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    yield process
    process.kill()
    process.communicate()


def send(process, values):
    process.stdin.writelines(f"{value:.9g}\n" for value in values)
    process.stdin.flush()


def test_a_pipe_answers_hop_by_hop(place, pipe):
    mixture, found = np.load(place / "in.npy"), []
    assert pipe.stdout.readline() == HEADER + "\n"
    for hop in range(12):
        send(pipe, mixture[10 * hop : 10 * hop + 10])
        found += [pipe.stdout.readline() for _ in range(10)]
    send(pipe, mixture[120:])
    rest, errors = pipe.communicate(timeout=120)
    found = np.array([[float(cell) for cell in line.split(",")] for line in [*found, *rest.splitlines()]]).T
    assert np.abs(found - expected(place)).max() < 1e-6
    assert pipe.returncode == 0
    assert "123 samples" in errors


def test_a_pipe_ends_on_ctrl_c(pipe):
    assert pipe.stdout.readline() == HEADER + "\n"
    pipe.send_signal(signal.SIGINT)
    assert pipe.wait(timeout=120) == 130
    assert pipe.stderr.read().splitlines()[-1] == "filter: interrupted"


def test_a_pipe_ends_quietly_when_nobody_reads(pipe):
    assert pipe.stdout.readline() == HEADER + "\n"
    pipe.stdout.close()
    pipe.stdout = None
    send(pipe, np.zeros(10))
    assert pipe.wait(timeout=120) == 0
    assert [line for line in pipe.stderr.read().splitlines() if not line.startswith("note: ")] == []


def test_a_bad_line_in_a_pipe_is_named(place):
    done = run(place, "-", "-", *RATE, input="1\n2\nx\n", status=2)
    assert done.stderr.splitlines()[-1] == "filter: standard input, line 3: 'x' is not a number"


def test_a_byte_order_mark_in_a_pipe_costs_no_sample(place):
    lines = "".join(f"{value:.9g}\n" for value in np.load(place / "in.npy"))
    done = run(place, "-", "-", *RATE, input="\ufeff" + lines, encoding="utf-8")
    found = np.genfromtxt(done.stdout.splitlines()[1:], delimiter=",").T
    assert np.abs(found - expected(place)).max() < 1e-6


def test_ctrl_c_leaves_no_half_file(place):
    np.save(place / "in.npy", np.zeros(10_000_000, "f4"))
    before = sorted(place.iterdir())
    arguments = command(place, "in.npy", "out.npy", *RATE)
    process = subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=heeding)
    for _ in range(300):
        time.sleep(0.1)
        if sorted(place.iterdir()) != before:
            break
    process.send_signal(signal.SIGINT)
    assert "filter: interrupted" in process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert sorted(place.iterdir()) == before


MEASURED = """
import runpy, sys
try:
    runpy.run_module("tonesift", run_name="__main__", alter_sys=True)
finally:
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak_memory(place, samples):
    """Peak resident memory in MB of filtering so many samples."""
    np.save(place / "in.npy", np.arange(samples) % 7.0)
    started = [sys.executable, "-c", MEASURED, *command(place, "in.npy", "out.npy", *RATE)[3:]]
    done = subprocess.run(started, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert np.load(place / "out.npy", mmap_mode="r").shape == (TONES, samples)
    return int(done.stdout) / 1024


def test_memory_is_the_same_for_an_hour_as_for_two_minutes(place):
    models.save(place / "model.safetensors", *make(hop=60, layers=1))
    measure = partial(peak_memory, place)
    assert measure(3_600_000) < measure(120_000) + 8  # the hour is 29 MB in and 43 MB out
