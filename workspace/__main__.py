"""The workspace beside the last commit.

python -m workspace ready
python -m workspace verdict [PIPELINE]
python -m workspace undo
"""

import argparse
import sys
from collections.abc import Sequence

from workspace import undo, verdict
from workspace.repository import WorkspaceError, head


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m workspace", description=__doc__.splitlines()[0])
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, action, text in (
        ("ready", ready, "say what DVC lacks here, if anything"),
        ("verdict", verdict.run, "say whether the outputs are the committed bits, and if not, what differs"),
        ("undo", undo.run, "bring parameters, dvc.lock and all outputs back to the last commit"),
    ):
        commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.").set_defaults(action=action)
    beside = commands.choices["verdict"]
    beside.add_argument("pipeline", nargs="?", default=verdict.PIPELINE, help="a dvc.yaml (default: %(default)s)")
    return top


def ready() -> int:
    """0 where there is a commit that Git lets one read; otherwise `head` raises."""
    head()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command: 0 where the outputs are the committed bits, 1 where they are not, 2 where nothing can be told."""
    chosen = parser().parse_args(arguments)
    try:
        return chosen.action(**{key: value for key, value in vars(chosen).items() if key != "action"})
    except (WorkspaceError, OSError) as error:
        print(f"workspace: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("workspace: stopped; `make undo` begins again", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
