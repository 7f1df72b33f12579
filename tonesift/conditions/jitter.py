"""The best that anybody could do under jitter where the waveforms are known and only the place in them is not.

Jitter draws a tone's amplitude and phase anew at every sample, so the mixture's samples are independent of each other,
given the place in the common period, but neither normal nor of one variance. Their distribution at each place is
worked out as a histogram; from there on all is as in `estimators.limits.fixed_mse`: the posterior over places, and its
variance as the error of the posterior mean, which no estimator undercuts.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tonesift.arguments import Array, Counts, checked_seen
from tonesift.estimators.limits import stratified_offsets, weighted_variances, without_unlikely

BINS = 2048  # of the mixture's values, between the largest there can be
PHASES, LEVELS = 512, 64  # parts of the ranges of phase and amplitude, of which a tone's histogram is made
BLOCK = 100  # segments simulated side by side: bounds memory
PRUNE_EVERY = 4  # samples between two attempts to drop places that have become unlikely
SMALLEST = 1e-14  # probability below which the Fourier transform has rounding errors only


class Jitter(NamedTuple):
    """Known waveforms under jitter.

    Attributes
    ----------
    turns : Array, shape (K, P)
        Of each tone's angle over the common period.
    amplitudes : Array, shape (K,)
        Of the tones.
    amplitude : float
        Share by which amplitudes are off at most, uniformly.
    phase : float
        Degrees by which phases are off at most, uniformly.
    noise_std : float
        Standard deviation of white noise on top.
    """

    turns: Array
    amplitudes: Array
    amplitude: float
    phase: float
    noise_std: float

    @property
    def tones(self) -> Array:
        """The tones (K, P) without jitter."""
        return self.amplitudes[:, None] * np.sin(2 * np.pi * self.turns)

    @property
    def width(self) -> float:
        """Of a bin: all of them reach as far as the mixture does, with noise of eight standard deviations."""
        largest = self.amplitudes.mean() * (1 + self.amplitude) + 8 * self.noise_std
        return 2 * float(largest) / (BINS - 2)

    def mixtures(self, places: Counts, generator: np.random.Generator) -> Array:
        """Mixture at places (...) of the period, its jitter and noise drawn."""
        heard = np.zeros(places.shape)
        for turns, amplitude in zip(self.turns, self.amplitudes, strict=True):
            louder, later = generator.uniform(-1.0, 1.0, (2, *places.shape))
            angle = 2 * np.pi * (turns[places] + self.phase / 360.0 * later)
            heard += amplitude * (1 + self.amplitude * louder) * np.sin(angle) / len(self.turns)
        return heard + self.noise_std * generator.standard_normal(places.shape)

    def bins(self, mixtures: Array) -> NDArray[np.int64]:
        """Bin whose middle each value is nearest to."""
        found = np.rint(mixtures / self.width).astype(np.int64) + BINS // 2
        return np.clip(found, 0, BINS - 1)


def log_probabilities(jitter: Jitter) -> Array:
    """Logarithm of the probability that the mixture falls into each bin, at each place: shape (BINS, P).

    Notes
    -----
    A tone's values over a fine grid of phases and amplitudes are counted, each shared between the two bins next to it;
    the sum of independent tones has the product of their Fourier transforms, and so has the noise.
    """
    frequencies = 2 * np.pi * np.fft.rfftfreq(2 * BINS)
    transform = np.exp(-0.5 * (jitter.noise_std / jitter.width * frequencies) ** 2)
    found = np.tile(transform.astype(np.complex128), (jitter.turns.shape[1], 1))
    for turns, amplitude in zip(jitter.turns, jitter.amplitudes / len(jitter.turns), strict=True):
        unlike, which = np.unique(np.round(np.fmod(turns, 1.0), 12), return_inverse=True)
        counted = np.stack([_histogram(jitter, amplitude, turn) for turn in unlike])
        found *= np.fft.rfft(counted, axis=1)[which]
    probabilities = np.fft.irfft(found, axis=1)  # of a sum: it begins at the middle of the bins, going round
    around = np.roll(probabilities, BINS // 2, axis=1)[:, :BINS]
    return np.log(np.maximum(around, SMALLEST)).T.copy()


def _histogram(jitter: Jitter, amplitude: float, turn: float) -> Array:
    """Shares (2 BINS,) of a tone's values at an angle: bin 0 has those about 0, the last bins negative ones."""
    phases, levels = (np.arange(parts) * 2.0 / parts + 1.0 / parts - 1.0 for parts in (PHASES, LEVELS))
    sines = np.sin(2 * np.pi * (turn + jitter.phase / 360.0 * phases))
    values = (amplitude * sines[:, None] * (1 + jitter.amplitude * levels)).ravel() / jitter.width
    below = np.floor(values)
    shares = values - below
    at = below.astype(np.int64)
    counted = np.bincount(at % (2 * BINS), 1 - shares, 2 * BINS) + np.bincount((at + 1) % (2 * BINS), shares, 2 * BINS)
    return counted / values.size


def jittered_mse(jitter: Jitter, seen: Counts, *, draws: int, generator: np.random.Generator) -> Array:
    """Mean squared error (K, T) of the posterior mean when only the place in the period is unknown.

    Parameters
    ----------
    jitter : Jitter
        The waveforms, and what happens to them.
    seen : array_like of int, shape (T,)
        Samples known when each sample is answered, from 0 to T, never fewer than before.
    draws : int
        Simulated segments.
    generator : numpy.random.Generator
        Source of their places, jitter and noise.

    Notes
    -----
    As `estimators.limits.fixed_mse`, with the likelihood of jitter in place of the normal one: from a histogram of
    `BINS` bins, narrow beside any jitter worth the name.
    """
    counts, table = checked_seen(seen), log_probabilities(jitter)
    begins = stratified_offsets(jitter.turns.shape[1], draws, generator)
    total = np.zeros((len(jitter.turns), len(counts)))
    for block in np.array_split(begins, -(-draws // BLOCK)):
        for sample, variances in _simulated_variances(jitter, table, block, counts, generator):
            total[:, sample] += variances.sum(axis=1)
    return total / draws


def _simulated_variances(
    jitter: Jitter, table: Array, begins: Counts, counts: Counts, generator: np.random.Generator
) -> Iterator[tuple[int, Array]]:
    """Simulate one segment for each place it begins at; yield samples and their posterior variances (K, D)."""
    tones, period = jitter.tones, table.shape[1]
    read = (begins[:, None] + np.arange(counts.max())) % period
    bins = jitter.bins(jitter.mixtures(read, generator))
    candidates = np.tile(np.arange(period), (len(begins), 1))
    log_ratio, known = np.zeros(candidates.shape), 0
    for sample, count in enumerate(counts):
        for at in range(known, count):
            log_ratio += table[bins[:, at, None], (candidates + at) % period]
            log_ratio -= table[bins[:, at], read[:, at]][:, None]
            if at % PRUNE_EVERY == PRUNE_EVERY - 1:
                candidates, log_ratio = without_unlikely(candidates, log_ratio)
        if candidates.shape[1] == 1:
            return  # every draw's place is known, so all later variances are 0
        known = max(known, count)
        weights = np.exp(log_ratio - log_ratio.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        yield sample, weighted_variances(tones, weights, (candidates + sample) % period)
