"""Gradient descent: one epoch after the other, the best one kept.

`fit` is an iterator: it yields what each epoch came to, and the caller logs it. A batch is cut into shards, each
shard's gradient is computed on a thread of its own, and the gradients are added in order, so that the result depends on
the number of shards and not on the number of threads.

What an epoch is, `tonesift.learning.epochs` says. Fresh noise can be added to the mixture whenever it is read, so that
a network never meets the same noise twice.

The best epoch is the one of lowest validation loss; when `fit` ends the model holds that epoch's weights.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LinearLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from tonesift.compute import ParallelMap, parallel_map
from tonesift.errors import InputError
from tonesift.learning.batches import Batch, Signals, gather
from tonesift.metrics import Tally, tally
from tonesift.networks.base import DropoutMasks, State
from tonesift.networks.model import Model, Network

PURPOSES = {"weights": 0, "order": 1, "dropout": 2, "noise": 3, "validation": 4, "gradient": 5}
NOISE_DECAY = 0.275  # power of the step by which gradient noise falls: its variance as in the paper, step^-0.55


@dataclass(frozen=True)
class EpochResult:
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
        The one the epoch began with.
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


def seed_for(seed: int, purpose: str, part: int = 0) -> np.random.SeedSequence:
    """Seed of its own for each purpose (a key of `PURPOSES`) and part of it."""
    return np.random.SeedSequence(seed, spawn_key=(PURPOSES[purpose], part))


def make_optimizer(
    model: Network,
    name: str,
    learning_rate: float,
    weight_decay: float,
    momentum: float,
    *,
    layer_decay: float = 1.0,
    fused: bool = True,
) -> torch.optim.Optimizer:
    """Optimiser over all parameters.

    Parameters
    ----------
    model : Network
        What is to learn.
    name : {'adam', 'adamw', 'sgd'}
        'sgd' is with momentum.
    learning_rate : float
        Of the head, and of everything unless `layer_decay` is below 1.
    weight_decay, momentum : float
        L2 penalty (adamw: decoupled); of sgd.
    layer_decay : float
        Learning rate of each layer as a share of the next one's, from the head down [1]_.
    fused : bool
        Update all of a layer's weights in one call.

    References
    ----------
    .. [1] J. Howard and S. Ruder, "Universal Language Model Fine-tuning for Text Classification", 2018 (discriminative
       fine-tuning).
    """
    groups = [{"params": list(model.parameters())}]
    if layer_decay != 1:
        layers = model.layers_in_order()[::-1]  # the head's rate is the first, which is shown
        groups = [
            {"params": list(layer.parameters()), "lr": learning_rate * layer_decay**depth}
            for depth, layer in enumerate(layers)
        ]
    if name == "sgd":
        return torch.optim.SGD(groups, learning_rate, momentum, weight_decay=weight_decay, fused=fused)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    return kind(groups, learning_rate, weight_decay=weight_decay, fused=fused)


class Schedule:
    """The learning rate from step to step and from epoch to epoch.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Its learning rate is the highest there will be.
    kind : {'plateau', 'one-cycle', 'none'}
        'plateau': shrinks when the validation loss stalls; 'one-cycle': up from a 25th and down to nearly nothing,
        along half cosines [1]_; 'none': stays.
    steps : int
        Steps of the whole training.
    warmup : float
        Share of the steps over which the rate rises: linearly from nearly nothing, or the first part of the cycle.
    factor, patience
        By which the rate shrinks, after so many epochs without gain ('plateau').

    References
    ----------
    .. [1] L. N. Smith and N. Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning
       Rates", 2018.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, kind: str, steps: int, warmup: float, factor: float, patience: int
    ) -> None:
        rising = round(warmup * steps)
        self._each_step: LRScheduler | None = None
        self._each_epoch: ReduceLROnPlateau | None = None
        if kind == "one-cycle":
            top, share = [group["lr"] for group in optimizer.param_groups], warmup if rising > 1 else 0.0
            self._each_step = OneCycleLR(optimizer, top, total_steps=steps + 1, pct_start=share, cycle_momentum=False)
            return
        if rising > 1:
            self._each_step = LinearLR(optimizer, start_factor=1 / rising, total_iters=rising - 1)
        if kind == "plateau":
            self._each_epoch = ReduceLROnPlateau(optimizer, factor=factor, patience=patience)

    def step(self) -> None:
        """A step was taken."""
        if self._each_step:
            self._each_step.step()

    def epoch(self, loss: float) -> None:
        """An epoch ended with this validation loss."""
        if self._each_epoch:
            self._each_epoch.step(loss)


