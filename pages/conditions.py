"""The picture of the conditions, a panel each: the mixture and, without noise, the mean of its tones; no stage.

`make pictures` runs it. Panels differ by the settings in their titles alone: the seed is one.

python -m pages.conditions studies/bases/general.yaml docs/conditions.png
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pages import shell
from tonesift import params
from tonesift.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECONDS, MARGIN = 3.0, 1.6  # shown, and what a panel reaches to
EVERYTHING: dict[str, Any] = {
    **{"drift": 0.01, "wander": 0.15, "phase_walk": 0.25, "dwell": 3.0, "tail_scale": [0.02, 0.2]},
    **{"burst_share": 0.08, "coloured": [0.02, 0.1], "clip": [0.4, 1.0], "gap_share": 0.2},
}
CONDITIONS: dict[str, dict[str, Any]] = {
    "white noise alone": {},
    "drift: 0.02": {"drift": 0.02},
    "wander: 0.3, phase_walk: 0.5": {"wander": 0.3, "phase_walk": 0.5},
    "dwell: 1.0": {"dwell": 1.0},
    "tail_scale: [0.03, 0.4], burst_share: 0.08": {"tail_scale": [0.03, 0.4], "burst_share": 0.08},
    "outlier_share: 0.1": {"outlier_share": 0.1},
    "coloured: [0.05, 0.3]": {"coloured": [0.05, 0.3]},
    "gap_share: 0.5": {"gap_share": 0.5},
    "clip: [0.1, 0.4]": {"clip": [0.1, 0.4]},
    "jitter_phase: 45.0, jitter_amplitude: 0.2": {"jitter_phase": 45.0, "jitter_amplitude": 0.2},
    "tone_range: [0.7, 60.0]": {"tone_range": [0.7, 60.0]},
    "everything": EVERYTHING,
}


def conditions(arguments: argparse.Namespace) -> None:
    """Draw every condition on recordings of the same seed."""
    from tonesift.full_evaluation import figures

    (data,) = params.load(arguments.params, "data")
    with replacing(arguments.picture) as aside:
        aside.write_bytes(figures.png(draw(data)))


def draw(data: params.Data) -> "Figure":
    """The figure."""
    import numpy as np
    from matplotlib.figure import Figure

    from tonesift.conditions import run
    from tonesift.full_evaluation.figures import MARK, MIXTURE, TARGET

    figure = Figure(figsize=(9, 10.5), dpi=80, layout="constrained")
    for ax, (label, chosen) in zip(figure.subplots(-(-len(CONDITIONS) // 2), 2).flat, CONDITIONS.items(), strict=True):
        changes = {"task": "general", "train_recordings": 1, "conditions": params.Conditions(**chosen)}
        own = data.model_copy(update=changes)
        (mixture, tones), *_ = run.draw_set(own, testing=False, sound=None)[1]
        shown = slice(0, round(SECONDS * data.sampling_rate))
        time = np.arange(len(mixture))[shown] / data.sampling_rate
        ax.plot(time, mixture[shown], color=MIXTURE, linewidth=0.6, antialiased=False)
        ax.plot(time, tones.mean(axis=0)[shown], color=TARGET, linewidth=0.7, antialiased=False)
        missing = np.isnan(mixture[shown])
        ax.fill_between(time, -MARGIN, MARGIN, where=missing, color=MARK, alpha=0.25, linewidth=0)
        ax.set(ylim=(-MARGIN, MARGIN), xlim=(0, SECONDS))
        ax.set_title(label, fontsize=8)
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
