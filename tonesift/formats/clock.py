"""The sampling rate that a column of times tells, if its steps are even; in constant memory.

Times t_i lie on a grid t_0 + i d if every one of them is no further from it than they are rounded, plus `JITTER`
steps. Each row narrows the steps d that are possible; where none is left, the times are uneven.
"""

import math
import re
from datetime import UTC, datetime, time

import numpy as np
from numpy.typing import NDArray

NAMES = r"(?:elapsed[ _]?|relative[ _]?|abs(?:olute)?[ _]?)?(?:time|zeit|temps|tiempo|tempo|tijd|timestamp|datetime)"
NAME = re.compile(
    rf"(?:{NAMES}(?:[ _]?stamp)?|zeitstempel|uhrzeit|t|seconds|sekunden|sec|secs|s|ms|us|µs)", re.IGNORECASE
)
INDEX = re.compile(r"(?:|#|index|idx|i|n|nr|no|sample|samples|row|unnamed: 0)\.?", re.IGNORECASE)
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}
WORDS = {"sec": "s", "secs": "s", "seconds": "s", "second": "s", "sekunden": "s", "msec": "ms", "milliseconds": "ms"}
WORDS |= {"millis": "ms", "µs": "us", "μs": "us", "usec": "us", "microseconds": "us", "micros": "us", "minutes": "min"}
UNIT = re.compile(r"[\[(/_ ]+\s*([a-zµμ]+)\s*[\])]*$", re.IGNORECASE)
UNIX = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"))  # 1e11 s is the year 5138: such large numbers are finer units
# A twentieth of a step: at a tenth of the Nyquist frequency a tone is then wrong by 1.6 % of its amplitude at most.
JITTER = 0.05
# In steps: rounding beyond it is not borne, because a lost sample would look like it.
COARSEST = 0.25
WIDEST = 1e-3  # relative doubt about a rate that is still told


def time_unit(title: str) -> str | None:
    """Unit of a column of times by its title, such as 'Time (ms)'; '' if it names none, None if it is no time."""
    found = UNIT.search(title.strip())
    unit = found.group(1).lower() if found else ""
    unit = WORDS.get(unit, unit)
    bare = title[: found.start()].strip() if found and unit in UNITS else title.strip()
    if not NAME.fullmatch(bare):
        return None
    if unit in UNITS:
        return unit
    return next((known for known in (WORDS.get(bare.lower(), bare.lower()),) if known in UNITS), "")


