"""Which campaign a run goes on with, whose turn it is to write to the ledger, and where all of that lies."""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage

from sweeps import naming
from sweeps.errors import StudyError
from sweeps.naming import short
from sweeps.plan.resolution import Resolved, resolve
from sweeps.plan.studies import Study
from sweeps.progress import Display
from sweeps.record.ledger import Campaign, names
from sweeps.repository import Repository, dvc_folder

FACTS = ("file", "label", "settings_values", "fingerprint", "code")


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
    whole = [campaign for campaign in campaigns if campaign.facts.get("baseline")]  # the last of them to be written
    for campaign in whole:
        missing = [name for name in FACTS if name not in campaign.facts]
        if missing:
            raise StudyError(
                f"{campaign.name}: damaged (its ledger does not say its {', '.join(missing)}): take the committed "
                "ledger, or move it away to begin anew"
            )
    return whole


def _facts(study: Study, repository: Repository, commit: str, resolved: Resolved) -> dict[str, Any]:
    return {
        "fingerprint": study.fingerprint(),
        "code": repository.code(commit, study.pipeline, study.params),
        "settings_values": resolved.settings,
    }


def choose(
    storage: JournalStorage, study: Study, repository: Repository, path: Path, resolved: Resolved, display: Display
) -> Campaign:
    """The campaign to go on with, or a new one; says which, and why, where that is not plain.

    `resolved` is the study at HEAD.
    """
    where = os.path.relpath(path, repository.root)
    known = begun(storage)
    if known and known[-1].facts["file"] != where and (repository.root / known[-1].facts["file"]).exists():
        raise StudyError(f"the name {study.name} is used already, by {known[-1].facts['file']}: rename {where}")
    here = _facts(study, repository, repository.head, resolved)
    for campaign in reversed(known):
        if all(campaign.facts[key] == value for key, value in here.items()) and repository.exists(
            campaign.facts["baseline"]
        ):
            _say_resumed(campaign, repository, display)
            return campaign
    commit = repository.head if known else _lost_baseline(study, repository, here) or repository.head
    label = naming.new_label(
        study.name, [campaign.facts["label"] for campaign in known if campaign.facts["baseline"] == commit]
    )
    name = naming.campaign(label, commit)
    if known:
        changed = _changed(known[-1], here)
        done = sum(trial.finished for trial in known[-1].trials())
        display.say(
            f"{changed} since {known[-1].name} began; its {done} trials are kept apart, and this run begins anew as "
            f"{name}"
        )
    facts = {"file": where, "label": label, "started": _now(), "definition": study.definition(), **here}
    return Campaign.begin(storage, name, study, {**facts, "baseline": commit})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _say_resumed(campaign: Campaign, repository: Repository, display: Display) -> None:
    baseline = campaign.facts["baseline"]
    done = sum(trial.finished for trial in campaign.trials())
    if done:
        display.say(f"{campaign.name}: {done} trials are done already")
    if baseline != repository.head:
        display.say(
            f"HEAD has moved to {short(repository.head)}; nothing that its stages declare has changed, so the study "
            f"goes on at {short(baseline)}, where it began"
        )


def _changed(campaign: Campaign, here: Mapping[str, Any]) -> str:
    old, new = campaign.facts["code"], here["code"]
    files = sorted(path for path in {*old, *new} if old.get(path) != new.get(path))
    parts = []
    if campaign.facts["fingerprint"] != here["fingerprint"]:
        parts.append("the study's definition")
    elif campaign.facts["settings_values"] != here["settings_values"]:
        parts.append("the parameters")
    if files:
        parts.append(f"the code ({', '.join(files[:4])}{', ...' if len(files) > 4 else ''})")
    text = f"{' and '.join(parts) or 'the baseline'} changed"
    return text[0].upper() + text[1:]


def _lost_baseline(study: Study, repository: Repository, here: Mapping[str, Any]) -> str | None:
    """Commit that experiments of this study are based on, where their ledger is lost and nothing has changed since."""
    mine = [experiment for experiment in repository.experiments() if experiment.belongs_to(study.name)]
    for baseline in dict.fromkeys(experiment.baseline for experiment in reversed(mine)):
        if repository.exists(baseline):
            with contextlib.suppress(StudyError):
                if _facts(study, repository, baseline, resolve(repository, study, baseline)) == here:
                    return baseline
    return None
