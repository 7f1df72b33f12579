"""The picture of how far each step got, from the table of study `story`; not a stage, `make pictures` runs it.

python -m pages.story studies/story/trials.csv docs/story.png
"""

import argparse
import csv
from pathlib import Path
from typing import Any

from pages import shell
from tonesift.atomic import replacing
from tonesift.errors import InputError
from tonesift.full_evaluation import figures

CLAIM = {"label": "the guide's claim", "r2": 0.347, "limit": None}
FILE = "metrics/evaluate/metrics.json"


def story(arguments: argparse.Namespace) -> None:
    """Draw the study's points under the guide's claim."""
    try:
        with arguments.table.open(encoding="utf-8", newline="") as file:
            points = [point(row) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{arguments.table}: not a study's table: run `python -m dvcsweep run studies/story.yaml`"
        ) from error
    with replacing(arguments.picture) as aside:
        aside.write_bytes(figures.png(figures.story([CLAIM, *points])))


def point(row: dict[str, str]) -> dict[str, Any]:
    """A trial as `figures.story` wants it."""
    return {"label": row["label"], "r2": float(row[f"{FILE}:test.r2"]), "limit": float(row[f"{FILE}:limit.r2"])}


if __name__ == "__main__":
    command = shell.parser(__doc__)
    command.add_argument("table", type=Path, help="the study's trials")
    command.add_argument("picture", type=Path, help="where to draw it, PNG")
    shell.main(story, command.parse_args())
