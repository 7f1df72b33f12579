"""The guide's tables beside what was measured, written into `docs/guide-tables.md`; not a stage, `make guide` runs it.

python -m pages.guide_tables studies docs/guide-claims.yaml docs/guide-tables.md

The page is prose with places for tables between `<!-- table: NAME -->` and `<!-- end -->`; only what stands there is
written. Each table comes from the committed results of a study, `studies/guide-NAME/trials.csv`, so the page can be
made again in any clone. The tables of epochs and patience come from the curves of one study of long trainings: stopping
early is a rule applied to a curve, so that one long training holds every shorter one.
"""

import argparse
import csv
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from tabulate import tabulate

from pages import shell
from tonesift import csvfile, yamlfile
from tonesift.atomic import replacing
from tonesift.errors import InputError

PLACE = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
SCORES = "metrics/evaluate/metrics.json"
TEST, LIMIT = f"{SCORES}:test", f"{SCORES}:limit.r2"
LOSS, SECONDS = "validation.loss", "metrics/run.json:run.epoch_seconds"
CURVE = "metrics/train/plots/metrics/validation/loss.tsv"
EPOCHS, PATIENCES = (20, 50, 100, 200), (5, 10, 15, 20, 30)
# Beside what a table varies: the guide's patience; but not its 50 epochs, of which only a patience of 5 spares any.
RULES = {"epochs": {"patience": 15}, "patience": {"epochs": 200}}
SAMPLES, LENGTH, TONES, STEP = 10_000, 50, 4, 10  # of the recording; of the studies' windows
REMEDY = "run the study again, or take the committed results back with Git"
Row = Mapping[str, str]


def guide_tables(arguments: argparse.Namespace) -> None:
    """Write every table into its place."""
    try:
        text = arguments.page.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: no such file: run from the top of the repository") from error
    claims = yamlfile.read(arguments.claims) or {}

    def fill(place: re.Match[str]) -> str:
        try:
            return place[1] + make_table(arguments.studies, place[2], claims.get(place[2], {})) + "\n" + place[3]
        except InputError:
            raise
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{arguments.studies}: the results for table {place[2]} and the claims in {arguments.claims} do not "
                f"fit ({type(error).__name__}: {error}): {REMEDY}"
            ) from error

    with replacing(arguments.page) as aside:
        aside.write_text(PLACE.sub(fill, text), encoding="utf-8")


def make_table(studies: Path, name: str, claims: Mapping[Any, Any]) -> str:
    """A table by its name."""
    if name in RULES:
        return stopping(curves(studies / "guide-epochs"), name)
    makers: dict[str, Callable[..., str]] = {
        "batch-size": seconds,
        "ensemble": members,
        "learning-rate": losses,
        "split": splits,
        "weight-decay": losses,
        "step-size": sequences,
    }
    rows = trials(studies / f"guide-{name}")
    if name == "step-size" and rows:  # the guide's own, one seed
        rows += [{**row, "params.prepare.step_size": "1"} for row in trials(studies / "baseline")]
    try:
        return makers.get(name, scores)(rows, claims)
    except InputError as error:
        raise InputError(f"{studies / f'guide-{name}' / 'trials.csv'}: {error}") from error


def trials(folder: Path) -> list[Row]:
    """Complete trials of a study's committed table; none of a study that has not been run."""
    path = folder / "trials.csv"
    if not path.exists():
        return []
    rows = csvfile.read(path, words=None, needed=("state",), remedy=REMEDY)
    return [row for row in rows if row["state"] == "complete"]


def setting(row: Row) -> tuple[str, str]:
    """Name and value of what a study varies."""
    varied = [(key, value) for key, value in row.items() if key.startswith("params.")]
    if len(varied) != 1:
        raise InputError(f"a table is of one setting, but its study varies {len(varied)}: give it a study of its own")
    ((name, value),) = varied
    return name.rpartition(".")[2], "none" if value == "null" else value


def scores(rows: list[Row], claims: Mapping[Any, Any]) -> str:
    """R^2 on test: claimed, measured, the best possible."""
    header = ("claimed R²", "measured R²", "best possible", "share of it")
    return lines(rows, claims, header, r2)


