"""A tracking filter run a step of several samples at a time, and what it knows at the end of each, compiled.

Like the kernel: no fused or reordered operations, nothing of the C library, so the same bits on every processor. A
tone's phasor is ``A cos + i A sin``. What is said of a tone is said beside the direction of its own phasor, so that it
does not depend on the phase; logarithms are of base 2, straight between powers of two. `tonesift.frame` has the order.
"""

import math
from typing import Any

import numpy as np
from numba import njit

from tonesift.estimators.tracking.kernel import advance
from tonesift.estimators.tracking.levels import NOISE, USED
from tonesift.frame import COMMON, CROSS, DIRECTION, FILTERS, FRAME, OWN, PHASOR, SAMPLES

FLOOR = 0.1  # added to a tone's amplitude where it is divided by
OUTLYING = 3.0  # standard deviations
OFFSETS = 100.0  # of relative frequencies, so that they are of the size of the other features
FARTHEST = 2.0  # of another filter's phasor from the first one's, beside 1 and the tone's amplitude


@njit(cache=True)
def log2(value: float) -> float:
    """Base-2 logarithm of a number above 0, straight between powers of two."""
    mantissa, power = math.frexp(value)
    return power + 2.0 * mantissa - 2.0


@njit(cache=True)
def bounded(value: float) -> float:
    """The value itself near 0, and never beyond 3."""
    return value / math.sqrt(1.0 + value * value / 9.0)


@njit(cache=True)
def missed(sample: float, innovation: float, options: Any) -> float:
    """How far a sample lay from what was expected; one at a limit may lie as far beyond as is expected."""
    if sample >= options.upper:
        return max(innovation, 0.0)
    return min(innovation, 0.0) if sample <= options.lower else innovation


@njit(cache=True)
def direction(cosine: float, sine: float) -> tuple[float, float, float]:
    """Length of a phasor, and cosine and sine of its angle."""
    size = math.sqrt(cosine * cosine + sine * sine)
    return (size, cosine / size, sine / size) if size > 0 else (0.0, 1.0, 0.0)


@njit(cache=True)
def describe(
    state: Any, spread: float, level: float, turns: Any, errors: Any, normal: Any, phasor: Any, features: Any
) -> None:
    """A tone's phasor at the end of a step, and its own features.

    With e_m the error m samples before the end, ``i conj(u) sum e_m exp(i w m)`` is what the errors say the phasor of
    direction u is short of: its real part lengthens it, its imaginary part turns it.
    """
    hop = len(errors)
    phasor[0], phasor[1] = state[1], state[0]
    size, along, across = direction(state[1], state[0])
    real = imaginary = real_normal = imaginary_normal = 0.0
    for place in range(hop):
        real += errors[place] * turns[place, 0]
        imaginary += errors[place] * turns[place, 1]
        real_normal += normal[place] * turns[place, 0]
        imaginary_normal += normal[place] * turns[place, 1]
    scale, root = 2.0 / hop / (size + FLOOR), math.sqrt(2.0 / hop)
    power = (real_normal * real_normal + imaginary_normal * imaginary_normal) * 2.0 / hop
    features[0] = bounded((across * real_normal - along * imaginary_normal) * root)
    features[1] = bounded((along * real_normal + across * imaginary_normal) * root)
    features[2] = bounded((across * real - along * imaginary) * scale)
    features[3] = bounded((along * real + across * imaginary) * scale)
    features[4] = 0.25 * log2(0.05 + power)
    features[5] = 0.25 * log2(1e-6 + min(level, 1e12))
    features[6] = 0.25 * log2(1e-6 + min(spread, 1e12))
    features[7] = 0.25 * log2(1e-4 + min(size * size, 1e12))


@njit(cache=True)
def weigh_errors(
    piece: Any, innovations: Any, variances: Any, noise: float, options: Any, errors: Any, normal: Any, common: Any
) -> float:
    """Errors (hop,) of a step, plain and beside what was expected, and their mean variance; 0 where one is missing."""
    hop, missing, clipped, outlying, level = len(piece), 0, 0, 0, 0.0
    for place in range(hop):
        errors[place] = normal[place] = 0.0
        if np.isnan(piece[place]):
            missing += 1
            continue
        level += variances[place]
        errors[place] = missed(piece[place], innovations[place], options)
        ratio = errors[place] / math.sqrt(variances[place])
        outlying += abs(ratio) > OUTLYING
        clipped += piece[place] >= options.upper or piece[place] <= options.lower
        normal[place] = bounded(ratio)
    common[0], common[1], common[2] = missing / hop, clipped / hop, outlying / hop
    return level / (hop - missing) if missing < hop else noise


