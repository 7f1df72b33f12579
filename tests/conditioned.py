"""Recordings under conditions, for tests."""

from typing import Any

import numpy as np
from conftest import ROOT

from tonesift import params
from tonesift.conditions import run
from tonesift.conditions.background import Background
from tonesift.data.recordings import Facts

(DATA,) = params.load(ROOT / "studies" / "bases" / "general.yaml", "data")


def made(
    sound: Background | None = None, testing: bool = False, **changes: Any
) -> tuple[Facts, np.ndarray, np.ndarray]:
    """Facts, mixtures and tones of recordings; keywords are conditions, or parameters of `data`."""
    own = {name: changes.pop(name) for name in list(changes) if name in params.Data.model_fields}
    values = {"train_recordings": 2, "test_recordings": 2, "noise_std": 0.0} | own
    data = DATA.model_copy(update=values | {"conditions": params.Conditions(**changes)})
    facts, pairs = run.draw_set(data, testing, sound)
    mixtures, tones = map(np.stack, zip(*pairs, strict=True))
    return facts, mixtures, tones
