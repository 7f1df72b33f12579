"""Objects of a DVC remote, each read and hashed.

DVC takes an object's presence for its soundness: `dvc push` skips what has the right name, and a directory whose list
(the `.dir` object) is there is taken to be complete. So a truncated upload or a failing disk is found only by reading.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dvc.config import ConfigError
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.repo import Repo

from sharing.errors import SharingError

if TYPE_CHECKING:
    from dvc.data_cloud import HashFileDB
    from dvc.output import Output

OBJECT = re.compile(r"[0-9a-f]{32}(\.dir)?")  # whatever else lies there is no object, such as a file half-written
CHUNK = 1 << 20
DIRECTORY = ".dir"


@dataclass(frozen=True)
class Fault:
    """An object that is not there as it should be.

    Attributes
    ----------
    kind : str
        "damaged", or "missing".
    oid : str
        Its hash, which is its name in the remote.
    name : str
        The output that it is, or the file in one; empty where no branch, tag or experiment of this clone has it.
    """

    kind: str
    oid: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}  {self.name or '(of no branch, tag or experiment here)'}  {self.oid}"


@dataclass(frozen=True)
class Findings:
    """How many objects were read, their size in bytes, and what is the matter."""

    count: int
    size: int
    faults: list[Fault]


class Remote:
    """A remote of a repository.

    Parameters
    ----------
    folder : str
        Anywhere in the repository.
    name : str or None
        The remote's name; None is the default one.
    """

    def __init__(self, folder: str, name: str | None):
        try:
            self.repository = Repo(folder)
            self.remote = self.repository.cloud.get_remote(name)
        except NotDvcRepoError as error:
            raise SharingError(f"{folder} lies in no DVC repository") from error
        except (ConfigError, DvcException) as error:
            raise SharingError(f"{' '.join(str(error).split())}: `dvc remote list` names what there is") from error
        self.name = self.remote.name
        if self.remote.fs.version_aware or self.remote.worktree:
            raise SharingError(f"remote {self.name} keeps versions instead of objects, which check cannot read")
        if not self.remote.fs.CAN_TRAVERSE:
            raise SharingError(f"remote {self.name} cannot list its objects ({self.remote.fs.protocol})")

    def check(self) -> Findings:
        """Read every object there, and look for every one that the checked out commit refers to."""
        with self._reading():
            return self._check()

    def repair(self, fault: Fault) -> bool:
        """Upload an object again from this clone's cache; whether the remote has it now.

        It replaces what is there. Nothing is removed, so that a repair cut off leaves nothing worse than it was. The
        list of a directory waits for all its files, or `dvc push` from the clone that has them would skip them.
        """
        path = self.cache.oid_to_path(fault.oid)
        digest = fault.oid.removesuffix(DIRECTORY)
        if not self.cache.exists(fault.oid) or _md5(self.cache, fault.oid)[0] != digest:
            return False
        with self._reading():
            if not all(self.objects.exists(member) for member in self._files(fault.oid)):
                return False
            self.objects.add(path, self.cache.fs, fault.oid, check_exists=False, verify=False)
            return _md5(self.objects, fault.oid)[0] == digest

    @property
    def objects(self) -> "HashFileDB":
        """What the remote holds."""
        return self.remote.odb

    @property
    def cache(self) -> "HashFileDB":
        """What this clone's cache holds."""
        return self.repository.cache.local

    def _files(self, oid: str) -> dict[str, str]:
        return _members(self.cache, oid) if oid.endswith(DIRECTORY) else {}

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each kind of server has exceptions of its own
            reason = " ".join(str(error).split()) or type(error).__name__
            if "is not owned by current user" in reason:
                reason += ": clone it into a folder of yours, or git config --global --add safe.directory FOLDER"
            raise SharingError(f"remote {self.name} cannot be used: {reason}") from error

    def _check(self) -> Findings:
        there, size, damaged = self._there(), 0, set()
        for oid in sorted(there):
            digest, length = _md5(self.objects, oid)
            size += length
            if digest != oid.removesuffix(DIRECTORY):
                damaged.add(oid)
        wanted = self._outputs()
        names = self._names() | wanted
        for oid in sorted(oid for oid in there | wanted.keys() if oid.endswith(DIRECTORY)):
            members = _members(self.objects if oid in there - damaged else self.cache, oid)
            wanted |= {member: f"{names.get(oid, oid)}/{name}" for member, name in members.items()}
        names = wanted | names
        faults = [Fault("damaged", oid, names.get(oid, "")) for oid in damaged]
        faults += [Fault("missing", oid, names.get(oid, "")) for oid in wanted.keys() - there]
        return Findings(len(there), size, sorted(faults, key=_order))

    def _there(self) -> set[str]:
        filesystem = self.remote.fs
        if filesystem.exists(self.objects.path):
            return {oid for oid in self.objects.all() if OBJECT.fullmatch(oid)}
        with suppress(FileNotFoundError):
            filesystem.ls(self.remote.path)  # raises what is wrong where there is more to it than an empty remote
        return set()

    def _outputs(self) -> dict[str, str]:
        """Names of the outputs of the checked out commit that DVC pushes to this remote, by hash.

        What is imported from another repository stays there, and an output may have a remote of its own.
        """
        outs = (out for out in self.repository.index.outs if out.use_cache and out.can_push and out.hash_info)
        own = (out for out in outs if out.remote in (None, self.name) and not self._imported(out))
        return {out.hash_info.value: str(out) for out in own if OBJECT.fullmatch(out.hash_info.value)}

    @staticmethod
    def _imported(out: "Output") -> bool:
        return out.stage.is_repo_import or out.stage.is_db_import

    def _names(self) -> dict[str, str]:
        """Names of the outputs of all branches, tags and experiments, by hash."""
        names: dict[str, str] = {}
        for _ in self.repository.brancher(all_branches=True, all_tags=True, all_experiments=True):
            with suppress(DvcException):  # a branch that DVC cannot read gives no names
                names |= self._outputs()
        return names


def _order(fault: Fault) -> tuple[bool, str, str, str]:
    """By kind and name, lists of directories after all files."""
    return fault.oid.endswith(DIRECTORY), fault.kind, fault.name, fault.oid


def _md5(objects: "HashFileDB", oid: str) -> tuple[str, int]:
    """MD5 of an object as it is, read piece by piece, and its length in bytes."""
    digest, length = hashlib.md5(usedforsecurity=False), 0
    with objects.fs.open(objects.oid_to_path(oid), "rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
            length += len(piece)
    return digest.hexdigest(), length


def _members(objects: "HashFileDB", oid: str) -> dict[str, str]:
    """Names of the files of a directory, by hash; none where its list cannot be had."""
    try:
        with objects.fs.open(objects.oid_to_path(oid), "rb") as file:
            return {entry["md5"]: entry["relpath"] for entry in json.load(file)}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
