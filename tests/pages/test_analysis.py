"""The analysis: every figure in its prose is a committed file's, and what its cells show is what they computed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, quiet_environment

from pages import notebook, quoted
from tonesift.errors import InputError

ANALYSIS = ROOT / "docs" / "analysis.py"
CELLS = notebook.read(ANALYSIS)
FIGURES = notebook.check(CELLS, ANALYSIS)


def test_the_prose_quotes_many_figures_and_each_from_a_committed_file():
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a Git checkout")
    files = {(ANALYSIS.parent / each.source.partition("#")[0]).resolve().relative_to(ROOT) for each in FIGURES}
    assert len(FIGURES) > 50
    assert {file.as_posix() for file in files} <= set(done.stdout.splitlines())


@pytest.mark.parametrize("factor", [1.01, 0.99])
@pytest.mark.parametrize("figure", sorted(set(FIGURES), key=str), ids=lambda figure: figure.source)
def test_a_figure_that_a_file_has_otherwise_by_one_per_cent_is_refused(figure, factor):
    committed = quoted.value(ANALYSIS.parent, figure.source)
    assert quoted.fault(figure, committed) is None
    assert quoted.fault(figure, committed * factor)


@pytest.fixture
def copy(tmp_path):
    """The notebook with all that its prose quotes, elsewhere."""
    for name in {ANALYSIS.name, *(figure.source.partition("#")[0] for figure in FIGURES)}:
        source = (ANALYSIS.parent / name).resolve()
        target = tmp_path / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    return tmp_path / "docs" / ANALYSIS.name


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [("docs/baseline.csv", "0.588293", "0.594176"), ("metrics/evaluate/metrics.json", "0.992255", "0.982332")],
)
def test_a_committed_file_that_changes_by_one_per_cent_leaves_the_prose_untrue(copy, name, before, after):
    notebook.check(notebook.read(copy), copy)
    path = copy.parent.parent / name
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")
    quoted._table.cache_clear()
    quoted._tree.cache_clear()
    with pytest.raises(
        InputError, match=rf"{before[:5]} stands where .*{Path(name).name}.* has {after}: correct it"
    ) as error:
        notebook.check(notebook.read(copy), copy)
    assert "\n" not in str(error.value)


def test_prose_that_changes_by_one_per_cent_is_untrue(copy):
    text = copy.read_text(encoding="utf-8")
    assert text.count("[0.470](") == 1
    copy.write_text(text.replace("[0.470](", "[0.475]("), encoding="utf-8")
    with pytest.raises(InputError, match=r"0\.475 stands where .* has 0\.470241"):
        notebook.check(notebook.read(copy), copy)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A score of 0.5.", "a figure without a source"),
        ("- seven\n- 7 of them", "a figure without a source"),
        ("| a |\n|---|\n| 12 % |", "a figure without a source"),
        ("It is $R^2 = 0.5$.", "a measured figure in mathematics"),
        ("$$\nR^2 = 0.5\n$$", "a measured figure in mathematics"),
    ],
)
def test_a_figure_without_a_source_is_refused(text, words):
    with pytest.raises(InputError, match=words):
        quoted.figures(text)


def test_what_is_no_measured_figure_needs_no_source():
    text = "R² of $\\frac{1}{2}$, `0.5` and [Kay 1993](https://example.org/1), [two](results.md#one)\n\n```\n0.5\n```"
    assert quoted.figures(text) == []


TABLE = "name,seed,r2\na,1,0.25\na,2,0.35\nb,1,-0.5\n"
TREE = '{"test": {"values": [1, 2.5]}}'


@pytest.fixture
def files(tmp_path):
    (tmp_path / "t.csv").write_text(TABLE, encoding="utf-8")
    (tmp_path / "t.json").write_text(TREE, encoding="utf-8")
    (tmp_path / "t.yaml").write_text("claims: {128: 0.35, 1.0e-5: 0.081, words: many}\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("t.csv#r2&name=b", -0.5),
        ("t.csv#r2&name=a&seed=2", 0.35),
        ("t.csv#r2&name=a&over=mean", 0.3),
        ("t.csv#r2&over=min", -0.5),
        ("t.json#test.values.1", 2.5),
        ("t.yaml#claims.128", 0.35),
        ("t.yaml#claims.1e-5", 0.081),
    ],
)
def test_a_source_leads_to_its_figure(files, source, wanted):
    assert quoted.value(files, source) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("none.csv#r2", "no such file"),
        ("t.csv#r2&name=a", "no figure there .*2 rows"),
        ("t.csv#r2&name=c&over=mean", "no figure there .*0 rows"),
        ("t.csv#mse&name=b", "no figure there .*mse"),
        ("t.csv#r2&family=b", "no figure there .*family"),
        ("t.json#test.values.2", "no figure there"),
        ("t.json#test.values", "no figure there"),
        ("t.yaml#claims.words", "no figure there"),
    ],
)
def test_a_source_that_leads_nowhere_is_one_clear_line(files, source, words):
    with pytest.raises(InputError, match=words) as error:
        quoted.value(files, source)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "found", "words"),
    [
        ("0.588", 0.588293, None),
        ("58.8 %", 0.588293, None),
        ("\u22120.636", -0.636364, None),
        ("194 344", 194344.0, None),
        ("10", 10.0, None),
        ("0.589", 0.588293, "stands where"),
        ("0.636", -0.636364, "stands where"),
        ("0.6", 0.588293, "too few digits"),
        ("58 %", 0.5849, "too few digits"),
        ("58 %", 0.5851, "stands where"),
        ("about 3", 3.0, "is no figure"),
    ],
)
def test_a_figure_is_the_files_rounded_with_enough_digits(text, found, words):
    fault = quoted.fault(quoted.Figure(text, "t.csv#r2"), found)
    assert (words in fault) if words else fault is None


CELL = """\
# %% [markdown]
# # A title
#
# Here $x^2$.

