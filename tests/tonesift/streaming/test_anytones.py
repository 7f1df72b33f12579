"""The filter of any tones: streams, states, scales, and what it refuses."""

import argparse
import re

import numpy as np
import pytest
import torch
from networks import metadata, network
from random_models import make

from tonesift.errors import InputError
from tonesift.networks import model as models
from tonesift.streaming import command as filtering
from tonesift.streaming.anytones import AnyToneFilter

TONES, RATE = [4.0, 11.0, 30.0], 1000.0


def drawn(seed=1):
    """A network with random weights, and what its file says: four tones of 0.7 to 60 Hz."""
    described = metadata(
        {"family": "hybrid", "hop": 10}, {"stateful": True}, frequencies=(), tones=4, tone_range=(0.7, 60.0), center=0.0
    )
    model = network(4, family="hybrid", hop=10)
    generator = torch.Generator().manual_seed(seed)
    model.initialise(generator)
    torch.nn.init.normal_(model.head.weight, std=0.1, generator=generator)
    return model, described


def recording(seconds=4.0, noise=0.1):
    times = np.arange(round(seconds * RATE)) / RATE
    tones = np.stack([np.sin(2 * np.pi * tone * times + tone) for tone in TONES])
    return tones.sum(axis=0) + noise * np.random.default_rng(2).standard_normal(len(times)), tones


def whole(tone_filter, samples):
    return np.concatenate([tone_filter.push(samples), tone_filter.finish()], axis=1)


def untouched():
    """The filters alone: a head of zeros."""
    model, described = drawn()
    torch.nn.init.zeros_(model.head.weight)
    return model, described


