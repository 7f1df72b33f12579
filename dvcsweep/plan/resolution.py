"""What is checked before a study's first trial: that it fits the repository it is to run in."""

import importlib.util
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dvcsweep import pipeline
from dvcsweep.errors import StudyError
from dvcsweep.naming import short
from dvcsweep.pipeline import Inputs, Stage, overlap, top_level_metrics, variants
from dvcsweep.plan.spaces import Dimension, check_value
from dvcsweep.plan.studies import HalvingSettings, OneAtATimeSettings, Study
from dvcsweep.repository import Repository
from dvcsweep.settings import flatten, nest, number, parse

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
    inputs : Inputs
        What decides the outcome beside the parameters.
    hidden : list of str
        Parameters that DVC's run-cache takes no notice of.
    elsewhere : list of str
        Dependencies on this machine, but outside the repository.
    composed : str
        Text of the parameters file, where Hydra makes it.
    undeclared : list of str
        What is copied but no stage's dependency, so that DVC cannot tell when it changes.
    """

    settings: dict[str, Any]
    metrics: list[str]
    varied: list[str]
    outputs: list[str]
    inputs: Inputs
    hidden: list[str]
    elsewhere: list[str]
    composed: str
    undeclared: list[str]


def resolve(repository: Repository, study: Study, commit: str) -> Resolved:
    """Check a study against a commit.

    Raises
    ------
    StudyError
        With one line for each mistake.
    """
    committed = parameters(repository, study, commit)
    settings = _settings(study, committed)
    content = repository.content(commit, study.pipeline)
    mistakes = [*_keys(study, committed), *_kinds(study, committed), *_conditions(study, settings), *_learner(study)]
    if not mistakes:
        stages = _stages(repository, study, commit, settings)
        mistakes += _objectives(repository, study, commit, stages)
        mistakes += _schema(repository, study, commit, settings)
        mistakes += [*_dependencies(repository, study, commit, stages), *_copies(repository, study, commit)]
        mistakes += _submodules(repository.root, repository, commit)
    if mistakes:
        raise StudyError("\n".join(f"study {study.name}: {mistake}" for mistake in mistakes))
    metrics = [file for stage in stages for file in stage.metrics]
    metrics += top_level_metrics(content, study.pipeline)
    made = [path for stage in stages if stage.runs for path in stage.products]
    varying = _varying(study)
    text = pipeline.parameters(repository, commit, study.pipeline, study.params)
    return Resolved(
        settings,
        list(dict.fromkeys(metrics)),
        list(dict.fromkeys(stage.name for stage in stages if stage.reads(study.params, varying))),
        list(dict.fromkeys(made)),
        pipeline.inputs(repository, commit, study.params, stages, settings, varying),
        sorted({key for stage in stages for key in stage.hides(study.params, settings)}),
        sorted({dep for stage in stages for dep in stage.deps if dep.startswith("/")}),
        "" if text == repository.text(commit, study.params) else text,
        [path for path in study.copies if not any(overlap(path, dep) for stage in stages for dep in stage.deps)],
    )


def parameters(repository: Repository, study: Study, commit: str) -> dict[str, Any]:
    """All parameters at a commit, by key with dots."""
    return flatten(parse(study.params, pipeline.parameters(repository, commit, study.pipeline, study.params)))


def inputs(repository: Repository, study: Study, commit: str) -> Inputs:
    """What decides a study's outcome at a commit beside its parameters."""
    settings = _settings(study, parameters(repository, study, commit))
    stages = _stages(repository, study, commit, settings)
    return pipeline.inputs(repository, commit, study.params, stages, settings, _varying(study))


def _settings(study: Study, committed: Mapping[str, Any]) -> dict[str, Any]:
    return {**(committed if study.base is None else study.base), **study.fixed}


def _stages(repository: Repository, study: Study, commit: str, settings: Mapping[str, Any]) -> list[Stage]:
    return variants(repository, commit, study.pipeline, study.params, settings, _varying(study))


def _varying(study: Study) -> dict[str, list[Any]]:
    """Every value, or the ends of every range, that a parameter takes in trials."""
    found = {name: dimension.ends() for name, dimension in study.space.items()} | dict(study.average_over)
    if isinstance(study.strategy, HalvingSettings):
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
    if isinstance(study.strategy, OneAtATimeSettings):
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


def _learner(study: Study) -> Iterator[str]:
    """What a strategy needs that the package itself does not bring."""
    if study.strategy.kind == "gp" and importlib.util.find_spec("torch") is None:
        yield "strategy: gp needs PyTorch, which is not installed: pip install torch"


def _conditions(study: Study, settings: Mapping[str, Any]) -> Iterator[str]:
    for name, dimension in study.space.items():
        for condition in dimension.when:
            if condition not in settings:
                yield f"space.{name}.when: {study.params} has no {condition}{_near(condition, settings)}"


def _objectives(repository: Repository, study: Study, commit: str, stages: Sequence[Stage]) -> Iterator[str]:
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
    file: str, pipeline: str, stages: Sequence[Stage], seen: frozenset[str] = frozenset()
) -> tuple[str, str] | None:
    """The stage, and its input, by which a file depends on data held out, directly or through other stages' outputs."""
    for stage in stages:
        if stage.name in seen or not any(overlap(file, path) for path in stage.products):
            continue
        for dep in stage.deps:
            if set(_words(os.path.relpath(dep, PurePosixPath(pipeline).parent))) & HELD_OUT and not dep.endswith(".py"):
                return stage.name, dep
        for dep in stage.deps:
            found = _reads_test_data(dep, pipeline, stages, seen | {stage.name})
            if found:
                return found
    return None


def _dependencies(repository: Repository, study: Study, commit: str, stages: Sequence[Stage]) -> Iterator[str]:
    """Dependencies that are in the work tree, but that no clone of the commit would have."""
    made = [path for stage in stages for path in stage.products] + study.copies
    wanted = {dep: stage.name for stage in stages for dep in stage.deps if not dep.startswith("/") and "://" not in dep}
    loose = {dep: name for dep, name in wanted.items() if not any(overlap(dep, path) for path in made)}
    known = repository.objects(commit, loose)
    for dep, name in loose.items():
        if dep not in known and (repository.root / dep).exists():
            yield (
                f"stage {name} depends on {dep}, which is here but not in commit {short(commit)}: `git add` or `dvc "
                f"add` it and commit, or name it under `copy` in the study if Git is not to have it"
            )


def _copies(repository: Repository, study: Study, commit: str) -> Iterator[str]:
    """Files to be copied that are not here, or that a clone has anyway."""
    committed = repository.objects(commit, study.copies)
    for path in study.copies:
        if path in committed:
            yield f"copy: {path} is in commit {short(commit)}, as every clone is: leave it out"
        elif not (repository.root / path).exists():
            yield f"copy: {path} is not here"


def _submodules(root: Path, repository: Repository, commit: str) -> Iterator[str]:
    """Submodules that are checked out here, but lack the commit that is to be run."""
    for path, wanted in repository.submodules(commit).items():
        if (root / path / ".git").exists():
            inner = Repository(root / path)
            if not inner.exists(wanted):
                yield f"submodule {path}: commit {short(wanted)} is not here: git submodule update --init {path}"
            else:
                yield from _submodules(root / path, inner, wanted)


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
