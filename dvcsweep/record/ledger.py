"""The ledger: what was tried, what came out, what failed; an Optuna storage file that only grows.

It lies in `.dvc/tmp/sweeps/STUDY/ledger.jsonl` while a study runs, and a copy beside the study file once it is done.
Each line is one change, flushed to disk before the next step is taken, so that a driver killed at any moment finds at
its next start what it had begun. `optuna-dashboard` opens it as it is.

A study that was run on several states of the code has a *campaign* for each, an Optuna study named after the study file
and the commit. Trials of Optuna's are attempts here: a trial that is run again has the number it had before.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import BaseModel, TypeAdapter, ValidationError

from dvcsweep.errors import StudyError, shown
from dvcsweep.plan.spaces import label
from dvcsweep.plan.strategies import Proposal
from dvcsweep.plan.studies import OneAtATimeSettings, PointsSettings, Study
from dvcsweep.quiet import quiet
from dvcsweep.record.trials import Outcome, Trial

FILE = "ledger.jsonl"


class _Unlocked:
    """No lock of Optuna's, which a killed process would leave behind: one driver at a time is seen to elsewhere."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None


class _ReadOnly(BaseJournalBackend):
    """A ledger's lines up to the last whole one; the file may be growing, or end in half a line."""

    def __init__(self, path: Path) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        self._lines = [line for line in lines if line.endswith(b"\n")]

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        return (json.loads(line) for line in self._lines[log_number_from:])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        raise StudyError("this ledger was opened to be read")


def open_ledger(path: Path, write: bool = False) -> JournalStorage:
    """The storage in a file.

    Parameters
    ----------
    path : Path
        The file. With `write` it is made if need be, and half a line that a killed process left at its end is cut off.
    write : bool
        Whether to write to it; the caller sees to it that nobody else does.

    Raises
    ------
    StudyError
        If it is damaged.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            _mend(path)
            backend: BaseJournalBackend = JournalFileBackend(str(path), lock_obj=_Unlocked())
        else:
            backend = _ReadOnly(path)
        with quiet():
            storage = JournalStorage(backend)
            _check(storage)
            return storage
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror or error}") from error
    except DAMAGE as error:
        reason = _reason(error)
        raise StudyError(
            f"{path}: damaged ({reason}): take the committed one, or move it away to begin anew"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'an experiment'}: {first['msg']}"
    return " ".join(str(error).split()) or type(error).__name__


DAMAGE = (
    *(ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError),
    optuna.exceptions.OptunaError,
)


class Facts(BaseModel):
    """What a campaign knows of itself from its beginning on: where it began, and what decides its outcome.

    Attributes
    ----------
    baseline : str
        Commit that its trials are based on.
    file, label, fingerprint : str
        Study file, its name in experiments' names, and a digest of the study's definition.
    settings_values : dict
        Values of the study's parameters, by key.
    code : dict of str to str
        Digests of the code, to be read: the commit itself is what is compared.
    files : dict of str to str
        Digests of what clones are given a copy of.
    """

    baseline: str
    file: str
    label: str
    fingerprint: str
    settings_values: dict[str, Any]
    code: dict[str, str]
    files: dict[str, str] = {}


OUTCOME = TypeAdapter(Outcome)


def _check(storage: JournalStorage) -> None:
    """Raise one of `DAMAGE` unless every campaign that has begun, and every trial, is what was once written."""
    for name in names(storage):
        study_id = storage.get_study_id_from_name(name)
        Campaign(storage, name)
        count = len(storage.get_study_directions(study_id))
        for frozen in storage.get_all_trials(study_id, deepcopy=False):
            trial = _trial(frozen)
            whole = [trial.values, *(outcome.values for outcome in trial.experiments.values())]
            if any(values is not None and len(values) != count for values in whole):
                raise ValueError(f"trial {trial.index} of {name} has not {count} values")
            if any(not isinstance(value, float | int) for values in whole for value in values or ()):
                raise TypeError(f"trial {trial.index} of {name} has values {shown(whole)}, which are no numbers")
            if (trial.state == "complete") != (trial.values is not None) and trial.state != "pruned":
                raise ValueError(f"trial {trial.index} of {name} is {trial.state}, with values {trial.values}")
            if not isinstance(trial.index, int) or not isinstance(trial.params, dict):
                raise TypeError(f"a trial of {name} has number {trial.index!r} and parameters {trial.params!r}")


def _mend(path: Path) -> None:
    if path.exists() and (content := path.read_bytes()) and not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)


STATES = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


class Campaign:
    """A study on one state of the code.

    Parameters
    ----------
    storage : JournalStorage
        The ledger.
    name : str
        Of the Optuna study in it.
    """

    def __init__(self, storage: JournalStorage, name: str) -> None:
        self.storage, self.name = storage, name
        self.study_id = storage.get_study_id_from_name(name)
        written = storage.get_study_user_attrs(self.study_id)
        # The baseline is written last: without it, the campaign was cut off as it began.
        self.facts = Facts.model_validate(written) if "baseline" in written else None

    @classmethod
    def begin(cls, storage: JournalStorage, name: str, study: Study, facts: Mapping[str, Any]) -> "Campaign":
        """Write a new campaign into the ledger; the facts last, so that one without them, cut off, is taken up."""
        directions = [optuna.study.StudyDirection[objective.direction.upper()] for objective in study.objective]
        if name in names(storage):
            study_id = storage.get_study_id_from_name(name)
        else:
            study_id = storage.create_new_study(directions, name)
        with quiet():
            optuna.load_study(study_name=name, storage=storage).set_metric_names([one.name for one in study.objective])
        for key, value in facts.items():
            storage.set_study_user_attr(study_id, key, value)
        return cls(storage, name)

    def trials(self) -> list[Trial]:
        """Every trial, in the order of their numbers."""
        latest: dict[int, FrozenTrial] = {}
        for frozen in self.storage.get_all_trials(self.study_id, deepcopy=False):
            latest[frozen.user_attrs["index"]] = frozen
        return [_trial(latest[index]) for index in sorted(latest)]

    def trial(self, identity: int) -> Trial:
        """One trial by Optuna's number."""
        return _trial(self.storage.get_trial(identity))

    def add(self, index: int, proposal: Proposal, forms: Mapping[str, BaseDistribution], attempt: int = 1) -> Trial:
        """Write a new trial, waiting, in one line."""
        attributes = {"index": index, "attempt": attempt}
        if proposal.label is not None:
            attributes["label"] = proposal.label
        frozen = create_trial(
            state=TrialState.WAITING,
            params={name: label(value) for name, value in proposal.params.items()},
            distributions={name: forms[name] for name in proposal.params},
            user_attrs=attributes | {"params": proposal.params},
            system_attrs=proposal.notes,
        )
        return self.trial(self.storage.create_new_trial(self.study_id, template_trial=frozen))

    def begin_trial(self, identity: int) -> None:
        """A trial's first experiment begins."""
        self.storage.set_trial_state_values(identity, TrialState.RUNNING)

    def record(self, identity: int, member: str, outcome: Outcome) -> None:
        """Keep the outcome of one experiment."""
        self.storage.set_trial_user_attr(identity, f"experiment:{member}", outcome.kept())

    def report(self, identity: int, step: int, value: float) -> None:
        """Keep the objective after a rung, or a point of the curve, as Optuna's intermediate value at that step."""
        self.storage.set_trial_intermediate_value(identity, step, value)

    def stop(self, identity: int, stopped: Mapping[str, int], value: float) -> None:
        """End a trial that a rule of pruning has stopped, by member after so many points of its curve."""
        self.storage.set_trial_user_attr(identity, "stopped", dict(stopped))
        self.finish(identity, "pruned", [value])

    def finish(self, identity: int, state: str, values: Sequence[float] | None, error: str | None = None) -> None:
        """End a trial: complete, pruned or failed."""
        if error is not None:
            self.storage.set_trial_user_attr(identity, "error", error)
        wanted = next(optunas for optunas, ours in STATES.items() if ours == state)
        if self.storage.get_trial(identity).state == TrialState.WAITING:
            self.begin_trial(identity)
        self.storage.set_trial_state_values(identity, wanted, values)

    def study(self) -> optuna.Study:
        """Optuna's own study of it, for its analyses."""
        return optuna.load_study(study_name=self.name, storage=self.storage)


