import json
import re

import jsonschema
import pytest
from conftest import ROOT, change_params
from ruamel.yaml import YAML

from tonesift import params
from tonesift.errors import InputError
from tonesift.families import FAMILIES

SECTIONS = tuple(params.Params.model_fields)
GUIDE = ROOT / "studies" / "bases" / "guide.yaml"  # params.yaml may hold any configuration


@pytest.fixture
def path(tmp_path):
    target = tmp_path / "params.yaml"
    target.write_text(GUIDE.read_text(encoding="utf-8"), encoding="utf-8")
    return target


def test_the_committed_file_is_sound():
    assert len(params.load(ROOT / "params.yaml", *SECTIONS)) == len(SECTIONS)


def test_the_guides_base_is_the_guides_configuration():
    data, prepare, model, train, _ = params.load(GUIDE, *SECTIONS)
    assert (data.frequencies, data.phases) == ([1, 3, 5, 7], [0, 45, 90, 135])
    assert (data.noise_std, data.duration, data.sampling_rate) == (0.1, 10, 1000)
    assert (prepare.sequence_length, prepare.step_size, prepare.val_split) == (50, 1, 0.1)
    assert (model.hidden_size, model.num_layers, model.dropout) == (128, 2, 0.2)
    assert (train.batch_size, train.learning_rate, train.optimizer, train.epochs) == (64, 0.001, "adam", 50)
    assert (train.weight_decay, train.early_stop_patience, train.grad_clip) == (1e-5, 15, 1.0)
    assert (train.scheduler, train.scheduler_factor, train.scheduler_patience) == ("plateau", 0.5, 5)
    # what the guide knows nothing of, as it would be without it: one tone at a time, each window from a reset state
    assert (model.conditioning, model.hop, train.stateful) == ("selector", 1, False)
    assert (train.fresh_noise, train.jitter, train.warmup, train.precision) == (False, 0.0, 0.0, "float32")


def test_sections_come_in_the_order_asked_for(path):
    train, data = params.load(path, "train", "data")
    assert isinstance(train, params.Train)
    assert isinstance(data, params.Data)


def test_a_name_with_a_dot_is_a_single_parameter(path):
    change_params(path, {"model": {"hop": 4}})
    prepare, hop, device = params.load(path, "prepare", "model.hop", "train.device")
    assert isinstance(prepare, params.Prepare)
    assert (hop, device) == (4, "cpu")


@pytest.mark.parametrize("name", ["model.hop", "model"])
def test_a_single_parameter_is_given_only_from_a_sound_file(path, name):
    change_params(path, {"train": {"epochs": 0}})
    with pytest.raises(InputError, match=r"train\.epochs: got 0"):
        params.load(path, name)


