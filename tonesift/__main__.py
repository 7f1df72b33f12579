"""Use a trained model on signals of one's own.

python -m tonesift filter recording.wav --model models/model.safetensors -o tones.wav
sensor | python -m tonesift filter - -o -
"""

import argparse
import os
import signal
import sys
from typing import NoReturn

from tonesift.errors import InputError
from tonesift.streaming import command


def main() -> NoReturn:
    """Run the command named on the command line; a user's mistake is one line and exit status 1."""
    parser = argparse.ArgumentParser(prog="python -m tonesift", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command.add_arguments(commands.add_parser("filter", help="take the tones out of a mixture, sample by sample"))
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        command.run(arguments)
    except BrokenPipeError:  # whoever read the tones has had enough
        _leave(0)
    except (InputError, OSError) as error:
        print(f"filter: {error}", file=sys.stderr)
        _leave(1)
    except KeyboardInterrupt:
        print("filter: interrupted", file=sys.stderr)
        _leave(130)
    sys.exit(0)


def _leave(status: int) -> NoReturn:
    """Exit without another attempt to write what is left for standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


if __name__ == "__main__":
    main()
