"""Stage `mains`: make recordings of mains hum in a background to train and to test on.

python -m stages.mains --params hum/params.yaml benchmarks/ecg-208.npz hum/data/train.h5 hum/data/test.h5
"""

import argparse
from pathlib import Path
from typing import Any

import stages
from tonesift import arithmetic


def mains(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write both sets of recordings."""
    (data,) = stages.settings(arguments.params, "data")
    arithmetic.choose("portable", or_native=True)
    from tonesift import memory
    from tonesift.conditions import mains as made
    from tonesift.data import recordings

    memory.check(recordings.memory_needed(data))
    for path, testing in ((arguments.train, False), (arguments.test, True)):
        facts, pairs = made.draw_set(data, testing, str(arguments.background))
        recordings.write(path, facts, data.samples, pairs)
        print(f"{path}: {len(facts.phases)} x {data.duration:g} s of {facts.source}")
    return {}


if __name__ == "__main__":
    command = stages.parser(__doc__)
    command.add_argument("background", type=Path, help="recording that the hum is added to")
    command.add_argument("train", type=Path, help="recordings to train on")
    command.add_argument("test", type=Path, help="recordings to test on")
    stages.main(mains, command.parse_args())
