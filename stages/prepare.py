"""Stage `prepare`: decide which windows train and which validate, and fit the scaling on the training part.

python -m stages.prepare data/train.h5 data/windows.h5
"""

import argparse
from pathlib import Path
from typing import Any

import stages
from tonesift import arithmetic


def prepare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the split and say how large its parts are."""
    settings, hop = stages.settings(arguments.params, "prepare", "model.hop")
    arithmetic.choose("portable", or_native=True)
    from tonesift.data import recordings, windows

    with recordings.opened(arguments.recordings, any_tones=True) as source:
        found = windows.prepare(settings, settings.sequence_length * hop, source)
    windows.write(arguments.windows, found)
    train, validation = windows.count(found.train), windows.count(found.validation)
    print(f"{arguments.windows}: {train} windows to train, {validation} to validate")
    return {}


if __name__ == "__main__":
    command = stages.parser(__doc__)
    command.add_argument("recordings", type=Path, help="recordings to split")
    command.add_argument("windows", type=Path, help="where to write the split")
    stages.main(prepare, command.parse_args())
