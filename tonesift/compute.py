"""Where numbers are crunched: the device, and pieces of work side by side on a CPU.

On a CPU work is cut into pieces and each piece runs on a thread of its own that uses one core: a recurrent network's
matrices are too small for PyTorch's own threads to share (`benchmarks/training.py` measures it). What is computed
depends on the pieces only, so one thread and two give the same bits.
"""

import ctypes
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import torch

from tonesift.errors import InputError

# From glibc's malloc.h; 32 MB is the most that the second may be set to.
MALLOPT_TRIM_THRESHOLD, MALLOPT_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 32 * 2**20

ParallelMap = Callable[[Callable, Sequence], list]


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


def check_precision(name: str, device: torch.device) -> None:
    """Refuse 'bfloat16' where the processor would only emulate it.

    Raises
    ------
    InputError
        If it has no instructions for it.
    """
    if name == "float32":
        return
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has = torch.cpu.get_capabilities()
        native = any(has.get(instructions, False) for instructions in ("avx512_bf16", "amx_bf16", "bf16"))
    if not native:
        raise InputError(f"train.precision: got {name!r}, but this processor ({device.type}) lacks it: use float32")


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: where it cuts large arrays for several, sums and sines have other last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def parallel_map(device: torch.device, pieces: int) -> Iterator[ParallelMap]:
    """Give a map over pieces of work: on a CPU side by side, each piece on one core; on a GPU one after the other.

    Parameters
    ----------
    device : torch.device
        Where the work runs.
    pieces : int
        How many pieces there are at most at a time. No more threads are used than PyTorch would (OMP_NUM_THREADS).
    """
    threads = min(pieces, torch.get_num_threads()) if device.type == "cpu" else 1
    keep_freed_memory()
    alone = {"initializer": torch.set_num_threads, "initargs": (1,)}
    with one_thread(), ThreadPoolExecutor(max(threads - 1, 1), **alone) as pool:
        yield partial(_side_by_side, pool, threads)


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
