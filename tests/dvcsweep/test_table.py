import csv
import io
import math
import statistics as python_statistics

import pandas as pd
import pytest
from ledgers import FILE, played, study

from dvcsweep.errors import StudyError
from dvcsweep.results.table import frame, resolve, statistics, to_csv, where

GRID = {"model.hidden_size": [32, 64], "train.grad_clip": [0.5, None]}


def loss(settings):
    value = settings["model.hidden_size"] / 64 + (settings["train.grad_clip"] or 2)
    figures = {f"{FILE}:validation.loss": value, f"{FILE}:train.r2": 1 / value, f"{FILE}:test.loss": 1, "m.json:f1": 3}
    return {"values": [value], "metrics": figures | {f"{FILE}:note": "text"}, "seconds": 2.5}


@pytest.fixture
def grid(tmp_path):
    demo = study(space=GRID)
    return demo, played(demo, tmp_path, loss)


def test_each_trial_is_a_row_with_its_values(grid):
    table = frame(*grid)
    assert table["index"].tolist() == [0, 1, 2, 3]
    assert table["params.model.hidden_size"].tolist() == [32, 32, 64, 64]
    assert table["params.train.grad_clip"].tolist() == [0.5, "null", 0.5, "null"]
    assert table["validation.loss"].tolist() == [1.0, 2.5, 1.5, 3.0]
    assert table["seconds"].tolist() == [2.5] * 4
    assert table["experiments"][3] == "demo-003-84a7567"
    assert table["commits"][3] == "0000003"
    assert "budget" not in table
    assert "validation.loss (std)" not in table


def test_figures_beside_the_objective_are_columns_but_none_on_test_data_and_no_text(grid):
    table = frame(*grid)
    assert [name for name in table if ":" in name] == [f"{FILE}:train.r2"]
    assert table[f"{FILE}:train.r2"].tolist() == [1 / 1.0, 1 / 2.5, 1 / 1.5, 1 / 3.0]


def test_figures_of_other_files_are_columns_when_asked_for(grid):
    assert frame(*grid, ["m.json:f1"])["m.json:f1"].tolist() == [3.0] * 4
    with pytest.raises(StudyError, match=r"no experiment has the figure m\.json:f2; there are"):
        frame(*grid, ["m.json:f2"])


def test_averages_and_their_spread_are_over_the_members(tmp_path):
    demo = study(space={"x": [1, 2]}, average_over={"seed": [1, 2, 6]})
    figures = {(x, seed): x * 10 + seed**2 for x in (1, 2) for seed in (1, 2, 6)}

    def outcome(settings):
        value = figures[settings["x"], settings["seed"]]
        return {"values": [value], "metrics": {f"{FILE}:train.r2": value / 2}, "seconds": None if value == 14 else 1}

    table = frame(demo, played(demo, tmp_path, outcome))
    for place, x in enumerate((1, 2)):
        values = [figures[x, seed] for seed in (1, 2, 6)]
        assert table["validation.loss"][place] == pytest.approx(python_statistics.fmean(values))
        assert table["validation.loss (std)"][place] == pytest.approx(python_statistics.stdev(values))
        assert table[f"{FILE}:train.r2"][place] == pytest.approx(python_statistics.fmean(values) / 2)
    assert pd.isna(table["seconds"][0])
    assert table["seconds"][1] == 3
    assert table["experiments"][0] == "demo-000-seed1-84a7567 demo-000-seed2-84a7567 demo-000-seed6-84a7567"


TOLD = [f"{FILE}:test.loss", "m.json:f1"]  # a figure on test data, and one of another file


def told(settings):
    value = settings["x"] * 10 + settings.get("seed", 0) ** 2
    return {"values": [value], "metrics": {TOLD[0]: value / 4, TOLD[1]: 1 / value, f"{FILE}:train.r2": 0.5}}


def test_further_figures_are_columns_even_those_on_test_data(tmp_path):
    demo = study(space={"x": [1, 2]}, figures=TOLD)
    table = frame(demo, played(demo, tmp_path, told))
    assert [name for name in table if ":" in name] == [*TOLD, f"{FILE}:train.r2"]
    assert table[TOLD[0]].tolist() == [10 / 4, 20 / 4]
    assert table[TOLD[1]].tolist() == [1 / 10, 1 / 20]


