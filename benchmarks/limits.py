"""The best R² that a causal estimator could reach under each condition, for docs/conditions.md: exact, or an oracle's.

Beside it that of linear estimators which know the frequencies and statistics and no path, with the last three seconds.

    python -m benchmarks.limits

Both with ten samples a step. The first after the first second of recordings of 10 s (of 3 s where noise is coloured,
whose whitening takes the cube of that); eight recordings for each of five seeds, mean and standard deviation over
seeds. Twenty minutes on one core.
"""

import statistics
from pathlib import Path

import numpy as np
from tabulate import tabulate

from tonesift import params
from tonesift.conditions import linear, named, oracle, run
from tonesift.errors import InputError
from tonesift.estimators import limits

RECORDINGS, SEEDS, HOP = 8, (1, 2, 3, 4, 5), 10
SECONDS, COLOURED_SECONDS, PAST = 10.0, 3.0, 3000


def r2(data: params.Data) -> float:
    """R² over all tones after the first second."""
    facts, pairs = run.draw_set(data, testing=False, sound=None)
    settled, seen = round(data.sampling_rate), limits.hopped(data.samples, HOP)
    powers = [np.mean(tones[:, settled:] ** 2) for _, tones in pairs]
    errors = [
        np.mean(oracle.oracle_mse(oracle.knowledge(facts, data.samples, index), seen)[:, settled:])
        for index in range(RECORDINGS)
    ]
    return 1.0 - float(np.sum(errors) / np.sum(powers))


def linear_r2(data: params.Data) -> str:
    """R² over all tones of the best linear estimator, where it has one."""
    facts, _ = run.draw_set(data, testing=False, sound=None)
    try:
        pairs = [
            (linear.linear_mse(facts, data.samples, index, PAST, HOP), linear.tone_covariances(facts, index, 1)[:, 0])
            for index in range(RECORDINGS if facts.drawn else 1)
        ]
    except InputError:
        return ""
    errors, powers = np.sum(pairs, axis=(0, 2))
    return f"{1.0 - errors / powers:.4f}"


def row(base: params.Data, name: str) -> list[str]:
    """A condition, what kind of limit it has, and R²."""
    data = named.under(base, name, train_recordings=RECORDINGS)
    seconds = COLOURED_SECONDS if data.conditions.coloured else SECONDS
    found = [r2(data.model_copy(update={"train_seed": seed, "duration": seconds})) for seed in SEEDS]
    beyond = ", ".join(oracle.unknowable(data.conditions))
    spread = f"{statistics.mean(found):.5f} ± {statistics.stdev(found):.5f}"
    return [name, f"oracle, told {beyond}" if beyond else "exact", spread, linear_r2(data)]


def main() -> None:
    """Print the table, row by row as it is made."""
    (base,) = params.load(Path("studies/bases/general.yaml"), "data")
    rows = [row(base, name) for name in named.NAMED]
    print(tabulate(rows, ["condition", "limit", "R² after 1 s", "best linear"], tablefmt="pipe"))


if __name__ == "__main__":
    main()
