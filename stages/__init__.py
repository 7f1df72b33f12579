"""The pipeline's stages, one module each: read arguments and parameters, call `tonesift`, write outputs.

`main` is the shell around all of them. A mistake of the user's is one line for each mistake and exit status 2; Ctrl-C
and a polite kill clean up what is half-written. When a stage succeeded or failed, and what it says of its own time, go
into one file that is no stage's output, because wall-clock figures in an output would change `dvc.lock` at every run.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from tonesift import params
from tonesift.atomic import replacing
from tonesift.errors import InputError

OUT_OF_MEMORY = ("can't allocate memory", "out of memory")  # what PyTorch's errors say, on CPU and CUDA


def parser(description: str | None) -> argparse.ArgumentParser:
    """Argument parser with what every stage takes; the description is the first line of the stage's docstring."""
    made = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    made.add_argument("--params", type=Path, default=Path("params.yaml"), help="parameters (default: %(default)s)")
    made.add_argument("--clock", type=Path, default=Path("metrics/run.json"), help="wall-clock file: %(default)s")
    return made


def settings(path: Path, *sections: str) -> list[Any]:
    """Sections of the parameters, after checking all of them; settings out of their advised range are said.

    Parameters
    ----------
    path : Path
        `params.yaml`.
    *sections : str
        Names of what the stage declares in `dvc.yaml`: sections, or single parameters.
    """
    found = params.load(path, *sections)
    for section in filter(lambda part: isinstance(part, params.Section), found):
        for sentence in params.advice(section):
            print(f"note: {sentence}", file=sys.stderr)
    return found


def main(stage: Callable[[argparse.Namespace], dict[str, Any]], arguments: argparse.Namespace) -> NoReturn:
    """Run a stage and leave the process with its exit status.

    Parameters
    ----------
    stage : callable
        Takes the arguments, gives figures for the wall-clock file, if it has any. Its name is the stage's.
    arguments : argparse.Namespace
        From `parser`.
    """
    name, begin = stage.__name__, time.perf_counter()
    signal.signal(signal.SIGTERM, _leave)
    try:
        figures = stage(arguments)
    except (InputError, OSError) as error:
        _fail(name, str(error), arguments.clock)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in OUT_OF_MEMORY):
            raise
        _fail(name, "out of memory: make the network, the batches or the recordings smaller", arguments.clock)
    except KeyboardInterrupt:
        _record(arguments.clock, {"status": f"{name} interrupted", "finished": _now()})
        print(f"{name}: interrupted; back to the last commit: make undo", file=sys.stderr)
        sys.exit(130)
    seconds = {f"{name}_seconds": round(time.perf_counter() - begin, 2)} if figures else {}
    _record(arguments.clock, {"status": "success", "finished": _now(), **seconds, **figures})
    sys.exit(0)


def _fail(name: str, reason: str, clock: Path) -> NoReturn:
    _record(clock, {"status": f"{name} failed: {reason.splitlines()[0]}", "finished": _now()})
    print(f"{name}: {reason}", file=sys.stderr)
    sys.exit(2)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    with replacing(path) as aside:
        aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _record(path: Path, entries: dict[str, Any]) -> None:
    try:
        before = json.loads(path.read_text(encoding="utf-8"))["run"]
    except (OSError, ValueError, KeyError, TypeError):
        before = {}
    try:
        write_json(path, {"run": {**before, **entries}})
    except (OSError, InputError) as error:
        print(f"note: {error}", file=sys.stderr)


def _leave(*_: object) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
