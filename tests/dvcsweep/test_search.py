"""Searches as users run them: the real command, DVC and Git on a foreign repository."""

import itertools
import json
import re
import signal
import subprocess
import time

import pytest
import yaml
from foreign import COMMON, Foreign, build, copy, loss, wait_until


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return build(tmp_path_factory.mktemp("foreign") / "a template", tmp_path_factory.mktemp("home"))


@pytest.fixture
def foreign(template, tmp_path):
    return copy(template, tmp_path / "a foreign repository")


# One trial at a time, where it does not matter: a second worker costs more than four small trials.
GRID = {"strategy": "grid", "jobs": 1, "space": {"model.width": [3, 5], "rate": [0.01, 0.1]}}
TPE = {
    "jobs": 1,
    "strategy": {"kind": "tpe", "startup": 2, "generation": 2},
    "trials": 6,
    "space": {"model.width": {"low": 1, "high": 9}, "rate": {"low": 1e-4, "high": 1.0, "log": True}},
}


def run(foreign, path, *arguments, check=True):
    return foreign.sweeps("run", str(path), "--no-report", *arguments, check=check)


def params(trials):
    return [trial.params for trial in trials]


def test_every_trial_is_an_experiment_with_its_parameters_and_metrics(foreign):
    path = foreign.study("grid", **GRID)
    said = run(foreign, path).stdout
    trials = foreign.trials("grid")
    assert [(trial.params["model.width"], trial.params["rate"]) for trial in trials] == list(
        itertools.product([3, 5], [0.01, 0.1])
    )
    short = foreign.repository.head[:7]
    names = [f"grid-{index:03d}-{short}" for index in range(4)]
    assert sorted(experiment.name for experiment in foreign.experiments()) == names
    for trial, name in zip(trials, names, strict=True):
        wanted = loss(trial.params["model.width"], trial.params["rate"])
        assert trial.state == "complete"
        assert trial.values == pytest.approx((wanted,))
        assert trial.experiments[""].metrics["ml/scores.json:train.loss"] == pytest.approx((wanted - 0.001) / 2)
        assert trial.experiments[""].curves == {}
        assert name in said
    shown = foreign.run("dvc", "exp", "show", "--json").stdout
    for name in names:
        assert name in shown
    best = min(trials, key=lambda trial: trial.values)
    foreign.run("dvc", "exp", "apply", names[best.index])
    again = foreign.run("dvc", "repro", "ml/dvc.yaml").stdout
    assert "Running stage" not in again
    assert json.loads(foreign.read("ml/config.json"))["model"]["width"] == 5


def test_the_work_tree_is_left_alone_and_nothing_stays_behind(foreign):
    path = foreign.study("grid", **GRID)
    (foreign.path / "ml" / "fit.py").write_text(foreign.read("ml/fit.py") + "\n# being edited\n")
    said = run(foreign, path).stdout
    assert "not committed, so not part of any trial: ml/fit.py" in said
    assert foreign.read("ml/fit.py").endswith("# being edited\n")
    assert json.loads(foreign.read("ml/config.json"))["model"]["width"] == 8
    assert not (foreign.path / ".dvc/tmp/sweeps/grid/workers").exists()
    assert foreign.marked() == []
    assert foreign.run("git", "status", "--porcelain").stdout.split() == ["M", "ml/fit.py", "??", "studies/"]


def test_the_same_trials_with_one_worker_and_two_and_through_an_interruption(foreign, tmp_path):
    path = foreign.study("tpe", **TPE)
    run(foreign, path, "--jobs", "2")
    other = copy(foreign, tmp_path / "other")
    other.sweeps("clean", "studies/tpe.yaml")
    run(other, "studies/tpe.yaml", "--jobs", "1", "--trials", "3", check=False)
    assert len(other.trials("tpe")) == 3
    run(other, "studies/tpe.yaml", "--jobs", "1")
    assert params(other.trials("tpe")) == params(foreign.trials("tpe"))
    assert len({trial.values for trial in other.trials("tpe")}) > 3


def test_a_finished_study_runs_nothing_again(foreign):
    path = foreign.study("grid", **GRID)
    run(foreign, path)
    runs = len(foreign.runs())
    assert "4 of 4 trials done" in run(foreign, path).stdout
    assert len(foreign.runs()) == runs == 4


