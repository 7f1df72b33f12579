"""Studies that fit the repository they are to run in, and those that do not."""

import json
import re

import pytest
from tiny import Tiny

from dvcsweep.errors import StudyError
from dvcsweep.plan.resolution import resolve
from dvcsweep.plan.studies import Study

PARAMS = """
data: {task: fixed, seed: 1, sizes: [1, 2]}
model: {hidden_size: 128, dropout: 0.2, bias: true, name: null}
train: {epochs: 50, learning_rate: 0.001, optimizer: adam, momentum: 0.9, seed: 1}
evaluate: {detail: full}
"""
PIPELINE = """
stages:
  generate:
    cmd: python generate.py
    deps: [generate.py]
    params: [data]
    outs: [data/train.h5, data/test.h5]
  train:
    cmd: python train.py
    deps: [data/train.h5, train.py, tests/test_train.py]
    params: [model, train.epochs, train.learning_rate, train.optimizer]
    outs: [model.bin]
    metrics:
      - scores.json: {cache: false}
  evaluate:
    cmd: python evaluate.py
    deps: [data/test.h5, model.bin]
    params: [evaluate]
    metrics: [figures/evaluate.json]
    outs: [predictions]
  report:
    cmd: python report.py
    deps: [predictions/all.csv]
    metrics: [report.json]
  summary:
    cmd: python summary.py
    deps: [figures]
    metrics: [summary.json]
  folder:
    cmd: python folder.py
    deps: [images/test/all.npy]
    metrics: [folder.json]
metrics:
  - run.json
"""
FIGURES = {"limit": {"share": 0.9}, "validation": {"loss": 0.5}, "test": {"loss": 0.4}, "r2": 0.8}
SCORES = {"loss": 0.5, "validation": {"loss": 0.5, "nan": float("nan"), "text": "low"}, "train_seconds": 3, "best": 2}
TREE = {
    "params.yaml": PARAMS,
    "dvc.yaml": PIPELINE,
    "scores.json": json.dumps(SCORES),
    "run.json": '{"seconds": 5.5}',
    "figures/evaluate.json": json.dumps(FIGURES),
    "report.json": '{"share": 1.0}',
    "summary.json": '{"share": 1.0}',
    "folder.json": '{"share": 1.0}',
    "schema.json": json.dumps(
        {
            "type": "object",
            "properties": {
                "train": {
                    "properties": {
                        "epochs": {"type": "integer", "maximum": 200},
                        "learning_rate": {"type": "number", "exclusiveMinimum": 0, "maximum": 0.1},
                        "optimizer": {"enum": ["adam", "sgd"]},
                    }
                },
                "model": {"properties": {"dropout": {"maximum": 0.5}, "hidden_size": {"multipleOf": 32}}},
                "data": {"properties": {"sizes": {"items": {"minimum": 1}}}},
            },
        }
    ),
    "broken.json": '{"type": 5}',
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    tiny = Tiny.make(tmp_path_factory.mktemp("checks"))
    tiny.commit(TREE)
    return tiny


@pytest.fixture(autouse=True)
def quiet(tiny, monkeypatch):
    for name, value in tiny.environment.items():
        monkeypatch.setenv(name, value)


def study(**content: object) -> Study:
    objective = content.pop("metric", "scores.json:validation.loss")
    metrics = [objective] if isinstance(objective, str) else objective
    start = {"name": "one", "strategy": "grid", "objective": metrics, "space": {"model.hidden_size": [32, 64]}}
    return Study.model_validate({**start, **content})


def mistakes(tiny: Tiny, **content: object) -> list[str]:
    """What is said of a study, line by line, without the study's name."""
    with pytest.raises(StudyError, match=r"^study one: ") as caught:
        resolve(tiny.repository, study(**content), tiny.repository.head)
    lines = str(caught.value).splitlines()
    assert all(line.startswith("study one: ") for line in lines)
    return [line.removeprefix("study one: ") for line in lines]


# What fits


def test_a_setting_has_all_parameters_metrics_and_stages_concerned(tiny):
    found = resolve(tiny.repository, study(fixed={"train.epochs": 5}), tiny.repository.head)
    assert found.settings["train.epochs"] == 5
    assert found.settings["data.sizes"] == [1, 2]
    assert len(found.settings) == 13
    assert found.metrics == [
        "scores.json",
        "figures/evaluate.json",
        "report.json",
        "summary.json",
        "folder.json",
        "run.json",
    ]
    assert found.varied == ["train"]


@pytest.mark.parametrize(
    ("content", "varied"),
    [
        ({"space": {"data.seed": [1, 2]}}, ["generate"]),
        ({"space": {"train.epochs": [1, 2]}}, ["train"]),
        ({"space": {"train.momentum": [0.1, 0.2]}}, []),
        ({"average_over": {"data.seed": [1, 2]}}, ["generate", "train"]),
        ({"space": {"train.seed": [1]}, "fixed": {"data.seed": 5}}, []),
        ({"strategy": {"kind": "points", "points": {"a": {"evaluate.detail": "scores"}}}, "space": {}}, ["evaluate"]),
        (
            {
                "strategy": {"kind": "halving", "budget": "train.epochs", "minimum": 1, "maximum": 9},
                "trials": 3,
                "space": {"train.seed": [1, 2, 3]},
            },
            ["train"],
        ),
    ],
)
def test_the_stages_that_read_what_is_varied(tiny, content, varied):
    assert resolve(tiny.repository, study(**content), tiny.repository.head).varied == varied


@pytest.mark.parametrize(
    "space",
    [
        {"model.dropout": [0, 0.5]},
        {"model.dropout": {"low": 0, "high": 1}},
        {"model.name": ["x", 5, None, [1]]},
        {"model.hidden_size": [32, None]},
        {"data.sizes": [[1], []]},
        {"model.bias": [True, False]},
    ],
)
def test_values_that_could_stand_there(tiny, space):
    assert resolve(tiny.repository, study(space=space), tiny.repository.head).settings


# Parameters


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (
            {"space": {"model.hiden_size": [1]}},
            ["space: params.yaml has no model.hiden_size; is model.hidden_size meant?"],
        ),
        ({"fixed": {"zzz": 1}}, ["fixed: params.yaml has no zzz"]),
        ({"fixed": {"train": {"epochs": 1}}}, [r"fixed: params.yaml has no train(; is \S+ meant\?)?"]),
        ({"average_over": {"train.sed": [1]}}, ["average_over: params.yaml has no train.sed; is train.seed meant?"]),
        ({"promote": {"train.epoch": 1}}, ["promote: params.yaml has no train.epoch; is train.epochs meant?"]),
        ({"seed_parameter": "train.sead"}, ["seed_parameter: params.yaml has no train.sead; is train.seed meant?"]),
        (
            {"strategy": {"kind": "points", "points": {"a": {"b": 1, "a": 2}, "c": {"b": 2}}}, "space": {}},
            ["strategy: params.yaml has no b", "strategy: params.yaml has no a"],
        ),
        (
            {
                "strategy": {"kind": "halving", "budget": "train.epoch", "minimum": 1, "maximum": 9},
                "trials": 3,
            },
            ["strategy: params.yaml has no train.epoch; is train.epochs meant?"],
        ),
        (
            {"space": {"model.dropout": {"choices": [0.1], "when": {"train.optimiser": "sgd"}}}},
            ["space.model.dropout.when: params.yaml has no train.optimiser; is train.optimizer meant?"],
        ),
    ],
)
def test_parameters_that_are_not_there(tiny, content, lines):
    found = mistakes(tiny, **content)
    assert len(found) == len(lines)
    for line, expected in zip(found, lines, strict=True):
        assert line == expected or re.fullmatch(expected, line)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (
            {"space": {"model.hidden_size": [32, "64"]}},
            "space: model.hidden_size cannot be '64': params.yaml has 128 there, which is a whole number",
        ),
        (
            {"space": {"model.hidden_size": [32, 64.5]}},
            "space: model.hidden_size cannot be 64.5: params.yaml has 128 there, which is a whole number",
        ),
        (
            {"space": {"train.learning_rate": [True]}},
            "space: train.learning_rate cannot be True: params.yaml has 0.001 there, which is a number",
        ),
        (
            {"space": {"model.bias": [True, 0]}},
            "space: model.bias cannot be 0: params.yaml has True there, which is true or false",
        ),
        (
            {"space": {"train.optimizer": ["sgd", 1]}},
            "space: train.optimizer cannot be 1: params.yaml has 'adam' there, which is text",
        ),
        (
            {"space": {"data.sizes": [[1], 1]}},
            "space: data.sizes cannot be 1: params.yaml has [1, 2] there, which is a list",
        ),
        (
            {"fixed": {"train.epochs": "fifty"}},
            "fixed: train.epochs cannot be 'fifty': params.yaml has 50 there, which is a whole number",
        ),
        (
            {"promote": {"train.epochs": 0.5}},
            "promote: train.epochs cannot be 0.5: params.yaml has 50 there, which is a whole number",
        ),
        (
            {"average_over": {"train.seed": [1, "x"]}},
            "average_over: train.seed cannot be 'x': params.yaml has 1 there, which is a whole number",
        ),
        (
            {"strategy": {"kind": "points", "points": {"a": {"train.seed": "x"}}}, "space": {}},
            "strategy: train.seed cannot be 'x': params.yaml has 1 there, which is a whole number",
        ),
        (
            {
                "strategy": {"kind": "halving", "budget": "train.optimizer", "minimum": 9, "maximum": 9},
                "trials": 3,
            },
            "strategy: train.optimizer cannot be 9: params.yaml has 'adam' there, which is text",
        ),
        (
            {"strategy": "one-at-a-time", "space": {"model.hidden_size": {"low": 16, "high": 64}}},
            "space: the base has model.hidden_size 128, outside 16 to 64",
        ),
    ],
)
def test_values_of_another_kind(tiny, content, line):
    assert mistakes(tiny, **content) == [line]


