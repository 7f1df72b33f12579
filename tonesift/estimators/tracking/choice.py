"""Which filter suits a recording: candidates are run over a stretch, and the one that foresees it best is taken.

A method's name says what its filter is made of: how the tones may change, and, behind hyphens, what else there is.

    kalman      tones of constant frequency, whose amplitude and phase change slowly if at all
    wander      tones whose amplitude and phase never rest
    extended    tones whose frequencies are off by a few per cent, and drift
    fading      tones that come and go: the past is forgotten at surprises
    student     Student t noise: outliers and bursts
    background  three parts of slow background as states beside the tones
    whitened    an autoregressive background of order 8, learnt from the stretch

Each has settings of several strengths. All are run over the same samples and expect each before they see it; the one
that misses them least, in the mean of absolute values, is taken. Noise that nobody can foresee costs all of them the
same, so what decides is how well the tones are known. Likelihoods were tried too: they reward a filter that knows when
bursts of noise come, and chose it even where its tones were worse.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_toeplitz

from tonesift.arguments import Array
from tonesift.errors import InputError
from tonesift.estimators.tracking.settings import Settings
from tonesift.estimators.tracking.tracker import Tracked, Tracker

ORDER = 8  # of the autoregressive background
DYNAMICS = {
    "kalman": ({}, {"renewal": 0.01}, {"renewal": 0.05}),
    "wander": (
        {"wander": 0.1, "renewal": 0.1},
        {"wander": 0.3, "renewal": 0.2, "memory": 16.0},
        {"wander": 0.1, "renewal": 0.18, "memory": 13.0},
        {"renewal": 0.6, "memory": 3.5},
    ),
    "extended": (
        {"drift": 0.003, "drift_time": 200.0, "renewal": 0.005},
        {"drift": 0.003, "drift_time": 30.0, "renewal": 0.02},
        {"drift": 0.01, "drift_time": 3.0, "renewal": 0.03},
        {"drift": 0.03, "drift_time": 3.0, "renewal": 0.03},
    ),
    "fading": ({"fading": 2.0, "fading_time": 0.011, "renewal": 0.1, "memory": 4.0},),
}
NOISES = {"": ({"adapt": 3.0},), "student": ({"degrees": 1.5, "adapt": 0.1}, {"degrees": 5.0, "adapt": 0.03})}
BACKGROUNDS = ("", "background", "whitened")
SLOW = (0.1, 1.0, 10.0)  # time constants of the background's states in periods
STANDING = 1e4  # time constant in periods of what the samples stand at
LEAST_OFFSET = 0.1  # of their level, that is taken for more than chance
FAR_MORE = 1.5  # of what the most pliable filter leaves: tones were missed
LEAST_GAIN = 1e-3  # share of the error that every further part of a filter must take away
# Of each, beside what the filter leaves without: steady tones leave all of a background. Those that change take some of
# it, and what they leave holds tones that they have missed; there, what the most pliable filter leaves is the measure.
STEADY_STRENGTHS, STRENGTHS = (0.25, 0.5), (0.5, 2.0)


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


class Candidate(NamedTuple):
    """A method with settings of one strength."""

    method: str
    settings: Settings


class Choice(NamedTuple):
    """The filter that was taken, at the end of the stretch, and what it made of it.

    Attributes
    ----------
    candidate : Candidate
        Its method and settings.
    tracker : Tracker
        The filter.
    tones : Array, shape (K, n)
        What it made of the stretch.
    missed : float
        By how much it missed each sample beforehand, in the mean of absolute values.
    facts : Facts
        What the stretch shows at once.
    gains : dict of str to float
        Share of that by which each part of the method came closer than the best candidate without it.
    """

    candidate: Candidate
    tracker: Tracker
    tones: Array
    missed: float
    facts: Facts
    gains: dict[str, float]


def learnt(samples: Array, frequencies: Sequence[float], rate: float, clip: tuple[float, float] | None) -> Facts:
    """What a stretch (n,) shows at once; NaN where a sample is missing."""
    known = samples[np.isfinite(samples)]
    limits = clip or clipping(known)
    offset = float(np.median(known)) if len(known) else 0.0
    level = (_spread(known - offset) or float(np.std(known))) if len(known) else 0.0
    inside = (samples > limits[0]) & (samples < limits[1])
    left = _left(samples, inside, frequencies, rate)
    noise = max(_spread(left) if len(left) else level, 1e-3 * level)
    clipped = float(np.mean(~((known > limits[0]) & (known < limits[1])))) if len(known) else 0.0
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


def plain_candidates(facts: Facts, count: int, method: str) -> list[Candidate]:
    """All that have the tones' part and the noise of a method, without its background."""
    dynamics, noise, _ = parts(method)
    plainest, found = base(facts, count), []
    for motion, kind in itertools.product(dynamics, noise):
        name = "-".join(filter(None, (motion, kind)))
        pairs = itertools.product(DYNAMICS[motion], NOISES[kind])
        # An outlier among the first samples must not be believed: at first the noise may be as large as all there is.
        start = replace(plainest, noise_std=plainest.amplitude * math.sqrt(count / 2)) if kind else plainest
        found += [Candidate(name, replace(start, **one, **other)) for one, other in pairs]
    return found


