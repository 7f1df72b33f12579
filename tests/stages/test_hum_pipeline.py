"""Hum in an ECG, through the stages: made, learnt in a background, judged, and taken out of a stream."""

import json
import shutil

import numpy as np
import pytest
from conftest import PATHS, ROOT
from scipy import signal

from tonesift.data import recordings
from tonesift.errors import InputError
from tonesift.evaluation import hum
from tonesift.learning import fronts
from tonesift.networks import model as models
from tonesift.streaming.anytones import AnyToneFilter
from tonesift.streaming.tonefilter import ToneFilter

DATA = {"frequencies": [50.0, 100.0, 150.0], "amplitude_range": [0.09, 1.5], "noise_std": 0.0, "duration": 6.0}
HUM = {
    "data": DATA | {"sampling_rate": 360.0, "task": "general", "train_recordings": 16, "test_recordings": 3},
    "prepare": {"sequence_length": 20, "step_size": 200, "val_split": 0.2},
    "model": {"family": "hybrid", "conditioning": "heads", "hop": 10},
    "train": {"fresh_noise": False, "stateful": True, "batch_size": 8, "stream_steps": 10, "epochs": 2},
}


@pytest.fixture(scope="module")
def trained(make_workspace):
    """A workspace with a model that was trained on hum, and judged."""
    workspace = make_workspace("hum")
    workspace.set(HUM)
    shutil.copy(ROOT / "benchmarks" / "ecg-208.npz", workspace.path / "ecg.npz")
    workspace.stage("mains", "ecg.npz", "data/train.h5", "data/test.h5")
    workspace.stage("prepare", "data/train.h5", "data/windows.h5")
    workspace.stage("train", *PATHS["train"])
    workspace.stage("judge_hum", "models/model.safetensors", "judge.json", "data/test.h5")
    return workspace


@pytest.fixture(scope="module")
def model(trained):
    return models.load(trained.path / "models" / "model.safetensors")


def test_the_model_says_what_background_it_was_trained_in(model):
    """The prediction of the training recordings' ECG leaves a small part of it."""
    network, metadata = model
    assert network.front
    assert not network.selects
    assert metadata.frequencies == (50.0, 100.0, 150.0)
    with np.load(ROOT / "benchmarks" / "ecg-208.npz") as file:
        ecg = (file["ecg"].astype("f8") - 1024) / 200
    left = signal.lfilter([1.0, *(-weight for weight in metadata.whitening)], [1.0], ecg)[100:]
    assert len(metadata.whitening) == 8
    assert np.std(left) < 0.1 * np.std(ecg)


def test_it_is_judged_beside_filters_that_learn_nothing(trained):
    (found,) = json.loads(trained.read("judge.json")).values()
    assert found["median_uv"] < 1.3 * found["auto_median_uv"]  # hardly trained: it is its filters
    assert found["notch_qrs_uv"] > 2 * found["notch_between_uv"]
    assert found["streamed_r2"] == pytest.approx(found["r2"], abs=1e-4)  # told as much as in training
    trained.set({"evaluate": {"detail": "scores"}})
    trained.stage("judge_hum", "models/model.safetensors", "short.json", "data/test.h5")
    trained.set({"evaluate": {"detail": "full"}})
    short = json.loads(trained.read("short.json"))["ecg"]
    assert short == {name: value for name, value in found.items() if not name.startswith(("auto", "notch", "narrow"))}


