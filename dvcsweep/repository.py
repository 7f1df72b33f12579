"""The edge to Git and DVC: commits, files and experiments of a repository, read without touching its work tree."""

import contextlib
import io
import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import psutil

from dvcsweep.errors import StudyError
from dvcsweep.naming import belongs, has_label, short
from dvcsweep.settings import parse

EXPERIMENTS = "refs/exps"
# For pushes to a folder: Git's clean-up, which one may set off, would be killed half-way with the worker that pushed.
RECEIVE = "--receive-pack=git -c receive.autogc=false receive-pack"
LONGEST_GC = 3600.0  # seconds


def git(
    folder: Path, *arguments: str, check: bool = True, stdin: str | None = None, seconds: float | None = None
) -> str:
    """Standard output of a Git command, stripped at its end; StudyError with Git's own words where it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            input=stdin,
            check=False,
            timeout=seconds,
            # No optional locks: `git status` would take the index's, which the user's own Git would then find held,
            # and, if this one is killed, held for ever.
            env=os.environ | {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise StudyError(f"git {arguments[0]}: not done within {seconds:g} s") from error
    if check and done.returncode:
        raise StudyError(f"git {arguments[0]}: {done.stderr.strip() or f'gave {done.returncode}'}")
    return done.stdout.rstrip("\n")


def environment() -> dict[str, str]:
    """The environment with this Python first on the path: stages say `python`, and mean this one."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path}


@dataclass(frozen=True)
class Experiment:
    """A DVC experiment: its name, its commit, and the commit it is based on."""

    name: str
    commit: str
    baseline: str

    @property
    def ref(self) -> str:
        """Full name of the reference that keeps it."""
        return reference(self.baseline, self.name)

    def belongs_to(self, study: str) -> bool:
        """Whether a study gives such a name."""
        return belongs(self.name, self.baseline, study)


def reference(baseline: str, name: str) -> str:
    """Where DVC keeps the experiment of a name that is based on a commit."""
    return f"{EXPERIMENTS}/{baseline[:2]}/{baseline[2:]}/{name}"


