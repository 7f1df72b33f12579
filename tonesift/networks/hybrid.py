"""A network that corrects Kalman filters, tone by tone: an LSTM that all tones share, told nothing of which tone it is.

It reads a tone's frames (`tonesift.frame`): what filters know of it, whatever its phase and frequency. So it serves
tones that it was never trained on, and any number of them. At each step it says how the first filter's phasor z is to
be corrected: lengthened, turned, and moved towards the other filters' by shares,

    z + (c_1 + i c_2) (|z| + 0.1) z / |z| + sum_j c_(j+2) (z_j - z),

in units of the amplitude beforehand. The tone over the step is that phasor turned back. The head begins at zero: then
it is the first filter, read at the end of every step.

With `model.conditioning: heads` one network reads the frames of all tones at once, and corrects them all: it knows one
set of tones, and what it sees of each serves the others.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tonesift.frame import FEATURES, FILTERS, FRAME, PHASOR, SAMPLES
from tonesift.networks import lstm

FLOOR = 0.1  # added to the amplitude that a correction is a share of
CORRECTIONS = 2 + FILTERS - 1
LEAST = 1e-12  # beside squares of amplitudes: a tone without any has no direction


class Body(lstm.Body):
    """Stacked LSTM over what is read of frames; parameters are those of `recurrent.Recurrent`."""


def inputs(tones: int, hop: int, apart: bool) -> int:
    """Numbers that are read of frames: of a tone's, or of wide ones of all tones at once."""
    return FEATURES if apart else tones * (FEATURES + SAMPLES - FRAME) + hop


def read(frames: Tensor) -> Tensor:
    """What a network reads (..., inputs) of a tone's frames (..., FRAME)."""
    return frames[..., 1:PHASOR]


def read_together(frames: Tensor) -> Tensor:
    """What a network reads (..., inputs) of wide frames of all tones (..., K, wide)."""
    own = (frames[..., 1:PHASOR], frames[..., FRAME:SAMPLES])
    return torch.cat([*(part.flatten(-2) for part in own), frames[..., 0, SAMPLES:]], dim=-1)


def read_steps(frames: NDArray[np.float32], apart: bool) -> NDArray[np.float32]:
    """The same in NumPy, of frames (S, K, ...): rows (S, K, inputs), or one of all tones (S, 1, inputs)."""
    if apart:
        return frames[..., 1:PHASOR]
    own = (frames[..., 1:PHASOR], frames[..., FRAME:SAMPLES])
    rows = [part.reshape(len(frames), -1) for part in own]
    return np.concatenate([*rows, frames[:, 0, SAMPLES:]], axis=-1)[:, None]


def correct(frames: Tensor, corrections: Tensor, hop: int) -> Tensor:
    """Tones (..., hop) of frames (..., FRAME) and corrections (..., CORRECTIONS), all in the frames' unit."""
    cosine, sine = frames[..., PHASOR], frames[..., PHASOR + 1]
    others = frames[..., PHASOR + 2 : FRAME].unflatten(-1, (FILTERS - 1, 2))
    scale = 1 + FLOOR * (cosine.square() + sine.square() + LEAST).rsqrt()
    longer, turned, shares = corrections[..., 0] * scale, corrections[..., 1] * scale, corrections[..., 2:]
    moved = (shares[..., None] * others).sum(-2)
    real = cosine + longer * cosine - turned * sine + moved[..., 0]
    imaginary = sine + longer * sine + turned * cosine + moved[..., 1]
    angles = frames[..., :1] * torch.arange(hop - 1, -1, -1, dtype=frames.dtype, device=frames.device)
    return imaginary[..., None] * torch.cos(angles) - real[..., None] * torch.sin(angles)


def correct_steps(frames: NDArray[np.float32], corrections: NDArray[np.float32], hop: int) -> NDArray[np.float32]:
    """The same in NumPy."""
    phasor = frames[..., PHASOR] + 1j * frames[..., PHASOR + 1]
    others = frames[..., PHASOR + 2 : FRAME : 2] + 1j * frames[..., PHASOR + 3 : FRAME : 2]
    scale = 1 + FLOOR / np.sqrt(np.square(phasor.real) + np.square(phasor.imag) + np.float32(LEAST))
    found = phasor + phasor * scale * (corrections[..., 0] + 1j * corrections[..., 1])
    found += (corrections[..., 2:] * others).sum(axis=-1)
    angles = frames[..., :1] * np.arange(hop - 1, -1, -1, dtype="f4")
    return found.imag[..., None] * np.cos(angles) - found.real[..., None] * np.sin(angles)
