"""What goes to and fro between a machine and the two remotes, on real Git repositories."""

import subprocess
import time
from dataclasses import replace

import pytest
from ledgers import study
from tiny import Tiny

from dvcsweep.commands import clean
from dvcsweep.errors import StudyError
from dvcsweep.repository import Repository, reference
from dvcsweep.running import handover
from dvcsweep.running.handover import Exchange, fetched_commit, hand_over, mirror, persist


@pytest.fixture
def tiny(tmp_path):
    made = Tiny.make(tmp_path)
    made.commit({"params.yaml": "x: 1\n"})
    return made


@pytest.fixture
def remote(tiny, tmp_path):
    bare = tmp_path / "git remote.git"
    tiny.git("init", "--quiet", "--bare", str(bare))
    tiny.git("push", "--quiet", str(bare), "main")
    return Exchange(str(bare), "store", patience=0.0, author=("Ada", "ada@example.org"))


def experiment(tiny: Tiny, name: str, content: str, author: str) -> str:
    """A commit on top of main under an experiment's reference; the reference."""
    baseline = tiny.git("rev-parse", "main")
    tiny.git("checkout", "--quiet", "--detach", "main")
    tiny.write({"params.yaml": content})
    tiny.git("commit", "--quiet", "--all", "--author", f"{author} <{author}@example.org>", "--message", "run")
    ref = reference(baseline, name)
    tiny.git("update-ref", ref, "HEAD")
    tiny.git("checkout", "--quiet", "main")
    return ref


def test_a_mirror_holds_the_commit_and_knows_the_author(tiny, remote, tmp_path):
    bare, head = tmp_path / "cache" / "repository", tiny.git("rev-parse", "HEAD")
    mirror(bare, remote, head)
    assert Repository(bare).exists(head)
    ident = subprocess.run(
        ["git", "config", "user.name"], cwd=bare, env=tiny.environment, capture_output=True, text=True, check=True
    )
    assert ident.stdout.strip() == "Ada"
    mirror(bare, replace(remote, git="/nowhere"), head)  # it is here: nobody is asked


def test_a_mirror_gets_what_was_pushed_since(tiny, remote, tmp_path):
    bare = tmp_path / "repository"
    mirror(bare, remote, tiny.git("rev-parse", "HEAD"))
    later = tiny.commit({"params.yaml": "x: 2\n"})
    with pytest.raises(StudyError, match=rf"holds commit {later[:7]}: git push first"):
        mirror(bare, remote, later)
    tiny.git("push", "--quiet", remote.git, "main")
    mirror(bare, remote, later)
    assert Repository(bare).exists(later)


def test_a_mirror_of_nothing_says_so(remote, tmp_path):
    with pytest.raises(StudyError, match="does not appear to be a git repository"):
        mirror(tmp_path / "repository", replace(remote, git=str(tmp_path / "nowhere")), "0" * 40)


def test_data_goes_before_the_reference(tiny, remote):
    ref = experiment(tiny, "a", "x: 2\n", "Ada")
    seen = []

    def push_cache() -> None:
        seen.append(tiny.git("ls-remote", remote.git, ref))

    commit = hand_over(tiny.path, remote, ref, push_cache)
    assert seen == [""]
    assert tiny.git("ls-remote", remote.git, ref).split("\t")[0] == commit == tiny.git("rev-parse", ref)


def test_without_its_data_no_reference_is_pushed(tiny, remote):
    ref = experiment(tiny, "a", "x: 2\n", "Ada")
    with pytest.raises(StudyError, match="the store is away"):
        hand_over(tiny.path, remote, ref, lambda: "the store is away")
    assert tiny.git("ls-remote", remote.git, ref) == ""


def test_of_two_machines_the_first_counts(tiny, remote):
    """A node that was taken for dead comes back after its trial was run elsewhere."""
    ref = experiment(tiny, "a", "x: 2\n", "First")
    first = hand_over(tiny.path, remote, ref, lambda: None)
    ref = experiment(tiny, "a", "x: 2\n", "Second")
    second = tiny.git("rev-parse", ref)
    assert second != first
    assert hand_over(tiny.path, remote, ref, lambda: None) == first
    assert tiny.git("rev-parse", ref) == first == tiny.git("ls-remote", remote.git, ref).split("\t")[0]


def test_an_experiment_that_is_there_is_brought_here(tiny, remote):
    ref = experiment(tiny, "a", "x: 2\n", "Ada")
    assert fetched_commit(tiny.path, remote, ref) == ""
    commit = hand_over(tiny.path, remote, ref, lambda: None)
    tiny.git("update-ref", "-d", ref)
    assert fetched_commit(tiny.path, remote, ref) == commit == tiny.git("rev-parse", ref)


def test_a_remote_that_is_away_is_tried_again_ever_more_rarely(monkeypatch):
    slept, now = [], [0.0]
    monkeypatch.setattr(handover.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(handover.time, "sleep", lambda pause: (slept.append(pause), now.__setitem__(0, now[0] + pause)))
    with pytest.raises(StudyError, match="away"):
        persist(lambda: "away", 100.0)
    assert slept == [1, 2, 4, 8, 16, 30, 30]
    assert sum(slept) <= 100.0


def test_what_works_in_the_end_is_no_error():
    reasons = iter(["away", None])
    begin = time.monotonic()
    persist(lambda: next(reasons), 10.0)
    assert time.monotonic() - begin >= 1.0


def test_a_study_is_removed_at_the_git_remote_too_and_others_stay(tiny, remote, monkeypatch):
    monkeypatch.setattr(clean, "AT_ONCE", 2)
    demo = study(space={"x": [1, 2]})
    tiny.commit({"dvc.yaml": "stages: {}\n"})
    tiny.git("push", "--quiet", remote.git, "main")
    short = tiny.git("rev-parse", "--short=7", "main")
    names = [f"demo-{index:03d}-{short}" for index in range(5)]
    others = [f"demo-wide-000-{short}", f"other-000-{short}"]
    for name in (*names, *others):
        hand_over(tiny.path, remote, experiment(tiny, name, f"x: {name}\n", "Ada"), lambda: None)
    told = clean.clean(demo, tiny.repository, dry=True, git_remote=remote.git)
    assert told.startswith(f"would remove 5 experiments at {remote.git}\nwould remove 5 experiments of study demo")
    assert len(tiny.git("ls-remote", remote.git, "refs/exps/*").splitlines()) == 7
    clean.clean(demo, tiny.repository, git_remote=remote.git)
    left = [line.rpartition("/")[2] for line in tiny.git("ls-remote", remote.git, "refs/exps/*").splitlines()]
    assert sorted(left) == others
    assert sorted(one.name for one in tiny.repository.experiments()) == others
