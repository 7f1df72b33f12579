"""Which filters suit a recording: those of a method, on its scale, run side by side and weighted by what they foresee.

A method's name says what its filters are made of: how the tones may change, and, behind hyphens, what else there is.

    kalman      tones of constant frequency, whose amplitude and phase change slowly if at all
    wander      tones whose amplitude and phase never rest
    extended    tones whose frequencies are off by a few per cent, and drift
    fading      tones that come and go: the past is forgotten at surprises
    student     Student t noise: outliers and bursts
    background  three parts of slow background as states beside the tones
    whitened    an autoregressive background of order 8, learnt from what the filters leave

Each has settings of several strengths. `auto` has eleven filters of several methods. All run over the same samples and
expect each before they see it; the less of them a filter misses, in the mean of absolute values, the more it counts in
the average (`bank`). Noise that nobody can foresee costs all of them the same, so what decides is how well the tones
are known.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_toeplitz

from tonesift.arguments import Array
from tonesift.errors import InputError
from tonesift.estimators.tracking.bank import Bank, Candidate, new_bank, residual
from tonesift.estimators.tracking.settings import Settings

ORDER = 8  # of the autoregressive background
LEARNT, ROBUST, STEADIER = {"adapt": 3.0}, {"degrees": 5.0, "adapt": 0.03}, {"degrees": 6.0, "adapt": 2.0}
DYNAMICS = {
    "kalman": ({}, {"renewal": 0.01}, {"renewal": 0.05}),
    "wander": (
        {"wander": 0.1, "renewal": 0.1},
        {"wander": 0.3, "renewal": 0.2, "memory": 16.0},
        {"wander": 0.1, "renewal": 0.18, "memory": 13.0},
        {"renewal": 0.6, "memory": 3.5},
    ),
    "extended": (
        {"drift": 0.002, "drift_time": 300.0, "renewal": 0.0003, "wander": 0.02},
        {"drift": 0.01, "drift_time": 3.0, "renewal": 0.03},
        {"drift": 0.03, "drift_time": 3.0, "renewal": 0.03},
        {"drift": 0.01, "drift_time": 3.0, "renewal": 0.15, "wander": 0.1, "memory": 13.0},
    ),
    "fading": (
        {"fading": 2.0, "fading_time": 0.0095, "renewal": 0.055, "wander": 0.1, "memory": 3.3},
        {"fading": 2.0, "fading_time": 0.03, "renewal": 0.03, "wander": 0.06, "memory": 10.0},
    ),
}
NOISES = {"": (LEARNT,), "student": (ROBUST, STEADIER)}
BACKGROUNDS = ("background", "whitened")
SHARES = (0.5, 1.0)  # strength of a background's states beside what the tones leave of the samples
STEADY, WANDERING = {"renewal": 0.002}, DYNAMICS["wander"][1]  # tones that never change do not find back
# What `auto` averages: chosen one after the other, each for what it added to those before, on recordings of all
# conditions. A background's states or a whitening beside tones that change would take them for background.
PRESETS: tuple[tuple[str, Mapping[str, float]], ...] = (
    ("kalman", STEADY | LEARNT),
    ("kalman-student", STEADY | ROBUST),
    ("wander", WANDERING | LEARNT),
    ("wander-student", WANDERING | ROBUST),
    ("extended", DYNAMICS["extended"][2] | LEARNT),
    ("extended", DYNAMICS["extended"][3] | LEARNT),
    ("fading", DYNAMICS["fading"][0] | LEARNT),
    ("fading", DYNAMICS["fading"][1] | LEARNT),
    ("kalman-background", {"renewal": 0.01, "slow": 0.5} | LEARNT),
    ("kalman-whitened", STEADY | LEARNT),
    ("extended-student-whitened", DYNAMICS["extended"][0] | STEADIER),
)
SLOW = (0.1, 1.0, 10.0)  # time constants of the background's states in periods
STANDING = 1e4  # time constant in periods of what the samples stand at
MOST_CLIPPED = 0.2  # share of the samples
LEAST_OFFSET = 0.1  # of their level, that is taken for more than chance
LEAST_STANDING = 1.0  # of their level, that is taken off for good


class Facts(NamedTuple):
    """What a stretch shows at once.

    Attributes
    ----------
    level : float
        Standard deviation of the samples, by the median of their distances from their median.
    noise_std : float
        The same of what the tones leave, fitted by least squares piece by piece.
    offset : float
        Median of the samples.
    clip : (float, float)
        Lowest and highest value of the recorder; infinite where nothing is cut off.
    missing, clipped : float
        Shares of the samples.
    """

    level: float
    noise_std: float
    offset: float
    clip: tuple[float, float]
    missing: float
    clipped: float


def estimate_facts(
    samples: Array, frequencies: Sequence[float], rate: float, clip: tuple[float, float] | None
) -> Facts:
    """What a stretch (n,) shows at once; NaN where a sample is missing."""
    known = samples[np.isfinite(samples)]
    limits = clip or clipping(known)
    offset = float(np.median(known)) if len(known) else 0.0
    level = (_spread(known - offset) or float(np.std(known))) if len(known) else 0.0
    inside = (samples > limits[0]) & (samples < limits[1])
    left = _left(samples, inside, frequencies, rate)
    clipped = float(np.mean(~((known > limits[0]) & (known < limits[1])))) if len(known) else 0.0
    # Samples between the limits spread less than they would without these.
    noise = max((1 + clipped / 2) * _spread(left) if len(left) else level, 1e-3 * level)
    return Facts(level, noise, offset, limits, 1 - len(known) / max(len(samples), 1), clipped)


def clipping(known: Array) -> tuple[float, float]:
    """Limits that the samples (n,) stand at: an extreme value that comes twice in a row, and in one of 200 or more."""
    found = []
    for extreme, none in ((np.min, -math.inf), (np.max, math.inf)):
        at = known == extreme(known) if len(known) else np.zeros(0, dtype=bool)
        repeated = np.count_nonzero(at[1:] & at[:-1])
        enough = at.sum() >= max(4, len(known) / 200) and repeated >= 2 and not at.all()
        found.append(float(known[at][0]) if enough else none)
    return found[0], found[1]


def _spread(values: Array) -> float:
    """Standard deviation of Gaussian numbers of this median absolute size; NaN is left out, and nothing has none."""
    known = values[np.isfinite(values)]
    return float(np.median(np.abs(known))) / 0.6745 if len(known) else 0.0


def _left(samples: Array, inside: NDArray[np.bool_], frequencies: Sequence[float], rate: float) -> Array:
    """What sines, cosines and a constant leave of the samples that are known, fitted in two pieces."""
    angles = 2 * np.pi * np.outer(np.arange(len(samples)), np.asarray(frequencies) / rate)
    basis = np.concatenate([np.sin(angles), np.cos(angles), np.ones((len(samples), 1))], axis=1)
    left = []
    for rows in np.array_split(np.flatnonzero(inside), max(1, len(samples) // 2000)):
        if len(rows) > 2 * basis.shape[1]:
            fitted = np.linalg.lstsq(basis[rows], samples[rows], rcond=1e-2)[0]
            left.append(samples[rows] - basis[rows] @ fitted)
    return np.concatenate([np.zeros(0), *left])


def whitening(left: Array, order: int = ORDER) -> tuple[float, ...]:
    """Coefficients that predict a background (n,) from its last samples, by Levinson's recursion; NaN is left out."""
    if len(left) < 4 * order:
        return ()
    known = np.isfinite(left)
    cut = 10 * _spread(left)
    values = np.where(known, np.clip(np.where(known, left, 0.0), -cut, cut), 0.0)
    pairs = [max(np.count_nonzero(known[lag:] & known[: len(known) - lag]), 1) for lag in range(order + 1)]
    products = np.array([np.sum(values[lag:] * values[: len(values) - lag]) for lag in range(order + 1)])
    correlations = products / pairs * (1 - np.arange(order + 1) / max(len(left), order + 1))
    if not correlations[0] > 0:
        return ()
    correlations[0] *= 1 + 1e-6
    found = solve_toeplitz(correlations[:-1], correlations[1:])
    # Sums differ in their last digits from processor to processor: six digits are the same on all.
    return tuple(float(f"{value:.6f}") for value in found) if np.isfinite(found).all() else ()


