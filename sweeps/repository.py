"""The edge to Git and DVC: commits, files and experiments of a repository, read without touching its work tree."""

import csv
import io
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.resolver import implicit_resolvers

from sweeps.errors import StudyError
from sweeps.files import write_whole
from sweeps.studies import flatten, unreadable

SHORT = 7
EXPERIMENTS = "refs/exps"
# For pushes to a folder: Git's clean-up, which one may set off, would be killed half-way with the worker that pushed.
RECEIVE = "--receive-pack=git -c receive.autogc=false receive-pack"


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
            env=os.environ | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
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
        text = self.read(commit, path)
        if text is None:
            text = self._cached(commit, path)
        return parse(path, text)

    def _cached(self, commit: str, path: str) -> str:
        import dvc.api
        from dvc.exceptions import DvcException

        try:
            return dvc.api.read(path, repo=str(self.root), rev=commit)
        except (DvcException, OSError) as error:
            raise StudyError(f"{path}: not in commit {commit[:SHORT]}, neither in Git nor in DVC's cache") from error

    def experiments(self) -> list[Experiment]:
        """All experiments here, oldest first."""
        lines = git(
            self.root, "for-each-ref", "--sort=committerdate", "--format=%(refname) %(objectname)", EXPERIMENTS
        ).splitlines()
        return parse_references(line.split(" ") for line in lines)

    def unlock(self, baseline: str, label: str) -> None:
        """Remove locks on experiments' references that a killed Git left; the caller alone pushes those names."""
        common = Path(self.root, git(self.root, "rev-parse", "--git-common-dir"))
        for lock in (common / EXPERIMENTS / baseline[:2] / baseline[2:]).glob(f"{label}-*.lock"):
            if re.match(rf"{re.escape(label)}-\d{{3,}}-", lock.name):  # not of a study whose name goes on
                lock.unlink(missing_ok=True)

    def remove(self, experiments: Iterable[Experiment]) -> None:
        """Remove experiments by their references; their commits go at Git's next clean-up."""
        git(self.root, "update-ref", "--stdin", stdin="".join(f"delete {one.ref}\n" for one in experiments))

    def stages(self, commit: str, pipeline: str) -> dict[str, dict[str, Any]]:
        """Stages of a dvc.yaml at a commit, by name; those made by foreach and matrix count as one."""
        content = self.content(commit, pipeline).get("stages") or {}
        return {name: stage.get("do", stage) for name, stage in content.items() if isinstance(stage, dict)}

    def code(self, commit: str, pipeline: str, params: str) -> dict[str, str]:
        """What decides the outcome of a pipeline beside its parameters: object names of Git by path.

        They are dvc.yaml and every dependency that a stage of it declares, if it is in Git or its `.dvc` file is. The
        parameters file counts by its values, which a study sets itself.
        """
        folder = Path(pipeline).parent
        wanted = {pipeline}
        for stage in self.stages(commit, pipeline).values():
            place = folder / (stage.get("wdir") or ".")
            others = [name for entry in stage.get("params") or [] if isinstance(entry, dict) for name in entry]
            for dep in [*(stage.get("deps") or []), *others]:
                name = next(iter(dep)) if isinstance(dep, dict) else dep
                path = os.path.normpath(place / name)
                if not path.startswith(("/", "..")):
                    wanted |= {path, *(f"{one}.dvc" for one in (path, *Path(path).parents[:-1]))}
        listed = git(self.root, "ls-tree", "-r", "-z", commit, "--", *sorted(wanted - {params})).split("\0")
        return {path: entry.split()[2] for entry, _, path in (line.partition("\t") for line in listed if line)}

    def cache(self, pipeline: str) -> Path:
        """DVC's cache, as `dvc cache dir` says."""
        from dvc.config import Config

        folder = dvc_folder(self.root, pipeline)
        return Path(Config(str(folder))["cache"].get("dir") or folder / "cache")


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


def parse(path: str, text: str) -> dict[str, Any]:
    """A mapping from the text of a YAML, JSON or TOML file, told by its name."""
    try:
        if path.endswith(".json"):
            content = json.loads(text)
        elif path.endswith(".toml"):
            content = tomllib.loads(text)
        else:
            content = YAML(typ="safe", pure=True).load(text)
    except (ValueError, YAMLError) as error:
        raise StudyError(f"{path}: not readable: {unreadable(error)}") from error
    if not isinstance(content, dict):
        raise StudyError(f"{path}: must hold a mapping of names to values")
    return content


