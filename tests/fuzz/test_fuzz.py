"""A short campaign of damaged inputs; `make fuzz` is the long one."""

import campaign
import kinds
import mutations
import pytest

FEW = 4  # of each kind
COMMANDS = {command: kind for kind in kinds.KINDS for command in kind.commands}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A workspace, and what it is a copy of."""
    folder = tmp_path_factory.mktemp("fuzz")
    template = campaign.Place(folder / "template")
    template.folder.mkdir()
    kinds.make_workspace(template.folder, lambda command, _: template.run(command))
    return campaign.Place(folder / "mine", template, share=True)


def described(result):
    return f"{result.kind}: {sorted(result.faults)}, status {result.done.returncode}\n{result.done.stderr[-2000:]}"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_what_is_whole_is_taken(places, command):
    kind = COMMANDS[command]
    result = places.read(kind, command, (places.kept / kind.file).read_bytes())
    assert not result.refused, described(result)
    assert not result.faults, described(result)


@pytest.mark.parametrize("command", [each for kind in kinds.KINDS for each in kind.foreign], ids=" ".join)
def test_what_is_made_for_others_is_refused(places, command):
    kind = next(kind for kind in kinds.KINDS if command in kind.foreign)
    result = places.read(kind, command, (places.kept / kind.file).read_bytes())
    assert result.done.stderr.startswith(f"filter: {kind.file}: made by "), described(result)
    assert result.refused
    assert not result.faults, described(result)


@pytest.mark.parametrize("place", range(len(kinds.KINDS)), ids=lambda place: kinds.KINDS[place].file)
def test_what_is_damaged_is_refused_in_a_line(places, tmp_path, place):
    for number in range(place, FEW * len(kinds.KINDS), len(kinds.KINDS)):
        result = campaign.attempt(places, 0, number, tmp_path)
        assert not result.faults, described(result)


def test_a_mutation_follows_from_its_number(places):
    for place, kind in enumerate(kinds.KINDS[:5]):
        data = (places.kept / kind.file).read_bytes()
        made = [kind.mutate(campaign.mutation(3, number)[2], data) for number in (place, place, place + 90)]
        assert made[0] == made[1] or kind.mutate is mutations.hdf5
        assert campaign.mutation(3, place)[0] is kind


FAULTS = {
    "import sys; sys.exit('in.csv: no number')": set(),
    "print('taken')": set(),
    "raise KeyError('x')": {"traceback"},
    "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": {"signal"},
    "while True: pass": {"time"},
    "x = bytearray(2 * 2**30)": {"traceback", "memory"},
    "import sys; sys.exit(7)": {"status", "message"},
    "import sys; sys.exit('no number')": {"unnamed"},
    "import sys; sys.exit('in.csv ' + 'x' * 5000)": {"message"},
    "import sys; open('in.npy', 'w'); sys.exit('in.csv: no number')": {"files"},
    "open('elsewhere', 'w')": {"files"},
}


@pytest.mark.parametrize("code", FAULTS)
def test_every_fault_is_found(places, monkeypatch, code):
    monkeypatch.setattr(campaign, "PROCESSOR", 1)
    kind = next(kind for kind in kinds.KINDS if kind.file == "in.csv")
    (places.folder / "faulty.py").write_text(code, encoding="utf-8")
    result = places.read(kind, ("faulty",), b"x\n1\n")
    assert result.faults == FAULTS[code], described(result)
    assert (places.folder / "in.npy").read_bytes() == (places.kept / "in.npy").read_bytes()  # put back
