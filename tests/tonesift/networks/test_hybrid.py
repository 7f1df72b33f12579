"""A network that corrects filters: what it is before it has learnt, its correction by formula, and what it refuses."""

import numpy as np
import pytest
import torch
from networks import metadata, network

from tonesift import params
from tonesift.estimators.tracking.front import KINDS, NOISE_STD
from tonesift.estimators.tracking.settings import Settings
from tonesift.estimators.tracking.tracker import Tracker
from tonesift.frame import FRAME, PHASOR, SAMPLES, wide
from tonesift.networks import hybrid
from tonesift.networks import model as models
from tonesift.streaming.tonefilter import ToneFilter

HYBRID = {"family": "hybrid", "hop": 5}


def untrained():
    described = metadata(HYBRID, {"stateful": True}, center=0.0, scale=1.0)
    model = models.build(described)
    model.initialise(torch.Generator().manual_seed(1))
    return model, described


def test_before_it_has_learnt_it_is_the_first_filter_read_at_the_end_of_every_step():
    """A mixture is the mean of three tones of E[A^2] = 1: a tone as heard has an amplitude of 1/3."""
    model, described = untrained()
    times = np.arange(1000) / 1000
    mixture = np.mean([np.sin(2 * np.pi * tone * times) for tone in described.frequencies], axis=0)
    mixture = (mixture + 0.1 * np.random.default_rng(3).standard_normal(1000)).astype("f4")
    settings = Settings(amplitude=1 / 3, noise_std=NOISE_STD / 3, **KINDS[0])
    tracker = Tracker(described.frequencies, 1000.0, settings)
    found, expected = ToneFilter(model, described).push(mixture), np.zeros((3, 1000))
    for begin in range(0, 1000, 5):
        tracker.push(mixture[begin : begin + 5])
        sine, cosine = tracker.state()["state"].reshape(3, 2).T
        for back in range(5):  # the phasor turned back
            phasor = (cosine + 1j * sine) * np.exp(-2j * np.pi * np.array(described.frequencies) / 1000 * back)
            expected[:, begin + 4 - back] = 3 * phasor.imag
    np.testing.assert_allclose(found, expected, atol=2e-5)


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def test_a_correction_lengthens_turns_and_moves_the_phasor():
    frames, corrections = drawn(7, 4, FRAME), drawn(7, 4, hybrid.CORRECTIONS)
    known, given = frames.double().numpy(), corrections.double().numpy()
    first = known[..., PHASOR] + 1j * known[..., PHASOR + 1]
    others = known[..., PHASOR + 2 :: 2] + 1j * known[..., PHASOR + 3 :: 2]
    moved = first + (given[..., 0] + 1j * given[..., 1]) * (np.abs(first) + 0.1) * first / np.abs(first)
    moved += (given[..., 2:] * others).sum(axis=-1)
    expected = [(moved * np.exp(-1j * known[..., 0] * back)).imag for back in (2, 1, 0)]
    found = hybrid.correct(frames, corrections, 3)
    np.testing.assert_allclose(found, np.stack(expected, axis=-1), atol=1e-4)
    np.testing.assert_allclose(hybrid.correct_steps(frames.numpy(), corrections.numpy(), 3), found, atol=1e-4)


def test_all_tones_of_all_recordings_share_one_network():
    features, model = drawn(20, 6, FRAME), network(3, **HYBRID)
    model.initialise(torch.Generator().manual_seed(1))
    torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(2))
    order = [4, 0, 5, 1, 3, 2]
    with torch.no_grad():
        together, turned = model(features)[0], model(features[:, order])[0]
    torch.testing.assert_close(turned, together[:, order], rtol=0, atol=1e-5)


def test_the_head_begins_at_zero_and_learns():
    model, _ = untrained()
    assert not any(parameter.any() for parameter in model.head.parameters())
    model(drawn(20, 6, FRAME))[0].square().sum().backward()
    assert model.head.weight.grad.abs().max() > 0


def test_with_heads_it_reads_all_tones_at_once_and_corrects_each():
    """A head of zeros leaves the first filter; what is seen of one tone moves the others."""
    model = network(3, **HYBRID, conditioning="heads")
    model.initialise(torch.Generator().manual_seed(1))
    rows = drawn(20, 2, 3, wide(5))
    with torch.no_grad():
        plain = model(rows.flatten(-2))[0].unflatten(-1, (3, 5))
    corrections = torch.zeros(20, 2, 3, hybrid.CORRECTIONS)
    torch.testing.assert_close(plain, hybrid.correct(rows, corrections, 5))
    torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(2))
    changed = rows.clone()
    changed[0, :, 2, 1:PHASOR] += 1
    with torch.no_grad():
        before, after = (model(frames.flatten(-2))[0].unflatten(-1, (3, 5)) for frames in (rows, changed))
    assert ((after - before).abs().amax(dim=(1, 3)) > 0)[1:].all()


def test_wide_frames_are_read_alike_in_numpy():
    rows = drawn(20, 3, wide(5))
    read = hybrid.read_together(rows)
    assert read.shape == (20, hybrid.inputs(3, 5, apart=False))
    np.testing.assert_array_equal(hybrid.read_steps(rows.numpy(), apart=False)[:, 0], read)
    assert set(rows[0, :, 1:PHASOR].flatten().tolist()) <= set(read[0].tolist())
    assert set(rows[0, 0, SAMPLES:].tolist()) <= set(read[0].tolist())


def test_one_network_of_all_tones_knows_one_set_of_them():
    data, known, train = params.load("any-tones/params.yaml", "data", "model", "train")
    data = data.model_copy(update={"conditions": params.Conditions(tone_range=[1.0, 9.0])})
    (mistake,) = params.conflicts(data, None, known.model_copy(update={"conditioning": "heads"}), train)
    assert mistake.startswith("model.conditioning: got 'heads', but every recording has tones of its own")
    assert params.conflicts(data, None, known, train) == []


@pytest.mark.parametrize(
    ("section", "name", "value", "rule"),
    [
        ("train", "stateful", False, "set it to true"),
        ("train", "fresh_noise", True, "set it to false"),
        ("train", "jitter", 0.1, "set it to 0.0"),
    ],
)
def test_parameters_that_cannot_work_are_refused(section, name, value, rule):
    known, train = params.load("any-tones/params.yaml", "model", "train")
    changed = {"model": known, "train": train}
    changed[section] = changed[section].model_copy(update={name: value})
    (mistake,) = params.conflicts(None, None, **changed)
    assert mistake.startswith(f"{section}.{name}: got {value!r}, but family hybrid corrects filters")
    assert mistake.endswith(rule)
    assert params.conflicts(None, None, known, train) == []
