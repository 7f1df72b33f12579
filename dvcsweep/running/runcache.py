"""DVC's command line, with a run-cache that tells every parameter apart.

python -m dvcsweep.running.runcache repro

DVC leaves the sizes of files out of the key of its run-cache, by the names `size` and `nfiles`, and with them a
parameter of such a name in a section that a stage tracks as a whole: the first result would be taken for every value.
Here only files lose their sizes. Keys of other stages are DVC's own, so that what it has cached is found.
"""

import sys
from collections.abc import Sequence
from typing import Any

SIZES = ("size", "nfiles")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command of DVC's."""
    import dvc.stage.cache
    from dvc.cli import main as run

    if not hasattr(dvc.stage.cache, "_get_cache_hash"):
        raise RuntimeError("this version of DVC has no _get_cache_hash, by which its run-cache would be mended")
    dvc.stage.cache._get_cache_hash = digest
    return run(None if arguments is None else list(arguments))


def digest(cache: dict[str, Any], key: bool = False) -> str:
    """Digest of an entry of the run-cache; as a key, of what a stage is run on and the names of what it makes."""
    from dvc.utils import dict_sha256

    if key:
        cache["outs"] = [out["path"] for out in cache.get("outs", [])]
    files = {kind: _without_sizes(cache[kind]) for kind in ("deps", "outs") if kind in cache}
    return dict_sha256({**cache, **files})


def _without_sizes(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _without_sizes(value) for name, value in content.items() if name not in SIZES}
    return [_without_sizes(entry) for entry in content] if isinstance(content, list) else content


if __name__ == "__main__":
    sys.exit(main())
