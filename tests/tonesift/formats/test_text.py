"""Delimited text: every case makes its own input, as people's programs write it."""

import csv
import io
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from tonesift.errors import InputError
from tonesift.formats import files, text
from tonesift.formats.base import PIPE, Selection

VALUES = [0.597427, -0.513881, 0.413361, 12.0, 1e-5]
QUICK = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path, content=None, **selection):
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with files.opened(path, Selection(**selection)) as source:
        return np.concatenate([np.zeros(0), *source.chunks]), source


def comma(value, digits=6):
    return f"{value:.{digits}f}".replace(".", ",")


def rows(*columns, separator=",", end="\n"):
    return "".join(separator.join(cells) + end for cells in zip(*columns, strict=True))


TIMES = [f"{n / 1000:.3f}" for n in range(5)]
PLAIN = [f"{value:.6f}" for value in VALUES]
COMMAS = [comma(value) for value in VALUES]
ROUNDED = [float(cell) for cell in PLAIN]


@pytest.mark.parametrize(
    ("content", "selection", "said"),
    [
        ("Wert\n" + rows(COMMAS), {}, ["decimal comma"]),
        (rows(COMMAS), {"decimal": ","}, ["decimal comma"]),
        (
            "Zeit;Wert\n" + rows([t.replace(".", ",") for t in TIMES], COMMAS, separator=";"),
            {},
            ["separator ;", "'Wert'"],
        ),
        ("t,x\n" + rows(TIMES, [f'"{cell}"' for cell in COMMAS]), {"column": "x"}, ["decimal comma"]),
        (
            rows([t.replace(".", ",") for t in TIMES], COMMAS, separator=" "),
            {"column": "2"},
            ["blanks", "decimal comma"],
        ),
        (rows(TIMES, PLAIN, separator="   "), {"column": "2"}, ["separator blanks", "1000 Hz by its column '1'"]),
        ("time\tx\n" + rows(TIMES, PLAIN, separator="\t"), {}, ["tabs", "'x'", "1000 Hz by its column 'time'"]),
        ("t|x\n" + rows(TIMES, PLAIN, separator="|"), {"separator": "|"}, ["separator |"]),
        ("#a\n% b\n// c\n\nTime (s),Channel 1 (V)\n" + rows(TIMES, PLAIN), {}, ["'Channel 1 (V)'"]),
        ("# t x\n" + rows(TIMES, PLAIN, separator=" "), {"column": "x"}, ["1000 Hz by its column 't'"]),
        ("Time,Channel A\n(ms),(V)\n\n" + rows("01234", PLAIN), {}, ["2 header lines", "'Channel A (V)'", "1000 Hz"]),
        (
            "made by,a logger\nrate,fast,x\nTime,Value\n" + rows(TIMES, PLAIN),
            {},
            ["3 header lines", "Value'", "1000 Hz"],
        ),
        (
            '\ufeff"Time\n(s)","x ""y"""\n' + rows(TIMES, PLAIN),
            {"column": 'x "y"'},
            ["1000 Hz by its column 'Time (s)'"],
        ),
        ("x,note\n" + rows(PLAIN, ["ok", "", "a,b".replace(",", ";"), '"c,d"', "e"]), {"column": "x"}, []),
        (rows(PLAIN, ["ok"] * 5), {"column": "1"}, []),
        ("x;y;\n" + rows(PLAIN, PLAIN, [""] * 5, separator=";"), {"column": "y"}, ["separator ;"]),
        ("x;y\n" + rows(PLAIN, PLAIN, [""] * 5, separator=";"), {"column": "x"}, ["separator ;"]),
        ("Größe;t\n".encode("cp1252") + rows(PLAIN, TIMES, separator=";").encode(), {"column": "Größe"}, ["1000 Hz"]),
        ("t,x\n".encode("utf-16") + rows(TIMES, PLAIN).encode("utf-16")[2:], {}, ["1000 Hz"]),
        ("t,x\r\n" + rows(TIMES, PLAIN, end="\r\n"), {}, ["1000 Hz"]),
        ("t,x\r" + rows(TIMES, PLAIN, end="\r"), {}, ["1000 Hz"]),
        ("1\n2\n" + rows(PLAIN), {"header": 2}, ["2 header lines"]),
        ("x\n" + "\n".join(PLAIN[:2]) + "\n\n\n" + "\n".join(PLAIN[2:]) + "\n\n", {}, ["2 empty lines passed over"]),
    ],
)
def test_real_dialects_are_recognised_and_said(tmp_path, content, selection, said):
    found, source = read(tmp_path / "a.csv", content, **selection)
    assert found.tolist() == ROUNDED
    for words in said:
        assert words in " ".join(source.notes)
    assert source.notes or not said