def check_fit(campaign: Campaign, study: Study) -> None:
    """Refuse a campaign whose trials cannot be those of the study that it says it is of.

    Raises
    ------
    StudyError
        With the first trial that is not.
    """
    known, objectives = forms(study, campaign.facts.settings_values).keys(), len(study.objective)
    for trial in campaign.trials():
        if not set(trial.params) <= known or (trial.values is not None and len(trial.values) != objectives):
            raise StudyError(
                f"{campaign.name}: damaged (trial {trial.index} varies {shown(sorted(trial.params))} and has values "
                f"{shown(trial.values)}): take the committed ledger, or move it away to begin anew"
            )


def names(storage: JournalStorage) -> list[str]:
    """Names of the campaigns in a ledger, oldest first."""
    return [study.study_name for study in sorted(storage.get_all_studies(), key=lambda study: study._study_id)]


def forms(study: Study, settings: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """Optuna's form of every parameter that a study varies."""
    strategy = study.strategy
    if isinstance(strategy, PointsSettings):
        keys = dict.fromkeys(key for point in strategy.points.values() for key in point)
        return {key: _choices([point[key] for point in strategy.points.values() if key in point]) for key in keys}
    if isinstance(strategy, OneAtATimeSettings):
        return {
            name: _choices([*dimension.levels(strategy.levels), settings[name]])
            for name, dimension in study.space.items()
        }
    return {name: dimension.distribution() for name, dimension in study.space.items()}


def _choices(values: Sequence[Any]) -> CategoricalDistribution:
    unique = {json.dumps(value): label(value) for value in values}
    return CategoricalDistribution(list(unique.values()))


def _trial(frozen: FrozenTrial) -> Trial:
    attributes = frozen.user_attrs
    values = frozen.values if frozen.state in (TrialState.COMPLETE, TrialState.PRUNED) else None
    return Trial(
        index=attributes["index"],
        identity=frozen._trial_id,
        params=attributes["params"],
        state=STATES[frozen.state],
        values=tuple(values) if values else None,
        label=attributes.get("label"),
        experiments={
            key.removeprefix("experiment:"): OUTCOME.validate_python(value)
            for key, value in attributes.items()
            if key.startswith("experiment:")
        },
        error=attributes.get("error"),
        began=frozen.datetime_start,
        ended=frozen.datetime_complete,
        notes=frozen.system_attrs,
        attempt=attributes["attempt"],
        stopped=attributes.get("stopped", {}),
    )
