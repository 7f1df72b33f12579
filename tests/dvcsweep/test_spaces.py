import itertools
import json
import math

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import BaseModel, ValidationError

from dvcsweep.plan.spaces import Dimension, Space, check_value, is_active, points, size, spread


class Holder(BaseModel):
    space: Space


def space(**entries: object) -> Space:
    return Holder.model_validate({"space": entries}).space


def dimension(entry: object) -> Dimension:
    return space(it=entry)["it"]


# What is refused


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "give either choices or low and high"),
        ({"step": 1}, "give either choices or low and high"),
        ({"when": {"a": 1}}, "give either choices or low and high"),
        ({"choices": [1, 2], "low": 1, "high": 2}, "give either choices or low and high"),
        ({"choices": [1, 2], "high": 2}, "give either choices or low and high"),
        ({"choices": [1, 2], "log": True}, "step and log belong to a range"),
        ({"choices": [1, 2], "step": 1}, "step and log belong to a range"),
        ({"low": 1}, "a range needs both low and high"),
        ({"high": 1.0}, "a range needs both low and high"),
        ({"low": 2, "high": 1}, "low 2 lies above high 1: the range is empty"),
        ({"low": math.inf, "high": math.inf}, "must be finite, but got inf"),
        ({"low": -math.inf, "high": 1.0}, "must be finite, but got -inf"),
        ({"low": 0.0, "high": math.nan}, "must be finite, but got nan"),
        ({"low": 0.0, "high": 1.0, "step": math.inf}, "must be finite, but got inf"),
        ({"low": 0.0, "high": 1.0, "log": True}, "log needs low above 0, but got 0.0"),
        ({"low": -1, "high": 1, "log": True}, "log needs low above 0, but got -1"),
        ({"low": 1, "high": 8, "log": True, "step": 2}, "log and step exclude each other"),
        ({"low": 0, "high": 1, "step": 0.1}, "low and high are whole numbers, so step must be too, but got 0.1"),
        ({"low": 0, "high": 4, "step": 2.0}, "step must be too, but got 2.0"),
        ({"low": 0.0, "high": 1.0, "step": 0}, "greater than 0"),
        ({"low": 0.0, "high": 1.0, "step": -0.1}, "greater than 0"),
        ({"low": "1", "high": 2}, "must be a number, but got '1'"),
        ({"low": False, "high": 2}, "must be a number, but got False"),
        ({"low": 1, "high": 2, "log": "yes"}, "valid boolean"),
        ({"low": 1, "high": 2, "stop": 3}, "Extra inputs"),
        ([], "at least 1 item"),
        ([1, 2, 1], r"a choice is given twice in \[1, 2, 1\]"),
        ([1, 1.0], "a choice is given twice"),
        ([0, False], "a choice is given twice"),
        ([[1, 2], [1, 2]], "a choice is given twice"),
        ([[1, 2], "[1, 2]"], "a choice is given twice"),
        ([None, None], "a choice is given twice"),
        ([0.5, math.nan], "got nan"),
        ([{1: 2}], "got {1: 2}"),
        (5, "dictionary or instance"),
    ],
)
def test_what_makes_no_dimension_is_refused(entry, message):
    with pytest.raises(ValidationError, match=message):
        dimension(entry)


@pytest.mark.parametrize("value", [object(), {1, 2}, (1, 2), [math.nan], {"a": {2: 3}}, b"text"])
def test_values_that_json_changes_are_refused(value):
    with pytest.raises(ValueError, match="but a value is a number, text, true, false, null"):
        check_value(value)


@pytest.mark.parametrize("value", [1, 0.1, 1e-300, math.inf, "a", None, True, [1, [None]], {"a": [1.5]}])
def test_values_that_json_keeps_are_let_through(value):
    assert check_value(value) is value


# Values