def test_the_figures_are_what_they_say(trained):
    """Of a filter that takes out half of every tone, and a tenth of what there is besides."""
    with recordings.opened(trained.path / "data" / "test.h5") as source:
        true = [source.tones(index).mean(axis=0, dtype="f8")[360:] for index in range(source.count)]
        ecgs = [source.mixture(index).astype("f8") - source.tones(index).mean(axis=0, dtype="f8") for index in range(3)]
        network, metadata = models.load(trained.path / "models" / "model.safetensors")
        answers = iter([part for index, ecg in enumerate(ecgs) for part in (_half(source, index), _tenth(ecg))])
        found = hum.figures(
            network,
            metadata,
            source,
            lambda work, items: [*map(work, items)],
            {"streamed": lambda samples, tones: next(answers)},
        )
    assert found["median_uv"] == pytest.approx(np.median([500 * np.sqrt(np.mean(hum**2)) for hum in true]), rel=1e-4)
    assert found["distortion_uv"] == pytest.approx(
        np.median([100 * np.sqrt(np.mean(ecg[360:] ** 2)) for ecg in ecgs]), rel=1e-3
    )
    assert found["streamed_hum_r2"] == pytest.approx(0.75, abs=1e-3)
    assert found["streamed_r2"] == pytest.approx(0.75, abs=1e-3)


def _half(source, index):
    return source.tones(index).astype("f8") / 3 / 2


def _tenth(ecg):
    return np.stack([0.1 * ecg, 0 * ecg, 0 * ecg])


def test_the_beats_are_found():
    """Record 208 has about a hundred beats in a minute, and a complex lasts about a tenth of a second."""
    with np.load(ROOT / "benchmarks" / "ecg-208.npz") as file:
        ecg = (file["ecg"][: 60 * 360].astype("f8") - 1024) / 200
    where = hum.qrs(ecg, 360.0)
    beats = np.count_nonzero(np.diff(where.astype(int)) == 1)
    peaks = signal.find_peaks(np.abs(ecg - signal.medfilt(ecg, 301)), height=0.5, distance=100)[0]
    assert beats == pytest.approx(len(peaks), rel=0.25)
    assert 0.1 < where.mean() < 0.4


def test_a_stream_in_pieces_is_the_whole_to_the_bit_even_saved_in_the_middle(trained, model, tmp_path):
    with recordings.opened(trained.path / "data" / "test.h5") as source:
        samples = source.mixture(0).astype("f8")
    tones = [50.0, 100.0, 150.0]
    one = AnyToneFilter(*model, tones)
    expected = np.concatenate([one.push(samples), one.finish()], axis=1)
    first, second = (AnyToneFilter(*model, tones) for _ in range(2))
    begun = [first.push(piece) for piece in np.split(samples[:1234], [1, 361, 700])]
    first.save(tmp_path / "state.npz")
    second.restore(tmp_path / "state.npz")
    rest = [second.push(samples[1234:]), second.finish()]
    assert np.array_equal(np.concatenate([*begun, *rest], axis=1), expected)
    chosen = AnyToneFilter(*model, tones, tones=[2])
    np.testing.assert_allclose(chosen.push(samples)[0], expected[2, : chosen.samples // 10 * 10], atol=1e-6)


def test_the_unit_does_not_matter_and_other_tones_are_refused(trained, model):
    with recordings.opened(trained.path / "data" / "test.h5") as source:
        samples = source.mixture(0).astype("f8")
    one, other = (AnyToneFilter(*model, [50.0, 100.0, 150.0]) for _ in range(2))
    np.testing.assert_allclose(other.push(1000 * samples), 1000 * one.push(samples), atol=0.5)
    with pytest.raises(InputError, match=r"corrects the filters of its own tones together: give --tones 50,100,150"):
        AnyToneFilter(*model, [60.0, 120.0])


def test_a_recording_is_told_as_its_first_second_shows(trained):
    """Level by the median absolute deviation, a tone's root mean square amplitude by that of three tones."""
    with recordings.opened(trained.path / "data" / "test.h5") as source:
        known, samples = fronts.scale(source, 1, 0.0), source.mixture(1)[:360]
    level = np.median(np.abs(samples - np.median(samples))) / 0.6745
    assert known.unit == pytest.approx(np.sqrt(2 / 3) * level, rel=1e-4)
    assert known.limits == (-np.inf, np.inf)


def test_without_its_tones_named_it_is_no_filter_of_a_mixture(model):
    with pytest.raises(InputError, match=r"how loud a recording and its background are: give --tones 50,100,150"):
        ToneFilter(*model)
