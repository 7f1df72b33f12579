import json
import math
import os
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from ruamel.yaml import YAML
from tiny import Tiny

from sweeps.errors import StudyError
from sweeps.repository import Experiment, Repository, curve, number, parse, reference, write_settings
from sweeps.studies import flatten


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    tiny = Tiny.make(tmp_path)
    for name, value in tiny.environment.items():
        monkeypatch.setenv(name, value)
    return tiny


# Settings

PARAMS = """# Every hyperparameter.

data:                                # stage generate
  frequencies: [1.0, 3.0]            # Hz
  task: fixed                        # fixed | general
  quoted: 'no'                       # text
model:
  hidden_size: 128                   # units
  fold: null                         # null: none
  # a line of its own
  rate: 1.0e-3
  sizes:
  - 1
  - 2
  bias: true
last: ä
odd: 5-fold, it's http://a.b/c?d [e]
"""


def test_settings_are_written_between_the_comments(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS, encoding="utf-8")
    write_settings(path, {"data.frequencies": [2.5, 5.0], "model.hidden_size": 64, "model.rate": 1e-5, "last": "z"})
    expected = (
        PARAMS.replace("[1.0, 3.0]", "[2.5, 5.0]")
        .replace("128  ", "64   ")
        .replace("1.0e-3", "1.0e-05")
        .replace("last: ä", "last: z")
    )
    assert path.read_text(encoding="utf-8") == expected


def test_settings_that_are_there_already_leave_the_file_as_it_is(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS, encoding="utf-8")
    write_settings(path, flatten(yaml.safe_load(PARAMS)))
    assert path.read_text(encoding="utf-8") == PARAMS


VALUES = [
    1e-5,
    1e-05,
    -2.5e-8,
    1e22,
    1e16,
    123456.75,
    0.1,
    1.0,
    0.0,
    math.inf,
    -math.inf,
    5e-324,
    0,
    -3,
    10**18,
    True,
    False,
    None,
    "adam",
    "no",
    "Yes",
    "on",
    "null",
    "~",
    "",
    "1e5",
    "1e-5",
    "12",
    "0x1f",
    "010",
    "1:30",
    "2020-01-02",
    "a: b",
    "# none",
    " left",
    "right ",
    "two\nlines\n",
    "ä",
    "a b",
    "=",
    "<<",
    ".inf",
    "- a",
    "[1]",
    [1.0, 1e-7],
    ["no", None, True],
    [],
    [[1], [2, 3]],
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("key", ["data.task", "data.frequencies", "model.sizes", "model.fold"])
def test_every_reader_of_yaml_finds_the_value_that_was_written(tmp_path, key, value):
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS, encoding="utf-8")
    write_settings(path, {key: value})
    text = path.read_text(encoding="utf-8")
    for content in (yaml.safe_load(text), YAML(typ="safe", pure=True).load(text)):
        found = flatten(content)
        assert found[key] == value
        assert type(found[key]) is type(value)
        assert {**found, key: None} == {**flatten(yaml.safe_load(PARAMS)), key: None}