def dc_offset(facts: Facts) -> float:
    """What a recording stands at, if that is more than its level; otherwise 0.

    A stretch of a few periods has a median of its own, which taken off everything would be an error for good.
    """
    return facts.offset if abs(facts.offset) > LEAST_STANDING * facts.level else 0.0


def base(facts: Facts, count: int) -> Settings:
    """Settings of the plainest filter, on the scale of the recording."""
    amplitude = math.sqrt(2 / count) * (facts.level or 1.0) * (1 + 2 * facts.clipped)
    # Where samples do not stand at 0 but at something else, that may change too.
    shifted = abs(facts.offset) > LEAST_OFFSET * facts.level
    return Settings(
        amplitude=float(f"{amplitude:.6g}"),
        noise_std=float(f"{facts.noise_std:.6g}"),
        background=((float(f"{facts.level:.6g}"), STANDING),) if shifted else (),
        clip=facts.clip,
        offset=facts.offset if shifted else 0.0,
    )


def parse_method(method: str) -> tuple[str, str, str]:
    """How tones change, what the noise and what the background is, by a method's name."""
    words = method.split("-")
    known = {*DYNAMICS, *NOISES, *BACKGROUNDS} - {""}
    kinds = [[word for word in words if word in group] for group in (DYNAMICS, NOISES, BACKGROUNDS)]
    if not set(words) <= known or len(set(words)) < len(words) or any(len(kind) > 1 for kind in kinds):
        raise InputError(
            f"method {method!r}: choose auto, or one of {', '.join(DYNAMICS)}, with -student, -background or -whitened "
            "behind it as needed, such as extended-student-whitened"
        )
    return (kinds[0] or ["kalman"])[0], (kinds[1] or [""])[0], (kinds[2] or [""])[0]


