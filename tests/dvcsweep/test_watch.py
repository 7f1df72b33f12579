"""What one sees of a running search, from states written by hand."""

import io
import re
import time

import pytest
from rich.console import Console

from dvcsweep.commands import watch
from dvcsweep.errors import StudyError
from dvcsweep.record.campaigns import sole_driver
from dvcsweep.running import snapshot
from dvcsweep.running.snapshot import Experiment, Snapshot

STATE = Snapshot(
    "demo@84a7567",
    done=3,
    failed=1,
    total=9,
    best="trial 2: 0.25",
    left="about 40 s left",
    points=8,
    running=[
        Experiment("demo-004-84a7567", {"train.rate": 0.01}, time.time() - 20, [4.0, 2.0, 3.0, 1.5], 1.75),
        Experiment("demo-005-84a7567", {"train.rate": 0.1}, time.time() - 3),
    ],
    failures=["demo-001-84a7567: it [bold]broke[/bold]"],
)


def test_what_is_written_is_read(tmp_path):
    STATE.write(tmp_path)
    assert snapshot.read(tmp_path) == STATE


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"running": [1]}', '{"running": [{}]}', "\x00"])
def test_what_is_no_state_is_none(tmp_path, content):
    (tmp_path / snapshot.FILE).write_text(content)
    assert snapshot.read(tmp_path) is None


def test_fields_of_a_later_version_are_passed_over(tmp_path):
    STATE.write(tmp_path)
    text = (tmp_path / snapshot.FILE).read_text()
    (tmp_path / snapshot.FILE).write_text(
        text.replace('"sign"', '"colour": "red", "sign"').replace('"curve"', '"a": 1, "curve"')
    )
    assert snapshot.read(tmp_path) == STATE


def test_plain_lines_tell_of_each_experiment():
    first, running, waiting, failure = watch.lines(STATE)
    assert first == "demo@84a7567: 3 of 9 trials done, 1 failed, about 40 s left, best trial 2: 0.25"
    running = re.sub(r"(\d+ min )?\d+ s left", "LEFT", running)
    assert running.split("  ")[1:] == ["demo-004-84a7567", "4/8", "█▂▅▁", "1.5", "< 1.75", "LEFT", "rate=0.01"]
    assert re.fullmatch(r"  demo-005-84a7567  0  (\d+ min )?\d+\.?\d* s  rate=0\.1", waiting)
    assert failure == "  failed: demo-001-84a7567: it [bold]broke[/bold]"


def test_large_values_may_be_the_good_ones():
    one = Experiment("a", {}, time.time(), [0.1, 0.7, 0.6], 0.65)
    assert watch.figures(one, Snapshot("a", 0, 0, 1, "", "", sign=-1), time.time())[3:5] == ["0.7", "> 0.65"]


def test_the_terminal_shows_the_same_and_no_markup_of_others():
    console = Console(file=io.StringIO(), width=140)
    console.print(watch.picture(STATE))
    text = console.file.getvalue()
    for words in ("demo@84a7567: 3 of 9 trials done", "█▂▅▁", "< 1.75", " s left", "it [bold]broke[/bold]"):
        assert words in text


@pytest.mark.parametrize(
    ("curve", "bars"),
    [([], ""), ([1.0], "▁"), ([1.0, 1.0], "▁▁"), ([0.0, float("nan"), 7.0], "▁ █"), ([float("inf")], "")],
)
def test_small_curves(curve, bars):
    assert watch.spark(curve) == bars
    assert len(watch.spark([float(point) for point in range(100)])) == watch.POINTS


def test_a_study_that_nobody_runs_is_told(tmp_path):
    with pytest.raises(StudyError, match="study demo is not being run here"):
        watch.watch(tmp_path, "demo")


def test_it_ends_with_the_driver(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(watch, "PLAIN_PAUSE", 0.0)
    driver = sole_driver(tmp_path, "demo")
    driver.__enter__()
    STATE.write(tmp_path)
    shown = []

    def lines(state):
        shown.append(state)
        driver.__exit__(None, None, None)
        return ["a line"]

    monkeypatch.setattr(watch, "lines", lines)
    watch.watch(tmp_path, "demo")
    assert capsys.readouterr().out == "a line\nstudy demo is not being run any more\n"
    assert shown == [STATE]
