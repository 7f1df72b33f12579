import itertools
import math

import pytest
from ledgers import FILE, played, study

from dvcsweep.results import analysis, pictures
from dvcsweep.results.advice import advice
from dvcsweep.results.analysis import Analysis, shortened


def said(tmp_path, make_outcome, **content):
    demo = study(**content)
    return "\n".join(advice(demo, played(demo, tmp_path, make_outcome)))


def value_of(function):
    return lambda settings: {"values": [function(settings)]}


@pytest.mark.parametrize(
    ("dimension", "wanted", "expected"),
    [
        ([1, 2, 4], 4, "has 4, the largest of the choices; if larger values make sense, widen the space upwards"),
        ([4, 1, 2], 1, "has 1, the smallest of the choices; if smaller values make sense, widen the space downwards"),
        ([1, 2, 4], 2, None),
        (["a", "b", "c"], "c", None),
        ([False, True], True, None),
        ([1.0, 2.0, None], 1.0, None),
        ({"low": 0, "high": 10, "step": 3}, 9, "has 9, at the upper end of 0 to 10; if larger"),
        ({"low": 0.0, "high": 1.0}, 0.0, "downwards"),
        ({"low": 1e-5, "high": 1e-1, "log": True}, 1e-3, None),
    ],
)
def test_a_best_value_at_an_end_says_to_widen_the_space(tmp_path, dimension, wanted, expected):
    text = said(tmp_path, value_of(lambda settings: float(settings["x"] != wanted)), space={"x": dimension})
    assert (expected in text) if expected else ("widen" not in text)


def test_the_middle_of_a_log_range_is_no_edge_though_it_is_near_the_low_end(tmp_path):
    def far(settings):
        return abs(math.log10(settings["x"]) + 3)

    space = {"x": {"low": 1e-5, "high": 1e-1, "log": True}}
    demo = study(space=space, strategy={"kind": "grid", "levels": 5})
    campaign = played(demo, tmp_path, value_of(far))
    assert Analysis.of(demo, campaign).best[0].params["x"] == pytest.approx(1e-3)
    assert "widen" not in "\n".join(advice(demo, campaign))


def test_maximizing_turns_the_best_round(tmp_path):
    objective = {"metric": f"{FILE}:validation.r2", "direction": "maximize"}
    text = said(tmp_path, value_of(lambda settings: settings["x"]), space={"x": [1, 2, 3]}, objective=objective)
    assert "has 3, the largest" in text


def test_an_objective_that_does_not_react_is_named_and_nothing_is_made_of_it(tmp_path):
    text = said(tmp_path, value_of(lambda _: 1.0), space={"x": [1, 2, 3], "y": [1, 2, 3]})
    assert text.startswith("validation.loss is 1 in every trial")
    assert "widen" not in text
    assert "matters" not in text


@pytest.mark.parametrize(("noise", "apart"), [(1.0, False), (0.001, True)])
def test_a_lead_is_weighed_against_how_it_varies(tmp_path, noise, apart):
    def loss(settings):
        return settings["x"] * 0.1 + noise * settings["x"] * (settings["seed"] - 2)

    text = said(tmp_path, value_of(loss), space={"x": [1, 2]}, average_over={"seed": [1, 2, 3]})
    assert ("cannot be told apart" in text) is not apart
    assert ("is ahead of trial 1 by 0.1" in text) is apart


def test_members_that_share_a_seed_are_compared_with_each_other(tmp_path):
    """The seeds differ by far more than the trials, but in each seed the lead is the same."""
    text = said(
        tmp_path,
        value_of(lambda settings: settings["x"] * 0.1 + 10 * settings["seed"]),
        space={"x": [1, 2]},
        average_over={"seed": [1, 2, 3]},
    )
    assert "Trial 0 is ahead of trial 1 by 0.1" in text


def test_one_run_each_is_said_to_be_one_run(tmp_path):
    text = said(tmp_path, value_of(lambda settings: settings["x"] / 4), space={"x": [1, 2]})
    assert "Every trial was run once" in text
    assert "trial 0 is ahead of trial 1 by 0.25" in text


def test_the_parameter_that_makes_the_difference_is_named(tmp_path):
    space = {"a.big": [1, 2, 3, 4, 5], "b.small": [1, 2, 3, 4, 5]}
    demo = study(space=space)
    campaign = played(demo, tmp_path, value_of(lambda settings: settings["a.big"] + 0.1 * settings["b.small"]))
    shares = Analysis.of(demo, campaign).importances()
    assert shares["big"] == pytest.approx(1 / 1.01, abs=0.02)  # variances of a sum are 1 and 0.01 here
    text = "\n".join(advice(demo, campaign))
    assert "big matters most for validation.loss" in text
    assert "Of little effect within the values tried: small; they may be fixed" in text


def test_a_log_range_is_weighed_in_the_logarithm(tmp_path):
    """Over the decades both parameters have the same variance; on a linear scale the first hardly has any."""
    space = {"rate": {"low": 1e-4, "high": 1.0, "log": True}, "other": {"low": 0.0, "high": 4.0}}
    demo = study(space=space, strategy={"kind": "grid", "levels": 5})
    campaign = played(demo, tmp_path, value_of(lambda settings: math.log10(settings["rate"]) + 4 + settings["other"]))
    shares = Analysis.of(demo, campaign).importances()
    assert shares["rate"] == pytest.approx(0.5, abs=0.1)


