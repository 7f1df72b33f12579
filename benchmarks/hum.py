"""Mains hum in an electrocardiogram (ECG): notch filters, the filters of named tones, and a network that corrects them.

python -m benchmarks.hum    # three minutes; --seconds 20 60 --stretches 16 --seed 2000

Five minutes of record 208 (lead MLII, 360 Hz) of the MIT-BIH Arrhythmia Database lie in ecg-208.npz. Hum is made and
added, so that it is known: 50, 100 and 150 Hz, 0.03 to 0.5 mV, off by 0.3 %, wandering in frequency and amplitude.
Settings were chosen on the first 190 s; what is measured lies behind 200 s.

Data: G. B. Moody, R. G. Mark, "The impact of the MIT-BIH Arrhythmia Database", IEEE Engineering in Medicine and Biology
20(3), 2001; Goldberger et al., "PhysioBank, PhysioToolkit, and PhysioNet", Circulation 101(23), 2000.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from benchmarks import machine
from tonesift.evaluation import hum as judged
from tonesift.evaluation.sets import filtered
from tonesift.networks import model as models
from tonesift.streaming.anytones import AnyToneFilter
from tonesift.streaming.namedtones import NamedToneFilter

RATE, MAINS, HARMONICS = 360.0, 50.0, (1.0, 0.15, 0.25)  # Hz, Hz, amplitudes beside the first
TOLD = tuple(MAINS * order for order in range(1, len(HARMONICS) + 1))  # Hz, to every filter
TESTED = 200.0  # s, from where on nothing was chosen
Array = NDArray[np.float64]


class Stretch(NamedTuple):
    """A piece of ECG (N,) in mV, and the hum (3, N) that is added to it."""

    ecg: Array
    hum: Array


def ecg() -> Array:
    """The recording in mV."""
    with np.load(Path(__file__).with_name("ecg-208.npz")) as file:
        return (file["ecg"].astype("f8") - 1024) / 200


def ornstein_uhlenbeck(generator: np.random.Generator, samples: int, std: float, seconds: float) -> Array:
    """A process (N,) that returns to 0, stationary from the first sample on."""
    kept = np.exp(-1 / (seconds * RATE))
    steps = std * np.sqrt(1 - kept**2) * generator.standard_normal(samples)
    steps[0] = std * generator.standard_normal()
    return signal.lfilter([1.0], [1.0, -kept], steps)


def hum(generator: np.random.Generator, samples: int) -> Array:
    """Mains hum (3, N) in mV."""
    offset = 0.003 * generator.standard_normal() + ornstein_uhlenbeck(generator, samples, 0.002, 2.0)
    phase = 2 * np.pi * MAINS * np.cumsum(1 + offset) / RATE
    amplitude = np.exp(generator.uniform(np.log(0.03), np.log(0.5)))
    return np.array(
        [
            amplitude
            * share
            * (1 + ornstein_uhlenbeck(generator, samples, 0.1, 1.0))
            * np.sin(order * phase + generator.uniform(0, 2 * np.pi))
            for order, share in enumerate(HARMONICS, 1)
        ]
    )


def stretches(seed: int, count: int, seconds: float, begin: float = TESTED, end: float = np.inf) -> list[Stretch]:
    """Stretches at random places between two times in s, each with hum of its own."""
    generator, recording = np.random.default_rng(seed), ecg()
    samples, last = round(seconds * RATE), min(round(min(end, 1e6) * RATE), len(recording))
    found = []
    for _ in range(count):
        at = int(generator.integers(round(begin * RATE), last - samples))
        found.append(Stretch(recording[at : at + samples], hum(generator, samples)))
    return found


def notch(quality: float) -> Callable[[Array], Array]:
    """What notch filters at the mains' frequency and its harmonics take out."""
    return lambda samples: judged.notch(samples, TOLD, RATE, quality).sum(axis=0)


def named(method: str) -> Callable[[Array], Array]:
    """What the command takes out, told 50, 100 and 150 Hz."""
    return lambda samples: filtered(NamedToneFilter(TOLD, RATE, method), samples).sum(axis=0, dtype="f8")


def network(path: Path) -> Callable[[Array], Array]:
    """What the committed network takes out, told the same."""
    model = models.load(path)
    return lambda samples: filtered(AnyToneFilter(*model, TOLD), samples).sum(axis=0, dtype="f8")


METHODS = {
    "notch, Q 10": notch(10.0),
    "notch, Q 30": notch(30.0),
    "extended": named("extended"),
    "extended-student-background": named("extended-student-background"),
    "extended-student-whitened": named("extended-student-whitened"),
    "auto": named("auto"),
}


def root_mean_square(values: Array) -> float:
    """In µV, behind the first second, of values (N,) in mV."""
    return 1e3 * float(np.sqrt(np.mean(values[round(RATE) :] ** 2)))


def measured(taken: Callable[[Array], Array], drawn: list[Stretch]) -> tuple[float, float, float]:
    """Medians over stretches of the hum left and of the ECG's distortion without hum, in µV; R² of the hum."""
    found = [(one.hum.sum(axis=0), taken(one.ecg + one.hum.sum(axis=0))) for one in drawn]
    left = [root_mean_square(true - taken_out) for true, taken_out in found]
    power = sum(root_mean_square(true) ** 2 for true, _ in found)
    distorted = [root_mean_square(taken(one.ecg)) for one in drawn]
    return float(np.median(left)), float(np.median(distorted)), 1 - sum(one**2 for one in left) / power


def main() -> None:
    """Print a row for each method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, nargs="+", default=[20.0, 60.0])
    parser.add_argument("--stretches", type=int, default=16)
    parser.add_argument("--seed", type=int, default=2000)
    parser.add_argument("--model", type=Path, default=Path("hum/models/model.safetensors"))
    arguments = parser.parse_args()
    methods = METHODS | {"network": network(arguments.model)}
    print("| method | stretches of | left, µV | distortion, µV | R² |\n|---|---|---|---|---|")
    for seconds in arguments.seconds:
        drawn = stretches(arguments.seed, arguments.stretches, seconds)
        for label, taken in methods.items():
            left, distorted, share = measured(taken, drawn)
            print(f"| {label} | {seconds:g} s | {left:.1f} | {distorted:.1f} | {share:.4f} |", flush=True)
    print(f"\n{machine.describe()}")


if __name__ == "__main__":
    main()
