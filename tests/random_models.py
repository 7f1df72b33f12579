"""Small networks with random weights, their metadata, and what PyTorch makes of a whole recording."""

import os
import subprocess
import sys

import numpy as np
import torch
from networks import lstm, metadata
from warm import ROOT, Warm

from tonesift import compute
from tonesift.learning import streams
from tonesift.learning.batches import scaled
from tonesift.networks import model as models

TONES, LENGTH = 3, 60


def make(hop=10, conditioning="heads", stateful=True, seed=0, layers=2, hidden=8):
    model = lstm(TONES, hidden, layers, 0.1, conditioning, hop)
    model.initialise(torch.Generator().manual_seed(seed))
    shape = {"hidden_size": hidden, "num_layers": layers, "dropout": 0.1, "conditioning": conditioning, "hop": hop}
    return model, metadata(shape, {"stateful": stateful}, window_samples=LENGTH)


def batch_result(model, described, mixture):
    """The whole recording at once, through PyTorch."""
    read = torch.from_numpy(scaled(mixture, described.center, described.scale))[None]
    with compute.parallel_map(torch.device("cpu"), 1) as pmap:
        return streams.estimate(model, read, described.reset_samples, 4, pmap)[0]


def filled(folder):
    """The folder, with a model of hop 10 and a mixture of 123 samples in it."""
    models.save(folder / "model.safetensors", *make(hop=10))
    np.save(folder / "in.npy", np.random.default_rng(6).normal(size=123).astype("f4"))
    return folder


FILTER = Warm("tonesift.streaming.command", "tonesift.streaming.anytones", "tonesift.streaming.namedtones")


def run_filter(words, status=0, **process):
    """`python -m tonesift`: a process that starts at once, or with options of `subprocess.run` as a shell starts it."""
    words = [str(word) for word in words]
    if process:
        line = [sys.executable, "-m", "tonesift", *words]
        done = subprocess.run(line, cwd=ROOT, text=True, capture_output=True, timeout=120, check=False, **process)
    else:
        done = FILTER.run("tonesift.__main__", *words, cwd=ROOT, environment=dict(os.environ))
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done
