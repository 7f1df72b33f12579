"""A repository that has nothing to do with tones: another pipeline, in a subfolder, with parameters of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from conftest import ROOT, Workspace, checked, quiet_environment
from ruamel.yaml import YAML
from warm import Warm

from dvcsweep.commands import locate
from dvcsweep.plan.studies import load
from dvcsweep.record.ledger import Campaign
from dvcsweep.record.trials import Trial
from dvcsweep.repository import Experiment, Repository
from dvcsweep.running.processes import MARK

SWEEPS = Warm("dvcsweep.__main__", flags=("-W", "error"))
FIT = """
import json, math, os, pathlib, sys, time
p = json.loads(pathlib.Path("config.json").read_text())
with open(os.environ.get("RUNS", os.devnull), "a") as runs:
    runs.write(json.dumps(p) + "\\n")
time.sleep(p["sleep"])
if p["model"]["width"] == p["broken"]:
    print("ValueError: the width is broken", file=sys.stderr)
    sys.exit(3)
loss = (p["model"]["width"] - 5) ** 2 + math.log10(p["rate"]) ** 2 / (1 + p["rounds"])
if p["model"]["kind"] == "nan":
    loss = math.nan
pathlib.Path("weights.bin").write_text(repr(p))
pathlib.Path("curve.tsv").write_text("step\\tloss\\n0\\t9.0\\n1\\t%r\\n" % loss)
figures = {"loss": loss + p["seed"] / 1000, "size": p["model"]["width"] ** 2}
pathlib.Path("scores.json").write_text(json.dumps({"validation": figures, "train": {"loss": loss / 2}}))
"""
CONFIG = {
    "model": {"width": 8, "kind": "plain", "bias": None},
    "rate": 0.1,
    "rounds": 1,
    "seed": 1,
    "sleep": 0.0,
    "broken": -1,
}
PIPELINE = """
stages:
  fit:
    cmd: python fit.py
    deps: [fit.py]
    params:
      - config.json: [model, rate, rounds, seed, sleep, broken]
    outs: [weights.bin]
    metrics:
      - scores.json: {cache: false}
    plots:
      - curve.tsv: {cache: false}
"""
COMMON = {
    "pipeline": "ml/dvc.yaml",
    "params": "ml/config.json",
    "objective": "ml/scores.json:validation.loss",
    "jobs": 2,
}


def loss(width: int, rate: float, rounds: int = 1, seed: int = 1) -> float:
    """What the foreign pipeline measures, worked out here."""
    from math import log10

    return (width - 5) ** 2 + log10(rate) ** 2 / (1 + rounds) + seed / 1000


@dataclass
class Foreign(Workspace):
    """The foreign repository, with `python -m dvcsweep` at hand."""

    def study(self, name: str, **content: object) -> Path:
        """Write a study file."""
        path = self.path / "studies" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            YAML().dump({**COMMON, **content}, file)
        return path

    def command(self, *arguments: str) -> list[str]:
        """`python -m dvcsweep`, from anywhere."""
        start = "import sys; sys.path.insert(0, sys.argv.pop(1)); from dvcsweep.__main__ import main; sys.exit(main())"
        return [sys.executable, "-W", "error", "-c", start, str(ROOT), *arguments]

    def sweeps(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        done = SWEEPS.run("dvcsweep.__main__", *arguments, cwd=self.path, environment=self.environment)
        return checked(done) if check else done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command and go on; as a terminal would, heeding interrupts."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    @property
    def repository(self) -> Repository:
        """As sweeps sees it, anew."""
        return Repository(self.path)

    def campaign(self, name: str) -> Campaign:
        """The newest campaign of a study."""
        path = self.path / "studies" / f"{name}.yaml"
        return locate.locate(load(path), self.repository, path)

    def trials(self, name: str) -> list[Trial]:
        """Its trials."""
        return self.campaign(name).trials()

    def experiments(self) -> list[Experiment]:
        """All experiments here."""
        return self.repository.experiments()

    def marked(self) -> list[psutil.Process]:
        """Processes that any search in this repository has started and that still run."""
        alive = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK, "").startswith(str(self.path)) and process.status() != "zombie":
                    alive.append(process)
            except (psutil.Error, OSError):
                continue
        return alive

    def runs(self) -> list[dict]:
        """Parameters of every run of the stage, in order."""
        path = Path(self.environment["RUNS"])
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_until(condition: Callable[[], object], seconds: float = 90) -> object:
    """The condition's value once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def build(path: Path, home: Path) -> Foreign:
    """The repository, built and committed."""
    (path / "ml").mkdir(parents=True)
    foreign = Foreign(path, quiet_environment(home) | {"RUNS": str(home / "runs.jsonl")})
    (path / "ml" / "fit.py").write_text(FIT)
    (path / "ml" / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    (path / "ml" / "dvc.yaml").write_text(PIPELINE)
    foreign.run("git", "init", "--quiet", "--initial-branch", "main")
    foreign.run("dvc", "init", "--quiet")
    foreign.run("dvc", "config", "core.analytics", "false")
    foreign.run("dvc", "repro", "--quiet", "ml/dvc.yaml")
    foreign.commit("start")
    return foreign


def copy(source: Foreign, path: Path) -> Foreign:
    """A copy of it, to work in, with a count of runs of its own."""
    subprocess.run(["cp", "-r", str(source.path), str(path)], check=True)
    return Foreign(path, source.environment | {"RUNS": str(path.parent / "runs.jsonl")})


def kill_children(process: subprocess.Popen[str], pick: Callable[[psutil.Process], bool]) -> int:
    """SIGKILL the descendants of a process that are picked."""
    killed = 0
    try:
        descendants = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        return 0
    for child in descendants:
        try:
            if pick(child):
                os.kill(child.pid, signal.SIGKILL)
                killed += 1
        except (psutil.Error, ProcessLookupError):
            continue
    return killed