MISTAKES = [
    ({"train": {"learning_rate": "fast"}}, "train.learning_rate: got 'fast', but input should be a valid number"),
    ({"train": {"learning_rate": 0}}, "train.learning_rate: got 0, but input should be greater than 0"),
    ({"train": {"learning_rate": float("nan")}}, "train.learning_rate: got nan, but input should be"),
    ({"train": {"learing_rate": 0.1}}, "train.learing_rate: unknown parameter"),
    ({"train": {"optimizer": "lion"}}, "train.optimizer: got 'lion', but input should be 'adam', 'adamw' or 'sgd'"),
    ({"train": {"epochs": 2.5}}, "train.epochs: got 2.5, but input should be a valid integer"),
    ({"train": {"epochs": True}}, "train.epochs: got True, but input should be a valid integer"),
    ({"train": {"epochs": "5"}}, "train.epochs: got '5', but input should be a valid integer"),
    ({"model": {"dropout": 1.0}}, "model.dropout: got 1.0, but input should be less than 1"),
    ({"data": {"frequencies": []}}, r"data.frequencies: got \[\], but list should have at least 1 item"),
    (
        {"data": {"frequencies": [1.0, 500.0, 5.0, 7.0]}},
        r"data.frequencies: got 500 Hz, but a tone must lie below half",
    ),
    ({"data": {"frequencies": [1.0, 1.0, 5.0, 7.0]}}, "data.frequencies: .* every tone needs a frequency of its own"),
    ({"data": {"phases": [0.0]}}, "data.phases: got 1 values, but data.frequencies has 4"),
    ({"data": {"amplitudes": [1.0] * 5}}, "data.amplitudes: got 5 values, but data.frequencies has 4"),
    ({"data": {"amplitudes": [1.0, 0.0, 1.0, 1.0]}}, "data.amplitudes: .* a tone needs an amplitude above 0"),
    ({"data": {"amplitude_range": [2.0, 1.0]}}, "data.amplitude_range: .* the lowest must come first"),
    ({"data": {"noise_std": -0.1}}, "data.noise_std: got -0.1, but input should be greater than or equal to 0"),
    ({"prepare": {"sequence_length": 10_001}}, "prepare.sequence_length: got 10001, but a recording has 10000 samples"),
    ({"prepare": {"fold": 6}}, "prepare.fold: got 6, but there are 5 folds"),
    ({"prepare": {"fold": 0}}, "prepare.fold: got 0, but input should be greater than or equal to 1"),
    ({"prepare": {"fold": 1, "split": "random"}}, "prepare.fold: folds are contiguous blocks"),
    ({"prepare": {"val_split": 0.001}}, "prepare.val_split: got 0.001, which leaves 10 samples for validation"),
    ({"prepare": {"val_split": 0.995}}, "prepare.val_split: got 0.995, which leaves 0 samples for training"),
    ({"prepare": {"fold": 1, "folds": 500}}, "prepare.folds: got 500, which leaves 20 samples for validation"),
    ({"prepare": {"split": "random", "step_size": 9_000}}, "prepare.val_split: .* leaves 0 windows for validation"),
    ({"data": {"train_recordings": 3}, "prepare": {"fold": 1}}, "prepare.folds: .* leaves 0 recordings for validation"),
    ({"model": {"hop": 0}}, "model.hop: got 0, but input should be greater than or equal to 1"),
    ({"model": {"hop": 2.5}}, "model.hop: got 2.5, but input should be a valid integer"),
    (
        {"model": {"conditioning": "both"}},
        "model.conditioning: got 'both', but input should be 'selector' or 'heads'",
    ),
    (
        {"model": {"hop": 10}, "prepare": {"sequence_length": 1001}},
        r"prepare.sequence_length: got 1001 steps of 10, but a recording has 10000 samples \(data.duration x",
    ),
    (
        {"model": {"hop": 21}},
        "prepare.val_split: got 0.1, which leaves 1000 samples for validation, but it needs 1050: change it",
    ),
    (
        {"model": {"hop": 10}, "prepare": {"fold": 1, "folds": 21}},
        "prepare.folds: got 21, which leaves 476 samples for validation, but it needs 500",
    ),
    (
        {"model": {"hop": 100}, "prepare": {"sequence_length": 100, "val_split": 0.5, "split": "random"}},
        "prepare.val_split: got 0.5, which leaves 0 windows for validation",
    ),
    (
        {"train": {"stateful": True}, "prepare": {"split": "random"}},
        "train.stateful: a stream needs neighbouring windows, but prepare.split is 'random': set it to block",
    ),
    ({"train": {"stateful": 1}}, "train.stateful: got 1, but input should be a valid boolean"),
    ({"train": {"stream_steps": 0}}, "train.stream_steps: got 0, but input should be greater than or equal to 1"),
    ({"train": {"fresh_noise": "yes"}}, "train.fresh_noise: got 'yes', but input should be a valid boolean"),
    ({"train": {"jitter": -0.1}}, "train.jitter: got -0.1, but input should be greater than or equal to 0"),
    ({"train": {"warmup": 1.0}}, "train.warmup: got 1.0, but input should be less than 1"),
    ({"train": {"warmup": -0.1}}, "train.warmup: got -0.1, but input should be greater than or equal to 0"),
    (
        {"train": {"scheduler": "cosine"}},
        "train.scheduler: got 'cosine', but input should be 'plateau', 'one-cycle' or 'none'",
    ),
    (
        {"train": {"precision": "float16"}},
        "train.precision: got 'float16', but input should be 'float32' or 'bfloat16'",
    ),
    (
        {"model": {"family": "rnn"}},
        "model.family: got 'rnn', but input should be 'lstm', 'gru', 'transformer', 'tcn' or 'hybrid'$",
    ),
    (
        {"model": {"family": "transformer", "layer_norm": True}},
        "model.layer_norm: got True, but family transformer has no such option: set it to false",
    ),
    (
        {"model": {"family": "transformer", "bidirectional": True}},
        "model.bidirectional: got True, but family transformer has no such option: set it to false",
    ),
    (
        {"model": {"family": "tcn", "recurrent_dropout": 0.2}},
        "model.recurrent_dropout: got 0.2, but family tcn has no such option: set it to 0.0",
    ),
    (
        {"model": {"family": "transformer", "memory": 90}},
        "model.memory: got 90, but family transformer has no such option: set it to null",
    ),
    ({"model": {"memory": 1}}, "model.memory: got 1, but input should be greater than or equal to 2"),
    (
        {"model": {"family": "tcn", "bidirectional": True}},
        "model.bidirectional: got True, but family tcn has no such option: set it to false",
    ),
    (
        {"model": {"family": "tcn", "num_layers": 40}},
        r"model.num_layers: got 40, but the taps of tcn's last block would lie 2\^39 steps apart, and a recording has "
        r"10000: set it to 14 at most",
    ),
    (
        {"model": {"family": "tcn", "num_layers": 11, "hop": 10}},
        r".*a recording has 1000: set it to 10 at most",
    ),
    (
        {"model": {"family": "transformer", "model_dim": 60, "num_heads": 8}},
        r"model.model_dim: got 60, but it must be a multiple of model.num_heads \(8\)",
    ),
    (
        {"model": {"family": "transformer", "model_dim": 60, "num_heads": 4, "positions": "rotary"}},
        "model.model_dim: got 60, which gives each of 4 heads 15 values, but rotary positions need an even number",
    ),
    (
        {"model": {"bidirectional": True}, "train": {"stateful": True}},
        "model.bidirectional: a window is read from behind as well, but train.stateful .* set it to false",
    ),
    *(
        (
            {"train": {"arithmetic": "portable", name: value}},
            f"train.{name}: got {value!r}, which gives other bits on other processors, but train.arithmetic is "
            "'portable': set that to native",
        )
        for name, value in (("precision", "bfloat16"), ("device", "cuda"), ("fused", False))
    ),
    ({"model": {"recurrent_dropout": 1.0}}, "model.recurrent_dropout: got 1.0, but input should be less than 1"),
    ({"model": {"kernel_size": 0}}, "model.kernel_size: got 0, but input should be greater than or equal to 1"),
    ({"model": {"context": 0}}, "model.context: got 0, but input should be greater than or equal to 1"),
    ({"model": {"positions": "sine"}}, "model.positions: got 'sine', but input should be 'learned' or 'rotary'"),
    ({"train": {"layer_decay": 0.0}}, "train.layer_decay: got 0.0, but input should be greater than 0"),
    ({"train": {"layer_decay": 1.1}}, "train.layer_decay: got 1.1, but input should be less than or equal to 1"),
    ({"train": {"shortest": 0.0}}, "train.shortest: got 0.0, but input should be greater than 0"),
    ({"train": {"shortest": 1.5}}, "train.shortest: got 1.5, but input should be less than or equal to 1"),
    ({"train": {"gradient_noise": -1.0}}, "train.gradient_noise: got -1.0, but input should be greater than or equal"),
    ({"train": {"ensemble": 0}}, "train.ensemble: got 0, but input should be greater than or equal to 1"),
    ({"train": {"fused": 1}}, "train.fused: got 1, but input should be a valid boolean"),
    ({"evaluate": {"streams": 0}}, "evaluate.streams: got 0, but input should be greater than or equal to 1"),
]


