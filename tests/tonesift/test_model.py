import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tonesift import model as models
from tonesift.errors import InputError

FACTS = {"frequencies": [2.0, 5.0], "model": {"hidden_size": 8, "num_layers": 2, "dropout": 0.2}}


def masks(seed=1):
    return models.DropoutMasks(np.random.SeedSequence(seed), torch.device("cpu"))


@pytest.fixture
def model():
    made = models.ToneLSTM(2, 8, 2, 0.2)
    made.initialise(torch.Generator().manual_seed(1))
    return made


@pytest.mark.parametrize(
    ("hidden", "layers", "expected"), [(128, 2, 201_345), (256, 2, 795_905), (128, 1, 69_249), (64, 2, 51_521)]
)
def test_parameter_counts(hidden, layers, expected):
    # the first three are the guide's; a first layer has 4 h (1 + K + h + 2), another 4 h (2 h + 2), the head h + 1
    made = models.ToneLSTM(4, hidden, layers, 0.0)
    assert sum(parameter.numel() for parameter in made.parameters()) == expected


def test_output_equals_pytorchs_own_stack(model):
    reference = nn.LSTM(3, 8, num_layers=2)
    weights = {
        f"{name}_l{index}": getattr(layer, f"{name}_l0")
        for index, layer in enumerate(model.layers)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    reference.load_state_dict(weights)
    inputs = torch.randn(20, 5, 3)
    assert torch.allclose(model(inputs), model.head(reference(inputs)[0]).squeeze(-1), atol=1e-6)


def test_the_future_does_not_change_the_past(model):
    inputs = torch.randn(20, 5, 3)
    changed = inputs.clone()
    changed[10:] += 1
    assert torch.equal(model(inputs)[:10], model(changed)[:10])
    assert not torch.allclose(model(inputs)[10:], model(changed)[10:])


def test_gradients_reach_every_parameter(model):
    model(torch.randn(20, 5, 3), masks()).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_initialisation_is_repeatable_and_within_its_bound(model):
    again = models.ToneLSTM(2, 8, 2, 0.2)
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
    assert torch.equal(model(inputs), model(inputs))
    one, other = (model(inputs, masks(seed)) for seed in (1, 2))
    assert not torch.equal(one, other)
    assert torch.equal(one, model(inputs, masks(1)))


def test_features_are_the_mixture_and_a_selector():
    found = models.features(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([2, 0]), 3)
    assert found.tolist() == [[[1, 0, 0, 1], [2, 1, 0, 0]], [[3, 0, 0, 1], [4, 1, 0, 0]]]


def test_save_and_load(model, tmp_path):
    digest = models.save(tmp_path / "m.safetensors", model, FACTS)
    loaded, facts = models.load(tmp_path / "m.safetensors")
    assert facts["frequencies"] == [2.0, 5.0]
    assert digest == models.digest(tmp_path / "m.safetensors")
    inputs = torch.randn(20, 5, 3)
    assert torch.equal(model(inputs), loaded(inputs))


def test_the_same_model_is_the_same_file(model, tmp_path):
    digests = {models.save(tmp_path / f"{n}.safetensors", model, FACTS | {"z": 1, "a": [n * 0]}) for n in range(5)}
    assert len(digests) == 1


def test_build_facts_name_torch_and_the_processor():
    facts = models.build_facts()
    assert facts["torch"] == torch.__version__
    assert torch.backends.cpu.get_cpu_capability() in facts["processor"]


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
            "not a tonesift model of version 1",
        ),
        (
            lambda path: save_file(
                {"w": torch.ones(1)}, path, {"tonesift": json.dumps({"format": models.FORMAT, "version": 1} | FACTS)}
            ),
            "do not fit",
        ),
        (
            lambda path: save_file(
                {"w": torch.ones(1)}, path, {"tonesift": json.dumps({"format": models.FORMAT, "version": 1})}
            ),
            "do not fit",
        ),
    ],
)
def test_broken_models_are_refused_in_one_line(model, tmp_path, damage, message):
    path = tmp_path / "m.safetensors"
    models.save(path, model, FACTS)
    damage(path)
    with pytest.raises(InputError, match=message) as caught:
        models.load(path)
    assert "\n" not in str(caught.value)
