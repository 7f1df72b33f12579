"""Write files whole: whoever reads sees the old one or the new one."""

import os
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
