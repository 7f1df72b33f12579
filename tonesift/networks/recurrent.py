"""What LSTM and GRU share: stacked layers, each with what may stand behind it, and both directions.

Layers are single ones of PyTorch with dropout of ours between them (`base` says why). Recurrent dropout
drops weights of the hidden-to-hidden matrix, the same for all steps of a batch [1]_, which leaves PyTorch's fast
kernels in use; dropping hidden values step by step would not.

References
----------
.. [1] S. Merity, N. S. Keskar and R. Socher, "Regularizing and Optimizing LSTM Language Models", 2017 (DropConnect).
.. [2] C. Tallec and Y. Ollivier, "Can recurrent neural networks warp time?", ICLR 2018 (chrono initialisation).
"""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from tonesift.networks.base import Body, DropoutMasks, State, Stepper, draw_uniform, dropped, normaliser

PARTS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


class Recurrent(Body):
    """Stacked recurrent layers.

    Parameters
    ----------
    inputs : int
        Features at each step.
    hidden_size, num_layers : int
        Units in each layer (and direction); number of layers.
    dropout : float
        Share of each layer's outputs dropped in training.
    bidirectional : bool
        Read each sequence from behind as well; then nothing is causal and no state is carried on.
    layer_norm : bool
        Normalise each layer's outputs over its units.
    recurrent_dropout : float
        Share of the weights between hidden values dropped in training.
    memory : int, optional
        Units begin with times of memory from 1 to `memory` - 1 steps. Without it they forget about half in a step.
    """

    layer: ClassVar[Callable[..., nn.RNNBase]]
    kernel: ClassVar[Callable[..., tuple[Tensor, ...]]]  # PyTorch's function behind `layer`
    memories: ClassVar[int]  # tensors that a layer remembers
    remembering: ClassVar[dict[int, int]]  # gates that decide how long, by number: 1 keeps when open, -1 overwrites

    def __init__(
        self,
        inputs: int,
        hidden_size: int,
        num_layers: int,
        dropout: float,
        bidirectional: bool = False,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        memory: int | None = None,
    ) -> None:
        super().__init__()
        self.memory = memory
        self.dropout, self.recurrent_dropout = dropout, recurrent_dropout
        self.hidden_size, self.bidirectional, self.causal = hidden_size, bidirectional, not bidirectional
        self.width = hidden_size * (2 if bidirectional else 1)
        sizes = [inputs] + [self.width] * num_layers
        make = type(self).layer
        self.layers = nn.ModuleList(make(size, hidden_size, bidirectional=bidirectional) for size in sizes[:-1])
        self.norms = nn.ModuleList(nn.LayerNorm(self.width) for _ in self.layers) if layer_norm else None

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight and bias from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)), PyTorch's own choice.

        With `memory`, the biases of gates that decide how long a unit remembers are then set for that [2]_.
        """
        draw_uniform(list(self.layers.parameters()), self.hidden_size**-0.5, generator)
        if self.memory is None:
            return
        for layer in self.layers:
            for end in ("", "_reverse")[: 1 + self.bidirectional]:
                self._remember(layer, end, generator)

    def _remember(self, layer: nn.RNNBase, end: str, generator: torch.Generator) -> None:
        """Set the biases of a layer's gates, each the sum of two, so that what it remembers decays over t steps.

        t is drawn from U(1, memory - 1) for each unit; a gate of bias log t keeps t / (t + 1), one of -log t the rest.
        """
        entering, own = (getattr(layer, f"{name}{end}") for name in PARTS[2:])
        times = torch.empty(self.hidden_size, device=entering.device).uniform_(1, self.memory - 1, generator=generator)
        with torch.no_grad():
            for gate, sign in self.remembering.items():
                part = slice(gate * self.hidden_size, (gate + 1) * self.hidden_size)
                entering[part], own[part] = sign * times.log(), 0.0

    def layers_in_order(self) -> list[nn.Module]:
        """Each layer with its normalisation."""
        if self.norms is None:
            return list(self.layers)
        return [nn.ModuleList(pair) for pair in zip(self.layers, self.norms, strict=True)]

    def forward(self, features: Tensor, state: State | None, masks: DropoutMasks | None) -> tuple[Tensor, State]:
        """See `Body`; the state is what each layer remembers, shapes (1, B, hidden_size), or nothing."""
        hidden, after = features, []
        for number, layer in enumerate(self.layers):
            before = None if state is None or self.bidirectional else self._memory(state, number)
            hidden, reached = self._run(layer, hidden, before, masks)
            if not self.bidirectional:
                after += reached if isinstance(reached, tuple) else [reached]
            if self.norms is not None:
                hidden = self.norms[number](hidden)
            hidden = dropped(hidden, masks, self.dropout)
        return hidden, after

    def _memory(self, state: State, number: int) -> Tensor | tuple[Tensor, ...]:
        mine = tuple(state[number * self.memories : (number + 1) * self.memories])
        return mine if self.memories > 1 else mine[0]

    def _run(
        self, layer: nn.RNNBase, hidden: Tensor, before: Tensor | tuple[Tensor, ...] | None, masks: DropoutMasks | None
    ) -> tuple[Tensor, Tensor | tuple[Tensor, ...]]:
        if masks is None or self.recurrent_dropout == 0:
            return layer(hidden, before)
        names = [name + end for end in ("", "_reverse")[: 1 + self.bidirectional] for name in PARTS]
        weights = [getattr(layer, name) for name in names]
        for at in range(1, len(weights), len(PARTS)):
            weights[at] = dropped(weights[at], masks, self.recurrent_dropout)
        if before is None:
            zeros = hidden.new_zeros(1 + self.bidirectional, hidden.shape[1], self.hidden_size)
            before = (zeros,) * self.memories if self.memories > 1 else zeros
        output, *reached = type(self).kernel(hidden, before, weights, True, 1, 0.0, True, self.bidirectional, False)
        return output, tuple(reached) if self.memories > 1 else reached[0]


class RecurrentStepper(Stepper):
    """Stacked recurrent layers a step at a time: memory laid out for one matrix product a layer.

    Parameters
    ----------
    body : Recurrent
        Its weights are copied.
    rows : int
        Sequences.

    Attributes
    ----------
    layer_reads : list of ndarray, shape (rows, inputs + 1 + hidden size)
        What each layer reads: its inputs, a one for the bias, its own last output.
    layer_outputs : list of ndarray, shape (rows, hidden size)
        Each layer's own last output, to be overwritten; part of `layer_reads`.

    Notes
    -----
    All of it is one row of memory for each sequence, [features, 1, h1, 1, h2, 1, ...]: a layer's output is written
    where the next layer reads it. With normalisation the two differ, [features, 1, h1, norm(h1), 1, h2, norm(h2), 1].
    """

    def __init__(self, body: Recurrent, rows: int) -> None:
        hidden, inputs = body.hidden_size, body.layers[0].input_size
        sizes = [inputs] + [hidden] * len(body.layers)
        apart = hidden if body.norms is not None else 0
        tape = np.zeros((rows, sum(sizes) + len(sizes) + apart * len(body.layers)), dtype="f4")
        self.layer_reads, self.layer_outputs, self._norms, begin = [], [], [], 0
        for number, size in enumerate(sizes[:-1]):
            reads = tape[:, begin : begin + size + 1 + hidden]
            reads[:, size] = 1
            self.layer_reads.append(reads)
            self.layer_outputs.append(reads[:, -hidden:])
            begin += size + 1 + apart
            if body.norms is not None:
                self._norms.append(normaliser(body.norms[number], reads[:, -hidden:], tape[:, begin : begin + hidden]))
        tape[:, -1] = 1
        self.reads, self.output = tape[:, :inputs], tape[:, begin:]

    def normalise(self, number: int) -> None:
        """Write a layer's output, normalised, where the next layer reads it."""
        if self._norms:
            self._norms[number]()
