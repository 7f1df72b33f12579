"""Gated recurrent unit: a recurrent layer with one memory and three gates where the LSTM has two and four.

References
----------
K. Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation", 2014.
"""

from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tonesift.networks.base import array
from tonesift.networks.recurrent import Recurrent, RecurrentStepper

HALF = np.float32(0.5)


class Body(Recurrent):
    """Stacked GRU; each layer remembers its output."""

    layer = nn.GRU
    kernel = staticmethod(torch.gru)
    memories: ClassVar[int] = 1
    remembering: ClassVar[dict[int, int]] = {1: 1}  # the gate that keeps

    def stepper(self, rows: int) -> "GRUStepper":
        """See `base.Body`."""
        return GRUStepper(self, rows)


class _Layer(NamedTuple):
    """What a layer of a stepper reads and writes, all for (rows, ...); `output` is its state."""

    reads: NDArray[np.float32]
    weights: NDArray[np.float32]
    gates: NDArray[np.float32]
    sigmoids: NDArray[np.float32]
    reset: NDArray[np.float32]
    keep: NDArray[np.float32]
    own: NDArray[np.float32]
    candidate: NDArray[np.float32]
    output: NDArray[np.float32]


class GRUStepper(RecurrentStepper):
    """Stacked GRU a step at a time; parameters as for `RecurrentStepper`.

    Notes
    -----
    The columns of the product are reset gate, gate that keeps, the candidate's part of the last output, and its part of
    the inputs; sigmoids are computed as in the LSTM, from halved weights. The candidate's two parts fill zeros in the
    weights: one larger product takes less time than two.
    """

    def __init__(self, body: Body, rows: int) -> None:
        super().__init__(body, rows)
        hidden, self._layers = body.hidden_size, []
        for layer, reads, output in zip(body.layers, self.layer_reads, self.layer_outputs, strict=True):
            gates = np.zeros((rows, 4 * hidden), dtype="f4")
            parts = (gates[:, n * hidden : (n + 1) * hidden] for n in range(4))
            self._layers.append(_Layer(reads, _gate_weights(layer), gates, gates[:, : 2 * hidden], *parts, output))
        self.state = list(self.layer_outputs)

    def step(self) -> None:
        """See `base.Stepper`."""
        dot, tanh, multiply, add, subtract = np.dot, np.tanh, np.multiply, np.add, np.subtract
        for number, layer in enumerate(self._layers):
            reads, weights, gates, sigmoids, reset, keep, own, candidate, output = layer
            dot(reads, weights, gates)
            tanh(sigmoids, sigmoids)
            multiply(sigmoids, HALF, sigmoids)
            add(sigmoids, HALF, sigmoids)
            multiply(own, reset, own)
            add(candidate, own, candidate)
            tanh(candidate, candidate)
            subtract(output, candidate, output)
            multiply(output, keep, output)
            add(output, candidate, output)
            self.normalise(number)


def _gate_weights(layer: nn.GRU) -> NDArray[np.float32]:
    """Weights (inputs + 1 + hidden, 4 hidden) of a single layer, the bias after the inputs'."""
    names = ("weight_ih_l0", "bias_ih_l0", "weight_hh_l0", "bias_hh_l0")
    entering, first, own, second = (np.split(array(getattr(layer, name)), 3) for name in names)
    rows = [np.hstack([entering[n], (first[n] + second[n])[:, None], own[n]]) * HALF for n in range(2)]
    rows.append(np.hstack([np.zeros_like(entering[2]), second[2][:, None], own[2]]))
    rows.append(np.hstack([entering[2], first[2][:, None], np.zeros_like(own[2])]))
    return np.ascontiguousarray(np.concatenate(rows).T)
