"""Kinds of files that the program reads, the commands that read them, and a workspace with a valid one of each."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mutations
import numpy as np
from bits import TWO_TONES
from mutations import Mutator, either
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
Command = tuple[str, ...]  # module and arguments; `-` as an argument reads standard input from the file

PLOTS = "metrics/train/plots"
GENERATE = ("stages.generate", "data/train.h5", "data/test.h5")
PREPARE = ("stages.prepare", "data/train.h5", "data/windows.h5")
CONDITIONED = ("stages.prepare", "data/conditioned.h5", "data/windows.h5")
TRAIN = ("stages.train", "data/train.h5", "data/windows.h5", "models/model.safetensors", "metrics/train")
EVALUATE = (
    *("stages.evaluate", "data/train.h5", "data/windows.h5", "data/test.h5", "models/model.safetensors"),
    *(PLOTS, "metrics/evaluate", "plots/evaluate"),
)
REPORT = ("pages.report", "plots/report.html", "models/README.md")
STORY = ("pages.story", "studies/story/trials.csv", "docs/story.png")
GUIDE = ("pages.guide_tables", "studies", "docs/guide-claims.yaml", "docs/guide-tables.md")
BEST, STATUS = ("dvcsweep.__main__", "best", "studies/demo.yaml"), ("dvcsweep.__main__", "status", "studies/demo.yaml")
REPORTED = ("dvcsweep.__main__", "report", "studies/demo.yaml")
FILTER = ("tonesift.__main__", "filter")
RATE = ("--rate", "100")
STATE = (*FILTER, "in.csv", "--state", "state.npz", "-o", "out.csv", *RATE)
DATA, MODEL, CLOCK = ("data/train.h5", "data/test.h5"), "models/model.safetensors", "metrics/run.json"
STATES = ("state.npz", "hybrid.npz", "bank.npz")
WRITTEN = (
    "data/",
    "models/",
    "metrics/",
    "plots/",
    "docs/",
    "studies/demo/",
    "studies/kept/",
    "out.csv",
    *STATES,
)


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes
    ----------
    name : str
        In the table.
    file : str
        The file that is damaged, in the workspace.
    mutate : Mutator
        How.
    commands : tuple of Command
        What reads it: each mutation is read by one of them.
    others : tuple of str
        Files that may be named instead: it leads to them.
    foreign : tuple of Command
        What reads it too, but refuses it even if it is whole: it is made for others.
    """

    name: str
    file: str
    mutate: Mutator
    commands: tuple[Command, ...]
    others: tuple[str, ...] = ()
    foreign: tuple[Command, ...] = ()


def _signal(name: str, file: str, mutate: Mutator, *commands: Command) -> Kind:
    return Kind(name, file, mutate, commands, ("standard input",))


