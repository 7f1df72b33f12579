"""One self-contained HTML page on a run: figures, comparison, uncertainty, diagnosis, pictures, configuration.

The page asks for nothing else: pictures are inside it, there is no script. Equal content gives equal bytes, so the page
can be a pipeline's output; it therefore holds no time stamp. Parts without content are left out.

    Path("report.html").write_text(render(Content(tones=rows)), encoding="utf-8")
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from tonesift.errors import InputError
from tonesift.reporting import card
from tonesift.reporting.template import STYLE, TEMPLATE

Row = Mapping[str, Any]
PNG_START = b"\x89PNG\r\n\x1a\n"
TONE_PREFIX = "r2_tone_"
SETTLED = "r2_settled"
KINDS = {"network": "ours", "limit": "limit", "bound": "limit"}  # rows that are coloured
NONE = "–"  # in cells without a figure
NAMED = 3  # estimators in a sentence: the table has the rest
LEVEL = 0.95  # of the intervals, where they do not say


@dataclass(frozen=True)
class Picture:
    """A PNG file with the words that belong to it.

    Attributes
    ----------
    path : Path
        Where it is; it goes into the page whole.
    caption : str
        What the reader should see in it.
    alt : str
        What it shows, for those who cannot see it.
    """

    path: Path
    caption: str
    alt: str


@dataclass(frozen=True)
class Content:
    """What a report tells; whatever is empty or None is left out. Figures may be numbers or their text in a CSV.

    Attributes
    ----------
    title : str
        Small line above the headline.
    comparison : sequence of mapping
        Estimators: 'name', 'label', 'context', 'causal' ('yes' or 'no'), 'told', 'r2', 'mse', 'r2_tone_1', ...; the
        one called 'limit' is the best possible, one called 'bound' more than anybody can, 'network' is the network.
        'r2_settled' (after the first second) may be empty.
    conditions : sequence of mapping
        Rows of `conditions.csv`: 'condition', R² of 'network' and of other estimators under their names, and 'taken'.
    tones : sequence of mapping
        Rows of `tones.csv`, all tones first.
    uncertainty : mapping
        'r2': {'all': [value, low, high], 'tone_1': ...}; 'paired': rows with 'rival', 'context', 'mse_difference'
        (the rival's less the network's), 'low', 'high', 'p'; 'level' of both (0.95 where it is not given).
    diagnosis : mapping
        'verdict', 'sentences' and 'commands', as `dataclasses.asdict` makes of a `diagnosis.Diagnosis`.
    pictures : sequence of Picture
        In the order shown.
    params : mapping of str to mapping
        Sections of `params.yaml`.
    origin : mapping of str to text
        What the run came from: the model's digest, PyTorch's build, the kind of processor.
    reproduce : sequence of str
        Commands that make the run again.
    links : mapping of str to str
        Other pages by their address, with their names.
    """

    title: str = "tonesift"
    comparison: Sequence[Row] = ()
    conditions: Sequence[Row] = ()
    tones: Sequence[Row] = ()
    uncertainty: Mapping[str, Any] = field(default_factory=dict)
    diagnosis: Mapping[str, Any] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
    reproduce: Sequence[str] = ("make repro",)
    links: Mapping[str, str] = field(default_factory=dict)


def render(content: Content) -> str:
    """The page as text.

    Raises
    ------
    InputError
        If a picture is missing or not a PNG, or a figure is not a number.
    """
    parts = {
        "comparison": _comparison(content),
        "tones": _tones(content),
        "conditions": _conditions(content),
        "uncertainty": _uncertainty(content),
        "diagnosis": _with_heading("Diagnosis", content.diagnosis),
        "pictures": {"heading": "Pictures", "shown": [_embedded(each) for each in content.pictures]}
        if content.pictures
        else None,
    }
    listed = [part for part in (_configuration(content), _origin(content)) if part]
    reproduce = {"heading": "How to reproduce", "commands": content.reproduce} if content.reproduce else None
    sections = [(name, part["heading"]) for name, part in parts.items() if part]
    sections += [(part["name"], part["heading"]) for part in listed]
    sections += [("reproduce", reproduce["heading"])] if reproduce else []
    words = headline(content)
    return _template().render(
        content=content,
        title=f"{content.title}: {words}",
        headline=words,
        style=STYLE,
        cards=_cards(content),
        sections=sections,
        parts=listed,
        reproduce=reproduce,
        **parts,
    )


def headline(content: Content) -> str:
    """R² on test and its share of the best possible, as far as they are known."""
    ours, limit = _overall(content), _limit(content)
    if ours is None:
        return "Report on a run"
    if limit == 0:
        return f"R² {ours:.3f} on recordings never seen, and 0 is the best possible: there is nothing to learn"
    if limit is None or limit < 0:
        return f"R² {ours:.3f} on recordings never seen"
    return f"R² {ours:.3f} on recordings never seen: {_percent(ours / limit)} of the best possible, {limit:.3f}"


def wins(rows: Sequence[Row], names: Mapping[str, str] | None = None) -> list[str]:
    """Where another estimator does better than the network, in sentences: with the same context, with more, by tone.

    Parameters
    ----------
    rows : sequence of mapping
        The comparison, as in `Content`.
    names : mapping of str to str, optional
        What to call 'r2_tone_1' and so on; 'tone 1' without it.
    """
    ours = _row(rows, "network")
    if ours is None:
        return []
    rivals = [row for row in rows if row["name"] not in KINDS]
    same = [row for row in rivals if (row["context"], row["causal"]) == (ours["context"], ours["causal"])]
    other = [row for row in rivals if not any(row is each for each in same)]
    found = []
    if same:
        better = _better(same, ours, "r2")
        where = f"With the network's own context ({ours['context']})"
        found.append(
            f"{where} {_list(better, 'r2')} {_do(better)} better than its R² of {_number(ours['r2']):.3f}."
            if better
            else f"{where} no other estimator does better than its R² of {_number(ours['r2']):.3f}."
        )
        found += _tone_wins(same, ours, names or {})
    better = _better(other, ours, "r2")
    if better:
        found.append(f"With another context {_list(better, 'r2', context=True)} {_do(better)} better.")
    return found


def _beyond(rows: Sequence[Row]) -> list[str]:
    """Why the best estimator itself may do better here than the best possible."""
    limit, found = _row(rows, "limit"), _row(rows, "posterior_mean")
    values = [_number(row["r2"]) for row in (limit, found) if row]
    if len(values) < 2 or None in values or values[1] <= values[0] or limit["context"] != found["context"]:
        return []
    return [
        f"The best possible, {values[0]:.3f}, is the mean over recordings without number; on this test the best "
        f"estimator itself, the posterior mean, comes to {values[1]:.3f}."
    ]


def _tone_wins(same: Sequence[Row], ours: Row, names: Mapping[str, str]) -> list[str]:
    """Tones that an estimator with the same context does better on though it is not better overall."""
    behind = [row for row in same if row not in _better(same, ours, "r2")]
    found = []
    for key in _tone_keys([ours]):
        better = _better(behind, ours, key)
        if better:
            tone, score = names.get(key, key.removeprefix("r2_").replace("_", " ")), _number(ours[key])
            found.append(f"For {tone} alone {_list(better, key)} {_do(better)} better than its {score:.3f}.")
    return found


def _better(rows: Sequence[Row], ours: Row, key: str) -> list[Row]:
    """Rows with a higher figure than ours, highest first."""
    mine = _number(ours.get(key))
    if mine is None:
        return []
    ahead = [row for row in rows if _rank(row, key) > mine]
    return sorted(ahead, key=lambda row: -_rank(row, key))


def _rank(row: Row, key: str) -> float:
    """A row's figure, below all others where it has none."""
    number = _number(row.get(key))
    return -math.inf if number is None else number


