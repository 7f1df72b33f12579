"""The network's figures beside the best possible and beside classical filters, given the same context and all the past.

Three kinds of rows: the limit (what the best estimator reaches on average, computed from the task alone), and from
`tonesift.full_evaluation.rivals` the posterior mean (that best estimator at work on these very recordings; fixed task
only) and the classical filters.
One recording's noise moves every measured row up or down together by more than rows next to each other differ, so
compare the network with the posterior mean on the same recordings, and with the limit in the long run.

Under conditions (`tonesift.conditions`) a row called `limit` is what it is called: exact. Where only something is known
that nobody can beat, and perhaps nobody can reach, its row is called `bound` and says why; where not even that, there
is no row. What rivals are told of noise and amplitudes is then measured in the recordings at hand.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tonesift import params
from tonesift.data import signals
from tonesift.data.period import common_period
from tonesift.data.recordings import Facts
from tonesift.data.segments import Segments
from tonesift.estimators import limits
from tonesift.evaluation.tables import cells

LIMIT_NUMBERS = 2_000_000  # simulated segments times candidate offsets: about a second
# Under conditions a limit is the mean over some of the segments at hand, so many that it takes a few seconds.
LIMIT_SAMPLES, LIMIT_SEGMENTS, STATIONARY_NUMBERS, WHITENED_NUMBERS = 150_000, 500, 2e8, 3e9
WHITENED_SAMPLES = 1000  # beyond, coloured noise beside noise of changing level is told too: to whiten it takes minutes
CHANGING = ("tail_scale", "burst_share", "outlier_share", "gap_share")  # conditions that make the noise's level change
NOTHING = 1e-12  # R^2 below which there is none
LIMITS = ("limit", "bound")  # names of rows that are no estimators
JITTER, JITTER_DRAWS = {"jitter_amplitude", "jitter_phase"}, 60  # segments simulated: some seconds
ANY_PHASE = 180.0  # degrees of jitter: a sample is then as likely whatever the tones' phases, and tells nothing of them


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


class Measured(NamedTuple):
    """What conditions make of recordings, measured in those at hand.

    Attributes
    ----------
    power : ndarray, shape (K,)
        Of each tone.
    noise_std : float
        Root mean square of what a mixture holds beside the mean of its tones, where it is not missing.
    """

    power: NDArray[np.float64]
    noise_std: float


@dataclass(frozen=True)
class Task:
    """What the limits and rivals need to know of a set of recordings.

    Attributes
    ----------
    facts : Facts
        How the recordings were made.
    tones : ndarray, shape (K, P), or None
        Fixed task: one common period of the clean tones, or a recording's length of them where that is shorter.
    periodic : bool
        Whether `tones` is a whole period.
    samples : int
        N of each recording.
    measured : Measured or None
        Where conditions make the recordings other than `facts` tell.
    """

    facts: Facts
    tones: NDArray[np.float64] | None
    periodic: bool
    samples: int
    measured: Measured | None = None

    @property
    def conditions(self) -> params.Conditions:
        """What the recordings go through."""
        return self.facts.conditions

    @property
    def power(self) -> NDArray[np.float64]:
        """Power of each tone, shape (K,): over a period of the fixed waveforms, or in the recordings at hand."""
        if self.measured:
            return self.measured.power
        if self.tones is None:
            return np.mean(np.square(self.facts.amplitudes), axis=0) / 2
        return self.tones.var(axis=1)

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise."""
        return self.measured.noise_std if self.measured else self.facts.noise_std

    @property
    def second_moment(self) -> float:
        """Expected square of a tone's amplitude."""
        return 2 * float(self.measured.power.mean()) if self.measured else self.facts.second_moment


def measure(mixture: NDArray, tones: NDArray, missing: NDArray[np.bool_]) -> Measured:
    """What recordings hold: mixtures (R, N) with 0 where a sample is missing, and tones (R, K, N)."""
    rest = np.where(missing, 0.0, mixture - tones.mean(axis=1, dtype=np.float64))
    power = np.mean(np.square(tones, dtype=np.float64), axis=(0, 2))
    return Measured(power, float(np.sqrt(np.sum(np.square(rest)) / max(np.count_nonzero(~missing), 1))))


def make_task(facts: Facts, samples: int) -> Task:
    """Task behind recordings of `samples` samples each.

    The unknown of the fixed task is where in the tones' common period a segment lies. Where that period is longer than
    the recordings, it is where in the recording.
    """
    if facts.task != "fixed":
        return Task(facts, None, periodic=False, samples=samples)
    period = common_period(facts.frequencies, facts.sampling_rate, samples)
    each = zip(facts.frequencies, facts.phases[0], facts.amplitudes[0], strict=True)
    tones = [signals.sinusoid(f, facts.sampling_rate, period or samples, phase, a) for f, phase, a in each]
    return Task(facts, np.stack(tones), periodic=period is not None, samples=samples)


