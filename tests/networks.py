"""Networks for tests, and the section of the parameters that describes them."""

from tonesift.model import Network

SMALL = {
    "family": "lstm",
    "num_layers": 2,
    "dropout": 0.2,
    "conditioning": "selector",
    "hop": 1,
    "hidden_size": 8,
    "layer_norm": False,
    "bidirectional": False,
    "recurrent_dropout": 0.0,
    "model_dim": 8,
    "num_heads": 2,
    "ff_dim": 12,
    "positions": "rotary",
    "context": 6,
    "kernel_size": 3,
}


def network(tones, kind=Network, **changes):
    """A small LSTM, but for the changes."""
    return kind(tones, **(SMALL | changes))


def lstm(tones, hidden, layers, dropout, conditioning="selector", hop=1, kind=Network):
    """An LSTM of a shape."""
    shape = {"hidden_size": hidden, "num_layers": layers, "dropout": dropout}
    return network(tones, kind, **shape, conditioning=conditioning, hop=hop)
