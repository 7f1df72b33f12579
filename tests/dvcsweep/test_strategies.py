"""One contract for all strategies, held against a small driver in pure Python; then what is true of each alone."""

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.stats

from dvcsweep.plan.strategies import Past, Strategy, make
from dvcsweep.plan.studies import Study

SETTINGS = {"rate": 0.01, "width": 32, "clip": None, "kind": "b", "momentum": 0.9, "sizes": [8, 8], "epochs": 50}
SPACE = {
    "rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "width": {"low": 16, "high": 64, "step": 16},
    "clip": [0.5, None],
    "kind": ["a", "b"],
    "momentum": {"low": 0.0, "high": 1.0, "when": {"kind": "b"}},
}
COUNTABLE = {"width": {"low": 1, "high": 5}, "clip": [0.5, 1.0, None], "sizes": [[8], [8, 8]], "bias": [True, False]}
FEWER = {name: SPACE[name] for name in ("clip", "kind", "momentum")}
POINTS = {"small": {"width": 16}, "large": {"width": 64, "clip": None}, "none": {}}
KINDS = {
    "grid": {"strategy": {"kind": "grid", "levels": 2}},
    "grid-drawn": {"strategy": {"kind": "grid", "levels": 2}, "trials": 7},
    "points": {"strategy": {"kind": "points", "points": POINTS}, "space": {}},
    "one-at-a-time": {"strategy": {"kind": "one-at-a-time", "levels": 3}},
    "coarse-to-fine": {"strategy": {"kind": "coarse-to-fine", "levels": 2, "rounds": 3}},
    "random": {"strategy": "random", "trials": 7},
    "random-countable": {"strategy": "random", "trials": 50, "space": COUNTABLE},
    "qmc": {"strategy": "qmc", "trials": 7},
    "tpe": {"strategy": {"kind": "tpe", "startup": 3, "generation": 3}, "trials": 11},
    "gp": {"strategy": {"kind": "gp", "startup": 2, "generation": 2}, "trials": 4, "space": FEWER},
    "nsga2": {"strategy": {"kind": "nsga2", "generation": 3}, "trials": 14},
    "halving": {"strategy": {"kind": "halving", "budget": "epochs", "minimum": 1, "maximum": 9}, "trials": 11},
}
SEEDED = [kind for kind, content in KINDS.items() if "trials" in content]
# Trials where the study's file does not say: 2 * 2 * 2 * (1 + 2) points; three named; the base and 3 + 3 + 1 + 1 + 3
# values of the parameters beside it, of which the base's own width 32 -> none of 16, 48 (rounded), 64.
COUNTS = {"grid": 24, "points": 3, "one-at-a-time": 12}


def study(kind: str, **changes: object) -> Study:
    content = {"name": "one", "objective": [{"metric": "m.json:validation.loss"}], "space": SPACE}
    return Study.model_validate(content | KINDS.get(kind, {}) | changes)


def cost(params: Mapping[str, object], budget: int | None = None) -> float:
    """Smooth, with its minimum inside the space, and different for every point."""
    found = (math.log10(params.get("rate", 0.01)) + 2.7) ** 2 + (params.get("width", 32) / 64 - 0.4) ** 2
    found += (params.get("momentum", 0.5) - 0.6) ** 2 + 0.1 * (params.get("clip") is None)
    return found + 0.01 * len(json.dumps(params)) + 1 / (budget or 1)


def flaky(params: Mapping[str, object], budget: int | None = None) -> float | None:
    """The same, but about a third of the trials fail."""
    value = cost(params, budget)
    return None if int(value * 1000) % 3 == 0 else value


