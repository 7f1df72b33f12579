"""The one exception that means the user can mend it: its text is the whole message, one line for each mistake."""

import reprlib

LINES, CHARACTERS = 20, 500  # of a message, and of each of its lines


class InputError(ValueError):
    """Something given to tonesift cannot work: a parameter, a file, a recording.

    The text names the thing, the value found and the rule; every command prints it, no traceback, and exits with 2.
    However large what was given is, the text is not.
    """

    def __init__(self, text: str) -> None:
        super().__init__(cut(text))


def cut(text: str) -> str:
    """A message of at most 20 lines and 500 characters each; a long line keeps its end, where the remedy is."""
    lines = text.split("\n")
    kept = [
        line if len(line) <= CHARACTERS else f"{line[: CHARACTERS - 153]} … {line[-150:]}" for line in lines[:LINES]
    ]
    return "\n".join(kept + [f"and {len(lines) - LINES} more"] * (len(lines) > LINES))


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
