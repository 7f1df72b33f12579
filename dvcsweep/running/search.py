"""One run of a campaign: what is handed to workers, what comes back, and what becomes of each trial."""

import contextlib
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dvcsweep import naming
from dvcsweep.errors import StudyError
from dvcsweep.files import copy
from dvcsweep.naming import short
from dvcsweep.plan.resolution import Resolved
from dvcsweep.plan.strategies import Past, Plan, Proposal, make
from dvcsweep.plan.studies import Study
from dvcsweep.progress import Display, Figures
from dvcsweep.record import campaigns
from dvcsweep.record.ledger import Campaign, forms
from dvcsweep.record.trials import Outcome, Trial, members, rungs
from dvcsweep.repository import Experiment, Repository
from dvcsweep.running import snapshot
from dvcsweep.running.account import Account
from dvcsweep.running.interruption import interruptible
from dvcsweep.running.job import Job
from dvcsweep.running.pool import Context, Pool, Workers
from dvcsweep.running.stopping import Stopping
from dvcsweep.running.worker import ATTEMPTS, read

TICK = 0.5
SHOW = 1.0  # seconds between the states written for whoever watches
COPIED = "copied"


def local_workers(context: Context) -> Workers:
    """Processes on this machine."""
    return Pool(context.place / "workers", context.jobs or context.study.jobs)


@dataclass(frozen=True)
class Options:
    """What the command line says beside the study file.

    Attributes
    ----------
    jobs, trials : int, optional
        Instead of the study's.
    minutes : float, optional
        Begin no trial after so long.
    retry_failed : bool
        Run failed trials again.
    take_over : bool
        Run nothing: only take over experiments that are there already.
    workers : callable
        Gives a search its workers, or raises StudyError.
    """

    jobs: int | None = None
    trials: int | None = None
    minutes: float | None = None
    retry_failed: bool = False
    take_over: bool = False
    workers: Callable[[Context], Workers] = local_workers


@dataclass(frozen=True)
class Task:
    """One experiment of a trial."""

    trial: int
    member: str
    rung: int
    name: str
    settings: dict[str, Any]


