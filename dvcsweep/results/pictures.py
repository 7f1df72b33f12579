"""Pictures of a search: Optuna's own wherever it has one, drawn in this project's colours; ours where it has none.

A picture that would say nothing (too few trials, one value everywhere) is None. Colours are those of Okabe and Ito and
`cividis`; saved pictures hold no time stamp and no version, so that equal ledgers give equal bits.
"""

import contextlib
import io
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import (
    AutoLocator,
    FixedLocator,
    LogFormatter,
    LogFormatterMathtext,
    LogLocator,
    MaxNLocator,
    NullFormatter,
)
from optuna.visualization import matplotlib as optuna_plots

from dvcsweep.plan.studies import Study
from dvcsweep.quiet import quiet
from dvcsweep.record.ledger import Campaign
from dvcsweep.record.trials import Trial
from dvcsweep.results.analysis import MINOR, Analysis, evaluator, text

PLAIN, BEST, FAINT = "#0072B2", "#D55E00", "0.6"
PALETTE = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":")
STYLE = {
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.3,
    "figure.dpi": 110,
    "lines.markersize": 5,
    "legend.frameon": False,
    "text.parse_math": False,  # a dollar in a name or a value is a dollar
}
TICKS = 6  # values of a parameter at most, to have a tick each
CELLS = 10  # values of a parameter at most, to be a row of a heat map
SHOWN = 10  # trials in a bar chart of the best
CURVES = 5  # trials whose learning curves have a colour
PAIRS = 3  # of parameters in heat maps
WORD = 14  # characters of a choice beside an axis
ROOM = 24  # characters that fit side by side below a panel
AXES = 8  # parameters at most in the picture of all trials
LONG = 64  # characters of a trial's parameters beside its bar
WHOLE = 1.25  # a largest value so many times the smallest, and bars begin at 0


@dataclass(frozen=True)
class Picture:
    """A figure with its file's name and what it shows."""

    name: str
    caption: str
    figure: Figure


def png(figure: Figure) -> bytes:
    """Figure as PNG, the same bits at every run."""
    content = io.BytesIO()
    with plt.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a box stands for it
        FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    return content.getvalue()


@contextlib.contextmanager
def _optunas() -> Iterator[None]:
    """Room for Optuna to draw in: its style ggplot is ours here, and nothing stays changed."""
    before = plt.style.library["ggplot"]
    mpl.use("agg")
    plt.style.library["ggplot"] = mpl.RcParams(STYLE)
    try:
        with plt.rc_context(STYLE), quiet():
            yield
    finally:
        plt.style.library["ggplot"] = before


def _taken(axes: Axes | np.ndarray, title: str, size: tuple[float, float]) -> Figure:
    """What Optuna has drawn, out of pyplot's hands, under our title."""
    figure = np.atleast_1d(axes).ravel()[0].figure
    plt.close(figure)
    for ax in figure.axes:
        ax.set_title("")
        ax.set_title("", loc="left")
    beside = any(ax.get_label() == "<colorbar>" for ax in figure.axes)
    figure.set_layout_engine("tight" if beside else "constrained")  # Optuna's colour bars do not go with the latter
    figure.set_size_inches(*size)
    figure.suptitle(title)
    return figure


def _blank(
    title: str, size: tuple[float, float], rows: int = 1, columns: int = 1, **shared: bool
) -> tuple[Figure, list]:
    with plt.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, **shared).ravel()
    figure.suptitle(title)
    return figure, list(axes)


# The best trials


