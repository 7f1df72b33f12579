"""What every family of networks must keep to, one suite over all of them; a new one needs an entry in COUNTS."""

import inspect
from importlib import import_module

import numpy as np
import pytest
import torch
from networks import SMALL, bfloat16, metadata, network
from torch import nn
from torch.nn.functional import layer_norm

from tonesift import compute, params
from tonesift.errors import InputError
from tonesift.families import COMMON, FAMILIES
from tonesift.learning import fronts, streams
from tonesift.learning.batches import scaled
from tonesift.networks import base as networks
from tonesift.networks import model as models
from tonesift.networks.base import DropoutMasks
from tonesift.networks.model import Ensemble
from tonesift.streaming.tonefilter import LARGEST, ToneFilter

CPU, TONES, WINDOW = torch.device("cpu"), 3, 60
TURNED = {
    "layer_norm": True,
    "recurrent_dropout": 0.3,
    "positions": "learned",
    "memory": 50,
}  # options off or otherwise in SMALL


def variants(family):
    """Changes to SMALL, and how many networks are averaged, by name."""
    options = FAMILIES[family].options
    turned = {name: ({name: value}, 1) for name, value in TURNED.items() if name in options}
    heads = ({"conditioning": "selector" if FAMILIES[family].front else "heads", "hop": 4}, 1)
    return {"selector": ({}, 1), "heads of 4": heads, "two": ({}, 2), **turned}


CASES = {
    f"{family}, {name}": ({"family": family} | changes, members)
    for family in FAMILIES
    for name, (changes, members) in variants(family).items()
}


def layers_of_gates(gates, shape, inputs):
    """Parameters of so many layers of gates, each a matrix from inputs and from outputs and two biases."""
    hidden, layers = shape["hidden_size"], shape["num_layers"]
    first, other = (gates * hidden * (read + hidden + 2) for read in (inputs, hidden))
    return first + (layers - 1) * other + (2 * hidden * layers if shape["layer_norm"] else 0)


def transformer(shape, inputs):
    """Embedding and last normalisation; in each block attention, two linear layers, two normalisations."""
    width, wide = shape["model_dim"], shape["ff_dim"]
    attention = 4 * (width * width + width)
    distances = shape["context"] * width // shape["num_heads"] if shape["positions"] == "learned" else 0
    block = attention + distances + (width + 1) * wide + (wide + 1) * width + 2 * 2 * width
    return (inputs + 1) * width + shape["num_layers"] * block + 2 * width


def tcn(shape, inputs):
    """Two convolutions in each block; a projection in the first one if the channels differ."""
    width, total, entering = shape["hidden_size"], 0, inputs
    for _ in range(shape["num_layers"]):
        total += sum(shape["kernel_size"] * read * width + width for read in (entering, width))
        total += (entering + 1) * width if entering != width else 0
        total += 2 * 2 * width if shape["layer_norm"] else 0
        entering = width
    return total


def hybrid(shape, inputs):
    """An LSTM that reads what a frame has of a tone, or wide frames have of all of them."""
    return layers_of_gates(4, shape, read_of_frames(shape))


def read_of_frames(shape):
    """50 features: 8 of each of four filters, 4 of each beside the first, 6 more; wide: 4 offsets, 2 of direction."""
    features = 4 * 8 + 3 * 4 + 6
    return features if shape["conditioning"] == "selector" else TONES * (features + 4 + 2) + shape["hop"]


COUNTS = {
    "lstm": lambda shape, inputs: layers_of_gates(4, shape, inputs),
    "gru": lambda shape, inputs: layers_of_gates(3, shape, inputs),
    "transformer": transformer,
    "tcn": tcn,
    "hybrid": hybrid,
}


def draw(*shape, seed=2):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def masks(seed=1):
    return DropoutMasks(np.random.SeedSequence(seed), CPU)


def numbers(model):
    return sum(parameter.numel() for parameter in model.parameters())


def described(changes, members=1, stateful=True):
    return metadata(changes, {"stateful": stateful, "ensemble": members}, window_samples=WINDOW)


