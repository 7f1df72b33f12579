import os
import stat
import subprocess
import sys
import time

import pytest

from tonesift.atomic import replacing


def write(path, text):
    with replacing(path) as aside:
        aside.write_text(text)


def test_a_file_appears_whole_in_a_folder_made_for_it(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write(path, "new")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_replaces_a_folder(tmp_path):
    for text in ("old", "new"):
        with replacing(tmp_path / "folder") as aside:
            aside.mkdir()
            (aside / text).touch()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_failure_keeps_the_old_one_and_leaves_nothing(tmp_path):
    write(tmp_path / "file", "old")
    with pytest.raises(UnicodeEncodeError, match="surrogates"), replacing(tmp_path / "file") as aside:
        aside.write_text("half, then \ud800", encoding="utf-8")
    assert (tmp_path / "file").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


PROGRAM = """
import sys, time
from tonesift.atomic import replacing
with replacing(sys.argv[1]) as aside:
    aside.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_writer_left_is_swept_and_a_living_ones_is_not(tmp_path):
    path = tmp_path / "file"
    writers = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        for writer in writers:
            assert writer.stdout.readline() == "writing\n"
        writers[0].kill()
        writers[0].wait()
        write(path, "new")
        assert path.read_text() == "new"
        assert sorted(left.name for left in tmp_path.iterdir()) == [f".file.{writers[1].pid}.partial", "file"]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
            writer.stdout.close()


def test_a_reader_never_sees_half(tmp_path):
    path = tmp_path / "file"
    write(path, "0" * 100_000)
    reader = os.fork() if hasattr(os, "fork") else pytest.skip("needs fork")
    if reader == 0:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            text = path.read_text()
            if len(text) != 100_000 or len(set(text)) != 1:
                os._exit(1)
        os._exit(0)
    for digit in "123456789" * 10:
        write(path, digit * 100_000)
    assert os.waitstatus_to_exitcode(os.waitpid(reader, 0)[1]) == 0


def test_who_may_read_a_file_stays_as_it_was(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(0o600)
    write(tmp_path / "file", "new")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


@pytest.mark.parametrize("folder", [False, True])
def test_a_link_in_the_place_of_the_side_file_is_not_followed(tmp_path, folder):
    other = tmp_path / "other"
    other.mkdir() if folder else other.write_text("kept")
    (tmp_path / f".file.{os.getpid()}.partial").symlink_to(other)
    write(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"
    assert other.is_dir() if folder else other.read_text() == "kept"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", ["**.npy", "[a].npy", "a*"])
def test_a_name_is_no_pattern(tmp_path, name):
    (tmp_path / ".a.1.partial").touch()
    write(tmp_path / name, "new")
    assert (tmp_path / name).read_text() == "new"
    assert (tmp_path / ".a.1.partial").exists()


def test_a_folder_that_cannot_be_written_is_told_by_the_name_asked_for():
    with pytest.raises(OSError, match=r"denied: '/sys/file'|permitted: '/sys/file'|read-only.*'/sys/file'"):
        write("/sys/file", "new")
