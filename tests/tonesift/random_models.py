"""Small networks with random weights, their facts, and what PyTorch makes of a whole recording."""

import torch
from networks import SMALL, lstm

from tonesift import compute
from tonesift.learning import streams
from tonesift.learning.sequences import scaled

TONES, LENGTH = 3, 60


def make(hop=10, conditioning="heads", stateful=True, seed=0, layers=2, hidden=8):
    model = lstm(TONES, hidden, layers, 0.1, conditioning, hop)
    model.initialise(torch.Generator().manual_seed(seed))
    shape = {"hidden_size": hidden, "num_layers": layers, "dropout": 0.1}
    config = SMALL | shape | {"conditioning": conditioning, "hop": hop}
    facts = {
        "sampling_rate": 1000.0,
        "frequencies": [1.0, 3.0, 5.0],
        "sequence_length": LENGTH,
        "center": 0.25,
        "scale": 0.5,
        "model": config,
        "train": {"stateful": stateful, "ensemble": 1},
    }
    return model, facts


def batch_result(model, facts, mixture):
    """The whole recording at once, through PyTorch."""
    reset_every = None if facts["train"]["stateful"] else facts["sequence_length"]
    with compute.workers(torch.device("cpu"), 1) as run:
        return streams.estimate(model, scaled(mixture, facts["center"], facts["scale"])[None], reset_every, 4, run)[0]
