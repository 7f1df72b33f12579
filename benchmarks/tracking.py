"""The filters for named tones under conditions that recordings bring, and what a sample costs them.

    python -m benchmarks.tracking speed
    python -m benchmarks.tracking table [CONDITION ...] [--draws 5]

Each draw is 64 recordings of 10 s at 1000 Hz, tones 1, 3, 5, 7 Hz (or four drawn at random), amplitudes U(0.5, 2),
mixture = mean of the tones + noise of 0.1. Figures are R² over all tones and recordings after the first second.
"""

import argparse
import statistics
import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine
from tonesift.estimators.tracking.settings import Settings
from tonesift.estimators.tracking.tracker import Tracker
from tonesift.streaming.namedtones import NamedToneFilter

RATE, FREQUENCIES, SECONDS = 1000.0, (1.0, 3.0, 5.0, 7.0), 10.0
RECORDINGS, FIRST_SEED = 64, 1000  # settings and rules were settled on seeds below, 100 to 104 among them
Array = NDArray[np.float64]

# Settings tuned for a condition: by Nelder and Mead's method on 16 recordings of 8 s, of seed 1; told where it clips.
PLAIN = Settings(amplitude=0.331, noise_std=0.1)  # E[A^2] = 1.75, and a mixture is the mean of four tones
ROBUST = replace(PLAIN, noise_std=0.3, degrees=1.5, adapt=0.03)
WANDER = replace(PLAIN, noise_std=0.0971, wander=0.275, renewal=0.193)
SWITCHED = replace(PLAIN, noise_std=0.0668, renewal=0.124, fading=4.36, fading_time=0.0163, memory=4.0)
CHANGED = replace(PLAIN, renewal=0.185, wander=0.0999, memory=13.0, degrees=10.4, adapt=0.0338)
COLOURED = ((0.06, 0.1), (0.06, 1.0), (0.06, 10.0))
TUNED = {
    "clean": {"kalman": PLAIN},
    "drift": {
        "kalman": replace(PLAIN, wander=0.186),
        "extended": replace(PLAIN, noise_std=0.147, drift=0.0298, drift_time=3.24, renewal=0.0268, wander=0.00556),
    },
    "wander": {"wander": WANDER},
    "heavy": {"kalman": replace(PLAIN, noise_std=1.0), "student": ROBUST},
    "outliers": {"kalman": replace(PLAIN, noise_std=0.6), "student": replace(ROBUST, degrees=1.87, adapt=1.03)},
    "coloured": {
        "kalman": replace(PLAIN, noise_std=0.828, renewal=0.0237),
        "background": replace(PLAIN, background=COLOURED),
    },
    "gaps": {"kalman": PLAIN},
    "clip": {"kalman (Tobit)": PLAIN},
    "switching": {"kalman": replace(PLAIN, noise_std=0.0664, renewal=0.62, wander=0.538), "fading": SWITCHED},
    "everything": {"kalman": replace(PLAIN, adapt=3.0, renewal=0.165, wander=0.0816), "wander-student": CHANGED},
    "switching, random sets": {
        "kalman": replace(PLAIN, noise_std=0.0664, renewal=0.62, wander=0.538),
        "fading": SWITCHED,
    },
    "everything, random sets": {
        "kalman": replace(PLAIN, adapt=3.0, renewal=0.165, wander=0.0816),
        "wander-student": CHANGED,
    },
}
SPEED = {
    "kalman": PLAIN,
    "extended": replace(PLAIN, drift=0.01, renewal=0.03),
    "extended-student, clipped, gaps": replace(ROBUST, drift=0.01, renewal=0.03, clip=(-0.6, 0.6)),
    "extended-student-background": replace(ROBUST, drift=0.01, background=COLOURED),
    "extended-student-whitened": replace(ROBUST, drift=0.01, whitening=(0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.01, 0.01)),
}


class Drawn(NamedTuple):
    """A recording: samples (N,), NaN where it is missing one; its tones (K, N) as heard; their frequencies; limits."""

    samples: Array
    tones: Array
    frequencies: tuple[float, ...]
    clip: tuple[float, float] = (-np.inf, np.inf)


class Condition(NamedTuple):
    """What a recording is made with; None or 0 where it is not there."""

    noise: float = 0.1
    drift: float = 0.0
    wander: float = 0.0
    heavy: tuple[float, float] | None = None
    outliers: bool = False
    coloured: tuple[float, float] | None = None
    missing: float = 0.0
    clip: tuple[float, float] | None = None
    dwell: float = 0.0
    random_tones: bool = False


