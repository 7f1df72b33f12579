from types import SimpleNamespace

import numpy as np
import pytest

from tonesift.data.recordings import Facts
from tonesift.evaluation import comparison
from tonesift.full_evaluation import plots, run

RATE = 100.0
TIME = np.arange(400) / RATE
FREQUENCIES = (2.0, 5.0)
TONES = np.stack([np.sin(2 * np.pi * frequency * TIME) for frequency in FREQUENCIES]).astype(np.float32)
MIXTURE = TONES.mean(axis=0)
HISTORY = {
    f"{part}/{name}": np.array([3.0, 1.0, 2.0]) for part in ("train", "validation") for name in ("loss", "r2")
} | {"learning_rate": np.full(3, 1e-3), "grad_norm": np.ones(3)}
ROBUSTNESS = [
    {"perturbation": name, "value": value, "estimator": estimator, "r2": 1 - value}
    for name in ("noise_std", "clipped", "missing")
    for value in (0.0, 0.5, 1.0)
    for estimator in ("network", "kalman")
]

PICTURES = {
    "data": lambda: plots.data(MIXTURE, TONES, FREQUENCIES, RATE),
    "spectrogram": lambda: plots.spectrogram(MIXTURE, FREQUENCIES, RATE),
    "training": lambda: plots.training(HISTORY),
    "graph1": lambda: plots.one_tone(MIXTURE, TONES[0], TONES[0] * 0.9, 2.0, RATE, 20),
    "context": lambda: plots.context({"LSTM": np.linspace(0, 0.5, 20), "best possible": np.linspace(0, 0.6, 20)}),
    "tones": lambda: plots.tones(FREQUENCIES, {"LSTM": [0.4, 0.5], "best possible": [0.5, 0.6]}),
    "overview": lambda: plots.overview(
        (MIXTURE, TONES[0], TONES[0]), (FREQUENCIES, RATE), HISTORY, {"LSTM": np.ones(20)}, {"LSTM": [0.4, 0.5]}, TONES
    ),
    "scatter": lambda: plots.scatter(TONES, TONES * 0.9),
    "errors": lambda: plots.errors(TONES * 0.1),
    "no errors": lambda: plots.errors(TONES * 0),
    "spectra": lambda: plots.spectra(TONES, TONES * 0.9, FREQUENCIES, RATE),
    "long": lambda: plots.long_segment(TONES, TONES * 0.9, FREQUENCIES, RATE),
    "robustness": lambda: plots.robustness(ROBUSTNESS, {"network": "LSTM", "kalman": "Kalman"}),
    "graph2": lambda: plots.all_tones(MIXTURE, TONES, TONES * 0.9, FREQUENCIES, (0.9, 0.8), RATE, 20),
    "story": lambda: plots.story([{"label": "a", "r2": 0.3, "limit": None}, {"label": "b", "r2": 0.5, "limit": 0.6}]),
    "story without limits": lambda: plots.story([{"label": "a", "r2": 0.3, "limit": None}]),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_drawn_with_the_same_bits_each_time(name):
    content, again = plots.png(PICTURES[name]()), plots.png(PICTURES[name]())
    assert content.startswith(b"\x89PNG")
    assert content == again
    assert b"Matplotlib" not in content


def test_the_training_picture_marks_the_best_epoch():
    assert "epoch 2 is kept" in plots.training(HISTORY).get_suptitle()


@pytest.mark.parametrize(("window", "told"), [(20, "; the network starts anew every 20 samples"), (0, "")])
def test_a_state_that_is_reset_is_told_of_and_one_carried_on_is_not(window, told):
    one = plots.one_tone(MIXTURE, TONES[0], TONES[0], 2.0, RATE, window)
    every = plots.all_tones(MIXTURE, TONES, TONES, FREQUENCIES, (0.9, 0.8), RATE, window)
    assert one.get_suptitle() == f"2 Hz out of the mixture{told}"
    assert every.get_suptitle() == f"Every tone of the mixture{told}"


@pytest.mark.parametrize(("reset", "samples"), [(20, 100), (None, 100), (20, 30)])
def test_the_networks_pictures_are_drawn_for_both_kinds_of_memory(reset, samples):
    facts = Facts(RATE, FREQUENCIES, np.zeros((1, 2)), np.ones((1, 2)), 1.0, 0.1, "fixed", 1)
    task, context = comparison.make_task(facts, 400), "what it may read"
    mse = np.full((2, reset or 220), 0.2)
    rows = [comparison.Row(name, name, context, True, "", mse, drawn=True) for name in ("network", "limit", "kalman")]
    result = SimpleNamespace(task=task, own=rows[:2], tones=[{"r2": 0.6}] * 3)
    recording = MIXTURE[:samples], TONES[:, :samples], TONES[:, :samples]
    drawn = run.draw(result, rows[2:], HISTORY, reset, *recording)
    assert set(drawn) == {name for name in PICTURES if " " not in name} - {"robustness", "story"}
    for name in ("graph1", "graph2"):
        assert ("starts anew every 20 samples" in drawn[name].get_suptitle()) is (reset is not None)
    (axis,) = drawn["context"].axes
    assert {len(line.get_xdata()) for line in axis.lines} == {min(reset or 220, 100)}  # the first second at most


def test_the_story_marks_the_best_possible_where_it_is_known():
    (axis,) = PICTURES["story"]().axes
    assert [bar.get_width() for bar in axis.patches] == [0.3, 0.5]
    (marks,) = axis.lines
    assert (list(marks.get_xdata()), list(marks.get_ydata())) == ([0.6], [1])


@pytest.mark.parametrize("count", [1, 8])
def test_any_number_of_tones(count):
    frequencies = tuple(2.5 * (n + 1) for n in range(count))
    tones = np.stack([np.sin(2 * np.pi * frequency * TIME) for frequency in frequencies])
    for figure in (
        plots.data(tones.mean(axis=0), tones, frequencies, RATE),
        plots.spectrogram(tones.mean(axis=0), frequencies, RATE),
        plots.all_tones(tones.mean(axis=0), tones, tones, frequencies, (1.0,) * count, RATE, 0),
    ):
        assert len(plots.png(figure)) > 5_000
