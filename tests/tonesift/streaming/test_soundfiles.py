import io
import resource
import sys
import wave

import h5py
import numpy as np
import pytest
import soundfile
from scipy.io import wavfile

from tonesift.errors import InputError
from tonesift.streaming import soundfiles
from tonesift.streaming.soundfiles import Form, Selection

FORM = Form(1000.0, (1.0, 2.5), 7)


@pytest.fixture
def samples():
    return np.random.default_rng(1).uniform(-1, 1, size=200_001).astype("f4")


def read(path, **selection):
    with soundfiles.opened(path, Selection(**selection)) as source:
        return np.concatenate([np.zeros(0), *source.chunks]), source


def write(path, tones, form=FORM, sizes=(0, 3, 4)):
    begin = 0
    with soundfiles.created(path, form) as put:
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
    for path in (tmp_path / "a.csv", soundfiles.PIPE):
        assert read(path)[0].tolist() == [1.5, 2.0]


def test_a_csv_column_may_be_called_a_number(tmp_path):
    (tmp_path / "a.csv").write_text("x,1\n5,6\n")
    assert read(tmp_path / "a.csv", column="1")[0].tolist() == [6]
    assert read(tmp_path / "a.csv", column="2")[0].tolist() == [6]


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("1\n2\nx\n", None, r"a\.csv, line 3: 'x' is not a number"),
        ("h\n\n1\n2,5;3\n4a\n", None, r"line 5: '4a' is not a number"),
        ("a,b\n1,2\n", None, r"it has 2 columns \(a, b\): say which with --column"),
        ("1,2\n", None, "it has 2 columns: say which"),
        ("a,b\n1,2\n", "c", "no column 'c': its header names a, b; numbers are 1 to 2"),
        ("1,2\n", "3", "no column '3': it has no header; numbers are 1 to 2"),
        ("a,b\n1,2\n3\n", "b", "line 3: it has no column 2"),
        ("1\n\xff\n", None, "not a text file in UTF-8"),
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
    np.save(path, np.zeros((2, 3)))
    with pytest.raises(InputError, match=r"shape \(2, 3\), but a mixture is one-dimensional"):
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
        file.attrs["sampling_rate"], file.attrs["frequencies"] = 500.0, (1.0, 3.0)
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
    (tmp_path / "a.mp3").touch()
    with pytest.raises(InputError, match=r"its suffix is '.mp3', but must be one of \.csv, \.wav, \.npy, \.h5, \.hdf5"):
        read(tmp_path / "a.mp3")


def test_choices_that_a_file_does_not_offer_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    for selection in ({"column": "2"}, {"recording": 0}, {"dataset": "x"}):
        with pytest.raises(InputError, match="to choose from: leave it out"):
            read(tmp_path / "a.npy", **selection)


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
    with soundfiles.created(path, FORM) as put:
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


@pytest.mark.parametrize("suffix", ["csv", "wav", "npy", "h5"])
def test_no_room_for_the_output_leaves_nothing(tmp_path, suffix, no_room):
    tones = np.ones((2, 50_000), dtype="f4")
    with pytest.raises((OSError, InputError), match="File too large"):
        write(tmp_path / f"o.{suffix}", tones, FORM._replace(samples=50_000))
    assert list(tmp_path.iterdir()) == []


def test_what_a_format_cannot_hold_is_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"a WAV file's rate is a whole number, not 0\.5 Hz"):
        write(tmp_path / "o.wav", TONES, FORM._replace(rate=0.5))
    with pytest.raises(InputError, match="must know its length beforehand"):
        write(tmp_path / "o.h5", TONES, FORM._replace(samples=None))
    monkeypatch.setattr(soundfiles, "WAV_BYTES", 40)
    with pytest.raises(InputError, match="a WAV file holds at most 4 GiB"):
        write(tmp_path / "o.wav", TONES)
