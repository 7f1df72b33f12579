"""The repository's documents as a site: a page for every document and what it links to, every link checked.

python -m pages.site site --open report.html

Documents become pages, and so do the files that they link to: tables as tables, all else as text. Pages that are there
already (the report, the analysis) stay and are checked with the others. `make site` makes these first; so does `make
report`, which opens the site where there is a screen. It needs no server, and asks for nothing from elsewhere.
"""

import argparse
import csv
import html
import os
import posixpath
import sys
import webbrowser
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath

from pages import layout, markdown, shell
from pages.addresses import PICTURES, address, page_of
from tonesift import yamlfile
from tonesift.atomic import replacing
from tonesift.errors import InputError

MADE_BEFORE = ("report.html", "docs/analysis.html")
STUDIES, ALL = "studies/index.html", "pages.html"
TABLES = {".csv": ",", ".tsv": "\t"}
FORMER = (".html", *PICTURES)  # what a site of before may have left
REMEDY = "correct the document that the page is made from"
Pages = dict[str, bytes]


class Links(HTMLParser):
    """What a page leads to and what it can be led to.

    Attributes
    ----------
    targets : list of str
        Addresses of links, pictures and whatever else a page would load.
    places : set of str
        Identifiers within the page.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take up an element's addresses and its name."""
        for name, value in attrs:
            if name in ("href", "src") and value is not None:
                self.targets.append(value)
            elif name == "id" and value:
                self.places.add(value)


def site(arguments: argparse.Namespace) -> None:
    """Write the site, say where it is, and show it if that is wanted and there is a screen."""
    folder = arguments.folder
    missing = [page for page in MADE_BEFORE if not (folder / page).is_file()]
    if missing:
        raise InputError(f"{folder / missing[0]}: no such page: run `make site`")
    pages = build(Path(), {page: (folder / page).read_bytes() for page in MADE_BEFORE})
    for name, content in pages.items():
        with replacing(folder / name) as aside:
            aside.write_bytes(content)
    for path in folder.rglob("*"):
        if path.suffix in FORMER and path.relative_to(folder).as_posix() not in pages:
            path.unlink()
    door = (folder / (arguments.open or "index.html")).resolve().as_uri()
    if arguments.open and has_screen():
        webbrowser.open(door)
    print(f"Site: {len(pages)} pages and pictures, all links lead somewhere. Begin at {door}")


def has_screen() -> bool:
    """Whether a page that is opened would be seen: not in continuous integration, nor without a display."""
    shown = sys.platform in ("darwin", "win32") or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    return shown and "CI" not in os.environ


def build(root: Path, before: Pages) -> Pages:
    """All pages and pictures by their address, from the first page on.

    Parameters
    ----------
    root : Path
        The repository.
    before : dict of str to bytes
        Pages that were made before.

    Raises
    ------
    InputError
        If a link leads nowhere.
    """
    documents = [page_of(document) for document in documents_of(root)]
    pages, places, waiting = {}, {}, ["index.html", ALL, STUDIES, *before, *documents]
    links: dict[tuple[str, str], str] = {}  # by page and address, as it stands there
    while waiting:
        page = waiting.pop()
        if page in pages:
            continue
        pages[page] = before.get(page) or make(page, root)
        found = Links(pages[page].decode("utf-8") if page.endswith(".html") else "")
        places[page] = found.places
        for target in found.targets:
            path, _, place = target.partition("#")
            if path.startswith(("https:", "http:", "data:")):
                continue
            wanted = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
            if wanted not in pages and wanted not in before and source(wanted, root) is None:
                raise InputError(f"{page}: its link to {target} leads nowhere: {REMEDY}")
            links[page, target] = wanted
            waiting.append(wanted)
    for (page, target), wanted in links.items():
        place = target.partition("#")[2]
        if place and place not in places[wanted]:
            raise InputError(
                f"{page}: its link to {target} names no heading there: correct the document it is made from"
            )
    return pages


