"""Each stage by itself: what goes wrong is one clear line, exit status 2, and no half-written file."""

import json
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import termios
import time

import pytest
from conftest import PATHS

OUTPUTS = {
    "generate": ("data/train.h5", "data/test.h5"),
    "prepare": ("data/windows.h5",),
    "train": ("models/model.safetensors", "metrics/train"),
    "evaluate": ("metrics/evaluate", "plots/evaluate"),
}


@pytest.fixture(scope="module")
def done(make_workspace):
    """A workspace in which every stage has run."""
    workspace = make_workspace("all done")
    for stage, paths in PATHS.items():
        workspace.stage(stage, *paths)
    return workspace


@pytest.fixture
def copy(done, tmp_path):
    """A copy of it, to spoil."""
    path = tmp_path / "a copy"
    shutil.copytree(done.path, path)
    return type(done)(path, done.environment)


def refused(workspace, stage, message, **environment):
    """Run a stage that must refuse: one line for each mistake, status 2, no trace of a traceback."""
    before = content(workspace)
    result = workspace.stage(stage, *PATHS[stage], check=False, **environment)
    said = [line for line in result.stderr.splitlines() if not line.startswith("note:")]
    assert result.returncode == 2, result.stderr
    assert len(said) == 1, result.stderr
    assert re.search(message, said[0]), said[0]
    assert said[0].startswith(f"{stage}: ")
    assert content(workspace) == before
    return said[0]


def content(workspace):
    """Every file but the wall-clock one, with its bytes."""
    return {
        path.relative_to(workspace.path).as_posix(): path.read_bytes()
        for path in workspace.path.rglob("*")
        if path.is_file()
        and path.name != "run.json"
        and ".git/" not in path.as_posix()
        and path.suffix != ".pyc"
        and ".dvc/" not in path.as_posix()
    }


@pytest.mark.parametrize("stage", PATHS)
def test_a_bad_parameter_stops_every_stage_before_any_work(copy, stage):
    copy.set({"evaluate": {"batch_size": 0}, "train": {"epochs": 2.5}})
    result = copy.stage(stage, *PATHS[stage], check=False)
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        f"{stage}: params.yaml: train.epochs: got 2.5, but input should be a valid integer",
        "params.yaml: evaluate.batch_size: got 0, but input should be greater than or equal to 1",
    ]


@pytest.mark.parametrize(
    ("stage", "name", "message"),
    [
        ("prepare", "data/train.h5", "not a whole HDF5 file"),
        ("train", "data/train.h5", "not a whole HDF5 file"),
        ("train", "data/windows.h5", "not a whole HDF5 file"),
        ("evaluate", "data/test.h5", "not a whole HDF5 file"),
        ("evaluate", "models/model.safetensors", "not a whole safetensors file"),
    ],
)
def test_truncated_inputs(copy, stage, name, message):
    path = copy.path / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    refused(copy, stage, f"{name}: {message}")


@pytest.mark.parametrize(
    ("stage", "name"),
    [("prepare", "data/train.h5"), ("train", "data/windows.h5"), ("evaluate", "models/model.safetensors")],
)
def test_missing_inputs(copy, stage, name):
    (copy.path / name).unlink()
    assert "dvc " in refused(copy, stage, f"{name}: no such file")


def test_windows_of_other_recordings(copy):
    copy.set({"data": {"duration": 5.0}})
    copy.stage("generate", *PATHS["generate"])
    refused(copy, "train", "1 recordings of 500 samples, but the windows were made for 1 of 400")


def test_a_model_of_other_tones(copy):
    copy.set({"data": {"frequencies": [2.0, 7.0]}})
    copy.stage("generate", *PATHS["generate"])
    refused(copy, "evaluate", r"frequencies \[2.0, 7.0\], but the model was trained on \[2.0, 5.0\]")


