"""`python -m sharing check`: what is damaged or missing in a remote, and what comes of a repair."""

import json
import shutil

import pytest
import servers
from clones import Clone, copied, failed, md5
from conftest import quiet_environment

pytest_plugins = ("published",)


@pytest.fixture(params=["folder", *servers.SERVERS])
def pushed(request, few, start, tmp_path):
    """A small repository, pushed, and where to."""
    here = copied(few, tmp_path)
    store = servers.Folder(tmp_path / "store") if request.param == "folder" else start(request.param)
    here.use({"url": str(tmp_path / "store")} if request.param == "folder" else store.settings)
    here.dvc("push")
    return here, store


@pytest.fixture
def local(few, tmp_path):
    """The same for a folder alone."""
    here = copied(few, tmp_path)
    here.use({"url": str(tmp_path / "store")})
    here.dvc("push")
    return here, servers.Folder(tmp_path / "store")


def listed(objects):
    """The hash of the one directory, and those of its files by name."""
    (oid,) = (oid for oid in objects if oid.endswith(".dir"))
    return oid, {entry["relpath"]: entry["md5"] for entry in json.loads(objects[oid])}


def test_damaged_and_missing_objects_are_named_and_mended(pushed):
    here, store = pushed
    objects = store.objects()
    size = sum(map(len, objects.values())) / 1e6
    done = here.project("sharing", "check")
    assert done.stdout == f"store: 4 objects, {size:.1f} MB read; 0 damaged, 0 missing\n"
    _, files = listed(objects)
    store.replace(files["0.bin"], objects[files["0.bin"]][:100])
    store.replace(files["1.bin"], None)
    done = here.project("sharing", "check", check=False)
    assert done.returncode == 1
    damaged, missing, total = done.stdout.splitlines()
    assert damaged == f"damaged  recordings/0.bin  {files['0.bin']}"
    assert missing == f"missing  recordings/1.bin  {files['1.bin']}"
    assert total.startswith("store: 3 objects")
    assert total.endswith("1 damaged, 1 missing; from a clone that has them: python -m sharing check --repair")
    done = here.project("sharing", "check", "--repair")
    assert done.stdout.count("  mended\n") == 2
    assert done.stdout.endswith("; all mended\n")
    assert store.objects() == objects


@pytest.mark.parametrize("content", [b"{", b"[]", None])
def test_the_list_of_a_directory_is_mended_like_any_object(local, content):
    here, store = local
    objects = store.objects()
    oid, _ = listed(objects)
    store.replace(oid, content)
    kind = "missing" if content is None else "damaged"
    assert f"{kind}  recordings  {oid}" in failed(here.project("sharing", "check", check=False), kind)
    here.project("sharing", "check", "--repair")
    assert store.objects() == objects


def test_what_the_cache_lacks_or_holds_damaged_is_left_as_it_is(local):
    here, store = local
    objects = store.objects()
    _, files = listed(objects)
    for name in ("0.bin", "1.bin"):
        store.replace(files[name], b"damaged")
    cache = servers.Folder(here.path / ".dvc" / "cache")
    cache.replace(files["0.bin"], b"damaged as well")
    cache.replace(files["1.bin"], None)
    said = failed(here.project("sharing", "check", "--repair", check=False), "2 damaged")
    assert "2 of them not in this clone's cache either: repair from a clone that has them" in said
    assert {md5(store.objects()[files[name]]) for name in ("0.bin", "1.bin")} == {md5(b"damaged")}


def test_a_directory_whose_files_are_not_all_there_is_left_to_the_clone_that_has_them(local, tmp_path):
    here, store = local
    objects = store.objects()
    whole = copied(here, tmp_path / "another clone")
    oid, files = listed(objects)
    for one in (oid, files["0.bin"], files["1.bin"]):
        store.replace(one, None)
    servers.Folder(here.path / ".dvc" / "cache").replace(files["0.bin"], None)
    said = failed(here.project("sharing", "check", "--repair", check=False), "0 damaged, 3 missing; 2 of them not")
    assert f"missing  recordings/1.bin  {files['1.bin']}  mended" in said
    assert store.names() == {files["1.bin"], files["2.bin"]}
    whole.dvc("push")
    assert store.objects() == objects