OUT = ("-o", "out.csv")
TABLES = ("tones", "comparison", "uncertainty", "paired", "conditions")
CURVES = ("train/loss", "validation/r2")
KEPT_BEST, KEPT_REPORT = (*BEST[:2], "studies/kept.yaml"), (*REPORTED[:2], "studies/kept.yaml")
FILTERED = (*FILTER, "in.csv", "-o", "out.csv", *RATE)
LEDGERS = (".dvc/tmp/sweeps/demo/ledger.jsonl", "studies/kept/ledger.jsonl")
NAMED = (*FILTER, "in.csv", *OUT, *RATE, "--tones", "3,7", "--state")
HYBRID, BANK = (*NAMED, "hybrid.npz", "--model", "hybrid.safetensors"), (*NAMED, "bank.npz")
# A state given to a filter of another method, or of no named tones.
BARE = (*FILTERED, "--state")
STRAYED = (
    (*NAMED, "hybrid.npz"),
    (*NAMED, "hybrid.npz", "--method", "extended"),
    (*BARE, "hybrid.npz"),
    (*NAMED, "bank.npz", "--method", "extended"),
    (*NAMED, "bank.npz", *HYBRID[-2:]),
    (*BARE, "bank.npz"),
    (*NAMED, "state.npz"),
)
KINDS = (
    Kind("params.yaml", "params.yaml", either(mutations.yaml), (GENERATE, GENERATE, PREPARE, TRAIN)),
    Kind("study", "studies/demo.yaml", either(mutations.yaml), (BEST, STATUS), ("studies/",)),
    Kind("base of a study", "studies/base.yaml", either(mutations.yaml), (BEST,), ("studies/demo.yaml",)),
    Kind("train.h5", "data/train.h5", either(mutations.hdf5), (PREPARE, PREPARE, TRAIN, EVALUATE)),
    Kind("test.h5", "data/test.h5", either(mutations.hdf5), (EVALUATE,)),
    Kind("windows.h5", "data/windows.h5", either(mutations.hdf5), (TRAIN, EVALUATE)),
    Kind("model", MODEL, either(mutations.safetensors), (FILTERED, REPORT, EVALUATE), DATA),
    Kind("state", "state.npz", either(mutations.npz), (STATE,), foreign=STRAYED[6:]),
    Kind("state, hybrid", "hybrid.npz", either(mutations.npz), (HYBRID,), foreign=STRAYED[:3]),
    Kind("state, filters", "bank.npz", either(mutations.npz), (BANK,), foreign=STRAYED[3:6]),
    Kind(
        "model, hybrid",
        "hybrid.safetensors",
        either(mutations.safetensors),
        ((*FILTERED, "--tones", "3,7", *HYBRID[-2:]),),
    ),
    Kind("ledger, live", LEDGERS[0], either(mutations.json_lines), (BEST, STATUS), ("demo",)),
    Kind("ledger, committed", LEDGERS[1], either(mutations.json_lines), (KEPT_BEST, KEPT_BEST, KEPT_REPORT), ("kept",)),
    Kind("trials.csv", "studies/story/trials.csv", either(mutations.table), (STORY,)),
    Kind("trials.csv of the guide", "studies/guide-noise/trials.csv", either(mutations.table), (GUIDE,), ("studies",)),
    *(Kind("tables", f"metrics/evaluate/{name}.csv", either(mutations.table), (REPORT,)) for name in TABLES),
    *(
        Kind("history", f"{PLOTS}/metrics/{name}.tsv", either(mutations.table), (REPORT, EVALUATE), (name,))
        for name in CURVES
    ),
    Kind("picture", "plots/evaluate/graph1.png", mutations.damaged, (REPORT,)),
    _signal(
        "CSV", "in.csv", either(mutations.table), (*FILTER, "in.csv", *OUT, *RATE), (*FILTER, "-", "-o", "-", *RATE)
    ),
    _signal("NPY", "in.npy", either(mutations.npy), (*FILTER, "in.npy", *OUT, *RATE)),
    _signal("WAV", "in.wav", either(mutations.wav), (*FILTER, "in.wav", *OUT)),
    _signal("HDF5", "in.h5", either(mutations.hdf5), (*FILTER, "in.h5", *OUT)),
    Kind("command line", "arguments.json", mutations.arguments, ()),
    Kind("conditioned.h5", "data/conditioned.h5", either(mutations.hdf5), (CONDITIONED,)),
)
LINES = (
    *(STATE, BEST, REPORTED, REPORT, GENERATE, PREPARE),
    (*FILTER, "in.wav", "--rate", "100", "--tone", "1", "-o", "out.csv"),
)

SMALL = {
    "data": {**TWO_TONES, "duration": 2.0},
    "prepare": {"sequence_length": 5},
    "model": {
        **{"hidden_size": 4, "num_layers": 1, "dropout": 0.0, "conditioning": "heads", "hop": 2},
        **{"model_dim": 4, "num_heads": 2, "ff_dim": 4, "context": 4},
    },
    "train": {"epochs": 1, "stream_steps": 2, "batch_size": 4, "shards": 1, "arithmetic": "portable"},
    "evaluate": {"streams": 4, "detail": "scores"},
}


