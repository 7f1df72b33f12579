"""The tests of a P-class phasor measurement unit at 50 Hz, for the filter that follows named tones and two rivals.

python -m benchmarks.phasors    # a minute; writes docs/phasors.csv

IEC/IEEE 60255-118-1:2018, 50 reports a second, one phase sampled at 1000 Hz, clean and with noise of 1 % of the
amplitude. What is held against the limits is the worst report of a group: the total vector error (TVE), the errors of
frequency and of its rate of change, and for steps the time for which the TVE exceeds 1 %, the overshoot and the delay.
Harmonics end at the 9th: a recording at 1000 Hz holds no higher ones.
"""

import csv
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from benchmarks import machine
from tonesift.estimators.tracking.settings import Settings
from tonesift.estimators.tracking.tracker import Tracker

F0, RATE, REPORTS = 50.0, 1000.0, 50  # Hz, Hz, per second
DRAWS, FIRST_SEED = 5, 2000  # the settings below were chosen on seeds 200 to 217
SETTLE, SECONDS, AFTER_CORNER = 1.0, 3.0, 0.1  # s; a report near the beginning of a ramp does not count
STEP = 2.0037  # s, not on a sample
NOISE = 0.01
Array = NDArray[np.float64]


class Truth(NamedTuple):
    """A signal and what is to be found in it, at each sample.

    Attributes
    ----------
    samples : Array, shape (N,)
        The recording.
    phasor : complex array, shape (N,)
        Amplitude and phase beside a cosine of 50 Hz.
    frequency, rate : Array, shape (N,)
        Hz, and Hz/s.
    """

    samples: Array
    phasor: NDArray[np.complex128]
    frequency: Array
    rate: Array


class Estimate(NamedTuple):
    """What a method finds, at each sample: as `Truth`, NaN where it has no answer."""

    phasor: NDArray[np.complex128]
    frequency: Array
    rate: Array


Method = Callable[[Array], Estimate]


class Limits(NamedTuple):
    """The worst that is allowed: TVE in percent, Hz, Hz/s; of steps response in s, overshoot in percent, delay in s."""

    first: float
    second: float
    third: float


STEADY = Limits(1.0, 0.005, 0.4)

# Signals


def times(seconds: float = SECONDS) -> Array:
    """Times of the samples in s."""
    return np.arange(round(seconds * RATE)) / RATE


def truth(t: Array, amplitude: Array | float, offset: Array, phase: Array, rate: Array | float = 0.0) -> Truth:
    """A tone of this amplitude, offset from 50 Hz in Hz, and phase beside 50 Hz in radians."""
    phasor = amplitude * np.exp(1j * phase)
    samples = (phasor * np.exp(2j * np.pi * F0 * t)).real
    return Truth(samples, phasor, F0 + offset, np.broadcast_to(np.asarray(rate, dtype="f8"), t.shape))


def frequencies() -> Iterator[Truth]:
    """Tones within 2 Hz of 50 Hz."""
    t = times()
    for offset in np.arange(-2, 2.01, 0.5):
        yield truth(t, 1.0, np.full_like(t, offset), 2 * np.pi * offset * t + 0.3)


def magnitudes() -> Iterator[Truth]:
    """80 to 120 % of the nominal amplitude."""
    t = times()
    for amplitude in (0.8, 0.9, 1.0, 1.1, 1.2):
        yield truth(t, amplitude, np.zeros_like(t), np.full_like(t, 0.3))


def harmonics() -> Iterator[Truth]:
    """One harmonic of 1 %."""
    t = times()
    for order in range(2, 10):
        clean = truth(t, 1.0, np.zeros_like(t), np.full_like(t, 0.3))
        yield clean._replace(samples=clean.samples + 0.01 * np.cos(2 * np.pi * order * F0 * t + 0.7))


def modulations() -> Iterator[Truth]:
    """Amplitude or phase swings by a tenth, up to twice a second."""
    t = times()
    for pace, (amplitude, phase) in product((0.1, 0.5, 1.0, 2.0), ((0.1, 0.0), (0.0, 0.1))):
        swing = 2 * np.pi * pace * t - np.pi
        offset = -phase * pace * np.sin(swing)
        rate = -phase * 2 * np.pi * pace**2 * np.cos(swing)
        yield truth(t, 1 - amplitude * np.cos(swing), offset, phase * np.cos(swing), rate)


def ramps() -> Iterator[Truth]:
    """From 48 to 52 Hz and back, 1 Hz a second."""
    t = times(SETTLE + 4)
    moving = np.maximum(t - SETTLE, 0)
    for slope in (-1.0, 1.0):
        offset = slope * (moving - 2)
        phase = 2 * np.pi * slope * (moving**2 / 2 - 2 * t)
        yield truth(t, 1.0, offset, phase, slope * (t > SETTLE))