COMPLETE = {
    "data.task": "fixed",
    "data.seed": 1,
    "data.sizes": [3],
    "model.hidden_size": 16,
    "model.dropout": 0.0,
    "model.bias": False,
    "model.name": "x",
    "train.epochs": 5,
    "train.learning_rate": 0.01,
    "train.optimizer": "sgd",
    "train.momentum": 0.5,
    "train.seed": 3,
    "evaluate.detail": "scores",
}


def test_a_complete_base_takes_the_place_of_what_is_committed(tiny):
    found = resolve(tiny.repository, study(base=COMPLETE, fixed={"train.epochs": 7}), tiny.repository.head)
    assert found.settings == COMPLETE | {"train.epochs": 7}
    near = {"strategy": "one-at-a-time", "space": {"model.hidden_size": {"low": 16, "high": 64}}}
    resolve(tiny.repository, study(base=COMPLETE, **near), tiny.repository.head)


def test_a_base_has_every_parameter_and_no_other(tiny):
    base = {key: value for key, value in COMPLETE.items() if key not in ("train.seed", "model.bias")}
    assert mistakes(tiny, base=base | {"train.sed": 1}) == [
        "base: params.yaml has no train.sed; is train.seed meant?",
        "base: model.bias is missing, but a base gives every parameter of params.yaml",
        "base: train.seed is missing, but a base gives every parameter of params.yaml",
    ]
    assert mistakes(tiny, base=COMPLETE | {"train.epochs": "5"}) == [
        "base: train.epochs cannot be '5': params.yaml has 50 there, which is a whole number"
    ]


