"""Hourly sea level at Honolulu: nine months heard, three predicted, by the named-tones filter, least squares and UTide.

python -m benchmarks.tides    # half a minute; UTide's row needs `pip install utide==0.4.0`

Each row of honolulu-2010.csv has a day since 1700-01-01 and the sea level in mm. The error is the standard deviation of
what is left from October on: the mean sea level, which no tide tells, is taken out.

Data: Caldwell, P. C., M. A. Merrifield, P. R. Thompson (2015), Sea level measured by tide gauges from global oceans -
the Joint Archive for Sea Level holdings (NCEI Accession 0019568), doi:10.7289/V5V40S7W.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine
from tonesift.estimators.tracking.settings import Settings
from tonesift.estimators.tracking.tracker import Tracker

# Degrees an hour: sums of multiples of the speeds of the earth's turn, the moon and the sun.
SPEEDS = {
    **{"M2": 28.9841042, "S2": 30.0, "N2": 28.4397295, "K2": 30.0821373},
    **{"K1": 15.0410686, "O1": 13.9430356, "P1": 14.9589314, "Q1": 13.3986609},
    **{"J1": 15.5854433, "NO1": 14.4966939, "NU2": 28.5125831, "OO1": 16.1391017},
}
RATE = 1 / 3600  # Hz
LATITUDE, HEARD = 21.3, 273  # degrees, days
SETTINGS = Settings(amplitude=10.0, noise_std=2.0, background=((5.0, 20.0),))  # cm
Array = NDArray[np.float64]


def hertz(names: list[str]) -> list[float]:
    """Frequencies of constituents."""
    return [SPEEDS[name] / 360 * RATE for name in names]


def tracked(days: Array, level: Array, heard: NDArray[np.bool_], names: list[str]) -> Array:
    """What the filter predicts while samples are missing."""
    mean = level[heard].mean()
    tracker = Tracker(hertz(names), RATE, SETTINGS)
    return mean + tracker.push(np.where(heard, level - mean, np.nan)).tones.sum(axis=0)


def least_squares(days: Array, level: Array, heard: NDArray[np.bool_], names: list[str]) -> Array:
    """A fit of all constituents at once."""
    angle = 2 * np.pi * np.outer(np.arange(len(level)), np.array(hertz(names)) / RATE)
    waves = np.concatenate([np.ones((len(level), 1)), np.sin(angle), np.cos(angle)], axis=1)
    return waves @ np.linalg.lstsq(waves[heard], level[heard], rcond=None)[0]


def utide(days: Array, level: Array, heard: NDArray[np.bool_], names: list[str]) -> Array:
    """UTide's own choice of constituents, with nodal corrections, by ordinary least squares."""
    from utide import reconstruct, solve

    fit = {"lat": LATITUDE, "method": "ols", "conf_int": "none", "trend": False}
    found = solve(days[heard], level[heard], epoch="1700-01-01", verbose=False, **fit)
    return reconstruct(days, found, epoch="1700-01-01", verbose=False).h


METHODS: dict[str, tuple[Callable[..., Array], list[str]]] = {
    "least squares, 8 constituents": (least_squares, list(SPEEDS)[:8]),
    "least squares, 12 constituents": (least_squares, list(SPEEDS)),
    "named tones (Kalman), 8 constituents": (tracked, list(SPEEDS)[:8]),
    "named tones (Kalman), 12 constituents": (tracked, list(SPEEDS)),
    "UTide, 59 constituents": (utide, []),
}


def main() -> None:
    """Print a row for each method."""
    days, level = np.loadtxt(Path(__file__).with_name("honolulu-2010.csv"), delimiter=",", unpack=True)
    level /= 10  # cm
    heard = days - days[0] < HEARD
    print("| method | error, cm | R² |\n|---|---|---|")
    for label, (method, names) in METHODS.items():
        try:
            left = (level - method(days, level, heard, names))[~heard]
        except ModuleNotFoundError:
            print(f"{label}: UTide is not installed", file=sys.stderr)
            continue
        print(f"| {label} | {left.std():.2f} | {1 - left.var() / level[~heard].var():.4f} |")
    print(f"\n{machine.describe()}")


if __name__ == "__main__":
    main()
