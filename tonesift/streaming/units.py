"""Frequencies as people write them: 50, 50Hz, 1.2kHz, or a period: 20ms, 12.42h, 1d."""

import math
import re

from tonesift.errors import InputError

HERTZ = {"": 1.0, "uhz": 1e-6, "hz": 1.0, "khz": 1e3, "mhz": 1e-3}  # mHz; MHz is told apart by its capital
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "y": 31_557_600.0}
WORDS = "Hz, kHz, MHz, mHz, uHz, or a period in us, ms, s, min, h, d or y"


def frequency(text: str) -> float:
    """Frequency in Hz of a number with a unit of frequency, of a period, or without one (Hz).

    Raises
    ------
    InputError
        If it is none, or not above 0.
    """
    found = re.fullmatch(r"\s*([+-]?[\d.]+(?:[eE][+-]?\d+)?)\s*(/?)\s*([a-zA-Zµ]*)\s*", text)
    try:
        number = float(found[1]) if found else math.nan
    except ValueError:
        number = math.nan
    unit = found[3].replace("µ", "u") if found else ""
    hertz = number * 1e6 if unit == "MHz" else number * HERTZ.get(unit.lower(), math.nan)
    if found and unit in SECONDS and number:
        hertz = number / SECONDS[unit] if found[2] else 1 / (number * SECONDS[unit])
    if not 0 < hertz < math.inf:
        raise InputError(f"{text.strip() or 'nothing'}: a frequency is a number above 0, with a unit or not: {WORDS}")
    return hertz


def frequencies(text: str) -> tuple[float, ...]:
    """Frequencies in Hz of a list with commas."""
    return tuple(frequency(part) for part in text.split(","))
