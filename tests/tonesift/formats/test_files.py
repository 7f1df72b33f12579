import io
import os
import resource
import struct
import sys
import threading
import wave
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
from scipy import io as io_of_matlab
from scipy.io import wavfile

from tonesift.data import recordings
from tonesift.errors import InputError
from tonesift.formats import files, sound
from tonesift.formats.base import PIPE, Form, Selection, tones_form

FORM = tones_form(1000.0, (1.0, 2.5), 7)


@pytest.fixture
def samples():
    return np.random.default_rng(1).uniform(-1, 1, size=200_001).astype("f4")


def read(path, **selection):
    with files.opened(path, Selection(**selection)) as source:
        return np.concatenate([np.zeros(0), *source.chunks]), source


def write(path, tones, form=FORM, sizes=(0, 3, 4)):
    begin = 0
    with files.created(path, form) as put:
        for size in (*sizes, tones.shape[1]):
            put(tones[:, begin : begin + size])
            begin += size


def test_csv_as_text_says(tmp_path):
    path = tmp_path / "a.CSV"
    path.write_text("1.5\n-2\n\n 3e-1 \n")
    found, source = read(path)
    assert found.tolist() == [1.5, -2.0, 0.3]
    assert (source.rate, source.frequencies, source.samples) == (None, None, 3)


def test_csv_as_numpy_writes_it(tmp_path, samples):
    np.savetxt(tmp_path / "a.csv", samples)
    assert np.array_equal(read(tmp_path / "a.csv")[0], samples)


@pytest.mark.parametrize("column", ["b", "2"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_csv_column_by_name_or_number(tmp_path, column, start):
    path = tmp_path / "a.csv"
    path.write_text(f"{start}t,b\n0,4\n1,\n2,nan\n", encoding="utf-8")
    assert np.array_equal(read(path, column=column)[0], [4, np.nan, np.nan], equal_nan=True)


@pytest.mark.parametrize("text", ["1.5\n2\n", '"1.5"\n2\n', '"a\nb"\n1.5\n2\n', "\n1.5\n2\n"])
def test_a_byte_order_mark_is_no_part_of_the_samples(tmp_path, monkeypatch, text):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8-sig")
    monkeypatch.setattr(sys, "stdin", io.StringIO("\ufeff" + text))
    for path in (tmp_path / "a.csv", PIPE):
        assert read(path)[0].tolist() == [1.5, 2.0]


def test_a_csv_column_may_be_called_a_number(tmp_path):
    (tmp_path / "a.csv").write_text("x,1\n5,6\n")
    assert read(tmp_path / "a.csv", column="1")[0].tolist() == [6]
    assert read(tmp_path / "a.csv", column="2")[0].tolist() == [6]


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("1\n2\nx\n", None, r"a\.csv, line 3: 'x' is not a number"),
        ("h\n\n1\n2\n4a\n", None, r"line 5: '4a' is not a number"),
        ("a,b\n1,2\n", None, r"it has 2 columns \(a, b\): say which with --column"),
        ("1.5,2\n", None, "it has 2 columns: say which"),
        ("a,b\n1,2\n", "c", "no column 'c': its header names a, b; numbers are 1 to 2"),
        ("1,2\n", "3", "no column '3': it has no header; numbers are 1 to 2"),
        ("a,b\n1,2\n3\n", "b", "line 3: a row of 1, but those above are of 2 cells"),
        ("a,b\n1,2\n3,4,5\n", "b", "line 3: a row of 3, but those above are of 2 cells"),
        ("1\n\xff\n", None, "line 2: 'ÿ' is not a number"),
    ],
)
def test_csv_that_cannot_be_read(tmp_path, text, column, message):
    (tmp_path / "a.csv").write_bytes(text.encode("latin1"))
    with pytest.raises(InputError, match=message):
        read(tmp_path / "a.csv", column=column)


