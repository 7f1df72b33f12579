"""Networks: what families share, one module for each family, and the model file."""

from importlib.util import find_spec

from tonesift.errors import InputError

if find_spec("torch") is None:  # the filter is installed without it, too
    raise InputError("networks need PyTorch, which is not installed: pip install torch safetensors")
