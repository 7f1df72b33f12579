"""One compiled step of the tracking filters: predict, observe, correct. Every option costs nothing where it is off.

The state of a tone is its sine part ``A sin(phase)``, which is the tone itself, its cosine part ``A cos(phase)``, and
the relative offset of its frequency where that is followed. From sample to sample the pair turns by the tone's angle;
behind the tones stand the parts of the background.

Numba compiles it without fast-math, so no operation is fused or reordered, and nothing here calls the C library: the
same bits come out on every processor. Whoever imports this module imports Numba, which takes half a second.
"""

from typing import Any

import numpy as np
from numba import njit

from tonesift.estimators.tracking.hazard import HIGHEST, LOWEST, STEPS
from tonesift.estimators.tracking.levels import (
    CLIPPED,
    ERROR_POWER,
    LARGEST,
    MISSING,
    MIXTURE_POWER,
    NOISE,
    RESTARTS,
    SURPRISE,
    USED,
)

ROUNDS = 2  # of reweighting with Student t noise
WARM_UP = 20  # samples that the first guess of the noise level counts as
FASTEST_FADING = 0.03  # most of the prior's covariance that a surprising sample adds
LARGEST_SURPRISE = 6.0  # squared normalised innovation that the noise level learns from: more is no noise
LOST = 2.0  # the innovations' power beside that of the samples, beyond which silence would be the better estimate
LEAST = 1e-12  # share of its variance that a clipped sample must take away to be worth a correction
LARGEST_TONE = 1e2  # amplitude beside the largest sample


@njit(cache=True)
def small_turn(angle: float) -> tuple[float, float]:
    """Cosine and sine of an angle of at most 0.32 rad, to the last digit."""
    square = angle * angle
    cosine = 1 - square / 2 * (
        1 - square / 12 * (1 - square / 30 * (1 - square / 56 * (1 - square / 90 * (1 - square / 132))))
    )
    sine = 1 - square / 6 * (1 - square / 20 * (1 - square / 42 * (1 - square / 72 * (1 - square / 110))))
    return cosine, angle * sine


@njit(cache=True)
def hazard(point: float, table: Any) -> float:
    """Mean of a standard normal number above a point: cubic interpolation, a continued fraction beyond the table."""
    if point >= HIGHEST:
        fraction = point
        for order in range(12, 0, -1):
            fraction = point + order / fraction
        return fraction
    if point <= LOWEST:
        return 0.0
    place = (point - LOWEST) * STEPS
    index = int(place)
    part = place - index
    low, high = table[index], table[index + 1]
    at = LOWEST + index / STEPS
    low_slope = low * (low - at) / STEPS
    high_slope = high * (high - at - 1 / STEPS) / STEPS
    rest = high - low
    cubic = low_slope + high_slope - 2 * rest
    return low + part * (low_slope + part * (3 * rest - 2 * low_slope - high_slope + part * cubic))


@njit(cache=True)
def turned(state: Any, tones: Any, background: Any, options: Any, turns: Any) -> None:
    """Move the state on by a sample; `turns` (K, 4) gets each tone's turn, and its slopes in the frequency's offset."""
    count, width = len(tones), options.width
    for tone in range(count):
        at = tone * width
        cosine, sine = tones[tone, 0], tones[tone, 1]
        if width == 3:
            near_cosine, near_sine = small_turn(tones[tone, 2] * state[at + 2])
            cosine, sine = cosine * near_cosine - sine * near_sine, sine * near_cosine + cosine * near_sine
            state[at + 2] *= options.offset_kept
        cosine, sine = options.kept * cosine, options.kept * sine
        first, second = state[at], state[at + 1]
        state[at] = cosine * first + sine * second
        state[at + 1] = cosine * second - sine * first
        turns[tone] = cosine, sine, tones[tone, 2] * state[at + 1], -tones[tone, 2] * state[at]
    for part in range(len(background)):
        state[count * width + part] *= background[part, 0]


