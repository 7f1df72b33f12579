"""What the tests share: a small configuration, and a copy of the repository to run the real pipeline in."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ruamel.yaml import YAML
from threadpoolctl import threadpool_limits
from warm import LONGEST, Warm

from tonesift import arithmetic

if TYPE_CHECKING:
    from selenium import webdriver

# Before anything imports NumPy; processes that tests start inherit it.
arithmetic.choose(os.environ.get("TONESIFT_TEST_ARITHMETIC", "portable"))

from bits import PATHS, TWO_TONES  # noqa: E402

from dvcsweep.running.processes import PRELOADED, THREADS  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
CODE = ("pages", "stages", "tonesift", "workspace", "dvc.yaml", "params.yaml", ".dvcignore", ".gitignore")
SMALL = {
    "data": TWO_TONES,
    "prepare": {"sequence_length": 20},
    "model": {"hidden_size": 8},
    "train": {"epochs": 2, "learning_rate": 0.01, "arithmetic": "portable"},
}

# What takes long, by what a test asks for: a copy of the repository to run in, another search's repository, a browser,
# other processors, filters between pipes, a page of commands. `make test` leaves it out, but for the one test that is
# marked as the main job.
WHOLE = {"make_workspace", "foreign", "browser", "bits", "preloaded", "between_pipes", "page"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that take long."""
    for item in items:
        servers = {"cluster", "sharing"} & set(item.path.parts)
        if servers or (WHOLE & set(item.fixturenames) and not item.get_closest_marker("main_job")):
            item.add_marker(pytest.mark.whole)


