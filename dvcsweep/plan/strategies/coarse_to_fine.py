"""A grid over the whole space, then finer grids around the best point so far."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dvcsweep.plan.spaces import Dimension, points, spread
from dvcsweep.plan.strategies.base import Past, Plan, Proposal
from dvcsweep.plan.studies import Study


class CoarseToFine:
    """Round by round: ranges shrink to half the way from the best value to its neighbours, choices to the best."""

    def __init__(self, study: Study, settings: Mapping[str, Any]) -> None:
        self.study, self.settings = study, settings

    def plan(self, trials: Sequence[Past], limit: int | None) -> Plan:
        """The rest of the round that is under way, or the next one once that is done."""
        axes = {name: dimension.levels(self.study.strategy.levels) for name, dimension in self.study.space.items()}
        listed: list[dict[str, Any]] = []
        for _ in range(self.study.strategy.rounds):
            known = len(listed)
            listed += [point for point in self._grid(axes) if point not in listed]
            if len(trials) < len(listed):
                return Plan([Proposal(point) for point in listed[len(trials) : limit]])
            if not all(trial.done for trial in trials[: len(listed)]):
                return Plan()
            best = self._best(trials[: len(listed)])
            if best is None or len(listed) == known:
                break
            axes |= {name: self._closer(name, axes[name], value) for name, value in best.items()}
        return Plan()

    def _grid(self, axes: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
        space = {name: Dimension(choices=values, when=self.study.space[name].when) for name, values in axes.items()}
        return list(points(space, self.settings, self.study.strategy.levels))

    def _best(self, trials: Sequence[Past]) -> Mapping[str, Any] | None:
        sense = self.study.objective[0].sign
        sound = [trial for trial in trials if trial.values is not None]
        return min(sound, key=lambda trial: sense * trial.values[0]).params if sound else None

    def _closer(self, name: str, values: list[Any], best: Any) -> list[Any]:
        """The best value and those around it. What the best trial did not have is left as it was, by not asking."""
        dimension = self.study.space[name]
        if dimension.choices is not None:
            return [best]
        place = values.index(best)
        neighbours = values[max(place - 1, 0)], values[min(place + 1, len(values) - 1)]
        low, high = (_halfway(dimension, best, neighbour) for neighbour in neighbours)
        return sorted({best, *spread(dimension, low, high, self.study.strategy.levels)})


def _halfway(dimension: Dimension, one: float, other: float) -> float:
    return math.sqrt(one * other) if dimension.log else (one + other) / 2
