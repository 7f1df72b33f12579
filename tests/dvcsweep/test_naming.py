"""Names as DVC, Git and users meet them: written by hand here, from the grammar that the module states."""

import pytest

from dvcsweep import naming

BASELINE = "1a2b3c4" + "0" * 33


@pytest.mark.parametrize(
    ("label", "trial", "member", "name"),
    [
        ("quick", 7, "", "quick-007-1a2b3c4"),
        ("quick.2", 7, "seed3", "quick.2-007-seed3-1a2b3c4"),
        ("quick", 1234, "rung1-seed3", "quick-1234-rung1-seed3-1a2b3c4"),
    ],
)
def test_an_experiment_is_its_studys_and_no_others(label, trial, member, name):
    assert naming.experiment(label, trial, member, BASELINE) == name
    assert naming.belongs(name, BASELINE, "quick")
    assert naming.has_label(name, label)
    assert not naming.belongs(name, "0" * 40, "quick")
    for other in ("quic", "quick-random", "quick-confirm", "uick", "."):
        assert not naming.belongs(name, BASELINE, other)
        assert not naming.has_label(name, other)


def test_a_study_whose_name_goes_on_has_experiments_of_its_own():
    for study in naming.family("quick")[1:]:
        name = naming.experiment(study, 0, "", BASELINE)
        assert naming.belongs(name, BASELINE, study)
        assert not naming.belongs(name, BASELINE, "quick")
        assert not naming.has_label(name, "quick")


@pytest.mark.parametrize("name", ["quick-007", "quick-1234-a", "Quick", "a--b", "-a", "a-", "a.2", "a_b", ""])
def test_no_study_may_be_named_so_that_it_reads_as_another(name):
    assert not naming.STUDY.fullmatch(name)


@pytest.mark.parametrize("name", ["quick", "a", "2", "a-12", "a-b-c", "lr3e4"])
def test_names_that_a_study_may_have(name):
    assert naming.STUDY.fullmatch(name)


def test_a_second_campaign_on_a_commit_is_counted():
    assert naming.new_label("quick", []) == "quick"
    assert naming.new_label("quick", ["quick", "quick.2", "quick.4"]) == "quick.3"
    assert naming.campaign("quick.3", BASELINE) == "quick.3@1a2b3c4"


def test_members_are_told_apart():
    assert naming.member(None, "") == ""
    assert naming.member(None, "seed1-fold2") == "seed1-fold2"
    assert naming.member(0, "") == "rung1"
    assert naming.member(2, "seed1") == "rung3-seed1"
    assert naming.values("train.seed", [1, 22]) == ["seed1", "seed22"]
    assert naming.values("Rate", [0.5, 1e-05]) == ["rate0.5", "rate1e05"]
    assert naming.values("kind", ["a b", "a-b"]) == ["kind.1", "kind.2"]
