import itertools
import math

import numpy as np
import pytest
import torch
from networks import bfloat16, lstm, network
from scipy import stats
from torch import nn

from tonesift import compute
from tonesift.data import windows
from tonesift.errors import InputError
from tonesift.families import FAMILIES
from tonesift.learning import streams, training
from tonesift.learning.batches import Batch, Signals, Windows, predict
from tonesift.learning.epochs import drawn_steps, tally_all
from tonesift.networks.base import torch_generator
from tonesift.networks.model import Ensemble, Network

CPU = torch.device("cpu")
COMMON = {"epochs": 4, "grad_clip": 1.0, "patience": 10, "seed": 1, "shards": 2}
KINDS = [("selector", 1), ("selector", 4), ("heads", 1), ("heads", 4)]


def make_model(dropout=0.2, conditioning="selector", hop=1, kind=Network):
    model = lstm(2, 8, 2, dropout, conditioning, hop, kind)
    model.initialise(torch_generator(training.seed_for(1, "weights"), CPU))
    return model


@pytest.fixture
def signals():
    time = torch.arange(400) / 100
    tones = torch.stack([torch.sin(2 * torch.pi * frequency * time) for frequency in (2, 5)])
    return Signals(tones.mean(dim=0, keepdim=True), tones.unsqueeze(0))


def parts_of(signals, model):
    split = windows.split_blocks(1, 400, 20, 2, 0.2)
    return [Windows(signals, windows.starts(part, 2), 20, model.examples, model.hop) for part in split]


def examine(part):
    """Validation on every window of a part."""
    return lambda model, pmap: tally_all(predict(model, part, 512, pmap), model)


