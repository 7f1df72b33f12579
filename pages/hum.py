"""Picture and figures of docs/hum.md: a minute of an ECG under mains hum, cleaned by the page's command and by a notch.

The ECG is that of docs/cleaning.md, from which nothing was learnt; the hum is made, so that it is known.

python -m pages.hum docs/hum.md recordings/ docs/hum.png
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pages import cleaning, shell
from tonesift.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
MODEL, RATE = Path("hum/models/model.safetensors"), cleaning.ECG_RATE
SHOWN = slice(14_400, 15_480)  # three seconds
SETTLED = slice(round(RATE), None)


def residuals(page: Path, folder: Path) -> tuple[Array, dict[str, Array]]:
    """The ECG without hum (N,), and what there is beside it: as recorded, behind notch filters, and cleaned, in mV."""
    folder.mkdir(parents=True, exist_ok=True)
    ecg = cleaning.make_ecg(folder)
    recording = np.load(folder / "ecg.npy")
    np.savetxt(folder / "ecg.csv", recording, header="mV", comments="", fmt="%.6f")
    pipeline = folder / MODEL.parts[0]  # the command is run as it stands there
    pipeline.unlink(missing_ok=True)
    pipeline.symlink_to(Path(pipeline.name).resolve())
    (command, *_) = cleaning.commands(page)
    print(f"$ {command}\n{cleaning.run(command, folder)}", end="", file=sys.stderr)
    cleaned = np.loadtxt(folder / "clean.csv", delimiter=",", skiprows=1, ndmin=2)[:, -1]
    case = cleaning.Case("ECG", "mV", "seconds", RATE, cleaning.MAINS, recording, ecg, cleaned, SHOWN)
    return ecg, {"recorded": recording - ecg, "notch": case.notched - ecg, "cleaned": cleaned - ecg}


def figures(ecg: Array, beside: dict[str, Array]) -> dict[str, tuple[float, float]]:
    """Root mean square in µV behind the first second, of everything and at QRS complexes."""
    from tonesift.evaluation.hum import qrs

    where = qrs(ecg, RATE)[SETTLED]
    settled = {name: 1000 * (values[SETTLED] - values[SETTLED].mean()) for name, values in beside.items()}
    return {name: (float(np.std(v)), float(np.sqrt(np.mean(v[where] ** 2)))) for name, v in settled.items()}


def draw(ecg: Array, beside: dict[str, Array]) -> "Figure":
    """The recording, the hum in it, and what is left of that by either, all in one unit but the first."""
    from matplotlib.figure import Figure

    from tonesift.full_evaluation.plots import MIXTURE, OUTPUT, TARGET

    found = figures(ecg, beside)
    time = np.arange(len(ecg))[SHOWN] / RATE
    panels = [
        ("ECG with mains hum (mV)", ecg + beside["recorded"], MIXTURE),
        (f"the hum in it (µV): {found['recorded'][0]:.0f} µV", 1000 * beside["recorded"], MIXTURE),
        (f"left behind notch filters (µV): {_in_words(found['notch'])}", 1000 * beside["notch"], OUTPUT),
        (f"left by the network (µV): {_in_words(found['cleaned'])}", 1000 * beside["cleaned"], TARGET),
    ]
    figure = Figure(figsize=(9, 6), dpi=80, layout="constrained")
    axes = figure.subplots(4, 1, sharex=True)
    for ax, (title, values, colour) in zip(axes, panels, strict=True):
        ax.plot(time, values[SHOWN], color=colour, linewidth=0.8)
        ax.set_title(title, fontsize=9, loc="left")
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.3)
    most = 1.1 * max(np.abs(values[SHOWN]).max() for _, values, _ in panels[1:3])
    for ax in axes[1:]:
        ax.set_ylim(-most, most)
    axes[-1].set_xlabel("seconds")
    return figure


def _in_words(values: tuple[float, float]) -> str:
    return f"{values[0]:.1f} µV, at QRS complexes {values[1]:.1f} µV"


def show(arguments: argparse.Namespace) -> None:
    """Make, run, print the figures and draw."""
    from tonesift.full_evaluation import plots as pictures

    ecg, beside = residuals(arguments.page, arguments.folder)
    for name, (whole, at_qrs) in figures(ecg, beside).items():
        print(f"{name}: {whole:.1f} µV, at QRS complexes {at_qrs:.1f} µV")
    with replacing(arguments.picture) as aside:
        aside.write_bytes(pictures.png(draw(ecg, beside)))


if __name__ == "__main__":
    command = shell.parser(__doc__)
    command.add_argument("page", type=Path, help="the page with the command")
    command.add_argument("folder", type=Path, help="where to make and clean the recording")
    command.add_argument("picture", type=Path, help="the picture")
    shell.main(show, command.parse_args())