def candidates(facts: Facts, count: int, method: str) -> list[Candidate]:
    """Filters of a method for a recording of `count` tones: of 'auto' the presets, of others each strength of a part.

    Those that are to be whitened lack that: what they whiten has to be learnt from what the others leave.
    """
    if method == "auto":
        # Surprises are counted at samples between the limits, and where these are few they mislead.
        presets = [one for one in PRESETS if one[0] != "fading" or facts.clipped < MOST_CLIPPED]
        return [_candidate(facts, count, name, preset) for name, preset in presets]
    motion, noise, kind = parse_method(method)
    name = "-".join(filter(None, (motion, noise, kind)))
    strengths = itertools.product(DYNAMICS[motion], NOISES[noise], SHARES if kind == "background" else (0.0,))
    return [_candidate(facts, count, name, {**one, **other, "slow": share}) for one, other, share in strengths]


def _candidate(facts: Facts, count: int, name: str, preset: Mapping[str, float]) -> Candidate:
    """Settings on the scale of a recording."""
    changes, plainest = dict(preset), base(facts, count)
    slow = float(f"{changes.pop('slow', 0.0) * facts.noise_std:.6g}")
    states = tuple((slow, periods) for periods in SLOW) if slow else ()
    # An outlier among the first samples must not be believed: at first the noise may be as large as all there is.
    noise = plainest.amplitude * math.sqrt(count / 2) if "degrees" in changes else plainest.noise_std
    settings = replace(plainest, noise_std=noise, background=(*plainest.background, *states), **changes)
    return Candidate(name, settings)


def with_whitening(found: Sequence[Candidate], rest: Array) -> list[Candidate]:
    """Those of the candidates that are to be whitened, by what a bank leaves (n,) of the samples."""
    taps = whitening(rest - np.nanmedian(rest)) if np.isfinite(rest).any() else ()
    return [
        one._replace(settings=replace(one.settings, whitening=taps)) for one in found if taps and needs_whitening(one)
    ]


def make_bank(
    samples: Array, frequencies: Sequence[float], rate: float, method: str, facts: Facts
) -> tuple[Bank, Array]:
    """A bank that has seen a stretch from the beginning of a recording, and what it makes of it.

    Parameters
    ----------
    samples : Array, shape (n,)
        NaN where one is missing.
    frequencies : sequence of float, shape (K,)
        Hz, of the tones.
    rate : float
        Hz.
    method : str
        'auto', or what the filters are to be made of.
    facts : Facts
        What the stretch shows at once.

    Returns
    -------
    (Bank, Array)
        The bank, and the tones (K, n), averaged with the weights of the last sample.
    """
    found = candidates(facts, len(frequencies), method)
    plain = [one for one in found if not needs_whitening(one)]
    bank = new_bank(plain or found, frequencies, rate)
    _, tones = bank.watched(samples)
    other = new_bank(with_whitening(found, residual(samples, bank.averaged(tones))), frequencies, rate)
    if other.candidates:
        _, more = other.watched(samples)
        bank, tones = (bank.joined(other), np.concatenate([tones, more])) if plain else (other, more)
    return bank, bank.averaged(tones)


def remake_bank(
    bank: Bank, samples: Array, rest: Array, frequencies: Sequence[float], rate: float, method: str, facts: Facts
) -> Bank:
    """A bank with settings by all samples so far (n,), of which the one before it left `rest` (n,).

    Filters go on as they are, on another scale; but where other limits or another offset have been found, or what is
    whitened is known better, they run anew.
    """
    old = bank.candidates[0].settings
    found = candidates(facts._replace(offset=old.offset or facts.offset), len(frequencies), method)
    plain, new = [one for one in found if not needs_whitening(one)], found[0].settings
    same = [one.method for one in plain] == [one.method for one in bank.candidates if not needs_whitening(one)]
    if not same or (old.clip, old.offset, len(old.background)) != (new.clip, new.offset, len(new.background)):
        return make_bank(samples, frequencies, rate, method, facts)[0]
    other = new_bank(with_whitening(found, rest), frequencies, rate)
    if other.candidates:
        other.watched(samples)
    if plain:
        return bank.rescaled(plain, frequencies, rate).joined(other)
    return other if other.candidates else bank


def needs_whitening(candidate: Candidate) -> bool:
    """Whether a candidate's background has to be learnt."""
    return candidate.method.endswith("whitened")
