import sys

import pytest

from benchmarks.neighbours import OURS, Cost, cost, python_with, rows


def test_what_a_trial_costs_beyond_its_stage():
    # three stages of 1, 2 and 3 s that end at 10, 14 and 20 s, in 27 s of everything
    found = cost([(3.0, 20.0), (1.0, 10.0), (2.0, 14.0)], 27.0, 3)
    assert (found.steady, found.whole) == pytest.approx(((20 - 10) / 2 - 2, 27 / 3 - 2))
    assert found.experiments == 3


def test_ratios_are_taken_within_a_round():
    # the machine was twice as slow in the second round and ten times in the third
    costs = {
        OURS: [Cost(1.0, 2.0, 5), Cost(2.0, 4.0, 5), Cost(10.0, 20.0, 5)],
        "another": [Cost(3.0, 1.0, 0), Cost(6.0, 2.0, 0), Cost(30.0, 10.0, 0)],
    }
    assert [line.split() for line in rows(costs)] == [
        ["this", "search", "2.000", "s", "1.00", "4.000", "s", "1.00", "5"],
        ["another", "6.000", "s", "3.00", "2.000", "s", "0.50", "0"],
    ]


def test_a_tool_is_looked_for_in_one_environment_after_the_other():
    assert python_with(["json", "csv"], [sys.executable]) == sys.executable
    assert python_with(["json", "no_such_module"], [sys.executable]) is None
    assert python_with(["no_such_package.module"], [sys.executable]) is None
