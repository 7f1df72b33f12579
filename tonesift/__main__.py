"""Use a trained model on signals of one's own.

python -m tonesift filter recording.wav --model models/model.safetensors -o tones.wav
sensor | python -m tonesift filter - --rate 1000 -o -
"""

import argparse
import os
import signal
import sys
from typing import NoReturn

from tonesift.errors import InputError


def main() -> NoReturn:
    """Run the command named on the command line; a user's mistake is one line and exit status 2."""
    _occupy_closed()
    heed = signal.getsignal(signal.SIGINT)
    if heed == signal.default_int_handler:  # PyTorch takes a second to import: Ctrl-C then simply ends the process
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from tonesift.streaming import command

    parser = argparse.ArgumentParser(prog="python -m tonesift", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command.add_arguments(commands.add_parser("filter", help="take the tones out of a mixture, sample by sample"))
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, heed)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        status = command.run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
        sys.exit(status)
    except BrokenPipeError:  # whoever read the tones has had enough
        _leave(0)
    except (InputError, OSError) as error:
        print(f"filter: {error}", file=sys.stderr)
        _leave(2)
    except KeyboardInterrupt:
        print("filter: interrupted", file=sys.stderr)
        _leave(130)


def _occupy_closed() -> None:
    """Keep files from being opened in the place of a standard stream that the caller closed."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 (as long as the process lives)


def _leave(status: int) -> NoReturn:
    """Exit without another attempt to write what is left for standard output."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


if __name__ == "__main__":
    main()