@pytest.mark.parametrize("index", [False, True])
def test_pandas_default_names_are_no_sample(tmp_path, index):
    values = np.random.default_rng(1).normal(size=50)
    pd.DataFrame(values).to_csv(tmp_path / "a.csv", index=index)
    found, source = read(tmp_path / "a.csv", column="2" if index else None)
    assert np.array_equal(found, values)
    assert source.rate is None  # the index numbers rows, it is no time
    assert "taken as pandas' header (--header 0)" in source.notes[0]
    assert len(read(tmp_path / "a.csv", header=0, column="2" if index else None)[0]) == 51


def test_a_first_zero_that_is_a_sample_stays_one(tmp_path, monkeypatch):
    lines = "".join(f"{value:.9g}\n" for value in np.sin(0.006 * np.arange(50)))
    assert len(read(tmp_path / "a.csv", lines)[0]) == 50
    monkeypatch.setattr(sys, "stdin", io.StringIO("0\n0.1234567890123456\n"))
    assert len(read(PIPE)[0]) == 2


@pytest.mark.parametrize("gap", ["", "NA", "n/a", "#N/A", "NaN", "nan", "null", "None", "-", '""', '"NA"'])
def test_gaps_are_gaps_also_at_the_beginning(tmp_path, gap):
    content = "".join(f"{cell},1\n" for cell in (gap, "0.5", gap, "0.25"))
    found = read(tmp_path / "a.csv", content, column="1")[0]
    assert np.array_equal(found, [np.nan, 0.5, np.nan, 0.25], equal_nan=True)
    if gap:
        found = read(tmp_path / "a.csv", f"{gap}\n0.5\n")[0]
        assert np.array_equal(found, [np.nan, 0.5], equal_nan=True)


REFUSED = [
    ('x,note\n0.5,ok\n0.6,"start\n0.7,ok\n0.8,"end\n', {"column": "x"}, r"line 3: a quote is left open"),
    ('"x\n0.5\n0.6\n', {}, "line 1: a quote is left open"),
    ("x\n0.5\n1_0\n", {}, r"line 3: '1_0' is not a number"),
    ("1_0\n0.5\n", {}, "line 1: .*'1_0' is not a number"),
    ('x\n"1,234.5"\n', {}, r"line 2: .*1,234\.5.* is not a number"),
    ("t;x\n0;1.234,5\n", {"column": "x"}, r"line 2: .*1\.234,5.* is not a number"),
    ("t;x\n0;1,5\n1;12.5\n", {"column": "x"}, r"line 3: '12\.5' is not a number with a decimal comma"),
    ("t;x\n0;1.5\n1;12,5\n", {"column": "x"}, r"line 3: '12,5' is not a number with a decimal point"),
    ("x,x\n0,0.5\n", {"column": "x"}, "columns 1 and 2 are both called 'x': say which with --column and its number"),
    ("0,597\n0,514\n", {}, "line 1: '0,597' is two whole numbers or one with a decimal comma: say --separator"),
    ("Zeit,Wert\n0,000,0,597\n", {}, "line 2: its number of cells is 4, but that of the header above it 2"),
    ("t,x\n0,0.5\n1\n", {"column": "x"}, "line 3: a row of 1, but those above are of 2 cells"),
    ("t,x\n0,0.5\n1,0.6,\n2,0.7,1\n", {"column": "x"}, "line 4: a row of 3, but those above are of 2 cells"),
    ("a,b\n0.5\n", {}, "line 2: its number of cells is 1, but that of the header above it more"),
    ("x\n0.5\n٣\n", {}, "line 3: '٣' is not a number"),
    ("x\n0.5\n#DIV/0!\n", {}, "line 3: '#DIV/0!' is not a number"),
    ("x\n0.5\n0x10\n", {}, "line 3: '0x10' is not a number"),
    ("x\n0.5\n1e\n", {}, "line 3: '1e' is not a number"),
    ("x\n" + "word\n" * 2000, {}, "no row of numbers in its first 1000 lines: say --header"),
    ("x\n1" + "0" * 2_000_000, {}, "line 2: longer than 1,000,000 characters: no text"),
    ("x\n0.5\n\0\0\n", {}, "line 3: .* is not a number"),
]


