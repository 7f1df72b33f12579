"""What a trial costs beyond its stage: this search, and tools beside it, with one worker on the same trivial stage.

python -m benchmarks.neighbours
python -m benchmarks.neighbours --python /path/to/venv/bin/python     # where Hydra's sweeper and Ray Tune are

A tool is taken from this environment, or else from the first of those named with --python that has it: Hydra's Optuna
sweeper asks for an Optuna older than version 3, so it cannot be in this one. One that is nowhere is said to be so.
Each trial is the same process, which reads two parameters and writes a figure; only the last tool calls a function.
"""

import argparse
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine, searches

FIND = "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, sys.argv[1:])))"
PROCESS = """
import json, os, subprocess
TRIALS, SEED = {trials}, {seed}
def trial(x):
    with open("params.json", "w") as params:
        json.dump({{"x": x, "sleep": 0.0}}, params)
    subprocess.run(["python", "fit.py"], check=True)
    return json.load(open("metrics.json"))["validation"]["loss"]
"""
FUNCTION = """
import json, os, time
TRIALS, SEED = {trials}, {seed}
def trial(x):
    with open("params.json", "w") as params:
        json.dump({{"x": x, "sleep": 0.0}}, params)
    p = json.load(open("params.json"))
    with open("metrics.json", "w") as metrics:
        json.dump({{"validation": {{"loss": (p["x"] - 3) ** 2}}}}, metrics)
    with open(os.environ["TIMES"], "a") as times:
        times.write(f"0 {{time.clock_gettime(time.CLOCK_BOOTTIME)}}\\n")
    return json.load(open("metrics.json"))["validation"]["loss"]
"""
EXPERIMENT = """
import json, subprocess
TRIALS, SEED = {trials}, {seed}
def trial(x):
    subprocess.run(["dvc", "exp", "run", "--quiet", "--name", f"x-{{x}}", "-S", f"params.json:x={{x}}"], check=True)
    return json.load(open("metrics.json"))["validation"]["loss"]
"""
OPTUNA = """
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
optuna.logging.set_verbosity(optuna.logging.ERROR)
sampler = optuna.samplers.RandomSampler(SEED)
study = optuna.create_study(storage=JournalStorage(JournalFileBackend("journal.log")), sampler=sampler)
study.optimize(lambda each: trial(each.suggest_float("x", 0, 9)), n_trials=TRIALS, callbacks=CALLBACKS)
"""
DVCLIVE = "\nfrom dvclive.optuna import DVCLiveCallback\nCALLBACKS = [DVCLiveCallback()]\n"
HYDRA = """
import hydra
from hydra.core.config_store import ConfigStore
ConfigStore.instance().store(name="config", node={{"x": 1.0}})
@hydra.main(version_base="1.3", config_path=None, config_name="config")
def main(config):
    return trial(config.x)
main()
"""
SWEEP = (
    "--multirun",
    "hydra/sweeper=optuna",
    "hydra/sweeper/sampler=random",
    "hydra.sweeper.n_jobs=1",
    "x=interval(0.0,9.0)",
)
RAY = """
import ray
from ray import tune
here = os.getcwd()
def trainable(config):
    os.chdir(here)
    tune.report({{"loss": trial(config["x"])}})
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
tune.Tuner(
    trainable,
    param_space={{"x": tune.uniform(0.0, 9.0)}},
    tune_config=tune.TuneConfig(num_samples=TRIALS, metric="loss", mode="min", reuse_actors=REUSE),
    run_config=tune.RunConfig(storage_path=here + "/results", verbose=0),
).fit()
"""
TUNE = ("ray", "pyarrow", "pandas", "tensorboardX")
OURS = "this search"


@dataclass(frozen=True)
class Run:
    """One tool's run in a repository of its own.

    Attributes
    ----------
    path, times : Path
        The repository, and the file that stages write their times to.
    trials, seed : int
    python : str
        Of the environment that has the tool.
    """

    path: Path
    times: Path
    trials: int
    seed: int
    python: str

    def command(self, *command: str) -> None:
        """Run a command to its end."""
        environment = searches.environment(self.times) | {"RAY_USAGE_STATS_ENABLED": "0"}
        done = subprocess.run(
            command, cwd=self.path, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command[:3])} gave {done.returncode}:\n{done.stdout}{done.stderr}")

    def script(self, text: str, *arguments: str) -> None:
        """Run a Python program with the tool's environment."""
        file = self.path / "program.py"
        file.write_text(text.format(trials=self.trials, seed=self.seed), encoding="utf-8")
        self.command(self.python, str(file), *arguments)


def ours(run: Run) -> None:
    """The search of this repository."""
    searches.search(run.path, run.times, "ours", trials=run.trials, seed=run.seed, jobs=1, sleep=0.0)


def queue(run: Run) -> None:
    """DVC's queue: filled by one command, started by another, over when all experiments are there."""
    chance, before = random.Random(run.seed), searches.experiments(run.path)  # noqa: S311
    values = ",".join(str(chance.uniform(0, 9)) for _ in range(run.trials))
    run.command("dvc", "exp", "run", "--queue", "-S", f"params.json:x={values}")
    run.command("dvc", "queue", "start")
    while searches.experiments(run.path) < before + run.trials:
        time.sleep(0.05)


