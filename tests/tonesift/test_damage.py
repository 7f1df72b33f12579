"""Damaged files of the pipeline and extreme parameters: each is one line with the file's name, in little memory."""

import itertools
import json
import re
import resource
import tracemalloc

import h5py
import numpy as np
import pytest
import torch
from conftest import ROOT
from networks import metadata, network
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tonesift import csvfile, memory, params, yamlfile
from tonesift.data import recordings, windows
from tonesift.errors import CHARACTERS, LINES, InputError, shown
from tonesift.evaluation import tables
from tonesift.networks import model as models

GUIDE = (ROOT / "studies" / "bases" / "guide.yaml").read_text(encoding="utf-8")
LEVELS = "abcdefgh"
LINE_OF_STATEFUL = str(1 + GUIDE[: GUIDE.index("stateful:")].count("\n"))


def refused(path, read, message):
    """The one line that a file is refused with."""
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


# Parameters


def replaced(key, text):
    return re.sub(rf"(?m)^(  {key}:).*$", lambda match: f"{match[1]} {text}", GUIDE)


def bomb(first, more):
    """Lists of ten aliases of the list before, so many levels deep."""
    lists = [f"&a [{first}]", *(f"&{new} [{more.format(old)}]" for old, new in itertools.pairwise(LEVELS))]
    return f"[{', '.join(lists)}]"