def fit(
    signals,
    model=None,
    name="adam",
    rate=0.01,
    kind="none",
    warmup=0.0,
    fused=True,
    momentum=0.9,
    layer_decay=1.0,
    batches=None,
    steps=None,
    **changes,
):
    """Train on every window once an epoch, in batches of 16, or on the batches given."""
    model = model or make_model()
    train, validation = parts_of(signals, model)
    settings = COMMON | changes
    optimizer = training.make_optimizer(model, name, rate, 1e-5, momentum, layer_decay=layer_decay, fused=fused)
    steps = steps or -(-len(train) // 16)
    schedule = training.Schedule(optimizer, kind, steps * settings["epochs"], warmup, 0.5, 0)
    batches = batches or (lambda generator: train.batches(16, generator.permutation(len(train))))
    epochs = training.fit(model, signals, batches, examine(validation), optimizer, schedule, **settings)
    return model, list(epochs)


def carried(model, steps=12, count=8):
    """Batches of streams, 20 samples of each in a step."""
    reading = streams.StreamBatches([(0, 0, 300)], count, 20, model.examples, model.hop)
    return {
        "batches": lambda generator: [reading.next(generator, 20 // model.hop) for _ in range(steps)],
        "steps": steps,
    }


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_the_loss_falls(signals, name):
    _, epochs = fit(signals, name=name, rate=0.01 if name != "sgd" else 0.1, epochs=8)
    assert epochs[-1].train.mse < 0.9 * epochs[0].train.mse
    assert epochs[-1].validation.mse < epochs[0].validation.mse


@pytest.mark.parametrize(
    ("conditioning", "hop", "stateful"),
    [("selector", 1, False), ("selector", 4, True), ("heads", 1, True), ("heads", 4, False)],
)
def test_the_loss_falls_whatever_the_network_reads_and_gives(signals, conditioning, hop, stateful):
    model = make_model(0.0, conditioning, hop)
    _, epochs = fit(signals, model, epochs=8, rate=0.02, **(carried(model, steps=20) if stateful else {}))
    assert epochs[-1].train.mse < 0.8 * epochs[0].train.mse


class Plain:
    """The same network on PyTorch's own stack of layers."""

    def __init__(self, model):
        self.model, self.stack = model, nn.LSTM(model.inputs, 8, num_layers=2)
        self.names = [(index, name) for index in range(2) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        self.stack.load_state_dict(
            {f"{name}_l{index}": getattr(model.body.layers[index], f"{name}_l0") for index, name in self.names}
        )
        self.head = nn.Linear(8, model.outputs)
        self.head.load_state_dict(model.head.state_dict())

    def __call__(self, inputs, state=None):
        hidden, state = self.stack(inputs, state)
        return self.head(hidden), state

    def gradients(self, loss):
        """In the order of the model's own parameters."""
        parameters = [getattr(self.stack, f"{name}_l{index}") for index, name in self.names]
        return torch.autograd.grad(loss, [*parameters, *self.head.parameters()], retain_graph=True)


def cut(signals, model, batch, samples=20):
    """Input and target of a batch, each example sliced out by itself."""
    inputs, targets = [], []
    for (recording, first), wanted in zip(batch.starts, batch.wanted, strict=True):
        here = slice(first, first + samples)
        frames = signals.mixture[recording, here].view(-1, model.hop)
        tones = signals.tones[recording, :, here].unflatten(1, (-1, model.hop))  # (K, L, hop)
        if model.conditioning == "selector":
            selector = torch.eye(2)[wanted].expand(len(frames), 2)
            inputs.append(torch.cat([frames, selector], dim=1))
            targets.append(tones[wanted])
        else:
            inputs.append(frames)
            targets.append(tones.transpose(0, 1).flatten(1))
    return torch.stack(inputs, dim=1), torch.stack(targets, dim=1)


def windows_at(*first, fresh=None, wanted=None, hop=1, samples=20):
    """A batch of recording 0."""
    count = len(first)
    return Batch(
        np.array([[0, sample] for sample in first]),
        np.arange(count) % 2 if wanted is None else np.array(wanted),
        np.ones(count, dtype=bool) if fresh is None else np.array(fresh),
        samples // hop,
    )


def gradient_step(model, signals, pmap, shards, **changes):
    return training.Step(model, signals, None, None, [None] * shards, pmap, **changes)


def assert_close(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("shards", [1, 2, 3, 8])
@pytest.mark.parametrize(("conditioning", "hop"), KINDS)
def test_gradients_of_shards_are_those_of_the_whole_batch(signals, conditioning, hop, shards):
    model = make_model(0.0, conditioning, hop)
    batch = windows_at(0, 3, 17, 100, 250, hop=hop)
    with compute.parallel_map(CPU, shards) as pmap:
        seen, found = gradient_step(model, signals, pmap, shards).gradients(batch)
    plain = Plain(model)
    inputs, target = cut(signals, model, batch)
    loss = nn.functional.mse_loss(plain(inputs)[0], target)
    assert seen.mse == pytest.approx(loss.item(), rel=1e-5)
    assert seen.count == target.numel()
    assert_close(found, plain.gradients(loss))


@pytest.mark.parametrize(
    ("conditioning", "hop", "shards"), [("selector", 1, 1), ("selector", 4, 2), ("heads", 1, 2), ("heads", 4, 1)]
)
def test_a_stream_goes_on_from_its_state_and_gradients_stop_there(signals, conditioning, hop, shards):
    model = make_model(0.0, conditioning, hop)
    places = (0, 3, 17, 100, 250)
    going = [False] * 5
    batches = [
        windows_at(*(place + 20 * n for place in places), fresh=None if n == 0 else going, hop=hop) for n in range(3)
    ]
    with compute.parallel_map(CPU, shards) as pmap:
        step = gradient_step(model, signals, pmap, shards)
        taken = [step.gradients(batch) for batch in batches]

    plain, state = Plain(model), None
    whole = plain(torch.cat([cut(signals, model, batch)[0] for batch in batches]))[0]  # one long pass
    for number, (batch, (seen, found)) in enumerate(zip(batches, taken, strict=True)):
        inputs, target = cut(signals, model, batch)
        output, reached = plain(inputs, state)
        steps = len(inputs)
        in_one = whole[number * steps : (number + 1) * steps]
        assert torch.allclose(output, in_one, atol=1e-6)
        loss, through = (nn.functional.mse_loss(given, target) for given in (output, in_one))
        assert seen.mse == pytest.approx(loss.item(), rel=1e-5)
        assert_close(found, plain.gradients(loss))  # the state a constant
        if number:  # gradients back through the segments before are others
            far = zip(found, plain.gradients(through), strict=True)
            assert max(float((one - other).abs().max()) for one, other in far) > 1e-4
        state = tuple(part.detach() for part in reached)


@pytest.mark.parametrize("shards", [1, 2])
def test_a_fresh_example_starts_from_zeros_while_its_neighbours_go_on(signals, shards):
    model = make_model(0.0)
    first = windows_at(0, 3, 17, 100, wanted=[0, 1, 1, 0])
    second = windows_at(20, 200, 37, 310, fresh=[False, True, False, True], wanted=[0, 0, 1, 1])
    with compute.parallel_map(CPU, shards) as pmap:
        step = gradient_step(model, signals, pmap, shards)
        step.gradients(first)
        seen, found = step.gradients(second)
    plain = Plain(model)
    _, (hidden, cell) = plain(cut(signals, model, first)[0])
    kept = torch.tensor([1.0, 0.0, 1.0, 0.0])[:, None]
    inputs, target = cut(signals, model, second)
    output, _ = plain(inputs, (hidden.detach() * kept, cell.detach() * kept))
    alone, _ = plain(inputs[:, [1]])
    assert torch.allclose(output[:, [1]], alone, atol=1e-6)
    loss = nn.functional.mse_loss(output, target)
    assert seen.mse == pytest.approx(loss.item(), rel=1e-5)
    assert_close(found, plain.gradients(loss))


def test_a_batch_of_fresh_examples_forgets_every_state(signals):
    model = make_model(0.0)
    batch = windows_at(0, 3, 17)
    with compute.parallel_map(CPU, 1) as pmap:
        step = gradient_step(model, signals, pmap, 1)
        one, _ = step.gradients(batch)
        step.gradients(windows_at(50, 60, 70))
        again, _ = step.gradients(batch)
    assert one == again


def test_streams_go_on_from_one_epoch_to_the_next(signals):
    """Two epochs of 5 steps are one of 10, as far as the training goes."""
    models = []
    for epochs, steps in ((2, 5), (1, 10)):
        model = make_model()
        models.append(fit(signals, model, epochs=epochs, rate=0.001, **carried(model, steps))[0])
    assert same_weights(*models)


class Listening(Network):
    """A network that keeps what it is given to read."""

    def features(self, frames, wanted):
        if torch.is_grad_enabled():  # in training
            self.__dict__.setdefault("heard", []).append(frames.clone())
        return super().features(frames, wanted)


def heard(noise_std, shards=1, steps=30, seed=1, hop=1):
    """What a network reads in so many steps on silence, with every shard in the calling thread: (steps, shards, ...)"""
    signals = Signals(torch.zeros(1, 400), torch.zeros(1, 2, 400))
    model = make_model(0.0, hop=hop, kind=Listening)
    noises = [np.random.Generator(np.random.SFC64(training.seed_for(seed, "noise", n))) for n in range(shards)]
    with compute.parallel_map(CPU, 1) as pmap:
        step = gradient_step(model, signals, pmap, shards, noise_std=noise_std, noises=noises)
        for _ in range(steps):
            step.gradients(windows_at(*range(0, 320, 10), hop=hop))
    parts = torch.stack(model.heard)
    return parts.view(steps, shards, *parts.shape[1:])


@pytest.mark.parametrize("hop", [1, 4])
@pytest.mark.parametrize("noise_std", [0.1, 2.5])
def test_fresh_noise_is_white_gaussian_of_the_standard_deviation_asked_for(noise_std, hop):
    noise = heard(noise_std, hop=hop).double()  # 30 x 20 x 32 numbers
    count = noise.numel()
    assert noise.shape == (30, 1, 20 // hop, 32, hop)
    assert abs(noise.mean().item()) < 4 * noise_std / count**0.5
    assert noise.std().item() == pytest.approx(noise_std, rel=4 / (2 * count) ** 0.5)
    assert stats.kstest(noise.flatten().numpy() / noise_std, "norm").pvalue > 1e-3
    rows = noise.permute(0, 1, 3, 2, 4).reshape(-1, 20)  # samples of an example in order
    neighbours = (rows[:, 1:] * rows[:, :-1]).mean().item() / noise_std**2
    assert abs(neighbours) < 4 / rows[:, 1:].numel() ** 0.5


def test_fresh_noise_is_new_for_every_step_example_and_shard_and_the_same_for_a_seed():
    noise = heard(0.1, shards=2)
    examples = noise.squeeze(-1).transpose(2, 3).reshape(-1, 20)  # 30 steps x 32 examples
    assert len(torch.unique(examples, dim=0)) == len(examples) == 30 * 32
    assert torch.equal(noise, heard(0.1, shards=2))
    assert not (noise == heard(0.1, shards=2, seed=2)).any()


def test_without_fresh_noise_the_recordings_are_read_as_they_are():
    assert not heard(0.0).any()


@pytest.mark.parametrize("stateful", [False, True])
def test_one_thread_and_two_give_the_same_bits(signals, stateful, monkeypatch):
    models = []
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        model = make_model()
        models.append(fit(signals, model, shards=2, noise_std=0.1, **(carried(model) if stateful else {}))[0])
    assert same_weights(*models)


@pytest.mark.parametrize("noise_std", [0.0, 0.1])
def test_the_seed_decides(signals, noise_std):
    runs = [fit(signals, make_model(0.0), seed=seed, noise_std=noise_std)[1][-1].train.mse for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_the_seed_decides_on_fresh_noise_alone(signals):
    """Nothing else is random here: no dropout, one batch, always in the same order."""
    (batch,) = [windows_at(0, 3, 17, 100)]
    runs = []
    for seed, noise_std in ((1, 0.1), (1, 0.1), (2, 0.1), (1, 0.0), (2, 0.0)):
        one_batch = {"batches": lambda generator: [batch], "steps": 1}
        _, epochs = fit(signals, make_model(0.0), seed=seed, noise_std=noise_std, **one_batch)
        runs.append(epochs[-1].train.mse)
    assert runs[0] == runs[1]
    assert len(set(runs)) == 3
    assert runs[3] == runs[4]


def test_the_best_epochs_weights_are_kept_and_patience_ends_it(signals):
    model, epochs = fit(signals, rate=0.3, epochs=60, patience=3)
    assert len(epochs) < 60
    best = max(epoch.number for epoch in epochs if epoch.best)
    assert len(epochs) == best + 3
    lowest = min(epoch.validation.mse for epoch in epochs)
    with compute.parallel_map(CPU, 1) as pmap:
        assert examine(parts_of(signals, model)[1])(model, pmap).mse == lowest


def test_the_plateau_schedule_shrinks_the_rate(signals):
    _, epochs = fit(signals, rate=0.3, kind="plateau", epochs=20, patience=20)
    rates = [epoch.learning_rate for epoch in epochs]
    assert rates[0] == 0.3
    assert rates == sorted(rates, reverse=True)
    stalls = [n for n, epoch in enumerate(epochs[:-1]) if not epoch.best]
    assert stalls
    assert all(rates[n + 1] == rates[n] / 2 for n in stalls)


def test_one_cycle_is_over_when_training_is(signals):
    _, epochs = fit(signals, kind="one-cycle", warmup=0.25, epochs=4)
    rates = [epoch.learning_rate for epoch in epochs]
    assert rates[0] == pytest.approx(0.01 / 25)
    assert rates[1] == max(rates) == pytest.approx(0.01, rel=0.01)
    assert rates[3] < rates[2] < rates[1]


def course_of_rates(kind, steps, warmup, losses=(), factor=0.5, patience=0, top=0.1):
    """Rate that each step is taken with; the losses are those of epochs after the steps."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], top)
    schedule = training.Schedule(optimizer, kind, steps, warmup, factor, patience)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    for loss in losses:
        schedule.epoch(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize("kind", ["plateau", "none"])
@pytest.mark.parametrize(("steps", "warmup", "rising"), [(100, 0.3, 30), (10, 0.5, 5), (10, 0.2, 2), (10, 0.1, 1)])
def test_warming_up_is_linear_and_then_the_rate_stays(kind, steps, warmup, rising):
    expected = [0.1 * min(1, (step + 1) / rising) for step in range(steps)]
    assert course_of_rates(kind, steps, warmup) == pytest.approx(expected)


@pytest.mark.parametrize("warmup", [0.0, 0.5])
@pytest.mark.parametrize(("kind", "expected"), [("plateau", [1, 1, 0.5, 0.25, 0.25]), ("none", [1] * 5)])
def test_only_the_plateau_schedule_heeds_the_loss(kind, expected, warmup):
    rates = course_of_rates(kind, 10, warmup, losses=[3.0, 2.0, 2.0, 2.5, 1.0])
    assert rates[10:] == pytest.approx([0.1 * share for share in expected])


def test_a_rate_that_shrank_while_warming_up_stays_shrunk():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)
    schedule = training.Schedule(optimizer, "plateau", 20, 0.5, 0.5, 0)
    for step in range(20):
        optimizer.step()
        schedule.step()
        if step in (2, 4):
            schedule.epoch(1.0)  # no gain the second time
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


@pytest.mark.parametrize(("steps", "warmup"), [(100, 0.3), (1000, 0.1), (50, 0.5)])
def test_one_cycle_goes_up_and_down_along_half_cosines(steps, warmup):
    rates = course_of_rates("one-cycle", steps, warmup)
    peak, low, lowest = warmup * (steps + 1) - 1, 0.1 / 25, 0.1 / 25 / 1e4
    for step, rate in enumerate(rates):
        if step <= peak:
            expected = low + (0.1 - low) * (1 - math.cos(math.pi * step / peak)) / 2
        else:
            expected = lowest + (0.1 - lowest) * (1 + math.cos(math.pi * (step - peak) / (steps - peak))) / 2
        assert rate == pytest.approx(expected, rel=1e-6)
    assert abs(int(np.argmax(rates)) - warmup * steps) <= 1
    assert max(rates) == pytest.approx(0.1, rel=0.01)
    assert rates[-1] < 0.01 * 0.1


@pytest.mark.parametrize("steps", [1, 2, 10, 100])
def test_without_warming_up_every_schedule_begins_at_the_top(steps):
    assert course_of_rates("none", steps, 0.0) == [0.1] * steps
    assert course_of_rates("plateau", steps, 0.0) == [0.1] * steps
    falling = course_of_rates("one-cycle", steps, 0.0)
    lowest = 0.1 / 25 / 1e4
    half_cosine = [(1 + math.cos(math.pi * (step + 1) / (steps + 1))) / 2 for step in range(steps)]
    assert falling == pytest.approx([lowest + (0.1 - lowest) * share for share in half_cosine])


@pytest.mark.parametrize("kind", ["plateau", "one-cycle", "none"])
def test_every_schedule_stays_between_nothing_and_the_top(kind):
    for warmup, steps in itertools.product((0.0, 0.1, 0.25, 0.5, 0.9), (1, 2, 3, 4, 7, 9, 19, 50)):
        rates = course_of_rates(kind, steps, warmup)
        assert all(0 < rate <= 0.1 + 1e-12 for rate in rates), (warmup, steps)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_fused_or_not_the_updates_are_the_same(signals, name):
    one, other = (fit(signals, make_model(), name=name, fused=fused, epochs=2, rate=0.01)[0] for fused in (True, False))
    for fused, single in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.allclose(fused, single, atol=1e-4)
    assert not same_weights(one, make_model())


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_optimizers_are_as_asked_for(name, fused):
    settings = training.make_optimizer(make_model(), name, 0.1, 0.01, 0.7, fused=fused).param_groups[0]
    assert (settings["lr"], settings["weight_decay"], settings["fused"]) == (0.1, 0.01, fused)
    assert settings.get("momentum", 0.7) == 0.7


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_each_layer_learns_at_its_share_of_the_next_ones_rate(family, name):
    model = network(2, family=family, num_layers=3)
    groups = training.make_optimizer(model, name, 0.1, 0.01, 0.7, layer_decay=0.5).param_groups
    assert [group["lr"] for group in groups] == [0.1 * 0.5**depth for depth in range(len(groups))]
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert len(rates) == sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    depths = len(groups) - 1
    for depth, layer in enumerate([*model.body.layers_in_order(), model.head]):
        assert {rates[id(parameter)] for parameter in layer.parameters()} == {0.1 * 0.5 ** (depths - depth)}
    assert {group["weight_decay"] for group in groups} == {0.01}


def test_a_layers_step_is_its_rate_times_its_gradient(signals):
    """Gradient descent without momentum: what a layer moves, over its gradient, is its rate."""
    model, rates = make_model(0.0), (0.04, 0.2, 1.0)  # two layers and the head
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = training.make_optimizer(model, "sgd", 1.0, 0.0, 0.0, layer_decay=0.2)
    with compute.parallel_map(CPU, 1) as pmap:
        training.Step(model, signals, optimizer, None, [None], pmap)(windows_at(0, 3, 17))
    found = [
        (old - new.detach(), new.grad, rate)
        for old, new, rate in zip(
            before, model.parameters(), [rates[0]] * 4 + [rates[1]] * 4 + [rates[2]] * 2, strict=True
        )
    ]
    for moved, gradient, rate in found:
        assert gradient.abs().sum() > 0
        assert torch.allclose(moved, gradient * rate, atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_one_group_and_many_of_the_same_rate_give_the_same_weights(signals, name, monkeypatch):
    models = [fit(signals, name=name, rate=0.01, kind="one-cycle", warmup=0.25, epochs=2)[0]]
    make = training.make_optimizer

    def in_groups(model, *arguments, **settings):
        optimizer = make(model, *arguments, **settings | {"layer_decay": 1 - 1e-12})
        assert len(optimizer.param_groups) == 3
        for group in optimizer.param_groups:
            group["lr"] = optimizer.param_groups[0]["lr"]
        return optimizer

    monkeypatch.setattr(training, "make_optimizer", in_groups)
    models.append(fit(signals, name=name, rate=0.01, kind="one-cycle", warmup=0.25, epochs=2)[0])
    assert same_weights(*models)
    assert not same_weights(models[0], make_model())


@pytest.mark.parametrize(("kind", "warmup"), [("plateau", 0.0), ("plateau", 0.5), ("one-cycle", 0.3), ("none", 0.3)])
def test_schedules_scale_every_layers_rate_alike(kind, warmup):
    optimizer = training.make_optimizer(make_model(), "sgd", 0.1, 0.0, 0.0, layer_decay=0.5, fused=False)
    schedule = training.Schedule(optimizer, kind, 10, warmup, 0.5, 0)
    seen = []
    for step in range(10):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([rates[0], rates[0] / 2, rates[0] / 4])
        seen.append(rates[0])
        optimizer.step()
        schedule.step()
        if step > 5:
            schedule.epoch(1.0)
    assert len({round(rate, 9) for rate in seen}) > 1
    assert seen[: 10 if kind != "plateau" else 7] == pytest.approx(
        course_of_rates(kind, 10, warmup)[: 10 if kind != "plateau" else 7]
    )


def noisy_gradients(std, steps, seed=1, size=4000):
    """What gradient noise adds in each step to gradients of 2, of two parameters: (steps, size)."""
    noise = training.GradientNoise(std, training.seed_for(seed, "gradient"))
    parameters = [nn.Parameter(torch.zeros(size - 100)), nn.Parameter(torch.zeros(10, 10))]
    found = []
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, 2.0)
        noise(parameters)
        found.append(torch.cat([parameter.grad.flatten() - 2 for parameter in parameters]))
    return torch.stack(found).double().numpy()


@pytest.mark.parametrize("std", [0.05, 3.0])
def test_gradient_noise_is_white_and_falls_with_the_power_of_the_step(std):
    noise = noisy_gradients(std, 50)
    falling = std * np.arange(1, 51) ** -0.275  # the square root of the paper's step^-0.55
    assert noise.std(axis=1) == pytest.approx(falling, rel=5 / (2 * 4000) ** 0.5)
    white = noise / falling[:, None]
    assert abs(white.mean()) < 4 / white.size**0.5
    assert stats.kstest(white.ravel(), "norm").pvalue > 1e-3
    assert abs((white[1:] * white[:-1]).mean()) < 4 / white.size**0.5  # from step to step
    assert abs((white[:, 1:] * white[:, :-1]).mean()) < 4 / white.size**0.5  # from weight to weight


def test_gradient_noise_is_that_of_its_seed():
    one, same, other = (noisy_gradients(0.1, 3, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not (one == other).any()


def test_gradient_noise_comes_on_top_of_the_clipped_gradient(signals):
    """With a step of 1 along the gradient, what moves is a gradient cut to nearly nothing, and noise."""
    after, (epoch,) = fit(
        signals,
        make_model(0.0),
        name="sgd",
        rate=1.0,
        momentum=0.0,
        grad_clip=1e-6,
        gradient_noise=0.3,
        epochs=1,
        batches=lambda generator: [windows_at(0, 3, 17)],
        steps=1,
    )
    pairs = zip(after.parameters(), make_model().parameters(), strict=True)
    moved = torch.cat([(one - other).detach().flatten() for one, other in pairs])
    assert moved.std().item() == pytest.approx(0.3, rel=5 / (2 * len(moved)) ** 0.5)
    assert 1e-3 < epoch.grad_norm < 1  # before clipping and without the noise, whose norm would be 0.3 x 30


def test_no_gradient_noise_leaves_training_as_it_is_and_some_is_the_seeds(signals, monkeypatch):
    noisy = [fit(signals, gradient_noise=0.1, seed=seed, epochs=1)[0] for seed in (1, 1)]
    assert same_weights(*noisy)
    plain = fit(signals, epochs=1)[0]
    assert not same_weights(noisy[0], plain)
    monkeypatch.setattr(training, "GradientNoise", None)  # not even made
    assert same_weights(fit(signals, gradient_noise=0.0, epochs=1)[0], plain)


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize(("conditioning", "hop"), KINDS)
def test_gradients_of_shorter_batches_are_those_of_the_shorter_windows(signals, conditioning, hop, shards):
    model, plain = make_model(0.0, conditioning, hop), None
    with compute.parallel_map(CPU, shards) as pmap:
        step = gradient_step(model, signals, pmap, shards)
        for samples in (20, 8, 12, 4):
            batch = windows_at(0, 3, 17, 100, 250, hop=hop, samples=samples)
            seen, found = step.gradients(batch)
            plain = Plain(model)
            inputs, target = cut(signals, model, batch, samples)
            assert len(inputs) == samples // hop
            loss = nn.functional.mse_loss(plain(inputs)[0], target)
            assert seen.mse == pytest.approx(loss.item(), rel=1e-5)
            assert seen.count == target.numel()
            assert_close(found, plain.gradients(loss))


def test_a_stream_goes_on_from_where_a_shorter_batch_ended(signals):
    model, lengths = make_model(0.0), (20, 7, 13, 20, 1)
    reading, generator = streams.StreamBatches([(0, 0, 400)], 4, 20, 2, 1), np.random.default_rng(2)
    batches = [reading.next(generator, length) for length in lengths]
    plain, state = Plain(model), None
    with compute.parallel_map(CPU, 1) as pmap:
        step = gradient_step(model, signals, pmap, 1)
        for batch, length in zip(batches, lengths, strict=True):
            seen, found = step.gradients(batch)
            inputs, target = cut(signals, model, batch, length)
            if state is not None:
                kept = torch.from_numpy(~batch.fresh).float()[:, None]
                state = tuple(part.detach() * kept for part in state)
            output, state = plain(inputs, state)
            loss = nn.functional.mse_loss(output, target)
            assert seen.mse == pytest.approx(loss.item(), rel=1e-5)
            assert_close(found, plain.gradients(loss))
    going = [~batch.fresh for batch in batches]
    for one, other, length, goes_on in zip(batches[:-1], batches[1:], lengths[:-1], going[1:], strict=True):
        assert np.array_equal(other.starts[goes_on, 1], one.starts[goes_on, 1] + length)
        assert goes_on.any()


@pytest.mark.parametrize(("conditioning", "hop", "stateful"), [("selector", 1, True), ("heads", 4, False)])
def test_batches_of_drawn_lengths_train(signals, conditioning, hop, stateful):
    model = make_model(0.0, conditioning, hop)
    train, _ = parts_of(signals, model)
    reading = streams.StreamBatches([(0, 0, 300)], 16, 20, model.examples, model.hop)
    drawn = []

    def batches(generator):
        lengths = drawn_steps(0.25, 20 // hop, 20, generator)
        drawn.extend(lengths)
        if stateful:
            return [reading.next(generator, length) for length in lengths]
        whole = train.batches(16, generator.permutation(len(train)))
        return [batch._replace(steps=length) for batch, length in zip(whole, lengths, strict=False)]

    _, epochs = fit(signals, model, epochs=8, rate=0.02, batches=batches, steps=20)
    assert epochs[-1].validation.mse < 0.9 * epochs[0].validation.mse
    assert (min(drawn), max(drawn)) == (-(-5 // hop), 20 // hop)


def test_lengths_are_drawn_evenly_from_a_share_of_the_longest_up():
    draws = drawn_steps(0.3, 25, 36_000, np.random.default_rng(1))
    found, counts = np.unique(draws, return_counts=True)
    assert found.tolist() == list(range(8, 26))  # 0.3 x 25 is 7.5
    assert stats.chisquare(counts).pvalue > 1e-3
    generator = np.random.default_rng(1)
    before = generator.bit_generator.state
    assert drawn_steps(1, 25, 4, generator) == [25] * 4
    assert generator.bit_generator.state == before  # nothing is drawn where there is nothing to choose


@pytest.mark.parametrize("conditioning", ["selector", "heads"])
def test_an_ensembles_validation_is_that_of_the_mean_of_outputs(signals, conditioning):
    members = [make_model(0.0, conditioning) for _ in range(3)]
    for number, member in enumerate(members):
        member.initialise(torch.Generator().manual_seed(number))
    (_, part) = parts_of(signals, members[0])
    with compute.parallel_map(CPU, 2) as pmap:
        found = examine(part)(Ensemble(members), pmap)
        losses = [examine(part)(member, pmap).mse for member in members]
    batch = part.batch(np.arange(len(part)))
    inputs, target = cut(signals, members[0], batch)
    with torch.no_grad():
        outputs = torch.stack([Plain(member)(inputs)[0] for member in members])
    assert found.mse == pytest.approx(nn.functional.mse_loss(outputs.mean(dim=0), target).item(), rel=1e-5)
    assert found.count == len(part.starts) * 2 * 20
    assert found.mse < np.mean(losses)  # as for every convex loss


@bfloat16
@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize(("conditioning", "hop"), [("selector", 1), ("heads", 4)])
def test_bfloat16_trains_nearly_as_float32_does(signals, conditioning, hop, stateful):
    losses, models = [], []
    for precision in ("float32", "bfloat16"):
        model = make_model(0.0, conditioning, hop)
        changes = carried(model) if stateful else {}
        _, epochs = fit(signals, model, precision=precision, **changes)
        losses.append([epoch.train.mse for epoch in epochs])
        models.append(model)
    assert losses[1] == pytest.approx(losses[0], rel=0.03)
    assert not same_weights(*models)  # bfloat16 was used
    assert all(parameter.dtype == torch.float32 for parameter in models[1].parameters())


def test_clipping_bounds_the_step(signals):
    before = make_model()
    after, epochs = fit(signals, model=make_model(), name="sgd", rate=1.0, grad_clip=1e-6, epochs=1)
    assert epochs[0].grad_norm > 1e-3
    moved = sum((a - b).square().sum() for a, b in zip(after.parameters(), before.parameters(), strict=True)).sqrt()
    assert moved < 1e-2


def test_a_loss_that_is_not_finite_stops_with_a_remedy(signals):
    with pytest.raises(InputError, match=r"the loss became (nan|inf) in epoch 1: lower train.learning_rate"):
        fit(signals, name="sgd", rate=1e30, grad_clip=None)


@pytest.mark.parametrize(("conditioning", "hop"), KINDS)
def test_every_example_is_seen_once_an_epoch(signals, conditioning, hop):
    step_count = []
    model = make_model(0.2, conditioning, hop)
    train, _ = parts_of(signals, model)
    _, (epoch,) = fit(signals, model, epochs=1, on_step=lambda step, steps, loss: step_count.append((step, steps)))
    steps = -(-len(train) // 16)
    assert step_count == [(step, steps) for step in range(1, steps + 1)]
    assert epoch.train.count == len(train.starts) * 2 * 20


def test_purposes_have_random_numbers_of_their_own():
    parts = [(seed, purpose, part) for seed in (1, 2) for purpose in training.PURPOSES for part in (0, 1)]
    states = {tuple(training.seed_for(*each).generate_state(4)) for each in parts}
    assert len(states) == len(parts)
