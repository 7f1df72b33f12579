"""The way back to the last commit, after whatever a run was stopped by; and the verdict on the bits."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
import yaml
from conftest import PATHS, Workspace
from foreign import wait_until

KILLS = int(os.environ.get("TORTURE_ROUNDS", "1")) * 6  # 36 with six
CHANGE = {"train": {"learning_rate": 0.02}}


@pytest.fixture(scope="module")
def built(make_workspace):
    """The repository after `dvc repro`, committed."""
    workspace = make_workspace("built, to come back to")
    workspace.run("dvc", "repro")
    workspace.commit("built")
    return workspace


@pytest.fixture
def copy(built, tmp_path):
    """Copy of it, cache and all."""
    path = tmp_path / "a copy"
    shutil.copytree(built.path, path, symlinks=True)
    return Workspace(path, built.environment)


def command(workspace, *words, check=True):
    done = workspace.run(sys.executable, "-m", "workspace", *words, check=False)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def outputs(workspace):
    stages = yaml.safe_load(workspace.read("dvc.lock"))["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}


def is_back(workspace, remade=False):
    """Whether nothing is left of what happened."""
    changed = workspace.run("git", "status", "--porcelain").stdout.split()
    left = [
        path for top in ("data", "models", "metrics", "plots") for path in (workspace.path / top).rglob("*.partial")
    ]
    clean = changed in ([], ["M", "metrics/run.json"]) if remade else changed == []
    status = workspace.run("dvc", "status").stdout.strip()
    return clean and not left and status == "Data and pipelines are up to date."


# -- the verdict


def test_another_pipeline_has_a_verdict_of_its_own(copy):
    other = copy.path / "other"
    other.mkdir()
    text = "stages:\n  copy:\n    wdir: ..\n    cmd: echo 1 > other/out\n    outs: [other/out]\n"  # paths from the top
    (other / "dvc.yaml").write_text(text, encoding="utf-8")
    copy.run("dvc", "repro", "other/dvc.yaml")
    copy.commit("another pipeline")
    told = command(copy, "verdict", "other/dvc.yaml").stdout
    assert told.startswith("The committed bits: all 1 outputs are as other/dvc.lock has them at ")
    spoil(other / "out")
    told = command(copy, "verdict", "other/dvc.yaml", check=False)
    assert (told.returncode, "1 of 1 outputs differ from other/dvc.lock at" in told.stdout) == (1, True)
    (other / "dvc.lock").unlink()
    assert "git restore other/dvc.lock" in command(copy, "verdict", "other/dvc.yaml", check=False).stderr


def test_the_committed_bits_are_told(copy):
    assert command(copy, "verdict").stdout.startswith("The committed bits: all 15 outputs are as dvc.lock has them at ")


def test_other_parameters_and_code_are_named_with_the_outputs_they_changed(copy):
    copy.set(CHANGE)
    path = copy.path / "tonesift" / "evaluation" / "tables.py"
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    copy.run("dvc", "repro")
    told = command(copy, "verdict", check=False)
    assert told.returncode == 1
    assert "outputs differ from dvc.lock at " in told.stdout
    assert "models/model.safetensors" in told.stdout.splitlines()[1]
    assert "data/" not in told.stdout
    reasons = [line.strip() for line in told.stdout.splitlines()[3:-1]]
    assert reasons == ["train.learning_rate: 0.01 -> 0.02", "tonesift/evaluation/tables.py"]


def spoil(path):
    """Change a file's last bit."""
    content = path.read_bytes()
    path.unlink()  # it may be a link into the cache
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_another_machine_is_named_where_its_bits_differ(copy):
    spoil(copy.path / "models" / "model.safetensors")
    run = json.loads(copy.read("metrics/run.json"))
    run["run"] |= {"processor": "Z80", "arithmetic": "native"}
    (copy.path / "metrics" / "run.json").write_text(json.dumps(run), encoding="utf-8")
    told = command(copy, "verdict", check=False).stdout
    assert "models/model.safetensors" in told
    assert "arithmetic: portable -> native" in told
    assert "-> Z80" in told


def test_an_output_that_was_changed_by_hand_is_seen(copy):
    model = copy.path / "models" / "model.safetensors"
    content = model.read_bytes()
    spoil(model)
    told = command(copy, "verdict", check=False)
    assert (told.returncode, told.stdout.splitlines()[1].strip()) == (1, "models/model.safetensors")
    command(copy, "undo")
    assert model.read_bytes() == content


