"""What grows with the number of a study's trials: driver, ledger, report; Git's references; DVC's commands and cache.

    python -m benchmarks.scale driver --trials 10000   # random search and TPE, no stage run: about six minutes
    python -m benchmarks.scale references              # 100, 1000, 10 000 experiments on a commit: a quarter of an hour
    python -m benchmarks.scale references --counts 100000 --limit 300
    python -m benchmarks.scale storage --url ADDRESS   # the ledger's writes, beside a database that Optuna knows
    python -m benchmarks.scale bytes                   # of a trial: committed ledgers, DVC's cache

All work on a clone of this repository, removed afterwards. `driver` runs this repository's own studies with a real
ledger; its workers answer at once with an outcome taken from a committed one. `references` makes commits such as
`dvc exp run` leaves (parameters, metrics, curves, lock file) with `git fast-import`, under DVC's names for them. A
command that takes longer than the limit is left out from then on.
"""

import argparse
import multiprocessing
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from optuna.storages import BaseStorage

from benchmarks import machine
from benchmarks.searches import environment
from dvcsweep.commands import locate, status
from dvcsweep.plan import studies
from dvcsweep.plan.strategies import Proposal
from dvcsweep.record import campaigns
from dvcsweep.record.ledger import FILE, Campaign, forms, open_ledger
from dvcsweep.record.trials import Outcome
from dvcsweep.repository import RECEIVE, Repository, git, reference
from dvcsweep.running.driver import run_study
from dvcsweep.running.job import Job
from dvcsweep.running.search import Options, Search

ROOT = Path.cwd()
MIB = 2**20
RANDOM, TPE, PATTERN = "random-continuous", "tpe", "random"  # studies; the last one's ledger has outcomes to copy
TPE_TRIALS, ROUNDS, LOOSE = 1000, 3, 1000
CURVES = tuple(f"metrics/train/plots/metrics/{part}/loss.tsv" for part in ("train", "validation"))
PARAMS, METRICS, LOCK = "params.yaml", "metrics/train/metrics.json", "dvc.lock"
SWEEPS = "import sys; sys.path.insert(0, sys.argv.pop(1)); from dvcsweep.__main__ import main; sys.exit(main())"
# Starts a command from a small process: what a large one starts has at least its memory in the kernel's books.
LAUNCH = """
import resource, subprocess, sys, time
begin = time.perf_counter()
status = subprocess.call(sys.argv[1:])
print(time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""


# The driver


class Instant:
    """Workers that answer every job at once, and note when it was begun.

    Parameters
    ----------
    search : Search
        Whose they are.
    outcome : Outcome
        What each answers, but for its name, its commit and the objective.
    """

    def __init__(self, search: Search, outcome: Outcome) -> None:
        self.count = search.study.jobs
        self.outcome = outcome
        self.jobs: list[Job] = []
        self.begun: list[float] = []

    @property
    def idle(self) -> int:
        """How many more would be begun at once."""
        return self.count - len(self.jobs)

    def submit(self, job: Job) -> None:
        """Note the time."""
        self.begun.append(time.perf_counter())
        self.jobs.append(job)

    def wait(self, seconds: float) -> Sequence[Outcome]:
        """All of them are done."""
        done, self.jobs = [self._answer(job) for job in self.jobs], []
        return done

    def _answer(self, job: Job) -> Outcome:
        settings = job.settings
        loss = 0.2 + abs(settings["train.learning_rate"] - 0.003) + settings["model.dropout"] / 100
        return replace(self.outcome, name=job.name, commit=f"{len(self.begun):040x}", values=[loss])

    def close(self) -> None:
        """Nothing runs."""


@dataclass(frozen=True)
class Timings:
    """How long a search took: seconds from its start to each trial's, to its end, and its largest memory in bytes."""

    begun: list[float]
    seconds: float
    memory: int