@dataclass
class Driver:
    """Runs a study as the real driver does, one small step at a time; what is yielded is the state on disk after it."""

    study: Study
    measure: Callable[..., float | None] = cost
    limit: int | None = None
    order: np.random.Generator | None = None
    plan_first: bool = False

    def __post_init__(self) -> None:
        self.limit = min(filter(None, (self.study.trials, self.limit)), default=None)

    def steps(self, trials: list[Past] | None = None, strategy: Strategy | None = None) -> Iterator[list[Past]]:
        trials = list(trials or [])
        strategy = strategy or make(self.study, SETTINGS)
        first = self.plan_first
        while True:
            if not first:
                yield from self._run(trials)
            first = False
            plan = strategy.plan(tuple(trials), self.limit)
            for proposal in plan.new:
                notes = json.loads(json.dumps(proposal.notes))
                params = json.loads(json.dumps(proposal.params))
                trials.append(Past(len(trials), params, notes=notes))
                yield list(trials)
            if plan.climb:
                for trial in list(trials):
                    if not trial.ended and trial.index not in plan.climb:
                        trials[trial.index] = replace(trial, ended=True, values=(trial.rungs[-1],))
                        yield list(trials)
                for index in plan.climb:
                    trials[index] = replace(trials[index], done=False)
            if not (plan.new or plan.climb or any(not trial.done for trial in trials)):
                return

    def _run(self, trials: list[Past]) -> Iterator[list[Past]]:
        waiting = [trial for trial in trials if not trial.done]
        if self.order is not None:
            self.order.shuffle(waiting)
        for trial in waiting:
            budgets = self.study.budgets
            value = self.measure(trial.params, budgets[len(trial.rungs)])
            rungs = (*trial.rungs, value) if budgets != [None] and value is not None else trial.rungs
            last = len(rungs) == len(budgets) or budgets == [None] or value is None
            values = (value,) * len(self.study.objective) if last and value is not None else None
            trials[trial.index] = replace(trial, values=values, done=True, ended=last, rungs=rungs)
            yield list(trials)

    def end(self, trials: list[Past] | None = None) -> list[Past]:
        last = trials or []
        for count, state in enumerate(self.steps(trials)):
            assert count < 1000, "does not end"
            last = state
        return last


def outcome(trials: list[Past]) -> list[tuple]:
    """What must be the same however a study went."""
    return [(trial.index, json.dumps(trial.params), trial.values, trial.rungs) for trial in trials]


def lies_in(study: Study, params: Mapping[str, object]) -> bool:
    """Whether the parameters are those that the space asks for, each with a value that it allows."""
    settings = {**SETTINGS, **params}
    active = {
        name
        for name, dimension in study.space.items()
        if all(settings[key] == value for key, value in dimension.when.items())
    }
    return active == set(params) and all(allowed(study, name, value) for name, value in params.items())


def allowed(study: Study, name: str, value: object) -> bool:
    dimension = study.space[name]
    if dimension.choices is not None:
        return any(value == choice and type(value) is type(choice) for choice in dimension.choices)
    steps = (value - dimension.low) / (dimension.step or 1)
    whole = isinstance(value, int) if isinstance(dimension.low, int) else isinstance(value, float)
    fits = abs(steps - round(steps)) < 1e-9 or not (dimension.step or isinstance(dimension.low, int))
    return dimension.low <= value <= dimension.high and whole and fits


# What holds for all


@pytest.mark.parametrize("measure", [cost, flaky])
@pytest.mark.parametrize("kind", KINDS)
def test_a_study_ends_by_itself_with_the_trials_asked_for(kind, measure):
    trials = Driver(study(kind), measure).end()
    assert [trial.index for trial in trials] == list(range(len(trials)))
    assert all(trial.done for trial in trials)
    if kind != "coarse-to-fine":
        assert len(trials) == COUNTS.get(kind, study(kind).trials)
    assert len(trials) > 2


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "points"])
def test_every_trial_lies_in_the_space(kind):
    trials = Driver(study(kind)).end()
    assert all(lies_in(study(kind), trial.params) for trial in trials if trial.params.get("width") != 32 or trial.index)
    if "momentum" in study(kind).space:
        assert {"momentum" in trial.params for trial in trials} == {True, False}
        assert any(trial.params["clip"] is None for trial in trials)


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides(kind):
    first, same, other = (Driver(study(kind, seed=seed)).end() for seed in (3, 3, 4))
    assert outcome(first) == outcome(same)
    assert (outcome(first) != outcome(other)) == (kind in SEEDED)


