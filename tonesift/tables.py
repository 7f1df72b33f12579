"""What evaluation found, as rows for tables: figures of each tone, their uncertainty, comparisons, robustness.

Every function gives a list of dicts with the same keys, numbers to six digits, nothing where there is no figure.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tonesift import comparison, metrics, robustness, uncertainty
from tonesift.metrics import Tally, rounded
from tonesift.recordings import Facts

Table = list[dict[str, Any]]
ROBUST_FILTERS = 2


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
    each = enumerate(zip(frequencies, test, train, before, strict=True), start=1)
    rows = [_tone(f"tone_{number}", *found) for number, found in each]
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


def sure(errors: NDArray, targets: NDArray, block: int) -> Table:
    """R^2 over all tones and of each with its 95 % interval, what the errors look like, and whether tones differ.

    Parameters
    ----------
    errors, targets : ndarray, shape (R, K, N)
        Output less target, and target.
    block : int
        Samples in a block, from `uncertainty.block_length`.
    """
    found = uncertainty.bootstrap_r2(errors, targets, block, generator=np.random.default_rng(0))
    intervals = {"all": found.overall} | {f"tone_{n}": interval for n, interval in enumerate(found.tones, start=1)}
    rest = [None, *uncertainty.residual_checks(errors, block)]
    difference = _between_tones(errors, block)
    rows = []
    for (name, interval), residuals in zip(intervals.items(), rest, strict=True):
        row = {"tone": name, "r2": interval.value, "low": interval.low, "high": interval.high}
        row |= {"blocks": found.blocks, "block_samples": block}
        rows.append(cells(row | _residuals(residuals) | dict.fromkeys(difference)))
    rows[0] |= cells(difference)
    return rows


def _between_tones(errors: NDArray, block: int) -> dict[str, Any]:
    """Whether some tones are served better than others: probability that not, and size of the effect."""
    found = uncertainty.between_tones(errors, block)
    return {"tones_p": found.p, "tones_effect": found.effect, "tones_effect_size": found.effect_size}


def _residuals(found: uncertainty.Residuals | None) -> dict[str, Any]:
    names = ("std", "autocorrelation", "ljung_box_p", "skewness", "excess_kurtosis", "jarque_bera_p")
    bias = found.bias if found else uncertainty.Interval(None, None, None)
    values = {name: getattr(found, name) if found else None for name in names}
    return {"bias": bias.value, "bias_low": bias.low, "bias_high": bias.high, **values}


def paired(
    errors: NDArray, rivals: Mapping[str, NDArray], labels: Mapping[str, str], context: str, block: int
) -> Table:
    """Each rival's error less the network's on the same blocks; differences above 0 are in the network's favour.

    Parameters
    ----------
    errors : ndarray, shape (R, K, N)
        The network's.
    rivals : mapping of str to ndarray, shape (R, K, N)
        Each rival's errors, by name.
    labels : mapping of str to str
        Full names.
    context : str
        What all of them may read, in words.
    block : int
        Samples in a block.
    """
    rows = []
    for name, theirs in rivals.items():
        found = uncertainty.compare(theirs, errors, block)
        difference = found.difference
        values = {"mse_difference": difference.value, "low": difference.low, "high": difference.high}
        values |= {"wilcoxon_p": found.wilcoxon_p, "rank_biserial": found.rank_biserial, "t_p": found.t_p}
        rows.append({"rival": name, "label": labels[name], "context": context, **cells(values), "blocks": found.blocks})
    return rows


def robust(
    estimators: Mapping[str, Callable[[NDArray], NDArray]], facts: Facts, samples: int
) -> tuple[list[dict[str, Any]], dict[str, Table]]:
    """R^2 of estimators where the recording is not what was trained on.

    Parameters
    ----------
    estimators : mapping of str to callable
        Mixtures (M, N) to estimates (M, K, N).
    facts : Facts
        Of the recordings to perturb; the first is taken.
    samples : int
        N.

    Returns
    -------
    rows : list of dict
        perturbation, value, estimator, r2.
    tables : dict of str to list of dict
        A table for each perturbation: value, and R^2 of each estimator under its name.
    """
    recording = robustness.Recording(
        facts.frequencies,
        tuple(facts.phases[0].tolist()),
        tuple(facts.amplitudes[0].tolist()),
        facts.noise_std,
        facts.sampling_rate,
        samples,
    )
    rows = robustness.curves(estimators, recording, np.random.default_rng(facts.seed))
    tables: dict[str, dict[float, dict[str, Any]]] = {}
    for row in rows:
        line = tables.setdefault(row["perturbation"], {}).setdefault(row["value"], {"value": row["value"]})
        line |= cells({row["estimator"]: row["r2"]})
    return rows, {name: list(lines.values()) for name, lines in tables.items()}


def best_filters(rows: list[comparison.Row]) -> list[str]:
    """Names of the best causal filters among rows of one context."""
    ranked = sorted((row for row in rows if comparison.is_filter(row)), key=lambda row: row.mse.mean())
    distinct = {rounded(float(row.mse.mean())): row.name for row in ranked}  # Wiener and Kalman can be the same filter
    return [name for _, name in sorted(distinct.items())][:ROBUST_FILTERS]


def cells(values: Mapping[str, Any]) -> dict[str, Any]:
    """Floats to six digits, None as an empty cell."""
    return {
        name: "" if value is None else rounded(value) if isinstance(value, float) else value
        for name, value in values.items()
    }
