"""Text from elsewhere (names, values, errors) made harmless where it is shown: on a terminal, in Markdown, in CSV."""

import re
import unicodedata

BREAKS = {"\u2028", "\u2029"}
TURNS = {*"\u061c\u200e\u200f", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str, lines: bool = True) -> str:
    """Text without what a terminal would obey: control characters and changes of direction stand as escapes.

    Parameters
    ----------
    text : str
        Any.
    lines : bool
        Whether it may have several lines.
    """
    return "".join(_shown(character, lines) for character in text)


def _shown(character: str, lines: bool) -> str:
    if character == "\n" and lines:
        return character
    hidden = character in BREAKS or character in TURNS or unicodedata.category(character) in ("Cc", "Cs")
    return character.encode("unicode_escape", "surrogatepass").decode() if hidden else character


def markdown(text: str) -> str:
    """Text in one line that Markdown shows as it is."""
    text = printable(text, lines=False)
    text = re.sub(r"\\(?=[!-/:-@\[-`{-~])", r"\\\\", text)
    text = re.sub(r"&(?=#?\w+;)|<(?=[a-zA-Z/!?])", lambda found: {"&": "&amp;", "<": "&lt;"}[found[0]], text)
    text = re.sub(r"[`*$|]|(?<!\w)_|_(?!\w)|\](?=[(\[:])", r"\\\g<0>", text)
    return re.sub(r"^(\s*)(#|[-+>=~](?=\s|[-=~])|\d+[.)](?=\s))", r"\1\\\2", text)


def cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula: it is put in front of it that it is text."""
    text = printable(text, lines=False)
    return f"'{text}" if text.startswith(FORMULA) and not _number(text) else text


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
