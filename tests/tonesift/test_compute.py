import platform
import sys
import threading

import pytest
import torch

from tonesift import compute
from tonesift.errors import InputError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def test_workers_restore_the_number_of_threads(two_threads):
    with compute.parallel_map(CPU, 4) as run:
        assert torch.get_num_threads() == 1
        assert run(lambda item: (item, torch.get_num_threads()), [1, 2, 3]) == [(1, 1), (2, 1), (3, 1)]
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("items", [0, 1, 2, 3, 7])
def test_results_come_in_the_order_of_the_pieces(threads, items, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    with compute.parallel_map(CPU, 3) as run:
        assert run(lambda item: item * item, list(range(items))) == [item * item for item in range(items)]


@pytest.mark.parametrize(("device", "pieces", "threads", "expected"), [(CPU, 4, 2, 2), (CPU, 1, 2, 1), (CUDA, 4, 2, 1)])
def test_pieces_run_on_as_many_threads_as_there_is_work_and_cores_for(device, pieces, threads, expected, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    meeting = threading.Barrier(expected)

    def work(item):
        if item < expected:
            meeting.wait(timeout=30)  # broken unless so many are under way at once
        return threading.get_ident()

    with compute.parallel_map(device, pieces) as run:
        assert len(set(run(work, list(range(8))))) == expected


def test_an_error_in_a_worker_reaches_the_caller():
    def work(item):
        raise InputError(f"bad {item}")

    with compute.parallel_map(CPU, 2) as run, pytest.raises(InputError, match="bad 1"):
        run(work, [1, 2])


def test_the_number_of_threads_is_restored_after_an_error_too(two_threads):
    with pytest.raises(InputError, match="stop"), compute.parallel_map(CPU, 2):
        raise InputError("stop")
    assert torch.get_num_threads() == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_refused():
    with pytest.raises(InputError, match="device: got 'cuda', but PyTorch finds no CUDA device here: use cpu or auto"):
        compute.choose_device("cuda")
    assert compute.choose_device("auto") == CPU


@pytest.mark.parametrize(("name", "expected"), [("cpu", CPU), ("cuda", CUDA), ("auto", CUDA)])
def test_auto_takes_the_cuda_device_where_there_is_one(name, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert compute.choose_device(name) == expected


@pytest.mark.parametrize("instructions", ["avx512_bf16", "amx_bf16", "bf16"])
def test_bfloat16_needs_instructions_for_it(instructions, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, instructions: True})
    compute.check_precision("bfloat16", CPU)


@pytest.mark.parametrize("lacking", [{}, {"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, {"neon": True}])
def test_bfloat16_is_refused_where_it_would_be_emulated(lacking, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: lacking)
    with pytest.raises(
        InputError, match=r"train\.precision: got 'bfloat16', but this processor \(cpu\) lacks it: use float32"
    ):
        compute.check_precision("bfloat16", CPU)
    compute.check_precision("float32", CPU)


def test_bfloat16_on_a_gpu_is_the_gpus_affair(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    asked = []

    def supported(including_emulation=True):
        asked.append(including_emulation)
        return len(asked) == 1

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    compute.check_precision("bfloat16", CUDA)
    with pytest.raises(InputError, match=r"this processor \(cuda\) lacks it"):
        compute.check_precision("bfloat16", CUDA)
    assert asked == [False, False]


def test_elsewhere_than_on_glibc_memory_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(compute.ctypes, "CDLL", lambda name: pytest.fail("the C library was asked for"))
    compute.keep_freed_memory()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_kept():
    """Without it, 16 MB freed and asked for again are fetched page by page: 4000 faults each time."""
    import resource
    import subprocess

    program = (
        "import ctypes, resource, sys; from tonesift import compute\n"
        "if sys.argv[1] == 'kept': compute.keep_freed_memory()\n"
        "libc = ctypes.CDLL(None); libc.malloc.restype = ctypes.c_void_p\n"
        "def fill():\n"
        "    place = ctypes.c_void_p(libc.malloc(2**24)); ctypes.memset(place, 1, 2**24); libc.free(place)\n"
        "fill(); before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(20): fill()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    page = resource.getpagesize()
    faults = {
        how: int(
            subprocess.run([sys.executable, "-c", program, how], capture_output=True, check=True, text=True).stdout
        )
        for how in ("kept", "returned")
    }
    assert faults["kept"] < 2**24 / page
    assert faults["returned"] > 5 * faults["kept"]
