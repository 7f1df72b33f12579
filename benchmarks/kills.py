"""A search, and DVC's queue, while some of their processes are killed: what is lost, doubled, stuck or left behind.

python -m benchmarks.kills                              # 300 trials on each side
python -m benchmarks.kills --trials 200 --share 0.02    # half an hour on a busy machine

For one process in a hundred that appears, one of those that live, drawn at random, is killed (SIGKILL) a little later:
driver, worker, DVC, Git and stage alike. Whoever looks after them types again what one types when nothing goes on:
`python -m dvcsweep run STUDY` when the driver is gone, `dvc queue start` when a worker is. Nothing else is mended.
"""

import argparse
import contextlib
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
import psutil

from benchmarks import machine, searches

MARK = "KILLS_FAMILY"
FIRST = 10  # the first trial's x, which the committed parameters do not have
POLL, DELAY = 0.02, 2.0  # seconds
PATIENCE = 120.0  # seconds without a trial more, after which nothing is thought to go on
GRACE = 30.0  # seconds that processes have to end by themselves; a queue's idle worker takes up to 20
STAGE = """
import json, os, time
p = json.load(open("params.json"))
def note(word):
    with open(os.environ["TIMES"], "a") as runs:
        runs.write(f"{word} {p['x']}\\n")
note("began")
time.sleep(p["sleep"])
json.dump({"validation": {"loss": (p["x"] - 3) ** 2}}, open("metrics.json", "w"))
open("model.bin", "w").write(str(p))
note("finished")
"""
STUDY = """
objective: metrics.json:validation.loss
params: params.json
strategy: grid
seed: 1
jobs: {jobs}
fixed: {{sleep: {sleep}}}
stop: {{failures: {trials}}}
space:
  x: {values}
"""
UNDER_WAY = ("queued", "running", "waiting")


@dataclass(frozen=True)
class Trial:
    """What a trial came to.

    Attributes
    ----------
    recorded : int
        Experiments with its parameters.
    state : str
        What the tool says of it: queued, waiting, running, failed, complete, or unknown.
    finished : int
        How often its stage ran to the end.
    """

    recorded: int
    state: str
    finished: int


def count(trials: Iterable[Trial]) -> dict[str, int]:
    """How many trials came to what; one can be several of these."""
    tests: dict[str, Callable[[Trial], bool]] = {
        "there": lambda trial: trial.recorded > 0,
        "failed, and said so": lambda trial: not trial.recorded and trial.state == "failed",
        "lost: no experiment, and not said to have failed": lambda trial: (
            not trial.recorded and trial.state not in ("failed", *UNDER_WAY)
        ),
        "stuck: said to run, and nothing runs": lambda trial: trial.state == "running",
        "never begun": lambda trial: trial.state in ("queued", "waiting"),
        "recorded twice": lambda trial: trial.recorded > 1,
        "there, and said to have failed": lambda trial: trial.recorded > 0 and trial.state == "failed",
        "stage ran to the end twice": lambda trial: trial.finished > 1,
    }
    every = list(trials)
    return {name: sum(test(trial) for trial in every) for name, test in tests.items()}


def queue_states(status: str) -> dict[int, str]:
    """What `dvc queue status` says, by the numbers, from 1, at the ends of the names."""
    rows = re.findall(r"^[0-9a-f]{7}\s+\S+-(\d+)\s.*\s(\w+)\s*$", status, re.MULTILINE)
    return {int(number): {"Success": "complete"}.get(state, state.lower()) for number, state in rows}


def finished(runs: str) -> Counter[int]:
    """How often the stage ran to the end, by x."""
    return Counter(int(line.split()[1]) for line in runs.splitlines() if line.startswith("finished"))


