"""Searches on a real Ray cluster on loopback: a head and two nodes, a Git remote, and a DVC remote that asks for a
password which only the nodes and the driver's own local settings know.
"""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import quiet_environment
from foreign import Foreign, build, copy, loss, wait_until
from ruamel.yaml import YAML
from servers import WebDav

from benchmarks.loopback import Node, Nodes

pytestmark = pytest.mark.cluster
WIDTHS = [2, 3, 4, 5, 6]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("webdav")
    server = WebDav(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, store):
    folder = tmp_path_factory.mktemp("nodes")
    quiet = quiet_environment(folder)
    nodes = Nodes(folder, {name: value for name, value in quiet.items() if not name.startswith("GIT_AUTHOR")})
    try:
        nodes.head.start()
        for arguments in ((), ("--num-gpus", "1")):
            let_in(nodes.add(*arguments), store).start()
        yield nodes
    finally:
        nodes.close()


def runs(node: Node) -> int:
    """How many times the foreign pipeline's stage has begun on a node."""
    path = node.home / "runs.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def let_in(node: Node, store: WebDav, **changes: str) -> Node:
    """Give a node credentials, as its owner would: in DVC's settings of that user; and let it write down its runs."""
    node.environment["RUNS"] = str(node.home / "runs.jsonl")
    folder = node.home / "dvc"
    folder.mkdir(exist_ok=True)
    told = {key: store.settings[key] for key in ("password",)} | changes
    lines = [f"    {key} = {value}" for key, value in told.items()]
    (folder / "config").write_text(
        "\n".join(["['remote \"store\"']", f"    url = {store.settings['url']}", *lines]) + "\n"
    )
    return node


@pytest.fixture(scope="module")
def template(tmp_path_factory, store):
    """A foreign repository with a Git remote and a DVC remote, everything pushed."""
    folder = tmp_path_factory.mktemp("foreign")
    foreign = build(folder / "a template", tmp_path_factory.mktemp("home"))
    url, user = store.settings["url"], store.settings["user"]
    foreign.run("dvc", "remote", "add", "--default", "store", url)
    foreign.run("dvc", "remote", "modify", "store", "user", user)
    foreign.run("dvc", "remote", "modify", "--local", "store", "password", store.secret)
    foreign.run("dvc", "push")
    foreign.commit("remote")
    return foreign


@pytest.fixture
def foreign(template, tmp_path):
    """A copy with a Git remote of its own."""
    made = copy(template, tmp_path / "a driver's repository")
    bare = tmp_path / "git remote.git"
    made.run("git", "init", "--quiet", "--bare", "--initial-branch", "main", str(bare))
    made.run("git", "remote", "add", "origin", str(bare))
    made.run("git", "push", "--quiet", "origin", "main")
    return made


def study(foreign: Foreign, **changes: object) -> str:
    content = {"strategy": "grid", "space": {"model.width": WIDTHS}} | changes
    path = foreign.study("grid", **content)
    return str(path.relative_to(foreign.path))


def references(foreign: Foreign, folder: str = ".") -> dict[str, str]:
    lines = foreign.run("git", "-C", folder, "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps").stdout
    return dict(line.split(" ") for line in lines.splitlines())


def whole(foreign: Foreign, cluster: Nodes, store: WebDav) -> None:
    """Every trial once, with the result of one machine; experiments here and at the Git remote, data in the store."""
    trials = foreign.trials("grid")
    assert [trial.params["model.width"] for trial in trials] == WIDTHS
    assert [trial.state for trial in trials] == ["complete"] * len(WIDTHS)
    assert [trial.values[0] for trial in trials] == pytest.approx([loss(width, 0.1) for width in WIDTHS])
    short = foreign.repository.head[:7]
    commits = {experiment.name: experiment.commit for experiment in foreign.experiments()}
    assert sorted(commits) == [f"grid-{index:03d}-{short}" for index in range(len(WIDTHS))]
    assert [trial.experiments[""].commit for trial in trials] == [commits[one] for one in sorted(commits)]
    assert references(foreign) == references(foreign, "../git remote.git")
    stored = store.names()
    for commit in commits.values():
        lock = YAML(typ="safe").load(foreign.run("git", "show", f"{commit}:ml/dvc.lock").stdout)
        assert {out["md5"] for out in lock["stages"]["fit"]["outs"] if out["path"] == "weights.bin"} <= stored
    wait_until(lambda: not any(node.clones() for node in cluster.nodes), 90)
    assert left_over(cluster) == []
    assert not list(foreign.path.glob(".dvc/tmp/sweeps/grid/workers"))


