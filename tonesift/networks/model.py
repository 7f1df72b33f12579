"""The network, a family's body and a linear head, or several averaged; and its file, which runs no code when loaded.

At each step it reads `hop` samples of the mixture and gives the same `hop` samples of the tones: of one tone, which a
one-hot selector in the input names, or of all of them at once (`conditioning`). If its family is causal, the first
sample of a step waits for the last one, so its latency is `hop` samples. A family that corrects filters (`hybrid`)
reads a frame of what they know of a tone instead, and gives that tone; with 'heads' frames of all tones.

A model file is safetensors with one metadata entry, JSON with sorted keys: the order of several entries varies.
"""

import hashlib
import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tonesift.atomic import replacing
from tonesift.errors import InputError
from tonesift.families import COMMON, FAMILIES
from tonesift.frame import FRAME, wide
from tonesift.metadata import Metadata, read_metadata
from tonesift.networks import hybrid
from tonesift.networks.base import Body, DropoutMasks, Linear, State, draw_uniform

FORMAT = "tonesift model"
VERSION = 3


def make_body(family: str, inputs: int, options: dict[str, Any]) -> Body:
    """Body of a family for so many features; of the options those that it takes."""
    chosen = {name: options[name] for name in (*COMMON, *FAMILIES[family].options)}
    return import_module(f"tonesift.networks.{family}").Body(inputs, **chosen)


class Network(nn.Module):
    """Network that maps frames of a mixture to the same frames of its tones.

    Parameters
    ----------
    tones : int
        K, the number of tones in a mixture.
    family : str
        Key of `tonesift.families.FAMILIES`.
    conditioning : {'selector', 'heads'}
        'selector': the input names the tone wanted, one-hot, and the output is that tone; 'heads': the output is all K
        tones.
    hop : int
        Samples in a frame, read and given at each step.
    **options
        Section `model` of the parameters; each family takes those that are its own.

    Attributes
    ----------
    inputs, outputs : int
        Features at each step: hop + K in and hop out with a selector, hop in and K hop out (tone by tone) with heads.
    frame : int
        Numbers read of a recording at each step: hop samples, or what filters know of the tones that it gives.
    front : bool
        Whether it corrects filters.
    """

    def __init__(self, tones: int, family: str, conditioning: str, hop: int, **options: Any) -> None:
        super().__init__()
        self.tones, self.family, self.conditioning, self.hop = tones, family, conditioning, hop
        self.front = FAMILIES[family].front
        given = 1 if self.selects else tones
        self.frame = (FRAME if self.selects else tones * wide(hop)) if self.front else hop
        self.inputs = self.frame + (tones if self.selects and not self.front else 0)
        self.outputs = hop * given
        read = hybrid.inputs(tones, hop, self.selects) if self.front else self.inputs
        self.body = make_body(family, read, options)
        self.head = Linear(self.body.width, hybrid.CORRECTIONS * given if self.front else self.outputs)

    @property
    def label(self) -> str:
        """What it is called in tables."""
        return ("" if self.causal else "Bidirectional ") + FAMILIES[self.family].label

    @property
    def causal(self) -> bool:
        """Whether what it gives depends on the step and earlier ones only."""
        return self.body.causal

    @property
    def selects(self) -> bool:
        """Whether a selector in the input names the tone wanted."""
        return self.conditioning == "selector"

    @property
    def examples(self) -> int:
        """Examples that a segment of the mixture makes: one for each tone, or one for all of them."""
        return self.tones if self.selects else 1

    @property
    def members(self) -> "list[Network]":
        """The networks whose outputs are averaged: itself."""
        return [self]

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight: the body's as its family does, the head's from U(-1/sqrt(width), 1/sqrt(width)).

        One that corrects filters begins with their estimate: its head is zero.
        """
        self.body.initialise(generator)
        if self.front:
            for parameter in self.head.parameters():
                nn.init.zeros_(parameter)
            return
        draw_uniform(list(self.head.parameters()), self.head.in_features**-0.5, generator)

    def forward(
        self, features: Tensor, state: State | None = None, masks: DropoutMasks | None = None
    ) -> tuple[Tensor, State]:
        """Frames of the tones at each step, and the state to go on from.

        Parameters
        ----------
        features : Tensor, shape (L, B, inputs)
            Steps, sequences, features; made by `features`.
        state : State, optional
            Where each sequence goes on; it begins without it.
        masks : DropoutMasks, optional
            Source of dropout masks; without it nothing is dropped.

        Returns
        -------
        output : Tensor, shape (L, B, outputs)
        state : State
            After the last step; empty if the network is not causal.
        """
        if self.front:
            return self._corrected(features, state, masks)
        hidden, after = self.body(features, state, masks)
        return self.head(hidden), after

    def _corrected(self, frames: Tensor, state: State | None, masks: DropoutMasks | None) -> tuple[Tensor, State]:
        """What the filters say, corrected: of a tone, or of all of them."""
        if self.selects:
            hidden, after = self.body(hybrid.read(frames), state, masks)
            return hybrid.correct(frames, self.head(hidden).float(), self.hop), after
        rows = frames.unflatten(-1, (self.tones, -1))
        hidden, after = self.body(hybrid.read_together(rows), state, masks)
        corrections = self.head(hidden).float().unflatten(-1, (self.tones, -1))
        return hybrid.correct(rows, corrections, self.hop).flatten(-2), after

    def features(self, frames: Tensor, wanted: Tensor) -> Tensor:
        """Network input (L, B, inputs) of frames (L, B, frame); `wanted` (B,) is the tone each is to give."""
        if self.front or not self.selects:
            return frames
        selector = nn.functional.one_hot(wanted, self.tones).to(frames.dtype)
        return torch.cat([frames, selector.expand(frames.shape[0], -1, -1)], dim=-1)

    def layers_in_order(self) -> list[nn.Module]:
        """The parts that learn, from the input to the output."""
        return [*self.body.layers_in_order(), self.head]


class Ensemble(nn.Module):
    """Networks of one shape whose outputs are averaged: used like one of them.

    Parameters
    ----------
    networks : sequence of Network
        At least one.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        first = networks[0]
        self.tones, self.conditioning, self.hop = first.tones, first.conditioning, first.hop
        self.selects, self.examples, self.causal = first.selects, first.examples, first.causal
        self.inputs, self.outputs, self.features = first.inputs, first.outputs, first.features
        self.front, self.frame = first.front, first.frame

    @property
    def label(self) -> str:
        """What it is called in tables."""
        return f"{self.networks[0].label}, mean of {len(self.networks)}"

    @property
    def members(self) -> list[Network]:
        """The networks whose outputs are averaged."""
        return list(self.networks)

    def forward(
        self, features: Tensor, state: State | None = None, masks: DropoutMasks | None = None
    ) -> tuple[Tensor, State]:
        """As for `Network`; the state is that of one after the other."""
        each = len(state) // len(self.networks) if state else 0
        before = [state[n * each : (n + 1) * each] if state else None for n in range(len(self.networks))]
        done = [network(features, start, masks) for network, start in zip(self.networks, before, strict=True)]
        mean = sum(output for output, _ in done) / len(done)
        return mean, [part for _, after in done for part in after]


