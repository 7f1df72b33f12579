"""The frame that the site's pages share: how they look, and the links from each to all others."""

import html
from pathlib import PurePosixPath

from tonesift.reporting.template import STYLE

PAGES = {
    "index.html": "tonesift",
    "report.html": "Report",
    "docs/analysis.html": "Analysis",
    "docs/results.html": "Results",
    "docs/guide-tables.html": "Guide's tables",
    "studies/index.html": "Studies",
    "docs/LOG.html": "Log",
    "pages.html": "All pages",
}
OWN = """
.doors [aria-current] { color: inherit; font-weight: 600; text-decoration: none; }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
main > p, main > ul, main > ol, blockquote { max-width: 50rem; }
main li { margin: .25rem 0; }
p > code, li code, td code { background: var(--code); border-radius: .25rem; padding: .05em .3em; font-size: .9em; }
a code { background: none; padding: 0; }
p > img { max-width: 100%; height: auto; background: #fff; }
blockquote { margin: 1rem 0; padding: .1rem 1rem; border-left: .25rem solid var(--line); color: var(--soft); }
.dataframe, .dataframe :is(th, td) { border-width: 0 0 1px; border-style: solid; border-color: var(--line); }
.dataframe { border: 0; }
.dataframe td { text-align: right; }
math { font-family: "STIX Two Math", "Latin Modern Math", "Cambria Math", math; font-size: 1.08em; }
mtd { text-align: left; padding: .2em .6em; }
.math.block { overflow-x: auto; overflow-y: hidden; padding: .5rem 0; max-width: 60rem; }
a.figure { color: inherit; text-decoration: underline dotted var(--accent) 1px; text-underline-offset: .2em; }
.untrue { background: var(--ours); }
p.untrue { padding: .6rem .9rem; border-radius: .5rem; }
.out { border-left: .25rem solid var(--bar); padding-left: .9rem; margin: .5rem 0 1.5rem; }
.out pre { background: none; padding: .2rem 0; margin: 0; }
.out img { display: block; max-width: 100%; height: auto; background: #fff; }
details.code { margin: 1rem 0 .5rem; }
details.code summary { cursor: pointer; color: var(--soft); font-size: .9rem; }
tr > :first-child:is(td) { position: static; }
@media print { .doors { display: none; } details.code { display: none; } a.figure { text-decoration: none; }
  .math.block { overflow: visible; } }
"""
POLICY = "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'"
SCRIPTS = "; script-src 'unsafe-inline'"


def frame(path: PurePosixPath, title: str, body: str, scripts: bool = False) -> str:
    """A page of the site.

    Parameters
    ----------
    path : PurePosixPath
        Where it stands in the site.
    title, body : str
        Text, and HTML.
    scripts : bool
        Whether the page has any of its own.
    """
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{POLICY}{SCRIPTS if scripts else ""}">
<link rel="icon" href="data:,">
<title>{html.escape(title)}</title>
<style>{STYLE}{OWN}</style>
</head>
<body>
{navigation(path)}
<main>
{body}
</main>
</body>
</html>
"""


def navigation(path: PurePosixPath) -> str:
    """Links from a page to what a reader may want next."""
    up = "../" * (len(path.parts) - 1)
    current = ' aria-current="page"'
    links = "".join(
        f'<a href="{up}{target}"{current if target == str(path) else ""}>{name}</a> ' for target, name in PAGES.items()
    )
    return f'<nav class="doors" aria-label="Site">{links}</nav>'