def _list(rows: Sequence[Row], key: str, context: bool = False) -> str:
    """Labels with what they were told, or with their context, and their figure; the best few of them."""
    names = []
    for row in rows[:NAMED]:
        facts = [f"told {row['told']}"] if row.get("told") else []
        if context:
            facts = [row["context"], *(["not causal"] if row["causal"] == "no" else [])]
        names.append(f"the {row['label']} ({'; '.join([*facts, f'{_number(row[key]):.3f}'])})")
    if len(rows) > NAMED:
        names.append(f"{len(rows) - NAMED} more")
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _do(rows: Sequence[Row]) -> str:
    return "does" if len(rows) == 1 else "do"


def _template() -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE)


def _row(rows: Iterable[Row], name: str) -> Row | None:
    return next((row for row in rows if row["name"] == name), None)


def _overall(content: Content) -> float | None:
    """The network's R² on test."""
    if content.tones:
        return _number(content.tones[0]["r2"])
    ours = _row(content.comparison, "network")
    return _number(ours["r2"]) if ours else None


def _limit(content: Content) -> float | None:
    """Best possible R² with the network's context, or the only one there is."""
    limits = [row for row in content.comparison if row["name"] == "limit"]
    ours = _row(content.comparison, "network")
    same = [row for row in limits if ours and row["context"] == ours["context"]]
    chosen = same or (limits if len(limits) == 1 else [])
    return _number(chosen[0]["r2"]) if chosen else None


