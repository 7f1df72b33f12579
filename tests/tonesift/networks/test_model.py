import json
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import lstm, metadata
from safetensors.torch import save_file
from torch import nn

from tonesift.errors import InputError
from tonesift.networks import model as models
from tonesift.networks.base import DropoutMasks

DESCRIBED = metadata(frequencies=(2.0, 5.0))
JSON = DESCRIBED.as_json()
KINDS = [("selector", 1), ("selector", 4), ("heads", 1), ("heads", 4)]


def masks(seed=1):
    return DropoutMasks(np.random.SeedSequence(seed), torch.device("cpu"))


def make(conditioning="selector", hop=1, tones=2, hidden=8):
    made = lstm(tones, hidden, 2, 0.2, conditioning, hop)
    made.initialise(torch.Generator().manual_seed(1))
    return made


@pytest.fixture
def model():
    return make()


@pytest.mark.parametrize(
    ("hidden", "layers", "expected"), [(128, 2, 201_345), (256, 2, 795_905), (128, 1, 69_249), (64, 2, 51_521)]
)
def test_parameter_counts(hidden, layers, expected):
    # the first three are the guide's; a first layer has 4 h (1 + K + h + 2), another 4 h (2 h + 2), the head h + 1
    made = lstm(4, hidden, layers, 0.0)
    assert sum(parameter.numel() for parameter in made.parameters()) == expected


@pytest.mark.parametrize("hop", [1, 10])
@pytest.mark.parametrize("conditioning", ["selector", "heads"])
@pytest.mark.parametrize(("tones", "hidden", "layers"), [(4, 64, 2), (1, 8, 1), (8, 16, 3)])
def test_parameter_counts_follow_from_what_goes_in_and_comes_out(tones, hidden, layers, conditioning, hop):
    made = lstm(tones, hidden, layers, 0.0, conditioning, hop)
    inputs, outputs = (hop + tones, hop) if conditioning == "selector" else (hop, tones * hop)
    gates = 4 * hidden * (inputs + hidden + 2) + (layers - 1) * 4 * hidden * (2 * hidden + 2)
    assert sum(parameter.numel() for parameter in made.parameters()) == gates + outputs * (hidden + 1)


@pytest.mark.parametrize(("conditioning", "hop"), KINDS)
def test_output_and_state_equal_those_of_pytorchs_own_stack(conditioning, hop):
    model = make(conditioning, hop)
    reference = nn.LSTM(model.inputs, 8, num_layers=2)
    weights = {
        f"{name}_l{index}": getattr(layer, f"{name}_l0")
        for index, layer in enumerate(model.body.layers)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    reference.load_state_dict(weights)
    inputs, before = torch.randn(20, 5, model.inputs), (torch.randn(2, 5, 8), torch.randn(2, 5, 8))
    hidden, after = reference(inputs, before)
    output, state = model(inputs, [part[[n]] for n in range(2) for part in before])
    assert torch.allclose(output, model.head(hidden), atol=1e-6)
    for part in range(2):
        assert torch.allclose(torch.cat(state[part::2]), after[part], atol=1e-6)


@pytest.mark.parametrize(("conditioning", "hop"), KINDS)
def test_pieces_with_the_state_carried_on_are_one_pass(conditioning, hop):
    model = make(conditioning, hop)
    inputs = torch.randn(20, 5, model.inputs)
    whole, end = model(inputs)
    outputs, state = [], None
    for piece in inputs.split([1, 7, 12]):
        output, state = model(piece, state)
        outputs.append(output)
    assert torch.allclose(torch.cat(outputs), whole, atol=1e-6)
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(state, end, strict=True))
    assert not torch.allclose(model(inputs[8:])[0], whole[8:], atol=1e-3)  # without the state it is another output


