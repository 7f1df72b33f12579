"""The shell around commands that are no stages: a mistake is one line and exit status 2, and no wall-clock file."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from tonesift.errors import InputError


def parser(description: str | None) -> argparse.ArgumentParser:
    """Argument parser; the description is the first line of the module's docstring."""
    return argparse.ArgumentParser(description=(description or "").splitlines()[0])


def main(command: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> NoReturn:
    """Run a command and leave the process with its exit status."""
    try:
        command(arguments)
    except (InputError, OSError) as error:
        print(f"{command.__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{command.__name__}: interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)
