"""Ways to damage files: bytes of any kind, and the insides of the formats that the project reads and writes.

A mutator takes a generator of random numbers and the bytes of a valid file, and gives other bytes.
"""

import io
import json
import random
import re
import struct
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

Random = random.Random
Mutator = Callable[[Random, bytes], bytes]

# No argument and no text names anything outside the workspace: outputs are written over.
BOMB = "[&a [x,x,x,x,x,x,x,x,x,x]" + "".join(
    f", &{new} [{','.join([f'*{old}'] * 10)}]" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)
TEXTS = (
    *("", "null", "~", "true", "no", "0", "-1", "1", "1.5", "-0.0", "nan", ".nan", "inf", ".inf", "-.inf", "1e308"),
    *("-1e308", "1e-300", "5e-324", "1e30", "1e999", "0x10", "0o17", "010", "1_0", "1:30", "2147483648", "1e-05"),
    *("9223372036854775807", "9223372036854775808", "18446744073709551616", "9" * 30, "9" * 5001, "-" + "9" * 20),
    *("x", "'1'", '"\\u0000"', "[]", "[[]]", "{}", "{a: 1}", "[1, 2, 3]", "[x]", "[.nan]", "- 1", "? ", "&a 1"),
    *("!!bool maybe", "!!int abc", "!!float abc", "!!timestamp 2026-99-99", "!!binary x", "!!set {a}", "!!null 1"),
    *("!!python/object:os.system x", "!!omap [a]", "2026-01-01", "*a", "<script>", "$x^{2}$", "[bold]x[/]", "%"),
    *("ü\u202e\U0001f3b5", "../missing", "<<: *a", "|", "'", '"', "#", "\t", "\x00", "x" * 100_000),
    *("[" * 3000, "{a: " * 500, f"{BOMB}]"),
)
VALUES = (  # of JSON
    *(None, True, False, 0, -1, 1, 1.5, 2**31, 2**63 - 1, 2**63, 2**64, 10**30, -(2**63), 1e308, -1e308, 1e-300),
    *(float("nan"), float("inf"), "", "x", "x" * 10_000, "\x00", "nan", [], [[]], {}, {"a": 1}, [None], ["x"], [1, 2]),
    *([-1], [1e308], ["abcd"] * 4, [[1]], "../missing", "<script>", "$x^{2}$", "[bold]x[/]"),
)
ARRAYS = (
    *(0.0, -1.0, 1.0, 0, -1, 1, 25, 2**31, 2**63 - 1, -(2**63), 1e308, 1e-300, np.nan, np.inf, -np.inf, 1 + 2j),
    *("", "x", b"\xff\xfe", [], [1.0], [1.0, 2.0, 3.0, 4.0], [np.nan] * 2, [np.inf] * 2, [[1.0, 2.0]]),
    *(["x", "y"], np.zeros((0, 3)), np.zeros((2, 3, 4)), np.array([b"a", b"b"]), np.float16(1), np.bool_(True)),
    *(np.uint64(2**64 - 1), [2**63 - 1] * 2, [-1, -1], [0, 0], [1e308] * 2, np.arange(5000.0)),
)