GENERAL = {"task": "general"}
OF_CONDITIONS = [
    ({"drift": 0.2}, "drift: got 0.2, but input should be less than or equal to 0.15"),
    ({"drift": True}, "drift: got True, but input should be a valid number"),
    ({"drifts": 0.1}, "drifts: unknown parameter"),
    ({"clip": [0.1]}, r"clip: got \[0.1\], but list should have at least 2 items"),
    ({"clip": 0.1}, "clip: got 0.1, but input should be a valid list"),
    ({"tail_scale": [0.0, 1.0]}, r"tail_scale.0: got 0.0, but input should be greater than or equal to 0.000001"),
    ({"tail_freedom": 0.5}, "tail_freedom: got 0.5, but input should be greater than or equal to 1"),
    ({"gap_share": 1.0}, "gap_share: got 1.0, but input should be less than 1"),
    ({"outlier_share": -0.1}, "outlier_share: got -0.1, but input should be greater than or equal to 0"),
    ({"amplitude_ranges": []}, r"amplitude_ranges: got \[\], but list should have at least 1 item"),
    ({"clip": [0.4, 0.1]}, r"clip: got \[0.4, 0.1\], but the lowest must come first"),
    ({"coloured": [1.0, 1.0], "coloured_exponent": [2.0, 1.0]}, r"coloured_exponent: got \[2.0, 1.0\], but the lowest"),
    ({"gap_share": 0.5, "gap_length": [1e-4, 1.0]}, r"gap_length: got 0.0001 s, but a sample lasts 0.001 s \(1 / data"),
    ({"burst_share": 0.1, "burst_length": [1e-9, 1.0]}, "burst_length: got 1e-09 s, but a sample lasts 0.001 s"),
    ({"drift": 0.01, "drift_time": 1e-5}, "drift_time: got 1e-05 s, but a sample lasts 0.001 s"),
    ({"dwell": 1.0}, "dwell: amplitudes and phases are drawn, but data.task is 'fixed': set it to general"),
    ({"tone_range": [1.0, 9.0]}, "tone_range: amplitudes and phases are drawn, but data.task is 'fixed'"),
    ({**GENERAL, "dwell": 1e-4}, "dwell: got 0.0001 s, but a sample lasts 0.001 s"),
    (
        {**GENERAL, "tone_range": [1.0, 500.0]},
        "tone_range: got 500 Hz, but a tone must lie below half of data",
    ),
    (
        {**GENERAL, "tone_range": [1.0, 5.0]},
        r"tone_distance: got 1.5 Hz, but 4 tones do not fit into \[1.0, 5.0\] Hz \(tone_range\) so far apart",
    ),
    ({**GENERAL, "amplitude_ranges": [[1.0, 2.0]]}, "amplitude_ranges: got 1 ranges, but data.frequencies has 4: give"),
    (
        {"sampling_rate": 15.0, "drift": 0.02},
        r"drift: got 0.02, which takes 7 Hz beyond half of data.sampling_rate \(7.5 Hz\) within 6 standard deviations",
    ),
    ({"noise_std": 0.0, "burst_share": 0.1}, "burst_share: there is no noise to be louder: set data.noise_std or"),
]


