"""Cost of `generate` and `prepare` for an hour of recordings at 10 kHz, beside writing the same bytes with NumPy.

    python -m benchmarks.data [FOLDER]

60 recordings of 60 s at 10 kHz with 4 tones: 3.6e7 samples, 720 MB. Both stages run as DVC runs them, as processes of
their own; their peak memory is the operating system's figure for them. The other side writes arrays of the same sizes
from memory. Rounds take turns; medians count.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

from benchmarks import machine

ROUNDS = 5
VALUES = {"task": "general", "duration": 60.0, "sampling_rate": 10_000.0, "train_recordings": 59, "test_recordings": 1}


def write_params(path: Path) -> None:
    """Parameters for an hour of recordings."""
    yaml = YAML()
    content = yaml.load(Path("params.yaml"))
    content["data"].update(VALUES)
    yaml.dump(content, path)


def stages(folder: Path) -> float:
    """Seconds for both stages."""
    common = ["--params", str(folder / "params.yaml"), "--clock", str(folder / "run.json")]
    train, test, split = (str(folder / name) for name in ("train.h5", "test.h5", "windows.h5"))
    begin = time.perf_counter()
    for command in (("generate", train, test), ("prepare", train, split)):
        name, *paths = command
        run = [sys.executable, "-m", f"stages.{name}", *paths, *common]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def numpy_write(folder: Path) -> float:
    """Seconds to write as many bytes, a recording at a time, with `ndarray.tofile`."""
    mixture = np.random.default_rng(0).normal(size=600_000).astype("f4")
    tones = np.stack([mixture] * 4)
    begin = time.perf_counter()
    with (folder / "plain.bin").open("wb") as file:
        for _ in range(60):
            mixture.tofile(file)
            tones.tofile(file)
    return time.perf_counter() - begin


def main() -> None:
    """Run both in turns and print the medians."""
    where = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(dir=where) as name:
        folder = Path(name)
        write_params(folder / "params.yaml")
        rounds = []
        for _ in range(ROUNDS):
            rounds.append((stages(folder), numpy_write(folder)))
            for path in folder.glob("*.[hb][5i]*"):
                path.unlink()
        os.sync()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    ours, plain = (statistics.median(values) for values in zip(*rounds, strict=True))
    ratio = statistics.median(ours / plain for ours, plain in rounds)
    print(f"generate + prepare, 3.6e7 samples, 720 MB; {machine.describe()}")
    print(f"numpy write          {plain:6.2f} s")
    print(f"generate + prepare   {ours:6.2f} s, ratio {ratio:.1f} (wanted: at most 5)")
    print(f"peak memory          {peak:6.0f} MiB (wanted: below 1024)")


if __name__ == "__main__":
    main()
