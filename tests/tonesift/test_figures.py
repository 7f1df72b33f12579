import numpy as np
import pytest

from tonesift import figures

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
    for estimator in ("lstm", "kalman")
]

PICTURES = {
    "data": lambda: figures.data(MIXTURE, TONES, FREQUENCIES, RATE),
    "spectrogram": lambda: figures.spectrogram(MIXTURE, FREQUENCIES, RATE),
    "training": lambda: figures.training(HISTORY),
    "graph1": lambda: figures.one_tone(MIXTURE, TONES[0], TONES[0] * 0.9, 2.0, RATE, 20),
    "context": lambda: figures.context({"LSTM": np.linspace(0, 0.5, 20), "best possible": np.linspace(0, 0.6, 20)}),
    "tones": lambda: figures.tones_bars(FREQUENCIES, {"LSTM": [0.4, 0.5], "best possible": [0.5, 0.6]}),
    "overview": lambda: figures.overview(
        (MIXTURE, TONES[0], TONES[0]), (FREQUENCIES, RATE), HISTORY, {"LSTM": np.ones(20)}, {"LSTM": [0.4, 0.5]}, TONES
    ),
    "scatter": lambda: figures.scatter(TONES, TONES * 0.9),
    "errors": lambda: figures.errors(TONES * 0.1),
    "no errors": lambda: figures.errors(TONES * 0),
    "spectra": lambda: figures.spectra(TONES, TONES * 0.9, FREQUENCIES, RATE),
    "long": lambda: figures.long_stretch(TONES, TONES * 0.9, FREQUENCIES, RATE),
    "robustness": lambda: figures.robustness(ROBUSTNESS, {"lstm": "LSTM", "kalman": "Kalman"}),
    "graph2": lambda: figures.all_tones(MIXTURE, TONES, TONES * 0.9, FREQUENCIES, (0.9, 0.8), RATE, 20),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_drawn_with_the_same_bits_each_time(name):
    content, again = figures.png(PICTURES[name]()), figures.png(PICTURES[name]())
    assert content.startswith(b"\x89PNG")
    assert content == again
    assert b"Matplotlib" not in content


def test_the_training_picture_marks_the_best_epoch():
    assert "epoch 2 is kept" in figures.training(HISTORY).get_suptitle()


@pytest.mark.parametrize("count", [1, 8])
def test_any_number_of_tones(count):
    frequencies = tuple(2.5 * (n + 1) for n in range(count))
    tones = np.stack([np.sin(2 * np.pi * frequency * TIME) for frequency in frequencies])
    for figure in (
        figures.data(tones.mean(axis=0), tones, frequencies, RATE),
        figures.spectrogram(tones.mean(axis=0), frequencies, RATE),
        figures.all_tones(tones.mean(axis=0), tones, tones, frequencies, (1.0,) * count, RATE, 0),
    ):
        assert len(figures.png(figure)) > 5_000
