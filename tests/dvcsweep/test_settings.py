"""Files of parameters, metrics and curves, beside PyYAML, ruamel.yaml, json and tomllib."""

import json
import math
import tomllib
from pathlib import Path

import pytest
import yaml
from ruamel.yaml import YAML

from dvcsweep.errors import StudyError
from dvcsweep.settings import curve, flatten, number, parse, write_settings

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


@pytest.mark.parametrize("key", ["data.task", "data.frequencies", "model.sizes", "model.fold"])
def test_every_reader_of_yaml_finds_the_value_that_was_written(tmp_path, key):
    path = tmp_path / "params.yaml"
    others = {**flatten(yaml.safe_load(PARAMS)), key: None}
    for value in VALUES:
        path.write_text(PARAMS, encoding="utf-8")
        write_settings(path, {key: value})
        text = path.read_text(encoding="utf-8")
        for content in (yaml.safe_load(text), YAML(typ="safe", pure=True).load(text)):
            found = flatten(content)
            assert found[key] == value, repr(value)
            assert type(found[key]) is type(value), repr(value)
            assert {**found, key: None} == others, repr(value)


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
        ("m.yaml", "a: [", r"m\.yaml: not readable as YAML: .* in line 1$"),
        ("m.yaml", "a: 1\na: 2", r'm\.yaml: not readable as YAML: found duplicate key "a" .* in line 2$'),
        ("m.json", '{"a": }', r"m\.json: not readable as JSON: Expecting value: line 1 column 7"),
        ("m.json", "", r"m\.json: not readable as JSON: Expecting value"),
        ("m.toml", "a = ", r"m\.toml: not readable as TOML: Invalid value"),
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