def left_over(cluster: Nodes) -> list[list[str]]:
    """Stages and workers that still run below a node's home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("SWEEPS_CLONE", "").startswith(str(cluster.folder)):
                found.append(process.cmdline())
        except (psutil.Error, OSError):
            continue
    return found


def test_a_study_on_two_nodes_is_that_of_one_machine_and_no_secret_leaves_its_place(foreign, cluster, store, tmp_path):
    path = study(
        foreign,
        strategy={"kind": "tpe", "startup": 2, "generation": 2},
        trials=5,
        space={"model.width": {"low": 2, "high": 40}, "rate": {"low": 0.01, "high": 1.0, "log": True}},
    )
    alone = copy(foreign, tmp_path / "one machine")
    alone.sweeps("run", path, "--no-report")
    foreign.study("other", strategy="grid", space={"seed": [7]})  # uncommitted, and said
    ran = [runs(node) for node in cluster.nodes]
    done = foreign.sweeps("run", path, "--ray", cluster.address, "--no-report")
    assert "Ray: 2 nodes, 2 trials at a time" in done.stdout
    assert all(runs(node) > before for node, before in zip(cluster.nodes, ran, strict=True)), done.stdout
    here, there = foreign.trials("grid"), alone.trials("grid")
    assert [(trial.params, trial.values) for trial in here] == [(trial.params, trial.values) for trial in there]
    assert foreign.sweeps("best", path).stdout == alone.sweeps("best", path).stdout
    assert len({trial.experiments[""].node for trial in here}) == 2

    # Nothing but references has come to the driver; data comes from the store when it is asked for.
    best = min(here, key=lambda trial: trial.values[0])
    foreign.run("dvc", "exp", "pull", "origin", best.experiments[""].name)
    foreign.run("dvc", "exp", "apply", best.experiments[""].name)
    assert f"'width': {best.params['model.width']}" in (foreign.path / "ml/weights.bin").read_text()

    folders = [foreign.path / ".git", foreign.path / ".dvc/tmp/sweeps", cluster.short]
    folders += [node.home / ".cache" for node in cluster.nodes]
    files = [path for folder in folders for path in folder.glob("**/*") if path.is_file()]
    contents = [done.stdout.encode(), done.stderr.encode(), objects(foreign), *(path.read_bytes() for path in files)]
    assert any(b"validation" in content for content in contents)
    assert not any(store.secret.encode() in content for content in contents)


def objects(foreign: Foreign) -> bytes:
    """Everything that Git keeps, uncompressed."""
    command = ["git", "cat-file", "--batch-all-objects", "--batch"]
    return subprocess.run(command, cwd=foreign.path, env=foreign.environment, capture_output=True, check=True).stdout


def test_a_node_that_dies_in_mid_trial_costs_no_trial_and_another_may_join(foreign, cluster, store):
    path = study(foreign, fixed={"sleep": 5})
    victim = cluster.nodes[0]
    before = runs(victim)
    process = foreign.start("run", path, "--ray", cluster.address, "--no-report")
    wait_until(lambda: runs(victim) > before, 120)
    victim.kill()
    let_in(cluster.add(), store).start()
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "has joined" in said
    assert f"{len(WIDTHS)} of {len(WIDTHS)} trials done" in said
    whole(foreign, cluster, store)
    assert runs(cluster.nodes[-1]) > 0


def test_a_killed_driver_leaves_nothing_behind_and_the_next_goes_on(foreign, cluster, store):
    path = study(foreign, fixed={"sleep": 2})
    before = sum(runs(node) for node in cluster.nodes)
    process = foreign.start("run", path, "--ray", cluster.address, "--no-report")
    wait_until(lambda: len(references(foreign, "../git remote.git")) >= 1, 120)
    process.kill()
    process.communicate()
    wait_until(lambda: not left_over(cluster), 90)
    wait_until(lambda: not any(node.clones() for node in cluster.nodes), 90)
    there = references(foreign, "../git remote.git")
    for name in references(foreign):  # as if none had been fetched
        foreign.run("git", "update-ref", "-d", name)
    done = foreign.sweeps("run", path, "--ray", cluster.address, "--no-report")
    whole(foreign, cluster, store)
    assert there.items() <= references(foreign).items()
    assert sum(runs(node) for node in cluster.nodes) - before <= len(WIDTHS) + 2, done.stdout

    # Ledger and references lost: the Git remote has all of it, and nothing runs again.
    ran = sum(runs(node) for node in cluster.nodes)
    shutil.rmtree(foreign.path / ".dvc/tmp/sweeps")
    for name in references(foreign):
        foreign.run("git", "update-ref", "-d", name)
    foreign.sweeps("run", path, "--ray", cluster.address, "--no-report")
    whole(foreign, cluster, store)
    assert sum(runs(node) for node in cluster.nodes) == ran


def test_a_store_that_is_away_for_a_while_is_waited_for(foreign, cluster, store):
    path = study(foreign, fixed={"sleep": 1})
    before = sum(runs(node) for node in cluster.nodes)
    process = foreign.start("run", path, "--ray", cluster.address, "--no-report")
    wait_until(lambda: sum(runs(node) for node in cluster.nodes) > before, 120)
    store.stop()
    try:
        time.sleep(5)  # every stage under way has ended by then
        assert process.poll() is None
        arrived = len(references(foreign, "../git remote.git"))
        time.sleep(2)
        assert len(references(foreign, "../git remote.git")) == arrived < len(WIDTHS)  # no reference before its data
    finally:
        store.start()
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    whole(foreign, cluster, store)


def test_a_store_that_stays_away_fails_the_trial_with_the_reason(foreign, cluster, store):
    path = study(foreign, space={"model.width": [3]}, fixed={"sleep": 2})
    before = sum(runs(node) for node in cluster.nodes)
    process = foreign.start("run", path, "--ray", cluster.address, "--no-report", "--patience", "3s")
    wait_until(lambda: sum(runs(node) for node in cluster.nodes) > before, 120)
    store.stop()
    try:
        said, _ = process.communicate(timeout=120)
    finally:
        store.start()
    assert process.returncode == 1
    assert "failed: " in said
    assert "Traceback" not in said
    assert references(foreign) == references(foreign, "../git remote.git") == {}
    assert foreign.trials("grid")[0].error.count("dvc push") == 1
    foreign.sweeps("run", path, "--ray", cluster.address, "--no-report", "--retry-failed")
    assert [trial.state for trial in foreign.trials("grid")] == ["complete"]


def test_interrupted_it_leaves_the_cluster_and_goes_on_later(foreign, cluster):
    path = study(foreign, fixed={"sleep": 60}, jobs=1)
    before = sum(runs(node) for node in cluster.nodes)
    process = foreign.start("run", path, "--ray", cluster.address, "--no-report")
    wait_until(lambda: sum(runs(node) for node in cluster.nodes) > before + 1, 120)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "the same command goes on from here" in said
    wait_until(lambda: not left_over(cluster), 90)


# Ray's head starts a process for every client; where that fails, as on a busy machine it may, Ray says so like this.
FAILING = """
import ray
from dvcsweep.running import cluster
cluster.PAUSE = 1.0
real, left = ray.init, int(sys.argv.pop(1))

