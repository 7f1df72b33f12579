import copy
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from dvcsweep.errors import StudyError
from dvcsweep.plan.studies import load
from dvcsweep.settings import flatten, nest

GRID = {"objective": "metrics.json:validation.loss", "strategy": "grid", "space": {"width": [1, 2]}}
DRAWN = {**GRID, "strategy": "random", "trials": 5}
HALVED = {**DRAWN, "strategy": {"kind": "halving", "budget": "epochs", "minimum": 1, "maximum": 9}}
NAMED = {"objective": "metrics.json:loss", "strategy": {"kind": "points", "points": {"a": {"width": 1}}}}
TWO = ["metrics.json:validation.loss", "metrics.json:validation.r2"]
JARGON = re.compile(r"Input should|instance of|unable to parse|https?://|\[type=|pydantic|__|Dimension|model_|\[key\]")


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Writer of study files."""

    def write(content: object, name: str = "one.yaml") -> Path:
        path = tmp_path / name
        if isinstance(content, str):
            path.write_text(content)
        else:
            with path.open("w") as file:
                YAML().dump(content, file)
        return path

    return write


def without(content: dict, key: str) -> dict:
    return {name: value for name, value in content.items() if name != key}


def setting(content: dict, kind: str, **settings: object) -> dict:
    return {**content, "strategy": {"kind": kind, **settings}}


def vary(entry: object) -> dict:
    return {**GRID, "space": {"model.width": entry}}


# What is refused, each with one line


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (without(GRID, "objective"), ["objective: missing"]),
        (without(GRID, "strategy"), ["strategy: missing"]),
        ({}, ["objective: missing", "strategy: missing"]),
        ({**GRID, "spaces": 1}, ["spaces: unknown (a typing error?)"]),
        ({**GRID, "schema_file": "s.json"}, ["schema_file: unknown (a typing error?)"]),
        ({**GRID, 5: 6}, ["5: a name must be text, so put it in quotes"]),
        ({**GRID, "description": 5}, ["description: must be text, but got 5"]),
        ({**GRID, "jobs": "2"}, ["jobs: must be a whole number, but got '2'"]),
        ({**GRID, "jobs": True}, ["jobs: must be a whole number, but got True"]),
        ({**GRID, "jobs": 2.0}, ["jobs: must be a whole number, but got 2.0"]),
        ({**GRID, "jobs": 0}, ["jobs: must be above 0, but got 0"]),
        ({**GRID, "trials": -1}, ["trials: must be above 0, but got -1"]),
        ({**GRID, "seed": -1}, ["seed: must be at least 0, but got -1"]),
        ({**GRID, "seed": "x"}, ["seed: must be a whole number, but got 'x'"]),
        ({**GRID, "fixed": 3}, ["fixed: must be a mapping, but got 3"]),
        ({**GRID, "fixed": {1: 2}}, ["fixed.1: a name must be text, so put it in quotes"]),
        ({**GRID, "curves": "a.tsv"}, ["curves: must be a list, but got 'a.tsv'"]),
        ({**GRID, "curves": [1]}, ["curves.0: must be text, but got 1"]),
        ({**GRID, "average_over": {"seed": []}}, ["average_over.seed: must not be empty"]),
        ({**GRID, "average_over": {"seed": 1}}, ["average_over.seed: must be a list, but got 1"]),
        ({**GRID, "average_over": {"seed": [1, 2, 1]}}, ["average_over.seed: a value is given twice in [1, 2, 1]"]),
        ({**GRID, "stop": 5}, ["stop: must be a mapping, but got 5"]),
        ({**GRID, "stop": {"minutes": "x"}}, ["stop.minutes: must be a number, but got 'x'"]),
        ({**GRID, "stop": {"minutes": 0}}, ["stop.minutes: must be above 0, but got 0"]),
        ({**GRID, "stop": {"hours": 1}}, ["stop.hours: unknown (a typing error?)"]),
        # objective
        ({**GRID, "objective": None}, ["objective: must be a list, but got None"]),
        ({**GRID, "objective": []}, ["objective: must not be empty"]),
        ({**GRID, "objective": [5]}, ["objective.0: must be a mapping, but got 5"]),
        ({**GRID, "objective": "loss"}, ["objective: write it as FILE:KEY, but got 'loss'"]),
        ({**GRID, "objective": "m.json:"}, ["objective: write it as FILE:KEY, but got 'm.json:'"]),
        ({**GRID, "objective": ":loss"}, ["objective: write it as FILE:KEY, but got ':loss'"]),
        ({**GRID, "objective": {"metric": 5}}, ["objective: write it as FILE:KEY, but got 5"]),
        ({**GRID, "objective": {"direction": "maximize"}}, ["objective: metric: missing; write it as FILE:KEY"]),
        ({**GRID, "objective": ["m.json:a", "b"]}, ["objective.1: write it as FILE:KEY, but got 'b'"]),
        (
            {**GRID, "objective": {"metric": "m.json:a", "direction": "up"}},
            ["objective.direction: must be 'minimize' or 'maximize', but got 'up'"],
        ),
        (
            {**GRID, "objective": {"metric": "m.json:a", "direction": ["minimize"]}},
            ["objective.direction: must be 'minimize' or 'maximize', but got ['minimize']"],
        ),
        (
            {**GRID, "objective": {"metric": "m.json:a", "timed": 1}},
            ["objective.timed: must be true or false, but got 1"],
        ),
        ({**GRID, "objective": {"metric": "m.json:a", "goal": 1}}, ["objective.goal: unknown (a typing error?)"]),
        ({**GRID, "objective": {"metric": "m.json:a", "key": "b"}}, ["objective: key: unknown (a typing error?)"]),
        ({**GRID, "objective": ["a.json:loss", "b.json:loss"]}, ["objective: two have the same key"]),
        (
            {**GRID, "figures": ["m.json:a", "m.json:a", GRID["objective"]]},
            [
                "figures: m.json:a is there twice, or is an objective, which is told anyway",
                f"figures: {GRID['objective']} is there twice, or is an objective, which is told anyway",
            ],
        ),
        # strategy
        (
            {**GRID, "strategy": "gird"},
            [
                "strategy: got 'gird', but there are 'grid', 'points', 'one-at-a-time', 'coarse-to-fine', 'random', "
                "'qmc', 'tpe', 'gp', 'nsga2', 'halving'"
            ],
        ),
        ({**GRID, "strategy": {"levels": 3}}, ["strategy: kind is missing"]),
        ({**GRID, "strategy": 5}, ["strategy: must be a name, or a mapping with a kind, but got 5"]),
        (setting(GRID, "grid", levels=0), ["strategy.levels: must be above 0, but got 0"]),
        (setting(GRID, "grid", level=2), ["strategy.level: unknown (a typing error?)"]),
        (setting(GRID, "coarse-to-fine", levels=1), ["strategy.levels: must be at least 2, but got 1"]),
        (setting(DRAWN, "tpe", startup="4"), ["strategy.startup: must be a whole number, but got '4'"]),
        (setting(DRAWN, "random", startup=4), ["strategy.startup: unknown (a typing error?)"]),
        (setting(without(GRID, "space"), "points"), ["strategy.points: missing"]),
        (setting(without(GRID, "space"), "points", points={}), ["strategy.points: must not be empty"]),
        (
            setting(without(GRID, "space"), "points", points={"a": 1}),
            ["strategy.points.a: must be a mapping, but got 1"],
        ),
        (
            setting(DRAWN, "halving", budget="epochs", minimum=1),
            ["strategy.maximum: missing"],
        ),
        (
            setting(DRAWN, "halving", budget="epochs", minimum=9, maximum=1),
            ["strategy.minimum: 9 lies above maximum 1"],
        ),
        (
            setting(DRAWN, "halving", budget="epochs", minimum=1, maximum=9, factor=1),
            ["strategy.factor: must be at least 2, but got 1"],
        ),
        *(
            ({**without(DRAWN, "trials"), "strategy": kind}, [f"trials: missing, but {kind} has no end of its own"])
            for kind in ("random", "qmc", "tpe", "gp", "nsga2")
        ),
        *(
            ({**DRAWN, "strategy": kind, "objective": TWO}, [f"objective: {kind} takes a single one, but got 2"])
            for kind in ("gp", "coarse-to-fine")
        ),
        # space
        (without(GRID, "space"), ["space: empty, but grid needs something to vary"]),
        ({**NAMED, "space": {"a": [1]}}, ["space: strategy points brings its own values, so leave it out"]),
        (vary(64), ["space.model.width: must be a list of choices, or a mapping with low and high, but got 64"]),
        (vary([]), ["space.model.width.choices: must not be empty"]),
        (vary([1, 1]), ["space.model.width: a choice is given twice in [1, 1]; 1, 1.0 and true count as the same"]),
        (vary({"low": 1}), ["space.model.width: a range needs both low and high"]),
        (vary({"low": "x", "high": 2}), ["space.model.width.low: must be a number, but got 'x'"]),
        (vary({"low": 1, "high": 2, "step": 0}), ["space.model.width.step: must be above 0, but got 0"]),
        (vary({"low": 1, "high": 2, "lg": True}), ["space.model.width.lg: unknown (a typing error?)"]),
        (vary({"low": 1, "high": 2, "log": 1}), ["space.model.width.log: must be true or false, but got 1"]),
        (vary({"choices": [1], "when": "a"}), ["space.model.width.when: must be a mapping, but got 'a'"]),
        (
            {**GRID, "space": {f"p{number}": list(range(10)) for number in range(4)}},
            [
                "space: the grid has 10000 points, more than its limit of 1000: give `trials` to draw some of them, or "
                "raise strategy.limit"
            ],
        ),
        (
            {**GRID, "trials": 5, "space": {f"p{number}": list(range(10)) for number in range(19)}},
            ["space: the grid has more than 9223372036854775807 points, too many to draw from: take strategy random"],
        ),
        # a parameter set twice, conditions
        ({**GRID, "fixed": {"width": 1}}, ["space: width is in fixed too"]),
        ({**GRID, "average_over": {"width": [1]}}, ["average_over: width is in space too"]),
        ({**HALVED, "space": {"epochs": [1]}}, ["strategy.budget: epochs is in space too"]),
        ({**NAMED, "fixed": {"width": 1}}, ["strategy.points: width is in fixed too"]),
        (
            {**GRID, "space": {"a": {"choices": [1], "when": {"b": 1}}, "b": [1, 2]}},
            ["space.a.when: b must come before a"],
        ),
        ({**GRID, "space": {"a": {"choices": [1], "when": {"a": 1}}}}, ["space.a.when: a must come before a"]),
        (
            {**GRID, "space": {"a": {"choices": [1], "when": {"seed": 1}}}, "average_over": {"seed": [1, 2]}},
            ["space.a.when: seed is in average_over, so it has no one value in a trial"],
        ),
        (
            {**HALVED, "space": {"a": {"choices": [1], "when": {"epochs": 1}}}},
            ["space.a.when: epochs is in strategy.budget, so it has no one value in a trial"],
        ),
        # several at once
        (
            {**DRAWN, "jobs": 0, "seed": "x", "stop": {"hours": 1}},
            [
                "seed: must be a whole number, but got 'x'",
                "jobs: must be above 0, but got 0",
                "stop.hours: unknown (a typing error?)",
            ],
        ),
        (
            {**without(DRAWN, "trials"), "fixed": {"width": 1}},
            ["space: width is in fixed too", "trials: missing, but random has no end of its own"],
        ),
    ],
)
def test_a_mistake_is_one_plain_line(written, content, lines):
    path = written(content)
    with pytest.raises(StudyError, match=re.escape(str(path))) as caught:
        load(path)
    assert str(caught.value).splitlines() == [f"{path}: {line}" for line in lines]
    assert not JARGON.search(str(caught.value))


@pytest.mark.parametrize("place", ["fixed", "promote", "choices", "average_over", "points"])
def test_dates_and_the_like_are_refused_where_they_are(written, place):
    text = {
        "fixed": "strategy: grid\nspace: {a: [1]}\nfixed: {start: 2020-01-02}",
        "promote": "strategy: grid\nspace: {a: [1]}\npromote: {start: 2020-01-02}",
        "choices": "strategy: grid\nspace: {start: [2020-01-02]}",
        "average_over": "strategy: grid\nspace: {a: [1]}\naverage_over: {start: [.nan]}",
        "points": "strategy: {kind: points, points: {a: {start: 2020-01-02}}}",
    }[place]
    where = {"choices": "space", "points": r"strategy\.points\.a", "average_over": r"average_over\.start"}.get(
        place, place
    )
    with pytest.raises(StudyError, match=rf"one\.yaml: {where}\S*: got (datetime\.date|nan).*put a date in quotes$"):
        load(written(f"objective: m.json:loss\n{text}\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold a mapping of names to values"),
        ("- 1", "must hold a mapping of names to values"),
        ("a: [1", "not readable as YAML: .* in line 1$"),
        ("a: 1\nb: 2\na: 3", 'not readable as YAML: found duplicate key "a" .* in line 3$'),
        ("a: 1\n b: 2", "not readable as YAML: mapping values are not allowed here in line 2$"),
        ("a: !!python/object:os.system 1", "not readable as YAML: could not determine a constructor .* in line 1$"),
        ("a: \x07", "not readable as YAML: "),
    ],
)
def test_what_is_no_mapping_is_refused(written, text, message):
    with pytest.raises(StudyError, match=rf"one\.yaml: {message}") as caught:
        load(written(text))
    assert len(str(caught.value).splitlines()) == 1
    assert not JARGON.search(str(caught.value))


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"none\.yaml: No such file or directory"):
        load(tmp_path / "none.yaml")
    with pytest.raises(StudyError, match=": Is a directory"):
        load(tmp_path)
    (tmp_path / "one.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(StudyError, match=r"one\.yaml: not a text file in UTF-8"):
        load(tmp_path / "one.yaml")


@pytest.mark.parametrize("name", ["One", "a b", "a_b", "-a", "a-", "a--b", "a.b", "ä"])
def test_names_are_plain(written, name):
    with pytest.raises(StudyError, match=rf"name: got '{name}', but it must be the file's name without its ending"):
        load(written(GRID, f"{name}.yaml"))


def test_a_name_is_the_files(written):
    assert load(written(GRID, "lr-2.yaml")).name == "lr-2"
    assert load(written({**GRID, "name": "one"})).name == "one"
    for name in ("two", 5, None):
        with pytest.raises(StudyError, match=rf"name: got {name!r}, but it must be the file's name"):
            load(written({**GRID, "name": name}))


# The base


def test_a_base_is_a_parameters_file_beside_the_study(written, tmp_path):
    (tmp_path / "bases").mkdir()
    (tmp_path / "bases" / "small.yaml").write_text("model: {width: 1, deep: {a: null}}\nlr: 1e-3\n")
    (tmp_path / "bases" / "small.toml").write_text("lr = 1e-3\n[model]\nwidth = 1\n")
    (tmp_path / "bases" / "small.json").write_text('{"model": {"width": 1}, "lr": 1e-3}')
    found = load(written({**GRID, "base": "bases/small.yaml"}))
    assert found.base == {"model.width": 1, "model.deep.a": None, "lr": 0.001}
    for ending in ("toml", "json"):
        assert load(written({**GRID, "base": f"bases/small.{ending}"})).base == {"model.width": 1, "lr": 0.001}
    assert load(written({**GRID, "base": None})).base is None


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("b.yaml", None, r"b\.yaml: No such file or directory"),
        ("b.yaml", "a: [", r"b\.yaml: not readable as YAML: "),
        ("b.yaml", "- 1", r"b\.yaml: must hold a mapping"),
        ("b.yaml", "5", r"b\.yaml: must hold a mapping"),
        ("b.toml", "a = ", r"b\.toml: not readable as TOML: "),
        ("b.yaml", "a: {b: 2020-01-02}", r"one\.yaml: base\.a\.b: got datetime\.date"),
    ],
)
def test_a_base_that_cannot_be_read_is_refused(written, tmp_path, file, text, message):
    if text is not None:
        (tmp_path / file).write_text(text)
    with pytest.raises(StudyError, match=message):
        load(written({**GRID, "base": file}))


@pytest.mark.parametrize("base", [{"a": 1}, 5, ["b.yaml"], True])
def test_a_base_is_no_mapping(written, base):
    with pytest.raises(StudyError, match=r"one\.yaml: base: must be the path of a parameters file, but got"):
        load(written({**GRID, "base": base}))


# What is accepted


def test_a_study_with_everything(written):
    found = load(
        written(
            """
            description: everything
            pipeline: ml/dvc.yaml
            params: ml/config.json
            schema: ml/schema.json
            objective:
              - {metric: "ml/scores.json:validation.r2", direction: maximise}
              - {metric: "ml/run.json:seconds", timed: true}
            strategy: {kind: nsga2, generation: 8}
            trials: 40
            seed: 0
            jobs: 1
            threads: 2
            fixed: {train.epochs: 5, model.sizes: [1, 2], train.clip: null}
            space:
              model.hidden_size: [32, 64]
              train.rate: {low: 1e-5, high: 1E-2, log: true}
              train.momentum: {low: 0, high: 1.0, when: {train.optimizer: sgd}}
            average_over: {train.seed: [1, 2]}
            curves: [ml/loss.tsv]
            seed_parameter: train.seed
            promote: {train.epochs: 50}
            stop: {minutes: 10, failures: 5, trial_minutes: 0.5}
            """
        )
    )
    assert [(one.file, one.key, one.direction, one.timed) for one in found.objective] == [
        ("ml/scores.json", "validation.r2", "maximize", False),
        ("ml/run.json", "seconds", "minimize", True),
    ]
    assert found.timed
    assert (found.space["train.rate"].low, found.space["train.rate"].high) == (0.00001, 0.01)
    assert found.fixed == {"train.epochs": 5, "model.sizes": [1, 2], "train.clip": None}
    assert (found.stop.minutes, found.schema_file, found.budgets) == (10.0, "ml/schema.json", [None])


@pytest.mark.parametrize(
    ("written_as", "meant"),
    [("minimise", "minimize"), ("maximise", "maximize"), ("minimize", "minimize"), ("maximize", "maximize")],
)
def test_both_spellings_of_a_direction(written, written_as, meant):
    found = load(written({**GRID, "objective": {"metric": "a:b:c", "direction": written_as}}))
    assert (found.objective[0].file, found.objective[0].key, found.objective[0].direction) == ("a:b", "c", meant)


def test_several_objectives_where_they_make_sense(written):
    for kind in ("grid", "random", "qmc", "tpe", "nsga2", "one-at-a-time"):
        assert len(load(written({**DRAWN, "strategy": kind, "objective": TWO})).objective) == 2
    with pytest.raises(StudyError, match="objective: halving takes a single one, but got 2"):
        load(written({**HALVED, "objective": TWO}))


def test_a_grid_may_be_as_large_as_its_limit(written):
    vast = {f"p{number}": list(range(10)) for number in range(4)}
    assert load(written({**setting(GRID, "grid", limit=10000), "space": vast})).trials is None
    assert load(written({**GRID, "space": vast, "trials": 3})).trials == 3


# The same trials, the same definition

FULL = {
    "objective": {"metric": "m.json:validation.loss"},
    "strategy": "random",
    "trials": 5,
    "space": {"a": [1, 2], "b": {"low": 0.25, "high": 1.0}},
    "fixed": {"c": 1, "d": 2},
    "average_over": {"seed": [1, 2]},
}


def changed(content: dict, path: str, value: object) -> dict:
    content = copy.deepcopy(content)
    *parents, last = path.split("/")
    place = content
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("description", "text"),
        ("jobs", 5),
        ("threads", 2),
        ("stop", {"minutes": 1}),
        ("promote", {"c": 7}),
        ("seed_parameter", "seed"),
        ("curves", ["a.tsv"]),
        ("schema", "schema.json"),
        ("trials", 500),
        ("seed", 1),
        ("strategy", {"kind": "random"}),
        ("objective", "m.json:validation.loss"),
        ("objective/direction", "minimise"),
        ("fixed", {"d": 2, "c": 1}),
        ("space/a", {"choices": [1, 2]}),
        ("pipeline", "dvc.yaml"),
    ],
)
def test_what_leaves_the_trials_the_same_leaves_the_fingerprint(written, path, value):
    before = load(written(FULL))
    after = load(written(changed(FULL, path, value)))
    assert after.fingerprint() == before.fingerprint()
    assert after.definition() == before.definition()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", 2),
        ("space/a", [1, 3]),
        ("space/a", [2, 1]),
        ("space/a", [1.0, 2]),
        ("space/b/log", True),
        ("space/b/low", 0.5),
        ("space/b/when", {"a": 1}),
        ("space", {"b": {"low": 0.25, "high": 1.0}, "a": [1, 2]}),
        ("fixed/c", 2),
        ("fixed/c", None),
        ("fixed/e", None),
        ("objective/metric", "m.json:validation.r2"),
        ("objective/direction", "maximize"),
        ("objective/timed", True),
        ("average_over/seed", [1, 2, 3]),
        ("strategy", "qmc"),
        ("strategy", {"kind": "tpe", "startup": 5}),
        ("pipeline", "ml/dvc.yaml"),
        ("params", "other.yaml"),
    ],
)
def test_what_changes_the_trials_changes_the_fingerprint(written, path, value):
    assert load(written(changed(FULL, path, value))).fingerprint() != load(written(FULL)).fingerprint()


def test_the_base_is_part_of_the_fingerprint_by_its_values(written, tmp_path):
    (tmp_path / "b.yaml").write_text("a: {b: 1}\nc: 2\n")
    (tmp_path / "same.yaml").write_text("# other text\nc: 2\na:\n  b: 1\n")
    (tmp_path / "other.yaml").write_text("a: {b: 1}\nc: 3\n")
    prints = {name: load(written({**FULL, "base": f"{name}.yaml"})).fingerprint() for name in ("b", "same", "other")}
    assert prints["b"] == prints["same"] != prints["other"]
    assert load(written(FULL)).fingerprint() != prints["b"]


def test_more_trials_are_another_study_only_where_each_depends_on_their_number(written):
    def same(content):
        return len({load(written({**content, "trials": trials})).fingerprint() for trials in (9, 27)}) == 1

    for kind in ("grid", "random", "qmc", "tpe", "gp", "nsga2"):
        assert same({**FULL, "strategy": kind})
    assert not same({**FULL, "strategy": HALVED["strategy"]})
    whole, drawn = ({**FULL, "strategy": "grid", "trials": trials} for trials in (None, 9))
    assert load(written(whole)).fingerprint() != load(written(drawn)).fingerprint()


def test_a_limit_is_no_part_of_the_fingerprint_but_the_order_of_points_is(written):
    prints = {load(written(setting(FULL, "grid", limit=limit))).fingerprint() for limit in (100, 1000)}
    assert len(prints) == 1
    first, second = {"width": 1}, {"width": 2}
    orders = [{"a": first, "b": second}, {"b": second, "a": first}]
    assert len({load(written(setting(NAMED, "points", points=points))).fingerprint() for points in orders}) == 2


def test_a_definition_can_be_kept_as_json(written):
    for content in (changed(FULL, "fixed/c", [0.1, {"a": None}]), NAMED, {**HALVED, "space": {"a": [None, [1]]}}):
        definition = load(written(content)).definition()
        assert json.loads(json.dumps(definition, allow_nan=False))["objective"][0]["file"] in ("m.json", "metrics.json")


# Names with dots


@pytest.mark.parametrize(
    ("nested", "flat"),
    [
        ({}, {}),
        ({"a": 1}, {"a": 1}),
        ({"a": {"b": {"c": None}}, "d": [1, {"e": 2}]}, {"a.b.c": None, "d": [1, {"e": 2}]}),
        ({"a": {"b": 1, "c": 2}, "d": {"b": 3}}, {"a.b": 1, "a.c": 2, "d.b": 3}),
    ],
)
def test_flattened_and_nested_again(nested, flat):
    assert flatten(nested) == flat
    assert nest(flat) == nested


def test_empty_mappings_have_no_values():
    assert flatten({"a": {}, "b": {"c": {}}, "d": 1}) == {"d": 1}
