"""Strategies that know all their trials beforehand: a grid, points by name, one parameter at a time."""

import itertools
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dvcsweep.plan.spaces import is_active, points, size
from dvcsweep.plan.strategies.base import Past, Plan, Proposal
from dvcsweep.plan.studies import Study


class Listed:
    """A strategy with a list of its trials."""

    def __init__(self, study: Study, settings: Mapping[str, Any]) -> None:
        self.study, self.settings = study, settings

    @abstractmethod
    def proposals(self) -> Iterator[Proposal]:
        """All trials, in order."""

    def plan(self, trials: Sequence[Past], limit: int | None) -> Plan:
        """All trials that are not among those so far."""
        return Plan(list(itertools.islice(self.proposals(), len(trials), limit)))


class Grid(Listed):
    """Every combination of values; with a number of trials, that many drawn without replacement."""

    def proposals(self) -> Iterator[Proposal]:
        """In order, or drawn."""
        levels = self.study.strategy.levels
        if self.study.trials is None:
            yield from map(Proposal, points(self.study.space, self.settings, levels))
        else:
            yield from map(Proposal, self._drawn(levels))

    def _drawn(self, levels: int) -> Iterator[dict[str, Any]]:
        axes = {name: dimension.levels(levels) for name, dimension in self.study.space.items()}
        seen = set()
        for number in _shuffled(size(self.study.space, levels), self.study.seed):
            point: dict[str, Any] = {}
            places = np.unravel_index(number, [len(values) for values in axes.values()])
            for (name, values), place in zip(axes.items(), places, strict=True):
                if is_active(self.study.space[name], {**self.settings, **point}):
                    point[name] = values[place]
            if repr(point) not in seen:
                seen.add(repr(point))
                yield point


def _shuffled(total: int, seed: int) -> Iterator[int]:
    """0 to total - 1 in random order, made as far as it is asked for (Fisher and Yates)."""
    generator = np.random.default_rng(seed)
    moved: dict[int, int] = {}
    for place in range(total):
        other = int(generator.integers(place, total))
        yield moved.get(other, other)
        moved[other] = moved.pop(place, place)


class Points(Listed):
    """Combinations by name."""

    def proposals(self) -> Iterator[Proposal]:
        """In the order of the study file."""
        for name, params in self.study.strategy.points.items():
            yield Proposal(dict(params), name)


class OneAtATime(Listed):
    """The base, then every value of each parameter with all others as in the base."""

    def proposals(self) -> Iterator[Proposal]:
        """The base first; its own values are not repeated."""
        active = self._active({name: self.settings[name] for name in self.study.space})
        yield Proposal(active, "base")
        for name in active:
            for value in self.study.space[name].levels(self.study.strategy.levels):
                if value != active[name]:
                    yield Proposal(self._active({**active, name: value}), f"{name}={value}")

    def _active(self, params: dict[str, Any]) -> dict[str, Any]:
        settings = {**self.settings, **params}
        return {name: value for name, value in params.items() if is_active(self.study.space[name], settings)}
