"""What a strategy sees of a study, and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from dvcsweep.plan.studies import Study


@dataclass(frozen=True)
class Past:
    """A trial as strategies see it.

    Attributes
    ----------
    index : int
        Its number, from 0.
    params : dict
        Values of what the study varies.
    values : tuple of float or None
        The objectives; None where it has failed or is not done.
    done : bool
        Nothing of it is to be run until a plan says so.
    ended : bool
        Nothing of it will ever be run again: it is complete, pruned or failed.
    rungs : tuple of float
        The objective after each rung run so far (successive halving).
    notes : dict
        What the strategy wanted kept with the trial.
    """

    index: int
    params: Mapping[str, Any]
    values: tuple[float, ...] | None = None
    done: bool = False
    ended: bool = False
    rungs: tuple[float, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Proposal:
    """A trial to be run: values of what the study varies, a name if it has one, and what the strategy wants kept."""

    params: dict[str, Any]
    label: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What to do next: new trials, and trials (by index) that climb a rung; with neither, the study is done."""

    new: list[Proposal] = field(default_factory=list)
    climb: list[int] = field(default_factory=list)


class Strategy(Protocol):
    """How the trials of a study are chosen."""

    def __init__(self, study: Study, settings: Mapping[str, Any]) -> None:
        """Take the study and the values of the parameters that it does not vary."""

    def plan(self, trials: Sequence[Past], limit: int | None) -> Plan:
        """What comes next.

        Parameters
        ----------
        trials : sequence of Past
            All trials so far, in the order of their numbers.
        limit : int or None
            The number of trials not to exceed.

        Returns
        -------
        Plan
            Depends on the study, `trials` and `limit` alone, never on the clock, on workers or on earlier calls.
        """
