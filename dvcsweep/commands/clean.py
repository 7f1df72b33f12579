"""Remove what a study has left in a clone: experiments, ledger, logs, workers."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from dvcsweep import naming
from dvcsweep.errors import StudyError
from dvcsweep.naming import short
from dvcsweep.plan.studies import Study
from dvcsweep.record.campaigns import driver_of, folder
from dvcsweep.repository import EXPERIMENTS, Experiment, Repository, git, parse_references
from dvcsweep.running.pool import clean_up

AT_ONCE = 1000  # references to remove by one push, whose command line has a limit
# A search has a lock file for each experiment, and ruamel.yaml takes 18 times as long to read one.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def clean(study: Study, repository: Repository, dry: bool = False, git_remote: str | None = None) -> str:
    """Remove a study's experiments, its confirmation's among them, and its live ledger; its committed results stay.

    Parameters
    ----------
    study : Study
        Whose.
    repository : Repository
        Where.
    dry : bool
        Only say what would be removed.
    git_remote : str, optional
        Name or URL of a Git remote to remove the experiments from as well.

    Returns
    -------
    str
        What was removed, and what DVC's cache still holds of it.
    """
    names = naming.family(study.name)
    places = [folder(repository, study.model_copy(update={"name": name})) for name in names]
    for place in places:
        busy = driver_of(place)
        if busy:
            raise StudyError(f"study {place.name} is being run ({busy}): stop it first")
    everything = repository.experiments()
    mine = [one for one in everything if any(one.belongs_to(name) for name in names)]
    others = [one.commit for one in everything if one not in mine]
    tips = git(repository.root, "for-each-ref", "--format=%(objectname)", "refs/heads", "refs/remotes", "refs/tags")
    lock = str(Path(study.pipeline).parent / "dvc.lock")
    kept, unreadable = _objects(repository, [*others, *tips.splitlines(), repository.head], lock)
    store = repository.cache(study.pipeline) / "files" / "md5"
    left = {
        md5: size
        for md5, size in _objects(repository, [one.commit for one in mine], lock)[0].items()
        if md5 not in kept and (store / md5[:2] / md5[2:]).exists()
    }
    there = _elsewhere(study, repository, git_remote) if git_remote else []
    if not dry:
        for first in range(0, len(there), AT_ONCE):
            some = (f":{one.ref}" for one in there[first : first + AT_ONCE])
            git(repository.root, "push", "--quiet", "--no-verify", git_remote, *some)
        repository.remove(mine)
        for place in places:
            clean_up(place / "workers")
            shutil.rmtree(place, ignore_errors=True)
    removed, keeps = ("would remove", "would keep") if dry else ("removed", "keeps")
    remote = f"{removed} {len(there)} experiments at {git_remote}\n" if git_remote else ""
    note = (
        f"{lock} cannot be read at {', '.join(unreadable)}, so what it names there is not counted\n"
        if unreadable
        else ""
    )
    return (
        f"{note}{remote}{removed} {len(mine)} experiments of study {study.name}, its ledger and its logs\n"
        f"DVC's cache {keeps} {len(left)} objects of them, {sum(left.values()) / 1e6:.1f} MB, "
        "that no branch, tag or other experiment refers to.\nTo drop what nothing refers to, this and any other: "
        "dvc gc --workspace --all-branches --all-tags --all-experiments"
    )


def _elsewhere(study: Study, repository: Repository, git_remote: str) -> list[Experiment]:
    """A study's experiments at a Git remote."""
    found = parse_references(
        line.split("\t")[::-1]
        for line in git(repository.root, "ls-remote", git_remote, f"{EXPERIMENTS}/*").splitlines()
    )
    return [one for one in found if any(one.belongs_to(name) for name in naming.family(study.name))]


def _objects(repository: Repository, commits: Iterable[str], lock: str) -> tuple[dict[str, int], list[str]]:
    """Hash and size in bytes of every output that commits' lock files name; and commits whose lock cannot be read."""
    found, unreadable = {}, []
    for commit in dict.fromkeys(commits):
        text = repository.read(commit, lock)
        try:
            found |= _outputs(yaml.load(text, LOADER) if text else {})  # noqa: S506 (a safe loader)
        except (yaml.YAMLError, AttributeError, TypeError, ValueError, RecursionError):
            unreadable.append(short(commit))
    return found, unreadable


def _outputs(content: dict[str, Any]) -> dict[str, int]:
    stages = (content.get("stages") or {}).values()
    outs = [out for stage in stages for out in stage.get("outs") or []]
    return {str(out["md5"]): int(out.get("size", 0)) for out in outs if "md5" in out}
