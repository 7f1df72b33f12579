"""The metadata of model files: what is missing or wrong is named; other times' files are read as they were meant."""

import copy
import json

import pytest
from networks import metadata

from tonesift.errors import InputError
from tonesift.metadata import read_metadata


@pytest.fixture
def content():
    """What a file says, as JSON gives it."""
    return json.loads(json.dumps(metadata().as_json()))


def read(content):
    return read_metadata(copy.deepcopy(content), "m.safetensors", "train it")


def test_what_is_written_is_read(content):
    assert read(content) == metadata()
    assert content["sequence_length"] == 60  # the file's name of `window_samples`


@pytest.mark.parametrize("name", ["center", "frequencies", "sequence_length", "task", "build", "train"])
def test_what_is_missing_is_named_in_one_line(content, name):
    del content[name]
    message = rf"m\.safetensors: incomplete or damaged \({name} is missing\): train it"
    with pytest.raises(InputError, match=message) as caught:
        read(content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("model", "hop", 0),
        ("model", "family", "rnn"),
        ("train", "stateful", "yes"),
        ("train", "ensemble", None),
        ("summary", "step", "29"),
    ],
)
def test_what_is_wrong_is_named(content, section, name, value):
    content[section][name] = value
    with pytest.raises(InputError, match=rf"incomplete or damaged \({section}\.{name} is {value!r}, but"):
        read(content)


@pytest.mark.parametrize(
    ("name", "value"), [("frequencies", []), ("frequencies", [1.0, -3.0]), ("scale", 0.0), ("sampling_rate", "1000")]
)
def test_values_that_cannot_be_are_refused(content, name, value):
    content[name] = value
    with pytest.raises(InputError, match=rf"incomplete or damaged \({name}(\.1)? is "):
        read(content)


def test_what_other_times_say_beyond_it_is_passed_over(content):
    content["model"]["later"] = content["train"]["later"] = content["later"] = 1
    assert read(content) == metadata()


def test_a_file_older_than_the_choice_of_arithmetic_was_native(content):
    del content["train"]["arithmetic"]
    assert read(content).train.arithmetic == "native"


def test_an_ensembles_gain_is_kept_and_a_single_networks_is_not_invented(content):
    assert not {"gain", "members"} & set(content["summary"])
    content["summary"] |= {"gain": 0.1, "members": {"validation": {"loss": 0.3, "r2": 0.4, "correlation": 0.7}}}
    assert read(content).as_json()["summary"] == content["summary"]


@pytest.mark.parametrize(
    ("stateful", "bidirectional", "reset", "latency"),
    [(True, False, None, 10), (False, False, 60, 10), (False, True, 60, 60)],
)
def test_what_follows_from_it(stateful, bidirectional, reset, latency):
    described = metadata({"hop": 10, "bidirectional": bidirectional}, {"stateful": stateful})
    assert described.reset_samples == reset
    assert described.latency == latency
    assert described.causal is not bidirectional
