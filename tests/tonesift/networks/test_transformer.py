"""The transformer against loops over steps in float64, its pieces against the whole, its stepper against both.

What all families keep to is in test_families.py.
"""

import threading

import numpy as np
import pytest
import torch

from tonesift.errors import InputError
from tonesift.networks.transformer import Body

INPUTS, DIM, HEADS, FF = 3, 8, 2, 12
CONTEXTS = [1, 2, 7, 40]  # less and more than the steps that attend in one call
both = pytest.mark.parametrize("positions", ["rotary", "learned"])


def make(positions, context=7, layers=2, dropout=0.0):
    """A body in which no bias is 0 and no normalisation does nothing."""
    body, generator = (
        Body(INPUTS, layers, dropout, DIM, HEADS, FF, positions, context),
        torch.Generator().manual_seed(1),
    )
    body.initialise(generator)
    with torch.no_grad():
        for parameter in body.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return body


def features(steps, rows=2, seed=2):
    return torch.randn(steps, rows, INPUTS, generator=torch.Generator().manual_seed(seed))


def outputs(body, given, state=None):
    with torch.no_grad():
        return body(given, state, None)[0]


def cut(body, given, cuts, state=None):
    """Outputs and last state of pieces that end at the cuts, each going on from the state before."""
    found = []
    with torch.no_grad():
        for part in given.tensor_split(cuts):
            output, state = body(part, state, None)
            found.append(output)
    return torch.cat(found), state


def close(found, expected, atol=2e-5):
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=0, atol=atol)


# ---------------------------------------------------------------------------------------------------------------------
# The definition, step by step


def normalised(vector, norm):
    return (vector - vector.mean()) / np.sqrt(vector.var() + 1e-5) * norm["weight"] + norm["bias"]


