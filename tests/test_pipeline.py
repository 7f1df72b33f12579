"""The pipeline as users run it: the real DVC on a small configuration, in folders with a space in their names."""

import csv
import io
import json
import shutil

import pytest
import torch
import yaml
from conftest import Workspace

from tonesift import filters

NEW_BITS = "metrics/run.json"


@pytest.fixture(scope="module")
def built(make_workspace):
    """The repository after `dvc repro`, committed."""
    workspace = make_workspace("built here")
    workspace.run("dvc", "repro")
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


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_fresh_clone_makes_the_same_bits(clone, threads):
    before = clone.read("dvc.lock")
    clone.run("dvc", "repro", OMP_NUM_THREADS=threads)
    assert clone.read("dvc.lock") == before
    assert clone.run("git", "status", "--porcelain").stdout.split() in (["M", NEW_BITS], [])


def test_nothing_changed_means_nothing_runs(built):
    before = built.read(NEW_BITS)
    said = built.run("dvc", "repro").stdout
    assert said.count("didn't change, skipping") == 4
    assert built.read(NEW_BITS) == before


@pytest.mark.skipif("AVX512" not in torch.backends.cpu.get_cpu_capability(), reason="this processor has no AVX-512")
def test_another_instruction_set_gives_the_same_data_and_nearly_the_same_metrics(built, clone):
    older = {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    }
    clone.run("dvc", "repro", **older)
    one, other = outputs(built), outputs(clone)
    assert {path: md5 for path, md5 in one.items() if path.startswith("data/")}.items() <= other.items()
    assert one["models/model.safetensors"] != other["models/model.safetensors"]
    assert metrics(clone) == pytest.approx(metrics(built), rel=1e-3, abs=1e-3)


def test_the_model_names_its_build_and_the_clock_names_the_model(built):
    from tonesift import model as models

    _, facts = models.load(built.path / "models" / "model.safetensors")
    assert facts["build"] == models.build_facts()
    assert facts["frequencies"] == [2.0, 5.0]
    run = json.loads(built.read(NEW_BITS))["run"]
    assert run["status"] == "success"
    assert outputs(built)["models/model.safetensors"].startswith(run["model"])
    assert run["train_seconds"] > 0
    assert run["us_per_sample"] > 0


def test_metrics_are_few_and_the_table_has_a_row_for_each_tone(built):
    content = json.loads(built.read("metrics/evaluate/metrics.json"))
    assert 5 <= sum(map(len, content.values())) <= 15
    assert set(content) == {"test", "limit", "best_filter"}
    assert content["limit"]["share"] == pytest.approx(content["test"]["r2"] / content["limit"]["r2"], rel=1e-5)
    rows = list(csv.DictReader(io.StringIO(built.read("metrics/evaluate/tones.csv"))))
    assert [row["tone"] for row in rows] == ["all", "tone_1", "tone_2"]
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
    (lstm,) = (row for row in rows if row["name"] == "lstm")
    assert float(lstm["r2"]) == pytest.approx(metrics(built)["r2"], abs=0.01)
    best = max(float(r["r2"]) for r in rows if r["context"] == "20 samples" and r["name"] in ("wiener", "kalman"))
    assert json.loads(built.read("metrics/evaluate/metrics.json"))["best_filter"]["r2"] == best


def test_the_curve_over_context_averages_to_the_figure_over_all(built):
    rows = table(built, "context")
    assert [row["position"] for row in rows] == [str(position) for position in range(1, 21)]
    average = sum(float(row["lstm"]) for row in rows) / len(rows)
    assert average == pytest.approx(metrics(built)["r2"], abs=0.01)


def test_scores_only_gives_the_same_figures_without_the_rest(copy):
    before = json.loads(copy.read("metrics/evaluate/metrics.json"))
    copy.run("dvc", "exp", "run", "-S", "evaluate.detail=scores")
    after = json.loads(copy.read("metrics/evaluate/metrics.json"))
    assert after == {name: before[name] for name in ("test", "limit")}
    assert {row["name"] for row in table(copy, "comparison")} == {"lstm", "limit"}
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
    copy.run("dvc", "exp", "run", "--name", "one", "-S", "model.hidden_size=10", "-S", "train.learning_rate=1e-5")
    copy.run("git", "reset", "--hard", "--quiet")
    copy.run("dvc", "exp", "run", "--queue", "-S", "model.hidden_size=12,16")
    copy.run("dvc", "queue", "start", "--jobs", "2")
    copy.run("dvc", "queue", "logs", "--follow", queued(copy)[0], check=False)
    wait_for_queue(copy)
    rows = experiments(copy)
    assert sorted(int(row["model.hidden_size"]) for row in rows.values()) == [10, 12, 16]
    assert len({row["test.r2"] for row in rows.values()}) == 3
    copy.run("dvc", "exp", "apply", "one")
    assert copy.run("dvc", "repro").stdout.count("didn't change, skipping") == 4


def queued(workspace):
    lines = workspace.run("dvc", "queue", "status").stdout.splitlines()
    return [line.split()[0] for line in lines if "Queued" in line or "Running" in line] or ["none"]


def wait_for_queue(workspace):
    for _ in range(120):
        status = workspace.run("dvc", "queue", "status").stdout
        if "Queued" not in status and "Running" not in status:
            assert "Failed" not in status, status
            return
        workspace.run("sleep", "0.5")
    raise AssertionError(status)


def test_the_last_state_comes_back_after_a_failed_run(copy):
    before = outputs(copy)
    copy.set({"train": {"optimizer": "sgd", "learning_rate": 1e30, "grad_clip": None}})
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
