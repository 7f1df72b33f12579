"""What is checked before a study's first trial: that it fits the repository it is to run in."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from sweeps.errors import StudyError
from sweeps.naming import short
from sweeps.plan.spaces import Dimension, check_value
from sweeps.plan.studies import Halving, OneAtATime, Study
from sweeps.repository import Repository
from sweeps.settings import flatten, nest, number

HELD_OUT = {"test", "tests", "testing", "heldout", "holdout"}
SEEN = {"train", "training", "val", "valid", "validation", "dev", "cv"}


@dataclass(frozen=True)
class Resolved:
    """A study in its repository, at a commit.

    Attributes
    ----------
    settings : dict
        All parameters, base and fixed, by key with dots.
    metrics : list of str
        Metrics files of the pipeline, relative to the top.
    varied : list of str
        Stages that read a parameter which the study varies.
    outputs : list of str
        What stages make, relative to the top.
    """

    settings: dict[str, Any]
    metrics: list[str]
    varied: list[str]
    outputs: list[str]


def resolve(repository: Repository, study: Study, commit: str) -> Resolved:
    """Check a study against a commit.

    Raises
    ------
    StudyError
        With one line for each mistake.
    """
    stages = repository.stages(commit, study.pipeline)
    committed = flatten(repository.content(commit, study.params))
    settings = {**(committed if study.base is None else study.base), **study.fixed}
    mistakes = [*_keys(study, committed), *_kinds(study, committed), *_conditions(study, settings)]
    if not mistakes:
        mistakes += _objectives(repository, study, commit, stages)
        mistakes += _schema(repository, study, commit, settings)
    if mistakes:
        raise StudyError("\n".join(f"study {study.name}: {mistake}" for mistake in mistakes))
    metrics = [file for stage in stages.values() for file in outputs(study.pipeline, stage, "metrics")]
    metrics += _top_level_metrics(repository.content(commit, study.pipeline), study.pipeline)
    made = [path for stage in stages.values() for path in outputs(study.pipeline, stage, "outs")]
    return Resolved(settings, list(dict.fromkeys(metrics)), _varied(study, stages), made)


def _varying(study: Study) -> dict[str, list[Any]]:
    """Every value, or the ends of every range, that a parameter takes in trials."""
    found = {name: dimension.ends() for name, dimension in study.space.items()} | dict(study.average_over)
    if isinstance(study.strategy, Halving):
        found[study.strategy.budget] = list(study.strategy.budgets)
    for point in getattr(study.strategy, "points", {}).values():
        for key, value in point.items():
            found.setdefault(key, []).append(value)
    return found


def _keys(study: Study, committed: Mapping[str, Any]) -> Iterator[str]:
    for group, keys in (
        ("fixed", study.fixed),
        ("space", study.space),
        ("average_over", study.average_over),
        ("promote", study.promote),
        ("strategy", [key for key in _varying(study) if key not in study.space and key not in study.average_over]),
        ("base", study.base or ()),
        ("seed_parameter", [study.seed_parameter] if study.seed_parameter else ()),
    ):
        for key in keys:
            if key not in committed:
                yield f"{group}: {study.params} has no {key}{_near(key, committed)}"
    for key in committed if study.base is not None else ():
        if key not in study.base:
            yield f"base: {key} is missing, but a base gives every parameter of {study.params}"


def _near(key: str, known: Mapping[str, Any]) -> str:
    import difflib

    near = difflib.get_close_matches(key, known, n=1)
    return f"; is {near[0]} meant?" if near else ""


def _kinds(study: Study, committed: Mapping[str, Any]) -> Iterator[str]:
    groups = {
        name: {key: [value] for key, value in settings.items()}
        for name, settings in (("base", study.base or {}), ("fixed", study.fixed), ("promote", study.promote))
    }
    varying = _varying(study)
    groups["space"] = {key: varying.pop(key) for key in study.space}
    groups["average_over"] = {key: varying.pop(key) for key in study.average_over}
    groups["strategy"] = varying
    for group, values in groups.items():
        for key, value in ((key, value) for key, entries in values.items() for value in entries if key in committed):
            model = committed[key]
            if not _fits(value, model):
                kind = _kind(model)
                yield f"{group}: {key} cannot be {value!r}: {study.params} has {model!r} there, which is {kind}"
            elif value is None and study.params.endswith(".toml"):
                yield f"{group}: {key} cannot be null: {study.params} is TOML, which has none"
    for key, value in committed.items():
        if _unkept(value):
            yield f"{study.params}: {key} is {value!r}, which no experiment could be given: put it in quotes"
    base = {**(study.base or committed), **study.fixed}
    if isinstance(study.strategy, OneAtATime):
        for name, dimension in study.space.items():
            if name in base and _outside(dimension, base[name]):
                yield f"space: the base has {name} {base[name]!r}, outside {dimension.low} to {dimension.high}"


def _unkept(value: Any) -> bool:
    try:
        check_value(value)
    except ValueError:
        return True
    return False


def _outside(dimension: Dimension, value: Any) -> bool:
    return dimension.choices is None and (
        not isinstance(value, int | float) or not dimension.low <= value <= dimension.high
    )


def _fits(value: Any, model: Any) -> bool:
    """Whether a value can stand where the model stands; null fits anywhere and anything fits null."""
    if value is None or model is None:
        return True
    if isinstance(model, bool) or isinstance(value, bool):
        return isinstance(model, bool) and isinstance(value, bool)
    if isinstance(model, float):
        return isinstance(value, int | float)
    return isinstance(value, type(model))


def _kind(value: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list"}
    return names.get(type(value), "something else")


def _conditions(study: Study, settings: Mapping[str, Any]) -> Iterator[str]:
    for name, dimension in study.space.items():
        for condition in dimension.when:
            if condition not in settings:
                yield f"space.{name}.when: {study.params} has no {condition}{_near(condition, settings)}"


def _objectives(
    repository: Repository, study: Study, commit: str, stages: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    for objective in study.objective:
        metric = f"{objective.file}:{objective.key}"
        words = {*_words(os.path.relpath(objective.file, PurePosixPath(study.pipeline).parent)), *_words(objective.key)}
        if words & HELD_OUT:
            yield f"objective: {metric} is a test figure; a search that sees it leaves nothing to test on: {ADVICE}"
            continue
        reader = None if words & SEEN else _reads_test_data(objective.file, study.pipeline, stages)
        if reader:
            yield f"objective: {metric} is made by stage {reader[0]}, which reads {reader[1]}: {ADVICE}"
            continue
        try:
            number(repository.content(commit, objective.file), objective.file, objective.key)
        except StudyError as error:
            yield f"objective: {error} (at commit {short(commit)}; run the pipeline and commit its metrics first)"


ADVICE = "take a validation figure"


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", text.lower()) if word]


def _reads_test_data(
    file: str, pipeline: str, stages: Mapping[str, Mapping[str, Any]], seen: frozenset[str] = frozenset()
) -> tuple[str, str] | None:
    """The stage, and its input, by which a file depends on data held out, directly or through other stages' outputs."""
    for name, stage in stages.items():
        made = [path for kind in ("outs", "metrics", "plots") for path in outputs(pipeline, stage, kind)]
        if name in seen or not any(_overlap(file, path) for path in made):
            continue
        for dep in outputs(pipeline, stage, "deps"):
            if set(_words(os.path.relpath(dep, PurePosixPath(pipeline).parent))) & HELD_OUT and not dep.endswith(".py"):
                return name, dep
        for dep in outputs(pipeline, stage, "deps"):
            found = _reads_test_data(dep, pipeline, stages, seen | {name})
            if found:
                return found
    return None


