"""Every picture, as a function from arrays to a Matplotlib figure; readable in print and by the colour-blind.

Colours are those of Okabe and Ito, each with a line style of its own. Saved pictures hold no time stamp and no version,
so that equal data give equal bits.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy import signal, stats

MIXTURE, TARGET, OUTPUT, MARK = "0.6", "#0072B2", "#D55E00", "#009E73"
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
AXES = {
    "noise_std": "standard deviation of the noise",
    "frequency_offset_hz": "offset of all frequencies (Hz)",
    "phase_offset_deg": "offset of one tone's phase (degrees)",
    "amplitude": "amplitude of all tones, times what it was",
    "clipped": "clipped at a share of the peak",
    "missing": "share of samples missing, in bursts",
}
MOST_SHOWN = 2.0  # of 1 - R^2 under conditions
STYLES = ("-", "--", "-.", ":")
MARKERS = "os^D"
ERROR_SHARE = "1 − R²"  # on a logarithmic axis: near 1, R² itself looks the same for all
LEAST = 1e-9  # of it that is drawn


def png(figure: Figure) -> bytes:
    """Figure as PNG at 110 dots an inch, the same bits at every run."""
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    return content.getvalue()


def _figure(rows: int, title: str, height: float = 2.2, sharex: bool = False) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(9, height * rows + 0.6), dpi=110, layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(rows, 1, squeeze=False, sharex=sharex)[:, 0]
    for ax in axes:
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def data(mixture: NDArray, tones: NDArray, frequencies: Sequence[float], sampling_rate: float) -> Figure:
    """Mixture, its tones and its spectrum.

    Parameters
    ----------
    mixture, tones : ndarray, shapes (N,) and (K, N)
        One recording.
    frequencies : sequence of float
        Hz, one for each tone.
    sampling_rate : float
        Hz.
    """
    figure, (top, middle, bottom) = _figure(3, "The data: a mixture, the tones in it, and its spectrum")
    shown = slice(0, _shown(frequencies, sampling_rate, len(mixture)))
    time = np.arange(len(mixture))[shown] / sampling_rate
    top.plot(time, mixture[shown], color=MIXTURE, lw=0.8)
    top.set(ylabel="mixture", xlabel="time (s)")
    for index, (tone, frequency) in enumerate(zip(tones, frequencies, strict=True)):
        middle.plot(time, tone[shown], **_line(index), label=f"{frequency:g} Hz")
    middle.set(ylabel="tones", xlabel="time (s)")
    _legend(middle)
    at, density = signal.periodogram(mixture.astype(np.float64), sampling_rate, window="hann")
    bottom.semilogy(at[1:], density[1:], color=MIXTURE, lw=0.8)
    for index, frequency in enumerate(frequencies):
        bottom.axvline(frequency, **_line(index) | {"lw": 1}, alpha=0.7)
    high = density.max()
    bottom.set(
        xlim=(0, 3 * max(frequencies)), ylim=(high * 1e-7, high * 3), xlabel="frequency (Hz)", ylabel="power / Hz"
    )
    return figure


def spectrogram(mixture: NDArray, frequencies: Sequence[float], sampling_rate: float) -> Figure:
    """Power of a mixture (N,) over time and frequency, with the tones marked; parameters as for `data`."""
    figure, (ax,) = _figure(1, "Spectrogram of the mixture", height=3.4)
    length = int(min(len(mixture), 2 * sampling_rate / _spacing(frequencies)))
    at, time, power = signal.spectrogram(
        mixture.astype(np.float64),
        sampling_rate,
        window="hann",
        nperseg=length,
        noverlap=length * 7 // 8,
        detrend=False,
    )
    keep = at <= max(2 * max(frequencies), at[1])
    level = 10 * np.log10(power[keep] + 1e-12)
    mesh = ax.pcolormesh(time, at[keep], level, cmap="cividis", vmin=level.max() - 50, shading="nearest")
    ax.set(xlabel="time (s)", ylabel="frequency (Hz)", yticks=[round(f, 3) for f in frequencies])
    ax.grid(visible=False)
    figure.colorbar(mesh, label="dB")
    return figure


def training(history: Mapping[str, NDArray]) -> Figure:
    """Curves over the epochs with the best one marked: the one of lowest validation loss.

    Parameters
    ----------
    history : mapping of str to ndarray, shape (E,)
        `train/loss`, `validation/loss`, `train/r2`, `validation/r2`, `learning_rate`, `grad_norm`.
    """
    best = int(np.argmin(history["validation/loss"])) + 1
    figure, axes = _figure(4, f"Training: epoch {best} is kept", height=1.7, sharex=True)
    epochs = np.arange(1, len(history["train/loss"]) + 1)
    _curves(axes[0], history, "loss")
    _curves(axes[1], {name: _error_share(values) for name, values in history.items()}, "r2")
    axes[0].set_ylabel("mean squared error")
    axes[1].set_ylabel(ERROR_SHARE)
    _legend(axes[0])
    axes[2].semilogy(epochs, history["learning_rate"], color="black", drawstyle="steps-mid")
    axes[2].set_ylabel("learning rate")
    axes[3].plot(epochs, history["grad_norm"], color="black")
    axes[3].set(ylabel="gradient norm", xlabel="epoch")
    axes[3].xaxis.get_major_locator().set_params(integer=True)
    for ax in axes:
        ax.axvline(best, color=MARK, ls=":", lw=1.5)
    axes[0].annotate(f" epoch {best}", (best, 1), xycoords=("data", "axes fraction"), va="top", color=MARK)
    return figure


def _curves(ax: Axes, history: Mapping[str, NDArray], name: str) -> None:
    epochs = np.arange(1, len(history[f"train/{name}"]) + 1)
    ax.semilogy(epochs, history[f"train/{name}"], color=TARGET, ls="--", label="training, as it learns")
    ax.semilogy(epochs, history[f"validation/{name}"], color=OUTPUT, label="validation")


def _error_share(r2: NDArray | Sequence[float]) -> NDArray:
    """1 - R^2, any shape, kept above 0."""
    return np.maximum(1.0 - np.asarray(r2, dtype=np.float64), LEAST)


def one_tone(
    mixture: NDArray, target: NDArray, output: NDArray, frequency: float, sampling_rate: float, window: int
) -> Figure:
    """Graph 1: one tone in detail.

    Parameters
    ----------
    mixture, target, output : ndarray, shape (N,)
        A segment of a recording; NaN in the output is left out.
    frequency, sampling_rate : float
        Hz.
    window : int
        Samples after which the network's state is reset, told in the title; 0 for never.
    """
    figure, (ax,) = _figure(1, f"{frequency:g} Hz out of the mixture{_reset(window)}", height=3.4)
    _overlay(ax, mixture, target, output, sampling_rate)
    ax.set_xlabel("time (s)")
    _legend(ax)
    return figure


def all_tones(
    mixture: NDArray,
    targets: NDArray,
    outputs: NDArray,
    frequencies: Sequence[float],
    scores: Sequence[float],
    sampling_rate: float,
    window: int,
) -> Figure:
    """Graph 2: every tone, one panel each, with its R^2; targets and outputs (K, N), the rest as for `one_tone`."""
    figure, axes = _figure(len(targets), f"Every tone of the mixture{_reset(window)}", height=1.7, sharex=True)
    for ax, target, output, frequency, score in zip(axes, targets, outputs, frequencies, scores, strict=True):
        _overlay(ax, mixture, target, output, sampling_rate)
        ax.set_ylabel(f"{frequency:g} Hz")
        ax.set_title(f"R² {score:.3f} over all the test", fontsize="small", loc="right")
    axes[-1].set_xlabel("time (s)")
    _legend(axes[0])
    return figure


def _overlay(ax: Axes, mixture: NDArray, target: NDArray, output: NDArray, sampling_rate: float) -> None:
    time = np.arange(len(mixture)) / sampling_rate
    ax.plot(time, mixture, color=MIXTURE, lw=0.6, label="mixture")
    ax.plot(time, target, color=TARGET, lw=2, ls="--", label="target")
    ax.plot(time, output, color=OUTPUT, lw=1.1, label="output")


def _reset(window: int) -> str:
    return f"; the network starts anew every {window} samples" if window else ""


def _legend(ax: Axes) -> None:
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _line(index: int) -> dict:
    return {"color": PALETTE[index % len(PALETTE)], "ls": STYLES[index % len(STYLES)], "lw": 1.2}


def _spacing(frequencies: Sequence[float]) -> float:
    """Smallest distance between tones, or the lowest of them, Hz."""
    return float(np.min(np.diff(np.sort([0.0, *frequencies]))))


def _shown(frequencies: Sequence[float], sampling_rate: float, samples: int) -> int:
    """Two periods of the slowest tone, in samples."""
    return int(min(samples, max(2, round(2 * sampling_rate / min(frequencies)))))


def context(curves: Mapping[str, NDArray]) -> Figure:
    """1 - R^2 of estimators at each sample since they began to read; their R^2 by label, shape (T,) each."""
    figure, (ax,) = _figure(1, f"What context buys: {ERROR_SHARE} at each sample since the start", height=4.2)
    _context(ax, curves)
    _legend(ax)
    return figure


def _context(ax: Axes, curves: Mapping[str, NDArray]) -> None:
    for index, (label, curve) in enumerate(curves.items()):
        style = _line(index) | {"lw": 2 if index < 2 else 1.3}
        ax.semilogy(np.arange(1, len(curve) + 1), _error_share(curve), label=label, **style)
    ax.set(xlabel="samples read since the start", ylabel=f"{ERROR_SHARE} over all tones")
    ax.set_ylim(top=min(ax.get_ylim()[1], 3.0))


def scatter(target: NDArray, output: NDArray) -> Figure:
    """Density of outputs over targets, any equal shapes."""
    figure = Figure(figsize=(6, 5.2), dpi=110, layout="constrained")
    ax = figure.subplots()
    drawn = ax.hexbin(target.ravel(), output.ravel(), gridsize=60, bins="log", cmap="cividis", mincnt=1)
    span = [float(target.min()), float(target.max())]
    ax.plot(span, span, color=OUTPUT, ls="--", label="perfect")
    ax.set(xlabel="target", ylabel="output", title="Output against target")
    ax.legend(loc="upper left")
    figure.colorbar(drawn, label="samples")
    return figure


def errors(error: NDArray) -> Figure:
    """Distribution of errors, any shape, beside a normal one of the same spread, and their Q-Q plot."""
    figure = Figure(figsize=(9, 3.8), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    flat = np.sort(error.ravel().astype(np.float64))
    left.hist(flat, bins=80, density=True, color=MIXTURE)
    at = np.linspace(flat[0], flat[-1], 300)
    left.plot(at, stats.norm.pdf(at, flat.mean(), flat.std() or 1.0), color=OUTPUT, label="normal")
    left.set(xlabel="error", ylabel="density", title=f"Errors: mean {flat.mean():.1g}, std {flat.std():.2g}")
    left.legend()
    shown = flat[np.linspace(0, flat.size - 1, min(flat.size, 400)).astype(int)]
    expected = stats.norm.ppf((np.arange(len(shown)) + 0.5) / len(shown)) * flat.std() + flat.mean()
    right.plot(expected, shown, ".", color=TARGET, ms=4)
    right.plot(expected, expected, color=OUTPUT, ls="--")
    right.set(xlabel="quantile of the normal distribution", ylabel="quantile of the errors", title="Q-Q")
    right.xaxis.set_major_locator(MaxNLocator(5))
    return figure


def tones(frequencies: Sequence[float], values: Mapping[str, Sequence[float]]) -> Figure:
    """1 - R^2 of each tone as a mark for each label, given the R^2."""
    figure, (ax,) = _figure(1, f"{ERROR_SHARE} of each tone", height=3.2)
    _tones(ax, frequencies, values)
    _legend(ax)
    return figure


def _tones(ax: Axes, frequencies: Sequence[float], values: Mapping[str, Sequence[float]]) -> None:
    for index, (label, scores) in enumerate(values.items()):
        at = np.arange(len(frequencies)) + 0.1 * (index - (len(values) - 1) / 2)
        style = {"color": PALETTE[index], "marker": MARKERS[index % len(MARKERS)], "ms": 8, "ls": ""}
        ax.semilogy(at, _error_share(scores), label=label, **style)
    ax.set_xticks(range(len(frequencies)), [f"{frequency:g} Hz" for frequency in frequencies])
    ax.set(ylabel=ERROR_SHARE, xlim=(-0.5, len(frequencies) - 0.5))
    ax.grid(alpha=0.3, which="both", axis="y")


def spectra(target: NDArray, output: NDArray, frequencies: Sequence[float], sampling_rate: float) -> Figure:
    """Power spectra of target, output and residual, one panel for each tone; signals (K, N)."""
    figure, axes = _figure(len(target), "Spectrum of each tone's target, output and error", height=1.7, sharex=True)
    for ax, wanted, given, frequency in zip(axes, target, output, frequencies, strict=True):
        lines = {
            "target": (wanted, TARGET, "--"),
            "output": (given, OUTPUT, "-"),
            "error": (given - wanted, "0.4", ":"),
        }
        for label, (values, colour, style) in lines.items():
            at, density = signal.periodogram(values.astype(np.float64), sampling_rate, window="hann")
            ax.semilogy(at[1:], density[1:] + 1e-12, color=colour, ls=style, lw=1.1, label=label)
        ax.set(ylabel=f"{frequency:g} Hz\npower / Hz", xlim=(0, 3 * max(frequencies)), ylim=(1e-7, None))
    axes[-1].set_xlabel("frequency (Hz)")
    _legend(axes[0])
    return figure


def long_segment(targets: NDArray, outputs: NDArray, frequencies: Sequence[float], sampling_rate: float) -> Figure:
    """Target and output of each tone over a whole recording; signals (K, N)."""
    figure, axes = _figure(len(targets), "A whole recording: target and output", height=1.5, sharex=True)
    time = np.arange(targets.shape[1]) / sampling_rate
    for ax, target, output, frequency in zip(axes, targets, outputs, frequencies, strict=True):
        ax.plot(time, target, color=TARGET, lw=1, ls="--", label="target")
        ax.plot(time, output, color=OUTPUT, lw=0.6, label="output")
        ax.set_ylabel(f"{frequency:g} Hz")
    axes[-1].set_xlabel("time (s)")
    _legend(axes[0])
    return figure


def story(rows: Sequence[Mapping]) -> Figure:
    """R^2 of one configuration after another as bars, with the best possible of each as a mark.

    Rows, in the order shown from the top, have `label`, `r2`, and `limit` (None where there is none to tell).
    """
    figure = Figure(figsize=(9, 0.55 * len(rows) + 1.1), dpi=110, layout="constrained")
    ax = figure.subplots()
    ax.spines[["top", "right"]].set_visible(False)
    places = np.arange(len(rows))
    values = [row["r2"] for row in rows]
    ax.barh(places, values, color=[TARGET if row["limit"] else MIXTURE for row in rows], height=0.6)
    for place, row in zip(places, rows, strict=True):
        ax.text(row["r2"] - 0.01, place, f"{row['r2']:.3f}", va="center", ha="right", color="white")
    marked = [(row["limit"], place) for place, row in enumerate(rows) if row["limit"]]
    at, where = zip(*marked, strict=True) if marked else ((), ())
    ax.plot(at, where, ls="", marker="|", ms=22, mew=3, color=OUTPUT, label="best possible with what it may read")
    ax.set_yticks(places, [row["label"] for row in rows])
    ax.invert_yaxis()
    ax.set(xlim=(0, 1.02), xlabel="R² on noise never seen")
    if marked:
        figure.legend(loc="outside upper right", frameon=False)
    return figure


def robustness(rows: Sequence[Mapping], labels: Mapping[str, str]) -> Figure:
    """R^2 against each perturbation, one panel each; rows have `perturbation`, `value`, `estimator`, `r2`."""
    names = list(dict.fromkeys(row["perturbation"] for row in rows))
    figure = Figure(figsize=(9.5, 2.7 * -(-len(names) // 2) + 0.8), dpi=110, layout="constrained")
    figure.suptitle("Robustness: R² where the recording is not what was trained on")
    axes = figure.subplots(-(-len(names) // 2), 2, squeeze=False, sharey=True).ravel()
    for ax, name in zip(axes, names, strict=False):
        for index, (estimator, label) in enumerate(labels.items()):
            points = [
                (row["value"], row["r2"])
                for row in rows
                if (row["perturbation"], row["estimator"]) == (name, estimator)
            ]
            ax.plot(*zip(*points, strict=True), **_line(index), marker=MARKERS[index % len(MARKERS)], ms=4, label=label)
        ax.set(xlabel=AXES.get(name, name), ylim=(-0.6, 1.05))
        ax.axhline(0, color="0.7", lw=0.8)
        ax.grid(alpha=0.3)
    for ax in axes[: len(names) : 2]:
        ax.set_ylabel("R²")
    for ax in axes[len(names) :]:
        ax.set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def conditions(rows: Sequence[Mapping], labels: Mapping[str, str]) -> Figure:
    """1 - R^2 under each condition: a row for each, a mark for each estimator.

    Rows have `condition`, and the R^2 by the estimators' names.
    """
    figure = Figure(figsize=(9, 0.36 * len(rows) + 1.4), dpi=110, layout="constrained")
    figure.suptitle("Under the conditions that recordings bring, after the first second")
    ax = figure.subplots()
    ax.spines[["top", "right"]].set_visible(False)
    places = np.arange(len(rows))
    for index, (name, label) in enumerate(labels.items()):
        values = [_error_share(float(row[name])) if row[name] != "" else np.nan for row in rows]
        ax.semilogx(
            np.minimum(values, MOST_SHOWN),
            places,
            ls="",
            marker="os^DX"[index % 5],
            ms=7,
            color=PALETTE[(5, 0, 2, 4, 7)[index % 5]],
            markerfacecolor="none" if index else None,
            label=label,
            clip_on=False,
        )
    ax.set_yticks(places, [row["condition"] for row in rows])
    ax.invert_yaxis()
    ax.set_xlim(right=MOST_SHOWN)
    ax.axvline(1.0, color="0.4", lw=0.8)
    ax.set_xlabel(f"{ERROR_SHARE} over all tones; at 1 silence, what is above {MOST_SHOWN:g} at the edge")
    ax.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def overview(
    detail: tuple[NDArray, NDArray, NDArray],
    sampling: tuple[Sequence[float], float],
    history: Mapping[str, NDArray],
    curves: Mapping[str, NDArray],
    values: Mapping[str, Sequence[float]],
    error: NDArray,
) -> Figure:
    """One page: a tone in detail, training, context, 1 - R^2 of each tone, errors.

    Parameters
    ----------
    detail : tuple of ndarray, shape (n,)
        Mixture, target and output of one tone.
    sampling : tuple
        Frequencies in Hz and sampling rate in Hz.
    history, curves, values, error
        As for `training`, `context`, `tones` and `errors`.
    """
    figure = Figure(figsize=(11.7, 8.3), dpi=110, layout="constrained")  # A4, landscape
    axes = figure.subplot_mosaic([["detail"] * 6, ["loss"] * 3 + ["context"] * 3, ["tones"] * 3 + ["errors"] * 3])
    frequencies, rate = sampling
    _overlay(axes["detail"], *detail, rate)
    axes["detail"].set(xlabel="time (s)", title="One tone in detail")
    _curves(axes["loss"], history, "loss")
    best = int(np.argmin(history["validation/loss"])) + 1
    axes["loss"].axvline(best, color=MARK, ls=":", label=f"epoch {best}, kept")
    axes["loss"].set(xlabel="epoch", ylabel="mean squared error", title="Training")
    axes["loss"].xaxis.get_major_locator().set_params(integer=True)
    _context(axes["context"], curves)
    axes["context"].set_title("What context buys")
    _tones(axes["tones"], frequencies, values)
    axes["tones"].set_title("Each tone")
    axes["errors"].hist(error.ravel(), bins=80, density=True, color=MIXTURE)
    axes["errors"].set(xlabel="error", ylabel="density", title="Errors")
    for name, columns in {"detail": 1, "loss": 1, "context": 2, "tones": 1}.items():
        axes[name].legend(fontsize="small", ncols=columns)
    for ax in axes.values():
        ax.spines[["top", "right"]].set_visible(False)
    return figure
