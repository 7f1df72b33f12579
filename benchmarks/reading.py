"""Reading CSV: our reader beside the standard library's, and beside pandas, in turns in one process.

    python -m benchmarks.reading

The plain way is `csv.reader` and `float` over the file twice, once to find mistakes before any work, once for the
samples; ours does the same and also reads the rate off the times. The medians of the rounds count.
"""

import csv
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import machine
from tonesift.formats.base import Selection
from tonesift.formats.files import opened

ROWS, ROUNDS = 500_000, 5


def ours(path: Path) -> float:
    """Sum of the samples."""
    with opened(path, Selection(column="x")) as source:
        return float(sum(chunk.sum() for chunk in source.chunks))


def plain(path: Path) -> float:
    """As `ours`, by the standard library."""
    for _ in range(2):
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            next(rows)
            found = sum(float(row[1].strip() or "nan") for row in rows)
    return found


def with_pandas(path: Path) -> float:
    """As `ours`, by pandas, a stretch at a time."""
    for _ in range(2):
        found = sum(float(part["x"].sum()) for part in pd.read_csv(path, chunksize=65_536))
    return found


def seconds(read: Callable[[Path], float], path: Path) -> float:
    """How long a reader takes."""
    begin = time.perf_counter()
    read(path)
    return time.perf_counter() - begin


def main() -> None:
    """Measure and print."""
    print(f"reading {ROWS} rows of time and sample, twice each; {machine.describe()}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        table = np.column_stack([np.arange(ROWS) / 1000, np.random.default_rng(1).normal(size=ROWS)])
        np.savetxt(path, table, fmt=["%.3f", "%.6f"], delimiter=",", header="t,x", comments="")
        readers = {"csv.reader and float": plain, "pandas": with_pandas, "tonesift": ours}
        assert np.allclose([read(path) for read in readers.values()], table[:, 1].round(6).sum())
        rounds = [[seconds(read, path) for read in readers.values()] for _ in range(ROUNDS)]
        for name, times in zip(readers, zip(*rounds, strict=True), strict=True):
            print(f"{name:22} {statistics.median(times):.2f} s")


if __name__ == "__main__":
    main()
