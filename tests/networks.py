"""Networks for tests, and the section of the parameters that describes them."""

import pytest
import torch

from tonesift import arithmetic
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
    "model_dim": 8,
    "num_heads": 2,
    "ff_dim": 12,
    "positions": "rotary",
    "context": 6,
    "kernel_size": 3,
}


def network(tones, kind=Network, **changes):
    """A small LSTM, but for the changes."""
    return kind(tones, **(SMALL | changes))


def lstm(tones, hidden, layers, dropout, conditioning="selector", hop=1, kind=Network):
    """An LSTM of a shape."""
    shape = {"hidden_size": hidden, "num_layers": layers, "dropout": dropout}
    return network(tones, kind, **shape, conditioning=conditioning, hop=hop)