@pytest.mark.parametrize("measure", [cost, flaky])
@pytest.mark.parametrize("kind", KINDS)
def test_a_study_cut_off_anywhere_goes_on_as_if_it_had_not_been(kind, measure):
    states = list(Driver(study(kind), measure).steps())
    states = states if len(states) < 60 else states[:: len(states) // 30] + states[-3:]
    for number, state in enumerate(states):
        driver = Driver(study(kind), measure, order=np.random.default_rng(number), plan_first=bool(number % 2))
        assert outcome(driver.end(state)) == outcome(states[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_in_which_trials_end_does_not_matter(kind):
    ends = [Driver(study(kind), order=np.random.default_rng(seed)).end() for seed in range(2)]
    assert outcome(ends[0]) == outcome(ends[1]) == outcome(Driver(study(kind)).end())


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_depends_on_what_it_is_given_alone(kind):
    states = list(Driver(study(kind)).steps())
    used = make(study(kind), SETTINGS)
    for state in (states[-1], states[len(states) // 2], states[0], [], states[len(states) // 2]):
        limit = study(kind).trials
        assert used.plan(state, limit) == make(study(kind), SETTINGS).plan(state, limit)


@pytest.mark.parametrize("limit", [1, 3, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_is_kept_and_raising_it_goes_on(kind, limit):
    whole = Driver(study(kind)).end()
    short = Driver(study(kind), limit=limit).end()
    assert len(short) == min(limit, len(whole))
    assert outcome(Driver(study(kind)).end(short)) == outcome(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_in_which_everything_fails_ends(kind):
    trials = Driver(study(kind), lambda params, budget: None).end()
    assert len(trials) == (2 * 2 * 2 * 3 if kind == "coarse-to-fine" else COUNTS.get(kind, study(kind).trials))


# Grids and lists


def combinations(space: Mapping[str, list], condition: Callable[[dict], bool] = lambda point: True) -> list[dict]:
    points = [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
    return [point for point in points if condition(point)]


def test_a_grid_is_the_product_in_order():
    space = {"width": [16, 64], "clip": [0.5, None], "sizes": [[8], [8, 8]], "bias": [True, False]}
    trials = Driver(study("", strategy="grid", space=space)).end()
    assert [trial.params for trial in trials] == combinations(space)


def test_a_grid_has_what_a_condition_excludes_only_once():
    trials = Driver(study("grid")).end()
    plain = {"rate": [1e-4, 1e-1], "width": [16, 64], "clip": [0.5, None], "kind": ["a", "b"]}
    expected = []
    for point in combinations(plain):
        expected += [point] if point["kind"] == "a" else [{**point, "momentum": value} for value in (0.0, 1.0)]
    assert [trial.params for trial in trials] == expected


@pytest.mark.parametrize("seed", [1, 2])
def test_a_drawn_grid_is_drawn_without_replacement(seed):
    def drawn(trials):
        return [json.dumps(trial.params) for trial in Driver(study("grid", trials=trials, seed=seed)).end()]

    every = drawn(1000)
    assert sorted(every) == sorted(json.dumps(trial.params) for trial in Driver(study("grid")).end())
    assert every != sorted(every)
    for count in (1, 5, 23):
        assert drawn(count) == every[:count]


def test_a_drawn_grid_may_be_vast():
    space = {f"p{number:02d}": list(range(10)) for number in range(18)}
    trials = Driver(study("", strategy="grid", space=space, trials=300)).end()
    digits = [trial.params[name] for trial in trials for name in space]
    assert len({json.dumps(trial.params) for trial in trials}) == 300
    assert scipy.stats.chisquare(np.bincount(digits, minlength=10)).pvalue > 0.01


def test_points_keep_their_names_and_order():
    proposals = make(study("points"), SETTINGS).plan([], None).new
    assert [(proposal.label, proposal.params) for proposal in proposals] == list(POINTS.items())


def test_one_at_a_time_changes_one_from_the_base_at_a_time():
    base = {name: SETTINGS[name] for name in SPACE}
    proposals = make(study("one-at-a-time"), SETTINGS).plan([], None).new
    assert (proposals[0].label, proposals[0].params) == ("base", base)
    changed = {}
    for proposal in proposals[1:]:
        differing = [name for name, value in proposal.params.items() if value != base[name]]
        assert proposal.label == f"{differing[0]}={proposal.params[differing[0]]}"
        assert len(differing) == 1
        changed.setdefault(differing[0], []).append(proposal.params[differing[0]])
    expected = {"clip": [0.5], "kind": ["a"], "momentum": [0.0, 0.5, 1.0], "width": [16, 48, 64]}
    assert {name: values for name, values in changed.items() if name != "rate"} == expected
    assert changed["rate"] == pytest.approx([1e-4, 10**-2.5, 1e-1])
    without = next(proposal.params for proposal in proposals if proposal.params["kind"] == "a")
    assert "momentum" not in without


# From coarse to fine

REFINED = {"rate": {"low": 1e-4, "high": 1.0, "log": True}, "momentum": {"low": 0.0, "high": 1.0}, "kind": ["a", "b"]}


def bowl(params: Mapping[str, object], budget: int | None = None) -> float:
    distance = (math.log10(params["rate"]) + 2.3) ** 2 / 16 + (params["momentum"] - 0.55) ** 2
    return distance + (params["kind"] == "a")


@pytest.mark.parametrize("levels", [2, 3, 4, 5])
def test_coarse_to_fine_narrows_around_the_best(levels):
    def search(rounds):
        strategy = {"kind": "coarse-to-fine", "levels": levels, "rounds": rounds}
        return Driver(study("", strategy=strategy, space=REFINED), bowl).end()

    coarse = search(1)
    assert len(coarse) == 2 * levels**2
    best = [min(trial.values[0] for trial in search(rounds)) for rounds in range(1, 6)]
    assert best == sorted(best, reverse=True)
    assert best[-1] < best[0] / 5
    later = search(5)
    assert later[: len(coarse)] == coarse
    assert {trial.params["kind"] for trial in later[len(coarse) :]} == {"b"}
    for name, scale in (("rate", math.log10), ("momentum", float)):
        last = [scale(trial.params[name]) for trial in later[-levels:]]
        first = [scale(trial.params[name]) for trial in coarse]
        assert max(last) - min(last) < (max(first) - min(first)) / 4


@pytest.mark.parametrize("levels", [2, 4])
def test_coarse_to_fine_keeps_a_best_that_no_later_round_surpasses(levels):
    space = {"momentum": {"low": 0.0, "high": 3.0}}
    strategy = {"kind": "coarse-to-fine", "levels": levels, "rounds": 5}
    best = 1.0 if levels == 4 else 0.0
    trials = Driver(
        study("", strategy=strategy, space=space), lambda params, budget: abs(params["momentum"] - best)
    ).end()
    assert trials[levels // 4].values == (0.0,)
    assert abs(trials[-1].params["momentum"] - best) < 0.3


def test_coarse_to_fine_stops_where_nothing_is_between():
    strategy = {"kind": "coarse-to-fine", "levels": 3, "rounds": 50}
    trials = Driver(study("", strategy=strategy, space={"width": {"low": 1, "high": 65}}), cost).end()
    widths = [trial.params["width"] for trial in trials]
    assert len(widths) == len(set(widths)) < 20
    best = min(range(1, 66), key=lambda width: cost({"width": width}))
    assert abs(min(trials, key=lambda trial: trial.values).params["width"] - best) <= 1


def test_coarse_to_fine_takes_null_for_a_choice_and_maximizes():
    space = {"clip": [0.5, 1.0, None], "momentum": {"low": 0.0, "high": 1.0}}
    objective = [{"metric": "m.json:validation.r2", "direction": "maximise"}]
    strategy = {"kind": "coarse-to-fine", "rounds": 2}
    content = study("", strategy=strategy, space=space, objective=objective)
    trials = Driver(content, lambda params, budget: (params["clip"] is None) - (params["momentum"] - 0.4) ** 2).end()
    assert {trial.params["clip"] for trial in trials[9:]} == {None}
    assert {trial.params["momentum"] for trial in trials[9:]} == {0.25, 0.75}


# Draws


def draws(kind: str, space: Mapping[str, object], count: int, seed: int = 1) -> list[Mapping[str, object]]:
    content = study("", strategy=kind, space=space, trials=count, seed=seed)
    return [proposal.params for proposal in make(content, SETTINGS).plan([], None).new]


def test_random_draws_are_uniform():
    space = {
        "momentum": {"low": -2.0, "high": 3.0},
        "rate": {"low": 1e-4, "high": 1e-1, "log": True},
        "width": {"low": 1, "high": 7},
        "kind": ["a", "b", None],
    }
    drawn = draws("random", space, 400)
    momentum = [params["momentum"] for params in drawn]
    rate = [math.log10(params["rate"]) for params in drawn]
    assert scipy.stats.kstest(momentum, scipy.stats.uniform(-2, 5).cdf).pvalue > 0.01
    assert scipy.stats.kstest(rate, scipy.stats.uniform(-4, 3).cdf).pvalue > 0.01
    for name, values in (("width", range(1, 8)), ("kind", ["a", "b", None])):
        counts = [sum(params[name] == value for params in drawn) for value in values]
        assert scipy.stats.chisquare(counts).pvalue > 0.01
    assert abs(scipy.stats.spearmanr(momentum, rate).statistic) < 0.15


def test_random_draws_from_a_countable_space_are_all_of_it_once():
    drawn = draws("random", COUNTABLE, 1000)
    expected = combinations(
        {"width": [1, 2, 3, 4, 5], "clip": [0.5, 1.0, None], "sizes": [[8], [8, 8]], "bias": [True, False]}
    )
    assert sorted(map(json.dumps, drawn)) == sorted(map(json.dumps, expected))
    assert draws("random", COUNTABLE, 20) == drawn[:20]


def test_random_draws_stop_where_conditions_leave_nothing_new():
    space = {"kind": ["a", "b"], "width": {"low": 1, "high": 3, "when": {"kind": "b"}}}
    drawn = draws("random", space, 10)
    assert sorted(map(json.dumps, drawn)) == sorted(
        map(json.dumps, [{"kind": "a"}, *({"kind": "b", "width": width} for width in (1, 2, 3))])
    )


def test_quasirandom_draws_leave_smaller_gaps_than_random_ones():
    space = {"momentum": {"low": 0.0, "high": 1.0}, "rate": {"low": 1e-4, "high": 1.0, "log": True}}

    def discrepancy(kind, seed):
        unit = [[params["momentum"], math.log10(params["rate"]) / 4 + 1] for params in draws(kind, space, 32, seed)]
        return scipy.stats.qmc.discrepancy(np.array(unit))

    quasirandom = [discrepancy("qmc", seed) for seed in range(3)]
    assert max(quasirandom) < min(discrepancy("random", seed) for seed in range(3)) / 3
    assert len(set(quasirandom)) == 3


def test_quasirandom_draws_spread_conditional_parameters_and_choices_too():
    drawn = draws("qmc", SPACE, 64)
    momentum = [params["momentum"] for params in drawn if "momentum" in params]
    assert 28 <= len(momentum) <= 36
    assert scipy.stats.kstest(momentum, scipy.stats.uniform(0, 1).cdf).pvalue > 0.1
    assert 28 <= sum(params["clip"] is None for params in drawn) <= 36


@pytest.mark.parametrize("seed", [0, 2**40])
@pytest.mark.parametrize("kind", ["random", "qmc", "tpe", "nsga2", "gp"])
def test_any_seed_will_do(kind, seed):
    assert len(draws(kind, SPACE, 2, seed)) == 2


# Those that learn


def valley(params: Mapping[str, object], budget: int | None = None) -> float:
    return sum((params[name] - 0.3) ** 2 for name in ("x", "y"))


@pytest.mark.parametrize(("kind", "count"), [("tpe", 30), ("gp", 9)])
def test_those_that_learn_beat_random_draws(kind, count):
    space = {name: {"low": -1.0, "high": 1.0} for name in ("x", "y")}

    def best(strategy, seed):
        trials = Driver(study("", strategy=strategy, space=space, trials=count, seed=seed), valley).end()
        return math.log(min(trial.values[0] for trial in trials))

    seeds = range(8) if kind == "tpe" else range(2)
    learnt = np.mean([best({"kind": kind, "startup": 4, "generation": 2}, seed) for seed in seeds])
    blind = np.mean([best("random", seed) for seed in range(24)])
    assert learnt < blind - math.log(2)


@pytest.mark.parametrize("kind", ["tpe", "nsga2"])
def test_several_objectives(kind):
    objective = [{"metric": "m.json:validation.loss"}, {"metric": "m.json:validation.r2", "direction": "maximize"}]
    content = study(kind, objective=objective, trials=8)
    states = list(Driver(content).steps())
    assert outcome(Driver(content).end(states[10])) == outcome(states[-1])


# Halving


def halved(trials: int, minimum: int, maximum: int, factor: int = 3, **changes: object) -> Study:
    strategy = {"kind": "halving", "budget": "epochs", "minimum": minimum, "maximum": maximum, "factor": factor}
    return study("", strategy=strategy, trials=trials, **changes)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize(("trials", "factor"), [(9, 3), (20, 3), (8, 2), (4, 3), (1, 2)])
def test_of_each_rung_the_best_climb(trials, factor, direction):
    content = halved(
        trials, 1, factor**3, factor, objective=[{"metric": "m.json:validation.loss", "direction": direction}]
    )
    ended = Driver(content).end()
    sign = 1 if direction == "minimize" else -1
    order = sorted(ended, key=lambda trial: sign * cost(trial.params))
    for rung in range(4):
        there = {trial.index for trial in ended if len(trial.rungs) > rung}
        assert there == {trial.index for trial in order[: max(1, trials // factor**rung)]}
    for trial in ended:
        budgets = (1, factor, factor**2, factor**3)[: len(trial.rungs)]
        assert trial.rungs == tuple(cost(trial.params, budget) for budget in budgets)
        assert trial.values == (trial.rungs[-1],)


def test_those_that_fail_do_not_climb():
    ended = Driver(halved(18, 1, 9), lambda params, budget: None if params["kind"] == "a" else cost(params)).end()
    climbed = [trial for trial in ended if len(trial.rungs) == 3]
    assert len(climbed) == 2
    assert all(trial.params["kind"] == "b" for trial in climbed)
    assert all(trial.rungs == () and trial.values is None for trial in ended if trial.params["kind"] == "a")


def test_halving_goes_on_with_all_points_of_a_small_space():
    ended = Driver(halved(30, 1, 9, space={"kind": ["a", "b"], "width": [16, 32, 64]})).end()
    assert sorted(len(trial.rungs) for trial in ended) == [1, 1, 1, 1, 2, 3]


def test_budgets_that_are_powers_are_met_exactly():
    assert halved(9, 1, 81).budgets == [1, 3, 9, 27, 81]
    assert halved(9, 5, 40, 2).budgets == [5, 10, 20, 40]
    assert halved(9, 10, 1000, 10).budgets == [10, 100, 1000]
    assert halved(9, 7, 7).budgets == [7]


def test_budgets_go_from_minimum_to_maximum_by_about_the_factor():
    for minimum, maximum, factor in itertools.product((1, 2, 3, 5, 16, 27), range(1, 100), (2, 3, 7)):
        if minimum > maximum:
            continue
        budgets = halved(9, minimum, maximum, factor).budgets
        assert (budgets[0], budgets[-1]) == (minimum, maximum)
        assert all(later > earlier for earlier, later in itertools.pairwise(budgets))
        if maximum >= factor * minimum:
            mean = (maximum / minimum) ** (1 / (len(budgets) - 1))
            assert factor**0.5 <= mean <= factor**1.5
            for earlier, later in itertools.pairwise(budgets):
                assert (later - 0.5) / (earlier + 0.5) <= mean <= (later + 0.5) / (earlier - 0.5)