def by_optuna(trial: str, callbacks: str = "\nCALLBACKS = []\n") -> Callable[[Run], None]:
    """Optuna with a trial of some kind."""
    return lambda run: run.script(trial + callbacks + OPTUNA)


def by_ray(reuse: bool) -> Callable[[Run], None]:
    """Ray Tune, with a process of its own for each trial, as it does by itself, or one for all of them."""
    return lambda run: run.script(f"{PROCESS}\nREUSE = {reuse}\n{RAY}")


@dataclass(frozen=True)
class Tool:
    """How a tool is run, and the modules it needs."""

    run: Callable[[Run], None]
    modules: tuple[str, ...]


TOOLS = {
    OURS: Tool(ours, ("dvcsweep",)),
    "DVC's queue": Tool(queue, ("dvc",)),
    "Optuna calling `dvc exp run`": Tool(by_optuna(EXPERIMENT), ("optuna", "dvc")),
    "Optuna with DVCLive's callback": Tool(by_optuna(PROCESS, DVCLIVE), ("optuna", "dvclive")),
    "Hydra's Optuna sweeper": Tool(
        lambda run: run.script(
            PROCESS + HYDRA, *SWEEP, f"hydra.sweeper.n_trials={run.trials}", f"hydra.sweeper.sampler.seed={run.seed}"
        ),
        ("hydra_plugins.hydra_optuna_sweeper",),
    ),
    "Ray Tune": Tool(by_ray(False), TUNE),
    "Ray Tune, one process for all": Tool(by_ray(True), TUNE),
    "Optuna": Tool(by_optuna(PROCESS), ("optuna",)),
    "Optuna, a function for a trial": Tool(by_optuna(FUNCTION), ("optuna",)),
}


@dataclass(frozen=True)
class Cost:
    """Seconds a trial beyond its stage.

    Attributes
    ----------
    steady : float
        Between two trials, once it runs.
    whole : float
        Of everything from the command to the last result.
    experiments : int
        DVC experiments that are there in the end.
    """

    steady: float
    whole: float
    experiments: int


def cost(stages: Sequence[tuple[float, float]], wall: float, experiments: int) -> Cost:
    """From what each stage took, when it ended, and the seconds of everything."""
    ended = sorted(end for _, end in stages)
    took = statistics.mean(took for took, _ in stages)
    return Cost((ended[-1] - ended[0]) / (len(ended) - 1) - took, wall / len(ended) - took, experiments)


def measure(tool: Tool, template: Path, folder: Path, trials: int, seed: int, python: str) -> Cost:
    """Run a tool in a copy of the repository."""
    path, times = folder / f"run-{seed}", folder / f"times-{seed}"
    shutil.copytree(template, path, symlinks=True)
    before = searches.experiments(path)
    begin = time.perf_counter()
    tool.run(Run(path, times, trials, seed, python))
    wall = time.perf_counter() - begin
    return cost(searches.stage_times(times, trials), wall, searches.experiments(path) - before)


def python_with(modules: Sequence[str], pythons: Sequence[str]) -> str | None:
    """The first Python that has all these modules."""
    for python in pythons:
        if not subprocess.run([python, "-c", FIND, *modules], check=False, capture_output=True).returncode:
            return python
    return None


def rows(costs: dict[str, list[Cost]]) -> list[str]:
    """A line for each tool: medians of the rounds, and of the rounds' ratios to this search."""
    lines = []
    for name, found in costs.items():
        figures = []
        for part in ("steady", "whole"):
            seconds = [getattr(each, part) for each in found]
            base = [getattr(each, part) for each in costs[OURS]]
            ratio = statistics.median(one / other for one, other in zip(seconds, base, strict=True))
            figures.append(f"{statistics.median(seconds):6.3f} s {ratio:6.2f}")
        lines.append(f"{name:32} {figures[0]}   {figures[1]}   {found[-1].experiments:3d}")
    return lines


def main() -> None:
    """Every tool in turn, several times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", default=[], metavar="PATH", help="of another environment")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    others = [name for name in TOOLS if name != OURS]
    parser.add_argument("--only", action="append", choices=others, metavar="TOOL", help=f"of {'; '.join(others)}")
    options = parser.parse_args()
    chosen = [name for name in TOOLS if name in (OURS, *(options.only or TOOLS))]
    found = {name: python_with(TOOLS[name].modules, [sys.executable, *options.python]) for name in chosen}
    costs: dict[str, list[Cost]] = {name: [] for name, python in found.items() if python}
    for name in found.keys() - costs.keys():
        print(f"{name}: not installed ({', '.join(TOOLS[name].modules)})")
    with tempfile.TemporaryDirectory() as place:
        template, folder = Path(place) / "template", Path(place)
        searches.repository(template, Path(place) / "times")
        for round_number in range(options.rounds):
            for index, name in enumerate(costs):
                seed = 100 * index + round_number
                costs[name].append(measure(TOOLS[name], template, folder, options.trials, seed, found[name]))
                print(f"round {round_number + 1}: {name}: {costs[name][-1]}", flush=True)
    print(f"{options.trials} trials, {options.rounds} rounds, one worker: seconds a trial beyond its stage; times ours")
    print(f"{'':32} between trials    everything        experiments")
    print("\n".join(rows(costs)))
    print(machine.describe())


if __name__ == "__main__":
    main()
