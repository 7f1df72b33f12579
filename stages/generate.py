"""Stage `generate`: make the recordings to train and to test on.

python -m stages.generate data/train.h5 data/test.h5
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import stages
from tonesift import arithmetic, params


def generate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write both sets of recordings and report their signal-to-noise ratios."""
    (data,) = stages.settings(arguments.params, "data")
    arithmetic.choose("portable", or_native=True)
    from tonesift import memory
    from tonesift.data import recordings, signals

    memory.check(recordings.memory_needed(data))
    for warning in signals.warnings(data.frequencies):
        print(f"note: {warning}", file=sys.stderr)
    write(arguments.train, data, data.train_recordings, data.train_seed)
    write(arguments.test, data, data.test_recordings, data.test_seed)
    return {}


def write(path: Path, data: params.Data, count: int, seed: int) -> None:
    """Write `count` recordings drawn from `seed`."""
    from tonesift.data import recordings, signals

    facts = recordings.draw_facts(data, count, seed)
    recordings.write(path, facts, data.samples, recordings.make(data, facts))
    snr = signals.snr_db(facts.amplitudes, data.noise_std)
    print(f"{path}: {count} x {data.duration:g} s of {len(data.frequencies)} tones, SNR {snr:.1f} dB")


if __name__ == "__main__":
    command = stages.parser(__doc__)
    command.add_argument("train", type=Path, help="recordings to train on")
    command.add_argument("test", type=Path, help="recordings to test on")
    stages.main(generate, command.parse_args())