def test_failed_trials_keep_their_error_and_do_not_stop_the_rest(foreign):
    path = foreign.study("broken", strategy="grid", space={"model.width": [3, 4, 5]}, fixed={"broken": 4})
    ended = run(foreign, path, check=False)
    assert ended.returncode == 1
    assert "2 of 3 trials done, 1 failed" in ended.stdout
    states = [trial.state for trial in foreign.trials("broken")]
    assert states == ["complete", "failed", "complete"]
    told = foreign.sweeps("status", str(path)).stdout
    assert "ValueError: the width is broken" in told
    log = foreign.path / ".dvc/tmp/sweeps/broken/logs" / f"broken-001-{foreign.repository.head[:7]}.log"
    assert str(log) in told
    assert "exited with 3" in log.read_text()
    assert len(foreign.experiments()) == 2
    assert run(foreign, path, check=False).returncode == 1
    assert len(foreign.runs()) == 3
    run(foreign, path, "--retry-failed", check=False)
    assert len(foreign.runs()) == 4
    assert [trial.attempt for trial in foreign.trials("broken")] == [1, 2, 1]


def test_a_study_ends_at_its_limit_of_failures(foreign):
    path = foreign.study(
        "broken", strategy="grid", space={"rate": [0.1, 0.2, 0.3]}, fixed={"broken": 8}, stop={"failures": 2}, jobs=1
    )
    ended = run(foreign, path, check=False)
    assert ended.returncode == 1
    assert "2 trials have failed and none has got as far as its figures (stop.failures: 2)" in ended.stdout
    assert "0 of 3 trials done, 2 failed, 1 not run; ended because" in ended.stdout
    assert len(foreign.runs()) == 2


def test_an_objective_that_is_not_a_number_fails_one_trial(foreign):
    path = foreign.study("nan", strategy="grid", space={"model.kind": ["plain", "nan"]})
    assert run(foreign, path, check=False).returncode == 1
    plain, nan = foreign.trials("nan")
    assert plain.state == "complete"
    assert nan.state == "failed"
    assert "validation.loss is nan, which cannot be compared" in nan.error


def test_a_trial_that_takes_too_long_is_stopped(foreign):
    path = foreign.study("slow", strategy="grid", space={"sleep": [0, 60]}, stop={"trial_minutes": 0.2})
    run(foreign, path, check=False)
    quick, slow = foreign.trials("slow")
    assert quick.state == "complete"
    assert "stopped after 0.2 minutes (stop.trial_minutes)" in slow.error
    assert foreign.marked() == []


def test_the_time_allowed_ends_a_study_and_it_goes_on_later(foreign):
    path = foreign.study("timed", strategy="grid", space={"rate": [0.1, 0.2, 0.3, 0.4]}, fixed={"sleep": 2}, jobs=1)
    ended = run(foreign, path, "--time", "5s", check=False)
    assert ended.returncode == 1
    assert "ended because the time is up" in ended.stdout
    done = [trial.state for trial in foreign.trials("timed")].count("complete")
    assert 1 <= done < 4
    assert "4 of 4" in run(foreign, path).stdout
    assert len(foreign.runs()) == 4


def test_folds_and_seeds_are_experiments_of_their_own_and_averaged(foreign):
    path = foreign.study("seeds", strategy="grid", space={"model.width": [4, 5]}, average_over={"seed": [1, 2, 6]})
    run(foreign, path)
    first, second = foreign.trials("seeds")
    assert first.values == pytest.approx(((loss(4, 0.1, seed=1) * 3 + 0.006) / 3,))
    assert second.values == pytest.approx(((loss(5, 0.1, seed=1) * 3 + 0.006) / 3,))
    short = foreign.repository.head[:7]
    assert f"seeds-001-seed6-{short}" in [experiment.name for experiment in foreign.experiments()]
    assert len(foreign.experiments()) == 6


def test_a_trial_with_a_failed_fold_has_failed_and_the_rest_go_on(foreign):
    path = foreign.study(
        "folds",
        strategy="grid",
        space={"rate": [0.1, 0.2]},
        average_over={"model.width": [4, 6, 7]},
        fixed={"broken": 4},
    )
    ended = run(foreign, path, check=False)
    assert ended.returncode == 1
    assert "0 of 2 trials done, 2 failed" in ended.stdout
    assert ended.stderr == ""
    assert all("the width is broken" in trial.error for trial in foreign.trials("folds"))


