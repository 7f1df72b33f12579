"""The same bits on every processor: how that is chosen and refused, and whether it is so."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import PATHS, ROOT, require
from networks import HAS_BFLOAT16
from torch import nn

from tonesift import arithmetic
from tonesift.errors import InputError
from tonesift.networks.base import product

BITS = ROOT / "tests" / "bits.json"
PROCESSORS = ("haswell", "skylake", "zen2", "zen4")
PLAIN = {name: value for name, value in os.environ.items() if name not in arithmetic.PORTABLE}


def python(program, *arguments, **environment):
    """Run a program from the top of the repository, without what this process has set."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env=PLAIN | environment,
        capture_output=True,
        text=True,
        check=False,
    )


# -- choosing


def test_portable_is_chosen_before_the_libraries_and_reaches_them():
    program = """
from tonesift import arithmetic
arithmetic.choose("portable")
import numpy, threadpoolctl, torch
features = numpy._core._multiarray_umath.__cpu_features__
print(torch.backends.cpu.get_cpu_capability(), features["X86_V4"], features["AVX512_ICL"])
print(*{each["architecture"] for each in threadpoolctl.threadpool_info() if each["internal_api"] == "openblas"})
"""
    done = python(program, OPENBLAS_L2_SIZE="1", NPY_ENABLE_CPU_FEATURES="AVX512_SKX")
    assert done.stdout.split() == ["AVX2", "False", "False", "Haswell"], done.stderr


@pytest.mark.parametrize("library", arithmetic.LIBRARIES)
def test_portable_is_refused_where_a_library_was_loaded_otherwise(library):
    done = python(f"import {library}; from tonesift import arithmetic; arithmetic.choose('portable')")
    assert re.search(
        r"InputError: portable arithmetic must be chosen before .*start Python without that, or with ", done.stderr
    )
    told = python(
        f"import {library}; from tonesift import arithmetic; arithmetic.choose('portable')", **arithmetic.PORTABLE
    )
    assert told.returncode == 0, told.stderr


def test_a_stage_says_so_in_one_line():
    program = "import numpy, runpy, sys; sys.argv[0] = 'x'; runpy.run_module('stages.generate', run_name='__main__')"
    done = python(program, "a.h5", "b.h5", "--clock", os.devnull + "/none")
    assert done.returncode == 2
    (said,) = (line for line in done.stderr.splitlines() if not line.startswith("note:"))
    assert said.startswith(
        "generate: portable arithmetic must be chosen before NumPy and PyTorch are loaded, but numpy"
    )


def test_native_takes_back_what_a_portable_process_hands_on():
    program = """
from tonesift import arithmetic
arithmetic.choose("native")
import os
print(sorted(set(os.environ) & set(arithmetic.PORTABLE)), arithmetic.build()["arithmetic"])
"""
    assert python(program, **arithmetic.PORTABLE).stdout == "[] native\n"
    other = python(program, **arithmetic.PORTABLE | {"OPENBLAS_CORETYPE": "Zen"})  # somebody's own choice stays
    assert other.stdout.startswith(str(sorted(arithmetic.PORTABLE)))


@pytest.mark.parametrize(("machine", "flags"), [("x86_64", "fpu sse2 avx fma"), ("x86_64", "avx2"), ("aarch64", "")])
def test_a_processor_without_avx2_is_refused_for_training_and_noted_elsewhere(monkeypatch, capsys, machine, flags):
    monkeypatch.setattr(arithmetic.platform, "machine", lambda: machine)
    monkeypatch.setattr(arithmetic, "_cpuinfo", lambda: ["model name : Old One", f"flags : {flags}"] if flags else [])
    monkeypatch.setattr(arithmetic, "_chosen", "portable")
    with pytest.raises(InputError, match=r"train\.arithmetic: portable arithmetic takes .* is not: set it to native"):
        arithmetic.choose("portable")
    arithmetic.choose("portable", or_native=True)
    assert arithmetic.chosen() == "native"
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("note: portable arithmetic takes")


def test_facts_say_what_decides_the_bits_and_no_more(monkeypatch):
    assert arithmetic.build() == {"arithmetic": "portable", "torch": torch.__version__.partition("+")[0]}
    monkeypatch.setattr(arithmetic, "_chosen", "native")
    assert arithmetic.build()["processor"].endswith(torch.backends.cpu.get_cpu_capability())
    assert arithmetic.machine()["torch"] == torch.__version__
    assert arithmetic.machine()["processor"]


