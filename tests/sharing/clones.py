"""Clones of a repository, each with a user of its own, and what their tests compare."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

import yaml
from conftest import Workspace, checked, quiet_environment
from warm import Warm

from dvcsweep.running.processes import PRELOADED

FOLDER = "tonesift-store"
RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid.uuid4().hex)  # the same in all of the run's processes
SECRETS = {  # of a user of S3 and WebDAV while the study runs
    "AWS_SECRET_ACCESS_KEY": f"s3-{RUN}",
    "webdav": f"dav-{RUN}",
}
SHARING = Warm("sharing.__main__", "dvcsweep.__main__", *PRELOADED)


@dataclass
class Clone(Workspace):
    """A clone, with DVC, searches and the check of remotes at hand."""

    @property
    def home(self) -> Path:
        """Its user's home."""
        return Path(self.environment["HOME"])

    def dvc(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run DVC."""
        return self.run("dvc", *arguments, check=check)

    def project(self, module: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `python -m dvcsweep` or `python -m sharing`."""
        done = SHARING.run(f"{module}.__main__", *arguments, cwd=self.path, environment=self.environment)
        return checked(done) if check else done

    def use(self, settings: dict[str, str]) -> None:
        """Move the default remote, for this clone alone, by the file that `dvc remote add --local --default` writes."""
        lines = [f'    {name} = "{value}"\n' for name, value in settings.items()]
        content = "[core]\n    remote = store\n['remote \"store\"']\n" + "".join(lines)
        (self.path / ".dvc" / "config.local").write_text(content)

    def outputs(self) -> dict[str, str]:
        """Files of the outputs and their hashes, as dvc.lock and the lists of directories have them."""
        found = {}
        for stage in yaml.safe_load(self.read("dvc.lock"))["stages"].values():
            found |= {out["path"]: out["md5"] for out in stage["outs"] if not out["path"].startswith("metrics/")}
        return found

    def experiments(self) -> dict[str, int]:
        """Names of the experiments here, each with the network's size, as Git has them."""
        references = self.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
        names = {ref.rpartition("/")[2]: ref for ref in references if ref.split("/")[2] != "exec"}
        return {
            name: yaml.safe_load(self.run("git", "show", f"{ref}:params.yaml").stdout)["model"]["hidden_size"]
            for name, ref in names.items()
        }

    def output_of(self, experiment: str, path: str) -> str:
        """Hash of an output in an experiment."""
        pattern = f"refs/exps/**/{experiment}"
        (reference,) = self.run("git", "for-each-ref", "--format=%(refname)", pattern).stdout.split()
        stages = yaml.safe_load(self.run("git", "show", f"{reference}:dvc.lock").stdout)["stages"].values()
        return next(out["md5"] for stage in stages for out in stage["outs"] if out["path"] == path)

    def publish(self, bare: Path, url: str = "") -> Path:
        """Make a bare Git repository, the remote `origin`, and push the branch."""
        self.run("git", "init", "--quiet", "--bare", "--initial-branch", "main", str(bare))
        self.run("git", "remote", "add", "origin", url or str(bare))
        self.run("git", "push", "--quiet", "origin", "main")
        return bare

    def cached(self) -> dict[str, str]:
        """Hashes that the cache claims, and those of what is there."""
        folder = self.path / ".dvc" / "cache" / "files" / "md5"
        return {path.parent.name + path.name: md5(path.read_bytes()) for path in folder.glob("??/*")}

    def files(self) -> dict[str, str]:
        """Hash of every file of the work tree and of the cache, by its path from the top; not Git's, nor DVC's own."""
        paths = [path.relative_to(self.path) for path in self.path.rglob("*") if path.is_file()]
        left_out = {".git", "tmp", "__pycache__"}
        return {str(path): md5((self.path / path).read_bytes()) for path in paths if not left_out & set(path.parts)}

    def clone(self, source: str, path: Path) -> "Clone":
        """Another user's clone, with a home, a cache and indexes of its own."""
        home = path.parent / f"home of {path.name}"
        home.mkdir()
        clone = Clone(path, quiet_environment(home))
        self.run("git", "clone", "--quiet", source, str(path))
        return clone


def md5(content: bytes) -> str:
    """What DVC names an object by."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def whole(objects: dict[str, bytes]) -> bool:
    """Whether every object has the content its name stands for, and there are some."""
    return bool(objects) and all(md5(content) == oid.removesuffix(".dir") for oid, content in objects.items())


def members(content: bytes) -> dict[str, str]:
    """Files of a directory and their hashes, from its list."""
    return {entry["relpath"]: entry["md5"] for entry in json.loads(content)}


def copied(source: Clone, folder: Path) -> Clone:
    """A copy of a clone, cache and all, with a home of its own."""
    home = folder / "home"
    home.mkdir(parents=True)
    shutil.copytree(source.path, folder / "made here", symlinks=True)
    return Clone(folder / "made here", quiet_environment(home))


def failed(done: subprocess.CompletedProcess[str], words: str) -> str:
    """What a command said that failed as it should: in words, and without a traceback."""
    said = done.stdout + done.stderr
    assert done.returncode not in (0, None), said
    assert "Traceback" not in said, said
    assert re.search(words, said), said
    return said
