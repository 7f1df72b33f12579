"""Rules of pruning beside Optuna itself, run trial after trial, and beside the definition of the late median."""

from statistics import median

import numpy as np
import optuna
import pytest
from optuna.pruners import HyperbandPruner, MedianPruner, PatientPruner, PercentilePruner, SuccessiveHalvingPruner
from optuna.trial import TrialState
from pydantic import TypeAdapter

from dvcsweep.plan.pruning import Curve, Prune, Pruning, by_name
from dvcsweep.quiet import quiet

with quiet():
    PATIENT = PatientPruner(MedianPruner(5), 2)
    WILCOXON = optuna.pruners.WilcoxonPruner(p_threshold=0.1, n_startup_steps=4)
RULES = [
    ({"rule": "median", "startup": 3, "warmup": 2}, MedianPruner(3, 2)),
    ({"rule": "percentile", "percentile": 30.0}, PercentilePruner(30.0, 5)),
    ({"rule": "halving"}, SuccessiveHalvingPruner(1, 3)),
    ({"rule": "halving", "minimum": 2, "factor": 2}, SuccessiveHalvingPruner(2, 2)),
    ({"rule": "hyperband"}, HyperbandPruner(1)),
    ({"rule": "patient", "patience": 2}, PATIENT),
]
POINTS = 12


def rule(**content):
    return TypeAdapter(Prune).validate_python(by_name(content))


def curves(seed, trials=30, nan=0.0):
    """Losses that fall, each from its own height with its own noise."""
    generator = np.random.default_rng(seed)
    end, rate = generator.uniform(0, 1, (2, trials, 1))
    made = end + np.exp(-rate * np.arange(POINTS)) + generator.normal(0, 0.1, (trials, POINTS))
    made[generator.uniform(size=made.shape) < nan] = np.nan
    return [tuple(row) for row in made.tolist()]


def decide(pruning, trials, member=""):
    """Where each trial is stopped, one after the other."""
    found = []
    for index, values in enumerate(trials):
        count = pruning.stops(index, member, values)
        pruning.end(index, {member: Curve(values[:count], count is None)})
        found.append(count)
    return found


def optunas(pruner, trials, direction):
    """The same as Optuna does it."""
    study, found = optuna.create_study(study_name="pruning", direction=direction, pruner=pruner), []
    for values in trials:
        trial = study.ask()
        for count, value in enumerate(values, start=1):
            trial.report(value, count)
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                found.append(count)
                break
        else:
            study.tell(trial, min(values) if direction == "minimize" else max(values))
            found.append(None)
    return found


@pytest.mark.parametrize(("content", "pruner"), RULES, ids=lambda one: one["rule"] if isinstance(one, dict) else "")
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_optunas_rules_decide_as_optuna_does(content, pruner, direction):
    sign = 1 if direction == "minimize" else -1
    trials = [tuple(sign * value for value in values) for values in curves(1)]
    wanted = optunas(pruner, trials, direction)
    assert decide(Pruning(rule(**content, group=1), sign), trials) == wanted
    assert any(wanted)
    assert None in wanted


def test_wilcoxon_gives_up_folds_as_optuna_does():
    trials = curves(2)
    pruning = Pruning(rule(rule="wilcoxon", startup=4, group=1), 1)
    # Optuna's best trial is the one with the least value told; here that is the mean over the folds.
    study, wanted = optuna.create_study(pruner=WILCOXON), []
    for values in trials:
        trial, stopped = study.ask(), None
        for count, value in enumerate(values, start=1):
            trial.report(value, count)
            if trial.should_prune():
                stopped = count
                break
        study.tell(trial, None if stopped else np.mean(values), state=TrialState.PRUNED if stopped else None)
        wanted.append(stopped)
    assert decide(pruning, trials) == wanted
    assert any(wanted)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("group", [1, 3])
def test_the_late_median_is_what_it_says(sign, group):
    trials = [tuple(sign * value for value in values) for values in curves(3)]
    stopped = decide(Pruning(rule(rule="late-median", startup=4, wait=0.5, group=group), sign), trials)
    for index, count in enumerate(stopped):
        earlier = range(index // group * group)
        complete = [trials[other] for other in earlier if stopped[other] is None]
        for point in range(1, (count or POINTS) + 1):
            best = [min(sign * value for value in values[:point]) for values in (*complete, trials[index])]
            due = len(complete) >= 4 and point > POINTS / 2 and best[-1] > median(best[:-1])
            assert due == (point == count), (index, point)
    assert any(stopped)
    assert min(count for count in stopped if count) == POINTS // 2 + 1


def test_a_trial_that_ended_by_itself_counts_with_its_best():
    pruning = Pruning(rule(rule="late-median", startup=2, wait=0.0, group=1), 1)
    assert decide(pruning, [(3.0, 1.0), (3.0, 1.0, 1.0, 1.0), (3.0, 2.0, 2.0, 0.5)]) == [None, None, 2]


@pytest.mark.parametrize("content", [content for content, _ in RULES] + [{"rule": "late-median"}])
def test_decisions_do_not_depend_on_who_is_faster(content):
    """Three workers at random speeds, whose points are looked at late or early, against one trial after the other."""
    trials, group = curves(4, 24), 3
    wanted = decide(Pruning(rule(**content, group=group), 1), trials)
    for seed in range(5):
        generator = np.random.default_rng(seed)
        pruning = Pruning(rule(**content, group=group), 1)
        waiting, running, found = list(range(len(trials))), {}, {}
        while waiting or running:
            while waiting and len(running) < 3:
                running[waiting.pop(0)] = 0
            index = int(generator.choice(list(running)))
            running[index] = min(running[index] + int(generator.integers(1, 5)), POINTS)
            count = pruning.stops(index, "", trials[index][: running[index]])
            ran_out = running[index] == POINTS and pruning.ready(index)
            if count is not None or ran_out:
                pruning.end(index, {"": Curve(trials[index][:count], count is None)})
                found[index] = count
                del running[index]
        assert [found[index] for index in range(len(trials))] == wanted


def test_a_killed_search_decides_again_as_it_would_have():
    for content, _ in RULES:
        trials = curves(5)
        wanted = decide(Pruning(rule(**content, group=2), 1), trials)
        again = Pruning(rule(**content, group=2), 1)
        for index, (values, count) in enumerate(zip(trials[:20], wanted[:20], strict=True)):
            again.end(index, {"": Curve(values[:count], count is None)})
        for index in range(20, 30):
            count = again.stops(index, "", trials[index])
            assert count == wanted[index]
            again.end(index, {"": Curve(trials[index][:count], count is None)})


@pytest.mark.parametrize("content", [content for content, _ in RULES] + [{"rule": "late-median"}])
def test_failed_trials_and_values_that_are_no_numbers_stop_nothing_else(content):
    trials, pruning = curves(6, nan=0.2), Pruning(rule(**content, group=2), 1)
    for index, values in enumerate(trials):
        pruning.stops(index, "", values)
        pruning.end(index, {} if index % 4 == 0 else {"": Curve(values, True)})
    assert pruning.ready(len(trials))


def test_folds_are_compared_with_the_same_folds():
    pruning = Pruning(rule(rule="late-median", startup=1, wait=0.0, group=1), 1)
    pruning.end(0, {"fold1": Curve((1.0,), True), "fold2": Curve((5.0,), True)})
    assert pruning.stops(1, "fold1", (2.0,)) == 1
    assert pruning.stops(1, "fold2", (2.0,)) is None
    assert pruning.threshold(1, "fold2", 1) == 5.0
