"""A model as a filter: ours beside PyTorch called frame by frame, one thread each, and a file from disk to disk.

    python -m benchmarks.streaming

The plain way is `nn.LSTM` with two layers and `nn.Linear`, called with one frame and the state carried on. Both sides
push one hop at a time, in turns in one process; the medians of the rounds count. The file is ten minutes of signal at
1000 Hz, NPY in and NPY out, written anew in every round.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import machine
from tonesift import params
from tonesift.formats import files
from tonesift.formats.base import tones_form
from tonesift.metadata import Figures, Metadata, Summary
from tonesift.networks import model as models
from tonesift.streaming.tonefilter import ToneFilter

FREQUENCIES, RATE, HIDDEN, LAYERS = (1.0, 3.0, 5.0, 7.0), 1000.0, 128, 2
PUSHES, ROUNDS, MINUTES = 1000, 9, 10
BASE, NOTHING = Path("studies/bases/fixed.yaml"), Figures(loss=0.0, r2=0.0, correlation=0.0)


def make_filter(hop: int) -> ToneFilter:
    """Filter of the shape measured here, all tones at once."""
    shape = {"hidden_size": HIDDEN, "num_layers": LAYERS, "dropout": 0.0, "conditioning": "heads", "hop": hop}
    return random_filter(shape | {"family": "lstm"})


def random_filter(changes: dict[str, Any]) -> ToneFilter:
    """Filter with random weights, its state carried on; of the base's shape but for the changes."""
    base, training = params.load(BASE, "model", "train")
    metadata = Metadata(
        model=params.Model(**(base.model_dump() | changes)),
        train=training.model_copy(update={"stateful": True, "ensemble": 1}),
        sampling_rate=RATE,
        frequencies=FREQUENCIES,
        noise_std=0.1,
        second_moment=1.0,
        task="fixed",
        window_samples=500,
        step_size=1,
        center=0.0,
        scale=0.5,
        build={},
        summary=Summary(best_epoch=0, step=0, parameters=0, train=NOTHING, validation=NOTHING),
    )
    model = models.build(metadata)
    model.initialise(torch.Generator().manual_seed(1))
    return ToneFilter(model, metadata)


def our_push(hop: int) -> Callable[[np.ndarray], np.ndarray]:
    """`ToneFilter.push`."""
    return make_filter(hop).push


def plain_push(hop: int) -> Callable[[np.ndarray], np.ndarray]:
    """What one writes first: a frame through `nn.LSTM` and `nn.Linear`."""
    lstm, head, state = nn.LSTM(hop, HIDDEN, LAYERS), nn.Linear(HIDDEN, len(FREQUENCIES) * hop), None

    def push(samples: np.ndarray) -> np.ndarray:
        nonlocal state
        with torch.inference_mode():
            hidden, state = lstm(torch.from_numpy(samples).view(1, 1, hop), state)
            return head(hidden).numpy()

    return push


def round_of(push: Callable[[np.ndarray], np.ndarray], samples: np.ndarray) -> float:
    """Microseconds a sample, in pushes of rows of `samples` (pushes, hop)."""
    begin = time.perf_counter()
    for hop in samples:
        push(hop)
    return 1e6 * (time.perf_counter() - begin) / samples.size


def pushes(hop: int) -> tuple[float, float, float]:
    """Median microseconds a sample of the plain way and of ours, and the median ratio."""
    samples = np.random.default_rng(1).normal(size=(PUSHES, hop)).astype("f4")
    plain, ours = plain_push(hop), our_push(hop)
    round_of(plain, samples), round_of(ours, samples)  # warm up
    rounds = [(round_of(plain, samples), round_of(ours, samples)) for _ in range(ROUNDS)]
    return (
        *(statistics.median(side) for side in zip(*rounds, strict=True)),
        statistics.median(a / b for a, b in rounds),
    )


def file_speed(folder: Path, hop: int) -> float:
    """Median seconds of signal for each second of work, from file to file."""
    source, output = folder / "in.npy", folder / "out.npy"
    samples = int(60 * MINUTES * RATE)
    np.save(source, np.random.default_rng(1).normal(size=samples).astype("f4"))
    seconds = []
    for _ in range(3):
        tone_filter, begin = make_filter(hop), time.perf_counter()
        form = tones_form(RATE, FREQUENCIES, samples)
        with files.opened(source) as mixture, files.created(output, form) as write:
            for chunk in mixture.chunks:
                write(tone_filter.push(chunk))
            write(tone_filter.finish())
        seconds.append(time.perf_counter() - begin)
    return 60 * MINUTES / statistics.median(seconds)


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    print(f"streaming, hidden {HIDDEN}, {LAYERS} layers, {len(FREQUENCIES)} tones, one thread; {machine.describe()}")
    for hop, wanted in ((1, "no figure wanted"), (10, "wanted: at most 20")):
        plain, ours, ratio = pushes(hop)
        print(f"hop {hop:2}  plain PyTorch {plain:6.1f} us a sample")
        print(f"        tonesift      {ours:6.1f} us a sample  ({wanted}; {ratio:.1f} times as fast)")
    with tempfile.TemporaryDirectory() as folder:
        print(f"hop 10  file to file  {file_speed(Path(folder), 10):6.0f} x real time    (wanted: at least 300)")


if __name__ == "__main__":
    main()
