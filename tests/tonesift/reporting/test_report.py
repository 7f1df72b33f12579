import base64
import csv
import re
import struct
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import OVERFLOW, ROOT, requests, resize

from tonesift.errors import InputError
from tonesift.reporting.page import Content, Picture, headline, render, wins

VOID = {"meta", "link", "img", "br"}
WIDTHS = (1280, 400)
NASTY = "<script>alert('&')</script>"


def estimator(name: str, r2: float | None, tones: tuple = (), **changes: str) -> dict:
    row = {"name": name, "label": name.title(), "context": "50 samples", "causal": "yes", "told": "frequencies"}
    figures = {f"r2_tone_{number}": value for number, value in enumerate(tones, 1)}
    return row | {"r2": r2, "mse": None if r2 is None else (1 - r2) / 2} | figures | changes


COMPARISON = [
    estimator("limit", 0.6, (0.7, 0.5), label="best possible"),
    estimator("network", 0.54, (0.7, 0.38), label="LSTM"),
    estimator("kalman", 0.3, (0.2, 0.4), label="Kalman filter"),
    estimator("mean", 0.0, (0.0, 0.0)),
    estimator("band", None, (None, None)),
    estimator("kalman", 0.98, (0.99, 0.97), label="Kalman filter", context="all the past"),
    estimator("butterworth", 0.9, (0.9, 0.9), context="the whole recording", causal="no"),
]
TONES = [  # as csv.DictReader gives them
    {"tone": "all", "frequency_hz": "", "r2": "0.54", "mse": "0.23", "snr_gain_db": "8.5", "train_ratio": "inf"},
    {"tone": "1 Hz", "frequency_hz": "1.0", "r2": "0.7", "mse": "0.15", "snr_gain_db": "11", "train_ratio": "1.1"},
    {"tone": "3 Hz", "frequency_hz": "3.0", "r2": "0.38", "mse": "0.31", "snr_gain_db": "-6", "train_ratio": "1.1"},
]
UNCERTAINTY = {
    "r2": {"all": [0.54, 0.5, 0.58], "1 Hz": [0.7, 0.65, 0.75], "3 Hz": [-0.38, -0.42, -0.34]},
    "paired": [
        {"rival": "A", "context": "50 samples", "mse_difference": 0.1, "low": 0.05, "high": 0.15, "p": 1e-9},
        {"rival": "B", "context": "50 samples", "mse_difference": -0.1, "low": -0.15, "high": -0.05, "p": 0.01},
        {"rival": "C", "context": "50 samples", "mse_difference": 0.01, "low": -0.05, "high": 0.07, "p": 0.4},
    ],
}
DIAGNOSIS = {
    "verdict": "overfit",
    "sentences": ["The validation loss rose."],
    "commands": ["dvc exp run -S model.hidden_size=64", "dvc exp run -S model.dropout=0.3"],
}


def png(width: int, height: int) -> bytes:
    """A white picture, made without any library."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = (b"\0" + b"\xff" * width) * height
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(lines))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in [*parts, (b"IEND", b"")])


@pytest.fixture
def content(tmp_path: Path) -> Content:
    path = tmp_path / "a picture.png"
    path.write_bytes(png(990, 400))
    return Content(
        title=f"A title {NASTY}",
        comparison=[*COMPARISON, estimator("long", 0.1, label="l" * 90, told=NASTY, context="w" * 60)],
        tones=TONES,
        uncertainty=UNCERTAINTY,
        diagnosis=DIAGNOSIS,
        pictures=[Picture(path, f"The caption {NASTY}", 'Two "sines" & noise')],
        params={"data": {"task": "fixed", "frequencies": [1.0, 3.0], "fold": None}, "long": {"k" * 60: "v" * 90}},
        origin={"model": "53b6f1bb966c", "torch": "2.13.0+cpu", "processor": "x86_64 AVX512"},
        reproduce=("make repro", f"echo {'x' * 300}"),
    )


class Page(HTMLParser):
    """Elements and texts of a page; fails where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.rows: list[tuple[str, list[str]]] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append((dict(attrs).get("class", ""), []))
        if tag in ("td", "th"):
            self.rows[-1][1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][1][-1] += data.strip()

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def test_the_headline_says_what_was_reached_and_what_was_possible(content):
    assert headline(content) == "R² 0.540 on recordings never seen: 90 % of the best possible, 0.600"
    assert headline(replace(content, comparison=())) == "R² 0.540 on recordings never seen"
    assert headline(replace(content, tones=())) == headline(content)
    assert headline(Content()) == "Report on a run"


def test_the_limit_of_the_networks_own_context_is_the_one_it_is_measured_by(content):
    limits = [estimator("limit", 0.99, context="all the past"), *COMPARISON]
    assert headline(replace(content, comparison=limits)) == headline(content)


