"""Exceptions that mean the user can mend it."""

import reprlib

LINES, CHARACTERS = 20, 500  # of a message, and of each of its lines


class StudyError(ValueError):
    """Something about a study, or the repository it runs in, that cannot work; the text is the whole message.

    However large what was given is, the text is not: a long line keeps its end, where the remedy is.
    """

    def __init__(self, text: str) -> None:
        lines = text.split("\n")
        short = [
            line if len(line) <= CHARACTERS else f"{line[: CHARACTERS - 153]} … {line[-150:]}" for line in lines[:LINES]
        ]
        super().__init__("\n".join(short + [f"and {len(lines) - LINES} more"] * (len(lines) > LINES)))


class KilledError(Exception):
    """A Git process was killed, so that what was asked is not known. No StudyError: nothing is wrong with the study."""


class NotFiniteError(StudyError):
    """A figure that is there, but NaN or infinite: what diverging settings give."""


class _Shown(reprlib.Repr):
    """Python's own shortened form of values, for integers of any length too."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxlong, self.maxother = 3, 60, 40, 60

    def repr_int(self, value: int, level: int) -> str:
        if value.bit_length() > 10_000:  # Python refuses to write more than 4300 digits
            return f"an integer of {value.bit_length()} bits"
        return super().repr_int(value, level)


shown = _Shown().repr
