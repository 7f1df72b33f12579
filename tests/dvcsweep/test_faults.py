"""Killed at any moment, in any of its processes, a search ends with every trial once when it is run again.

`make torture` runs the campaign of 20 rounds and every single step; the tests by default a few of each.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest
from conftest import ROOT
from foreign import Foreign, build, copy, kill_children, loss, wait_until

ROUNDS = int(os.environ.get("TORTURE_ROUNDS", "1"))
SHARES = (0.0, 0.5, 1.0)  # of the line that is being written
STEPS = [(step, share) for step in range(40) for share in SHARES]
STEPS = STEPS if ROUNDS > 2 else [(4, 0.5), (12, 1.0), (16, 0.5), (18, 1.0)]
WIDTHS = [2, 3, 4, 5, 6]
# Kills itself at the N-th line that it writes into the ledger: before it, after half of it, or after all of it.
SUICIDE = """
import os, signal, sys
from optuna.storages.journal import JournalFileBackend
sys.path.insert(0, sys.argv.pop(1))
step, share = int(sys.argv.pop(1)), float(sys.argv.pop(1))
real, count = JournalFileBackend.append_logs, 0

def append(self, logs):
    global count
    if count == step:
        before = os.path.getsize(self._file_path)
        real(self, logs)
        size = os.path.getsize(self._file_path)
        os.truncate(self._file_path, before + int((size - before) * share))
        os.kill(os.getpid(), signal.SIGKILL)
    count += 1
    real(self, logs)

JournalFileBackend.append_logs = append
from dvcsweep.__main__ import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return build(tmp_path_factory.mktemp("foreign") / "a template", tmp_path_factory.mktemp("home"))


@pytest.fixture
def foreign(template, tmp_path):
    return copy(template, tmp_path / "a foreign repository")


def whole(foreign: Foreign, name: str) -> None:
    """Every trial planned, once, with its own result, and nothing left behind."""
    trials = foreign.trials(name)
    assert [trial.params["model.width"] for trial in trials] == WIDTHS
    assert [trial.state for trial in trials] == ["complete"] * len(WIDTHS)
    assert [trial.values[0] for trial in trials] == pytest.approx([loss(width, 0.1) for width in WIDTHS])
    short = foreign.repository.head[:7]
    names = sorted(experiment.name for experiment in foreign.experiments())
    assert names == [f"{name}-{index:03d}-{short}" for index in range(len(WIDTHS))]
    commits = {experiment.name: experiment.commit for experiment in foreign.experiments()}
    assert [trial.experiments[""].commit for trial in trials] == [commits[one] for one in names]
    assert foreign.marked() == []
    assert not (foreign.path / f".dvc/tmp/sweeps/{name}/workers").exists()
    assert foreign.run("git", "status", "--porcelain").stdout.split() == ["??", "studies/"]


@pytest.mark.parametrize(("step", "share"), STEPS)
def test_the_plug_is_pulled_between_any_two_steps(foreign, step, share):
    path = foreign.study("grid", strategy="grid", space={"model.width": WIDTHS})
    command = [sys.executable, "-c", SUICIDE, str(ROOT), str(step), str(share), "run", str(path), "--no-report"]
    ended = subprocess.run(command, cwd=foreign.path, env=foreign.environment, capture_output=True, check=False)
    assert ended.returncode in (-signal.SIGKILL, 0), ended.stderr
    foreign.sweeps("run", str(path), "--no-report")
    whole(foreign, "grid")


def stages(process: psutil.Process) -> bool:
    return any(argument.endswith("fit.py") for argument in process.cmdline())


def workers(process: psutil.Process) -> bool:
    return any("dvcsweep.running.worker" in argument for argument in process.cmdline())


@pytest.mark.parametrize("victim", [stages, workers])
def test_a_killed_stage_or_worker_does_not_cost_the_trial(foreign, victim):
    path = foreign.study("grid", strategy="grid", space={"model.width": WIDTHS}, fixed={"sleep": 1})
    process = foreign.start("run", str(path), "--no-report")
    wait_until(lambda: len(foreign.runs()) >= 2)
    assert kill_children(process, victim)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "killed from outside; it is run again" in said
    whole(foreign, "grid")