def _overlap(one: str, other: str) -> bool:
    """Whether two paths are the same, or one is a folder that the other lies in."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def outputs(pipeline: str, stage: Mapping[str, Any], kind: str) -> list[str]:
    """Paths of a stage's outs, metrics, plots or deps, relative to the top."""
    folder = PurePosixPath(pipeline).parent / (stage.get("wdir") or ".")
    entries = [next(iter(entry)) if isinstance(entry, dict) else entry for entry in stage.get(kind) or []]
    return [os.path.normpath(folder / entry) for entry in entries]


def _top_level_metrics(content: Mapping[str, Any], pipeline: str) -> list[str]:
    folder = PurePosixPath(pipeline).parent
    return [os.path.normpath(folder / entry) for entry in content.get("metrics") or [] if isinstance(entry, str)]


def _schema(repository: Repository, study: Study, commit: str, settings: Mapping[str, Any]) -> Iterator[str]:
    """Values that the parameters' own JSON schema refuses."""
    if study.schema_file is None:
        return
    import jsonschema

    schema = repository.content(commit, study.schema_file)
    kind = jsonschema.validators.validator_for(schema)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        yield f"schema: {study.schema_file} is no JSON schema: {error.message}"
        return
    fixed = {key: [settings[key]] for key in (study.base or study.fixed)}
    promoted = {key: [value] for key, value in study.promote.items()}
    for key, entries in [*{**fixed, **_varying(study)}.items(), *promoted.items()]:
        for value in entries:
            for error in kind(schema).iter_errors(nest({**settings, key: value})):
                if f"{'.'.join(str(part) for part in error.absolute_path)}.".startswith(f"{key}."):
                    yield f"{key} cannot be {value!r}: {error.message} ({study.schema_file})"


def _varied(study: Study, stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    keys = list(_varying(study))
    found = []
    for name, stage in stages.items():
        declared = list(_declared(study, stage))
        if any(one == "" or key == one or key.startswith(f"{one}.") for key in keys for one in declared):
            found.append(name)
    return found


def _declared(study: Study, stage: Mapping[str, Any]) -> Iterator[str]:
    """What a stage reads of the study's parameters file; an empty text stands for all of it."""
    folder = PurePosixPath(study.pipeline).parent / (stage.get("wdir") or ".")
    for entry in stage.get("params") or []:
        read = entry if isinstance(entry, dict) else {"params.yaml": [entry]}
        for file, keys in read.items():
            if os.path.normpath(folder / file) == os.path.normpath(study.params):
                yield from keys or [""]
    if os.path.normpath(study.params) in outputs(study.pipeline, stage, "deps"):
        yield ""