# Objectives


@pytest.mark.parametrize(
    ("metric", "line"),
    [
        (
            "none.json:loss",
            r"objective: none\.json: not in commit \w{7}, neither in Git nor in DVC's cache \(at commit \w{7}; .*\)",
        ),
        ("scores.json:validation.lss", r"objective: scores\.json has no validation\.lss; it has loss, .*"),
        ("scores.json:validation", r"objective: scores\.json has no validation; .*"),
        ("scores.json:validation.nan", r"objective: scores\.json: validation\.nan is nan, which cannot be compared .*"),
        ("scores.json:validation.text", r"objective: scores\.json: validation\.text is 'low', but .* be a number .*"),
    ],
)
def test_an_objective_is_a_number_that_is_there(tiny, metric, line):
    (found,) = mistakes(tiny, metric=metric)
    assert re.fullmatch(line, found)


@pytest.mark.parametrize(
    "metric",
    [
        "figures/evaluate.json:test.loss",
        "figures/evaluate.json:deep.test_loss",
        "metrics/test/metrics.json:loss",
        "held.json:Holdout.loss",
        "test.json:validation.loss",
    ],
)
def test_test_figures_are_refused_by_their_names(tiny, metric):
    assert mistakes(tiny, metric=metric) == [
        f"objective: {metric} is a test figure; a search that sees it leaves nothing to test on: "
        "take a validation figure"
    ]


