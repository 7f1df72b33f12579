import argparse
import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from tiny import Tiny

from pages import guide_tables
from tonesift.errors import InputError

TEST, LIMIT = guide_tables.TEST, guide_tables.LIMIT


def write(folder, rows):
    folder.mkdir(parents=True)
    with (folder / "trials.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def trial(name, value, r2, limit=0.6, state="complete", **more):
    row = {"state": state, f"params.{name}": value, f"{TEST}.r2": r2, f"{TEST}.r2 (std)": 0.01, LIMIT: limit}
    return row | {"experiments": "", "commits": ""} | more


def fill(place, page, claims=""):
    (place / "page.md").write_text(page, encoding="utf-8")
    (place / "claims.yaml").write_text(claims or "{}", encoding="utf-8")
    paths = {"studies": place / "studies", "claims": place / "claims.yaml", "page": place / "page.md"}
    guide_tables.guide_tables(argparse.Namespace(**paths))
    text = (place / "page.md").read_text(encoding="utf-8")
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(line) for line in table.splitlines()}) == 1  # columns stand below each other
    return re.sub(r"-+:", "---:", re.sub(r" +", " ", text))


def test_a_table_has_claimed_measured_and_best_possible_in_rising_order(tmp_path):
    rows = [
        trial("data.noise_std", "0.2", 0.3),
        trial("data.noise_std", "0.05", 0.54),
        trial("data.noise_std", "9", 0.1, state="failed"),
    ]
    write(tmp_path / "studies" / "guide-noise", rows)
    text = fill(
        tmp_path,
        "# Title\n<!-- table: noise -->\nold\n<!-- end -->\nprose\n",
        "noise: {0.05: '> 0.50', 0.2: 0.1, 0.3: 0.05}",
    )
    assert text.splitlines() == [
        "# Title",
        "<!-- table: noise -->",
        "| noise_std | claimed R² | measured R² | best possible | share of it |",
        "|---:|---:|---:|---:|---:|",
        "| 0.05 | > 0.50 | 0.540 ± 0.010 | 0.600 | 90% |",
        "| 0.2 | 0.10 | 0.300 ± 0.010 | 0.600 | 50% |",
        "",
        "*Not measured: 0.3.*",
        "<!-- end -->",
        "prose",
    ]
    assert fill(tmp_path, text, "noise: {0.05: '> 0.50', 0.2: 0.1, 0.3: 0.05}") == text


def test_the_best_possible_loss_is_that_of_the_limit_on_tones_of_the_same_power(tmp_path):
    row = trial(
        "train.weight_decay",
        "1e-05",
        0.5,
        **{"validation.loss": 0.23, "validation.loss (std)": 0.002, f"{TEST}.mse": 0.25},
    )
    write(tmp_path / "studies" / "guide-weight-decay", [row])
    text = fill(tmp_path, "<!-- table: weight-decay -->\n<!-- end -->\n", "weight-decay: {1.0e-5: 0.081}")
    assert (
        "| 1e-05 | 0.081 | 0.230 ± 0.002 | 0.200 | 0.500 ± 0.010 | 0.600 |" in text
    )  # power 0.5, a share of 0.4 is left


def test_null_is_none_and_comes_last(tmp_path):
    write(
        tmp_path / "studies" / "guide-grad-clip",
        [trial("train.grad_clip", value, 0.5) for value in ("null", "5.0", "0.5")],
    )
    text = fill(tmp_path, "<!-- table: grad-clip -->\n<!-- end -->\n")
    assert [line.split("|")[1].strip() for line in text.splitlines()[3:6]] == ["0.5", "5.0", "none"]


def test_sequences_are_counted_as_prepare_cuts_them(tmp_path):
    write(tmp_path / "studies" / "guide-step-size", [trial("prepare.step_size", "10", 0.5)])
    write(tmp_path / "studies" / "baseline", [{"state": "complete", f"{TEST}.r2": 0.53, LIMIT: 0.6}])
    text = fill(tmp_path, "<!-- table: step-size -->\n<!-- end -->\n", "step-size: {1: 39800, 10: 3990}")
    starts = {step: 4 * len(np.arange(0, 10_000 - 50 + 1, step)) for step in (1, 10)}
    assert f"| 10 | 3990 | {starts[10]} | 0.500 ± 0.010 |" in text
    assert f"| 1 | 39800 | {starts[1]} | 0.530" in text