def make(changes, members=1):
    """A model whose weights are all at random: no bias 0, no scale 1."""
    model, generator = models.build(described(changes, members)), torch.Generator().manual_seed(1)
    for member in model.members:
        member.initialise(generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param


@pytest.fixture
def model(case):
    return make(*case)


def run(model, features, state=None):
    with torch.no_grad():
        return model(features, state, None)


def assert_close(found, expected, atol=1e-5):
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_a_module_whose_body_takes_what_the_table_says(family):
    body, entry = import_module(f"tonesift.networks.{family}").Body, FAMILIES[family]
    assert issubclass(body, networks.Body)
    taken = list(inspect.signature(body).parameters)
    assert taken[0] == "inputs"
    assert {*COMMON, *entry.options} <= set(taken[1:]) <= {*COMMON, *entry.options, *entry.refuses}
    known = set(params.Model.model_fields)
    assert {*COMMON, *entry.options, *entry.refuses} <= known
    assert not {*COMMON, *entry.options} & set(entry.refuses)
    assert isinstance(network(TONES, family=family).body.stepper(2), networks.Stepper)


def test_every_step_gives_its_frame_and_a_state_of_zeros_is_a_beginning(model, case):
    selects, hop = model.conditioning == "selector", (SMALL | case[0])["hop"]
    assert model.front or model.inputs == (hop + TONES if selects else hop)
    features = draw(9, 5, model.inputs)
    output, state = run(model, features)
    assert output.shape == (9, 5, hop if selects else TONES * hop)
    assert state
    assert {part.shape[1] for part in state} == {5}
    assert_close(run(model, features, [torch.zeros_like(part) for part in state])[0], output)


def test_a_sample_changes_nothing_before_the_step_it_is_read_in(model):
    assert model.causal
    wanted, frames = torch.arange(5) % TONES, draw(30, 5, model.frame)
    before, _ = run(model, model.features(frames, wanted))
    for sample in {1 if model.front else 0, model.frame - 1}:  # 0 of a front's frame turns nothing at the last sample
        changed = frames.clone()
        changed[20, :, sample] += 1
        after, _ = run(model, model.features(changed, wanted))
        assert torch.equal(after[:20], before[:20])
        assert (after[20] != before[20]).all()  # all of the frame's outputs wait for all of its samples


def test_sequences_of_one_batch_do_not_touch_each_other(model):
    features = draw(30, 5, model.inputs)
    together, _ = run(model, features)
    for one in range(5):
        assert_close(run(model, features[:, [one]])[0][:, 0], together[:, one])
    changed = features.clone()
    changed[:, 2] += 1
    others = [0, 1, 3, 4]
    assert torch.equal(run(model, changed)[0][:, others], together[:, others])


@pytest.mark.parametrize("age", [3, 15])
def test_a_sequence_begins_where_its_state_is_zeroed_while_its_neighbours_go_on(model, age):
    features = draw(age + 25, 3, model.inputs)
    _, state = run(model, features[:age])
    for part in state:
        part[:, 1] = 0
    output, _ = run(model, features[age:], state)
    whole, _ = run(model, features)
    fresh, _ = run(model, features[age:])
    assert_close(output[:, [0, 2]], whole[age:, [0, 2]])
    assert_close(output[:, 1], fresh[:, 1])
    assert (whole[age:, 1] - fresh[:, 1]).abs().max() > 1e-3


@pytest.mark.parametrize("cuts", [[1] * 30, [2, 1, 20, 7], [29, 1]], ids=str)
def test_pieces_with_the_state_carried_on_are_the_whole(model, cuts):
    features = draw(30, 3, model.inputs)
    whole, end = run(model, features)
    outputs, state = [], None
    for piece in features.split(cuts):
        output, state = run(model, piece, state)
        outputs.append(output)
    assert_close(torch.cat(outputs), whole)
    assert_close(state, end)


def pushed(tone_filter, samples, sizes=(1, 7, 0, 23, 64)):
    """What comes out of pushes of these sizes, in turn."""
    parts, begin, turn = [], 0, 0
    while begin < len(samples):
        end = begin + sizes[turn % len(sizes)]
        parts.append(tone_filter.push(samples[begin:end]))
        begin, turn = end, turn + 1
    return np.concatenate(parts, axis=1)


def whole(model, case, mixture, reset_samples, pmap):
    """The whole recording at once, through PyTorch."""
    if model.front:
        known = described(*case)
        return fronts.estimate(model, known, mixture[None], [known.frequencies], pmap)
    return streams.estimate(model, torch.from_numpy(scaled(mixture, 0.25, 0.5))[None], reset_samples, 4, pmap)


@pytest.mark.parametrize("stateful", [True, False])
def test_a_stream_gives_what_the_whole_does_even_saved_in_the_middle_and_begun_anew(model, case, stateful, tmp_path):
    stateful = stateful or model.front  # its filters are never reset
    path = tmp_path / "state.npz"
    mixture = np.random.default_rng(5).normal(size=217).astype("f4")
    with compute.parallel_map(CPU, 1) as pmap:
        (expected,) = whole(model, case, mixture, None if stateful else WINDOW, pmap)
    first, second = (ToneFilter(model, described(*case, stateful)) for _ in range(2))
    for _ in range(2):
        found = np.concatenate([pushed(first, mixture), first.finish()], axis=1)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        first.reset()
    begun = pushed(first, mixture[:101])
    first.save(path)
    pushed(second, mixture[:50])  # to be forgotten
    second.restore(path)
    found = np.concatenate([begun, pushed(second, mixture[101:]), second.finish()], axis=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_the_loudest_samples_that_are_taken_give_numbers(model, case):
    samples = np.zeros(2 * WINDOW, dtype="f4")
    samples[3] = 0.4 * LARGEST
    assert np.isfinite(ToneFilter(model, described(*case)).push(samples)).all()


def test_it_has_as_many_parameters_as_its_formula_says(model, case):
    changes, members = case
    shape = SMALL | changes
    selects, hop = shape["conditioning"] == "selector", shape["hop"]
    inputs, outputs = (hop + TONES, hop) if selects else (hop, TONES * hop)
    body = COUNTS[shape["family"]](shape, inputs)
    assert {numbers(member.body) for member in model.members} == {body}
    if model.front:  # how the first of four filters is lengthened, turned and moved to others, for each tone given
        inputs, outputs = read_of_frames(shape), 5 * (1 if selects else TONES)
    else:
        inputs = model.inputs
    head = (run(model.members[0].body, torch.zeros(1, 1, inputs), None)[0].shape[2] + 1) * outputs
    assert numbers(model) == members * (body + head)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"family": "lstm", "hidden_size": 128}, 201_345),  # the guide's
        ({"family": "lstm", "hidden_size": 256}, 795_905),
        ({"family": "lstm", "hidden_size": 128, "num_layers": 1}, 69_249),
        # 3 x 128 x (5 + 128 + 2) + 3 x 128 x (128 + 128 + 2) + 129
        ({"family": "gru", "hidden_size": 128}, 51_840 + 99_072 + 129),
        # both directions: 2 x 4 x 128 x (5 + 128 + 2), then (256 + 128 + 2), and 257 of the head
        ({"family": "lstm", "hidden_size": 128, "bidirectional": True}, 138_240 + 395_264 + 257),
    ],
)
def test_parameter_counts_by_hand(changes, expected):
    assert numbers(network(4, **changes)) == expected


