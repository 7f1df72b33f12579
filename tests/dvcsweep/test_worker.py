"""What a worker makes of what it meets: half-written tables, killed processes' words, a user who runs `git gc`."""

import contextlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import Tiny

from dvcsweep.errors import StudyError
from dvcsweep.repository import reference
from dvcsweep.running import clones
from dvcsweep.running.channel import so_far
from dvcsweep.running.clones import prepare
from dvcsweep.running.handover import persist
from dvcsweep.running.job import Job
from dvcsweep.running.pool import Pool
from dvcsweep.running.worker import KILLED, push, run

# As `git gc --prune=now` does to objects that came after it looked for references, but at the first push alone.
DROP = """#!/bin/sh
while read old new ref; do
    test -e dropped || rm -f objects/$(echo $new | cut -c -2)/$(echo $new | cut -c 3-)
    touch dropped
done
"""


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("step\tloss\n0\t0.5\n1\t0.25\n", [0.5, 0.25]),
        ("step\tloss\n0\t0.5\n1\t0.2", [0.5]),  # 0.25, of which two digits have been written
        ("step\tloss\n0\t0.5\n1\t", [0.5]),
        ("step\tloss\n", []),
        ("step\tlo", []),
        ("", []),
    ],
)
def test_a_table_is_read_up_to_its_last_whole_line(tmp_path, text, values):
    path = tmp_path / "loss.tsv"
    path.write_text(text)
    assert so_far(path)[1] == values


def test_what_is_no_table_yet_is_none(tmp_path):
    assert so_far(tmp_path / "none.tsv") is None
    (tmp_path / "text.tsv").write_text("step\tloss\n0\thello\n")
    assert so_far(tmp_path / "text.tsv") is None
    (tmp_path / "bytes.tsv").write_bytes(b"\xff\xfe\n")
    assert so_far(tmp_path / "bytes.tsv") is None


@pytest.mark.parametrize(
    ("text", "killed"),
    [
        ("failed to run: python fit.py, exited with -9", True),
        ("exited with 137", True),
        ("git push: gave -9", True),
        ("git push: Killed\nsend-pack: unexpected disconnect while reading sideband packet", True),
        ("git clone: fatal: pack-objects died of signal 9", True),
        ("exited with 1", False),
        ("exited with -11", False),  # a segmentation fault
        ("git push: fatal: remote: Killed is the name of a branch", False),
        ("ValueError: Killed", False),
    ],
)
def test_a_process_that_was_killed_is_told_from_one_that_failed(text, killed):
    assert bool(KILLED.search(text)) is killed


@pytest.fixture
def job(tmp_path, monkeypatch):
    tiny = Tiny.make(tmp_path)
    for name, value in tiny.environment.items():
        monkeypatch.setenv(name, value)
    baseline = tiny.commit({"params.yaml": "x: 1\n", "dvc.yaml": "stages: {}\n"})
    folders = {name: str(tmp_path / name) for name in ("clone", "cache", "log")}
    return Job(
        "a-000",
        baseline,
        str(tiny.path),
        **folders,
        pipeline="dvc.yaml",
        params="params.yaml",
        settings={"x": 2},
        objectives=[],
    )


def git(folder: str, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def commit(job):
    """An experiment's commit in the job's clone."""
    prepare(job, lambda *_: 0)
    git(job.clone, "commit", "--quiet", "--all", "--message", "x is 2")
    git(job.clone, "update-ref", reference(job.baseline, job.name), "HEAD")
    return git(job.clone, "rev-parse", "HEAD")


def test_an_experiment_that_git_gc_dropped_while_it_came_is_pushed_again(job, commit):
    hook = Path(job.root, ".git/hooks/post-receive")
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(DROP)
    hook.chmod(0o755)
    ref = reference(job.baseline, job.name)
    persist(push(job, ref, commit), 5.0)
    assert Path(job.root, ".git/dropped").exists()
    assert git(job.root, "rev-parse", ref) == commit
    git(job.root, "fsck", "--full", "--strict")


def test_a_reference_that_a_killed_git_left_locked_is_written_all_the_same(job, commit):
    ref = reference(job.baseline, job.name)
    lock = Path(job.root, f".git/{ref}.lock")
    lock.parent.mkdir(parents=True)
    lock.touch()
    assert push(job, ref, commit)() is None
    assert git(job.root, "rev-parse", ref) == commit
    assert not lock.exists()


def test_a_clone_that_git_gc_spoils_is_made_again(job, monkeypatch):
    real, made = clones._clone, []

    def spoilt(source, target):
        made.append(target)
        real(source, target)
        if len(made) == 1:
            for file in Path(target, ".git/objects").glob("??/*"):
                file.unlink()

    monkeypatch.setattr(clones, "_clone", spoilt)
    prepare(job, lambda *_: 0)
    assert len(made) == 2
    assert Path(job.clone, "params.yaml").read_text() == "x: 2\n"


def test_a_clone_that_cannot_be_made_says_why(job, monkeypatch):
    monkeypatch.setattr(clones, "PATIENCE", 0.0)
    with pytest.raises(StudyError, match=rf"git update-ref: fatal: .*{'1' * 40}"):
        prepare(replace(job, baseline="1" * 40), lambda *_: 0)


def test_an_error_names_no_folder_of_this_machine(job):
    def failed(job, command):
        Path(job.log).write_text(f'  File "{job.clone}/stages/fit.py", line 1, in fit\nValueError: no\n')
        return 1

    error = run(job, failed).error
    assert 'File "stages/fit.py", line 1' in error
    assert job.clone not in error


def test_a_job_for_a_worker_that_has_just_died_is_one_that_was_interrupted(job, tmp_path):
    pool = Pool(tmp_path / "workers", 1)
    with contextlib.closing(pool):
        pool._start(pool.slots[0])
        pool.slots[0].process.kill()
        pool.slots[0].process.wait()
        pool.submit(job)
        [outcome] = pool.wait(60)
        assert (outcome.name, outcome.interrupted) == (job.name, True)
        assert pool.idle == 1