Model = Network | Ensemble


def count(model: Model) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def build(metadata: Metadata) -> Model:
    """Network, or ensemble, as a model file describes it, its weights not set."""
    count = metadata.train.ensemble
    networks = [Network(metadata.count, **metadata.model.model_dump()) for _ in range(count)]
    return networks[0] if count == 1 else Ensemble(networks)


def save(path: str | Path, model: Model, metadata: Metadata) -> str:
    """Write weights and metadata to a safetensors file, replaced only once the new one is whole.

    Parameters
    ----------
    path : str or Path
        File to write.
    model : Network or Ensemble
        Its weights are stored as they are, in float32.
    metadata : Metadata
        What is said of it.

    Returns
    -------
    str
        The file's `digest`.
    """
    content = {"format": FORMAT, "version": VERSION, **metadata.as_json()}
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with replacing(path) as aside:
        try:
            save_file(weights, aside, metadata={"tonesift": json.dumps(content, sort_keys=True)})
        except SafetensorError as error:
            raise InputError(f"{path}: cannot be written ({error}): is the disk full?") from error
    return digest(path)


def digest(path: str | Path) -> str:
    """First 12 digits of a file's MD5, by which `dvc.lock` names it too."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()[:12]


def load(path: str | Path) -> tuple[Model, Metadata]:
    """Read a model file: the network, ready to use on the CPU, and what is said of it.

    Raises
    ------
    InputError
        If the file is missing, damaged, not a tonesift model or of another version.
    """
    path = Path(path)
    remedy = _remedy(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file: {remedy}")
    try:
        with safe_open(path, framework="pt") as file:
            content = json.loads((file.metadata() or {}).get("tonesift", "{}"))
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (not a dict)
            if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (FORMAT, VERSION):
                raise InputError(f"{path}: not a tonesift model of version {VERSION}: {remedy}")
            metadata = read_metadata(content, path, remedy)
            if not _fits(metadata, shapes):
                raise InputError(f"{path}: its weights and its own configuration do not fit: {remedy}")
            weights = {name: file.get_tensor(name) for name in shapes}
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a whole safetensors file ({_first_line(error)}): {remedy}") from error
    for name, weight in weights.items():
        if weight.dtype != torch.float32 or not weight.isfinite().all():
            raise InputError(f"{path}: damaged ({name} holds what is no finite float32 number): {remedy}")
    model = build(metadata)
    model.load_state_dict(weights)
    return model, metadata


def _remedy(path: Path) -> str:
    """What helps where a model file is damaged or missing: one of a pipeline can be made, others are the user's."""
    folder = path.parent.parent
    if path != folder / "models" / "model.safetensors" or not (folder / "dvc.yaml").is_file():
        return "give a --model that is whole; tones of known frequency need none: --tones 50,100"
    if folder == Path():
        return "train it with `dvc repro train`, or bring the committed one back with `make undo`"
    return f"train it with `dvc repro {folder}/dvc.yaml`"


def _fits(metadata: Metadata, shapes: dict[str, tuple[int, ...]]) -> bool:
    """Whether weights have the shapes of the network described: asked before anything of that size is made."""
    if metadata.train.ensemble * metadata.model.num_layers > len(shapes):
        return False
    try:
        with torch.device("meta"):  # shapes without values
            expected = build(metadata).state_dict()
    except (InputError, RuntimeError, TypeError):  # of an option that its family cannot have
        return False
    return shapes == {name: tuple(weight.shape) for name, weight in expected.items()}


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