def alone(function: Callable[..., Any], *arguments: object) -> Any:
    """What a function gives in a process of its own, so that its memory is its own too."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def outcome() -> Outcome:
    """A real one, of a committed study."""
    ledger = open_ledger(ROOT / "studies" / PATTERN / FILE)
    trial = campaigns.begun(ledger)[-1].trials()[0]
    return next(iter(trial.experiments.values()))


def at(path: Path) -> tuple[studies.Study, Repository, Path]:
    """What dvcsweep's functions take for a study file."""
    return studies.load(path), Repository.around(path.parent), path.resolve()


def search(path: Path) -> Timings:
    """Run a study with workers that answer at once."""
    study, repository, file = at(path)
    answer, made = outcome(), []

    def workers(one: Search) -> Instant:
        """Kept, to be asked for its times."""
        made.append(Instant(one, answer))
        return made[0]

    with Path(os.devnull).open("w") as nothing:
        sys.stdout = nothing
        begin = time.perf_counter()
        run_study(study, repository, file, Options(workers=workers))
        seconds = time.perf_counter() - begin
    return Timings([one - begin for one in made[0].begun], seconds, peak())


def peak() -> int:
    """The largest memory this process has had, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def open_all(path: Path) -> tuple[float, int]:
    """Seconds to open a study's ledger and read all trials, and memory."""
    study, repository, _ = at(path)
    ledger = campaigns.folder(repository, study) / FILE
    begin = time.perf_counter()
    for campaign in campaigns.begun(open_ledger(ledger)):
        campaign.trials()
    return time.perf_counter() - begin, peak()


def show_status(path: Path) -> tuple[float, int]:
    """Seconds of `status`, after the imports, and memory."""
    study, repository, file = at(path)
    begin = time.perf_counter()
    status.status(study, repository, locate.locate(study, repository, file))
    return time.perf_counter() - begin, peak()


def write_report(path: Path) -> tuple[float, int]:
    """Seconds to write table, pictures and pages, and memory."""
    from dvcsweep import report  # here, so that it has no part in the memory of the others

    study, repository, file = at(path)
    campaign = locate.locate(study, repository, file)
    begin = time.perf_counter()
    report.write(study, campaign, locate.results(file))
    return time.perf_counter() - begin, peak()


def again(path: Path) -> tuple[float, int]:
    """Seconds to find that a study is done, and memory."""
    study, repository, file = at(path)
    with Path(os.devnull).open("w") as nothing:
        sys.stdout = nothing
        begin = time.perf_counter()
        run_study(study, repository, file, Options())
    return time.perf_counter() - begin, peak()


AFTERWARDS = {"ledger opened": open_all, "run again, all done": again, "status": show_status, "report": write_report}


def clone(folder: Path) -> Path:
    """A clone of this repository."""
    path = folder / "a clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(path)], check=True)
    return path


def enlarge(path: Path, name: str, trials: int) -> Path:
    """One of this repository's studies with more trials, under another name."""
    content = yaml.safe_load((path / "studies" / f"{name}.yaml").read_text(encoding="utf-8"))
    file = path / "studies" / f"large-{name}.yaml"
    file.write_text(yaml.safe_dump({**content, "trials": trials}), encoding="utf-8")
    return file


def driver(folder: Path, trials: int) -> None:
    """Random search and TPE through the driver, and what is read from the ledger afterwards."""
    path = clone(folder)
    for name, count in ((RANDOM, trials), (TPE, min(trials, TPE_TRIALS))):
        study = enlarge(path, name, count)
        timings = alone(search, study)
        say_timings(f"{name}, {count} trials", timings)
        size = (path / ".dvc" / "tmp" / "sweeps" / study.stem / FILE).stat().st_size
        print(f"{name}: ledger {size / MIB:.1f} MiB, {size / count:.0f} bytes a trial", flush=True)
        for words, function in AFTERWARDS.items():
            seconds, memory = alone(function, study)
            print(f"{name}: {words}: {seconds:.2f} s, {memory / MIB:.0f} MiB", flush=True)