def init(**options):
    global left
    left -= 1
    if left >= 0:
        raise ConnectionAbortedError("Initialization failure from server:\\nTraceback:\\n  it did not start\\n")
    return real(**options)

ray.init = init
"""


def as_client(foreign: Foreign, path: str, address: str, failures: int) -> subprocess.CompletedProcess[str]:
    """A search from outside the cluster, whose first attempts to connect fail."""
    interpreter, *flags, program, root = foreign.command()
    program = program.replace("from dvcsweep", f"{FAILING}from dvcsweep")
    search = ("run", path, "--ray", address, "--no-report")
    return foreign.run(interpreter, *flags, program, root, str(failures), *search, check=False)


def client_servers(cluster: Nodes) -> str:
    """What the head's processes for clients have written."""
    logs = sorted(cluster.short.glob("session_latest/logs/ray_client_server*"))
    return "\n".join(f"{log.name}:\n{log.read_text(errors='replace')}" for log in logs)


def test_a_trial_that_needs_a_gpu_goes_where_there_is_one_and_a_client_connects_at_the_third_attempt(foreign, cluster):
    path = study(foreign, gpus=1, space={"model.width": [3, 4]})
    before = [runs(node) for node in cluster.nodes]
    done = as_client(foreign, path, cluster.client, failures=2)
    assert done.returncode == 0, done.stderr + client_servers(cluster)
    ran = [runs(node) - earlier for node, earlier in zip(cluster.nodes, before, strict=True)]
    assert ran == [2 if "--num-gpus" in node.arguments else 0 for node in cluster.nodes]