def test_random_sets_of_tones_are_made_and_no_network_learns_them(copy):
    copy.set({"data": {"task": "general", "conditions": {"tone_range": [1.0, 20.0]}}})
    said = copy.stage("generate", *PATHS["generate"]).stdout
    assert "of 2 tones" in said
    assert "dB before tone_range" in said
    copy.stage("prepare", *PATHS["prepare"])
    for stage in ("train", "evaluate"):
        refused(copy, stage, r"every recording has tones of its own \(data\.conditions\.tone_range\), but a network")


def test_under_conditions_the_pipeline_runs_to_its_end(copy):
    everything = {"drift": 0.01, "dwell": 0.5, "tail_scale": [0.02, 0.2], "coloured": [0.02, 0.1], "gap_share": 0.2}
    copy.set({"data": {"task": "general", "train_recordings": 6, "conditions": everything}})
    for stage, paths in PATHS.items():
        copy.stage(stage, *paths)
    rows = copy.read("metrics/evaluate/comparison.csv")
    assert "bound: an oracle that is told frequency paths, switching times, each sample's noise level" in rows
    assert "best possible" not in rows
    assert "limit" not in json.loads(copy.read("metrics/evaluate/metrics.json"))
    page, card = copy.path / "report.html", copy.path / "card.md"
    copy.module("pages.report", str(page), str(card))
    assert "bound: an oracle" in page.read_text(encoding="utf-8")


def test_where_no_limit_is_known_none_is_told(copy):
    """Nobody knows how well waveforms that drift can be told apart from noise."""
    copy.set({"data": {"conditions": {"drift": 0.02}}, "evaluate": {"detail": "scores"}})
    for stage, paths in PATHS.items():
        said = copy.stage(stage, *paths).stdout
    assert "no limit is known under these conditions" in said
    assert set(json.loads(copy.read("metrics/evaluate/metrics.json"))) == {"test"}


def test_a_background_that_is_no_good(copy):
    copy.set({"data": {"conditions": {"background": "hall.wav"}}})
    refused(copy, "generate", r"hall\.wav: no such file")


def test_curves_that_are_gone(copy):
    shutil.rmtree(copy.path / "metrics" / "train" / "plots")
    refused(copy, "evaluate", "holds no curves")


def test_a_network_beyond_all_memory(copy):
    copy.set({"model": {"hidden_size": 100_000, "num_layers": 1000}})  # 8 h² weights a layer
    refused(copy, "train", r"model, train\.ensemble: takes 1\.\d+e\+06 of 1\.\d+e\+06 GiB of memory that are needed")


def test_cuda_where_there_is_none(copy):
    copy.set({"train": {"device": "cuda", "arithmetic": "native"}})
    refused(copy, "train", "PyTorch finds no CUDA device here", CUDA_VISIBLE_DEVICES="")


def limit_file_size(size):
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.parametrize("stage", ["generate", "prepare", "train", "evaluate"])
@pytest.mark.parametrize("size", [100, 2000, 12_000])
def test_a_full_disk_leaves_no_half_file(copy, stage, size):
    """A limit on the size of files meets writes in the middle as a full disk does."""
    before = content(copy)
    result = subprocess.run(
        ["python", "-m", f"stages.{stage}", *PATHS[stage]],
        cwd=copy.path,
        env=copy.environment,
        capture_output=True,
        text=True,
        preexec_fn=limit_file_size(size),
        check=False,
    )
    after = content(copy)
    if result.returncode == 0:  # everything this stage writes is smaller
        assert (stage, size) == ("prepare", 12_000)
        return
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert re.search("File too large|is the disk full|DVCLive cannot open", result.stderr)
    changed = {name for name in after if after[name] != before.get(name)}
    assert not {name for name in changed if name.endswith((".h5", ".safetensors", ".partial"))}
    for name in changed:  # written before the disk was full: whole
        assert len(after[name]) <= size


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("stage", PATHS)
def test_an_interrupted_stage_leaves_no_output(copy, stage, number):
    for output in OUTPUTS[stage]:  # as DVC does before it runs a stage
        path = copy.path / output
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    copy.set({"train": {"epochs": 2}})
    if stage in ("generate", "prepare"):
        copy.set({"data": {"train_recordings": 1 if stage == "prepare" else 3000}})
    process = subprocess.Popen(
        ["python", "-c", SLOW.format(stage=stage), *PATHS[stage]],
        cwd=copy.path,
        env=copy.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )
    try:
        assert "writing\n" in iter(process.stdout.readline, "")
        time.sleep(0.2)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    expected = {signal.SIGINT: 130, signal.SIGTERM: 128 + signal.SIGTERM, signal.SIGKILL: -signal.SIGKILL}
    assert process.returncode == expected[number]
    assert "Traceback" not in said
    for output in OUTPUTS[stage]:
        assert not (copy.path / output).is_file()
        # Curves are written as they come, so that DVC's readers see a training go on.
        assert not any((copy.path / output).rglob("*")) or stage == "evaluate" or output == "metrics/train"
    if stage == "train":
        curve = (copy.path / "metrics/train/plots/metrics/validation/loss.tsv").read_text().splitlines()
        assert len(curve) == 1 + 2
    left = list(copy.path.rglob("*.partial"))
    assert bool(left) == (number == signal.SIGKILL)


