"""Networks for tests, the section of the parameters that describes them, and what a model's file would say."""

import pytest
import torch
from conftest import ROOT

from tonesift import arithmetic, params
from tonesift.metadata import Metadata
from tonesift.networks.model import Network

HAS_BFLOAT16 = any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
bfloat16 = pytest.mark.skipif(
    not HAS_BFLOAT16 or arithmetic.chosen() == "portable",
    reason="needs a processor with bfloat16, in native arithmetic: test_arithmetic.py runs it so",
)

SMALL = {
    "family": "lstm",
    "num_layers": 2,
    "dropout": 0.2,
    "conditioning": "selector",
    "hop": 1,
    "hidden_size": 8,
    "layer_norm": False,
    "bidirectional": False,
    "recurrent_dropout": 0.0,
    "memory": None,
    "model_dim": 8,
    "num_heads": 2,
    "ff_dim": 12,
    "positions": "rotary",
    "context": 6,
    "kernel_size": 3,
}

(GUIDE,) = params.load(ROOT / "studies" / "bases" / "guide.yaml", "train")
FIGURES = {"loss": 0.25, "r2": 0.5, "correlation": 0.75}
DESCRIBED = {
    "sampling_rate": 1000.0,
    "frequencies": (1.0, 3.0, 5.0),
    "noise_std": 0.1,
    "second_moment": 1.0,
    "task": "fixed",
    "window_samples": 60,
    "step_size": 1,
    "center": 0.25,
    "scale": 0.5,
    "build": {"torch": "2.13.0", "arithmetic": "native", "processor": "x86_64 AVX512"},
    "summary": {"best_epoch": 14, "step": 29, "parameters": 1234, "train": FIGURES, "validation": FIGURES},
}


def metadata(model=None, train=None, **changes):
    """Metadata of a small LSTM of the guide's training, but for the changes."""
    sections = {"model": params.Model(**(SMALL | (model or {}))), "train": GUIDE.model_copy(update=train)}
    return Metadata(**(DESCRIBED | sections | changes))


def network(tones, kind=Network, **changes):
    """A small LSTM, but for the changes."""
    return kind(tones, **(SMALL | changes))


def lstm(tones, hidden, layers, dropout, conditioning="selector", hop=1, kind=Network):
    """An LSTM of a shape."""
    shape = {"hidden_size": hidden, "num_layers": layers, "dropout": dropout}
    return network(tones, kind, **shape, conditioning=conditioning, hop=hop)