def _number(value: Any) -> float | None:
    """Finite number, or None for a cell without one."""
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"report: got {value!r} where a number belongs") from error
    return number if math.isfinite(number) else None


def _text(value: Any, form: str) -> str:
    number = _number(value)
    return NONE if number is None else format(number, form).replace("-", "\u2212")


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _cards(content: Content) -> list[tuple[str, str]]:
    """The few figures to be seen first."""
    ours, limit = _overall(content), _limit(content)
    cards = [] if ours is None else [("test R²", f"{ours:.3f}")]
    if ours is not None and limit is not None and limit > 0:
        cards += [("best possible R²", f"{limit:.3f}"), ("share of it", _percent(ours / limit))]
    if content.tones:
        cards.append(("SNR gained, dB", _text(content.tones[0].get("snr_gain_db"), ".1f")))
    if content.diagnosis:
        cards.append(("diagnosis", content.diagnosis["verdict"]))
    return cards


def _with_heading(heading: str, part: Mapping[str, Any]) -> dict[str, Any] | None:
    return {"heading": heading, **part} if part else None


def _columns(*words: str, numbers: Iterable[str] = ()) -> list[dict[str, Any]]:
    return [{"title": title, "number": False} for title in words] + [
        {"title": title, "number": True} for title in numbers
    ]


def _tone_keys(rows: Iterable[Row]) -> list[str]:
    """Names of the R² columns of tones, in order."""
    keys = {key for row in rows for key in row if key.startswith(TONE_PREFIX) and key[len(TONE_PREFIX) :].isdecimal()}
    return sorted(keys, key=lambda key: int(key.removeprefix(TONE_PREFIX)))


def _tone_name(name: str) -> str:
    return "all tones" if name == "all" else name


def _comparison(content: Content) -> dict[str, Any] | None:
    if not content.comparison:
        return None
    keys = _tone_keys(content.comparison)
    names = {key: key.removeprefix("r2_").replace("_", " ") for key in keys}
    names |= {key: row["tone"] for key, row in zip(keys, content.tones[1:], strict=False)}
    ordered = sorted(content.comparison, key=lambda row: -_rank(row, "r2"))
    later = [SETTLED] if any(_number(row.get(SETTLED)) is not None for row in content.comparison) else []
    keys = [*later, *keys]
    names = dict.fromkeys(later, "after 1 s") | names
    numbers = ["R²", "MSE", *(f"R² {names[key]}" for key in keys)]
    return {
        "heading": "Comparison",
        "columns": [*_columns("Estimator", "Context", numbers=numbers), *_columns("Causal", "Told")],
        "rows": [{"kind": KINDS.get(row["name"], ""), "cells": _estimator(row, keys)} for row in ordered],
        "sentences": [*wins(content.comparison, names), *_beyond(content.comparison)],
    }


def _estimator(row: Row, keys: Sequence[str]) -> list[str]:
    """Cells of a row of the comparison; figures come early, so that they are seen on a narrow screen."""
    return [
        row["label"],
        card.context(row),
        _text(row.get("r2"), ".3f"),
        _text(row.get("mse"), ".4f"),
        *(_text(row.get(key), ".3f") for key in keys),
        row["causal"],
        row.get("told") or NONE,
    ]


CONDITION_COLUMNS = {
    "network": "network",
    "kalman": "Kalman",
    "extended": "extended Kalman",
    "student": "Kalman, Student t",
    "auto": "named tones, settings found",
}
TONE_COLUMNS = {
    "r2": ("R²", ".3f"),
    "mse": ("MSE", ".4f"),
    "rmse": ("RMSE", ".3f"),
    "mae": ("MAE", ".3f"),
    "correlation": ("r", ".3f"),
    "snr_db": ("SNR, dB", ".1f"),
    "snr_gain_db": ("gain, dB", ".1f"),
    "psnr_db": ("PSNR, dB", ".1f"),
    "train_mse": ("training MSE", ".4f"),
    "train_ratio": ("test/training", ".2f"),
}


def _tones(content: Content) -> dict[str, Any] | None:
    if not content.tones:
        return None
    shown = {key: column for key, column in TONE_COLUMNS.items() if key in content.tones[0]}
    rows = [
        {
            "kind": "",
            "cells": [
                _tone_name(row["tone"]),
                *(_text(row.get(key), form) for key, (_, form) in shown.items()),
            ],
        }
        for row in content.tones
    ]
    columns = _columns("Tone", numbers=[title for title, _ in shown.values()])
    return {"heading": "Tone by tone", "columns": columns, "rows": rows}


