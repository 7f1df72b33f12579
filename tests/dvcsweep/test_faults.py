"""Killed at any moment, in any of its processes, a search ends with every trial once when it is run again.

`make torture` runs the campaign of 20 rounds and every single step; the tests by default a few of each.
"""

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from conftest import ROOT
from disturbances import PARTS, User, kill, small_disk, stages, workers
from foreign import Foreign, build, copy, kill_children, loss, wait_until
from optuna.trial import TrialState
from ruamel.yaml import YAML

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
    short = foreign.campaign(name).facts.baseline[:7]
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


@pytest.mark.whole
@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_a_campaign_of_kills(template, tmp_path, round_number, record_property):
    """Driver, workers, DVC and stages are killed at random until the study is done, and its user works beside."""
    with small_disk(tmp_path / "a small disk") as disk:
        foreign = copy(template, tmp_path / "a small disk" / "a foreign repository")
        foreign.environment["RUNS"] = str(tmp_path / "runs.jsonl")
        path = foreign.study("grid", strategy="grid", space={"model.width": WIDTHS}, fixed={"sleep": 0.5}, **PATIENT)
        full = disk if round_number % 2 == 0 else None  # without it, no attempt fails but of kills
        user, kills = User(foreign, full, round_number), Counter()
        user.start()
        try:
            run_to_the_end(foreign, path, user, random.Random(round_number), kills)  # noqa: S311
        finally:
            user.close()
        record_property("kills", dict(kills))
        record_property("acts", dict(user.acts))
        errors = failures(foreign)
        record_property("errors", errors)
        assert full or all(KILLED.search(error) for error in errors), errors
        whole(foreign, "grid")
        pristine(foreign, user, record_property)


KILLED = re.compile(r"exited with -9|its worker ended|dvc was killed|Killed|died of signal 9")
PATIENT = {"stop": {"failures": 99}}


def run_to_the_end(foreign: Foreign, path: Path, user: User, chance: random.Random, kills: Counter[str]) -> None:
    """Begin a search again and again until it comes to its end; the first are killed, and some of what they start."""
    for kinds in victims(chance):
        with user.at_home:
            process = user.driver = foreign.start("run", str(path), "--no-report", "--retry-failed")
        begun = time.monotonic()
        kills["starts"] += 1
        for kind in kinds:
            if not live(process, chance.uniform(0.3, 8)):
                break
            if killed := kill(process, kind, chance):
                kills[kind] += 1
                kills["processes"] += killed
        said, _ = process.communicate()
        assert "Traceback" not in said, said
        assert process.returncode in (-signal.SIGKILL, 0, 1, 2), said
        if process.returncode == 0:
            return
        if process.returncode == 2:
            assert user.full > begun, said
            assert re.search("MiB of disk space|No space left", said), said
    raise AssertionError("not done after 20 starts")


def victims(chance: random.Random) -> Iterator[list[str]]:
    """What is killed, in this order, of the search that is begun first, second and so on."""
    lives = chance.choice([1, 2, 2, 3])
    for start in range(20):
        some = chance.choices(PARTS, k=2) if start < 6 else []
        yield some + (chance.choices(["driver", "everything"]) if start < lives else [])


def live(process: subprocess.Popen[str], seconds: float) -> bool:
    """Whether a process still runs after so long."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def failures(foreign: Foreign) -> list[str]:
    """Errors of the attempts that failed."""
    study = foreign.campaign("grid").study()
    return [trial.user_attrs["error"] for trial in study.get_trials(states=[TrialState.FAIL])]


def pristine(foreign: Foreign, user: User, record: Callable[[str, object], None]) -> None:
    """The user's commits and branches are where they were left, each experiment is whole, and nothing else is left."""
    git = partial(foreign.run, "git")
    baseline = foreign.campaign("grid").facts.baseline
    listed = git("for-each-ref", "--format=%(refname) %(objectname)").stdout.splitlines()
    refs = dict(line.split() for line in listed)
    heads = {name.removeprefix("refs/heads/"): commit for name, commit in refs.items() if "/heads/" in name}
    assert heads == user.heads
    assert git("branch", "--show-current").stdout.strip() == "main"
    experiments = [name for name in refs if name not in {f"refs/heads/{head}" for head in heads}]
    assert sorted(experiments) == sorted(one.ref for one in foreign.experiments())
    for experiment, width in zip(sorted(experiments), WIDTHS, strict=True):
        assert git("rev-parse", f"{experiment}^").stdout.strip() == baseline
        assert json.loads(git("show", f"{experiment}:ml/config.json").stdout)["model"]["width"] == width
        figures = json.loads(git("show", f"{experiment}:ml/scores.json").stdout)
        assert figures["validation"]["loss"] == pytest.approx(loss(width, 0.1))
        assert git("diff", "--name-only", "main", experiment, "--", "ml/fit.py").stdout == ""
        lock = YAML().load(git("show", f"{experiment}:ml/dvc.lock").stdout)
        md5 = lock["stages"]["fit"]["outs"][0]["md5"]
        assert (foreign.path / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).exists()
    assert list(foreign.path.glob(".git/**/*.lock")) == []
    assert not (foreign.path / ".git/gc.pid").exists()
    git("gc", "--quiet", "--prune=now")
    assert "garbage: 0" in git("count-objects", "-v").stdout
    git("fsck", "--full", "--strict")
    left = [path for path in files(foreign) if not KNOWN.fullmatch(path)]
    record("left by DVC", len(left))
    assert [path for path in left if not DVCS.fullmatch(path)] == []
    for file in (path for path in foreign.path.glob(".dvc/cache/files/md5/*/*") if path.suffix != ".tmp"):
        assert hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() == file.parent.name + file.name


DVCS = re.compile(r"\.dvc/cache/(.+/)?\.[\w-]{22}\.tmp")  # which DVC leaves in its cache when it is killed
KNOWN = re.compile(
    r"\.dvc/(\.gitignore|config|cache/files/md5/../.{30}|cache/runs/../[0-9a-f]{64}/[0-9a-f]{64})|\.dvcignore"
    r"|\.dvc/tmp/(btime|lock|rwlock|rwlock\.lock|sweeps/grid/(ledger\.jsonl|lock|now\.json|logs/grid-00[0-4]-\w{7}\.log))"
    r"|ml/(\.gitignore|config\.json|curve\.tsv|dvc\.lock|dvc\.yaml|fit\.py|scores\.json|weights\.bin)"
    r"|notes\.txt|studies/grid\.yaml"
)


def files(foreign: Foreign) -> list[str]:
    """Every file of a repository but Git's own."""
    found = (path.relative_to(foreign.path) for path in foreign.path.rglob("*") if not path.is_dir())
    return sorted(str(path) for path in found if path.parts[0] != ".git")


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