def test_a_folder_that_git_does_not_trust_is_told(copy, monkeypatch):
    assert command(copy, "ready").stdout == ""
    monkeypatch.setitem(copy.environment, "GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    told = command(copy, "ready", check=False)
    assert told.returncode == 2
    assert told.stderr.startswith("workspace: this folder is another user's, so Git does not trust it: clone it into")
    assert "git config --global --add safe.directory " in told.stderr


def test_without_git_or_a_committed_lock_a_line_says_so(copy, tmp_path):
    shutil.rmtree(copy.path / ".git")
    for name in ("ready", "verdict", "undo"):
        told = command(copy, name, check=False)
        assert (told.returncode, told.stdout) == (2, "")
        assert told.stderr.startswith("workspace: DVC needs a Git repository with a commit, and there is none here")
    copy.run("git", "init", "--quiet")
    (copy.path / "dvc.lock").unlink()
    copy.commit("no lock")
    assert "holds no readable dvc.lock" in command(copy, "undo", check=False).stderr
    elsewhere = subprocess.run(
        [sys.executable, "-m", "workspace", "undo"],
        cwd=tmp_path,
        env=copy.environment | {"PYTHONPATH": str(copy.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "there is no dvc.yaml here: run from the top" in elsewhere.stderr


def test_a_shallow_clone_is_told_of(built, tmp_path):
    path = tmp_path / "shallow"
    built.run("git", "clone", "--quiet", "--depth", "1", f"file://{built.path}", str(path))
    clone = Workspace(path, built.environment)
    clone.run("dvc", "cache", "dir", "--local", str(built.path / ".dvc" / "cache"))
    clone.run("dvc", "checkout")
    assert "A shallow clone: diffs reach no older commit before" in command(clone, "verdict").stdout


# -- the way back


def test_back_from_an_experiment_says_what_is_dropped_and_git_keeps_it(copy):
    before = outputs(copy)
    copy.run("dvc", "exp", "run", "-S", "model.hidden_size=12", "-S", "train.ensemble=2")
    assert outputs(copy) != before
    told = command(copy, "undo").stdout
    assert "Drops: changes in dvc.lock, " in told
    assert "params.yaml" in told.splitlines()[0]
    assert "models/model.safetensors" in next(line for line in told.splitlines() if line.startswith("Replaces:"))
    assert is_back(copy)
    kept = next(line.split()[-1] for line in told.splitlines() if "git stash apply" in line)
    copy.run("git", "stash", "apply", kept)
    assert "hidden_size: 12" in copy.read("params.yaml")


@pytest.mark.parametrize("change", [{"train": {"epochs": 0}}, {"train": {"optimizer": "sgd", "learning_rate": 1e30}}])
def test_back_from_a_refused_and_from_a_failed_run(copy, change):
    copy.set(change)
    assert copy.run("dvc", "repro", check=False).returncode
    command(copy, "undo")
    assert is_back(copy)


def test_what_is_no_part_of_a_run_stays(copy):
    (copy.path / "README.md").write_text("mine\n", encoding="utf-8")
    (copy.path / "metrics" / "notes.txt").write_text("mine\n", encoding="utf-8")
    code = copy.path / "stages" / "train.py"
    code.write_text(code.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    copy.set(CHANGE)
    command(copy, "undo")
    changed = copy.run("git", "status", "--porcelain").stdout.split("\n")
    assert sorted(filter(None, changed)) == [" M stages/train.py", "?? README.md", "?? metrics/notes.txt"]


def test_an_emptied_cache_has_them_made_again(copy):
    before = outputs(copy)
    shutil.rmtree(copy.path / ".dvc" / "cache")
    shutil.rmtree(copy.path / "models")
    (copy.path / "dvc.lock").write_text("half: [", encoding="utf-8")
    told = command(copy, "undo").stdout
    assert "DVC's cache lacks some of them: they are made again." in told
    assert outputs(copy) == before
    assert is_back(copy, remade=True)


def test_what_was_never_cached_is_kept_aside(copy):
    copy.set(CHANGE)
    copy.run("dvc", "repro", "--no-commit")
    model = (copy.path / "models" / "model.safetensors").read_bytes()
    mine = copy.path / "metrics" / "train" / "plots" / "mine.txt"
    mine.write_text("mine", encoding="utf-8")
    told = command(copy, "undo").stdout
    assert "Removes: metrics/train/plots/mine.txt" in told
    assert "Kept until the next time in .dvc/tmp/undone" in told
    kept = copy.path / ".dvc" / "tmp" / "undone"
    assert (kept / "models" / "model.safetensors").read_bytes() == model
    assert (kept / "metrics" / "train" / "plots" / "mine.txt").read_text(encoding="utf-8") == "mine"
    assert is_back(copy)


def test_right_files_with_an_emptied_cache_are_the_committed_bits_and_are_cached_again(copy):
    for path in copy.path.rglob("*"):
        if path.is_symlink():
            pytest.skip("links into the cache")
    shutil.rmtree(copy.path / ".dvc" / "cache")
    assert command(copy, "verdict").returncode == 0
    told = command(copy, "undo").stdout
    assert "made again" not in told
    assert is_back(copy)
    (copy.path / "models" / "model.safetensors").unlink()
    assert "made again" not in command(copy, "undo").stdout


def test_in_a_merge_nothing_is_dropped_that_git_cannot_keep(copy):
    for branch, rate in (("one", 0.02), ("other", 0.03)):
        copy.run("git", "checkout", "--quiet", "-b", branch, "main")
        copy.set({"train": {"learning_rate": rate}})
        copy.commit(branch)
    assert copy.run("git", "merge", "one", check=False).returncode
    before = copy.read("params.yaml")
    refused = command(copy, "undo", check=False)
    assert refused.returncode == 2
    assert "Git cannot keep the changes in " in refused.stderr
    assert copy.read("params.yaml") == before


def test_a_stage_that_somebody_runs_by_hand_is_left_alone(copy):
    copy.set({"train": {"epochs": 2000, "early_stop_patience": 2000}})
    mine = subprocess.Popen(
        ["python", "-m", "stages.train", *PATHS["train"]],
        cwd=copy.path,
        env=copy.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: stages_of(copy), 60)
        refused = command(copy, "undo", check=False)
        assert "-m stages.train data/train.h5 is at work here (process " in refused.stderr
        assert mine.poll() is None
    finally:
        mine.kill()
        mine.wait()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"stages: {a: null}", b"stages: [1]", b"<<<<<<< ours"])
def test_a_damaged_lock_is_one_line(copy, content):
    (copy.path / "dvc.lock").write_bytes(content)
    told = command(copy, "verdict", check=False)
    assert told.returncode == 2
    assert told.stderr.splitlines() == [
        "workspace: dvc.lock is missing or not readable here: make undo brings the committed one back"
    ]
    command(copy, "undo")
    assert is_back(copy)


def test_changed_code_does_not_make_committed_outputs_again(copy):
    shutil.rmtree(copy.path / ".dvc" / "cache")
    code = copy.path / "tonesift" / "metrics.py"
    code.write_text(code.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    (copy.path / "models" / "model.safetensors").unlink()
    told = command(copy, "undo", check=False)
    assert told.returncode == 2
    assert "cannot be made again by changed code: commit or stash tonesift/metrics.py, then again" in told.stderr


def started(workspace):
    """`dvc repro` in a process group of its own."""
    return subprocess.Popen(
        ["dvc", "repro"],
        cwd=workspace.path,
        env=workspace.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def stages_of(workspace):
    found = []
    for process in psutil.process_iter():
        try:
            if "-m" in process.cmdline() and process.cwd() == str(workspace.path):
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.cmdline()[2].startswith("stages.")]


def test_it_is_refused_while_dvc_is_at_work_and_ends_what_a_killed_one_left(copy):
    copy.set({"train": {"epochs": 2000, "early_stop_patience": 2000}})
    changed = copy.read("params.yaml")
    dvc = started(copy)
    wait_until(lambda: stages_of(copy), 60)
    refused = command(copy, "undo", check=False)
    assert refused.returncode == 2
    assert "DVC is at work here (process " in refused.stderr
    assert copy.read("params.yaml") == changed
    dvc.kill()
    dvc.wait()
    assert stages_of(copy)
    told = command(copy, "undo").stdout
    assert told.startswith("Ends -m stages.")
    assert not stages_of(copy)
    assert is_back(copy)


@pytest.mark.parametrize("number", range(KILLS))
def test_back_from_a_run_killed_at_any_moment(copy, number):
    draw = random.Random(number)  # noqa: S311
    whom = ("dvc", "group", "stage")[number % 3]
    how = draw.choice([signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
    copy.set({"data": {"noise_std": 0.11}} if draw.random() < 0.5 else CHANGE)
    dvc = started(copy)
    time.sleep(draw.uniform(0, 14))
    if whom == "group":
        os.killpg(dvc.pid, how)
    elif whom == "dvc":
        dvc.send_signal(how)
    else:
        for process in stages_of(copy):
            process.send_signal(how)
    # Of what was not told, a run may go on to its end.
    if whom == "dvc" and how == signal.SIGINT:
        dvc.kill()
    dvc.wait(120)
    command(copy, "undo")
    assert is_back(copy), (whom, how)
