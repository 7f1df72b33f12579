"""Data, models and experiments travel: pushed from one clone, pulled in another, for each kind of remote."""

import configparser
import csv
import json
import shutil

import pytest
import servers
from clones import FOLDER, Clone, copied, failed, md5, members, whole
from conftest import ROOT, quiet_environment, require

pytest_plugins = ("published",)
KINDS = ("folder", *servers.SERVERS)
TRIALS = 2


class Circle:
    """Two clones, the bare Git repository between them, and what the DVC remote holds."""

    def __init__(self, folder, original, server):
        self.here = copied(original, folder)
        self.store = server or servers.Folder(folder / "a shared folder")
        self.settings = server.settings if server else {"url": str(folder / "a shared folder")}
        (self.here.path / ".dvc" / "config.local").unlink()
        self.here.dvc("remote", "add", "--local", "--default", "store", self.settings["url"])
        for name, value in self.settings.items():
            self.here.dvc("remote", "modify", "--local", "store", name, value)
        self.here.dvc("push")
        self.bare = self.here.publish(folder / "tones.git")
        self.here.dvc("exp", "push", "--all-commits", "origin")
        self.there = self.here.clone(str(self.bare), folder / "a second clone")
        self.there.use(self.settings)


@pytest.fixture(scope="module", params=KINDS)
def circle(request, original, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "folder":
        yield Circle(folder, original, None)
        return
    server = servers.SERVERS[request.param](folder)
    try:
        server.start()
        yield Circle(folder, original, server)
    finally:
        server.stop()


def clean(clone):
    return clone.run("git", "status", "--porcelain").stdout == ""


def test_a_second_clone_pulls_everything_and_nothing_runs(circle):
    there = circle.there
    there.dvc("pull")
    lists = circle.store.objects()
    for path, oid in there.outputs().items():
        if oid.endswith(".dir"):
            for name, member in members(lists[oid]).items():
                assert md5((there.path / path / name).read_bytes()) == member
        else:
            assert md5((there.path / path).read_bytes()) == oid
    done = there.dvc("repro")
    assert "Running stage" not in done.stdout
    assert done.stdout.rstrip().endswith("Data and pipelines are up to date.")
    assert clean(there)


def test_the_remote_holds_every_output_of_commits_and_experiments_and_each_is_whole(circle):
    objects = circle.store.objects()
    assert whole(objects)
    wanted = set(circle.here.outputs().values())
    for name in circle.here.experiments():
        wanted |= {circle.here.output_of(name, path) for path in circle.here.outputs()}
    assert wanted <= set(objects)


def test_experiments_come_by_name_and_all_and_one_can_be_applied(circle):
    there = circle.there
    assert there.experiments() == {}
    names = sorted(circle.here.experiments())
    assert len(names) == TRIALS
    there.dvc("exp", "pull", "origin", names[1])
    assert sorted(there.experiments()) == names[1:]
    there.dvc("exp", "pull", "--all-commits", "origin")
    assert there.experiments() == circle.here.experiments() == dict(zip(names, (5, 6), strict=True))
    there.dvc("exp", "apply", names[0])
    model = there.path / "models" / "model.safetensors"
    assert md5(model.read_bytes()) == there.outputs()["models/model.safetensors"]
    header = model.read_bytes()
    shape = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])
    assert any(entry.get("shape", [0])[0] == 4 * 5 for entry in shape.values())  # four gates of five units
    assert there.dvc("status", "train").stdout.strip() == "Data and pipelines are up to date."
    there.run("git", "reset", "--hard", "--quiet")
    there.dvc("checkout")
    assert clean(there)


# -- through a folder alone, since these do not depend on the kind


@pytest.fixture(scope="module")
def folder(original, tmp_path_factory):
    """The circle through a folder."""
    return Circle(tmp_path_factory.mktemp("one folder"), original, None)


def test_the_default_remote_works_at_once_between_two_clones_of_one_user(original, tmp_path):
    here = copied(original, tmp_path)
    here.dvc("push")
    bare = here.publish(tmp_path / "tones.git")
    here.dvc("exp", "push", "--all-commits", "origin")
    assert whole(servers.Folder(here.home / FOLDER).objects())
    there = Clone(
        tmp_path / "elsewhere" / "a second clone", here.environment | {"DVC_SITE_CACHE_DIR": str(tmp_path / "site")}
    )
    here.run("git", "clone", "--quiet", str(bare), str(there.path))
    there.dvc("pull")
    there.dvc("exp", "pull", "--all-commits", "origin")
    assert there.files().keys() >= here.outputs().keys() - {"plots/evaluate"}
    assert set(there.cached()) == set(servers.Folder(here.home / FOLDER).objects())
    assert clean(there)


def test_a_folder_that_cannot_be_written_is_said(original, tmp_path):
    clone = copied(original, tmp_path)
    (clone.home / FOLDER).write_text("in the way")
    before = clone.files()
    assert FOLDER in failed(clone.dvc("push", check=False), "Not a directory|File exists")
    assert clone.files() == before