def test_a_damaged_object_of_another_branch_is_named_and_one_of_none_is_said_to_be(local):
    here, store = local
    _, files = listed(store.objects())
    here.run("git", "switch", "--quiet", "--create", "other")
    (here.path / "more").write_bytes(b"more")
    here.dvc("add", "--quiet", "more")
    here.commit("more")
    here.dvc("push")
    here.run("git", "switch", "--quiet", "main")
    store.replace(md5(b"more"), b"less")
    assert f"damaged  more  {md5(b'more')}" in failed(here.project("sharing", "check", check=False), "1 damaged")
    here.run("git", "branch", "--quiet", "-D", "other")
    words = rf"damaged  \(of no branch, tag or experiment here\)  {md5(b'more')}"
    failed(here.project("sharing", "check", check=False), words)
    assert files


def test_what_was_half_written_is_no_object(local):
    here, store = local
    (store.store / servers.OBJECTS / "ab").mkdir(exist_ok=True)
    (store.store / servers.OBJECTS / "ab" / ".half.tmp").write_bytes(b"half")
    assert "4 objects" in here.project("sharing", "check").stdout


def test_before_the_first_push_everything_is_missing(few, tmp_path):
    here = copied(few, tmp_path)
    assert "0 objects, 0.0 MB read; 0 damaged, 4 missing" in failed(here.project("sharing", "check", check=False), "4")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("check", "--remote", "nowhere"),
            "^sharing: .*'nowhere' doesn't exist: `dvc remote list` names what there is$",
        ),
        (("mend",), "invalid choice: 'mend'"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(local, arguments, words):
    here, _ = local
    done = here.project("sharing", *arguments, check=False)
    assert done.returncode == 2
    failed(done, words)


def test_outside_a_repository_and_without_a_remote(local, tmp_path):
    here, _ = local
    shutil.rmtree(here.path / ".git")
    shutil.rmtree(here.path / ".dvc")
    failed(here.project("sharing", "check", check=False), r"^sharing: \. lies in no DVC repository$")
    here.run("git", "init", "--quiet")
    here.dvc("init", "--quiet")
    failed(here.project("sharing", "check", check=False), "^sharing: .*no remote specified")
    here.dvc("remote", "add", "--quiet", "--default", "web", "http://127.0.0.1:9/")
    failed(here.project("sharing", "check", check=False), r"^sharing: remote web cannot list its objects \(http\)$")


def test_imports_and_outputs_with_a_remote_of_their_own_belong_elsewhere(tmp_path):
    """In sync as `dvc status --cloud` has it; nothing is missing, and nothing is uploaded anywhere."""
    (tmp_path / "home").mkdir()
    environment = quiet_environment(tmp_path / "home")

    def made(name, remotes):
        (tmp_path / name).mkdir()
        clone = Clone(tmp_path / name, environment)
        clone.run("git", "init", "--quiet", "--initial-branch", "main")
        clone.dvc("init", "--quiet")
        for place, remote in enumerate(remotes):
            default = ["--default"] if not place else []
            clone.dvc("remote", "add", "--quiet", *default, remote, str(tmp_path / f"store {remote}"))
        return clone

    source, here = made("source", ["r"]), made("here", ["a", "b"])
    (source.path / "folder").mkdir()
    for name in ("d.csv", "folder/one", "folder/two"):
        (source.path / name).write_text(name)
    source.dvc("add", "--quiet", "d.csv", "folder")
    source.commit("data")
    source.dvc("push", "--quiet")
    for name in ("d.csv", "folder"):
        here.dvc("import", "--quiet", str(source.path), name)
    for name in ("big.bin", "small.bin"):
        (here.path / name).write_text(name)
        here.dvc("add", "--quiet", name)
    with (here.path / "big.bin.dvc").open("a") as file:
        file.write("  remote: b\n")
    here.commit("data")
    here.dvc("push", "--quiet")
    assert "in sync" in here.dvc("status", "--cloud").stdout
    before = {name: servers.Folder(tmp_path / f"store {name}").objects() for name in "ab"}
    assert [*before["a"], *before["b"]] == [md5(b"small.bin"), md5(b"big.bin")]
    for options in ([], ["--repair"]):
        assert "1 objects, 0.0 MB read; 0 damaged, 0 missing\n" in here.project("sharing", "check", *options).stdout
    assert {name: servers.Folder(tmp_path / f"store {name}").objects() for name in "ab"} == before
    done = here.project("sharing", "check", "--remote", "b", check=False)
    assert done.stdout.startswith(f"missing  small.bin  {md5(b'small.bin')}\n")  # as `dvc push --remote b` would see it
    assert "1 missing" in done.stdout
