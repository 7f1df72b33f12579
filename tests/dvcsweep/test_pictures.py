import math

import matplotlib as mpl
import numpy as np
import pytest
from ledgers import FILE, played, study
from matplotlib import pyplot as plt

from dvcsweep.results import pictures
from dvcsweep.results.analysis import Analysis

SPACE = {"m.width": [8, 16, 32], "m.rate": {"low": 1e-4, "high": 1e-1, "log": True}, "m.kind": ["plain", "odd", None]}
CURVE = "plots/loss.tsv"


def outcome(settings):
    loss = abs(math.log10(settings["m.rate"]) + 2) + settings["m.width"] / 16 + (settings["m.kind"] == "odd")
    return {
        "values": [loss],
        "seconds": settings["m.width"],
        "curves": {CURVE: [[1, 2, 3], [loss + 2, loss + 1, loss]]},
    }


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    demo = study(space=SPACE, strategy="random", trials=14, curves=[CURVE])
    campaign = played(demo, tmp_path_factory.mktemp("random"), outcome)
    return Analysis.of(demo, campaign), {one.name: one for one in pictures.drawn(demo, campaign)}


def overlaps(figure):
    """Neighbouring tick labels of a drawn figure whose boxes meet; slanted ones are left out."""
    renderer = pictures.FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    found = []
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis) if axis.get_visible()):
        low, high = sorted(axis.get_view_interval())
        labels = [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        labels = [label for label in labels if label.get_text() and label.get_visible() and not label.get_rotation()]
        boxes = [label.get_window_extent(renderer) for label in labels]
        found += [label.get_text() for label, a, b in zip(labels, boxes, boxes[1:], strict=False) if a.overlaps(b)]
    return found


def test_a_search_is_drawn_in_full(drawn):
    _, shown = drawn
    assert list(shown)[:5] == ["top", "history", "importances", "effects", "choices"]
    assert {"distribution", "parallel", "curve-plots-loss", "times"} < set(shown)
    assert len([name for name in shown if name.startswith("map-")]) == 3
    assert all(one.caption for one in shown.values())


def test_tick_labels_do_not_overlap_and_nothing_juts_out(drawn):
    for name, one in drawn[1].items():
        assert overlaps(one.figure) == [], name
        box = one.figure.get_tightbbox()
        width, height = one.figure.get_size_inches()
        assert (box.x0, box.y0) > (-0.05, -0.05), name
        assert box.x1 < width + 0.05, name
        assert box.y1 < height + 0.05, name


def test_few_values_have_a_tick_each_where_default_ones_would_overlap(tmp_path):
    demo = study(space={"rate": [0.001, 0.005], "width": [32, 64], "depth": [1, 2, 3]})
    campaign = played(demo, tmp_path, lambda one: {"values": [one["rate"] * one["width"] + one["depth"]]})
    figure = pictures.effects(Analysis.of(demo, campaign))
    assert overlaps(figure) == []
    ticks = {ax.get_xlabel(): [label.get_text() for label in ax.get_xticklabels()] for ax in figure.axes}
    assert ticks.items() > {"rate": ["0.001", "0.005"], "width": ["32", "64"], "depth": ["1", "2", "3"]}.items()


def test_pictures_have_equal_bits_and_hold_neither_time_nor_version(drawn):
    for function in (pictures.top, pictures.effects, pictures.parallel, pictures.importances):
        data = [pictures.png(function(Analysis(drawn[0].study, drawn[0].trials))) for _ in range(2)]
        assert data[0] == data[1]
        assert b"tEXt" not in data[0]


def test_nothing_of_matplotlibs_state_is_left_changed(drawn):
    before = dict(mpl.rcParams), plt.style.library["ggplot"]
    pictures.history(drawn[0])
    assert (dict(mpl.rcParams), plt.style.library["ggplot"]) == before
    assert plt.get_fignums() == []


def test_bars_have_the_values_of_the_best_trials(drawn):
    analysis, shown = drawn
    values = sorted(trial.values[0] for trial in analysis.trials)[:10]
    ax = shown["top"].figure.axes[0]
    assert [bar.get_width() for bar in ax.patches] == values
    assert [label.get_text().split("#")[1] for label in ax.get_yticklabels()] == [
        str(trial.index) for trial in sorted(analysis.trials, key=lambda one: one.values)[:10]
    ]


def test_history_has_every_trial_and_the_best_until_then(drawn):
    analysis, shown = drawn
    ax = shown["history"].figure.axes[0]
    values = [trial.values[0] for trial in analysis.trials]
    assert ax.collections[0].get_offsets()[:, 1].tolist() == values
    assert list(ax.lines[0].get_ydata()) == np.minimum.accumulate(values).tolist()


def test_effects_show_numbers_and_choices_show_the_rest(drawn):
    analysis, shown = drawn
    rate, width = [ax for ax in shown["effects"].figure.axes if ax.get_xlabel()]
    assert (rate.get_xlabel(), width.get_xlabel()) == ("rate", "width")
    assert rate.get_xscale() == "log"
    assert sorted(rate.collections[0].get_offsets()[:, 0]) == sorted(
        trial.params["m.rate"] for trial in analysis.trials
    )
    kind = shown["choices"].figure.axes[0]
    assert [label.get_text() for label in kind.get_xticklabels()] == ["plain", "odd", "null"]
    odd = [trial.values[0] for trial in analysis.trials if trial.params["m.kind"] == "odd"]
    assert kind.lines[1].get_ydata()[0] == pytest.approx(np.median(odd))


def test_a_heat_map_has_the_best_of_each_cell(tmp_path):
    demo = study(space={"a": [10, 9, 100], "b": ["x", "y"], "c": [0, 1]})
    campaign = played(demo, tmp_path, lambda one: {"values": [one["a"] + (one["b"] == "y") * 0.5 + one["c"]]})
    ax = pictures.heat_map(Analysis.of(demo, campaign), "a", "b").axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["9", "10", "100"]
    assert ax.images[0].get_array().tolist() == [[9, 10, 100], [9.5, 10.5, 100.5]]
    assert [label.get_text() for label in ax.texts] == ["9", "10", "100", "9.5", "10.5", "100.5"]


def test_a_null_has_cells_of_its_own(tmp_path):
    demo = study(space={"clip": [0.5, None], "size": [1, 2]})
    campaign = played(demo, tmp_path, lambda one: {"values": [one["size"] + (10 if one["clip"] is None else 0)]})
    ax = pictures.heat_map(Analysis.of(demo, campaign), "size", "clip").axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0.5", "null"]
    assert ax.images[0].get_array().tolist() == [[1, 2], [11, 12]]


def test_learning_curves_are_means_over_the_members(tmp_path):
    demo = study(space={"x": [1, 2]}, average_over={"seed": [1, 3]}, curves=[CURVE])
    campaign = played(
        demo,
        tmp_path,
        lambda one: {"values": [one["x"]], "curves": {CURVE: [[1, 2], [one["x"] * one["seed"], one["x"]]]}},
    )
    (line, *_) = [
        line for line in pictures.curves(Analysis.of(demo, campaign), CURVE).axes[0].lines if line.get_label() == "#0"
    ]
    assert list(line.get_ydata()) == [2, 1]


HALVING = {"kind": "halving", "budget": "t.epochs", "minimum": 1, "maximum": 9}


def test_halving_compares_at_the_first_budget_and_says_so(tmp_path):
    demo = study(space={"x": {"low": 0.0, "high": 1.0}, "y": [1, 2]}, strategy=HALVING, trials=9)
    campaign = played(demo, tmp_path, lambda one: {"values": [(one["x"] + one["y"]) / one["t.epochs"]]})
    analysis = Analysis.of(demo, campaign)
    shown = {one.name: one for one in pictures.drawn(demo, campaign)}
    first = [trial.params["x"] + trial.params["y"] for trial in analysis.trials]
    assert shown["history"].figure.axes[0].collections[0].get_offsets()[:, 1].tolist() == pytest.approx(first)
    assert shown["history"].figure.axes[0].get_ylabel() == "validation.loss at epochs 1"
    for name in ("importances", "effects", "parallel", "distribution"):
        assert "at epochs 1" in shown[name].caption
    lines = shown["rungs"].figure.axes[0].lines
    assert sorted(len(line.get_xdata()) for line in lines) == [1] * 6 + [2] * 2 + [3]
    assert "top" not in shown  # a single trial reached the last rung


def test_one_at_a_time_draws_each_parameter_through_the_base(tmp_path):
    demo = study(space={"a": [1, 2, 3], "b": ["x", "y"]}, strategy="one-at-a-time")
    campaign = played(demo, tmp_path, lambda one: {"values": [one["a"] + (one["b"] == "y")]}, {"a": 2, "b": "x"})
    shown = {one.name: one for one in pictures.drawn(demo, campaign)}
    a, b = shown["one-at-a-time"].figure.axes
    assert (list(a.lines[0].get_xdata()), list(a.lines[0].get_ydata())) == ([1, 2, 3], [1, 2, 3])
    assert list(a.lines[1].get_xdata()) == [2]
    assert list(b.lines[0].get_ydata()) == [2, 3]
    assert "effects" not in shown


def test_several_objectives_have_a_front_and_each_its_own_importances(tmp_path):
    demo = study(space={"x": [1, 2, 3], "y": [0, 1, 2]}, objective=["a.json:loss", "a.json:cost"])
    campaign = played(demo, tmp_path, lambda one: {"values": [one["x"] + 0.1 * one["y"], -0.1 * one["x"] - one["y"]]})
    shown = {one.name: one for one in pictures.drawn(demo, campaign)}
    (front,) = [one for one in shown["pareto"].figure.axes[0].collections if one.get_label() == "on the front"]
    assert sorted(front.get_offsets()[:, 0]) == pytest.approx([1.0, 1.1, 1.2, 2.2, 3.2])
    longest = {}
    for key in ("loss", "cost"):
        ax = shown[f"importances-{key}"].figure.axes[0]
        widths = [bar.get_width() for bar in ax.patches]
        longest[key] = ax.get_yticklabels()[int(np.argmax(widths))].get_text()
        assert max(widths) == pytest.approx(1 / 1.01, abs=0.03)
    assert longest == {"loss": "x", "cost": "y"}
    assert {"effects-loss", "effects-cost"} < set(shown)
    assert "top" not in shown


@pytest.mark.parametrize(
    ("space", "function", "expected"),
    [
        ({"x": [1]}, lambda one: {"values": [1.0]}, set()),
        ({"x": [1, 2, 3]}, lambda one: {"values": [1.0], "seconds": None}, set()),
        ({"x": [1, 2, 3], "y": [1, 2]}, lambda one: {"error": "no"}, set()),
        ({"x": [1, 2, 3]}, lambda one: {"values": [one["x"]]}, {"top", "history", "effects", "times"}),
    ],
)
def test_pictures_that_would_say_nothing_are_left_out(tmp_path, space, function, expected):
    demo = study(space=space)
    assert {one.name for one in pictures.drawn(demo, played(demo, tmp_path, function))} == expected


def test_a_parameter_that_is_absent_in_some_trials_is_drawn_where_it_is(tmp_path):
    space = {"kind": ["a", "b"], "size": [1, 2, 3], "extra": {"low": 0.0, "high": 1.0, "when": {"kind": "b"}}}
    demo = study(space=space, strategy="random", trials=10)
    campaign = played(demo, tmp_path, lambda one: {"values": [one["size"] + one.get("extra", 0.5)]})
    shown = {one.name: one for one in pictures.drawn(demo, campaign)}
    having = [trial for trial in campaign.trials() if "extra" in trial.params]
    extra = next(ax for ax in shown["effects"].figure.axes if ax.get_xlabel() == "extra")
    assert 0 < len(extra.collections[0].get_offsets()) == len(having) < 10
    panels = [ax for ax in shown["effects"].figure.axes if ax.get_xlabel()]
    assert {points.get_clim() for ax in panels for points in ax.collections} == {(0, 9)}, "one colour for one trial"
    words = [label.get_text() for ax in shown["parallel"].figure.axes for label in ax.get_yticklabels()]
    assert "absent" in words
    assert "extra" in shown["importances"].caption


def test_objective_files_may_be_any(tmp_path):
    demo = study(space={"x": [1, 2]}, objective=f"{FILE}:a.b.c")
    assert pictures.top(Analysis.of(demo, played(demo, tmp_path, lambda one: {"values": [-one["x"]]}))) is not None