def _conditions(content: Content) -> dict[str, Any] | None:
    if not content.conditions:
        return None
    names = [name for name in CONDITION_COLUMNS if name in content.conditions[0]]
    rows = [
        {
            "kind": "",
            "cells": [row["condition"], *(_text(row[name], ".3f") for name in names), row.get("taken") or NONE],
        }
        for row in content.conditions
    ]
    columns = [*_columns("Condition", numbers=[CONDITION_COLUMNS[name] for name in names]), *_columns("Settings found")]
    return {"heading": "Conditions", "columns": columns, "rows": rows, "sentence": where_ahead(content.conditions)}


def where_ahead(rows: Sequence[Row]) -> str:
    """Under which conditions the network is ahead of every filter beside it, in a sentence."""
    others = [name for name in CONDITION_COLUMNS if name != "network"]
    ahead = [row["condition"] for row in rows if _rank(row, "network") > max(_rank(row, name) for name in others)]
    if not ahead:
        return "Under none of these is the network ahead of the best of the filters beside it."
    return f"The network is ahead of every filter beside it under {', '.join(ahead)}; under the others it is not."


def _uncertainty(content: Content) -> dict[str, Any] | None:
    intervals, paired = content.uncertainty.get("r2", {}), content.uncertainty.get("paired", [])
    if not intervals and not paired:
        return None
    numbers = {name: [_number(value) for value in values] for name, values in intervals.items()}
    low = min([0.0, *(value for values in numbers.values() for value in values if value is not None)])
    low = math.floor(10 * low) / 10
    columns = _columns("Rival", "Context", numbers=["MSE difference", "from", "to", "p"])
    return {
        "heading": "Uncertainty",
        "level": _percent(content.uncertainty.get("level", LEVEL)),
        "scale": (_text(low, "g"), "1"),
        "intervals": [_interval(_tone_name(name), values, low) for name, values in numbers.items()],
        "columns": [*columns, *_columns("Better")],
        "paired": [{"kind": "", "cells": _pair(row)} for row in paired],
    }


def _interval(name: str, values: Sequence[float | None], low: float) -> dict[str, Any]:
    """Cells and the places of an interval's marks on a scale from `low` to 1, %."""

    def place(value: float | None) -> float:
        return round(100 * ((low if value is None else value) - low) / (1 - low), 2)

    value, begin, end = values
    return {
        "name": name,
        "figures": [_text(number, ".3f") for number in values],
        "zero": place(0.0),
        "left": place(begin),
        "width": round(place(end) - place(begin), 2),
        "at": place(value),
    }


def _pair(row: Row) -> list[str]:
    low, high, p = _number(row["low"]), _number(row["high"]), _number(row.get("p"))
    better = "not told apart"
    if low is not None and low > 0:
        better = "the network"
    elif high is not None and high < 0:
        better = "the rival"
    small = p is not None and p < 0.001  # smaller ones say nothing more to a reader
    return [
        row["rival"],
        row.get("context") or NONE,
        *(_text(row[key], "+.4f") for key in ("mse_difference", "low", "high")),
        "< 0.001" if small else _text(p, ".3f"),
        better,
    ]


def _embedded(picture: Picture) -> dict[str, Any]:
    """Picture as text, with its size, which keeps the page from jumping while it is read."""
    try:
        data = Path(picture.path).read_bytes()
    except OSError as error:
        raise InputError(f"{picture.path}: cannot be read: draw it with `dvc repro evaluate`") from error
    if not data.startswith(PNG_START) or len(data) < 24:
        raise InputError(f"{picture.path}: not a PNG: draw it with `dvc repro evaluate`")
    width, height = struct.unpack(">II", data[16:24])
    text = base64.b64encode(data).decode("ascii")
    return {"data": text, "width": width, "height": height, "alt": picture.alt, "caption": picture.caption}


def _configuration(content: Content) -> dict[str, Any] | None:
    if not content.params:
        return None
    groups = [(section, [(k, _setting(v)) for k, v in values.items()]) for section, values in content.params.items()]
    return {"name": "configuration", "heading": "Configuration", "text": "params.yaml as it was.", "groups": groups}


def _setting(value: Any) -> str:
    """A parameter as YAML would show it."""
    if isinstance(value, list | tuple):
        return ", ".join(_setting(each) for each in value)
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def _origin(content: Content) -> dict[str, Any] | None:
    if not content.origin:
        return None
    groups = [("", [(key, _setting(value)) for key, value in content.origin.items()])]
    return {"name": "origin", "heading": "Origin", "text": "", "groups": groups}
