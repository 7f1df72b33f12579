"""Portable arithmetic beside native: a training step of each family and of the guide's configuration.

    python -m benchmarks.arithmetic

A family's shape is that of study `family-parameters`. Each side is a process of its own, told its arithmetic by the
environment before NumPy loads; the rounds take turns, and the median of the rounds' ratios counts.
"""

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator

from tonesift import arithmetic

SIDES, ROUNDS, STEPS = ("native", "portable"), 5, 20


def start(subject: str, side: str) -> subprocess.Popen[str]:
    """Process of a side, which answers each line with seconds a step."""
    plain = {name: value for name, value in os.environ.items() if name not in arithmetic.PORTABLE}
    told = plain | (arithmetic.PORTABLE if side == "portable" else {})
    command = [sys.executable, "-m", "benchmarks.arithmetic", subject, side]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=told)


def serve(subject: str, side: str) -> None:
    """Measure a round for each line on standard input."""
    arithmetic.choose(side)
    rounds = measured(subject)
    next(rounds)  # warms up
    for _ in sys.stdin:
        print(next(rounds), flush=True)


def measured(subject: str) -> Iterator[float]:
    """Seconds a step of a family, of the guide's configuration or of the plain script, round by round."""
    from benchmarks import families, training
    from tonesift.learning.batches import without_noise

    if subject in ("guide", "plain"):
        for (seconds,) in training.SIDES["ours" if subject == "guide" else "plain"](2 * STEPS):
            yield seconds
        return
    shapes = {label: families.shape(row) for label, row in families.trials("family-parameters").items()}
    clean, batches = without_noise(training.read_signals(1), 0.0, 1.0), training.stream_batches()
    with training.our_step(shapes[subject], clean, training.NOISE_STD) as step:
        while True:
            yield training.seconds_a_step(step, batches, STEPS)


def turn(process: subprocess.Popen[str]) -> float:
    """Seconds of one round."""
    print(file=process.stdin, flush=True)
    return float(process.stdout.readline())


def main() -> None:
    """Print each ratio with its rounds."""
    from benchmarks import families, machine
    from benchmarks.training import shown

    print(f"portable beside native; {machine.describe()}")
    for subject in (*families.trials("family-parameters"), "guide"):
        sides = [start(subject, side) for side in SIDES]
        sides += [start("plain", "native")] if subject == "guide" else []
        rounds = [[turn(side) for side in sides] for _ in range(ROUNDS + 1)][1:]  # in the first some still start
        for side in sides:
            side.communicate()
        native, portable = (1000 * statistics.median(each) for each in list(zip(*rounds, strict=True))[:2])
        print(f"{subject:12} {native:7.1f} ms native, {portable:7.1f} ms portable", end="")
        print(f"  ratio {shown(each[1] / each[0] for each in rounds)}")
        if subject == "guide":
            for name, at in (("native", 0), ("portable", 1)):
                print(f"  plain script's time beside ours, {name}: {shown(each[2] / each[at] for each in rounds)}")


if __name__ == "__main__":
    serve(*sys.argv[1:]) if len(sys.argv) == 3 else main()