@pytest.mark.parametrize(("values", "message"), OF_CONDITIONS, ids=[message[:40] for _, message in OF_CONDITIONS])
def test_a_mistake_in_a_condition_is_one_line_as_well(path, values, message):
    of_data = {name: value for name, value in values.items() if name in params.Data.model_fields}
    conditions = {name: value for name, value in values.items() if name not in of_data}
    change_params(path, {"data": {"duration": 100.0, **of_data, "conditions": conditions}})
    with pytest.raises(InputError, match=rf"params.yaml: data\.conditions\.{message}") as caught:
        params.load(path, "data")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", params.DAMAGE)
def test_fresh_noise_would_take_out_what_happens_to_the_mixture(path, name):
    ranges = {key: [0.1, 0.2] for key in ("tail_scale", "coloured", "clip")}
    on = {"background": "hall.wav", **ranges}.get(name, 0.5)
    change_params(path, {"data": {"conditions": {name: on}}, "train": {"fresh_noise": True}})
    with pytest.raises(InputError, match=rf"train\.fresh_noise: .* see nothing of data\.conditions\.{name}: set it to"):
        params.load(path, "data")
    change_params(path, {"train": {"fresh_noise": False}})
    assert params.load(path, "data")[0].conditions.on == (name,)


@pytest.mark.parametrize("given", [None, {}, {"tail_freedom": 3.0}])
def test_conditions_may_be_left_out_and_are_off_then(path, given):
    """Studies' bases and ledgers from before there were any say nothing of them, and mean the same."""
    if given is not None:
        change_params(path, {"data": {"conditions": given}})
    (data,) = params.load(path, "data")
    assert data.conditions == params.Conditions(**given or {})
    assert data.conditions.on == ()


def test_every_condition_stands_in_the_committed_file_to_be_turned_on():
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    lines = text[: text.index("prepare:")].splitlines()
    content = YAML(typ="safe").load("\n".join(re.sub(r"^  # ", "  ", line) for line in lines))
    conditions = content["data"]["conditions"]
    assert conditions.keys() == params.Conditions.model_fields.keys()
    assert params.Conditions.model_validate(conditions) == params.Conditions()


