"""Secrets stay where the user put them: no Git object, no log, no ledger and no object of a remote has one."""

import base64
import subprocess
import urllib.parse

import pytest
import servers
from clones import SECRETS, Clone, copied

pytest_plugins = ("published",)


@pytest.fixture(scope="module")
def used(original, tmp_path_factory):
    """A clone that has pushed data and experiments to all three servers and reported its study, and the servers."""
    folder = tmp_path_factory.mktemp("used")
    here = copied(original, folder)
    here.publish(folder / "tones.git")
    started = []
    try:
        for kind, server in servers.SERVERS.items():
            (folder / kind).mkdir()
            started.append(server(folder / kind))
            started[-1].start()
            here.use(started[-1].settings)
            here.dvc("push")
            here.dvc("exp", "push", "--all-commits", "origin")
        here.project("dvcsweep", "report", "studies/pair.yaml")
        here.project("sharing", "check")
        yield here, started
    finally:
        for server in started:
            server.stop()


def spellings(started):
    """Every secret, as it is, as HTTP's basic authentication has it, and in a URL."""
    secrets = [*SECRETS.values(), *(server.secret for server in started)]
    encoded = [base64.b64encode(f"ada:{secret}".encode()).decode().rstrip("=")[4:] for secret in secrets]
    found = {*secrets, *encoded, *(urllib.parse.quote(secret) for secret in secrets)}
    assert all(len(text) > 20 for text in found)
    return [text.encode() for text in found]


def test_no_git_object_of_clone_or_remote_has_one(used):
    here, started = used
    for path in (here.path, here.path.parent / "tones.git"):
        repository = Clone(path, here.environment)
        names = repository.run("git", "for-each-ref", "--format=%(refname)").stdout
        assert names.count("refs/exps/") >= 2
        command = ["git", "cat-file", "--batch-all-objects", "--batch"]
        content = subprocess.run(command, cwd=path, env=here.environment, capture_output=True, check=True).stdout
        assert b"tone-lstm" in content
        assert not [secret for secret in spellings(started) if secret in content]


def test_no_file_of_the_clone_its_logs_and_its_ledger_has_one_but_the_ignored_settings(used):
    here, started = used
    ledgers = list((here.path / ".dvc" / "tmp" / "sweeps").rglob("*.jsonl"))
    assert ledgers
    paths = [path for folder in (here.path, here.home) for path in folder.rglob("*") if path.is_file()]
    leaking = {path for path in paths if any(secret in path.read_bytes() for secret in spellings(started))}
    assert leaking == {here.path / ".dvc" / "config.local"}
    assert here.run("git", "check-ignore", ".dvc/config.local").stdout.strip() == ".dvc/config.local"


def test_no_object_of_a_remote_has_one(used):
    _, started = used
    for server in started:
        content = b"".join(server.objects().values())
        assert content
        assert not [secret for secret in spellings(started) if secret in content]


def test_the_servers_check_who_asks(used):
    _, (_, s3, _) = used
    assert s3.lets_in(s3.key, s3.secret)
    assert not s3.lets_in(s3.key, s3.secret[::-1])
    assert not s3.lets_in("nobody", "nothing")
