"""The picture of how far each step got, from the table of study `story`; not a stage, `make pictures` runs it.

python -m pages.story studies/story/trials.csv docs/story.png
"""

import argparse
from pathlib import Path
from typing import Any

from pages import shell
from tonesift import csvfile
from tonesift.atomic import replacing
from tonesift.errors import InputError, shown
from tonesift.full_evaluation import plots

REMEDY = "run `python -m dvcsweep run studies/story.yaml`"
CLAIM = {"label": "the guide's claim", "r2": 0.347, "limit": None}
FILE = "metrics/evaluate/metrics.json"


def story(arguments: argparse.Namespace) -> None:
    """Draw the study's points under the guide's claim."""
    try:
        points = [point(row) for row in csvfile.read(arguments.table, words=None, needed=("label",), remedy=REMEDY)]
    except (KeyError, PointError) as error:
        raise InputError(f"{arguments.table}: not a study's table (no {error.args[0]}): {REMEDY}") from error
    with replacing(arguments.picture) as aside:
        aside.write_bytes(plots.png(plots.story([CLAIM, *points])))


class PointError(Exception):
    """A row has no R²; the text says what it has."""


def point(row: dict[str, str]) -> dict[str, Any]:
    """A trial as `figures.story` wants it."""
    cells = {"r2": row[f"{FILE}:test.r2"], "limit": row[f"{FILE}:limit.r2"]}
    try:
        figures = {name: float(cell) for name, cell in cells.items()}
    except ValueError:
        figures = {}
    if not figures or not all(-100 < value <= 1 for value in figures.values()):  # an R², and one that can be drawn
        raise PointError(f"R² in row {shown(row['label'])}, but {shown(list(cells.values()))}")
    return {"label": row["label"], **figures}


if __name__ == "__main__":
    command = shell.parser(__doc__)
    command.add_argument("table", type=Path, help="the study's trials")
    command.add_argument("picture", type=Path, help="where to draw it, PNG")
    shell.main(story, command.parse_args())
