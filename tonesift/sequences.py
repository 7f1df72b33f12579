"""Batches of windows, gathered from the signal by index on the device that trains; and passes over all of them.

The plain way writes every window out: 191 MB for 10 000 samples. Here the signal stays as it is and a batch is one
indexed read, so memory is that of the recordings whatever the windows.

On a CPU work is cut into pieces and each piece runs on a thread of its own that uses one core: a recurrent network's
matrices are too small for PyTorch's own threads to share (`benchmarks/training.py` measures it). What is computed
depends on the pieces only, so one thread and two give the same bits.
"""

import ctypes
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tonesift.errors import InputError
from tonesift.metrics import Tally, tally
from tonesift.model import ToneLSTM, features
from tonesift.recordings import Recordings

# From glibc's malloc.h; 32 MB is the most that the second may be set to.
MALLOPT_TRIM_THRESHOLD, MALLOPT_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 32 * 2**20

Workers = Callable[[Callable, Sequence], list]


class Signals(NamedTuple):
    """Mixtures (R, N), scaled, and tones (R, K, N) of a set of recordings, on one device."""

    mixture: Tensor
    tones: Tensor


def read_signals(source: Recordings, center: float, scale: float, device: torch.device) -> Signals:
    """All recordings of a set; the mixture as (mixture - center) / scale."""
    mixture = np.stack([source.mixture(index) for index in range(source.count)])
    tones = np.stack([source.tones(index) for index in range(source.count)])
    scaled = (mixture - np.float32(center)) / np.float32(scale)
    return Signals(torch.from_numpy(scaled).to(device), torch.from_numpy(tones).to(device))