@njit(cache=True)
def turn_line(line: Any, turns: Any, background: Any, options: Any) -> None:
    """Multiply a row or column of the covariance with the step."""
    width = options.width
    for tone in range(len(turns)):
        at = tone * width
        first, second = line[at], line[at + 1]
        line[at] = turns[tone, 0] * first + turns[tone, 1] * second
        line[at + 1] = turns[tone, 0] * second - turns[tone, 1] * first
        if width == 3:
            line[at] += turns[tone, 2] * line[at + 2]
            line[at + 1] += turns[tone, 3] * line[at + 2]
            line[at + 2] *= options.offset_kept
    for part in range(len(background)):
        line[len(turns) * width + part] *= background[part, 0]


@njit(cache=True)
def predict(state: Any, covariance: Any, tones: Any, background: Any, options: Any, turns: Any) -> None:
    """Turn every tone by its angle, let the background decay, and add what may have changed."""
    count, width = len(tones), options.width
    turned(state, tones, background, options, turns)
    for row in range(len(state)):
        turn_line(covariance[row], turns, background, options)
    for column in range(len(state)):
        turn_line(covariance[:, column], turns, background, options)
    for tone in range(count):
        at = tone * width
        change = options.renewal + options.wander * (state[at] * state[at] + state[at + 1] * state[at + 1])
        covariance[at, at] += change
        covariance[at + 1, at + 1] += change
        if width == 3:
            covariance[at + 2, at + 2] += options.offset_noise
    for part in range(len(background)):
        at = count * width + part
        covariance[at, at] += background[part, 1]
    for row in range(len(state)):  # rounding must not make it lopsided
        for column in range(row):
            covariance[column, row] = covariance[row, column]


@njit(cache=True)
def project(covariance: Any, tones: Any, parts: int, width: int, projected: Any) -> float:
    """Covariance of the state with the next sample, into `projected`; the variance that it gives the sample."""
    size, count, variance = len(covariance), len(tones), 0.0
    for row in range(size):
        total = 0.0
        for tone in range(count):
            at = tone * width
            total += tones[tone, 3] * covariance[row, at] + tones[tone, 4] * covariance[row, at + 1]
        for part in range(parts):
            total += covariance[row, count * width + part]
        projected[row] = total
    for tone in range(count):
        at = tone * width
        variance += tones[tone, 3] * projected[at] + tones[tone, 4] * projected[at + 1]
    for part in range(parts):
        variance += projected[count * width + part]
    return variance


@njit(cache=True)
def seen(state: Any, tones: Any, parts: int, width: int) -> float:
    """What the next sample is without its noise."""
    total = 0.0
    for tone in range(len(tones)):
        at = tone * width
        total += tones[tone, 3] * state[at] + tones[tone, 4] * state[at + 1]
    for part in range(parts):
        total += state[len(tones) * width + part]
    return total


@njit(cache=True)
def reweighted(innovation: float, variance: float, noise: float, degrees: float) -> float:
    """Weight of a sample whose noise is Student t: the expected precision given what the sample itself says."""
    weight = 1.0
    for _ in range(ROUNDS):
        own = noise / weight
        left = innovation * own / (variance + own)
        weight = (degrees + 1) / (degrees + (left * left + variance * own / (variance + own)) / noise)
    return weight


@njit(cache=True)
def begin_anew(state: Any, covariance: Any, prior: Any, levels: Any) -> None:
    """Forget all of the tones and the background, and count that."""
    levels[RESTARTS] += 1
    levels[SURPRISE] = 1.0
    levels[MIXTURE_POWER] = levels[ERROR_POWER] = levels[USED] = 0.0
    for row in range(len(state)):
        state[row] = 0.0
        for column in range(len(state)):
            covariance[row, column] = 0.0
        covariance[row, row] = prior[row]


@njit(cache=True)
def lost(state: Any, variance: float, levels: Any, count: int, options: Any) -> bool:
    """Whether the filter has diverged: no numbers, tones beyond all measure, or worse than an answer of silence."""
    if not 0 <= variance < 1e100:
        return True
    for tone in range(count):
        at = tone * options.width
        power = state[at] * state[at] + state[at + 1] * state[at + 1]
        if not power <= LARGEST_TONE * LARGEST_TONE * levels[LARGEST]:
            return True
    long_enough = levels[USED] * options.watch > 1
    return long_enough and levels[ERROR_POWER] > LOST * levels[MIXTURE_POWER]