def top(analysis: Analysis) -> Figure | None:
    """Bars of the best complete trials' values, with their parameters."""
    if analysis.several or len(analysis.best) < 2 or analysis.constant():
        return None
    shown = analysis.best[:SHOWN]
    values = [trial.values[0] for trial in shown]
    spreads = [analysis.spread(trial) for trial in shown]
    figure, (ax,) = _blank(f"The best {len(shown)} of {len(analysis.best)} trials", (9, 0.9 + 0.36 * len(shown)))
    colours = [BEST, *[PLAIN] * (len(shown) - 1)]
    bars = ax.barh(
        range(len(shown)), values, height=0.7, color=colours, xerr=spreads if None not in spreads else None, capsize=3
    )
    ax.set_yticks(range(len(shown)), [_named(analysis, trial) for trial in shown], fontsize="small")
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.set_xlabel(_zoom(ax, values, spreads, analysis.study.objective[0].name))
    ax.bar_label(bars, [f"{value:.5g}" for value in values], padding=3, fontsize="small")
    ax.margins(x=0.12)
    return figure


def _zoom(ax: Axes, values: Sequence[float], spreads: Sequence[float | None], name: str) -> str:
    """Begin at 0 unless all bars would look alike; then the axis says so."""
    low, high = min(values), max(values)
    ax.xaxis.set_major_locator(MaxNLocator(7))
    if low <= 0 <= high or max(map(abs, (low, high))) > WHOLE * min(map(abs, (low, high))):
        return name
    room = max([high - low, *filter(None, spreads)]) or abs(high)
    ax.set_xlim((low - 2 * room, high + room) if low > 0 else (low - room, high + 2 * room))
    return f"{name} (the axis does not begin at 0)"


def _named(analysis: Analysis, trial: Trial) -> str:
    weights = analysis.importances()
    keys = sorted(trial.params, key=lambda key: (key not in analysis.varied, -weights.get(analysis.names[key], 0)))
    words = trial.label or ", ".join(f"{analysis.names[key]} {text(trial.params[key])}" for key in keys)
    return f"{_cut(words, LONG)}   #{trial.index}"


def _cut(words: str, length: int) -> str:
    return words if len(words) <= length else f"{words[: length - 1]}…"