def say_timings(name: str, timings: Timings) -> None:
    """Total, planning, and what trials cost early and late."""
    begun = timings.begun
    tenth = max(1, len(begun) // 10)
    early, late = begun[tenth] - begun[0], begun[-1] - begun[-1 - tenth]
    print(
        f"{name}: {timings.seconds:.1f} s, of which {begun[0]:.1f} s before the first began; a trial "
        f"{1000 * early / tenth:.2f} ms in the first tenth, {1000 * late / tenth:.2f} ms in the last; "
        f"{timings.memory / MIB:.0f} MiB",
        flush=True,
    )


# References


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds, and the largest memory of a process of it in bytes."""

    seconds: float
    memory: int

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s, {self.memory / MIB:.0f} MiB"


def cost(folder: Path, limit: float, *command: str) -> Cost | None:
    """Run a command in a folder; None if it takes longer than the limit."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", LAUNCH, *command],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, told = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: failed: {told}")
    seconds, memory = told.split()[-2:]
    return Cost(float(seconds), int(memory) * 1024)


def template(path: Path) -> dict[str, str]:
    """The files that an experiment changes, as committed, with marks where each has its own."""
    texts = {file: git(path, "show", f"HEAD:{file}") for file in (PARAMS, LOCK, METRICS, *CURVES)}
    outs = yaml.safe_load(texts[LOCK])["stages"]["train"]["outs"]
    model = next(out["md5"] for out in outs if out["path"].startswith("models/"))
    for file in (PARAMS, LOCK):
        texts[file] = re.sub(r"(?m)^( +learning_rate: ).*", r"\g<1>@RATE@", texts[file]).replace(model, "@MODEL@")
    texts[METRICS] = re.sub(r'("loss": )[^,\s]+', r"\g<1>@LOSS@", texts[METRICS])
    return texts | {file: f"{texts[file].rpartition(chr(9))[0]}\t@LOSS@" for file in CURVES}