def test_further_figures_have_mean_and_standard_deviation_over_the_members(tmp_path):
    demo = study(space={"x": [1, 2]}, average_over={"seed": [1, 2, 6]}, figures=TOLD)
    table = frame(demo, played(demo, tmp_path, told))
    for place, x in enumerate((1, 2)):
        for name, figure in ((TOLD[0], lambda value: value / 4), (TOLD[1], lambda value: 1 / value)):
            values = [figure(x * 10 + seed**2) for seed in (1, 2, 6)]
            assert table[name][place] == pytest.approx(python_statistics.fmean(values))
            assert table[f"{name} (std)"][place] == pytest.approx(python_statistics.stdev(values))


def test_a_further_figure_that_a_member_lacks_is_empty(tmp_path):
    demo = study(space={"x": [1, 2]}, average_over={"seed": [1, 2]}, figures=[TOLD[1], "m.json:none"])

    def outcome(settings):
        return {"values": [1.0], "metrics": {TOLD[1]: 3.0} if (settings["x"], settings["seed"]) != (1, 2) else {}}

    table = frame(demo, played(demo, tmp_path, outcome))
    assert pd.isna(table[TOLD[1]][0])
    assert pd.isna(table[f"{TOLD[1]} (std)"][0])
    assert (table[TOLD[1]][1], table[f"{TOLD[1]} (std)"][1]) == (3.0, 0.0)
    assert table["m.json:none"].isna().all()
    assert next(iter(csv.DictReader(io.StringIO(to_csv(table)))))["m.json:none"] == ""


def test_further_figures_of_a_failed_trial_are_empty(tmp_path):
    demo = study(space={"x": [1, 2]}, figures=TOLD)
    table = frame(demo, played(demo, tmp_path, lambda one: {"error": "broken"} if one["x"] == 1 else told(one)))
    assert pd.isna(table[TOLD[0]][0])
    assert table[TOLD[0]][1] == 5.0


def test_further_figures_are_no_part_of_what_a_study_is():
    one, other = study(space={"x": [1]}), study(space={"x": [1]}, figures=TOLD)
    assert one.definition() == other.definition()
    assert one.fingerprint() == other.fingerprint()


@pytest.mark.parametrize("name", ["test.loss", ":test.loss", "metrics.json:"])
def test_a_further_figure_needs_a_file_and_a_key(name):
    with pytest.raises(ValueError, match=r"figures.0\s+String should match pattern"):
        study(space={"x": [1]}, figures=[name])


def test_a_conditional_parameter_is_empty_where_it_is_absent(tmp_path):
    space = {"optimizer": ["adam", "sgd"], "momentum": {"choices": [0.5, 0.9], "when": {"optimizer": "sgd"}}}
    demo = study(space=space)
    campaign = played(demo, tmp_path, lambda settings: {"values": [settings.get("momentum", 0)]})
    rows = list(csv.DictReader(io.StringIO(to_csv(frame(demo, campaign)))))
    assert [(row["params.optimizer"], row["params.momentum"]) for row in rows] == [
        ("adam", ""),
        ("sgd", "0.5"),
        ("sgd", "0.9"),
    ]


def test_failed_trials_have_an_error_of_one_line_and_no_value(tmp_path):
    demo = study(space={"x": [1, 2]})
    campaign = played(
        demo, tmp_path, lambda settings: {"error": "broken\ntwice"} if settings["x"] == 1 else {"values": [0.5]}
    )
    table = frame(demo, campaign)
    assert table["state"].tolist() == ["failed", "complete"]
    assert table["error"][0] == "demo-000-84a7567: broken"
    assert pd.isna(table["validation.loss"][0])
    assert pd.isna(table["experiments"][0])


def test_halved_trials_say_at_which_budget_their_value_is(tmp_path):
    demo = study(
        space={"x": [1, 2, 3]}, strategy={"kind": "halving", "budget": "epochs", "minimum": 1, "maximum": 3}, trials=3
    )
    campaign = played(demo, tmp_path, lambda settings: {"values": [settings["x"] / settings["epochs"]]})
    table = frame(demo, campaign)
    best = table[table["state"] == "complete"].iloc[0]
    x = min(table["params.x"])
    assert (best["budget"], best["validation.loss"]) == (3, x / 3)
    assert best["experiments"].split()[0] == f"demo-{best['index']:03d}-rung2-84a7567"
    others = table[table["state"] == "pruned"]
    assert others["budget"].tolist() == [1, 1]
    assert others["validation.loss"].tolist() == others["params.x"].tolist()
    sums = statistics(demo, campaign)
    assert sums.loc["validation.loss at epochs 1", "n"] == 3
    assert sums.loc["validation.loss at epochs 1", "mean"] == pytest.approx(table["params.x"].mean())
    assert sums.loc["validation.loss at epochs 3", "max"] == x / 3