def history(analysis: Analysis) -> Figure | None:
    """Value of every trial in the order they were begun, and the best until then."""
    if len(analysis.values) < 2 or analysis.listed or analysis.several or analysis.constant():
        return None
    with _optunas():
        axes = optuna_plots.plot_optimization_history(analysis.placed, target_name=analysis.title())
        figure = _taken(axes, "Trial by trial", (9, 3.6))
    axes.collections[0].set_color(PLAIN)
    handles = [axes.collections[0]]
    labels = ["trial"]
    for line in axes.lines:
        line.set(color=BEST, alpha=1, drawstyle="steps-post")
        handles.append(line)
        labels.append("best so far")
    axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    axes.set_xlabel("trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _target(analysis: Analysis, objective: int) -> Callable | None:
    """Which objective, for Optuna; with a single one it draws more if it is not told."""
    return (lambda trial: trial.values[objective]) if analysis.several else None


# Parameters


def importances(analysis: Analysis, objective: int = 0) -> Figure | None:
    """Share of an objective's variation that each parameter explains.

    One objective at a time: in Optuna's picture of several, the names are in the order of the last one's bars.
    """
    if not analysis.importances(objective):
        return None
    with _optunas():
        axes = optuna_plots.plot_param_importances(
            analysis.weighed,
            evaluator=evaluator(),
            target=lambda trial: trial.values[objective],
            target_name=analysis.title(objective),
        )
        rows = len(axes.get_yticks())
        figure = _taken(axes, "What matters: importance of each parameter", (9, 1.2 + 0.4 * rows))
    for bar in axes.patches:
        bar.set_color(PLAIN)
    for label in axes.texts:
        label.set_text(f" {label.get_text()}")
    axes.set(xlabel=f"share of the variation of {analysis.title(objective)}", ylabel="")
    axes.grid(visible=False, axis="y")
    axes.get_legend().remove()
    return figure


def effects(analysis: Analysis, objective: int = 0) -> Figure | None:
    """Value over each parameter that is a number, every trial a point, later ones lighter."""
    keys = [key for key in analysis.varied if analysis.numeric(key)]
    if not keys or analysis.constant(objective) or analysis.listed or len(analysis.values) < 3:
        return None
    with _optunas():
        axes = optuna_plots.plot_slice(
            analysis.placed,
            params=[analysis.names[key] for key in keys],
            target=_target(analysis, objective),
            target_name=analysis.title(objective),
        )
        rows = math.ceil(len(keys) / 3)
        figure = _taken(axes, "Effect of each parameter", (9, 2.9 * rows + 0.4))
    _rearranged(figure, np.atleast_1d(axes), analysis, keys, analysis.title(objective))
    return figure


def _rearranged(figure: Figure, axes: np.ndarray, analysis: Analysis, keys: Sequence[str], label: str) -> None:
    """Optuna's one row of panels in several, with one colour bar."""
    columns = min(3, len(keys))
    for other in [ax for ax in figure.axes if ax not in list(axes)]:
        other.remove()
    figure.set_layout_engine("constrained")
    grid = GridSpec(math.ceil(len(axes) / columns), columns, figure=figure)
    numbers = [trial.index for trial in analysis.comparable]
    for place, (ax, key) in enumerate(zip(axes, sorted(keys, key=analysis.names.get), strict=True)):
        _ticks(ax, analysis, key)
        ax.set_subplotspec(grid[place // columns, place % columns])
        first = place % columns == 0
        ax.tick_params(labelleft=first, labelbottom=True)
        ax.set_ylabel(label if first else "")
        for points in ax.collections:
            points.set_cmap("cividis")
            points.set_clim(min(numbers), max(numbers))  # one scale, though a trial may not be in every panel
            points.set_edgecolor("0.3")
            points.set_linewidth(0.5)
        ax.tick_params(axis="x", labelsize="small")
    bar = figure.colorbar(axes[0].collections[0], ax=list(axes), label="trial", aspect=30)
    bar.locator = MaxNLocator(integer=True)
    bar.update_ticks()


def _ticks(ax: Axes, analysis: Analysis, key: str) -> None:
    """Ticks of a parameter's axis: its values where they are few, round numbers otherwise."""
    values = sorted({trial.params[key] for trial in analysis.comparable if key in trial.params})
    low, high = ax.get_xlim()
    at = [math.log10(value) if ax.get_xscale() == "log" else value for value in values]
    room = abs(math.log10(high / low) if ax.get_xscale() == "log" else high - low)
    if len(values) <= TICKS and all(later - earlier > room / 9 for earlier, later in pairwise(at)):
        ax.set_xticks(values, [text(value) for value in values])
        ax.minorticks_off()
    elif ax.get_xscale() == "linear":
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=_whole(analysis, key)))
    else:
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if room < 1 else (1, 3) if room < 2.5 else (1,)))
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())


def categories(analysis: Analysis, objective: int = 0) -> Figure | None:
    """Value for each choice of the parameters that are not numbers: every trial a point, a bar at the median."""
    keys = [key for key in analysis.varied if not analysis.numeric(key)]
    if not keys or analysis.constant(objective) or analysis.listed:
        return None
    columns = min(3, len(keys))
    rows = math.ceil(len(keys) / columns)
    figure, axes = _blank("Effect of each choice", (3 * columns, 2.9 * rows + 0.4), rows, columns, sharey=True)
    for ax, key in zip(axes, keys, strict=False):
        _strip(ax, analysis, key, objective)
        ax.set_xlabel(analysis.names[key])
    for ax in axes[len(keys) :]:
        ax.set_visible(False)
    for ax in axes[::columns]:
        ax.set_ylabel(analysis.title(objective))
    return figure


def _strip(ax: Axes, analysis: Analysis, key: str, objective: int) -> None:
    groups: dict[str, list[float]] = {}
    for trial in analysis.comparable:
        if key in trial.params:
            groups.setdefault(text(trial.params[key]), []).append(analysis.values[trial.index][objective])
    labels = [label for label in analysis._labels(key) if label in groups]
    for place, label in enumerate(labels):
        values = groups[label]
        shifts = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else [0]
        ax.scatter(place + np.asarray(shifts), values, color=PLAIN, s=18, alpha=0.75, linewidths=0)
        ax.plot([place - 0.28, place + 0.28], [np.median(values)] * 2, color=BEST, lw=2)
    words = [_cut(label, WORD) for label in labels]
    slanted = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if sum(map(len, words)) > ROOM else {}
    ax.set_xticks(range(len(words)), words, fontsize="small", **slanted)
    ax.set_xlim(-0.6, len(labels) - 0.4)
    ax.grid(visible=False, axis="x")