# -- products


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("shape", [(7, 5, 3), (1, 1, 1), (50, 96, 40), (33, 257, 129)])
def test_a_product_and_its_gradients_are_those_of_doubles(shape, shared):
    rows, inputs, outputs = shape
    generator = torch.Generator().manual_seed(1)
    drawn = [
        torch.randn(size, generator=generator, dtype=torch.float64)
        for size in ((rows, inputs), (outputs, inputs), (outputs,) if shared else (rows, outputs))
    ]
    found = [each.float().requires_grad_() for each in drawn]
    exact = [each.float().double().requires_grad_() for each in drawn]
    one, other = product(*found), exact[0] @ exact[1].T + exact[2]
    torch.testing.assert_close(one, other.float(), rtol=1e-4, atol=1e-4)
    weights = torch.randn(one.shape, generator=generator)
    gradients = torch.autograd.grad((one * weights).sum(), found)
    for got, wanted in zip(gradients, torch.autograd.grad((other * weights).sum(), exact), strict=True):
        torch.testing.assert_close(got, wanted.float(), rtol=1e-4, atol=1e-4)


def test_a_product_takes_steps_of_sequences_and_transposed_weights():
    inputs, weight = torch.randn(4, 3, 6), torch.randn(6, 5)
    expected = nn.functional.linear(inputs, weight.T, torch.ones(5))
    torch.testing.assert_close(product(inputs, weight.T, torch.ones(5)), expected, rtol=1e-5, atol=1e-5)


# -- the same bits


@pytest.fixture(scope="module")
def bits(tmp_path_factory):
    """Digests of this machine's own run."""
    return made(tmp_path_factory.mktemp("bits"))


def made(folder, **environment):
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "bits.py")],
        cwd=folder,
        env=PLAIN | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_small_run_of_each_family_gives_the_committed_bits(bits):
    committed = json.loads(BITS.read_text(encoding="utf-8"))
    assert set(bits) == set(committed)
    for family, outputs in committed.items():
        assert bits[family] == outputs, family


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory):
    """Library that has a process see another processor."""
    flags = re.search(r"^flags\s*:(.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    if not flags or "cpuid_fault" not in flags[1].split():
        pytest.skip("CPUID cannot be answered for this processor (no cpuid_fault in /proc/cpuinfo)")
    compiler = require("cc", "gcc")
    library = tmp_path_factory.mktemp("library") / "cpuid.so"
    source = ROOT / "tests" / "processors" / "cpuid.c"
    subprocess.run([compiler, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source], check=True)
    return str(library)


@pytest.mark.parametrize("processor", PROCESSORS)
def test_other_processors_make_the_same_bits(bits, preloaded, tmp_path, processor):
    assert made(tmp_path, LD_PRELOAD=preloaded, CPUID_AS=processor) == bits


def test_the_other_processor_is_seen(preloaded):
    program = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    seen = {name: python(program, LD_PRELOAD=preloaded, CPUID_AS=name).stdout.strip() for name in PROCESSORS}
    assert seen["haswell"] == seen["zen2"] == "AVX2"
    if "avx512f" in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        assert seen["skylake"] == seen["zen4"] == "AVX512"
    unknown = python(program, LD_PRELOAD=preloaded, CPUID_AS="z80")
    assert (unknown.returncode, unknown.stderr[:9]) == (1, "cpuid.so:")


def test_native_arithmetic_makes_others(workspace, preloaded):
    """Or the comparison above could not fail."""
    workspace.environment = workspace.environment.copy()
    for variable in arithmetic.PORTABLE:
        del workspace.environment[variable]
    workspace.set({"train": {"arithmetic": "native"}, "model": {"family": "tcn", "hidden_size": 24}})
    models = {}
    for stage in ("generate", "prepare", "train"):
        for processor in PROCESSORS if stage == "train" else PROCESSORS[:1]:
            workspace.stage(stage, *PATHS[stage], LD_PRELOAD=preloaded, CPUID_AS=processor)
            if stage == "train":
                models[processor] = (workspace.path / PATHS["train"][2]).read_bytes()
    weights = {name: content[8 + int.from_bytes(content[:8], "little") :] for name, content in models.items()}
    assert len(set(weights.values())) > 1


@pytest.mark.whole
def test_bfloat16_trains_in_native_arithmetic():
    if not HAS_BFLOAT16:
        pytest.skip("this processor has no bfloat16")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "bfloat16", "tests/tonesift"],
        cwd=ROOT,
        env=PLAIN | {"TONESIFT_TEST_ARITHMETIC": "native"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 20
