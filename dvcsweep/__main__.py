"""Searches over DVC experiments.

python -m dvcsweep run studies/quick.yaml
"""

import argparse
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dvcsweep.commands import clean, enqueue, locate, promote, status, watch
from dvcsweep.errors import StudyError
from dvcsweep.plan.studies import Study, load
from dvcsweep.record import campaigns
from dvcsweep.record.ledger import Campaign
from dvcsweep.repository import Repository
from dvcsweep.results import winner
from dvcsweep.running import driver
from dvcsweep.running.search import Options
from dvcsweep.wording import printable

EXAMPLES = """\
examples:
  python -m dvcsweep run studies/quick.yaml                  run a search, or go on with it
  python -m dvcsweep run studies/tpe.yaml --jobs 2 --time 1h
  python -m dvcsweep run studies/tpe.yaml --confirm 3 --seeds 5
  python -m dvcsweep run studies/grid.yaml --ray 10.0.0.1:6379         on the nodes of a Ray cluster
  python -m dvcsweep enqueue studies/grid.yaml && dvc queue start --jobs 2
  python -m dvcsweep status                                  every study of studies/ that has been run
  python -m dvcsweep watch studies/quick.yaml                from a second terminal
  python -m dvcsweep report studies/quick.yaml --where 'train.r2>0.5'
  python -m dvcsweep best studies/quick.yaml
  python -m dvcsweep promote studies/quick.yaml              the winner into params.yaml, run, ready to commit
  python -m dvcsweep replay studies/fixed.yaml --prune median   would a rule have stopped the winner?
  python -m dvcsweep clean studies/quick.yaml

exit status: 0 all trials asked for are complete (or the command did its work); 1 some failed or were not run;
2 refused, and nothing was changed; 130 interrupted: the same command goes on.
"""


@dataclass(frozen=True)
class _Place:
    """A study file, loaded, and the repository it is in."""

    path: Path
    study: Study
    repository: Repository

    @classmethod
    def of(cls, path: Path) -> "_Place":
        study = load(path)
        return cls(path.resolve(), study, Repository.around(path.resolve().parent))

    @property
    def shown(self) -> str:
        """The study file, to be typed from here."""
        return shlex.quote(os.path.relpath(self.path))

    def campaign(self) -> Campaign:
        if count := locate.unwritten(self.study, self.repository, self.path):
            run = f"python -m dvcsweep run {self.shown}"
            _warn(
                f"{count} experiments of study {self.study.name} are in no ledger: `{run} --take-over` writes them "
                f"down, `{run}` also runs what is missing"
            )
        return locate.locate(self.study, self.repository, self.path)


def _warn(text: str) -> None:
    print(f"dvcsweep: {printable(text)}", file=sys.stderr)


def _run(arguments: argparse.Namespace) -> int:
    place = _Place.of(arguments.study)
    options = Options(
        arguments.jobs, arguments.trials, arguments.time, arguments.retry_failed, take_over=arguments.take_over
    )
    if arguments.confirm:
        from dvcsweep.commands import confirm

        confirm.check(place.study, place.path, arguments.seeds)
    if arguments.ray:
        from dvcsweep.running import cluster

        address = cluster.Address(arguments.ray, arguments.git_remote, arguments.dvc_remote, arguments.patience)
        options = replace(options, workers=address.workers)
    _, campaign, status = driver.run_study(place.study, place.repository, place.path, options)
    if not arguments.no_report:
        _publish(place, campaign)
    if arguments.confirm and not all(trial.finished for trial in campaign.trials()):
        print("not confirmed, since the search is not complete")
    elif arguments.confirm:
        _confirm(place, campaign, arguments, options)
    return status


def _confirm(place: _Place, campaign: Campaign, arguments: argparse.Namespace, options: Options) -> None:
    from dvcsweep.commands import confirm

    again, table = confirm.confirm(
        place.study, campaign, place.repository, place.path, arguments.confirm, arguments.seeds, options
    )
    confirm.write(again, table, locate.results(place.path))
    print(confirm.in_words(again, table))