@dataclass(frozen=True)
class Sequences:
    """Windows of a set of recordings, each wanted once for every tone: W windows and K tones are W K examples.

    Attributes
    ----------
    signals : Signals
        Scaled mixtures (R, N) and clean tones (R, K, N), on the device to compute on.
    windows : ndarray of int64, shape (W, 2)
        Recording and first sample of each window.
    length : int
        L, samples in a window.
    """

    signals: Signals
    windows: NDArray[np.int64]
    length: int

    @property
    def tones(self) -> int:
        """K."""
        return self.signals.tones.shape[1]

    def __len__(self) -> int:
        """Number of examples, W K."""
        return len(self.windows) * self.tones

    def batch(self, examples: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Network input (L, B, 1 + K) and target (L, B) of examples (B,); example e is window e // K, tone e % K."""
        count, samples = self.signals.tones.shape[1:]
        windows, wanted = np.divmod(examples, count)
        recordings, first = self.windows[windows].T
        at = first + np.arange(self.length)[:, None]  # (L, B)
        mixture = _take(self.signals.mixture, recordings * samples + at)
        target = _take(self.signals.tones, (recordings * count + wanted) * samples + at)
        return features(mixture, torch.from_numpy(wanted).to(mixture.device), count), target


def _take(signal: Tensor, indices: NDArray[np.int64]) -> Tensor:
    return signal.view(-1)[torch.from_numpy(indices).to(signal.device)]


def choose_device(name: str) -> torch.device:
    """Device for 'cpu', 'cuda' or 'auto' (cuda where there is one).

    Raises
    ------
    InputError
        If 'cuda' is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device: got 'cuda', but PyTorch finds no CUDA device here: use cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@contextmanager
def workers(device: torch.device, pieces: int) -> Iterator[Workers]:
    """Give a map over pieces of work: on a CPU side by side, each piece on one core; on a GPU one after the other.

    Parameters
    ----------
    device : torch.device
        Where the work runs.
    pieces : int
        How many pieces there are at most at a time. No more threads are used than PyTorch would (OMP_NUM_THREADS).
    """
    before = torch.get_num_threads()
    threads = min(pieces, before) if device.type == "cpu" else 1
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
        with ThreadPoolExecutor(max(threads - 1, 1), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield partial(_side_by_side, pool, threads)
    finally:
        torch.set_num_threads(before)


def _side_by_side(pool: ThreadPoolExecutor, threads: int, work: Callable, items: Sequence) -> list:
    """Results of `work` for each item, in order; every `threads`-th item is worked on in the calling thread."""
    done = [pool.submit(lambda part: [work(item) for item in part], items[n::threads]) for n in range(1, threads)]
    parts = [[work(item) for item in items[::threads]], *(future.result() for future in done)]
    return [parts[n % threads][n // threads] for n in range(len(items))]


def keep_freed_memory() -> None:
    """Have the C library keep the memory it is given back, for the rest of the process.

    A step of training frees and asks again for the same few megabytes. glibc returns them to the system in between, and
    fetching them anew, page by page (8000 page faults a step at the baseline), takes a quarter of the step. Elsewhere
    than on glibc nothing is done.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for option in (MALLOPT_TRIM_THRESHOLD, MALLOPT_MMAP_THRESHOLD):
        libc.mallopt(option, KEPT_BYTES)


def predict(model: ToneLSTM, sequences: Sequences, batch_size: int, run: Workers) -> Iterator[tuple[NDArray, ...]]:
    """Pass over every example in order, without dropout.

    Parameters
    ----------
    model : ToneLSTM
        On the device of `sequences`.
    sequences : Sequences
        What to pass over.
    batch_size : int
        Examples in one pass; memory grows with it, results do not depend on it but for rounding.
    run : Workers
        From `workers`.

    Yields
    ------
    examples, target, output : ndarray
        Shapes (B,), (L, B), (L, B), float32.
    """

    def work(examples: NDArray[np.int64]) -> tuple[NDArray, ...]:
        with torch.inference_mode():
            inputs, target = sequences.batch(examples)
            return examples, target.cpu().numpy(), model(inputs).cpu().numpy()

    batches = np.split(np.arange(len(sequences)), np.arange(batch_size, len(sequences), batch_size))
    for begin in range(0, len(batches), 8):  # a few at a time: finished batches wait in memory
        yield from run(work, batches[begin : begin + 8])


class Scores(NamedTuple):
    """Tally of each tone, and the squared error (K, L) at each position of a window, averaged over the windows."""

    tallies: list[Tally]
    position_mse: NDArray[np.float64]


def score(model: ToneLSTM, sequences: Sequences, batch_size: int, run: Workers) -> Scores:
    """Judge a model on every example; parameters as for `predict`."""
    tallies = [Tally()] * sequences.tones
    squares = np.zeros((sequences.tones, sequences.length))
    for examples, target, output in predict(model, sequences, batch_size, run):
        for tone in range(sequences.tones):
            chosen = examples % sequences.tones == tone
            wanted, given = target[:, chosen], output[:, chosen]
            tallies[tone] += tally(wanted, given)
            squares[tone] += np.square(given - wanted, dtype=np.float64).sum(axis=1)
    return Scores(tallies, squares / max(len(sequences.windows), 1))


def stitched(model: ToneLSTM, signals: Signals, length: int, batch_size: int, run: Workers) -> NDArray[np.float32]:
    """Outputs over whole recordings: windows laid end to end, each from a reset state.

    Parameters
    ----------
    model : ToneLSTM
        On the device of `signals`.
    signals : Signals
        R recordings of N samples.
    length : int
        L, at most N. Where N is no multiple of it, a last window that ends with the recording fills the rest.
    batch_size, run
        As for `predict`.

    Returns
    -------
    ndarray, shape (R, K, N)
    """
    count, samples = signals.mixture.shape
    firsts = np.unique(np.append(np.arange(0, samples - length + 1, length), samples - length))
    windows = np.stack([np.repeat(np.arange(count), len(firsts)), np.tile(firsts, count)], axis=1)
    chosen = Sequences(signals, windows, length)
    passed = [output for _, _, output in predict(model, chosen, batch_size, run)]
    outputs = np.concatenate(passed, axis=1).T.reshape(count, len(firsts), chosen.tones, length)
    whole = np.empty((count, chosen.tones, samples), dtype=np.float32)
    for index in reversed(range(len(firsts))):  # so that earlier windows overwrite the last one where they meet
        whole[:, :, firsts[index] : firsts[index] + length] = outputs[:, index]
    return whole
