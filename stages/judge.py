"""Stage `judge`: a network on sets of recordings that it never met, beside filters.

python -m stages.judge any-tones/models/model.safetensors any-tones/metrics/judge.json CLEAN.h5 SWITCHING.h5 ...

Figures are R² over all tones and recordings after the first second, of each set by its folder's name. Of a network that
corrects filters: of itself and of the first of these, both told how loud the tones are and where it clips. Of another:
of itself, on its own tones. With `evaluate.detail: full` also of what `tonesift filter --tones` makes of the
recordings, told the frequencies and nothing else: with such a model, and with filters by name.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import stages
from tonesift import arithmetic

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tonesift.metadata import Metadata
    from tonesift.networks.model import Model


def judge(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the figures of every set."""
    (settings,) = stages.settings(arguments.params, "evaluate")
    arithmetic.choose("portable", or_native=True)
    from tonesift import compute
    from tonesift.data import recordings
    from tonesift.evaluation import sets
    from tonesift.networks import model as models

    model, metadata = models.load(arguments.model)
    others = streamed(model, metadata) if settings.detail == "full" else {}
    others |= by_name(arguments.method, metadata.sampling_rate)
    found = {}
    with compute.parallel_map(compute.choose_device("cpu"), 2) as pmap:
        for path in arguments.recordings:
            with recordings.opened(path, any_tones=True) as source:
                found[path.parent.name] = sets.figures(model, metadata, source, pmap, others)
            print(f"{path}: {found[path.parent.name]}")
    stages.write_json(arguments.metrics, found)
    return {"judged": models.digest(arguments.model)}


def by_name(methods: list[str], rate: float) -> "dict[str, Callable]":
    """What filters of named tones make of a recording at this rate (Hz), by method."""
    from tonesift.evaluation import sets
    from tonesift.streaming.namedtones import NamedToneFilter

    def named(method: str, samples: "NDArray", tones: list[float]) -> "NDArray":
        return sets.filtered(NamedToneFilter(tones, rate, method), samples)

    return {f"{method}_r2": partial(named, method) for method in methods}


def streamed(model: "Model", metadata: "Metadata") -> "dict[str, Callable]":
    """What people run on a recording, by name: takes its samples (N,) and its tones, and gives these (K, N)."""
    from tonesift.evaluation import sets
    from tonesift.streaming.anytones import AnyToneFilter

    rate = metadata.sampling_rate
    if not model.front:
        return by_name(["auto", "fading"], rate)  # fading: for tones that come and go

    def network(samples: "NDArray", tones: list[float]) -> "NDArray":
        return sets.filtered(AnyToneFilter(model, metadata, tones), samples)

    return {"streamed_r2": network} | by_name(["auto"], rate)


if __name__ == "__main__":
    command = stages.parser(__doc__)
    command.add_argument("model", type=Path, help="the model")
    command.add_argument("metrics", type=Path, help="where to write the figures")
    command.add_argument("recordings", type=Path, nargs="+", help="sets of recordings to judge it on")
    command.add_argument("--method", action="append", default=[], help="filters by name, beside; may come again")
    stages.main(judge, command.parse_args())
