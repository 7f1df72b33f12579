"""What families of networks are made of: a body, its state from step to step, dropout, and its stepper in NumPy.

A body reads features, a row for each sequence and step, and gives hidden values, from which a linear head makes the
tones (`model`). Whatever a body remembers is its state: a list of tensors with the sequences in dimension 1,
all zeros at the beginning. Carrying the state on must come to the same as reading everything at once.

Everything random takes a generator: PyTorch's own dropout draws from the process-wide one, which is a race as soon as
two threads train.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tonesift import arithmetic

ONEDNN = torch.backends.mkldnn.is_available()  # not in builds for Apple's processors
State = list[Tensor]  # each (..., B, ...) with the sequences in dimension 1


class DropoutMasks:
    """Source of dropout masks with random numbers of its own.

    Parameters
    ----------
    seed : numpy.random.SeedSequence
        Where its random numbers begin.
    device : torch.device
        Where the masks are wanted.

    Notes
    -----
    On a CPU the bits come from NumPy: a mask takes a third of the time of PyTorch's generator and comparison, and a
    tenth of `Tensor.bernoulli_`, which would be a tenth of a training step.
    """

    def __init__(self, seed: np.random.SeedSequence, device: torch.device) -> None:
        self._bits = np.random.SFC64(seed) if device.type == "cpu" else None
        self._generator = torch_generator(seed, device)
        self._device = device

    def __call__(self, shape: torch.Size, share: float) -> Tensor:
        """Mask of 0, with probability `share` (on a CPU to the nearest 1/65536), and 1 / (1 - share)."""
        kept = np.float32(1 / (1 - share))
        if self._bits is None:
            drawn = torch.rand(shape, generator=self._generator, device=self._device)
            return (drawn >= share).float().mul_(float(kept))
        size = shape.numel()
        lanes = self._bits.random_raw(-(-size // 4)).view(np.uint16)[:size]
        return torch.from_numpy(np.multiply(lanes >= round(share * 2**16), kept)).view(shape)


def dropped(hidden: Tensor, masks: DropoutMasks | None, share: float) -> Tensor:
    """Hidden values with a share of them dropped, in training; as they are without masks."""
    return hidden if masks is None or share == 0 else hidden * masks(hidden.shape, share)


def torch_generator(seed: np.random.SeedSequence, device: torch.device) -> torch.Generator:
    """PyTorch generator on `device`, begun from `seed`."""
    return torch.Generator(device).manual_seed(int(seed.generate_state(1, np.uint64)[0]))


def draw_uniform(parameters: list[nn.Parameter], bound: float, generator: torch.Generator) -> None:
    """Draw parameters from U(-bound, bound), in their order."""
    with torch.no_grad():
        for parameter in parameters:
            parameter.uniform_(-bound, bound, generator=generator)


class Linear(nn.Linear):
    """PyTorch's linear layer, through `product`."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs (..., in_features) to (..., out_features)."""
        return product(inputs, self.weight, self.bias)


def product(inputs: Tensor, weight: Tensor, start: Tensor) -> Tensor:
    """Inputs (..., I) times the transposed weight (O, I), added to where the sums start: (O,), or a value for each.

    Notes
    -----
    In portable arithmetic oneDNN computes it: on AVX2 in a third of the time that MKL's portable code takes. PyTorch
    itself calls it so from compiled graphs only, which do not learn, so the gradient is ours.
    """
    plain = inputs.device.type == "cpu" and inputs.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if plain and ONEDNN and arithmetic.chosen() == "portable":
        return _Product.apply(inputs, weight, start)
    return nn.functional.linear(inputs, weight, start) if start.dim() == 1 else torch.addmm(start, inputs, weight.T)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, inputs: Tensor, weight: Tensor, start: Tensor) -> Tensor:
        context.save_for_backward(inputs, weight)
        context.shared = start.dim() == 1
        if context.shared:
            return torch.ops.mkldnn._linear_pointwise(inputs, weight, start, "none", [], "")
        return torch.ops.mkldnn._linear_pointwise.binary(inputs, start, weight, None, "add")

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = context.saved_tensors
        wanted, rows = context.needs_input_grad, gradient.flatten(0, -2)
        return (
            _plain_product(gradient, weight.T) if wanted[0] else None,
            _plain_product(rows.T, inputs.flatten(0, -2).T) if wanted[1] else None,
            (rows.sum(0) if context.shared else gradient) if wanted[2] else None,
        )


def _plain_product(rows: Tensor, weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(rows, weight, None, "none", [], "")


class Body(nn.Module, ABC):
    """A family's network without its head.

    Attributes
    ----------
    width : int
        Hidden values it gives at each step.
    causal : bool
        Whether a step's values depend on that step and earlier ones only.
    """

    width: int
    causal: bool = True

    @abstractmethod
    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight."""

    @abstractmethod
    def forward(self, features: Tensor, state: State | None, masks: DropoutMasks | None) -> tuple[Tensor, State]:
        """Hidden values (L, B, width) of features (L, B, inputs), and the state to go on from.

        Without a state a sequence begins; without masks nothing is dropped.
        """

    @abstractmethod
    def layers_in_order(self) -> list[nn.Module]:
        """The parts that learn, from the input to the head, for learning rates that differ from layer to layer."""

    @abstractmethod
    def stepper(self, rows: int) -> "Stepper":
        """The same network, computed in NumPy a step at a time, for so many sequences."""


class Stepper(ABC):
    """A body computed in NumPy, a step at a time, because PyTorch's calls cost ten times the arithmetic.

    `step` reads `reads`, advances the state and leaves the hidden values in `output`.

    Attributes
    ----------
    reads : ndarray, shape (rows, inputs)
        To write features into.
    output : ndarray, shape (rows, width + 1)
        Hidden values; the last column is 1, for the head's bias.
    state : list of ndarray
        What it remembers, to be copied, overwritten in place, or zeroed to begin anew.
    """

    reads: NDArray[np.float32]
    output: NDArray[np.float32]
    state: list[NDArray]

    @abstractmethod
    def step(self) -> None:
        """Advance by a step."""


def array(tensor: Tensor) -> NDArray[np.float32]:
    """Copy of a tensor's values in NumPy."""
    return tensor.detach().cpu().numpy().astype("f4")


def with_bias(weight: Tensor, bias: Tensor) -> NDArray[np.float32]:
    """Weights (inputs + 1, outputs) of a linear layer, its bias in the last row, for rows that end in a one."""
    return np.ascontiguousarray(np.hstack([array(weight), array(bias)[:, None]]).T)


def normaliser(norm: nn.LayerNorm, source: NDArray[np.float32], target: NDArray[np.float32]) -> Callable[[], None]:
    """Layer normalisation in NumPy, from one piece of memory (rows, width) to another, as often as it is called."""
    weight, bias, size = array(norm.weight), array(norm.bias), np.float32(source.shape[1])
    epsilon = np.float32(norm.eps)

    def run() -> None:
        centred = source - source.sum(axis=1, keepdims=True) / size
        spread = np.sqrt(np.square(centred).sum(axis=1, keepdims=True) / size + epsilon)
        target[:] = centred / spread * weight + bias

    return run
