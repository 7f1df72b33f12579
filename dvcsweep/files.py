"""Files: written whole, so that whoever reads sees the old one or the new one; and told apart by what is in them."""

import hashlib
import os
import shutil
from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write aside, then rename; what the path links to is what is replaced, and its permissions stay."""
    target = path.resolve()
    aside = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)
        if target.exists():
            aside.chmod(target.stat().st_mode & 0o7777)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    return path


def digest(path: Path) -> str:
    """Digest of a file's content, or of all files of a folder with their names; empty where there is nothing."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    names = sorted(one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file())
    whole = "".join(f"{digest(path / name)} {name}\n" for name in names)
    return hashlib.sha256(whole.encode()).hexdigest()[:16] if names else ""


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder; what is there already is replaced, file by file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)
