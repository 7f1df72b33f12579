r"""Stage `evaluate`: judge the model on recordings it has never seen, beside the best possible and classical filters.

python -m stages.evaluate data/train.h5 data/windows.h5 data/test.h5 models/model.safetensors \
    metrics/train/plots metrics/evaluate plots/evaluate
"""

import argparse
import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import stages
from tonesift import comparison, compute, judge, metrics, params, recordings, sequences, tables, windows
from tonesift import model as models
from tonesift.atomic import replacing
from tonesift.comparison import Row
from tonesift.errors import InputError
from tonesift.judge import Judge, Stretches
from tonesift.metrics import rounded

if TYPE_CHECKING:
    from tonesift.examination import Examination

PARALLEL = 8  # batches at a time, at most
START_SEED = 0  # of where streams begin


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write metrics and tables, and with `detail: full` everything that takes longer."""
    (settings,) = stages.settings(arguments.params, "evaluate")
    model, facts = models.load(arguments.model)
    history = read_history(arguments.history)
    split = windows.read(arguments.windows)
    device = compute.choose_device(settings.device)
    with recordings.opened(arguments.test) as test, compute.workers(device, PARALLEL) as run:
        check_fit(test, facts)
        ours = Judge(model.to(device), facts, settings.batch_size, run, device)
        task = comparison.make_task(test.facts, test.samples)
        tried = choose(ours, settings, task, (test.count, test.samples), split)
        signals = sequences.read_signals(test, facts["center"], facts["scale"], device)
        begin = time.perf_counter()
        scored = ours.score(signals, tried.test)
        seconds = time.perf_counter() - begin
        with recordings.opened(arguments.train) as train:
            trained = ours.score(sequences.read_signals(train, split.center, split.scale, device), tried.train)
        target = np.stack([test.tones(index) for index in range(test.count)])  # (R, K, N)
        mixture = np.stack([test.mixture(index) for index in range(test.count)])  # (R, N)
        several = model.members if len(model.members) > 1 else []
        members = [replace(ours, model=member).score(signals, tried.test) for member in several]
        found = Found(
            task=task,
            tones=tables.tones(task.facts.frequencies, scored.tallies, trained.tallies, target, mixture),
            own=own_rows(ours, task, scored),
            settled=settled(ours, scored, target, mixture),
            latency_ms=1000 * ours.latency / facts["sampling_rate"],
            members=[sum(each.tallies, metrics.Tally()).r2 for each in members],
        )
        more = None
        if settings.detail == "full":
            from tonesift import examination  # two seconds of imports that scores need not wait for

            subject = examination.Subject(
                model.label, ours.estimate, ours.reset, ours.context, ours.latency, found.tones, history
            )
            more = examination.examine(subject, task, found.own, mixture, target, tried.test)
    write(arguments, found, more)
    samples = sum(seen.count for seen in scored.tallies)
    return {"us_per_sample": round(1e6 * seconds / samples, 3), "evaluated": models.digest(arguments.model)}


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


def read_history(folder: Path) -> dict[str, NDArray]:
    """DVCLive's history: a column of values for each metric, by its path below `metrics`."""
    root = folder / "metrics"
    found = {}
    for path in sorted(root.rglob("*.tsv")):
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file, delimiter="\t"))
        found[path.relative_to(root).with_suffix("").as_posix()] = np.array([float(line[path.stem]) for line in lines])
    if not found:
        raise InputError(f"{root}: holds no curves: run `dvc repro train`, or `git checkout metrics`")
    return found


def summary(found: Found, more: "Examination | None") -> dict[str, dict[str, float]]:
    """The few figures that experiments are compared by."""
    names, tones = ("r2", "mse", "correlation", "snr_gain_db", "train_ratio"), found.tones
    test = {name: tones[0][name] for name in names} | {"worst_tone_mse": max(tone["mse"] for tone in tones[1:])}
    test["latency_ms"] = rounded(found.latency_ms)
    best = comparison.scores(found.own[1], found.task)["r2"]
    content = {"test": test, "limit": {"r2": best, "share": rounded(test["r2"] / best)}, **found.settled}
    if found.members:
        content["members"] = {"r2": rounded(fmean(found.members)), "best_r2": rounded(max(found.members))}
    return content | ({"best_filter": {"r2": more.best_filter}} if more else {})


def compared(found: Found, more: "Examination | None") -> tables.Table:
    """Every estimator; the network's R^2 are those of the other tables, over the very samples it was judged on."""
    rows = comparison.table([*found.own, *(more.rows if more else [])], found.task)
    ours = next(row for row in rows if row["name"] == "network")
    keys = ("r2", *(f"r2_tone_{number}" for number in range(1, len(found.tones))))
    ours |= {key: tone["r2"] for key, tone in zip(keys, found.tones, strict=True)}
    ours |= {"r2_settled": found.settled["settled"]["r2"]} if found.settled else {}
    return rows


def write(arguments: argparse.Namespace, found: Found, more: "Examination | None") -> None:
    """Write metrics, tables and pictures, each whole or not at all."""
    content = summary(found, more)
    curves = comparison.curves([*found.own, *(more.rows if more else [])], found.task)
    points = [dict(zip(curves, map(rounded, values), strict=True)) for values in zip(*curves.values(), strict=True)]
    made = {
        "tones": found.tones,
        "comparison": compared(found, more),
        "context": [{"position": at, **point} for at, point in enumerate(points, 1)],
        "uncertainty": more.uncertainty if more else [],
        "paired": more.paired if more else [],
    }
    stages.write_json(arguments.metrics / "metrics.json", content)
    for name, table in made.items():
        write_csv(arguments.metrics / f"{name}.csv", table)
    with replacing(arguments.metrics / "robustness") as aside:
        aside.mkdir()
        for name, table in (more.robustness if more else {"noise_std": []}).items():  # Git keeps no empty folder
            write_csv(aside / f"{name}.csv", table)
    with replacing(arguments.pictures) as aside:
        aside.mkdir()
        for name, picture in (more.pictures if more else {}).items():
            (aside / f"{name}.png").write_bytes(picture)
    after = f", {content['settled']['r2']:.4f} after the first second" if found.settled else ""
    print(f"R2 {content['test']['r2']:.4f} on test{after}, {content['limit']['share']:.1%} of the best possible")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table, whole or not at all; one without rows is a file with a line that says so."""
    with replacing(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(
            file, rows[0].keys() if rows else ["only with evaluate.detail: full"], lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    command = stages.parser(__doc__)
    command.add_argument("train", type=Path, help="recordings trained on")
    command.add_argument("windows", type=Path, help="windows trained on")
    command.add_argument("test", type=Path, help="recordings to test on")
    command.add_argument("model", type=Path, help="the model")
    command.add_argument("history", type=Path, help="DVCLive's plots of the training")
    command.add_argument("metrics", type=Path, help="folder for metrics and tables")
    command.add_argument("pictures", type=Path, help="folder for pictures")
    stages.main(evaluate, command.parse_args())
