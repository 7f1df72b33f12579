"""Workers on a Ray cluster: the same jobs, on whichever node has room.

Ray decides where a job runs, by the CPUs and GPUs that the study asks for, and runs it again elsewhere if its node
dies. Beside a job's description and its outcome only this package's own code goes through Ray: nodes get the
pipeline's code through Git, its data through the DVC remote, and hand over what they make the same way
(`dvcsweep.running.node`, `dvcsweep.running.handover`).
"""

import contextlib
import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dvcsweep.errors import StudyError
from dvcsweep.naming import short
from dvcsweep.plan.studies import Study
from dvcsweep.record.trials import Outcome
from dvcsweep.repository import Repository, dvc_folder, git, parse_references, reference
from dvcsweep.running.handover import LONGEST_ANSWER, LONGEST_PAUSE, LONGEST_TRANSFER, Exchange, persist
from dvcsweep.running.job import Job
from dvcsweep.running.node import CurveBoard, check, work
from dvcsweep.running.pool import PACKAGE, Context
from dvcsweep.running.worker import ATTEMPTS

LOCAL = "local"
FETCH = ("fetch", "--quiet", "--no-tags", "--no-auto-gc")
ANSWER = 5.0  # seconds for a cluster's address to answer
CONNECTS = 5  # attempts to connect
PAUSE = 5.0  # seconds before another one
CHECK = 120.0  # seconds for nodes to say whether they can work
LOOK = 2.0  # seconds between looks at the nodes
GONE = 20.0  # seconds without an answer after which a cluster is taken for gone; Ray's own limit is 60
LAST_FETCH = 10.0  # seconds for fetching what could not be fetched before
# Settings of a DVC remote that a node may be told; everything else, secrets above all, it must have itself.
TOLD = ("url", "endpointurl", "region", "port", "user", "auth", "verify", "ssl_verify", "use_ssl", "timeout")


@dataclass(frozen=True)
class Address:
    """Which cluster, and which remotes.

    Attributes
    ----------
    ray : str
        Address of a cluster, `auto`, or `local` for one of its own on this machine.
    git_remote : str or None
        Name or URL of the Git remote; by default origin, or with `local` the repository itself.
    dvc_remote : str or None
        Name of the DVC remote; by default DVC's default.
    patience : float
        Minutes that a node goes on trying to reach a remote.
    """

    ray: str
    git_remote: str | None = None
    dvc_remote: str | None = None
    patience: float = 10.0

    def workers(self, context: Context) -> "Cluster":
        """Workers for a search."""
        return Cluster(self, context)