def test_a_node_without_credentials_is_named_before_anything_runs(foreign, cluster, store):
    path = study(foreign)
    let_in(cluster.nodes[1], store, password="wrong")  # noqa: S106
    try:
        done = foreign.sweeps("run", path, "--ray", cluster.address, "--no-report", check=False)
    finally:
        let_in(cluster.nodes[1], store)
    assert done.returncode == 2
    assert "cannot work" in done.stdout
    assert "nothing has been run" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert store.secret not in done.stdout + done.stderr
    assert references(foreign, "../git remote.git") == {}


def test_a_cluster_of_its_own_on_this_machine(foreign, cluster, tmp_path):
    path = study(foreign)
    foreign.run("git", "remote", "remove", "origin")
    command = foreign.command("run", path, "--ray", "local", "--no-report", "--jobs", "2")
    done = foreign.run(str(cluster.python), *command[1:], XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert "Ray: 1 node, 2 trials at a time" in done.stdout
    assert not (
        Path(foreign.environment["HOME"]) / ".ray"
    ).exists()  # such as a token that later clusters would ask for
    assert [trial.state for trial in foreign.trials("grid")] == ["complete"] * len(WIDTHS)
    assert len(references(foreign)) == len(WIDTHS)
    assert list((tmp_path / "cache").glob("sweeps/*/repository"))  # where a node keeps what it needs
    wait_until(lambda: not list((tmp_path / "cache").glob("sweeps/*/clones/*")), 90)


def test_where_ray_could_not_start_is_said(foreign, tmp_path):
    (tmp_path / "an environment").symlink_to(sys.prefix)
    python = tmp_path / "an environment" / "bin" / "python"
    done = foreign.run(str(python), *foreign.command("run", study(foreign), "--ray", "local")[1:], check=False)
    assert done.returncode == 2
    assert "Ray cannot start from a path with a space in it" in done.stderr


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("127.0.0.1:1", "nothing answers at 127.0.0.1:1"),
        ("nonsense", "got 'nonsense', but a cluster's address is HOST:PORT"),
        ("host:port", "got 'host:port', but a cluster's address is HOST:PORT"),
    ],
)
def test_an_address_that_is_none_is_refused(foreign, address, told):
    refused(foreign, told, "--ray", address)


def test_a_client_that_cannot_connect_is_told_why(foreign, cluster):
    done = as_client(foreign, study(foreign), cluster.client, failures=5)
    assert done.returncode == 2
    told = f"no Ray cluster at {cluster.client}: Initialization failure from server: it did not start"
    assert done.stderr == f"dvcsweep: {told}\n"


def refused(foreign: Foreign, told: str, *options: str) -> None:
    done = foreign.sweeps("run", study(foreign), *options, "--no-report", check=False)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert references(foreign) == {}


def test_what_nodes_could_not_get_is_refused(foreign, cluster):
    ray = ("--ray", cluster.address)
    refused(foreign, "the Git remote nowhere cannot be reached", *ray, "--git-remote", "nowhere")
    refused(foreign, "there is no DVC remote other; there are: store", *ray, "--dvc-remote", "other")
    foreign.run("git", "remote", "add", "token", "https://ada:secret@example.org/x.git")
    refused(foreign, "the URL of the Git remote holds a password or token", *ray, "--git-remote", "token")
    foreign.run("dvc", "remote", "add", "plain", "webdav://ada:secret@example.org/x")
    refused(foreign, "the URL of the DVC remote plain holds a password", *ray, "--dvc-remote", "plain")
    (foreign.path / "ml/fit.py").write_text((foreign.path / "ml/fit.py").read_text() + "# changed\n")
    foreign.commit("not pushed")
    refused(foreign, "is not at origin, where nodes get it: git push", *ray)
    foreign.run("git", "remote", "remove", "origin")
    refused(foreign, "there is no origin: name one with --git-remote", *ray)
    foreign.run("dvc", "config", "--unset", "core.remote")
    refused(foreign, "nodes get data from a DVC remote", *ray, "--git-remote", "../git remote.git")


def test_a_cluster_that_is_gone_is_said_and_nothing_is_lost(foreign, cluster):
    """The last test, since it needs the head killed."""
    path = study(foreign, fixed={"sleep": 2})
    process = foreign.start("run", path, "--ray", cluster.address, "--no-report")
    wait_until(lambda: len(references(foreign)) >= 1, 120)
    cluster.head.kill()
    said, _ = process.communicate(timeout=180)
    assert process.returncode == 2, said
    assert "the Ray cluster is gone" in said
    assert "Traceback" not in said
    complete = [trial for trial in foreign.trials("grid") if trial.state == "complete"]
    assert len(complete) == len(references(foreign)) >= 1
