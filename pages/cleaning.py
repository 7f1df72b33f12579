"""Recordings, figures and pictures of docs/cleaning.md: an ECG, a sea level and a sound, each cleaned by one command.

It makes the recordings in a folder, runs the page's commands there, word for word, and sets a notch filter beside each
(SciPy's `iirnotch` at every tone, in a row). `make pictures` runs it; no stage.

python -m pages.cleaning docs/cleaning.md recordings/ docs/
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pages import shell
from tonesift.atomic import replacing
from tonesift.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
ECG, SEA = Path("benchmarks/ecg-208.npz"), Path("benchmarks/honolulu-2010.csv")
ECG_RATE, SOUND_RATE = 360.0, 4000.0  # Hz
ECG_SECONDS, SOUND_SECONDS = (220, 280), 15
MAINS = (50.0, 100.0, 150.0)  # Hz
TIDES = (12.4206, 12.0, 12.6583, 11.9672, 23.9345, 25.8193, 24.0659, 26.8684)  # hours
QUALITY = 30.0  # of the notches: the frequency over the width
SETTLED = 0.2  # share of a recording that is left out of the figures: there filters begin
SEED = 208


class Case(NamedTuple):
    """A recording that was cleaned.

    Attributes
    ----------
    name, unit, axis : str
        Short name, unit of the recording, and of the time that is shown.
    rate : float
        Samples in a second, or in an hour where hours are shown.
    tones : sequence of float
        In the same unit of time.
    recording, truth, cleaned : ndarray, shape (N,)
        What was recorded, what it is without its tones, and what the command left.
    shown : slice
        Samples of the picture.
    """

    name: str
    unit: str
    axis: str
    rate: float
    tones: Sequence[float]
    recording: Array
    truth: Array
    cleaned: Array
    shown: slice

    @property
    def notched(self) -> Array:
        """What notch filters leave, one for each tone."""
        from tonesift.evaluation.hum import notch

        return self.recording - notch(self.recording - self.recording.mean(), self.tones, self.rate, QUALITY).sum(
            axis=0
        )

    def error(self, left: Array) -> float:
        """Root mean square of what is wrong with it, about its mean, without the first fifth."""
        return float(np.std((left - self.truth)[round(SETTLED * len(left)) :]))

    def line(self) -> str:
        """Row of the page's table."""
        before, notch, ours = (self.error(each) for each in (self.recording, self.notched, self.cleaned))
        cells = (self.name, *(f"{_two_digits(value)} {self.unit}".rstrip() for value in (before, notch, ours)))
        return f"| {' | '.join(cells)} |"


def _two_digits(value: float) -> str:
    return f"{value:#.2g}".rstrip(".")


def hum(samples: int, rate: float, amplitude: float, generator: np.random.Generator) -> Array:
    """Mains hum (N,) with two harmonics: a little off 50 Hz, wandering by a tenth of a hertz, and in amplitude."""
    from tonesift.conditions import elementary, processes

    off = processes.ornstein_uhlenbeck(generator, (samples,), 0.1, 5.0 * rate) + 0.05
    turns = np.fmod(np.cumsum(MAINS[0] + off) / rate, 1.0)
    louder = elementary.exp(processes.ornstein_uhlenbeck(generator, (samples,), 0.1, 2.0 * rate))
    waves = [share * elementary.sine(turns * order) for order, share in ((1, 1.0), (2, 0.15), (3, 0.25))]
    return amplitude * louder * np.sum(waves, axis=0)


def make_ecg(folder: Path) -> Array:
    """Write ecg.npy, a minute of a real ECG in mV with hum; give it without."""
    begin, end = (round(seconds * ECG_RATE) for seconds in ECG_SECONDS)
    with np.load(ECG) as file:
        truth = (file["ecg"][begin:end] - 1024.0) / 200.0
    np.save(folder / "ecg.npy", truth + hum(len(truth), ECG_RATE, 0.2, np.random.default_rng(SEED)))
    return truth


def make_sea(folder: Path) -> Array:
    """Write sea.csv, hours and cm; give it less a harmonic analysis of the whole year."""
    level = np.loadtxt(SEA, delimiter=",", usecols=1) / 10.0
    hours = np.arange(float(len(level)))
    rows = [f"{hour:.0f},{value:.1f}" for hour, value in zip(hours, level, strict=True)]
    (folder / "sea.csv").write_text("\n".join(["hour,level", *rows, ""]), encoding="utf-8")
    angles = 2 * np.pi * np.outer(hours, 1 / np.array(TIDES))
    waves = np.concatenate([np.sin(angles), np.cos(angles), np.ones((len(level), 1))], axis=1)
    fitted = np.linalg.lstsq(waves, level, rcond=None)[0]
    return level - waves[:, :-1] @ fitted[:-1]