class Cluster:
    """Workers of a Ray cluster.

    Parameters
    ----------
    address : Address
        Which.
    context : Context
        Of the search whose jobs they are to run.

    Raises
    ------
    StudyError
        If there is no such cluster, or it cannot run them; nothing has been changed then.
    """

    def __init__(self, address: Address, context: Context) -> None:
        self.study, self.repository, self.display = context.study, context.repository, context.display
        self.baseline, self.label, self.place = context.baseline, context.label, context.place
        self.jobs = context.jobs
        _refuse_local_files(self.study, self.repository, self.baseline)
        self.remote = _git_remote(self.repository, address)
        self.exchange = _exchange(self.repository, self.study.pipeline, self.remote, address)
        self._look_at_git()
        self.ray = _connect(address.ray, self.jobs or self.study.jobs, self.study.threads)
        self.tasks: dict[Any, Job] = {}
        self.wanted: list[str] = []  # references that are still to be fetched
        self.fetch_again, self.asked = 0.0, 0.0
        self.looked, self.answered, self.nodes, self.room = 0.0, time.monotonic(), {}, 0
        try:
            self.head = _place(address.ray) or _place(self.ray.get_runtime_context().gcs_address)
            self._look_at_nodes()
            self._check_nodes()
        except BaseException:
            self.ray.shutdown()
            raise
        self.task = self.ray.remote(
            num_cpus=self.study.threads,
            num_gpus=self.study.gpus,
            max_retries=ATTEMPTS - 1,
            max_calls=0,  # a process stays for the next job, with a GPU too
            scheduling_strategy="SPREAD",
        )(work)
        self.board = self.ray.remote(CurveBoard).options(num_cpus=0).remote()
        nodes = f"{len(self.nodes)} node{'s' * (len(self.nodes) != 1)}"
        self.display.say(f"Ray: {nodes}, {self.count} trial{'s' * (self.count != 1)} at a time")

    # What the driver's side needs

    def _look_at_git(self) -> None:
        """Nodes must be able to get the baseline; what an earlier driver did not live to fetch is fetched."""
        root = self.repository.root
        try:
            listed = git(root, "ls-remote", self.remote, seconds=LONGEST_ANSWER).splitlines()
            self._fetch_earlier(listed)
        except StudyError as error:
            raise StudyError(f"the Git remote {self.remote} cannot be reached: {str(error).splitlines()[0]}") from error
        tips = {line.split("\t")[0] for line in listed if line.split("\t")[1].startswith(("refs/heads/", "refs/tags/"))}
        answers = git(root, "cat-file", "--batch-check", stdin="\n".join(sorted(tips))).splitlines()
        known = [answer.split()[0] for answer in answers if not answer.endswith("missing")]
        missing = git(
            root,
            "rev-list",
            "--max-count=1",
            "--stdin",
            stdin="\n".join([self.baseline, *(f"^{tip}" for tip in known)]),
        )
        if missing and len(known) == len(tips):
            raise StudyError(f"commit {short(self.baseline)} is not at {self.remote}, where nodes get it: git push")
        if not self._own and Path(self.exchange.git).is_dir():
            Repository(Path(self.exchange.git)).unlock(self.baseline, self.label)

    def _fetch_earlier(self, listed: Sequence[str]) -> None:
        """Bring this study's experiments that are at the Git remote and not here."""
        here = {experiment.name for experiment in self.repository.experiments()}
        found = parse_references(line.split("\t")[::-1] for line in listed)
        mine = [one for one in found if one.baseline == self.baseline and one.belongs_to(self.study.name)]
        if names := [one.name for one in mine if one.name not in here]:
            self._fetch_named(names, LONGEST_TRANSFER)

    @property
    def _own(self) -> bool:
        """Whether the Git remote is the very repository that the driver is in."""
        return self.exchange.git == str(self.repository.root)

    def _fetch_named(self, names: Sequence[str], seconds: float) -> None:
        """Bring experiments here; by standard input, since thousands of names are too long for a command line."""
        references = [reference(self.baseline, name) for name in names]
        specs = "\n".join(f"+{ref}:{ref}" for ref in references)
        git(self.repository.root, *FETCH, "--stdin", self.remote, stdin=specs, seconds=seconds)

    def _look_at_nodes(self) -> None:
        """What nodes there are, and how many jobs they hold together; a node that is gone is told."""
        self.looked = time.monotonic()
        if not _listens(*self.head):  # Ray would wait a minute, and then end this process
            if self.looked > self.answered + GONE:
                raise StudyError("the Ray cluster is gone: start it again, and the same command goes on")
            return
        self.answered = self.looked
        alive = {node["NodeID"]: node for node in self.ray.nodes() if node["Alive"] and node["Resources"].get("CPU")}
        for identity in set(self.nodes) - set(alive):
            self.display.say(f"node {_named(self.nodes[identity])} is gone; Ray runs its trials elsewhere")
        for identity in set(alive) - set(self.nodes) if self.nodes else ():
            self.display.say(f"node {_named(alive[identity])} has joined")
        self.nodes = alive
        self.room = sum(_room(node["Resources"], self.study.threads, self.study.gpus) for node in alive.values())

    def _check_nodes(self) -> None:
        """Ask every node whether it can do the work, before anything begins."""
        if not self.room:
            wanted = f"{self.study.threads} CPUs" + (f" and {self.study.gpus:g} GPUs" if self.study.gpus else "")
            self.display.say(f"no node of the cluster has {wanted} for a trial; waiting for one that has")
        strategy = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        config = dvc_folder(self.repository.root, self.study.pipeline).relative_to(self.repository.root) / "config"
        asked = {
            self.ray.remote(check)
            .options(num_cpus=0, max_retries=0, scheduling_strategy=strategy(key, soft=False))
            .remote(self.exchange, self.baseline, str(config)): key
            for key in self.nodes
        }
        ready, _ = self.ray.wait(list(asked), num_returns=len(asked), timeout=CHECK) if asked else ([], [])
        answers = {
            key: self._answer(task) if task in ready else ("it does not answer", False) for task, key in asked.items()
        }
        for key, (reason, _) in answers.items():
            if reason:
                self.display.say(f"node {_named(self.nodes[key])} cannot work: {reason}")
        if any(reason and certain for reason, certain in answers.values()):
            raise StudyError("mend the nodes named above, or take them out of the cluster; nothing has been run")

    def _answer(self, task: Any) -> tuple[str, bool]:
        """Why a node cannot work, and whether it said so itself; it may as well have died meanwhile."""
        try:
            return self.ray.get(task), True
        except self.ray.exceptions.RayTaskError as error:
            return str(error).strip().splitlines()[-1], True
        except self.ray.exceptions.RayError as error:
            return str(error).strip().splitlines()[0], False

    # Workers

    @property
    def count(self) -> int:
        """As many as asked for, or as the cluster holds."""
        return self.jobs or max(self.room, 1)

    @property
    def idle(self) -> int:
        """How many jobs more to hand to Ray."""
        return self.count - len(self.tasks)

    def submit(self, job: Job) -> None:
        """Hand a job to Ray."""
        job = replace(job, root="", clone="", cache="", log="", exchange=self.exchange)
        self.tasks[self.task.options(name=job.name).remote(asdict(job), self.board)] = job

    def wait(self, seconds: float) -> Sequence[Outcome]:
        """Outcomes of jobs that ended, after at most so long; their experiments are here by then, or later."""
        if time.monotonic() > self.looked + LOOK:
            self._look_at_nodes()
        try:
            ready, _ = self.ray.wait(list(self.tasks), num_returns=1, timeout=seconds)
            if ready:
                ready, _ = self.ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=0)
        except (self.ray.exceptions.RayError, ConnectionError) as error:
            raise StudyError(f"the Ray cluster does not answer ({error}): the same command goes on later") from error
        outcomes = [self._take(task, self.tasks.pop(task)) for task in ready]
        self.wanted += [outcome.name for outcome in outcomes if outcome.commit]
        if time.monotonic() >= self.fetch_again:
            self._fetch()
        return outcomes

    def news(self) -> dict[str, list[float]]:
        """Curves that nodes have told of; none while the cluster does not answer."""
        if time.monotonic() < self.asked + LOOK:
            return {}
        self.asked = time.monotonic()
        with contextlib.suppress(self.ray.exceptions.RayError, ConnectionError):
            return self.ray.get(self.board.take.remote(), timeout=ANSWER)
        return {}

    def stop(self, name: str) -> None:
        """Have a job's node stop it, when it looks next."""
        self.board.stop.remote(name)

    def _take(self, task: Any, job: Job) -> Outcome:
        try:
            outcome, log = self.ray.get(task)
        except self.ray.exceptions.RayTaskError as error:
            return Outcome(job.name, error=str(error).strip().splitlines()[-1])
        except self.ray.exceptions.RayError as error:
            told = str(error).strip().splitlines() or [type(error).__name__]
            return Outcome(job.name, error=f"{ATTEMPTS} times its node or worker died: {told[0]}")
        logs = self.place / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        (logs / f"{job.name}.log").write_text(log, encoding="utf-8")
        return Outcome.of(outcome)

    def _fetch(self) -> str | None:
        """Bring experiments here; those that cannot be had now are tried again with the next ones, and at the end."""
        if self._own or not self.wanted:
            self.wanted = []
            return None
        try:
            self._fetch_named(self.wanted, LONGEST_ANSWER)
        except StudyError as error:
            self.fetch_again = time.monotonic() + LONGEST_PAUSE
            return str(error)
        self.wanted = []
        return None

    def close(self) -> None:
        """Leave the cluster: Ray ends what still runs for this search; fetch what is still to be fetched."""
        self.ray.shutdown()
        try:
            persist(self._fetch, LAST_FETCH)
        except StudyError as error:
            self.display.say(
                f"{len(self.wanted)} experiments are at {self.remote} but could not be fetched ({error}); "
                "the same command fetches them"
            )