def one_at_a_time(analysis: Analysis, objective: int = 0) -> Figure | None:
    """Value over each parameter with all others as in the base, which is marked."""
    if analysis.study.strategy.kind != "one-at-a-time" or analysis.constant(objective):
        return None
    curves = {key: analysis.curve(key) for key in analysis.keys}
    curves = {key: trials for key, trials in curves.items() if len(trials) > 1}
    if not curves:
        return None
    columns = min(3, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure, axes = _blank(
        "One parameter at a time; the base is marked", (9, 2.9 * rows + 0.4), rows, columns, sharey=True
    )
    for ax, (key, trials) in zip(axes, curves.items(), strict=False):
        _line(ax, analysis, key, trials, objective)
    for ax in axes[len(curves) :]:
        ax.set_visible(False)
    for ax in axes[::columns]:
        ax.set_ylabel(analysis.title(objective))
    return figure


def _line(ax: Axes, analysis: Analysis, key: str, trials: Sequence[Trial], objective: int) -> None:
    numeric = analysis.numeric(key)
    labels = analysis._labels(key)
    at = [trial.params[key] if numeric else labels.index(text(trial.params[key])) for trial in trials]
    values = [analysis.values[trial.index][objective] for trial in trials]
    ax.plot(at, values, color=PLAIN, marker="o", ls="-" if numeric else "none")
    for x, y, trial in zip(at, values, trials, strict=True):
        if trial.label == "base":
            ax.plot([x], [y], color=BEST, marker="D", ms=8)
    if numeric and getattr(analysis._axis(key), "log", False):
        ax.set_xscale("log")
    if numeric:
        _ticks(ax, analysis, key)
    else:
        ax.set_xticks(range(len(labels)), labels)
        ax.set_xlim(-0.4, len(labels) - 0.6)
    ax.set_xlabel(analysis.names[key])
    ax.tick_params(axis="x", labelsize="small")


def heaviest(analysis: Analysis, objective: int = 0) -> list[str]:
    """The parameters that vary, the most important first."""
    weights = analysis.importances(objective)
    return sorted(analysis.varied, key=lambda key: -weights.get(analysis.names[key], 0))


def pairs(analysis: Analysis, objective: int = 0) -> list[tuple[str, str]]:
    """The parameters to be drawn against each other: the most important ones, two by two."""
    if analysis.listed or len(analysis.values) < 4 or analysis.constant(objective):
        return []
    weights = analysis.importances(objective)
    keys = heaviest(analysis, objective)
    keys = [key for place, key in enumerate(keys[:PAIRS]) if place < 2 or weights.get(analysis.names[key], 0) >= MINOR]
    found = [(one, other) for place, one in enumerate(keys) for other in keys[place + 1 :]]
    return found[:1] if analysis.several else found


def heat_map(analysis: Analysis, one: str, other: str, objective: int = 0) -> Figure | None:
    """Value over two parameters: cells where both have few values, Optuna's contours otherwise."""
    both = [trial for trial in analysis.comparable if one in trial.params and other in trial.params]
    counts = [len({text(trial.params[key]) for trial in both}) for key in (one, other)]
    if min(counts, default=0) < 2 or len({analysis.values[trial.index][objective] for trial in both}) < 2:
        return None
    if max(counts) <= CELLS and len(both) >= 0.5 * counts[0] * counts[1]:
        return _cells(analysis, both, (one, other), objective)
    return _contour(analysis, (one, other), objective)


def _cells(analysis: Analysis, trials: Sequence[Trial], keys: tuple[str, str], objective: int) -> Figure:
    table = pd.DataFrame(
        {
            "x": [text(trial.params[keys[0]]) for trial in trials],
            "y": [text(trial.params[keys[1]]) for trial in trials],
            "value": [analysis.values[trial.index][objective] for trial in trials],
        }
    )
    places = [_places(analysis, key, trials) for key in keys]
    small = analysis.study.objective[objective].direction == "minimize"
    best = table.groupby(["y", "x"])["value"].min() if small else table.groupby(["y", "x"])["value"].max()
    grid = best.unstack().reindex(index=places[1], columns=places[0])
    figure, (ax,) = _blank(
        f"{analysis.names[keys[0]]} and {analysis.names[keys[1]]}",
        (max(4.5, 0.9 * len(places[0]) + 2.6), max(3.0, 0.55 * len(places[1]) + 1.6)),
    )
    drawn = ax.imshow(grid, cmap="cividis" if small else "cividis_r", aspect="auto", origin="lower", norm=_norm(grid))
    for (row, column), value in np.ndenumerate(grid.to_numpy()):
        if not math.isnan(value):
            dark = sum(drawn.cmap(drawn.norm(value))[:3]) < 1.4
            ax.text(column, row, f"{value:.4g}", ha="center", va="center", fontsize="small", color="w" if dark else "k")
    for axis, key, labels in ((ax.xaxis, keys[0], places[0]), (ax.yaxis, keys[1], places[1])):
        axis.set_ticks(range(len(labels)), labels)
        axis.set_label_text(analysis.names[key])
    ax.grid(visible=False)
    word = "lowest" if small else "highest"
    alone = len(table) == len(best)
    figure.colorbar(drawn, label=analysis.title(objective) + ("" if alone else f", the {word} of each cell"))
    return figure


def _norm(grid: pd.DataFrame) -> Normalize:
    """Colours by the logarithm where values differ by orders of magnitude."""
    low, high = np.nanmin(grid), np.nanmax(grid)
    return LogNorm(low, high) if low > 0 and high > 30 * low else Normalize(low, high)


def _places(analysis: Analysis, key: str, trials: Sequence[Trial]) -> list[str]:
    values = {text(trial.params[key]): trial.params[key] for trial in trials}
    if analysis.numeric(key):
        return sorted(values, key=values.__getitem__)
    return [label for label in analysis._labels(key) if label in values]


def _contour(analysis: Analysis, keys: tuple[str, str], objective: int) -> Figure:
    names = [analysis.names[key] for key in keys]
    with _optunas():
        axes = optuna_plots.plot_contour(
            analysis.placed, params=names, target=_target(analysis, objective), target_name=analysis.title(objective)
        )
        figure = _taken(axes, f"{names[0]} and {names[1]}, interpolated between trials", (7.5, 4.6))
    small = analysis.study.objective[objective].direction == "minimize"
    for drawn in axes.collections:
        if getattr(drawn, "filled", False):
            drawn.set_cmap("cividis" if small else "cividis_r")
    points = axes.collections[-2]
    points.set(facecolor="w", edgecolor="k", linewidth=1)
    axes.grid(visible=False)
    return figure


def parallel(analysis: Analysis) -> Figure | None:
    """Every trial a line through its parameters, coloured by its value."""
    if len(analysis.values) < 3 or len(analysis.varied) < 2 or analysis.constant():
        return None
    with _optunas():
        axes = optuna_plots.plot_parallel_coordinate(
            analysis.placed,
            params=[analysis.names[key] for key in heaviest(analysis)[:AXES]],
            target_name=analysis.title(),
        )
        figure = _taken(axes, "All trials at a glance", (9, 4.4))
    lines = axes.collections[0]
    lines.set_cmap("cividis_r" if analysis.study.objective[0].direction == "maximize" else "cividis")
    lines.set_linewidth(1.6)
    lines.set_zorder(3)
    names = [label.get_text() for label in axes.get_xticklabels()[1:]]  # the first is the objective
    singles = dict(zip(_singles(figure, axes), names, strict=True))
    whole = {analysis.names[key] for key in analysis.varied if _whole(analysis, key)}
    for ax in figure.axes:
        ax.grid(visible=False)
        ax.spines["right"].set_visible(True)
        ax.tick_params(axis="y", labelsize="small")
        if ax.get_yscale() == "log":
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            ax.yaxis.set_minor_formatter(NullFormatter())
        elif isinstance(ax.yaxis.get_major_locator(), AutoLocator):
            ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=singles.get(ax) in whole))
    _over(figure, axes)
    for tick in axes.get_xticklabels():
        tick.set(rotation=25, ha="right", rotation_mode="anchor")
    return figure


