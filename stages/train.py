"""Stage `train`: fit the network, log every epoch, keep the best one.

python -m stages.train data/train.h5 data/windows.h5 models/model.safetensors metrics/train
"""

import argparse
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

import stages
from tonesift import arithmetic
from tonesift.errors import InputError

if TYPE_CHECKING:
    from dvclive import Live

    from tonesift.learning import run, training


def train(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the model and its curves, and say what the best epoch came to."""
    model_params, settings = stages.settings(arguments.params, "model", "train")
    arithmetic.choose(settings.arithmetic)
    from tonesift.data import windows
    from tonesift.learning import run
    from tonesift.networks import model as models

    setup = run.prepare(model_params, settings, windows.read(arguments.windows), *arguments.recordings)
    begin = time.perf_counter()
    live = start_live(arguments.curves)
    members = [fit(setup, number, live) for number in range(settings.ensemble)]
    summary = members[0].summary if len(members) == 1 else ensemble_summary(setup, members)
    live.summary = summary | {"parameters": sum(models.count(member.network) for member in members)}
    live.end()  # adds the last epoch, as `step`
    seconds = time.perf_counter() - begin
    networks = [member.network for member in members]
    model = networks[0] if len(networks) == 1 else models.Ensemble(networks)
    digest = models.save(arguments.model, model, run.metadata(setup, live.summary))
    return {
        "model": digest,
        **arithmetic.machine(),
        "epoch_seconds": round(seconds / sum(member.epochs for member in members), 2),
        "samples_per_second": round(sum(member.samples for member in members) / seconds),
    }


def fit(setup: "run.Setup", number: int, live: "Live") -> "run.Trained":
    """Train a network of an ensemble, by its number from 0; log every epoch, and show progress on the terminal."""
    from tonesift.learning import run

    total = setup.settings.ensemble
    name = f"network {number + 1}/{total}, " if total > 1 else ""
    with Progress(setup.settings.epochs, name) as progress:
        network, epoch, results = run.begin(setup, number, progress.step)
        summary, epochs, samples = log(results, live, f"members/{number + 1}/" if number else "", progress)
    validation = summary["validation"]
    print(
        f"{name}kept epoch {summary['best_epoch']} of {epochs}: validation loss {validation['loss']:.4f}, "
        f"R2 {validation['r2']:.4f}"
    )
    return run.Trained(network, epoch, summary, epochs, samples)


def log(
    results: "Iterable[training.EpochResult]", live: "Live", prefix: str, progress: "Progress"
) -> tuple[dict[str, Any], int, int]:
    """Log each epoch under names that begin with the prefix; give the best one's summary, epochs run, samples seen."""
    from tonesift.learning.run import figures, logged

    summary: dict[str, Any] = {}
    seen = 0
    for result in results:
        live.step = result.number
        for name, value in logged(result).items():
            live.log_metric(prefix + name, value)
        live.make_summary()
        progress.epoch(result)
        seen += int(result.train.count)
        if result.best:
            summary = {
                "best_epoch": result.number,
                "train": figures(result.train),
                "validation": figures(result.validation),
            }
    return summary, live.step, seen


def ensemble_summary(setup: "run.Setup", members: "list[run.Trained]") -> dict[str, Any]:
    """Summary of an ensemble; says what averaging gained."""
    from tonesift.learning import run

    summary = run.ensemble_summary(setup, members)
    loss, gain = summary["validation"]["loss"], summary["gain"]
    print(f"{len(members)} networks averaged: validation loss {loss:.4f}, {gain:.1%} below their mean")
    return summary


def start_live(folder: Path) -> "Live":
    """DVCLive that writes into `folder` after each epoch, and leaves experiments and `dvc.yaml` to DVC.

    This one output is not written aside: DVC's readers are to see the curves grow, and what a run that was killed had
    come to.
    """
    from dvclive import Live

    shutil.rmtree(folder, ignore_errors=True)  # the curves of an earlier run
    try:
        return Live(str(folder), save_dvc_exp=False, dvcyaml=False)
    except Exception as error:  # it opens the DVC repository: no commit yet, a full disk and more, each its own class
        raise InputError(
            f"DVCLive cannot open this repository: {(str(error) or type(error).__name__).splitlines()[0]}"
        ) from error


class Progress:
    """A line for each epoch; on a terminal above a bar with losses, R^2 and time left (at most)."""

    def __init__(self, epochs: int, prefix: str) -> None:
        self.epochs, self.prefix, self.last = epochs, prefix, ""
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps,"),
            TimeRemainingColumn(),
            TextColumn("left, {task.fields[figures]}"),
            console=Console(stderr=True),
            redirect_stdout=False,  # what the stage prints is not the bar's
            disable=not sys.stderr.isatty(),
        )
        self.task = self.bar.add_task(f"{prefix}epoch 1/{epochs}", total=None, figures="")

    def __enter__(self) -> "Progress":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()  # or the terminal's cursor would stay hidden

    def step(self, step: int, steps: int, loss: float) -> None:
        """Count a step."""
        self.bar.update(self.task, total=steps * self.epochs, advance=1, figures=f"loss {loss:.4f}{self.last}")

    def epoch(self, epoch: "training.EpochResult") -> None:
        """Show an epoch's figures."""
        mark = " *" if epoch.best else ""
        line = (
            f"{self.prefix}epoch {epoch.number}/{self.epochs}: loss {epoch.train.mse:.4f}, "
            f"validation {epoch.validation.mse:.4f}, R2 {epoch.validation.r2:.4f}, "
            f"learning rate {epoch.learning_rate:.2g}{mark}"
        )
        if self.bar.disable:
            print(line, flush=True)
        else:
            self.bar.console.print(line, highlight=False, markup=False, soft_wrap=True)
        self.last = f", validation {epoch.validation.mse:.4f}, R2 {epoch.validation.r2:.4f}{mark}"
        following = min(epoch.number + 1, self.epochs)
        self.bar.update(self.task, description=f"{self.prefix}epoch {following}/{self.epochs}")


if __name__ == "__main__":
    command = stages.parser(__doc__)
    command.add_argument(
        "recordings",
        type=Path,
        nargs="+",
        help="recordings to train on; several sets for a family that corrects filters",
    )
    command.add_argument("windows", type=Path, help="which windows train and which validate")
    command.add_argument("model", type=Path, help="where to write the model")
    command.add_argument("curves", type=Path, help="folder for DVCLive's history")
    stages.main(train, command.parse_args())
