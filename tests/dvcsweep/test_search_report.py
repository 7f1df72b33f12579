import re
import struct

import ledgers
import pandas as pd
import pytest
from conftest import OVERFLOW, ROOT, requests, resize
from ledgers import FILE, played, study
from ruamel.yaml import YAML
from selenium.webdriver.common.by import By

from dvcsweep.errors import StudyError
from dvcsweep.plan.studies import load
from dvcsweep.record.campaigns import begun
from dvcsweep.record.ledger import open_ledger
from dvcsweep.results.report import show, write

SPACE = {"model.width": [8, 16, 32], "train.clip": [0.5, None]}
BASE = {"model.width": 4, "model.depth": 2, "train.clip": 1.0, "train.rate": 1e-05, "train.epochs": 3}
NASTY = 'a <b>"name"</b> | & more'


def outcome(settings):
    loss = abs(settings["model.width"] - 16) + (settings["train.clip"] or 0.25)
    return {"values": [loss], "metrics": {f"{FILE}:train.loss": loss / 2, f"{FILE}:validation.r2": -loss}}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    demo = study(space=SPACE, fixed={"train.epochs": 5}, description=NASTY)
    folder = tmp_path_factory.mktemp("made")
    campaign = played(demo, folder, outcome, BASE)
    paths = write(demo, campaign, folder / "demo", "<p>A part of one's own.</p>")
    return demo, campaign, {path.name: path for path in paths}


def read(made, name):
    return made[2][name].read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["quick", "family-folds"])  # a grid, and points over folds
def test_a_committed_report_is_made_again_from_its_ledger(name, tmp_path):
    made_again(name, tmp_path)
    for file in ("report.md", "trials.csv"):
        committed = ROOT / "studies" / name / file
        assert (tmp_path / file).read_text(encoding="utf-8") == committed.read_text(encoding="utf-8")


def made_again(name, folder):
    study, ledger = load(ROOT / "studies" / f"{name}.yaml"), ROOT / "studies" / name / "ledger.jsonl"
    copied = folder / ledger.name  # opening one makes a lock beside it
    copied.write_bytes(ledger.read_bytes())
    (campaign,) = begun(open_ledger(copied))
    write(study, campaign, folder)
    return folder


def test_everything_promised_is_written_and_nothing_else(made):
    folder = made[2]["report.md"].parent
    assert {path.name for path in folder.iterdir()} == set(made[2])
    assert {"trials.csv", "best.yaml", "report.md", "report.html", "top.png", "history.png"} < set(made[2])


def test_the_best_configuration_is_whole(made):
    content = YAML(typ="safe").load(read(made, "best.yaml"))
    assert content == {
        "model": {"width": 16, "depth": 2},
        "train": {"clip": None, "rate": 1e-05, "epochs": 5},
    }
    assert read(made, "best.yaml").startswith("# validation.loss: 0.25 (minimized)\n# experiment: demo-003-84a7567\n")


def test_markdown_tells_the_result_and_links_to_files_that_are_there(made):
    text = read(made, "report.md")
    assert "**Best validation.loss: 0.25 with width 16, clip null (experiment demo-003-84a7567).**" in text
    for words in ("Strategy: grid", "train.epochs 5", "Baseline: 84a7567", "Trials: 6", f"{FILE}:validation.loss"):
        assert words in text
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert link in made[2]
    assert "python -m dvcsweep run studies/demo.yaml" in text
    assert "dvc exp apply demo-003-84a7567" in text
    rows = [line.split("|")[1:-1] for line in text.splitlines() if re.match(r"\| \d", line)]
    assert [float(row[1]) for row in rows] == [0.25, 0.5, 8.25, 8.5, 16.25, 16.5]


def test_the_page_asks_for_nothing_and_escapes_what_is_not_its_own(made):
    text = read(made, "report.html")
    assert "a &lt;b&gt;" in text
    assert NASTY not in text
    assert "<p>A part of one's own.</p>" in text
    assert not re.search(r"https?:|url\(|@import|src=\"(?!data:)", text)


def test_equal_ledgers_give_equal_bytes(made, tmp_path):
    demo, campaign, paths = made
    again = {path.name: path for path in write(demo, campaign, tmp_path, "<p>A part of one's own.</p>")}
    assert set(again) == set(paths)
    for name, path in again.items():
        assert path.read_bytes() == paths[name].read_bytes(), name


