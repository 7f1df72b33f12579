"""What becomes of estimators under what recordings bring: the conditions of `conditions.named`, one after the other.

The tones are those of the test recordings, each condition's recordings are made anew, and estimators are told nothing
but what they know of the test recordings. That is what a network meets that was not trained for it.
"""

import math

import numpy as np
from numpy.typing import NDArray

from tonesift import metrics, params
from tonesift.conditions import named, run
from tonesift.data.recordings import Facts
from tonesift.evaluation.comparison import Task
from tonesift.evaluation.tables import Table, cells
from tonesift.full_evaluation import rivals

RECORDINGS = 2  # of each condition: `auto` takes a fifth of a second for each
# Not random sets of tones, which no network learns, nor jitter, which to filters is a little more noise.
NAMES = tuple(name for name, chosen in named.NAMED.items() if not {"tone_range", "jitter_phase"} & {*chosen})
RIVALS = ("kalman", "extended", "student", rivals.AUTO)
Estimator = rivals.Estimator


def table(network: Estimator, task: Task, samples: int) -> Table:
    """R^2 over all tones after the first second, of the network and of filters, under each condition.

    Parameters
    ----------
    network : callable
        Mixtures (M, N), NaN where a sample is missing, to estimates (M, K, N).
    task : Task
        What the test recordings are; the filters are told as much as it says.
    samples : int
        N.

    Returns
    -------
    list of dict
        condition, a figure for each estimator under its name, and `taken`: the method that `auto` took most often.
    """
    names = [name for name in NAMES if can_be_made(name, task.facts)]
    if not names:
        return []
    made = [recordings(task.facts, name, samples) for name in names]
    heard, tones = (np.concatenate(signals) for signals in zip(*made, strict=True))
    found = rivals.all_rivals(task) | rivals.named_tones(task)
    found = {name: found[name] for name in RIVALS if name in found}
    outputs = {"network": network(heard.astype(np.float32))}
    outputs |= {name: rival.estimate(heard) for name, rival in found.items()}
    taken = found[rivals.AUTO].estimate.taken if rivals.AUTO in found else []
    settled = round(task.facts.sampling_rate)
    later = slice(settled if settled < samples else 0, None)
    rows = []
    for begin, name in zip(range(0, len(heard), RECORDINGS), names, strict=True):
        part = slice(begin, begin + RECORDINGS)
        r2 = {each: metrics.tally(tones[part, :, later], output[part, :, later]).r2 for each, output in outputs.items()}
        rows.append({"condition": name, **cells(r2), "taken": rivals.most_taken(taken[part])})
    return rows


def can_be_made(name: str, facts: Facts) -> bool:
    """Whether recordings can go through conditions: each lasts a sample, and no tone drifts beyond half the rate."""
    conditions, _ = settings(name, facts)
    quickest = min(*conditions.gap_length, *conditions.burst_length, conditions.dwell or math.inf)
    highest = max(facts.frequencies) * (1 + params.DRIFTS * conditions.drift)
    return quickest * facts.sampling_rate >= 1 and highest < facts.sampling_rate / 2


def settings(name: str, facts: Facts) -> tuple[params.Conditions, float]:
    """Conditions of a name, and the standard deviation of the white noise."""
    chosen = dict(named.NAMED[name])
    noise_std = chosen.pop("noise_std", facts.noise_std)
    return params.Conditions(**chosen), noise_std


def labels(network: str) -> dict[str, str]:
    """What the table's estimators are called in the picture."""
    trackers = {name: label for name, (label, _) in rivals.TRACKERS.items() if name in RIVALS}
    return {"network": network, "kalman": "Kalman", **trackers, rivals.AUTO: "named tones, settings found"}


def recordings(facts: Facts, name: str, samples: int) -> tuple[NDArray, NDArray]:
    """Mixtures (M, N), NaN where a sample is missing, and tones (M, K, N) under the conditions of a name."""
    under = run.redrawn(facts, *settings(name, facts), RECORDINGS)
    pairs = [run.make_one(under, samples, index, None) for index in range(RECORDINGS)]
    mixtures, tones = (np.stack(signals) for signals in zip(*pairs, strict=True))
    return mixtures, tones