def heed_interrupts():
    """Undo what background jobs inherit: SIGINT ignored, which Python would respect."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


# Runs a stage that halts, after saying so, as soon as it has begun to write its first output.
SLOW = """
import runpy, sys, time
from pathlib import Path
from tonesift import atomic
original = atomic.replacing.__wrapped__
import contextlib
@contextlib.contextmanager
def halting(path):
    with contextlib.contextmanager(original)(path) as aside:
        if Path(path).name != "run.json":
            aside.write_text("half")
            print("writing", flush=True)
            time.sleep(60)
        yield aside
atomic.replacing = halting
sys.argv = ["stage", *sys.argv[1:]]
runpy.run_module("stages.{stage}", run_name="__main__")
"""


def test_generate_and_prepare_do_not_import_torch(done):
    program = "import sys, stages.generate, stages.prepare; sys.exit('torch' in sys.modules)"
    assert done.run("python", "-c", program, check=False).returncode == 0


def test_stages_say_what_they_are(done):
    for stage in PATHS:
        said = done.stage(stage, "--help").stdout
        assert f"Stage `{stage}`:" in said


def test_the_general_task_draws_its_own_phases_and_amplitudes(copy):
    import numpy as np

    from tonesift.data import recordings

    copy.set({"data": {"task": "general", "train_recordings": 6, "test_recordings": 4}})
    for stage, paths in PATHS.items():
        copy.stage(stage, *paths)
    with recordings.opened(copy.path / "data" / "train.h5") as train:
        facts = train.facts
        time_ = np.arange(train.samples) / facts.sampling_rate
        for index in range(train.count):
            for tone, frequency in enumerate(facts.frequencies):
                phase, amplitude = np.deg2rad(facts.phases[index, tone]), facts.amplitudes[index, tone]
                expected = amplitude * np.sin(2 * np.pi * frequency * time_ + phase)
                assert np.allclose(train.tones(index)[tone], expected, atol=1e-6)
    assert len(np.unique(facts.phases)) == facts.phases.size
    assert facts.amplitudes.min() >= 0.5
    assert facts.amplitudes.max() <= 2.0


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(copy):
    lines = copy.stage("train", *PATHS["train"]).stdout
    assert "epoch 2/2: loss" in lines
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 140))
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.train", *PATHS["train"]],
        cwd=copy.path,
        env=copy.environment,
        stderr=follower,
        stdout=subprocess.PIPE,
        text=True,
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    out, _ = process.communicate(timeout=120)
    os.close(leader)
    assert process.returncode == 0
    text = shown.decode()
    assert "epoch 2/2" in text
    assert "validation" in text
    assert " steps, " in text
    assert "R2 " in text
    assert "kept epoch" in out
