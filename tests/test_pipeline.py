"""The pipeline as users run it: the real DVC on a small configuration, in folders with a space in their names."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from conftest import PATHS, Workspace
from foreign import wait_until

from tonesift import arithmetic
from tonesift.data import recordings
from tonesift.estimators import filters, limits
from tonesift.networks import model as models

NEW_BITS = "metrics/run.json"
CARRIED = {  # a small network whose state is carried on
    "prepare": {"sequence_length": 10},
    "model": {"conditioning": "heads", "hop": 2},
    "train": {
        "stateful": True,
        "stream_steps": 20,
        "batch_size": 8,
        "fresh_noise": True,
        "scheduler": "one-cycle",
        "warmup": 0.3,
    },
    "evaluate": {"streams": 16},
}


@pytest.fixture(scope="module")
def built(make_workspace):
    """The repository after `dvc repro` with two threads, committed."""
    workspace = make_workspace("built here")
    workspace.run("dvc", "repro", OMP_NUM_THREADS="2")
    workspace.commit("built")
    return workspace


@pytest.fixture
def clone(built, tmp_path):
    """Fresh clone, without cache."""
    path = tmp_path / "fresh clone"
    built.run("git", "clone", "--quiet", str(built.path), str(path))
    return Workspace(path, built.environment)


@pytest.fixture
def copy(built, tmp_path):
    """Copy of the built repository, cache and all, to spoil."""
    path = tmp_path / "a copy"
    shutil.copytree(built.path, path, symlinks=True)
    return Workspace(path, built.environment)


def outputs(workspace):
    stages = yaml.safe_load(workspace.read("dvc.lock"))["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}


def metrics(workspace):
    return json.loads(workspace.read("metrics/evaluate/metrics.json"))["test"]


def test_a_fresh_clone_with_one_thread_makes_the_bits_of_two(clone):
    before = clone.read("dvc.lock")
    clone.run("dvc", "repro", OMP_NUM_THREADS="1")
    assert clone.read("dvc.lock") == before
    assert clone.run("git", "status", "--porcelain").stdout.split() in (["M", NEW_BITS], [])


def test_nothing_changed_means_nothing_runs(built):
    before = built.read(NEW_BITS)
    said = built.run("dvc", "repro").stdout
    assert said.count("didn't change, skipping") == 4
    assert built.read(NEW_BITS) == before


def test_the_model_names_its_build_and_the_clock_names_the_model(built):
    _, metadata = models.load(built.path / "models" / "model.safetensors")
    assert metadata.build == arithmetic.build()
    assert metadata.frequencies == (2.0, 5.0)
    run = json.loads(built.read(NEW_BITS))["run"]
    assert run["status"] == "success"
    assert outputs(built)["models/model.safetensors"].startswith(run["model"])
    assert run["train_seconds"] > 0
    assert run["us_per_sample"] > 0


def test_metrics_are_few_and_the_table_has_a_row_for_each_tone(built):
    content = json.loads(built.read("metrics/evaluate/metrics.json"))
    assert 5 <= sum(map(len, content.values())) <= 15
    assert set(content) == {"test", "limit", "best_filter"}
    assert content["test"]["latency_ms"] == 10  # a sample
    assert content["limit"]["share"] == pytest.approx(content["test"]["r2"] / content["limit"]["r2"], rel=1e-5)
    rows = list(csv.DictReader(io.StringIO(built.read("metrics/evaluate/tones.csv"))))
    assert [row["tone"] for row in rows] == ["all", "2 Hz", "5 Hz"]
    assert [row["frequency_hz"] for row in rows] == ["", "2.0", "5.0"]
    assert float(rows[0]["r2"]) == content["test"]["r2"]
    assert max(float(row["mse"]) for row in rows[1:]) == content["test"]["worst_tone_mse"]


def table(workspace, name):
    return list(csv.DictReader(io.StringIO(workspace.read(f"metrics/evaluate/{name}.csv"))))


def test_the_comparison_has_every_estimator_in_both_contexts(built):
    rows = table(built, "comparison")
    for context in ("20 samples", "all the past"):
        names = {row["name"] for row in rows if row["context"] == context}
        assert names >= {"limit", "posterior_mean", *filters.FILTERS}
    (network,) = (row for row in rows if row["name"] == "network")
    assert float(network["r2"]) == pytest.approx(metrics(built)["r2"], abs=0.01)
    best = max(float(r["r2"]) for r in rows if r["context"] == "20 samples" and r["name"] in ("wiener", "kalman"))
    assert json.loads(built.read("metrics/evaluate/metrics.json"))["best_filter"]["r2"] == best


def test_under_conditions_there_is_a_figure_for_each_estimator(built):
    rows = table(built, "conditions")
    assert {row["condition"] for row in rows} >= {"clean", "drift", "heavy", "gaps", "clip", "switching", "everything"}
    assert set(rows[0]) == {"condition", "network", "kalman", "extended", "student", "auto", "taken"}
    by_name = {row["condition"]: row for row in rows}
    assert float(by_name["clean"]["kalman"]) > 0.98  # as it is told, and a second has passed
    assert float(by_name["drift"]["extended"]) > float(by_name["drift"]["kalman"])
    assert by_name["clip"]["taken"]


def test_the_curve_over_context_averages_to_the_figure_over_all(built):
    rows = table(built, "context")
    assert [row["position"] for row in rows] == [str(position) for position in range(1, 21)]
    average = sum(float(row["network"]) for row in rows) / len(rows)
    assert average == pytest.approx(metrics(built)["r2"], abs=0.01)


def test_scores_only_gives_the_same_figures_without_the_rest(copy):
    before = json.loads(copy.read("metrics/evaluate/metrics.json"))
    copy.run("dvc", "exp", "run", "-S", "evaluate.detail=scores")
    after = json.loads(copy.read("metrics/evaluate/metrics.json"))
    assert after == {name: before[name] for name in ("test", "limit")}
    assert {row["name"] for row in table(copy, "comparison")} == {"network", "limit"}
    assert not any((copy.path / "plots" / "evaluate").iterdir())


def test_curves_have_a_row_for_each_epoch(built):
    folder = built.path / "metrics" / "train" / "plots" / "metrics"
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.tsv")}
    parts = {f"{part}/{name}.tsv" for part in ("train", "validation") for name in ("loss", "r2", "correlation")}
    assert found == parts | {"learning_rate.tsv", "grad_norm.tsv"}
    for path in folder.rglob("*.tsv"):
        steps = [row["step"] for row in csv.DictReader(io.StringIO(path.read_text()), delimiter="\t")]
        assert steps == ["1", "2"]


def test_diffs_between_commits_work_in_a_fresh_clone(built, clone):
    clone.set({"model": {"hidden_size": 12}})
    clone.run("dvc", "repro")
    clone.commit("wider")
    again = Workspace(clone.path.parent / "another clone", clone.environment)
    clone.run("git", "clone", "--quiet", str(clone.path), str(again.path))
    changed = json.loads(again.run("dvc", "params", "diff", "HEAD~1", "--json").stdout)
    assert changed == {"params.yaml": {"model.hidden_size": {"old": 8, "new": 12, "diff": 4}}}
    figures = json.loads(again.run("dvc", "metrics", "diff", "HEAD~1", "--json").stdout)
    assert set(figures["metrics/evaluate/metrics.json"]) >= {"test.r2", "test.mse"}
    again.run("dvc", "plots", "diff", "HEAD~1", "HEAD", "--out", "page")
    page = again.read("page/index.html")
    for curve in ("loss", "r2", "metrics_evaluate_tones_csv"):
        assert curve in page


def test_plots_show_draws_curves_and_pictures(built, tmp_path):
    built.run("dvc", "plots", "show", "--out", str(tmp_path / "page"))
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert page.count("vegaEmbed") >= 3
    pictures = {path.name for path in (tmp_path / "page" / "static").iterdir()}
    for name in ("data", "spectrogram", "training", "graph1", "graph2"):
        assert any(picture.endswith(f"{name}.png") for picture in pictures)


def experiments(workspace):
    table = list(csv.DictReader(io.StringIO(workspace.run("dvc", "exp", "show", "--csv").stdout)))
    return {row["Experiment"]: row for row in table if row["Experiment"]}


def test_an_experiment_and_a_queue_of_them(copy):
    brief = ("-S", "evaluate.detail=scores")
    copy.run(
        "dvc", "exp", "run", "--name", "one", "-S", "model.hidden_size=10", "-S", "train.learning_rate=1e-5", *brief
    )
    copy.run("git", "reset", "--hard", "--quiet")
    copy.run("dvc", "exp", "run", "--queue", "-S", "model.hidden_size=12,16", *brief)
    copy.run("dvc", "queue", "start", "--jobs", "2")
    wait_until(lambda: len(references(copy)) == 3, 240)
    rows = experiments(copy)
    assert sorted(int(row["model.hidden_size"]) for row in rows.values()) == [10, 12, 16]
    assert len({row["test.r2"] for row in rows.values()}) == 3
    copy.run("dvc", "exp", "apply", "one")
    assert copy.run("dvc", "repro").stdout.count("didn't change, skipping") == 4


def references(workspace):
    return workspace.run("git", "for-each-ref", "--format=%(refname)", "refs/exps/??/*/*").stdout.split()


def test_the_last_state_comes_back_after_a_failed_run(copy):
    before = outputs(copy)
    copy.set({"train": {"optimizer": "sgd", "learning_rate": 1e14, "grad_clip": None}})
    failed = copy.run("dvc", "repro", check=False)
    assert failed.returncode != 0
    assert "train: the loss became" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (copy.path / "models" / "model.safetensors").exists()
    assert not (copy.path / "metrics" / "train" / "metrics.json").exists()
    assert "train failed: the loss became" in json.loads(copy.read(NEW_BITS))["run"]["status"]
    copy.run("git", "checkout", "metrics", "params.yaml")
    copy.run("dvc", "checkout")
    assert outputs(copy) == before
    assert copy.run("dvc", "status").stdout.strip() == "Data and pipelines are up to date."


# -- a state that is carried on


@pytest.fixture(scope="module")
def carried(make_workspace):
    """The repository with a state that is carried on, after `dvc repro` with two threads, committed."""
    workspace = make_workspace("carried on")
    workspace.set(CARRIED)
    workspace.run("dvc", "repro", OMP_NUM_THREADS="2")
    workspace.commit("built")
    return workspace


@pytest.fixture
def spoilt(carried, tmp_path):
    """Copy of it, to spoil."""
    path = tmp_path / "carried on, a copy"
    shutil.copytree(carried.path, path, symlinks=True)
    return Workspace(path, carried.environment)


def all_metrics(workspace):
    return json.loads(workspace.read("metrics/evaluate/metrics.json"))


def r2(target, output):
    return 1 - np.mean((output - target) ** 2) / target.var()


def test_carried_a_fresh_clone_with_one_thread_makes_the_bits_of_two(carried, tmp_path):
    clone = Workspace(tmp_path / "fresh clone", carried.environment)
    carried.run("git", "clone", "--quiet", str(carried.path), str(clone.path))
    clone.run("dvc", "repro", OMP_NUM_THREADS="1")
    assert clone.read("dvc.lock") == carried.read("dvc.lock")
    assert clone.run("git", "status", "--porcelain").stdout.split() in (["M", NEW_BITS], [])


def test_carried_metrics_are_few_and_tell_what_holds_after_the_first_second(carried):
    content = all_metrics(carried)
    assert sum(map(len, content.values())) <= 15
    assert set(content) == {"test", "limit", "settled", "from_start", "best_filter"}
    assert set(content["settled"]) == {"r2", "worst_tone_mse", "correlation"}
    assert set(content["from_start"]) == {"settled_r2", "worst_tone_mse"}
    assert content["test"]["latency_ms"] == 20  # two samples at 100 Hz
    assert content["limit"]["share"] == pytest.approx(content["test"]["r2"] / content["limit"]["r2"], rel=1e-5)


def test_carried_figures_from_the_start_are_those_of_the_network_itself(carried):
    network, _ = models.load(carried.path / "models" / "model.safetensors")
    with recordings.opened(carried.path / "data" / "test.h5") as test:
        mixture, tones = test.mixture(0), test.tones(0)
    with torch.no_grad():
        output, _ = network(torch.from_numpy(mixture).view(200, 1, 2))
    output = output.view(200, 2, 2).transpose(0, 1).reshape(2, 400).numpy()[:, 100:]
    found = all_metrics(carried)["from_start"]
    assert found["settled_r2"] == pytest.approx(r2(tones[:, 100:], output), rel=1e-3, abs=1e-5)
    worst = np.mean((output - tones[:, 100:]) ** 2, axis=1).max()
    assert found["worst_tone_mse"] == pytest.approx(worst, rel=1e-4)


def test_carried_the_comparison_has_the_limit_at_the_hop_and_filters_with_all_the_past(carried):
    rows = table(carried, "comparison")
    assert {row["context"] for row in rows} == {"all the past"}
    named = {"extended", "student", "auto"}
    assert {row["name"] for row in rows} == {"network", "limit", "posterior_mean", *named, *filters.FILTERS}
    assert {row["name"] for row in rows if row["hop"] == "2"} == {"network", "limit", "posterior_mean"}
    content = all_metrics(carried)
    ours, limit = (next(row for row in rows if row["name"] == name) for name in ("network", "limit"))
    assert (float(ours["r2"]), float(ours["r2_settled"])) == (content["test"]["r2"], content["settled"]["r2"])
    assert float(limit["r2"]) == content["limit"]["r2"] == pytest.approx(limit_of_streams(carried), abs=0.002)


def limit_of_streams(workspace):
    """What is possible on streams that begin anywhere in a period, of the length that training segments leave."""
    with recordings.opened(workspace.path / "data" / "test.h5") as test:
        period = test.tones(0)[:, :100]  # 2 and 5 Hz at 100 Hz
    length = 400 - 40 - 20 - 100  # less what validates, the gap of a window and the period that starts are drawn from
    seen = np.array([sample // 2 * 2 + 2 for sample in range(length)])
    mse, _ = limits.fixed_mse(period, 0.1, seen, draws=4000, generator=np.random.default_rng(9))
    return 1 - mse.mean() / 0.5


def test_carried_the_curve_over_context_covers_the_first_second(carried):
    rows = table(carried, "context")
    assert [row["position"] for row in rows] == [str(position) for position in range(1, 101)]
    limit = [float(row["limit"]) for row in rows]
    assert limit[0] < 0.9 < 0.999 < limit[-1]
    assert set(rows[0]) == {"position", "network", "limit", "kalman", "least_squares", "bandpass", "persistence"}


def test_carried_the_best_filter_is_the_best_causal_one(carried):
    rows = table(carried, "comparison")
    told = ("network", "limit", "posterior_mean")  # of the waveforms
    causal = [float(row["r2"]) for row in rows if row["name"] not in told and row["causal"] == "yes"]
    assert all_metrics(carried)["best_filter"]["r2"] == max(causal)


def test_carried_scores_only_gives_the_same_figures(spoilt):
    before = all_metrics(spoilt)
    spoilt.set({"evaluate": {"detail": "scores"}})
    spoilt.stage("evaluate", *PATHS["evaluate"])
    assert all_metrics(spoilt) == {name: part for name, part in before.items() if name != "best_filter"}
    assert {row["name"] for row in table(spoilt, "comparison")} == {"network", "limit"}


def test_carried_the_report_tells_of_the_state(carried, tmp_path):
    page, card = tmp_path / "report.html", tmp_path / "card.md"
    carried.module("pages.report", str(page), str(card))
    assert "after 1 s" in page.read_text(encoding="utf-8")
    text = card.read_text(encoding="utf-8")
    for words in ("the state carried on", "The noise was drawn anew at every reading", "all the past", "after 1 s"):
        assert words in text


def test_another_hop_asks_for_other_windows(spoilt):
    spoilt.set({"model": {"hop": 4}})
    changed = json.loads(spoilt.run("dvc", "status", "--json").stdout)
    assert {"changed deps": {"params.yaml": {"model.hop": "modified"}}} in changed["prepare"]


def test_carried_several_general_recordings_run_through(workspace):
    workspace.set(CARRIED)
    workspace.set({"data": {"task": "general", "train_recordings": 4, "test_recordings": 2}})
    workspace.set({"evaluate": {"detail": "scores"}})
    for stage, paths in PATHS.items():
        assert "Traceback" not in workspace.stage(stage, *paths).stderr
    content = all_metrics(workspace)
    assert set(content) == {"test", "limit", "settled", "from_start"}
    assert 0.5 < content["limit"]["r2"] < 1


BAD = {
    "train.stateful: a stream needs neighbouring windows, but prepare.split is 'random': set it to block": {
        "prepare": {"split": "random"}
    },
    "prepare.sequence_length: got 201 steps of 2, but a recording has 400 samples": {
        "prepare": {"sequence_length": 201}
    },
    "prepare.val_split: got 0.1, which leaves 40 samples for validation, but it needs 42": {
        "prepare": {"sequence_length": 21}
    },
}


@pytest.mark.parametrize("message", BAD)
def test_carried_settings_that_do_not_go_together_are_refused_by_the_first_stage(spoilt, message):
    spoilt.set(BAD[message])
    failed = spoilt.stage("generate", *PATHS["generate"], check=False)
    assert failed.returncode == 2
    (said,) = failed.stderr.splitlines()
    assert said.startswith(f"generate: params.yaml: {message}")


def test_a_processor_without_bfloat16_refuses_it(spoilt):
    spoilt.set({"train": {"precision": "bfloat16", "arithmetic": "native"}})
    program = (
        "import runpy, sys, torch; torch.cpu.get_capabilities = dict; sys.argv = ['stage', *sys.argv[1:]]; "
        "runpy.run_module('stages.train', run_name='__main__')"
    )
    failed = spoilt.run("python", "-c", program, *PATHS["train"], check=False)
    assert failed.returncode == 2
    (said,) = (line for line in failed.stderr.splitlines() if not line.startswith("note:"))
    assert said.startswith("train: train.precision: got 'bfloat16', but this processor (cpu) lacks it: use float32")