class Search:
    """One run of a campaign.

    Parameters
    ----------
    study : Study
        What to search.
    repository : Repository
        Where.
    campaign : Campaign
        The ledger's part of it, to go on with.
    resolved : Resolved
        The study at the campaign's baseline.
    options : Options
        From the command line.
    display : Display
        Where progress is shown.
    """

    def __init__(
        self,
        study: Study,
        repository: Repository,
        campaign: Campaign,
        resolved: Resolved,
        options: Options,
        display: Display,
    ) -> None:
        self.study, self.repository, self.campaign = study, repository, campaign
        self.resolved, self.options, self.display = resolved, options, display
        self.baseline: str = campaign.facts.baseline
        self.place = campaigns.folder(repository, study)
        self.cache = str(repository.cache(study.pipeline))
        self.strategy = make(study, resolved.settings)
        self.forms = forms(study, resolved.settings)
        self.trials = {trial.index: trial for trial in campaign.trials()}
        self.existing: dict[str, Experiment] = {}
        self.queue: deque[Task] = deque()
        self.running: dict[str, Task] = {}
        self.attempts: dict[str, int] = {}
        self.stopping = Stopping(study, self.trials.values())
        self.curves: dict[str, list[float]] = {}  # of experiments that run, so far
        self.stopped: dict[int, dict[str, int]] = {}  # trials to be stopped: by member, after how many points
        self.points: int | None = None  # of the longest curve so far
        self.shown = 0.0
        self.told_to_stop: set[str] = set()  # experiments whose workers have been told so
        self.account = Account(study, campaign, display)
        self.limit = study.at_most(options.trials)
        minutes = options.minutes or study.stop.minutes
        self.deadline = time.monotonic() + minutes * 60 if minutes else None

    def run(self) -> int:
        """Until nothing is left to do, or a limit is reached; 0 if every trial planned is complete."""
        for mend in (self.repository.unlock, self.repository.drop_broken):
            mend(self.baseline, self.campaign.facts.label)
        with interruptible(), contextlib.closing(self.options.workers(self._context())) as workers:
            self.figures.jobs = workers.count
            self.existing = {one.name: one for one in self.repository.experiments() if one.baseline == self.baseline}
            self._say_state()
            self._keep_copies()
            self._take_up()
            while self.running or not self._reason_to_end():
                if not self.queue and not self.running and not self._plan():
                    self._leave_below()
                    break
                self._step(workers)
        return self.account.say_end(self.trials.values(), self.limit, self._reason_to_end())

    @property
    def figures(self) -> Figures:
        """Counts, and what runs."""
        return self.account.figures

    def _context(self) -> Context:
        return Context(
            study=self.study,
            repository=self.repository,
            baseline=self.baseline,
            label=self.campaign.facts.label,
            place=self.place,
            jobs=self.options.jobs,
            display=self.display,
        )

    def _step(self, workers: Workers) -> None:
        """Hand out what there is to do, and take in what is done."""
        while self.queue and workers.idle > 0 and not self._reason_to_end():
            self._begin(self.queue.popleft(), workers)
        if self.running:
            outcomes = workers.wait(TICK)
            self._look(workers)
            for outcome in outcomes:
                self._take_in(self.running.pop(outcome.name), outcome)
        self.figures.jobs = workers.count
        self.display.refresh(self.figures)
        if time.monotonic() > self.shown + SHOW:
            self.shown = time.monotonic()
            with contextlib.suppress(OSError):  # a full disk: a search does not end for want of an audience
                self._snapshot().write(self.place)

    def _snapshot(self) -> snapshot.Snapshot:
        """The state for whoever watches."""
        running = []
        for name, task in self.running.items():
            began, params = self.figures.running[name]
            curve = self.curves.get(name, [])
            threshold = self.stopping.threshold(task.trial, task.member, len(curve)) if curve else None
            when = time.time() - (time.monotonic() - began)
            running.append(snapshot.Experiment(name, params, when, curve, threshold))
        return self.account.snapshot(running, self.points)

    def _look(self, workers: Workers) -> None:
        """Read how far running experiments have come, and have those stopped that the study's rule says."""
        for name, curve in workers.news().items():
            if (task := self.running.get(name)) is not None:
                self._note(task, curve)
        for name, curve in self.curves.items():
            task = self.running[name]
            count = self.stopping.running(task.trial, task.member, curve)
            if count is not None and task.trial not in self.stopped:
                self.stopped[task.trial] = {task.member: count}
                self.queue = deque(other for other in self.queue if other.trial != task.trial)
        for name, task in self.running.items():
            if (task.trial in self.stopped or self.trials[task.trial].finished) and name not in self.told_to_stop:
                self.told_to_stop.add(name)
                workers.stop(name)

    def _note(self, task: Task, curve: list[float]) -> None:
        """Keep a curve's new points, in the ledger too where the trial has this one curve."""
        known = len(self.curves.get(task.name, ()))
        self.curves[task.name] = curve
        if len(list(members(self.study, task.rung))) == 1 and not self.study.halved:
            for place in range(known, len(curve)):
                self.campaign.report(self.trials[task.trial].identity, place + 1, curve[place])

    def _reason_to_end(self) -> str | None:
        failed = self.figures.failed
        if failed >= self.study.stop.failures and not self.worked:
            count = f"{failed} trials have failed" if failed > 1 else "the first trial has failed"
            return f"{count} and none has got as far as its figures (stop.failures: {self.study.stop.failures})"
        if self.deadline is not None and time.monotonic() > self.deadline:
            return "the time is up"
        return None

    @property
    def worked(self) -> bool:
        """Whether any experiment has had figures, if only one that is not finite, or was stopped for those it had."""
        return any(
            outcome.values is not None or outcome.diverged or outcome.stopped
            for trial in self.trials.values()
            for outcome in trial.experiments.values()
        )

    def _say_state(self) -> None:
        dirty = self.repository.dirty((os.path.relpath(self.place, self.repository.root), *self._own_files()))
        if dirty:
            shown = ", ".join(dirty[:5]) + (f" and {len(dirty) - 5} more" if len(dirty) > 5 else "")
            self.display.say(
                f"not committed, so not part of any trial: {shown}; commit {short(self.baseline)} is what runs"
            )
        if self.resolved.undeclared:
            self.display.say(
                f"no stage declares {', '.join(self.resolved.undeclared)}, so that every trial runs all stages anew: "
                "among a stage's deps, DVC would know when it changes"
            )
        if self.study.timed and self.figures.jobs > 1:
            self.display.say(
                f"times are an objective, and {self.figures.jobs} experiments share this machine: --jobs 1 measures "
                "each alone"
            )

    def _keep_copies(self) -> None:
        """Put aside what clones are given a copy of, as it is now: the user may go on editing it."""
        shutil.rmtree(self.place / COPIED, ignore_errors=True)
        for path in self.study.copies:
            copy(self.repository.root / path, self.place / COPIED / path)

    def _own_files(self) -> tuple[str, ...]:
        file = Path(self.campaign.facts.file)
        return str(file), str(file.with_suffix(""))

    # What to run

    def _take_up(self) -> None:
        """Queue what an earlier driver had begun."""
        done = {index: len(self._rungs(trial)) for index, trial in self.trials.items()}
        under_way = [done[index] for index, trial in self.trials.items() if self._partial(trial, done[index])]
        reached = max([*done.values(), *(count + 1 for count in under_way)], default=0)
        pasts = [self._past(trial) for trial in self.trials.values()]
        climbers = cache(lambda rung: frozenset(self.strategy.climbers(pasts, rung)))
        for trial in list(self.trials.values()):
            if self.options.retry_failed and trial.state == "failed":
                trial = self._again(trial)
            if not trial.finished:
                self._go_on(trial, reached, climbers)
        for trial in self.trials.values():
            self.account.ended(trial)
        self.figures.total = len(self.trials)

    def _go_on(self, trial: Trial, reached: int, climbers: Callable[[int], Collection[int]]) -> None:
        """Queue what a trial still needs; one that climbs is told by another that has reached the rung above.

        One that was run again later may not be among those that climb.
        """
        done = len(self._rungs(trial))
        if self._pruned(trial):
            return
        for rung in range(done):
            self._rung_done(trial, rung)
        if not done or (done < reached and trial.index in climbers(done)):
            self._queue(trial, done)

    def _again(self, trial: Trial) -> Trial:
        fresh = self.campaign.add(
            trial.index, Proposal(trial.params, trial.label, trial.notes), self.forms, attempt=trial.attempt + 1
        )
        for member, outcome in trial.experiments.items():
            if outcome.values is not None:
                self.campaign.record(fresh.identity, member, outcome)
        self.trials[trial.index] = self.campaign.trial(fresh.identity)
        return self.trials[trial.index]

    def _plan(self) -> bool:
        """Ask the strategy; False if there is nothing more."""
        if self.options.take_over and not all(trial.finished for trial in self.trials.values()):
            return False
        plan = self.strategy.plan([self._past(self.trials[index]) for index in sorted(self.trials)], self.limit)
        self._prune(plan)
        for proposal in plan.new:
            index = len(self.trials)
            self.trials[index] = self.campaign.add(index, proposal, self.forms)
            self._queue(self.trials[index], 0)
        for index in plan.climb:
            self._queue(self.trials[index], len(self._rungs(self.trials[index])))
        self.figures.total = len(self.trials)
        return bool(plan.new or plan.climb)

    def _prune(self, plan: Plan) -> None:
        """End the trials that do not climb. They are ended before any other climbs, so that a restart can tell."""
        if plan.climb:
            self._leave_below(frozenset(plan.climb))

    def _leave_below(self, climbers: Collection[int] = ()) -> None:
        """End the trials that have done a rung and will do no other."""
        for index, trial in list(self.trials.items()):
            if not trial.finished and index not in climbers and (reached := self._rungs(trial)):
                self._end(trial, "pruned", [reached[-1]])

    def _past(self, trial: Trial) -> Past:
        reached = tuple(self._rungs(trial)) if self.study.halved else ()
        values = trial.values if trial.state in ("complete", "pruned") else None
        return Past(trial.index, trial.params, values, True, trial.finished, reached, trial.notes)

    def _rungs(self, trial: Trial) -> list[float]:
        """The first objective after each rung that is complete."""
        return [values[0] for values in rungs(self.study, trial)]

    def _partial(self, trial: Trial, rung: int) -> bool:
        return rung < len(self.study.budgets) and any(
            member in trial.experiments for member, _ in members(self.study, rung)
        )

    def _queue(self, trial: Trial, rung: int) -> None:
        for member, settings in members(self.study, rung):
            outcome = trial.experiments.get(member)
            if outcome is None or outcome.values is None:
                wanted = {**self.resolved.settings, **trial.params, **settings}
                if self.study.budgets[rung] is not None:
                    wanted[self.study.strategy.budget] = self.study.budgets[rung]
                name = naming.experiment(self.campaign.facts.label, trial.index, member, self.baseline)
                self.queue.append(Task(trial.index, member, rung, name, wanted))

    # One experiment

    def _begin(self, task: Task, workers: Workers) -> None:
        trial = self.trials[task.trial]
        if trial.state == "waiting" and not self.options.take_over:
            self.campaign.begin_trial(trial.identity)
            self.trials[task.trial] = self.campaign.trial(trial.identity)
        job = self._job(task)
        if task.name in self.existing:
            self._take_in(task, self._taken_over(task, job))
            return
        if self.options.take_over:
            return
        self.attempts[task.name] = self.attempts.get(task.name, 0) + 1
        self.running[task.name] = task
        self.figures.running[task.name] = (time.monotonic(), trial.params)
        workers.submit(job)

    def _job(self, task: Task) -> Job:
        study, stop = self.study, self.study.stop
        return Job(
            name=task.name,
            baseline=self.baseline,
            root=str(self.repository.root),
            clone="",
            cache=self.cache,
            log=str(self.place / "logs" / f"{task.name}.log"),
            pipeline=study.pipeline,
            params=study.params,
            settings=task.settings,
            objectives=[(objective.file, objective.key) for objective in study.objective],
            metrics=self.resolved.metrics,
            outputs=self.resolved.outputs,
            composed=self.resolved.composed,
            copies=study.copies,
            copied=str(self.place / COPIED),
            curves=list(dict.fromkeys([*study.curves, *filter(None, [self.stopping.file])])),
            watched=self._watched,
            varied=self.resolved.varied,
            force=study.timed or bool(self.resolved.undeclared),
            threads=study.threads,
            seconds=stop.trial_minutes * 60 if stop.trial_minutes else None,
        )

    @property
    def _watched(self) -> str | None:
        """The table that workers tell of: the rule's, or the one that stands for the objective."""
        return self.stopping.file or self.study.named_curve or next(reversed(self.study.curves), None)

    def _taken_over(self, task: Task, job: Job) -> Outcome:
        """An experiment that is there already: pushed by a driver that did not live to write it down."""
        experiment = self.existing[task.name]
        try:
            outcome = read(job, self.repository, experiment.commit)
        except StudyError as error:
            raise StudyError(
                f"the name {task.name} is used already by an experiment that is not this trial ({error}): remove it "
                f"with `dvc exp remove {task.name}`, and at the Git remote if it came from one, or rename the study"
            ) from error
        self.display.say(f"{task.name}  taken over: it was there already")
        return outcome

    def _take_in(self, task: Task, outcome: Outcome) -> None:
        """Write an outcome down, and end the trial if it was its last."""
        began, _ = self.figures.running.pop(task.name, (None, None))
        live = self.curves.pop(task.name, [])
        self.told_to_stop.discard(task.name)
        if self.trials[task.trial].finished:  # another experiment of the trial has failed meanwhile
            return
        if outcome.interrupted and self.attempts[task.name] < ATTEMPTS:
            self.display.say(f"{task.name}  killed from outside; it is run again")
            self.queue.appendleft(task)
            return
        if began is not None and outcome.values is not None:
            self.figures.seconds.append(time.monotonic() - began)
        if outcome.stopped:
            outcome = self.stopping.cut(outcome, live, self.stopped[task.trial].get(task.member))
        trial = self.trials[task.trial]
        self.campaign.record(trial.identity, task.member, outcome)
        trial = self.trials[task.trial] = self.campaign.trial(trial.identity)
        if not outcome.stopped:
            whole = outcome.curves.get(self._watched or "", ((), ()))[1]
            self.points = max(self.points or 0, len(whole)) or None
            if outcome.values is None or task.name not in self.existing:
                self.account.say_outcome(task.name, self.trials[task.trial].params, outcome)
        if outcome.values is None and not outcome.stopped:
            self._fail(trial, task, outcome.error)
        elif not self._pruned(trial) and len(self._rungs(trial)) > task.rung:
            self._rung_done(trial, task.rung)
        if self.study.prune:
            self._conclude()

    def _pruned(self, trial: Trial) -> bool:
        """End a trial that the study's rule stops, by what has run of it; whether it has ended."""
        stopped = self.stopped.get(trial.index) or self.stopping.stops_at(trial)
        if stopped and self.stopping.has_run(trial, stopped):
            self.queue = deque(other for other in self.queue if other.trial != trial.index)
            self._stop(trial, stopped)
        return self.trials[trial.index].finished

    def _conclude(self) -> None:
        """Go on with trials that have run and only waited for others to end, which they are compared with."""
        for trial in list(self.trials.values()):
            if not trial.finished and not self._pruned(trial) and self._rungs(trial):
                self._rung_done(trial, 0)

    def _stop(self, trial: Trial, stopped: dict[str, int]) -> None:
        value = self.stopping.value(trial, stopped)
        self.campaign.stop(trial.identity, stopped, value)
        trial = self.trials[trial.index] = self.campaign.trial(trial.identity)
        self.stopping.end(trial)
        self.account.ended(trial)
        self.account.say_stopped(trial, stopped, value)

    def _rung_done(self, trial: Trial, rung: int) -> None:
        reached = rungs(self.study, trial)[: rung + 1]
        budget = self.study.budgets[rung]
        if budget is not None:
            self.campaign.report(trial.identity, budget, reached[-1][0])
        if rung == len(self.study.budgets) - 1 and self.stopping.ready(trial):
            self._end(trial, "complete", list(reached[-1]))

    def _fail(self, trial: Trial, task: Task, error: str | None) -> None:
        self.queue = deque(other for other in self.queue if other.trial != task.trial)
        if not trial.finished:
            self._end(trial, "failed", None, f"{task.name}: {error}")

    def _end(self, trial: Trial, state: str, values: list[float] | None, error: str | None = None) -> None:
        self.campaign.finish(trial.identity, state, values, error)
        self.trials[trial.index] = self.campaign.trial(trial.identity)
        self.stopping.end(self.trials[trial.index])
        self.account.ended(self.trials[trial.index])