def test_of_many_trials_an_even_sample_is_weighed(tmp_path, monkeypatch):
    monkeypatch.setattr(analysis, "WEIGHED", 30)
    demo = study(space={"a": list(range(10)), "b": list(range(10))})
    campaign = played(demo, tmp_path, value_of(lambda settings: 2 * settings["a"] + settings["b"]))
    whole = Analysis.of(demo, campaign)
    assert [trial.index for trial in whole.sample][:4] == [0, 3, 6, 10]
    assert len(whole.sample) == 30
    assert whole.importances()["a"] == pytest.approx(0.8, abs=0.1)  # variances of a sum are 4 and 1 here
    (said,) = (caption for name, caption, _ in itertools.islice(pictures._wanted(whole), 5) if name == "importances")
    assert "Measured on 30 trials, evenly spaced." in said


def test_few_trials_are_said_to_be_few(tmp_path):
    space = {"x": [1, 2], "y": [1, 2]}
    assert "4 trials are few for 2 parameters" in said(
        tmp_path, value_of(lambda settings: settings["x"] + settings["y"]), space=space
    )


def test_failures_and_what_is_left_come_first(tmp_path):
    def outcome(settings):
        return {"error": "out of memory\nsee the log"} if settings["x"] == 2 else {"values": [1.0]}

    demo = study(space={"x": [1, 2, 3]})
    lines = advice(demo, played(demo, tmp_path, outcome))
    assert lines[0].startswith("1 of 3 trials failed; the first, trial 1: demo-001-84a7567: out of memory.")


def test_when_all_fail_nothing_is_compared(tmp_path):
    text = said(tmp_path, lambda _: {"error": "no"}, space={"x": [1, 2, 3]})
    assert "3 of 3 trials failed" in text
    assert "No trial is complete" in text


@pytest.mark.parametrize(
    ("key", "train", "value", "direction", "expected"),
    [
        ("validation.loss", "train.loss", (1.0, 0.5), "minimize", "better, by 50%, on what it was trained on"),
        ("validation.loss", "train.loss", (1.0, 0.99), "minimize", "no sign of overfitting"),
        ("validation.loss", "train.loss", (1.0, 0.9), "minimize", None),
        ("val_acc", "train_acc", (0.5, 1.0), "maximize", "better, by 50%"),
        ("acc.dev", "acc.training", (0.9, 0.6), "maximize", "no sign of overfitting"),
        ("validation.loss", "strain.loss", (1.0, 0.1), "minimize", None),
    ],
)
def test_training_is_compared_with_validation(tmp_path, key, train, value, direction, expected):
    own, seen = value
    outcome = {"values": [own], "metrics": {f"{FILE}:{key}": own, f"{FILE}:{train}": seen}}
    text = said(
        tmp_path, lambda _: outcome, space={"x": [1, 2]}, objective={"metric": f"{FILE}:{key}", "direction": direction}
    )
    assert (expected in text) if expected else ("trained on" not in text)


def test_strong_regularisation_in_the_best_trial_is_noticed(tmp_path):
    space = {"model.dropout": [0.0, 0.2, 0.4], "model.width": [1, 2, 3]}
    text = said(tmp_path / "much", value_of(lambda one: one["model.width"] - 5 * one["model.dropout"]), space=space)
    assert "The search prefers a high dropout (0.4)" in text
    assert "high width" not in text
    text = said(tmp_path / "little", value_of(lambda one: one["model.width"] - one["model.dropout"] / 5), space=space)
    assert "high dropout" not in text


@pytest.mark.parametrize(("late", "verdict"), [(1, "a good guide"), (-1, "a poor guide")])
def test_halving_says_whether_the_small_budget_foretold(tmp_path, late, verdict):
    def loss(settings):
        return settings["x"] * (1 if settings["epochs"] == 1 else late)

    text = said(
        tmp_path,
        value_of(loss),
        space={"x": {"low": 0.0, "high": 1.0}},
        strategy={"kind": "halving", "budget": "epochs", "minimum": 1, "maximum": 3},
        trials=18,
    )
    assert f"Of the 6 trials that climbed, ranks at epochs 1 and 3 agree with a correlation of {late:.2f}" in text
    assert verdict in text


def test_trials_from_the_cache_are_said_to_have_no_time(tmp_path):
    outcomes = iter([{"values": [1.0]}, {"values": [2.0], "seconds": None}])
    text = said(tmp_path, lambda _: next(outcomes), space={"x": [1, 2]})
    assert "1 trial has no time: stages that the study varies were restored" in text


def test_stopped_trials_are_not_said_to_come_from_the_cache(tmp_path):
    outcomes = iter([{"values": [1.0]}, {"values": [2.0], "seconds": None, "stopped": True}])
    assert "no time" not in said(tmp_path, lambda _: next(outcomes), space={"x": [1, 2]})


def test_one_at_a_time_names_the_largest_effect_and_its_limit(tmp_path):
    demo = study(space={"a": [1, 2, 3], "b": [1, 2, 3]}, strategy="one-at-a-time")
    campaign = played(demo, tmp_path, value_of(lambda one: one["a"] + 10 * one["b"]), {"a": 1, "b": 1})
    text = "\n".join(advice(demo, campaign))
    assert "b moves validation.loss the most, by 20" in text
    assert "matters most" not in text


def test_several_objectives_speak_of_the_front(tmp_path):
    demo = study(space={"x": [1, 2, 3], "y": [1, 2, 3]}, objective=["a.json:loss", "a.json:cost"])
    campaign = played(demo, tmp_path, lambda one: {"values": [-one["x"] + one["y"], one["x"] + one["y"]]})
    text = "\n".join(advice(demo, campaign))
    assert "y: every trial on the Pareto front has 1, the smallest" in text
    assert "x: every" not in text


def test_names_are_shortened_as_far_as_they_stay_apart():
    assert shortened(["model.rate", "train.rate", "train.seed"]) == {
        "model.rate": "model.rate",
        "train.rate": "train.rate",
        "train.seed": "seed",
    }
    assert shortened(["rate", "a.rate"]) == {"rate": "rate", "a.rate": "a.rate"}
