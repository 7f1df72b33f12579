import contextlib
import json
import re
import warnings

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from dvcsweep.errors import StudyError
from dvcsweep.plan.strategies import Proposal, make
from dvcsweep.plan.studies import Study
from dvcsweep.record.ledger import Campaign, Facts, forms, names, open_ledger
from dvcsweep.record.trials import Outcome

SPACE = {
    "rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "width": {"low": 16, "high": 64, "step": 16},
    "clip": [0.5, None],
    "sizes": [[8], [8, 8]],
    "kind": ["a", "b"],
    "momentum": {"low": 0.0, "high": 1.0, "when": {"kind": "b"}},
}
SETTINGS = {"rate": 0.5, "width": 32, "clip": None, "sizes": [1], "kind": "b", "momentum": 0.9, "epochs": 50}
PARAMS = {"rate": 0.001, "width": 48, "clip": None, "sizes": [8, 8], "kind": "a"}
FACTS = {
    **{"file": "studies/one.yaml", "label": "one", "fingerprint": "f", "settings_values": {}},
    **{"code": {"a.py": "1"}, "baseline": "0" * 40},
}
OUTCOME = Outcome("one-000-abc", "c", [0.25], metrics={"a": None})
FAILED = Outcome("one-000-abc", error="x")


def study(**content: object) -> Study:
    start = {"name": "one", "strategy": "random", "trials": 9, "objective": ["m.json:validation.loss"], "space": SPACE}
    return Study.model_validate({**start, **content})


def begin(path, facts=FACTS, name="one@abc", **content):
    return Campaign.begin(open_ledger(path, write=True), name, study(**content), facts)


def reopened(path, name="one@abc"):
    return Campaign(open_ledger(path), name)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "one" / "ledger.jsonl"


def played(path) -> None:
    """A ledger of three trials: complete, failed, and running."""
    campaign = begin(path)
    for index in range(3):
        trial = campaign.add(index, Proposal(PARAMS, f"p{index}", {"note": [index]}), forms(study(), SETTINGS))
        campaign.begin_trial(trial.identity)
        campaign.record(trial.identity, "", OUTCOME)
        if index == 0:
            campaign.finish(trial.identity, "complete", [0.25])
        if index == 1:
            campaign.finish(trial.identity, "failed", None, "why")


# Trials


def test_a_trial_is_written_and_read_back_as_it_was(path):
    campaign = begin(path)
    proposal = Proposal(PARAMS, "small", {"note": {"a": [1]}})
    waiting = campaign.add(3, proposal, forms(study(), SETTINGS))
    for trial in (waiting, reopened(path).trials()[0]):
        assert (trial.index, trial.params, trial.label, trial.notes) == (3, PARAMS, "small", {"note": {"a": [1]}})
        assert (trial.state, trial.values, trial.experiments, trial.error) == ("waiting", None, {}, None)
        assert (trial.began, trial.ended, trial.attempt, trial.finished) == (None, None, 1, False)
    campaign.begin_trial(waiting.identity)
    running = reopened(path).trials()[0]
    assert (running.state, running.finished) == ("running", False)
    assert running.began is not None
    campaign.record(waiting.identity, "rung1", OUTCOME)
    campaign.record(waiting.identity, "rung1-seed2", FAILED)
    campaign.report(waiting.identity, 5, 0.25)
    campaign.finish(waiting.identity, "complete", [0.125])
    ended = reopened(path).trials()[0]
    assert (ended.state, ended.values, ended.finished) == ("complete", (0.125,), True)
    assert ended.ended >= ended.began
    assert ended.experiments == {"rung1": OUTCOME, "rung1-seed2": FAILED}
    assert campaign.study().trials[0].intermediate_values == {5: 0.25}


@pytest.mark.parametrize(
    ("state", "values", "error"),
    [("complete", [0.5], None), ("pruned", [0.5], None), ("failed", None, "two\nlines")],
)
@pytest.mark.parametrize("begun", [True, False])
def test_ends_of_a_trial(path, state, values, error, begun):
    campaign = begin(path)
    trial = campaign.add(0, Proposal(PARAMS), forms(study(), SETTINGS))
    if begun:
        campaign.begin_trial(trial.identity)
    campaign.finish(trial.identity, state, values, error)
    for found in (campaign.trial(trial.identity), reopened(path).trials()[0]):
        assert (found.state, found.error, found.finished) == (state, error, True)
        assert found.values == (tuple(values) if values else None)


