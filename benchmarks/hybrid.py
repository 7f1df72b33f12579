"""The committed network that corrects filters, on the recordings that `benchmarks.tracking` judges filters on.

    python -m benchmarks.hybrid speed
    python -m benchmarks.hybrid table [CONDITION ...] [--draws 5]
    python -m benchmarks.hybrid table switching --model switching/models/model.safetensors
    python -m benchmarks.hybrid auto     # how often `--method auto` takes a network, and what it gains

As a stream, told the frequencies and nothing else. It never met the recordings, which another program than the one that
made its training draws, nor the tones; half of the conditions are none that it was trained under. `--model` puts
another in its place, also one that knows its tones; that one is told nothing.
"""

import argparse
import statistics
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import machine, tracking
from tonesift.evaluation.sets import filtered
from tonesift.formats.base import Source
from tonesift.networks import model as models
from tonesift.streaming import network_choice
from tonesift.streaming.anytones import AnyToneFilter
from tonesift.streaming.command import ANY_TONES
from tonesift.streaming.tonefilter import ToneFilter

AUTO_SEED = 4000  # recordings of `auto`, on which nothing was chosen


def streamed(drawn: list[tracking.Drawn], path: Path) -> list[np.ndarray]:
    """What `tonesift filter` makes of recordings with this model."""
    model, metadata = models.load(path)
    found = []
    for one in drawn:
        if model.front:
            tone_filter, share = AnyToneFilter(model, metadata, one.frequencies), 1
        else:
            tone_filter, share = ToneFilter(model, metadata, gaps="zero"), len(one.frequencies)  # before the mean
        found.append(filtered(tone_filter, one.samples) / share)
    return found


def table(names: list[str], draws: int, count: int, path: Path) -> None:
    """Print R² of each condition: mean and standard deviation over draws, each of other recordings."""
    print(f"{'condition':24} R² after 1 s, mean ± standard deviation of {draws} draws of {count} recordings")
    for name in names or tracking.CONDITIONS:
        figures = []
        for draw in range(draws):
            drawn = tracking.recordings(name, tracking.FIRST_SEED + draw, count)
            figures.append(tracking.r2(drawn, streamed(drawn, path)))
        spread = statistics.stdev(figures) if draws > 1 else 0.0
        print(f"{name:24} {statistics.mean(figures):.5f} ± {spread:.5f}", flush=True)


def taken(drawn: list[tracking.Drawn]) -> list[tuple[str, np.ndarray | None]]:
    """Of recordings the pipeline whose network `auto` takes, and its tones (K, N); '' and None for the filters."""
    found = []
    for one in drawn:
        source = Source("a draw", iter([one.samples]))
        choice = network_choice.choose_network(source, tracking.RATE, network_choice.Request(one.frequencies), None)
        tones = None
        if choice.filter:
            tones = filtered(choice.filter, one.samples) / choice.filter.count
        found.append((choice.name, tones))
    return found


def auto(names: list[str], draws: int, count: int) -> None:
    """Print of each condition how often which network is taken, and R² of `auto` without and with it."""
    print(f"{'condition':24} taken of {draws * count}; R² after 1 s, mean of {draws} draws, without and with networks")
    for name in names or tracking.CONDITIONS:
        figures, pipelines = [], Counter()
        for draw in range(draws):
            drawn = tracking.recordings(name, AUTO_SEED + draw, count)
            filtered, found = tracking.streamed(drawn, "auto"), taken(drawn)
            both = [plain if own is None else own for plain, (_, own) in zip(filtered, found, strict=True)]
            figures.append((tracking.r2(drawn, filtered), tracking.r2(drawn, both)))
            pipelines.update(pipeline for pipeline, _ in found if pipeline)
        without, within = (statistics.mean(column) for column in zip(*figures, strict=True))
        print(f"{name:24} {dict(pipelines) or 'none'}: {without:.5f} {within:.5f} {within - without:+.5f}", flush=True)


def speed() -> None:
    """Print what a sample costs, pushed a hop at a time and a second at a time; median of nine rounds."""
    print(f"filters corrected by a network, 4 tones, one thread; {machine.describe()}")
    drawn = tracking.recordings("everything", 1, 1)[0]
    tone_filter = AnyToneFilter(*models.load(ANY_TONES), drawn.frequencies)
    tone_filter.push(drawn.samples)
    for pieces in (len(drawn.samples) // tone_filter.hop, round(tracking.SECONDS)):
        rounds = []
        for _ in range(9):
            begin = time.process_time()
            for piece in np.split(drawn.samples, pieces):
                tone_filter.push(piece)
            rounds.append(1e6 * (time.process_time() - begin) / len(drawn.samples))
        size = len(drawn.samples) // pieces
        print(f"{size:5} samples at a time {statistics.median(rounds):6.2f} us a sample  (wanted: at most 40)")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("speed", "table", "auto"))
    parser.add_argument("conditions", nargs="*", metavar="CONDITION", help="of the table (default: all)")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--recordings", type=int, default=tracking.RECORDINGS)
    parser.add_argument("--model", type=Path, default=ANY_TONES, help="of the table (default: %(default)s)")
    arguments = parser.parse_args()
    if others := set(arguments.conditions) - set(tracking.CONDITIONS):
        parser.error(f"conditions: {', '.join(sorted(others))}: choose from {', '.join(tracking.CONDITIONS)}")
    if arguments.what == "speed":
        speed()
    else:
        ways = {"table": partial(table, path=arguments.model), "auto": auto}
        ways[arguments.what](arguments.conditions, arguments.draws, arguments.recordings)


if __name__ == "__main__":
    main()
