"""Back to the last commit: parameters, dvc.lock and all outputs, from DVC's cache, or made again where it lacks them.

Whatever a run was stopped by, this is the one way back. What it leaves alone: code, studies, documents, experiments.
"""

import itertools
import os
import shutil
from pathlib import Path

import psutil

from workspace import verdict
from workspace.repository import LOCK, WorkspaceError, dvc, git, last_commit, outputs

PARAMS = "params.yaml"
FOLDERS = ("data", "models", "metrics", "plots")
LOCKS = Path(".dvc/tmp")  # DVC's own, of runs


def run() -> int:
    """Go back, saying what is dropped; 0 if the outputs are the committed bits then."""
    commit, lock = last_commit()
    end_left_stages()
    restore(outputs(lock))
    if replaced := verdict.unlike_lock():
        print(f"Replaces: {', '.join(replaced)}", flush=True)
        dvc("checkout", "--force", "--quiet")  # says nothing that is not seen next
        if verdict.unlike_lock():
            make_again(commit)
    return verdict.run()


def end_left_stages() -> None:
    """End stages whose DVC was killed without them; refuse where one is at work."""
    here = Path.cwd()
    for process in psutil.process_iter():
        try:
            words, place = process.cmdline(), process.cwd()
            parents = [parent.cmdline() for parent in process.parents()]
        except (psutil.Error, OSError):
            continue
        if Path(place or "/") != here or process.pid == os.getpid():
            continue
        alive = is_dvc(words) or (is_stage(words) and any(map(is_dvc, parents)))
        if alive:
            raise WorkspaceError(f"DVC is at work here (process {process.pid}): let it end, or stop it, then again")
        if is_stage(words):
            print(f"Ended: {' '.join(words[1:4])} (process {process.pid}), which its killed DVC had left running.")
            process.kill()
            process.wait(10)


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
        print(f"Drops: changes in {', '.join(changed)}", flush=True)
        if kept := git("stash", "create", check=False):
            print(f"Git keeps them for a while: git stash apply {kept[:12]}")
    git("restore", "--source=HEAD", "--staged", "--worktree", "--", *paths)
    folders = [path for path, md5 in outs.items() if md5.endswith(".dir") and Path(path).is_dir()]
    if folders:  # what another run wrote beside the committed files
        git("clean", "--force", "-d", "--quiet", "--", *folders)
    for folder in FOLDERS:
        for left in Path(folder).rglob(".*.partial"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    for name in ("rwlock", "rwlock.lock"):
        (LOCKS / name).unlink(missing_ok=True)


def make_again(commit: str) -> None:
    """Run what the cache lacks the outputs of."""
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "stages", "tonesift", "dvc.yaml").splitlines()
    if changed:
        raise WorkspaceError(
            f"the cache lacks outputs of {commit}, and they cannot be made again by changed code: commit or stash "
            f"{', '.join(line[3:] for line in changed)}, then again"
        )
    print("DVC's cache lacks some of them: they are made again.", flush=True)
    if dvc("repro", quiet=False).returncode:
        raise WorkspaceError("they could not be made again: see above")