@pytest.mark.parametrize(("content", "selection", "message"), REFUSED, ids=[str(n) for n in range(len(REFUSED))])
def test_what_is_not_clear_is_refused_with_its_line(tmp_path, content, selection, message):
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / "a.csv", content, **selection)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_an_error_far_down_names_its_line(tmp_path):
    lines = [f"{n / 1000:.3f},{n % 7}.5" for n in range(300_000)]
    lines[250_000] += "x"
    with pytest.raises(InputError, match=r"line 250002: '.*\.5x' is not a number"):
        read(tmp_path / "a.csv", "t,x\n" + "\n".join(lines))


def test_blocks_and_single_rows_read_the_same(tmp_path, monkeypatch):
    values = np.random.default_rng(2).normal(size=5000)
    cells = [
        f"{n / 250:.3f};{comma(value, 9)};ok" if n % 700 == 5 else f"{n / 250:.3f};{comma(value, 9)};1"
        for n, value in enumerate(values)
    ]
    content = "t;x;n\n" + "\n".join(cells).replace(".", ",") + "\n"
    monkeypatch.setattr(text, "BLOCK", 1000)
    found, source = read(tmp_path / "a.csv", content, column="x")
    monkeypatch.setattr(text.Reader, "_quickly", lambda *_: None)
    assert np.array_equal(found, read(tmp_path / "a.csv", content, column="x")[0])
    assert np.array_equal(found, [float(f"{value:.9f}") for value in values])
    assert source.rate == 250


# Times


@pytest.mark.parametrize(
    ("title", "cells", "rate"),
    [
        ("t", [f"{n * 0.004:.3f}" for n in range(50)], 250),
        ("time_ms", [f"{n * 4}" for n in range(50)], 250),
        ("Time [us]", [f"{n * 4000}" for n in range(50)], 250),
        ("Zeit / ms", [f"{7 + n * 4}" for n in range(50)], 250),
        ("seconds", [f"{n / 44100:.6f}" for n in range(2000)], 44100),
        ("timestamp", [f"{1.7e9 + n / 250:.3f}" for n in range(50)], 250),
        ("timestamp", [f"{1.7e12 + n * 4:.0f}" for n in range(50)], 250),
        ("time", [f"{n / 1024:.4f}" for n in range(2000)], 1024),
        ("time", [f"2024-03-31T01:59:{59 + n / 250:06.3f}" for n in range(50)], 250),
        ("x2", [f"2024-03-31 01:59:{59 + n / 250:06.3f}Z" for n in range(50)], 250),
        ("Uhrzeit", [f"12:30:{n / 250:06.3f}" for n in range(50)], 250),
        ("position", [f"{n / 250:.3f}" for n in range(50)], 250),
        ("t", [f"{n / 250:g}" for n in range(50)], 250),
        ("t", [f"{n / 250:.3e}" for n in range(50)], 250),
        ("i", [str(n) for n in range(50)], None),
        ("", [str(n) for n in range(50)], None),
        ("other", [str(n + 1) for n in range(50)], None),
        ("other", [str(n * n) for n in range(50)], None),
    ],
)
def test_the_rate_is_that_of_the_times(tmp_path, title, cells, rate):
    values = [f"{n % 7}.25" for n in range(len(cells))]
    _, source = read(tmp_path / "a.csv", f"{title},x\n" + rows(cells, values), column="x")
    assert (source.rate, source.doubt) == (rate, "")


def test_a_first_column_without_a_header_may_be_times(tmp_path):
    _, source = read(
        tmp_path / "a.txt", rows([f"{n / 250:.3f}" for n in range(9)], ["0.5"] * 9, separator=" "), column="2"
    )
    assert source.rate == 250


@pytest.mark.parametrize(
    ("times", "problem"),
    [
        ([0, 1, 2, 4, 5, 6, 7], "its column 't': uneven steps: 0.002 before line 5, where 0.001 is usual"),
        ([0, 1, 2, 2, 3, 4], "uneven steps: 0 before line 5"),
        ([5, 4, 3, 2], "it does not grow"),
        ([0, 1, None, 3], "no time in line 4"),
        ([0], "one time only"),
    ],
)
def test_times_that_tell_no_rate_are_refused_by_name(tmp_path, times, problem):
    cells = ["" if time is None else f"{time / 1000:.3f}" for time in times]
    _, source = read(tmp_path / "a.csv", "t,x\n" + rows(cells, ["0.5"] * len(cells)), column="x")
    assert source.rate is None
    assert problem in source.doubt


