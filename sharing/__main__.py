"""Whether a DVC remote is whole.

python -m sharing check
"""

import argparse
import sys
from collections.abc import Sequence

from sharing.errors import SharingError
from sharing.remote import Findings, Remote

EXAMPLES = """\
examples:
  python -m sharing check                       read every object of the default remote
  python -m sharing check --remote archive
  python -m sharing check --repair              and upload damaged and missing ones again, from this clone's cache
"""


def _check(arguments: argparse.Namespace) -> int:
    remote = Remote(".", arguments.remote)
    findings = remote.check()
    left = []
    for fault in findings.faults:
        mended = arguments.repair and remote.repair(fault)
        print(f"{fault}  mended" if mended else fault)
        left += [] if mended else [fault]
    print(_in_words(remote.name, findings, len(left), arguments.repair))
    return 1 if left else 0


def _in_words(name: str, findings: Findings, left: int, repair: bool) -> str:
    kinds = [fault.kind for fault in findings.faults]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("damaged", "missing"))
    said = f"{name}: {findings.count} objects, {findings.size / 1e6:.1f} MB read; {counts}"
    if not left:
        return f"{said}; all mended" if kinds else said
    if repair:
        return f"{said}; {left} of them not in this clone's cache either: repair from a clone that has them"
    return f"{said}; from a clone that has them: python -m sharing check --repair"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m sharing",
        description="Whether a DVC remote is whole.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    text = "read every object of a remote and name damaged and missing ones"
    check = commands.add_parser("check", help=text, description=f"{text[0].upper()}{text[1:]}.")
    check.add_argument("--remote", metavar="NAME", help="the remote (the default one)")
    check.add_argument("--repair", action="store_true", help="upload those again that this clone's cache has")
    check.set_defaults(action=_check)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command: 0 where all is well, 1 where something is damaged or missing, 2 where it cannot be told."""
    chosen = parser().parse_args(arguments)
    try:
        return chosen.action(chosen)
    except SharingError as error:
        print(f"sharing: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sharing: stopped; nothing there is worse than it was", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
