"""The kernel, compiled: by Numba, when the first filter is asked for samples, and kept beside the code from then on."""

import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path


@functools.cache
def kernel() -> Callable[..., None]:
    """The compiled `advance`; where it has to be compiled first, that is said on standard error."""
    from tonesift.estimators.tracking.kernel import advance

    return _Announced(advance)


@functools.cache
def step_kernel() -> Callable[..., None]:
    """The compiled `advance_steps`, announced likewise."""
    from tonesift.estimators.tracking.stepping import advance_steps

    return _Announced(advance_steps)


def average() -> Callable[..., None]:
    """The compiled `average_of`; a bank has run its filters by then, so nothing is announced."""
    from tonesift.estimators.tracking.kernel import average_of

    return average_of


def weigh() -> Callable[..., None]:
    """The compiled `weights_of`."""
    from tonesift.estimators.tracking.kernel import weights_of

    return weights_of


class _Announced:
    """Calls a function that Numba compiles at its first call, and says how long that took."""

    def __init__(self, function: Callable[..., None]) -> None:
        self._function, self._ready = function, False

    def __call__(self, *arguments: object) -> None:
        if self._ready:
            self._function(*arguments)
            return
        begin = time.perf_counter()
        kept = self._kept()
        if not kept:
            print("compiling the filters, once: ", end="", file=sys.stderr, flush=True)
        self._function(*arguments)
        if not kept:
            print(f"{time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
        self._ready = True

    def _kept(self) -> bool:
        """Whether a compiled function lies in Numba's cache; one of older code is replaced unsaid."""
        folder = Path(self._function.stats.cache_path)
        module = self._function.__module__.rpartition(".")[2]
        return any(folder.glob(f"{module}.{self._function.__name__}-*.nbc"))