def _singles(figure: Figure, axes: Axes) -> list[Axes]:
    """The axes of single parameters, from the left."""
    return [ax for ax in figure.axes if ax is not axes and ax.get_label() != "<colorbar>"]


def _whole(analysis: Analysis, key: str) -> bool:
    return all(isinstance(trial.params.get(key, 0), int) for trial in analysis.comparable)


def _over(figure: Figure, axes: Axes) -> None:
    """Lay the axes of single parameters, with white grounds behind their labels, over the lines."""
    for ax in _singles(figure, axes):
        ax.set_zorder(axes.get_zorder() + 1)
        ax.patch.set_visible(False)
        labels = ax.get_yticklabels()
        if isinstance(ax.yaxis.get_major_locator(), FixedLocator):
            words = ["absent" if label.get_text() == "None" else _cut(label.get_text(), WORD) for label in labels]
            ax.set_yticks(ax.get_yticks(), words)
        for label in ax.get_yticklabels():
            label.set_bbox({"facecolor": "w", "alpha": 0.8, "edgecolor": "none", "pad": 0.5})


# All values


def distribution(analysis: Analysis) -> Figure | None:
    """Share of the trials whose value is at most so large."""
    if len(analysis.values) < 5 or analysis.listed or analysis.several or analysis.constant():
        return None
    with _optunas():
        axes = optuna_plots.plot_edf(analysis.placed, target_name=analysis.title())
        figure = _taken(axes, "Distribution of the values", (9, 3.2))
    for line in axes.lines:
        line.set(color=PLAIN, alpha=1)
    values = analysis.column()
    axes.plot(values, [-0.015] * len(values), ls="none", marker="|", ms=10, color=BEST, clip_on=False)
    axes.set(ylabel="share of trials below", ylim=(0, 1.02))
    return figure