def test_halving_has_an_experiment_for_each_rung(foreign):
    path = foreign.study(
        "halving",
        strategy={"kind": "halving", "budget": "rounds", "minimum": 1, "maximum": 4, "factor": 2},
        trials=4,
        space={"model.width": {"low": 1, "high": 9}, "rate": {"low": 1e-4, "high": 1.0, "log": True}},
    )
    run(foreign, path)
    trials = foreign.trials("halving")
    assert sorted(trial.state for trial in trials) == ["complete", "pruned", "pruned", "pruned"]
    assert sorted(len(trial.experiments) for trial in trials) == [1, 1, 2, 3]
    for trial in trials:
        for member, outcome in trial.experiments.items():
            rounds = {"rung1": 1, "rung2": 2, "rung3": 4}[member]
            assert outcome.values == pytest.approx([loss(trial.params["model.width"], trial.params["rate"], rounds)])
    best = min(trials, key=lambda trial: trial.experiments["rung1"].values)
    assert best.index in [trial.index for trial in trials if len(trial.experiments) >= 2]


def test_a_failed_trial_that_is_run_again_climbs_only_if_it_is_good_enough(foreign):
    path = foreign.study(
        "halving",
        strategy={"kind": "halving", "budget": "rounds", "minimum": 1, "maximum": 2, "factor": 2},
        trials=4,
        space={"model.width": [1, 2, 3, 4]},
        fixed={"broken": 1},
    )
    assert run(foreign, path, check=False).returncode == 1
    assert sorted(trial.state for trial in foreign.trials("halving")) == ["complete", "failed", "pruned", "pruned"] or (
        sorted(trial.state for trial in foreign.trials("halving")) == ["complete", "complete", "failed", "pruned"]
    )
    (foreign.path / "ml" / "fit.py").write_text(foreign.read("ml/fit.py"))
    content = foreign.read("studies/halving.yaml")
    runs = len(foreign.runs())
    for _ in range(2):
        run(foreign, path, "--retry-failed", check=False)
    assert len(foreign.runs()) == runs + 2
    assert foreign.read("studies/halving.yaml") == content
    assert [trial.state for trial in foreign.trials("halving")].count("running") == 0


def test_times_are_measured_and_those_from_the_run_cache_are_not(foreign):
    run(foreign, foreign.study("first", **GRID))
    run(foreign, foreign.study("second", **GRID))
    assert all(trial.experiments[""].seconds > 0 for trial in foreign.trials("first"))
    assert [trial.experiments[""].seconds for trial in foreign.trials("second")] == [None] * 4
    assert len(foreign.runs()) == 4
    objective = {"metric": "ml/scores.json:validation.size", "timed": True}
    run(foreign, foreign.study("third", **GRID, objective=objective))
    assert len(foreign.runs()) == 8
    assert all(trial.experiments[""].seconds > 0 for trial in foreign.trials("third"))


def test_two_drivers_on_one_study(foreign):
    path = foreign.study("slow", strategy="grid", space={"rate": [0.1, 0.2]}, fixed={"sleep": 120})
    first = foreign.start("run", str(path), "--no-report")
    wait_until(lambda: len(foreign.runs()) == 2)
    second = run(foreign, path, check=False)
    assert second.returncode == 2
    assert f"study slow is being run by another process (process {first.pid}" in second.stderr
    assert f"run by process {first.pid}" in foreign.sweeps("status", str(path)).stdout
    assert "stop it first" in foreign.sweeps("clean", str(path), check=False).stderr
    first.terminate()
    first.communicate(timeout=120)
    assert first.returncode == 130
    assert len(foreign.runs()) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_everything_and_the_study_goes_on_later(foreign, number):
    path = foreign.study("slow", strategy="grid", space={"rate": [0.1, 0.2, 0.3]}, fixed={"sleep": 1}, jobs=1)
    process = foreign.start("run", str(path), "--no-report")
    wait_until(lambda: len(foreign.runs()) == 2)
    process.send_signal(number)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command goes on from here" in said
    assert "Traceback" not in said
    assert foreign.marked() == []
    run(foreign, path)
    assert [trial.state for trial in foreign.trials("slow")] == ["complete"] * 3
    assert len(foreign.runs()) == 4
    assert len(foreign.experiments()) == 3


