r"""Stage `evaluate`: judge the model on recordings it has never seen, beside the best possible and classical filters.

`tonesift.evaluation` finds the scores that every trial of a search pays for; what `evaluate.detail: full` adds is in
`tonesift.full_evaluation`.

python -m stages.evaluate data/train.h5 data/windows.h5 data/test.h5 models/model.safetensors \
    metrics/train/plots metrics/evaluate plots/evaluate
"""

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import stages
from tonesift import arithmetic
from tonesift.atomic import replacing

if TYPE_CHECKING:
    from tonesift.evaluation.run import Result
    from tonesift.full_evaluation.run import FullResult

PARALLEL = 8  # batches at a time, at most


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write metrics and tables, and with `detail: full` everything that takes longer."""
    (settings,) = stages.settings(arguments.params, "evaluate")
    arithmetic.choose("portable", or_native=True)
    from tonesift import compute
    from tonesift.data import recordings, windows
    from tonesift.evaluation import estimator, run, tables
    from tonesift.networks import model as models

    model, metadata = models.load(arguments.model)
    history, split = tables.read_history(arguments.history), windows.read(arguments.windows)
    device, full = compute.choose_device(settings.device), None
    with (
        recordings.opened(arguments.test) as test,
        recordings.opened(arguments.train) as train,
        compute.parallel_map(device, PARALLEL) as pmap,
    ):
        network = estimator.NetworkEstimator(model.to(device), metadata, settings.batch_size, pmap, device)
        result = run.evaluate(network, settings, split, train, test)
        if settings.detail == "full":
            from tonesift.full_evaluation import run as full_run  # two seconds of imports that scores need not wait for

            full = full_run.evaluate(network, result, history)
    write(arguments, result, full)
    return {"us_per_sample": round(result.microseconds, 3), "evaluated": models.digest(arguments.model)}


def write(arguments: argparse.Namespace, result: "Result", full: "FullResult | None") -> None:
    """Write metrics, tables and pictures, each whole or not at all."""
    from tonesift.evaluation import summary

    others = full.rows if full else []
    content = summary.summary(result, full.best_filter if full else None)
    made = {
        "tones": result.tones,
        "comparison": summary.comparison_table(result, others),
        "context": summary.context_table(result, others),
        "uncertainty": full.uncertainty if full else [],
        "paired": full.paired if full else [],
        "conditions": full.conditions if full else [],
    }
    stages.write_json(arguments.metrics / "metrics.json", content)
    for name, table in made.items():
        write_csv(arguments.metrics / f"{name}.csv", table)
    with replacing(arguments.metrics / "robustness") as aside:
        aside.mkdir()
        for name, table in (full.robustness if full else {"noise_std": []}).items():  # Git keeps no empty folder
            write_csv(aside / f"{name}.csv", table)
    with replacing(arguments.pictures) as aside:
        aside.mkdir()
        for name, picture in (full.pictures if full else {}).items():
            (aside / f"{name}.png").write_bytes(picture)
    if full is None:
        print(f"{arguments.pictures} is empty: pictures, intervals and robustness are for evaluate.detail: full")
    after = f", {content['settled']['r2']:.4f} after the first second" if result.settled else ""
    print(f"R2 {content['test']['r2']:.4f} on test{after}, {best_possible(content)}")


def best_possible(content: Mapping[str, Mapping[str, float]]) -> str:
    """What the network's figure stands beside, in words."""
    if content.get("limit", {}).get("r2") == 0:
        return "and 0 is the best possible: the mixtures hold nothing of the tones"
    if "limit" in content:
        return f"{content['limit']['share']:.1%} of the best possible"
    if "bound" in content:
        return f"where nobody gets beyond {content['bound']['r2']:.4f}"
    return "and no limit is known under these conditions"


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
