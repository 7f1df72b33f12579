"""A network that takes hum out of an ECG, judged as whoever reads the ECG would: what is left, where, and what is lost.

All figures but R² are in µV, of recordings in mV, behind the first second: of the sum of the tones, which is what is
taken out.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from tonesift import metrics
from tonesift.compute import ParallelMap
from tonesift.data.recordings import Recordings
from tonesift.evaluation import sets
from tonesift.metadata import Metadata
from tonesift.networks.model import Model

Array = NDArray[np.float64]
Filter = Callable[[Array, tuple[float, ...]], NDArray]  # samples (N,) and frequencies in Hz: tones (K, N) as recorded
STEEP = 0.3  # of a stretch's steepest slopes, which only QRS complexes reach
AROUND = 0.05  # s, of such a slope
MICROVOLTS = 1000.0


class Errors(NamedTuple):
    """What a filter leaves of a recording's hum and makes of the recording without it, root mean squares.

    Attributes
    ----------
    hum : float
        Of the hum, over all samples behind the first second.
    qrs, between : float
        The same at QRS complexes, and elsewhere.
    distortion : float
        What is taken out of a recording without hum.
    error, power : float
        Mean squares of what is left and of the hum.
    """

    hum: float
    qrs: float
    between: float
    distortion: float
    error: float
    power: float


def figures(
    model: Model, metadata: Metadata, source: Recordings, pmap: ParallelMap, filters: dict[str, Filter]
) -> dict[str, float]:
    """Figures of a set of recordings of hum.

    Parameters
    ----------
    model, metadata
        As loaded.
    source : Recordings
        To judge it on.
    pmap : ParallelMap
        From `compute.parallel_map`.
    filters : dict of str to callable
        What is judged on the recordings as they come, by name; the first one is the network as a stream.
    """
    found = sets.figures(model, metadata, source, pmap)
    for name, taken in filters.items():
        tallies, rows = metrics.Tally(), []
        for index in range(source.count):
            tally, row = _judged(source, index, taken)
            tallies, rows = tallies + tally, [*rows, row]
        found |= {f"{name}_r2": tallies.r2, **_summed(name, rows)}
    return {name: metrics.rounded(value) for name, value in found.items()}


def _judged(source: Recordings, index: int, taken: Filter) -> tuple[metrics.Tally, Errors]:
    facts, settled = source.facts, round(source.facts.sampling_rate)
    tones, frequencies = source.tones(index), facts.tones_of(index)
    hum = tones.mean(axis=0, dtype="f8")
    mixture = source.mixture(index).astype("f8")
    ecg = mixture - hum
    given = taken(mixture, frequencies)
    seen = metrics.tally(tones[:, settled:], (given * len(tones))[:, settled:].astype("f4"))
    lost = taken(ecg, frequencies).sum(axis=0, dtype="f8")
    return seen, _errors((given.sum(axis=0, dtype="f8") - hum), lost, hum, ecg, facts.sampling_rate)


def _errors(errors: Array, lost: Array, hum: Array, ecg: Array, rate: float) -> Errors:
    settled, where = round(rate), qrs(ecg, rate)
    later = np.arange(len(ecg)) >= settled
    parts = (errors[later], errors[where & later], errors[~where & later], lost[later])
    squares = [float(np.mean(np.square(part))) for part in (errors[later], hum[later])]
    return Errors(*(MICROVOLTS * float(np.sqrt(np.mean(np.square(part)))) for part in parts), *squares)


def _summed(name: str, rows: list[Errors]) -> dict[str, float]:
    hum, where, between, lost, error, power = np.array(rows).T
    medians = {"median_uv": hum, "qrs_uv": where, "between_uv": between, "distortion_uv": lost}
    prefix = "" if name == "streamed" else f"{name}_"
    found = {f"{prefix}{what}": float(np.nanmedian(values)) for what, values in medians.items()}
    return {f"{name}_hum_r2": float(1 - error.sum() / power.sum()), **found}


def qrs(ecg: Array, rate: float) -> NDArray[np.bool_]:
    """Which samples (N,) of an ECG lie within 50 ms of a slope that only QRS complexes have."""
    slope = np.abs(np.gradient(ecg))
    steep = slope > STEEP * np.quantile(slope, 0.995)
    return np.convolve(steep, np.ones(2 * round(AROUND * rate) + 1), "same") > 0.5


def notch(samples: Array, frequencies: Sequence[float], rate: float, quality: float) -> Array:
    """What notch filters of a quality at the tones take out, one behind the other, (K, N)."""
    left, found = samples, []
    for frequency in frequencies:
        before, left = left, signal.lfilter(*signal.iirnotch(frequency, quality, rate), left)
        found.append(before - left)
    return np.array(found)