def test_several_objectives_are_kept_in_their_order(path):
    objective = ["m.json:loss", {"metric": "m.json:validation.r2", "direction": "maximise"}]
    campaign = begin(path, objective=objective)
    trial = campaign.add(0, Proposal(PARAMS), forms(study(), SETTINGS))
    campaign.finish(trial.identity, "complete", [0.0, -1.5])
    assert reopened(path).trials()[0].values == (0.0, -1.5)
    assert [direction.name for direction in campaign.study().directions] == ["MINIMIZE", "MAXIMIZE"]
    assert campaign.study().metric_names == ["loss", "validation.r2"]


def test_the_last_attempt_counts(path):
    campaign = begin(path)
    form = forms(study(), SETTINGS)
    for index in (0, 1, 2):
        trial = campaign.add(index, Proposal(PARAMS | {"width": 16 * (index + 1)}), form)
        campaign.finish(trial.identity, *(("failed", None, "x") if index == 1 else ("complete", [index])))
    again = campaign.add(1, Proposal(PARAMS | {"width": 32}), form, attempt=2)
    campaign.finish(again.identity, "complete", [7.0])
    found = reopened(path).trials()
    assert [(trial.index, trial.state, trial.attempt, trial.values) for trial in found] == [
        (0, "complete", 1, (0.0,)),
        (1, "complete", 2, (7.0,)),
        (2, "complete", 1, (2.0,)),
    ]
    assert (found[1].error, found[1].identity) == (None, again.identity)


def test_trials_come_in_the_order_of_their_numbers(path):
    campaign = begin(path)
    for index in (2, 0, 1):
        campaign.add(index, Proposal(PARAMS), forms(study(), SETTINGS))
    assert [trial.index for trial in reopened(path).trials()] == [0, 1, 2]


POINTS = {"a": {"width": 1}, "b": {"width": 2.5, "sizes": [1]}, "c": {"kind": None, "width": True}, "d": {}}


@pytest.mark.parametrize(
    "content",
    [
        *({"strategy": kind, "trials": 6} for kind in ("grid", "random", "qmc", "tpe", "nsga2")),
        {"strategy": {"kind": "points", "points": POINTS}, "space": {}, "trials": None},
        {"strategy": "one-at-a-time", "trials": None},
        {"strategy": {"kind": "coarse-to-fine", "levels": 2, "rounds": 2}, "trials": None},
        {"strategy": {"kind": "halving", "budget": "epochs", "minimum": 1, "maximum": 9}, "trials": 6},
    ],
    ids=str,
)
def test_whatever_a_strategy_proposes_can_be_kept(path, content):
    campaign = begin(path, **content)
    wanted = study(**content)
    proposals = make(wanted, SETTINGS).plan([], wanted.trials).new
    for index, proposal in enumerate(proposals):
        campaign.add(index, proposal, forms(wanted, SETTINGS))
    found = reopened(path).trials()
    assert len(found) > 1
    assert [(one.params, one.label, one.notes) for one in found] == [(p.params, p.label, p.notes) for p in proposals]
    shown = [json.dumps(trial.params, sort_keys=True) for trial in campaign.study().trials]
    optunas = {name: json.dumps(v) if isinstance(v, list) else v for name, v in proposals[-1].params.items()}
    assert json.loads(shown[-1]) == optunas


# Campaigns


def test_campaigns_have_their_own_facts_and_trials(path):
    first = begin(path)
    first.add(0, Proposal(PARAMS), forms(study(), SETTINGS))
    begin(path, facts={**FACTS, "baseline": "1" * 40}, name="one@def")
    storage = open_ledger(path)
    assert names(storage) == ["one@abc", "one@def"]
    assert Campaign(storage, "one@abc").facts == Facts(**FACTS)
    assert Campaign(storage, "one@def").facts == Facts(**FACTS | {"baseline": "1" * 40})
    assert (len(reopened(path).trials()), len(reopened(path, "one@def").trials())) == (1, 0)


