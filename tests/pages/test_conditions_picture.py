from conftest import ROOT

from pages import conditions
from tonesift import params
from tonesift.conditions import named
from tonesift.full_evaluation import plots

COMMITTED = ROOT / "docs" / "conditions.png"


def test_the_picture_in_the_documents_is_that_of_the_code():
    (data,) = params.load(ROOT / "studies" / "bases" / "general.yaml", "data")
    assert plots.png(conditions.draw(data)) == COMMITTED.read_bytes(), "run `make pictures`"
    assert COMMITTED.stat().st_size < 150_000


def test_every_condition_is_among_the_named_and_has_a_line_in_the_documents():
    drawn = {name for chosen in named.NAMED.values() for name in chosen}
    assert set(params.SWITCHES) - drawn == {"background", "amplitude_ranges"}  # a file, and what no picture shows
    text = (ROOT / "docs" / "conditions.md").read_text(encoding="utf-8")
    assert [name for name in params.Conditions.model_fields if f"`{name}`" not in text] == []