def steps() -> Iterator[Truth]:
    """A tenth more or less amplitude, ten degrees more or less, from several phases."""
    t = times()
    after, still = t >= STEP, np.zeros_like(t)
    for sign, phase in product((1, -1), (0.0, 0.8, 1.6, 2.4)):
        yield truth(t, 1 + 0.1 * sign * after, still, phase + still)
        yield truth(t, 1.0, still, phase + math.radians(10) * sign * after)


GROUPS: dict[str, tuple[Callable[[], Iterator[Truth]], Limits]] = {
    "frequency": (frequencies, STEADY),
    "magnitude": (magnitudes, STEADY),
    "harmonic": (harmonics, STEADY),
    "modulation": (modulations, Limits(3.0, 0.06, 2.3)),
    "ramp": (ramps, Limits(1.0, 0.01, 0.4)),
    "step": (steps, Limits(2 / F0, 5.0, 1 / (4 * REPORTS))),
}


# Measures


def total_vector_error(found: NDArray[np.complex128], true: NDArray[np.complex128]) -> Array:
    """TVE: how far a phasor lies from the true one, as a share of it."""
    return np.abs(found - true) / np.abs(true)


def worst(estimate: Estimate, true: Truth) -> Limits:
    """The worst report after the first second: TVE in percent, frequency and rate of change."""
    begin = SETTLE if np.ptp(true.rate) == 0 else SETTLE + AFTER_CORNER
    reports = np.arange(round(begin * RATE), len(true.samples) - round(0.1 * RATE), round(RATE / REPORTS))
    error = total_vector_error(estimate.phasor, true.phasor)[reports]
    frequency = np.abs(estimate.frequency - true.frequency)[reports]
    rate = np.abs(estimate.rate - true.rate)[reports]
    return Limits(100 * error.max(), frequency.max(), rate.max())


def stepped(estimate: Estimate, true: Truth) -> Limits:
    """Response time in s, overshoot in percent of the step, and delay in s."""
    t = times()
    near = (t > STEP - 0.2) & (t < STEP + 0.5)
    wrong = t[near & (total_vector_error(estimate.phasor, true.phasor) > 0.01)]
    response = float(wrong.max() - wrong.min()) if len(wrong) else 0.0
    before, after = true.phasor[0], true.phasor[-1]
    way = ((estimate.phasor - before) / (after - before)).real  # 0 before the step, 1 behind it
    overshoot = 100 * max(float(way[near].max()) - 1, -float(way[near].min()), 0.0)
    half = np.flatnonzero(near & (way >= 0.5))
    return Limits(response, overshoot, abs(float(t[half[0]]) - STEP) if len(half) else math.inf)


def measured(method: Method, group: str, noise: float, seed: int = 1) -> Limits:
    """The worst of a group's signals."""
    generator = np.random.default_rng(seed)
    judge = stepped if group == "step" else worst
    found = []
    for true in GROUPS[group][0]():
        mixture = true.samples + noise * generator.standard_normal(len(true.samples))
        found.append(judge(method(mixture), true))
    return Limits(*np.max(np.array(found), axis=0))


# Methods


def fir(mixture: Array, window: Array) -> Estimate:
    """Demodulate at 50 Hz and smooth with a symmetric window of sum 1, whose delay is known and undone."""
    t = times(len(mixture) / RATE)
    turned = 2 * mixture * np.exp(-2j * np.pi * F0 * t)
    half = len(window) // 2
    phasor = np.full(len(mixture), np.nan + 0j)
    phasor[half : len(mixture) - half] = np.convolve(turned, window, mode="valid")
    return derived(phasor)


def derived(phasor: NDArray[np.complex128]) -> Estimate:
    """Frequency and its rate of change from a phasor's phase, by central differences over a report."""
    span = round(RATE / REPORTS) // 2
    frequency = F0 + _difference(np.unwrap(np.nan_to_num(np.angle(phasor))), span) / (2 * np.pi)
    return Estimate(phasor, frequency, _difference(frequency, span))


def _difference(values: Array, span: int) -> Array:
    found = np.full(len(values), np.nan)
    found[span:-span] = (values[2 * span :] - values[: -2 * span]) * RATE / (2 * span)
    return found


def least_squares(mixture: Array) -> Estimate:
    """A fit of sine and cosine of 50 Hz to two cycles: a plain mean over whole cycles."""
    window = np.ones(round(2 * RATE / F0) + 1)
    window[[0, -1]] = 0.5
    return fir(mixture, window / window.sum())


