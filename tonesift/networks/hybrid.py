"""A network that corrects Kalman filters, tone by tone: an LSTM that all tones share, told nothing of which tone it is.

It reads a tone's frames (`tonesift.frame`): what filters know of it, whatever its phase and frequency. So it serves
tones that it was never trained on, and any number of them. At each step it says how the first filter's phasor z is to
be corrected: lengthened, turned, and moved towards the other filters' by shares,

    z + (c_1 + i c_2) (|z| + 0.1) z / |z| + sum_j c_(j+2) (z_j - z),

in units of the amplitude beforehand. The tone over the step is that phasor turned back. The head begins at zero: then
it is the first filter, read at the end of every step.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tonesift.frame import FEATURES, FILTERS, FRAME, PHASOR
from tonesift.networks import lstm
from tonesift.networks.base import DropoutMasks, State

FLOOR = 0.1  # added to the amplitude that a correction is a share of
CORRECTIONS = 2 + FILTERS - 1
LEAST = 1e-12  # beside squares of amplitudes: a tone without any has no direction


class Body(lstm.Body):
    """Stacked LSTM over the features of a frame.

    Parameters
    ----------
    inputs : int
        Numbers in a frame, of which it reads the features.
    hidden_size, num_layers, dropout, layer_norm, recurrent_dropout
        As for `recurrent.Recurrent`.
    """

    def __init__(
        self,
        inputs: int,
        hidden_size: int,
        num_layers: int,
        dropout: float,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
    ) -> None:
        if inputs != FRAME:
            raise ValueError(f"inputs must be {FRAME}, the numbers in a frame, but got {inputs=}.")
        shape = {"layer_norm": layer_norm, "recurrent_dropout": recurrent_dropout}
        super().__init__(FEATURES, hidden_size, num_layers, dropout, **shape)

    def forward(self, features: Tensor, state: State | None, masks: DropoutMasks | None) -> tuple[Tensor, State]:
        """See `base.Body`."""
        return super().forward(features[..., 1:PHASOR], state, masks)


def corrected(frames: Tensor, corrections: Tensor, hop: int) -> Tensor:
    """Tones (..., hop) of frames (..., FRAME) and corrections (..., CORRECTIONS), all in the frames' unit."""
    cosine, sine = frames[..., PHASOR], frames[..., PHASOR + 1]
    others = frames[..., PHASOR + 2 :].unflatten(-1, (FILTERS - 1, 2))
    scale = 1 + FLOOR * (cosine.square() + sine.square() + LEAST).rsqrt()
    longer, turned, shares = corrections[..., 0] * scale, corrections[..., 1] * scale, corrections[..., 2:]
    moved = (shares[..., None] * others).sum(-2)
    real = cosine + longer * cosine - turned * sine + moved[..., 0]
    imaginary = sine + longer * sine + turned * cosine + moved[..., 1]
    angles = frames[..., :1] * torch.arange(hop - 1, -1, -1, dtype=frames.dtype, device=frames.device)
    return imaginary[..., None] * torch.cos(angles) - real[..., None] * torch.sin(angles)


def corrected_steps(frames: NDArray[np.float32], corrections: NDArray[np.float32], hop: int) -> NDArray[np.float32]:
    """The same in NumPy."""
    phasor = frames[..., PHASOR] + 1j * frames[..., PHASOR + 1]
    others = frames[..., PHASOR + 2 :: 2] + 1j * frames[..., PHASOR + 3 :: 2]
    scale = 1 + FLOOR / np.sqrt(np.square(phasor.real) + np.square(phasor.imag) + np.float32(LEAST))
    found = phasor + phasor * scale * (corrections[..., 0] + 1j * corrections[..., 1])
    found += (corrections[..., 2:] * others).sum(axis=-1)
    angles = frames[..., :1] * np.arange(hop - 1, -1, -1, dtype="f4")
    return found.imag[..., None] * np.cos(angles) - found.real[..., None] * np.sin(angles)
