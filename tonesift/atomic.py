"""Write files aside, then rename: a reader sees the old file or the whole new one, never half of one.

The aside copy lies in the target's own folder (a rename is atomic only within one file system), is named
`.NAME.PID.partial` and ignored by Git. One left behind by a killed process is removed by the next writer.
"""

import glob
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a free path beside `path`; move what was written there onto `path`, or remove it if the block fails.

    Parameters
    ----------
    path : str or Path
        The file or folder to replace. Its parent folder is made if need be.

    Yields
    ------
    Path
        Where to write, as a file or as a folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    _remove(aside)  # a link of that name would have its target written over
    try:
        yield aside
        old = path.with_name(f".{path.name}.old.{os.getpid()}.partial")
        if path.is_dir():  # a folder cannot be renamed onto a full one
            path.replace(old)
        elif path.is_file() and aside.is_file():
            aside.chmod(stat.S_IMODE(path.stat().st_mode))  # who may read it is not for its content to change
        aside.replace(path)
        _remove(old)
    except OSError as error:
        if str(error.filename) == str(aside):  # a name that the user has never heard
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        pid = left.name.split(".")[-2]
        if pid.isdigit() and not _alive(int(pid)):
            _remove(left)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
