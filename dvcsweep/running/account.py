"""What is said of a search while it runs and at its end: counts, the best so far, failures."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from dvcsweep import progress
from dvcsweep.plan.studies import Study
from dvcsweep.progress import Display, Figures
from dvcsweep.record.ledger import Campaign
from dvcsweep.record.trials import Outcome, Trial, best_trials
from dvcsweep.running import snapshot
from dvcsweep.wording import printable

SHOWN = 3  # failures told to whoever watches


class Account:
    """Keeps count of a search, and says what has become of its trials.

    Parameters
    ----------
    study : Study
        What is searched.
    campaign : Campaign
        Its name and file.
    display : Display
        Where it is said.

    Attributes
    ----------
    figures : Figures
        Counts, and what runs.
    """

    def __init__(self, study: Study, campaign: Campaign, display: Display) -> None:
        self.study, self.campaign, self.display = study, campaign, display
        self.figures, self.failures = Figures(), list[str]()
        self.best: list[Trial] = []

    def ended(self, trial: Trial) -> None:
        """Count a trial, if it has ended; compare it with the best so far, or with several objectives the front."""
        if trial.finished:
            self.figures.done += trial.state != "failed"
            self.figures.failed += trial.state == "failed"
        if trial.state == "complete":
            best = best_trials(self.study, [*self.best, trial])
            self.best = best[:1] if len(self.study.objective) == 1 else best
            self.figures.best = f"trial {self.best[0].index}: {progress.figures_line(self.best[0].values)}"

    def snapshot(self, running: list[snapshot.Experiment], points: int | None) -> snapshot.Snapshot:
        """The state for whoever watches; `points` is the length of the longest whole curve."""
        figures = self.figures
        return snapshot.Snapshot(
            *(self.campaign.name, figures.done, figures.failed, figures.total, figures.best, figures.time_left()),
            sign=self.study.objective[0].sign,
            points=points,
            running=running,
            failures=self.failures[-SHOWN:],
        )

    def say_stopped(self, trial: Trial, stopped: Mapping[str, int], value: float) -> None:
        """A trial was stopped, its members after so many points."""
        places = ", ".join(f"after {count} points{member and f' of {member}'}" for member, count in stopped.items())
        self.display.say(f"trial {trial.index}  stopped {places}: {value:.6g}  {progress.brief(trial.params)}")

    def say_outcome(self, name: str, params: Mapping[str, Any], outcome: Outcome) -> None:
        """What an experiment came to."""
        if outcome.values is None:
            last = (outcome.error or "").strip().splitlines()[-1:] or ["no reason given"]
            self.display.say(f"{name}  failed: {last[0]}")
            self.failures.append(printable(f"{name}: {last[0]}", lines=False))
            return
        took = progress.took(outcome.seconds, outcome.stages)
        where = f"  on {outcome.node}" if outcome.node else ""
        self.display.say(f"{name}  {progress.figures_line(outcome.values)}  {took}  {progress.brief(params)}{where}")

    def say_end(self, trials: Collection[Trial], limit: int | None, reason: str | None) -> int:
        """The last line; 0 if every trial is done, 1 otherwise."""
        states = Counter(trial.state for trial in trials)
        asked = max(len(trials), limit or 0) if reason else len(trials)
        done, failed = states["complete"] + states["pruned"], states["failed"]
        never = asked - done - failed
        parts = [f"{self.campaign.name}: {done} of {asked} trials done"]
        parts += [f"{failed} failed"] if failed else []
        parts += [f"{never} not run"] if never else []
        if failed:
            self.display.say(
                f"why: python -m dvcsweep status {self.campaign.facts.file}; again: python -m dvcsweep run "
                f"{self.campaign.facts.file} --retry-failed"
            )
        self.display.say(", ".join(parts) + (f"; ended because {reason}" if reason and never else ""))
        return int(done < asked)