def r2(row: Row) -> list[str]:
    """R^2 on test, the best possible, and how much of it was reached."""
    best = float(row[LIMIT])
    return [*spread(row, f"{TEST}.r2", ".3f"), f"{best:.3f}", f"{float(row[f'{TEST}.r2']) / best:.0%}"]


def losses(rows: list[Row], claims: Mapping[Any, Any]) -> str:
    """Loss on validation windows and R^2 on test: claimed, measured, the best possible."""
    header = ("claimed loss", "measured loss", "best possible loss", "measured R²", "best possible R²")

    def cells(row: Row) -> list[str]:
        r2, best = float(row[f"{TEST}.r2"]), float(row[LIMIT])
        power = float(row[f"{TEST}.mse"]) / (1 - r2)  # of the tones
        return [
            *spread(row, LOSS, ".3f"),
            f"{power * (1 - best):.3f}",
            *spread(row, f"{TEST}.r2", ".3f"),
            f"{best:.3f}",
        ]

    return lines(rows, claims, header, cells, ".3f")


def splits(rows: list[Row], claims: Mapping[Any, Any]) -> str:
    """Loss on validation windows, on test, and R^2 there."""
    header = ("claimed loss", "measured loss", "loss on test", "measured R²", "best possible", "share of it")

    def cells(row: Row) -> list[str]:
        return [*spread(row, LOSS, ".3f"), *spread(row, f"{TEST}.mse", ".3f"), *r2(row)]

    return lines(rows, claims, header, cells, ".3f")


def members(rows: list[Row], claims: Mapping[Any, Any]) -> str:
    """R^2 of networks and of their mean."""
    header = (
        "claimed gain",
        "R² of each, on average",
        "of the best",
        "of their averaged output",
        "gain",
        "best possible",
    )

    def cells(row: Row) -> list[str]:
        each, best = (float(row[f"{SCORES}:members.{name}"]) for name in ("r2", "best_r2"))
        together = float(row[f"{TEST}.r2"])
        figures = [f"{value:.3f}" for value in (each, best, together)]
        return [*figures, f"{together / each - 1:.1%}", f"{float(row[LIMIT]):.3f}"]

    return lines(rows, claims, header, cells)


