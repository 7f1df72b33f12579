"""Markdown as HTML: headings have GitHub's anchors, and mathematics becomes MathML, which browsers draw themselves."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.anchors import anchors_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

ADDRESSES = {"link_open": "href", "image": "src"}


def parser() -> MarkdownIt:
    """What GitHub shows: CommonMark with tables, anchors at headings and LaTeX between dollars."""
    found = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    found.use(anchors_plugin, max_level=6)
    found.use(dollarmath_plugin, allow_space=False, allow_digits=False, renderer=_mathml)
    found.add_render_rule("table_open", lambda *_: '<div class="scroll" role="region" tabindex="0"><table>\n')
    found.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return found


def render(
    text: str,
    address: Callable[[str], str],
    attributes: Callable[[str, str], Mapping[str, str]] = lambda target, text: {},
) -> str:
    """A text as HTML.

    Parameters
    ----------
    text : str
        Markdown.
    address : callable
        Where a link or picture leads, by what stands in the text.
    attributes : callable
        Attributes of a link, by its target and the text that shows it.
    """
    tool, env = parser(), {}
    tokens = tool.parse(text, env)
    for token, after in itertools.pairwise(itertools.chain(inline(tokens), [Token("", "", 0)])):
        name = ADDRESSES.get(token.type)
        if name:
            target = str(token.attrs[name])
            token.attrs |= {name: address(target), **attributes(target, after.content)}
    return tool.renderer.render(tokens, tool.options, env)


def inline(tokens: Sequence[Token]) -> Iterator[Token]:
    """What stands within blocks: texts, links, pictures, code, mathematics."""
    for token in tokens:
        yield from token.children or ()


def title(text: str) -> str:
    """Text of the first heading; empty where there is none."""
    tokens = parser().parse(text)
    place = next((place for place, token in enumerate(tokens) if token.type == "heading_open"), None)
    return "" if place is None else "".join(each.content for each in tokens[place + 1].children or ())


def _mathml(latex: str, options: dict[str, bool]) -> str:
    return convert(latex.strip(), display="block" if options["display_mode"] else "inline")
