"""A worker's clone: made with DVC's cache shared, and brought to a commit and parameters for each job."""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dvcsweep.files import copy, write_whole
from dvcsweep.repository import Repository, dvc_folder, git
from dvcsweep.running.handover import LONGEST_TRANSFER, Exchange, as_attempt, mirror, persist
from dvcsweep.running.job import Job, Runner, reason
from dvcsweep.running.processes import end_marked
from dvcsweep.settings import write_settings

PATIENCE = 5.0  # seconds in which to try again what the user's own work in the repository may spoil
CLONED = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "gc.auto": "0",
    "advice.detachedHead": "false",
    "submodule.recurse": "false",
}


def prepare(job: Job, dvc: Runner) -> None:
    """Bring the clone to the baseline and write the parameters; where nothing is shared, get the data first."""
    clone = Path(job.clone)
    Path(job.log).parent.mkdir(parents=True, exist_ok=True)
    if job.exchange:
        mirror(Path(job.root), job.exchange, job.baseline)
    if not (clone / ".git").exists():
        persist(as_attempt(lambda: _make_clone(job)), PATIENCE)
        if job.exchange:  # what the remote lacks, stages make again
            persist(transfer(job, dvc, "pull", "--allow-missing"), job.exchange.patience)
    git(clone, "reset", "--quiet", "--hard", job.baseline)
    if not job.exchange:
        _check_out_submodules(clone, Path(job.root))
    kept = (*(f"/{path}" for path in job.outputs), "/.dvc", "**/.dvc", "__pycache__")
    git(clone, "clean", "--quiet", "--force", "--force", "-d", "-x", *(f"--exclude={path}" for path in kept))
    for path in job.copies:
        copy(Path(job.copied, path), clone / path)
    if job.composed:
        write_whole(clone / job.params, job.composed)
    write_settings(clone / job.params, job.settings)


def _check_out_submodules(clone: Path, source: Path) -> None:
    """Bring submodules to their commits, from the user's own copies; what is not checked out there stays empty."""
    for path, commit in Repository(clone).submodules("HEAD").items():
        theirs, mine = source / path, clone / path
        if (theirs / ".git").exists():
            if not (mine / ".git").exists():
                _clone(theirs, mine)
            git(mine, "update-ref", "--no-deref", "HEAD", commit)
            git(mine, "reset", "--quiet", "--hard", commit)
            git(mine, "clean", "--quiet", "--force", "--force", "-d", "-x")
            _check_out_submodules(mine, theirs)


def transfer(job: Job, dvc: Runner, *command: str) -> Callable[[], str | None]:
    """A transfer to or from the DVC remote; what DVC says goes to a file beside the log."""
    aside = replace(job, log=f"{job.log}.{command[0]}", seconds=LONGEST_TRANSFER)

    def attempt() -> str | None:
        status = dvc(aside, [*command, "--quiet", "--remote", job.exchange.remote])
        return f"dvc {command[0]}: {reason(aside, status)}" if status else None

    return attempt


def _make_clone(job: Job) -> None:
    clone, root = Path(job.clone), Path(job.root)
    shutil.rmtree(clone, ignore_errors=True)
    clone.parent.mkdir(parents=True, exist_ok=True)
    making = clone.with_name(f"{clone.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    _clone(root, making)
    identity = git(root, "var", "GIT_COMMITTER_IDENT", check=False)
    who = re.match(r"(.*) <(.*)> ", identity)
    git(making, "config", "user.name", who[1] if who and who[1] else "sweeps")
    git(making, "config", "user.email", who[2] if who and who[2] else "sweeps@localhost")
    git(making, "update-ref", "--no-deref", "HEAD", job.baseline)
    git(making, "reset", "--quiet", "--hard", job.baseline)
    place = dvc_folder(making, job.pipeline)
    mine = Path(job.exchange.config) if job.exchange else root / place.relative_to(making) / "config.local"
    if mine.is_file():
        shutil.copy(mine, place / "config.local")
    configure(place, job.cache, job.exchange)
    making.rename(clone)


def _clone(source: Path, target: Path) -> None:
    """Clone without a work tree; hard links where they can be, and none of the user's settings that would reach in."""
    Repository(source).await_gc()
    settings = [part for name, value in CLONED.items() for part in ("--config", f"{name}={value}")]
    options = ("--quiet", "--no-checkout", "--no-tags", "--template=", "--origin", "origin", *settings)
    git(source, "-c", "clone.rejectShallow=false", "clone", *options, str(source), str(target))
    common = Path(source, git(source, "rev-parse", "--git-common-dir"))
    if (common / "lfs").is_dir():  # Git LFS finds there what no remote of a clone has
        git(target, "config", "lfs.storage", str(common / "lfs"))


def configure(folder: Path, cache: str, exchange: Exchange | None, scm: bool = True) -> None:
    """Local settings of the `.dvc` folder: the cache, the remote, and whether it lies in a Git repository."""
    from dvc.config import Config

    with Config(str(folder), validate=False).edit("local", validate=False) as settings:
        settings.setdefault("cache", {})["dir"] = cache
        settings.setdefault("hydra", {})["enabled"] = "false"  # the parameters are composed already
        if exchange:
            settings.setdefault("core", {})["remote"] = exchange.remote
            settings.setdefault("remote", {}).setdefault(exchange.remote, {}).update(exchange.settings)
        if not scm:
            settings.setdefault("core", {})["no_scm"] = "true"


def remove(clone: Path) -> None:
    """Remove a clone whatever state it is in, and end what still runs there."""
    end_marked(clone, spare=os.getpid())
    shutil.rmtree(clone, ignore_errors=True)