def test_the_comparison_is_sorted_and_the_network_and_the_limit_stand_out():
    page = Page(render(Content(comparison=COMPARISON)))
    header, *rows = page.rows
    assert header[1] == ["Estimator", "Context", "R²", "MSE", "R² tone 1", "R² tone 2", "Causal", "Told"]
    assert [cells[2] for _, cells in rows] == ["0.980", "0.900", "0.600", "0.540", "0.300", "0.000", "–"]
    marked = {cells[0]: kind for kind, cells in rows if kind}
    assert marked == {"best possible": "limit", "LSTM": "ours"}


def test_the_figure_after_the_first_second_has_a_column_where_there_is_one():
    settled = [COMPARISON[0] | {"r2_settled": "0.992"}, COMPARISON[1] | {"r2_settled": ""}]
    header, (_, best), (_, ours) = Page(render(Content(comparison=settled))).rows[:3]
    assert header[1][2:6] == ["R²", "MSE", "R² after 1 s", "R² tone 1"]
    assert (best[4], ours[4]) == ("0.992", "–")
    without = [row | {"r2_settled": ""} for row in COMPARISON]  # windows of less than a second
    assert render(Content(comparison=without)) == render(Content(comparison=COMPARISON))
    assert "after 1 s" not in render(Content(comparison=without))


def test_conditions_have_a_table_and_a_sentence_that_follows_it():
    rows = [
        {"condition": "clean", "network": "0.998", "kalman": "0.999", "auto": "0.997", "taken": "kalman"},
        {"condition": "gaps", "network": "0.95", "kalman": "0.6", "auto": "", "taken": ""},
    ]
    page = Page(render(Content(conditions=rows)))
    assert page.rows[0][1] == ["Condition", "network", "Kalman", "named tones, settings found", "Settings found"]
    assert page.rows[2][1] == ["gaps", "0.950", "0.600", "–", "–"]
    assert "ahead of every filter beside it under gaps; under the others it is not" in page.text
    behind = [row | {"kalman": "0.999"} for row in rows]
    assert "Under none of these is the network ahead" in Page(render(Content(conditions=behind))).text
    assert "Conditions" not in Page(render(Content(comparison=COMPARISON))).text


def test_a_bound_is_no_best_possible():
    bound = [row | {"name": "bound"} if row["name"] == "limit" else row for row in COMPARISON]
    assert headline(Content(comparison=bound)) == "R² 0.540 on recordings never seen"
    page = Page(render(Content(comparison=bound)))
    assert "limit" in [kind for kind, _ in page.rows]
    assert wins(bound) == wins(COMPARISON)


def test_tones_go_by_their_frequencies_where_these_are_known(content):
    page = Page(render(content))
    assert page.rows[0][1][4:6] == ["R² 1 Hz", "R² 3 Hz"]
    table = [cells for _, cells in page.rows if cells[0] in ("all tones", "1 Hz", "3 Hz")]
    assert table[0] == ["all tones", "0.540", "0.2300", "8.5", "–"]
    assert table[2][3] == "\u22126.0"


def test_the_text_says_where_another_estimator_wins():
    same, tone, other = wins(COMPARISON, {"r2_tone_2": "3 Hz"})
    assert same == "With the network's own context (50 samples) no other estimator does better than its R² of 0.540."
    assert tone == "For 3 Hz alone the Kalman filter (told frequencies; 0.400) does better than its 0.380."
    assert other == (
        "With another context the Kalman filter (all the past; 0.980) and the Butterworth (the whole recording; not "
        "causal; 0.900) do better."
    )


def test_the_text_says_who_is_better_with_the_same_context():
    better = [estimator(f"r{number}", 0.55 + number / 100, (0.9, 0.9)) for number in range(5)]
    (sentence,) = wins([estimator("network", 0.54, (0.7, 0.38)), *better])
    assert sentence == (
        "With the network's own context (50 samples) the R4 (told frequencies; 0.590), the R3 (told frequencies; "
        "0.580), the R2 (told frequencies; 0.570) and 2 more do better than its R² of 0.540."
    )


@pytest.mark.parametrize(
    ("reached", "context", "told"),
    [
        (0.61, "50 samples", True),
        (0.59, "50 samples", False),
        (0.61, "all the past", False),
        (None, "50 samples", False),
    ],
)
def test_the_text_says_why_the_best_estimator_may_reach_more_than_the_best_possible(content, reached, context, told):
    row = estimator("posterior_mean", reached, context=context)
    text = Page(render(replace(content, comparison=[*COMPARISON, row]))).text
    assert ("The best possible, 0.600, is the mean over recordings without number; on this test" in text) is told
    assert ("the posterior mean, comes to 0.610" in text) is told


def test_nothing_is_said_of_wins_without_the_network():
    assert wins([estimator("kalman", 0.3)]) == []


def test_intervals_stand_at_their_place_on_the_scale():
    page = Page(render(Content(uncertainty=UNCERTAINTY)))
    places = [re.findall(r":(-?[\d.]+)%", each["style"]) for each in page.all("i")]
    # the scale runs from -0.5 to 1: 0 stands at a third, and 0.54 with [0.5, 0.58] at 69.33 with [66.67, 72]
    assert [[float(place) for place in each] for each in places[:3]] == [[33.33], [66.67, 5.33], [69.33]]
    assert "from \u22120.5 to 1" in page.text


