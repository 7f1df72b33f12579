import numpy as np
import pytest
import soundfile
from conditioned import DATA, made

from tonesift.conditions import background, run
from tonesift.errors import InputError

RATE = 1000


@pytest.fixture
def path(tmp_path):
    """A minute of noise as a sound file."""
    samples = np.random.default_rng(3).standard_normal(60 * RATE) / 10
    soundfile.write(tmp_path / "hall.wav", samples, RATE, subtype="DOUBLE")
    return tmp_path / "hall.wav"


def refused(path, message, samples=10 * RATE):
    with pytest.raises(InputError, match=message) as caught:
        background.read(str(path), float(RATE), samples)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_stretches_are_added_with_their_gain(path):
    samples, _ = soundfile.read(path)
    sound = background.read(str(path), float(RATE), DATA.samples)
    facts, mixtures, tones = made(sound, background=str(path), background_gain=[0.5, 2.0], train_recordings=20)
    assert facts.drawn["background_gain"].min() >= 0.5
    assert facts.drawn["background_gain"].max() <= 2.0
    for index in range(20):
        start, gain = int(facts.drawn["background_start"][index]), facts.drawn["background_gain"][index]
        added = gain * samples[start : start + DATA.samples]
        assert np.abs(mixtures[index] - tones[index].mean(axis=0) - added).max() < 1e-7  # read as float32
    assert facts.source.startswith("hall.wav ")


@pytest.mark.parametrize("count", [1, 2, 50])
def test_no_stretch_serves_both_training_and_test(path, count):
    sound = background.read(str(path), float(RATE), DATA.samples)
    names = {"background": str(path), "train_recordings": count, "test_recordings": count}
    training, testing = (made(sound, part, **names)[0].drawn["background_start"] for part in (False, True))
    assert training.min() >= 0
    assert training.max() + DATA.samples <= testing.min()
    assert testing.max() + DATA.samples <= 60 * RATE
    assert np.all(np.diff(training) >= 0)  # so those that validate come last


def test_every_stretch_can_be_drawn():
    sound = background.Background("x", np.zeros(30))
    draws = [(part, np.random.default_rng(seed)) for seed in range(300) for part in (False, True)]
    starts = {background.draw_start(sound, part, 8, 0, 1, generator) for part, generator in draws}
    assert starts == {*range(13), 20, 21, 22}


def test_another_rate_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(1).random(60_000), 8000)
    refused(tmp_path / "a.wav", r"sampled at 8000 Hz, but data\.sampling_rate is 1000 Hz: bring one to the other")


def test_a_rate_that_is_worked_out_from_times_is_compared_as_closely_as_times_are_written(tmp_path):
    times = np.round(np.arange(4000) / RATE, 3)
    rows = np.stack([times, np.sin(times)], axis=1)
    np.savetxt(tmp_path / "a.csv", rows, delimiter=",", header="time,x", comments="")
    assert background.read(str(tmp_path / "a.csv"), float(RATE), RATE).samples.shape == (4000,)
    with pytest.raises(InputError, match="sampled at 1000 Hz"):
        background.read(str(tmp_path / "a.csv"), 1100.0, RATE)


def test_a_file_that_tells_no_rate_is_taken_as_it_is(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(300.0))
    assert background.read(str(tmp_path / "a.npy"), float(RATE), 100).samples.tolist() == list(range(300))


def test_one_that_is_too_short_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(300.0))
    refused(
        tmp_path / "a.npy", r"100 samples to test on \(the last third\), but a recording takes 101: take a longer", 101
    )
    refused(tmp_path / "a.npy", r"200 samples to train on \(the first two thirds\), but a recording takes 201", 201)


def test_a_silent_one_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.concatenate([np.arange(200.0), np.full(100, 7.0)]))
    refused(tmp_path / "a.npy", "silent in what there is to test on", 50)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_one_with_a_value_that_is_not_finite_is_refused(tmp_path, value):
    np.save(tmp_path / "a.npy", np.where(np.arange(300) == 222, value, np.arange(300.0)))
    refused(tmp_path / "a.npy", "sample 222 is NaN or infinite, but a background must be finite: cut it out", 50)


def test_a_missing_and_a_foreign_one_are_refused(tmp_path):
    refused(tmp_path / "none.wav", "no such file")
    refused(tmp_path, "no such file .* a pipe or a folder will not do")
    (tmp_path / "a.doc").write_text("x")
    refused(tmp_path / "a.doc", "its suffix is '.doc'")
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    refused(tmp_path / "a.wav", "a.wav: ")


def test_without_one_nothing_is_read():
    assert run.read_background(DATA) is None