@pytest.mark.parametrize("text", ["", "\n", "title\n"])
def test_csv_without_numbers_is_empty(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    assert len(read(tmp_path / "a.csv")[0]) == 0


@pytest.mark.parametrize(("dtype", "scale"), [("i2", 2**15), ("i4", 2**31), ("f4", 1), ("u1", None)])
def test_wav_that_scipy_wrote(tmp_path, samples, dtype, scale):
    values = (samples * 100 + 128 if scale is None else samples * (scale - 1 if scale > 1 else 1)).astype(dtype)
    wavfile.write(tmp_path / "a.wav", 1000, values)
    found, source = read(tmp_path / "a.wav")
    expected = (values.astype("f8") - 128) / 128 if scale is None else values / scale
    assert np.abs(found - expected).max() < 1e-7
    assert (source.rate, source.samples) == (1000.0, len(samples))


def test_wav_of_24_bits_and_two_channels(tmp_path, samples):
    values = (samples[:1000] * (2**23 - 1)).astype("i4")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((2, 3, 8000, 0, "NONE", ""))
        file.writeframes(b"".join((0).to_bytes(3) + int(v).to_bytes(3, "little", signed=True) for v in values))
    found, source = read(tmp_path / "a.wav", column="2")
    assert np.abs(found - values / 2**23).max() < 1e-7
    assert source.rate == 8000.0
    for column in (None, "0", "3", "left"):
        with pytest.raises(InputError, match="it has 2 channels: say which with --column, a number from 1 to 2"):
            read(tmp_path / "a.wav", column=column)


@pytest.mark.parametrize("rate", [0, 2**31])
def test_wav_without_a_sampling_rate_is_refused(tmp_path, rate):
    wavfile.write(tmp_path / "a.wav", 1000, np.zeros(10, "f4"))
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[24:28] = rate.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as a WAV file"):
        read(tmp_path / "a.wav")


@pytest.mark.parametrize("dtype", ["f4", ">f8", "i2"])
def test_npy(tmp_path, samples, dtype):
    values = (samples * 100).astype(dtype)
    np.save(tmp_path / "a.npy", values)
    found, source = read(tmp_path / "a.npy")
    assert np.array_equal(found, values)
    assert source.samples == len(samples)


def test_npy_that_is_no_mixture(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((2, 3, 1)))
    with pytest.raises(InputError, match=r"shape \(2, 3, 1\), but a mixture is one-dimensional"):
        read(path)
    np.save(path, np.array([None]))
    with pytest.raises(InputError, match="not a whole NumPy array of numbers"):
        read(path)
    np.save(path, np.zeros(1000))
    for content in (path.read_bytes()[:3000], b"", b"nonsense"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a whole NumPy array of numbers"):
            read(path)


def test_empty_files_hold_no_samples(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(0))
    wavfile.write(tmp_path / "a.wav", 1000, np.zeros(0, "f4"))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["mixture"] = np.zeros(0)
    for name in ("a.npy", "a.wav", "a.h5"):
        assert len(read(tmp_path / name)[0]) == 0


def test_hdf5_recordings_and_other_datasets(tmp_path, samples):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["sampling_rate"] = recordings.FORMAT, 500.0
        file.attrs["frequencies"] = (1.0, 3.0)
        file["mixture"] = samples[:-1].reshape(2, -1)
        file["more/signal"] = samples
    found, source = read(path)
    assert np.array_equal(found, samples[:100_000])
    assert (source.rate, source.frequencies, source.samples) == (500.0, (1.0, 3.0), 100_000)
    assert np.array_equal(read(path, recording=1)[0], samples[100_000:-1])
    assert np.array_equal(read(path, dataset="more/signal")[0], samples)
    with pytest.raises(InputError, match="--recording 2: its recordings are 0 to 1"):
        read(path, recording=2)
    with pytest.raises(InputError, match=r"no dataset 'tone' .* only mixture \(2, 100000\), more/signal \(200001,\): "):
        read(path, dataset="tone")


def attributed(path, **attributes):
    with h5py.File(path, "w") as file:
        file["mixture"] = np.zeros(10)
        file.attrs.update(attributes)
    return path


@pytest.mark.parametrize("rate", [500, np.float32(500), [500.0]])
def test_hdf5_rate_is_one_number_of_any_kind(tmp_path, rate):
    source = read(attributed(tmp_path / "a.h5", sampling_rate=rate, frequencies=[1, 3]))[1]
    assert (source.rate, source.frequencies) == (500.0, (1.0, 3.0))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("fast", "'fast'"),
        (0.0, r"0\.0"),
        (-1000, "-1000"),
        (np.nan, "nan"),
        (np.inf, "inf"),
        ([1.0, 2.0], r"\[1\.0, 2\.0\]"),
        (np.arange(1000), r"\[0, 1, 2, 3, 4, 5, \.\.\.\]"),
        (h5py.Empty("f8"), "Empty.*"),
    ],
)
def test_hdf5_rate_that_is_none_is_refused(tmp_path, value, shown):
    path = attributed(tmp_path / "a.h5", sampling_rate=value)
    with pytest.raises(InputError, match=rf"its attribute sampling_rate is {shown}, but must be one number of Hz, fin"):
        read(path)