def moment(text: str) -> float:
    """Seconds of an ISO date and time (UTC where it names no zone) or of a time of day.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if len(text) < 8:
        raise ValueError(text)
    if ":" in text[:3]:
        clock = time.fromisoformat(text)
        return 3600.0 * clock.hour + 60 * clock.minute + clock.second + clock.microsecond / 1e6
    if not ("-" in text[4:8] or "T" in text):
        raise ValueError(text)
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def resolution(text: str) -> float:
    """Place value of the last digit of a number as it is written, or of a time of day."""
    digits, _, exponent = text.strip().lower().replace(",", ".").partition("e")
    return 10.0 ** (int(exponent or 0) - len(re.sub(r"[+Zz-].*$", "", digits.partition(".")[2])))


class Clock:
    """The rate that times tell.

    Parameters
    ----------
    unit : str
        Key of `UNITS`; '' for seconds, or finer units where the numbers are too large for that.

    Attributes
    ----------
    finest : float
        How exactly the times are written, in their unit; the reader sets it before each call of `push`.
    """

    def __init__(self, unit: str) -> None:
        self.unit, self.finest = unit, 0.0
        self.count, self._first, self._last, self._step = 0, 0.0, 0.0, 0.0
        self._low, self._high = -math.inf, math.inf
        self._exact, self.problem = True, ""
        self._worst = (0.0, 0, 0.0)  # deviation from the step, line, the step there
        self._counts = True  # 0, 1, 2, ... or 1, 2, 3, ...: perhaps the number of the row

    def push(self, times: NDArray[np.float64], lines: NDArray[np.int64]) -> None:
        """Take the next times (n,), in their unit, and the numbers of their lines."""
        if self.problem or not len(times):
            return
        if not np.isfinite(times).all():
            self.problem = f"no time in line {lines[int(np.argmin(np.isfinite(times)))]}"
            return
        if not self.count:
            self._first = float(times[0])
            known = np.diff(times)
        else:
            known = np.diff(np.concatenate([[self._last], times]))
        self._counts = self._counts and np.array_equal(times - self._first, self.count + np.arange(len(times)))
        self._counts = self._counts and self._first in (0, 1)
        if self._step == 0 and len(known):
            self._step = float(np.median(known))
        if len(known):
            self._narrow(times, known, lines[-len(known) :])
        self.count += len(times)
        self._last = float(times[-1])

    def _narrow(self, times: NDArray[np.float64], steps: NDArray[np.float64], lines: NDArray[np.int64]) -> None:
        if self._step <= 0:
            self.problem = f"it does not grow (line {lines[0]})"
            return
        rounding = 4 * np.spacing(max(abs(self._first), abs(float(times[-1]))))
        off = np.abs(steps - self._step)
        at = int(np.argmax(off))
        if off[at] > self._worst[0]:
            self._worst = (float(off[at]), int(lines[at]), float(steps[at]))
        self._exact = self._exact and self._worst[0] <= 1e-6 * self._step + rounding
        tolerance = min(self.finest, COARSEST * self._step) + JITTER * self._step + rounding
        rows = self.count + np.arange(len(times))
        rows, gone = rows[rows > 0], (times - self._first)[-np.count_nonzero(rows > 0) :]
        self._low = max(self._low, float(np.max((gone - tolerance) / rows)))
        self._high = min(self._high, float(np.min((gone + tolerance) / rows)))
        if self._low > self._high or off[at] > 2 * tolerance + JITTER * self._step:
            _, line, step = self._worst
            self.problem = f"uneven steps: {step:.6g} before line {line}, where {self._step:.6g} is usual"

    @property
    def numbers_rows(self) -> bool:
        """Whether the times are 0, 1, 2, ... or 1, 2, 3, ..., as rows are numbered."""
        return self._counts

    def rate(self) -> float | None:
        """Hz, the roundest that the times allow; None with `problem` set if they allow none or too many."""
        if self.count < 2 and not self.problem:
            self.problem = "one time only"
        if self.problem:
            return None
        scale = UNITS[self._unit()]
        if self._exact:
            step = (self._last - self._first) / (self.count - 1)
            doubt = max(1e-9 * step, 4 * np.spacing(max(abs(self._first), abs(self._last))) / (self.count - 1))
            return roundest(1 / (scale * (step + doubt)), 1 / (scale * (step - doubt)))
        slowest, fastest = 1 / (scale * self._high), 1 / (scale * self._low) if self._low > 0 else math.inf
        if fastest > slowest * (1 + 2 * WIDEST):
            self.problem = f"times too coarse to tell the rate, between {slowest:.6g} and {fastest:.6g} Hz"
            return None
        return roundest(slowest, fastest)

    def disagreement(self, rate: float) -> str:
        """How the times contradict a rate in Hz that their beginning told; '' if they do not."""
        if self.problem:
            return self.problem
        scale = UNITS[self._unit()]
        if self._low * scale <= (1 + 1e-9) / rate and (1 - 1e-9) / rate <= self._high * scale:
            return ""
        return f"they began at {rate:.6g} Hz and are now at {2 / (scale * (self._low + self._high)):.6g} Hz"

    def _unit(self) -> str:
        return self.unit or next((unit for least, unit in UNIX if abs(self._first) > least), "s")


def roundest(low: float, high: float) -> float:
    """The number from `low` to `high` with the fewest digits."""
    middle = (low + high) / 2
    rounded = (float(f"{middle:.{digits}g}") for digits in range(1, 17))
    return next((number for number in rounded if low <= number <= high), middle)
