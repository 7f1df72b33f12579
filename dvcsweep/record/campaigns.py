"""Which campaign a run goes on with, whose turn it is to write to the ledger, and where all of that lies."""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage

from dvcsweep import naming
from dvcsweep.errors import StudyError
from dvcsweep.files import digest
from dvcsweep.naming import short
from dvcsweep.pipeline import Inputs
from dvcsweep.plan.resolution import Resolved, inputs, resolve
from dvcsweep.plan.studies import Study
from dvcsweep.progress import Display
from dvcsweep.record.ledger import Campaign, names
from dvcsweep.repository import Repository, dvc_folder


def folder(repository: Repository, study: Study) -> Path:
    """Where a study keeps what belongs to this clone alone: ledger, logs, workers."""
    return dvc_folder(repository.root, study.pipeline) / "tmp" / "sweeps" / study.name


def driver_of(place: Path) -> str | None:
    """Who runs a study at the moment, in words; None if nobody does."""
    try:
        with (place / "lock").open(encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return lock.read().strip() or "another process"
    except FileNotFoundError:
        pass
    return None


@contextlib.contextmanager
def sole_driver(place: Path, name: str) -> Iterator[None]:
    """Hold a study's lock; it goes with the process, however that ends.

    Raises
    ------
    StudyError
        If another driver holds it.
    """
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise StudyError(f"study {name} is being run by another process ({lock.read().strip() or '?'})") from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, since {datetime.now().astimezone():%Y-%m-%d %H:%M:%S}")
        lock.flush()
        yield


def begun(storage: JournalStorage) -> list[Campaign]:
    """Campaigns of a ledger, oldest first; without one that was cut off before its facts were written."""
    campaigns = [Campaign(storage, name) for name in names(storage)]
    return [campaign for campaign in campaigns if campaign.facts]


def _facts(study: Study, repository: Repository, resolved: Resolved) -> dict[str, Any]:
    """What makes a campaign what it is; `code` is kept to be read, the commit itself is what is compared."""
    return {
        "fingerprint": study.fingerprint(),
        "settings_values": resolved.settings,
        "files": {path: digest(repository.root / path) for path in sorted([*study.copies, *resolved.elsewhere])},
        "code": resolved.inputs.files,
    }


def changes(
    campaign: Campaign, study: Study, repository: Repository, facts: Mapping[str, Any], inputs: Inputs
) -> list[str]:
    """What differs between a campaign's commit and what is here now, in words; none where it can go on."""
    parts = []
    if campaign.facts.fingerprint != facts["fingerprint"]:
        parts.append("the study's definition")
    elif campaign.facts.settings_values != facts["settings_values"]:
        parts.append("the parameters")
    files = _different(campaign.facts.files, facts["files"])
    baseline = campaign.facts.baseline
    if not repository.exists(baseline):
        parts.append("the baseline")
    elif baseline != repository.head:
        files += begun_with(campaign, study, repository).changed(inputs)
    if files:
        parts.append(f"the code ({', '.join(files[:4])}{', ...' if len(files) > 4 else ''})")
    return parts


def outdated(campaign: Campaign, study: Study, repository: Repository) -> list[str]:
    """What has changed since a campaign began, at HEAD and but for parameters, that decides its outcome."""
    baseline = campaign.facts.baseline
    if baseline == repository.head or not repository.exists(baseline):
        return []
    return begun_with(campaign, study, repository).changed(inputs(repository, study, repository.head))


def begun_with(campaign: Campaign, study: Study, repository: Repository) -> Inputs:
    """What decided a campaign's outcome, at its commit."""
    try:
        return inputs(repository, study, campaign.facts.baseline)
    except StudyError:  # of another definition, which does not fit that commit
        return Inputs(campaign.facts.code, {})


def _different(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return sorted(path for path in {*old, *new} if old.get(path) != new.get(path))


def choose(
    storage: JournalStorage, study: Study, repository: Repository, path: Path, resolved: Resolved, display: Display
) -> Campaign:
    """The campaign to go on with, or a new one; says which, and why, where that is not plain.

    `resolved` is the study at HEAD.
    """
    where = os.path.relpath(path, repository.root)
    known = begun(storage)
    if known and known[-1].facts.file != where and (repository.root / known[-1].facts.file).exists():
        raise StudyError(f"the name {study.name} is used already, by {known[-1].facts.file}: rename {where}")
    here = _facts(study, repository, resolved)
    changed: list[str] = []
    for campaign in reversed(known):
        found = changes(campaign, study, repository, here, resolved.inputs)
        if not found:
            _say_resumed(campaign, repository, display)
            return campaign
        changed = changed or found  # since the newest
    commit = repository.head if known else _lost_baseline(study, repository, here, resolved) or repository.head
    label = naming.new_label(
        study.name, [campaign.facts.label for campaign in known if campaign.facts.baseline == commit]
    )
    name = naming.campaign(label, commit)
    if known:
        text = f"{' and '.join(changed)} changed"
        done = sum(trial.finished for trial in known[-1].trials())
        display.say(
            f"{text[0].upper()}{text[1:]} since {known[-1].name} began; its {done} trials are kept apart, and this run "
            f"begins anew as {name}"
        )
    facts = {"file": where, "label": label, "started": _now(), "definition": study.definition(), **here}
    return Campaign.begin(storage, name, study, {**facts, "baseline": commit})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _say_resumed(campaign: Campaign, repository: Repository, display: Display) -> None:
    baseline = campaign.facts.baseline
    done = sum(trial.finished for trial in campaign.trials())
    if done:
        display.say(f"{campaign.name}: {done} trials are done already")
    if baseline != repository.head:
        display.say(
            f"HEAD has moved to {short(repository.head)}; nothing that its stages declare has changed, so the study "
            f"goes on at {short(baseline)}, where it began"
        )


def _lost_baseline(study: Study, repository: Repository, here: Mapping[str, Any], resolved: Resolved) -> str | None:
    """Commit that experiments of this study are based on, where their ledger is lost and nothing has changed since."""
    mine = [experiment for experiment in repository.experiments() if experiment.belongs_to(study.name)]
    for baseline in dict.fromkeys(experiment.baseline for experiment in reversed(mine)):
        if repository.exists(baseline):
            with contextlib.suppress(StudyError):
                there = resolve(repository, study, baseline)
                if there.settings == here["settings_values"] and not there.inputs.changed(resolved.inputs):
                    return baseline
    return None