@pytest.mark.parametrize("value", [3.0, "fast", ["a", "b"], [1.0, 0.0], [1.0, np.nan], [[1.0, 3.0]], np.zeros(0)])
def test_hdf5_frequencies_that_are_none_are_refused(tmp_path, value):
    path = attributed(tmp_path / "a.h5", frequencies=value)
    with pytest.raises(InputError, match=r"its attribute frequencies is .*, but must be a list of numbers of Hz, each"):
        read(path)


def test_a_file_that_is_not_what_its_suffix_says(tmp_path):
    for name, message in (("a.h5", "not a whole HDF5 file"), ("a.wav", "cannot be read as a WAV file")):
        (tmp_path / name).write_text("nonsense")
        with pytest.raises(InputError, match=message):
            read(tmp_path / name)


def test_missing_files_and_unknown_suffixes_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "a.csv")
    (tmp_path / "a.pdf").touch()
    with pytest.raises(InputError, match=r"its suffix is '.pdf', but must be one of \.csv, .*, \.npy, \.h5, \.hdf5"):
        read(tmp_path / "a.pdf")
    with pytest.raises(InputError, match="a folder: name a file"):
        read(tmp_path)


def test_choices_that_a_file_does_not_offer_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    for selection in ({"separator": ";"}, {"header": 0}, {"dataset": "x"}):
        with pytest.raises(InputError, match="to choose from: leave it out"):
            read(tmp_path / "a.npy", **selection)
    with pytest.raises(InputError, match="--column 2: it holds one signal: leave it out"):
        read(tmp_path / "a.npy", column="2")


TONES = np.random.default_rng(0).normal(size=(2, 7)).astype("f4")


def test_written_csv_reads_back_exactly(tmp_path):
    write(tmp_path / "o.csv", TONES)
    lines = (tmp_path / "o.csv").read_text().splitlines()
    assert lines[0] == "1 Hz,2.5 Hz"
    assert np.array_equal(np.genfromtxt(lines[1:], delimiter=",", dtype="f4").T, TONES)


def test_written_wav_is_32_bit_float(tmp_path):
    write(tmp_path / "o.wav", TONES)
    rate, found = wavfile.read(tmp_path / "o.wav")
    assert soundfile.info(tmp_path / "o.wav").subtype == "FLOAT"
    assert rate == 1000
    assert np.array_equal(found.T, TONES)
    assert np.array_equal(soundfile.read(tmp_path / "o.wav", dtype="float32")[0].T, TONES)