def test_a_sample_lost_in_a_long_file_is_found(tmp_path):
    times = [f"{n / 1000:.3f}" for n in range(100_000) if n != 70_000]
    _, source = read(tmp_path / "a.csv", "t,x\n" + rows(times, ["0.5"] * len(times)), column="x")
    assert "uneven steps: 0.002 before line 70002, where 0.001 is usual" in source.doubt


def test_times_too_coarse_for_a_rate_are_told(tmp_path):
    times = [f"{n / 1024:.4f}" for n in range(100)]
    _, source = read(tmp_path / "a.csv", "t,x\n" + rows(times, ["0.5"] * 100), column="x")
    assert source.rate is None
    assert "times too coarse to tell the rate, between" in source.doubt


def piped(monkeypatch, content, **selection):
    monkeypatch.setattr(sys, "stdin", io.StringIO(content))
    return read(PIPE, **selection)


def test_a_pipe_tells_its_rate_by_the_first_two_rows(monkeypatch):
    content = "t;x\n" + rows([comma(n / 250, 3) for n in range(300)], ["0,5"] * 300, separator=";")
    found, source = piped(monkeypatch, content)
    assert (len(found), source.rate, source.live) == (300, 250.0, True)
    with pytest.raises(InputError, match=r"uneven steps: 0\.008 before line 5, where 0\.004 is usual: say the sampl"):
        piped(monkeypatch, content.replace("0,012;0,5\n", ""))
    assert len(piped(monkeypatch, content.replace("0,012;0,5\n", ""), rate=250.0)[0]) == 299


# Whatever is written is read back exactly, or refused


@some.composite
def tables(draw):
    separator, decimal = draw(
        some.sampled_from([(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ","), (" ", ".")])
    )
    values = draw(some.lists(some.floats(allow_nan=False, width=32), min_size=1, max_size=30))
    written = draw(some.sampled_from([repr, lambda value: f"{value:.9g}", lambda value: f"{value:.17e}"]))
    others = draw(some.integers(0, 2))
    column = draw(some.integers(0, others))
    titles = [f"c {n}".replace(" ", "_" if separator == " " else " ") for n in range(others + 1)]
    table = [[draw(some.sampled_from(["7", "ok", "-1.5".replace(".", decimal)])) for _ in titles] for _ in values]
    for row, value in zip(table, values, strict=True):
        row[column] = written(float(value)).replace(".", decimal)
    return values, table, titles if draw(some.booleans()) else None, separator, decimal, column, written


@QUICK
@given(tables(), some.sampled_from(["\n", "\r\n"]), some.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_any_table_is_read_back_exactly_or_refused(tmp_path, made, end, quoting):
    values, table, titles, separator, decimal, column, written = made
    with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=separator, lineterminator=end, quoting=quoting)
        writer.writerows(([titles] if titles else []) + table)
    wanted = [float(written(float(value))) for value in values]
    known = {"separator": {" ": "space", "\t": "tab"}.get(separator, separator), "decimal": decimal}
    header = {"header": 1 if titles else 0}
    assert read(tmp_path / "a.csv", column=str(column + 1), **known, **header)[0].tolist() == wanted  # when told
    try:
        found, source = read(tmp_path / "a.csv", column=str(column + 1))
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017 (either is right, but nothing else)
    else:
        taken = not titles and "taken as a header" in " ".join(source.notes)  # said: 3,ok above 4,7
        assert found.tolist() == wanted[taken:]


@QUICK
@given(some.binary(max_size=200), some.sampled_from(["", "t,x\n0,1\n", "x\n0.5\n"]))
def test_any_bytes_are_read_or_refused(tmp_path, content, before):
    try:
        read(tmp_path / "a.csv", before.encode() + content)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017


@QUICK
@given(some.text(alphabet='0123456789.,;-+eE \t\n"#ntx_', max_size=60))
def test_a_pipe_reads_what_a_file_gives(tmp_path, content):
    """But for pandas' header, which only a file is asked for: both read the same or both refuse."""
    outcomes = []
    with pytest.MonkeyPatch.context() as patch:
        for reader in (lambda: read(tmp_path / "a.csv", content, rate=1.0), lambda: piped(patch, content, rate=1.0)):
            try:
                outcomes.append(reader()[0].tolist())
            except InputError:
                outcomes.append(None)
    file, pipe = outcomes
    if file is not None and pipe is not None:
        assert np.array_equal(file, pipe, equal_nan=True) or pipe[1:] == file
