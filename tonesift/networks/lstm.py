"""Long short-term memory: the family that the baseline and the promoted configuration are of.

References
----------
S. Hochreiter and J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997.
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
    """Stacked LSTM; each layer remembers its output and its cell."""

    layer = nn.LSTM
    kernel = staticmethod(torch.lstm)
    memories: ClassVar[int] = 2
    remembering: ClassVar[dict[int, int]] = {0: -1, 1: 1}  # the input and the forget gate

    def stepper(self, rows: int) -> "LSTMStepper":
        """See `base.Body`."""
        return LSTMStepper(self, rows)


class _Layer(NamedTuple):
    """What a layer of a stepper reads and writes, all for (rows, ...); `cell` and `output` are its state."""

    reads: NDArray[np.float32]
    weights: NDArray[np.float32]
    gates: NDArray[np.float32]
    sigmoids: NDArray[np.float32]
    enter: NDArray[np.float32]
    forget: NDArray[np.float32]
    leave: NDArray[np.float32]
    candidate: NDArray[np.float32]
    cell: NDArray[np.float32]
    output: NDArray[np.float32]


class LSTMStepper(RecurrentStepper):
    """Stacked LSTM a step at a time; parameters as for `RecurrentStepper`.

    Notes
    -----
    The gates are in the order input, forget, output, candidate; the weights of the first three are halved, which is
    exact, as sigmoid(x) = tanh(x / 2) / 2 + 1 / 2.
    """

    def __init__(self, body: Body, rows: int) -> None:
        super().__init__(body, rows)
        hidden, self._layers = body.hidden_size, []
        for layer, reads, output in zip(body.layers, self.layer_reads, self.layer_outputs, strict=True):
            gates, cell = (np.zeros((rows, size), dtype="f4") for size in (4 * hidden, hidden))
            parts = (gates[:, n * hidden : (n + 1) * hidden] for n in range(4))
            weights = _gate_weights(layer)
            self._layers.append(_Layer(reads, weights, gates, gates[:, : 3 * hidden], *parts, cell, output))
        self.state = [part for layer in self._layers for part in (layer.output, layer.cell)]

    def step(self) -> None:
        """See `Stepper`."""
        dot, tanh, multiply, add = np.dot, np.tanh, np.multiply, np.add
        for number, layer in enumerate(self._layers):
            reads, weights, gates, sigmoids, enter, forget, leave, candidate, cell, output = layer
            dot(reads, weights, gates)
            tanh(gates, gates)
            multiply(sigmoids, HALF, sigmoids)
            add(sigmoids, HALF, sigmoids)
            multiply(enter, candidate, candidate)
            multiply(cell, forget, cell)
            add(cell, candidate, cell)
            tanh(cell, enter)
            multiply(enter, leave, output)
            self.normalise(number)


def _gate_weights(layer: nn.LSTM) -> NDArray[np.float32]:
    """Weights (inputs + 1 + hidden, 4 hidden) of a single layer, the bias after the inputs'."""
    names = ("weight_ih_l0", "bias_ih_l0", "bias_hh_l0", "weight_hh_l0")
    entering, first, second, own = (array(getattr(layer, name)) for name in names)
    enter, forget, candidate, leave = np.split(np.hstack([entering, (first + second)[:, None], own]), 4)
    return np.ascontiguousarray(np.concatenate([enter * HALF, forget * HALF, leave * HALF, candidate]).T)
