"""Temporal convolutional network: causal convolutions whose taps lie twice as far apart from block to block.

A block is two convolutions over steps beside a shortcut [1]_; here without weight normalisation, and with layer
normalisation if wanted. It reaches back so many steps and no further. Its state is the last inputs of each convolution,
zeros at the beginning: the padding that makes a convolution causal.

References
----------
.. [1] S. Bai, J. Z. Kolter and V. Koltun, "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for
   Sequence Modeling", 2018.
.. [2] K. He, X. Zhang, S. Ren and J. Sun, "Delving Deep into Rectifiers", 2015.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tonesift.networks import base
from tonesift.networks.base import (
    DropoutMasks,
    Linear,
    State,
    Stepper,
    draw_uniform,
    dropped,
    normaliser,
    product,
    with_bias,
)

ZERO, LOWEST = np.float32(0), np.float32(-np.inf)


class Convolution(nn.Module):
    """Causal convolution over steps.

    Parameters
    ----------
    inputs, outputs : int
        Channels in and out.
    taps : int
        Steps that an output is made from (`kernel_size`).
    dilation : int
        Steps from one tap to the next.

    Attributes
    ----------
    weight : Parameter, shape (taps, inputs, outputs)
        The oldest tap first.
    reach : int
        Steps before its own that an output depends on.

    Notes
    -----
    A product for each tap, added up in turn, is the quickest in float32. Processor time of 8 convolutions of 64
    channels and 3 taps on 50 steps of 32 sequences, forward and backward, one thread: 15 ms, against 17 ms for one
    product of the taps side by side (which keeps every input once for each tap), 20 ms for separate products and sums,
    and 22 ms for `conv1d`; in bfloat16 11, 9, 11 and 19 ms.
    """

    def __init__(self, inputs: int, outputs: int, taps: int, dilation: int) -> None:
        super().__init__()
        self.taps, self.dilation, self.reach = taps, dilation, (taps - 1) * dilation
        self.weight = nn.Parameter(torch.zeros(taps, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, entering: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Sums (L, B, outputs) for (L, B, inputs) that follow on (reach, B, inputs), and the last `reach` inputs."""
        steps, sequences, channels = entering.shape
        if before is None:
            before = entering.new_zeros(self.reach, sequences, channels)
        known = torch.cat([before, entering]) if self.reach else entering
        sums = self.bias
        for tap, weight in enumerate(self.weight.unbind()):
            begin = tap * self.dilation
            sums = product(known[begin : begin + steps].reshape(-1, channels), weight.T, sums)
        return sums.view(steps, sequences, len(self.bias)), known[steps : steps + self.reach]


class Block(nn.Module):
    """Two convolutions, each followed by ReLU and dropout, beside a shortcut; ReLU of the sum, as in the paper.

    Parameters
    ----------
    inputs, hidden_size : int
        Channels in and out; the shortcut is a linear map where they differ.
    kernel_size, dilation : int
        Taps of both convolutions, and the steps between them.
    dropout : float
        Share dropped behind each convolution in training.
    layer_norm : bool
        Normalise over the channels before the ReLU of each convolution.
    """

    def __init__(
        self, inputs: int, hidden_size: int, kernel_size: int, dilation: int, dropout: float, layer_norm: bool
    ) -> None:
        super().__init__()
        self.dropout, sizes = dropout, (inputs, hidden_size)
        self.convolutions = nn.ModuleList(Convolution(size, hidden_size, kernel_size, dilation) for size in sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden_size) for _ in sizes) if layer_norm else None
        self.projection = Linear(inputs, hidden_size) if inputs != hidden_size else None

    def forward(self, features: Tensor, state: State | None, masks: DropoutMasks | None) -> tuple[Tensor, State]:
        """Hidden values (L, B, hidden_size) of features (L, B, inputs); the state is that of both convolutions."""
        hidden, after = features, []
        for number, convolution in enumerate(self.convolutions):
            hidden, last = convolution(hidden, None if state is None else state[number])
            if self.norms is not None:
                hidden = self.norms[number](hidden)
            hidden = dropped(hidden.relu(), masks, self.dropout)
            after.append(last)
        shortcut = features if self.projection is None else self.projection(features)
        return (hidden + shortcut).relu(), after


