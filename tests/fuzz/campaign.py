"""A campaign of damaged inputs: every kind of file that the program reads, mutated, read by the real commands.

    python tests/fuzz/campaign.py --mutations 4000 --seed 1    # make fuzz; five minutes on two cores
    python tests/fuzz/campaign.py --replay tests/fuzz/found    # what failed, again

Each mutation follows from the seed and its number. It is right to refuse a file, in a line with its name, and right to
take it; wrong is a traceback, a signal, 1 GiB of memory beyond that of the idle process, 20 s of the processor's, a
message that does not name the file, and any other file changed. Inputs that went wrong are kept, with the command and
what it said.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(path) for path in (ROOT, ROOT / "tests", HERE)]

from tonesift import arithmetic  # noqa: E402

arithmetic.choose("portable")  # before anything imports NumPy; the processes started inherit it

from kinds import CLOCK, KINDS, LINES, WRITTEN, Command, Kind, make_workspace, words  # noqa: E402
from warm import Done, Warm  # noqa: E402

MEMORY = 2**30
ANNOUNCED = 3  # taken, but the file is not what it announces
PROCESSOR, SECONDS = 20, 120  # seconds of the processor's; of the clock, on a machine that others use too
ANSWER = 2.0  # seconds of the processor's in which a refusal is wanted
FAULTS = ("traceback", "signal", "memory", "time", "status", "message", "unnamed", "files")
IMPORTS = (
    *("stages.generate", "stages.prepare", "stages.train", "stages.evaluate", "pages.report", "pages.story"),
    *("pages.guide_tables", "dvclive", "torch._dynamo", "tonesift.learning.run", "tonesift.full_evaluation.run"),
    *("tonesift.streaming.command", "tonesift.streaming.resampling", "soundfile", "tonesift.streaming.anytones"),
    *("tonesift.estimators.tracking.kernel", "tonesift.estimators.tracking.stepping"),
    *("dvcsweep.__main__", "dvcsweep.results.report"),
)  # fmt: skip
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Result(NamedTuple):
    """What became of a mutation."""

    kind: str
    faults: frozenset[str]
    refused: bool
    done: Done


class Place:
    """A workspace, and the process that its commands are forked from."""

    def __init__(self, folder: Path, template: "Place | None" = None, share: bool = False) -> None:
        self.folder, self.kept = folder, template and template.folder
        home = folder.parent / f"{folder.name} home"
        home.mkdir()
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "DVC"))}
        self.environment = variables | dict.fromkeys(THREADS, "1") | {"HOME": str(home), "DVC_NO_ANALYTICS": "1"}
        self.warm = template.warm if template and share else Warm(*IMPORTS)
        if template:
            shutil.copytree(template.folder, folder)

    def run(self, command: Command, stdin: str = os.devnull, **limits: int) -> Done:
        """Run a command here."""
        module, *arguments = command
        return self.warm.run(
            module, *arguments, cwd=self.folder, environment=self.environment, stdin=self.folder / stdin, **limits
        )

    def read(self, kind: Kind, command: Command, data: bytes) -> Result:
        """Have a command read a file with this content, and put everything back."""
        (self.folder / kind.file).write_bytes(data)
        before = _files(self.folder)
        limits = {"seconds": SECONDS, "processor": PROCESSOR, "memory": MEMORY}
        done = self.run(command, kind.file if "-" in command else os.devnull, **limits)
        after = _files(self.folder)
        changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
        self._put_back(changed | {kind.file})
        refused = done.returncode != 0
        line = kind.name == "command line"
        names = None if line else (kind.file, Path(kind.file).name, *kind.others)
        faults = _faults(done, changed - set(command) if line else changed, names)
        return Result(kind.name, frozenset(faults), refused, done)

    def _put_back(self, names: set[str]) -> None:
        for name in names:
            source, target = self.kept / name, self.folder / name
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
            elif target.is_dir() and not source.is_dir():
                shutil.rmtree(target)
            elif target.exists():
                target.unlink()


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file but Git's and Python's own."""
    found = {}
    for place, _, names in os.walk(folder):
        if {".git", "__pycache__"} & set(Path(place).relative_to(folder).parts):
            continue
        for name in names:
            path = Path(place, name)
            status = path.lstat()
            found[path.relative_to(folder).as_posix()] = (status.st_size, status.st_mtime_ns)
    return found


def _faults(done: Done, changed: set[str], names: tuple[str, ...] | None) -> Iterator[str]:
    said = [line for line in done.stderr.splitlines() if not line.startswith(("note:", "usage:", " "))]
    if "Traceback (most recent call last)" in done.stderr:
        yield "traceback"
    elif -done.returncode in (signal.SIGALRM, signal.SIGXCPU, signal.SIGKILL):  # the last at the hard limit
        yield "time"
    elif done.returncode < 0:
        yield "signal"
    elif done.returncode not in (0, 1, 2, ANNOUNCED):
        yield "status"
    if done.grown > MEMORY or "out of memory" in done.stderr or "MemoryError" in done.stderr:
        yield "memory"
    if done.returncode > 0 and done.returncode != ANNOUNCED and "Traceback" not in done.stderr:
        if not said or len(said) > 22 or (names and max(map(len, said)) > 1000):  # argparse repeats what was typed
            yield "message"
        elif names and not any(name in line for line in said for name in names):
            yield "unnamed"
    allowed = WRITTEN if done.returncode in (0, ANNOUNCED) else (CLOCK,)
    if any(not name.startswith(allowed) for name in changed):
        yield "files"


