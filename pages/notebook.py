"""The analysis as a page: its cells are run, and every figure in its prose is compared with the file it comes from.

python -m pages.notebook docs/analysis.py site/docs/analysis.html

After a change of parameters the files here are not the committed ones: `--mark` then marks the figures that differ, and
shows which cells fail, instead of refusing.

The notebook is text in Jupytext's percent format, which Jupyter and editors open as a notebook. Cells are run here in
one process, without a server. Mathematics becomes MathML and pictures SVG within the page, which asks for nothing else.
"""

import argparse
import ast
import base64
import contextlib
import html
import io
import traceback
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from pages import layout, markdown, quoted, shell
from pages.addresses import address, page_of
from tonesift.atomic import replacing
from tonesift.errors import InputError

UNTRUE = "figure untrue"
FAILED = "This does not hold for the files here:"
NOTE = (
    '<p class="untrue">The files here are not those that this text was written on. Figures that differ are marked, and '
    "say on pointing what the files have; cells that do not hold say so.</p>"
)


class Cell(NamedTuple):
    """A piece of a notebook.

    Attributes
    ----------
    kind : str
        'markdown' or 'code'.
    source : str
        Its text.
    """

    kind: str
    source: str


def notebook(arguments: argparse.Namespace) -> None:
    """Check, run and write."""
    cells = read(arguments.notebook)
    if not arguments.mark:
        check(cells, arguments.notebook)
    text = render(cells, arguments.notebook, mark=arguments.mark)
    with replacing(arguments.page) as aside:
        aside.write_text(text, encoding="utf-8")


def read(path: Path) -> list[Cell]:
    """The cells of a notebook in percent format."""
    import jupytext

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file: run from the top of the repository") from error
    found = jupytext.reads(text, fmt="py:percent")
    return [Cell(cell.cell_type, cell.source) for cell in found.cells]


def check(cells: list[Cell], path: Path) -> list[quoted.Figure]:
    """Figures in the prose, all of them true.

    Raises
    ------
    InputError
        If one is not what its file says, or has no file.
    """
    try:
        figures = [figure for cell in cells if cell.kind == "markdown" for figure in quoted.figures(cell.source)]
        found = [quoted.fault(figure, quoted.value(path.parent, figure.source)) for figure in figures]
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    faults = [fault for fault in found if fault]
    if faults:
        more = f" ({len(faults) - 1} more like this)" if faults[1:] else ""
        raise InputError(f"{path}: {faults[0]}{more}")
    return figures


def render(cells: list[Cell], path: Path, mark: bool = False) -> str:
    """The page; code can be unfolded, what it shows stands below it.

    Parameters
    ----------
    cells : list of Cell
        The notebook.
    path : Path
        Where it is, relative to the top of the repository.
    mark : bool
        Whether figures that differ from the files here are marked, and cells may fail.
    """
    outputs = run(cells, path, mark)
    parts = [_code(cell.source, next(outputs)) if cell.kind == "code" else _prose(cell.source, path) for cell in cells]
    if any(sign in part for sign in (UNTRUE, FAILED) for part in parts):
        parts.insert(0, NOTE)
    title = next(found for cell in cells if (found := markdown.title(cell.source)))
    return layout.frame(PurePosixPath(page_of(path.as_posix())), title, "\n".join(parts), scripts=True)


def _prose(text: str, path: Path) -> str:
    """Prose as HTML; a figure leads to the page of its file, and says what it is there."""

    def lead(target: str) -> str:
        return address(target.partition("#")[0] if quoted.is_quoted(target) else target, path.as_posix(), Path())

    def attributes(target: str, shown: str) -> dict[str, str]:
        if not quoted.is_quoted(target):
            return {}
        try:
            value = quoted.value(path.parent, target)
            fault = quoted.fault(quoted.Figure(shown, target), value)
        except InputError as error:
            return {"class": UNTRUE, "title": str(error)}
        return {"class": UNTRUE if fault else "figure", "title": f"{value:.6g}, {unquote_plus(target)}"}

    return markdown.render(text, lead, attributes)


def _code(text: str, shown: str) -> str:
    code = f'<pre tabindex="0"><code>{html.escape(text)}</code></pre>'
    output = f'\n<div class="out">{shown}</div>' if shown else ""
    return f'<details class="code"><summary>Code</summary>{code}</details>{output}'


def run(cells: list[Cell], path: Path, may_fail: bool = False) -> Iterator[str]:
    """What each code cell shows, as HTML: printed text, pictures, the value of a last expression.

    Raises
    ------
    InputError
        If a cell fails that may not.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate((cell for cell in cells if cell.kind == "code"), 1):
        printed, value = io.StringIO(), None
        try:
            with contextlib.redirect_stdout(printed):
                value = _run(cell.source, names, f"{path}, cell {number}")
        except Exception as error:
            line = traceback.extract_tb(error.__traceback__)[-1].lineno
            fault = f"{path}, code cell {number}, line {line}: {type(error).__name__}: {error}"
            if not may_fail:
                raise InputError(fault) from error
            printed.write(f"{FAILED} {fault}\n")
        text = f"<pre>{html.escape(printed.getvalue())}</pre>" if printed.getvalue() else ""
        pictures = [_picture(pyplot.figure(each)) for each in pyplot.get_fignums()]
        pyplot.close("all")
        yield text + _shown(value) + "".join(pictures)


def _run(source: str, names: dict[str, Any], name: str) -> Any:
    """Run a cell; the value of its last line, if that is an expression."""
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), names)  # noqa: S102, the notebook is code of this repository
    return eval(compile(ast.Expression(last.value), name, "eval"), names) if last else None  # noqa: S307


def _shown(value: Any) -> str:
    """What a value shows of itself in a notebook, if it has a picture of itself."""
    made = value._repr_html_() if hasattr(value, "_repr_html_") else ""
    return f'<div class="scroll" role="region" tabindex="0">{made}</div>' if "<table" in made else made


def _picture(figure: Any) -> str:
    """A figure as SVG, an image of its own so that its names meet no other's."""
    import matplotlib as mpl

    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "tonesift"}):
        figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})
    alt = figure.get_suptitle() or figure.axes[0].get_title()
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{html.escape(alt)}">'


if __name__ == "__main__":
    command = shell.parser(__doc__)
    command.add_argument("notebook", type=Path, help="notebook in percent format")
    command.add_argument("page", type=Path, help="where to write the page, HTML")
    command.add_argument("--mark", action="store_true", help="mark what differs from the files here, do not refuse it")
    shell.main(notebook, command.parse_args())