def parts(method: str) -> tuple[list[str], list[str], list[str]]:
    """How tones change, noises and backgrounds that a method's name leaves open to choose from."""
    if method == "auto":
        return list(DYNAMICS), list(NOISES), list(BACKGROUNDS)
    words = method.split("-")
    known = {*DYNAMICS, *NOISES, *BACKGROUNDS} - {""}
    kinds = [[word for word in words if word in group] for group in (DYNAMICS, NOISES, BACKGROUNDS)]
    if not set(words) <= known or len(set(words)) < len(words) or any(len(kind) > 1 for kind in kinds):
        raise InputError(
            f"method: got {method!r}, but it is auto, or one of {', '.join(DYNAMICS)}, and behind hyphens student, and "
            "background or whitened, such as extended-student-whitened"
        )
    return kinds[0] or ["kalman"], kinds[1] or [""], kinds[2] or [""]


def missed(tracked: Tracked, samples: Array, settings: Settings) -> float:
    """By how much a filter missed the samples (n,) that it had not seen yet, in the mean of absolute values.

    A sample at a limit was missed by as much as was expected short of it, and not at all by what was expected beyond.
    The first eighth is left out: it says more of what was known beforehand than of how the filter goes on.
    """
    errors = tracked.innovations.copy()
    high, low = samples >= settings.clip[1], samples <= settings.clip[0]
    errors[high], errors[low] = np.maximum(errors[high], 0), np.minimum(errors[low], 0)
    errors = errors[len(errors) // 8 :]
    known = np.isfinite(errors)
    return float(np.mean(np.abs(errors[known]))) if known.any() else 0.0


def tried(candidate: Candidate, samples: Array, frequencies: Sequence[float], rate: float, facts: Facts) -> Choice:
    """A candidate run over the stretch."""
    tracker = Tracker(frequencies, rate, candidate.settings)
    tracked = tracker.push(samples)
    return Choice(candidate, tracker, tracked.tones, missed(tracked, samples, candidate.settings), facts, {})


def choose(
    samples: Array,
    frequencies: Sequence[float],
    rate: float,
    method: str = "auto",
    clip: tuple[float, float] | None = None,
    *,
    hedged: bool = False,
) -> Choice:
    """The candidate of a method that foresees a stretch (n,) best; NaN where a sample is missing.

    Parameters
    ----------
    samples : Array, shape (n,)
        From the beginning of the recording.
    frequencies : sequence of float
        Hz, of the tones.
    rate : float
        Hz.
    method : str
        'auto', or what the filter is to be made of.
    clip : (float, float), optional
        Lowest and highest value of the recorder; found without it.
    hedged : bool
        Whether tones that have not changed yet may still do so.
    """
    facts = learnt(samples, frequencies, rate, clip)
    allowed = [one for one in plain_candidates(facts, len(frequencies), method) if _sensible(one, method, hedged)]
    plain = [tried(one, samples, frequencies, rate, facts) for one in allowed]
    kinds = parts(method)[2]
    found = list(plain) if "" in kinds else []
    for candidate in itertools.chain(*(_with_background(plain, kind, samples) for kind in kinds if kind)):
        if _sensible(candidate, method, hedged):
            found.append(tried(candidate, samples, frequencies, rate, facts))
    best = min(found or plain, key=_judged)
    return best._replace(gains=_gains(best, found))


def _sensible(candidate: Candidate, method: str, hedged: bool) -> bool:
    """Whether a candidate is worth trying.

    Surprises are measured against Gaussian noise: with any other noise or background the fading filter took bursts for
    tones, and was chosen where others knew the tones better. A filter for tones that never change does not find back.
    """
    if method == "auto" and candidate.method.startswith("fading-"):
        return False
    return not (hedged and candidate.settings.renewal == 0)


def _judged(choice: Choice) -> float:
    """What candidates are judged by: whatever is added to steady tones in white noise must come closer by a bit."""
    added = len({*choice.candidate.method.split("-")} - {"kalman"})
    chance = ORDER / max(choice.tones.shape[1], 1)  # what a prediction fitted to the same samples seems to be worth
    return choice.missed * (1 + (LEAST_GAIN + chance) * added)


def _with_background(plain: list[Choice], kind: str, samples: Array) -> list[Candidate]:
    """The best of each motion of the tones with a background beside, which need not be the best without one.

    What a filter leaves holds the tones that it has missed; so a background is learnt from what the most pliable one
    leaves, which misses least of them. But that one has also taken much of a strong background for tones. So steady
    tones get states as strong as all that they leave; and they, and those that drift, a whitening of it, unless that is
    far more.
    """
    best: dict[str, Choice] = {}
    for choice in sorted(plain, key=lambda choice: -choice.missed):
        best[choice.candidate.method.split("-")[0]] = choice
    lefts = {motion: _left_over(choice, samples) for motion, choice in best.items()}
    pliable = min((_left_over(choice, samples) for choice in plain), key=_spread)
    made = []
    for motion, choice in best.items():
        settings = choice.candidate.settings
        if kind == "whitened":
            near = motion in ("kalman", "extended") and _spread(lefts[motion]) < FAR_MORE * _spread(pliable)
            changes = _whitened(lefts[motion] if near else pliable)
        else:
            changes = _slow(motion, lefts[motion], pliable, settings)
        for change in changes:
            made.append(Candidate(f"{choice.candidate.method}-{kind}", replace(settings, **change)))
    return made


def _whitened(left: Array) -> list[dict]:
    taps = whitening(left)
    return [{"whitening": taps}] if taps else []


def _slow(motion: str, own: Array, pliable: Array, settings: Settings) -> list[dict]:
    """Background states of a few strengths, as changes of settings."""
    shares, left = (STEADY_STRENGTHS, own) if motion == "kalman" else (STRENGTHS, pliable)
    stds = [float(f"{share * _spread(left):.6g}") for share in shares]
    return [{"background": (*settings.background, *((std, periods) for periods in SLOW))} for std in stds]


def _left_over(choice: Choice, samples: Array) -> Array:
    """What a filter leaves of the samples (n,), about its median."""
    left = samples - choice.tones.sum(axis=0)
    return left - np.nanmedian(left) if np.isfinite(left).any() else left


def _gains(best: Choice, found: list[Choice]) -> dict[str, float]:
    gains = {}
    for word in best.candidate.method.split("-"):
        others = [choice.missed for choice in found if word not in choice.candidate.method.split("-")]
        if others and min(others) > 0:
            gains[word] = 1 - best.missed / min(others)
    return gains