def test_paired_comparisons_say_who_is_better():
    rows = {cells[0]: cells for _, cells in Page(render(Content(uncertainty=UNCERTAINTY))).rows}
    assert rows["A"] == ["A", "50 samples", "+0.1000", "+0.0500", "+0.1500", "< 0.001", "the network"]
    assert rows["B"][-2:] == ["0.010", "the rival"]
    assert rows["C"][-2:] == ["0.400", "not told apart"]


def test_diagnosis_configuration_origin_and_commands_are_there(content):
    text = Page(render(content)).text
    for expected in (
        "The validation loss rose.",
        "dvc exp run -S model.hidden_size=64 dvc exp run -S model.dropout=0.3",
        "frequencies 1.0, 3.0 fold null",
        "torch 2.13.0+cpu",
        "make repro",
    ):
        assert expected in text


def test_pictures_are_inside_with_captions_texts_and_sizes(content):
    page = Page(render(content))
    (picture,) = page.all("img")
    kind, data = picture["src"].split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == png(990, 400)
    assert (picture["width"], picture["height"]) == ("990", "400")
    assert picture["alt"] == 'Two "sines" & noise'
    assert f"The caption {NASTY}" in page.text


def test_the_page_holds_no_script_and_asks_for_nothing(content):
    page = Page(render(content))
    assert page.all("script") == []
    addresses = [
        value for _, attributes in page.elements for name, value in attributes.items() if name in ("src", "href")
    ]
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"url\(|@import|https?:", render(content))


def test_links_lead_to_sections_of_the_page(content):
    page = Page(render(content))
    names = [section["id"] for section in page.all("section")]
    assert [link["href"] for link in page.all("a")] == [f"#{name}" for name in names]
    assert len(set(names)) == len(names) == 8


def test_links_to_other_pages_come_first(content):
    page = Page(render(replace(content, links={"a/b.html": "One & all", "c.html": "Two"})))
    assert [link["href"] for link in page.all("a")][:3] == ["a/b.html", "c.html", "#comparison"]
    assert "One & all" in page.text


@pytest.mark.parametrize(
    ("part", "heading"),
    [
        ("comparison", "Comparison"),
        ("tones", "Tone by tone"),
        ("uncertainty", "Uncertainty"),
        ("diagnosis", "Diagnosis"),
        ("pictures", "Pictures"),
        ("params", "Configuration"),
        ("origin", "Origin"),
        ("reproduce", "How to reproduce"),
    ],
)
def test_absent_parts_are_left_out(content, part, heading):
    assert heading in Page(render(content)).text
    empty = getattr(Content(), part) if part != "reproduce" else ()
    assert heading not in Page(render(replace(content, **{part: empty}))).text


def test_equal_content_gives_equal_pages(content):
    assert render(content) == render(content)


@pytest.mark.parametrize("data", [None, b"GIF89a", b"\x89PNG\r\n\x1a\n"])
def test_a_missing_or_broken_picture_is_one_clear_line(data, tmp_path):
    path = tmp_path / "p.png"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError, match=r"p\.png: (cannot be read|not a PNG): draw it") as error:
        render(Content(pictures=[Picture(path, "", "")]))
    assert "\n" not in str(error.value)


def test_a_figure_that_is_no_number_is_one_clear_line():
    with pytest.raises(InputError, match="got 'much' where a number belongs"):
        render(Content(comparison=[estimator("network", 0.5) | {"r2": "much"}]))


def test_a_browser_shows_the_page_whole(content, browser, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(render(content), encoding="utf-8")
    for width in WIDTHS:
        resize(browser, width)
        for scheme in ("light", "dark"):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            browser.get(path.as_uri())
            assert browser.execute_script("return window.innerWidth") == width
            assert browser.execute_script(OVERFLOW) == []
            widths = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")
            assert widths == [990]
            ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", ground))) > 3 * 128) == (scheme == "light")
    assert browser.get_log("browser") == []
    assert requests(browser, path.as_uri()) == {path.as_uri()}


# Frames whose table is wider than they are: it can be scrolled to, but a reader may not know that there is more
CUT = "return [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length"


@pytest.mark.parametrize("width", [1200, 1600])
def test_no_column_of_the_committed_comparison_is_beyond_the_edge(width, browser, tmp_path):
    tables = {}
    for name in ("comparison", "tones"):
        with (ROOT / f"metrics/evaluate/{name}.csv").open(encoding="utf-8", newline="") as file:
            tables[name] = list(csv.DictReader(file))
    content = Content(**tables)
    path = tmp_path / "report.html"
    path.write_text(render(content), encoding="utf-8")
    resize(browser, width)
    browser.get(path.as_uri())
    assert "Told" in browser.execute_script("return document.querySelector('.scroll').innerText")
    assert browser.execute_script(CUT) == 0