def mutation(seed: int, number: int) -> tuple[Kind, Command, random.Random]:
    """Kind, command and random numbers of a mutation."""
    rng = random.Random(f"{seed} {number}")  # noqa: S311 (no secret)
    kind = KINDS[number % len(KINDS)]
    return kind, rng.choice(LINES if kind.name == "command line" else kind.commands + kind.foreign), rng


def attempt(place: Place, seed: int, number: int, keep: Path) -> Result:
    """One mutation, kept if something is wrong."""
    kind, command, rng = mutation(seed, number)
    line = kind.name == "command line"
    data = kind.mutate(rng, json.dumps(command[1:]).encode() if line else (place.kept / kind.file).read_bytes())
    result = place.read(kind, words(command, data) if line else command, data)
    if result.faults:
        keep.mkdir(parents=True, exist_ok=True)
        stem = keep / f"{seed}-{number:05d}"
        stem.with_suffix(".data").write_bytes(data)
        told = {"kind": kind.name, "file": kind.file, "command": command, "faults": sorted(result.faults)}
        said = {
            "status": result.done.returncode,
            "seconds": round(result.done.processor, 1),
            "stderr": result.done.stderr[-5000:],
        }
        stem.with_suffix(".json").write_text(json.dumps(told | said, indent=1), encoding="utf-8")
    return result


def campaign(seed: int, numbers: list[int], jobs: int, keep: Path) -> list[Result]:
    """Every mutation of these numbers, so many at a time."""
    with tempfile.TemporaryDirectory() as name:
        template = Place(Path(name, "template"))
        template.folder.mkdir()
        make_workspace(template.folder, lambda command, _: template.run(command))
        places, mine = (
            iter(Place(Path(name, str(job)), template, share=job == 0) for job in range(jobs)),
            threading.local(),
        )
        taken = threading.Lock()

        def work(number: int) -> Result:
            if not hasattr(mine, "place"):
                with taken:
                    mine.place = next(places)
            return attempt(mine.place, seed, number, keep)

        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(work, numbers))


def replay(folder: Path) -> list[Result]:
    """What was kept, again."""
    with tempfile.TemporaryDirectory() as name:
        template = Place(Path(name, "template"))
        template.folder.mkdir()
        make_workspace(template.folder, lambda command, _: template.run(command))
        place = Place(Path(name, "again"), template, share=True)
        found = []
        for path in sorted(folder.glob("*.json")):
            told = json.loads(path.read_text(encoding="utf-8"))
            kind = next(kind for kind in KINDS if kind.file == told["file"])
            data, command = path.with_suffix(".data").read_bytes(), tuple(told["command"])
            result = place.read(kind, words(command, data) if kind.name == "command line" else command, data)
            print(path.stem, kind.name, *sorted(result.faults) or ["right"], result.done.stderr.strip()[-300:])
            found.append(result)
        return found


def shown(results: list[Result]) -> str:
    """A table with a line for each kind."""
    rows = []
    for kind in dict.fromkeys(result.kind for result in results):
        mine = [result for result in results if result.kind == kind]
        counts = Counter(fault for result in mine for fault in result.faults)
        refused = [result.done.processor for result in mine if result.refused]
        most = max(result.done.grown for result in mine) / 2**20
        rows.append(
            [kind, len(mine), len(mine) - len(refused), len(refused)]
            + [counts[fault] or "" for fault in FAULTS]
            + [max(refused, default=0.0), most]
        )
    header = ["kind", "all", "taken", "refused", *FAULTS, "slowest refusal, s", "most memory, MiB"]
    return tabulate(rows, header, floatfmt=".1f")


def main() -> int:
    """Run the campaign; 0 if nothing is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutations", type=int, default=4000, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="what they follow from (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (%(default)s)")
    parser.add_argument("--kind", action="append", default=[], help="only kinds that begin so; may come again")
    parser.add_argument("--keep", type=Path, default=HERE / "found", help="where to keep what failed (%(default)s)")
    parser.add_argument("--replay", type=Path, metavar="FOLDER", help="read what was kept there again")
    chosen = parser.parse_args()
    if chosen.replay:
        results = replay(chosen.replay)
    else:
        wanted = [
            n
            for n in range(chosen.mutations)
            if not chosen.kind or KINDS[n % len(KINDS)].name.startswith(tuple(chosen.kind))
        ]
        results = campaign(chosen.seed, wanted, chosen.jobs, chosen.keep)
    print(shown(results))
    wrong = sum(bool(result.faults) for result in results)
    slow = sum(result.refused and result.done.processor > ANSWER for result in results)
    print(f"{len(results)} mutations, {wrong} wrong; {slow} refusals took more than {ANSWER:g} s")
    if wrong and not chosen.replay:
        print(f"kept in {chosen.keep}; again: python {Path(__file__).relative_to(ROOT)} --replay {chosen.keep}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
