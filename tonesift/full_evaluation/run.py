"""What `evaluate.detail: full` adds: rivals, uncertainty, robustness, pictures.

A subpackage of its own because of what it imports: SciPy's filters, statsmodels and Matplotlib take two seconds to
load, and a search that wants scores only should not pay for them in every trial.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tonesift.data.recordings import Facts
from tonesift.data.segments import Segments
from tonesift.estimators import limits
from tonesift.evaluation import comparison
from tonesift.evaluation.comparison import Row, Task
from tonesift.evaluation.estimator import ALL_THE_PAST, NetworkEstimator, without_gaps
from tonesift.evaluation.run import Result
from tonesift.evaluation.tables import Table, cells
from tonesift.full_evaluation import plots, rivals, robustness, uncertainty, under_conditions
from tonesift.metrics import rounded

RIVAL_SAMPLES = 1_000_000  # that the filters are judged on in the network's own segments, at most
WHOLE_SAMPLES = 200_000  # of whole recordings together, at most
ROBUST_SAMPLES = 10_000  # of a perturbed recording, at most
ROBUST_FILTERS = 2


@dataclass(frozen=True)
class Memory:
    """How far the network remembers, which rivals are held to as well.

    Attributes
    ----------
    reset : int or None
        L, samples after which its state is reset; None for never.
    context : str
        The same in words.
    hop : int
        Samples it reads before it answers about them.
    """

    reset: int | None
    context: str
    hop: int


@dataclass(frozen=True)
class FullResult:
    """What a full evaluation finds beyond `evaluation.run.Result`.

    Attributes
    ----------
    rows : list of Row
        The rivals, and the limit with all the past.
    best_filter : float
        R^2 of the best causal filter in the network's context.
    uncertainty, paired : Table
        Intervals and residuals; each rival beside the network.
    robustness : dict of str to Table
        By perturbation.
    conditions : Table
        R^2 under each condition that recordings bring.
    pictures : dict of str to bytes
        PNG, by name.
    """

    rows: list[Row]
    best_filter: float
    uncertainty: Table
    paired: Table
    robustness: dict[str, Table]
    conditions: Table
    pictures: dict[str, bytes]


def evaluate(estimator: NetworkEstimator, result: Result, history: Mapping[str, NDArray]) -> FullResult:
    """Set a network beside its rivals, and look at it from all sides.

    Parameters
    ----------
    estimator : NetworkEstimator
        The network.
    result : Result
        What the evaluation of its scores found.
    history : mapping of str to ndarray, shape (epochs,)
        Curves of its training, from `tables.read_history`.
    """
    task, heard, targets = result.task, result.heard, result.targets
    memory = Memory(estimator.metadata.reset_samples, estimator.context, estimator.metadata.latency)
    rows = rival_rows(task, heard, targets, result.segments, memory)
    share = slice(0, max(1, WHOLE_SAMPLES // targets.shape[2]))
    heard, targets = heard[share], targets[share]
    error = estimator.estimate(heard) - targets
    alike = {
        name: as_reset(rival.estimate, memory.reset)
        for name, rival in own_rivals(task, memory).items()
        if memory.reset or not knows_the_answer(name, task)
    }
    errors = {name: estimate(heard.astype(np.float64)) - targets for name, estimate in alike.items()}
    block = uncertainty.block_length(error, memory.reset or 1, task.tones.shape[1] if task.periodic else None)
    labels = {row.name: row.label for row in [*result.own, *rows]}
    same = [row for row in rows if row.context == memory.context]
    compared = {"network": estimator.estimate, **{name: alike[name] for name in best_filters(same)}}
    longest = min(targets.shape[2], ROBUST_SAMPLES)
    points, curves = robustness_curves(compared, task.facts, longest)
    under = under_conditions.table(estimator.estimate, task, longest)
    pictures = draw(result, rows, history, memory.reset, without_gaps(heard[0]), targets[0], error[0] + targets[0])
    pictures["robustness"] = plots.robustness(points, {name: labels[name] for name in compared})
    if under:
        pictures["conditions"] = plots.conditions(under, under_conditions.labels(labels["network"]))
    return FullResult(
        rows=rows,
        best_filter=comparison.figures(rivals.best_filter(same), task)["r2"],
        uncertainty=uncertainty_table(error, targets, task.facts.frequencies, block),
        paired=paired_table(error, errors, labels, memory.context, block),
        robustness=curves,
        conditions=under,
        pictures={name: plots.png(figure) for name, figure in pictures.items()},
    )


def own_rivals(task: Task, memory: Memory) -> dict[str, rivals.Rival]:
    """The rivals in the network's own context; filters of named tones need all the past."""
    found = rivals.all_rivals(task, memory.hop)
    return found if memory.reset else found | rivals.named_tones(task)


def as_reset(estimate: rivals.Estimator, reset: int | None) -> rivals.Estimator:
    """An estimator that forgets as often as the network does."""
    return estimate if reset is None else rivals.in_windows(estimate, reset)


