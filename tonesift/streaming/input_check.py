"""Whether a signal is like those a model was trained on: its level, its spectrum and its offset, in constant memory.

The signal is cut into blocks of a few periods, and each is fitted by least squares with a constant and the model's
tones: what the fit takes is the tones' power, what it leaves lies elsewhere. The first block is judged at once, all of
them together at the end. Blocks are fitted each for itself, because over an hour a tone of 1.0001 Hz is out of step
with one of 1 Hz, which is no misfit.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tonesift.metadata import Metadata

LARGEST_BLOCK = 2**18  # samples
LARGEST = 1e30  # beyond it a sample is a gap
# Of the level. A fixed task's amplitudes are known, and at half of them the network is of no use: 3 dB are borne.
# Drawn amplitudes vary: U(0, b) reaches sqrt(3) times its root mean square; all tones at a third of it are as unlikely.
LEVELS = {"fixed": (1 / math.sqrt(2), math.sqrt(2)), "general": (1 / 3, math.sqrt(3))}
# Of the share of power at the tones in training: at three times the trained noise, which a network bears, a share of
# 0.93 becomes 0.58, at five times, which it does not, 0.33.
LEAST_SHARE = 0.5
# Of the level: an offset within the noise, or so small beside the tones, is like what the network has learnt to bear.
LARGEST_OFFSET = 0.25


def distinct_seconds(frequencies: Sequence[float], least: float = 0.5) -> float:
    """Shortest stretch in which tones can be told apart: a period of the slowest, and of the closest two."""
    ordered = sorted(frequencies)
    return max(1 / ordered[0], *(1 / (b - a) for a, b in pairwise(ordered) if b > a), least)


class Trained(NamedTuple):
    """What the mixtures were that a model was trained on.

    Attributes
    ----------
    frequencies : tuple of float
        Hz, of the K tones.
    noise_std : float
        Standard deviation of the noise.
    second_moment : float
        E[A^2] of a tone's amplitude; the mixture is the mean of the tones.
    task : str
        'fixed' or 'general'.
    """

    frequencies: tuple[float, ...]
    noise_std: float
    second_moment: float
    task: str

    @property
    def tone_power(self) -> float:
        """Power of the mean of the tones."""
        return self.second_moment / (2 * len(self.frequencies))

    @property
    def level(self) -> float:
        """Root mean square of a mixture."""
        return math.sqrt(self.tone_power + self.noise_std**2)

    @property
    def share(self) -> float:
        """Share of a mixture's power that lies at the tones."""
        return self.tone_power / self.level**2

    @property
    def seconds(self) -> float:
        """Shortest stretch in which the tones can be told apart."""
        return distinct_seconds(self.frequencies)


def trained(metadata: Metadata) -> Trained:
    """What a model file says of it."""
    return Trained(metadata.frequencies, metadata.noise_std, metadata.second_moment, metadata.task)


class Constancy:
    """Watches whether a signal ever changes."""

    def __init__(self) -> None:
        self._least, self._most = math.inf, -math.inf

    @property
    def constant(self) -> str:
        """What is told of a signal that never changes; '' if it does."""
        if self._least == self._most:
            return f"every sample is {self._least:g}"
        return "no sample is a number" if self._least > self._most else ""

    def watch(self, samples: NDArray) -> NDArray[np.float64]:
        """Take the next samples (n,), and give those that are numbers."""
        known = np.asarray(samples, dtype="f8")
        known = known[np.abs(known) < LARGEST]
        if len(known):
            self._least, self._most = min(self._least, float(known.min())), max(self._most, float(known.max()))
        return known


class InputCheck(Constancy):
    """Compares a signal with what a model was trained on.

    Parameters
    ----------
    model : Trained
        What the model was trained on.
    rate : float
        Hz, of the signal.

    Attributes
    ----------
    samples : int
        Seen so far.
    """

    def __init__(self, model: Trained, rate: float) -> None:
        super().__init__()
        self._model, self._rate, self.samples = model, rate, 0
        self._block = min(LARGEST_BLOCK, math.ceil(2 * model.seconds * rate))
        self._held: list[NDArray] = []
        self._count = 0  # samples held
        self._basis = np.zeros((0, 0))
        self._sums, self._blocks = np.zeros(3), 0  # power, power besides the tones, offset
        self._said: set[str] = set()

    def push(self, samples: NDArray) -> list[str]:
        """Take the next samples (n,); what is to be said of the first blocks once they are there, a line for each."""
        self.samples += len(samples)
        known = self.watch(samples)
        self._held.append(known)
        self._count += len(known)
        before = self._blocks
        if self._count >= self._block:
            self._add_blocks(np.concatenate(self._held))
        return self._news() if self._blocks and not before else []

    def finish(self) -> list[str]:
        """What is to be said of the whole signal and was not before."""
        rest = np.concatenate([np.zeros(0), *self._held])
        if not self._blocks and len(rest) >= self._model.seconds * self._rate:
            self._block = len(rest)
            self._add_blocks(rest)
        return self._news() if self._blocks else []

    def _add_blocks(self, samples: NDArray[np.float64]) -> None:
        if len(self._basis) != self._block:
            self._basis = np.linalg.qr(_regressors(self._model.frequencies, self._rate, self._block))[0]
        whole = len(samples) // self._block * self._block
        self._held, self._count = [samples[whole:].copy()], len(samples) - whole
        blocks = samples[:whole].reshape(-1, self._block)
        offset = blocks.mean(axis=1)
        power = np.sum(np.square(blocks - offset[:, None]), axis=1)
        left = np.maximum(np.sum(np.square(blocks), axis=1) - np.sum(np.square(blocks @ self._basis), axis=1), 0)
        free = self._block - self._basis.shape[1]
        self._sums += [np.sum(power) / (self._block - 1), np.sum(left) / free, np.sum(offset)]
        self._blocks += len(blocks)

    def _news(self) -> list[str]:
        found = {} if self._least == self._most else self._misfits(*(self._sums / self._blocks))
        news = [line for kind, line in found.items() if kind not in self._said]
        self._said |= found.keys()
        return news

    def _misfits(self, power: float, left: float, offset: float) -> dict[str, str]:
        """Lines by what they are about."""
        model, level = self._model, math.sqrt(power)
        low, high = LEVELS[model.task]
        share = max(0.0, 1 - left / power)
        found = {}
        if not low <= level / model.level <= high:
            found["level"] = (
                f"its level is {level:.3g} (RMS), {level / model.level:.3g} times the {model.level:.3g} that the model "
                "was trained on: if it is in another unit, scale it first"
            )
        if share < LEAST_SHARE * model.share:
            tones = ", ".join(f"{frequency:.12g}" for frequency in model.frequencies)
            found["share"] = (
                f"{share:.0%} of its power lies at the model's tones ({tones} Hz), where it was {model.share:.0%} in "
                "training: other tones, or too much noise"
            )
        if abs(offset) > max(model.noise_std, LARGEST_OFFSET * max(level, model.level)):
            found["offset"] = f"its mean is {offset:.3g}, where the model was trained on 0: subtract it first"
        return found


def _regressors(frequencies: tuple[float, ...], rate: float, samples: int) -> NDArray[np.float64]:
    """A constant, and the sines and cosines of the tones: shape (samples, 2 K + 1)."""
    angles = 2 * np.pi * np.outer(np.arange(samples), np.array(frequencies) / rate)
    return np.concatenate([np.ones((samples, 1)), np.sin(angles), np.cos(angles)], axis=1)
