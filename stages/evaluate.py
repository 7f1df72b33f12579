r"""Stage `evaluate`: judge the model on recordings it has never seen, beside the best possible and classical filters.

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
    from tonesift.evaluation.evaluation import Found
    from tonesift.examination.examination import Examination


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write metrics and tables, and with `detail: full` everything that takes longer."""
    (settings,) = stages.settings(arguments.params, "evaluate")
    arithmetic.choose("portable", or_native=True)
    from tonesift.data import recordings, windows
    from tonesift.evaluation import tables
    from tonesift.examination import whole
    from tonesift.networks import model as models

    model, facts = models.load(arguments.model)
    history, split = tables.read_history(arguments.history), windows.read(arguments.windows)
    with recordings.opened(arguments.test) as test, recordings.opened(arguments.train) as train:
        found, more, microseconds = whole.evaluate(model, facts, settings, split, train, test, history)
    write(arguments, found, more)
    return {"us_per_sample": round(microseconds, 3), "evaluated": models.digest(arguments.model)}


def write(arguments: argparse.Namespace, found: "Found", more: "Examination | None") -> None:
    """Write metrics, tables and pictures, each whole or not at all."""
    from tonesift.evaluation import comparison, evaluation
    from tonesift.metrics import rounded

    others = more.rows if more else []
    content = evaluation.summary(found, more.best_filter if more else None)
    curves = comparison.curves([*found.own, *others], found.task)
    points = [dict(zip(curves, map(rounded, values), strict=True)) for values in zip(*curves.values(), strict=True)]
    made = {
        "tones": found.tones,
        "comparison": evaluation.compared(found, others),
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