@pytest.mark.parametrize(
    ("entry", "integer", "finite"),
    [
        ({"low": 1, "high": 2}, True, True),
        ({"low": 1, "high": 2.0}, False, False),
        ({"low": 1.0, "high": 2.0, "step": 0.5}, False, True),
        ({"low": 1, "high": 9, "log": True}, True, True),
        ([1, 2], False, True),
    ],
)
def test_kinds(entry, integer, finite):
    assert (dimension(entry).integer, dimension(entry).finite) == (integer, finite)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.5, 2.25), (1e-4, 5e-3), (2.0, 2.0)])
def test_levels_of_a_range_are_evenly_spaced(low, high, count):
    found = dimension({"low": low, "high": high}).levels(count)
    expected = [(low + high) / 2] if count == 1 or low == high else np.linspace(low, high, count)
    assert found == pytest.approx(expected, rel=1e-11)
    assert all(type(value) is float for value in found)
    if count > 1:
        assert (found[0], found[-1]) == (low, high)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize(("low", "high"), [(1e-5, 1e-1), (0.3, 0.7), (1.0, 1000.0)])
def test_levels_of_a_logarithmic_range_are_even_factors(low, high, count):
    found = dimension({"low": low, "high": high, "log": True}).levels(count)
    expected = [math.sqrt(low * high)] if count == 1 else np.geomspace(low, high, count)
    assert found == pytest.approx(expected, rel=1e-11)
    assert all(low <= value <= high for value in found)


@pytest.mark.parametrize(
    ("entry", "count", "expected"),
    [
        ({"low": 1, "high": 9}, 3, [1, 5, 9]),
        ({"low": 1, "high": 3}, 100, [1, 2, 3]),
        ({"low": 64, "high": 256, "step": 64}, 4, [64, 128, 192, 256]),
        ({"low": 0, "high": 10, "step": 4}, 9, [0, 4, 8]),
        ({"low": 1, "high": 100, "log": True}, 3, [1, 10, 100]),
        ({"low": 0.0, "high": 1.0, "step": 0.25}, 3, [0.0, 0.5, 1.0]),
        ({"low": 0.1, "high": 0.3, "step": 0.1}, 3, [0.1, 0.2, 0.3]),
        ({"low": 0.0, "high": 1.0, "step": 0.3}, 50, [0.0, 0.3, 0.6, 0.9]),
        ({"low": 0.0, "high": 1.0, "step": 5}, 3, [0.0]),
        ([None, 2, [3]], 1, [None, 2, [3]]),
    ],
)
def test_levels_are_rounded_to_what_is_allowed(entry, count, expected):
    found = dimension(entry).levels(count)
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


@pytest.mark.parametrize("low", [0.1, 0.7, -0.3, 1 / 3, 0.1234567890123456])
def test_levels_are_never_outside_and_are_what_optuna_takes(low):
    for places, step in itertools.product((0, 1, 3, 10, 10.5), (0.1, 0.7, 1e-3) if len(str(low)) < 5 else (None,)):
        entry = dimension(
            {"low": low, "high": round(low + places * (step or 1), 17 if step is None else 6), "step": step}
        )
        form = entry.distribution()
        for value in [*entry.levels(7), *entry.ends()]:
            assert entry.low <= value <= entry.high
            assert form._contains(form.to_internal_repr(value))


def test_a_part_of_a_range_keeps_the_steps_of_the_whole():
    whole = dimension({"low": 1, "high": 100, "step": 3})
    assert spread(whole, 40, 52, 3) == [40, 46, 52]
    assert spread(whole, 41, 41.5, 3) == [40, 43] or spread(whole, 41, 41.5, 3) == [40]
    assert spread(dimension({"low": 0.01, "high": 1.0, "log": True}), 0.04, 0.16, 3) == pytest.approx(
        [0.04, 0.08, 0.16]
    )


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"low": 1, "high": 6, "log": True}, [1, 2, 3, 4, 5, 6]),
        ({"low": 0, "high": 10, "step": 4}, [0, 4, 8]),
        ({"low": 0.1, "high": 0.5, "step": 0.2}, [0.1, 0.3, 0.5]),
        ({"low": 7, "high": 7}, [7]),
        ([True, None], [True, None]),
    ],
)
def test_all_values(entry, expected):
    assert dimension(entry).all_values() == expected


