"""The network: stacked LSTM layers, dropout behind each, a linear head; and its file, which runs no code when loaded.

Input at each step is the mixture sample and a one-hot selector of the tone wanted, output the wanted tone's sample.
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
VERSION = 1


class ToneLSTM(nn.Module):
    """Stacked LSTM that maps a mixture and a selector to the selected tone, sample by sample.

    Parameters
    ----------
    tones : int
        K, the number of tones to choose from; the input has 1 + K features.
    hidden_size, num_layers : int
        Units in each layer; number of layers.
    dropout : float
        Share of each layer's outputs dropped in training.
    """

    def __init__(self, tones: int, hidden_size: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        sizes = [1 + tones] + [hidden_size] * num_layers
        self.layers = nn.ModuleList(nn.LSTM(inputs, hidden_size) for inputs in sizes[:-1])
        self.head = nn.Linear(hidden_size, 1)
        self.dropout = dropout

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight and bias from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)), PyTorch's own choice."""
        bound = self.head.in_features**-0.5
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-bound, bound, generator=generator)

    def forward(self, features: Tensor, masks: "DropoutMasks | None" = None) -> Tensor:
        """Selected tone at each step of each sequence, every sequence from a reset state.

        Parameters
        ----------
        features : Tensor, shape (L, B, 1 + K)
            Steps, sequences, features.
        masks : DropoutMasks, optional
            Source of dropout masks; without it nothing is dropped.

        Returns
        -------
        Tensor, shape (L, B)
        """
        hidden = features
        for layer in self.layers:
            hidden, _ = layer(hidden)
            if masks is not None and self.dropout > 0:
                hidden = hidden * masks(hidden.shape, self.dropout)
        return self.head(hidden).squeeze(-1)


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


def features(mixture: Tensor, tones: Tensor, count: int) -> Tensor:
    """Mixture samples (L, B) and the wanted tone of each sequence (B,) as network input (L, B, 1 + count)."""
    selector = nn.functional.one_hot(tones, count).to(mixture.dtype)
    return torch.cat([mixture.unsqueeze(-1), selector.expand(mixture.shape[0], -1, -1)], dim=-1)


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