def taylor_fourier(mixture: Array, cycles: int = 2, order: int = 2) -> Estimate:
    """A fit of a quadratic phasor to two cycles around each sample, at the frequency that the one before had found.

    J. A. de la O Serna, "Dynamic phasor estimates for power system oscillations", IEEE Transactions on
    Instrumentation and Measurement 56(5), 2007.
    """
    half = round(cycles * RATE / F0) // 2
    place = np.arange(-half, half + 1) / RATE
    powers = place[:, None] ** np.arange(order + 1) / np.array([math.factorial(n) for n in range(order + 1)])
    phasor = np.full(len(mixture), np.nan + 0j)
    frequency, rate = np.full((2, len(mixture)), np.nan)
    known = F0
    solver = _solver(powers, place, known)
    for at in range(half, len(mixture) - half):
        fitted = solver @ mixture[at - half : at + half + 1]
        terms = fitted[: order + 1] + 1j * fitted[order + 1 :]
        speed = terms[1] / terms[0]
        phasor[at] = terms[0] * np.exp(-2j * np.pi * F0 * at / RATE)
        frequency[at] = known + speed.imag / (2 * np.pi)
        rate[at] = (terms[2] / terms[0] - speed**2).imag / (2 * np.pi)
        if abs(frequency[at] - known) > 0.02 and abs(frequency[at] - F0) < 5:
            known = float(frequency[at])
            solver = _solver(powers, place, known)
    return Estimate(phasor, frequency, rate)


def _solver(powers: Array, place: Array, frequency: float) -> Array:
    """Pseudo-inverse (2 (order + 1), n) of the fit at a frequency."""
    turn = np.exp(2j * np.pi * frequency * place)[:, None] * powers
    return np.linalg.pinv(np.concatenate([turn.real, -turn.imag], axis=1))


# Slow, for reports that noise does not move; what a step leaves in the innovations makes it forget.
MAINS = Settings(
    amplitude=1.0, noise_std=NOISE, wander=0.001, drift=0.007, drift_time=10_000.0, fading=3.0, fading_time=1.0
)


def tracking(mixture: Array) -> Estimate:
    """The extended Kalman filter, which answers at once."""
    tracker = Tracker([F0], RATE, MAINS)
    parts = np.empty((len(mixture), 3))
    for at in range(len(mixture)):
        tracker.push(mixture[at : at + 1])
        parts[at] = tracker.state()["state"]
    t = times(len(mixture) / RATE)
    # A sine's phase is a quarter turn behind a cosine's.
    phasor = (parts[:, 1] + 1j * parts[:, 0]) * np.exp(-0.5j * np.pi - 2j * np.pi * F0 * t)
    frequency = F0 * (1 + parts[:, 2])
    rate = np.full(len(mixture), np.nan)
    span = round(RATE / REPORTS)
    rate[span:] = (frequency[span:] - frequency[:-span]) * REPORTS
    return Estimate(phasor, frequency, rate)


METHODS: dict[str, Method] = {
    "least squares told 50 Hz, two cycles": least_squares,
    "Taylor-Fourier, tracking, two cycles": taylor_fourier,
    "named tones (extended Kalman), no delay": tracking,
}


def main() -> None:
    """Measure all, write the table and print what passes."""
    rows = []
    seeds = range(FIRST_SEED, FIRST_SEED + DRAWS)
    for (label, method), noise in product(METHODS.items(), (0.0, NOISE)):
        found = {
            group: np.array([measured(method, group, noise, seed) for seed in seeds[: DRAWS if noise else 1]])
            for group in GROUPS
        }
        for group, (_, limits) in GROUPS.items():
            passed = bool((found[group] <= np.array(limits)).all())
            first = (found[group][:, 0] <= limits.first).all()
            rows.append([label, noise, group, *found[group].mean(axis=0), *found[group].max(axis=0), first, passed])
    names = ("first", "second", "third")
    header = ["method", "noise", "group", *names, *(f"{name}_worst" for name in names), "first_passes", "passes"]
    with Path(sys.argv[1] if len(sys.argv) > 1 else "docs/phasors.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([[f"{one:.6g}" if isinstance(one, float) else one for one in row] for row in rows])
    print(table(rows), f"\n{machine.describe()}")


def table(rows: Sequence[Sequence[Any]]) -> str:
    """TVE, or of steps the response in ms, on average over the draws; what passes all three limits is bold."""
    cells: dict[tuple[str, float], list[str]] = {}
    for label, noise, group, first, *_, passed in rows:
        shown = f"{1000 * first:.0f} ms" if group == "step" else f"{first:.2f} %"
        cells.setdefault((label, noise), []).append(f"**{shown}**" if passed else shown)
    lines = [[label, "1 %" if noise else "none", *shown] for (label, noise), shown in cells.items()]
    return tabulate(lines, ["method", "noise", *GROUPS], tablefmt="github", disable_numparse=True)


if __name__ == "__main__":
    main()