def test_signals_while_a_search_stops_leave_nothing_running(foreign):
    path = foreign.study("slow", strategy="grid", space={"rate": [0.1, 0.2]}, fixed={"sleep": 30})
    process = foreign.start("run", str(path), "--no-report")
    wait_until(lambda: len(foreign.runs()) == 2)
    for number in itertools.cycle([signal.SIGINT, signal.SIGTERM]):
        if process.poll() is not None:
            break
        process.send_signal(number)
        time.sleep(0.002)
    process.communicate(timeout=120)
    assert foreign.marked() == []
    assert not (foreign.path / ".dvc/tmp/sweeps/slow/workers").exists()


def test_a_hangup_does_not_end_a_search_under_nohup(foreign):
    path = foreign.study("slow", strategy="grid", space={"rate": [0.1]}, fixed={"sleep": 1})
    process = subprocess.Popen(
        ["nohup", *foreign.command("run", str(path), "--no-report")],
        cwd=foreign.path,
        env=foreign.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: len(foreign.runs()) == 1)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=120) == 0
    assert [trial.state for trial in foreign.trials("slow")] == ["complete"]


def test_changed_code_is_noticed_said_and_kept_apart(foreign):
    path = foreign.study("grid", **GRID)
    run(foreign, path)
    (foreign.path / "notes.txt").write_text("nothing that the pipeline reads")
    foreign.commit("notes")
    said = run(foreign, path).stdout
    assert "HEAD has moved" in said
    assert len(foreign.runs()) == 4
    (foreign.path / "ml" / "fit.py").write_text(foreign.read("ml/fit.py") + "\n# changed\n")
    foreign.commit("changed")
    said = run(foreign, path).stdout
    assert "The code (ml/fit.py) changed since grid@" in said
    assert len(foreign.runs()) == 8
    assert len(foreign.experiments()) == 8
    assert foreign.campaign("grid").facts.baseline == foreign.repository.head


def test_a_changed_study_file_is_noticed_said_and_kept_apart(foreign):
    run(foreign, foreign.study("grid", **GRID))
    path = foreign.study("grid", **GRID, seed=2, fixed={"rounds": 2})
    said = run(foreign, path).stdout
    assert "The study's definition changed since grid@" in said
    short = foreign.repository.head[:7]
    assert f"grid.2-000-{short}" in [experiment.name for experiment in foreign.experiments()]
    assert len(foreign.experiments()) == 8


def test_a_base_keeps_its_meaning_when_the_parameters_move_on(foreign):
    (foreign.path / "studies").mkdir()
    (foreign.path / "studies" / "base.yaml").write_text(foreign.read("ml/config.json"))
    run(foreign, foreign.study("grid", **GRID, base="base.yaml"))
    content = json.loads(foreign.read("ml/config.json"))
    (foreign.path / "ml" / "config.json").write_text(json.dumps(content | {"rounds": 7}, indent=2))
    foreign.commit("other parameters")
    assert "4 of 4" in run(foreign, "studies/grid.yaml").stdout
    assert len(foreign.runs()) == 4


def test_a_lost_ledger_is_rebuilt_from_the_experiments(foreign):
    path = foreign.study("tpe", **TPE)
    run(foreign, path)
    before = params(foreign.trials("tpe"))
    foreign.run("rm", "-r", ".dvc/tmp/sweeps")
    told = foreign.sweeps("status", str(path), check=False)
    assert "6 experiments of study tpe are in no ledger" in told.stderr
    assert not (foreign.path / ".dvc/tmp/sweeps").exists()
    assert "6 of 6" in run(foreign, path).stdout
    assert params(foreign.trials("tpe")) == before
    assert len(foreign.runs()) == 6


def test_an_experiment_of_the_same_name_that_is_something_else_is_not_taken(foreign):
    short = foreign.repository.head[:7]
    foreign.run("dvc", "exp", "run", "--name", f"grid-002-{short}", "-S", "ml/config.json:rate=0.7", "ml/dvc.yaml")
    foreign.run("git", "reset", "--quiet", "--hard")
    ended = run(foreign, str(foreign.study("grid", **GRID)), check=False)
    assert ended.returncode == 2
    assert f"the name grid-002-{short} is used already by an experiment that is not this trial" in ended.stderr


