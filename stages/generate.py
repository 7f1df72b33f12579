"""Stage `generate`: make the recordings to train and to test on.

python -m stages.generate data/train.h5 data/test.h5
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import stages
from tonesift import params, recordings, signals


def generate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write both sets of recordings and report their signal-to-noise ratios."""
    (data,) = stages.settings(arguments.params, "data")
    for warning in signals.warnings(data.frequencies):
        print(f"note: {warning}", file=sys.stderr)
    write(arguments.train, data, data.train_recordings, data.train_seed)
    write(arguments.test, data, data.test_recordings, data.test_seed)
    return {}


def write(path: Path, data: params.Data, count: int, seed: int) -> None:
    """Write `count` recordings drawn from `seed`."""
    facts = draw_facts(data, count, seed)
    recordings.write(path, facts, data.samples, make(data, facts))
    snr = signals.snr_db(facts.amplitudes, data.noise_std)
    print(f"{path}: {count} x {data.duration:g} s of {len(data.frequencies)} tones, SNR {snr:.1f} dB")


def draw_facts(data: params.Data, count: int, seed: int) -> recordings.Facts:
    """Facts of a set, its phases and amplitudes (count, K) as listed (task fixed) or drawn (task general)."""
    tones = len(data.frequencies)
    if data.task == "fixed":
        phases, amplitudes = np.tile(data.phases, (count, 1)), np.tile(data.amplitudes, (count, 1))
        second_moment = float(np.mean(np.square(data.amplitudes)))
    else:
        phases = np.stack([signals.draw_phases(signals.stream(seed, "phases", i), tones) for i in range(count)])
        drawn = [
            signals.draw_amplitudes(signals.stream(seed, "amplitudes", i), tones, *data.amplitude_range)
            for i in range(count)
        ]
        amplitudes = np.stack(drawn)
        second_moment = signals.uniform_second_moment(*data.amplitude_range)
    return recordings.Facts(
        sampling_rate=data.sampling_rate,
        frequencies=tuple(data.frequencies),
        phases=phases,
        amplitudes=amplitudes,
        second_moment=second_moment,
        noise_std=data.noise_std,
        task=data.task,
        seed=seed,
    )


def make(data: params.Data, facts: recordings.Facts) -> Iterator[tuple[NDArray, NDArray]]:
    """Mixture (N,) and tones (K, N) of each recording in turn."""
    for index, (phases, amplitudes) in enumerate(zip(facts.phases, facts.amplitudes, strict=True)):
        each = zip(facts.frequencies, phases, amplitudes, strict=True)
        tones = np.stack([signals.sinusoid(f, data.sampling_rate, data.samples, phase, a) for f, phase, a in each])
        yield signals.mix(tones, data.noise_std, signals.stream(facts.seed, "noise", index)), tones


if __name__ == "__main__":
    command = stages.parser(__doc__)
    command.add_argument("train", type=Path, help="recordings to train on")
    command.add_argument("test", type=Path, help="recordings to test on")
    stages.main(generate, command.parse_args())
