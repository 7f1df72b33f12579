"""The edge to Git and DVC: what the last commit holds, and commands."""

import hashlib
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

LOCK = "dvc.lock"


class WorkspaceError(Exception):
    """Something that the user can mend; its text is the whole message."""


def git(*arguments: str, check: bool = True) -> str:
    """Standard output of a Git command, or Git's own words as an error."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise WorkspaceError("git is not installed") from error
    if check and done.returncode:
        raise WorkspaceError(f"git {arguments[0]}: {' '.join(done.stderr.split()) or f'gave {done.returncode}'}")
    return done.stdout.rstrip("\n")


def dvc(*arguments: str, quiet: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a DVC command; what it says is kept where it is to be quiet."""
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=quiet, text=True, check=False)


def committed(path: str) -> str | None:
    """Text of a file at the last commit; None where there is none."""
    done = subprocess.run(["git", "show", f"HEAD:./{path}"], capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout


def stages(text: str | None) -> dict[str, Any]:
    """Stages of a dvc.lock by name; none where there is no readable one."""
    try:
        found = YAML(typ="safe", pure=True).load(text or "")["stages"]
        outputs(found)
    except (YAMLError, AttributeError, KeyError, TypeError, ValueError):
        return {}
    return found


def outputs(lock: dict[str, Any]) -> dict[str, str]:
    """MD5 of every output in a lock, by its path."""
    return {out["path"]: out["md5"] for stage in lock.values() for out in stage.get("outs", [])}


def md5(path: Path) -> str | None:
    """MD5 as dvc.lock has it: of a file, or of the list of a folder's files; None where there is nothing."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if not path.is_dir():
        return None
    files = sorted(file for file in path.rglob("*") if file.is_file())
    entries = [{"md5": md5(file), "relpath": file.relative_to(path).as_posix()} for file in files]
    listed = json.dumps(sorted(entries, key=lambda entry: entry["relpath"]), sort_keys=True)
    return hashlib.md5(listed.encode(), usedforsecurity=False).hexdigest() + ".dir"


def uncached() -> bool:
    """Whether DVC's cache lacks an output as the workspace's lock has it."""
    done = dvc("status", "--json")
    if done.returncode:
        raise WorkspaceError(f"dvc status: {' '.join(done.stderr.split())}")
    found = [
        part.get("changed outs", {})
        for parts in json.loads(done.stdout).values()
        for part in parts
        if isinstance(part, dict)
    ]
    return any("not in cache" in outs.values() for outs in found)


def head() -> str:
    """Short name of the last commit.

    Raises
    ------
    WorkspaceError
        Where there is no repository or no commit, Git does not trust it, or this is not the folder it belongs to.
    """
    if not Path("dvc.yaml").is_file():
        raise WorkspaceError("there is no dvc.yaml here: run from the top of the repository")
    try:
        return git("rev-parse", "--short", "HEAD")
    except WorkspaceError as error:
        if "dubious ownership" in str(error):
            here = shlex.quote(str(Path.cwd()))
            raise WorkspaceError(
                "this folder is another user's, so Git does not trust it: clone it into one of yours, or "
                f"git config --global --add safe.directory {here}"
            ) from error
        raise WorkspaceError(
            "DVC needs a Git repository with a commit, and there is none here (a zip has none): clone it, or "
            "git init && git add --all && git commit -m start"
        ) from error


def last_commit(path: str = LOCK) -> tuple[str, dict[str, Any]]:
    """Short name of the last commit, and the stages of its dvc.lock, or of another pipeline's.

    Raises
    ------
    WorkspaceError
        Where there is no lock, or `head` finds no commit.
    """
    commit = head()
    lock = stages(committed(path))
    if not lock:
        raise WorkspaceError(f"commit {commit} holds no readable {path}, so no outputs to compare with")
    return commit, lock
