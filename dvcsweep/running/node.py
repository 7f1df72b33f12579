"""What runs on a node of a cluster: a job, and before the first one the question whether the node can work at all.

Each process of Ray's that is given a job starts one local worker, as a search on one machine does, in a folder that no
other process ever uses. A guard outside Ray's family of processes ends it with all it has started, and removes the
folder, once Ray's process is gone, however it went.
"""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil

from dvcsweep.errors import StudyError
from dvcsweep.repository import environment, git
from dvcsweep.running.clones import configure
from dvcsweep.running.handover import Exchange, mirror
from dvcsweep.running.job import Job
from dvcsweep.running.pool import PACKAGE, Pool, clean_up

GPUS = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ONEAPI_DEVICE_SELECTOR")  # where Ray says which to use
LONGEST_LOG = 200_000
TELL = 2.0  # seconds between messages about a curve
PROBE = b"a node of a cluster can write here\n"  # an object by which a node shows that it can
# Not a child of Ray's process, or Ray would end it too.
GUARD = """
import os, sys
if os.fork():
    os._exit(0)
os.setsid()
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from dvcsweep.running.pool import clean_up
sys.stdin.buffer.read()
clean_up(Path(sys.argv[2]))
"""


def _folder(exchange: Exchange) -> Path:
    """Where a node keeps what belongs to one repository."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "sweeps" / hashlib.sha256(exchange.git.encode()).hexdigest()[:12]


class CurveBoard:
    """Where nodes write how far their jobs have come, and the driver which are to stop: an actor of Ray's."""

    def __init__(self) -> None:
        self._curves: dict[str, list[float]] = {}
        self._stop: set[str] = set()

    def tell(self, name: str, curve: list[float] | None) -> bool:
        """A job's curve, where it has grown; the answer is whether the job is to stop."""
        if curve is not None:
            self._curves[name] = curve
        return name in self._stop

    def take(self) -> dict[str, list[float]]:
        """Curves that have grown."""
        curves, self._curves = self._curves, {}
        return curves

    def stop(self, name: str) -> None:
        """A job is to stop."""
        self._stop.add(name)


def work(content: dict[str, Any], board: Any) -> tuple[dict[str, Any], str]:
    """Run a job on this node: its outcome, and what DVC said."""
    import ray

    job = Job.of(content)
    folder = _folder(job.exchange)
    pool = _pool(folder)
    log = pool.folder / "logs" / f"{job.name}.log"
    variables = {"DVC_SITE_CACHE_DIR": str(pool.folder / "site")}  # or DVC would keep a folder for every clone
    variables |= {name: os.environ[name] for name in GPUS if name in os.environ}
    pool.submit(
        replace(job, root=str(folder / "repository"), cache=str(folder / "cache"), log=str(log), variables=variables)
    )
    while not (outcomes := pool.wait(TELL if job.watched else 60)):
        if job.watched and ray.get(board.tell.remote(job.name, pool.news().get(job.name))):
            pool.stop(job.name)
    node = f"{ray.util.get_node_ip_address()} ({ray.get_runtime_context().get_node_id()[:6]})"
    text = log.read_text(encoding="utf-8", errors="replace")[-LONGEST_LOG:] if log.exists() else ""
    shutil.rmtree(log.parent, ignore_errors=True)
    return asdict(replace(outcomes[0], node=node)), text


_pools: dict[Path, tuple[Pool, subprocess.Popen[bytes]]] = {}


def _pool(folder: Path) -> Pool:
    """The one worker of this process."""
    if folder not in _pools:
        host = socket.gethostname()
        for old in (folder / "clones").glob(f"{host}-*"):  # of a machine that was switched off, its guards with it
            name, process, _ = old.name.rsplit("-", 2)
            if name == host and not psutil.pid_exists(int(process)):
                clean_up(old)
        mine = folder / "clones" / f"{host}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        guard = subprocess.Popen(
            [sys.executable, "-c", GUARD, str(PACKAGE), str(mine)], stdin=subprocess.PIPE, env=environment()
        )
        guard.wait()  # its child stays
        _pools[folder] = Pool(mine, 1), guard  # whose pipe closes with this process
    return _pools[folder][0]


def check(exchange: Exchange, baseline: str, config: str) -> str:
    """Why this node cannot do the work; empty if it can."""
    try:
        import dvc.repo

        folder = _folder(exchange)
        mirror(folder / "repository", replace(exchange, patience=0.0), baseline)
        with tempfile.TemporaryDirectory() as name:
            place = Path(name, ".dvc")
            place.mkdir()
            if exchange.config and Path(exchange.config).is_file():
                shutil.copy(exchange.config, place / "config.local")
            committed = git(folder / "repository", "show", f"{baseline}:{config}")
            (place / "config").write_text(committed + "\n", encoding="utf-8")
            configure(place, str(folder / "cache"), exchange, scm=False)
            odb = dvc.repo.Repo(name).cloud.get_remote_odb(exchange.remote)
            oid = hashlib.md5(PROBE, usedforsecurity=False).hexdigest()
            odb.add_bytes(oid, PROBE)  # whether or not it is there: to look is not to write
    except StudyError as error:
        return str(error)
    except Exception as error:  # whatever a kind of remote raises
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        return f"it cannot write to DVC remote {exchange.remote} ({told}): has it credentials of its own?"
    return ""
