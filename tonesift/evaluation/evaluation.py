"""Judging a model on recordings: what it is tried on, its figures, and the rows of the tables."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any, NamedTuple

from numpy.typing import NDArray

from tonesift import metrics, params
from tonesift.data import recordings, windows
from tonesift.errors import InputError
from tonesift.evaluation import comparison, judge, tables
from tonesift.evaluation.comparison import Row
from tonesift.evaluation.judge import Judge, Stretches
from tonesift.learning import sequences
from tonesift.metrics import rounded

START_SEED = 0  # of where streams begin


class Tried(NamedTuple):
    """Stretches of the test and of the training recordings that the network is tried on."""

    test: Stretches
    train: Stretches


def choose(
    ours: Judge, settings: params.Evaluate, task: comparison.Task, shape: tuple[int, int], split: windows.Split
) -> Tried:
    """Every window where the state is reset; otherwise streams, equally long in test and training recordings."""
    count, samples = shape
    if ours.reset is not None:
        step = ours.facts["step_size"]
        return Tried(
            judge.all_windows(count, samples, ours.reset, step),
            Stretches(windows.starts(split.train, split.step_size), ours.reset),
        )
    read = windows.covered(split.train, split.sequence_length, split.step_size)
    longest = min(samples, max(end - begin for _, begin, end in read), judge.LONGEST)
    spread = min(spread_of_starts(task, ours), longest // 2)
    whole = [(index, 0, samples) for index in range(count)]
    anywhere = spread if task.tones is None or task.periodic else samples - (longest - spread)  # as the limit has it
    return Tried(
        judge.drawn_streams(whole, max(settings.streams, count), longest - spread, anywhere, START_SEED),
        judge.drawn_streams(read, settings.streams, longest - spread, spread, START_SEED),
    )


def spread_of_starts(task: comparison.Task, ours: Judge) -> int:
    """Samples that the streams' starts are drawn from: a period of the waveform, or a second."""
    return task.tones.shape[1] if task.periodic else ours.settled


def own_rows(ours: Judge, task: comparison.Task, scored: sequences.Scores) -> list[Row]:
    """The network's own row, and that of the best possible with its context and latency."""
    told, hop, model = "nothing; trained on recordings of the same task", ours.latency, ours.model
    row = Row("network", model.label, ours.context, causal=model.causal, told=told, mse=scored.position_mse, hop=hop)
    return [row, comparison.limit_row(task, scored.position_mse.shape[1], ours.context, hop)]


def settled(ours: Judge, scored: sequences.Scores, target: NDArray, mixture: NDArray) -> dict[str, dict[str, float]]:
    """Figures after the first second: of the streams, and of the test recordings from their own start."""
    if scored.settled is None:
        return {}
    whole = judge.scores(target, ours.estimate(mixture), ours.settled).settled
    overall = sum(scored.settled, metrics.Tally())
    return {
        "settled": {
            "r2": rounded(overall.r2),
            "worst_tone_mse": rounded(max(tone.mse for tone in scored.settled)),
            "correlation": rounded(overall.correlation),
        },
        "from_start": {
            "settled_r2": rounded(sum(whole, metrics.Tally()).r2),
            "worst_tone_mse": rounded(max(tone.mse for tone in whole)),
        },
    }


class Found(NamedTuple):
    """What every evaluation finds.

    Attributes
    ----------
    task : comparison.Task
        What the recordings are.
    tones : tables.Table
        Figures over all tones and of each.
    own : list of Row
        The network's row and the limit's.
    settled : dict of str to dict of str to float
        Figures after the first second; empty where the state does not last that long.
    latency_ms : float
        How long the first sample of a step waits for its answer.
    members : list of float
        R^2 of each network of an ensemble; empty if it is none.
    """

    task: comparison.Task
    tones: tables.Table
    own: list[Row]
    settled: dict[str, dict[str, float]]
    latency_ms: float
    members: list[float]


def check_fit(test: recordings.Recordings, facts: Mapping[str, Any]) -> None:
    """Refuse recordings the model was not made for."""
    for name, found in (
        ("sampling_rate", test.facts.sampling_rate),
        ("frequencies", list(test.facts.frequencies)),
    ):
        if found != facts[name]:
            raise InputError(
                f"{test.path}: {name} {found}, but the model was trained on {facts[name]}: run `dvc repro train`"
            )
    if test.samples < facts["sequence_length"]:
        raise InputError(
            f"{test.path}: {test.samples} samples, but a window has {facts['sequence_length']}: use longer recordings"
        )


def summary(found: Found, best_filter: float | None) -> dict[str, dict[str, float]]:
    """The few figures that experiments are compared by."""
    names, tones = ("r2", "mse", "correlation", "snr_gain_db", "train_ratio"), found.tones
    test = {name: tones[0][name] for name in names} | {"worst_tone_mse": max(tone["mse"] for tone in tones[1:])}
    test["latency_ms"] = rounded(found.latency_ms)
    best = comparison.scores(found.own[1], found.task)["r2"]
    content = {"test": test, "limit": {"r2": best, "share": rounded(test["r2"] / best)}, **found.settled}
    if found.members:
        content["members"] = {"r2": rounded(fmean(found.members)), "best_r2": rounded(max(found.members))}
    return content | ({} if best_filter is None else {"best_filter": {"r2": best_filter}})


def compared(found: Found, others: list[Row]) -> tables.Table:
    """Every estimator; the network's R^2 are those of the other tables, over the very samples it was judged on."""
    rows = comparison.table([*found.own, *others], found.task)
    ours = next(row for row in rows if row["name"] == "network")
    keys = ("r2", *(f"r2_tone_{number}" for number in range(1, len(found.tones))))
    ours |= {key: tone["r2"] for key, tone in zip(keys, found.tones, strict=True)}
    ours |= {"r2_settled": found.settled["settled"]["r2"]} if found.settled else {}
    return rows