def pareto(analysis: Analysis) -> Figure | None:
    """Trials over two or three objectives, those on the front marked."""
    if len(analysis.study.objective) not in (2, 3) or len(analysis.values) < 2:
        return None
    with _optunas():
        axes = optuna_plots.plot_pareto_front(analysis.placed)
        figure = _taken(axes, "The Pareto front: no other trial is better in all objectives", (9, 4.6))
    for points in axes.collections:
        front = points.get_label() == "Best Trial"
        points.set_color(BEST if front else PLAIN)
        points.set_label("on the front" if front else "surpassed")
    if len(analysis.study.objective) == 2:
        for trial in analysis.best[:SHOWN]:
            axes.annotate(
                f"#{trial.index}", trial.values, xytext=(5, 4), textcoords="offset points", fontsize="small", color=BEST
            )
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return figure


def rungs(analysis: Analysis) -> Figure | None:
    """Values of halved trials at each budget."""
    if not analysis.study.halved or not analysis.values or len(analysis.study.budgets) < 2:
        return None
    with _optunas():
        axes = optuna_plots.plot_intermediate_values(analysis.climbing())
        figure = _taken(axes, "Successive halving: the best share of each rung climbs", (9, 4.2))
    best = {f"Trial{trial.index}" for trial in analysis.best[:1]}
    depth = max(len(line.get_xdata()) for line in axes.lines)
    for line in axes.lines:
        mine, climbed = line.get_label() in best, len(line.get_xdata())
        line.set(alpha=1, marker="o", color=BEST if mine else PLAIN if climbed == depth else FAINT)
        line.set_zorder(2 + climbed + mine)
    axes.set(xlabel=analysis.study.strategy.budget, ylabel=analysis.study.objective[0].name, xscale="log")
    axes.set_xticks(analysis.study.budgets, list(map(str, analysis.study.budgets)), minor=False)
    axes.minorticks_off()
    if axes.get_legend():
        axes.get_legend().remove()
    return figure