def _publish(place: _Place, campaign: Campaign) -> None:
    from dvcsweep.results import report

    folder = locate.results(place.path)
    shown = os.path.relpath(folder)
    if not locate.publish_ledger(place.study, place.repository, place.path):
        print(f"{shown} holds more trials than this clone has run, so it is left as it is")
        return
    report.write(place.study, campaign, folder)
    print(f"Report: {shown}/report.html    Table: {shown}/trials.csv")
    loose = [name for name in (os.path.relpath(place.path), shown) if not place.repository.tracks(Path(name))]
    if loose:
        print(f"To keep them: git add {shlex.join(loose)}")


def _enqueue(arguments: argparse.Namespace) -> int:
    place = _Place.of(arguments.study)
    count = enqueue.enqueue(place.study, place.repository, arguments.trials)
    print(f"{count} experiments queued; run them: dvc queue start --jobs {place.study.jobs}")
    print(f"and then: python -m dvcsweep run {place.shown} --take-over")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    if arguments.study:
        for path in arguments.study:
            place = _Place.of(path)
            print(printable(status.status(place.study, place.repository, place.campaign())))
        return 0
    shown = 0
    for path in sorted((Repository.around(Path.cwd()).root / "studies").glob("*.yaml")):
        try:
            place = _Place.of(path)
            if (campaigns.folder(place.repository, place.study) / locate.FILE).exists():
                print(printable(status.status(place.study, place.repository, place.campaign())))
                shown += 1
        except StudyError as error:
            print(printable(str(error)))
    if not shown:
        print("no study in studies/ has been run in this clone")
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from dvcsweep.results import report

    place = _Place.of(arguments.study)
    campaign = place.campaign()
    print(report.show(place.study, campaign, top=arguments.top, criteria=arguments.where, metric=arguments.metric))
    _publish(place, campaign)
    return 0


def _best(arguments: argparse.Namespace) -> int:
    place = _Place.of(arguments.study)
    campaign = place.campaign()
    if changed := campaigns.outdated(campaign, place.study, place.repository):
        _warn(locate.stale(campaign, changed))
    print(winner.as_yaml(place.study, campaign, winner.choose(place.study, campaign)), end="")
    return 0


def _promote(arguments: argparse.Namespace) -> int:
    place = _Place.of(arguments.study)
    campaign = place.campaign()
    if len(place.study.objective) > 1 and arguments.trial is None:
        raise StudyError(f"{campaign.name} has several objectives, and so no single winner: choose one with --trial N")
    changed = campaigns.outdated(campaign, place.study, place.repository)
    if changed and arguments.trial is None:
        raise StudyError(
            f"{locate.stale(campaign, changed)}: python -m dvcsweep run {place.shown}, or promote it all the same with "
            "--trial N"
        )
    promote.promote(place.study, place.repository, campaign, winner.choose(place.study, campaign, arguments.trial))
    return 0


def _watch(arguments: argparse.Namespace) -> int:
    place = _Place.of(arguments.study)
    watch.watch(campaigns.folder(place.repository, place.study), place.study.name)
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    from dvcsweep.results import replay

    studies = []
    for path in arguments.study:
        place = _Place.of(path)
        try:
            studies.append((place.study, place.campaign().trials()))
        except StudyError as error:
            if len(arguments.study) == 1:
                raise
            print(error, file=sys.stderr)
    print(replay.table(studies, [replay.read(text) for text in arguments.prune or replay.RULES], arguments.orders))
    return 0


def _clean(arguments: argparse.Namespace) -> int:
    place = _Place.of(arguments.study)
    print(clean.clean(place.study, place.repository, arguments.dry_run, arguments.git_remote))
    return 0


def _minutes(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|)", text.strip())
    if not match or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(f"got {text!r}, but a time is a number with s, m or h behind it, such as 90m")
    return float(match[1]) * {"s": 1 / 60, "m": 1, "h": 60, "": 1}[match[2]]


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, but it must be a whole number from 1")
    return int(text)