CONDITIONS = {
    "clean": Condition(),
    "drift": Condition(drift=0.02),
    "wander": Condition(wander=1.0),
    "heavy": Condition(noise=0.0, heavy=(0.03, 0.4)),
    "outliers": Condition(noise=0.05, outliers=True),
    "coloured": Condition(coloured=(0.05, 0.3)),
    "gaps": Condition(missing=0.5),
    "clip": Condition(clip=(0.1, 0.4)),
    "switching": Condition(dwell=1.0),
    "everything": Condition(0.0, 0.01, 0.5, (0.02, 0.2), False, (0.02, 0.1), 0.2, (0.4, 1.0), 3.0),
}
CONDITIONS["switching, random sets"] = CONDITIONS["switching"]._replace(random_tones=True)
CONDITIONS["everything, random sets"] = CONDITIONS["everything"]._replace(random_tones=True)


def log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform."""
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))


def ornstein_uhlenbeck(generator: np.random.Generator, shape: tuple[int, int], std: float, seconds: float) -> Array:
    """Processes (K, N) that return to 0, stationary from the first sample on."""
    kept = np.exp(-1 / (seconds * RATE))
    steps = std * np.sqrt(1 - kept**2) * generator.standard_normal(shape)
    steps[:, 0] = std * generator.standard_normal(shape[0])
    for number in range(1, shape[1]):
        steps[:, number] += kept * steps[:, number - 1]
    return steps


def pieces(generator: np.random.Generator, samples: int, share: float, low: float, high: float) -> NDArray[np.bool_]:
    """Where pieces of `low` to `high` seconds lie, that share of the time."""
    inside = np.zeros(samples, dtype=bool)
    while inside.mean() < share:
        begin = int(generator.integers(samples))
        inside[begin : begin + int(RATE * generator.uniform(low, high))] = True
    return inside


def random_set(generator: np.random.Generator) -> tuple[float, ...]:
    """Four tones, log-uniform in 0.7 to 60 Hz, at least 1.5 Hz apart."""
    while True:
        tones = np.sort([log_uniform(generator, 0.7, 60.0) for _ in range(4)])
        if np.diff(tones).min() >= 1.5:
            return tuple(float(tone) for tone in tones)


def amplitudes(generator: np.random.Generator, samples: int, dwell: float) -> tuple[Array, Array]:
    """Amplitude and phase (N,) of a tone, which is on and off in turns where a mean dwell in seconds is given."""
    if not dwell:
        return np.full(samples, generator.uniform(0.5, 2.0)), np.full(samples, generator.uniform(0, 2 * np.pi))
    amplitude, phase = np.zeros(samples), np.zeros(samples)
    begin, on = 0, bool(generator.random() < 0.5)
    while begin < samples:
        end = begin + max(1, int(RATE * generator.exponential(dwell)))
        amplitude[begin:end] = generator.uniform(0.5, 2.0) if on else 0.0
        phase[begin:end] = generator.uniform(0, 2 * np.pi)
        begin, on = end, not on
    return amplitude, phase


def heavy_noise(generator: np.random.Generator, samples: int, low: float, high: float) -> Array:
    """Student t noise of 1.5 degrees of freedom, with bursts of ten times the scale."""
    noise = log_uniform(generator, low, high) * generator.standard_t(1.5, samples)
    noise[pieces(generator, samples, 0.08, 0.02, 0.15)] *= 10
    return noise


def coloured_noise(generator: np.random.Generator, samples: int, low: float, high: float) -> Array:
    """Background whose power falls with the frequency to the power of 0.8 to 2."""
    spectrum = np.fft.rfft(generator.standard_normal(samples))
    exponent = generator.uniform(0.8, 2.0)
    spectrum[1:] *= np.arange(1, len(spectrum)) ** (-exponent / 2)
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, samples)
    return log_uniform(generator, low, high) * noise / noise.std()


def draw(condition: Condition, generator: np.random.Generator, seconds: float = SECONDS) -> Drawn:
    """One recording."""
    samples = round(seconds * RATE)
    frequencies = random_set(generator) if condition.random_tones else FREQUENCIES
    count, times = len(frequencies), np.arange(samples) / RATE
    amplitude, phase = (
        np.stack(both)
        for both in zip(*(amplitudes(generator, samples, condition.dwell) for _ in frequencies), strict=True)
    )
    if condition.wander:
        amplitude = amplitude * np.exp(ornstein_uhlenbeck(generator, (count, samples), 0.3 * condition.wander, 0.5))
        steps = generator.standard_normal((count, samples)) * 0.5 * condition.wander / np.sqrt(RATE)
        phase = phase + np.cumsum(steps, axis=1)
    if condition.drift:
        offset = ornstein_uhlenbeck(generator, (count, samples), condition.drift, 1.0)
        phase = phase + 2 * np.pi * np.array(frequencies)[:, None] * np.cumsum(offset, axis=1) / RATE
    tones = amplitude * np.sin(2 * np.pi * np.outer(frequencies, times) + phase) / count
    mixture = tones.sum(axis=0) + condition.noise * generator.standard_normal(samples)
    if condition.heavy:
        mixture += heavy_noise(generator, samples, *condition.heavy)
    if condition.coloured:
        mixture += coloured_noise(generator, samples, *condition.coloured)
    if condition.outliers:
        spoilt = generator.random(samples) < 0.1
        mixture[spoilt] = 2 * generator.standard_normal(int(spoilt.sum()))
    clip = (-np.inf, np.inf)
    if condition.clip:
        level = generator.uniform(*condition.clip)
        clip = (-level, level)
        mixture = np.clip(mixture, *clip)
    if condition.missing:
        mixture[pieces(generator, samples, condition.missing, 0.02, 0.5)] = np.nan
    return Drawn(mixture, tones, frequencies, clip)


def recordings(name: str, seed: int, count: int = RECORDINGS, seconds: float = SECONDS) -> list[Drawn]:
    """The recordings of a condition."""
    generator = np.random.default_rng([seed, list(CONDITIONS).index(name)])
    return [draw(CONDITIONS[name], generator, seconds) for _ in range(count)]


def r2(drawn: list[Drawn], estimates: list[Array], after: float = 1.0) -> float:
    """R² over all tones and recordings from so many seconds on."""
    begin = round(after * RATE)
    left = sum(np.sum((one.tones - found)[:, begin:] ** 2) for one, found in zip(drawn, estimates, strict=True))
    return 1 - left / sum(np.sum(one.tones[:, begin:] ** 2) for one in drawn)


def estimates(drawn: list[Drawn], settings: Settings) -> list[Array]:
    """What a filter with these settings makes of them, told where the recorder clips."""
    return [Tracker(one.frequencies, RATE, replace(settings, clip=one.clip)).push(one.samples).tones for one in drawn]


def streamed(drawn: list[Drawn], method: str) -> list[Array]:
    """What `tonesift filter --tones` makes of them: told the frequencies, and nothing else."""
    found = []
    for one in drawn:
        tone_filter = NamedToneFilter(one.frequencies, RATE, method)
        found.append(np.concatenate([tone_filter.push(one.samples), tone_filter.finish()], axis=1))
    return found


def table(names: list[str], draws: int, count: int, auto: bool) -> None:
    """Print R² of each condition: mean and standard deviation over draws, each of other recordings."""
    print(f"{'condition':24} {'filter':28} R² after 1 s, mean ± standard deviation of {draws} draws of {count}")
    for name in names or CONDITIONS:
        drawn = [recordings(name, FIRST_SEED + draw, count) for draw in range(draws)]
        ways = {label: lambda one, s=settings: estimates(one, s) for label, settings in TUNED[name].items()}
        ways |= {"auto, told nothing": lambda one: streamed(one, "auto")} if auto else {}
        for label, way in ways.items():
            figures = [r2(one, way(one)) for one in drawn]
            spread = statistics.stdev(figures) if draws > 1 else 0.0
            print(f"{name:24} {label:28} {statistics.mean(figures):.5f} ± {spread:.5f}", flush=True)


def speed() -> None:
    """Print what a sample costs: microseconds of one thread, median of nine rounds in pieces of a thousand samples."""
    print(f"named tones, 4 of them, one thread; {machine.describe()}")
    drawn = recordings("everything", 1, 1)[0]
    for label, settings in SPEED.items():
        tracker = Tracker(FREQUENCIES, RATE, settings)
        tracker.push(drawn.samples)
        rounds = []
        for _ in range(9):
            begin = time.process_time()
            for piece in np.split(drawn.samples, 10):
                tracker.push(piece)
            rounds.append(1e6 * (time.process_time() - begin) / len(drawn.samples))
        print(f"{label:44} {statistics.median(rounds):6.2f} us a sample  (wanted: at most 10)")
    begin = time.process_time()
    streamed([drawn], "auto")
    spent = time.process_time() - begin
    print(f"{'auto, 10 s, of which it chooses on 4':44} {1e6 * spent / len(drawn.samples):6.2f} us a sample")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("speed", "table"))
    parser.add_argument("conditions", nargs="*", help="of the table (default: all)")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--recordings", type=int, default=RECORDINGS)
    parser.add_argument("--no-auto", action="store_true", help="only filters with settings tuned for the condition")
    arguments = parser.parse_args()
    if arguments.what == "speed":
        speed()
    else:
        table(arguments.conditions, arguments.draws, arguments.recordings, not arguments.no_auto)


if __name__ == "__main__":
    main()