def sequences(rows: list[Row], claims: Mapping[Any, Any]) -> str:
    """Sequences that there are, and R^2 on test."""
    header = ("claimed sequences", "sequences", "measured R²", "best possible", "share of it")

    def cells(row: Row) -> list[str]:
        count = TONES * ((SAMPLES - LENGTH) // int(setting(row)[1]) + 1)
        return [str(count), *r2(row)]

    return lines(rows, claims, header, cells)


def seconds(rows: list[Row], claims: Mapping[Any, Any]) -> str:
    """Seconds an epoch, of every tenth window and reckoned for every window; and beside batches of 64."""
    factor = (SAMPLES - LENGTH + 1) / ((SAMPLES - LENGTH) // STEP + 1)
    base = next((float(row[SECONDS]) for row in rows if setting(row)[1] == "64"), None)
    header = ("claimed s", "measured s, every tenth window", "times ten", "claimed, of 64", "measured, of 64")

    def cells(row: Row) -> list[str]:
        value, claim = float(row[SECONDS]), claims.get(int(setting(row)[1]))
        told = f"{claim / claims[64]:.2f}" if claim and claims.get(64) else ""
        relative = f"{value / base:.2f}" if base else ""
        return [*spread(row, SECONDS, ".2f"), f"{factor * value:.0f}", told, relative]

    return lines(rows, claims, header, cells)


def spread(row: Row, key: str, form: str) -> list[str]:
    """Mean and standard deviation over the seeds, as a cell."""
    deviation = row.get(f"{key} (std)")
    return [f"{float(row[key]):{form}}" + (f" ± {float(deviation):{form}}" if deviation else "")]


def lines(
    rows: list[Row],
    claims: Mapping[Any, Any],
    header: tuple[str, ...],
    cells: Callable[[Row], list[str]],
    form: str = ".2f",
) -> str:
    """A Markdown table with a line for each setting, in rising order; settings without a result are named below it."""
    if not rows:
        return "*Not measured yet.*"
    known = {str(value): claim for value, claim in claims.items()}
    ordered = sorted(rows, key=lambda row: _place(setting(row)[1]))
    body = []
    for row in ordered:
        value = setting(row)[1]
        claim = next((claim for key, claim in known.items() if _place(key) == _place(value)), "")
        body.append([value, f"{claim:{form}}" if isinstance(claim, float) else str(claim), *cells(row)])
    found = {_place(line[0]) for line in body}
    left = [key for key in known if _place(key) not in found]
    missing = f"\n\n*Not measured: {', '.join(left)}.*" if left else ""
    return table((setting(ordered[0])[0], *header), body) + missing


def table(header: tuple[str, ...], body: list[list[str]]) -> str:
    """Markdown, figures flush right."""
    return tabulate(body, header, tablefmt="pipe", colalign=["right"] * len(header), disable_numparse=True)


def _place(value: str) -> tuple[float, str]:
    """Numbers in their order, however they are written, and words after them."""
    try:
        return float(value), ""
    except ValueError:
        return float("inf"), value


def curves(folder: Path) -> dict[str, list[float]]:
    """Validation losses of each seed's long training, from its experiment's commit or from the copy beside the study.

    The copy is written where all the experiments are at hand: they do not travel with Git alone.
    """
    copy = folder / "curves.csv"
    commits: dict[str, str] = {}
    for row in trials(folder):
        commits |= zip(row["experiments"].split(), row["commits"].split(), strict=True)
    found = {name: losses_of(commit) for name, commit in commits.items()}
    if found and all(found.values()):
        if len({len(curve) for curve in found.values()}) > 1:
            raise InputError(f"{folder}: trainings of different lengths: none of them may stop early")
        with replacing(copy) as aside, aside.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(found)
            writer.writerows(zip(*found.values(), strict=True))
    try:
        with copy.open(encoding="utf-8", newline="") as file:
            header, *values = csv.reader(file)
    except FileNotFoundError:
        return {}
    return {
        name: [float(value) for value in column] for name, column in zip(header, zip(*values, strict=True), strict=True)
    }


def losses_of(commit: str) -> list[str]:
    """Validation losses of an experiment, as written; none if its commit is not at hand."""
    done = subprocess.run(["git", "show", f"{commit}:{CURVE}"], capture_output=True, text=True, check=False)
    return [line["loss"] for line in csv.DictReader(done.stdout.splitlines(), delimiter="\t")]


def stopping(found: Mapping[str, list[float]], name: str) -> str:
    """What a number of epochs, or a patience, would have kept of each long training."""
    if not found:
        return "*Not measured yet.*"
    body = []
    for value in EPOCHS if name == "epochs" else PATIENCES:
        kept = [keep(curve, **RULES[name], **{name: value}) for curve in found.values()]
        run, best, loss = ([one[place] for one in kept] for place in range(3))
        body.append([str(value), mean(run, ".0f"), mean(best, ".0f"), mean(loss, ".4f")])
    return table((name, "epochs run", "epoch kept", "its validation loss"), body)


def keep(curve: list[float], epochs: int, patience: int) -> tuple[int, int, float]:
    """Epochs run, the epoch kept (from 1) and its loss, where training stops so many epochs after the lowest loss."""
    best = 0
    for epoch in range(min(epochs, len(curve))):
        if curve[epoch] < curve[best]:
            best = epoch
        if epoch - best >= patience:
            break
    return epoch + 1, best + 1, curve[best]


def mean(values: list[float], form: str) -> str:
    """Mean and standard deviation over the seeds."""
    return f"{fmean(values):{form}}" + (f" ± {stdev(values):{form}}" if len(values) > 1 else "")


if __name__ == "__main__":
    command = shell.parser(__doc__)
    command.add_argument("studies", type=Path, help="folder of the studies")
    command.add_argument("claims", type=Path, help="what the guide claims, YAML")
    command.add_argument("page", type=Path, help="page to write the tables into")
    shell.main(guide_tables, command.parse_args())
