"""Damaged studies, parameter files and ledgers: each is one line with the file's name, in little memory."""

import itertools
import json
import tracemalloc

import pytest
from ledgers import FILE, played, study

from dvcsweep.errors import CHARACTERS, LINES, StudyError, shown
from dvcsweep.plan.studies import load
from dvcsweep.record.ledger import Campaign, check_fit, names, open_ledger
from dvcsweep.settings import parse

LEVELS = "abcdefghij"
TEN = ", ".join(["*{0}"] * 10)
SPACE = "space:\n  x: {low: 0.0, high: 1.0}\n"
STUDY = f"objective: {FILE}:validation.loss\nstrategy: random\ntrials: 3\n{SPACE}fixed: {{y: 1}}\n"
BOMB = f"[&a [{', '.join('x' * 10)}], " + ", ".join(
    f"&{new} [{TEN.format(old)}]" for old, new in itertools.pairwise(LEVELS)
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{TEN.format(old)}]}}\n" for old, new in itertools.pairwise(LEVELS)
)

TEXTS = {
    "bool": ("p.yaml", "a:\n  b: !!bool maybe\n", "p.yaml: not readable as YAML: 'maybe' cannot be read as bool in"),
    "int": ("p.yaml", "a: !!int abc", "'abc' cannot be read as int in line 1"),
    "digits": ("p.yaml", "a: " + "1" * 5001, "cannot be read as int in line 1"),
    "brackets": ("p.yaml", "a: " + "[" * 3000, "p.yaml: nested more than 50 deep in line 1"),
    "aliases": ("p.yaml", f"a: {BOMB}]", "p.yaml: more than 2000000 characters by line 1"),
    "merges": ("p.yaml", MERGES, "p.yaml: more than 2000000 characters by line"),
    "itself": ("p.yaml", "a: &a [*a]", "p.yaml: more than 2000000 characters by line 1"),
    "JSON digits": ("p.json", '{"a": ' + "1" * 5001 + "}", "p.json: not readable as JSON: Exceeds the limit"),
    "JSON brackets": ("p.json", "[" * 100_000, "p.json: not readable as JSON: maximum recursion depth"),
    "TOML brackets": ("p.toml", "a = " + "[" * 5000, "p.toml: not readable as TOML: "),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_what_cannot_be_read(name):
    path, text, message = TEXTS[name]
    tracemalloc.start()
    with pytest.raises(StudyError, match=message) as caught:
        parse(path, text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert peak < 50e6


def test_aliases_and_merges_that_stand_for_little_are_read():
    assert parse("p.yaml", "a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a\n") == {
        "a": {"x": 1},
        "b": {"x": 1, "y": 2},
        "c": {"x": 1},
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("fixed: {y: 1}", "fixed: !!bool maybe", "demo.yaml: not readable as YAML: .* as bool in line 6"),
        ("trials: 3", "trials: 99999999999999999999", r"demo.yaml: trials: must be at most 1e\+06, but got 999999"),
        ("trials: 3", "trials: 0x" + "f" * 5000, "but got an integer of 20000 bits"),
        ("trials: 3", "trials: 3\nseed: 18446744073709551616", r"demo.yaml: seed: must be at most 9\.2"),
        ("trials: 3", "trials: 3\njobs: 1000000000", "demo.yaml: jobs: must be at most"),
        ("trials: 3", "trials: 3\ngpus: 1e308", "demo.yaml: gpus: must be at most"),
        ("trials: 3", "trials: 3\nstop: {minutes: 1e308}", r"demo.yaml: stop\.minutes: must be at most"),
    ],
    ids=lambda text: text[:25],
)  # fmt: skip
def test_studies_beyond_all_bounds(tmp_path, old, new, message):
    path = tmp_path / "demo.yaml"
    path.write_text(STUDY.replace(old, new), encoding="utf-8")
    with pytest.raises(StudyError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_message_stays_short():
    assert len(str(StudyError("\n".join(["x" * 10**5] * 500))).split("\n")) == LINES + 1
    assert len(str(StudyError(f"{'x' * 10**6} remedy"))) == CHARACTERS
    assert len(shown({"x" * 10**6: ["y"] * 10**6})) < 500


@pytest.fixture
def ledger(tmp_path):
    grid = study(space={"x": [1, 2]})
    played(grid, tmp_path, lambda settings: {"values": [float(settings["x"])]})
    return tmp_path / "ledger.jsonl"


def change(path, found, changes):
    """The first line with this attribute, or this part of one, changed."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    held = next(line[part] for line in lines for part in ("user_attr", "system_attr") if found in line.get(part, {}))
    held[found] = changes(held[found])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


FACTS = [
    ("file", lambda _: 3, "file: Input should be a valid string"),
    ("label", lambda _: ["x"], "label: Input should be a valid string"),
    ("settings_values", lambda _: "../../etc", "settings_values: Input should be a valid dictionary"),
    ("baseline", lambda _: {"a": 1}, "baseline: Input should be a valid string"),
]


@pytest.mark.parametrize(("name", "changes", "message"), FACTS, ids=[name for name, _, _ in FACTS])
@pytest.mark.parametrize("write", [False, True])
def test_facts_of_another_type(ledger, name, changes, message, write):
    change(ledger, name, changes)
    with pytest.raises(StudyError, match=rf"ledger\.jsonl: damaged \({message}\): take the committed one"):
        open_ledger(ledger, write)


OUTCOMES = [
    (lambda outcome: ["x"], "damaged"),
    (lambda outcome: "<script>", "damaged"),
    (lambda outcome: outcome | {"values": ["x"]}, "damaged .*values"),
    (lambda outcome: outcome | {"values": 3}, "damaged .*values"),
    (lambda outcome: outcome | {"values": []}, "damaged .*trial 0 of demo@.* has not 1 values"),
    (lambda outcome: outcome | {"values": [1.0, 2.0]}, "damaged .*trial 0 of demo@.* has not 1 values"),
    (lambda outcome: outcome | {"commit": None}, "damaged .*commit"),
    (lambda outcome: outcome | {"seconds": "long"}, "damaged .*seconds"),
    (lambda outcome: outcome | {"metrics": []}, "damaged .*metrics"),
    (lambda outcome: outcome | {"curves": {"a": [1]}}, "damaged .*curves"),
    (lambda outcome: outcome | {"stages": 1}, "damaged .*stages"),
]


@pytest.mark.parametrize(("changes", "message"), OUTCOMES, ids=range(len(OUTCOMES)))
def test_outcomes_of_another_type(ledger, changes, message):
    _change_outcome(ledger, changes)
    with pytest.raises(StudyError, match=message) as caught:
        open_ledger(ledger)
    assert str(caught.value).startswith(f"{ledger}: ")
    assert "\n" not in str(caught.value)


def _change_outcome(path, changes):
    name = next(
        key
        for line in path.read_text(encoding="utf-8").splitlines()
        for key in json.loads(line).get("user_attr", {})
        if key.startswith("experiment:")
    )
    change(path, name, changes)


def test_a_trial_of_another_study(ledger):
    storage = open_ledger(ledger)
    campaign = Campaign(storage, names(storage)[0])
    check_fit(campaign, study(space={"x": [1, 2]}))
    with pytest.raises(StudyError, match=r"demo@84a7567: damaged \(trial 0 varies \['x'\] and has values \(1\.0,\)\)"):
        check_fit(campaign, study(space={"y": [1, 2]}))


@pytest.mark.parametrize("line", ["[" * 100_000, "null", "{}", '{"op_code": 0}', "1" * 5001, '{"op_code": 99}'])
def test_lines_that_are_no_change(ledger, line):
    with ledger.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(StudyError, match=r"ledger\.jsonl: damaged"):
        open_ledger(ledger)