def test_gradients_reach_every_parameter_through_dropout(model):
    model(draw(30, 5, model.inputs), None, masks())[0].square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_initial_weights_come_from_the_generator_alone(case):
    made = []
    for process_wide, seed in ((1, 5), (2, 5), (1, 6)):
        torch.manual_seed(process_wide)
        made.append(network(TONES, **case[0]))
        before = torch.get_rng_state()
        made[-1].initialise(torch.Generator().manual_seed(seed))
        assert torch.equal(torch.get_rng_state(), before)
    one, same, other = (nn.utils.parameters_to_vector(model.parameters()) for model in made)
    assert torch.equal(one, same)
    assert (one != other).float().mean() > 0.5  # biases may be 0, normalisations begin the same
    assert one.isfinite().all()


@pytest.mark.parametrize("end", ["", "_reverse"])
@pytest.mark.parametrize("family", ["lstm", "gru"])
def test_gates_begin_with_memories_as_long_as_asked_for(family, end):
    changes = {"family": family, "hidden_size": 400, "bidirectional": end == "_reverse"}
    plain, remembering = network(TONES, **changes), network(TONES, **changes, memory=1000)
    for model in (plain, remembering):
        model.initialise(torch.Generator().manual_seed(3))
    gates = "rzn" if family == "gru" else "ifgo"  # in PyTorch's order
    for before, layer in zip(plain.body.layers, remembering.body.layers, strict=True):
        summed, unset = (
            dict(
                zip(
                    gates,
                    (getattr(each, f"bias_ih_l0{end}") + getattr(each, f"bias_hh_l0{end}")).chunk(len(gates)),
                    strict=True,
                )
            )
            for each in (layer, before)
        )
        times = summed["z" if family == "gru" else "f"].detach().exp()  # with sigmoid(b) = t / (t + 1)
        assert times.min() >= 1
        assert times.max() <= 999.01
        assert times.mean() == pytest.approx(500, abs=4 * 998 / (12 * 400) ** 0.5)  # U(1, 999)
        assert times.std() == pytest.approx(998 / 12**0.5, rel=0.1)
        if family == "lstm":
            assert torch.equal(summed["i"], -summed["f"])
        assert {gate for gate in gates if not torch.equal(summed[gate], unset[gate])} == set(
            "z" if family == "gru" else "if"
        )
        for name in ("weight_ih", "weight_hh"):
            assert torch.equal(getattr(layer, f"{name}_l0{end}"), getattr(before, f"{name}_l0{end}"))


