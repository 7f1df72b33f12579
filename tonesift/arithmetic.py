"""Which code computes: the same on every x86-64 processor with AVX2, or whatever is quickest on this one.

MKL, oneDNN, ATen, OpenBLAS and NumPy choose their code by the processor's maker, model and instructions, and what they
choose rounds differently. Each reads environment variables when it is loaded; with those below every processor runs the
same code, so `portable` makes the same bits everywhere, whatever the number of threads. `native` leaves them alone:
1.4 times as fast for an LSTM where there is AVX-512 (`make bench`).

Two things are avoided all the same: MKL's matrix products, whose portable code takes three to four times as long
(`tonesift.networks.base.product`), and unfused optimisers, whose square root is MKL's, which natively differs between
makers.
"""

import os
import platform
import sys
from pathlib import Path

from tonesift.errors import InputError

PORTABLE = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "COMPATIBLE",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4,AVX512_ICL,AVX512_SPR",
    "ONEDNN_DEFAULT_FPMATH_MODE": "STRICT",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}
CONTRARY = ("MKL_ENABLE_INSTRUCTIONS", "NPY_ENABLE_CPU_FEATURES", "OPENBLAS_L2_SIZE")
LIBRARIES = ("numpy", "torch")

_chosen = "native"


def choose(name: str, or_native: bool = False) -> None:
    """Decide how this process computes, before NumPy or PyTorch is loaded.

    Parameters
    ----------
    name : {'portable', 'native'}
        What `train.arithmetic` says.
    or_native : bool
        Where the processor cannot compute portably, note it and go on natively, instead of refusing.

    Raises
    ------
    InputError
        If 'portable' comes too late, since a library is loaded that was told nothing or something else; or if the
        processor is no x86-64 one with AVX2 and FMA.
    """
    global _chosen  # what the libraries make of the environment is the whole process's, too
    if name == "portable" and not has_avx2():
        lacking = f"portable arithmetic takes an x86-64 processor with AVX2 and FMA, which {processor()} is not"
        if not or_native:
            raise InputError(f"train.arithmetic: {lacking}: set it to native")
        print(f"note: {lacking}: other last digits than elsewhere", file=sys.stderr)
        name = "native"
    loaded = [library for library in LIBRARIES if library in sys.modules]
    told = all(os.environ.get(variable) == value for variable, value in PORTABLE.items())
    if name == "portable" and loaded and not (told and os.environ.keys().isdisjoint(CONTRARY)):
        raise InputError(
            f"portable arithmetic must be chosen before NumPy and PyTorch are loaded, but {' and '.join(loaded)} came "
            f"first: start Python without that, or with {' '.join(f'{key}={value}' for key, value in PORTABLE.items())}"
        )
    if name == "portable":
        os.environ.update(PORTABLE)
        for variable in CONTRARY:
            os.environ.pop(variable, None)
    elif told and not loaded:  # handed on by a process that computes portably
        for variable in PORTABLE:
            del os.environ[variable]
    _chosen = name


def chosen() -> str:
    """'portable' or 'native', whichever this process computes in."""
    return _chosen


def has_avx2() -> bool:
    """Whether this is an x86-64 processor with AVX2 and FMA; where only PyTorch could tell, it is taken to be."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    flags = [line.split() for line in _cpuinfo() if line.startswith("flags")]
    return not flags or {"avx2", "fma"} <= set(flags[0])


def build() -> dict[str, str]:
    """What decides a training run's bits beyond its parameters; the same on every processor if it is portable."""
    import torch

    found = {"arithmetic": _chosen, "torch": torch.__version__.partition("+")[0]}  # builds for CPU and GPU agree
    if _chosen == "native":
        found["processor"] = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return found


def machine() -> dict[str, str]:
    """Where a run took place, for people: arithmetic, processor by name, PyTorch's build."""
    import torch

    return {"arithmetic": _chosen, "processor": processor(), "torch": torch.__version__}


def processor() -> str:
    """Name of the processor."""
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")  # Linux's
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
