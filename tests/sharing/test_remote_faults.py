"""What goes wrong with remotes, on real servers: pushes cut off, servers that go away, wrong credentials, damage."""

import signal
import subprocess
import time

import pytest
import servers
from clones import copied, failed, whole

pytest_plugins = ("published",)


@pytest.fixture
def large(bulk, tmp_path):
    """A repository whose push takes a while."""
    return copied(bulk, tmp_path)


@pytest.fixture
def here(few, tmp_path):
    """A small one."""
    return copied(few, tmp_path)


def second(clone, settings):
    """Another user's fresh clone that uses the same remote."""
    fresh = clone.clone(str(clone.path), clone.path.parent / "a fresh clone")
    fresh.use(settings)
    return fresh


def begin_push(clone, count, pause=0.02, **changes):
    """Start a push, and return it held still once some of the objects are there; `ended` lets it go on.

    It is let run for moments only, and held still while they are counted: counting takes an S3 server a while, in which
    the whole push could come to its end. A folder may take all of them in 20 ms.
    """
    pushing = subprocess.Popen(
        ["dvc", "push", "--jobs", "2"],
        cwd=clone.path,
        env=clone.environment | changes,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    end = time.monotonic() + 60
    while time.monotonic() < end and pushing.poll() is None:
        pushing.send_signal(signal.SIGSTOP)
        if count() >= 5:
            return pushing
        pushing.send_signal(signal.SIGCONT)
        time.sleep(pause)
    pushing.kill()
    raise AssertionError(f"the push could not be caught half-way:\n{ended(pushing).stdout}")


def ended(process):
    """What a process said until it came to its end, as a completed one."""
    process.send_signal(signal.SIGCONT)
    output, _ = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, output, "")


def complete(clone, store, settings):
    """The next push completes it: every object is there and whole, and a fresh clone pulls all."""
    clone.dvc("push")
    objects = store.objects()
    assert whole(objects)
    assert set(objects) == set(clone.cached())
    fresh = second(clone, settings)
    fresh.dvc("pull")
    assert {path.name: path.read_bytes() for path in (fresh.path / "recordings").iterdir()} == {
        path.name: path.read_bytes() for path in (clone.path / "recordings").iterdir()
    }


# -- interrupted


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("folder", signal.SIGKILL),
        ("ssh", signal.SIGKILL),
        ("s3", signal.SIGKILL),
        ("webdav", signal.SIGINT),
    ],
)
def test_the_next_push_completes_an_interrupted_one(large, start, tmp_path, kind, number):
    store = servers.Folder(tmp_path / "store") if kind == "folder" else start(kind)
    settings = {"url": str(tmp_path / "store")} if kind == "folder" else store.settings
    large.use(settings)
    before = large.files()
    pushing = begin_push(large, lambda: len(store.names()), 0.002 if kind == "folder" else 0.02)
    pushing.send_signal(number)
    done = ended(pushing)
    if number == signal.SIGINT:
        failed(done, "interrupted by the user")
    else:
        assert done.returncode == -signal.SIGKILL
    assert 0 < len(store.names()) < len(large.cached())
    assert large.files() == before
    complete(large, store, settings)


# -- servers that go away


@pytest.mark.parametrize("kind", ["ssh", "webdav"])
def test_a_server_that_dies_during_a_push_is_said_and_the_rest_follows_later(large, start, kind):
    server = start(kind)
    large.use(server.settings)
    before = large.files()
    pushing = begin_push(large, lambda: len(server.names()))
    server.stop()
    began = time.monotonic()
    failed(ended(pushing), "Connection not open|Connection refused|Connection lost|Disconnected")
    assert time.monotonic() - began < 60
    assert len(server.names()) < len(large.cached())
    assert large.files() == before
    server.start()
    large.dvc("push")
    # To WebDAV, DVC uploads under the final name: what was under way may lie there cut off, and DVC takes it for whole.
    large.project("sharing", "check", "--repair")
    complete(large, server, server.settings)


@pytest.mark.parametrize(
    ("kind", "words"), [("ssh", "Connect call failed"), ("s3", "Could not connect"), ("webdav", "Connection refused")]
)
def test_a_server_that_is_not_there_is_said_within_seconds(here, start, kind, words):
    server = start(kind)
    here.use(server.settings)
    server.stop()
    before = here.files()
    began = time.monotonic()
    failed(here.run("dvc", "push", check=False, AWS_MAX_ATTEMPTS="1"), words)
    assert time.monotonic() - began < 40
    assert here.files() == before


