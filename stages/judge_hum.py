"""Stage `judge_hum`: a network that corrects filters on an ECG with hum, beside filters that learn nothing.

python -m stages.judge_hum --params hum/params.yaml hum/models/model.safetensors hum/metrics/judge.json hum/data/test.h5

Figures are those of `tonesift.evaluation.hum`, of the model as `tonesift filter --tones` runs it; with
`evaluate.detail: full` also of the method auto, and of notch filters.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import stages
from tonesift import arithmetic

if TYPE_CHECKING:
    from tonesift.evaluation.hum import Filter
    from tonesift.metadata import Metadata
    from tonesift.networks.model import Model


def judge_hum(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the figures."""
    (settings,) = stages.settings(arguments.params, "evaluate")
    arithmetic.choose("portable", or_native=True)
    from tonesift import compute
    from tonesift.data import recordings
    from tonesift.evaluation import hum
    from tonesift.networks import model as models

    model, metadata = models.load(arguments.model)
    filters = streamed(model, metadata, classical=settings.detail == "full")
    with (
        compute.parallel_map(compute.choose_device("cpu"), 2) as pmap,
        recordings.opened(arguments.recordings) as source,
    ):
        found = hum.figures(model, metadata, source, pmap, filters)
    print("\n".join(f"{name}: {value}" for name, value in found.items()))
    stages.write_json(arguments.metrics, {"ecg": found})
    return {"judged": models.digest(arguments.model)}


def streamed(model: "Model", metadata: "Metadata", classical: bool) -> "dict[str, Filter]":
    """What people run on a recording, by name."""
    from tonesift.evaluation import hum
    from tonesift.evaluation.sets import filtered
    from tonesift.streaming.anytones import AnyToneFilter
    from tonesift.streaming.namedtones import NamedToneFilter

    rate = metadata.sampling_rate
    found = {"streamed": lambda samples, tones: filtered(AnyToneFilter(model, metadata, tones), samples)}
    others = {
        "auto": lambda samples, tones: filtered(NamedToneFilter(tones, rate), samples),
        "notch": lambda samples, tones: hum.notch(samples, tones, rate, quality=10.0),
        "narrow_notch": lambda samples, tones: hum.notch(samples, tones, rate, quality=30.0),
    }
    return found | (others if classical else {})


if __name__ == "__main__":
    command = stages.parser(__doc__)
    command.add_argument("model", type=Path, help="the model")
    command.add_argument("metrics", type=Path, help="where to write the figures")
    command.add_argument("recordings", type=Path, help="recordings to judge it on")
    stages.main(judge_hum, command.parse_args())