@pytest.mark.parametrize(("values", "message"), MISTAKES, ids=[message[:40] for _, message in MISTAKES])
def test_a_mistake_is_one_line_with_key_value_and_rule(path, values, message):
    change_params(path, values)
    with pytest.raises(InputError, match=f"params.yaml: {message}") as caught:
        params.load(path, "data")
    assert "\n" not in str(caught.value)


def test_all_mistakes_are_told_at_once(path):
    change_params(path, {"train": {"epochs": 0}, "evaluate": {"streams": -1, "colour": 3}})
    change_params(path, {"data": {"frequencies": [1.0, 3.0, 600.0, 7.0]}, "prepare": {"fold": 7}})
    with pytest.raises(InputError, match=r"train\.epochs") as caught:
        params.load(path, "data")
    keys = [line.split(": ")[1] for line in str(caught.value).splitlines()]
    assert keys == ["train.epochs", "evaluate.streams", "evaluate.colour", "data.frequencies", "prepare.fold"]


def test_what_does_not_go_together_is_told_beside_what_is_wrong_by_itself(path):
    change_params(path, {"train": {"stateful": True}, "prepare": {"split": "random"}, "model": {"hop": 201}})
    change_params(path, {"data": {"phases": [0.0]}})
    with pytest.raises(InputError, match=r"data\.phases") as caught:
        params.load(path, "data")
    keys = [line.split(": ")[1] for line in str(caught.value).splitlines()]
    assert keys == ["data.phases", "train.stateful", "prepare.sequence_length"]


def test_a_missing_parameter_is_named(path):
    path.write_text(re.sub(r"  noise_std:.*\n", "", path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(InputError, match=r"data\.noise_std: missing, but every parameter must be given"):
        params.load(path, "data")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"data: [", "not readable as YAML"),
        (b"a: 1\na: 2\n", "not readable as YAML"),
        (b"\xff\xfe\x00", "not readable as YAML"),
        (b"", "the file: got None"),
        (b"- 1\n", "the file: got"),
    ],
)
def test_a_file_that_is_no_yaml_mapping(path, text, message):
    path.write_bytes(text)
    with pytest.raises(InputError, match=message) as caught:
        params.load(path, "data")
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such file: run from the top of the repository"):
        params.load(tmp_path / "params.yaml", "data")


UNUSUAL = [
    {"model": {"hidden_size": 8}},
    {"data": {"noise_std": 0.0}},
    {"data": {"noise_std": 0}},
    {"data": {"duration": 3600.0}},
    {"data": {"task": "general", "phases": [], "amplitudes": []}},
    {"train": {"grad_clip": None}},
    {"train": {"learning_rate": 1e-5}},
    {"data": {"frequencies": [2.5], "phases": [0], "amplitudes": [3]}},
    {"model": {"hop": 20, "conditioning": "heads"}},  # a window is exactly what validates
    {"model": {"hop": 10}, "prepare": {"sequence_length": 1000}, "data": {"train_recordings": 2}},  # a whole recording
    {"train": {"stateful": True, "fresh_noise": True, "jitter": 0, "warmup": 0, "scheduler": "one-cycle"}},
    {
        "train": {"precision": "bfloat16", "fused": False, "arithmetic": "native"}
    },  # whether the processor has it, training finds out
    {"evaluate": {"streams": 1}},
    {"model": {"model_dim": 7, "num_heads": 3}},  # an LSTM has no heads that they would have to fit
    {"model": {"family": "transformer", "model_dim": 60, "num_heads": 4, "positions": "learned"}},
    {"model": {"family": "gru", "bidirectional": True, "layer_norm": True, "recurrent_dropout": 0.9}},
    {"model": {"family": "tcn", "num_layers": 14}},  # 2^13 steps apart, in a recording of 10000
    {"model": {"family": "tcn", "num_layers": 40, "kernel_size": 1}},
    {"model": {"family": "tcn", "layer_norm": True, "kernel_size": 1}, "train": {"stateful": True}},
    {"train": {"ensemble": 3, "layer_decay": 0.5, "gradient_noise": 1.0, "shortest": 0.01}},
]


@pytest.mark.parametrize("values", UNUSUAL, ids=str)
def test_unusual_is_not_wrong(path, values):
    change_params(path, values)
    assert len(params.load(path, *SECTIONS)) == len(SECTIONS)


def test_numbers_as_dvc_writes_them_are_numbers(path):
    path.write_text(path.read_text(encoding="utf-8").replace("weight_decay: 1.0e-5", "weight_decay: 1e-05"))
    assert params.load(path, "train")[0].weight_decay == 1e-5