def make_workspace(folder: Path, run: Callable[[Command, Path], subprocess.CompletedProcess[str]]) -> None:
    """A valid file of every kind, small; `run` runs a command in a folder."""
    for name in ("data", "docs", "studies/story", "studies/guide-noise", ".dvc", "plots/evaluate"):
        (folder / name).mkdir(parents=True)
    yaml = YAML()
    content = yaml.load(ROOT / "studies" / "bases" / "fixed.yaml")
    for section, values in SMALL.items():
        content[section].update(values)
    yaml.dump(content, folder / "params.yaml")
    content["data"]["conditions"] = {"drift": 0.01, "coloured": [0.1, 0.2], "clip": [0.5, 1.0], "gap_share": 0.3}
    content["train"]["fresh_noise"] = False
    yaml.dump(content, folder / "conditioned.yaml")
    (folder / ".dvc" / "config").write_text("[core]\n    analytics = false\n", encoding="utf-8")
    (folder / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    for arguments in (("init",), ("add", "."), (*identity, "commit", "--message", "start")):
        subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)
    _make_signals(folder)
    _make_tables(folder)
    conditioned = (GENERATE[0], "--params", "conditioned.yaml", "data/conditioned.h5", "data/other.h5")
    _make_hybrid(folder / "hybrid.safetensors")
    for command in (conditioned, GENERATE, PREPARE, TRAIN, EVALUATE, STATE, HYBRID, BANK):
        done = run(command, folder)
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stderr}")
    _make_studies(folder)
    (folder / "arguments.json").write_text("[]", encoding="utf-8")
    (folder / "plots/evaluate/graph1.png").write_bytes((ROOT / "docs" / "graph2.png").read_bytes()[:20_000])
    (folder / "out.csv").unlink()


def _make_hybrid(path: Path) -> None:
    from networks import metadata

    from tonesift.networks import model as models

    own = {"family": "hybrid", "hop": 2, "hidden_size": 4, "num_layers": 1}
    known = {"frequencies": (), "tones": 2, "tone_range": (1.0, 40.0), "sampling_rate": 100.0, "center": 0.0}
    described = metadata(own, {"stateful": True}, **known)
    models.save(path, models.build(described), described)


def _make_signals(folder: Path) -> None:
    import h5py
    import soundfile

    samples = np.sin(np.arange(120) / 8).astype("f4")
    (folder / "in.csv").write_text("x\n" + "".join(f"{sample:.6f}\n" for sample in samples), encoding="utf-8")
    np.save(folder / "in.npy", samples)
    soundfile.write(folder / "in.wav", samples, 100, subtype="FLOAT")
    with h5py.File(folder / "in.h5", "w") as file:
        file["mixture"] = samples
        file.attrs["sampling_rate"] = 100.0


def _make_tables(folder: Path) -> None:
    studies = ("studies/story/trials.csv", "studies/guide-noise/trials.csv")
    for name in ("docs/guide-claims.yaml", "docs/guide-tables.md", *studies):
        (folder / name).write_bytes((ROOT / name).read_bytes())


def _make_studies(folder: Path) -> None:
    sys.path[:0] = [str(ROOT / "tests" / "dvcsweep")]
    from ledgers import FILE, played

    from dvcsweep.plan.studies import load

    (folder / "studies" / "base.yaml").write_bytes((folder / "params.yaml").read_bytes())
    for name, place in (("demo", folder / ".dvc/tmp/sweeps/demo"), ("kept", folder / "studies/kept")):
        path = folder / "studies" / f"{name}.yaml"
        path.write_text(
            f"base: base.yaml\nobjective: {FILE}:validation.loss\nstrategy: tpe\ntrials: 4\njobs: 2\n"
            "fixed: {train.epochs: 2}\nspace:\n  model.hidden_size: [4, 8]\n"
            "  train.learning_rate: {low: 0.001, high: 0.01, log: true}\n",
            encoding="utf-8",
        )
        study = load(path)
        campaign = played(study, place, lambda made: {"values": [made["train.learning_rate"]]}, study.base)
        for key, value in (("fingerprint", study.fingerprint()), ("code", {}), ("definition", study.definition())):
            campaign.storage.set_study_user_attr(campaign.study_id, key, value)


def words(command: Command, data: bytes) -> Command:
    """The command that a mutated command line is."""
    return (command[0], *json.loads(data))