def make_sound(folder: Path) -> Array:
    """Write mains.wav: knocks in a coloured background under hum; give it without the hum."""
    from scipy.io import wavfile

    from tonesift.conditions import elementary, processes

    generator, samples = np.random.default_rng(SEED), round(SOUND_SECONDS * SOUND_RATE)
    truth = processes.coloured(generator, samples, 1.0, 0.01)
    for begin in (np.arange(0.7, SOUND_SECONDS - 0.5, 1.3) * SOUND_RATE).astype(int):
        time = np.arange(round(0.3 * SOUND_RATE)) / SOUND_RATE
        truth[begin : begin + len(time)] += 0.2 * elementary.exp(-time / 0.04) * elementary.sine(430.0 * time)
    recording = truth + hum(samples, SOUND_RATE, 0.2, generator)
    wavfile.write(folder / "mains.wav", int(SOUND_RATE), recording.astype(np.float32))
    return truth


def commands(page: Path) -> list[str]:
    """The page's commands, in their order."""
    return re.findall(
        r"^\$ (python -m tonesift filter .*?)(?:  +#.*)?$", page.read_text(encoding="utf-8"), re.MULTILINE
    )


def run(command: str, folder: Path) -> str:
    """Run a command of the page in a folder; what it says."""
    words = [sys.executable, *shlex.split(command)[1:]]
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(words, cwd=folder, env=environment, text=True, capture_output=True, check=False)
    if done.returncode:
        raise InputError(f"{command}: gave status {done.returncode}: {done.stderr.strip()}")
    return done.stderr


def cases(page: Path, folder: Path) -> list[Case]:
    """Make the recordings, run the page's commands on them, and read what they left."""
    from scipy.io import wavfile

    truths = [make(folder) for make in (make_ecg, make_sea, make_sound)]
    for command in commands(page):
        print(f"$ {command}\n{run(command, folder)}", end="", file=sys.stderr)
    ecg, sound = np.load(folder / "ecg.npy"), wavfile.read(folder / "mains.wav")[1].astype(np.float64)
    level = np.loadtxt(folder / "sea.csv", delimiter=",", skiprows=1, usecols=1)
    left = np.loadtxt(folder / "weather.csv", delimiter=",", skiprows=1, ndmin=2)[:, -1]
    cleaned = [np.load(folder / "clean.npy").ravel(), left, wavfile.read(folder / "clean.wav")[1].astype(np.float64)]
    hourly = [1 / tide for tide in TIDES]
    return [
        Case("ECG", "mV", "seconds", ECG_RATE, MAINS, ecg, truths[0], cleaned[0], slice(14_400, 15_480)),
        Case("sea level", "cm", "days", 1.0, hourly, level, truths[1], cleaned[1], slice(4000, 5000)),
        Case("sound", "", "seconds", SOUND_RATE, MAINS, sound, truths[2], cleaned[2], slice(32_000, 40_000)),
    ]


def draw(case: Case) -> "Figure":
    """The recording above, what is left of it below: by the command, and by notch filters."""
    from matplotlib.figure import Figure

    from tonesift.full_evaluation.plots import MIXTURE, OUTPUT, TARGET

    figure = Figure(figsize=(9, 4.2), dpi=80, layout="constrained")
    time = np.arange(len(case.recording))[case.shown] / (case.rate * (24 if case.axis == "days" else 1))
    panels = {
        "recorded": (case.recording, MIXTURE),
        f"cleaned: off by {_two_digits(case.error(case.cleaned))} {case.unit}": (case.cleaned, TARGET),
        f"by notch filters: off by {_two_digits(case.error(case.notched))} {case.unit}": (case.notched, OUTPUT),
    }
    axes = figure.subplots(3, 1, sharex=True)
    axes[2].sharey(axes[1])
    for ax, (title, (values, colour)) in zip(axes, panels.items(), strict=True):
        ax.plot(time, values[case.shown], color=colour, linewidth=0.8)
        ax.set_title(title, fontsize=9, loc="left")
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.3)
    ax.set_xlabel(case.axis)
    figure.supylabel(case.unit or "full scale is 1", fontsize=9)
    return figure


def clean(arguments: argparse.Namespace) -> None:
    """Make, run, print the table and draw."""
    from tonesift.full_evaluation import plots

    arguments.folder.mkdir(parents=True, exist_ok=True)
    for case in cases(arguments.page, arguments.folder):
        print(case.line())
        with replacing(arguments.pictures / f"cleaning-{case.name.split()[0].lower()}.png") as aside:
            aside.write_bytes(plots.png(draw(case)))


if __name__ == "__main__":
    command = shell.parser(__doc__)
    command.add_argument("page", type=Path, help="the page with the commands")
    command.add_argument("folder", type=Path, help="where to make and clean the recordings")
    command.add_argument("pictures", type=Path, help="folder for the pictures")
    shell.main(clean, command.parse_args())
