import shutil

import h5py
import numpy as np
import pytest

from tonesift import params
from tonesift.data import recordings, windows
from tonesift.errors import InputError


@pytest.fixture
def facts():
    return recordings.Facts(100.0, (2.0, 5.0), np.zeros((3, 2)), np.ones((3, 2)), 1.0, 0.1, "fixed", 1)


@pytest.fixture
def path(tmp_path, facts):
    rng = np.random.default_rng(0)
    recordings.write(
        tmp_path / "set.h5", facts, 500, ((rng.normal(size=500), rng.normal(size=(2, 500))) for _ in range(3))
    )
    return tmp_path / "set.h5"


def test_what_was_written_is_read(path, facts):
    rng = np.random.default_rng(0)
    with recordings.opened(path) as source:
        assert (source.count, source.samples) == (3, 500)
        for index in range(3):
            assert np.array_equal(source.mixture(index), rng.normal(size=500).astype("f4"))
            assert np.array_equal(source.tones(index), rng.normal(size=(2, 500)).astype("f4"))
        assert source.facts.frequencies == facts.frequencies
        assert np.array_equal(source.facts.phases, facts.phases)


def test_signals_can_be_memory_mapped(path):
    with h5py.File(path) as file:
        offset, shape, expected = file["tones"].id.get_offset(), file["tones"].shape, file["tones"][:]
    assert offset % 4096 == 0
    assert np.array_equal(np.memmap(path, np.float32, "r", offset, shape), expected)


def test_the_same_content_is_the_same_file(path, facts, tmp_path):
    rng = np.random.default_rng(0)
    again = tmp_path / "again.h5"
    recordings.write(again, facts, 500, ((rng.normal(size=500), rng.normal(size=(2, 500))) for _ in range(3)))
    assert again.read_bytes() == path.read_bytes()