@pytest.mark.parametrize(("conditioning", "hop"), KINDS)
def test_a_sample_changes_nothing_before_the_step_it_is_read_in(conditioning, hop):
    model = make(conditioning, hop)
    wanted = torch.arange(5) % 2
    frames = torch.randn(20, 5, hop)
    before, _ = model(model.features(frames, wanted))
    for sample in {0, hop - 1}:  # the first and the last that step 10 reads
        changed = frames.clone()
        changed[10, :, sample] += 1
        after, _ = model(model.features(changed, wanted))
        assert torch.equal(after[:10], before[:10])
        assert (after[10] != before[10]).all()  # all of the frame's outputs wait for all of its samples


@pytest.mark.parametrize(("conditioning", "hop"), KINDS)
def test_sequences_do_not_touch_each_other(conditioning, hop):
    model = make(conditioning, hop)
    inputs = torch.randn(20, 5, model.inputs)
    state = [torch.randn(1, 5, 8) for _ in range(4)]
    together, end = model(inputs, state)
    for one in range(5):
        alone, reached = model(inputs[:, [one]], [part[:, [one]] for part in state])
        assert torch.allclose(alone[:, 0], together[:, one], atol=1e-6)
        for part, everyone in zip(reached, end, strict=True):
            assert torch.allclose(part[:, 0], everyone[:, one], atol=1e-6)


@pytest.mark.parametrize("hop", [1, 4])
def test_heads_give_all_tones_from_the_mixture_alone(hop):
    model = make("heads", hop, tones=3)
    frames = torch.randn(6, 5, hop)
    assert torch.equal(model.features(frames, torch.zeros(5, dtype=torch.int64)), frames)
    assert model.examples == 1
    output, _ = model(frames)
    assert output.shape == (6, 5, 3 * hop)
    with torch.no_grad():
        model.head.weight[hop : 2 * hop] = 0
        model.head.bias[hop : 2 * hop] = torch.arange(hop) + 1.0
    changed = model(frames)[0].unflatten(2, (3, hop))  # tone by tone
    assert torch.equal(changed[:, :, [0, 2]], output.unflatten(2, (3, hop))[:, :, [0, 2]])
    assert (changed[:, :, 1] == torch.arange(hop) + 1.0).all()


@pytest.mark.parametrize(("conditioning", "hop"), KINDS)
def test_gradients_reach_every_parameter(conditioning, hop):
    model = make(conditioning, hop)
    model(torch.randn(20, 5, model.inputs), None, masks())[0].square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_initialisation_is_repeatable_and_within_its_bound(model):
    again = lstm(2, 8, 2, 0.2)
    again.initialise(torch.Generator().manual_seed(1))
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
        assert one.abs().max() <= 8**-0.5


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.9])
def test_dropout_mask_drops_its_share_and_keeps_the_mean(share):
    mask = masks()(torch.Size((1001, 999)), share)
    dropped = (mask == 0).double().mean().item()
    assert dropped == pytest.approx(share, abs=4 * (share * (1 - share) / 1e6) ** 0.5)
    assert mask.max().item() == pytest.approx(1 / (1 - share))
    assert mask.double().mean().item() == pytest.approx(1, abs=0.01)
    lanes = (mask == 0).view(-1)[: 4 * 249_000].view(-1, 4).double().mean(dim=0)
    assert lanes.tolist() == pytest.approx([share] * 4, abs=0.005)  # each 64-bit draw gives four fair entries


def test_dropout_only_with_a_generator(model):
    inputs = torch.randn(20, 5, 3)
    assert torch.equal(model(inputs)[0], model(inputs)[0])
    one, other, again = (model(inputs, None, masks(seed))[0] for seed in (1, 2, 1))
    assert not torch.equal(one, other)
    assert torch.equal(one, again)


def test_features_are_the_mixture_and_a_selector():
    frames = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]])
    found = make(tones=3).features(frames, torch.tensor([2, 0]))
    assert found.tolist() == [[[1, 0, 0, 1], [2, 1, 0, 0]], [[3, 0, 0, 1], [4, 1, 0, 0]]]