class Family(threading.Thread):
    """The processes that carry a mark, and the killing among them.

    Parameters
    ----------
    mark : Path
        What they have in their environment.
    share : float
        Kills for each process that appears.
    seed : int
        Of who is killed and when; the processes themselves come as they like.
    """

    def __init__(self, mark: Path, share: float, seed: int) -> None:
        super().__init__(daemon=True)
        self.mark, self.share, self.chance = str(mark), share, random.Random(seed)  # noqa: S311
        self.members: dict[int, psutil.Process] = {}
        self.strangers: set[int] = set()
        self.appeared, self.killed = 0, Counter[str]()
        self.due: list[float] = []
        self.over = threading.Event()

    def run(self) -> None:
        """Until it is over."""
        while not self.over.wait(POLL):
            fresh = self._look()
            self.appeared += fresh
            self.due += [
                time.monotonic() + self.chance.uniform(0, DELAY)
                for _ in range(fresh)
                if self.chance.random() < self.share
            ]
            for moment in [moment for moment in self.due if moment <= time.monotonic()]:
                self.due.remove(moment)
                self._kill_one()

    def living(self) -> list[psutil.Process]:
        """Those seen at the last look that still live."""
        return [process for process in list(self.members.values()) if _lives(process)]

    def _look(self) -> int:
        """Find the members anew; how many have appeared."""
        alive = set(psutil.pids())
        members = {pid: process for pid, process in self.members.items() if pid in alive}
        self.strangers &= alive
        for pid in sorted(alive - members.keys() - self.strangers):
            with contextlib.suppress(psutil.Error, OSError):
                process = psutil.Process(pid)
                if process.environ().get(MARK) == self.mark:
                    members[pid] = process
                elif time.time() - process.create_time() > 1:  # before, it may be about to become another program
                    self.strangers.add(pid)
        fresh = len(members.keys() - self.members.keys())
        self.members = members
        return fresh

    def _kill_one(self) -> None:
        living = self.living()
        self.chance.shuffle(living)
        for victim in living:
            kind = role(victim)
            with contextlib.suppress(psutil.Error, OSError):  # it may just have ended by itself: then the next one
                victim.send_signal(signal.SIGKILL)
                self.killed[kind] += 1
                return

    def close(self) -> None:
        """No more killing; then whoever is left is ended."""
        self.over.set()
        self.join()
        for _ in range(50):
            self._look()
            for process in (left := self.living()):
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=1)
            if not left:
                return


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def role(process: psutil.Process) -> str:
    """What a process does; gone, if it has just ended."""
    try:
        kind, parent = role_of(process.cmdline()), process.parent()
        if kind == "worker" and parent is not None and role_of(parent.cmdline()) == "worker":
            return "dvc"  # a fork of a worker of the search's
    except psutil.Error:
        return "gone"
    return kind


def role_of(arguments: Sequence[str]) -> str:
    """The same by its command line alone."""
    line = " ".join(arguments)
    if arguments and Path(arguments[0]).name.startswith("git"):
        return "git"
    words = {"stage": "fit.py", "worker": r"running\.worker|queue-worker", "dvc": "exec-run", "command": "queue st"}
    return next((kind for kind, word in words.items() if re.search(word, line)), "driver")


@dataclass(frozen=True)
class Side:
    """One of the two, at work in a repository of its own."""

    path: Path
    runs: Path
    family: Family
    trials: int
    jobs: int

    @property
    def marked(self) -> dict[str, str]:
        """Environment of what may be killed."""
        return searches.environment(self.runs) | {MARK: self.family.mark}

    def type(self, *command: str) -> int:
        """A command that may be killed, and its exit status."""
        with (self.path.parent / f"{self.path.name}.log").open("a") as log:
            return subprocess.run(
                command, cwd=self.path, env=self.marked, stdout=log, stderr=log, check=False
            ).returncode

    def say(self, *command: str) -> str:
        """What a command says, which is not killed."""
        with (self.path.parent / f"{self.path.name}.log").open("a") as log:
            return subprocess.run(
                command,
                cwd=self.path,
                env=searches.environment(self.runs),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                check=False,
            ).stdout


def search(side: Side, sleep: float) -> tuple[int, dict[int, str]]:
    """Our side: how often the command was typed, and what the ledger says by x."""
    study = side.path / "kills.yaml"
    values = list(range(FIRST, FIRST + side.trials))
    study.write_text(STUDY.format(jobs=side.jobs, sleep=sleep, trials=side.trials, values=values), encoding="utf-8")
    command = (sys.executable, "-c", searches.SWEEPS, str(searches.ROOT), "run", str(study), "--no-report")
    typed, idle, before = 0, 0, -1
    while idle < 5:
        typed += 1
        status = side.type(*command)
        states = ledger_states(side.path / ".dvc/tmp/sweeps/kills/ledger.jsonl")
        if status in (0, 1) and len(states) == side.trials and not set(states.values()) & set(UNDER_WAY):
            break
        done = sum(state not in UNDER_WAY for state in states.values())
        idle, before = (0 if done > before else idle + 1), done
    return typed, states