# %%
print(2 + 2, "<b>")

# %%
class Shown:
    def _repr_html_(self):
        return "<table><tr><td>seven</td></tr></table>"


from matplotlib import pyplot

pyplot.plot([1, 2])
pyplot.title("A line")
Shown()
"""


@pytest.fixture
def page(tmp_path):
    """Maker of a page from a notebook's text."""

    def make(text):
        path = tmp_path / "small.py"
        path.write_text(text, encoding="utf-8")
        return notebook.render(notebook.read(path), path)

    return make


def test_a_page_shows_what_cells_print_draw_and_end_with(page):
    text = page(CELL)
    assert "<pre>4 &lt;b&gt;\n</pre>" in text
    assert "<td>seven</td>" in text
    assert text.count('<img src="data:image/svg+xml;base64,') == text.count('alt="A line"') == 1
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in text
    assert "<title>A title</title>" in text
    assert page(CELL) == text


def test_a_cell_that_fails_is_one_line_with_its_place(page):
    with pytest.raises(InputError, match=r"small\.py, code cell 1, line 2: AssertionError: three"):
        page('# %%\na = 1\nassert a == 3, "three"\n')


def test_the_command_says_what_is_missing(tmp_path):
    command = [sys.executable, "-m", "pages.notebook", "docs/none.py", str(tmp_path / "page.html")]
    environment = quiet_environment(tmp_path)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "notebook: docs/none.py: no such file: run from the top of the repository\n"


CHANGED = """\
# %% [markdown]
# # A title
#
# It was [0.25](t.csv#r2&name=a), then [0.5](t.csv#r2&name=b), and [3](none.csv#r2&name=a).

# %%
raise ValueError("no such tone")

# %%
print("and on")
"""


def test_after_a_change_figures_that_differ_are_marked_and_cells_may_fail(tmp_path):
    (tmp_path / "t.csv").write_text("name,r2\na,0.25\nb,0.75\n", encoding="utf-8")
    path = tmp_path / "small.py"
    path.write_text(CHANGED, encoding="utf-8")
    cells = notebook.read(path)
    with pytest.raises(InputError, match=r"small\.py, code cell 1, line 1: ValueError: no such tone"):
        notebook.render(cells, path)
    text = notebook.render(cells, path, mark=True)
    assert 'class="figure" title="0.25, t.csv#r2&amp;name=a">0.25</a>' in text
    assert 'class="figure untrue" title="0.75, t.csv#r2&amp;name=b">0.5</a>' in text
    assert 'class="figure untrue" title="none.csv#r2&amp;name=a: no such file">3</a>' in text
    assert "code cell 1, line 1: ValueError: no such tone" in text
    assert "and on" in text
    assert text.count('<p class="untrue">') == 1
