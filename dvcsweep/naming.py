"""The grammar of names: LABEL-TRIAL[-MEMBER]-BASELINE is an experiment, such as quick-007-seed3-1a2b3c4.

LABEL is the study's name, with .2, .3 and so on behind it where one commit has several campaigns of it. TRIAL is the
trial's number from 000. MEMBER tells a trial's experiments apart: its rung, and the values that are averaged over.
BASELINE is the commit that the experiment is based on, in short. A campaign is called LABEL@BASELINE.
"""

import re
from collections.abc import Collection, Sequence
from typing import Any

# No part is a number of three digits or more: that would read as a trial of a study with a shorter name.
STUDY = re.compile(r"(?!.*-\d{3,}(-|$))[a-z0-9]+(-[a-z0-9]+)*")
SHORT = 7


def short(commit: str) -> str:
    """A commit as names and messages have it."""
    return commit[:SHORT]


def new_label(study: str, taken: Collection[str]) -> str:
    """The first label of a study that no other of its campaigns on the commit has."""
    label, count = study, 1
    while label in taken:
        count += 1
        label = f"{study}.{count}"
    return label


def campaign(label: str, baseline: str) -> str:
    """Name of a campaign."""
    return f"{label}@{short(baseline)}"


def experiment(label: str, trial: int, member: str, baseline: str) -> str:
    """Name of an experiment; a trial of one experiment has a member without a name."""
    return "-".join(part for part in (label, f"{trial:03d}", member, short(baseline)) if part)


def belongs(name: str, baseline: str, study: str) -> bool:
    """Whether a study gives this name, under any of its labels."""
    return bool(re.fullmatch(rf"{re.escape(study)}(\.\d+)?-\d{{3,}}(-.+)?-{short(baseline)}", name))


def has_label(name: str, label: str) -> bool:
    """Whether an experiment has just this label, and not one that goes on."""
    return bool(re.match(rf"{re.escape(label)}-\d{{3,}}-", name))


def member(rung: int | None, values: str) -> str:
    """Name of a member: its rung from 0, where the study has rungs, and its values."""
    return "-".join(part for part in ("" if rung is None else f"rung{rung + 1}", values) if part)


def values(key: str, entries: Sequence[Any]) -> list[str]:
    """A name for each value of a parameter, of letters, digits and dots; numbered where that leaves two the same."""
    last = key.rpartition(".")[2]
    words = [re.sub(r"[^a-z0-9.]", "", f"{last}{entry}".lower()) for entry in entries]
    if len(set(words)) < len(words):
        return [f"{last.lower()}.{number}" for number in range(1, len(entries) + 1)]
    return words


def random_search(study: str) -> str:
    """Name of the random search that a study is compared with."""
    return f"{study}-random"


def confirmation(study: str) -> str:
    """Name of a study's confirmation with other seeds."""
    return f"{study}-confirm"


def family(study: str) -> tuple[str, str, str]:
    """Names of a study and of those that its confirmation makes."""
    return study, random_search(study), confirmation(study)
