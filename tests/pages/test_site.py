"""The site: every link of the repository's documents leads somewhere, and a browser shows the pages by themselves."""

import re
import resource
import subprocess
import sys
import webbrowser
from argparse import Namespace
from pathlib import Path

import pytest
from conftest import OVERFLOW, ROOT, requests, resize

from pages import layout, site
from tonesift.errors import InputError

STUBS = dict.fromkeys(site.MADE_BEFORE, b'<h1 id="families">A page that was made before</h1>')


@pytest.fixture
def small(tmp_path):
    """A repository of a few documents."""
    for name, text in {
        "README.md": "# Home\n\n[a](docs/a.md#a-part) [code](code/f.py) ![one](docs/one.png)\n",
        "CONTRIBUTING.md": "# Contributing\n",
        "docs/a.md": "# A\n\n## A part\n\n[home](../README.md) [table](t.csv) [code](../code) [out](https://example.org)\n",
        "docs/results.md": "# Results\n",
        "docs/guide-tables.md": "# Tables\n",
        "docs/LOG.md": "# Log\n",
        "docs/t.csv": 'name,value\n"<i>",0.5\n',
        "code/f.py": "a < b\n",
        "studies/s.yaml": "description: What it asks\n",
        "studies/s/report.md": "# Study s\n",
        "studies/t.yaml": "description: Not run\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "docs" / "one.png").write_bytes(b"\x89PNG")
    return tmp_path


def test_documents_and_what_they_link_to_become_pages(small):
    pages = site.build(small, STUBS)
    assert set(pages) == {
        *(
            f"docs/{name}"
            for name in ("a.html", "results.html", "guide-tables.html", "LOG.html", "t.csv.html", "one.png")
        ),
        *("index.html", "CONTRIBUTING.html", "pages.html", "report.html", "docs/analysis.html"),
        *("studies/index.html", "studies/s/report.html", "code/f.py.html", "code/index.html"),
    }
    home, a = pages["index.html"].decode(), pages["docs/a.html"].decode()
    assert '<a href="docs/a.html#a-part">a</a> <a href="code/f.py.html">code</a> <img src="docs/one.png"' in home
    assert '<h2 id="a-part">' in a
    assert '<a href="../index.html">home</a> <a href="t.csv.html">table</a> <a href="../code/index.html">code</a>' in a
    assert "<td>&lt;i&gt;</td><td>0.5</td>" in pages["docs/t.csv.html"].decode()
    assert "a &lt; b" in pages["code/f.py.html"].decode()
    assert '<a href="s/report.html">s</a></td><td>What it asks</td><td></td>' in pages["studies/index.html"].decode()
    assert "<td>t</td><td>Not run</td><td>not run</td>" in pages["studies/index.html"].decode()


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("b.md", r"docs/a\.html: its link to b\.html leads nowhere"),
        ("../../b.md", r"docs/a\.html: its link to \.\./\.\./b\.html leads nowhere"),
        ("../README.md#nowhere", r"docs/a\.html: its link to \.\./index\.html#nowhere names no heading there"),
        ("#nowhere", r"docs/a\.html: its link to #nowhere names no heading there"),
        ("two.png", r"docs/a\.html: its link to two\.png leads nowhere"),
    ],
)
def test_a_link_that_leads_nowhere_is_one_clear_line(small, link, words):
    (small / "docs" / "a.md").write_text(f"# A\n\n## A part\n\n[b]({link})\n", encoding="utf-8")
    with pytest.raises(InputError, match=words) as error:
        site.build(small, STUBS)
    assert "\n" not in str(error.value)


def test_a_page_made_before_is_checked_too(small):
    before = STUBS | {"report.html": b'<a href="docs/none.html">none</a>'}
    with pytest.raises(InputError, match=r"report\.html: its link to docs/none\.html leads nowhere"):
        site.build(small, before)


def test_from_every_page_of_the_repository_a_reader_gets_to_the_others_and_nothing_comes_from_elsewhere():
    pages = site.build(ROOT, STUBS)
    assert len(pages) > 100
    for name, content in pages.items():
        if name.endswith(".html") and name not in STUBS:
            text = content.decode("utf-8")
            up = "../" * name.count("/")
            assert all(f'href="{up}{door}"' in text for door in layout.PAGES), name
            assert not re.search(r"<script|<link(?! rel=\"icon\" href=\"data:)|src=\"https?:|url\(|@import", text), name


