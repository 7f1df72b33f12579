"""Training speed: the baseline and both tasks' best configurations beside a plain PyTorch script, in float32.

    python -m benchmarks.training        # steps and arithmetic: about a minute
    python -m benchmarks.training time   # how long the baseline learns until it is good: about two minutes

The plain script is what one writes first: all windows copied into a TensorDataset, a shuffling DataLoader, `nn.LSTM`
with two layers and dropout, Adam, clipping, one process on PyTorch's own threads. Each side is a process of its own;
their rounds take turns and the median of the rounds' ratios counts. A product of two 2048 x 2048 matrices, on as many
of PyTorch's own threads as training has shards, says what arithmetic the same cores can do. An epoch of the plain
script, every training window once, is the unit in which training times are given.
"""

import itertools
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import machine
from tonesift.compute import ParallelMap, parallel_map
from tonesift.data import signals, windows
from tonesift.learning import streams, training
from tonesift.learning.batches import Batch, Signals, Windows, predict, without_noise
from tonesift.learning.epochs import tally_all
from tonesift.networks.base import DropoutMasks, torch_generator
from tonesift.networks.model import Model, Network

FREQUENCIES, PHASES, NOISE_STD, SAMPLES = (1.0, 3.0, 5.0, 7.0), (0.0, 45.0, 90.0, 135.0), 0.1, 10_000
LENGTH, BATCH, SHARDS, VAL_SHARE = 50, 64, 2, 0.1
RECURRENT = {"family": "lstm", "layer_norm": False, "bidirectional": False, "recurrent_dropout": 0.0, "memory": None}
BASELINE = RECURRENT | {"hidden_size": 128, "num_layers": 2, "dropout": 0.2, "conditioning": "selector", "hop": 1}
BEST = RECURRENT | {
    "num_layers": 3,
    "dropout": 0.0,
    "conditioning": "heads",
    "hop": 10,
}  # studies/bases, studies/general-seeds.yaml
HIDDEN = {"fixed": 96, "general": 128}
BEST_STREAMS, BEST_LENGTH = 64, 50  # side by side; steps of the network
BEST_STEPS, PLAIN_EPOCHS = {"fixed": 20 * 40, "general": 15 * 160}, {"fixed": 2, "general": 6}  # of training; wanted
STEPS, ROUNDS, PRODUCT = 100, 5, 2048
ENOUGH, EVERY, APART, PATIENCE = 0.347, 50, 10, 10  # R^2 in test; steps between looks; samples between windows; epochs
DEVICE = torch.device("cpu")


