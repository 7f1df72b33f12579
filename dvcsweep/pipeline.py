"""DVC's own view of a pipeline at a commit: its stages with templates, foreach, matrix and several files resolved.

Nothing is checked out: DVC reads the commit's files as they lie in Git. What is asked for once is kept.
"""

import contextlib
import hashlib
import json
import os
import re
import tarfile
import tempfile
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from dvcsweep.errors import StudyError
from dvcsweep.naming import short
from dvcsweep.repository import Repository, git
from dvcsweep.settings import flatten, parse, updated

EXPRESSION = re.compile(r"\$\{\s*([^}\s]+)\s*\}")
# Names that DVC leaves out of the key of its run-cache, wherever they stand: it means the sizes of files.
UNKEYED = {"size", "nfiles"}


@dataclass(frozen=True)
class Stage:
    """A stage as DVC resolves it; all paths are relative to the top of the repository.

    Attributes
    ----------
    name : str
        As DVC says it where the pipeline is run, such as `train`, `train@0` or `../data/dvc.yaml:prepare`.
    file : str
        The dvc.yaml or .dvc file that it is from.
    deps, outs, metrics, plots : tuple of str
        Paths; a dependency elsewhere is an absolute path or a URL. Metrics and plots are outputs too.
    params : dict of str to tuple of str
        Keys read, by parameters file; none of them: all.
    templated : dict of str to tuple of str
        Keys that its definition is made with, by parameters file.
    outside : bool
        Its outputs do not follow from what it depends on: frozen, always run, without dependencies, or imported.
    basis, recorded : str
        Digests of what dvc.lock says it was run on (command, dependencies, parameters), and of what it made; empty
        where dvc.lock does not know it.
    locked : dict
        Parameters in dvc.lock, by file.
    elsewhere : dict of str to str
        What dvc.lock says of the dependencies that have a URL.
    """

    name: str
    file: str
    deps: tuple[str, ...] = ()
    params: dict[str, tuple[str, ...]] = field(default_factory=dict)
    templated: dict[str, tuple[str, ...]] = field(default_factory=dict)
    outs: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    plots: tuple[str, ...] = ()
    outside: bool = False
    basis: str = ""
    recorded: str = ""
    locked: dict[str, dict[str, Any]] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        """Whether it is a stage of a dvc.yaml, and no .dvc file."""
        return not self.file.endswith(".dvc")

    @property
    def products(self) -> tuple[str, ...]:
        """Everything that it makes."""
        return (*self.outs, *self.metrics, *self.plots)

    def reads(self, file: str, keys: Iterable[str]) -> bool:
        """Whether it reads any of these keys of a parameters file."""
        if file in self.deps or any(_within(key, one) for key in keys for one in self.templated.get(file, ())):
            return True
        declared = self.params.get(file)
        if declared is None:
            return False
        return not declared or any(_within(key, one) for key in keys for one in declared)

    def hides(self, file: str, keys: Iterable[str]) -> list[str]:
        """Those of a parameters file's keys that it reads but that DVC's key for its run-cache lacks."""
        declared = self.params.get(file)
        if declared is None:
            return []
        return [
            key for key in keys for one in declared or ("",) if _within(key, one) and UNKEYED & set(_parts(key, one))
        ]

    def fits(self, file: str, settings: Mapping[str, Any]) -> bool:
        """Whether dvc.lock has it with these values of a parameters file."""
        return all(settings.get(key) == value for key, value in flatten(self.locked.get(file, {})).items())


def _within(key: str, section: str) -> bool:
    return section == "" or key == section or key.startswith(f"{section}.")


def _parts(key: str, section: str) -> list[str]:
    """What DVC's lock file has as names for a key that is tracked as part of a section."""
    return [section, *key[len(section) :].strip(".").split(".")]


def stages(
    repository: Repository, commit: str, pipeline: str, params: str, settings: Mapping[str, Any]
) -> tuple[Stage, ...]:
    """Stages of a dvc.yaml at a commit, and all that they depend on, in files of their own too.

    Parameters
    ----------
    repository, commit : Repository, str
        Where.
    pipeline, params : str
        dvc.yaml and the parameters file, relative to the top.
    settings : mapping
        Parameters by key with dots: templates take their values from these.

    Raises
    ------
    StudyError
        With DVC's own words, where it cannot resolve them.
    """
    committed = repository.read(commit, params)
    text = parameters(repository, commit, pipeline, params)
    flat = flatten(parse(params, text))
    changed = {key: value for key, value in settings.items() if key in flat and flat[key] != value}
    text = updated(params, text, changed) if changed else text
    if text == committed or not _expressions(repository, commit):
        return _resolved(repository, commit, pipeline, "", "")
    return _resolved(repository, commit, pipeline, params, text)