TEXTS = {
    "empty": ("", "the file: got None, but input should be"),
    "a list": ("- 1\n- 2\n", "the file: got"),
    "bytes": (b"\xff\xfe\x00", "not readable as YAML: 'utf-8' codec"),
    "a NUL": ("data: \0", "not readable as YAML"),
    "unfinished": ("data: [1, 2", "not readable as YAML: .* in line 1"),
    "a key twice": (GUIDE + "data: {}\n", 'not readable as YAML: found duplicate key "data"'),
    "two documents": (f"{GUIDE}---\n{GUIDE}", "not readable as YAML: but found another document"),
    "bool": (replaced("stateful", "!!bool maybe"), f"'maybe' cannot be read as bool in line {LINE_OF_STATEFUL}$"),
    "float": (replaced("duration", "!!float abc"), "'abc' cannot be read as float in line"),
    "int": (replaced("epochs", "!!int abc"), "'abc' cannot be read as int in line"),
    "date": (replaced("epochs", "!!timestamp 2026-99-99"), "'2026-99-99' cannot be read as timestamp in line"),
    "digits": (replaced("duration", "1" * 5001), r"'1{20,}\.\.\.1{20,}' cannot be read as int in line"),
    "code": (replaced("epochs", "!!python/object/apply:os.system [x]"), "could not determine a constructor"),
    "brackets": (replaced("split", "[" * 3000), "nested more than 20 deep in line"),
    "braces": (replaced("split", "{a: " * 500), "nested more than 20 deep in line"),
    "aliases": (replaced("duration", bomb("x,x,x,x", ",".join(["*{0}"] * 10))), "aliases stand for more than 1000000"),
    "merges": ("a: &a {k: 1}\n" + "".join(
        f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 20)}]}}\n" for old, new in itertools.pairwise(LEVELS)
    ), "aliases stand for more than 1000000"),
    "itself": ("data: &a [*a]\n", "aliases stand for more than 1000000"),
    "large": (GUIDE + "#" * 70_000, "larger than 65536 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_no_file_of_parameters(tmp_path, name):
    text, message = TEXTS[name]
    path = tmp_path / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    tracemalloc.start()
    refused(path, lambda path: params.load(path, "data"), message)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6


def test_aliases_that_stand_for_little_are_read(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(
        replaced("frequencies", "&f [1.0, 3.0, 5.0, 7.0]").replace("phases: [0.0, 45.0, 90.0, 135.0]", "phases: *f")
    )
    (data,) = params.load(path, "data")
    assert data.phases == [1, 3, 5, 7]


def test_yaml_is_that_of_1_2(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text("a: 1e-05\nb: no\nc: 010\nd: 0o17\ne: 1:30\nf: .nan\n", encoding="utf-8")
    found = yamlfile.read(path)
    assert (found["a"], found["b"], found["c"], found["d"], found["e"]) == (0.00001, "no", 10, 15, "1:30")


NUMBERS = [
    ("duration", "1e308", "less than or equal to 1000000000"),
    ("duration", "1" + "0" * 400, "."),
    ("sampling_rate", "1e18", "less than or equal to 1000000000"),
    ("frequencies", "[5e-324, 3.0, 5.0, 7.0]", "greater than or equal to 0.000001"),
    ("noise_std", "1e308", "less than or equal to 1000000"),
    ("noise_std", "1e-300", "must be 0, or 1e-09 at least"),
    ("amplitude_range", "[1.0e-300, 1.0]", "greater than or equal to 0.000001"),
    ("phases", "[0.0, .inf, 1.0, 2.0]", "finite number"),
    ("train_recordings", "99999999999999999999", "less than or equal to 1000000"),
    ("test_seed", "9223372036854775808", "less than or equal to 9223372036854775807"),
    ("test_seed", "18446744073709551616", "less than or equal to 9223372036854775807"),
    ("test_seed", "0x" + "f" * 5000, "got an integer of 20000 bits"),
    ("num_layers", "1000000000", "less than or equal to 1000"),
    ("hidden_size", "9" * 30, "less than or equal to 100000"),
    ("context", "1000000", "less than or equal to 100000"),
    ("stream_steps", "1000000", "less than or equal to 100000"),
    ("shards", "1000000", "less than or equal to 1000"),
    ("streams", "9" * 30, "less than or equal to 100000"),
    ("learning_rate", ".nan", "finite number"),
    ("epochs", '"\\u202e5"', "valid integer"),
]


@pytest.mark.parametrize(("key", "text", "message"), NUMBERS, ids=lambda value: value[:20])
def test_numbers_beyond_their_bounds(tmp_path, key, text, message):
    path = tmp_path / "params.yaml"
    path.write_text(replaced(key, text), encoding="utf-8")
    with pytest.raises(InputError, match=rf"{key}.*{message}") as caught:
        params.load(path, "data")
    assert max(map(len, str(caught.value).split("\n"))) < 400


def test_a_message_stays_short(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(replaced("frequencies", f"[{', '.join(['x'] * 500)}]"), encoding="utf-8")
    with pytest.raises(InputError, match=rf"and {500 - LINES} more$") as caught:
        params.load(path, "data")
    assert len(str(caught.value).split("\n")) == LINES + 1
    long = str(InputError(f"begin {'x' * 10**6} make it smaller"))
    assert len(long) == CHARACTERS
    assert long.startswith("begin")
    assert long.endswith("make it smaller")
    assert len(shown(["x" * 10**6] * 10**6)) < 500


# Memory


def test_memory_is_the_machines_or_what_ulimit_leaves():
    free = memory.available()
    before = resource.getrlimit(resource.RLIMIT_AS)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (2**40, before[1]))
        assert memory.available() <= free * 1.5
        resource.setrlimit(resource.RLIMIT_AS, (1, before[1]))
        assert memory.available() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_what_takes_most_is_named(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 3 * 2**30)
    memory.check({"data": 2.0**31, "model": 2.0**30})
    with pytest.raises(
        InputError, match=r"^data: takes 2 of 3\.5 GiB of memory that are needed at least, but there are 3:"
    ):
        memory.check({"data": 2.0**31, "model": 1.5 * 2**30})


# HDF5 files


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "train.h5"
    facts = recordings.Facts(100.0, (2.0, 5.0), np.zeros((3, 2)), np.ones((3, 2)), 1.0, 0.1, "fixed", 1)
    recordings.write(path, facts, 50, ((np.ones(50), np.ones((2, 50))) for _ in range(3)))
    return path


@pytest.fixture
def split(tmp_path):
    path = tmp_path / "windows.h5"
    train, validation = windows.split_blocks(1, 1000, 20, 2, 0.1)
    windows.write(path, windows.Split(train, validation, 20, 2, 0.0, 1.0, (1, 1000)))
    return path


def attribute(name, value):
    def change(file):
        file.attrs[name] = value

    return change


def dataset(name, **content):
    def change(file):
        del file[name]
        file.create_dataset(name, **content)

    return change


def link(name, target):
    def change(file):
        del file[name]
        file[name] = target

    return change


def virtual(file):
    layout = h5py.VirtualLayout((3, 50), "f4")
    layout[...] = h5py.VirtualSource("missing.h5", "x", (3, 50))
    del file["mixture"]
    file.create_virtual_dataset("mixture", layout)


RECORDINGS = [
    (attribute("frequencies", np.inf), "frequencies is inf, but input should be a valid list"),
    (attribute("frequencies", [1.0, np.nan]), r"frequencies\.1 is nan"),
    (attribute("frequencies", [1.0, 50.0]), r"frequencies \[1\.0, 50\.0\] at 100 Hz"),
    (attribute("frequencies", [2.0, 2.0]), r"frequencies \[2\.0, 2\.0\] at 100 Hz"),
    (attribute("frequencies", [1.0]), "do not fit 1 frequencies"),
    (attribute("frequencies", 1 + 2j), r"frequencies is \(1\+2j\), but"),
    (attribute("phases", 0.0), "phases is 0.0, but"),
    (attribute("phases", np.zeros((2, 2))), r"do not fit 2 frequencies and phases \(2, 2\)"),
    (attribute("amplitudes", [1000]), r"amplitudes\.0 is 1000, but"),
    (attribute("amplitudes", np.ones((3, 3))), "do not fit"),
    (attribute("sampling_rate", np.nan), "sampling_rate is nan"),
    (attribute("sampling_rate", [[1.0, 2.0], [3.0, 4.0]]), "sampling_rate is "),
    (attribute("sampling_rate", b"\xff\xfe"), "sampling_rate is "),
    (attribute("noise_std", h5py.Empty("f8")), "noise_std is "),
    (attribute("noise_std", np.array([b"a", b"b"])), "noise_std is "),
    (attribute("second_moment", -1.0), "second_moment is -1.0"),
    (attribute("seed", "x"), "seed is 'x'"),
    (attribute("format", ["x", "y"]), "not of tonesift recordings"),
    (attribute("version", [["x"], ["y"]]), r"version \[\['x'\], \['y'\]\], but this tonesift reads 1"),
    (link("mixture", h5py.SoftLink("/mixture")), "mixture: "),
    (link("mixture", h5py.ExternalLink("missing.h5", "/x")), "mixture: "),
    (link("mixture", np.dtype("f4")), "mixture is no dataset"),
    (link("mixture", h5py.Empty("f4")), "mixture has shape None"),
    (dataset("mixture", data=np.zeros(50, "f4")), r"mixture has shape \(50,\)"),
    (dataset("mixture", data=np.zeros((3, 0), "f4")), r"mixture has shape \(3, 0\)"),
    (dataset("mixture", data=np.zeros((3, 50), "f8")), "mixture is float64, but it must be float32"),
    (dataset("mixture", shape=(3, 10**12), dtype="f4"), "mixture is not stored in one piece"),
    (dataset("mixture", shape=(3, 10**12), dtype="f4", chunks=(1, 1000)), "mixture is not stored in one piece"),
    (dataset("mixture", shape=(3, 50), dtype="f4", external="missing.raw"), "mixture is not stored in one piece"),
    (virtual, "mixture is not stored in one piece"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), RECORDINGS, ids=[message for _, message in RECORDINGS])
def test_damaged_recordings(recording, change, message):
    with h5py.File(recording, "r+") as file:
        change(file)

    def read(path):
        with recordings.opened(path):
            pass

    refused(recording, read, message)


def test_samples_beyond_any_parameters(recording):
    with h5py.File(recording, "r+") as file:
        file["mixture"][2, 7] = 1e20
    with recordings.opened(recording) as source:
        source.mixture(0)
        refused(
            recording, lambda _: source.mixture(2), "recording 2 holds NaN or infinity in its mixture, or more than 1e"
        )


def rows(*runs):
    return dataset("train", data=np.array(runs, dtype=np.int64))


WINDOWS = [
    (attribute("center", "x"), "center is 'x'"),
    (attribute("scale", h5py.Empty("f8")), "scale is "),
    (attribute("scale", 0.0), "scale is 0.0, but"),
    (attribute("scale", np.nan), "scale is nan, but"),
    (attribute("sequence_length", 10**9), "windows of 1000000000 samples in recordings of 1000"),
    (attribute("sequence_length", np.nan), "sequence_length is nan"),
    (attribute("step_size", -25), "step_size is -25"),
    (attribute("step_size", 2**63 - 1), "step_size is 9223372036854775807"),
    (attribute("shape", 0.0), "shape is 0.0"),
    (attribute("shape", [1, 2, 3]), r"shape is \[1, 2, 3\]"),
    (rows((9, 0, 1)), r"train: windows that are not in 1 recordings of 1000 samples: \[9, 0, 1\]"),
    (rows((-1, 0, 1)), r"\[-1, 0, 1\]"),
    (rows((0, -5, 1)), r"\[0, -5, 1\]"),
    (rows((0, 981, 1)), r"\[0, 981, 1\]"),
    (rows((0, 0, 0)), r"\[0, 0, 0\]"),
    (rows((0, 0, 492)), r"\[0, 0, 492\]"),
    (rows((0, 0, 2**62)), r"\[0, 0, 4611686018427387904\]"),
    (rows(*[(0, 0, 491)] * 3), "windows that are not in 1 recordings"),
    (dataset("train", data=np.zeros((2, 3))), "train is float64, but it must be int64"),
    (dataset("train", data=np.zeros((2, 4), dtype=np.int64)), "train has 4 columns"),
    (dataset("train", data=np.zeros(3, dtype=np.int64)), r"train has shape \(3,\)"),
    (dataset("validation", data=np.zeros((0, 3), dtype=np.int64)), r"validation has shape \(0, 3\)"),
    (dataset("validation", data=["x", "y"]), "validation is object"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), WINDOWS, ids=[message for _, message in WINDOWS])
def test_damaged_windows(split, change, message):
    with h5py.File(split, "r+") as file:
        change(file)
    refused(split, windows.read, message)


def test_the_last_window_that_fits_is_read(split):
    with h5py.File(split, "r+") as file:
        rows((0, 0, 491))(file)  # starts at 0, 2, ..., 980, each of 20 samples
    assert windows.count(windows.read(split).train) == 491


# Models


@pytest.fixture
def trained(tmp_path):
    model = network(2)
    model.initialise(torch.Generator().manual_seed(1))
    models.save(tmp_path / "model.safetensors", model, metadata(frequencies=(2.0, 5.0)))
    return tmp_path / "model.safetensors"


def change_facts(path, change):
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["tonesift"])
    changed = change(facts) or facts
    save_file(load_file(path), path, {"tonesift": json.dumps(changed)})


MODELS = [
    (lambda facts: 3, "not a tonesift model of version 3"),
    (lambda facts: ["x"], "not a tonesift model"),
    (lambda facts: float("nan"), "not a tonesift model"),
    (lambda facts: facts.update(sampling_rate="x"), "sampling_rate is 'x'"),
    (lambda facts: facts.update(sampling_rate=[1.0]), r"sampling_rate is \[1\.0\]"),
    (lambda facts: facts.update(scale=0.0), "scale is 0.0"),
    (lambda facts: facts.update(scale=[1, 2, 3]), r"scale is \[1, 2, 3\]"),
    (lambda facts: facts.update(center=float("nan")), "center is nan"),
    (lambda facts: facts.update(frequencies=[None] * 2), r"frequencies\.0 is None"),
    (lambda facts: facts.update(frequencies="abcd"), "frequencies is 'abcd'"),
    (lambda facts: facts.update(frequencies=[1.0] * 500), "do not fit"),
    (lambda facts: facts.update(sequence_length=None), "sequence_length is None"),
    (lambda facts: facts["train"].update(stateful=None), r"train\.stateful is None"),
    (lambda facts: facts["train"].update(ensemble=10**9), r"train\.ensemble is 1000000000"),
    (lambda facts: facts["train"].update(ensemble=1000), "do not fit"),
    (lambda facts: facts["train"].update(ensemble=-1), r"train\.ensemble is -1"),
    (lambda facts: facts["model"].update(hop=-10), r"model\.hop is -10"),
    (lambda facts: facts["model"].update(hidden_size=20_000), "do not fit"),
    (lambda facts: facts["model"].update(num_layers=10**9), r"model\.num_layers is 1000000000"),
    (lambda facts: facts["model"].update(num_layers=1000), "do not fit"),
    (lambda facts: facts["model"].update(family="transformer", context=10**12), r"model\.context is 1000000000000"),
    (lambda facts: facts["model"].update(family="transformer", num_heads=3), "do not fit"),
    (lambda facts: facts["model"].update(family="../x"), r"model\.family is '\.\./x'"),
    (lambda facts: facts["model"].pop("dropout"), r"model\.dropout is missing"),
    (lambda facts: facts.update(summary=None), "summary is None"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), MODELS, ids=[f"{n} {message}" for n, (_, message) in enumerate(MODELS)])
def test_damaged_models(trained, change, message):
    change_facts(trained, change if message.startswith("not") else lambda facts: [change(facts), facts][1])
    tracemalloc.start()
    refused(trained, models.load, message)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(trained, value):
    weights, facts = load_file(trained), {}
    with safe_open(trained, framework="pt") as file:
        facts = file.metadata()
    weights["head.weight"][0, 0] = value
    save_file(weights, trained, facts)
    refused(trained, models.load, "head.weight holds what is no finite float32 number")


def test_weights_of_another_type(trained):
    with safe_open(trained, framework="pt") as file:
        facts = file.metadata()
    save_file({name: weight.half() for name, weight in load_file(trained).items()}, trained, facts)
    refused(trained, models.load, "no finite float32 number")


# Tables


TABLES = {
    "missing": (None, "no such file: make it"),
    "empty": (b"", "empty: make it"),
    "blank": (b"\n\n", "empty: make it"),
    "bytes": (b"\xff\xfe1\x00", "not a table of text"),
    "a NUL": (b"tone,r2\nall,\x00\n", "damaged|not a table of text"),
    "a quote": (b'tone,r2\n"all,1\nx,2\n', "not a table of text"),
    "a word": (b"tone,r2\nall,1\nx,<script>\n", "line 3, 'r2' is '<script>', no number"),
    "an underscore": (b"tone,r2\nall,1_0\n", "line 2, 'r2' is '1_0', no number"),
    "beyond": (b"tone,r2\nall,-1e300\n", "'-1e300', no number"),
    "a short line": (b"tone,r2\nall\n", "line 2 has 1 cells for 2"),
    "a long line": (b"tone,r2\nall,1,2\n", "line 2 has 3 cells for 2"),
    "a column twice": (b"tone,r2,r2\nall,1,2\n", "two have one name"),
    "nothing": (b"tone,r2\nall,\n", "line 2 has no r2"),
    "another column": (b"tone,mse\nall,1\n", "line 2 has no r2"),
    "large": (b"tone,r2\n" + b"all,1\n" * 3_000_000, "larger than 16777216 bytes"),
}


@pytest.mark.parametrize("name", TABLES)
def test_damaged_tables(tmp_path, name):
    content, message = TABLES[name]
    if content is not None:
        (tmp_path / "tones.csv").write_bytes(content)
    refused(
        tmp_path / "tones.csv",
        lambda path: csvfile.read(path, words=("tone",), needed=("r2",), remedy="make it"),
        message,
    )


def test_figures_may_be_infinite_or_missing_but_where_they_are_needed(tmp_path):
    path = tmp_path / "tones.csv"
    path.write_text("tone,r2,ratio\nall,nan,inf\n\ntone_1,-1e-5,\n", encoding="utf-8")
    found = csvfile.read(path, words=("tone",), needed=("r2",), remedy="")
    assert found == [{"tone": "all", "r2": "nan", "ratio": "inf"}, {"tone": "tone_1", "r2": "-1e-5", "ratio": ""}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step\tloss\n1\t0.5\n2\t<script>\n", "line 3, 'loss' is '<script>'"),
        ("step\tloss\n1\n", "line 2 has 1 cells for 2"),
        ("step\tother\n1\t2\n", "line 2 has no loss"),
        ("step\tloss\n", "no epochs"),
        ("", "empty"),
    ],
)
def test_damaged_histories(tmp_path, text, message):
    path = tmp_path / "metrics" / "validation" / "loss.tsv"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    refused(path, lambda _: tables.read_history(tmp_path), message)