def test_shared_values_change_alone(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: &it [1, 2]\nb: *it\nc: &all\n  x: 1\n  y: 2\nd:\n  <<: *all\n  y: 3\n")
    write_settings(path, {"a": [5], "b": [1, 2], "d.x": 7})
    assert yaml.safe_load(path.read_text()) == {"a": [5], "b": [1, 2], "c": {"x": 1, "y": 2}, "d": {"x": 7, "y": 3}}


def test_true_and_one_are_not_the_same(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: 1\nb: true\n")
    write_settings(path, {"a": True, "b": 1})
    assert path.read_text() == "a: true\nb: 1\n"


def test_settings_in_json(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"z": {"b": 1, "a": [1, 2]}, "y": "ä", "x": null}')
    write_settings(path, {"z.b": 1e-5, "z.a": [3], "x": "no"})
    found = json.loads(path.read_text())
    assert found == {"z": {"b": 1e-5, "a": [3]}, "y": "ä", "x": "no"}
    assert [*found, *found["z"]] == ["z", "y", "x", "b", "a"]


def test_settings_in_toml(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('# first\nz = 1 # of z\n\n[model]\nsizes = [1, 2]  # all\nname = "a"\nrate = 1e-3\n')
    write_settings(path, {"z": 2, "model.sizes": [3], "model.name": "no", "model.rate": 1e-5})
    text = path.read_text()
    assert tomllib.loads(text) == {"z": 2, "model": {"sizes": [3], "name": "no", "rate": 1e-5}}
    assert all(comment in text for comment in ("# first\n", "# of z\n", "# all\n"))


# Reading


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.yaml", "a: {b: 1e-5}"),
        ("a.yml", "a:\n  b: 1e-5"),
        ("a.json", '{"a": {"b": 1e-5}}'),
        ("a.toml", "a.b = 1e-5"),
    ],
)
def test_mappings_are_read_by_their_files_names(path, text):
    assert parse(path, text) == {"a": {"b": 1e-5}}


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("m.yaml", "a: [", r"m\.yaml: not readable: .* in line 1$"),
        ("m.yaml", "a: 1\na: 2", r'm\.yaml: not readable: found duplicate key "a" .* in line 2$'),
        ("m.json", '{"a": }', r"m\.json: not readable: Expecting value: line 1 column 7"),
        ("m.json", "", r"m\.json: not readable: Expecting value"),
        ("m.toml", "a = ", r"m\.toml: not readable: Invalid value"),
        ("m.yaml", "", r"m\.yaml: must hold a mapping"),
        ("m.json", "[1]", r"m\.json: must hold a mapping"),
        ("m.json", "1.5", r"m\.json: must hold a mapping"),
    ],
)
def test_what_cannot_be_read_is_refused(path, text, message):
    with pytest.raises(StudyError, match=message) as caught:
        parse(path, text)
    assert "\n" not in str(caught.value)
    assert "http" not in str(caught.value)


def test_a_number_is_found_by_its_path():
    assert number({"validation": {"loss": 2}}, "m.json", "validation.loss") == 2.0
    assert type(number({"loss": 2}, "m.json", "loss")) is float


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"validation": {"loss": 1, "r2": 2}, "train": {"loss": 3}},
            "m.json has no test.loss; it has validation.loss, ",
        ),
        ({"a": 1}, "m.json has no test.loss; it has a$"),
        ({}, "m.json has no test.loss; it has nothing$"),
        ({"test": {"loss": {"mean": 1}}}, "m.json has no test.loss; it has test.loss.mean$"),
        ({"test": {"loss": "0.5"}}, "m.json: test.loss is '0.5', but an objective must be a number"),
        ({"test": {"loss": None}}, "m.json: test.loss is None, but"),
        ({"test": {"loss": True}}, "m.json: test.loss is True, but"),
        ({"test": {"loss": [0.5]}}, r"m.json: test.loss is \[0.5\], but"),
        ({"test": {"loss": math.nan}}, "m.json: test.loss is nan, which cannot be compared"),
        ({"test": {"loss": -math.inf}}, "m.json: test.loss is -inf, which cannot be compared"),
    ],
)
def test_what_is_no_number_is_refused(content, message):
    with pytest.raises(StudyError, match=message):
        number(content, "m.json", "test.loss")


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("loss.tsv", "step\tloss\n1\t0.5\n2\t0.25\n", ([1.0, 2.0], [0.5, 0.25])),
        ("loss.csv", "loss\n0.5\n0.25\n", ([0.0, 1.0], [0.5, 0.25])),
        ("loss.csv", "timestamp,step,train,loss\n9,4,7,0.5\n", ([4.0], [0.5])),
        ("loss.csv", "loss,step\n0.5,3\n", ([3.0], [0.5])),
        ("loss.csv", "step\n1\n2\n", ([1.0, 2.0], [])),
        ("loss.tsv", "", ([], [])),
        ("loss.tsv", "step\tloss\n", ([], [])),
    ],
)
def test_curves(path, text, expected):
    assert curve(path, text) == expected


@pytest.mark.parametrize("text", ["step,loss\n1,x\n", "step,loss\n1\n", "step,loss\na,1\n", "step,loss\n1,2,3\n"])
def test_what_is_no_curve_is_refused(text):
    with pytest.raises(StudyError, match=r"loss\.csv: not a table of numbers"):
        curve("loss.csv", text)


# Git


def test_a_repository_is_found_from_within(tiny, tmp_path):
    (tiny.path / "deep" / "er").mkdir(parents=True)
    assert Repository.around(tiny.path / "deep" / "er").root == tiny.path
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(StudyError, match="lies in no Git repository, but a search needs one"):
            Repository.around(folder)


