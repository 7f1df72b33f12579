"""The report and the model card, made from what the pipeline wrote; not a stage of it, `make report` runs it.

python -m pages.report site/report.html models/README.md --site
"""

import argparse
import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pages import layout, shell
from tonesift import csvfile, params
from tonesift.atomic import replacing
from tonesift.errors import InputError
from tonesift.evaluation import tables
from tonesift.networks import model as models
from tonesift.reporting import card, diagnosis, page

PARAMS = Path("params.yaml")
MODEL, CURVES, TABLES = Path("models/model.safetensors"), Path("metrics/train/plots"), Path("metrics/evaluate")
PICTURES = Path("plots/evaluate")
REMEDY = "run `make repro`, or `make undo`"
WORDS = ("tone", "name", "label", "context", "causal", "told", "rival", "tones_effect", "condition", "taken")
CAPTIONS = {
    "overview": "One page of everything.",
    "graph2": "Every tone: mixture, target and output over two periods of the slowest tone.",
    "graph1": "One tone in detail: mixture, target and output.",
    "context": "What context buys: 1 − R² at each sample since the start, beside its rivals.",
    "training": "Training curves; the dotted line is the epoch that was kept.",
    "tones": "1 − R² of each tone beside the best possible.",
    "robustness": "R² where the recording is not what was trained on.",
    "conditions": "1 − R² under the conditions that recordings bring, the network's beside that of filters.",
    "scatter": "Output against target; the colour counts samples, on a logarithmic scale.",
    "errors": "Distribution of the errors, and their quantiles against those of a normal distribution.",
    "spectra": "Spectrum of target, output and error of each tone.",
    "long": "A whole recording.",
    "data": "The test recording: mixture, tones and spectrum.",
    "spectrogram": "Spectrogram of the mixture.",
}


def write_report(arguments: argparse.Namespace) -> None:
    """Write both, and say the diagnosis with what to change next."""
    settings = load_params(PARAMS)
    _, metadata = models.load(MODEL)
    tones = read("tones", needed=("tone", *diagnosis.SCORES))
    comparison = read("comparison", needed=("name", "label", "context", "causal", "r2", "mse"))
    limits = [finite("comparison", row, "r2") for row in comparison if row["name"] == "limit"]
    if not tones:
        raise InputError(f"{TABLES}: tones.csv has no row: {REMEDY}")
    conditions = read("conditions", needed=("condition", "network"))
    scores = {name: finite("tones", tones[0], name) for name in diagnosis.SCORES}
    found = diagnosis.diagnose(tables.read_history(CURVES), scores, limits[0] if limits else None, settings)
    digest = models.digest(MODEL)
    content = page.Content(
        comparison=comparison,
        conditions=conditions,
        tones=tones,
        uncertainty=read_uncertainty(),
        diagnosis=dataclasses.asdict(found),
        pictures=[
            page.Picture(PICTURES / f"{name}.png", caption, f"Picture: {caption}")
            for name, caption in CAPTIONS.items()
            if (PICTURES / f"{name}.png").is_file()
        ],
        params=settings.model_dump(),
        origin={"model (MD5)": digest, **metadata.build},
        reproduce=("git clone <this repository> && cd tonesift", "make repro", "make report"),
        links=layout.PAGES if arguments.site else {},
    )
    write(arguments.page, page.render(content))
    write(arguments.card, card.render(metadata, tones, comparison, conditions, digest=digest))
    print(f"Diagnosis: {found.verdict}")
    print(*found.sentences, sep="\n")
    if found.commands:
        print("To try next:", *found.commands, sep="\n  ")
    print(f"Report: {arguments.page}    Model card: {arguments.card}")


def load_params(path: Path) -> params.Params:
    """All sections of the parameters."""
    names = list(params.Params.model_fields)
    return params.Params(**dict(zip(names, params.load(path, *names), strict=True)))


def read(name: str, needed: Iterable[str] = ()) -> csvfile.Rows:
    """Rows of a table that stage `evaluate` wrote."""
    return csvfile.read(TABLES / f"{name}.csv", words=WORDS, needed=needed, remedy=REMEDY)


def finite(name: str, row: Mapping[str, Any], column: str) -> float:
    """A figure of a table that a verdict needs."""
    value = float(row[column])
    if not math.isfinite(value):
        raise InputError(f"{TABLES / name}.csv: {column} is {value}, but a verdict needs a finite number: {REMEDY}")
    return value


def read_uncertainty() -> dict[str, Any]:
    """Intervals and paired comparisons, as far as there are any."""
    intervals = read("uncertainty", needed=("tone", "r2", "low", "high"))
    paired = read("paired", needed=("label", "context", "mse_difference", "low", "high", "wilcoxon_p"))
    return {
        "r2": {row["tone"]: [float(row["r2"]), float(row["low"]), float(row["high"])] for row in intervals},
        "paired": [row | {"rival": row["label"], "p": row["wilcoxon_p"]} for row in paired],
    }


def write(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    command = shell.parser(__doc__)
    command.add_argument("page", type=Path, help="where to write the report, HTML")
    command.add_argument("card", type=Path, help="where to write the model card, Markdown")
    command.add_argument("--site", action="store_true", help="with links to the site's other pages")
    shell.main(write_report, command.parse_args())
