"""Where a file of the repository stands on the site, and where a link of a document leads there."""

import posixpath
from pathlib import Path, PurePosixPath

PICTURES = (".png", ".svg")
PAGES = {"README.md": "index.html", "docs/analysis.py": "docs/analysis.html"}


def page_of(path: str, folder: bool = False) -> str:
    """Address of a file's page within the site; pictures stay as they are, a folder has a page that lists it."""
    if folder:
        return f"{path}/index.html"
    kind = PurePosixPath(path).suffix
    if path in PAGES or kind in PICTURES:
        return PAGES.get(path, path)
    return path.removesuffix(".md") + ".html"


def address(target: str, document: str, root: Path) -> str:
    """Where a link leads from a document's page; addresses elsewhere, and within the page, stay as they are.

    Parameters
    ----------
    target : str
        The link, relative to the document.
    document : str
        The document's path in the repository.
    root : Path
        The repository.
    """
    path, mark, place = target.partition("#")
    if ":" in path or not path:
        return target
    wanted = posixpath.normpath(posixpath.join(posixpath.dirname(document), path))
    page = page_of(wanted, folder=(root / wanted).is_dir())
    return posixpath.relpath(page, posixpath.dirname(page_of(document)) or ".") + mark + place