@njit(cache=True)
def fade(covariance: Any, prior: Any, levels: Any, tones: int, options: Any) -> None:
    """Trust the past less where the samples have been surprising for a while, but not less than the prior."""
    if not levels[SURPRISE] > options.fading:
        return
    growth = FASTEST_FADING * min(levels[SURPRISE] / options.fading - 1, 1.0)
    for row in range(tones):
        if covariance[row, row] < prior[row]:
            covariance[row, row] += growth * prior[row]


@njit(cache=True)
def correct(state: Any, covariance: Any, projected: Any, shift: float, total: float) -> None:
    """Take the sample in: `shift` is how far it moves the state for each unit of `projected`."""
    for row in range(len(state)):
        state[row] += projected[row] * shift
        gain = projected[row] / total
        for column in range(row + 1):
            covariance[row, column] -= gain * projected[column]
            covariance[column, row] = covariance[row, column]


@njit(cache=True)
def follow_levels(levels: Any, innovation: float, variance: float, noise: float, weight: float, options: Any) -> None:
    """The noise level from what the sample leaves, and the running mean of squared normalised innovations."""
    own = noise / weight
    surprise = innovation * innovation / (variance + own)
    if options.adapt > 0:
        share = max(options.adapt, 1 / (levels[USED] + WARM_UP))
        left = min(surprise, LARGEST_SURPRISE) * own * own / (variance + own)
        found = weight * (left + variance * own / (variance + own)) * levels[NOISE] / noise
        levels[NOISE] += share * (found - levels[NOISE])
        levels[NOISE] = min(max(levels[NOISE], options.noise_low), options.noise_high)
    levels[SURPRISE] += options.fading_share * (min(surprise, 25.0) - levels[SURPRISE])


@njit(cache=True)
def take(
    state: Any,
    covariance: Any,
    projected: Any,
    innovation: float,
    variance: float,
    noise: float,
    levels: Any,
    options: Any,
) -> None:
    """Take a sample in that is what it says."""
    weight = reweighted(innovation, variance, noise, options.degrees) if options.degrees > 0 else 1.0
    total = variance + noise / weight
    correct(state, covariance, projected, innovation / total, total)
    follow_levels(levels, innovation, variance, noise, weight, options)


@njit(cache=True)
def take_clipped(
    state: Any,
    covariance: Any,
    projected: Any,
    sample: float,
    expected: float,
    total: float,
    options: Any,
    table: Any,
) -> tuple[float, float]:
    """Take a sample in that lay at a limit or beyond; its mean, and the share of its variance that is gone."""
    sign = 1.0 if sample >= options.upper else -1.0
    level = options.upper if sample >= options.upper else options.lower
    root = np.sqrt(total)
    point = sign * (level - expected) / root
    mean = hazard(point, table)
    shrinking = min(max(mean * (mean - point), 0.0), 1.0)
    if shrinking > LEAST:
        correct(state, covariance, projected, sign * mean / root, total / shrinking)
    return expected + sign * root * mean, shrinking


@njit(cache=True)
def weigh(levels: Any, whitened: float, innovation: float, sample: float, options: Any) -> None:
    """The powers that tell whether the filter is of any use, and how much it has seen."""
    levels[USED] += 1
    levels[LARGEST] = max(levels[LARGEST], sample * sample)
    share = max(options.watch, 1 / levels[USED])
    levels[MIXTURE_POWER] += share * (whitened * whitened - levels[MIXTURE_POWER])
    levels[ERROR_POWER] += share * (innovation * innovation - levels[ERROR_POWER])


@njit(cache=True)
def remember(past: Any, doubt: Any, value: float, variance: float) -> None:
    """Move the samples that the background is predicted from on by one."""
    for place in range(len(past) - 1, 0, -1):
        past[place], doubt[place] = past[place - 1], doubt[place - 1]
    if len(past):
        past[0], doubt[0] = value, variance