def limit(task: Task, seen: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean squared error (K, T) of the best estimator that has read `seen` (T,) samples at each answer, in white noise.

    Fixed task: the posterior mean over the offset, simulated with random numbers of its own, to about 0.002 of R^2.
    General task: the best linear one, exactly. Both know nothing of conditions.
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


def limit_rows(task: Task, segments: Segments, context: str, hop: int = 1) -> list[Row]:
    """The best possible on such segments, read `hop` samples at a time, as a row; none where none is known.

    Parameters
    ----------
    task : Task
        What the recordings are.
    segments : Segments
        Each a fresh start.
    context : str
        What a segment is, in words.
    hop : int
        Samples read before they are answered.
    """
    conditions, seen = task.conditions, limits.hopped(segments.samples, hop)
    if conditions.jitter_phase == ANY_PHASE:
        nothing = np.repeat(task.power[:, None], segments.samples, axis=1)  # of the best answer, 0
        return [Row("limit", "best possible: nothing to learn", context, True, "all but the tones", nothing, hop, True)]
    name, label, knows = "limit", "best possible", "waveforms, noise level"
    if task.tones is None:
        knows = "frequencies, noise level, amplitude prior"
        if conditions.on:
            mse, beyond = _oracle_mse(task, segments, seen)
            spectrum = conditions.coloured and "coloured noise" not in beyond
            knows = ", ".join([knows, *(["noise spectrum"] if spectrum else []), *beyond])
            if beyond:
                name, label = "bound", f"bound: an oracle that is told {', '.join(beyond)}"
            return [Row(name, label, context, True, knows, mse, hop, drawn=True)]
    elif task.periodic and {*conditions.on} <= JITTER and conditions.on:
        return [Row(name, label, context, True, f"{knows}, jitter", jitter_limit(task, seen), hop, drawn=True)]
    elif not only_worse(conditions):
        return []
    elif conditions.on:
        name, label = "bound", "bound: the best possible in white noise alone"
    over = "" if task.tones is None or task.periodic else ", over this recording's offsets"
    return [Row(name, label + over, context, True, knows, limit(task, seen), hop, drawn=True)]


def jitter_limit(task: Task, seen: NDArray[np.int64], draws: int = JITTER_DRAWS) -> NDArray[np.float64]:
    """Mean squared error (K, T) of the posterior mean of known waveforms under jitter, told how much of it there is.

    Simulated with random numbers of its own.
    """
    from tonesift.conditions import jitter

    facts, conditions = task.facts, task.conditions
    places = np.arange(task.tones.shape[1]) / facts.sampling_rate
    known = jitter.Jitter(
        turns=np.outer(facts.frequencies, places) + facts.phases[0][:, None] / 360.0,
        amplitudes=facts.amplitudes[0],
        amplitude=conditions.jitter_amplitude,
        phase=conditions.jitter_phase,
        noise_std=facts.noise_std,
    )
    return jitter.jittered_mse(known, seen, draws=draws, generator=np.random.default_rng(0))


def only_worse(conditions: params.Conditions) -> bool:
    """Whether conditions do no more than happen to a mixture of the same tones in the same white noise.

    Nobody then does better than in white noise alone: whoever had that mixture could do all of it himself. Conditions
    that change the tones, and jitter, which changes each before they are mixed, are others, and so are bursts of less
    noise.
    """
    happens = {*params.DAMAGE} - JITTER
    return {*conditions.on} <= happens and not (conditions.burst_share and conditions.burst_factor < 1)


def _oracle_mse(task: Task, segments: Segments, seen: NDArray[np.int64]) -> tuple[NDArray[np.float64], list[str]]:
    """Error (K, T) of the best linear estimator on some of the segments, and what it is told that nobody knows."""
    from tonesift.conditions import oracle  # recordings of white noise alone do without

    facts, length = task.facts, segments.samples
    too_long = bool(facts.conditions.coloured) and facts.conditions.needs(*CHANGING) and length > WHITENED_SAMPLES
    every = -(-len(segments.starts) // _segments(facts.conditions, length, too_long))
    found, told = [], {}
    for recording, begin in segments.starts[::every].tolist():
        if recording not in told:
            told = {recording: oracle.knowledge(facts, task.samples, recording)}
        part = oracle.cut(told[recording], begin, length)
        found.append(oracle.oracle_mse(part._replace(covariance=None) if too_long else part, seen))
    return np.mean(found, axis=0), [*oracle.unknowable(facts.conditions), *(["coloured noise"] if too_long else [])]


def _segments(conditions: params.Conditions, length: int, told_coloured: bool) -> int:
    """How many segments of so many samples are worked out."""
    count = min(LIMIT_SAMPLES // length, LIMIT_SEGMENTS)
    if conditions.coloured and not told_coloured:
        changing = conditions.needs(*CHANGING)
        count = min(count, int(WHITENED_NUMBERS / length**3 if changing else STATIONARY_NUMBERS / length**2))
    return count + 1


def figures(row: Row, task: Task) -> dict[str, Any]:
    """R^2 and MSE over all tones, R^2 after the first second (nothing where there is no later), then each tone's."""
    power, later = task.power, row.mse[:, round(task.facts.sampling_rate) :]
    values = {"r2": float(_r2(row.mse, power)), "mse": float(row.mse.mean())}
    values["r2_settled"] = float(_r2(later, power)) if later.size else None
    each = zip(_r2(row.mse, power, axis=1), row.mse.mean(axis=1), strict=True)
    for number, (r2, mse) in enumerate(each, start=1):
        values |= {f"r2_tone_{number}": float(r2), f"mse_tone_{number}": float(mse)}
    return cells(values)


def _r2(mse: NDArray[np.float64], power: NDArray[np.float64], axis: int | None = None) -> NDArray[np.float64]:
    """R^2; where it is rounding errors alone it is 0, and there is nothing to learn."""
    found = limits.r2(mse, power, axis)
    return np.where(np.abs(found) < NOTHING, 0.0, found)


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
    others = [row for row in drawn[1:] if row.name not in LIMITS]
    ordered = [row for row in drawn if row not in others] + others[::-1]
    return {row.name: limits.r2(row.mse[:, first], task.power, axis=0) for row in ordered}
