"""The picture of the conditions, a panel each: the mixture and, without noise, the mean of its tones; no stage.

`make pictures` runs it. Panels differ by conditions alone: the seed is one.

python -m pages.conditions studies/bases/general.yaml docs/conditions.png
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pages import shell
from tonesift import params
from tonesift.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECONDS, MARGIN = 3.0, 1.6  # shown, and what a panel reaches to
LEFT_OUT = "everything, random sets"


def conditions(arguments: argparse.Namespace) -> None:
    """Draw every condition on recordings of the same seed."""
    from tonesift.full_evaluation import plots

    (data,) = params.load(arguments.params, "data")
    with replacing(arguments.picture) as aside:
        aside.write_bytes(plots.png(draw(data)))


def draw(data: params.Data) -> "Figure":
    """The figure."""
    import numpy as np
    from matplotlib.figure import Figure

    from tonesift.conditions import named, run
    from tonesift.full_evaluation.plots import MARK, MIXTURE, TARGET

    names = [name for name in named.NAMED if name != LEFT_OUT]
    figure = Figure(figsize=(9, 10.5), dpi=80, layout="constrained")
    for ax, name in zip(figure.subplots(-(-len(names) // 2), 2).flat, names, strict=True):
        own = named.under(data, name, train_recordings=1)
        (mixture, tones), *_ = run.draw_set(own, testing=False, sound=None)[1]
        shown = slice(0, round(SECONDS * data.sampling_rate))
        time = np.arange(len(mixture))[shown] / data.sampling_rate
        ax.plot(time, mixture[shown], color=MIXTURE, linewidth=0.6, antialiased=False)
        ax.plot(time, tones.mean(axis=0)[shown], color=TARGET, linewidth=0.7, antialiased=False)
        missing = np.isnan(mixture[shown])
        ax.fill_between(time, -MARGIN, MARGIN, where=missing, color=MARK, alpha=0.25, linewidth=0)
        ax.set(ylim=(-MARGIN, MARGIN), xlim=(0, SECONDS))
        ax.set_title(name, fontsize=8)
        ax.tick_params(labelsize=7)
        ax.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(
        "seconds; grey: the mixture, blue: the mean of its tones, green: samples that are missing", fontsize=8
    )
    return figure


if __name__ == "__main__":
    command = shell.parser(__doc__)
    command.add_argument("params", type=Path, help="parameters with the tones to show")
    command.add_argument("picture", type=Path, help="where to draw it, PNG")
    shell.main(conditions, command.parse_args())
