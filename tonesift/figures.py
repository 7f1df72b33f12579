"""Every picture, as a function from arrays to a Matplotlib figure; readable in print and by the colour-blind.

Colours are those of Okabe and Ito, each with a line style of its own. Saved pictures hold no time stamp and no version,
so that equal data give equal bits.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import signal

MIXTURE, TARGET, OUTPUT, MARK = "0.6", "#0072B2", "#D55E00", "#009E73"
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
STYLES = ("-", "--", "-.", ":")


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG at 110 dots an inch, the same bits at every run."""
    FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": None})


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
    for ax, name in zip(axes[:2], ("loss", "r2"), strict=True):
        ax.plot(epochs, history[f"train/{name}"], color=TARGET, ls="--", label="training, with dropout")
        ax.plot(epochs, history[f"validation/{name}"], color=OUTPUT, label="validation")
        _legend(ax)
    axes[0].set_ylabel("mean squared error")
    axes[1].set_ylabel("R²")
    axes[2].semilogy(epochs, history["learning_rate"], color="black", drawstyle="steps-mid")
    axes[2].set_ylabel("learning rate")
    axes[3].plot(epochs, history["grad_norm"], color="black")
    axes[3].set(ylabel="gradient norm", xlabel="epoch")
    for ax in axes:
        ax.axvline(best, color=MARK, ls=":", lw=1.5)
    axes[0].annotate(f" epoch {best}", (best, 1), xycoords=("data", "axes fraction"), va="top", color=MARK)
    return figure


def one_tone(
    mixture: NDArray, target: NDArray, output: NDArray, frequency: float, sampling_rate: float, window: int
) -> Figure:
    """Graph 1: one tone in detail.

    Parameters
    ----------
    mixture, target, output : ndarray, shape (N,)
        A stretch of a recording; NaN in the output is left out.
    frequency, sampling_rate : float
        Hz.
    window : int
        Samples after which the network's state is reset, marked by ticks; 0 for never.
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
        ax.set_title(f"R² {score:.3f} over all windows", fontsize="small", loc="right")
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
