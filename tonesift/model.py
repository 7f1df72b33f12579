"""The network: stacked LSTM layers, dropout behind each, a linear head; and its file, which runs no code when loaded.

At each step it reads `hop` samples of the mixture and gives the same `hop` samples of the tones: of one tone, which a
one-hot selector in the input names, or of all of them at once (`conditioning`). It is causal; the first sample of a
step waits for the last one, so its latency is `hop` samples.

Everything random takes a generator: `torch.nn.LSTM`'s own dropout draws from the process-wide one, which is a race as
soon as two threads train, so the layers are single ones with dropout of ours between them.

A model file is safetensors with one metadata entry, JSON with sorted keys: the order of several entries varies.
"""

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tonesift.atomic import replacing
from tonesift.errors import InputError

FORMAT = "tonesift model"
VERSION = 2
State = list[tuple[Tensor, Tensor]]  # for each layer its output and its cell, shapes (1, B, hidden_size)


class ToneLSTM(nn.Module):
    """Stacked LSTM that maps frames of a mixture to the same frames of its tones.

    Parameters
    ----------
    tones : int
        K, the number of tones in a mixture.
    hidden_size, num_layers : int
        Units in each layer; number of layers.
    dropout : float
        Share of each layer's outputs dropped in training.
    conditioning : {'selector', 'heads'}
        'selector': the input names the tone wanted, one-hot, and the output is that tone; 'heads': the output is all K
        tones.
    hop : int
        Samples in a frame, read and given at each step.

    Attributes
    ----------
    inputs, outputs : int
        Features at each step: hop + K in and hop out with a selector, hop in and K hop out (tone by tone) with heads.
    """

    def __init__(
        self,
        tones: int,
        hidden_size: int,
        num_layers: int,
        dropout: float,
        conditioning: str = "selector",
        hop: int = 1,
    ) -> None:
        super().__init__()
        self.tones, self.dropout, self.conditioning, self.hop = tones, dropout, conditioning, hop
        self.inputs = hop + (tones if self.selects else 0)
        self.outputs = hop * (1 if self.selects else tones)
        sizes = [self.inputs] + [hidden_size] * num_layers
        self.layers = nn.ModuleList(nn.LSTM(inputs, hidden_size) for inputs in sizes[:-1])
        self.head = nn.Linear(hidden_size, self.outputs)

    @property
    def selects(self) -> bool:
        """Whether a selector in the input names the tone wanted."""
        return self.conditioning == "selector"

    @property
    def examples(self) -> int:
        """Examples that a stretch of the mixture makes: one for each tone, or one for all of them."""
        return self.tones if self.selects else 1

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight and bias from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)), PyTorch's own choice."""
        bound = self.head.in_features**-0.5
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-bound, bound, generator=generator)

    def forward(
        self, features: Tensor, state: State | None = None, masks: "DropoutMasks | None" = None
    ) -> tuple[Tensor, State]:
        """Frames of the tones at each step, and the state to go on from.

        Parameters
        ----------
        features : Tensor, shape (L, B, inputs)
            Steps, sequences, features; made by `features`.
        state : State, optional
            Where each sequence goes on; zeros without it.
        masks : DropoutMasks, optional
            Source of dropout masks; without it nothing is dropped.

        Returns
        -------
        output : Tensor, shape (L, B, outputs)
        state : State
            After the last step.
        """
        hidden, after = features, []
        for layer, before in zip(self.layers, state or [None] * len(self.layers), strict=True):
            hidden, reached = layer(hidden, before)
            after.append(reached)
            if masks is not None and self.dropout > 0:
                hidden = hidden * masks(hidden.shape, self.dropout)
        return self.head(hidden), after

    def features(self, frames: Tensor, wanted: Tensor) -> Tensor:
        """Network input (L, B, inputs) of frames of mixtures (L, B, hop); `wanted` (B,) is the tone each is to give."""
        if not self.selects:
            return frames
        selector = nn.functional.one_hot(wanted, self.tones).to(frames.dtype)
        return torch.cat([frames, selector.expand(frames.shape[0], -1, -1)], dim=-1)


class DropoutMasks:
    """Source of dropout masks with random numbers of its own.

    Parameters
    ----------
    seed : numpy.random.SeedSequence
        Where its random numbers begin.
    device : torch.device
        Where the masks are wanted.

    Notes
    -----
    On a CPU the bits come from NumPy: a mask takes a third of the time of PyTorch's generator and comparison, and a
    tenth of `Tensor.bernoulli_`, which would be a tenth of a training step.
    """

    def __init__(self, seed: np.random.SeedSequence, device: torch.device) -> None:
        self._bits = np.random.SFC64(seed) if device.type == "cpu" else None
        self._generator = torch_generator(seed, device)
        self._device = device

    def __call__(self, shape: torch.Size, share: float) -> Tensor:
        """Mask of 0, with probability `share` (on a CPU to the nearest 1/65536), and 1 / (1 - share)."""
        kept = np.float32(1 / (1 - share))
        if self._bits is None:
            drawn = torch.rand(shape, generator=self._generator, device=self._device)
            return (drawn >= share).float().mul_(float(kept))
        size = shape.numel()
        lanes = self._bits.random_raw(-(-size // 4)).view(np.uint16)[:size]
        return torch.from_numpy(np.multiply(lanes >= round(share * 2**16), kept)).view(shape)


def torch_generator(seed: np.random.SeedSequence, device: torch.device) -> torch.Generator:
    """PyTorch generator on `device`, begun from `seed`."""
    return torch.Generator(device).manual_seed(int(seed.generate_state(1, np.uint64)[0]))


def build_facts() -> dict[str, str]:
    """What decides the bits of a training run beyond its parameters: PyTorch's build and the kind of processor."""
    capability = torch.backends.cpu.get_cpu_capability()
    return {"torch": torch.__version__, "processor": f"{platform.machine()} {capability}"}


def save(path: str | Path, model: ToneLSTM, facts: dict[str, Any]) -> str:
    """Write weights and facts to a safetensors file, replaced only once the new one is whole.

    Parameters
    ----------
    path : str or Path
        File to write.
    model : ToneLSTM
        Its weights are stored as they are, in float32.
    facts : dict
        JSON-ready configuration and sampling facts, with at least `frequencies` (Hz) and `model` (keyword arguments of
        ToneLSTM but for `tones`).

    Returns
    -------
    str
        The file's `digest`.
    """
    content = {"format": FORMAT, "version": VERSION, **facts}
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


def load(path: str | Path) -> tuple[ToneLSTM, dict[str, Any]]:
    """Read a model file: the network, ready to use on the CPU, and its facts.

    Raises
    ------
    InputError
        If the file is missing, damaged, not a tonesift model or of another version.
    """
    path = Path(path)
    remedy = "train it with `dvc repro train`, or fetch it with `dvc checkout` or `dvc pull`"
    if not path.is_file():
        raise InputError(f"{path}: no such file: {remedy}")
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("tonesift", "{}"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({str(error).splitlines()[0]}): {remedy}") from error
    if facts.get("format") != FORMAT or facts.get("version") != VERSION:
        raise InputError(f"{path}: not a tonesift model of version {VERSION}: {remedy}")
    try:
        model = ToneLSTM(len(facts["frequencies"]), **facts["model"])
        model.load_state_dict(weights)
    except (KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{path}: its weights and its own configuration do not fit: {remedy}") from error
    return model, facts