def _refuse_local_files(study: Study, repository: Repository, baseline: str) -> None:
    """What only this machine has does not reach a node through the two remotes."""
    if study.copies:
        raise StudyError(f"copy: {study.copies[0]} is on this machine alone, and nodes of a cluster do not get it")
    for path in repository.submodules(baseline):
        if (repository.root / path / ".git").exists():
            raise StudyError(f"submodule {path} is on this machine alone, and nodes of a cluster do not get it")


def _room(resources: dict[str, float], cpus: int, gpus: float) -> int:
    """How many jobs a node holds."""
    by_cpu = resources.get("CPU", 0) / cpus
    return int(min(by_cpu, resources.get("GPU", 0) / gpus) + 1e-9) if gpus else int(by_cpu)


def _named(node: dict[str, Any]) -> str:
    return f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})"


def _git_remote(repository: Repository, address: Address) -> str:
    """Name or URL of the Git remote, as Git takes it."""
    if address.git_remote:
        return address.git_remote
    names = git(repository.root, "remote").splitlines()
    if address.ray == LOCAL:
        return str(repository.root)
    if "origin" in names:
        return "origin"
    raise StudyError("nodes get the code from a Git remote, but there is no origin: name one with --git-remote")


def _exchange(repository: Repository, pipeline: str, remote: str, address: Address) -> Exchange:
    """What nodes are told of the two remotes."""
    names = git(repository.root, "remote").splitlines()
    url = git(repository.root, "remote", "get-url", remote) if remote in names else remote
    parts = urlsplit(url)
    if parts.password or (parts.username and parts.scheme.startswith("http")):  # a token is often given as the name
        raise StudyError(
            "the URL of the Git remote holds a password or token, which would go to every node: give one without by "
            "--git-remote, and nodes credentials of their own"
        )
    if "://" not in url and Path(repository.root, url).is_dir():
        url = str(Path(repository.root, url).resolve())
    name, settings = _dvc_remote(repository, pipeline, address.dvc_remote)
    identity = git(repository.root, "var", "GIT_COMMITTER_IDENT", check=False).rpartition(">")[0]
    who, _, mail = identity.partition(" <")
    author = (who or "sweeps", mail or "sweeps@localhost")
    own = dvc_folder(repository.root, pipeline) / "config.local" if address.ray == LOCAL else ""
    return Exchange(url, name, settings, author, address.patience * 60, str(own))


