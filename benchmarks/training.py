"""Training speed at the baseline: ours beside a plain PyTorch script, both on the machine's cores, in float32.

    python -m benchmarks.training

The plain script is what one writes first: all windows copied into a TensorDataset, a shuffling DataLoader, `nn.LSTM`
with two layers and dropout, Adam, clipping, one process on PyTorch's own threads. Each side is a process of its own;
their rounds take turns and the median of the rounds' ratios counts.
"""

import statistics
import subprocess
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import machine
from tonesift import sequences, signals, training, windows
from tonesift.model import DropoutMasks, ToneLSTM

FREQUENCIES, PHASES = (1.0, 3.0, 5.0, 7.0), (0.0, 45.0, 90.0, 135.0)
LENGTH, BATCH, STEPS, ROUNDS = 50, 64, 100, 5


def recording() -> tuple[np.ndarray, np.ndarray]:
    """The baseline's training recording: mixture (N,) and tones (K, N), float32."""
    tones = np.stack([signals.sinusoid(f, 1000.0, 10_000, p) for f, p in zip(FREQUENCIES, PHASES, strict=True)])
    return signals.mix(tones, 0.1, signals.stream(1, "noise", 0)).astype("f4"), tones.astype("f4")


class PlainModel(nn.Module):
    """The guide's network in PyTorch's own terms."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 128, 2, batch_first=True, dropout=0.2)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(128, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map (B, L, 5) to (B, L, 1)."""
        return self.head(self.dropout(self.lstm(inputs)[0]))


def plain_rounds(mixture: np.ndarray, tones: np.ndarray):
    """Windows per second of the plain script, one round at each `next`."""
    count = len(mixture) - LENGTH + 1
    at = np.arange(count)[:, None] + np.arange(LENGTH)
    inputs = np.zeros((count * 4, LENGTH, 5), dtype="f4")
    targets = np.zeros((count * 4, LENGTH, 1), dtype="f4")
    for tone in range(4):
        part = slice(tone * count, (tone + 1) * count)
        inputs[part, :, 0], inputs[part, :, 1 + tone], targets[part, :, 0] = mixture[at], 1.0, tones[tone][at]
    loader = DataLoader(TensorDataset(torch.from_numpy(inputs), torch.from_numpy(targets)), BATCH, shuffle=True)
    model, criterion = PlainModel(), nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    batches = iter(loader)
    while True:
        begin = time.perf_counter()
        for _ in range(STEPS):
            x, y = next(batches)
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        yield STEPS * BATCH / (time.perf_counter() - begin)


def our_rounds(mixture: np.ndarray, tones: np.ndarray):
    """Windows per second of `tonesift.training`, one round at each `next`."""
    data = sequences.Signals(torch.from_numpy(mixture)[None], torch.from_numpy(tones)[None])
    train = sequences.Sequences(data, windows.starts(windows.all_windows(1, len(mixture), LENGTH, 1), 1), LENGTH)
    device = torch.device("cpu")
    model = ToneLSTM(4, 128, 2, 0.2)
    optimizer = training.make_optimizer(model, "adam", 1e-3, 1e-5, 0.9)
    masks = [DropoutMasks(training.stream(1, "dropout", shard), device) for shard in range(2)]
    order = np.random.default_rng(1)
    while True:
        examples = order.permutation(len(train))
        with sequences.workers(device, 2) as run:
            step = training.Step(model, train, optimizer, 1.0, masks, run)
            begin = time.perf_counter()
            for index in range(STEPS):
                step(examples[index * BATCH : (index + 1) * BATCH])
            speed = STEPS * BATCH / (time.perf_counter() - begin)
        yield speed


SIDES = {"plain": plain_rounds, "ours": our_rounds}


def serve(side: str) -> None:
    """Run a round of one side for each line on standard input, and print its windows per second."""
    rounds = SIDES[side](*recording())
    next(rounds)  # warm up
    for _ in sys.stdin:
        print(next(rounds), flush=True)


def start(side: str) -> subprocess.Popen[str]:
    """Process of its own for a side, so that neither changes the other's memory or threads."""
    command = [sys.executable, "-m", "benchmarks.training", side]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def measure(process: subprocess.Popen[str]) -> float:
    """Windows per second of one round."""
    process.stdin.write("go\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def main() -> None:
    """Run both in turns and print the medians."""
    sides = [start(side) for side in SIDES]
    rounds = [tuple(measure(side) for side in sides) for _ in range(ROUNDS)]
    for side in sides:
        side.communicate()
    ratio = statistics.median(ours / plain for plain, ours in rounds)
    print(f"training, baseline, float32; {machine.describe()}; torch {torch.__version__}")
    print(f"plain script  {statistics.median(plain for plain, _ in rounds):7.0f} windows/s")
    print(f"tonesift      {statistics.median(ours for _, ours in rounds):7.0f} windows/s")
    print(f"ratio         {ratio:7.2f}  (wanted: at least 1.5; rounds: {', '.join(f'{b / a:.2f}' for a, b in rounds)})")


if __name__ == "__main__":
    serve(sys.argv[1]) if len(sys.argv) > 1 else main()
