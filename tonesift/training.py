"""Gradient descent over windows: one epoch after the other, the best one kept.

`fit` is an iterator: it yields what each epoch came to, and the caller logs it. A batch is cut into shards, each
shard's gradient is computed on a thread of its own, and the gradients are added in order, so that the result depends on
the number of shards and not on the number of threads.

The best epoch is the one of lowest validation loss; when `fit` ends the model holds that epoch's weights.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from tonesift.errors import InputError
from tonesift.metrics import Tally, tally
from tonesift.model import DropoutMasks, ToneLSTM
from tonesift.sequences import Sequences, Workers, score, workers

STREAMS = {"weights": 0, "order": 1, "dropout": 2}
VALIDATION_BATCH = 512  # examples in a pass; part of the bits, so not a matter of taste


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to.

    Attributes
    ----------
    number : int
        From 1.
    train : Tally
        Over the epoch's steps as they were taken, dropout included.
    validation : Tally
        After the epoch, without dropout.
    learning_rate : float
        The one the epoch was trained with.
    grad_norm : float
        Mean norm of the gradient before clipping.
    best : bool
        Whether this is the lowest validation loss so far.
    """

    number: int
    train: Tally
    validation: Tally
    learning_rate: float
    grad_norm: float
    best: bool


def stream(seed: int, purpose: str, part: int = 0) -> np.random.SeedSequence:
    """Seed of its own for each purpose ('weights', 'order', 'dropout') and part of it."""
    return np.random.SeedSequence(seed, spawn_key=(STREAMS[purpose], part))


def make_optimizer(
    model: ToneLSTM, name: str, learning_rate: float, weight_decay: float, momentum: float
) -> torch.optim.Optimizer:
    """'adam', 'adamw' or 'sgd' (with momentum) over all parameters, in PyTorch's fused form."""
    parameters = list(model.parameters())
    if name == "sgd":
        return torch.optim.SGD(parameters, learning_rate, momentum, weight_decay=weight_decay, fused=True)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    return kind(parameters, learning_rate, weight_decay=weight_decay, fused=True)


@dataclass(frozen=True)
class Step:
    """One step of gradient descent: gradients in shards, clipping, update.

    Attributes
    ----------
    model, train, optimizer
        Network, its training examples, and what updates it.
    grad_clip : float or None
        Largest norm of the gradient.
    masks : list of DropoutMasks
        One for each shard; their number is the number of shards.
    run : Workers
        Map over shards, from `sequences.workers`.
    """

    model: ToneLSTM
    train: Sequences
    optimizer: torch.optim.Optimizer
    grad_clip: float | None
    masks: list[DropoutMasks]
    run: Workers

    def __call__(self, examples: NDArray[np.int64]) -> tuple[Tally, float]:
        """Take a step on a batch of examples (B,); give its tally and the gradient's norm before clipping."""
        seen, gradient = self.gradients(examples)
        for parameter, value in zip(self.model.parameters(), gradient, strict=True):
            parameter.grad = value
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.grad_clip or math.inf)
        self.optimizer.step()
        return seen, float(norm)

    def gradients(self, examples: NDArray[np.int64]) -> tuple[Tally, list[Tensor]]:
        """Tally of a batch (B,), and the gradient of its mean squared error for each parameter."""
        parts = np.array_split(examples, len(self.masks))
        shards = [(part, mask) for part, mask in zip(parts, self.masks, strict=True) if part.size]
        done = self.run(lambda shard: self._shard(*shard, elements=len(examples) * self.train.length), shards)
        gradient = [sum(each[1:], start=each[0]) for each in zip(*(found for _, found in done), strict=True)]
        return sum((seen for seen, _ in done), Tally()), gradient

    def _shard(
        self, examples: NDArray[np.int64], mask: DropoutMasks, elements: int
    ) -> tuple[Tally, tuple[Tensor, ...]]:
        inputs, target = self.train.batch(examples)
        output = self.model(inputs, mask)
        loss = (output - target).square().sum() / elements
        found = torch.autograd.grad(loss, list(self.model.parameters()))
        return tally(target.cpu().numpy(), output.detach().cpu().numpy()), found


def fit(
    model: ToneLSTM,
    train: Sequences,
    validation: Sequences,
    optimizer: torch.optim.Optimizer,
    scheduler: ReduceLROnPlateau | None,
    *,
    epochs: int,
    batch_size: int,
    grad_clip: float | None,
    patience: int,
    seed: int,
    shards: int,
    on_step: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> Iterator[Epoch]:
    """Train a model, epoch by epoch.

    Parameters
    ----------
    model : ToneLSTM
        Trained in place; holds the best epoch's weights once the iterator is exhausted.
    train, validation : Sequences
        Both on the model's device.
    optimizer, scheduler
        What updates the weights, and the learning rate (None: it stays) by the validation loss.
    epochs, batch_size : int
        At most so many epochs, in steps of so many examples.
    grad_clip : float or None
        Largest norm of the gradient.
    patience : int
        Epochs without a lower validation loss before training stops.
    seed, shards : int
        Of order and dropout; pieces a batch is cut into.
    on_step : callable
        Called after each step with the step's number from 1, the steps in an epoch and the step's loss.

    Yields
    ------
    Epoch

    Raises
    ------
    InputError
        As soon as a loss is not finite.
    """
    device = train.signals.mixture.device
    order = np.random.default_rng(stream(seed, "order"))
    masks = [DropoutMasks(stream(seed, "dropout", shard), device) for shard in range(shards)]
    best, weights, since = math.inf, _weights(model), 0
    with workers(device, shards) as run:
        step = Step(model, train, optimizer, grad_clip, masks, run)
        for number in range(1, epochs + 1):
            rate = optimizer.param_groups[0]["lr"]
            seen, norm = _epoch(step, _batches(order.permutation(len(train)), batch_size), number, on_step)
            checked = sum(score(model, validation, VALIDATION_BATCH, run).tallies, Tally())
            _check_finite(checked.mse, number)
            since = 0 if checked.mse < best else since + 1
            if since == 0:
                best, weights = checked.mse, _weights(model)
            if scheduler:
                scheduler.step(checked.mse)
            yield Epoch(number, seen, checked, rate, norm, best=since == 0)
            if since >= patience:
                break
    model.load_state_dict(weights)


def _epoch(
    step: Step, batches: list[NDArray[np.int64]], number: int, on_step: Callable[[int, int, float], None]
) -> tuple[Tally, float]:
    """Take every step of an epoch; give the tally over them and the mean norm of the gradient."""
    total, norms = Tally(), 0.0
    for index, examples in enumerate(batches, 1):
        seen, norm = step(examples)
        _check_finite(seen.mse, number)
        total, norms = total + seen, norms + norm
        on_step(index, len(batches), seen.mse)
    return total, norms / len(batches)


def _batches(examples: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return np.split(examples, np.arange(size, len(examples), size))


def _check_finite(loss: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise InputError(f"the loss became {loss} in epoch {epoch}: lower train.learning_rate or train.grad_clip")


def _weights(model: ToneLSTM) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
