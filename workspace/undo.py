"""Back to the last commit: parameters, dvc.lock and all outputs, from DVC's cache or remote, or made again.

Whatever a run was stopped by, this is the way back. It leaves alone code, studies, documents and experiments. What it
takes away is named first, and kept: changes of tracked files in Git's store, everything else in `.dvc/tmp/undone`.
"""

import itertools
import os
import re
import shutil
from pathlib import Path

import psutil

from workspace import verdict
from workspace.repository import LOCK, WorkspaceError, dvc, git, last_commit, outputs, uncached

PARAMS = "params.yaml"
FOLDERS = ("data", "models", "metrics", "plots")
CODE = ("stages", "tonesift", "dvc.yaml")
LOCKS, UNDONE = Path(".dvc/tmp"), Path(".dvc/tmp/undone")


def run() -> int:
    """Go back, saying what is dropped; 0 if the outputs are the committed bits then."""
    commit, lock = last_commit()
    end_left_stages()
    outs = outputs(lock)
    restore(outs)
    if replaced := verdict.unlike(outs):
        print(f"Replaces: {', '.join(replaced)}", flush=True)
        put_aside(replaced)
        dvc("checkout", "--force", "--quiet")  # what it cannot, is seen next
        if verdict.unlike(outs) and not dvc("fetch", "--quiet").returncode:
            dvc("checkout", "--force", "--quiet")
        if verdict.unlike(outs):
            make_again(commit)
    if uncached() and not verdict.unlike(outs):
        dvc("commit", "--force", "--quiet")
        git("restore", "--source=HEAD", "--", LOCK)
    return verdict.run()


def end_left_stages() -> None:
    """End stages whose DVC was killed without them; refuse where anything else is at work here."""
    left = []
    for process in psutil.process_iter():
        try:
            words, place = process.cmdline(), process.cwd()
            if Path(place or "/") != Path.cwd() or process.pid == os.getpid() or not (is_dvc(words) or is_stage(words)):
                continue
            orphan = "DVC_STAGE" in process.environ() and not any(is_dvc(each.cmdline()) for each in process.parents())
        except (psutil.Error, OSError):
            continue
        if is_dvc(words) or not orphan:
            what = "DVC" if is_dvc(words) else " ".join(words[1:4])
            raise WorkspaceError(f"{what} is at work here (process {process.pid}): let it end, or stop it, then again")
        left.append((process, " ".join(words[1:4])))
    for process, words in left:
        print(f"Ends {words} (process {process.pid}), which its killed DVC had left running.", flush=True)
        try:
            process.kill()
            process.wait(10)
        except psutil.NoSuchProcess:
            continue
        except psutil.TimeoutExpired as error:
            raise WorkspaceError(f"process {process.pid} does not end: end it, then again") from error


def is_stage(words: list[str]) -> bool:
    """Whether a command line is a stage's."""
    return any(one == "-m" and other.startswith("stages.") for one, other in itertools.pairwise(words))


def is_dvc(words: list[str]) -> bool:
    """Whether a command line is that of DVC at work on the workspace; workers of its queue have places of their own."""
    named = any(Path(word).name == "dvc" for word in words[:3])
    return named and not {"queue", "queue-worker"} & set(words)


def restore(outs: dict[str, str]) -> None:
    """Bring what Git tracks back, and remove what was half-written."""
    paths = [path for path in (PARAMS, LOCK, *FOLDERS) if git("ls-tree", "HEAD", "--", path, check=False)]
    changed = [line[3:] for line in git("status", "--porcelain", "--untracked-files=no", "--", *paths).splitlines()]
    if changed:
        names = ", ".join(changed)
        kept = git("-c", "user.name=undo", "-c", "user.email=undo@localhost", "stash", "create", check=False)
        if not re.fullmatch(r"[0-9a-f]{40,}", kept):
            raise WorkspaceError(f"Git cannot keep the changes in {names}: commit or restore them, then again")
        print(f"Drops: changes in {counted(changed)}")
        print(f"Git keeps them for a while: git stash apply {kept[:12]}", flush=True)
    git("restore", "--source=HEAD", "--staged", "--worktree", "--", *paths)
    for folder in [path for path, md5 in outs.items() if md5.endswith(".dir") and Path(path).is_dir()]:
        added = git("ls-files", "--others", "--exclude-standard", "--", folder).splitlines()
        if added:  # what another run wrote beside the committed files, or a person
            print(f"Removes: {', '.join(added)}", flush=True)
            put_aside(added)
    for folder in FOLDERS:
        for left in Path(folder).rglob(".*.partial"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    for name in ("rwlock", "rwlock.lock"):
        (LOCKS / name).unlink(missing_ok=True)


def counted(paths: list[str]) -> str:
    """Paths in words, those of a folder as their number where they are many."""
    found = []
    for top, group in itertools.groupby(sorted(paths), key=lambda path: path.partition("/")[0]):
        several = list(group)
        found += several if len(several) < 4 else [f"{len(several)} files of {top}/"]
    return ", ".join(found)


def put_aside(paths: list[str]) -> None:
    """Move what is there out of the way, into a folder that Git and DVC ignore; what lay there before is replaced."""
    there = [path for path in paths if os.path.lexists(path)]
    for path in there:
        target = UNDONE / path
        if target.is_dir():
            shutil.rmtree(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
    if there:
        print(f"Kept until the next time in {UNDONE}", flush=True)


def make_again(commit: str) -> None:
    """Run what neither the cache nor the remote has the outputs of."""
    changed = [line[3:] for line in git("status", "--porcelain", "--", *CODE).splitlines()]
    if changed:
        raise WorkspaceError(
            f"DVC's cache lacks outputs of {commit}, and they cannot be made again by changed code: commit or stash "
            f"{', '.join(changed)}, then again"
        )
    print("DVC's cache lacks some of them: they are made again.", flush=True)
    if dvc("repro", quiet=False).returncode:
        raise WorkspaceError("they could not be made again: see above")
