import os
import subprocess
import sys
import time
from collections import Counter

import psutil
import pytest

from benchmarks.kills import MARK, Family, Trial, count, finished, queue_states, role, role_of

STATUS = """\
Task     Name      Created    Status
8a8838f  kills-8   08:01 PM   Running
3458074  kills-1   08:01 PM   Success
b852048  kills-12  Nov 25, 2026  Queued
ff6c94c  kills-3   08:01 PM   Failed
0a1b2c3            08:01 PM   Success

Worker status: 1 active, 0 idle
"""


def test_the_queue_s_status_is_read_by_the_number_in_each_name():
    assert queue_states(STATUS) == {8: "running", 1: "complete", 12: "queued", 3: "failed"}
    assert queue_states("No experiment tasks in the queue.\n\nWorker status: 0 active, 0 idle\n") == {}


@pytest.mark.parametrize(
    ("trial", "counted"),
    [
        (Trial(1, "complete", 1), {"there"}),
        (Trial(0, "failed", 0), {"failed, and said so"}),
        (Trial(0, "complete", 1), {"lost: no experiment, and not said to have failed"}),
        (Trial(0, "unknown", 0), {"lost: no experiment, and not said to have failed"}),
        (Trial(0, "running", 1), {"stuck: said to run, and nothing runs"}),
        (Trial(1, "running", 1), {"there", "stuck: said to run, and nothing runs"}),
        (Trial(0, "queued", 0), {"never begun"}),
        (Trial(0, "waiting", 0), {"never begun"}),
        (Trial(2, "complete", 2), {"there", "recorded twice", "stage ran to the end twice"}),
        (Trial(1, "failed", 1), {"there", "there, and said to have failed"}),
    ],
)
def test_each_trial_is_counted_as_what_it_came_to(trial, counted):
    assert {name for name, number in count([trial, trial]).items() if number == 2} == counted
    assert set(count([trial]).values()) <= {0, 1}


def test_stages_that_ran_to_the_end_are_counted_and_not_those_that_only_began():
    assert finished("began 10\nbegan 11\nfinished 10\nbegan 10\nfinished 10\n") == Counter({10: 2})


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["/usr/bin/git", "push"], "git"),
        (["/bin/sh", "-c", "python fit.py"], "stage"),
        (["python", "/v/bin/dvc", "exp", "queue-worker", "dvc-exp-1@localhost"], "worker"),
        (["python", "-c", "from dvcsweep.running.worker import main; main()"], "worker"),
        (["python", "/v/bin/dvc", "exp", "exec-run", "--infofile", "f"], "dvc"),
        (["python", "/v/bin/dvc", "queue", "start"], "command"),
        (["python", "-c", "from dvcsweep.__main__ import main", "run", "kills.yaml"], "driver"),
        ([], "driver"),
    ],
)
def test_processes_are_told_apart_by_their_command_lines(arguments, kind):
    assert role_of(arguments) == kind


def test_a_process_that_has_just_ended_is_gone():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(ended.pid)
    deadline = time.monotonic() + 30
    while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.01)
    assert role(process) == "gone"
    ended.wait()
    assert role(process) == "gone"


def test_only_processes_with_the_mark_are_killed(tmp_path):
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    ours = subprocess.Popen(command, env=os.environ | {MARK: str(tmp_path)})
    another = subprocess.Popen(command, env=os.environ | {MARK: str(tmp_path / "another")})
    stranger = subprocess.Popen(command)
    family = Family(tmp_path, share=1.0, seed=1)
    try:
        family.start()
        assert ours.wait(timeout=30) == -9
        time.sleep(0.1)  # its count comes after its death
        assert (family.appeared, family.killed) == (1, {"driver": 1})
        assert another.poll() is None
        assert stranger.poll() is None
    finally:
        family.close()
        for process in (ours, another, stranger):
            process.kill()
            process.wait()


def test_whoever_is_left_is_ended_at_the_close(tmp_path):
    left = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], env=os.environ | {MARK: str(tmp_path)}
    )
    family = Family(tmp_path, share=0.0, seed=1)
    family.start()
    try:
        family.close()
        assert left.poll() is not None
        assert family.killed == {}
    finally:
        left.kill()
        left.wait()