def test_clean_removes_experiments_and_says_what_the_cache_keeps(foreign):
    run(foreign, foreign.study("grid", **GRID))
    run(foreign, foreign.study("grid-other", **GRID, fixed={"rounds": 2}))
    assert "would remove 4 experiments" in foreign.sweeps("clean", "studies/grid.yaml", "--dry-run").stdout
    assert len(foreign.experiments()) == 8
    said = foreign.sweeps("clean", "studies/grid.yaml").stdout
    assert "removed 4 experiments of study grid" in said
    assert "keeps 12 objects of them" in said
    assert all(experiment.name.startswith("grid-other-0") for experiment in foreign.experiments())
    assert len(foreign.experiments()) == 4
    assert not (foreign.path / ".dvc/tmp/sweeps/grid").exists()


def test_best_and_promote(foreign):
    path = foreign.study("grid", **GRID, fixed={"rounds": 1}, promote={"rounds": 9})
    foreign.commit("study")
    run(foreign, path)
    best = yaml.safe_load(foreign.sweeps("best", str(path)).stdout)
    assert best["model"] == {"width": 5, "kind": "plain", "bias": None}
    assert best["rate"] == 0.1
    (foreign.path / "ml" / "fit.py").write_text(foreign.read("ml/fit.py") + "\n# not committed\n")
    refused = foreign.sweeps("promote", str(path), check=False)
    assert refused.returncode == 2
    assert "not committed: ml/fit.py" in refused.stderr
    foreign.run("git", "checkout", "ml/fit.py")
    said = foreign.sweeps("promote", str(path)).stdout
    assert "model.width: 8 -> 5" in said
    promoted = json.loads(foreign.read("ml/config.json"))
    assert (promoted["model"]["width"], promoted["rate"], promoted["rounds"]) == (5, 0.1, 9)
    measured = json.loads(foreign.read("ml/scores.json"))["validation"]["loss"]
    assert measured == pytest.approx(loss(5, 0.1, rounds=9))
    foreign.run("git", "add", "--update")
    foreign.run("git", "commit", "--quiet", "--message", "promoted")
    assert "didn't change" in foreign.run("dvc", "repro", "ml/dvc.yaml").stdout
    assert "it must be a trial's number" in foreign.sweeps("promote", str(path), "--trial", "x", check=False).stderr
    assert "only a complete one" in foreign.sweeps("promote", str(path), "--trial", "9", check=False).stderr


def test_results_of_another_definition_are_not_taken_for_this_one(foreign):
    run(foreign, foreign.study("grid", **GRID))
    worst_first = {"metric": COMMON["objective"], "direction": "maximise"}
    path = foreign.study("grid", **{**GRID, "objective": worst_first})
    for command in ("best", "promote", "status", "report"):
        refused = foreign.sweeps(command, str(path), check=False)
        assert refused.returncode == 2, command
        assert "is not what grid@" in refused.stderr


def test_a_committed_ledger_with_more_trials_is_read_and_never_overwritten(foreign, tmp_path):
    path = foreign.study("grid", **GRID)
    foreign.sweeps("run", str(path))
    foreign.commit("results")
    clone = Foreign(tmp_path / "a clone", foreign.environment)
    foreign.run("git", "clone", "--quiet", str(foreign.path), str(clone.path))
    assert "4 complete" in clone.sweeps("status", "studies/grid.yaml").stdout
    report = clone.read("studies/grid/report.md")
    said = clone.sweeps("run", "studies/grid.yaml", "--trials", "1", check=False).stdout
    assert "studies/grid holds more trials than this clone has run, so it is left as it is" in said
    assert clone.run("git", "status", "--porcelain").stdout == ""
    assert "4 complete" in clone.sweeps("status", "studies/grid.yaml").stdout
    clone.sweeps("report", "studies/grid.yaml")
    assert clone.read("studies/grid/report.md") == report
    assert "4 of 4 trials done" in clone.sweeps("run", "studies/grid.yaml", "--no-report").stdout
    assert len(clone.experiments()) == 4