def test_advice_names_what_leaves_its_range(path):
    (model,) = params.load(path, "model")
    assert params.advice(model) == []
    change_params(path, {"model": {"hidden_size": 8}})
    (model,) = params.load(path, "model")
    assert params.advice(model) == ["model.hidden_size is 8: the advised range is 32 to 512"]


def test_advice_looks_at_every_parameter_of_a_section(path):
    change_params(path, {"model": {"hop": 40}, "prepare": {"val_split": 0.5}})
    change_params(path, {"train": {"jitter": 0.5, "warmup": 0.6, "stream_steps": 5, "grad_clip": None}})
    model, train = params.load(path, "model", "train")
    assert params.advice(model) == ["model.hop is 40: the advised range is 1 to 20"]
    assert params.advice(train) == [
        "train.stream_steps is 5: the advised range is 10 to 500",
        "train.jitter is 0.5: the advised range is 0 to 0.2",
        "train.warmup is 0.6: the advised range is 0 to 0.5",
    ]


def test_advice_looks_into_sections_of_a_section(path):
    change_params(path, {"data": {"conditions": {"drift": 0.1, "wander_time": 0.05}}})
    (data,) = params.load(path, "data")
    assert params.advice(data) == [
        "data.conditions.drift is 0.1: the advised range is 0 to 0.05",
        "data.conditions.wander_time is 0.05: the advised range is 0.1 to 100",
    ]


def test_advice_passes_over_what_the_family_does_not_read(path):
    unusual = {
        "hidden_size": 8,
        "model_dim": 16,
        "num_heads": 2,
        "ff_dim": 8,
        "context": 2,
        "kernel_size": 50,
        "num_layers": 9,
    }
    own = {
        "lstm": ["hidden_size"],
        "gru": ["hidden_size"],
        "transformer": ["model_dim", "num_heads", "ff_dim", "context"],
        "tcn": ["hidden_size", "kernel_size"],
        "hybrid": ["hidden_size"],
    }
    assert set(own) == set(FAMILIES)
    for family, read in own.items():
        model = params.load(path, "model")[0].model_copy(update=unusual | {"family": family})
        named = [sentence.split(" is ")[0].removeprefix("model.") for sentence in params.advice(model)]
        assert sorted(named) == sorted([*read, "num_layers"])


def test_every_conflict_of_a_model_is_told(path):
    refused = {"family": "transformer", "layer_norm": True, "bidirectional": True, "recurrent_dropout": 0.1}
    change_params(path, {"model": refused | {"model_dim": 50, "num_heads": 8}, "train": {"stateful": True}})
    with pytest.raises(InputError, match=r"model\.layer_norm") as caught:
        params.load(path, "data")
    keys = [line.split(": ")[1] for line in str(caught.value).splitlines()]
    assert sorted(set(keys)) == [
        "model.bidirectional",
        "model.layer_norm",
        "model.model_dim",
        "model.recurrent_dropout",
    ]


@pytest.mark.parametrize("base", sorted((ROOT / "studies" / "bases").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_bases_of_the_studies_are_sound_and_stay_in_the_advised_ranges(base):
    # the course's mixtures have no noise beside their jitter
    noted = ["data.noise_std is 0.0: the advised range is 0.01 to 0.5"] if base.stem == "course" else []
    assert [params.advice(section) for section in params.load(base, *SECTIONS)] == [noted, [], [], [], []]


def test_the_schema_is_the_models_own():
    assert (ROOT / "params.schema.json").read_text(encoding="utf-8") == params.schema(), "run `make schema`"


def test_the_schema_accepts_the_committed_file_and_refuses_mistakes():
    schema = json.loads(params.schema())
    values = YAML(typ="safe").load(ROOT / "params.yaml")
    jsonschema.validate(values, schema)
    values["train"]["epochs"] = 0
    with pytest.raises(jsonschema.ValidationError, match="less than the minimum of 1"):
        jsonschema.validate(values, schema)


def test_every_parameter_has_a_comment_with_its_advised_range():
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    sections = [*params.Params.model_fields.values(), params.Data.model_fields["conditions"]]
    for section in sections:
        for name, field in section.annotation.model_fields.items():
            line = next(line for line in text.splitlines() if line.strip(" #").startswith(f"{name}:")).strip(" #")
            if isinstance(field.json_schema_extra, dict):
                assert "(" in line.split("#")[1], line
