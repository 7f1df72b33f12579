import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from tonesift import sequences, training, windows
from tonesift.errors import InputError
from tonesift.model import ToneLSTM, torch_generator
from tonesift.sequences import Sequences, Signals

CPU = torch.device("cpu")
COMMON = {"epochs": 4, "batch_size": 16, "grad_clip": 1.0, "patience": 10, "seed": 1, "shards": 2}


def make_model(dropout=0.2):
    model = ToneLSTM(2, 8, 2, dropout)
    model.initialise(torch_generator(training.stream(1, "weights"), CPU))
    return model


@pytest.fixture
def parts():
    time = torch.arange(400) / 100
    tones = torch.stack([torch.sin(2 * torch.pi * frequency * time) for frequency in (2, 5)])
    signals = Signals(tones.mean(dim=0, keepdim=True), tones.unsqueeze(0))
    split = windows.split_blocks(1, 400, 20, 2, 0.2)
    return [Sequences(signals, windows.starts(part, 2), 20) for part in split]


def fit(parts, model=None, name="adam", rate=0.01, scheduler=False, **changes):
    model = model or make_model()
    optimizer = training.make_optimizer(model, name, rate, 1e-5, 0.9)
    plateau = ReduceLROnPlateau(optimizer, factor=0.5, patience=0) if scheduler else None
    return model, list(training.fit(model, *parts, optimizer, plateau, **COMMON | changes))


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_the_loss_falls(parts, name):
    _, epochs = fit(parts, name=name, rate=0.01 if name != "sgd" else 0.1, epochs=8)
    assert epochs[-1].train.mse < 0.9 * epochs[0].train.mse
    assert epochs[-1].validation.mse < epochs[0].validation.mse


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_gradients_of_shards_are_those_of_the_whole_batch(parts, shards):
    model, train = make_model(dropout=0.0), parts[0]
    examples = np.arange(17)
    with sequences.workers(CPU, shards) as run:
        step = training.Step(model, train, None, None, [None] * shards, run)
        seen, found = step.gradients(examples)
    inputs, target = train.batch(examples)
    loss = torch.nn.functional.mse_loss(model(inputs), target)
    loss.backward()
    assert seen.mse == pytest.approx(loss.item(), rel=1e-5)
    for parameter, gradient in zip(model.parameters(), found, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)


def test_one_thread_and_two_give_the_same_bits(parts, monkeypatch):
    models = []
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        models.append(fit(parts, shards=2)[0])
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(one, other)


def test_the_seed_decides(parts):
    runs = [fit(parts, seed=seed)[1][-1].train.mse for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_the_best_epochs_weights_are_kept_and_patience_ends_it(parts):
    model, epochs = fit(parts, rate=0.3, epochs=60, patience=3)
    assert len(epochs) < 60
    best = max(epoch.number for epoch in epochs if epoch.best)
    assert len(epochs) == best + 3
    lowest = min(epoch.validation.mse for epoch in epochs)
    with sequences.workers(CPU, 1) as run:
        kept = sum(sequences.score(model, parts[1], training.VALIDATION_BATCH, run).tallies, training.Tally())
    assert kept.mse == lowest


def test_the_plateau_scheduler_shrinks_the_rate(parts):
    _, epochs = fit(parts, rate=0.3, scheduler=True, epochs=20, patience=20)
    rates = [epoch.learning_rate for epoch in epochs]
    assert rates[0] == 0.3
    assert rates == sorted(rates, reverse=True)
    stalls = [n for n, epoch in enumerate(epochs[:-1]) if not epoch.best]
    assert stalls
    assert all(rates[n + 1] == rates[n] / 2 for n in stalls)


def test_clipping_bounds_the_step(parts):
    before = make_model()
    after, epochs = fit(parts, model=make_model(), name="sgd", rate=1.0, grad_clip=1e-6, epochs=1)
    assert epochs[0].grad_norm > 1e-3
    moved = sum((a - b).square().sum() for a, b in zip(after.parameters(), before.parameters(), strict=True)).sqrt()
    assert moved < 1e-2


def test_a_loss_that_is_not_finite_stops_with_a_remedy(parts):
    with pytest.raises(InputError, match=r"the loss became (nan|inf) in epoch 1: lower train.learning_rate"):
        fit(parts, name="sgd", rate=1e30, grad_clip=None)


def test_every_example_is_seen_once_an_epoch(parts):
    seen = []
    step_count = []
    model, _ = make_model(), None
    optimizer = training.make_optimizer(model, "adam", 0.01, 0.0, 0.9)

    def on_step(step, steps, loss):
        seen.append(loss)
        step_count.append((step, steps))

    (epoch,) = training.fit(model, *parts, optimizer, None, **COMMON | {"epochs": 1}, on_step=on_step)
    steps = -(-len(parts[0]) // 16)
    assert step_count == [(step, steps) for step in range(1, steps + 1)]
    assert epoch.train.count == len(parts[0]) * 20
