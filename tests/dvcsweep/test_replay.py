"""What a rule would have done to a search whose curves are known, counted by hand."""

import pytest
from conftest import ROOT
from ledgers import played, study

from dvcsweep.errors import StudyError
from dvcsweep.plan.studies import load
from dvcsweep.record.campaigns import begun
from dvcsweep.record.ledger import open_ledger
from dvcsweep.results.replay import read, replay, table

CURVE = "plots/validation/loss.tsv"


def fell(place):
    """A curve of ten points that falls from `place` + 1 to `place`."""
    return [place + 1 - point / 9 for point in range(10)]


@pytest.fixture
def demo(tmp_path):
    made = study(space={"x": list(range(8))}, curves=[CURVE])
    points = list(range(10))
    campaign = played(
        made, tmp_path, lambda one: {"values": [float(one["x"])], "curves": {CURVE: [points, fell(one["x"])]}}
    )
    return made, campaign.trials()


def test_points_saved_and_orders_that_keep_the_winner(demo):
    """Trial 0 is the best at every point, and so never stopped; one that comes after four better ones always is."""
    rule = f"late-median, startup: 4, wait: 0.5, group: 1, curve: {CURVE}"
    found = replay(*demo, read(rule), orders=50)
    assert (found.trials, found.kept, found.orders) == (8, 50, 50)
    # At most the last four of eight trials are stopped, after six of their ten points.
    assert 0 <= found.least <= found.saved <= found.most <= 4 * 4 / 80 + 1e-9
    assert found.most > 0


def test_a_rule_that_looks_too_early_loses_a_winner_that_starts_badly(tmp_path):
    made = study(space={"x": list(range(8))}, strategy="grid", curves=[CURVE])

    def late(one):
        return [9.0] * 8 + [0.1, 0.0] if one["x"] == 0 else fell(one["x"])

    campaign = played(
        made, tmp_path, lambda one: {"values": [late(one)[-1]], "curves": {CURVE: [list(range(10)), late(one)]}}
    )
    trials = campaign.trials()
    early = replay(made, trials, read(f"late-median, startup: 4, wait: 0.0, group: 1, curve: {CURVE}"), orders=200)
    # The winner is lost where at least four trials are before it: in half of all orders.
    assert 70 <= early.kept <= 130
    assert replay(made, trials, read(f"late-median, startup: 4, wait: 0.9, curve: {CURVE}"), orders=200).kept == 200


def test_a_table_has_a_row_for_each_study_and_a_column_for_each_rule(demo):
    rules = [read(f"{rule}, curve: {CURVE}") for rule in ("late-median", "median, startup: 2")]
    lines = table([demo], rules, orders=5).splitlines()
    assert len(lines) == 3
    assert [cell.strip() for cell in lines[2].split("|")][1:3] == ["demo", "8"]
    assert lines[2].count(" %, ") == 2


def test_what_cannot_be_replayed_is_refused(demo):
    made, trials = demo
    for rule, message in (
        ("median, curve: other.tsv", r"the ledger holds no curves of other\.tsv"),
        ("wilcoxon", "the ledger holds no curves"),
    ):
        with pytest.raises(StudyError, match=message):
            replay(made, trials, read(rule), orders=2)
    two = made.model_copy(update={"objective": made.objective * 2})
    with pytest.raises(StudyError, match="several objectives"):
        replay(two, trials, read("median"), orders=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nope", "--prune nope: prune: got 'nope', but there are 'late-median', 'median'"),
        ("late-median, wai: 1", r"prune\.wai: unknown"),
        ("late-median, wait: 1.0", r"prune\.wait: must be below 1, but got 1\.0"),
        ("{startup: 3}", "prune: rule is missing"),
        ("a: [", "not readable"),
        ("[1]", r"got \[1\]"),
    ],
)
def test_a_rule_that_is_none_is_refused(text, message):
    with pytest.raises(StudyError, match=message):
        read(text)


@pytest.mark.parametrize("name", ["fixed", "family-rates", "options", "tpe"])
def test_the_table_in_the_documents_is_what_the_committed_ledgers_give(name):
    text = (ROOT / "docs" / "pruning.md").read_text(encoding="utf-8")
    made, ledger = load(ROOT / "studies" / f"{name}.yaml"), ROOT / "studies" / name / "ledger.jsonl"
    found = table([(made, begun(open_ledger(ledger))[-1].trials())], [read("late-median")], orders=100)
    cells = [cell.strip() for cell in found.splitlines()[2].split("|")[1:-1]]
    assert f"| {' | '.join(cells)} |" in text