def edit(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


def replace(file, name, values):
    del file[name]
    file[name] = values


BROKEN = {
    "missing": (lambda path: path.unlink(), "no such file"),
    "empty": (lambda path: path.write_bytes(b""), "not a whole HDF5 file"),
    "foreign": (lambda path: path.write_text("time,value\n"), "not a whole HDF5 file"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:9000]), "not a whole HDF5 file"),
    "other HDF5": (lambda path: edit(path, lambda file: file.attrs.pop("format")), "not of tonesift recordings"),
    "other version": (lambda path: edit(path, lambda file: file.attrs.modify("version", 99)), "version 99"),
    "no tones": (lambda path: edit(path, lambda file: file.pop("tones")), "incomplete"),
    "no rate": (lambda path: edit(path, lambda file: file.attrs.pop("sampling_rate")), "incomplete"),
    "other shape": (lambda path: edit(path, lambda file: replace(file, "tones", np.zeros((3, 1, 500), "f4"))), "fit"),
    "double": (lambda path: edit(path, lambda file: replace(file, "mixture", np.zeros((3, 500)))), "float64"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_in_one_line(path, name):
    damage, message = BROKEN[name]
    damage(path)
    with pytest.raises(InputError, match=message) as caught, recordings.opened(path):
        pass
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["mixture", "tones"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(path, name, value):
    def damage(file):
        file[name][1, ..., 7] = value

    edit(path, damage)
    with recordings.opened(path) as source:
        getattr(source, name)(0)
        with pytest.raises(InputError, match=f"recording 1 holds NaN or infinity in its {name}"):
            getattr(source, name)(1)


@pytest.fixture
def conditioned(tmp_path):
    """A set under conditions: each recording has tones of its own, and a sample of its mixture is missing."""
    conditions = params.Conditions(tone_range=[1.0, 9.0], gap_share=0.1)
    drawn = {"frequencies": np.array([[2.0, 5.0], [1.0, 7.0]])}
    facts = recordings.Facts(
        100.0, (), np.zeros((2, 2)), np.ones((2, 2)), 1.0, 0.1, "general", 1, conditions, drawn, "hall.wav 1234"
    )
    mixture = np.ones(500)
    mixture[7] = np.nan
    recordings.write(tmp_path / "c.h5", facts, 500, [(mixture, np.ones((2, 500)))] * 2)
    return tmp_path / "c.h5"


def test_conditions_are_read_as_they_were_written(conditioned):
    with recordings.opened(conditioned, any_tones=True) as source:
        assert source.facts.conditions == params.Conditions(tone_range=[1.0, 9.0], gap_share=0.1)
        assert source.facts.drawn["frequencies"].tolist() == [[2.0, 5.0], [1.0, 7.0]]
        assert (source.facts.source, source.facts.tones_of(1)) == ("hall.wav 1234", (1.0, 7.0))
        assert source.missing(1).nonzero()[0].tolist() == [7]
        assert source.mixture(1)[7] == 0.0


def test_a_file_without_conditions_says_nothing_of_them(path):
    with h5py.File(path) as file:
        assert file.attrs["version"] == 1
        assert not {"conditions", "source"} & set(file.attrs)
    with recordings.opened(path) as source:
        assert source.facts.conditions == params.Conditions()
        assert not source.missing(0).any()


BROKEN_CONDITIONS = {
    "version 1": (lambda file: file.attrs.modify("version", 1), "frequencies is missing"),
    "none": (lambda file: file.attrs.pop("conditions"), "conditions is missing"),
    "no JSON": (lambda file: file.attrs.modify("conditions", "{"), "conditions '{'"),
    "unknown": (lambda file: file.attrs.modify("conditions", '{"drifts": 1}'), "conditions "),
    "no tones": (lambda file: file.attrs.pop("drawn_frequencies"), "frequencies is missing"),
    "a set too few": (lambda file: modify(file, [[2.0, 5.0]]), "do not fit"),
    "a tone too few": (lambda file: modify(file, [[2.0], [1.0]]), "do not fit 1 frequencies"),
    "a tone too high": (lambda file: modify(file, [[2.0, 5.0], [1.0, 50.0]]), r"frequencies \[1.0, 50.0\] at 100 Hz"),
    "a tone twice": (lambda file: modify(file, [[2.0, 5.0], [1.0, 1.0]]), r"frequencies \[1.0, 1.0\] at 100 Hz"),
    "a clip too few": (lambda file: file.attrs.create("drawn_clip", [0.1]), "do not fit"),
    "NaN": (lambda file: file.attrs.create("drawn_clip", [0.1, np.nan]), "drawn_clip.1 is nan"),
}


def modify(file, sets):
    del file.attrs["drawn_frequencies"]
    file.attrs["drawn_frequencies"] = np.array(sets)


@pytest.mark.parametrize("name", BROKEN_CONDITIONS)
def test_broken_conditions_are_refused_in_one_line(conditioned, name):
    damage, message = BROKEN_CONDITIONS[name]
    edit(conditioned, damage)
    with pytest.raises(InputError, match=message) as caught, recordings.opened(conditioned, any_tones=True):
        pass
    assert "\n" not in str(caught.value)


def test_nan_is_refused_where_no_gaps_were_made(conditioned):
    edit(conditioned, lambda file: file.attrs.modify("conditions", '{"tone_range": [1.0, 9.0]}'))
    with (
        recordings.opened(conditioned, any_tones=True) as source,
        pytest.raises(InputError, match="recording 0 holds NaN or infinity in its mixture"),
    ):
        source.mixture(0)


def test_an_error_while_writing_leaves_the_old_file(path, facts):
    before = path.read_bytes()

    def signals():
        yield np.zeros(500), np.zeros((2, 500))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recordings.write(path, facts, 500, signals())
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_windows_refuse_recordings_and_the_other_way_round(path, tmp_path):
    with pytest.raises(InputError, match="not of tonesift windows"):
        windows.read(path)
    train, validation = windows.split_blocks(1, 1000, 20, 1, 0.1)
    windows.write(tmp_path / "w.h5", windows.Split(train, validation, 20, 1, 0.0, 1.0, (1, 1000)))
    with pytest.raises(InputError, match="not of tonesift recordings"), recordings.opened(tmp_path / "w.h5"):
        pass
    shutil.copy(path, tmp_path / "cut.h5")
    (tmp_path / "cut.h5").write_bytes((tmp_path / "w.h5").read_bytes()[:1500])
    with pytest.raises(InputError, match="damaged"):
        windows.read(tmp_path / "cut.h5")
