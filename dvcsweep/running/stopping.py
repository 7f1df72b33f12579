"""When the trials of a running search are stopped early: its rule of pruning, applied to curves and to the ledger."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from statistics import fmean

from dvcsweep.plan.pruning import Curve, Pruning
from dvcsweep.plan.studies import Study
from dvcsweep.record.trials import Outcome, Trial, members


class Stopping:
    """The decisions of a search, which has no rungs and one objective where it has a rule.

    Parameters
    ----------
    study : Study
        What is searched; without `prune` nothing is ever stopped.
    trials : iterable of Trial
        Those that an earlier driver has brought to an end.

    Attributes
    ----------
    file : str or None
        The table that is read while a trial runs.
    """

    def __init__(self, study: Study, trials: Iterable[Trial]) -> None:
        self.study, self.rule = study, study.prune
        self.file = study.pruned_by(study.prune) if study.prune else None
        self._pruning = Pruning(study.prune, study.objective[0].sign) if study.prune else None
        for trial in trials:
            if trial.finished:
                self.end(trial)

    def ready(self, trial: Trial) -> bool:
        """Whether what is to become of a trial can be told: all that it is compared with have ended."""
        return self._pruning is None or self._pruning.ready(trial.index)

    def running(self, trial: int, member: str, values: Sequence[float]) -> int | None:
        """After how many points of its curve so far an experiment that runs is to be stopped; None if it goes on."""
        if self._pruning is None or self.rule.over_members:
            return None
        return self._pruning.stops(trial, member, values)

    def threshold(self, trial: int, member: str, count: int) -> float | None:
        """What its best after so many points is held against, if the rule can tell."""
        return None if self._pruning is None else self._pruning.threshold(trial, member, count)

    def stops_at(self, trial: Trial) -> dict[str, int]:
        """Where a trial is to be stopped, by member, from its experiments so far; empty if it goes on."""
        if self._pruning is None or not self._pruning.ready(trial.index):
            return {}
        for member, values in self._read(trial).items():
            count = self._pruning.stops(trial.index, member, values)
            if count is not None:
                return {member: count}
        return {}

    def _read(self, trial: Trial) -> Mapping[str, Sequence[float]]:
        """What the rule reads of a trial's experiments: the curve of each, or their objectives in order."""
        ran = [(name, trial.experiments.get(name)) for name, _ in members(self.study, 0)]
        if self.rule.over_members:
            done = list(takewhile(lambda one: one is not None and one.values is not None, (one for _, one in ran)))
            return {"": [one.values[0] for one in done]} if done else {}
        return {name: _points(outcome, self.file) for name, outcome in ran if _points(outcome, self.file)}

    def has_run(self, trial: Trial, stopped: Mapping[str, int]) -> bool:
        """Whether all that a decision was made by is in the ledger."""
        read = self._read(trial)
        return all(len(read.get(member, ())) >= count for member, count in stopped.items())

    def cut(self, outcome: Outcome, live: Sequence[float], count: int | None) -> Outcome:
        """A stopped experiment's curves up to where it was to be stopped, whenever it was; `live` is what was told."""
        curves = {file: (steps[:count], values[:count]) for file, (steps, values) in outcome.curves.items()}
        if count is not None and len(curves.get(self.file, ((), ()))[1]) < count:
            curves[self.file] = ([float(place) for place in range(count)], list(live[:count]))
        return replace(outcome, curves=curves)

    def value(self, trial: Trial, stopped: Mapping[str, int]) -> float:
        """What stands for the objective of a stopped trial: the best that its curve had reached, or folds' mean."""
        sign = self.study.objective[0].sign
        read = self._read(trial)
        if self.rule.over_members:
            return fmean(read[""][: stopped[""]])
        cut = {name: values[: stopped.get(name)] for name, values in read.items()}
        return fmean(sign * min(sign * value for value in values) for values in cut.values())

    def end(self, trial: Trial) -> None:
        """A trial has ended: later ones are compared with it."""
        if self._pruning is None:
            return
        ended: dict[str, Curve] = {}
        if trial.state != "failed":
            for member, values in self._read(trial).items():
                count = trial.stopped.get(member)
                ended[member] = Curve(tuple(values[:count]), count is None)
        self._pruning.end(trial.index, ended)


def _points(outcome: Outcome | None, file: str | None) -> list[float]:
    return list(outcome.curves[file][1]) if outcome is not None and file in outcome.curves else []
