"""What a worker makes of what it meets: tables that are being written, and the words of processes that were killed."""

import pytest

from dvcsweep.running.channel import so_far
from dvcsweep.running.worker import KILLED


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