def curves(analysis: Analysis, file: str) -> Figure | None:
    """A figure over the epochs: the best trials in colour, all others behind them."""
    lines = {trial.index: _curve(analysis, trial, file) for trial in analysis.ranking}
    lines = {index: line for index, line in lines.items() if len(line) > 1}
    if not lines:
        return None
    figure, (ax,) = _blank(_short(file, analysis.study.curves), (9, 3.6))
    shown = [trial for trial in analysis.ranking if trial.index in lines]
    coloured = min(CURVES, len(analysis.best)) if analysis.study.halved else CURVES
    for place, trial in reversed(list(enumerate(shown))):
        line = lines[trial.index]
        if place < coloured:
            style = {"color": PALETTE[place], "ls": LINES[place % len(LINES)], "lw": 2 if place == 0 else 1.4}
            ax.plot(line.index, line, label=f"#{trial.index}", zorder=10 - place, **style)
        else:
            ax.plot(line.index, line, color="0.75", lw=0.8, label="other trials" if place == coloured else None)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, title="best first"
    )
    ax.set_xlabel("step")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    values = pd.concat(lines.values())
    if values.min() > 0 and values.max() > 10 * values.min():
        ax.set_yscale("log")
    return figure


def _short(file: str, files: Sequence[str]) -> str:
    """Name of a curve: so much of its path's end as no other has."""
    endings = [PurePosixPath(one).with_suffix("").parts for one in files]
    parts = PurePosixPath(file).with_suffix("").parts
    for length in range(1, len(parts)):
        if sum(one[-length:] == parts[-length:] for one in endings) == 1:
            return " ".join(parts[-length:])
    return file


def _curve(analysis: Analysis, trial: Trial, file: str) -> pd.Series:
    """A trial's curve in its highest rung, averaged over experiments at the steps that all of them have."""
    found = [outcome.curves[file] for outcome in analysis.top(trial) if file in outcome.curves]
    series = [pd.Series(values, index=steps, dtype=float) for steps, values in found]
    series = [one[~one.index.duplicated()] for one in series]
    return pd.concat(series, axis=1).dropna().mean(axis=1) if series else pd.Series(dtype=float)


def times(analysis: Analysis) -> Figure | None:
    """Seconds that each trial took, all its experiments together."""
    seconds = {
        trial.index: [one.seconds for one in trial.experiments.values()] for trial in analysis.trials if trial.values
    }
    own = {index: sum(found) for index, found in seconds.items() if found and None not in found}
    if len(own) < 2:
        return None
    minutes = max(own.values()) > 300
    figure, (ax,) = _blank("Time of each trial", (9, 3))
    first = {trial.index for trial in analysis.best[: None if analysis.several else 1]}
    bars = ax.bar(list(own), [value / (60 if minutes else 1) for value in own.values()], width=0.8, color=PLAIN)
    for index, bar in zip(own, bars, strict=True):
        bar.set_color(BEST if index in first else PLAIN)
    ax.set(xlabel="trial" + (" (the best in another colour)" if first & set(own) else ""))
    ax.set_ylabel("minutes" if minutes else "seconds")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(visible=False, axis="x")
    return figure


# All of them


def drawn(study: Study, campaign: Campaign) -> list[Picture]:
    """Every picture that says something, with its caption, in the order of a report."""
    analysis = Analysis.of(study, campaign)
    with plt.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        found = [(name, caption, figure) for name, caption, figure in _wanted(analysis) if figure is not None]
    for _, _, figure in found:
        _plain_logarithms(figure)
    return [Picture(*each) for each in found]