@dataclass(frozen=True)
class Repository:
    """A Git repository with DVC in it.

    Attributes
    ----------
    root : Path
        Top of the work tree.
    """

    root: Path

    @classmethod
    def around(cls, folder: Path) -> "Repository":
        """The repository that a folder lies in."""
        try:
            top = git(folder, "rev-parse", "--show-toplevel")
        except StudyError as error:
            if "dubious ownership" in str(error):  # a search clones the .git folder, which Git asks for by itself
                raise StudyError(
                    f"{folder} is another user's, so Git does not trust it: clone the repository into a folder of "
                    "yours, or name its top and the .git folder in it to Git, each with: "
                    "git config --global --add safe.directory FOLDER"
                ) from error
            raise StudyError(f"{folder} lies in no Git repository, but a search needs one") from error
        except FileNotFoundError as error:
            raise StudyError("git is not installed") from error
        return cls(Path(top))

    @cached_property
    def head(self) -> str:
        """The commit checked out when first asked."""
        found = git(self.root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}", check=False)
        if not found:
            raise StudyError("nothing is committed yet, but every trial is based on a commit")
        return found

    def exists(self, commit: str) -> bool:
        """Whether a commit is here."""
        return bool(git(self.root, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}", check=False))

    def dirty(self, ignored: Iterable[str] = (), untracked: bool = True) -> list[str]:
        """Tracked files that differ from HEAD, and untracked ones; those in the ignored folders left out."""
        files = f"--untracked-files={'normal' if untracked else 'no'}"
        lines = git(self.root, "status", "--porcelain", "--no-renames", files, "-z").split("\0")
        names = [line[3:] for line in lines if line]
        return [name for name in names if not any(name == one or name.startswith(f"{one}/") for one in ignored)]

    def tracks(self, path: Path) -> bool:
        """Whether Git has a file, or anything in a folder, in its index."""
        return bool(git(self.root, "ls-files", "--", str(path.resolve()), check=False))

    def untracked(self) -> set[str]:
        """Files that Git neither has nor ignores; folders of which that is so stand as one."""
        lines = git(self.root, "ls-files", "--others", "--exclude-standard", "--directory", "-z").split("\0")
        return {line for line in lines if line}

    def read(self, commit: str, path: str) -> str | None:
        """Text of a file at a commit; None where there is none."""
        done = subprocess.run(
            ["git", "-C", str(self.root), "show", f"{commit}:{path}"],
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
        return None if done.returncode else done.stdout

    def content(self, commit: str, path: str) -> dict[str, Any]:
        """A YAML, JSON or TOML file at a commit, from Git, or from DVC's cache where DVC tracks it.

        Raises
        ------
        StudyError
            If there is no such file, or it cannot be read.
        """
        return parse(path, self.text(commit, path))

    def text(self, commit: str, path: str) -> str:
        """Text of a file at a commit, from Git, or from DVC's cache where DVC tracks it; StudyError without one."""
        text = self.read(commit, path)
        return self._cached(commit, path) if text is None else text

    def _cached(self, commit: str, path: str) -> str:
        from dvc.exceptions import DvcException

        try:
            with warnings.catch_warnings(), contextlib.closing(self.project(commit, path)) as project:
                warnings.simplefilter("ignore", DeprecationWarning)  # of what DVC uses in turn
                inside = PurePosixPath(f"/{path}").relative_to(project.root_dir)
                with project.dvcfs.open(str(inside), "r", encoding="utf-8") as file:
                    return file.read()
        except (DvcException, StudyError, OSError) as error:
            raise StudyError(f"{path}: not in commit {short(commit)}, neither in Git nor in DVC's cache") from error

    def project(self, commit: str, path: str, changed: Mapping[str, str] | None = None) -> Any:
        """DVC's repository that a path belongs to, at a commit; with other texts of some files, by path."""
        from dvc.fs import GitFileSystem
        from dvc.repo import Repo
        from dvc.scm import SCM

        replaced = changed or {}

        class Replaced(GitFileSystem):
            """The commit's files, some in other words."""

            def open(self, path: str, mode: str = "r", **options: Any) -> Any:
                text = replaced.get(os.path.normpath(f"/{path}").lstrip("/"))
                if text is not None:
                    return io.BytesIO(text.encode()) if "b" in mode else io.StringIO(text)
                return super().open(path, mode=mode, **options)

        scm = SCM(str(self.root))
        folder = dvc_folder(self.root, path).parent.relative_to(self.root).as_posix()
        return Repo(f"/{'' if folder == '.' else folder}", fs=Replaced(scm=scm, rev=commit), scm=scm)

    def experiments(self) -> list[Experiment]:
        """All experiments here, oldest first."""
        lines = git(
            self.root, "for-each-ref", "--sort=committerdate", "--format=%(refname) %(objectname)", EXPERIMENTS
        ).splitlines()
        return parse_references(line.split(" ") for line in lines)

    def unlock(self, baseline: str, label: str) -> None:
        """Remove locks on experiments' references that a killed Git left; the caller alone pushes those names."""
        for lock in (self._common / EXPERIMENTS / baseline[:2] / baseline[2:]).glob(f"{label}-*.lock"):
            if has_label(lock.name, label):
                lock.unlink(missing_ok=True)

    def unlock_reference(self, ref: str) -> None:
        """Remove the lock on one reference that a killed Git left; the caller alone writes it."""
        (self._common / f"{ref}.lock").unlink(missing_ok=True)

    @cached_property
    def _common(self) -> Path:
        return Path(self.root, git(self.root, "rev-parse", "--git-common-dir"))

    def whole(self, commits: Iterable[str], baseline: str) -> bool:
        """Whether all that commits hold beyond their baseline is here."""
        wanted = "".join(f"{commit}\n" for commit in [*commits, f"^{baseline}"])
        try:
            git(self.root, "rev-list", "--objects", "--quiet", "--stdin", stdin=wanted)
        except StudyError:
            return False
        return True

    def drop_broken(self, baseline: str, label: str) -> None:
        """Remove experiments of which Git's clean-up took a part, because it ran while they came."""
        place = f"{EXPERIMENTS}/{baseline[:2]}/{baseline[2:]}"
        lines = git(self.root, "for-each-ref", "--format=%(refname) %(objectname)", place).splitlines()
        mine = [one for one in parse_references(line.split(" ") for line in lines) if has_label(one.name, label)]
        if not self.whole((one.commit for one in mine), baseline):
            self.remove(one for one in mine if not self.whole([one.commit], baseline))

    def await_gc(self) -> None:
        """Wait for the end of a `git gc` that runs here: it drops objects that came after it looked for references."""
        end = time.monotonic() + LONGEST_GC
        while time.monotonic() < end and _lives(self._common / "gc.pid"):
            time.sleep(0.05)

    def remove(self, experiments: Iterable[Experiment]) -> None:
        """Remove experiments by their references; their commits go at Git's next clean-up."""
        git(self.root, "update-ref", "--stdin", stdin="".join(f"delete {one.ref}\n" for one in experiments))

    def objects(self, commit: str, paths: Iterable[str]) -> dict[str, str]:
        """Names of Git's objects, files and folders, at a commit; a path in a submodule has the submodule's commit."""
        wanted = sorted({path for path in paths if "\n" not in path})
        asked = "".join(f"{commit}:{path}\n" for path in wanted)
        answers = git(self.root, "cat-file", "--batch-check=%(objectname)", stdin=asked).splitlines()
        found = {path: name for path, name in zip(wanted, answers, strict=True) if " " not in name}
        modules = self.submodules(commit) if len(found) < len(wanted) else {}
        for path in wanted:
            for place, name in modules.items():
                if path == place or path.startswith(f"{place}/"):
                    found[path] = name
        return found

    def submodules(self, commit: str) -> dict[str, str]:
        """Commits of the submodules at a commit, by path."""
        if self.read(commit, ".gitmodules") is None:
            return {}
        lines = git(self.root, "ls-tree", "-r", "-z", "--full-tree", commit).split("\0")
        entries = (line.partition("\t") for line in lines if line.startswith("160000"))
        return {path: entry.split()[2] for entry, _, path in entries}

    def cache(self, pipeline: str) -> Path:
        """DVC's cache, as `dvc cache dir` says."""
        from dvc.config import Config

        folder = dvc_folder(self.root, pipeline)
        return Path(Config(str(folder))["cache"].get("dir") or folder / "cache")


def _lives(file: Path) -> bool:
    """Whether the Git process lives that a file names, and its host; one that was killed leaves the file behind."""
    try:
        process, host = file.read_text(encoding="utf-8").split()
        return host == socket.gethostname() and psutil.Process(int(process)).name().startswith("git")
    except (OSError, ValueError, psutil.Error):
        return False


def parse_references(pairs: Iterable[Sequence[str]]) -> list[Experiment]:
    """Experiments among references, given by name and commit; DVC keeps others in the same place."""
    found = []
    for ref, commit in pairs:
        parts = ref.split("/")
        if len(parts) == 5 and parts[2] not in ("exec", "celery"):
            found.append(Experiment(parts[4], commit, parts[2] + parts[3]))
    return found


def dvc_folder(root: Path, pipeline: str) -> Path:
    """The `.dvc` folder that a pipeline in a work tree belongs to: the nearest one upwards."""
    for folder in [root / parent for parent in Path(pipeline).parents]:
        if (folder / ".dvc").is_dir():
            return folder / ".dvc"
    raise StudyError(f"{root} is no DVC repository: run `dvc init`")