def test_what_an_earlier_report_left_goes_and_other_files_stay(made, tmp_path):
    for name in ("map-old-pair.png", "best-007.yaml", "notes.txt", "mine.png", "ledger.jsonl"):
        (tmp_path / name).touch()
    write(*made[:2], tmp_path)
    assert {"notes.txt", "mine.png", "ledger.jsonl"} < {path.name for path in tmp_path.iterdir()}
    assert not (tmp_path / "map-old-pair.png").exists()
    assert not (tmp_path / "best-007.yaml").exists()


def test_a_front_has_a_configuration_for_each_of_its_trials(tmp_path):
    demo = study(space={"x": [1, 2, 3], "y": [0, 1]}, objective=["a.json:loss", "a.json:cost"])
    campaign = played(demo, tmp_path, lambda one: {"values": [one["x"] + one["y"], -one["x"] + one["y"]]})
    names = {path.name for path in write(demo, campaign, tmp_path / "demo")}
    assert {name for name in names if name.endswith(".yaml")} == {"best-000.yaml", "best-002.yaml", "best-004.yaml"}
    text = (tmp_path / "demo" / "report.md").read_text(encoding="utf-8")
    assert "3 of 6 complete trials are on the Pareto front of loss and cost." in text


def test_halving_gives_the_best_configuration_the_whole_budget(tmp_path):
    demo = study(
        space={"x": [1, 2, 3]}, strategy={"kind": "halving", "budget": "epochs", "minimum": 1, "maximum": 3}, trials=3
    )
    write(demo, played(demo, tmp_path, lambda one: {"values": [one["x"]]}, {"x": 0, "epochs": 99}), tmp_path / "demo")
    content = YAML(typ="safe").load(tmp_path / "demo" / "best.yaml")
    assert content["epochs"] == 3
    text = (tmp_path / "demo" / "report.md").read_text(encoding="utf-8")
    assert "Trials that did not climb have their values at a smaller budget" in text
    assert "successive halving, epochs 1, 3" in text


@pytest.mark.parametrize(
    ("content", "function", "words"),
    [
        ({"space": {"x": [1]}}, lambda one: {"values": [1.0]}, "Best validation.loss: 1 with x 1"),
        ({"space": {"x": [1, 2]}}, lambda one: {"values": [1.0]}, "is 1 in every trial"),
        ({"space": {"x": [1, 2, 3]}}, lambda one: {"error": "a | b\nc"}, "None of 3 trials is complete."),
        (
            {"strategy": {"kind": "points", "points": {"one": {"x": 1}, "two": {"y": None}}}},
            lambda one: {"values": [one.get("x", 3)]},
            "with one: x 1",
        ),
    ],
)
def test_there_is_a_report_whatever_came_out(tmp_path, content, function, words):
    demo = study(**content)
    campaign = played(demo, tmp_path, function)
    names = {path.name for path in write(demo, campaign, tmp_path / "demo")}
    for name in ("report.md", "report.html"):
        text = (tmp_path / "demo" / name).read_text(encoding="utf-8")
        assert words in text
        assert not re.search(
            r"\bnan\b|None\b(?! of)|NaN(?!\()", re.sub(r"<script>.*|data:[^\"]*", "", text, flags=re.S)
        )
    assert ("best.yaml" in names) is (words[:4] != "None")
    assert words in show(demo, campaign)