def imports(path: Path) -> set[str]:
    """Names of what a module imports; from a package, also those of what it takes from there."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def require(program: str, package: str) -> str:
    """Path of a program, or a skip that says what to install; a failure where every test is required."""
    found = shutil.which(program)
    if found:
        return found
    if os.environ.get("TONESIFT_REQUIRE_ALL"):
        pytest.fail(f"{program} is missing: install Debian's package {package}")
    pytest.skip(f"{program} is missing: install Debian's package {package}")


# Tests run side by side on few cores, and what they compute is small: they and what they start have one thread each,
# unless a test is about threads.
os.environ.update(dict.fromkeys(THREADS, "1"))
threadpool_limits(1)
# An optimiser imports torch._dynamo at its first step, which takes longer than a small training.
LIBRARY = (
    "dvclive",
    "torch._dynamo",
    "tonesift.learning.run",
    "tonesift.evaluation.run",
    "tonesift.full_evaluation.run",
)
STAGES = Warm(*(f"stages.{name}" for name in PATHS), "pages.report", *LIBRARY)
DVC = Warm("dvc.cli", *PRELOADED)


def checked(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """What a command gave, if it succeeded."""
    if done.returncode:
        raise AssertionError(f"{done.args} gave {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


@dataclass
class Workspace:
    """A copy of the repository in a folder of its own."""

    path: Path
    environment: dict[str, str]

    def run(self, *command: str, check: bool = True, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a command here; `python` and `dvc` are those of the running tests."""
        if command[0] == "dvc" and command[1] != "queue" and not changes:  # which leaves a process behind
            done = DVC.run("dvc.__main__", *command[1:], cwd=self.path, environment=self.environment)
            return checked(done) if check else done
        done = subprocess.run(
            command,
            cwd=self.path,
            env=self.environment | changes,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
        return checked(done) if check else done

    def stage(self, name: str, *arguments: str, check: bool = True, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a stage without DVC."""
        return self.module(f"stages.{name}", *arguments, check=check, **changes)

    def module(
        self, name: str, *arguments: str, check: bool = True, **changes: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a module, in a process that starts at once unless the environment is to differ."""
        if changes:
            return self.run("python", "-m", name, *arguments, check=check, **changes)
        done = STAGES.run(name, *arguments, cwd=self.path, environment=self.environment)
        return checked(done) if check else done

    def set(self, values: dict[str, dict]) -> None:
        """Change parameters, section by section."""
        change_params(self.path / "params.yaml", values)

    def read(self, name: str) -> str:
        """Text of a file."""
        return (self.path / name).read_text(encoding="utf-8")

    def commit(self, message: str) -> None:
        """Commit everything that Git does not ignore."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)


def change_params(path: Path, values: dict[str, dict]) -> None:
    """Change parameters in a file, keeping its comments."""
    yaml = YAML()
    content = yaml.load(path)
    for section, entries in values.items():
        content[section].update(entries)
    yaml.dump(content, path)


def quiet_environment(home: Path) -> dict[str, str]:
    """Environment in which Git and DVC know nothing of the user's own settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GIT_", "DVC_", "DVCLIVE_", "PYTEST_", "MAKE"))
    }
    identity = {
        f"GIT_{role}_{kind}": value
        for role in ("AUTHOR", "COMMITTER")
        for kind, value in (("NAME", "Test"), ("EMAIL", "test@example.org"))
    }
    return (
        kept
        | identity
        | {
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GIT_CONFIG_NOSYSTEM": "1",
            "DVC_NO_ANALYTICS": "1",
            "DVC_GLOBAL_CONFIG_DIR": str(home / "dvc"),
            "DVC_SITE_CACHE_DIR": str(home / "site"),
            "DVC_SYSTEM_CONFIG_DIR": str(home / "system"),
        }
    )


def bring_compiled(path: Path) -> None:
    """Bring what Numba has compiled here, which takes it ten seconds; it goes by the times of the files."""
    for kept in (ROOT / "tonesift").rglob("*.nb[ci]"):
        place = path / kept.relative_to(ROOT)
        place.parent.mkdir(exist_ok=True)
        shutil.copy2(kept, place)


@pytest.fixture(scope="session")
def make_workspace(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Workspace]:
    """Maker of committed copies of the repository with the small configuration."""

    def make(name: str) -> Workspace:
        home = tmp_path_factory.mktemp("home")
        path = tmp_path_factory.mktemp("work") / name
        path.mkdir()
        for entry in CODE:
            source = ROOT / entry
            if source.is_dir():
                shutil.copytree(source, path / entry, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, path / entry)
        bring_compiled(path)
        workspace = Workspace(path, quiet_environment(home))
        workspace.set(YAML().load(ROOT / "studies" / "bases" / "guide.yaml"))  # whatever params.yaml was promoted to
        workspace.set(SMALL)
        workspace.run("git", "init", "--quiet", "--initial-branch", "main")
        workspace.run("dvc", "init", "--quiet")
        shutil.copy(ROOT / ".dvc" / "config", path / ".dvc" / "config")
        workspace.commit("start")
        return workspace

    return make


@pytest.fixture
def workspace(make_workspace: Callable[[str], Workspace]) -> Workspace:
    """A fresh copy of the repository, nothing run yet, in a folder with a space in its name."""
    return make_workspace("a copy")


# What juts out of the window, but for what stands in a frame that scrolls by itself
OVERFLOW = """
const width = document.documentElement.clientWidth;
return [...document.body.querySelectorAll('*')]
  .filter(e => e.getBoundingClientRect().right > width + 0.5 && !e.parentElement.closest('.scroll, pre, .math'))
  .map(e => e.tagName + '.' + e.className)
  .concat(document.documentElement.scrollWidth > width ? ['the page'] : []);
"""


@pytest.fixture
def browser(tmp_path: Path) -> "Iterator[webdriver.Chrome]":
    """Chromium without a network, which keeps what a page logs and asks for."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = require("chromium", "chromium")
    service = webdriver.ChromeService(require("chromedriver", "chromium-driver"))
    for switch in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "disable-dev-shm-usage",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        f"user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=service)
    driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield driver
    driver.quit()


def resize(browser: "webdriver.Chrome", width: int) -> None:
    """Give the window's inside a width, in pixels."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def requests(browser: "webdriver.Chrome", page: str) -> set[str]:
    """Addresses that a page asked for, itself among them, since the last call; what is inside the page left out."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    asked = {each["request"]["url"] for each in sent if each["documentURL"] == page}
    return {address for address in asked if not address.startswith("data:")}
