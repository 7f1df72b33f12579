"""`filter` as a process between pipes that end in every way; what it keeps of them, and what is left of a mixture."""

import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from conftest import ROOT
from random_models import TONES, batch_result, filled, make, run_filter

from tonesift.formats import files
from tonesift.formats.base import Selection
from tonesift.streaming.tonefilter import ToneFilter


@pytest.fixture
def place(tmp_path):
    return filled(tmp_path)


def command(place, source, output, *options):
    named = [name if name == "-" else place / name for name in (source, output)]
    started = [sys.executable, "-m", "tonesift", "filter", named[0], "-o", named[1]]
    rate = () if "--rate" in options else ("--rate", "1000")
    return [*started, "--model", place / "model.safetensors", *rate, *options]


def run(place, *arguments, status=0, **process):
    return run_filter(command(place, *arguments)[3:], status, **process)


def heeding():
    """A child hears of signals even where the tests themselves run in the background."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture
def between_pipes(place):
    """Starter of the command between pipes; what was started is ended in the end."""
    started = []

    def starting(*arguments):
        process = subprocess.Popen(
            command(place, *arguments),
            cwd=ROOT,
            preexec_fn=heeding,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield starting
    for process in started:
        process.kill()
        process.communicate()


def send(process, values):
    process.stdin.writelines(f"{value:.9g}\n" for value in values)
    process.stdin.flush()


MIXTURE = np.random.default_rng(1).normal(size=245).astype("f4")


def ended_by(process, number):
    """End a stream of which 200 samples have come out, and give the rest of its output."""
    if number == "end":
        return process.communicate(timeout=120)
    if number == "reader":
        process.stdout.close()
        process.stdout = None
        send(process, MIXTURE[205:215])
        process.wait(timeout=120)
        return "", process.stderr.read()
    process.send_signal(number)
    return process.communicate(timeout=120)


ENDS = {"end": 0, "reader": 0, signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.mark.parametrize("end", ENDS)
def test_however_a_stream_ends_its_state_is_that_of_what_came(place, between_pipes, end):
    process = between_pipes("-", "-", "--state", place / "live.npz")
    process.stdout.readline()
    send(process, MIXTURE[:205])
    first = [process.stdout.readline() for _ in range(200)]
    _, errors = ended_by(process, end)
    assert process.returncode == ENDS[end], errors
    assert "Traceback" not in errors
    if end not in ("end", "reader"):
        assert f"filter: ended by {signal.Signals(end).name}" in errors.splitlines()[-1]
    kept = ToneFilter.load(place / "model.safetensors")
    kept.restore(place / "live.npz")
    wanted = {"end": [205], "reader": [210]}  # the write after 210 fails
    assert kept.samples in wanted.get(end, range(200, 206))  # a signal may come before the last lines are read
    found = np.array([[float(cell) for cell in line.split(",")] for line in first]).T
    rest = np.concatenate([kept.push(MIXTURE[kept.samples :]), kept.finish()], axis=1)
    expected = batch_result(*make(hop=10), MIXTURE)
    assert np.abs(found - expected[:, :200]).max() < 1e-6
    assert np.abs(rest - expected[:, -rest.shape[1] :]).max() < 1e-6


@pytest.mark.parametrize("suffix", ["csv", "wav", "npy"])
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_however_a_stream_ends_its_output_is_kept_whole(place, between_pipes, end, suffix):
    process = between_pipes("-", f"out.{suffix}", "--residual", "-")
    send(process, MIXTURE[:205])
    lines = [process.stdout.readline() for _ in range(201)]
    process.send_signal(end)
    rest, errors = process.communicate(timeout=120)
    assert process.returncode == ENDS[end], errors
    count = len(lines + rest.splitlines()) - 1
    assert count in range(200, 206)  # a signal may come before the last lines are read
    found = [read(place / f"out.{suffix}", str(tone + 1)) for tone in range(TONES)]
    assert np.abs(np.array(found) - batch_result(*make(hop=10), MIXTURE[:count])).max() < 1e-6
    assert not list(place.glob(".*"))


def read(path, column):
    if path.suffix == ".npy":
        return np.load(path)[int(column) - 1]
    with files.opened(path, Selection(column=column)) as source:
        return np.concatenate(list(source.chunks))


def wait_until(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise TimeoutError


def test_an_ignored_signal_stays_ignored(place, between_pipes):
    process = subprocess.Popen(
        ["nohup", *command(place, "-", "out.npy")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    send(process, MIXTURE[:100])
    wait_until(lambda: list(place.glob(".out*")))
    process.send_signal(signal.SIGHUP)
    send(process, MIXTURE[100:])
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert np.load(place / "out.npy").shape == (TONES, 245)


def test_what_came_before_a_spoilt_line_is_kept(place):
    lines = "".join(f"{value:.9g}\n" for value in MIXTURE[:105])
    done = run(place, "-", "out.npy", "--state", place / "s.npz", input=lines + "0.5x\n1\n", status=2)
    assert done.stderr.splitlines()[-1] == "filter: standard input, line 106: '0.5x' is not a number"
    assert np.load(place / "out.npy").shape == (TONES, 100)
    kept = ToneFilter.load(place / "model.safetensors")
    kept.restore(place / "s.npz")
    assert kept.samples == 105


def test_ctrl_c_during_imports_is_quiet(place):
    for delay in (0.1, 0.4, 0.8):
        process = subprocess.Popen(
            command(place, "-", "-"),
            cwd=ROOT,
            preexec_fn=heeding,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=120)[1]
        if delay > 0.1:  # else Python itself may not have come to our first line
            assert "Traceback" not in errors
        assert process.returncode in (-signal.SIGINT, 130)


def test_one_state_is_of_one_process(place, between_pipes):
    state = place / "live.npz"
    first = between_pipes("-", "-", "--state", state)
    first.stdout.readline()
    done = run(place, "in.npy", "out.npy", "--state", state, status=2)
    assert (
        done.stderr
        == f"filter: {state}: another process is going on from this state: wait for it, or name another --state\n"
    )
    send(first, MIXTURE[:20])
    first.communicate(timeout=120)
    run(place, "in.npy", "out.npy", "--state", state)
    assert sorted(path.name for path in place.iterdir()) == ["in.npy", "live.npz", "model.safetensors", "out.npy"]


def test_a_lock_goes_with_its_process(place, between_pipes):
    state = place / "live.npz"
    first = between_pipes("-", "-", "--state", state)
    first.stdout.readline()
    first.kill()
    first.wait()
    assert (place / ".live.npz.lock").exists()
    run(place, "in.npy", "out.npy", "--state", state)
    assert not (place / ".live.npz.lock").exists()


# What is left of a mixture


@pytest.mark.parametrize("options", [(), ("--tone", "2"), ("--resample", "--rate", "500")])
def test_a_mixture_is_its_tones_as_heard_and_the_residual(place, options):
    mixture = np.load(place / "in.npy")
    for name, more in (("tones", ()), ("heard", ("--as-heard",)), ("sum", ("--sum",))):
        run(place, "in.npy", f"{name}.npy", *options, *more, "--residual", place / f"{name}-left.npy")
    tones, heard, total, left = (np.load(place / f"{name}.npy") for name in ("tones", "heard", "sum", "sum-left"))
    assert np.array_equal(heard, tones / np.float32(TONES))
    assert total.shape == left.shape == mixture.shape
    assert np.abs(total - heard.sum(axis=0)).max() < 1e-6
    assert np.abs(total + left - mixture).max() < 1e-6
    assert np.array_equal(left, np.load(place / "tones-left.npy"))


def test_the_residual_of_a_stream_in_two_parts_is_that_of_the_whole(place):
    mixture, state = np.load(place / "in.npy"), place / "s.npz"
    for name, part in (("a", mixture[:57]), ("b", mixture[57:])):
        np.save(place / f"{name}.npy", part)
        run(place, f"{name}.npy", f"{name}-sum.h5", "--sum", "--state", state, "--residual", place / f"{name}-left.h5")
    found = []
    for name, dataset in (("sum", "sum"), ("left", "residual")):
        parts = [h5py.File(place / f"{part}-{name}.h5")[dataset][:] for part in "ab"]
        found.append(np.concatenate(parts))
    assert np.abs(sum(found) - mixture[:120]).max() < 1e-6


def test_a_gap_is_a_gap_in_the_residual(place):
    mixture = np.load(place / "in.npy")
    mixture[[3, 50]] = np.nan
    np.save(place / "in.npy", mixture)
    run(place, "in.npy", "out.npy", "--gaps", "hold", "--residual", place / "left.npy")
    assert np.flatnonzero(np.isnan(np.load(place / "left.npy"))).tolist() == [3, 50]


# What does not fit


def test_what_the_input_says_of_itself_and_does_not_hold_is_a_status_of_its_own(place):
    with (place / "in.npy").open("ab") as file:
        file.write(b"more")
    done = run(place, "in.npy", "out.npy", status=3)
    assert done.stderr.splitlines()[-1] == (
        f"warning: {place / 'in.npy'}: 4 bytes follow the array that its header declares: they are not read"
    )
    assert np.load(place / "out.npy").shape == (TONES, 123)


def test_a_constant_file_is_refused_and_a_stream_of_zeros_told(place):
    np.save(place / "in.npy", np.zeros(500))
    done = run(place, "in.npy", "out.npy", status=2)
    assert "every sample is 0: there is no signal in it, or go on all the same with --force" in done.stderr
    assert not (place / "out.npy").exists()
    assert "note: " in run(place, "in.npy", "out.npy", "--force").stderr
    done = run(place, "-", "-", input="0\n" * 500)
    assert "note: standard input: every sample is 0: there is no signal in it" in done.stderr


def test_tones_above_half_the_rate_are_refused(place):
    options = ("--rate", "9", "--resample")
    message = "sampled at 9 Hz it holds nothing from 4.5 Hz on, but the tones are 1, 3, 5 Hz"
    assert message in run(place, "in.npy", "out.npy", *options, status=2).stderr
    assert message in run(place, "in.npy", "out.npy", *options, "--force").stderr


def test_what_was_recognised_and_what_does_not_fit_are_said(place):
    rows = "".join(f"{n};{1000 * np.sin(0.05 * n):.3f}\n".replace(".", ",") for n in range(3000))
    (place / "a.csv").write_text("Zeit [ms];Wert\n" + rows)
    notes = [line.split(": ", 2)[2] for line in run(place, "a.csv", "out.npy").stderr.splitlines()[:-1]]
    assert notes[0] == "recognised: separator ;, decimal comma, column 'Wert', 1000 Hz by its column 'Zeit [ms]'"
    assert [note[:12] for note in notes[1:]] == ["its level is", "0% of its po"]


def test_a_rate_that_the_user_knows_better_is_taken_with_a_note(place):
    (place / "a.csv").write_text("t,x\n" + "".join(f"{n},{n % 7}\n" for n in range(500)))
    message = "sampled at 1 Hz, but the model was trained at 1000 Hz"
    started = [word for word in command(place, "a.csv", "out.npy") if word not in ("--rate", "1000")]
    done = subprocess.run(started, cwd=ROOT, text=True, capture_output=True, timeout=120, check=False)
    assert message in done.stderr
    assert "taken at 1000 Hz (--rate), not the 1 of its times" in run(place, "a.csv", "out.npy").stderr


# Names and folders


def test_a_name_with_stars_is_a_name(place):
    run(place, "in.npy", "**.npy")
    assert (place / "**.npy").exists()


def test_a_folder_that_cannot_be_written_is_named_without_hidden_files(place):
    (place / "sys").symlink_to("/sys")
    done = run(place, "in.npy", "sys/out.npy", status=2)
    assert f"{place}/sys/out.npy" in done.stderr
    assert "partial" not in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_do_no_harm(place, closed):
    words = " ".join(f"'{word}'" for word in command(place, "in.npy", "out.npy"))
    assert subprocess.run(["bash", "-c", f"{words} {closed}"], cwd=ROOT, timeout=120, check=False).returncode == 0
    assert np.load(place / "out.npy").shape == (TONES, 123)
    assert sorted(path.name for path in place.iterdir()) == ["in.npy", "model.safetensors", "out.npy"]
