"""The packages that others install: what they ask for, and a first search with nothing else."""

import os
import re
import subprocess
import sys
import time
import tomllib
import venv

import numpy as np
import pytest
from conftest import ROOT, checked, imports, quiet_environment
from packaging.requirements import Requirement

PACKAGES = ("dvcsweep", "tonesift")
# What is imported under another name than it is installed.
NAMES = {"ruamel": "ruamel.yaml", "yaml": "pyyaml", "sklearn": "scikit-learn"}


def project(package: str) -> dict:
    return tomllib.loads((ROOT / package / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def asked(package: str) -> list[Requirement]:
    """All that a package asks for, its extras included."""
    content = project(package)
    extras = content.get("optional-dependencies", {}).values()
    return [Requirement(line) for lines in (content["dependencies"], *extras) for line in lines]


def pins() -> dict[str, str]:
    lines = [line for path in ROOT.glob("requirements*.txt") for line in path.read_text(encoding="utf-8").splitlines()]
    return {Requirement(line).name: line.partition("==")[2] for line in lines if "==" in line}


@pytest.mark.parametrize("package", PACKAGES)
def test_what_this_repository_pins_lies_in_the_ranges_that_users_are_given(package):
    for requirement in asked(package):
        assert requirement.specifier.contains(pins()[requirement.name]), requirement
        assert {part.operator for part in requirement.specifier} == {">=", "<"}, requirement


def test_the_search_tool_asks_for_all_that_it_imports_and_for_no_pytorch():
    tops = {name.partition(".")[0] for path in (ROOT / "dvcsweep").rglob("*.py") for name in imports(path)}
    third = {NAMES.get(name, name) for name in tops - sys.stdlib_module_names - {"dvcsweep"}}
    given = {requirement.name for requirement in asked("dvcsweep")}
    # Optuna's fANOVA takes scikit-learn, its Gaussian process PyTorch; pydantic brings its core.
    assert third - {"pydantic_core"} == given - {"scikit-learn", "torch"}
    assert "torch" not in " ".join(project("dvcsweep")["dependencies"])


def test_the_filter_asks_for_all_that_it_imports():
    code = "import sys, tonesift.__main__; print(*(name for name in sys.modules if name.startswith('tonesift')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [ROOT / f"{name.replace('.', '/')}.py" for name in done.stdout.split()]
    tops = {name.partition(".")[0] for path in files if path.exists() for name in imports(path)}
    third = {NAMES.get(name, name) for name in tops - sys.stdlib_module_names - {"tonesift"}}
    assert third - {"pydantic_core"} <= {requirement.name for requirement in asked("tonesift")}


def test_filters_of_named_tones_need_no_pytorch_and_networks_say_that_they_do(tmp_path):
    recording = tmp_path / "recording.npy"
    np.save(recording, np.sin(np.arange(720) * 2 * np.pi * 50 / 360) + 0.1 * np.cos(np.arange(720) ** 2))
    code = "import sys; sys.modules['torch'] = None\nfrom tonesift.__main__ import main; main()"
    arguments = ["filter", str(recording), "--rate", "360", "--tones", "50,100", "-o", str(tmp_path / "hum.npy")]
    command = [sys.executable, "-c", code, *arguments]
    plain, network = (
        subprocess.run([*command, "--method", method], cwd=ROOT, capture_output=True, text=True, check=False)
        for method in ("kalman", "hybrid")
    )
    assert plain.returncode == 0, plain.stderr
    assert np.load(tmp_path / "hum.npy").shape == (2, 720)
    assert network.returncode == 2
    assert network.stderr == "filter: networks need PyTorch, which is not installed: pip install torch safetensors\n"


# From the index of packages that pip is set up with, in an environment of its own: the one test that asks for anything.


def blocks(text: str) -> list[tuple[str, str, str]]:
    """Blocks of code on the page: the name that stands above each, its language, its text."""
    return re.findall(r"(?:`([\w.]+)`\n\n)?```(\w+)\n(.*?)```", text, re.DOTALL)


@pytest.mark.whole
@pytest.mark.skipif(not os.environ.get("TONESIFT_INSTALL"), reason="set TONESIFT_INSTALL=1 to install from the index")
def test_from_nothing_to_a_first_search(tmp_path):
    page = (ROOT / "docs" / "first-search.md").read_text(encoding="utf-8")
    venv.create(tmp_path / "environment", with_pip=True)
    programs = tmp_path / "environment" / "bin"
    installed = [str(programs / "python"), "-m", "pip", "install", "--quiet", str(ROOT / "dvcsweep")]
    begin = time.monotonic()
    checked(subprocess.run(installed, capture_output=True, text=True, check=False))
    print(f"installed in {time.monotonic() - begin:.0f} s")
    missing = subprocess.run([str(programs / "python"), "-c", "import torch"], capture_output=True, check=False)
    assert missing.returncode
    (tmp_path / "home").mkdir()
    environment = quiet_environment(tmp_path / "home") | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    place = tmp_path / "a project"
    place.mkdir()
    begin, said = time.monotonic(), ""
    for name, kind, text in blocks(page):
        if name:
            (place / name).write_text(text, encoding="utf-8")
            assert name != "study.yaml" or len(text.splitlines()) <= 10
        elif kind == "console" and "pip install" not in text:
            for line in text.splitlines():
                command = ["bash", "-c", line.removeprefix("$ ")]
                done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
                said += checked(done).stdout
    took = time.monotonic() - begin
    print(f"to the first finished study in {took:.0f} s")
    assert "6 of 6 trials done" in said
    assert "Ready to commit" in said
    assert (place / "study" / "report.html").exists()
    assert took < 120