def ledger_states(path: Path) -> dict[int, str]:
    """The last state of each x in a ledger, read by Optuna."""
    if not path.exists():
        return {}
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    names = {"COMPLETE": "complete", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}
    return {
        int(trial.system_attrs.get("fixed_params", trial.params)["x"]): names[trial.state.name]
        for study in storage.get_all_studies()
        for trial in storage.get_all_trials(study._study_id)
    }


def queue(side: Side, sleep: float) -> tuple[int, dict[int, str]]:
    """DVC's side: how often the queue was started, and what it says by x. Filling it is spared the killing."""
    varied = f"params.json:x=range({FIRST},{FIRST + side.trials})"
    side.say("dvc", "exp", "run", "--queue", "--name", "kills", "-S", varied, "-S", f"params.json:sleep={sleep}")
    typed, begun, since = 0, -1, time.monotonic()
    while time.monotonic() - since < PATIENCE:
        if (now := len(side.runs.read_text().splitlines())) != begun:
            begun, since = now, time.monotonic()
        working = sum(role(process) == "worker" for process in side.family.living())
        if working == side.jobs:
            time.sleep(1)
        elif "queued" in queue_states(side.say("dvc", "queue", "status")).values():
            typed += 1
            side.type("dvc", "queue", "start", "--jobs", str(side.jobs))
        elif not working:
            break
    states = queue_states(side.say("dvc", "queue", "status"))
    return typed, {FIRST + number - 1: state for number, state in states.items()}


def recorded(path: Path) -> tuple[Counter[int], int]:
    """Experiments by x, and how many of them hold a figure that is not their x's."""
    listed = _git(path, "for-each-ref", "--format=%(refname)", "refs/exps").splitlines()
    refs = [ref for ref in listed if re.fullmatch(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/[^/]+", ref)]
    found, wrong = Counter[int](), 0
    for ref in refs:
        x = json.loads(_git(path, "show", f"{ref}:params.json"))["x"]
        figure = json.loads(_git(path, "show", f"{ref}:metrics.json"))["validation"]["loss"]
        found[int(x)] += 1
        wrong += figure != (x - 3) ** 2
    return found, wrong


def _git(path: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=path, check=True, capture_output=True, text=True).stdout


SIDES = {"ours": search, "DVC's queue": queue}


def campaign(folder: Path, name: str, options: argparse.Namespace) -> dict[str, object]:
    """All of one side, from an empty folder to the count."""
    place = folder / re.sub(r"\W+", "-", name)
    place.mkdir()
    runs, path = place / "runs", place / "repository"
    searches.repository(path, runs, STAGE)
    runs.write_text("")
    family = Family(place, options.share, options.seed)
    family.start()
    begin = time.perf_counter()
    try:
        typed, states = SIDES[name](Side(path, runs, family, options.trials, options.jobs), options.sleep)
        seconds = time.perf_counter() - begin
        family.share = 0.0
        _, orphans = psutil.wait_procs(family.living(), timeout=GRACE)
        left = Counter(role(process) for process in orphans if _lives(process))
    finally:
        family.close()
    experiments, wrong = recorded(path)
    ran = finished(runs.read_text())
    every = range(FIRST, FIRST + options.trials)
    trials = [Trial(experiments[x], states.get(x, "unknown"), ran[x]) for x in every]
    return {
        **count(trials),
        "experiments with another trial's figure": wrong,
        f"processes that still run after {GRACE:.0f} s": _listed(left),
        "commands typed": typed,
        "processes seen": family.appeared,
        "of these killed": _listed(family.killed),
        "minutes": round(seconds / 60, 1),
    }


def _listed(kinds: Mapping[str, int]) -> str:
    each = ", ".join(f"{kind} {number}" for kind, number in sorted(kinds.items()))
    return f"{sum(kinds.values())} ({each})" if each else "0"


def main() -> None:
    """Both sides, one after the other, and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--share", type=float, default=0.01, help="kills for each process that appears (0.01)")
    parser.add_argument("--sleep", type=float, default=0.2, help="seconds that the stage sleeps (0.2)")
    parser.add_argument("--seed", type=int, default=1, help="of who is killed and when")
    parser.add_argument("--side", choices=tuple(SIDES), action="append", help="this one alone")
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        for side in options.side or SIDES:
            print(f"{side}, {options.trials} trials, {options.jobs} jobs, seed {options.seed}")
            for what, figure in campaign(folder, side, options).items():
                print(f"  {what}: {figure}", flush=True)
    print(machine.describe())


if __name__ == "__main__":
    main()