def test_one_line_moves_it(folder, tmp_path):
    clone = copied(folder.here, tmp_path)
    (clone.path / ".dvc" / "config.local").unlink()
    clone.dvc("remote", "add", "--local", "--default", "store", str(tmp_path / "mnt" / "tones"))
    clone.dvc("push")
    clone.dvc("exp", "push", "--all-commits", "origin")
    assert set(servers.Folder(tmp_path / "mnt" / "tones").objects()) == set(folder.store.objects())
    assert clone.dvc("config", "remote.store.verify").stdout.strip() == "true"
    assert clean(clone)


def test_the_study_is_reported_in_the_second_clone(folder):
    before = folder.here.read("studies/pair/trials.csv")
    folder.there.project("dvcsweep", "report", "studies/pair.yaml")
    assert folder.there.read("studies/pair/trials.csv") == before
    rows = list(csv.DictReader(before.splitlines()))
    assert [row["params.model.hidden_size"] for row in rows] == ["5", "6"]


def test_a_model_is_fetched_without_a_clone(folder, tmp_path):
    here = folder.here
    elsewhere = Clone(tmp_path, here.environment)
    model = here.outputs()["models/model.safetensors"]
    url = f"url={folder.settings['url']}"
    elsewhere.dvc("get", f"file://{folder.bare}", "models/model.safetensors", "--remote-config", url)
    assert md5((tmp_path / "model.safetensors").read_bytes()) == model
    failed(elsewhere.dvc("artifacts", "get", str(folder.bare), "tone-lstm", check=False), "Unable to find artifact")
    here.run("git", "tag", "--annotate", "tone-lstm@v1.0.0", "--message", "first")
    here.run("git", "push", "--quiet", "origin", "tone-lstm@v1.0.0")
    for source, more in ((str(here.path), ()), (f"file://{folder.bare}", ("--remote-config", url))):
        out = tmp_path / f"fetched {len(more)}"
        elsewhere.dvc("artifacts", "get", source, "tone-lstm", "--rev", "v1.0.0", "--out", str(out), *more)
        assert md5(out.read_bytes()) == model


def test_git_and_dvc_through_one_ssh_server(original, start, tmp_path):
    require("ssh", "openssh-client")
    server = start("ssh")
    here = copied(original, tmp_path)
    server.lets_git_in(here.home)
    url = f"ssh://{server.user}@{servers.HOST}:{server.port}{tmp_path / 'tones.git'}"
    here.use(server.settings)
    here.publish(tmp_path / "tones.git", url)
    here.dvc("exp", "push", "--all-commits", "origin")
    assert whole(server.objects())
    home = tmp_path / "another home"
    home.mkdir()
    server.lets_git_in(home)
    there = Clone(tmp_path / "a second clone", quiet_environment(home))
    here.run("git", "clone", "--quiet", url, str(there.path))
    there.use(server.settings)
    there.dvc("exp", "pull", "--all-commits", "origin")
    assert there.experiments() == here.experiments()
    assert set(there.cached()) == set(server.objects())


# -- cleaning up


def test_gc_of_the_work_tree_alone_would_drop_experiments_and_with_all_of_them_it_does_not(folder, tmp_path):
    here = copied(folder.here, tmp_path)
    store = servers.Folder(tmp_path / "store")
    shutil.copytree(folder.store.store, store.store)
    here.use({"url": str(store.store)})
    removed, name = sorted(here.experiments())
    models = {one: here.output_of(one, "models/model.safetensors") for one in (removed, name)}
    mine = here.outputs()["models/model.safetensors"]
    here.dvc("exp", "remove", removed)
    before = store.objects()
    shown = here.dvc("gc", "--workspace", "--cloud", "--dry", "--force")
    for oid in models.values():
        assert f"{oid[:2]}/{oid[2:]}" in shown.stdout + shown.stderr
    assert store.objects() == before
    scope = ("--workspace", "--all-branches", "--all-tags", "--all-experiments")
    here.dvc("gc", *scope, "--cloud", "--force")
    for objects in (store.objects(), here.cached()):
        assert models[removed] not in objects
        assert {models[name], mine} <= set(objects)
    here.dvc("gc", "--workspace", "--force")
    assert models[name] not in here.cached()
    assert mine in here.cached()
    here.dvc("exp", "pull", "origin", name)  # what the remote still has comes back
    assert models[name] in here.cached()


# -- what is committed


def test_the_committed_settings_hold_no_secret():
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".dvc" / "config", encoding="utf-8")
    assert {key for section in parser.sections() for key in parser[section]} == {
        "analytics",
        "check_update",
        "remote",
        "url",
        "verify",
    }
    store = parser["'remote \"store\"'"]
    assert (store["url"], store["verify"]) == (f"~/{FOLDER}", "true")