def damaged(rng: Random, data: bytes) -> bytes:
    """Flipped bits, a file cut short, blocks taken out, doubled, written over, put elsewhere; something added."""
    size = max(len(data), 1)
    at, length = rng.randrange(size), rng.choice((1, 2, 4, 8, 16, 64, 512, 4096))
    block = data[at : at + length]
    kind = rng.choice(
        ("flip", "flip", "head", "cut", "delete", "double", "fill", "random", "move", "append", "swap", "empty")
    )
    if kind in ("flip", "head"):
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 8)) if data else 0):
            changed[rng.randrange(min(size, 512) if kind == "head" else size)] ^= 1 << rng.randrange(8)
        return bytes(changed)
    filling = {"fill": bytes([rng.choice((0, 255, 32, 48))]) * len(block), "random": rng.randbytes(len(block))}
    return {
        "cut": lambda: data[: rng.choice((at, at, size // 2, size - 1, 1))],
        "delete": lambda: data[:at] + data[at + length :],
        "double": lambda: data[:at] + block * rng.choice((2, 3, 100)) + data[at + length :],
        "fill": lambda: data[:at] + filling["fill"] + data[at + length :],
        "random": lambda: data[:at] + filling["random"] + data[at + length :],
        "move": lambda: block + data[:at] + data[at + length :],
        "append": lambda: data + rng.choice((rng.randbytes(length), data, b"\x00" * length, b"[" * 3000)),
        "swap": lambda: data[at:] + data[:at],
        "empty": lambda: rng.choice(
            (b"", b"\n", b"\xff\xfe1\x00", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"null", b"[]")
        ),
    }[kind]()


def yaml(rng: Random, data: bytes) -> bytes:
    """Other values, and lines doubled, taken out, indented or put elsewhere."""
    lines = data.decode().split("\n")
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(lines))
        kind = rng.choice(("value", "value", "value", "value", "item", "delete", "double", "indent", "move", "front"))
        match = re.match(r"(\s*[\w.\-\"']+:)( .*)?$", lines[at])
        if kind == "value" and match:
            lines[at] = f"{match[1]} {rng.choice(TEXTS)}"
        elif kind == "item":
            lines[at] = re.sub(r"-?[0-9][0-9.e\-+]*", lambda _: rng.choice(TEXTS), lines[at], count=rng.choice((1, 2)))
        elif kind == "delete":
            del lines[at]
        elif kind == "double":
            lines.insert(at, lines[at])
        elif kind == "indent":
            lines[at] = rng.choice((" ", "  ", "\t")) + lines[at]
        elif kind == "move":
            lines.insert(rng.randrange(len(lines)), lines.pop(at))
        elif kind == "front":
            lines.insert(0, rng.choice(("%YAML 1.1", "---", "%TAG ! x:", "a: &a [*a]", "- x", "\ufeff")))
        lines = lines or [""]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Every container and key in a JSON value."""
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    return [(content, key) for key in keys] + [place for key in keys for place in _places(content[key])]


def change_json(rng: Random, content: Any) -> Any:
    """A JSON value with one of its values, or keys, another."""
    places = _places(content)
    if not places:
        return rng.choice(VALUES)
    container, key = rng.choice(places)
    if rng.random() < 0.2 or not isinstance(container, dict | list):
        del container[key]
    elif isinstance(container, dict) and rng.random() < 0.1:
        container[rng.choice(("x", "", "\x00", "../x"))] = container.pop(key)
    else:
        container[key] = rng.choice((*VALUES, *ARRAYS[:9]))
    return content


def json_lines(rng: Random, data: bytes) -> bytes:
    """Lines with other values, doubled, taken out, or in another order; JSON within JSON as well."""
    lines = data.decode().splitlines(keepends=True)
    at = rng.randrange(len(lines))
    kind = rng.choice(("value", "value", "value", "value", "delete", "double", "move", "deep"))
    if kind == "value":
        lines[at] = json.dumps(change_json(rng, json.loads(lines[at]))) + "\n"
    elif kind == "delete":
        del lines[at]
    elif kind == "double":
        lines.insert(at, lines[at])
    elif kind == "move":
        lines.insert(rng.randrange(len(lines)), lines.pop(at))
    else:
        lines[at] = rng.choice(("[" * 100_000, '{"op_code": 0}', "null", "1" * 5001, "NaN", "{}")) + "\n"
    return "".join(lines).encode("utf-8", "surrogatepass")


def safetensors(rng: Random, data: bytes) -> bytes:
    """Another header: sizes, types and offsets of tensors, and the metadata's own JSON."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    if rng.random() < 0.75:
        inner = change_json(rng, json.loads(header["__metadata__"]["tonesift"]))
        header["__metadata__"]["tonesift"] = json.dumps(inner)
    else:
        header = change_json(rng, header)
    text = json.dumps(header).encode()
    size = rng.choice((len(text),) * 9 + (2**63, 0))
    return struct.pack("<Q", size) + text + data[8 + length :]


def hdf5(rng: Random, data: bytes) -> bytes:
    """Other attributes, and datasets of other types, shapes and ways of storing."""
    memory = io.BytesIO(data)
    with h5py.File(memory, "r+", libver="latest") as file:
        if rng.random() < 0.5 and len(file.attrs):
            name = rng.choice(sorted(file.attrs))
            if rng.random() < 0.2:
                del file.attrs[name]
            else:
                file.attrs[name] = rng.choice((*ARRAYS, h5py.Empty("f8")))
        else:
            _change_dataset(rng, file, rng.choice(sorted(file)))
    return memory.getvalue()


def _change_dataset(rng: Random, file: h5py.File, name: str) -> None:
    old = file[name][...]
    kind = rng.choice(("value", "value", "type", "shape", "store", "announce", "kind"))
    if kind == "value":
        flat = old.reshape(-1)
        flat[rng.randrange(flat.size)] = rng.choice(
            (np.nan, np.inf, 1e38, -1e38, 1e-45) if old.dtype.kind == "f" else (0, -1, -5, 2**31, 2**62, -(2**63), 99)
        )
        file[name][...] = old
        return
    del file[name]
    with np.errstate(all="ignore"):
        if kind == "type":
            file[name] = old.astype(rng.choice(("f8", "f2", ">f4", "i4", "u1", "c8", "S8", "?")))
        elif kind == "shape":
            shapes = (
                old.reshape(-1),
                old[None],
                old[:1],
                old[..., :1],
                old[:0],
                old.T,
                old.reshape(-1)[0],
                np.concatenate([old, old]),
            )
            file[name] = rng.choice(shapes)
        elif kind == "store":
            file.create_dataset(
                name, data=old, chunks=True, compression=rng.choice(("gzip", "lzf", None)), shuffle=True
            )
        elif kind == "announce":
            shape = rng.choice(((2, 10**12), (10**9,), (3, 3, 10**10), (2**40,)))
            chunks = rng.choice((None, True, tuple(min(size, 10**8) for size in shape)))
            outside = [("missing.raw", 0, h5py.h5f.UNLIMITED)] if chunks is None and rng.random() < 0.5 else None
            try:
                file.create_dataset(name, shape, old.dtype, chunks=chunks, external=outside)
            except (ValueError, OSError):
                file[name] = h5py.Empty("f4")
        else:
            _put_another_kind(rng, file, name, old)


def _put_another_kind(rng: Random, file: h5py.File, name: str, old: np.ndarray) -> None:
    kind = rng.choice(("group", "self", "elsewhere", "type", "empty", "virtual", "text"))
    if kind == "group":
        file.create_group(name)
    elif kind == "self":
        file[name] = h5py.SoftLink(f"/{name}")
    elif kind == "elsewhere":
        file[name] = h5py.ExternalLink("missing.h5", "/x")
    elif kind == "type":
        file[name] = np.dtype("f4")
    elif kind == "empty":
        file[name] = h5py.Empty(old.dtype)
    elif kind == "virtual":
        layout = h5py.VirtualLayout(old.shape, old.dtype)
        layout[...] = h5py.VirtualSource("missing.h5", "x", old.shape)
        file.create_virtual_dataset(name, layout)
    else:
        file[name] = ["x", "y"]


def npz(rng: Random, data: bytes) -> bytes:
    """A state with one of its arrays another, missing, or not alone."""
    with np.load(io.BytesIO(data)) as file:
        arrays = {name: file[name] for name in file.files}
    name, memory = rng.choice(sorted(arrays)), io.BytesIO()
    kind = rng.choice(("value", "value", "value", "item", "delete", "more"))
    if kind == "value":
        arrays[name] = np.asarray(rng.choice(ARRAYS))
    elif kind == "item" and arrays[name].size and arrays[name].dtype.kind == "f":
        arrays[name].reshape(-1)[0] = rng.choice((np.nan, np.inf, 1e38))
    elif kind == "delete":
        del arrays[name]
    else:
        arrays[rng.choice(("memory_99", "x", "../x"))] = arrays[name]
    np.savez(memory, **arrays)
    return memory.getvalue()


def npy(rng: Random, data: bytes) -> bytes:
    """Another header: type, order, shape."""
    length = struct.unpack("<H", data[8:10])[0]
    header = data[10 : 10 + length].decode()
    types = ("'<f8'", "'|O'", "'<c8'", "'|S5'", "'<i8'", "'>f4'", "'<f2'", "[('a', '<f4')]", "'x'", "1")
    shapes = (
        "()",
        "(0,)",
        "(-1,)",
        "(10000000000,)",
        "(2, 10000000000)",
        "(1, 1)",
        "(2, 60)",
        "('x',)",
        "1",
        "(" * 500,
    )
    changed = rng.choice(
        (
            re.sub(r"'descr': '[^']*'", f"'descr': {rng.choice(types)}", header),
            re.sub(r"'shape': \([^)]*\)", f"'shape': {rng.choice(shapes)}", header),
            header.replace("False", rng.choice(("True", "None", "2"))),
            header.replace("descr", "x"),
        )
    )
    return data[:8] + struct.pack("<H", len(changed.encode())) + changed.encode() + data[10 + length :]


def table(rng: Random, data: bytes) -> bytes:
    """Cells with other content; lines and columns doubled, taken out, or shorter."""
    lines = [re.split(r"([,\t])", line) for line in data.decode().split("\n")]
    at = rng.randrange(len(lines))
    kind = rng.choice(
        ("cell", "cell", "cell", "header", "delete", "double", "short", "long", "column", "only", "quote")
    )
    if kind in ("cell", "header"):
        row = lines[0 if kind == "header" else at]
        row[rng.randrange(0, len(row), 2)] = rng.choice((*TEXTS, "1,5", "NA"))
    elif kind == "delete":
        del lines[at]
    elif kind == "double":
        lines.insert(at, lines[at])
    elif kind == "short":
        lines[at] = lines[at][:-2]
    elif kind == "long":
        lines[at] = [*lines[at], ",", "1"]
    elif kind == "column":
        column = rng.randrange(0, len(lines[0]), 2)
        lines = [row[:column] + row[column + 2 :] for row in lines]
    elif kind == "only":
        lines = lines[:1]
    else:
        lines[at].insert(0, '"')
    return "\n".join("".join(row) for row in lines).encode("utf-8", "surrogatepass")


def wav(rng: Random, data: bytes) -> bytes:
    """Another number in the header."""
    at = rng.choice((4, 16, 20, 22, 24, 28, 32, 34, 40, rng.randrange(44)))
    number = rng.choice((0, 1, 2, 3, 8, 24, 255, 65534, 2**16 - 1, 2**31, 2**32 - 1, rng.getrandbits(32)))
    size = 2 if at in (20, 22, 32, 34) else 4
    return data[:at] + (number % 2 ** (8 * size)).to_bytes(size, "little") + data[at + size :]


def arguments(rng: Random, data: bytes) -> bytes:
    """A command line, as JSON, with an argument another, doubled or missing."""
    words = json.loads(data)
    at = rng.randrange(len(words))
    kind = rng.choice(("value", "value", "value", "delete", "double", "option"))
    values = (
        *(text for text in TEXTS if "\x00" not in text),
        "-",
        "--",
        "**.npy",
        "x.npy",
        "x.xyz",
        ".",
        "a b.csv",
        "\n",
    )
    options = (
        "--tone",
        "--rate",
        "--resample",
        "--gaps",
        "--state",
        "--column",
        "--recording",
        "--dataset",
        "--x",
        "--top",
        "--where",
    )
    if kind == "value":
        words[at] = rng.choice(values)
    elif kind == "delete":
        del words[at]
    elif kind == "double":
        words.insert(at, words[at])
    else:
        words[at:at] = [rng.choice(options), rng.choice(values)]
    return json.dumps(words).encode()


def either(*own: Mutator) -> Mutator:
    """One of a format's own ways, or two times in five damage to its bytes."""

    def mutate(rng: Random, data: bytes) -> bytes:
        chosen = damaged if rng.random() < 0.4 else rng.choice(own)
        return chosen(rng, data)

    return mutate
