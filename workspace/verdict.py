"""Whether the outputs here are the committed bits.

`dvc.lock` holds the MD5 of every output, and Git the lock of every commit, so there is nothing to keep by hand. Where
outputs differ, so does something that decides them: parameters and code, by the two locks, or what the run's clock file
says of the machine.
"""

import json
from pathlib import Path, PurePosixPath
from typing import Any

from workspace.repository import WorkspaceError, committed, git, last_commit, md5, outputs, stages

PIPELINE = "dvc.yaml"
MACHINE = ("arithmetic", "torch", "processor")


def run(pipeline: str = PIPELINE) -> int:
    """Print the verdict on a pipeline; 0 if all its outputs are as committed."""
    folder = PurePosixPath(pipeline).parent
    path, clock = str(folder / "dvc.lock"), str(folder / "metrics/run.json")
    commit, before = last_commit(path)
    now = stages(text_of(path))
    if not now:
        back = "make undo" if pipeline == PIPELINE else f"git restore {path}"
        raise WorkspaceError(f"{path} is missing or not readable here: {back} brings the committed one back")
    ours, theirs = outputs(now), outputs(before)
    differing = sorted({*unlike(theirs), *(ours.keys() - theirs.keys())})
    if not differing:
        print(f"The committed bits: all {len(theirs)} outputs are as {path} has them at {commit}.")
    else:
        print(f"Not the committed bits: {len(differing)} of {len(theirs)} outputs differ from {path} at {commit}:")
        print(f"  {', '.join(differing)}")
        print("What differs with them:")
        print(*(f"  {reason}" for reason in reasons(before, now, clock)), sep="\n")
        if pipeline == PIPELINE:
            print("Back to the committed ones: make undo")
    if git("rev-parse", "--is-shallow-repository", check=False) == "true":
        print("A shallow clone: diffs reach no older commit before `git fetch --unshallow`.")
    return 1 if differing else 0


def unlike(outs: dict[str, str]) -> list[str]:
    """Outputs that are missing, or other than these MD5."""
    return sorted(path for path, digest in outs.items() if md5(Path(path)) != digest)


def text_of(path: str) -> str | None:
    """Text of a file, whatever its bytes; None where there is none."""
    return Path(path).read_text(encoding="utf-8", errors="replace") if Path(path).is_file() else None


def reasons(before: dict[str, Any], now: dict[str, Any], clock: str) -> list[str]:
    """What decides outputs and is not as it was at the commit, a line each."""
    made = set(outputs(before)) | set(outputs(now))
    found = []
    for name in before | now:
        one, other = (lock.get(name, {}) for lock in (before, now))
        found += [f"{key}: {old!r} -> {new!r}" for key, old, new in changes(parameters(one), parameters(other))]
        code = [
            {dep["path"]: dep.get("md5") for dep in stage.get("deps", []) if dep["path"] not in made}
            for stage in (one, other)
        ]
        found += [path for path, _, _ in changes(*code)]
        if one.get("cmd") != other.get("cmd"):
            found.append(f"the command of stage {name}")
    then, here = machine(committed(clock)), machine(text_of(clock))
    found += [f"{key}: {old} -> {new}" for key, old, new in changes(then, here)]
    return list(dict.fromkeys(found)) or ["nothing that is known: outputs were changed, or are missing"]


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Keys whose values differ, with both."""
    return [(key, before.get(key), now.get(key)) for key in before | now if before.get(key) != now.get(key)]


def parameters(stage: dict[str, Any]) -> dict[str, Any]:
    """Parameters of a stage in a lock, by keys with dots."""
    return {key: value for file in stage.get("params", {}).values() for key, value in flat(file).items()}


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Mappings in each other as one, its keys joined by dots."""
    found = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def machine(text: str | None) -> dict[str, str]:
    """What a clock file says of the machine that trained."""
    try:
        run = json.loads(text or "")["run"]
        return {key: run[key] for key in MACHINE if key in run}
    except (ValueError, KeyError, TypeError):
        return {}
