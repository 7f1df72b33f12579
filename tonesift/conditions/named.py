"""Conditions by name, as settings of section `data`: what pictures and tables show, one after the other."""

from typing import Any

from tonesift import params
from tonesift.errors import InputError

HEAVY = {"tail_scale": [0.03, 0.4], "burst_share": 0.08}
EVERYTHING = {
    **{"drift": 0.01, "wander": 0.15, "phase_walk": 0.25, "dwell": 3.0, "tail_scale": [0.02, 0.2]},
    **{"burst_share": 0.08, "coloured": [0.02, 0.1], "clip": [0.4, 1.0], "gap_share": 0.2},
}
RANDOM_SETS, ANY = {"tone_range": [0.7, 60.0]}, ", random sets"  # every name may have these behind it
NAMED: dict[str, dict[str, Any]] = {
    "clean": {},
    "drift": {"drift": 0.02},
    "wander": {"wander": 0.3, "phase_walk": 0.5},
    "heavy": HEAVY | {"noise_std": 0.0},
    "outliers": {"outlier_share": 0.1, "noise_std": 0.05},
    "coloured": {"coloured": [0.05, 0.3]},
    "gaps": {"gap_share": 0.5},
    "clip": {"clip": [0.1, 0.4]},
    "switching": {"dwell": 1.0},
    "jitter": {"jitter_amplitude": 0.2, "jitter_phase": 45.0},
    "everything": EVERYTHING | {"noise_std": 0.0},
    "switching, random sets": {"dwell": 1.0} | RANDOM_SETS,
    "everything, random sets": EVERYTHING | RANDOM_SETS | {"noise_std": 0.0},
}


def under(data: params.Data, name: str, **changes: Any) -> params.Data:
    """Section `data`, for task general, under the conditions of a name; keywords change the rest of it."""
    plain = name.removesuffix(ANY)
    if plain not in NAMED:
        raise InputError(f"conditions {name!r}: got no such name: it is one of {'; '.join(NAMED)}")
    chosen = NAMED[plain] | (RANDOM_SETS if plain != name else {})
    noise = {"noise_std": chosen.pop("noise_std")} if "noise_std" in chosen else {}
    changes = {"task": "general", **changes, **noise, "conditions": params.Conditions(**chosen)}
    return data.model_copy(update=changes)