def test_features_of_longer_frames_hold_the_selector_once():
    found = make(hop=2).features(torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]]), torch.tensor([1]))
    assert found.tolist() == [[[1, 2, 0, 1]], [[3, 4, 0, 1]]]


@pytest.mark.parametrize(("conditioning", "hop"), KINDS)
def test_save_and_load(conditioning, hop, tmp_path):
    model = make(conditioning, hop)
    described = metadata({"conditioning": conditioning, "hop": hop}, frequencies=(2.0, 5.0))
    digest = models.save(tmp_path / "m.safetensors", model, described)
    loaded, known = models.load(tmp_path / "m.safetensors")
    assert known == described
    assert (loaded.conditioning, loaded.hop) == (conditioning, hop)
    assert digest == models.digest(tmp_path / "m.safetensors")
    inputs = torch.randn(20, 5, model.inputs)
    assert torch.equal(model(inputs)[0], loaded(inputs)[0])


def test_the_same_model_is_the_same_file(model, tmp_path):
    digests = {models.save(tmp_path / f"{n}.safetensors", model, DESCRIBED) for n in range(5)}
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:1000]), "not a whole safetensors file"),
        (lambda path: path.write_bytes(b"PK\x03\x04 a pickle, perhaps"), "not a whole safetensors file"),
        (lambda path: path.write_bytes(b""), "not a whole safetensors file"),
        (lambda path: save_file({"w": torch.ones(1)}, path), "not a tonesift model"),
        (lambda path: save_file({"w": torch.ones(1)}, path, {"tonesift": "{"}), "not a whole safetensors file"),
        (
            lambda path: save_file(
                {"w": torch.ones(1)}, path, {"tonesift": json.dumps({"format": models.FORMAT, "version": 99})}
            ),
            "not a tonesift model of version 3",
        ),
        (
            lambda path: save_file(
                make().state_dict(),
                path,
                {"tonesift": json.dumps({"format": models.FORMAT, "version": 1} | JSON)},
            ),
            "not a tonesift model of version 3",
        ),
        (
            lambda path: save_file(
                {"w": torch.ones(1)}, path, {"tonesift": json.dumps({"format": models.FORMAT, "version": 3} | JSON)}
            ),
            "do not fit",
        ),
        (
            lambda path: save_file(
                {"w": torch.ones(1)}, path, {"tonesift": json.dumps({"format": models.FORMAT, "version": 3})}
            ),
            r"incomplete or damaged \(model is missing\): give a --model that is whole",
        ),
    ],
)
def test_broken_models_are_refused_in_one_line(model, tmp_path, damage, message):
    path = tmp_path / "m.safetensors"
    models.save(path, model, DESCRIBED)
    damage(path)
    with pytest.raises(InputError, match=message) as caught:
        models.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("folder", "name", "pipeline", "remedy"),
    [
        (".", "models/model.safetensors", "dvc.yaml", "train it with `dvc repro train`, or bring .* `make undo`"),
        (".", "hum/models/model.safetensors", "hum/dvc.yaml", "train it with `dvc repro hum/dvc.yaml`$"),
        (
            ".",
            "models/other.safetensors",
            "dvc.yaml",
            "give a --model that is whole; tones .* none: --tones 50,100$",
        ),
        (
            "own",
            "models/model.safetensors",
            "dvc.yaml",
            "give a --model that is whole; tones .* none: --tones 50,100$",
        ),
    ],
)
def test_the_remedy_is_of_the_file(tmp_path, monkeypatch, folder, name, pipeline, remedy):
    for made in (Path(folder, name), Path(pipeline)):
        (tmp_path / made).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / made).write_bytes(b"damaged")
    monkeypatch.chdir(tmp_path / folder)
    with pytest.raises(InputError, match=rf"{name}: not a whole safetensors file \(.*\): {remedy}"):
        models.load(name)