@dataclass
class Step:
    """One step of gradient descent: gradients in shards, clipping, update.

    Attributes
    ----------
    model, signals, optimizer
        Network, the recordings it learns from, and what updates it.
    grad_clip : float or None
        Largest norm of the gradient.
    masks : list of DropoutMasks
        One for each shard; their number is the number of shards.
    pmap : ParallelMap
        Map over shards, from `compute.parallel_map`.
    noise_std : float
        Standard deviation of fresh noise on the scaled mixture.
    noises : list of numpy.random.Generator
        Where it comes from, one for each shard.
    precision : {'float32', 'bfloat16'}
        Of the network's arithmetic, its state included; weights and their updates are float32.
    gradient_noise : GradientNoise, optional
        What is added to each gradient.
    """

    model: Network
    signals: Signals
    optimizer: torch.optim.Optimizer
    grad_clip: float | None
    masks: list[DropoutMasks]
    pmap: ParallelMap
    noise_std: float = 0.0
    noises: list[np.random.Generator] = field(default_factory=list)
    precision: str = "float32"
    gradient_noise: "GradientNoise | None" = None

    def __post_init__(self) -> None:
        self._states: list[State | None] = [None] * len(self.masks)

    def __call__(self, batch: Batch) -> tuple[Tally, float]:
        """Take a step on a batch; give its tally and the gradient's norm before clipping."""
        seen, gradient = self.gradients(batch)
        for parameter, value in zip(self.model.parameters(), gradient, strict=True):
            parameter.grad = value
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.grad_clip or math.inf)
        if self.gradient_noise is not None:
            self.gradient_noise(self.model.parameters())
        self.optimizer.step()
        return seen, float(norm)

    def gradients(self, batch: Batch) -> tuple[Tally, list[Tensor]]:
        """Tally of a batch, and the gradient of its mean squared error for each parameter."""
        elements = len(batch.starts) * batch.steps * self.model.outputs
        shards = list(enumerate(batch.split(len(self.masks))))
        done = self.pmap(lambda shard: self._shard(*shard, elements=elements), shards)
        gradient = [sum(each[1:], start=each[0]) for each in zip(*(found for _, found in done), strict=True)]
        return sum((seen for seen, _ in done), Tally()), gradient

    def _shard(self, number: int, batch: Batch, elements: int) -> tuple[Tally, tuple[Tensor, ...]]:
        frames, target = gather(self.signals, batch, self.model)
        if self.noise_std > 0:
            frames = frames + self._noise(number, frames)
        features = self.model.features(frames, torch.from_numpy(batch.wanted).to(frames.device))
        before = _carried(self._states[number], batch)
        with torch.autocast(frames.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            output, after = self.model(features, before, self.masks[number])
        output = output.float()
        errors = (output - target).square()
        if self.signals.weights is not None:
            errors = errors * self.signals.weights[batch.starts[:, 0]][:, None]
        loss = errors.sum() / elements  # of the whole batch: shards' losses add up to its mean
        found = torch.autograd.grad(loss, list(self.model.parameters()))
        self._states[number] = [part.detach() for part in after]
        return tally(target.cpu().numpy(), output.detach().cpu().numpy()), found

    def _noise(self, number: int, frames: Tensor) -> Tensor:
        drawn = self.noises[number].standard_normal(frames.shape, dtype=np.float32)
        return torch.from_numpy(drawn).to(frames.device).mul_(self.noise_std)


def _carried(state: State | None, batch: Batch) -> State | None:
    """State a batch starts from: zeros where an example is fresh."""
    if state is None or batch.fresh.all():
        return None
    if not batch.fresh.any():
        return state
    kept = torch.from_numpy(~batch.fresh)
    return [part * kept.to(part.device).view(1, -1, *[1] * (part.dim() - 2)) for part in state]


class GradientNoise:
    """Normal noise on gradients, less and less of it from step to step.

    Parameters
    ----------
    std : float
        Standard deviation at the first step; at step t it is std t^-0.275.
    seed : numpy.random.SeedSequence
        Where its random numbers begin.

    References
    ----------
    A. Neelakantan et al., "Adding Gradient Noise Improves Learning for Very Deep Networks", 2015.
    """

    def __init__(self, std: float, seed: np.random.SeedSequence) -> None:
        self._std, self._steps = std, 0
        self._generator = np.random.Generator(np.random.SFC64(seed))

    def __call__(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add to the gradients of a step, after they were clipped."""
        self._steps += 1
        std = np.float32(self._std * self._steps**-NOISE_DECAY)
        for parameter in parameters:
            drawn = self._generator.standard_normal(parameter.shape, dtype=np.float32) * std
            parameter.grad.add_(torch.from_numpy(np.asarray(drawn)).to(parameter.device))


def fit(
    model: Network,
    signals: Signals,
    batches: Callable[[np.random.Generator], Sequence[Batch]],
    validate: Callable[[Model, ParallelMap], Tally],
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    *,
    epochs: int,
    grad_clip: float | None,
    patience: int,
    seed: int,
    shards: int,
    noise_std: float = 0.0,
    precision: str = "float32",
    gradient_noise: float = 0.0,
    on_step: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> Iterator[EpochResult]:
    """Train a model, epoch by epoch.

    Parameters
    ----------
    model : Network
        Trained in place; holds the best epoch's weights once the iterator is exhausted.
    signals : Signals
        What it learns from, on its device.
    batches : callable
        Takes a generator, gives the batches of an epoch in order.
    validate : callable
        Takes the model and a map over pieces of work, gives the tally of its validation.
    optimizer, schedule
        What updates the weights, and its learning rate.
    epochs : int
        At most so many.
    grad_clip : float or None
        Largest norm of the gradient.
    patience : int
        Epochs without a lower validation loss before training stops.
    seed, shards : int
        Of order, dropout and fresh noise; pieces a batch is cut into.
    noise_std : float
        Standard deviation of fresh noise on the scaled mixture.
    precision : {'float32', 'bfloat16'}
        Of the network's arithmetic in training.
    gradient_noise : float
        Standard deviation of noise on the gradient at the first step, see `GradientNoise`.
    on_step : callable
        Called after each step with the step's number from 1, the steps in an epoch and the step's loss.

    Yields
    ------
    EpochResult

    Raises
    ------
    InputError
        As soon as a loss is not finite.
    """
    device = signals.mixture.device
    order = np.random.default_rng(seed_for(seed, "order"))
    masks = [DropoutMasks(seed_for(seed, "dropout", shard), device) for shard in range(shards)]
    noises = [np.random.Generator(np.random.SFC64(seed_for(seed, "noise", shard))) for shard in range(shards)]
    best, weights, since = math.inf, _weights(model), 0
    with parallel_map(device, shards) as pmap:
        added = GradientNoise(gradient_noise, seed_for(seed, "gradient")) if gradient_noise else None
        step = Step(model, signals, optimizer, grad_clip, masks, pmap, noise_std, noises, precision, added)
        for number in range(1, epochs + 1):
            rate = optimizer.param_groups[0]["lr"]
            seen, norm = run_epoch(step, schedule, batches(order), number, on_step)
            checked = validate(model, pmap)
            _check_finite(checked.mse, number)
            since = 0 if checked.mse < best else since + 1  # of equal losses the earlier epoch is kept
            if since == 0:
                best, weights = checked.mse, _weights(model)
            schedule.epoch(checked.mse)
            yield EpochResult(number, seen, checked, rate, norm, best=since == 0)
            if since >= patience:
                break
    model.load_state_dict(weights)


def run_epoch(
    step: Step,
    schedule: Schedule,
    batches: Sequence[Batch],
    number: int,
    on_step: Callable[[int, int, float], None],
) -> tuple[Tally, float]:
    """Take every step of an epoch; give the tally over them and the mean norm of the gradient."""
    total, norms = Tally(), 0.0
    for index, batch in enumerate(batches, 1):
        seen, norm = step(batch)
        _check_finite(seen.mse, number)
        schedule.step()
        total, norms = total + seen, norms + norm
        on_step(index, len(batches), seen.mse)
    return total, norms / len(batches)


def _check_finite(loss: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise InputError(f"the loss became {loss} in epoch {epoch}: lower train.learning_rate or train.grad_clip")


def _weights(model: Network) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
