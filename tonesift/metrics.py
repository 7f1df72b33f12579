"""How close outputs come to targets: sums that are gathered batch by batch, and the figures made of them.

Outputs of a long recording are far larger than the recording (with overlapping windows every sample stands in many),
so nothing here needs them all at once. This is the one place where outputs are scored, in training and in evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Pair = tuple[Sequence[NDArray], Sequence[NDArray]]  # targets and outputs, for each of K tones (S, T): S segments


@dataclass(frozen=True)
class Tally:
    """Sums over pairs of target and output; tallies of disjoint pairs add up.

    Attributes
    ----------
    count : float
        Number of pairs n.
    target, target_square, output, output_square, product : float
        Sums of t, t^2, y, y^2 and t y.
    error_square, error_absolute : float
        Sums of (y - t)^2 and |y - t|.
    peak : float
        Largest |t|.
    """

    count: float = 0.0
    target: float = 0.0
    target_square: float = 0.0
    output: float = 0.0
    output_square: float = 0.0
    product: float = 0.0
    error_square: float = 0.0
    error_absolute: float = 0.0
    peak: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        """Tally of both sets of pairs."""
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        return Tally(**sums | {"peak": max(self.peak, other.peak)})

    @property
    def mse(self) -> float:
        """Mean squared error."""
        return self.error_square / self.count

    @property
    def rmse(self) -> float:
        """Root of the mean squared error."""
        return math.sqrt(self.mse)

    @property
    def mae(self) -> float:
        """Mean absolute error."""
        return self.error_absolute / self.count

    @property
    def variance(self) -> float:
        """Variance of the targets."""
        return max(self.target_square / self.count - (self.target / self.count) ** 2, 0.0)

    @property
    def r2(self) -> float:
        """Coefficient of determination, 1 - MSE / variance of the targets; NaN for constant targets."""
        return 1 - self.mse / self.variance if self.variance > 0 else math.nan

    @property
    def correlation(self) -> float:
        """Pearson's r of target and output; 0 where one of them is constant (an untrained output says nothing)."""
        spread = max(self.output_square / self.count - (self.output / self.count) ** 2, 0.0)
        covariance = self.product / self.count - self.target * self.output / self.count**2
        scale = math.sqrt(self.variance * spread)
        return covariance / scale if scale > 0 else 0.0

    @property
    def snr_db(self) -> float:
        """Power of the target over that of the error, dB."""
        return decibels(self.target_square, self.error_square)

    @property
    def psnr_db(self) -> float:
        """Squared peak of the target over the mean squared error, dB."""
        return decibels(self.peak**2, self.mse)


def tally(target: NDArray, output: NDArray) -> Tally:
    """Tally pairs of target and output, arrays of one shape.

    Sums are NumPy's own in float64, not BLAS products: those take threads for long arrays, and threads change bits.
    """
    t, y = np.asarray(target, dtype=np.float64).ravel(), np.asarray(output, dtype=np.float64).ravel()
    error = y - t
    return Tally(
        count=float(t.size),
        target=float(t.sum()),
        target_square=float((t * t).sum()),
        output=float(y.sum()),
        output_square=float((y * y).sum()),
        product=float((t * y).sum()),
        error_square=float((error * error).sum()),
        error_absolute=float(np.abs(error).sum()),
        peak=float(np.abs(t).max(initial=0.0)),
    )


def tally_tones(pairs: Iterable[Pair], tones: int) -> list[Tally]:
    """Tally of each of so many tones over all pairs."""
    tallies = [Tally()] * tones
    for targets, outputs in pairs:
        tallies = [before + tally(*pair) for before, *pair in zip(tallies, targets, outputs, strict=True)]
    return tallies


class Scores(NamedTuple):
    """Scores over segments of one length T.

    Attributes
    ----------
    tallies : list of Tally
        Of each tone.
    position_mse : ndarray, shape (K, T)
        Squared error at each position of a segment, averaged over the segments.
    settled : list of Tally or None
        Of each tone from sample `settling` on; None where segments are no longer than that.
    """

    tallies: list[Tally]
    position_mse: NDArray[np.float64]
    settled: list[Tally] | None


def score(pairs: Iterable[Pair], tones: int, samples: int, settling: int | None = None) -> Scores:
    """Score outputs on segments of one length.

    Parameters
    ----------
    pairs : iterable of (targets, outputs)
        K arrays (S, T) each; S may differ from pair to pair and from tone to tone.
    tones, samples : int
        K and T.
    settling : int, optional
        Samples after which a state that is carried on counts as settled; without it nothing does.
    """
    tallies, settled, lasts = [Tally()] * tones, [Tally()] * tones, settling is not None and samples > settling
    squares, segments = np.zeros((tones, samples)), np.zeros((tones, 1))
    for targets, outputs in pairs:
        for tone, (target, output) in enumerate(zip(targets, outputs, strict=True)):
            tallies[tone] += tally(target, output)
            squares[tone] += np.square(output - target, dtype=np.float64).sum(axis=0)
            segments[tone] += len(target)
            if lasts:
                settled[tone] += tally(target[:, settling:], output[:, settling:])
    return Scores(tallies, squares / segments, settled if lasts else None)


def input_snr_db(target: NDArray, mixture: NDArray, tones: int) -> float:
    """SNR of a tone inside the mixture, dB: power of its share of the mixture over that of all the rest.

    Parameters
    ----------
    target, mixture : ndarray, same shape
        Clean tone and mixture.
    tones : int
        K; the tone's share of the mixture is target / K.
    """
    share = np.asarray(target, dtype=np.float64) / tones
    rest = np.asarray(mixture, dtype=np.float64) - share
    return decibels(float(np.sum(share**2)), float(np.sum(rest**2)))


def decibels(numerator: float, denominator: float) -> float:
    """10 log10 of a power ratio; infinite where one of them is 0."""
    if denominator == 0:
        return math.inf
    return 10 * math.log10(numerator / denominator) if numerator > 0 else -math.inf


def rounded(value: float) -> float:
    """To six significant digits, which is all that a table or a comparison can use; not finite values as they are."""
    return float(f"{value:.6g}")