def test_enqueue_puts_as_many_into_the_queue_as_the_study_has(foreign):
    path = foreign.study("grid", **GRID, trials=2)
    foreign.commit("study")
    assert "2 experiments queued" in foreign.sweeps("enqueue", str(path)).stdout
    assert "0 experiments queued" in foreign.sweeps("enqueue", str(path)).stdout
    status = foreign.run("dvc", "queue", "status").stdout
    assert status.count("Queued") == 2


def test_enqueue_fills_the_real_queue_and_the_report_finds_what_it_ran(foreign):
    path = foreign.study("grid", **GRID)
    foreign.commit("study")
    said = foreign.sweeps("enqueue", str(path)).stdout
    assert "4 experiments queued" in said
    foreign.run("dvc", "queue", "start", "--jobs", "2")
    wait_until(lambda: len(foreign.experiments()) == 4, 120)
    foreign.run("dvc", "queue", "stop", "--kill", check=False)
    run(foreign, path, "--take-over")
    assert sorted(trial.values[0] for trial in foreign.trials("grid")) == pytest.approx(
        sorted(loss(width, rate) for width in (3, 5) for rate in (0.01, 0.1))
    )
    assert "0 experiments queued" in foreign.sweeps("enqueue", str(path)).stdout
    refused = foreign.sweeps("enqueue", str(foreign.study("tpe", **TPE)), check=False)
    assert "a queue is filled beforehand: use `run`" in refused.stderr


def test_confirm_compares_with_new_seeds_the_base_and_random_search(foreign):
    path = foreign.study("tpe", **TPE, seed_parameter="seed")
    said = foreign.sweeps("run", str(path), "--no-report", "--trials", "6", "--confirm", "2", "--seeds", "3").stdout
    rows = [line.split("|") for line in said.splitlines() if line.startswith("| ")]
    table = {row[1].strip(): float(row[2]) for row in rows if row[1].strip() not in ("point",)}
    assert set(table) == {"best-1", "best-2", "base", "random"}
    assert table["base"] == pytest.approx(loss(8, 0.1, seed=3), rel=1e-4)
    best = min(foreign.trials("tpe"), key=lambda trial: trial.values)
    wanted = loss(best.params["model.width"], best.params["rate"], seed=3)
    assert table["best-1"] == pytest.approx(wanted, rel=1e-3)
    assert sum(one.name.startswith("tpe-random-") for one in foreign.experiments()) == 6
    assert "The search's best is better than the base, beyond the spread over seeds." in said
    assert "than the best of a random search" in said or "The best of a random search" in said
    assert re.search(r"^\| best-1 +\|", foreign.read("studies/tpe/confirm.md"), re.MULTILINE)
    assert "removed 24 experiments" in foreign.sweeps("clean", str(path)).stdout
    assert foreign.experiments() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"space": {"model.widht": [1, 2]}}, "ml/config.json has no model.widht; is model.width meant?"),
        ({"space": {"model.width": ["wide"]}}, "which is a whole number"),
        ({"objective": "ml/scores.json:validation.lost"}, "has no validation.lost"),
        ({"objective": "ml/scores.json:test.loss"}, "is a test figure"),
        ({"colour": "blue"}, "colour: unknown"),
        ({"space": {"rate": {"low": 2.0, "high": 1.0}}}, "the range is empty"),
        ({"strategy": "annealing"}, "strategy: got 'annealing'"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(foreign, changes, said):
    path = foreign.study("bad", **{**GRID, **changes})
    ended = run(foreign, path, check=False)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not foreign.runs()
    assert not (foreign.path / ".dvc/tmp/sweeps/bad/ledger.jsonl").exists()


def test_no_repository_no_commit_no_study(foreign, tmp_path):
    assert "No such file" in run(foreign, "studies/none.yaml", check=False).stderr
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    (lonely / "grid.yaml").write_text("objective: m.json:loss\nstrategy: grid\nspace: {x: [1]}\n")
    assert "lies in no Git repository" in run(foreign, str(lonely / "grid.yaml"), check=False).stderr
    foreign.run("git", "init", "--quiet", str(lonely))
    assert "nothing is committed yet" in run(foreign, str(lonely / "grid.yaml"), check=False).stderr