@pytest.mark.parametrize(
    ("kind", "bounds", "words"),
    [
        ("s3", {"read_timeout": "1", "connect_timeout": "1"}, "[Tt]imeout"),
        ("webdav", {"timeout": "1"}, "timed out"),
    ],
)
def test_a_server_that_hangs_is_given_up_within_the_documented_settings(here, start, kind, bounds, words):
    server = start(kind)
    here.use(server.settings | bounds)
    server.signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        failed(here.run("dvc", "push", check=False, AWS_MAX_ATTEMPTS="1"), words)
    finally:
        server.signal(signal.SIGCONT)
    assert time.monotonic() - began < 60
    complete(here, server, server.settings)


def test_an_ssh_server_that_hangs_is_given_up_where_ssh_sends_keepalives(large, start):
    server = start("ssh")
    large.use(server.settings)
    config = large.home / ".ssh" / "config"
    config.parent.mkdir()
    config.write_text("ServerAliveInterval 1\nServerAliveCountMax 2\n")
    pushing = begin_push(large, lambda: len(server.names()))
    server.signal(signal.SIGSTOP)
    try:
        failed(ended(pushing), "Connection lost|Connection not open|not responding|keepalive|[Tt]imeout|timed out")
    finally:
        server.signal(signal.SIGCONT)
    complete(large, server, server.settings)


# -- credentials


@pytest.mark.parametrize(("kind", "words"), [("ssh", "Permission denied"), ("s3", "403|Forbidden"), ("webdav", "401")])
def test_wrong_credentials_are_said_and_nothing_is_lost(here, start, kind, words):
    server = start(kind)
    wrong = server.settings | server.wrong()
    here.use(server.settings)
    here.dvc("push")
    objects = server.objects()
    here.use(wrong)
    (here.path / "recordings" / "0.bin").write_bytes(b"changed")
    here.dvc("add", "--quiet", "recordings")
    before = here.files()
    said = failed(here.dvc("push", check=False), words)
    fresh = second(here, wrong)
    # From WebDAV, DVC takes a refusal for an empty remote; the check does not.
    said += failed(fresh.dvc("pull", check=False), "missing-files" if kind == "webdav" else words)
    said += failed(fresh.project("sharing", "check", check=False), f"sharing: remote store cannot be used: .*({words})")
    for settings in (server.settings, wrong):
        assert settings.get("password", server.secret) not in said
    assert server.secret not in said
    assert here.files() == before
    assert not fresh.cached()
    assert server.objects() == objects


# -- damage


def test_a_damaged_object_is_not_pulled_and_a_repair_mends_it(here, tmp_path):
    store = servers.Folder(tmp_path / "store")
    settings = {"url": str(store.store)}
    here.use(settings)
    here.dvc("push")
    objects = store.objects()
    oid = next(oid for oid in sorted(objects) if not oid.endswith(".dir"))
    store.replace(oid, b"\0" + objects[oid][1:])
    fresh = second(here, settings)
    failed(fresh.dvc("pull", check=False), r"Checkout failed for following targets:\s+recordings")
    assert oid not in fresh.cached()
    assert all(found == name.removesuffix(".dir") for name, found in fresh.cached().items())
    assert not (fresh.path / "recordings").exists()
    here.dvc("push")  # which takes it for whole
    assert not whole(store.objects())
    check = failed(fresh.project("sharing", "check", check=False), rf"damaged  recordings/\d+\.bin  {oid}")
    assert check.count(oid) == 1
    assert "mended" in here.project("sharing", "check", "--repair").stdout
    assert store.objects() == objects
    fresh.dvc("pull")
    assert whole(
        {oid: (fresh.path / ".dvc/cache/files/md5" / oid[:2] / oid[2:]).read_bytes() for oid in fresh.cached()}
    )


def test_without_verify_damage_would_go_unnoticed(here, tmp_path):
    folder = servers.Folder(tmp_path / "store")
    here.use({"url": str(folder.store)})
    here.dvc("push")
    objects = folder.objects()
    oid = next(oid for oid in sorted(objects) if not oid.endswith(".dir"))
    folder.replace(oid, objects[oid][:-1])
    fresh = second(here, {"url": str(folder.store), "verify": "false"})
    fresh.dvc("pull")
    assert fresh.cached()[oid] != oid  # why .dvc/config says verify = true
