"""Searches in repositories of every kind: what works by `dvc exp run` works in a search, or is refused by name."""

import csv
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import checked
from foreign import SWEEPS
from tiny import Tiny

TRAIN = """
import json, pathlib
from ruamel.yaml import YAML
p = YAML(typ="safe").load(open("params.yaml"))["train"]
best = 0.3
loss = (p["lr"] - best) ** 2
pathlib.Path("model.txt").write_text(str(p))
json.dump({"val": {"loss": loss}}, open("metrics.json", "w"))
"""
PARAMS = "train:\n  lr: 0.1\n  seed: 1\n"
PIPELINE = """stages:
  train:
    cmd: python train.py
    deps: [train.py]
    params: [train]
    outs: [model.txt]
    metrics: [metrics.json: {cache: false}]
"""
STUDY = {"objective": "metrics.json:val.loss", "strategy": "grid", "jobs": 1, "space": {"train.lr": [0.2, 0.4]}}


@dataclass
class Other(Tiny):
    """A repository with a pipeline and a study, and what is typed in it."""

    def build(self, files: dict[str, str | None] | None = None, folder: str = ".") -> None:
        """Write the pipeline, run it, commit all."""
        tree = {"train.py": TRAIN, "params.yaml": PARAMS, "dvc.yaml": PIPELINE, **(files or {})}
        self.write({os.path.normpath(f"{folder}/{name}"): text for name, text in tree.items()})
        self.dvc("repro", "--quiet", folder=folder)
        self.commit()

    def dvc(self, *arguments: str, folder: str = ".") -> str:
        done = subprocess.run(
            ["dvc", *arguments],
            cwd=self.path / folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return checked(done).stdout

    def study(self, **content: object) -> None:
        (self.path / "st.yaml").write_text(json.dumps({**STUDY, **content}), encoding="utf-8")

    def sweeps(self, command: str, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        arguments = (command, "st.yaml", *options)
        done = SWEEPS.run("dvcsweep.__main__", *arguments, cwd=self.path, environment=self.environment)
        assert "Traceback" not in done.stdout + done.stderr
        return checked(done) if check else done

    def losses(self, **content: object) -> dict[float, float]:
        """Run the study; its losses by learning rate, from its table."""
        self.study(**content)
        self.sweeps("run")
        with (self.path / "st" / "trials.csv").open(newline="") as file:
            return {float(row["params.train.lr"]): round(float(row["val.loss"]), 6) for row in csv.DictReader(file)}


@pytest.fixture
def foreign(tmp_path):
    return Other.make(tmp_path)


def squares(best: float) -> dict[float, float]:
    """What the pipeline measures, worked out here."""
    return {lr: round((lr - best) ** 2, 6) for lr in (0.2, 0.4)}


# Results that no longer hold


def test_a_dependency_behind_a_template_that_changes_makes_new_results(foreign):
    train = TRAIN.replace("best = 0.3", 'import sys; sys.path.insert(0, "src"); from lib import best')
    text = "vars: [{src: src}]\n" + PIPELINE.replace("[train.py]", '["${src}/train.py", "${src}/lib.py"]').replace(
        "python train.py", "python ${src}/train.py"
    )
    foreign.build(
        {"train.py": None, "src/train.py": train, "src/lib.py": "best = 0.3\n", "dvc.yaml": text} | {"train.py": TRAIN}
    )
    assert foreign.losses() == squares(0.3)
    foreign.commit({"src/lib.py": "best = 0.2\n"})
    warned = foreign.sweeps("best").stderr
    assert "src/lib.py changed since st@" in warned
    foreign.sweeps("clean", "--dry-run")
    refused = foreign.sweeps("promote", check=False)
    assert refused.returncode == 2
    assert "python -m dvcsweep run st.yaml, or promote it all the same with --trial N" in refused.stderr
    assert foreign.losses() == squares(0.2)
    assert "lr: 0.2" in foreign.sweeps("best").stdout


def test_data_of_another_pipeline_and_data_downloaded_again_make_new_results(foreign):
    train = TRAIN.replace("best = 0.3", 'best = float(open("data/prep.csv").read())')
    source = foreign.path.parent / "outside.txt"
    source.write_text("0.3")
    copy = f"import shutil; shutil.copy({str(source)!r}, 'prep.csv')"
    prep = "stages:\n  prep:\n    cmd: python prep.py\n    deps: [prep.py]\n    outs: [prep.csv]\n"
    text = PIPELINE.replace("[train.py]", "[train.py, data/prep.csv]")
    foreign.build({"train.py": train, "dvc.yaml": text, "data/dvc.yaml": prep, "data/prep.py": copy})
    assert foreign.losses() == squares(0.3)
    source.write_text("0.4")
    foreign.dvc("repro", "--force", "--quiet", folder="data")
    foreign.commit()
    foreign.study()
    assert "The code (the data of stage data/dvc.yaml:prep) changed since st@" in foreign.sweeps("run").stdout
    assert foreign.losses() == squares(0.4)
    foreign.commit({"data/prep.py": "open('prep.csv', 'w').write('0.2')"})
    assert foreign.losses() == squares(0.2)


def test_a_parameter_named_size_reaches_every_trial(foreign):
    train = TRAIN.replace("best = 0.3", 'best = 0.3 + p["size"]')
    foreign.build({"train.py": train, "params.yaml": PARAMS + "  size: 0\n"})
    foreign.study(space={"train.size": [1, 2], "train.lr": [0.2]})
    foreign.sweeps("run", "--no-report")
    found = foreign.sweeps("report").stdout
    assert "4.41" in found
    assert "1.21" in found
    refused = foreign.sweeps("enqueue", check=False).stderr
    assert "DVC's run-cache takes no notice of train.size" in refused
    foreign.commit()
    foreign.sweeps("promote", "--trial", "1")
    measured = json.loads((foreign.path / "metrics.json").read_text())["val"]["loss"]
    assert measured == pytest.approx((0.2 - 2.3) ** 2)


# Clones


def test_the_users_own_settings_of_git_do_not_reach_the_clones(foreign):
    foreign.build()
    (foreign.path.parent / "home" / ".gitconfig").write_text(
        "[clone]\n defaultRemoteName = upstream\n rejectShallow = true\n"
        "[push]\n gpgSign = true\n recurseSubmodules = check\n"
        "[submodule]\n recurse = true\n[core]\n hooksPath = /nowhere\n fsmonitor = true\n[receive]\n autogc = true\n"
    )
    assert foreign.losses() == squares(0.3)


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no second file system")  # noqa: S108
def test_a_work_tree_on_another_file_system_than_git(foreign):
    foreign.build()
    place = Path("/dev/shm") / f"tree-{os.getpid()}"  # noqa: S108
    assert place.parent.stat().st_dev != foreign.path.stat().st_dev
    foreign.git("worktree", "add", "--quiet", str(place), "-b", "tree")
    try:
        tree = Other(place, foreign.environment)
        assert tree.losses() == squares(0.3)
    finally:
        foreign.git("worktree", "remove", "--force", str(place))


@pytest.mark.parametrize("kind", ["shallow", "bare worktree"])
def test_repositories_that_are_no_plain_clones(foreign, tmp_path, kind):
    foreign.build()
    foreign.commit({"more": "1"})
    other = Other(tmp_path / "other", foreign.environment)
    if kind == "shallow":
        foreign.git("clone", "--quiet", "--depth", "1", f"file://{foreign.path}", str(other.path))
    else:
        foreign.git("clone", "--quiet", "--bare", str(foreign.path), str(tmp_path / "bare"))
        foreign.git("-C", str(tmp_path / "bare"), "worktree", "add", "--quiet", str(other.path), "main")
    assert other.losses() == squares(0.3)


def test_submodules_come_from_the_users_own_copies(foreign, tmp_path):
    for name, text in (("inner", "best = 0.2\n"), ("lib", "from inner.lib import best\n")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "lib.py").write_text(text)
        foreign.git("-C", str(folder), "init", "--quiet", "--initial-branch", "main")
        if name == "lib":
            foreign.git("-C", str(folder), *ALLOWED, "submodule", "--quiet", "add", str(tmp_path / "inner"), "inner")
        foreign.git("-C", str(folder), "add", ".")
        foreign.git("-C", str(folder), "commit", "--quiet", "--message", "start")
    foreign.git(*ALLOWED, "submodule", "--quiet", "add", str(tmp_path / "lib"), "extern")
    foreign.git(*ALLOWED, "submodule", "--quiet", "update", "--init", "--recursive")
    for name in ("inner", "lib"):  # nothing of it is asked for again
        (tmp_path / name).rename(tmp_path / f"{name} is gone")
    train = TRAIN.replace("best = 0.3", 'import sys; sys.path.insert(0, "extern"); from lib import best')
    foreign.build({"train.py": train, "dvc.yaml": PIPELINE.replace("[train.py]", "[train.py, extern/lib.py]")})
    assert foreign.losses() == squares(0.2)
    foreign.git("-C", "extern", "commit", "--quiet", "--allow-empty", "--message", "other")
    foreign.commit()
    shutil_away = foreign.git("-C", "extern", "rev-parse", "HEAD~1")
    foreign.git("-C", "extern", "reset", "--quiet", "--hard", shutil_away)
    foreign.git("-C", "extern", "reflog", "expire", "--expire=now", "--all")
    foreign.git("-C", "extern", "gc", "--quiet", "--prune=now")
    refused = foreign.sweeps("run", check=False)
    assert refused.returncode == 2
    assert "is not here: git submodule update --init extern" in refused.stderr


ALLOWED = ("-c", "protocol.file.allow=always")


def test_files_that_git_ignores_reach_the_clones_when_named(foreign):
    train = TRAIN.replace("best = 0.3", 'best = float(open(".env").read())')
    foreign.build({"train.py": train, ".env": "0.2", ".gitignore": ".env\nst*\n", ".dvcignore": ""})
    foreign.study()
    failed = foreign.sweeps("run", "--no-report", check=False)
    assert failed.returncode == 1
    assert ".env is here, but no clone has it: name it under `copy` in the study, or commit it" in failed.stdout
    assert foreign.losses(copy=[".env"]) == squares(0.2)
    foreign.write({".env": "0.3"})
    assert foreign.losses(copy=[".env"]) == squares(0.3)  # though no stage declares it
    for path, said in (("none", "copy: none is not here"), ("train.py", "copy: train.py is in commit")):
        foreign.study(copy=[path])
        assert said in foreign.sweeps("run", check=False).stderr


def test_a_dependency_that_git_ignores_is_refused_by_name(foreign):
    train = TRAIN.replace("best = 0.3", 'best = float(open("local/x").read())')
    text = PIPELINE.replace("[train.py]", "[train.py, local/x]")
    foreign.build({"train.py": train, "dvc.yaml": text, "local/x": "0.2", ".gitignore": "local\nst*\n"})
    foreign.study()
    refused = foreign.sweeps("run", check=False)
    assert refused.returncode == 2
    assert "stage train depends on local/x, which is here but not in commit" in refused.stderr
    assert "name it under `copy`" in refused.stderr
    assert foreign.losses(copy=["local"]) == squares(0.2)


def test_projects_in_subfolders_of_one_repository(foreign):
    foreign.write({".dvc/config": None, ".dvc/.gitignore": None})
    for name, best in (("one", 0.3), ("two", 0.2)):
        (foreign.path / name).mkdir()
        foreign.dvc("init", "--quiet", "--subdir", folder=name)
        common = TRAIN.replace("best = 0.3", f'import sys; sys.path.insert(0, ".."); from common import {name} as best')
        foreign.write({"common.py": "one = 0.3\ntwo = 0.2\n"})
        text = PIPELINE.replace("[train.py]", "[train.py, ../common.py]").replace(
            "metrics.json: {cache: false}", "metrics.json"
        )
        foreign.build({"train.py": common, "dvc.yaml": text}, folder=name)
        places = {"pipeline": f"{name}/dvc.yaml", "params": f"{name}/params.yaml"}
        assert foreign.losses(**places, objective=f"{name}/metrics.json:val.loss") == squares(best)
        foreign.git("rm", "--quiet", "--cached", "-r", "--ignore-unmatch", "st", "st.yaml")


def test_parameters_that_hydra_composes(foreign):
    foreign.dvc("config", "hydra.enabled", "true")
    conf = {"conf/config.yaml": "defaults: [train: small]\n", "conf/train/small.yaml": "lr: 0.1\nshift: 0.3\nseed: 1\n"}
    train = TRAIN.replace("best = 0.3", 'best = p["shift"]')
    foreign.build({"train.py": train, "params.yaml": "train: {lr: 0.1, shift: 0.3, seed: 1}\n", **conf})
    assert foreign.losses() == squares(0.3)
    foreign.commit({"conf/train/small.yaml": "lr: 0.1\nshift: 0.2\nseed: 1\n"})  # params.yaml is behind
    assert foreign.losses() == squares(0.2)


def test_parameters_with_aliases_and_merge_keys(foreign):
    params = "base: &base\n  lr: 0.1\n  deep: {best: 0.3}\ntrain:\n  <<: *base\n  seed: 1\nother: *base\n"
    train = TRAIN.replace("best = 0.3", 'best = p["deep"]["best"]')
    foreign.build({"params.yaml": params, "train.py": train})
    assert foreign.losses(fixed={"train.deep.best": 0.2}) == squares(0.2)
    assert foreign.losses(fixed={"base.lr": 0.5}) == squares(0.3)


# Figures that are not finite, and other failures


def test_settings_that_diverge_do_not_end_a_search(foreign):
    train = TRAIN.replace("loss = ", 'loss = float("nan") if p["lr"] > 0.3 else float("inf") if p["lr"] > 0.25 else ')
    foreign.build({"train.py": train})
    foreign.study(space={"train.lr": [0.4, 0.5, 0.6, 0.28, 0.2]}, jobs=1)
    ended = foreign.sweeps("run", check=False)
    assert ended.returncode == 1
    assert ended.stdout.count("val.loss is nan, which cannot be compared") == 3
    assert "st@" in ended.stdout
    assert "1 of 5 trials done, 4 failed\n" in ended.stdout
    assert "lr: 0.2" in foreign.sweeps("best").stdout


def test_a_search_whose_trials_all_break_ends_and_says_what_was_not_run(foreign):
    foreign.build()
    foreign.commit({"train.py": "raise SystemExit('broken')\n"})
    foreign.study(strategy="random", trials=9, space={"train.lr": {"low": 0.1, "high": 0.9}})
    ended = foreign.sweeps("run", check=False)
    assert ended.returncode == 1
    last = [line for line in ended.stdout.splitlines() if "trials done" in line]
    assert last[0].endswith(
        "0 of 9 trials done, 3 failed, 6 not run; ended because 3 trials have failed and none has got as far as its "
        "figures (stop.failures: 3)"
    )


# Reading


def test_reading_writes_nothing_and_says_what_to_type(foreign):
    foreign.build({".gitignore": "st*\n"})
    foreign.study()
    foreign.sweeps("enqueue")
    foreign.dvc("queue", "start")
    subprocess.run(
        ["dvc", "queue", "logs", "-f", f"st-001-{foreign.repository.head[:7]}"],
        cwd=foreign.path,
        env=foreign.environment,
        capture_output=True,
        check=False,
    )
    for _ in range(200):
        if len(foreign.repository.experiments()) == 2:
            break
        subprocess.run(["sleep", "0.3"], check=True)
    before = sorted(path for path in foreign.path.rglob("*") if "sweeps" in path.parts)
    for command in ("status", "report", "best"):
        told = foreign.sweeps(command, check=False)
        assert told.returncode == 2
        assert "2 experiments of study st are in no ledger: `python -m dvcsweep run st.yaml --take-over`" in told.stderr
    assert sorted(path for path in foreign.path.rglob("*") if "sweeps" in path.parts) == before
    foreign.sweeps("run", "--take-over")
    assert "2 complete" in foreign.sweeps("status").stdout


def test_text_from_elsewhere_is_shown_as_it_is(foreign):
    bad = ["$\\frac{", "a\nb", "=1+1", "[/data/a]", "<script>x</script>", "|p`i`pe|", "-rf", "x\u202e\x1b[2J"]
    train = TRAIN.replace(
        "best = 0.3", 'best = len(p["name"])\nif p["name"] == "-rf": raise SystemExit("\\x1b]0;evil\\x07")'
    )
    foreign.build({"train.py": train, "params.yaml": PARAMS + "  name: plain\n"})
    foreign.study(space={"train.name": bad}, description="<b>x</b> $\\frac{")
    ended = foreign.sweeps("run", check=False)
    everything = ended.stdout + foreign.sweeps("status").stdout + foreign.sweeps("report").stdout
    report, table = ((foreign.path / "st" / name).read_text() for name in ("report.md", "trials.csv"))
    for text in (everything, report, table):
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert "<script>" not in report
    assert "<b>" not in report
    assert "[/data/a]" in ended.stdout
    rows = list(csv.DictReader(table.splitlines()))
    assert [row["params.train.name"] for row in rows] == [
        *("$\\frac{", "a\\nb", "'=1+1", "[/data/a]", "<script>x</script>", "|p`i`pe|", "'-rf", "x\\u202e\\x1b[2J"),
    ]
    assert all(float(row["params.train.lr"]) for row in rows if "params.train.lr" in row)
    assert (foreign.path / "st" / "top.png").exists()


def test_a_lock_that_cannot_be_read_does_not_keep_clean_from_its_work(foreign):
    foreign.build()
    foreign.losses()
    foreign.commit()
    foreign.git("switch", "--quiet", "-c", "bad")
    damaged = foreign.commit({"dvc.lock": "<<<<<<< HEAD\nstages: [\n"})
    foreign.git("switch", "--quiet", "main")
    said = foreign.sweeps("clean").stdout
    assert f"dvc.lock cannot be read at {damaged[:7]}, so what it names there is not counted" in said
    assert "removed 2 experiments" in said
    assert foreign.repository.experiments() == []