def recording(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The baseline's recording with noise of this seed: mixture (N,) and tones (K, N), float32."""
    tones = np.stack([signals.sinusoid(f, 1000.0, SAMPLES, p) for f, p in zip(FREQUENCIES, PHASES, strict=True)])
    return signals.mix(tones, NOISE_STD, signals.random_generator(seed, "noise", 0)).astype("f4"), tones.astype("f4")


def read_signals(seed: int) -> Signals:
    """The same as `tonesift` keeps it."""
    mixture, tones = recording(seed)
    return Signals(torch.from_numpy(mixture)[None], torch.from_numpy(tones)[None])


def training_starts() -> np.ndarray:
    """First samples of the baseline's training windows."""
    train, _ = windows.split_blocks(1, SAMPLES, LENGTH, 1, VAL_SHARE)
    return windows.starts(train, 1)


def epoch_steps() -> int:
    """Steps of an epoch of the plain script."""
    return math.ceil(len(training_starts()) * len(FREQUENCIES) / BATCH)


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


def plain_dataset() -> TensorDataset:
    """Every training window for every tone, written out."""
    mixture, tones = recording(1)
    at = training_starts()[:, 1:] + np.arange(LENGTH)
    inputs = np.zeros((len(tones), *at.shape, 1 + len(tones)), dtype="f4")
    for tone in range(len(tones)):
        inputs[tone, ..., 0], inputs[tone, ..., 1 + tone] = mixture[at], 1.0
    return TensorDataset(torch.from_numpy(inputs).flatten(0, 1), torch.from_numpy(tones[:, at, None]).flatten(0, 1))


def plain(steps: int) -> Iterator[list[float]]:
    """Seconds a step of the plain script, over so many steps at each `next`."""
    loader = DataLoader(plain_dataset(), BATCH, shuffle=True)
    model, criterion = PlainModel(), nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    while True:
        begin = time.perf_counter()
        for x, y in itertools.islice(batches, steps):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        yield [(time.perf_counter() - begin) / steps]


@contextmanager
def our_step(configuration: dict, data: Signals, noise_std: float = 0.0):
    """A `training.Step` as stage `train` sets it up with seed 1, and the threads it runs on."""
    model = Network(len(FREQUENCIES), **configuration)
    model.initialise(torch_generator(training.seed_for(1, "weights"), DEVICE))
    optimizer = training.make_optimizer(model, "adam", 1e-3, 1e-5, 0.9)
    masks = [DropoutMasks(training.seed_for(1, "dropout", shard), DEVICE) for shard in range(SHARDS)]
    noises = [np.random.Generator(np.random.SFC64(training.seed_for(1, "noise", shard))) for shard in range(SHARDS)]
    with parallel_map(DEVICE, SHARDS) as pmap:
        yield training.Step(model, data, optimizer, 1.0, masks, pmap, noise_std, noises)


def window_batches() -> Iterator[Batch]:
    """The baseline's batches, epoch after epoch."""
    train = Windows(read_signals(1), training_starts(), LENGTH, len(FREQUENCIES), 1)
    order = np.random.default_rng(training.seed_for(1, "order"))
    while True:
        yield from train.batches(BATCH, order.permutation(len(train)))


def stream_batches() -> Iterator[Batch]:
    """Batches of streams whose state is carried on."""
    length = BEST_LENGTH * BEST["hop"]
    train, _ = windows.split_blocks(1, SAMPLES, length, 1, VAL_SHARE)
    segments = windows.covered(train, length, 1)
    reading = streams.StreamBatches(segments, BEST_STREAMS, length, examples=1, hop=BEST["hop"])
    order = np.random.default_rng(training.seed_for(1, "order"))
    while True:
        yield reading.next(order, BEST_LENGTH)


def seconds_a_step(step: training.Step, batches: Iterator[Batch], steps: int) -> float:
    """Take so many steps."""
    begin = time.perf_counter()
    for batch in itertools.islice(batches, steps):
        step(batch)
    return (time.perf_counter() - begin) / steps


def ours(steps: int) -> Iterator[list[float]]:
    """Seconds a step of the baseline."""
    batches = window_batches()
    with our_step(BASELINE, read_signals(1)) as step:
        while True:
            yield [seconds_a_step(step, batches, steps)]


def fixed(steps: int) -> Iterator[list[float]]:
    """Seconds a step of the fixed task's best configuration."""
    return best(HIDDEN["fixed"], steps)


def general(steps: int) -> Iterator[list[float]]:
    """Seconds a step of the general task's best configuration; its recordings differ, which makes no work."""
    return best(HIDDEN["general"], steps)


def best(hidden_size: int, steps: int) -> Iterator[list[float]]:
    """Seconds a step with the state carried on, fresh noise included."""
    clean, batches = without_noise(read_signals(1), 0.0, 1.0), stream_batches()
    with our_step({"hidden_size": hidden_size, **BEST}, clean, NOISE_STD) as step:
        while True:
            yield [seconds_a_step(step, batches, steps)]


def learning(steps: int) -> Iterator[list[float]]:
    """Seconds a step of the baseline, and R^2 on windows of the test recording after them; begins untrained."""
    batches, test = window_batches(), test_windows()
    with our_step(BASELINE, read_signals(1)) as step:
        while True:
            seconds = seconds_a_step(step, batches, steps)
            yield [seconds, r2(step.model, test, step.pmap)]


def test_windows() -> Windows:
    """Windows all over the test recording, for every tone."""
    starts = windows.starts(windows.all_windows(1, SAMPLES, LENGTH, APART), APART)
    return Windows(read_signals(2), starts, LENGTH, len(FREQUENCIES), 1)


def r2(model: Model, test: Windows, pmap: ParallelMap) -> float:
    """R^2 over all tones."""
    return tally_all(predict(model, test, 1024, pmap), model).r2


def product(steps: int) -> Iterator[list[float]]:
    """Operations per second of a large matrix product on as many of PyTorch's own threads as training has shards."""
    torch.set_num_threads(min(SHARDS, torch.get_num_threads()))
    left, right, out = (torch.rand(PRODUCT, PRODUCT) for _ in range(3))
    while True:
        begin = time.perf_counter()
        for _ in range(steps):
            torch.mm(left, right, out=out)
        yield [2 * PRODUCT**3 * steps / (time.perf_counter() - begin)]


SIDES: dict[str, Callable[[int], Iterator[list[float]]]] = {
    side.__name__: side for side in (plain, ours, product, fixed, general, learning)
}


def serve(side: str, steps: int) -> None:
    """Run a round of one side for each line on standard input, and print what it came to."""
    rounds = SIDES[side](steps)
    if side != "learning":
        next(rounds)  # warm up
    for _ in sys.stdin:
        print(*next(rounds), flush=True)


def start(side: str, steps: int) -> subprocess.Popen[str]:
    """Process of its own for a side, so that neither changes the other's memory or threads."""
    command = [sys.executable, "-m", "benchmarks.training", side, str(steps)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def measure(process: subprocess.Popen[str]) -> list[float]:
    """What one round came to."""
    process.stdin.write("go\n")
    process.stdin.flush()
    return [float(word) for word in process.stdout.readline().split()]


def speed() -> None:
    """Run all sides in turns and print the medians."""
    steps = {"plain": STEPS, "ours": STEPS, "product": 5, "fixed": STEPS // 2, "general": STEPS // 2}
    sides = [start(*side) for side in steps.items()]
    rounds = [[measure(side)[0] for side in sides] for _ in range(ROUNDS)]
    for side in sides:
        side.communicate()
    theirs, mine, *_ = (statistics.median(column) for column in zip(*rounds, strict=True))
    work = step_operations()
    print(f"plain script  {BATCH / theirs:8.0f} windows/s")
    print(f"tonesift      {BATCH / mine:8.0f} windows/s")
    print(f"ratio         {shown(plain / ours for plain, ours, *_ in rounds)} wanted: at least 1.5")
    print(f"arithmetic    {work / mine / 1e9:8.0f} GFLOP/s")
    print(f"of a product  {shown(work / ours / rate for _, ours, rate, *_ in rounds)} wanted: at least 0.70")
    for place, task in enumerate(BEST_STEPS, 3):
        taken, count = [turn[place] for turn in rounds], BEST_STEPS[task]
        epochs = (count * mine / (epoch_steps() * turn[0]) for turn, mine in zip(rounds, taken, strict=True))
        print(f"{task:13} {count * statistics.median(taken):8.1f} s for {count} steps, without validation")
        print(f"plain epochs  {shown(epochs)} wanted: at most {PLAIN_EPOCHS[task]}")


def step_operations() -> int:
    """Operations of a baseline step: two forward and four backward for each weight and time step of the network."""
    weights = sum(weight.numel() for weight in Network(len(FREQUENCIES), **BASELINE).parameters())
    return 6 * weights * LENGTH * BATCH


def shown(ratios: Iterable[float]) -> str:
    """Median of a ratio, and each round's."""
    ratios = list(ratios)
    return f"{statistics.median(ratios):8.2f}  (rounds: {', '.join(f'{ratio:.2f}' for ratio in ratios)})"


def until_good() -> None:
    """Train until R^2 on the test recording is good enough; before every look at it the plain script has a turn."""
    sides = [start(side, EVERY) for side in ("plain", "learning")]
    turns, found = [], -math.inf
    while found < ENOUGH and len(turns) * EVERY < PATIENCE * epoch_steps():
        (theirs,), (mine, found) = (measure(side) for side in sides)
        turns.append((theirs, mine))
        epochs = len(turns) * EVERY * statistics.median(mine / theirs for theirs, mine in turns) / epoch_steps()
        print(f"step {len(turns) * EVERY:5}: {epochs:5.2f} plain epochs, R2 {found:.4f}", flush=True)
    for side in sides:
        side.communicate()
    theirs, mine = (statistics.median(column) for column in zip(*turns, strict=True))
    reached = "reached" if found >= ENOUGH else "not reached"
    print(f"plain epoch   {epoch_steps() * theirs:8.1f} s for {epoch_steps()} steps")
    print(f"tonesift      {len(turns) * EVERY * mine:8.1f} s for {len(turns) * EVERY} steps")
    print(f"plain epochs  {epochs:8.2f}  R2 {ENOUGH} {reached}; wanted: at most 1.2")


def main() -> None:
    """Print what was asked for."""
    print(f"training, float32; {machine.describe()}; torch {torch.__version__}")
    until_good() if sys.argv[1:] == ["time"] else speed()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2])) if len(sys.argv) == 3 else main()
