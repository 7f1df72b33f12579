"""A Ray cluster on loopback: a head and nodes of one CPU, each with a home and caches of its own.

python -m benchmarks.loopback 2      # start one with two nodes, say its address, stop it with Ctrl-C
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

HOST = "127.0.0.1"
# A node that does not answer is taken for dead after five seconds.
HEALTH = {"RAY_health_check_initial_delay_ms": "1000", "RAY_health_check_period_ms": "1000"}
COMMON = (
    "--block",
    "--disable-usage-stats",
    "--node-ip-address",
    HOST,
    "--object-store-memory",
    "80000000",
    "--include-log-monitor",
    "false",
)
PORTS = range(1024, 10000)  # those above are for Ray's workers
OWN = ("XDG_CACHE_HOME", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR")


class Node:
    """One `ray start`, and all that runs below it.

    Parameters
    ----------
    home : Path
        Folder to be made, its user's home.
    python : Path
        Of an environment with Ray, on a path without a space.
    arguments : str
        Of `ray start`.
    variables : dict of str to str, optional
        Environment, but for what is the node's own; that of this process by default.
    """

    def __init__(self, home: Path, python: Path, *arguments: str, variables: dict[str, str] | None = None) -> None:
        home.mkdir(parents=True)
        self.home, self.python, self.arguments = home, python, arguments
        own = dict(zip(OWN, (str(home / name) for name in (".cache", "dvc", "system", "site")), strict=True))
        own |= {"HOME": str(home), "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
        self.environment = {**(os.environ if variables is None else variables), **HEALTH, **own}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Node":
        """Start it, and wait until it belongs to the cluster."""
        log = self.home / "ray.log"
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [str(self.python), "-m", "ray.scripts.scripts", "start", *self.arguments, *COMMON],
                env=self.environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        end = time.monotonic() + 120
        while "Ray runtime started" not in (text := log.read_text(errors="replace")):
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"ray start {' '.join(self.arguments)}:\n{text}")
            time.sleep(0.05)
        return self

    def kill(self) -> None:
        """SIGKILL to everything of Ray's on it."""
        if self.process is None:
            return
        for process in _session(self.process.pid):
            process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def clones(self) -> list[Path]:
        """Folders that jobs of searches work in."""
        return [path for path in self.home.glob(".cache/sweeps/*/clones/*") if path.is_dir()]


def _session(leader: int) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader:
                yield process
        except (psutil.Error, ProcessLookupError):
            continue


class Nodes:
    """The cluster; its head runs no trials.

    Parameters
    ----------
    folder : Path
        Where the homes go.
    variables : dict of str to str, optional
        Environment of every node, but for what is its own; that of this process by default.
    """

    def __init__(self, folder: Path, variables: dict[str, str] | None = None) -> None:
        self.folder, self.variables = folder, variables
        self.short = Path(tempfile.mkdtemp(prefix="ray-"))  # the paths of sockets must be short
        # Ray's start-up breaks at a space in the environment's path, so nodes go by another name of it.
        (self.short / "env").symlink_to(sys.prefix)
        self.python = self.short / "env" / "bin" / "python"
        port, client = free_port(), free_port()
        self.address, self.client = f"{HOST}:{port}", f"ray://{HOST}:{client}"
        head = ("--head", "--port", str(port), "--ray-client-server-port", str(client), "--num-cpus", "0")
        head += ("--temp-dir", str(self.short), "--include-dashboard", "false")
        self.head = Node(folder / "head", self.python, *head, variables=variables)
        self.nodes: list[Node] = []

    def add(self, *arguments: str) -> Node:
        """One more node, to be started."""
        home = self.folder / f"node {len(self.nodes) + 1}"
        node = Node(
            home, self.python, "--address", self.address, "--num-cpus", "1", *arguments, variables=self.variables
        )
        self.nodes.append(node)
        return node

    def close(self) -> None:
        """Kill all of it."""
        for node in (*self.nodes, self.head):
            node.kill()
        shutil.rmtree(self.short, ignore_errors=True)


def free_port() -> int:
    """A port that nobody listens on, and that Ray does not keep for its workers."""
    for _ in range(1000):
        port = int.from_bytes(os.urandom(4)) % len(PORTS) + PORTS.start
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)):
                return port
    raise RuntimeError("no free port")


def main() -> None:
    """A cluster until Ctrl-C."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as name:
        nodes = Nodes(Path(name))
        try:
            nodes.head.start()
            for _ in range(count):
                nodes.add().start()
            print(
                f"python -m dvcsweep run STUDY --ray {nodes.address}      (or {nodes.client}); Ctrl-C stops it",
                flush=True,
            )
            signal.pause()
        except KeyboardInterrupt:
            print()
        finally:
            nodes.close()


if __name__ == "__main__":
    main()