@njit(cache=True)
def advance_steps(
    samples: Any, hop: int, plan: Any, memory: Any, turns: Any, number: int, phasors: Any, frames: Any
) -> None:
    """Run filter `number` over samples (S hop,): phasors (S, K, 2), and its part of the frames (S, K, FRAME).

    `plan` and `memory` are what the kernel is given between its samples and what it finds.
    """
    options, state, covariance, levels = plan[4], memory[0], memory[1], memory[4]
    count, width, common = len(plan[0]), options.width, np.empty(4)
    innovations, variances, errors, normal = np.empty(hop), np.empty(hop), np.empty(hop), np.empty(hop)
    rest = plan + memory + (np.empty((count, hop)), innovations, variances)
    for step in range(len(samples) // hop):
        piece = samples[step * hop : (step + 1) * hop]
        advance(piece, *rest)
        level = weigh_errors(piece, innovations, variances, levels[NOISE], options, errors, normal, common)
        common[3] = 0.125 * log2(1.0 + levels[USED])
        for tone in range(count):
            at, line = tone * width, frames[step, tone]
            spread = covariance[at, at] + covariance[at + 1, at + 1]
            own = line[1 + number * OWN : 1 + (number + 1) * OWN]
            describe(state[at : at + 2], spread, level, turns[tone], errors, normal, phasors[step, tone], own)
            if number == 0:
                line[PHASOR - COMMON : PHASOR - COMMON + 4] = common
            if len(line) > FRAME:
                offset = state[at + 2] if width == 3 else 0.0
                line[FRAME + number] = bounded(OFFSETS * offset)
                if number == 0:
                    line[0] = plan[0][tone, 2] * (1.0 + offset)


@njit(cache=True)
def compare(phasors: Any, frames: Any) -> None:
    """The rest of the frames: phasors (filters, S, K, 2), and how far the others' lie from the first one's."""
    for step in range(phasors.shape[1]):
        for tone in range(phasors.shape[2]):
            line = frames[step, tone]
            cosine, sine = phasors[0, step, tone, 0], phasors[0, step, tone, 1]
            size, along, across = direction(cosine, sine)
            line[PHASOR], line[PHASOR + 1] = cosine, sine
            for other in range(1, FILTERS):
                real, imaginary = phasors[other, step, tone, 0] - cosine, phasors[other, step, tone, 1] - sine
                far = math.sqrt(real * real + imaginary * imaginary)
                limit = FARTHEST * (1.0 + size)
                if far > limit:  # a filter that diverges is not to take the network with it
                    real, imaginary = real * (limit / far), imaginary * (limit / far)
                line[PHASOR + 2 * other], line[PHASOR + 2 * other + 1] = real, imaginary
                longer, turned = along * real + across * imaginary, along * imaginary - across * real
                at = 1 + FILTERS * OWN + (other - 1) * CROSS
                line[at], line[at + 1] = bounded(longer / (size + FLOOR)), bounded(turned / (size + FLOOR))
                line[at + 2], line[at + 3] = bounded(longer), bounded(turned)


@njit(cache=True)
def widen(samples: Any, hop: int, frames: Any) -> None:
    """What wide frames (S, K, ...) have beside the rest: directions of the phasors, and the samples (S hop,)."""
    for step in range(frames.shape[0]):
        for tone in range(frames.shape[1]):
            line = frames[step, tone]
            size = math.sqrt(line[PHASOR] * line[PHASOR] + line[PHASOR + 1] * line[PHASOR + 1])
            line[DIRECTION], line[DIRECTION + 1] = line[PHASOR] / (size + FLOOR), line[PHASOR + 1] / (size + FLOOR)
            for place in range(hop):
                sample = samples[step * hop + place]
                known = 0.0 if np.isnan(sample) else min(max(sample, -1e12), 1e12)
                line[SAMPLES + place] = math.copysign(0.5 * log2(1.0 + 2.0 * abs(known)), known)
