"""The ledger of records: what a record is, what is refused, and that the page shows the file."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from scipy import stats

from benchmarks import records

TOP = Path(__file__).parents[2]


def row(**changes):
    return {"task": "fixed", "mean": "0.9", "worst": "0.8", "seconds": "100"} | changes


def test_p_is_welchs_one_sided():
    ours, theirs = [0.91, 0.93, 0.92, 0.94, 0.95], [0.90, 0.89, 0.92, 0.91, 0.90]
    two_sided = stats.ttest_ind(ours, theirs, equal_var=False).pvalue
    assert records.p_value(ours, theirs) == pytest.approx(two_sided / 2)
    assert records.p_value(theirs, ours) == pytest.approx(1 - two_sided / 2)


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({}, True),
        ({"seconds": "241"}, False),
        ({"record": "abc", "record_mean": "0.8", "p": "0.01"}, True),
        ({"record": "abc", "record_mean": "0.8", "p": "0.05"}, False),
        ({"record": "abc", "record_mean": "0.95", "p": "0.01"}, False),
    ],
)
def test_a_record_is_higher_significant_and_in_time(changes, good):
    assert records.verdict(row(**changes))[0] == good


def git(*arguments, at):
    subprocess.run(["git", *arguments], cwd=at, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository of the same shape whose training takes no time: its R² is what params.yaml says of it."""
    (tmp_path / "studies").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "base.yaml").write_text("train: {seed: 0, r2: 0.5}\ndata: {test_seed: 0}\n")
    (tmp_path / "params.yaml").write_text((tmp_path / "base.yaml").read_text())
    (tmp_path / "studies/fixed-seeds.yaml").write_text("base: ../base.yaml\nfixed: {train.r2: 0.6}\n")
    (tmp_path / "studies/better.yaml").write_text("base: ../base.yaml\nfixed: {train.r2: 0.7, data.conditions.x: 1}\n")
    (tmp_path / "docs/records.md").write_text(f"before\n{records.BEGIN}{records.END}behind\n")
    (tmp_path / "train.py").write_text(
        "import json, pathlib, yaml\n"
        "p = yaml.safe_load(open('params.yaml'))\n"
        "pathlib.Path('metrics/evaluate').mkdir(parents=True)\n"
        "r2 = p['train']['r2'] + p['train']['seed'] % 7 / 1000 - p['data']['test_seed'] % 2 / 10\n"
        "json.dump({'settled': {'r2': r2}}, open('metrics/evaluate/metrics.json', 'w'))\n"
        "json.dump({'run': {'train_seconds': 3.0}}, open('metrics/run.json', 'w'))\n"
    )
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  train:\n    cmd: python train.py\n    params: [train, data]\n"
        "    outs: [metrics/evaluate/metrics.json: {cache: false}]\n"
    )
    git("init", "-q", at=tmp_path)
    git("config", "user.email", "a@b.c", at=tmp_path)
    git("config", "user.name", "a", at=tmp_path)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=tmp_path, check=True)
    git("add", "-A", at=tmp_path)
    git("commit", "-qm", "one", at=tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["records", *arguments])
    return records.main()


@pytest.mark.whole
def test_a_ledger_grows_by_records_alone(repository, monkeypatch, capsys):
    assert main(monkeypatch, "fixed", "--enter", "a beginning") == 0
    assert "the first record on fixed" in capsys.readouterr().out
    git("commit", "-qam", "entered", at=repository)
    git("add", "-A", at=repository)
    git("commit", "-qm", "and the rest", at=repository)

    assert main(monkeypatch, "fixed", "--enter", "nothing new") == 1
    assert "no record" in capsys.readouterr().out
    assert main(monkeypatch, "fixed", "--study", "better", "--enter", "more is more") == 0
    before, after = records.entries()
    assert before["lesson"] == "a beginning"
    assert (after["study"], after["record"], after["lesson"]) == ("better", before["commit"], "more is more")
    seeds = [int(after["first_seed"]) + number for number in range(5)]
    wanted = [0.7 + seed % 7 / 1000 - int(after["first_seed"]) % 2 / 10 for seed in seeds]
    assert float(after["mean"]) == pytest.approx(sum(wanted) / 5, abs=1e-6)
    assert float(after["mean"]) - float(after["record_mean"]) == pytest.approx(0.1, abs=1e-6)
    assert "more is more" in (repository / "docs/records.md").read_text()


@pytest.mark.whole
def test_what_ran_is_not_run_again(repository, monkeypatch):
    side = records.Side(subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip(), "better")
    first = records.measured(side, records.METRICS["fixed"], 1, 2)
    monkeypatch.setattr(records, "_trained", lambda *_: pytest.fail("it ran again"))
    assert records.measured(side, records.METRICS["fixed"], 1, 2) == first == records.Run(pytest.approx(0.701), 3.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fixed", "--study", "none"), r"has no studies/none\.yaml"),
        (("hum",), r"has no studies/hum-seeds\.yaml"),
        (("hum", "--study", "better"), r"studies/better\.yaml is of dvc\.yaml, which does not write hum/metrics/judge"),
    ],
)
def test_mistakes_are_one_line(repository, monkeypatch, capsys, arguments, said):
    assert main(monkeypatch, *arguments) == 2
    captured = capsys.readouterr().err
    assert captured.count("\n") == 1
    assert re.search(said, captured)


def test_a_record_is_of_a_commit(repository, monkeypatch, capsys):
    (repository / "train.py").write_text("other\n")
    assert main(monkeypatch, "fixed") == 2
    assert "not committed" in capsys.readouterr().err


@pytest.mark.whole
def test_code_that_does_not_run_is_said(repository, monkeypatch, capsys):
    (repository / "train.py").write_text("raise SystemExit('no such thing')\n")
    git("commit", "-qam", "broken", at=repository)
    assert main(monkeypatch, "fixed") == 2
    assert "dvc repro dvc.yaml failed" in capsys.readouterr().err


def test_the_page_shows_the_file(monkeypatch):
    monkeypatch.chdir(TOP)
    text = records.PAGE.read_text(encoding="utf-8")
    assert records.page(text, records.entries()) == text
    assert all(entry["task"] in records.METRICS for entry in records.entries())
