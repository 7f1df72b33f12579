"""Temporal convolutional network against loops over its definition; what all families keep to is in test_families."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tonesift.networks.tcn import Body

# with a projection where the inputs are not 6
SHAPES = [(1, False, 4), (1, True, 6), (2, False, 6), (2, True, 4), (3, False, 4), (3, False, 6), (3, True, 4)]
shapes = pytest.mark.parametrize(("kernel", "norm", "inputs"), SHAPES)


def make(kernel=3, norm=False, inputs=4, layers=3, hidden=6, dropout=0.0, seed=1):
    """Body with every parameter at random, so that no bias is 0 and no normalisation's weight 1."""
    body, generator = Body(inputs, layers, dropout, hidden, kernel, norm), torch.Generator().manual_seed(seed)
    body.initialise(generator)
    with torch.no_grad():
        for parameter in body.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return body


def draw(*shape, seed=2):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def whole(body, features):
    with torch.no_grad():
        return body(features, None, None)[0]


def slow_convolution(values, weight, bias, dilation):
    """Loops over steps, taps and channels of one sequence (L, channels), in float64."""
    taps, _, outputs = weight.shape
    sums = np.zeros((len(values), outputs))
    for step in range(len(values)):
        for output in range(outputs):
            sums[step, output] = bias[output]
            for back in range(taps):  # weight[-1] belongs to the step itself
                if step - back * dilation >= 0:
                    sums[step, output] += values[step - back * dilation] @ weight[taps - 1 - back, :, output]
    return sums


def slow(body, features):
    """The definition in NumPy, for one sequence (L, inputs)."""
    weights = {name: value.double().numpy() for name, value in body.state_dict().items()}
    hidden = features.double().numpy()
    for number in range(len(body.blocks)):
        entering, block = hidden, f"blocks.{number}."
        for half in range(2):
            part = f"{block}convolutions.{half}."
            hidden = slow_convolution(hidden, weights[part + "weight"], weights[part + "bias"], 2**number)
            if block + "norms.0.weight" in weights:
                spread = np.sqrt(hidden.var(axis=1, keepdims=True) + 1e-5)
                hidden = (hidden - hidden.mean(axis=1, keepdims=True)) / spread
                hidden = hidden * weights[f"{block}norms.{half}.weight"] + weights[f"{block}norms.{half}.bias"]
            hidden = np.maximum(hidden, 0)
        if block + "projection.weight" in weights:
            entering = entering @ weights[block + "projection.weight"].T + weights[block + "projection.bias"]
        hidden = np.maximum(hidden + entering, 0)
    return hidden


@shapes
def test_it_is_its_definition(kernel, norm, inputs):
    body, features = make(kernel, norm, inputs), draw(31, 2, inputs)
    assert (body.blocks[0].projection is None) == (inputs == 6)
    hidden = whole(body, features)
    assert hidden.shape == (31, 2, body.width)
    for sequence in range(2):
        expected = slow(body, features[:, sequence])
        assert expected.std() > 0.1
        np.testing.assert_allclose(hidden[:, sequence], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_pieces_come_to_the_whole_and_the_state_is_as_long_as_the_taps_reach(kernel):
    body, features = make(kernel), draw(30, 3, 4)
    state, outputs = None, []
    with torch.no_grad():
        for piece in features.split([2, 1, 20, 7]):
            hidden, state = body(piece, state, None)
            outputs.append(hidden)
            reaches = [(kernel - 1) * 2 ** (number // 2) for number in range(6)]
            assert [part.shape for part in state] == [(r, 3, c) for r, c in zip(reaches, [4] + [6] * 5, strict=True)]
    torch.testing.assert_close(torch.cat(outputs), whole(body, features), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_a_step_reaches_the_receptive_field_exactly_and_nothing_before_it(kernel, layers):
    body = make(kernel, layers=layers, hidden=16).double()
    reach = 1 + sum(2 * (kernel - 1) * 2**block for block in range(layers))
    assert body.receptive_field == reach
    at, features = 10, draw(10 + reach + 20, 50, 4).double()
    changed = features.clone()
    changed[at] += 3
    touched = (whole(body, features) != whole(body, changed)).any(dim=2).any(dim=1)
    assert touched.nonzero()[:, 0].tolist() == list(range(at, at + reach))


def stepped(stepper, features):
    outputs = []
    for row in features.numpy():
        stepper.reads[:] = row
        stepper.step()
        assert (stepper.output[:, -1] == 1).all()
        outputs.append(stepper.output[:, :-1].copy())
    return torch.from_numpy(np.array(outputs))


@shapes
def test_the_stepper_computes_the_same(kernel, norm, inputs):
    body = make(kernel, norm, inputs)
    features, stepper = draw(3 * body.receptive_field, 3, inputs), body.stepper(3)
    assert stepper.reads.shape == (3, inputs)
    assert stepper.output.shape == (3, 7)
    torch.testing.assert_close(stepped(stepper, features), whole(body, features), rtol=1e-4, atol=1e-5)


def test_a_stepper_has_weights_of_its_own():
    body, features = make(), draw(20, 1, 4)
    stepper, expected = body.stepper(1), whole(body, features)
    body.initialise(torch.Generator().manual_seed(5))
    torch.testing.assert_close(stepped(stepper, features), expected, rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_tap():
    body = make(norm=True)
    body(draw(30, 4, 4), None, None)[0].square().sum().backward()
    for name, parameter in body.named_parameters():
        assert parameter.grad.isfinite().all(), name
        each = parameter.grad.flatten(1) if parameter.dim() == 3 else parameter.grad.reshape(1, -1)  # each tap
        assert (each.abs().amax(dim=1) > 0).all(), name


def test_weights_come_from_the_generator_alone_and_keep_the_size_of_what_enters():
    bodies = [Body(40, 2, 0.0, 64, 3, layer_norm=True) for _ in range(3)]
    for body, seed in zip(bodies, (3, 3, 4), strict=True):
        body.initialise(torch.Generator().manual_seed(seed))
    first, second, other = (body.state_dict() for body in bodies)
    assert all(torch.equal(first[name], second[name]) for name in first)
    for name, value in first.items():
        if "norms" in name or "bias" in name:
            assert (value == (1 if name.endswith("weight") else 0)).all(), name
        else:
            assert not torch.equal(value, other[name]), name
            entering = 40 if "projection" in name else 3 * value.shape[1]
            assert value.abs().max() <= (6 / entering) ** 0.5
            assert value.var() == pytest.approx(2 / entering, rel=0.06), name


def test_two_threads_at_once_give_what_one_gives():
    body, features = make(hidden=16), [draw(50, 8, 4, seed=seed) for seed in (1, 2)]
    alone = [whole(body, one) for one in features]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            for expected, got in zip(alone, pool.map(whole, [body] * 2, features), strict=True):
                assert torch.equal(expected, got)