@pytest.mark.parametrize(
    ("metric", "stage", "data"),
    [
        ("figures/evaluate.json:limit.share", "evaluate", "data/test.h5"),
        ("figures/evaluate.json:r2", "evaluate", "data/test.h5"),
        ("report.json:share", "evaluate", "data/test.h5"),
        ("summary.json:share", "evaluate", "data/test.h5"),
        ("folder.json:share", "folder", "images/test/all.npy"),
    ],
)
def test_test_figures_are_refused_by_what_they_are_made_from(tiny, metric, stage, data):
    assert mistakes(tiny, metric=metric) == [
        f"objective: {metric} is made by stage {stage}, which reads {data}: take a validation figure"
    ]


@pytest.mark.parametrize(
    "metric",
    [
        "figures/evaluate.json:validation.loss",
        "scores.json:loss",
        "scores.json:best",
        "scores.json:train_seconds",
        "run.json:seconds",
    ],
)
def test_other_figures_are_allowed(tiny, metric):
    assert metric.partition(":")[0] in resolve(tiny.repository, study(metric=metric), tiny.repository.head).metrics


# The parameters' own schema


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (
            {"space": {"train.epochs": {"low": 5, "high": 500}}},
            ["train.epochs cannot be 500: 500 is greater than the maximum of 200"],
        ),
        (
            {"space": {"train.learning_rate": {"low": 0.0, "high": 1.0}}},
            [
                "train.learning_rate cannot be 0.0: 0.0 is less than or equal to the minimum of 0",
                "train.learning_rate cannot be 1.0: 1.0 is greater than the maximum of 0.1",
            ],
        ),
        (
            {"space": {"train.optimizer": ["sgd", "rmsprop"]}},
            ["train.optimizer cannot be 'rmsprop': 'rmsprop' is not one of ['adam', 'sgd']"],
        ),
        ({"fixed": {"model.dropout": 0.9}}, ["model.dropout cannot be 0.9: 0.9 is greater than the maximum of 0.5"]),
        ({"promote": {"train.epochs": 900}}, ["train.epochs cannot be 900: 900 is greater than the maximum of 200"]),
        (
            {"base": COMPLETE | {"model.hidden_size": 64, "model.dropout": 0.9}},
            ["model.dropout cannot be 0.9: 0.9 is greater than the maximum of 0.5"],
        ),
        (
            {"fixed": {"data.sizes": [1, 0]}},
            ["data.sizes cannot be [1, 0]: 0 is less than the minimum of 1"],
        ),
        (
            {"average_over": {"train.epochs": [500]}},
            ["train.epochs cannot be 500: 500 is greater than the maximum of 200"],
        ),
    ],
)
def test_values_that_the_schema_refuses(tiny, content, lines):
    assert mistakes(tiny, schema="schema.json", **content) == [f"{line} (schema.json)" for line in lines]


def test_ends_that_no_step_reaches_are_not_asked_about(tiny):
    space = {"model.hidden_size": {"low": 32, "high": 300, "step": 32}, "train.learning_rate": [0.1]}
    found = resolve(tiny.repository, study(schema="schema.json", space=space), tiny.repository.head)
    assert found.settings == resolve(tiny.repository, study(), tiny.repository.head).settings


def test_a_schema_must_be_one(tiny):
    (line,) = mistakes(tiny, schema="broken.json")
    assert line.startswith("schema: broken.json is no JSON schema: 5 is not valid")
    with pytest.raises(StudyError, match=r"none\.json: not in commit"):
        resolve(tiny.repository, study(schema="none.json"), tiny.repository.head)


def test_a_parameter_is_not_blamed_for_another_whose_name_begins_alike(tmp_path):
    tiny = Tiny.make(tmp_path)
    files = {"params.yaml": "epochs: 5\nepochs_more: 5\n", "dvc.yaml": "stages: {}\n", "m.json": '{"loss": 1}'}
    schema = json.dumps({"properties": {"epochs_more": {"maximum": 3}}})
    commit = tiny.commit(files | {"schema.json": schema})
    found = resolve(
        tiny.repository, study(metric="m.json:loss", space={"epochs": [1, 2]}, schema="schema.json"), commit
    )
    assert found.settings == {"epochs": 5, "epochs_more": 5}


