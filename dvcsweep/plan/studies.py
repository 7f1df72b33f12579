"""A study: what to search, how, and what for. One YAML file, checked as a whole before anything runs.

    description: hidden size and learning rate, coarsely
    base: bases/guide.yaml               # a full set of parameters: what the study does not vary stays as it is here
    objective: metrics/train/metrics.json:validation.loss
    strategy: grid
    fixed: {train.epochs: 5}
    space:
      model.hidden_size: [32, 64]
      train.learning_rate: [0.001, 0.005]

`Study` says what else there is.
"""

import hashlib
import json
import math
import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from dvcsweep import naming
from dvcsweep.errors import StudyError, shown
from dvcsweep.plan.pruning import Prune, Rule, by_name
from dvcsweep.plan.spaces import Space, check_value, size
from dvcsweep.settings import flatten, parse

MOST = 2**63 - 1  # points that numpy can draw from
# Bounds far beyond what anyone runs.
PositiveInt = Annotated[int, Field(gt=0, le=10**6)]
PositiveFloat = Annotated[float, Field(gt=0, le=1e9)]

Value = Annotated[Any, AfterValidator(check_value)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Objective(_Model):
    """A figure to make small or large.

    Attributes
    ----------
    file, key : str
        Metrics file, relative to the top of the repository, and the path of a number in it, with dots.
    direction : str
        minimize or maximize.
    timed : bool
        The figure is a time. Its trials run every stage anew, because a result from DVC's run-cache would bring the
        time of another run with it.
    """

    file: str
    key: str
    direction: Literal["minimize", "maximize"] = "minimize"
    timed: bool = False

    @property
    def name(self) -> str:
        """How it is called in tables and pictures."""
        return self.key

    @property
    def sign(self) -> int:
        """1 where small values are good, -1 where large ones are."""
        return {"minimize": 1, "maximize": -1}[self.direction]


def _objective(value: Any) -> Any:
    if isinstance(value, str):
        value = {"metric": value}
    if not isinstance(value, dict):
        return value
    if "metric" not in value:
        raise ValueError("metric: missing; write it as FILE:KEY")
    metric, direction = value["metric"], value.get("direction", "minimize")
    file, _, key = metric.rpartition(":") if isinstance(metric, str) else ("", "", "")
    if not file or not key:
        raise ValueError(f"write it as FILE:KEY, but got {metric!r}")
    if isinstance(direction, str):
        direction = direction.replace("imise", "imize")
    others = {name: entry for name, entry in value.items() if name not in ("metric", "direction")}
    for name in ("file", "key"):
        if name in others:
            raise ValueError(f"{name}: unknown (a typing error?)")
    return {**others, "file": file, "key": key, "direction": direction}


class GridSettings(_Model):
    """Every combination; with `trials` that many of them, drawn without replacement."""

    kind: Literal["grid"]
    levels: PositiveInt = 3
    limit: PositiveInt = 1000


class PointsSettings(_Model):
    """Combinations by name."""

    kind: Literal["points"]
    points: dict[str, dict[str, Value]] = Field(min_length=1)


class OneAtATimeSettings(_Model):
    """The base, then each parameter through its values while the others stay at the base's."""

    kind: Literal["one-at-a-time"]
    levels: PositiveInt = 5


class CoarseToFineSettings(_Model):
    """A grid over everything, then finer ones around the best so far."""

    kind: Literal["coarse-to-fine"]
    levels: Annotated[int, Field(ge=2, le=10**6)] = 3
    rounds: PositiveInt = 2


class RandomSettings(_Model):
    """Independent draws; where the values can be counted, none twice."""

    kind: Literal["random"]


class QuasirandomSettings(_Model):
    """Points of a scrambled Sobol sequence, which leave smaller gaps than independent draws."""

    kind: Literal["qmc"]


class AdaptiveSettings(_Model):
    """Optuna's samplers that learn from earlier trials.

    Attributes
    ----------
    startup : int
        Trials drawn at random first (tpe, gp), asked for all at once.
    generation : int
        Trials asked for at a time, all before any of them is told; it does not change with the number of workers.
    """

    kind: Literal["tpe", "gp", "nsga2"]
    startup: PositiveInt = 4
    generation: PositiveInt = 4


class HalvingSettings(_Model):
    """All start with a small budget; the best share goes on with a budget `factor` times as large, and so on.

    Attributes
    ----------
    budget : str
        The parameter that holds the budget, such as train.epochs.
    minimum, maximum : int
        Its values in the first rung and in the last.
    factor : int
        By how much the budget grows from rung to rung, and the number of trials shrinks.
    """

    kind: Literal["halving"]
    budget: str
    minimum: PositiveInt
    maximum: PositiveInt
    factor: Annotated[int, Field(ge=2, le=10**6)] = 3

    @property
    def budgets(self) -> list[int]:
        """Budget of each rung, from the minimum to the maximum, growing by `factor` as nearly as whole rungs allow."""
        growth = self.maximum / self.minimum
        steps = max(1, round(math.log(growth, self.factor)))
        return list(dict.fromkeys(round(self.minimum * growth ** (rung / steps)) for rung in range(steps + 1)))


def _by_kind(value: Any) -> Any:
    if isinstance(value, str):
        return {"kind": value}
    return value


Strategy = Annotated[
    GridSettings
    | PointsSettings
    | OneAtATimeSettings
    | CoarseToFineSettings
    | RandomSettings
    | QuasirandomSettings
    | AdaptiveSettings
    | HalvingSettings,
    Field(discriminator="kind"),
]


class Stop(_Model):
    """When a study ends early.

    Attributes
    ----------
    minutes : float, optional
        No trial is begun after so long.
    failures : int
        No trial is begun once so many have failed and none has come to its end: what fails from the start is broken. A
        trial whose objective is NaN or infinite has failed too, but has come to its end.
    trial_minutes : float, optional
        An experiment that takes longer is stopped and has failed.
    """

    minutes: PositiveFloat | None = None
    failures: PositiveInt = 3
    trial_minutes: PositiveFloat | None = None


def _inside(path: str) -> str:
    """A path within the repository, in its plain form."""
    plain = posixpath.normpath(path)
    if plain.startswith(("/", "..")) or plain in (".", ".git", ".dvc"):
        raise ValueError(f"got {path!r}, but it must be a file or folder within the repository")
    return plain


WITHOUT_EFFECT = (  # on what a trial is
    *("description", "jobs", "threads", "gpus", "stop", "promote"),
    *("seed_parameter", "curves", "figures", "schema_file", "copies"),
)


class Study(_Model):
    """A study file's content.

    Attributes
    ----------
    name : str
        The file's, without its ending.
    description : str
        For readers.
    pipeline, params, schema_file : str
        dvc.yaml, parameters file and, if there is one, the JSON schema that parameters are checked with; relative to
        the top of the repository. `schema` in the file.
    base : dict or None
        Values of all parameters, by key with dots; None: those committed. In the file, the path of a parameters file,
        relative to the study's own.
    objective : list of Objective
        One or several; with several, `strategy` must be one that knows what to do with them.
    strategy : Strategy
        Its name, or a mapping with `kind` and its settings.
    trials : int, optional
        How many. Needed where the strategy has no end of its own.
    seed : int
        Of everything drawn.
    jobs, threads : int
        Experiments at a time, and threads that each may use.
    gpus : float
        GPUs of a Ray cluster that each experiment is given; below 1, several share one.
    fixed : dict
        Parameters that differ from the base in all trials.
    space : dict of str to Dimension
        Parameters to vary.
    average_over : dict of str to list
        Parameters of which every combination is run for each trial; the objective is the mean.
    curves : list of str
        Tables (.tsv, .csv) of a figure over the epochs, to be drawn in the report; each a file in Git.
    figures : list of str
        Further figures to tell, FILE:KEY: in the tables and the statistics. Nothing is chosen by them, so they may be
        figures on test data.
    seed_parameter : str, optional
        The parameter that holds training's seed; needed to confirm results with several seeds.
    promote : dict
        Parameters that `promote` sets beside the winner's, such as more epochs.
    copies : list of str
        Files and folders that stages need and Git does not have, relative to the top of the repository: every worker is
        given a copy. `copy` in the file.
    stop : Stop
        When to end early.
    prune : Rule, optional
        Which trials to stop early.
    """

    name: str
    description: str = ""
    pipeline: str = "dvc.yaml"
    params: str = "params.yaml"
    schema_file: str | None = Field(None, alias="schema")
    base: dict[str, Value] | None = None
    objective: list[Annotated[Objective, BeforeValidator(_objective)]] = Field(min_length=1)
    strategy: Annotated[Strategy, BeforeValidator(_by_kind)]
    trials: PositiveInt | None = None
    seed: Annotated[int, Field(ge=0, le=MOST)] = 1
    jobs: PositiveInt = 2
    threads: PositiveInt = 1
    gpus: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = 0.0
    fixed: dict[str, Value] = Field(default_factory=dict)
    space: Space = Field(default_factory=dict)
    average_over: dict[str, Annotated[list[Value], Field(min_length=1)]] = Field(default_factory=dict)
    curves: list[str] = Field(default_factory=list)
    figures: list[Annotated[str, Field(pattern="^[^:]+:.+$")]] = Field(default_factory=list)
    seed_parameter: str | None = None
    promote: dict[str, Value] = Field(default_factory=dict)
    copies: list[Annotated[str, AfterValidator(_inside)]] = Field(default_factory=list, alias="copy")
    stop: Stop = Stop()
    prune: Annotated[Prune | None, BeforeValidator(by_name)] = None

    @model_validator(mode="after")
    def _fits_together(self) -> "Study":
        mistakes = list(_conflicts(self))
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self

    def at_most(self, limit: int | None) -> int | None:
        """Number of trials under a further limit; None where the strategy ends by itself."""
        return min((count for count in (self.trials, limit) if count is not None), default=None)

    @property
    def timed(self) -> bool:
        """Whether a time is among the objectives."""
        return any(objective.timed for objective in self.objective)

    @property
    def halved(self) -> bool:
        """Whether trials have values at several budgets."""
        return isinstance(self.strategy, HalvingSettings)

    @property
    def budgets(self) -> list[int | None]:
        """Budget of each rung; a single None where nothing is halved."""
        return list(self.strategy.budgets) if self.halved else [None]

    def pruned_by(self, rule: Rule) -> str | None:
        """The table that a rule of pruning reads: the one it names, or the one of `curves` named as the objective."""
        return rule.curve if rule.curve is not None or rule.over_members else self.named_curve

    @property
    def named_curve(self) -> str | None:
        """The table of `curves` that is named after the objective's key."""
        wanted = self.objective[0].key.split(".")
        named = [
            path for path in self.curves if list(PurePosixPath(path).with_suffix("").parts)[-len(wanted) :] == wanted
        ]
        return named[0] if len(named) == 1 else None

    def definition(self) -> dict[str, Any]:
        """All that decides what a trial is and means: the same definition, the same trials."""
        content = self.model_dump(mode="json")
        for name in WITHOUT_EFFECT:
            del content[name]
        # More trials are the same study, longer; but a rung is a share of all.
        if not isinstance(self.strategy, HalvingSettings):
            content["trials"] = self.trials is not None and isinstance(self.strategy, GridSettings)
        content["strategy"].pop("limit", None)
        if self.prune is None:  # studies from before there was any are what they were
            del content["prune"]
        # Trials are counted and drawn in the order in which parameters and points are written.
        content["space"] = list(content["space"].items())
        if isinstance(self.strategy, PointsSettings):
            content["strategy"]["points"] = list(content["strategy"]["points"].items())
        return content

    def fingerprint(self) -> str:
        """Digest of the definition."""
        text = json.dumps(self.definition(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _conflicts(study: Study) -> Iterator[str]:
    yield from _double(study)
    yield from _told_twice(study)
    yield from _unprunable(study)
    endless = isinstance(study.strategy, RandomSettings | QuasirandomSettings | AdaptiveSettings | HalvingSettings)
    if endless and study.trials is None:
        yield f"trials: missing, but {study.strategy.kind} has no end of its own"
    if not study.space and not isinstance(study.strategy, PointsSettings):
        yield f"space: empty, but {study.strategy.kind} needs something to vary"
    if study.space and isinstance(study.strategy, PointsSettings):
        yield "space: strategy points brings its own values, so leave it out"
    if isinstance(study.strategy, GridSettings) and study.trials is None:
        total = size(study.space, study.strategy.levels)
        if total > study.strategy.limit:
            yield (
                f"space: the grid has {total} points, more than its limit of {study.strategy.limit}: give `trials` to "
                "draw some of them, or raise strategy.limit"
            )
    if isinstance(study.strategy, GridSettings) and size(study.space, study.strategy.levels) > MOST:
        yield f"space: the grid has more than {MOST} points, too many to draw from: take strategy random"
    if len(study.objective) > 1 and study.strategy.kind in ("gp", "halving", "coarse-to-fine"):
        yield f"objective: {study.strategy.kind} takes a single one, but got {len(study.objective)}"
    if len({objective.name for objective in study.objective}) < len(study.objective):
        yield "objective: two have the same key"
    if isinstance(study.strategy, HalvingSettings) and study.strategy.minimum > study.strategy.maximum:
        yield f"strategy.minimum: {study.strategy.minimum} lies above maximum {study.strategy.maximum}"


def _unprunable(study: Study) -> Iterator[str]:
    if study.prune is None:
        return
    if len(study.objective) > 1:
        yield f"prune: by a single objective, but there are {len(study.objective)}"
    if study.halved:
        yield "prune: strategy halving stops trials itself, so leave prune out"
    if study.prune.over_members and not study.average_over:
        yield "prune: wilcoxon compares over folds or seeds, so it needs average_over"
    if not study.prune.over_members and study.pruned_by(study.prune) is None:
        yield f"prune.curve: missing, and none of curves is named as {study.objective[0].key}: name the table to read"
    if study.timed:
        yield "prune: a trial stopped early has no time of its own, so not with a time as the objective"


def _told_twice(study: Study) -> Iterator[str]:
    told = [f"{objective.file}:{objective.key}" for objective in study.objective] + study.figures
    for name in dict.fromkeys(study.figures):
        if told.count(name) > 1:
            yield f"figures: {name} is there twice, or is an objective, which is told anyway"


def _double(study: Study) -> Iterator[str]:
    """A parameter that two parts of the study would set, or a value that is to be averaged over twice."""
    groups = {"fixed": study.fixed, "space": study.space, "average_over": study.average_over}
    if isinstance(study.strategy, HalvingSettings):
        groups["strategy.budget"] = {study.strategy.budget: None}
    if isinstance(study.strategy, PointsSettings):
        groups["strategy.points"] = {key: None for point in study.strategy.points.values() for key in point}
    taken: dict[str, str] = {}
    for group, keys in groups.items():
        for key in keys:
            if key in taken:
                yield f"{group}: {key} is in {taken[key]} too"
            taken[key] = group
    for key, values in study.average_over.items():
        if len({json.dumps(value) for value in values}) < len(values):
            yield f"average_over.{key}: a value is given twice in {values}"
    yield from _too_early(study, taken)


def _too_early(study: Study, taken: Mapping[str, str]) -> Iterator[str]:
    """Conditions on a parameter that has no value when they are looked at."""
    names = list(study.space)
    for index, (name, dimension) in enumerate(study.space.items()):
        for condition in dimension.when:
            if condition in names[index:]:
                yield f"space.{name}.when: {condition} must come before {name}"
            elif condition in taken and taken[condition] in ("average_over", "strategy.budget"):
                yield f"space.{name}.when: {condition} is in {taken[condition]}, so it has no one value in a trial"


def load(path: str | Path) -> Study:
    """Read and check a study file.

    Parameters
    ----------
    path : str or Path
        YAML; its name without ending becomes the study's.

    Returns
    -------
    Study

    Raises
    ------
    StudyError
        With one line for each mistake.
    """
    path = Path(path)
    content = _mapping(path)
    name = content.setdefault("name", path.stem)
    if name != path.stem or not naming.STUDY.fullmatch(path.stem):
        raise StudyError(
            f"{path}: name: got {shown(name)}, but it must be the file's name without its ending, in small letters, "
            "digits and single hyphens, with no part that is a number of three digits or more"
        )
    if isinstance(content.get("base"), str):
        content["base"] = flatten(_mapping(path.parent / content["base"]))
    elif content.get("base") is not None:
        raise StudyError(f"{path}: base: must be the path of a parameters file, but got {shown(content['base'])}")
    single = isinstance(content.get("objective"), str | dict)
    if single:
        content["objective"] = [content["objective"]]
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        mistakes = [explain(details, single) for details in error.errors()]
        raise StudyError("\n".join(f"{path}: {line}" for text in mistakes for line in text.split("\n"))) from error


def _mapping(path: Path) -> dict[str, Any]:
    try:
        return parse(str(path), path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise StudyError(f"{path}: not a text file in UTF-8") from error


BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}
KINDS = {
    "bool": "true or false",
    "dict": "a mapping",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "model": "a mapping",
    "model_attributes": "a name, or a mapping with a kind",
    "string": "text",
}


def explain(details: Mapping[str, Any], single: bool = False) -> str:
    """One of pydantic's errors in the words of a study file; `single`: the one objective is written without a list."""
    where, kind, context = _where(details["loc"], single), details["type"], details.get("ctx", {})
    if kind == "value_error":
        return f"{where}: {context['error']}".removeprefix(": ")
    plain = {
        "missing": "missing",
        "extra_forbidden": "unknown (a typing error?)",
        "union_tag_not_found": f"{context.get('discriminator', '')} is missing".replace("'", ""),
        "too_short": "must not be empty",
    }
    if kind in plain:
        return f"{where}: {plain[kind]}"
    if kind == "union_tag_invalid":
        name = details["input"].get(context["discriminator"].strip("'"))
        return f"{where}: got {shown(name)}, but there are {context['expected_tags']}"
    if len(details["loc"]) == 2 and details["loc"][0] == "space" and kind == "model_type":
        rule = "a list of choices, or a mapping with low and high"
    elif kind in ("invalid_key", "string_type") and details["loc"][-1] in ("[key]", details["input"]):
        return f"{where}: a name must be text, so put it in quotes"
    elif kind == "literal_error":
        rule = context["expected"]
    elif kind in BOUNDS:
        words, limit = BOUNDS[kind]
        rule = f"{words} {context[limit]:g}"
    else:
        rule = KINDS.get(kind.rpartition("_")[0], details["msg"])
    return f"{where}: must be {rule}, but got {shown(details['input'])}"


def _where(place: tuple[int | str, ...], single: bool) -> str:
    """Dotted path of an entry as in the study file, which numbers no sole objective and names no strategy's kind."""
    parts = [str(part) for part in place if part != "[key]"]
    if parts[:1] in (["strategy"], ["prune"]) or (single and parts[:1] == ["objective"]):
        del parts[1:2]
    return ".".join(parts)