def _plain_logarithms(figure: Figure) -> None:
    """Numbers beside logarithmic axes as they are, since nothing is taken for mathematics."""
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            if isinstance(axis.get_major_formatter(), LogFormatterMathtext):
                axis.set_major_formatter(LogFormatter())
            if isinstance(axis.get_minor_formatter(), LogFormatterMathtext):
                axis.set_minor_formatter(LogFormatter())


def _wanted(analysis: Analysis) -> Iterator[tuple[str, str, Figure | None]]:
    at = f" Compared{analysis.at}, the budget that every trial has had." if analysis.study.halved else ""
    yield "top", "The best complete trials. " + _bars_note(analysis), top(analysis)
    yield "pareto", "Trials that no other surpasses in every objective, by number.", pareto(analysis)
    yield "rungs", "Each line is a trial; values at different budgets are not to be compared.", rungs(analysis)
    caption = f"{analysis.title()} of each trial, in the order they were begun."
    yield "history", caption + at, history(analysis)
    for place, objective in enumerate(analysis.study.objective):
        yield from _of_objective(analysis, place, f"-{objective.key}" if analysis.several else "", at)
    caption = f"Share of the trials with at most so large a {analysis.title()}; a mark for each trial."
    yield "distribution", caption + at, distribution(analysis)
    caption = "A line for each trial, from parameter to parameter."
    if len(analysis.varied) > AXES:
        caption += f" The {AXES} most important ones of {len(analysis.varied)} parameters."
    yield "parallel", caption + at, parallel(analysis)
    for file in analysis.study.curves:
        name = "curve-" + file.rpartition(".")[0].replace("/", "-")
        note = " A line ends at the budget that its trial had." if analysis.study.halved else ""
        yield name, f"{file} of the best trials.{note}", curves(analysis, file)
    yield "times", _times_note(analysis), times(analysis)


def _of_objective(analysis: Analysis, place: int, ending: str, at: str) -> Iterator[tuple[str, str, Figure | None]]:
    name = analysis.title(place)
    yield f"importances{ending}", _importance_note(analysis) + at, importances(analysis, place)
    caption = f"{name} over each parameter; each point is a trial, the others' values differ as well."
    yield f"effects{ending}", caption + at, effects(analysis, place)
    caption = f"{name} for each choice; each point is a trial, a line marks the median."
    yield f"choices{ending}", caption + at, categories(analysis, place)
    caption = f"{name} while one parameter varies and the others stay as in the base."
    yield f"one-at-a-time{ending}", caption, one_at_a_time(analysis, place)
    for one, other in pairs(analysis, place):
        words = [analysis.names[key] for key in (one, other)]
        figure = heat_map(analysis, one, other, place)
        yield f"map-{words[0]}-{words[1]}{ending}", f"{name} over {words[0]} and {words[1]}." + at, figure


def _bars_note(analysis: Analysis) -> str:
    if analysis.study.average_over and any(analysis.spread(trial) for trial in analysis.best):
        return f"Whiskers: standard deviation over {' and '.join(analysis.study.average_over)}."
    return ""


def _importance_note(analysis: Analysis) -> str:
    left_out = [analysis.names[key] for key in analysis.varied if not _everywhere(analysis, key)]
    note = "fANOVA: the share of the variation among trials that a parameter explains by itself."
    if len(analysis.sample) < len(analysis.comparable):
        note += f" Measured on {len(analysis.sample)} trials, evenly spaced."
    return note + (f" Left out, because not all trials have them: {', '.join(left_out)}." if left_out else "")


def _everywhere(analysis: Analysis, key: str) -> bool:
    return all(key in trial.params for trial in analysis.comparable)


def _times_note(analysis: Analysis) -> str:
    without = sum(any(outcome.seconds is None for outcome in trial.experiments.values()) for trial in analysis.trials)
    note = "Wall-clock time of each trial's experiments; several at a time slow each other down."
    return note + (f" {without} without a time of their own are left out." if without else "")