@njit(cache=True)
def advance(
    samples: Any,
    tones: Any,
    background: Any,
    whitening: Any,
    prior: Any,
    options: Any,
    table: Any,
    state: Any,
    covariance: Any,
    past: Any,
    doubt: Any,
    levels: Any,
    estimates: Any,
    innovations: Any,
    variances: Any,
) -> None:
    """Filter samples (n,), NaN where one is missing; the state goes on in its arrays.

    Writes the tones (K, n), and of every sample the innovation and its variance (n,), NaN where there is none; of a
    clipped one, how far the limit lay from what was expected.
    """
    count, parts, width = len(tones), len(background), options.width
    projected, turns = np.empty(len(state)), np.empty((count, 4))
    for number in range(len(samples)):
        sample = samples[number]
        predict(state, covariance, tones, background, options, turns)
        fade(covariance, prior, levels, count * width, options)
        variance = project(covariance, tones, parts, width, projected)
        before, inflation = 0.0, 1.0
        for place in range(len(whitening)):
            before += whitening[place] * past[place]
            inflation += whitening[place] * whitening[place] * doubt[place]
        expected = before + seen(state, tones, parts, width)
        noise = levels[NOISE] * inflation
        innovations[number] = variances[number] = np.nan
        if np.isnan(sample):
            levels[MISSING] += 1
            remember(past, doubt, expected, min(inflation, options.spread))
        elif sample >= options.upper or sample <= options.lower:
            levels[CLIPPED] += 1
            level = options.upper if sample >= options.upper else options.lower
            innovations[number], variances[number] = level - expected, variance + noise
            mean, shrinking = take_clipped(
                state, covariance, projected, sample, expected, variance + noise, options, table
            )
            remember(past, doubt, mean, min(inflation * (1 - shrinking), options.spread))
        else:
            innovations[number], variances[number] = sample - expected, variance + noise
            take(state, covariance, projected, sample - expected, variance, noise, levels, options)
            weigh(levels, sample - before, sample - expected, sample, options)
            remember(past, doubt, sample, 0.0)
            if lost(state, variance, levels, count, options):
                begin_anew(state, covariance, prior, levels)
        for tone in range(count):
            at = tone * width
            if width == 3:
                state[at + 2] = min(max(state[at + 2], -options.offset_limit), options.offset_limit)
            estimates[tone, number] = state[at]


@njit(cache=True)
def weights_of(losses: Any, memory: float, sharpness: float, weights: Any) -> None:
    """Weights (M,) of filters, whose sum is 1, from their losses.

    A weight falls with the loss beyond the least, in units of the least's mean, as the exponential function does:
    ``(1 + x / 64) ** -64``, which needs no C library.
    """
    least, total = losses[0], 0.0
    for place in range(len(losses)):
        least = min(least, losses[place])
    unit = least / max(memory, 1.0)
    for place in range(len(losses)):
        beyond = sharpness * (losses[place] - least) / unit if unit > 0 else 0.0
        weight = 1 / (1 + beyond / 64)
        for _ in range(6):
            weight *= weight
        weights[place] = weight
        total += weight
    for place in range(len(losses)):
        weights[place] /= total


@njit(cache=True)
def average_of(errors: Any, tones: Any, kept: float, sharpness: float, losses: Any, memory: Any, averaged: Any) -> None:
    """Average the tones (M, K, n) of M filters by how little each has missed the samples so far, into (K, n).

    `errors` (M, n) are absolute, NaN where a sample is missing; `losses` (M,) are their sums, which fade by `kept` a
    sample, and `memory` (1,) the number of samples that these are worth.
    """
    weights = np.empty(len(losses))
    for number in range(errors.shape[1]):
        if not np.isnan(errors[0, number]):
            memory[0] = kept * memory[0] + 1
            for place in range(len(losses)):
                losses[place] = kept * losses[place] + errors[place, number]
        weights_of(losses, memory[0], sharpness, weights)
        for tone in range(tones.shape[1]):
            total = 0.0
            for place in range(len(losses)):
                total += weights[place] * tones[place, tone, number]
            averaged[tone, number] = total