def test_saved_and_loaded_it_gives_the_same_and_the_same_file(model, case, tmp_path):
    written, features = described(*case), draw(20, 4, model.inputs)
    digests = {models.save(tmp_path / f"{n}.safetensors", model, written) for n in range(2)}
    loaded, known = models.load(tmp_path / "0.safetensors")
    assert known == written
    assert torch.equal(run(loaded, features)[0], run(model, features)[0])
    digests.add(models.save(tmp_path / "again.safetensors", loaded, written))
    assert len(digests) == 1
    with torch.no_grad():
        next(loaded.parameters()).flatten()[0] += 1
    assert models.save(tmp_path / "other.safetensors", loaded, written) not in digests


def test_nothing_is_dropped_without_masks_and_nothing_else_is_random(model):
    features, before = draw(20, 4, model.inputs), torch.get_rng_state()
    plain, _ = run(model.train(), features)
    assert torch.equal(run(model.eval(), features)[0], plain)
    with torch.no_grad():
        one, again, other = (model(features, None, masks(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.isclose(one, other).any(dim=0).all()
    assert not torch.isclose(one, plain).any(dim=0).all()
    assert torch.equal(torch.get_rng_state(), before)


def test_masks_drop_nothing_where_the_shares_are_zero(case):
    model = make(case[0] | {"dropout": 0.0, "recurrent_dropout": 0.0}, case[1])
    features = draw(20, 4, model.inputs)
    with torch.no_grad():
        assert torch.equal(model(features, None, masks())[0], model(features)[0])


@bfloat16
def test_bfloat16_is_near_float32_and_goes_on_from_its_state(model):
    features = draw(30, 4, model.inputs)
    expected, _ = run(model, features)
    with torch.autocast("cpu", torch.bfloat16):
        first, state = run(model, features[:13])
        second, _ = run(model, features[13:], state)
    found = torch.cat([first, second]).float()
    assert_close(found, expected, atol=0.06 * expected.std().item() + 0.02)
    assert not torch.equal(found, expected)


def test_layers_in_order_hold_every_parameter_once_and_end_with_the_head(model):
    for member in model.members:
        layers = member.layers_in_order()
        held = [id(parameter) for layer in layers for parameter in layer.parameters()]
        assert sorted(held) == sorted(id(parameter) for parameter in member.parameters())
        assert layers[-1] is member.head
        assert all(list(layer.parameters()) for layer in layers)
        assert len(layers) >= SMALL["num_layers"] + 1


@pytest.mark.parametrize("family", FAMILIES)
def test_an_ensemble_is_the_mean_of_its_networks(family):
    model = make({"family": family}, 3)
    assert isinstance(model, Ensemble)
    assert model.label == f"{FAMILIES[family].label}, mean of 3"
    features, state = draw(20, 4, model.inputs), None
    apart = torch.stack([run(member, features)[0] for member in model.members])
    assert apart.std(dim=0).mean() > 1e-3
    outputs = []
    for piece in features.split([7, 13]):
        output, state = run(model, piece, state)
        outputs.append(output)
    assert_close(torch.cat(outputs), apart.mean(dim=0))


# The recurrent families: PyTorch's own stack is the truth.

STACKS = {"lstm": nn.LSTM, "gru": nn.GRU}
recurrent = pytest.mark.parametrize("family", STACKS)


def stack_of(body, masked=()):
    """PyTorch's own stack with a body's weights; those between hidden values times masks, in turn."""
    first = body.layers[0]
    stack = STACKS[type(first).__name__.lower()](
        first.input_size, first.hidden_size, len(body.layers), bidirectional=body.bidirectional
    )
    ends, factors = ("", "_reverse")[: 1 + body.bidirectional], iter(masked)
    weights = {}
    for number, layer in enumerate(body.layers):
        for end in ends:
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                value = getattr(layer, f"{name}_l0{end}").detach()
                factor = next(factors) if masked and name == "weight_hh" else 1
                weights[f"{name}_l{number}{end}"] = value * factor
    stack.load_state_dict(weights)
    return stack


def stacked(state, family):
    """A body's state as PyTorch's stack takes it."""
    if family == "gru":
        return torch.cat(state)
    return torch.cat(state[::2]), torch.cat(state[1::2])


@recurrent
@pytest.mark.parametrize("layers", [1, 3])
def test_a_recurrent_body_is_pytorchs_own_stack(family, layers):
    model = make({"family": family, "num_layers": layers})
    features = draw(20, 5, model.inputs)
    state = [draw(1, 5, 8, seed=seed) for seed in range(layers * (2 if family == "lstm" else 1))]
    with torch.no_grad():
        hidden, after = stack_of(model.body)(features, stacked(state, family))
    output, reached = run(model, features, state)
    assert_close(output, model.head(hidden).detach(), 1e-6)
    assert_close(stacked(reached, family), after, 1e-6)


@recurrent
@pytest.mark.parametrize("layers", [1, 2])
def test_both_directions_are_pytorchs_own_and_leave_no_state(family, layers):
    model = make({"family": family, "num_layers": layers, "bidirectional": True})
    assert not model.causal
    assert model.label == f"Bidirectional {FAMILIES[family].label}"
    features = draw(20, 5, model.inputs)
    output, state = run(model, features)
    with torch.no_grad():
        assert_close(output, model.head(stack_of(model.body)(features)[0]), 1e-6)
    assert state == []
    changed = features.clone()
    changed[10, :, 0] += 1
    assert (run(model, changed)[0][6:10] != output[6:10]).all()  # a sample is heard before it comes
    assert torch.equal(run(model, features, state)[0], output)


@recurrent
@pytest.mark.parametrize("members", [1, 2])
def test_a_network_that_looks_ahead_is_no_filter(family, members):
    changes = {"family": family, "bidirectional": True}
    with pytest.raises(InputError, match="the model is bidirectional: it reads a window to its end"):
        ToneFilter(make(changes, members), described(changes, members, stateful=False))


@recurrent
def test_a_window_read_from_both_ends_is_not_cut(family):
    model = make({"family": family, "bidirectional": True, "conditioning": "heads", "hidden_size": 4})
    length = streams.CHUNK_STEPS + 37
    mixture = np.random.default_rng(3).normal(size=(1, 2 * length)).astype("f4")
    with compute.parallel_map(CPU, 1) as pmap:
        (found,) = streams.estimate(model, torch.from_numpy(mixture), length, 4, pmap)
    stack = stack_of(model.body)
    for part in range(2):
        here = slice(part * length, (part + 1) * length)
        with torch.no_grad():
            expected = model.head(stack(torch.from_numpy(mixture[0, here])[:, None, None])[0])[:, 0].T
        np.testing.assert_allclose(found[:, here], expected, rtol=0, atol=1e-5)


class Kept:
    """Masks that are remembered in their order."""

    def __init__(self, seed):
        self.masks, self.drawn = masks(seed), []

    def __call__(self, shape, share):
        self.drawn.append((self.masks(shape, share), share))
        return self.drawn[-1][0]


@recurrent
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("begun", [False, True])
def test_recurrent_dropout_is_the_stack_with_weights_between_hidden_values_dropped(family, both, begun):
    changes = {"family": family, "recurrent_dropout": 0.3, "dropout": 0.0, "bidirectional": both}
    model, source, features = make(changes), Kept(4), draw(20, 5, SMALL["hop"] + TONES)
    count = 2 * (2 if family == "lstm" else 1)
    state = [draw(1, 5, 8, seed=seed) for seed in range(count)] if begun else None
    with torch.no_grad():
        found, reached = model(features, state, source)
        rows = 8 * (4 if family == "lstm" else 3)
        assert [(mask.shape, share) for mask, share in source.drawn] == [((rows, 8), 0.3)] * (4 if both else 2)
        reference = stack_of(model.body, [mask for mask, _ in source.drawn])
        hidden, after = reference(features, stacked(state, family) if begun and not both else None)
        assert_close(found, model.head(hidden), 1e-6)
        if not both:
            assert_close(stacked(reached, family), after, 1e-6)
        assert torch.equal(model(features, state)[0], make(changes | {"recurrent_dropout": 0.0})(features, state)[0])


@recurrent
def test_recurrent_dropout_keeps_the_mean_of_what_comes_from_the_last_output(family):
    """One step from a given output: a gate's sum is linear in the weights, so its mean is that without dropout.

    With weights as small as these sigmoid and tanh are nearly linear too, and so is the whole network.
    """
    changes = {"family": family, "recurrent_dropout": 0.4, "dropout": 0.0, "num_layers": 1}
    model, features = make(changes), draw(1, 1, SMALL["hop"] + TONES)
    state, source = [draw(1, 1, 8, seed=seed) for seed in range(2 if family == "lstm" else 1)], masks(6)
    with torch.no_grad():
        for name, parameter in model.body.named_parameters():
            parameter.mul_(0.05 if "weight_hh" in name else 1)
        plain = model.body(features, state, None)[0]
        draws = torch.stack([model.body(features, state, source)[0] for _ in range(2000)])
    error = draws.std(dim=0) / 2000**0.5
    assert (draws.std(dim=0) > 0).all()
    assert ((draws.mean(dim=0) - plain).abs() < 5 * error + 1e-3).all()


@recurrent
@pytest.mark.parametrize("both", [False, True])
def test_layer_norm_stands_behind_every_layer(family, both):
    model = make({"family": family, "layer_norm": True, "bidirectional": both})
    features = hidden = draw(20, 5, SMALL["hop"] + TONES)
    with torch.no_grad():
        for layer, norm in zip(model.body.layers, model.body.norms, strict=True):
            hidden = layer_norm(layer(hidden)[0], (8 * (1 + both),), norm.weight, norm.bias, 1e-5)
        assert_close(run(model, features)[0], model.head(hidden), 1e-6)