def test_points_are_all_shown_with_further_figures_beside_them(tmp_path):
    points = {f"point {number}": {"x": number} for number in range(1, 14)}
    figure = "metrics/evaluate.json:test.r2"
    demo = study(strategy={"kind": "points", "points": points}, figures=[figure], average_over={"seed": [1, 3]})
    campaign = played(
        demo, tmp_path, lambda one: {"values": [one["x"]], "metrics": {figure: one["x"] / 16 + one["seed"]}}
    )
    write(demo, campaign, tmp_path / "demo")
    text = (tmp_path / "demo" / "report.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if re.match(r"\| +\d", line)]
    assert [row[1] for row in rows] == list(points)
    (header,) = (line for line in text.splitlines() if line.startswith("|") and "label" in line)
    heads = [cell.strip() for cell in header.split("|")[1:-1]]
    at = heads.index("test.r2")
    assert heads[at + 1] == "test.r2 (std)"
    for number, row in enumerate(rows, 1):
        assert float(row[at]) == pytest.approx(number / 16 + 2, rel=1e-5)
        assert float(row[at + 1]) == pytest.approx(2**0.5, rel=1e-5)  # of 1 and 3
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    assert figure in page  # in the statistics, under its whole name
    assert "test.r2" in show(demo, campaign)


def test_a_search_shows_its_best_only_with_further_figures_beside_them(tmp_path):
    demo = study(space={"x": list(range(1, 14))}, figures=["m.json:test.r2"])
    campaign = played(demo, tmp_path, lambda one: {"values": [one["x"]], "metrics": {"m.json:test.r2": one["x"] / 16}})
    write(demo, campaign, tmp_path / "demo")
    text = (tmp_path / "demo" / "report.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in text.splitlines() if re.match(r"\| +\d", line)]
    assert [(float(row[1]), float(row[2])) for row in rows] == [(x, x / 16) for x in range(1, 11)]


def test_figures_of_one_key_or_an_objectives_keep_their_files_and_missing_ones_are_named(tmp_path):
    names = ["a.json:test.r2", "b.json:test.r2", "b.json:loss", "b.json:label", "b.json:none"]
    demo = study(space={"x": [1, 2]}, figures=names)
    values = {name: number for number, name in enumerate(names[:-1], 3)}
    campaign = played(demo, tmp_path, lambda one: {"values": [one["x"]], "metrics": values})
    write(demo, campaign, tmp_path / "demo")
    text = (tmp_path / "demo" / "report.md").read_text(encoding="utf-8")
    (header,) = (line for line in text.splitlines() if line.startswith("| trial"))
    heads = [cell.strip() for cell in header.split("|")[1:-1]]
    assert set(names[:-1]) - {"b.json:loss"} <= set(heads)
    assert len(heads) == len(set(heads))
    assert "None of these trials has the figure b.json:none." in text


def test_a_campaign_without_trials_has_a_report(tmp_path):
    demo = study(space={"x": [1]})
    campaign = ledgers.begun(demo, tmp_path, {})
    assert {path.name for path in write(demo, campaign, tmp_path / "demo")} == {
        "trials.csv",
        "report.md",
        "report.html",
    }
    assert "No trial has been begun." in show(demo, campaign)


def test_the_terminal_shows_the_top_statistics_and_advice(made):
    text = show(*made[:2], top=2)
    rows = [line.split() for line in text.splitlines() if re.match(r"\d+ ", line)]
    assert [(row[0], row[1]) for row in rows] == [("3", "0.25"), ("2", "0.5")]
    losses = pd.Series([0.25, 0.5, 8.25, 8.5, 16.25, 16.5])
    assert f"{losses.mean():.6g}" in text
    assert f"{losses.std():.6g}" in text
    assert "- Every trial was run once" in text


def test_the_terminal_filters_and_sums_up_a_metric(made):
    text = show(*made[:2], criteria=["width>=16", "clip=null"], metric="r2")
    rows = [line.split() for line in text.splitlines() if re.match(r"\d+ ", line)]
    assert [row[0] for row in rows] == ["3", "5"]
    assert f"{FILE}:validation.r2" in text
    assert "No trial meets the criteria." in show(*made[:2], criteria=["width>99"])
    with pytest.raises(StudyError, match="nothing is no column"):
        show(*made[:2], criteria=["nothing>1"])


COLUMN = "return [...document.querySelectorAll('table.sortable tbody tr')].map(r => r.cells[arguments[0]].textContent)"


def test_a_browser_shows_the_page_without_a_network_and_sorts_its_table(made, browser):
    page = made[2]["report.html"].as_uri()
    for width in (390, 1280):
        resize(browser, width)
        browser.get(page)
        assert browser.execute_script(OVERFLOW) == []
    pictures = [path for path in made[2].values() if path.suffix == ".png"]
    widths = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")
    assert sorted(widths) == sorted(struct.unpack(">I", path.read_bytes()[16:20])[0] for path in pictures)
    heads = [head.text.strip() for head in browser.find_elements(By.CSS_SELECTOR, "table.sortable th")]
    loss, clip = heads.index("validation.loss"), heads.index("clip")
    buttons = browser.find_elements(By.CSS_SELECTOR, "table.sortable th button")
    for ascending in (True, False):
        browser.execute_script("arguments[0].click()", buttons[loss])
        values = list(map(float, browser.execute_script(COLUMN, loss)))
        assert values == sorted([8.25, 8.5, 0.25, 0.5, 16.25, 16.5], reverse=not ascending)
    browser.execute_script("arguments[0].click()", buttons[clip])
    assert browser.execute_script(COLUMN, clip) == ["0.5"] * 3 + ["null"] * 3
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []
    assert requests(browser, page) == {page}


def test_a_wide_table_has_rows_of_one_line_on_a_screen_and_all_its_columns_on_paper(browser, tmp_path):
    committed = made_again("family-parameters", tmp_path)
    resize(browser, 1100)
    browser.get((committed / "report.html").as_uri())
    heights = browser.execute_script("return [...document.querySelectorAll('tbody tr')].map(row => row.clientHeight)")
    assert len(heights) > 10
    assert max(heights) < 1.5 * min(heights)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 1100
