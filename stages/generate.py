"""Stage `generate`: make the recordings to train and to test on.

python -m stages.generate data/train.h5 data/test.h5
python -m stages.generate --under "switching, random sets" data/train.h5 data/test.h5
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import stages
from tonesift import arithmetic, params
from tonesift.errors import InputError


def generate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write both sets of recordings and report their signal-to-noise ratios."""
    (data,) = stages.settings(arguments.params, "data")
    arithmetic.choose("portable", or_native=True)
    from tonesift import memory
    from tonesift.data import recordings, signals

    if arguments.under is not None:
        from tonesift.conditions import named

        data = named.under(data, arguments.under)
        if mistakes := params.conflicts(data, None, None, None):
            raise InputError("\n".join(f"--under {arguments.under!r}: {mistake}" for mistake in mistakes))
    memory.check(recordings.memory_needed(data))
    for warning in [] if data.conditions.tone_range else signals.warnings(data.frequencies):
        print(f"note: {warning}", file=sys.stderr)
    draw_set, after = recordings.draw_set, ""
    if data.conditions.on:
        from tonesift.conditions import run

        memory.check(recordings.memory_needed(data) | run.memory_needed(data))
        draw_set, after = (
            partial(run.draw_set, sound=run.read_background(data)),
            f" before {', '.join(data.conditions.on)}",
        )
    for path, testing in ((arguments.train, False), (arguments.test, True)):
        facts, pairs = draw_set(data, testing)
        recordings.write(path, facts, data.samples, pairs)
        snr = signals.snr_db(facts.amplitudes, data.noise_std)
        count, tones = facts.phases.shape
        print(f"{path}: {count} x {data.duration:g} s of {tones} tones, SNR {snr:.1f} dB{after}")
    return {}


if __name__ == "__main__":
    command = stages.parser(__doc__)
    command.add_argument("--under", metavar="NAME", help="conditions by a name of docs/conditions.md")
    command.add_argument("train", type=Path, help="recordings to train on")
    command.add_argument("test", type=Path, help="recordings to test on")
    stages.main(generate, command.parse_args())
