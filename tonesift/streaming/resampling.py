"""Another sampling rate, piece by piece: `scipy.signal.resample_poly` of a stream, in constant memory.

A stream is held back only as far as the anti-aliasing filter reaches; every piece is resampled with as much of what
came before it as the filter sees, so that the pieces are those of the whole.
"""

import math
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import signal

from tonesift.errors import InputError
from tonesift.streaming.gaps import Gaps, as_samples
from tonesift.streaming.tonefilter import ToneFilter

LARGEST_TERM = 10_000  # of the ratio of two rates; the filter has 20 times as many taps


class Resampler:
    """Streams side by side at `up` / `down` times their sampling rate.

    Parameters
    ----------
    up, down : int
        Without a common divisor, not both 1.
    rows : int
        R, streams side by side.

    Attributes
    ----------
    reach : int
        How far the filter reaches to either side, in samples at `up` times the incoming rate.
    """

    def __init__(self, up: int, down: int, rows: int = 1) -> None:
        self._up, self._down = up, down
        self.reach = 10 * max(up, down)  # as resample_poly has it
        self._taps = signal.firwin(2 * self.reach + 1, 1 / max(up, down), window=("kaiser", 5.0))
        self._held = np.zeros((rows, 0))
        self._first = 0  # number of the first held sample in the stream, a multiple of `down`
        self._given = 0  # samples given so far

    def push(self, samples: NDArray) -> NDArray[np.float64]:
        """Take the next samples (R, n) and give those (R, m) at the new rate that can be known by now."""
        self._held = np.concatenate([self._held, samples], axis=1)
        last = self._first + self._held.shape[1] - 1
        known = self._give_until((last * self._up - self.reach) // self._down + 1)
        needed = -(-(self._given * self._down - self.reach) // self._up) // self._down * self._down
        if needed > self._first:
            self._held, self._first = self._held[:, needed - self._first :].copy(), needed
        return known

    def finish(self) -> NDArray[np.float64]:
        """What is left (R, m), as if zeros came behind; ceil(n up / down) samples have then come out in all."""
        return self._give_until(-(-(self._first + self._held.shape[1]) * self._up // self._down))

    def _give_until(self, end: int) -> NDArray[np.float64]:
        if end <= self._given:
            return self._held[:, :0]
        offset = self._first * self._up // self._down
        found = signal.resample_poly(self._held, self._up, self._down, axis=1, window=self._taps)
        begin, self._given = self._given, end
        return found[:, begin - offset : end - offset]


class ResampledFilter:
    """A filter for streams at another sampling rate than its model's: the tones come at the stream's rate.

    Parameters
    ----------
    tone_filter : ToneFilter
        At the start of a stream.
    rate : float
        Hz, of the samples that will come.
    gaps : {'refuse', 'zero', 'hold'}
        See `gaps.Gaps`: gaps are filled before resampling would spread them.

    Attributes
    ----------
    hop : int
        Samples of the stream that fill a hop of the model's.
    """

    def __init__(self, tone_filter: ToneFilter, rate: float, gaps: str = "refuse") -> None:
        self._filter, self._gaps, self.samples, self._given = tone_filter, Gaps(gaps), 0, 0
        ratio = _ratio(tone_filter.sampling_rate, rate)
        self.hop = math.ceil(tone_filter.hop / ratio)
        self._forth = Resampler(ratio.numerator, ratio.denominator)
        self._back = Resampler(ratio.denominator, ratio.numerator, len(tone_filter.tones))
        reaches = 2 * self._forth.reach / ratio.numerator  # of both filters, in samples of the stream
        self.latency = math.ceil(tone_filter.latency / ratio + reaches)

    @property
    def gaps_filled(self) -> int:
        """Samples that were not finite and have been replaced."""
        return self._gaps.filled

    def push(self, samples: ArrayLike) -> NDArray[np.float32]:
        """Take the next samples (n,) and give the tones (tones, m) that can be known by now, as `ToneFilter.push`."""
        fresh = self._gaps.fill(as_samples(samples), self.samples)
        self.samples += len(fresh)
        tones = self._back.push(self._filter.push(self._forth.push(fresh[None])[0]))
        self._given += tones.shape[1]
        return tones.astype("f4")

    def finish(self) -> NDArray[np.float32]:
        """The rest of the tones (tones, m): as many samples have then come out as went in."""
        last = [self._filter.push(self._forth.finish()[0]), self._filter.finish()]
        rest = [self._back.push(np.concatenate(last, axis=1)), self._back.finish()]
        return np.concatenate(rest, axis=1)[:, : self.samples - self._given].astype("f4")


def _ratio(model_rate: float, rate: float) -> Fraction:
    """How many samples of the model's rate come for one of the stream's."""
    ratio = Fraction(min(model_rate / rate, 2.0 * LARGEST_TERM)).limit_denominator(LARGEST_TERM)
    if ratio.numerator > LARGEST_TERM or not math.isclose(float(ratio), model_rate / rate, rel_tol=1e-9):
        raise InputError(
            f"cannot resample from {rate:.12g} to {model_rate:.12g} Hz: their ratio must be one of whole numbers up to "
            f"{LARGEST_TERM:,}: resample the recording to a round rate first"
        )
    return ratio
