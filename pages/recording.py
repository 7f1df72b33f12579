"""The recordings of docs/your-recording.md, and how close tones come to what is in one of them.

python -m pages.recording make .              # shed.wav, machine.wav, and the truth, motors.npy
python -m pages.recording score tones.csv     # R² after the first second

Three motors of 8, 19.5 and 33 Hz that are switched on and off, in a shed that rumbles and knocks, sampled at 500 Hz.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import signal
from scipy.io import wavfile

RATE, TONES = 500, (8.0, 19.5, 33.0)  # Hz
BACKGROUND_SECONDS, SECONDS, DWELL, KNOCKS = 180, 40, 2.0, 1.5  # s, s, s, and in a second
Array = NDArray[np.float64]


def demo_background(generator: np.random.Generator, samples: int) -> Array:
    """A background (N,): a rumble, knocks that ring, and noise."""
    rumble = signal.lfilter([1.0], [1.0, -0.95], generator.standard_normal(samples))
    found = 0.25 * rumble / np.std(rumble) + 0.05 * generator.standard_normal(samples)
    for at in np.flatnonzero(generator.random(samples) < KNOCKS / RATE):
        after = np.arange(min(samples - at, 150))
        decay, turn = generator.uniform(8, 30), 2 * np.pi * generator.uniform(20, 90) / RATE
        found[at : at + len(after)] += generator.uniform(0.5, 2.5) * np.exp(-after / decay) * np.cos(turn * after)
    return found


def demo_tones(generator: np.random.Generator, samples: int) -> Array:
    """Tones (3, N), each on and off in turns."""
    times, found = np.arange(samples) / RATE, np.zeros((len(TONES), samples))
    for tone, frequency in zip(found, TONES, strict=True):
        begin, on = 0, bool(generator.random() < 0.5)
        while begin < samples:
            piece = slice(begin, begin + max(1, int(RATE * generator.exponential(DWELL))))
            phase = generator.uniform(0, 2 * np.pi)
            tone[piece] = on * generator.uniform(0.3, 1) * np.sin(2 * np.pi * frequency * times[piece] + phase)
            begin, on = piece.stop, not on
    return found


def make(folder: Path) -> None:
    """Write the recordings."""
    generator = np.random.default_rng(7)
    tones = demo_tones(generator, SECONDS * RATE)
    wavfile.write(folder / "shed.wav", RATE, demo_background(generator, BACKGROUND_SECONDS * RATE).astype("f4"))
    mixture = demo_background(generator, SECONDS * RATE) + tones.sum(axis=0)
    wavfile.write(folder / "machine.wav", RATE, mixture.astype("f4"))
    np.save(folder / "motors.npy", tones.astype("f4"))


def score(path: Path, truth: Path = Path("motors.npy")) -> float:
    """R² of tones in a CSV file, after the first second."""
    found, true = np.loadtxt(path, delimiter=",", skiprows=1).T[:, RATE:], np.load(truth).astype("f8")[:, RATE:]
    return float(1 - np.sum((found - true) ** 2) / np.sum(true**2))


if __name__ == "__main__":
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("what", choices=("make", "score"))
    command.add_argument("path", type=Path)
    arguments = command.parse_args()
    if arguments.what == "make":
        make(arguments.path)
    else:
        print(f"{arguments.path}: R2 {score(arguments.path):.3f}")
