"""Rows for tables: dicts with the same keys, numbers to six digits, nothing where there is no figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tonesift import csvfile, metrics
from tonesift.errors import InputError
from tonesift.metrics import Tally, rounded

REMEDY = "run `dvc repro train`, or `make undo`"
Table = list[dict[str, Any]]


def tones(
    frequencies: Sequence[float], test: list[Tally], train: list[Tally], target: NDArray, mixture: NDArray
) -> Table:
    """Figures over all tones (first row) and of each.

    Parameters
    ----------
    frequencies : sequence of float, length K
        Hz.
    test, train : list of Tally, length K
        Of the test recordings and of the windows trained on.
    target, mixture : ndarray, shapes (R, K, N) and (R, N)
        Test recordings, for the SNR before.
    """
    count = len(frequencies)
    before = [metrics.input_snr_db(target[:, tone], mixture, count) for tone in range(count)]
    each = zip(frequencies, test, train, before, strict=True)
    rows = [_tone(f"{frequency:g} Hz", frequency, *found) for frequency, *found in each]
    return [_tone("all", "", sum(test, Tally()), sum(train, Tally()), float(np.mean(before))), *rows]


def _tone(name: str, frequency: float | str, test: Tally, train: Tally, snr_before: float) -> dict[str, Any]:
    values = {
        "r2": test.r2,
        "mse": test.mse,
        "rmse": test.rmse,
        "mae": test.mae,
        "correlation": test.correlation,
        "snr_db": test.snr_db,
        "snr_gain_db": test.snr_db - snr_before,
        "psnr_db": test.psnr_db,
        "train_mse": train.mse,
        "train_ratio": test.mse / train.mse if train.mse > 0 else float("inf"),
    }
    return {"tone": name, "frequency_hz": frequency, **cells(values)}


def cells(values: Mapping[str, Any]) -> dict[str, Any]:
    """Floats to six digits, None as an empty cell."""
    return {
        name: "" if value is None else rounded(value) if isinstance(value, float) else value
        for name, value in values.items()
    }


def read_history(folder: Path) -> dict[str, NDArray]:
    """DVCLive's history: a column of values for each metric, by its path below `metrics`."""
    root = folder / "metrics"
    found = {}
    for path in sorted(root.rglob("*.tsv")):
        rows = csvfile.read(path, needed=("step", path.stem), remedy=REMEDY, delimiter="\t")
        if not rows:
            raise InputError(f"{path}: no epochs: {REMEDY}")
        found[path.relative_to(root).with_suffix("").as_posix()] = np.array([float(row[path.stem]) for row in rows])
    if not found:
        raise InputError(f"{root}: holds no curves: {REMEDY}")
    return found