@pytest.mark.parametrize(
    ("curve", "epochs", "patience", "expected"),
    [
        ([3, 2, 1], 3, 1, (3, 3, 1)),
        ([3, 2, 2, 2, 1], 5, 2, (4, 2, 2)),  # equal is no gain; two epochs after the second training stops
        ([3, 2, 2, 2, 1], 5, 3, (5, 5, 1)),
        ([3, 2, 1, 4], 2, 9, (2, 2, 2)),
        ([1, 2, 3], 50, 50, (3, 1, 1)),
    ],
)
def test_what_a_rule_keeps_of_a_curve(curve, epochs, patience, expected):
    assert guide_tables.keep(curve, epochs, patience) == expected


def test_curves_come_from_the_copy_where_the_experiments_are_not_at_hand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no repository
    folder = tmp_path / "studies" / "guide-epochs"
    write(folder, [trial("x", "", 0.5) | {"experiments": "a-seed1 a-seed2", "commits": "1234567 89abcde"}])
    (folder / "curves.csv").write_text("a-seed1,a-seed2\n0.5,0.5\n0.25,0.375\n", encoding="utf-8")
    text = fill(tmp_path, "<!-- table: patience -->\n<!-- end -->\n")
    assert "| 5 | 2 ± 0 | 2 ± 0 | 0.3125 ± 0.0884 |" in text


EPOCHS = "<!-- table: epochs -->\n<!-- end -->\n"


@pytest.fixture
def with_curves(tmp_path, monkeypatch):
    """A repository with two commits, each an experiment of the study with a curve of its own; their commits."""
    tiny = Tiny.make(tmp_path)
    monkeypatch.chdir(tiny.path)

    def make(*curves):
        header = "step\tloss\n"
        commits = [
            tiny.commit({guide_tables.CURVE: header + "".join(f"{n}\t{loss}\n" for n, loss in enumerate(curve))})
            for curve in curves
        ]
        return tiny.path, commits

    return make


def test_curves_come_from_the_experiments_where_all_are_at_hand(with_curves):
    place, commits = with_curves([0.5, 0.25], [0.5, 0.375])
    folder = place / "studies" / "guide-epochs"
    write(folder, [trial("x", "", 0.5) | {"experiments": "a-seed1 a-seed2", "commits": " ".join(commits)}])
    assert "| 20 | 2 ± 0 | 2 ± 0 | 0.3125 ± 0.0884 |" in fill(place, EPOCHS)
    assert (folder / "curves.csv").read_text() == "a-seed1,a-seed2\n0.5,0.5\n0.25,0.375\n"


def test_a_copy_is_not_replaced_by_a_part_of_it(with_curves):
    place, commits = with_curves([0.5, 0.25])
    folder = place / "studies" / "guide-epochs"
    write(folder, [trial("x", "", 0.5) | {"experiments": "a-seed1 a-seed2", "commits": f"{commits[0]} 89abcde"}])
    whole = "a-seed1,a-seed2\n0.5,0.5\n0.2,0.1\n"
    (folder / "curves.csv").write_text(whole)
    assert "| 20 | 2 ± 0 | 2 ± 0 | 0.1500 ± 0.0707 |" in fill(place, EPOCHS)
    assert (folder / "curves.csv").read_text() == whole


def test_trainings_of_different_lengths_are_refused(with_curves):
    place, commits = with_curves([0.5, 0.25], [0.5])
    folder = place / "studies" / "guide-epochs"
    write(folder, [trial("x", "", 0.5) | {"experiments": "a-seed1 a-seed2", "commits": " ".join(commits)}])
    with pytest.raises(InputError, match="trainings of different lengths"):
        fill(place, EPOCHS)