def _dvc_remote(repository: Repository, pipeline: str, name: str | None) -> tuple[str, dict[str, str]]:
    """Name of the DVC remote, and those of its settings that are no secrets."""
    from dvc.config import Config

    config = Config(str(dvc_folder(repository.root, pipeline)))
    name = name or config["core"].get("remote")
    if not name:
        raise StudyError("nodes get data from a DVC remote and hand results to it: dvc remote add --default NAME URL")
    if name not in config["remote"]:
        raise StudyError(f"there is no DVC remote {name}; there are: {', '.join(config['remote']) or 'none'}")
    settings = {key: str(value) for key, value in config["remote"][name].items() if key in TOLD}
    parts = urlsplit(settings["url"])
    if parts.password or (parts.username and parts.scheme.startswith("http")):
        raise StudyError(
            f"the URL of the DVC remote {name} holds a password, which would go to every node: "
            f"dvc remote modify --local {name} password ..., there and on the nodes"
        )
    return name, settings


def _connect(address: str, jobs: int, threads: int) -> Any:
    """Ray, connected; with this package on its nodes' paths."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_task_oom_retries", str(ATTEMPTS - 1))  # for ever otherwise
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise StudyError("--ray needs Ray, which is not installed: python -m pip install 'ray[client]'") from error
    if address == LOCAL and " " in ray.__file__:
        raise StudyError(
            f"Ray cannot start from a path with a space in it, as {sys.prefix} has: put the environment elsewhere"
        )
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    options: dict[str, Any] = {"address": address}
    if address == LOCAL:
        options |= {"num_cpus": jobs * threads, "include_dashboard": False}
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # or Ray would leave one in the user's home
    else:
        _answers(address)
    options |= {"runtime_env": {"py_modules": [str(PACKAGE / "dvcsweep")]}}
    for attempt in range(1, CONNECTS + 1):
        try:
            ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
            break
        except (ray.exceptions.RayError, ConnectionError, RuntimeError, OSError, ValueError) as error:
            # The head starts a process for every ray:// client, which on a busy machine may fail.
            if isinstance(error, ConnectionAbortedError) and attempt < CONNECTS:
                time.sleep(PAUSE)
                continue
            told = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            whole = told if len(told) == 1 else [told[0], told[-1]]
            raise StudyError(f"no Ray cluster at {address}: {' '.join(whole)}") from error
    return ray


def _place(address: str) -> tuple[str, int] | None:
    """Host and port of an address; None if it names none."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        return (parts.hostname, parts.port) if parts.hostname and parts.port else None
    except ValueError:
        return None


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=ANSWER).close()
    except OSError:
        return False
    return True


def _answers(address: str) -> None:
    """Whether anybody listens: Ray itself would go on trying for many minutes."""
    if address == "auto":
        return
    place = _place(address)
    if place is None:
        raise StudyError(
            f"--ray: got {address!r}, but a cluster's address is HOST:PORT, ray://HOST:PORT, auto or local"
        )
    if not _listens(*place):
        raise StudyError(f"nothing answers at {address}: ray start --head starts a cluster")
