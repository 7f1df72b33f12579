"""Fixtures of the tests of remotes: a repository whose study has run, a bulky one, servers. A plugin of pytest's."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import servers
from clones import SECRETS, Clone
from conftest import ROOT, Workspace, quiet_environment
from filelock import FileLock

STUDY = """\
objective: metrics/train/metrics.json:validation.loss
strategy: grid
jobs: 1
fixed: {train.epochs: 1, evaluate.detail: scores}
space:
  model.hidden_size: [5, 6]
"""


@pytest.fixture(scope="session")
def original(
    make_workspace: Callable[[str], Workspace], tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Clone:
    """The pipeline, run at small size, and a study of two trials, run by somebody who has secrets; all committed.

    Made once, for all of the test run's processes; nobody writes to it.
    """
    base = tmp_path_factory.getbasetemp()
    note = (base if worker_id == "master" else base.parent) / "original.json"
    with FileLock(note.with_suffix(".lock")):
        if not note.exists():
            made = _original(make_workspace("made here"))
            note.write_text(json.dumps([str(made.path), made.environment]))
    path, environment = json.loads(note.read_text())
    return Clone(Path(path), environment)


def _original(made: Workspace) -> Clone:
    clone = Clone(made.path, made.environment)
    (clone.path / "studies").mkdir()
    (clone.path / "studies" / "pair.yaml").write_text(STUDY)
    (clone.path / ".dvc" / "config.local").write_text(
        "['remote \"elsewhere\"']\n    url = webdav://127.0.0.1:9/store\n    user = ada\n"
        f"    password = {SECRETS['webdav']}\n"
    )
    clone.dvc("repro")
    clone.commit("built")
    secret = {"AWS_SECRET_ACCESS_KEY": SECRETS["AWS_SECRET_ACCESS_KEY"], "PYTHONPATH": str(ROOT)}
    clone.run("python", "-m", "dvcsweep", "run", "studies/pair.yaml", **secret)
    clone.commit("study")
    return clone


def _with_files(folder: Path, count: int, size: int) -> Clone:
    """A repository with nothing but random files in one directory."""
    home = folder / "home"
    home.mkdir()
    clone = Clone(folder / "made here", quiet_environment(home))
    (clone.path / "recordings").mkdir(parents=True)
    for number in range(count):
        (clone.path / "recordings" / f"{number}.bin").write_bytes(os.urandom(size))
    clone.run("git", "init", "--quiet", "--initial-branch", "main")
    clone.dvc("init", "--quiet")
    shutil.copy(ROOT / ".dvc" / "config", clone.path / ".dvc" / "config")
    clone.dvc("add", "--quiet", "recordings")
    clone.commit("recordings")
    return clone


@pytest.fixture(scope="session")
def bulk(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A repository of thirty files of a megabyte, so that a push takes a while."""
    return _with_files(tmp_path_factory.mktemp("bulk"), 30, 1_000_000)


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A repository of three small files."""
    return _with_files(tmp_path_factory.mktemp("few"), 3, 10_000)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], servers.Server]]:
    """Starter of servers by kind; what was started is killed at the end."""
    started = []

    def starter(kind: str) -> servers.Server:
        folder = tmp_path / f"{kind} server"
        folder.mkdir()
        server = servers.SERVERS[kind](folder)
        started.append(server)
        server.start()
        return server

    yield starter
    for server in started:
        server.stop()
