"""Segments: neighbouring samples of a recording. Everything that names a part of a recording names it so."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Segment(NamedTuple):
    """Samples `begin` to `end` of a recording, the last one left out."""

    recording: int
    begin: int
    end: int

    @property
    def samples(self) -> int:
        """Its length."""
        return self.end - self.begin


class Segments(NamedTuple):
    """Many segments, all of one length: windows, or streams to judge a carried state on.

    Attributes
    ----------
    starts : ndarray of int64, shape (S, 2)
        Recording and first sample of each.
    samples : int
        T, samples in each.
    """

    starts: NDArray[np.int64]
    samples: int

    def cut(self, signal: NDArray) -> NDArray:
        """Copies (S, ..., T) out of recordings (R, ..., N)."""
        every = np.lib.stride_tricks.sliding_window_view(signal, self.samples, axis=-1)
        recordings, first = self.starts.T
        return every[recordings, ..., first, :]