def _index(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"got {text!r}, but it must be a trial's number, from 0")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m dvcsweep",
        description="Searches over DVC experiments: every trial is code, data, parameters and metrics in one commit.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, action: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        added.set_defaults(action=action)
        return added

    run = command("run", _run, "run a study, or go on with it where it was cut off")
    run.add_argument("study", type=Path, help="study file")
    run.add_argument("--jobs", type=_count, help="experiments at a time (the study's own: jobs)")
    run.add_argument("--trials", type=_count, help="at most so many trials")
    run.add_argument("--time", type=_minutes, metavar="90m", help="begin no trial after this time (s, m or h)")
    run.add_argument("--retry-failed", action="store_true", help="run failed trials again")
    run.add_argument(
        "--take-over", action="store_true", help="run nothing: write down experiments that are here already"
    )
    run.add_argument("--confirm", type=_count, metavar="K", help="then run the best K again with several seeds")
    run.add_argument("--seeds", type=_count, default=5, help="how many seeds (5)")
    run.add_argument("--no-report", action="store_true", help="write no report, table and pictures at the end")
    cluster = run.add_argument_group("on a Ray cluster")
    cluster.add_argument(
        "--ray", metavar="ADDRESS", help="HOST:PORT, ray://HOST:PORT, auto; local: one on this machine"
    )
    cluster.add_argument(
        "--git-remote", metavar="NAME", help="where nodes get the code (origin; with local: this clone)"
    )
    cluster.add_argument("--dvc-remote", metavar="NAME", help="where nodes get and leave data (DVC's default remote)")
    cluster.add_argument(
        "--patience", type=_minutes, default=10.0, metavar="10m", help="how long to go on trying to reach a remote"
    )
    enqueue = command("enqueue", _enqueue, "put a study's trials into DVC's own queue")
    enqueue.add_argument("study", type=Path, help="study file")
    enqueue.add_argument("--trials", type=_count, help="at most so many trials")
    status = command("status", _status, "say what is done, running and failed")
    status.add_argument("study", type=Path, nargs="*", help="study files; without any, all of studies/ that were run")
    watch = command(
        "watch", _watch, "show a running study as it goes on: curves, what they are held against, time left"
    )
    watch.add_argument("study", type=Path, help="study file")
    report = command("report", _report, "show the results, and write report, table and pictures beside the study")
    report.add_argument("study", type=Path, help="study file")
    report.add_argument("--top", type=_count, default=10, help="rows of the table (10)")
    report.add_argument("--where", action="append", default=[], metavar="'dropout<=0.2'", help="only trials like this")
    report.add_argument("--metric", metavar="KEY", help="statistics of this figure (the objective)")
    best = command("best", _best, "print the best configuration as YAML")
    best.add_argument("study", type=Path, help="study file")
    promote = command("promote", _promote, "write the winner to the parameters file and run it, ready to commit")
    promote.add_argument("study", type=Path, help="study file")
    promote.add_argument("--trial", type=_index, help="this one instead of the best")
    replay = command("replay", _replay, "say what rules of pruning would have saved of studies, and lost")
    replay.add_argument("study", type=Path, nargs="+", help="study files")
    replay.add_argument(
        "--prune", action="append", metavar="RULE", help="a rule as in a study, such as 'late-median, wait: 0.5'"
    )
    replay.add_argument("--orders", type=_count, default=100, help="random orders of the trials (100)")
    clean = command("clean", _clean, "remove a study's experiments and its ledger from this clone")
    clean.add_argument("study", type=Path, help="study file")
    clean.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    clean.add_argument("--git-remote", metavar="NAME", help="remove the experiments there too")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; a user's mistake is told in plain lines, with exit status 2; an interrupt gives 130."""
    chosen = parser().parse_args(arguments)
    try:
        return chosen.action(chosen)
    except StudyError as error:
        _warn(str(error))
        return 2
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(
            f"dvcsweep: {error.filename or 'a file'}: {error.strerror or error}; nothing done so far is lost",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("dvcsweep: stopped; the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
