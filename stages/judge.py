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
    import numpy as np

    from tonesift.streaming.namedtones import NamedToneFilter

    def filtered(method: str, samples: np.ndarray, tones: list[float]) -> np.ndarray:
        tone_filter = NamedToneFilter(tones, rate, method)
        return np.concatenate([tone_filter.push(samples), tone_filter.finish()], axis=1)

    return {f"{method}_r2": partial(filtered, method) for method in methods}


def streamed(model: "Model", metadata: "Metadata") -> "dict[str, Callable]":
    """What people run on a recording, by name: takes its samples (N,) and its tones, and gives these (K, N)."""
    import numpy as np

    from tonesift.streaming.anytones import AnyToneFilter
    from tonesift.streaming.namedtones import NamedToneFilter

    def whole(tone_filter: AnyToneFilter | NamedToneFilter, samples: np.ndarray) -> np.ndarray:
        return np.concatenate([tone_filter.push(samples), tone_filter.finish()], axis=1)

    def named(method: str) -> "Callable":
        return lambda samples, tones: whole(NamedToneFilter(tones, metadata.sampling_rate, method), samples)

    if not model.front:
        return {"auto_r2": named("auto"), "fading_r2": named("fading")}  # the filter for tones that come and go
    return {
        "streamed_r2": lambda samples, tones: whole(AnyToneFilter(model, metadata, tones), samples),
        "auto_r2": named("auto"),
    }


if __name__ == "__main__":
    command = stages.parser(__doc__)
    command.add_argument("model", type=Path, help="the model")
    command.add_argument("metrics", type=Path, help="where to write the figures")
    command.add_argument("recordings", type=Path, nargs="+", help="sets of recordings to judge it on")
    command.add_argument("--method", action="append", default=[], help="filters by name, beside; may come again")
    stages.main(judge, command.parse_args())
