"""docs/template.md: the repository that it describes, made from this one: its pipeline, a queue and a search."""

import re
import shutil
import subprocess

import pytest
from conftest import ROOT, checked, quiet_environment

PAGE = (ROOT / "docs" / "template.md").read_text(encoding="utf-8")


def blocks(text: str) -> list[tuple[str, str, str]]:
    """Blocks of code on the page: the name that stands above each, its language, its text."""
    return re.findall(r"(?:`([\w./]+)`\n\n)?```(\w+)\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def page(tmp_path):
    """What the page's commands said, and the repository that they made."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    place, said = tmp_path / "digits of mine", ""
    for name in listed.splitlines():
        if (ROOT / name).is_file():  # removed, not yet committed
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name)
    (tmp_path / "home").mkdir()
    environment = quiet_environment(tmp_path / "home")
    environment.pop("PYTHONPATH", None)
    environment["COLUMNS"] = "120"
    for name, kind, text in blocks(PAGE):
        if name:
            (place / name).write_text(text, encoding="utf-8")
        elif kind == "console":
            for line in text.splitlines():
                command = ["bash", "-c", line.removeprefix("$ ")]
                done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
                said += checked(done).stdout
    return said, place


def test_the_page_makes_a_repository_with_a_pipeline_a_queue_and_a_search(page):
    said, place = page
    assert "The committed bits: all 5 outputs are as dvc.lock has them" in said
    queued = said[said.index("model.hidden_size") : said.index("4 of 4 trials done")]
    assert {line.split()[-1] for line in queued.splitlines() if re.search(r"0\.\d+ +\d+ *$", line)} == {"8", "16", "32"}
    assert "4 of 4 trials done" in said
    assert "Ready to commit" in said
    assert (place / "studies" / "first" / "report.html").exists()
    left = {path.name for path in place.iterdir()}
    assert not {"tonesift", "any-tones", "hum", "switching", "pages", "docs"} & left


def test_what_the_table_keeps_and_takes_as_a_model_exists():
    table = PAGE[PAGE.index("| keep |") : PAGE.index("## 1.")]
    names = re.findall(r"`([^`]+)`", table)
    assert len(names) > 20
    for name in names:
        assert (ROOT / name).exists() or name in ("models/",), name