@lru_cache
def parameters(repository: Repository, commit: str, pipeline: str, params: str) -> str:
    """Text of the parameters file at a commit; where DVC has Hydra compose it, of what Hydra makes of its folder there.

    Raises
    ------
    StudyError
        If there is none, or Hydra cannot compose it.
    """
    text = repository.text(commit, params)
    with _explained(pipeline, commit), contextlib.closing(repository.project(commit, pipeline)) as project:
        folder, hydra = PurePosixPath(_path(project.root_dir)), project.config.get("hydra", {})
    if not hydra.get("enabled") or params != os.path.normpath(folder / "params.yaml"):
        return text
    if hydra.get("config_module"):
        raise StudyError(
            f"{params}: Hydra composes it from a module, which may not be the commit's: set hydra.config_dir"
        )
    return _composed(repository, commit, params, folder, hydra)


def _composed(repository: Repository, commit: str, params: str, folder: PurePosixPath, hydra: Mapping[str, Any]) -> str:
    from dvc.utils.hydra import compose_and_dump

    parts = [os.path.normpath(folder / hydra.get(*part)) for part in (("config_dir", "conf"), ("plugins_path", ""))]
    with tempfile.TemporaryDirectory() as name:
        packed = Path(name, "files.tar")
        there = [part for part in parts if part != str(folder) and repository.objects(commit, [part])]
        git(repository.root, "archive", f"--output={packed}", commit, "--", *there)
        with tarfile.open(packed) as archive:
            # Pythons before 3.11.4 know no filters; what is extracted is our own repository's.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(name)  # noqa: S202
        conf, plugins = (str(Path(name, part)) for part in parts)
        made = Path(name, "params.yaml")
        try:
            compose_and_dump(made, conf, None, hydra.get("config_name", "config"), plugins, [])
        except Exception as error:  # of Hydra's and OmegaConf's many
            reason = " ".join(str(error).split())
            raise StudyError(f"{params}: Hydra cannot compose it at commit {short(commit)}: {reason}") from error
        return made.read_text(encoding="utf-8")


def variants(
    repository: Repository,
    commit: str,
    pipeline: str,
    params: str,
    settings: Mapping[str, Any],
    varying: Mapping[str, Sequence[Any]],
) -> list[Stage]:
    """Stages under the settings, and under every value of a varied parameter that a template uses."""
    used = _expressions(repository, commit)
    points = [settings]
    for key, values in varying.items():
        if any(_within(key, name) for name in used):
            points += [{**settings, key: value} for value in values]
    found: list[Stage] = []
    for point in points:
        found += [one for one in stages(repository, commit, pipeline, params, point) if one not in found]
    return found


@lru_cache
def _expressions(repository: Repository, commit: str) -> frozenset[str]:
    """Names that the templates of any dvc.yaml at a commit use."""
    lines = git(repository.root, "grep", "-h", "-F", "${", commit, "--", ":(top,glob)**/dvc.yaml", check=False)
    return frozenset(name.partition("[")[0] for name in EXPRESSION.findall(lines))


@lru_cache
def _resolved(repository: Repository, commit: str, pipeline: str, params: str, text: str) -> tuple[Stage, ...]:
    """DVC's stages, with the text of a parameters file in place of the committed one."""
    changed = {params: text} if params else {}
    repository.content(commit, pipeline)  # says in our words if it is not there
    with _explained(pipeline, commit), contextlib.closing(repository.project(commit, pipeline, changed)) as project:
        index = project.index
        chosen = [one for one in index.stages if _path(one.path) == pipeline]
        for one in chosen:  # which grows by what each depends on
            needed = [] if one.frozen else index.graph.successors(one)
            chosen += [other for other in needed if other not in chosen]
        return tuple(_stage(one, repository.root, PurePosixPath(pipeline).parent) for one in chosen)


@contextlib.contextmanager
def _explained(pipeline: str, commit: str) -> Iterator[None]:
    from dvc.exceptions import DvcException

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of what DVC uses in turn
            yield
    except DvcException as error:
        reasons = "; ".join(str(one) for one in (error, error.__cause__) if one is not None and str(one))
        # DVC names files of a commit from the folder that one happens to be in.
        said = re.sub(r"(?<![\w/])(\.{1,2}/)+", "", " ".join(reasons.split()))
        raise StudyError(f"{pipeline} at commit {short(commit)}: DVC cannot resolve it: {said}") from error


def _path(path: str) -> str:
    return path.lstrip("/")


