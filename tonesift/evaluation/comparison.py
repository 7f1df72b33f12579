"""The network's figures beside the best possible and beside classical filters, given the same context and all the past.

Three kinds of rows: the limit (what the best estimator reaches on average, computed from the task alone), and from
`tonesift.full_evaluation.rivals` the posterior mean (that best estimator at work on these very recordings; fixed task
only) and the classical filters.
One recording's noise moves every measured row up or down together by more than rows next to each other differ, so
compare the network with the posterior mean on the same recordings, and with the limit in the long run.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tonesift.data import signals
from tonesift.data.period import common_period
from tonesift.data.recordings import Facts
from tonesift.estimators import limits
from tonesift.evaluation.tables import cells

LIMIT_NUMBERS = 2_000_000  # simulated segments times candidate offsets: about a second


@dataclass(frozen=True)
class Row:
    """One estimator in one context.

    Attributes
    ----------
    name, label : str
        Short name for files, full name for readers.
    context : str
        What it may read before it answers, in words.
    causal : bool
        Whether no answer depends on a later sample.
    knows : str
        What it knows beforehand, in words; in tables the column `told`.
    mse : ndarray, shape (K, T)
        Mean squared error of each tone at each position of a segment.
    hop : int
        Samples it reads before it answers about all of them: its latency.
    drawn : bool
        Whether its curve against the context is worth drawing.
    """

    name: str
    label: str
    context: str
    causal: bool
    knows: str
    mse: NDArray[np.float64]
    hop: int = 1
    drawn: bool = False


@dataclass(frozen=True)
class Task:
    """What the limits need to know of a set of recordings.

    Attributes
    ----------
    facts : Facts
        How the recordings were made.
    tones : ndarray, shape (K, P), or None
        Fixed task: one common period of the clean tones, or a recording's length of them where that is shorter.
    periodic : bool
        Whether `tones` is a whole period.
    measured : ndarray, shape (K,), or None
        Power of each tone in the recordings at hand, where conditions make it another than that of a sine.
    """

    facts: Facts
    tones: NDArray[np.float64] | None
    periodic: bool
    measured: NDArray[np.float64] | None = None

    @property
    def power(self) -> NDArray[np.float64]:
        """Power of each tone, shape (K,): over a period of the fixed waveforms, or in the recordings at hand."""
        if self.measured is not None:
            return self.measured
        if self.tones is None:
            return np.mean(np.square(self.facts.amplitudes), axis=0) / 2
        return self.tones.var(axis=1)


def make_task(facts: Facts, samples: int) -> Task:
    """Task behind recordings of `samples` samples each.

    The unknown of the fixed task is where in the tones' common period a segment lies. Where that period is longer than
    the recordings, it is where in the recording.
    """
    if facts.task != "fixed":
        return Task(facts, None, periodic=False)
    period = common_period(facts.frequencies, facts.sampling_rate, samples)
    each = zip(facts.frequencies, facts.phases[0], facts.amplitudes[0], strict=True)
    tones = [signals.sinusoid(f, facts.sampling_rate, period or samples, phase, a) for f, phase, a in each]
    return Task(facts, np.stack(tones), periodic=period is not None)


def limit(task: Task, seen: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean squared error (K, T) of the best estimator that has read `seen` (T,) samples at each answer.

    Fixed task: the posterior mean over the offset, simulated with random numbers of its own, to about 0.002 of R^2.
    General task: the best linear one, exactly. Both are for tones in white noise, and know nothing of conditions.
    """
    facts = task.facts
    if task.tones is None:
        return limits.general_mse(facts.frequencies, facts.sampling_rate, facts.noise_std, facts.second_moment, seen)
    width = max(task.tones.shape[1], len(seen) // 2)
    draws = 2 * int(np.clip(LIMIT_NUMBERS // width, 100, 2000) // 2)
    generator = np.random.default_rng(0)
    mse, _ = limits.fixed_mse(
        task.tones, facts.noise_std, seen, draws=draws, generator=generator, periodic=task.periodic
    )
    return mse


def limit_row(task: Task, samples: int, context: str, hop: int = 1) -> Row:
    """The best possible on segments of so many samples, read `hop` at a time, as a row."""
    knows = "waveforms, noise level" if task.tones is not None else "frequencies, noise level, amplitude prior"
    mse = limit(task, limits.hopped(samples, hop))
    over = "" if task.tones is None or task.periodic else ", over this recording's offsets"
    over += ", were it white noise alone" if task.facts.conditions.on else ""
    return Row("limit", f"best possible{over}", context, True, knows, mse, hop, drawn=True)


def figures(row: Row, task: Task) -> dict[str, Any]:
    """R^2 and MSE over all tones, R^2 after the first second (nothing where there is no later), then each tone's."""
    power, later = task.power, row.mse[:, round(task.facts.sampling_rate) :]
    values = {"r2": float(limits.r2(row.mse, power)), "mse": float(row.mse.mean())}
    values["r2_settled"] = float(limits.r2(later, power)) if later.size else None
    each = zip(limits.r2(row.mse, power, axis=1), row.mse.mean(axis=1), strict=True)
    for number, (r2, mse) in enumerate(each, start=1):
        values |= {f"r2_tone_{number}": float(r2), f"mse_tone_{number}": float(mse)}
    return cells(values)


def table(rows: list[Row], task: Task) -> list[dict[str, Any]]:
    """Every estimator in every context, best first within each context."""
    contexts = list(dict.fromkeys(row.context for row in rows))
    ranked = sorted(rows, key=lambda row: (contexts.index(row.context), row.mse.mean()))
    return [
        {
            "name": row.name,
            "label": row.label,
            "context": row.context,
            "causal": "yes" if row.causal else "no",
            "told": row.knows,
            "hop": row.hop,
            **figures(row, task),
        }
        for row in ranked
    ]


def curves(rows: list[Row], task: Task) -> dict[str, NDArray]:
    """R^2 at each position of the first second, by name, of those drawn that share the first row's context.

    First come the network and the limit, then the filters, the ablest (the last of `filters.FILTERS`) in front.
    """
    drawn = [row for row in rows if row.drawn and row.context == rows[0].context]
    first = slice(0, round(task.facts.sampling_rate))
    ordered = [*drawn[:2], *reversed(drawn[2:])]
    return {row.name: limits.r2(row.mse[:, first], task.power, axis=0) for row in ordered}