def rival_rows(task: Task, heard: NDArray, targets: NDArray, segments: Segments, memory: Memory) -> list[Row]:
    """Classical filters and the posterior mean on the network's segments; after resets also with all the past.

    `heard` (R, N) is the mixtures with NaN where a sample is missing.
    """
    every = -(-len(segments.starts) * segments.samples // RIVAL_SAMPLES)
    some = segments._replace(starts=segments.starts[::every])
    found = rivals.rival_rows(own_rivals(task, memory), some.cut(heard), some.cut(targets), memory.context)
    if memory.reset is None:
        return found
    samples = min(heard.shape[1], WHOLE_SAMPLES)
    count = min(max(1, WHOLE_SAMPLES // heard.shape[1]), len(heard))
    whole = Segments(np.stack([np.arange(count), np.zeros(count, dtype=np.int64)], axis=1), samples)
    others = rivals.all_rivals(task) | rivals.named_tones(task)
    rows = rivals.rival_rows(others, whole.cut(heard), whole.cut(targets), ALL_THE_PAST)
    reached = comparison.limit_rows(task, whole, ALL_THE_PAST)
    return [*found, *(row for row in (*reached, *rows) if not knows_the_answer(row.name, task))]


def knows_the_answer(name: str, task: Task) -> bool:
    """Whether an estimator on a whole recording knows the answer: where the recording begins is all it has to find.

    That is so where the waveform does not repeat within a recording.
    """
    return name in (*comparison.LIMITS, "posterior_mean") and task.tones is not None and not task.periodic


def uncertainty_table(errors: NDArray, targets: NDArray, frequencies: Sequence[float], block: int) -> Table:
    """R^2 over all tones and of each with its 95 % interval, what the errors look like, and whether tones differ.

    Parameters
    ----------
    errors, targets : ndarray, shape (R, K, N)
        Output less target, and target.
    frequencies : sequence of float, length K
        Hz.
    block : int
        Samples in a block, from `uncertainty.block_length`.
    """
    found = uncertainty.bootstrap_r2(errors, targets, block, generator=np.random.default_rng(0))
    tones = (f"{frequency:g} Hz" for frequency in frequencies)
    intervals = {"all": found.overall} | dict(zip(tones, found.tones, strict=True))
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
    return {
        "tones_p": found.p,
        "tones_effect": found.effect,
        "tones_effect_size": found.effect_size,
        "anova_p": found.anova_p,
        "eta_squared": found.eta_squared,
    }


def _residuals(found: uncertainty.Residuals | None) -> dict[str, Any]:
    names = ("std", "autocorrelation", "ljung_box_p", "skewness", "excess_kurtosis", "jarque_bera_p")
    bias = found.bias if found else uncertainty.Interval(None, None, None)
    values = {name: getattr(found, name) if found else None for name in names}
    return {"bias": bias.value, "bias_low": bias.low, "bias_high": bias.high, **values}


def paired_table(
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


def robustness_curves(
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


def best_filters(rows: list[Row]) -> list[str]:
    """Names of the best causal filters among rows of one context."""
    ranked = sorted((row for row in rows if rivals.is_filter(row)), key=lambda row: row.mse.mean())
    distinct = {rounded(float(row.mse.mean())): row.name for row in ranked}  # Wiener and Kalman can be the same filter
    return [name for _, name in sorted(distinct.items())][:ROBUST_FILTERS]


def draw(
    result: Result,
    others: list[Row],
    history: Mapping[str, NDArray],
    reset: int | None,
    mixture: NDArray,
    tones: NDArray,
    outputs: NDArray,
) -> dict[str, plots.Figure]:
    """The pictures, by name, of one recording: mixture (N,), tones and outputs (K, N)."""
    task, rows = result.task, [*result.own, *others]
    frequencies, rate, window = task.facts.frequencies, task.facts.sampling_rate, reset or 0
    shown = min(len(mixture), max(window, round(2 * rate / min(frequencies))))
    half = max(shown // 2, min(window, shown), 1)
    nearest = int(np.argmin(np.abs(np.array(frequencies) - 3)))  # the 3 Hz tone, or the nearest there is
    detail = mixture[:half], tones[nearest, :half], outputs[nearest, :half]
    r2 = [row["r2"] for row in result.tones[1:]]
    bars = {row.label: limits.r2(row.mse, task.power, axis=1).tolist() for row in result.own} | {rows[0].label: r2}
    labels = {row.name: row.label for row in rows}
    curves = {labels[name]: curve for name, curve in comparison.curves(rows, task).items()}
    return {
        "data": plots.data(mixture, tones, frequencies, rate),
        "spectrogram": plots.spectrogram(mixture, frequencies, rate),
        "training": plots.training(history),
        "graph1": plots.one_tone(*detail, frequencies[nearest], rate, window),
        "graph2": plots.all_tones(mixture[:shown], tones[:, :shown], outputs[:, :shown], frequencies, r2, rate, window),
        "context": plots.context(curves),
        "tones": plots.tones(frequencies, bars),
        "scatter": plots.scatter(tones, outputs),
        "errors": plots.errors(outputs - tones),
        "spectra": plots.spectra(tones, outputs, frequencies, rate),
        "long": plots.long_segment(tones, outputs, frequencies, rate),
        "overview": plots.overview(detail, (frequencies, rate), history, curves, bars, outputs - tones),
    }