def _stage(stage: Any, root: Path, folder: PurePosixPath) -> Stage:
    from dvc.dependency import ParamsDependency

    def place(output: Any) -> str:
        """A path relative to the top; URLs, and what lies elsewhere, as they are."""
        if output.protocol != "local" or Path(output.def_path).is_absolute():
            return output.def_path
        path = os.path.normpath(PurePosixPath(_path(stage.wdir)) / output.def_path)
        return os.path.normpath(root / path) if path.startswith("..") else path

    file = _path(stage.path)
    runs = not file.endswith(".dvc")
    deps = [dep for dep in stage.deps if not isinstance(dep, ParamsDependency)]
    params = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
    templated = getattr(stage, "tracked_vars", {})
    made = sorted((place(out), str(out.hash_info.value)) for out in stage.outs if out.hash_info)
    where = "" if PurePosixPath(file).parent == folder else f"{os.path.relpath(file, folder)}:"
    return Stage(
        name=f"{where}{stage.name}" if runs else file,
        file=file,
        deps=tuple(place(dep) for dep in deps) if runs else (),
        params={place(dep): tuple(dep.params) for dep in params},
        templated={os.path.normpath(_path(path)): tuple(flatten(used)) for path, used in templated.items()},
        outs=tuple(place(out) for out in stage.outs if not out.metric and not out.plot),
        metrics=tuple(place(out) for out in stage.outs if out.metric),
        plots=tuple(place(out) for out in stage.outs if out.plot and not out.metric),
        outside=runs and bool(stage.frozen or stage.always_changed or not deps),
        basis=_digest([stage.cmd, [[place(dep), dep.hash_info.value] for dep in stage.deps]]) if made else "",
        recorded=_digest(made) if made else "",
        locked={place(dep): dep.hash_info.value for dep in params if isinstance(dep.hash_info.value, dict)},
        elsewhere={dep.def_path: _recorded(dep) for dep in deps if runs and dep.protocol != "local"},
    )


def _recorded(dep: Any) -> str:
    """What DVC has recorded of a dependency with a URL: a hash, or what its server says of it."""
    recorded = dep.meta.to_dict() if dep.meta else {}
    return str(dep.hash_info.value if dep.hash_info else recorded or "")


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, default=str, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Inputs:
    """What decides the outcome of a pipeline at a commit beside its parameters.

    Attributes
    ----------
    files : dict of str to str
        Every dependency that no stage makes, every file that defines a stage, by path: names of Git's objects; what
        dvc.lock says of a dependency with a URL.
    made : dict of str to (str, str)
        What dvc.lock says that stages have made which trials take from there, by stage: on what, and what. What they
        were made on is empty where that does not decide it.
    """

    files: dict[str, str]
    made: dict[str, tuple[str, str]]

    def changed(self, other: "Inputs") -> list[str]:
        """What differs, by name."""
        files = {path for path in {*self.files, *other.files} if self.files.get(path) != other.files.get(path)}
        made = set()
        for stage in {*self.made, *other.made}:
            (basis, one), (others_basis, another) = self.made.get(stage, ("", "")), other.made.get(stage, ("", ""))
            if one != another and basis == others_basis:  # else what it was made on has changed, and that is compared
                made.add(f"the data of stage {stage}")
        return sorted(files) + sorted(made)


def inputs(
    repository: Repository,
    commit: str,
    params: str,
    found: Sequence[Stage],
    settings: Mapping[str, Any],
    keys: Collection[str],
) -> Inputs:
    """What decides the outcome of stages beside the settings, where these keys are varied.

    The parameters file itself counts by its values.
    """
    made = [path for one in found for path in one.products]
    paths = {one.file for one in found}
    paths |= {dep for one in found for dep in one.deps if not any(overlap(dep, path) for path in made)}
    paths |= {file for one in found for file in (*one.params, *one.templated)}
    files = repository.objects(commit, {path for path in paths - {params} if not path.startswith("/")})
    files |= {url: known for one in found for url, known in one.elsewhere.items()}
    committed = flatten(parse(params, repository.text(commit, params)))
    moved = {key for key, value in settings.items() if committed.get(key) != value}
    apart = affected(found, params, {*keys, *moved})
    kept = {
        one.name: ("" if one.outside else one.basis, one.recorded)
        for one in found
        if one.runs and one.recorded and one.name not in apart and one.fits(params, settings)
    }
    return Inputs(files, kept)


def top_level_metrics(content: Mapping[str, Any], pipeline: str) -> list[str]:
    """Metrics files that a dvc.yaml names beside its stages."""
    folder = PurePosixPath(pipeline).parent
    return [os.path.normpath(folder / entry) for entry in content.get("metrics") or [] if isinstance(entry, str)]


def overlap(one: str, other: str) -> bool:
    """Whether two paths are the same, or one is a folder that the other lies in."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def affected(found: Sequence[Stage], file: str, keys: Collection[str]) -> set[str]:
    """Names of the stages that read any of the keys, or depend on one that does."""
    names = {one.name for one in found if one.reads(file, keys)}
    while more := {
        one.name
        for one in found
        if one.name not in names
        and any(
            overlap(dep, path) for other in found if other.name in names for path in other.products for dep in one.deps
        )
    }:
        names |= more
    return names
