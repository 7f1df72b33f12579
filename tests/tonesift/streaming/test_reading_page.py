"""The commands of docs/reading.md, run on inputs made here: what they print is what the page shows.

The model is a stand-in with random weights and the committed one's facts, because nothing that is shown depends on
weights. Seconds and speeds are left out of the comparison.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
from conftest import ROOT
from random_models import make

from tonesift.networks import model as models

PAGE = ROOT / "docs" / "reading.md"
FREQUENCIES = [1.0, 3.0, 5.0, 7.0]
SENSOR = """
import math, signal
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
print("t;x")
for n in range(3005):
    value = sum(math.sin(2 * math.pi * f * n / 1000) for f in (1, 3, 5, 7)) / 4
    print(f"{n / 1000:.3f};{value:.6f}".replace(".", ","))
"""


def mixture(rate, seconds=5):
    time = np.arange(round(seconds * rate)) / rate
    tones = np.mean([np.sin(2 * np.pi * f * time + f) for f in FREQUENCIES], axis=0)
    return time, tones + 0.1 * np.random.default_rng(1).normal(size=len(time))


def make_inputs(place: Path) -> None:
    """What the page's commands read."""
    soundfile.write(place / "phone.wav", 0.1 * mixture(48_000)[1], 48_000, subtype="PCM_16")
    (place / "crashed.wav").write_bytes((place / "phone.wav").read_bytes()[:200_044])
    rows = "".join(f"{1000 * t:.0f};{21.5 + 0.01 * t:.2f};{x:.4f}\n" for t, x in zip(*mixture(250), strict=True))
    header = "# Logger 7, started 2026-03-01\nZeit [ms];Temperatur;Spannung\n"
    (place / "logger.csv").write_text(header + rows.replace(".", ","), encoding="cp1252")
    (place / "lost.csv").write_text(header + rows.replace(".", ",").replace("400;21,50", "#400;21,50", 1))
    _, values = mixture(1000)
    with h5py.File(place / "scope.mat", "w", userblock_size=512) as file:  # as MATLAB's -v7.3 lays it out
        for name, value in {"x": values[None], "fs": np.array([[1000.0]])}.items():
            file[name] = value.T
            file[name].attrs["MATLAB_class"] = np.bytes_("double")
    np.save(place / "channels.npy", np.stack([values, 2 * values, 1000 * values], axis=1))
    (place / "sensor.py").write_text(SENSOR)


def blocks() -> list[list[str]]:
    """Lines of the page's console blocks."""
    found = re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [block.splitlines() for block in found]


def run(place: Path, command: str) -> list[str]:
    """What a command prints, both streams together."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path}
    done = subprocess.run(
        ["bash", "-c", command], cwd=place, env=environment, text=True, timeout=120, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.stdout.splitlines()


def timeless(lines: list[str]) -> list[str]:
    return [re.sub(r"in [\d.]+ s \(\d+ x real", "in … s (… x real", line) for line in lines]


@pytest.fixture
def page(tmp_path):
    make_inputs(tmp_path)
    _, described = make(hop=10)
    described = described.model_copy(update={"frequencies": tuple(FREQUENCIES), "center": 0.0, "scale": 1.0})
    models.save(tmp_path / "models" / "model.safetensors", models.build(described), described)
    return tmp_path


def test_the_page_shows_what_its_commands_print(page):
    commands = 0
    for block in blocks():
        shown: list[str] = []
        for line in [*block, "$ end"]:
            if line.startswith("$ "):
                if commands and shown[:1]:
                    assert timeless(run(page, shown[0])) == timeless(shown[1:])
                shown, commands = [line[2:]], commands + 1
            else:
                shown.append(line)
    assert commands > 12