def documents_of(root: Path) -> list[str]:
    """Documents of the repository that are pages whether or not a link leads to them."""
    found = [*root.glob("docs/*.md"), *root.glob("studies/*/report.md")]
    return ["README.md", "CONTRIBUTING.md", *sorted(path.relative_to(root).as_posix() for path in found)]


def source(page: str, root: Path) -> Path | None:
    """The file or folder that a page is made from; none if there is none."""
    if page in (STUDIES, ALL):
        return root
    if page.startswith(".."):
        return None
    stem = page.removesuffix(".html")
    candidates = [root / "README.md"] if page == "index.html" else [root / f"{stem}.md", root / stem]
    if page.endswith("/index.html"):
        candidates = [root / posixpath.dirname(page)]
    return next((path for path in candidates if path.exists()), None)


def make(page: str, root: Path) -> bytes:
    """A page from its file, or a picture as it is."""
    path = source(page, root)
    if path is None:
        raise InputError(f"{page}: there is no file to make it from")
    if path.suffix in PICTURES:
        return path.read_bytes()
    name = path.relative_to(root).as_posix()
    if page == STUDIES:
        title, body = "Studies", _studies(root)
    elif page == ALL:
        title, body = "All pages", _all(root)
    elif path.is_dir():
        title, body = name, _listing(path)
    else:
        text = path.read_text(encoding="utf-8")
        title, body = name, f"<h1>{html.escape(name)}</h1>\n{_content(path, text)}"
        if path.suffix == ".md":
            title, body = markdown.title(text) or name, markdown.render(text, lambda to: address(to, name, root))
    return layout.frame(PurePosixPath(page), title, body).encode()


def _content(path: Path, text: str) -> str:
    """A file's text; a table as a table."""
    if path.suffix not in TABLES:
        return f'<pre tabindex="0"><code>{html.escape(text)}</code></pre>'
    header, *rows = csv.reader(text.splitlines(), delimiter=TABLES[path.suffix])
    return table(header, [[html.escape(cell) for cell in row] for row in rows])


def table(header: list[str], rows: list[list[str]]) -> str:
    """An HTML table in a frame that it can be scrolled in; cells are HTML."""
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in header)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    inner = f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
    return f'<div class="scroll" role="region" tabindex="0">{inner}</div>'


def _listing(folder: Path) -> str:
    """What is in a folder."""
    names = sorted(
        path.name + "/" * path.is_dir() for path in folder.iterdir() if not path.name.startswith((".", "__"))
    )
    items = "\n".join(f"<li><code>{html.escape(name)}</code></li>" for name in names)
    return f"<h1>{html.escape(folder.name)}/</h1>\n<ul>{items}</ul>"


def _studies(root: Path) -> str:
    """Every study, what it asks, and its report if it has been run."""
    rows = []
    for path in sorted(root.glob("studies/*.yaml")):
        asked = " ".join(str((yamlfile.read(path) or {}).get("description", "")).split())
        report = f'<a href="{path.stem}/report.html">{path.stem}</a>'
        run = (path.with_suffix("") / "report.md").exists()
        rows.append([report if run else path.stem, html.escape(asked), "" if run else "not run"])
    return f"<h1>Studies</h1>\n{table(['study', 'what it asks', ''], rows)}"


def _all(root: Path) -> str:
    """Links to every document."""
    names = [name for name in documents_of(root) if not name.startswith("studies/")]
    titles = {page_of(name): markdown.title((root / name).read_text(encoding="utf-8")) or name for name in names}
    titles |= {
        "docs/analysis.html": "The analysis",
        "report.html": "The report of the committed run",
        STUDIES: "Studies",
    }
    items = "\n".join(f'<li><a href="{page}">{html.escape(title)}</a></li>' for page, title in titles.items())
    return f"<h1>All pages</h1>\n<ul>{items}</ul>"


if __name__ == "__main__":
    command = shell.parser(__doc__)
    command.add_argument("folder", type=Path, help="where to write the site")
    command.add_argument("--open", metavar="PAGE", help="page to show where there is a screen")
    shell.main(site, command.parse_args())
