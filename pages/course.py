"""The two pictures that the course's assignment asks for, from two runs of study `course`; no stage.

Each run is a folder as `dvc exp apply` leaves it, with `data/test.h5` and `models/model.safetensors`: of noise that
something can be learnt of, and of the noise to the letter.

python -m pages.course RUN LITERAL docs/course-graph1.png docs/course-graph2.png
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pages import shell
from tonesift import arithmetic
from tonesift.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

SHOWN = 2.0  # seconds
DOTS = 5  # samples from one dot to the next: more of them look like a line
TONE = 3.0  # Hz, of graph 1
WAY = 1.6  # that panels reach to


class Run(NamedTuple):
    """A network on the beginning of a test recording.

    Attributes
    ----------
    name : str
        How far phases are off.
    rate : float
        Samples a second.
    frequencies : tuple of float
        Hz.
    mixture, tones, outputs : ndarray, shapes (N,), (K, N) and (K, N)
        What it reads, what is to be given and what it gives.
    """

    name: str
    rate: float
    frequencies: "tuple[float, ...]"
    mixture: "NDArray"
    tones: "NDArray"
    outputs: "NDArray"


def course(arguments: argparse.Namespace) -> None:
    """Draw graph 1 for both runs, and graph 2 for the first."""
    arithmetic.choose("portable", or_native=True)
    from tonesift.full_evaluation import plots

    runs = [read(folder) for folder in (arguments.run, arguments.literal)]
    for path, figure in ((arguments.graph1, one_tone(runs)), (arguments.graph2, all_tones(runs[0]))):
        with replacing(path) as aside:
            aside.write_bytes(plots.png(figure))


def read(folder: Path) -> Run:
    """A run's network at work on its test recording, from the recording's start."""
    from tonesift.data import recordings
    from tonesift.streaming.tonefilter import ToneFilter

    with recordings.opened(folder / "data" / "test.h5") as test:
        facts, (mixtures, tones) = test.facts, test.read()
    shown = round(SHOWN * facts.sampling_rate)
    outputs = ToneFilter.load(folder / "models" / "model.safetensors").push(mixtures[0, :shown])
    name = f"phases ±{facts.conditions.jitter_phase:g}° off at every sample"
    return Run(name, facts.sampling_rate, facts.frequencies, mixtures[0, :shown], tones[0, :, :shown], outputs)


def one_tone(runs: list[Run]) -> "Figure":
    """Graph 1: one tone, the target as a line and the output as dots over the mixture, a panel for each run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.4), dpi=80, layout="constrained")
    for ax, run in zip(figure.subplots(len(runs), 1, sharex=True), runs, strict=True):
        _draw(ax, run, run.frequencies.index(TONE))
        ax.set_title(f"{TONE:g} Hz out of the mixture, {run.name}", fontsize=10)
    ax.set_xlabel("seconds")
    _legend(figure, ax)
    return figure


def all_tones(run: Run) -> "Figure":
    """Graph 2: every tone, a panel each."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7.2), dpi=80, layout="constrained")
    figure.suptitle(f"Every tone of the mixture, {run.name}", fontsize=10)
    for tone, ax in enumerate(figure.subplots(len(run.frequencies), 1, sharex=True)):
        _draw(ax, run, tone)
        ax.set_ylabel(f"{run.frequencies[tone]:g} Hz")
    ax.set_xlabel("seconds")
    _legend(figure, ax)
    return figure


def _draw(ax: "Axes", run: Run, tone: int) -> None:
    import numpy as np

    from tonesift.full_evaluation.plots import MIXTURE, OUTPUT, TARGET

    time = np.arange(len(run.mixture)) / run.rate
    ax.plot(time, run.mixture, color=MIXTURE, linewidth=0.5, antialiased=False, label="mixture")
    ax.plot(time, run.tones[tone], color=TARGET, linewidth=1.4, label="target")
    dots = slice(None, None, DOTS)
    ax.plot(time[dots], run.outputs[tone, dots], ".", color=OUTPUT, markersize=3, label="output, every fifth sample")
    ax.set(ylim=(-WAY, WAY), xlim=(0, SHOWN))
    ax.spines[["top", "right"]].set_visible(False)


def _legend(figure: "Figure", ax: "Axes") -> None:
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, markerscale=2)


if __name__ == "__main__":
    command = shell.parser(__doc__)
    command.add_argument("run", type=Path, help="folder of a run that something can be learnt in")
    command.add_argument("literal", type=Path, help="folder of a run to the letter")
    command.add_argument("graph1", type=Path, help="PNG to write: the 3 Hz tone of both")
    command.add_argument("graph2", type=Path, help="PNG to write: every tone of the first")
    shell.main(course, command.parse_args())