@pytest.mark.parametrize("samples", [4000, 3996])
def test_pieces_are_the_whole_to_the_bit_even_saved_in_the_middle(samples, tmp_path):
    mixture = recording()[0][:samples]
    mixture[1500:1530] = np.nan
    expected = whole(AnyToneFilter(*drawn(), TONES), mixture)
    assert expected.shape == (3, samples)
    for at in (0, 3, 1200, 2345):
        first, second = (AnyToneFilter(*drawn(), TONES) for _ in range(2))
        begun = [first.push(piece) for piece in np.split(mixture[:at], [1, 700, 1011][: at // 500])]
        first.save(tmp_path / "state.npz")
        second.restore(tmp_path / "state.npz")
        rest = [second.push(piece) for piece in np.split(mixture[at:], [7, 900])]
        assert np.array_equal(np.concatenate([*begun, *rest, second.finish()], axis=1), expected)
        assert second.samples == samples
        assert second.gaps_filled == 30


def test_what_is_said_to_come_out_comes_out():
    tone_filter, mixture = AnyToneFilter(*drawn(), TONES), recording()[0]
    for piece in np.split(mixture, [3, 900, 999, 1000, 1001, 1017]):
        expected = tone_filter.given(len(piece))
        assert tone_filter.push(piece).shape == (3, expected)
        assert len(tone_filter.held) == tone_filter.waiting


def test_any_number_of_tones_in_any_order_is_taken_as_they_are_in_the_recording():
    """The filters alone find steady tones to a few per cent; no tone is one of the model's, nor as many."""
    mixture, tones = recording()
    found = whole(AnyToneFilter(*untouched(), TONES), mixture)
    assert np.mean((found - tones)[:, 1000:] ** 2) < 0.02 * np.mean(tones**2)
    turned = whole(AnyToneFilter(*drawn(), TONES[::-1]), mixture)
    np.testing.assert_allclose(turned[::-1], whole(AnyToneFilter(*drawn(), TONES), mixture), atol=1e-3)
    chosen = whole(AnyToneFilter(*drawn(), TONES, tones=[2, 0]), mixture)
    np.testing.assert_allclose(chosen, whole(AnyToneFilter(*drawn(), TONES), mixture)[[2, 0]], atol=1e-6)


def test_the_unit_of_a_recording_and_what_it_stands_at_do_not_matter():
    mixture, _ = recording()
    plain = whole(AnyToneFilter(*drawn(), TONES), mixture)
    for scale, offset in ((1000.0, 0.0), (1e-6, 0.0), (1.0, 50.0)):
        found = whole(AnyToneFilter(*drawn(), TONES), scale * mixture + offset)
        np.testing.assert_allclose(found / scale, plain, atol=0.02)


def test_silence_before_the_recording_shows_no_scale():
    mixture, tones = recording()
    found = whole(AnyToneFilter(*untouched(), TONES), np.concatenate([np.zeros(2000), mixture]))
    assert not found[:, :2000].any()
    assert np.mean((found[:, 3000:] - tones[:, 1000:]) ** 2) < 0.02 * np.mean(tones**2)


def test_the_loudest_samples_give_numbers_and_the_filter_finds_back():
    mixture, tones = recording(8.0)
    mixture[2000:2020] = 1e9
    found = whole(AnyToneFilter(*untouched(), TONES), mixture)
    assert np.isfinite(found).all()
    assert np.mean((found - tones)[:, 6000:] ** 2) < 0.02 * np.mean(tones**2)


def test_tones_outside_of_what_it_was_trained_on_are_said():
    model, described = drawn()
    for tones, lines in {
        tuple(TONES): [],
        (0.5, 20.0, 130.0): ["0.5, 130 Hz: the network was trained on tones of 0.7 to 60 Hz"],
    }.items():
        tone_filter = AnyToneFilter(model, described, tones)
        tone_filter.push(recording()[0][:1000])
        assert tone_filter.notes() == lines


def test_a_recording_too_short_to_settle_is_said():
    tone_filter = AnyToneFilter(*drawn(), TONES)
    tone_filter.push(recording()[0][:900])
    assert tone_filter.notes() == [
        "0.9 s of it, but the network takes about 1 s to settle: until then it is less exact"
    ]


def test_tones_that_a_network_takes_together_come_in_the_order_asked_for():
    described = metadata(
        {"family": "hybrid", "hop": 10, "conditioning": "heads"},
        {"stateful": True},
        frequencies=tuple(TONES),
        center=0.0,
    )
    model = network(3, family="hybrid", hop=10, conditioning="heads")
    torch.nn.init.normal_(model.head.weight, std=0.1, generator=torch.Generator().manual_seed(3))
    mixture = recording()[0]
    own = whole(AnyToneFilter(model, described, TONES), mixture)
    for order in ([2, 0, 1], [1, 2, 0]):
        asked = [TONES[tone] for tone in order]
        other = AnyToneFilter(model, described, asked)
        assert other.frequencies == tuple(asked)
        assert np.array_equal(whole(other, mixture), own[order])
        assert np.array_equal(whole(AnyToneFilter(model, described, asked, tones=[1]), mixture), own[order[1:2]])
    for tones in (TONES[:2], [4.0, 11.0, 31.0]):
        with pytest.raises(InputError, match=r"tones together: give --tones 4,11,30$"):
            AnyToneFilter(model, described, tones)


def test_a_state_of_another_filter_or_a_damaged_one_is_refused():
    tone_filter = AnyToneFilter(*drawn(), TONES)
    tone_filter.push(recording()[0])
    state = tone_filter.state()
    for other in (AnyToneFilter(*drawn(2), TONES), AnyToneFilter(*drawn(), TONES[:2])):
        with pytest.raises(InputError, match="there: the state of filter"):
            other.set_state(state, "there")
    with pytest.raises(InputError, match="there: not the state of a filter of any tones"):
        tone_filter.set_state({"tones": state["tones"]}, "there")
    spoilt = {
        "scale": np.array([0.0, -1.0, -1.0, 1.0]),
        "kept": np.zeros(5000),
        "samples": np.array(-3),
        "memory_0": np.zeros(3),
        "memory_1": state["memory_1"] * np.nan,
        "last": np.array(np.inf),
    }
    for name, value in spoilt.items():
        with pytest.raises(InputError, match="there: a damaged state of this filter: begin a new stream"):
            tone_filter.set_state(state | {name: value}, "there")
    after = tone_filter.push(recording()[0])
    tone_filter.set_state(state)
    assert np.array_equal(tone_filter.push(recording()[0]), after)  # nothing had changed


@pytest.mark.parametrize(
    ("tones", "message"),
    [
        ([4.0, 600.0], "tone 600 Hz: sampled at 1000 Hz, a recording holds tones above 0 and below 500 Hz"),
        ([4.0, 4.0], "tones 4, 4 Hz: two of them are the same"),
        ([], "got 0, but a filter follows 1 to 64"),
    ],
)
def test_tones_that_cannot_be_are_refused(tones, message):
    with pytest.raises(InputError, match=message):
        AnyToneFilter(*drawn(), tones)


def test_a_model_of_its_own_tones_is_refused():
    with pytest.raises(InputError, match="the model's tones are 1, 3, 5 Hz: only one of family hybrid takes others"):
        AnyToneFilter(*make(), TONES)


# The command


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A folder with a model of any tones and a recording, to be in."""
    models.save(tmp_path / "any.safetensors", *drawn())
    np.save(tmp_path / "in.npy", recording()[0])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    parser = argparse.ArgumentParser()
    filtering.add_arguments(parser)
    return filtering.run(parser.parse_args(list(arguments)))


MODEL = ("--model", "any.safetensors", "--tones", "4,11,30")


def test_the_command_gives_what_the_filter_does(there, capsys):
    assert run("in.npy", "--rate", "1000", *MODEL, "-o", "out.npy", "--residual", "left.npy") == 0
    expected = whole(AnyToneFilter(*drawn(), TONES), recording()[0])
    np.testing.assert_array_equal(np.load("out.npy").reshape(3, -1), expected)
    np.testing.assert_allclose(np.load("left.npy").ravel(), recording()[0] - expected.sum(axis=0), atol=1e-5)
    assert "method hybrid: filters corrected by a network (R2 0.5000 on the recordings it validated on)" in (
        capsys.readouterr().err
    )


def test_the_command_refuses_what_cannot_work(there):
    refused = {
        ("--rate", "360", *MODEL): "sampled at 360 Hz, but the model was trained at 1000 Hz: add --resample",
        ("--rate", "1000", *MODEL, "--method", "kalman"): "--method kalman: it is of filters without a model",
        ("--rate", "1000", "--method", "hybrid", "--tones", "4"): "any-tones/models/model.safetensors: no such file",
        ("--rate", "1000", "--model", "any.safetensors"): "the model takes any tones: say which, such as --tones 3,20",
    }
    for arguments, message in refused.items():
        with pytest.raises(InputError, match=re.escape(message)):
            run("in.npy", *arguments, "-o", "out.npy")
    with pytest.raises(InputError, match=r"any\.npy: it would be written over what is read"):
        run("in.npy", "--rate", "1000", "--model", "any.npy", "--tones", "4", "-o", "any.npy")


def test_another_rate_is_resampled_where_that_is_asked_for(there):
    assert run("in.npy", "--rate", "500", *MODEL, "--resample", "-o", "out.npy") == 0
    assert np.isfinite(np.load("out.npy")).all()
