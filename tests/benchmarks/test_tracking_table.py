"""The table of conditions and filters: what it stands on, and that the page shows what the file holds."""

import csv
import statistics
from pathlib import Path

import numpy as np
import pytest

from benchmarks import tracking

DOCS = Path(__file__).parents[2] / "docs"


def rows():
    with (DOCS / "filters-table.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_settings_in_seconds_are_those_in_periods_of_the_tones():
    """Of tones of 4 Hz a period is a quarter of a second: random walks go half as far in it as in a second."""
    settings = tracking.replace(tracking.PLAIN, renewal=0.2, wander=0.1, memory=1.0, background=((0.3, 0.5),))
    found = tracking.in_periods(settings, (2.0, 4.0, 8.0))
    assert (found.renewal, found.wander, found.memory) == pytest.approx((0.1, 0.05, 4.0))
    assert found.background == (pytest.approx((0.3, 2.0)),)
    assert found.amplitude == settings.amplitude


def test_r2_is_one_less_the_share_of_power_left_after_the_first_second():
    tones = np.ones((1, 2000))
    drawn = [tracking.Drawn(tones[0], tones, (1.0,))]
    wrong = np.concatenate([np.full((1, 1000), 9.0), np.full((1, 1000), 0.5)], axis=1)
    assert tracking.r2(drawn, [wrong]) == pytest.approx(0.75)


@pytest.mark.parametrize("name", tracking.CONDITIONS)
def test_draws_are_what_the_condition_says(name):
    condition, (one,) = tracking.CONDITIONS[name], tracking.recordings(name, 7, 1, seconds=4.0)
    assert one.tones.shape == (4, 4000)
    assert (np.isnan(one.samples).mean() > 0) == (condition.missing > 0)
    assert np.isfinite(one.clip).all() == (condition.clip is not None)
    assert np.diff(one.frequencies).min() >= (1.5 if condition.random_tones else 2.0)


def test_the_table_has_every_condition_and_filter_on_seeds_that_nothing_was_chosen_on():
    found = {(row["condition"], row["filter"], row["settings"]) for row in rows()}
    wanted = {(name, label, "tuned") for name, tuned in tracking.TUNED.items() for label in tuned}
    wanted |= {(name, label, "found") for name in tracking.CONDITIONS for label in tracking.NAMED}
    assert found == wanted
    seeds = [key for key in rows()[0] if key.isdigit()]
    assert seeds == [str(tracking.FIRST_SEED + draw) for draw in range(5)]
    for row in rows():
        figures = [float(row[seed]) for seed in seeds]
        assert float(row["mean"]) == pytest.approx(statistics.mean(figures), abs=1e-5)
        assert float(row["std"]) == pytest.approx(statistics.stdev(figures), abs=1e-5)


def test_the_page_shows_the_file():
    page = (DOCS / "filters.md").read_text(encoding="utf-8")
    for row in rows():
        if row["settings"] == "tuned" or row["filter"] == "auto":
            assert f"{float(row['mean']):.{4 if float(row['mean']) < 0.98 else 5}f} ±" in page, row


def test_limits_are_those_of_the_page_of_conditions():
    page = (DOCS / "conditions.md").read_text(encoding="utf-8")
    lines = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("|")}
    for name, limit in tracking.LIMITS.items():
        figure, kind = limit.split(", ", 1)
        assert f"| {figure} |" in lines[name]
        assert kind.split()[0] in lines[name]