def test_a_campaign_cut_off_while_it_began_is_taken_up(path):
    begin(path)
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in range(len(lines)):
        for half in (b"", lines[kept][: len(lines[kept]) // 2]):
            path.write_bytes(b"".join(lines[:kept]) + half)
            storage = open_ledger(path)
            assert all(Campaign(storage, name).facts is None for name in names(storage))
            campaign = begin(path)
            assert campaign.facts == reopened(path).facts == Facts(**FACTS)
            assert names(open_ledger(path)) == ["one@abc"]
            assert campaign.study().metric_names == ["validation.loss"]


# The file


def test_every_change_is_one_more_line(path):
    played(path)
    before = path.read_bytes()
    campaign = Campaign(open_ledger(path, write=True), "one@abc")
    assert path.read_bytes() == before
    campaign.record(campaign.trials()[2].identity, "b", OUTCOME)
    after = path.read_bytes()
    assert after.startswith(before)
    assert after[len(before) :].count(b"\n") == 1
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["ledger.jsonl"]


def test_a_killed_writer_leaves_at_most_half_a_line(path):
    played(path)
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for cut in (last, last + 1, len(whole) - 1):
        path.write_bytes(whole[:cut])
        read = reopened(path).trials()
        assert path.read_bytes() == whole[:cut]
        assert read[2].experiments == {}
        written = Campaign(open_ledger(path, write=True), "one@abc")
        assert path.read_bytes() == whole[:last]
        assert written.trials() == read
        written.record(read[2].identity, "", OUTCOME)
        assert reopened(path).trials()[2].experiments == {"": OUTCOME}


def test_half_a_first_line_is_nothing(path):
    path.parent.mkdir(parents=True)
    path.write_bytes(b'{"op_c')
    assert names(open_ledger(path)) == []
    assert names(open_ledger(path, write=True)) == []
    assert path.read_bytes() == b""


def test_a_ledger_that_grows_is_seen_growing_when_opened_again(path):
    campaign = begin(path)
    reader = reopened(path)
    campaign.add(0, Proposal(PARAMS), forms(study(), SETTINGS))
    assert (len(reader.trials()), len(reopened(path).trials())) == (0, 1)


def test_a_ledger_opened_to_be_read_is_not_written_to(path):
    played(path)
    before = path.read_bytes()
    campaign = reopened(path)
    with pytest.raises(StudyError, match="this ledger was opened to be read"):
        campaign.record(campaign.trials()[2].identity, "b", OUTCOME)
    assert path.read_bytes() == before


def test_no_ledger_to_be_read(path, tmp_path):
    with pytest.raises(StudyError, match=r"ledger\.jsonl: No such file or directory"):
        open_ledger(path)
    assert not path.parent.exists()
    (tmp_path / "deep").write_text("a file")
    with pytest.raises(StudyError, match=r"ledger\.jsonl: (Not a directory|File exists)"):
        open_ledger(path, write=True)


@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize(
    "garbage",
    [b"garbage", b"{}", b"[]", b"5", b"null", b'"text"', b"", b"\x00\xff", b'{"op_code": 99}', b'{"op_code": 4}'],
)
def test_a_damaged_ledger_is_refused(path, garbage, write):
    played(path)
    lines = path.read_bytes().split(b"\n")
    for place in (0, 3, len(lines) - 2):
        path.write_bytes(b"\n".join([*lines[:place], garbage, *lines[place:]]))
        with pytest.raises(
            StudyError, match=r"ledger\.jsonl: damaged .*: take the committed one, or move it away"
        ) as e:
            open_ledger(path, write=write)
        assert "\n" not in str(e.value)


def test_a_value_that_is_no_number_is_refused(path):
    played(path)
    text = path.read_text(encoding="utf-8")
    damaged, times = re.subn(r'"values": ?\[[^],]*', '"values": ["0.1"', text)
    assert times
    path.write_text(damaged, encoding="utf-8")
    with pytest.raises(StudyError, match=r"ledger\.jsonl: damaged \(.* has values .*, which are no numbers\)"):
        open_ledger(path)


@pytest.mark.parametrize("write", [True, False])
def test_however_lines_are_lost_or_moved_it_is_read_or_refused(path, write):
    played(path)
    lines = path.read_bytes().splitlines(keepends=True)
    generator = np.random.default_rng(1)
    for _ in range(60):
        mixed = list(lines)
        for _ in range(generator.integers(1, 5)):
            line = mixed.pop(generator.integers(len(mixed)))
            if generator.random() < 0.5:
                mixed.insert(generator.integers(len(mixed)), line)
        path.write_bytes(b"".join(mixed))
        with contextlib.suppress(StudyError):
            storage = open_ledger(path, write=write)
            found = [trial for name in names(storage) for trial in Campaign(storage, name).trials()]
            assert all(trial.params == PARAMS for trial in found)


def test_optuna_alone_can_read_it(path):
    played(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = JournalStorage(JournalFileBackend(str(path)))
    (summary,) = optuna.get_all_study_summaries(storage)
    assert (summary.study_name, summary.n_trials, summary.user_attrs) == ("one@abc", 3, FACTS)
    trials = optuna.load_study(study_name="one@abc", storage=storage).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING]
    assert trials[0].params == PARAMS | {"sizes": "[8, 8]"}
    assert trials[0].values == [0.25]