def write_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Set values, by keys with dots, in a YAML, JSON or TOML file, whole or not at all; comments and order stay.

    Floats and text are written so that readers of YAML 1.1 see the same: PyYAML takes 1e-05 for text, `no` for false.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        content = json.loads(text)
        _update(content, settings)
        written = json.dumps(content, indent=2) + "\n"
    elif path.suffix == ".toml":
        import tomlkit

        content = tomlkit.parse(text)
        _update(content, settings)
        written = tomlkit.dumps(content)
    else:
        yaml, stream = round_trip(), io.StringIO()
        content = yaml.load(text)
        _update(content, settings)
        yaml.dump(content, stream)
        written = stream.getvalue()
    write_whole(path, written)


def round_trip() -> YAML:
    """Reader and writer of YAML that keeps comments, and writes floats and text as YAML 1.1 reads them too."""
    yaml = YAML()
    yaml.width = 4096
    yaml.preserve_quotes = True
    yaml.Representer = type("Representer", (yaml.Representer,), {})
    yaml.Representer.add_representer(float, _represent_float)
    yaml.Representer.add_representer(str, _represent_text)
    yaml.Representer.add_representer(type(None), lambda it, _: it.represent_scalar("tag:yaml.org,2002:null", "null"))
    return yaml


def _represent_float(representer: Any, value: float) -> Any:
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e", 1)
    special = {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}
    return representer.represent_scalar("tag:yaml.org,2002:float", special.get(text, text))


def _represent_text(representer: Any, value: str) -> Any:
    other = any((1, 1) in versions and pattern.match(value) for versions, _, pattern, _ in implicit_resolvers)
    style = "|" if "\n" in value else '"' if other else None
    return representer.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _update(content: dict[str, Any], settings: Mapping[str, Any]) -> None:
    present = flatten(content)
    for key, value in settings.items():
        if key in present and present[key] == value and isinstance(present[key], bool) == isinstance(value, bool):
            continue
        *parents, last = key.split(".")
        place = content
        for parent in parents:
            place = place.get(parent)
            if not isinstance(place, dict):
                raise StudyError(f"{key}: cannot be set, since its path has names that are no text, or hold dots")
        place[last] = _styled(value, place.get(last))


def _styled(value: Any, old: Any) -> Any:
    """A list in brackets where the old one was."""
    if not isinstance(value, list) or not isinstance(old, CommentedSeq) or not old.fa.flow_style():
        return value
    found = CommentedSeq(value)
    found.fa.set_flow_style()
    return found


def number(content: Mapping[str, Any], file: str, key: str) -> float:
    """A finite number from a metrics file's content.

    Raises
    ------
    StudyError
        If it is missing or not a number that can be compared.
    """
    figures = flatten(content)
    if key not in figures:
        near = [name for name in figures if name.endswith(key.rpartition(".")[2])] or list(figures)
        raise StudyError(f"{file} has no {key}; it has {', '.join(near[:8]) or 'nothing'}")
    value = figures[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise StudyError(f"{file}: {key} is {value!r}, but an objective must be a number")
    if value != value or value in (float("inf"), float("-inf")):
        raise StudyError(f"{file}: {key} is {value}, which cannot be compared")
    return float(value)


def curve(path: str, text: str) -> tuple[list[float], list[float]]:
    """Column step, or else the rows' numbers, and the last column of a table of tab- or comma-separated values."""
    rows = list(csv.DictReader(io.StringIO(text), delimiter="\t" if path.endswith(".tsv") else ","))
    if any(None in row for row in rows):
        raise StudyError(f"{path}: not a table of numbers")
    names = list(rows[0]) if rows else []
    value = next((name for name in reversed(names) if name not in ("step", "timestamp")), None)
    try:
        steps = [float(row.get("step", index)) for index, row in enumerate(rows)]
        return steps, [float(row[value]) for row in rows] if value else []
    except (TypeError, ValueError) as error:
        raise StudyError(f"{path}: not a table of numbers") from error