def test_a_strategy_that_needs_what_is_not_installed_is_refused(tiny, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (line,) = mistakes(tiny, strategy={"kind": "gp"}, trials=3)
    assert line == "strategy: gp needs PyTorch, which is not installed: pip install torch"


# Elsewhere than at the top


@pytest.mark.parametrize("file", ["config.json", "config.toml", "config.yaml"])
def test_a_pipeline_in_a_subfolder_with_parameters_of_its_own(tmp_path, file):
    tiny = Tiny.make(tmp_path)
    texts = {
        "config.json": '{"a": {"b": 1, "c": 2}}',
        "config.toml": "[a]\nb = 1\nc = 2\n",
        "config.yaml": "a: {b: 1, c: 2}",
    }
    pipeline = f"""
stages:
  some: {{cmd: a, params: [{{{file}: [a.b]}}]}}
  all: {{cmd: b, wdir: deep, params: [{{../{file}: null}}]}}
  same: {{cmd: c, params: [a.b]}}
  other: {{cmd: d, params: [{{other.json: [a.b]}}]}}
  dep: {{cmd: e, deps: [{file}], metrics: [scores.json]}}
  seen: {{cmd: f, wdir: deep, deps: [../data/x.h5], metrics: [scores.json]}}
  held: {{cmd: g, wdir: deep, deps: [../data/test.h5], metrics: [more.json]}}
"""
    files = {f"testing/ml/{file}": texts[file], "testing/ml/dvc.yaml": pipeline}
    files |= {f"testing/ml/{name}.json": '{"loss": 1}' for name in ("scores", "deep/scores", "deep/more")}
    commit = tiny.commit(files)

    def resolved(metric="testing/ml/deep/scores.json:loss", **content):
        places = {"pipeline": "testing/ml/dvc.yaml", "params": f"testing/ml/{file}"}
        return resolve(tiny.repository, study(metric=metric, **places, **content), commit)

    found = resolved(space={"a.b": [1, 2]})
    assert found.settings == {"a.b": 1, "a.c": 2}
    assert found.metrics == ["testing/ml/scores.json", "testing/ml/deep/scores.json", "testing/ml/deep/more.json"]
    assert found.varied == ["some", "all", "dep"]
    assert resolved(space={"a.c": [1, 2]}).varied == ["all", "dep"]
    with pytest.raises(StudyError, match=r"is made by stage held, which reads testing/ml/data/test\.h5"):
        resolved(metric="testing/ml/deep/more.json:loss", space={"a.b": [1, 2]})
    if file == "config.toml":
        with pytest.raises(StudyError, match=r"space: a\.b cannot be null: testing/ml/config\.toml is TOML"):
            resolved(space={"a.b": [1, None]})
    else:
        resolved(space={"a.b": [1, None]})


@pytest.mark.parametrize("missing", ["dvc.yaml", "params.yaml"])
def test_without_pipeline_or_parameters_nothing_fits(tmp_path, missing):
    tiny = Tiny.make(tmp_path)
    commit = tiny.commit({name: text for name, text in TREE.items() if name != missing})
    with pytest.raises(StudyError, match=rf"{missing}: not in commit {commit[:7]}"):
        resolve(tiny.repository, study(), commit)


def test_parameters_that_no_ledger_can_hold_are_named(tmp_path):
    tiny = Tiny.make(tmp_path)
    files = {"params.yaml": "start: 2020-01-02\nx: 1\n", "dvc.yaml": "stages: {}\n", "m.json": '{"loss": 1}'}
    tiny.commit(files)
    (line,) = mistakes(tiny, metric="m.json:loss", space={"x": [1, 2]})
    assert (
        line == "params.yaml: start is datetime.date(2020, 1, 2), which no experiment could be given: put it in quotes"
    )


def test_what_counts_is_the_commit_and_not_the_work_tree(tmp_path):
    tiny = Tiny.make(tmp_path)
    first = tiny.commit(TREE)
    tiny.commit({"params.yaml": "model: {hidden_size: 1}\n"})
    tiny.write({"params.yaml": "a: 1\n", "dvc.yaml": "x"})
    assert resolve(tiny.repository, study(), first).settings["train.epochs"] == 50
