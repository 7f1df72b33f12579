"""Trials stopped early in a repository that has nothing to do with tones, by curves that grow while stages run."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import yaml
from foreign import build, copy, wait_until
from test_pruning import rule

from dvcsweep.plan.pruning import Curve, Pruning

FIT = """
import json, os, pathlib, time
p = json.loads(pathlib.Path("config.json").read_text())
with open(os.environ["RUNS"], "a") as runs:
    runs.write(json.dumps(p) + "\\n")
best = 1e9
with open("loss.tsv", "w", buffering=1) as table:
    table.write("step\\tloss\\n")
    for step in range(p["epochs"]):
        best = min(best, p["height"] + (p["epochs"] - step) * p["slope"])
        table.write(f"{step}\\t{best!r}\\n")
        time.sleep(p["pause"])
pathlib.Path("weights.bin").write_text(json.dumps(p))
pathlib.Path("scores.json").write_text(json.dumps({"loss": best}))
"""
PIPELINE = """
stages:
  fit:
    cmd: python fit.py
    deps: [fit.py]
    params: [{config.json: [height, slope, epochs, pause]}]
    outs: [weights.bin]
    metrics: [{scores.json: {cache: false}}]
    plots: [{loss.tsv: {cache: false, x: step}}]
"""
CONFIG = {"height": 5.0, "slope": 0.1, "epochs": 10, "pause": 0.0}
HEIGHTS = [3.0, 4.0, 2.0, 9.0, 1.0, 8.0, 7.0, 2.5]
STUDY = {
    "pipeline": "dvc.yaml",
    "params": "config.json",
    "objective": "scores.json:loss",
    "strategy": "grid",
    "space": {"height": HEIGHTS},
    "curves": ["loss.tsv"],
    "prune": {"rule": "late-median", "startup": 2, "wait": 0.5},
    "fixed": {"pause": 0.3},
}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """The repository with a second pipeline, run once and committed."""
    made = build(tmp_path_factory.mktemp("foreign") / "a template", tmp_path_factory.mktemp("home"))
    files = {"fit.py": FIT, "dvc.yaml": PIPELINE, "config.json": json.dumps(CONFIG, indent=2)}
    for name, content in files.items():
        (made.path / name).write_text(content, encoding="utf-8")
    made.run("dvc", "repro", "--quiet")
    made.commit("pipeline")
    return made


@pytest.fixture
def foreign(template, tmp_path):
    return copy(template, tmp_path / "a foreign repository")


def expected(**content):
    """Where each trial is stopped, by the rule on the curves that the script writes."""
    pruning, found = Pruning(rule(**{**STUDY["prune"], **content}), 1), []
    for index, height in enumerate(HEIGHTS):
        curve = tuple(height + (10 - step) * 0.1 for step in range(10))
        count = pruning.stops(index, "", curve)
        pruning.end(index, {"": Curve(curve[:count], count is None)})
        found.append(count)
    return found


def said(foreign, *arguments):
    return foreign.sweeps("run", str(foreign.path / "studies" / "early.yaml"), "--no-report", *arguments).stdout


def counts(trials):
    return [trial.stopped.get("") for trial in trials]


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_trials_are_stopped_where_the_rule_says_whatever_the_number_of_workers(foreign, jobs):
    foreign.study("early", **STUDY, jobs=jobs)
    text = said(foreign)
    trials = foreign.trials("early")
    wanted = expected()
    assert counts(trials) == wanted
    assert sum(count is not None for count in wanted) >= 2
    assert [trial.state for trial in trials] == ["pruned" if count else "complete" for count in wanted]
    for trial, count, height in zip(trials, wanted, HEIGHTS, strict=True):
        steps, values = trial.experiments[""].curves["loss.tsv"]
        shown = count or 10
        assert values[:shown] == pytest.approx([height + (10 - step) * 0.1 for step in range(shown)])
        assert steps[:shown] == list(range(shown))
        assert trial.values == pytest.approx((values[shown - 1],))
    assert f"{len(HEIGHTS)} of {len(HEIGHTS)} trials done" in text
    assert text.count("  stopped after ") == sum(count is not None for count in wanted)
    # What was stopped while it ran is no experiment, and DVC's run-cache has at most the whole of it: a stage that came
    # to its end while the decision was on its way.
    names = {one.name for one in foreign.experiments()}
    stopped = [trial for trial in trials if trial.experiments[""].stopped]
    assert jobs > 2 or stopped
    assert not any(trial.experiments[""].name in names for trial in stopped)
    runs = [yaml.safe_load(path.read_text()) for path in foreign.path.glob(".dvc/cache/runs/*/*/*")]
    cached = {
        run["params"]["config.json"]["height"]: run["outs"] for run in runs if "height" in run["params"]["config.json"]
    }
    assert set(cached) >= {trial.params["height"] for trial in trials if trial.state == "complete"}
    for height in cached:
        table = "step\tloss\n" + "".join(f"{step}\t{height + (10 - step) * 0.1!r}\n" for step in range(10))
        md5 = hashlib.md5(table.encode(), usedforsecurity=False).hexdigest()
        assert md5 in {out["md5"] for out in cached[height] if out["path"] == "loss.tsv"}
    assert not foreign.marked()


def test_the_same_values_can_be_run_in_full_later(foreign):
    foreign.study("early", **STUDY)
    said(foreign)
    stopped = [trial.params["height"] for trial in foreign.trials("early") if trial.experiments[""].stopped]
    full = {name: entry for name, entry in STUDY.items() if name != "prune"}
    path = foreign.study("full", **full | {"space": {"height": stopped}, "fixed": {"pause": 0.0}})
    foreign.sweeps("run", str(path), "--no-report")
    trials = foreign.trials("full")
    assert [trial.state for trial in trials] == ["complete"] * len(stopped)
    assert [trial.values[0] for trial in trials] == pytest.approx([height + 0.1 for height in stopped])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_driver_goes_on_to_the_same_decisions(foreign, how):
    path = foreign.study("early", **STUDY)
    process = foreign.start("run", str(path), "--no-report")
    wait_until(lambda: len(foreign.experiments()) >= 3, 60)
    time.sleep(1.0)
    os.kill(process.pid, how)
    process.communicate(timeout=60)
    said(foreign)
    assert counts(foreign.trials("early")) == expected()
    assert not foreign.marked()


def test_points_reach_the_ledger_while_a_trial_runs(foreign):
    """As Optuna's intermediate values, which its dashboard draws."""
    path = foreign.study("early", **STUDY | {"fixed": {"pause": 2.0}}, jobs=1)
    process = foreign.start("run", str(path), "--no-report")
    ledger = foreign.path / ".dvc" / "tmp" / "sweeps" / "early" / "ledger.jsonl"

    def points():
        lines = map(json.loads, ledger.read_text(encoding="utf-8").splitlines() if ledger.exists() else ())
        return [line["intermediate_value"] for line in lines if "intermediate_value" in line]

    wait_until(lambda: len(points()) >= 3, 60)
    assert points()[:3] == pytest.approx([4.0, 3.9, 3.8])
    assert foreign.experiments() == []
    watching = subprocess.Popen(
        foreign.command("watch", str(path)),
        cwd=foreign.path,
        env=foreign.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    seen = [watching.stdout.readline(), watching.stdout.readline()]
    assert re.fullmatch(r"early@[0-9a-f]{7}: \d of 8 trials done, 0 failed.*\n", seen[0])
    assert re.match(r"  early-00\d-[0-9a-f]{7}  \d", seen[1])
    process.send_signal(signal.SIGINT)
    rest, _ = watching.communicate(timeout=60)
    assert rest.endswith("study early is not being run any more\n")
    assert watching.returncode == 0
    process.communicate(timeout=60)


def test_further_seeds_of_a_trial_that_is_worse_are_not_run(foreign):
    prune = {"rule": "wilcoxon", "startup": 2, "p": 0.3}
    content = {**STUDY, "prune": prune, "fixed": {}, "average_over": {"slope": [0.1, 0.2, 0.3, 0.4]}}
    foreign.study("early", **content)
    said(foreign)
    trials = foreign.trials("early")
    assert {trial.state for trial in trials} == {"complete", "pruned"}
    best = min(trials, key=lambda trial: trial.params["height"])
    assert best.state == "complete"
    for trial in trials:
        if trial.state == "pruned":
            assert len(trial.experiments) >= trial.stopped[""] >= 2
            assert trial.params["height"] > 1.0


def test_a_cluster_stops_the_same_trials(foreign, tmp_path):
    """Nodes tell of their curves, and hear which trials to stop, through an actor of Ray's."""
    pytest.importorskip("ray")
    foreign.run("dvc", "remote", "add", "--default", "--local", "store", str(tmp_path / "store"))
    content = {**STUDY, "fixed": {"pause": 1.0}, "space": {"height": HEIGHTS[:6]}}
    path = foreign.study("early", **content)
    (tmp_path / "environment").symlink_to(sys.prefix)  # Ray cannot start from a path with a space in it
    command = foreign.command("run", str(path), "--ray", "local", "--no-report")
    foreign.run(str(tmp_path / "environment/bin/python"), *command[1:], XDG_CACHE_HOME=str(tmp_path / "cache"))
    trials = foreign.trials("early")
    assert counts(trials) == expected()[:6]
    assert any(trial.experiments[""].stopped for trial in trials)
