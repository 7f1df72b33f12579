"""docs/your-recording.md: its commands, from a recording to a filter of one's own; the training is cut short."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from conftest import ROOT, bring_compiled, change_params, checked, quiet_environment
from scipy.io import wavfile

from pages import recording

PAGE = (ROOT / "docs" / "your-recording.md").read_text(encoding="utf-8")
SHORT = {
    "train_recordings: 100": "train_recordings: 20",
    "test_recordings: 24": "test_recordings: 2",
    "duration: 10.0": "duration: 4.0",
}


def blocks(text):
    """The page's blocks of code: the name above each, its language, its text."""
    return re.findall(r"(?:`([\w./-]+)`\n\n)?```(\w+)\n(.*?)```", text, re.DOTALL)


def clone(place):
    """This repository as a clone has it."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name)
    bring_compiled(place)
    path = place / "any-tones" / "params.yaml"
    change_params(path, {"train": {"epochs": 1, "batch_size": 8, "stream_steps": 20}})


def run(command, place, environment):
    return checked(
        subprocess.run(
            ["bash", "-c", command], cwd=place, env=environment, check=False,
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
    ).stdout  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The folder that the page's commands were run in, and what each of them said."""
    place, home = tmp_path_factory.mktemp("a clone") / "tonesift", tmp_path_factory.mktemp("home")
    place.mkdir()
    clone(place)
    environment = quiet_environment(home) | {"COLUMNS": "120"}
    environment.pop("PYTHONPATH", None)
    run(
        "git init --quiet --initial-branch main && git add --all && git commit --quiet --message start",
        place,
        environment,
    )
    said = {}
    for name, kind, text in blocks(PAGE):
        if name:
            for whole, short in SHORT.items():
                text = text.replace(whole, short)
            (place / name).write_text(text, encoding="utf-8")
        elif kind == "console":
            for command in re.findall(r"^\$ (.*)", text, re.MULTILINE):
                said.setdefault(command, []).append(run(command, place, environment))
    return place, said


def shown(command):
    """What the page shows behind the first time that a command stands there."""
    return re.search(rf"^\$ {re.escape(command)}\n(.*?)(?=^\$ |^```)", PAGE, re.MULTILINE | re.DOTALL)[1]


def timeless(text):
    return re.sub(r"in [\d.]+ s \(\d+ x real", "in … s (… x real", text)


def test_what_the_classical_filter_says_and_comes_to_is_what_the_page_shows(page):
    _, said = page
    command = "python -m tonesift filter machine.wav --tones 8,19.5,33 -o tones.csv --residual clean.wav"
    heard = [line for line in said[command][0].splitlines(keepends=True) if not line.startswith("compiling")]
    assert timeless("".join(heard)) == timeless(shown(command))
    score = "python -m pages.recording score tones.csv"
    scores = re.findall(rf"^\$ {re.escape(score)}\n(.*\n)", PAGE, re.MULTILINE)
    assert said[score][:2] == scores[:2]
    assert len(scores) == 3


def test_a_filter_is_trained_judged_used_kept_and_compared(page):
    place, said = page
    (figures,) = json.loads((place / "mine" / "judge.json").read_text(encoding="utf-8")).values()
    assert list(figures) == [
        "r2",
        "first_filter_r2",
        "streamed_r2",
        "auto_r2",
        "extended-student_r2",
        "fading-student_r2",
    ]
    (command,) = [command for command in said if "--model" in command]
    assert "method hybrid: filters corrected by a network" in said[command][0]
    (table,) = [table for command, (table, *_) in said.items() if command.startswith("dvc exp show")]
    assert {"shed", "shorter"} <= set(re.findall(r"shed|shorter", table))
    tracked = subprocess.run(
        ["git", "status", "--short", "mine"], cwd=place, capture_output=True, text=True, check=True
    )
    assert tracked.stdout == ""
    assert "epochs: 1\n" in (place / "mine" / "params.yaml").read_text(encoding="utf-8")


def test_tones_and_what_is_left_make_up_the_recording(page):
    place, _ = page
    rate, mixture = wavfile.read(place / "machine.wav")
    tones = np.loadtxt(place / "tones.csv", delimiter=",", skiprows=1)
    assert rate == recording.RATE
    assert np.allclose(tones.sum(axis=1) + wavfile.read(place / "clean.wav")[1], mixture, atol=1e-4)


def test_the_recording_holds_the_tones_that_it_is_said_to(tmp_path):
    """By its spectrum: the truth lies at its three tones, which are off about half of the time."""
    recording.make(tmp_path)
    tones = np.load(tmp_path / "motors.npy")
    for tone, frequency in zip(tones, recording.TONES, strict=True):
        power = np.abs(np.fft.rfft(tone)) ** 2
        at = np.fft.rfftfreq(len(tone), 1 / recording.RATE)
        assert power[abs(at - frequency) < 1].sum() > 0.9 * power.sum()
        assert 0.2 < np.mean(tone == 0) < 0.8
    np.savetxt(tmp_path / "half.csv", 0.5 * tones.T, delimiter=",", header="a,b,c")
    assert recording.score(tmp_path / "half.csv", tmp_path / "motors.npy") == pytest.approx(0.75, abs=1e-4)
