"""Families of networks: each is one module of `tonesift.networks` and one entry here.

A module holds a class `Body` (what `tonesift.networks.base` asks of it) and is imported only when its family is asked
for; this file imports no PyTorch, since checking parameters must not wait for it.
"""

from typing import NamedTuple


class Family(NamedTuple):
    """What is known of a family without importing it.

    Attributes
    ----------
    label : str
        As it is written in tables.
    options : tuple of str
        Parameters of section `model` that shape it, the width first, beside those of every network. Its `Body`
        takes them.
    refuses : tuple of str
        Parameters that it would ignore although a user who sets them expects an effect: refused unless off.
    front : bool
        Whether it reads what filters know of each tone (`tonesift.frame`) in place of samples, and corrects them.
    """

    label: str
    options: tuple[str, ...]
    refuses: tuple[str, ...] = ()
    front: bool = False

    @property
    def width(self) -> str:
        """The parameter that says how wide its layers are."""
        return self.options[0]


COMMON = ("num_layers", "dropout")  # options of every family
RECURRENT = ("bidirectional", "recurrent_dropout")

FAMILIES = {
    "lstm": Family("LSTM", ("hidden_size", "layer_norm", "memory", *RECURRENT)),
    "gru": Family("GRU", ("hidden_size", "layer_norm", "memory", *RECURRENT)),
    "transformer": Family(
        "Transformer",
        ("model_dim", "num_heads", "ff_dim", "positions", "context"),
        ("layer_norm", "memory", *RECURRENT),
    ),
    "tcn": Family("TCN", ("hidden_size", "kernel_size", "layer_norm"), ("memory", *RECURRENT)),
    "hybrid": Family(
        "Hybrid", ("hidden_size", "layer_norm", "recurrent_dropout"), ("bidirectional", "memory"), front=True
    ),
}
