"""Tides: the constituents' speeds against astronomy, and the filter beside a fit where both can be exact."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import tides

# Mean speeds in degrees an hour of the earth's turn beside the sun, the moon, the sun and the moon's perigee.
TURN, MOON, SUN, PERIGEE = 15.0, 0.5490165, 0.0410686, 0.0046418
MULTIPLES = {
    "M2": (2, -2, 2, 0),
    "S2": (2, 0, 0, 0),
    "N2": (2, -3, 2, 1),
    "K2": (2, 0, 2, 0),
    "K1": (1, 0, 1, 0),
    "O1": (1, -2, 1, 0),
    "P1": (1, 0, -1, 0),
    "Q1": (1, -3, 1, 1),
    "J1": (1, 1, 1, -1),
    "NO1": (1, -1, 1, 1),
    "NU2": (2, -3, 4, -1),
    "OO1": (1, 2, 1, 0),
}


@pytest.mark.parametrize("name", tides.SPEEDS)
def test_speeds_are_those_of_earth_moon_and_sun(name):
    speed = np.dot(MULTIPLES[name], (TURN, MOON, SUN, PERIGEE))
    assert tides.SPEEDS[name] == pytest.approx(speed, abs=2e-6)


def test_a_tide_without_weather_is_predicted():
    names, hours = ["M2", "K1", "O1"], np.arange(24 * 120)
    speeds = np.deg2rad([tides.SPEEDS[name] for name in names])
    level = 5 + np.cos(np.outer(hours, speeds) + np.array([0.3, 1.0, 2.0])) @ [20.0, 15.0, 8.0]
    heard = hours < 24 * 60
    for method in (tides.tracked, tides.least_squares):
        left = (level - method(hours / 24, level, heard, names))[~heard]
        assert left.std() < 0.1, method


def test_the_table_in_the_documents_is_what_comes_out(capsys):
    tides.main()
    rows = [line for line in capsys.readouterr().out.splitlines() if "constituents" in line and "UTide" not in line]
    page = (Path(__file__).parents[2] / "docs" / "yardsticks.md").read_text(encoding="utf-8")
    assert len(rows) == 4
    assert [row for row in rows if row not in page] == []
