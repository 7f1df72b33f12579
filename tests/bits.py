"""The bits that this machine makes: a small run of the whole pipeline with each family, as digests of all its outputs.

    python tests/bits.py                    # prints them as JSON, the processor on standard error
    python tests/bits.py > tests/bits.json  # those to be made everywhere: after a change that alters results

All stages run in this process, so that one start of Python and PyTorch serves four runs.
"""

import hashlib
import json
import os
import runpy
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tonesift import arithmetic, families  # noqa: E402

PATHS = {  # arguments of each stage, as in dvc.yaml
    "generate": ("data/train.h5", "data/test.h5"),
    "prepare": ("data/train.h5", "data/windows.h5"),
    "train": ("data/train.h5", "data/windows.h5", "models/model.safetensors", "metrics/train"),
    "evaluate": (
        "data/train.h5",
        "data/windows.h5",
        "data/test.h5",
        "models/model.safetensors",
        "metrics/train/plots",
        "metrics/evaluate",
        "plots/evaluate",
    ),
}
TWO_TONES = {
    "frequencies": [2.0, 5.0],
    "phases": [0.0, 45.0],
    "amplitudes": [1.0, 1.0],
    "duration": 4.0,
    "sampling_rate": 100.0,
}
SMALL = {
    "data": TWO_TONES,
    "prepare": {"sequence_length": 10},
    "model": {
        "hidden_size": 24,
        "num_layers": 2,
        "dropout": 0.1,
        "conditioning": "heads",
        "hop": 2,
        "model_dim": 24,
        "num_heads": 2,
        "ff_dim": 40,
        "context": 12,
    },
    "train": {"epochs": 2, "stream_steps": 20, "batch_size": 16, "arithmetic": "portable"},
    "evaluate": {"streams": 16},
}
# What a family adds, so that between them they reach most of the code.
OWN = {
    "lstm": {},
    "gru": {
        "model": {"conditioning": "selector", "layer_norm": True},
        "train": {"stateful": False},
        "prepare": {"step_size": 4},
    },
    "transformer": {"model": {"positions": "learned"}, "train": {"optimizer": "adamw", "gradient_noise": 0.01}},
    "tcn": {"model": {"layer_norm": True}, "train": {"optimizer": "sgd", "scheduler": "plateau"}},
    "hybrid": {"model": {"conditioning": "selector"}, "train": {"fresh_noise": False}},
}


def write_params(path: Path, family: str) -> None:
    """The base of study fixed, which never changes, made small."""
    from ruamel.yaml import YAML

    yaml = YAML()
    content = yaml.load(ROOT / "studies" / "bases" / "fixed.yaml")
    detail = {"evaluate": {"detail": "full" if family == "lstm" else "scores"}, "model": {"family": family}}
    for change in (SMALL, OWN[family], detail):
        for section, values in change.items():
            content[section].update(values)
    yaml.dump(content, path)


def run(stage: str) -> None:
    """Run a stage here and now, as `python -m` would."""
    sys.argv = [stage, *PATHS[stage]]
    try:
        runpy.run_module(f"stages.{stage}", run_name="__main__", alter_sys=True)
    except SystemExit as left:
        if left.code:
            raise


def digests(folder: Path) -> dict[str, str]:
    """MD5 of every output in a folder, but for the clock's."""
    files = sorted(path for top in ("data", "models", "metrics", "plots") for path in (folder / top).rglob("*.*"))
    return {
        path.relative_to(folder).as_posix(): hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        for path in files
        if path.name != "run.json"
    }


def main() -> None:
    """Run every family and print what came out."""
    arithmetic.choose("portable")
    found, out = {}, sys.stdout
    sys.stdout = sys.stderr
    for family in families.FAMILIES:
        with tempfile.TemporaryDirectory() as name:
            os.chdir(name)
            write_params(Path("params.yaml"), family)
            for stage in PATHS:
                run(stage)
            found[family] = digests(Path.cwd())
            os.chdir(ROOT)
    print(f"{arithmetic.processor()}: {hashlib.md5(json.dumps(found).encode(), usedforsecurity=False).hexdigest()}")
    print(json.dumps(found, indent=1), file=out)


if __name__ == "__main__":
    main()
