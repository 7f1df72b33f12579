"""A Git and DVC repository of a few small text files."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from conftest import quiet_environment

from dvcsweep.repository import Repository


@dataclass
class Tiny:
    """The repository, in a folder of its own."""

    path: Path
    environment: dict[str, str]

    @classmethod
    def make(cls, folder: Path) -> "Tiny":
        """An empty one, with nothing committed."""
        home = folder / "home"
        home.mkdir()
        tiny = cls(folder / "a tiny repository", quiet_environment(home))
        tiny.path.mkdir()
        tiny.git("init", "--quiet", "--initial-branch", "main")
        tiny.write(
            {".dvc/config": "[core]\n    analytics = false\n", ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n"}
        )
        return tiny

    def git(self, *arguments: str) -> str:
        """Run Git here."""
        return subprocess.run(
            ["git", *arguments], cwd=self.path, env=self.environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    def write(self, files: dict[str, str | bytes | None]) -> None:
        """Write files; None removes one."""
        for name, content in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.unlink()
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                path.write_text(content, encoding="utf-8")

    def commit(self, files: dict[str, str | bytes | None] | None = None) -> str:
        """Write files and commit everything; the commit."""
        self.write(files or {})
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "step")
        return self.git("rev-parse", "HEAD")

    @property
    def repository(self) -> Repository:
        """As sweeps sees it, anew."""
        return Repository(self.path)