class Body(base.Body):
    """Stacked blocks; the taps of block i = 0, 1, ... lie 2**i steps apart.

    Parameters
    ----------
    inputs : int
        Features at each step.
    num_layers : int
        Blocks, of two convolutions each.
    dropout : float
        Share of each convolution's outputs dropped in training.
    hidden_size : int
        Channels of each convolution.
    kernel_size : int
        Taps of each convolution; with 1 nothing is remembered.
    layer_norm : bool
        Normalise each convolution's outputs over its channels, before the ReLU.

    Notes
    -----
    With n blocks, H channels, k taps and D features it has H (k D + (2 n - 1) k H + 2 n) parameters, H (D + 1) more if
    D differs from H, and 4 n H more with normalisation.
    """

    def __init__(
        self,
        inputs: int,
        num_layers: int,
        dropout: float,
        hidden_size: int,
        kernel_size: int,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        self.width, self.kernel_size = hidden_size, kernel_size
        sizes = [inputs] + [hidden_size] * (num_layers - 1)
        self.blocks = nn.ModuleList(
            Block(size, hidden_size, kernel_size, 2**number, dropout, layer_norm) for number, size in enumerate(sizes)
        )

    @property
    def receptive_field(self) -> int:
        """Steps that a hidden value depends on, its own included: 1 + 2 (kernel_size - 1) (2**num_layers - 1)."""
        return 1 + 2 * (self.kernel_size - 1) * (2 ** len(self.blocks) - 1)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw weights from U(-sqrt(6 / n), sqrt(6 / n)) [2]_, where n values enter each sum; biases are 0."""
        for part in self.modules():
            if isinstance(part, Convolution | nn.Linear):
                entering = part.weight[..., 0].numel() if isinstance(part, Convolution) else part.in_features
                draw_uniform([part.weight], (6 / entering) ** 0.5, generator)
                nn.init.zeros_(part.bias)
            elif isinstance(part, nn.LayerNorm):
                part.reset_parameters()  # 1 and 0

    def layers_in_order(self) -> list[nn.Module]:
        """The blocks."""
        return list(self.blocks)

    def forward(self, features: Tensor, state: State | None, masks: DropoutMasks | None) -> tuple[Tensor, State]:
        """See `base.Body`; the state is each convolution's last inputs, shapes (reach, B, channels)."""
        hidden, after = features, []
        for number, block in enumerate(self.blocks):
            hidden, reached = block(hidden, None if state is None else state[2 * number : 2 * number + 2], masks)
            after += reached
        return hidden, after

    def stepper(self, rows: int) -> "TCNStepper":
        """See `base.Body`."""
        return TCNStepper(self, rows)


class _Taps(NamedTuple):
    """Where a convolution's inputs lie at one in so many steps: `row` is [oldest, ..., newest, 1], (rows, ...)."""

    row: NDArray[np.float32]
    older: NDArray[np.float32]  # all but the newest
    newer: NDArray[np.float32]  # all but the oldest
    newest: NDArray[np.float32]


class _Layer:
    """What a convolution of a stepper reads and writes.

    Notes
    -----
    Only inputs a multiple of the dilation apart meet in a product. So there are `dilation` rows of taps, used in turn:
    a step moves one row along by a tap, and nothing has to be gathered for the product.
    """

    def __init__(self, weights: NDArray[np.float32], convolution: Convolution, rows: int) -> None:
        channels, self.weights = convolution.weight.shape[1], weights
        ring = np.zeros((convolution.dilation, rows, len(weights)), dtype="f4")
        ring[..., -1] = 1
        self.inputs = ring[..., :-1]
        self.taps = [
            _Taps(row, row[:, : -1 - channels], row[:, channels:-1], row[:, -1 - channels : -1]) for row in ring
        ]
        self.sums = np.zeros((rows, weights.shape[1]), dtype="f4")


class _Block:
    """What a block of a stepper reads and writes."""

    def __init__(self, block: Block, rows: int) -> None:
        first, second = block.convolutions
        self.first = _Layer(_first_weights(block), first, rows)
        self.second = _Layer(_weights(second), second, rows)
        width = len(second.bias)
        self.hidden, self.output = self.first.sums[:, :width], self.second.sums
        self.projected = None if block.projection is None else self.first.sums[:, width:]
        sums = (self.hidden, self.output)
        self.norms = [normaliser(norm, both, both) for norm, both in zip(block.norms or (), sums, strict=False)]


class TCNStepper(Stepper):
    """Stacked blocks a step at a time.

    Parameters
    ----------
    body : Body
        Its weights are copied.
    rows : int
        Sequences.

    Notes
    -----
    `state` is the number of the step, modulo the largest dilation, and each convolution's inputs.
    """

    def __init__(self, body: Body, rows: int) -> None:
        self._blocks = [_Block(block, rows) for block in body.blocks]
        self._step = np.zeros(1, dtype="i8")
        self._period = 2 ** (len(self._blocks) - 1)
        self.reads = np.zeros((rows, self._blocks[0].first.taps[0].newest.shape[1]), dtype="f4")
        self.output = np.ones((rows, body.width + 1), dtype="f4")
        self._hidden = self.output[:, :-1]
        self.state = [self._step, *(layer.inputs for block in self._blocks for layer in (block.first, block.second))]

    def step(self) -> None:
        """See `base.Stepper`."""
        dot, maximum, add, copyto = np.dot, np.maximum, np.add, np.copyto
        step = self._step.item()
        entering, lowest = self.reads, LOWEST  # features are read as they are, a block's output through its ReLU
        for block in self._blocks:
            first, second, sums = block.first, block.second, block.output
            row, older, newer, read = first.taps[step % len(first.taps)]
            copyto(older, newer)
            maximum(entering, lowest, out=read)
            dot(row, first.weights, first.sums)
            if block.norms:
                block.norms[0]()
            row, older, newer, newest = second.taps[step % len(second.taps)]
            copyto(older, newer)
            maximum(block.hidden, ZERO, out=newest)
            dot(row, second.weights, sums)
            if block.norms:
                block.norms[1]()
            maximum(sums, ZERO, out=sums)
            add(sums, read if block.projected is None else block.projected, sums)
            entering, lowest = sums, ZERO
        maximum(entering, ZERO, out=self._hidden)
        self._step[0] = (step + 1) % self._period


def _weights(convolution: Convolution) -> NDArray[np.float32]:
    """Weights (taps * inputs + 1, outputs) of a convolution."""
    return with_bias(convolution.weight.flatten(0, 1).T, convolution.bias)


def _first_weights(block: Block) -> NDArray[np.float32]:
    """Weights of a block's first convolution and, beside them, of its shortcut: one product for both."""
    weights = _weights(block.convolutions[0])
    if block.projection is None:
        return weights
    own = with_bias(block.projection.weight, block.projection.bias)
    older = np.zeros((len(weights) - len(own), own.shape[1]), dtype="f4")
    return np.hstack([weights, np.vstack([older, own])])