def test_written_npy_is_tones_by_samples(tmp_path):
    write(tmp_path / "o.npy", TONES)
    for mode in (None, "r"):
        found = np.load(tmp_path / "o.npy", mmap_mode=mode)
        assert np.array_equal(found, TONES)
        assert found.dtype == np.float32


def test_written_hdf5_knows_its_rate_and_frequencies(tmp_path):
    write(tmp_path / "o.h5", TONES)
    with h5py.File(tmp_path / "o.h5") as file:
        assert np.array_equal(file["tones"], TONES)
        assert file.attrs["sampling_rate"] == 1000.0
        assert file.attrs["frequencies"].tolist() == [1.0, 2.5]


def spoil(path):
    with files.created(path, FORM) as put:
        put(TONES)
        raise KeyError("x")


@pytest.mark.parametrize("suffix", ["csv", "wav", "npy", "h5"])
def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path, suffix):
    with pytest.raises(KeyError, match="x"):
        spoil(tmp_path / f"o.{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def no_room():
    """No file may grow beyond 4 KiB, which the system says as it says that a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("samples", [50_000, 900])  # the last ones fail as the file is closed
@pytest.mark.parametrize("suffix", ["csv", "wav", "npy", "h5"])
def test_no_room_for_the_output_is_said_by_its_name_and_leaves_nothing(tmp_path, suffix, samples, no_room):
    tones = np.ones((2, samples), dtype="f4") / 3
    with pytest.raises((OSError, InputError), match=rf"File too large.*o\.{suffix}|o\.{suffix}.*File too large"):
        write(tmp_path / f"o.{suffix}", tones, FORM._replace(samples=samples))
    assert list(tmp_path.iterdir()) == []


def test_what_a_format_cannot_hold_is_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"a WAV file's rate is a whole number, not 0\.5 Hz"):
        write(tmp_path / "o.wav", TONES, FORM._replace(rate=0.5))
    with pytest.raises(InputError, match="must know its length beforehand"):
        write(tmp_path / "o.h5", TONES, FORM._replace(samples=None))
    monkeypatch.setattr(sound, "WAV_BYTES", 40)
    with pytest.raises(InputError, match="a WAV file holds at most 4 GiB"):
        write(tmp_path / "o.wav", TONES)


# Sound whose header and samples differ


def wav(path, values, data=None, riff=None, after=b"", extra=b""):
    """A 16-bit WAV file; `data` and `riff` are the sizes that its header tells, if not the right ones."""
    content = np.asarray(values, "<i2").tobytes()
    body = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 1000, 2000, 2, 16) + extra + b"data"
    body += struct.pack("<I", len(content) if data is None else data) + content + after
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body)
    return path


STEPS = np.arange(2000, dtype="i2")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"data": 1000, "riff": 1036}, "announces 500 samples, but 2000 are there: all of them are read"),
        ({"data": 0, "riff": 0}, "announces 0 samples, but 2000 are there"),
        ({"data": 8000}, "announces 4000 samples, but 2000 are there"),
        ({"data": 2**32 - 2}, "announces 2147483647 samples, but 2000 are there"),
        ({"data": 2**32 - 1, "riff": 2**32 - 1}, ""),
        ({"extra": b"LIST" + struct.pack("<I", 5) + b"INFOx\0"}, ""),
        ({"after": b"LIST" + struct.pack("<I", 4) + b"INFO" + b"id3 " + struct.pack("<I", 1) + b"x\0"}, ""),
    ],
)
def test_a_wav_files_samples_are_read_whatever_its_header_says(tmp_path, changes, fault):
    found, source = read(wav(tmp_path / "a.wav", STEPS, **changes))
    assert np.array_equal(found, STEPS.astype("f4") / 2**15)
    assert source.rate == 1000
    assert [fault in told for told in source.faults] == [True] * bool(fault)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_a_truncated_wav_file_of_any_kind(tmp_path, samples, subtype, kind):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([samples[:5000], -samples[:5000]], axis=1), 1000, subtype=subtype, format=kind)
    whole = soundfile.read(path, dtype="float32")[0][:, 1]
    path.write_bytes(path.read_bytes()[:-1001])
    found, source = read(path, column="2")
    assert 3000 < len(found) < 5000
    assert np.array_equal(found, whole[: len(found)])
    assert f"announces 5000 samples, but {len(found)} are there" in source.faults[0]


def test_an_rf64_file_whose_recorder_never_came_to_write_its_lengths(tmp_path):
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 1000, 2000, 2, 16)
    head = b"RF64" + b"\xff" * 4 + b"WAVEds64" + struct.pack("<I", 28) + b"\xff" * 16 + b"\0" * 12
    (tmp_path / "a.wav").write_bytes(head + form + b"data" + b"\xff" * 4 + STEPS.astype("<i2").tobytes())
    found, source = read(tmp_path / "a.wav")
    assert np.array_equal(found, STEPS.astype("f4") / 2**15)
    assert "does not tell how long it is: all 2000 samples that follow are read" in source.faults[0]


def test_a_compressed_wav_file_that_is_cut_is_refused(tmp_path, samples):
    soundfile.write(tmp_path / "a.wav", samples[:5000], 1000, subtype="IMA_ADPCM")
    assert len(read(tmp_path / "a.wav")[0]) >= 5000
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:-700])
    with pytest.raises(InputError, match="in a compressed form: convert it to PCM first"):
        read(tmp_path / "a.wav")


@pytest.mark.parametrize("suffix", ["flac", "ogg", "opus", "mp3", "aiff", "au", "caf", "w64"])
def test_whatever_libsndfile_reads_is_read(tmp_path, samples, suffix):
    path = tmp_path / f"a.{suffix}"
    kind, subtype = {"opus": ("OGG", "OPUS"), "au": ("AU", "PCM_16")}.get(suffix, (suffix.upper(), None))
    soundfile.write(path, samples[:24_000] / 2, 48_000, format=kind, subtype=subtype)
    found, source = read(path)
    assert np.array_equal(found, soundfile.read(path, dtype="float32")[0])
    assert (source.rate, source.faults) == (48_000, [])
    if suffix not in ("ogg", "opus", "mp3"):
        assert np.abs(found - samples[:24_000] / 2).max() < 1e-4


@pytest.mark.parametrize("suffix", ["flac", "aiff", "au", "caf", "w64", "ogg"])
def test_sound_that_is_cut_is_told_or_refused(tmp_path, samples, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, samples[:100_000] / 2, 48_000)
    whole = soundfile.read(path, dtype="float32")[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    try:
        found, source = read(path)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert len(found) < len(whole)
        assert np.array_equal(found, whole[: len(found)])
        assert source.faults


# Arrays of two dimensions


@pytest.mark.parametrize("suffix", ["npy", "h5", "mat"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_and_columns_of_an_array(tmp_path, samples, suffix, order):
    table = np.array(samples[:140_000].reshape(7, -1), order=order)
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, table)
    elif suffix == "h5":
        h5py.File(path, "w").create_dataset("mixture", data=table)
    else:
        io_of_matlab.savemat(path, {"mixture": table})
    for row in (0, 3, 6):
        assert np.array_equal(read(path, recording=row)[0], table[row])
    for column in (1, 7, 20_000):
        assert np.array_equal(read(path, column=str(column))[0], table[:, column - 1])
    for wrong, message in (
        ({"recording": 7}, "are 0 to 6"),
        ({"column": "20001"}, "1 to 20000"),
        ({}, "or a column wi"),
    ):
        with pytest.raises(InputError, match=message):
            read(path, **wrong)


def test_npy_holds_what_it_declares_and_more_is_told(tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        np.save(file, np.arange(200.0))
        np.save(file, np.full(200, np.inf))
    found, source = read(tmp_path / "a.npy")
    assert found.tolist() == list(range(200))
    assert "1,728 bytes follow the array" in source.faults[0]
    np.savez(tmp_path / "b.npz", np.zeros(3))
    (tmp_path / "b.npz").rename(tmp_path / "b.npy")
    with pytest.raises(InputError, match="an archive of several is no signal"):
        read(tmp_path / "b.npy")
    np.save(tmp_path / "a.npy", np.zeros(3, complex))
    with pytest.raises(InputError, match="complex128, but samples must be real numbers"):
        read(tmp_path / "a.npy")


# HDF5 and MATLAB


def matlab73(path, **variables):
    """As MATLAB writes -v7.3: transposed, with the class, behind 512 bytes of its own."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            file[name] = np.atleast_2d(value).T
            file[name].attrs["MATLAB_class"] = np.bytes_("char" if name == "comment" else "double")
    content = bytearray(path.read_bytes())
    content[:19] = b"MATLAB 7.3 MAT-file"
    path.write_bytes(content)


@pytest.mark.parametrize("save", [matlab73, lambda path, **values: io_of_matlab.savemat(path, values)])
@pytest.mark.parametrize("turn", [lambda values: values[None], lambda values: values[:, None]])
@pytest.mark.parametrize(
    ("others", "rate"),
    [
        ({"fs": 250.0}, 250),
        ({"Sampling_Rate": 250}, 250),
        ({"t": np.arange(200) / 250}, 250),
        ({"time_ms": np.arange(200) * 4.0}, 250),
        ({}, None),
    ],
)
def test_matlab_files_of_both_kinds(tmp_path, save, turn, others, rate):
    values = np.random.default_rng(1).normal(size=200)
    save(tmp_path / "a.mat", signal=turn(values), comment=np.arange(5), **others)
    found, source = read(tmp_path / "a.mat", dataset="signal")
    assert np.array_equal(found, values)
    assert source.rate == rate


def test_the_only_signal_of_a_matlab_file_is_taken_and_said(tmp_path):
    matlab73(tmp_path / "a.mat", x=np.arange(9.0), fs=100.0)
    found, source = read(tmp_path / "a.mat")
    assert (found.tolist(), source.rate) == (list(range(9)), 100)
    assert "'x'" in source.notes[0]
    matlab73(tmp_path / "a.mat", x=np.arange(9.0), y=np.arange(9.0))
    with pytest.raises(InputError, match=r"only x \(9, 1\), y \(9, 1\): choose one with --dataset"):
        read(tmp_path / "a.mat")


def test_rows_and_columns_of_matlab_are_matlabs(tmp_path):
    table = np.arange(24.0).reshape(8, 3)
    matlab73(tmp_path / "a.mat", mixture=table)
    assert np.array_equal(read(tmp_path / "a.mat", column="3")[0], table[:, 2])
    assert np.array_equal(read(tmp_path / "a.mat", recording=1)[0], table[1])


@pytest.mark.parametrize(
    "name", ["fs", "Fs", "sampling_rate", "sample_rate", "SamplingFrequency", "rate", "sampling_rate_Hz"]
)
@pytest.mark.parametrize("place", ["/", "/run", "/run/x", "scalar"])
def test_the_rate_stands_where_people_put_it(tmp_path, name, place):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["run/x"] = np.arange(9.0)
        if place == "scalar":
            file[f"run/{name}"] = 500.0
        else:
            file[place].attrs[name] = 500.0
    assert read(tmp_path / "a.h5")[1].rate == 500


def test_the_nearest_rate_counts(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["run/mixture"] = np.arange(9.0)
        file.attrs["fs"], file["run"].attrs["fs"] = 1.0, 2.0
        assert file["run/mixture"].attrs.get("fs") is None
    assert read(tmp_path / "a.h5", dataset="run/mixture")[1].rate == 2


def test_samples_that_a_file_announces_and_does_not_hold_are_refused(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["x"] = np.arange(10.0)
    layout = h5py.VirtualLayout((10,), "f8")
    layout[:] = h5py.VirtualSource(tmp_path / "part.h5", "x", (10,))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("mixture", layout)
    assert read(path)[0].tolist() == list(range(10))
    (tmp_path / "part.h5").unlink()
    with pytest.raises(InputError, match=r"part\.h5, dataset x, which is not there: they would be read as zeros"):
        read(path)
    (tmp_path / "raw").write_bytes(np.arange(10.0).tobytes())
    with h5py.File(path, "w") as file:
        file.create_dataset("mixture", (10,), "f8", external=[(tmp_path / "raw", 0, 80)])
    assert read(path)[0].tolist() == list(range(10))
    (tmp_path / "raw").write_bytes(bytes(79))
    with pytest.raises(InputError, match="/raw, which is missing or too short"):
        read(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("mixture", (10**12,), "f4", chunks=(1024,))[:1024] = 1
    with pytest.raises(InputError, match="only 1 of its 976562500 pieces were ever written"):
        read(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("mixture", (2**29,), "f4", chunks=(2**29,))
    with pytest.raises(InputError, match="pieces of more than 256 MiB"):
        read(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("mixture", (10,), "f4")
    with pytest.raises(InputError, match="only 0 of its 40 bytes were ever written"):
        read(path)


# Pipes and devices


def test_a_named_pipe_is_read_as_it_comes_and_written_as_it_is(tmp_path):
    for name in ("in.csv", "out.csv"):
        os.mkfifo(tmp_path / name)
    writer = threading.Thread(target=(tmp_path / "in.csv").write_text, args=("t,x\n0,1.5\n0.5,2.5\n",))
    writer.start()
    found, source = read(tmp_path / "in.csv")
    writer.join()
    assert (found.tolist(), source.live, source.rate) == ([1.5, 2.5], True, 2.0)
    reader = threading.Thread(target=lambda: lines.append((tmp_path / "out.csv").read_text()))
    lines = []
    reader.start()
    write(tmp_path / "out.csv", TONES)
    reader.join()
    assert lines[0].startswith("1 Hz,2.5 Hz\n")
    assert (tmp_path / "out.csv").is_fifo()
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(InputError, match="a pipe or device, which can be read as text only"):
        read(tmp_path / "a.wav")


def test_a_device_stays_a_device(tmp_path):
    write(Path("/dev/null"), TONES)
    assert Path("/dev/null").is_char_device()
    (tmp_path / "link.csv").symlink_to("/dev/null")
    write(tmp_path / "link.csv", TONES)
    assert (tmp_path / "link.csv").is_symlink()
    assert Path("/dev/null").is_char_device()


def test_a_link_stays_a_link_to_the_new_file(tmp_path):
    (tmp_path / "link.csv").symlink_to("real.csv")
    write(tmp_path / "link.csv", TONES)
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith("1 Hz")


def test_closed_standard_streams_are_one_line(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="standard input is closed"):
        read(PIPE)
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(InputError, match="standard output is closed"):
        write(PIPE, TONES)


@pytest.mark.parametrize("suffix", ["csv", "wav", "npy", "h5"])
@pytest.mark.parametrize("length", [0, 1, 7])
def test_a_single_signal_is_read_back_as_it_was_written(tmp_path, suffix, length):
    form = Form(1000.0, ("residual",), length, dataset="residual", single=True)
    write(tmp_path / f"o.{suffix}", TONES[:1, :length], form)
    found, source = read(tmp_path / f"o.{suffix}")
    assert np.allclose(found, TONES[0, :length], rtol=1e-7)
    assert source.rate in (1000.0, None)


def test_an_hdf5_file_that_is_not_filled_is_not_kept(tmp_path):
    with pytest.raises(InputError, match="only 3 of 7 samples came"):
        write(tmp_path / "o.h5", TONES[:, :3])
    assert list(tmp_path.iterdir()) == []