def plant(path: Path, first: int, count: int, packed: bool = True) -> list[str]:
    """Experiments on the commit checked out, made by `git fast-import`; their references."""
    baseline, texts = git(path, "rev-parse", "HEAD"), template(path)
    refs = [reference(baseline, f"scale-{number:06d}-{baseline[:7]}") for number in range(first, first + count)]
    unpack = 1 if packed else 10**9
    command = ["git", "-C", str(path), "-c", f"fastimport.unpackLimit={unpack}", "fast-import", "--quiet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        for number, ref in enumerate(refs, start=first):
            process.stdin.write(experiment(texts, ref, baseline, number))
    if process.returncode:
        raise SystemExit("git fast-import: failed")
    return refs


def experiment(texts: Mapping[str, str], ref: str, baseline: str, number: int) -> bytes:
    """A commit as `git fast-import` reads it: another learning rate and loss, another model."""
    marks = {"RATE": f"{0.001 + number * 1e-8:.8f}", "LOSS": f"{0.2 + number * 1e-8:.8f}", "MODEL": f"{number:032x}"}
    when, message = f"benchmark <b@example.org> {1_700_000_000 + number} +0000", "dvc: commit experiment (made)"
    lines = [f"commit {ref}", f"committer {when}", f"data {len(message)}", message, f"from {baseline}"]
    for file, text in texts.items():
        content = f"{re.sub('@([A-Z]+)@', lambda found: marks[found[1]], text)}\n"
        lines += [f"M 100644 inline {file}", f"data {len(content.encode())}", content]
    return ("\n".join(lines) + "\n").encode()


def size(folder: Path) -> float:
    """MiB that a folder's files take on disk."""
    return sum(path.lstat().st_blocks for path in folder.rglob("*")) * 512 / MIB


class References:
    """Commands on a clone with so many experiments.

    Parameters
    ----------
    folder : Path
        Where it is made.
    count : int
        How many.
    limit : float
        Seconds that a command may take.
    late : set of str
        Commands that took longer with fewer experiments, which are left out; added to.
    """

    def __init__(self, folder: Path, count: int, limit: float, late: set[str]) -> None:
        self.folder, self.count, self.limit, self.late = folder, count, limit, late
        self.path = clone(folder)
        self.remote = folder / "a remote.git"
        self.made = count

    def say(self, words: str) -> None:
        """A line that begins with the number of experiments."""
        print(f"{self.count} experiments: {words}", flush=True)

    def measure(self, words: str, folder: Path, *command: str, rounds: int = 1) -> Cost | None:
        """Say what a command takes: the median of the rounds."""
        if words in self.late:
            return None
        found = []
        for _ in range(rounds):
            found.append(cost(folder, self.limit, *command))
            if found[-1] is None:
                self.late.add(words)
                self.say(f"{words}: more than {self.limit:.0f} s")
                return None
        middle = sorted(found, key=lambda one: one.seconds)[len(found) // 2]
        self.say(f"{words}: {middle}")
        return middle

    def one_more(self, path: Path) -> str:
        """The reference of another experiment."""
        self.made += 1
        return plant(path, self.made, 1)[0]

    def run(self) -> None:
        """All of it, first as searches leave a repository, then as `git gc` does."""
        loose = self.count <= LOOSE
        git(self.path, "gc", "--quiet")
        before = size(self.path / ".git")
        plant(self.path, 0, self.count, packed=not loose)
        after = size(self.path / ".git")
        kind = "each object and reference a file" if loose else "each reference a file, objects in a pack"
        self.say(f".git, {kind}: {after:.0f} MiB, {(after - before) * 1024 / self.count:.1f} KiB an experiment")
        self.local("loose references")
        self.measure("git pack-refs --all", self.path, "git", "pack-refs", "--all")
        self.measure("git gc", self.path, "git", "gc", "--quiet")
        after = size(self.path / ".git")
        self.say(f".git after git gc: {after:.0f} MiB, {(after - before) * 1024 / self.count:.2f} KiB an experiment")
        self.local("packed references")
        self.exchange()
        self.dvc()

    def local(self, state: str) -> None:
        """What a search does in the user's own repository."""
        listing = ("git", "for-each-ref", "refs/exps")
        self.measure(f"{' '.join(listing)}, {state}", self.path, *listing, rounds=ROUNDS)
        begin = time.perf_counter()
        Repository(self.path).experiments()
        self.say(f"list of experiments in dvcsweep, {state}: {time.perf_counter() - begin:.2f} s")
        worker = self.folder / "worker"
        subprocess.run(["git", "clone", "--quiet", "--local", str(self.path), str(worker)], check=True)
        seconds = []
        for _ in range(ROUNDS):
            ref = self.one_more(worker)
            done = cost(worker, self.limit, "git", "push", "--quiet", "--no-verify", RECEIVE, "origin", f"{ref}:{ref}")
            seconds.append(done.seconds if done else self.limit)
        self.say(f"a worker's push of one experiment, {state}: {statistics.median(seconds):.3f} s")
        shutil.rmtree(worker)

    def exchange(self) -> None:
        """With a bare remote that holds all of them."""
        address = self.remote.as_uri()
        git(self.folder, "clone", "--quiet", "--mirror", str(self.path), str(self.remote))
        ref = self.one_more(self.path)
        self.measure("git push of one more", self.path, "git", "push", "--quiet", address, f"{ref}:{ref}")
        other = self.folder / "other"
        self.measure("git clone", self.folder, "git", "clone", "--quiet", address, str(other))
        self.say(f"experiments in the clone: {len(Repository(other).experiments())}")
        self.measure("git fetch of one", other, "git", "fetch", "--quiet", "origin", f"{ref}:{ref}")
        self.measure("git fetch of all", other, "git", "fetch", "--quiet", "origin", "refs/exps/*:refs/exps/*")

    def dvc(self) -> None:
        """DVC's own commands, and `status`, which looks for experiments that no ledger knows."""
        python = (sys.executable, "-c", SWEEPS, str(ROOT))
        self.measure("dvcsweep status", self.path, *python, "status", "studies/quick.yaml")
        self.measure("dvc exp list --name-only", self.path, "dvc", "exp", "list", "--name-only")
        self.measure("dvc exp list", self.path, "dvc", "exp", "list")
        show = ("dvc", "exp", "show", "--no-pager")
        if self.measure("dvc exp show, the first time", self.path, *show):
            self.measure("dvc exp show, the second time", self.path, *show)


def references(folder: Path, counts: Sequence[int], limit: float) -> None:
    """Git's and DVC's commands with more and more experiments on one commit."""
    late: set[str] = set()
    for count in counts:
        place = folder / str(count)
        place.mkdir()
        References(place, count, limit, late).run()
        shutil.rmtree(place)


# Bytes


def storage(folder: Path, trials: int, url: str | None) -> None:
    """What a driver writes of each trial, to a ledger and to a database; without an address to SQLite."""
    from optuna.storages import RDBStorage

    address = url or f"sqlite:///{folder / 'ledger.sqlite'}"
    for words, connect in (
        ("ledger", lambda: open_ledger(folder / FILE, write=True)),
        (address.partition(":")[0], lambda: RDBStorage(address)),
    ):
        seconds = write_trials(connect(), trials)
        begin = time.perf_counter()
        read = campaigns.begun(connect())[-1].trials()
        print(
            f"{words}: {trials} trials written, {1000 * seconds / trials:.1f} ms each; all {len(read)} read again in "
            f"{time.perf_counter() - begin:.2f} s",
            flush=True,
        )


def write_trials(store: BaseStorage, trials: int) -> float:
    """Seconds that a campaign's trials take to be written, with everything that the driver writes of them."""
    study, result = studies.load(ROOT / "studies" / f"{PATTERN}.yaml"), outcome()
    committed = campaigns.begun(open_ledger(ROOT / "studies" / PATTERN / FILE))[-1]
    campaign = Campaign.begin(store, f"scale-{os.getpid()}", study, committed.facts.model_dump())
    params = committed.trials()[0].params
    kinds = forms(study, {})
    begin = time.perf_counter()
    for number in range(trials):
        identity = campaign.add(number, Proposal(params), kinds).identity
        campaign.begin_trial(identity)
        campaign.record(identity, "", result)
        campaign.finish(identity, "complete", result.values)
    return time.perf_counter() - begin


def count_bytes() -> None:
    """Of the committed ledgers, and of what the committed lock file has in DVC's cache."""
    for ledger in sorted((ROOT / "studies").glob(f"*/{FILE}")):
        trials = sum(len(campaign.trials()) for campaign in campaigns.begun(open_ledger(ledger)))
        print(f"{ledger.relative_to(ROOT)}: {ledger.stat().st_size / trials:.0f} bytes a trial, {trials} trials")
    pipeline, lock = (yaml.safe_load((ROOT / file).read_text(encoding="utf-8")) for file in ("dvc.yaml", LOCK))
    for name, stage in lock["stages"].items():
        cached = {out for out in pipeline["stages"][name].get("outs", ()) if isinstance(out, str)}
        cached |= {out for one in pipeline["stages"][name].get("plots", ()) for out in [one] if isinstance(out, str)}
        held = sum(out["size"] for out in stage["outs"] if out["path"] in cached)
        print(f"DVC's cache, stage {name}: {held / 1024:.0f} KiB for each set of its parameters and dependencies")


def main() -> None:
    """Measure, in folders that are removed afterwards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("driver", "references", "storage", "bytes"))
    parser.add_argument("--trials", type=int, help="of driver (10000) or storage (1000)")
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 1000, 10_000], help="of references")
    parser.add_argument("--limit", type=float, default=300, help="seconds that a command may take (300)")
    parser.add_argument("--url", help="of storage: SQLAlchemy's address of a database (SQLite, in a file)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if arguments.what == "driver":
            driver(Path(name), arguments.trials or 10_000)
        elif arguments.what == "references":
            references(Path(name), arguments.counts, arguments.limit)
        elif arguments.what == "storage":
            storage(Path(name), arguments.trials or 1000, arguments.url)
        else:
            count_bytes()
    print(machine.describe())


if __name__ == "__main__":
    main()