def test_git_itself_may_be_missing(tiny, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(StudyError, match="git is not installed"):
        Repository.around(tiny.path)


def test_commits(tiny):
    with pytest.raises(StudyError, match="nothing is committed yet"):
        _ = tiny.repository.head
    first = tiny.commit()
    repository = tiny.repository
    assert repository.head == first
    second = tiny.commit({"a": "1"})
    assert (repository.head, tiny.repository.head) == (first, second)
    assert repository.exists(first)
    assert not repository.exists("0" * 40)
    assert not repository.exists("main^5")


def test_files_are_read_at_a_commit_and_not_from_the_work_tree(tiny):
    first = tiny.commit({"a b/ä.yaml": "x: ä\n", "latin.yaml": b"x: \xe4\n"})
    tiny.commit({"a b/ä.yaml": "x: 2\n"})
    tiny.write({"a b/ä.yaml": "x: 3\n"})
    assert tiny.repository.content(first, "a b/ä.yaml") == {"x": "ä"}
    assert tiny.repository.read(first, "none.yaml") is None
    with pytest.raises(StudyError, match=rf"none\.yaml: not in commit {first[:7]}, neither in Git nor in DVC's cache"):
        tiny.repository.content(first, "none.yaml")
    with pytest.raises(StudyError, match=r"latin\.yaml: not readable"):
        tiny.repository.content(first, "latin.yaml")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of DVC's own use of pygtrie
def test_files_that_dvc_tracks_are_read_from_its_cache(tiny, monkeypatch):
    from dvc.repo import Repo

    tiny.write({"m.json": '{"loss": 0.5}'})
    monkeypatch.chdir(tiny.path)
    with Repo(str(tiny.path)) as repo:
        repo.add("m.json")
    commit = tiny.commit()
    assert tiny.repository.read(commit, "m.json") is None
    tiny.write({"m.json": None})
    assert tiny.repository.content(commit, "m.json") == {"loss": 0.5}


def test_the_cache_is_where_dvc_has_it(tiny, tmp_path):
    tiny.commit({"ml/a": "1", "sub/.dvc/config": "", "sub/deep/a": "1"})
    assert tiny.repository.cache("dvc.yaml") == tiny.repository.cache("ml/dvc.yaml") == tiny.path / ".dvc" / "cache"
    assert tiny.repository.cache("sub/deep/dvc.yaml") == tiny.path / "sub" / ".dvc" / "cache"
    tiny.write({".dvc/config.local": f"[cache]\n    dir = {tmp_path / 'elsewhere'}\n"})
    assert tiny.repository.cache("dvc.yaml") == tmp_path / "elsewhere"
    told = subprocess.run(
        ["dvc", "cache", "dir"], cwd=tiny.path, env=tiny.environment, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == str(tmp_path / "elsewhere")


def test_a_repository_without_dvc_has_no_cache(tiny):
    tiny.commit({".dvc/config": None, ".dvc/.gitignore": None})
    (tiny.path / ".dvc").rmdir()
    with pytest.raises(StudyError, match=r"is no DVC repository: run `dvc init`"):
        tiny.repository.cache("dvc.yaml")


def test_what_is_not_committed_is_listed(tiny):
    tiny.commit({"same": "1", "my file": "2\n" * 50, "gone": "3", "own/a": "4", "owner": "5"})
    assert tiny.repository.dirty() == []
    tiny.write({"same": "x", "gone": None, "new ä": "1", "own/a": "x", "owner": "x"})
    tiny.git("mv", "my file", "other file")
    expected = {"same", "gone", "new ä", "my file", "other file", "own/a", "owner"}
    assert set(tiny.repository.dirty()) == expected
    assert set(tiny.repository.dirty(["own"])) == expected - {"own/a"}
    assert set(tiny.repository.dirty(["own/a", "same"])) == expected - {"own/a", "same"}


# Experiments


def test_experiments_are_the_references_that_dvc_keeps(tiny, monkeypatch):
    baseline = tiny.commit()
    commits = []
    for number_, name in enumerate(["b-000-abc", "a.2-001"]):
        tiny.environment["GIT_COMMITTER_DATE"] = f"2020-01-0{number_ + 1}T00:00:00Z"
        commits.append(tiny.commit({"a": name}))
        tiny.git("update-ref", reference(baseline, name), "HEAD")
    tiny.git("update-ref", "refs/exps/exec/EXEC_HEAD", "HEAD")
    tiny.git("update-ref", "refs/exps/celery/stash", "HEAD")
    tiny.git("update-ref", f"refs/exps/exec/{baseline[:2]}/x", "HEAD")
    found = tiny.repository.experiments()
    assert found == [Experiment("b-000-abc", commits[0], baseline), Experiment("a.2-001", commits[1], baseline)]
    assert [one.ref for one in found] == [reference(baseline, one.name) for one in found]
    monkeypatch.chdir(tiny.path)
    from dvc.repo import Repo

    with Repo(str(tiny.path)) as repo:
        listed = repo.experiments.ls(rev=baseline)
    assert {name for names in listed.values() for name, _ in names} == {"b-000-abc", "a.2-001"}
    tiny.repository.remove(found[:1])
    assert tiny.repository.experiments() == found[1:]
    tiny.repository.remove([])
    assert tiny.repository.experiments() == found[1:]


# Pipelines

PIPELINE = """
stages:
  raw: {cmd: a, wdir: ../code, deps: [load.py, s3://bucket/x, /elsewhere/y, ../../outside]}
  fit: {cmd: b, deps: [fit.py, data/raw.csv, ../common, ../code/load.py], outs: [model]}
  each: {foreach: [1, 2], do: {cmd: "c ${item}", deps: [each.py]}}
  cross: {matrix: {x: [1, 2]}, cmd: "d ${item.x}", deps: [cross.py]}
  last: {cmd: e, deps: [model, config.json]}
"""
TREE = {
    "ml/dvc.yaml": PIPELINE,
    "ml/fit.py": "1",
    "ml/each.py": "1",
    "ml/cross.py": "1",
    "ml/unread.py": "1",
    "ml/config.json": "{}",
    "ml/data.dvc": "outs: []",
    "code/load.py": "1",
    "common/a.py": "1",
    "common/deep/b.py": "1",
}


def test_stages_by_name(tiny):
    commit = tiny.commit(TREE)
    found = tiny.repository.stages(commit, "ml/dvc.yaml")
    assert {name: stage["cmd"] for name, stage in found.items()} == {
        "raw": "a",
        "fit": "b",
        "each": "c ${item}",
        "cross": "d ${item.x}",
        "last": "e",
    }
    assert tiny.repository.stages(tiny.commit({"none/dvc.yaml": "plots: []\n"}), "none/dvc.yaml") == {}


def test_code_is_what_stages_read_from_git(tiny):
    commit = tiny.commit(TREE)
    found = tiny.repository.code(commit, "ml/dvc.yaml", "ml/config.json")
    assert set(found) == set(TREE) - {"ml/unread.py", "ml/config.json"}
    assert found["common/deep/b.py"] == tiny.git("rev-parse", "HEAD:common/deep/b.py")


@pytest.mark.parametrize("file", ["ml/fit.py", "ml/dvc.yaml", "common/deep/b.py", "code/load.py", "ml/data.dvc"])
def test_code_changes_with_every_file_of_it(tiny, file):
    def code():
        return tiny.repository.code(tiny.git("rev-parse", "HEAD"), "ml/dvc.yaml", "ml/config.json")

    tiny.commit(TREE)
    before = code()
    tiny.commit({"ml/unread.py": "2", "ml/config.json": '{"a": 1}', "README": "text"})
    assert code() == before
    tiny.commit({file: TREE[file] + "\n# changed\n"})
    assert {path for path, name in code().items() if before.get(path) != name} == {file}


def test_commands_of_git_that_fail_say_why(tiny):
    with pytest.raises(StudyError, match=r"^git for-each-ref: .*not a git repository"):
        Repository(tiny.path.parent).experiments()
    assert os.environ["HOME"] == str(tiny.path.parent / "home")


def test_parameters_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "params.yaml"
    path.write_text("a: 1  # one\n", encoding="utf-8")
    path.chmod(0o640)

    def full(self, content):
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="no space left"):
            write_settings(path, {"a": 2})
    assert path.read_text(encoding="utf-8") == "a: 1  # one\n"
    write_settings(path, {"a": 2})
    assert path.read_text(encoding="utf-8") == "a: 2  # one\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["params.yaml"]
