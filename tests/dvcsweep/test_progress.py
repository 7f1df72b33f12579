"""What is shown while a search runs."""

import os
import pty
import re
import subprocess

import pytest
from foreign import build

from dvcsweep import progress
from dvcsweep.progress import Figures


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.25, "0.2 s"),
        (9.94, "9.9 s"),
        (12.3, "12 s"),
        (59.4, "59 s"),
        (61, "1 min 01 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_times_as_people_say_them(seconds, said):
    assert progress.clock(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "stages", "said"),
    [
        (12.3, ["train"], "12 s"),
        (None, ["train"], "in part from the run-cache"),
        (None, [], "from the run-cache"),
    ],
)
def test_how_an_experiment_came_about(seconds, stages, said):
    assert progress.took(seconds, stages) == said


def test_time_left_is_what_the_rest_takes_at_the_pace_so_far():
    assert Figures(total=10, done=3, failed=1, jobs=2, seconds=[50, 70]).time_left() == "about 3 min 00 s left"
    assert Figures(total=10, done=3, jobs=2).time_left() == ""
    assert Figures(total=3, done=3, jobs=2, seconds=[50]).time_left() == ""


def test_parameters_in_one_line():
    assert progress.brief({"train.rate": 0.00012345, "clip": None, "size": 64}) == "rate=0.0001234 clip=null size=64"


@pytest.fixture
def foreign(tmp_path):
    return build(tmp_path / "a repository", tmp_path)


def test_on_a_terminal_it_shows_what_runs_and_the_best_so_far(foreign):
    path = foreign.study("grid", strategy="grid", space={"model.width": [3, 5]}, fixed={"sleep": 1.0}, jobs=1)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        foreign.command("run", str(path), "--no-report"),
        cwd=foreign.path,
        env=foreign.environment | {"TERM": "xterm", "COLUMNS": "120"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    short = foreign.repository.head[:7]
    assert re.search(rf"running\s+grid-001-{short}", text)
    assert re.search(r"best\s+trial 0: 4.501", text)
    assert re.search(r"about \d+(\.\d)? s left", text)
    assert "grid@" in text
    assert "2 of 2 trials done" in text