@pytest.fixture
def opened(small, monkeypatch):
    """Maker of the small site, which gives the pages that were shown."""
    shown: list[str] = []
    monkeypatch.chdir(small)
    monkeypatch.setattr(webbrowser, "open", shown.append)
    for page, content in STUBS.items():
        (small / "site" / page).parent.mkdir(parents=True, exist_ok=True)
        (small / "site" / page).write_bytes(content)

    def make(variables, page="report.html"):
        for name in ("CI", "DISPLAY", "WAYLAND_DISPLAY"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "platform", "linux")
        site.site(Namespace(folder=Path("site"), open=page))
        return shown

    return make


def test_the_page_is_shown_where_there_is_a_screen(opened, small, capsys):
    address = (small / "site" / "report.html").as_uri()
    assert opened({"DISPLAY": ":0"}) == [address]
    assert capsys.readouterr().out.rstrip().endswith(f"Begin at {address}")


@pytest.mark.parametrize("variables", [{}, {"DISPLAY": ":0", "CI": "true"}])
def test_the_page_is_not_shown_without_a_screen_or_in_continuous_integration(opened, small, variables, capsys):
    assert opened(variables) == []
    assert (small / "site" / "report.html").as_uri() in capsys.readouterr().out


def test_what_a_former_site_left_goes_and_other_files_stay(opened, small):
    for name in ("old.html", "docs/old.png", "CNAME"):
        (small / "site" / name).write_bytes(b"")
    opened({})
    assert (small / "site" / "CNAME").exists()
    assert not list((small / "site").rglob("old.*"))


def test_without_the_pages_made_before_it_says_what_to_run(small, monkeypatch):
    monkeypatch.chdir(small)
    with pytest.raises(InputError, match=r"site/report\.html: no such page: run `make site`"):
        site.site(Namespace(folder=Path("site"), open=None))


# In a browser, with the real analysis, and the report on the small configuration


@pytest.fixture(scope="module")
def made(make_workspace, tmp_path_factory):
    """The whole site in a folder."""
    folder = tmp_path_factory.mktemp("site")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "pages.notebook", "docs/analysis.py", str(folder / "docs" / "analysis.html")]
    subprocess.run(command, cwd=ROOT, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 60
    workspace = make_workspace("shown")
    workspace.run("dvc", "repro")
    workspace.module("pages.report", str(folder / "report.html"), str(folder / "card.md"), "--site")
    pages = site.build(ROOT, {page: (folder / page).read_bytes() for page in site.MADE_BEFORE})
    for name, content in pages.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    "page", ["index.html", "docs/analysis.html", "report.html", "docs/guide-tables.html", "studies/fixed/report.html"]
)
def test_a_browser_shows_a_page_whole_and_by_itself(made, browser, page):
    address = (made / page).as_uri()
    pictures = {(made / "docs" / name).as_uri() for name in ("graph2.png",)} if page == "index.html" else set()
    for width in (1200, 400):
        resize(browser, width)
        browser.get(address)
        assert browser.execute_script(OVERFLOW) == []
        widths = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")
        assert all(widths)
        assert requests(browser, address) == {address} | pictures
    assert browser.get_log("browser") == []


def test_a_reader_gets_from_the_report_to_the_analysis_and_back(made, browser):
    resize(browser, 1200)
    browser.get((made / "report.html").as_uri())
    for door in ("Analysis", "Guide's tables", "Studies", "Log", "Report"):
        browser.find_element("link text", door).click()
        assert browser.find_elements("css selector", "h1"), door
    assert browser.current_url == (made / "report.html").as_uri()


BOUND = re.compile(r"windows of (\d+) samples at noise (0\.\d+): (-?[01]\.\d+) ± (0\.\d+)")
SET = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"


def test_the_analysis_draws_its_mathematics_and_its_page_finds_the_committed_bounds(made, browser):
    resize(browser, 1200)
    browser.get((made / "docs" / "analysis.html").as_uri())
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('math')].map(m => m.getBoundingClientRect().height)"
    )
    assert len(sizes) > 50
    assert min(sizes) > 5
    browser.execute_script("document.getElementById('window').dataset.windows = 2000")  # as sure as the test needs it
    for samples, limit in ((50, 0.588293), (100, 0.705966)):  # docs/baseline.csv, study guide-sequence-length
        browser.execute_script(SET, browser.find_element("id", "samples"), samples)
        told = BOUND.search(browser.find_element("id", "bound").text)
        assert (int(told[1]), float(told[2])) == (samples, 0.1)
        assert float(told[4]) < 0.01
        assert abs(float(told[3]) - limit) < 4 * float(told[4])
    browser.execute_script("document.getElementById('window').dataset.windows = 100")
    browser.execute_script(SET, browser.find_element("id", "noise"), 0.3)
    assert float(BOUND.search(browser.find_element("id", "bound").text)[3]) < limit - 0.1
    curves = browser.find_elements("css selector", "#signals polyline")
    assert len(curves) == 3
    assert len(curves[0].get_attribute("points").split()) == 100
