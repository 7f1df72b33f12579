"""How a live stream ends: at its end, by a signal, or because nobody reads any more; and a state's lock.

A signal must not tear a filter's step apart, or the state that is saved would be of no moment of the stream. So it
interrupts only waiting for samples and writing to a pipe; in between it is noted, and heeded at the next wait.
"""

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from numpy.typing import NDArray

from tonesift.errors import InputError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """A signal came while the stream waited."""


class Ending:
    """Whether a stream was ended.

    Attributes
    ----------
    number : int or None
        Signal that ended it.
    unread : bool
        Whether the reader of the output has closed it.
    error : InputError or None
        Why no more of it could be read.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.unread = False
        self.error: InputError | None = None
        self._waits = False

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Take signals as ends of the stream, but for those that are ignored; a second one is not waited for."""
        before = {number: signal.getsignal(number) for number in SIGNALS}
        heeded = [number for number in SIGNALS if before[number] != signal.SIG_IGN]
        try:
            for number in heeded:
                signal.signal(number, self._heed)
            yield
        finally:
            for number in heeded:
                signal.signal(number, before[number])

    def _heed(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            raise KeyboardInterrupt
        self.number = number
        if self._waits:
            raise Ended

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self._waits = True
        try:
            yield
        finally:
            self._waits = False

    def until(self, chunks: Iterator[NDArray]) -> Iterator[NDArray]:
        """What comes until the stream ends in whatever way."""
        while self.number is None and not self.unread:
            try:
                with self._waiting():
                    chunk = next(chunks, None)
            except Ended:
                return
            if chunk is None:
                return
            yield chunk

    def write(self, put: Any, signals: NDArray) -> None:
        """Write to a pipe, unless its reader keeps the stream waiting and it is ended."""
        try:
            with self._waiting():
                put(signals)
        except BrokenPipeError:
            self.unread = True
        except Ended:
            return


@contextmanager
def locked(path: Path | None) -> Iterator[None]:
    """Keep a file of state from other processes; one of them that asks for it is refused.

    Notes
    -----
    The lock is on a file beside it, because the file itself is replaced, and goes with the process however it ends.
    """
    if path is None:
        yield
        return
    beside = path.with_name(f".{path.name}.lock")
    descriptor = _lock(path, beside)
    try:
        yield
    finally:
        beside.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(path: Path, beside: Path) -> int:
    while True:
        try:
            descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise InputError(f"{path}: no state can be kept there: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(beside, descriptor):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise InputError(
                f"{path}: another process is going on from this state: wait for it, or name another --state"
            ) from None
        os.close(descriptor)  # its last holder removed it in the meantime


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