def test_a_killed_worker_is_noticed_at_once(foreign):
    path = foreign.study("grid", strategy="grid", space={"sleep": [60, 61]}, stop={"trial_minutes": 5})
    process = foreign.start("run", str(path), "--no-report")
    wait_until(lambda: len(foreign.runs()) == 2)
    assert kill_children(process, lambda child: workers(child) and child.ppid() == process.pid)
    wait_until(lambda: len(foreign.runs()) == 4)  # both again, long before the first two could have ended
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert foreign.marked() == []


def test_a_stage_that_is_killed_every_time_fails_and_the_rest_go_on(foreign):
    path = foreign.study("grid", strategy="grid", space={"sleep": [0, 30]}, jobs=1)
    process = foreign.start("run", str(path), "--no-report")
    for attempt in (1, 2, 3):  # the first trial is the base, and in the cache
        wait_until(lambda attempt=attempt: len(foreign.runs()) == attempt)
        time.sleep(0.2)
        assert kill_children(process, stages)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "exited with -9" in said
    assert [trial.state for trial in foreign.trials("grid")] == ["complete", "failed"]


def test_everything_is_killed_at_once_and_the_next_run_sweeps_up(foreign):
    path = foreign.study("grid", strategy="grid", space={"model.width": WIDTHS}, fixed={"sleep": 1})
    process = foreign.start("run", str(path), "--no-report")
    wait_until(lambda: len(foreign.runs()) >= 2)
    kill_children(process, lambda child: not stages(child))
    process.kill()
    process.communicate()
    assert foreign.marked()  # the stages live on: whoever could have stopped them is dead
    foreign.sweeps("run", str(path), "--no-report")
    whole(foreign, "grid")


@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_a_campaign_of_kills(foreign, round_number):
    """Driver, workers, DVC and stages are killed at random moments until the study is done."""
    chance = random.Random(round_number)  # noqa: S311
    fixed, stop = {"sleep": 0.5}, {"failures": 99}
    path = foreign.study("grid", strategy="grid", space={"model.width": WIDTHS}, fixed=fixed, stop=stop)
    for start in range(60):
        process = foreign.start("run", str(path), "--no-report", "--retry-failed")
        end = time.monotonic() + chance.uniform(0.3, 4 + start)  # later ones live longer, so that it ends
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        if process.poll() is not None:
            said, _ = process.communicate()
            if process.returncode == 0:
                break
            assert process.returncode == 1, said
            continue
        kind = chance.choice(["driver", "worker", "stage", "any", "everything"])
        if kind in ("driver", "everything"):
            process.kill()
        elif kind == "worker":
            kill_children(process, workers)
        elif kind == "stage":
            kill_children(process, stages)
        else:
            kill_children(process, lambda child: chance.random() < 0.5)
        if process.poll() is None and kind not in ("driver", "everything"):
            time.sleep(chance.uniform(0, 1))
            process.kill()
        process.communicate()
    else:
        raise AssertionError("not done after 60 starts")
    whole(foreign, "grid")


FULL = SUICIDE.replace("os.kill(os.getpid(), signal.SIGKILL)", "raise OSError(28, 'No space left on device')")


@pytest.mark.parametrize("step", [13, 17])
def test_a_disk_too_full_for_the_ledger_is_said_and_nothing_is_lost(foreign, step):
    path = foreign.study("grid", strategy="grid", space={"model.width": WIDTHS})
    command = [sys.executable, "-c", FULL, str(ROOT), str(step), "0.5", "run", str(path), "--no-report"]
    ended = subprocess.run(
        command, cwd=foreign.path, env=foreign.environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert foreign.marked() == []
    foreign.sweeps("run", str(path), "--no-report")
    whole(foreign, "grid")


def test_a_disk_too_full_for_the_trials_fails_them_and_nothing_is_lost(foreign):
    path = foreign.study("grid", strategy="grid", space={"model.width": WIDTHS})
    limited = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (12000, 12000)); " + foreign.command()[4]
    )
    command = [sys.executable, "-c", limited, str(ROOT), "run", str(path), "--no-report"]
    ended = subprocess.run(
        command, cwd=foreign.path, env=foreign.environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr, ended.stderr
    assert re.search("too large|disk I/O error|No space", foreign.sweeps("status", str(path)).stdout)
    foreign.sweeps("run", str(path), "--no-report", "--retry-failed")
    whole(foreign, "grid")
