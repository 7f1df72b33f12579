import os
import shutil
import socket
import subprocess
import threading
import time

import pytest
from tiny import Tiny

from dvcsweep.errors import StudyError
from dvcsweep.repository import Experiment, Repository, reference


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    tiny = Tiny.make(tmp_path)
    for name, value in tiny.environment.items():
        monkeypatch.setenv(name, value)
    return tiny


# Git


def test_a_repository_is_found_from_within(tiny, tmp_path):
    (tiny.path / "deep" / "er").mkdir(parents=True)
    assert Repository.around(tiny.path / "deep" / "er").root == tiny.path
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(StudyError, match="lies in no Git repository, but a search needs one"):
            Repository.around(folder)


def test_a_repository_of_another_users_is_told(tiny, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(StudyError, match=r"is another user's, .*: git config --global --add safe\.directory FOLDER"):
        Repository.around(tiny.path)


def test_git_itself_may_be_missing(tiny, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(StudyError, match="git is not installed"):
        Repository.around(tiny.path)


def test_commits(tiny):
    with pytest.raises(StudyError, match="nothing is committed yet"):
        _ = tiny.repository.head
    first = tiny.commit()
    repository = tiny.repository
    assert repository.head == first
    second = tiny.commit({"a": "1"})
    assert (repository.head, tiny.repository.head) == (first, second)
    assert repository.exists(first)
    assert not repository.exists("0" * 40)
    assert not repository.exists("main^5")


def test_files_are_read_at_a_commit_and_not_from_the_work_tree(tiny):
    first = tiny.commit({"a b/ä.yaml": "x: ä\n", "latin.yaml": b"x: \xe4\n"})
    tiny.commit({"a b/ä.yaml": "x: 2\n"})
    tiny.write({"a b/ä.yaml": "x: 3\n"})
    assert tiny.repository.content(first, "a b/ä.yaml") == {"x": "ä"}
    assert tiny.repository.read(first, "none.yaml") is None
    with pytest.raises(StudyError, match=rf"none\.yaml: not in commit {first[:7]}, neither in Git nor in DVC's cache"):
        tiny.repository.content(first, "none.yaml")
    with pytest.raises(StudyError, match=r"latin\.yaml: not readable"):
        tiny.repository.content(first, "latin.yaml")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of DVC's own use of pygtrie
def test_files_that_dvc_tracks_are_read_from_its_cache(tiny, monkeypatch):
    from dvc.repo import Repo

    tiny.write({"m.json": '{"loss": 0.5}'})
    monkeypatch.chdir(tiny.path)
    with Repo(str(tiny.path)) as repo:
        repo.add("m.json")
    commit = tiny.commit()
    assert tiny.repository.read(commit, "m.json") is None
    tiny.write({"m.json": None})
    assert tiny.repository.content(commit, "m.json") == {"loss": 0.5}


def test_the_cache_is_where_dvc_has_it(tiny, tmp_path):
    tiny.commit({"ml/a": "1", "sub/.dvc/config": "", "sub/deep/a": "1"})
    assert tiny.repository.cache("dvc.yaml") == tiny.repository.cache("ml/dvc.yaml") == tiny.path / ".dvc" / "cache"
    assert tiny.repository.cache("sub/deep/dvc.yaml") == tiny.path / "sub" / ".dvc" / "cache"
    tiny.write({".dvc/config.local": f"[cache]\n    dir = {tmp_path / 'elsewhere'}\n"})
    assert tiny.repository.cache("dvc.yaml") == tmp_path / "elsewhere"
    told = subprocess.run(
        ["dvc", "cache", "dir"], cwd=tiny.path, env=tiny.environment, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == str(tmp_path / "elsewhere")


def test_a_repository_without_dvc_has_no_cache(tiny):
    tiny.commit({".dvc/config": None, ".dvc/.gitignore": None})
    (tiny.path / ".dvc").rmdir()
    with pytest.raises(StudyError, match=r"is no DVC repository: run `dvc init`"):
        tiny.repository.cache("dvc.yaml")


def test_what_is_not_committed_is_listed(tiny):
    tiny.commit({"same": "1", "my file": "2\n" * 50, "gone": "3", "own/a": "4", "owner": "5"})
    assert tiny.repository.dirty() == []
    tiny.write({"same": "x", "gone": None, "new ä": "1", "own/a": "x", "owner": "x"})
    tiny.git("mv", "my file", "other file")
    expected = {"same", "gone", "new ä", "my file", "other file", "own/a", "owner"}
    assert set(tiny.repository.dirty()) == expected
    assert set(tiny.repository.dirty(["own"])) == expected - {"own/a"}
    assert set(tiny.repository.dirty(["own/a", "same"])) == expected - {"own/a", "same"}


# Experiments


def test_experiments_are_the_references_that_dvc_keeps(tiny, monkeypatch):
    baseline = tiny.commit()
    commits = []
    for number_, name in enumerate(["b-000-abc", "a.2-001"]):
        tiny.environment["GIT_COMMITTER_DATE"] = f"2020-01-0{number_ + 1}T00:00:00Z"
        commits.append(tiny.commit({"a": name}))
        tiny.git("update-ref", reference(baseline, name), "HEAD")
    tiny.git("update-ref", "refs/exps/exec/EXEC_HEAD", "HEAD")
    tiny.git("update-ref", "refs/exps/celery/stash", "HEAD")
    tiny.git("update-ref", f"refs/exps/exec/{baseline[:2]}/x", "HEAD")
    found = tiny.repository.experiments()
    assert found == [Experiment("b-000-abc", commits[0], baseline), Experiment("a.2-001", commits[1], baseline)]
    assert [one.ref for one in found] == [reference(baseline, one.name) for one in found]
    monkeypatch.chdir(tiny.path)
    from dvc.repo import Repo

    with Repo(str(tiny.path)) as repo:
        listed = repo.experiments.ls(rev=baseline)
    assert {name for names in listed.values() for name, _ in names} == {"b-000-abc", "a.2-001"}
    tiny.repository.remove(found[:1])
    assert tiny.repository.experiments() == found[1:]
    tiny.repository.remove([])
    assert tiny.repository.experiments() == found[1:]


def test_an_experiment_of_which_git_has_dropped_a_part_is_removed_and_the_others_are_seen(tiny):
    baseline = tiny.commit({"a": "1"})
    refs = {name: reference(baseline, name) for name in ("a-000-x", "a-001-x", "a-002-x", "b-000-x")}
    for name, ref in refs.items():
        tiny.git("update-ref", ref, tiny.commit({"a": name}))
        tiny.git("reset", "--hard", baseline)
    lost = [tiny.git("rev-parse", refs["a-000-x"]), tiny.git("rev-parse", f"{refs['a-002-x']}:a")]  # commit, file
    for name in lost:
        (tiny.path / ".git/objects" / name[:2] / name[2:]).unlink()
    tiny.repository.drop_broken(baseline, "b")
    with pytest.raises(StudyError, match=rf"missing object {lost[0]}"):
        tiny.repository.experiments()
    tiny.repository.drop_broken(baseline, "a")
    assert {one.name for one in tiny.repository.experiments()} == {"a-001-x", "b-000-x"}


def test_the_end_of_a_git_gc_that_lives_is_awaited(tiny, tmp_path):
    note = tiny.path / ".git/gc.pid"
    (tmp_path / "git").symlink_to(shutil.which("sleep"))
    living = subprocess.Popen([tmp_path / "git", "0.5"])
    note.write_text(f"{living.pid} {socket.gethostname()}\n")
    threading.Thread(target=living.wait).start()
    tiny.repository.await_gc()
    assert living.returncode == 0


@pytest.mark.parametrize("text", ["{gone} {host}\n", "{other} {host}\n", "half a no", "{other} elsewhere\n", ""])
def test_what_a_killed_git_gc_leaves_is_not_waited_for(tiny, text):
    gone = subprocess.Popen(["true"])
    gone.wait()
    note = text.format(gone=gone.pid, other=os.getpid(), host=socket.gethostname())  # a number that is used again
    (tiny.path / ".git/gc.pid").write_text(note)
    begun = time.monotonic()
    tiny.repository.await_gc()
    assert time.monotonic() < begun + 10


def test_looking_leaves_the_index_to_its_user(tiny):
    tiny.commit({"a": "1"})
    index = tiny.path / ".git/index"
    before = index.read_bytes()
    os.utime(tiny.path / "a", (1, 1))  # so that Git would write down its new time
    assert tiny.repository.dirty() == []
    assert index.read_bytes() == before
    tiny.git("status")
    assert index.read_bytes() != before


def test_commands_of_git_that_fail_say_why(tiny):
    with pytest.raises(StudyError, match=r"^git for-each-ref: .*not a git repository"):
        Repository(tiny.path.parent).experiments()
    assert os.environ["HOME"] == str(tiny.path.parent / "home")