def test_seconds_are_reckoned_for_every_window_and_put_beside_batches_of_64(tmp_path):
    rows = [
        trial("train.batch_size", size, 0.5, **{guide_tables.SECONDS: seconds, f"{guide_tables.SECONDS} (std)": 0.25})
        for size, seconds in (("64", 2.0), ("128", 1.5), ("512", 1.0))
    ]
    write(tmp_path / "studies" / "guide-batch-size", rows)
    text = fill(tmp_path, "<!-- table: batch-size -->\n<!-- end -->\n", "batch-size: {64: 18, 128: 15}")
    assert "| 64 | 18 | 2.00 ± 0.25 | 20 | 1.00 | 1.00 |" in text
    assert "| 128 | 15 | 1.50 ± 0.25 | 15 | 0.83 | 0.75 |" in text
    assert "| 512 | | 1.00 ± 0.25 | 10 | | 0.50 |" in text


def test_splits_and_ensembles_have_tables_of_their_own(tmp_path):
    losses = {"validation.loss": 0.1, "validation.loss (std)": 0.02, f"{TEST}.mse": 0.3, f"{TEST}.mse (std)": 0.03}
    rows = [trial("prepare.split", value, 0.4, **losses) for value in ("random", "block")]
    write(tmp_path / "studies" / "guide-split", rows)
    text = fill(tmp_path, "<!-- table: split -->\n<!-- end -->\n", "split: {random: 0.081}")
    assert [line.split("|")[1:6] for line in text.splitlines()[3:5]] == [
        [" block ", " ", " 0.100 ± 0.020 ", " 0.300 ± 0.030 ", " 0.400 ± 0.010 "],
        [" random ", " 0.081 ", " 0.100 ± 0.020 ", " 0.300 ± 0.030 ", " 0.400 ± 0.010 "],
    ]
    scores = {f"{guide_tables.SCORES}:members.{name}": value for name, value in (("r2", 0.5), ("best_r2", 0.51))}
    write(tmp_path / "studies" / "guide-ensemble", [trial("train.ensemble", "5", 0.52, **scores)])
    text = fill(tmp_path, "<!-- table: ensemble -->\n<!-- end -->\n", "ensemble: {5: 3 to 5 %}")
    assert "| 5 | 3 to 5 % | 0.500 | 0.510 | 0.520 | 4.0% | 0.600 |" in text


@pytest.mark.parametrize(
    ("rows", "claims", "message"),
    [
        ([], "dropout: [", r"claims\.yaml: not readable as YAML: "),
        ([{"state": "complete", "params.a": "1", "params.b": "2"}], "", "its study varies 2"),
    ],
)
def test_what_makes_no_table_is_one_clear_line(tmp_path, rows, claims, message):
    if rows:
        write(tmp_path / "studies" / "guide-dropout", rows)
    with pytest.raises(InputError, match=message):
        fill(tmp_path, "<!-- table: dropout -->\n<!-- end -->\n", claims)


def test_the_command_says_a_mistake_in_one_line_and_writes_nothing_else(tmp_path):
    paths = [str(tmp_path / name) for name in ("studies", "claims.yaml", "page.md")]
    command = [sys.executable, "-m", "pages.guide_tables", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"guide_tables: {paths[2]}: no such file: run from the top of the repository\n"


def test_what_was_not_run_is_said(tmp_path):
    text = fill(tmp_path, "<!-- table: dropout -->\nold\n<!-- end -->\n<!-- table: epochs -->\n<!-- end -->\n")
    assert text.count("*Not measured yet.*") == 2
    assert "old" not in text


def test_a_missing_page_is_one_clear_line(tmp_path):
    paths = {"studies": tmp_path, "claims": tmp_path / "c.yaml", "page": tmp_path / "p.md"}
    with pytest.raises(InputError, match=r"p\.md: no such file: run from the top"):
        guide_tables.guide_tables(argparse.Namespace(**paths))


def test_the_committed_page_holds_the_tables_of_the_committed_studies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # from the files alone
    page = tmp_path / "page.md"
    page.write_text((ROOT / "docs" / "guide-tables.md").read_text(encoding="utf-8"), encoding="utf-8")
    claims = ROOT / "docs" / "guide-claims.yaml"
    guide_tables.guide_tables(argparse.Namespace(studies=ROOT / "studies", claims=claims, page=page))
    assert page.read_text(encoding="utf-8") == Path(ROOT / "docs" / "guide-tables.md").read_text(encoding="utf-8")