def test_ends_are_the_outermost_values_that_occur():
    assert dimension({"low": 0, "high": 10, "step": 4}).ends() == [0, 8]
    assert dimension({"low": 1e-4, "high": 1.0, "log": True}).ends() == [1e-4, 1.0]
    assert dimension(["a", None]).ends() == ["a", None]


# Optuna's form


def test_optuna_gets_the_same_range():
    assert dimension({"low": 1, "high": 10, "step": 4}).distribution() == IntDistribution(1, 9, step=4)
    assert dimension({"low": 1, "high": 10, "log": True}).distribution() == IntDistribution(1, 10, log=True)
    assert dimension({"low": 1, "high": 2.5}).distribution() == FloatDistribution(1.0, 2.5)
    assert dimension({"low": 1e-4, "high": 1.0, "log": True}).distribution() == FloatDistribution(1e-4, 1.0, log=True)
    assert dimension({"low": 0.0, "high": 1.0, "step": 0.3}).distribution() == FloatDistribution(0.0, 0.9, step=0.3)
    assert dimension(["a", [1], None]).distribution() == CategoricalDistribution(["a", "[1]", None])


@pytest.mark.parametrize(
    "choices",
    [[True, False], [None, 0.5], [0, 2], ["1", 1], [[1, 2], [1, 2, 3], []], [{"a": 1}, {"a": None}], ["null", None]],
)
def test_choices_come_back_from_optuna_as_they_were(choices):
    entry = dimension(choices)
    form = entry.distribution()
    for place, held in enumerate(form.choices):
        assert form.to_internal_repr(held) == place
        found = entry.value(json.loads(json.dumps(held)))
        assert found == choices[place]
        assert type(found) is type(choices[place])


def test_values_of_a_range_are_their_own_form():
    assert dimension({"low": 1, "high": 3}).value(2) == 2


# Points


def test_points_are_the_product_with_the_last_changing_fastest():
    found = list(points(space(a=[1, 2], b={"low": 0.0, "high": 1.0}, c=[None, [1]]), {}, 3))
    assert found == [{"a": a, "b": b, "c": c} for a in (1, 2) for b in (0.0, 0.5, 1.0) for c in (None, [1])]
    assert list(points({}, {}, 3)) == [{}]


def test_what_is_not_active_is_left_out_and_no_point_comes_twice():
    entries = {
        "optimizer": ["adam", "sgd"],
        "momentum": {"choices": [0.5, 0.9], "when": {"optimizer": "sgd"}},
        "nesterov": {"choices": [True, False], "when": {"optimizer": ["sgd", "rmsprop"], "momentum": 0.9}},
    }
    assert list(points(space(**entries), {"momentum": 0.0}, 3)) == [
        {"optimizer": "adam"},
        {"optimizer": "sgd", "momentum": 0.5},
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": False},
    ]


def test_many_exclusive_branches_are_no_product():
    branches = {f"p{number}": {"choices": [1, 2, 3], "when": {"kind": number}} for number in range(40)}
    found = list(points(space(kind=list(range(40)), **branches), {}, 3))
    assert len(found) == 40 * 3


def test_size_is_the_product_of_the_numbers_of_values():
    assert size(space(a=[1, 2], b={"low": 0.0, "high": 1.0}, c={"low": 1, "high": 2}), 5) == 2 * 5 * 2


@pytest.mark.parametrize(
    ("when", "settings", "expected"),
    [
        ({}, {}, True),
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {}, False),
        ({"a": None}, {"a": None}, True),
        ({"a": [1, None]}, {"a": None}, True),
        ({"a": [1, 2]}, {"a": 3}, False),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, False),
        ({"a": [[1, 2]]}, {"a": [1, 2]}, True),
    ],
)
def test_conditions(when, settings, expected):
    assert is_active(Dimension(choices=[1], when=when), settings) == expected