def test_an_objective_called_like_a_column_has_its_file_before_it(tmp_path):
    demo = study(space={"x": [1, 2]}, objective="run.json:seconds")
    table = frame(demo, played(demo, tmp_path, lambda settings: {"values": [settings["x"] * 7.0], "seconds": 1.0}))
    assert table["run.json:seconds"].tolist() == [7.0, 14.0]
    assert table["seconds"].tolist() == [1.0, 1.0]


def test_csv_keeps_every_digit_and_is_the_same_each_time(tmp_path):
    demo = study(space={"x": [0.1, 1e-5, 1 / 3]})
    campaign = played(demo, tmp_path, lambda settings: {"values": [settings["x"] ** 0.5]})
    text = to_csv(frame(demo, campaign))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [float(row["validation.loss"]) for row in rows] == [0.1**0.5, 1e-5**0.5, (1 / 3) ** 0.5]
    assert text == to_csv(frame(demo, campaign))


@pytest.mark.parametrize(
    ("criteria", "kept"),
    [
        ([], [0, 1, 2, 3]),
        (["hidden_size<=32"], [0, 1]),
        (["model.hidden_size > 32"], [2, 3]),
        (["grad_clip=null"], [1, 3]),
        (["grad_clip != null"], [0, 2]),
        (["grad_clip<1"], [0, 2]),
        (["train.r2>=0.4", "hidden_size==32.0"], [0, 1]),
        (["validation.loss<1.6"], [0, 2]),
        (["state=complete", "validation.loss<1"], []),
    ],
)
def test_criteria_keep_the_rows_that_meet_them_all(grid, criteria, kept):
    assert where(frame(*grid), criteria)["index"].tolist() == kept


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        ("hidden_size", "write NAME OPERATOR VALUE"),
        ("hidden_size ~ 3", "write NAME OPERATOR VALUE"),
        ("nothing<3", "nothing is no column: there are index"),
        ("size<3", "size is no column"),
        ("state<complete", "< compares numbers, but 'complete' is none"),
        ("__import__('os')<3", "is no column"),
    ],
)
def test_a_criterion_that_cannot_be_read_is_refused(grid, criterion, message):
    with pytest.raises(StudyError, match=message):
        where(frame(*grid), [criterion])


def test_a_name_that_fits_several_columns_is_refused():
    table = pd.DataFrame(columns=["params.a.rate", "params.b.rate", "rate.x"])
    with pytest.raises(StudyError, match=r"rate could be params\.a\.rate or params\.b\.rate"):
        resolve(table, "rate")
    assert resolve(table, "a.rate") == "params.a.rate"


def test_statistics_are_those_of_pythons_own_module(grid):
    demo, campaign = grid
    values = [1.0, 2.5, 1.5, 3.0]
    row = statistics(demo, campaign).loc["validation.loss"]
    assert row["n"] == 4
    assert row["std"] == pytest.approx(python_statistics.stdev(values))
    assert (row["min"], row["median"], row["max"]) == (1.0, 2.0, 3.0)
    inverse = statistics(demo, campaign, "train.r2").iloc[0]
    assert inverse["mean"] == pytest.approx(python_statistics.fmean(1 / value for value in values))
    with pytest.raises(StudyError, match="is no column"):
        statistics(demo, campaign, "absent")


def test_statistics_sum_up_the_further_figures_too(tmp_path):
    demo = study(space={"x": [1, 2, 4]}, figures=TOLD)
    sums = statistics(demo, played(demo, tmp_path, told))
    assert list(sums.index) == ["validation.loss", *TOLD]
    for name, values in zip(TOLD, ([2.5, 5.0, 10.0], [0.1, 0.05, 0.025]), strict=True):
        assert sums.loc[name, "mean"] == pytest.approx(python_statistics.fmean(values))
        assert sums.loc[name, "std"] == pytest.approx(python_statistics.stdev(values))
        assert (sums.loc[name, "n"], sums.loc[name, "min"], sums.loc[name, "max"]) == (3, min(values), max(values))


def test_statistics_of_a_single_trial_have_no_spread(tmp_path):
    demo = study(space={"x": [1]})
    row = statistics(demo, played(demo, tmp_path, lambda _: {"values": [4.0]})).iloc[0]
    assert (row["n"], row["mean"]) == (1, 4.0)
    assert math.isnan(row["std"])