def turned(vector, step):
    """Su et al. 2021, equation 15: pair i is turned by step * 10000^(-2 i / size)."""
    found, size = vector.copy(), len(vector)
    for pair in range(size // 2):
        angle = step * 10000 ** (-2 * pair / size)
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        found[2 * pair : 2 * pair + 2] = rotation @ vector[2 * pair : 2 * pair + 2]
    return found


def score(query, key, distance, step, distances):
    if distances is None:  # positions from the sequence's own beginning, as in the paper
        return turned(query, step) @ turned(key, step - distance) / np.sqrt(len(query))
    return query @ (key + distances[distance]) / np.sqrt(len(query))


def plain_block(hidden, block, context):
    """One layer over a sequence (L, DIM), of which nothing is known but formulas."""
    weights = {name: value.detach().double().numpy() for name, value in block.named_parameters()}

    def part(layer):
        return {end: weights[f"{layer}.{end}"] for end in ("weight", "bias")}

    def linear(layer, vector):
        return weights[f"{layer}.weight"] @ vector + weights[f"{layer}.bias"]

    projected = [linear("entering", normalised(row, part("attention_norm"))) for row in hidden]
    given, size = [], DIM // HEADS
    for step, row in enumerate(hidden):
        mixed = np.zeros(DIM)
        for head in range(HEADS):
            at = slice(head * size, (head + 1) * size)
            reach = range(min(context, step + 1))
            scores = [
                score(
                    projected[step][:DIM][at],
                    projected[step - d][DIM : 2 * DIM][at],
                    d,
                    step,
                    weights.get("positions.distances"),
                )
                for d in reach
            ]
            shares = np.exp(scores) / np.exp(scores).sum()
            mixed[at] = sum(share * projected[step - d][2 * DIM :][at] for share, d in zip(shares, reach, strict=True))
        middle = row + linear("leaving", mixed)
        units = linear("widening", normalised(middle, part("feed_norm")))
        units = 0.5 * units * (1 + np.tanh(np.sqrt(2 / np.pi) * (units + 0.044715 * units**3)))
        given.append(middle + linear("narrowing", units))
    return given


def plain(body, sequence):
    """Hidden values (L, DIM) of a sequence (L, INPUTS)."""
    embedding, norm = (
        {k: v.detach().double().numpy() for k, v in m.named_parameters()} for m in (body.embedding, body.norm)
    )
    hidden = [embedding["weight"] @ row + embedding["bias"] for row in sequence.double().numpy()]
    for block in body.blocks:
        hidden = plain_block(hidden, block, body.context)
    return np.array([normalised(row, norm) for row in hidden])


@both
@pytest.mark.parametrize(("context", "layers"), [(1, 1), (2, 1), (7, 1), (40, 1), (7, 3)])
def test_it_is_what_the_formulas_say(positions, context, layers):
    body, given = make(positions, context, layers), features(90)
    found = outputs(body, given)
    assert found.shape == (90, 2, DIM)
    for row in range(2):
        close(found[:, row], plain(body, given[:, row]))


@both
def test_gradients_are_slopes_of_the_loss(positions):
    body, given, generator = make(positions).double(), features(40).double(), torch.Generator().manual_seed(3)
    aim = torch.randn(40, 2, DIM, generator=generator, dtype=torch.float64)

    def loss():
        return (body(given, None, None)[0] * aim).sum()

    loss().backward()
    for name, parameter in body.named_parameters():
        way = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            parameter += 1e-5 * way
            above = loss()
            parameter -= 2e-5 * way
            below = loss()
            parameter += 1e-5 * way
        assert float((parameter.grad * way).sum()) == pytest.approx(float(above - below) / 2e-5, rel=1e-4), name
        rows = parameter.grad.abs().reshape(len(parameter), -1).sum(1)
        assert rows.min() > (-1 if name.endswith("entering.bias") else 1e-6), name  # softmax cancels the keys' bias


# ---------------------------------------------------------------------------------------------------------------------
# What it reaches, and the state


@both
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("cuts", [[2, 90], [45, 50, 60, 61, 62, 100]])
def test_pieces_come_to_the_whole(positions, context, cuts):
    body, given = make(positions, context), features(120)
    whole, last = cut(body, given, [])
    found, state = cut(body, given, cuts)
    close(found, whole)
    for one, other in zip(state, last, strict=True):
        assert one.shape == other.shape == (context - 1, 2, one.shape[-1])
        close(one, other)


@both
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("context", [1, 7])
def test_a_change_is_felt_from_its_step_on_as_far_as_contexts_reach(positions, context, layers):
    body, given, at = make(positions, context, layers), features(120), 50
    changed = given.clone()
    changed[at] += 1
    felt = (outputs(body, changed) - outputs(body, given)).abs().amax((1, 2))
    reach = layers * (context - 1)
    assert felt[:at].max() == 0
    assert felt[at : at + reach + 1].min() > 1e-7
    assert felt[at + reach + 1 :].max() == 0


@both
def test_only_distances_count(positions):
    body, content = make(positions), features(60)
    reach = 2 * (body.context - 1)
    expected = outputs(body, content)[reach:]
    for earlier in (3, 1000):
        close(outputs(body, torch.cat([features(earlier, seed=9), content]))[earlier + reach :], expected)


# ---------------------------------------------------------------------------------------------------------------------
# The stepper


def run(stepper, given):
    found = []
    for frame in given.numpy():
        stepper.reads[:] = frame
        stepper.step()
        found.append(stepper.output.copy())
    return np.array(found)


@both
@pytest.mark.parametrize("context", CONTEXTS)
def test_the_stepper_computes_the_same(positions, context):
    body, given = make(positions, context), features(3 * context + 2, rows=3)
    found = run(body.stepper(3), given)
    assert found.dtype == np.float32
    assert (found[..., -1] == 1).all()
    close(found[..., :-1], outputs(body, given))


@both
def test_a_long_run_is_as_exact_as_a_short_one(positions):
    body, given = make(positions), features(3000)
    stepper = body.stepper(2)
    if positions == "rotary":
        stepper.state[1][:] = [6.0, 1.2345678]  # as after very many steps, which only matter modulo 2 pi
    found = run(stepper, given)[-50:, :, :-1]
    close(found, outputs(body, given[-50 - 2 * body.context :])[-50:])
    assert max(each.size for each in stepper.state) == 2 * HEADS * body.context * (DIM // HEADS)


# ---------------------------------------------------------------------------------------------------------------------
# The rest of what a body must be


@both
def test_bfloat16_is_near_float32_with_states_of_either(positions):
    body, given = make(positions), features(60)
    whole, state = cut(body, given[:40], [])
    expected = outputs(body, given[40:], state)
    close(outputs(body, given[40:], [each.bfloat16() for each in state]), expected, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        close(outputs(body, given[:40]), whole, 0.15)
        _, rounded = cut(body, given[:40], [13])
        for each in (state, rounded):
            close(outputs(body, given[40:], each), expected, 0.15)
        body(given, None, None)[0].sum().backward()
    close(outputs(body, given[40:], rounded), expected, 0.15)
    assert all(parameter.grad.dtype == torch.float32 for parameter in body.parameters())


def test_weights_have_the_variances_stated():
    body = Body(100, 2, 0.0, 100, 2, 200, "learned", 50)
    body.initialise(torch.Generator().manual_seed(6))
    block = body.blocks[1]
    parts = {body.embedding.weight: 100, block.entering.weight: 100, block.widening.weight: 100}
    parts |= {block.leaving.weight: 400, block.narrowing.weight: 800, block.positions.distances: 1}
    for weight, inverse in parts.items():
        assert float(weight.detach().var()) * inverse == pytest.approx(1, rel=0.1)
    assert all((value == 0).all() for name, value in body.named_parameters() if name.endswith("bias"))
    assert (body.norm.weight == 1).all()


def test_dropout_is_of_all_that_is_added_to_the_embedding():
    body, given, asked = make("learned", dropout=0.25), features(20), []

    def nothing(shape, share):
        asked.append((tuple(shape), share))
        return torch.zeros(shape)

    with torch.no_grad():
        close(body(given, None, nothing)[0], body.norm(body.embedding(given)))
    assert asked == [((20, 2, DIM), 0.25)] * 4


@both
def test_two_threads_share_it(positions):
    body = make(positions)
    given = [features(50 + 30 * n, seed=n) for n in range(2)]
    expected, found = [outputs(body, each) for each in given], [[], []]

    def work(number):
        found[number] += [outputs(body, given[number]) for _ in range(10)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for mine, results in zip(expected, found, strict=True):
        assert len(results) == 10
        assert all(torch.equal(mine, each) for each in results)


@pytest.mark.parametrize(
    ("dim", "heads", "positions", "message"),
    [
        (10, 4, "learned", "model_dim 10 is not a multiple of num_heads 4"),
        (6, 2, "rotary", "need an even model_dim / num_heads, but it is 3"),
        (8, 2, "absolute", "positions 'absolute' are unknown: choose one of rotary, learned"),
    ],
)
def test_what_cannot_work_is_refused(dim, heads, positions, message):
    with pytest.raises(InputError, match=message):
        Body(INPUTS, 1, 0.0, dim, heads, FF, positions, 5)


def test_heads_of_odd_size_learn_distances():
    body, given = Body(INPUTS, 1, 0.0, 9, 3, FF, "learned", 5), features(20)
    body.initialise(torch.Generator().manual_seed(8))
    close(run(body.stepper(2), given)[..., :-1], outputs(body, given))
