"""What a WAV file's header announces beside what the file holds.

Recorders that crash leave sizes of zero, transfers that break off leave too few bytes, and beyond 4 GiB a 32-bit size
wraps; libsndfile reads what the header says. Here the samples are found whatever the sizes say.
"""

import io
import os
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

UNKNOWN = (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)  # what a writer puts that cannot go back: until the end
PLAIN = {(1, 8): "PCM_U8", (1, 16): "PCM_16", (1, 24): "PCM_24", (1, 32): "PCM_32", (3, 32): "FLOAT", (3, 64): "DOUBLE"}
PLAIN |= {(6, 8): "ALAW", (7, 8): "ULAW"}
EXTENSIBLE = 0xFFFE


class Wave(NamedTuple):
    """A WAV file's samples as bytes.

    Attributes
    ----------
    subtype : str or None
        How libsndfile calls samples of this kind; None for compressed ones.
    channels, rate, frame : int
        Of the samples; bytes of a sample of all channels.
    begin : int
        First byte.
    announced : int or None
        Bytes that the header announces; None if it leaves that open.
    there : int
        Bytes that are there, up to another chunk or the end of the file.
    large : bool
        Whether it is RF64, for files beyond 4 GiB.
    """

    subtype: str | None
    channels: int
    rate: int
    frame: int
    begin: int
    announced: int | None
    there: int
    large: bool


def examined(path: Path) -> Wave | None:
    """What a RIFF or RF64 file holds; None if it is no such file or has no samples that can be found."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
            return None
        form, large = b"", None
        while (start := file.tell()) + 8 <= size:
            name, length = struct.unpack("<4sI", file.read(8))
            if name == b"data":
                return _wave(
                    file,
                    form,
                    large if large is not None and length in UNKNOWN else length,
                    start + 8,
                    size,
                    head[:4] == b"RF64",
                )
            content = file.read(min(length, 64)) if name in (b"fmt ", b"ds64") else b""
            form = content if name == b"fmt " else form
            large = struct.unpack("<Q", content[8:16])[0] if name == b"ds64" and len(content) >= 16 else large
            file.seek(start + 8 + length + length % 2)
    return None


def _wave(file: BinaryIO, form: bytes, length: int, begin: int, size: int, large: bool) -> Wave | None:
    if len(form) < 16:
        return None
    kind, channels, rate, _, frame, bits = struct.unpack("<HHIIHH", form[:16])
    if kind == EXTENSIBLE and len(form) >= 26:
        kind = struct.unpack("<H", form[24:26])[0]
    if not (channels and rate and frame):
        return None
    announced = None if length in UNKNOWN else length
    there = size - begin
    if announced is not None and announced <= there and _is_chunks(file, begin + announced + announced % 2, size):
        there = announced
    return Wave(PLAIN.get((kind, bits)), channels, rate, frame, begin, announced, there, large)


def _is_chunks(file: BinaryIO, at: int, size: int) -> bool:
    """Whether nothing but whole chunks lies from a byte on to the end of the file."""
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        if not all(32 <= byte < 127 for byte in name) or at + 8 + length > size:
            return False
        at += 8 + length + length % 2
    return size - at < 2  # a padding byte


class Part(io.RawIOBase):
    """Some bytes of a file, as a file."""

    def __init__(self, path: Path, begin: int, length: int) -> None:
        self._file, self._begin, self._length, self._at = path.open("rb"), begin, length, 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """Where it is."""
        return self._at

    def readinto(self, buffer: memoryview) -> int:
        """Read what fits."""
        self._file.seek(self._begin + self._at)
        content = self._file.read(max(0, min(len(buffer), self._length - self._at)))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True
