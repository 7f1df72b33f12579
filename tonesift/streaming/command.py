"""The command `filter`: a mixture in, its tones out."""

import argparse
import math
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tonesift.errors import InputError
from tonesift.formats.base import PIPE, Form, Selection, Source, Write, tones_form
from tonesift.formats.files import created, is_stream, known_output, opened
from tonesift.metadata import Metadata
from tonesift.networks import model as models
from tonesift.streaming.ending import Ending, locked
from tonesift.streaming.fit import Fit, trained
from tonesift.streaming.tonefilter import GAPS, ToneFilter

if TYPE_CHECKING:
    from tonesift.streaming.resampling import ResampledFilter

NOT_AS_ANNOUNCED = 3  # exit status: all that is there was filtered, but the input is not what it says
SLOWEST, FASTEST = 1e-3, 1e9  # Hz


class Chain(NamedTuple):
    """What the samples go through, and the sampling rate of both its ends in Hz."""

    filter: "ToneFilter | ResampledFilter"
    rate: float


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = command.add_argument
    add("input", type=Path, help="mixture: text (.csv .tsv .txt), sound, .npy, .h5 or .mat; - for lines from a pipe")
    add("--model", type=Path, default=Path("models/model.safetensors"), help="model file (default: %(default)s)")
    add("-o", "--output", type=Path, required=True, help="tones: .csv, .wav, .npy, .h5, or - for standard output")
    add("--rate", type=float, metavar="HZ", help="sampling rate of the mixture, where the input does not tell")
    add("--resample", action="store_true", help="bring the mixture to the model's sampling rate, and the tones back")
    add("--gaps", choices=GAPS, default="refuse", help="what to do about NaN and infinity (default: %(default)s)")
    add("--state", type=Path, metavar="FILE", help="go on from this state if it exists, and save it at the end")
    add("--force", action="store_true", help="filter a signal that the model cannot know")
    add = command.add_argument_group("what is written").add_argument
    add("--tone", type=int, action="append", metavar="N", help="a tone wanted, from 1; may come again (default: all)")
    add("--as-heard", action="store_true", help="the tones as they are in the mixture, which is the mean of all")
    add("--sum", action="store_true", help="their sum as heard instead: the mixture without its noise")
    add("--residual", type=Path, metavar="FILE", help="also what is left when the tones are taken out")
    add = command.add_argument_group("which signal of the input, and how it is to be read").add_argument
    add("--column", metavar="N", help="column of text by name or number from 1, channel, or column of an array")
    add("--recording", type=int, metavar="N", help="row of an array, from 0")
    add("--dataset", metavar="NAME", help="HDF5 dataset or MATLAB variable (default: mixture, or the only one)")
    add("--separator", metavar="C", help="between the cells of text: a character, tab, space or none")
    add("--decimal", choices=(".", ","), help="decimal sign of text")
    add("--header", type=int, metavar="N", help="lines of text before the first row, without comments and empty ones")


def run(arguments: argparse.Namespace) -> int:
    """Filter the whole input, say on standard error what was done, and give the exit status."""
    _check_arguments(arguments)
    model, metadata = models.load(arguments.model)
    tone_filter = ToneFilter(model, metadata, _wanted(arguments.tone, model.tones), arguments.gaps)
    with locked(arguments.state), opened(arguments.input, _selection(arguments)) as source:
        ending = Ending()
        if not source.live:
            return _filter(arguments, tone_filter, metadata, source, ending)
        with ending.heeded():
            return _filter(arguments, tone_filter, metadata, source, ending)


def _filter(
    arguments: argparse.Namespace, tone_filter: ToneFilter, metadata: Metadata, source: Source, ending: Ending
) -> int:
    notes = Notes(source)
    notes.say()
    chain = _chain(tone_filter, source, arguments)
    _check_tones(source, metadata, chain.rate, arguments.force)
    before, begin = chain.filter.samples, time.perf_counter()
    fit = Fit(trained(metadata), chain.rate)
    with ExitStack() as stack:
        sink = _sink(arguments, chain, tone_filter, source, ending, stack)
        try:
            for chunk in ending.until(source.chunks):
                sink.put(chunk, _filtered(chain, chunk, source))
                notes.say(fit.push(chunk))
        except InputError as error:  # of a stream, what came before it is kept
            ending.error = error if source.live else None
            if chain.filter.samples - before < chain.filter.hop or not source.live:
                raise
        samples = chain.filter.samples - before
        _check_ended(ending, samples)
        _check_enough(samples, chain.filter.hop, source, arguments.state)
        if not arguments.state:
            sink.put(np.zeros(0), chain.filter.finish())
        _check_constant(fit, source, arguments)
    if arguments.state and (source.live or not ending.unread):
        tone_filter.save(arguments.state)
    if ending.unread:  # whoever read the tones has had enough
        return 0
    notes.say(fit.finish())
    print(_summary(chain, before, time.perf_counter() - begin), file=sys.stderr)
    if arguments.state and tone_filter.waiting:
        print(f"{tone_filter.waiting} samples wait in {arguments.state} for their hop to be full", file=sys.stderr)
    return _status(source, ending)


def _filtered(chain: Chain, chunk: NDArray, source: Source) -> NDArray[np.float32]:
    """The tones of the next samples, or what is wrong with these and where they are from."""
    try:
        return chain.filter.push(chunk)
    except InputError as error:
        raise InputError(f"{source.name}: {error}") from error


class Notes:
    """What is said of a signal on standard error, each line once."""

    def __init__(self, source: Source) -> None:
        self._source, self._said = source, 0

    def say(self, more: list[str] | None = None) -> None:
        """Say what the source has found since, and more."""
        lines = [*self._source.notes[self._said :], *(more or [])]
        self._said = len(self._source.notes)
        for line in lines:
            print(f"note: {self._source.name}: {line}", file=sys.stderr)


# What is asked for


def _selection(arguments: argparse.Namespace) -> Selection:
    return Selection(**{name: getattr(arguments, name) for name in Selection._fields})


def _check_arguments(arguments: argparse.Namespace) -> None:
    """Refuse what cannot work, and to write over what is read, before anything is read."""
    rate, separator, header = arguments.rate, arguments.separator, arguments.header
    if rate is not None and not SLOWEST <= rate <= FASTEST:
        raise InputError(f"--rate {rate:g}: a sampling rate is a number of Hz from {SLOWEST:g} to {FASTEST:g}")
    if separator not in (None, "tab", "space", "none") and (len(separator) != 1 or separator in '"\r\n'):
        raise InputError(f"--separator {separator!r}: it is one character, or tab, space or none")
    if separator is not None and separator == arguments.decimal:
        raise InputError(f"--separator {separator}: it is the decimal sign too: choose another for one of them")
    if header is not None and header < 0:
        raise InputError(f"--header {header}: a number of lines is 0 or more")
    named = {"--output": arguments.output, "--state": arguments.state, "--residual": arguments.residual}
    written = {option: path for option, path in named.items() if path is not None}
    for option, path in written.items():
        _check_output(option, path, [arguments.input, arguments.model])
    for option, other in [("--state", "--output"), ("--residual", "--output"), ("--residual", "--state")]:
        if option in written and other in written and _same(written[option], written[other]):
            raise InputError(f"{written[option]}: both {option} and {other}: choose another name for one of them")


def _check_output(option: str, path: Path, read: list[Path]) -> None:
    if is_stream(path) and option != "--state":
        return
    if any(other != PIPE and _same(other, path) for other in read):
        raise InputError(f"{path}: it would be written over what is read: choose another name")
    if path.is_dir():
        raise InputError(f"{path}: a folder: name a file")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}: make it first")
    if option == "--state":
        if is_stream(path):
            raise InputError(f"{path}: a pipe or device keeps no state: name a file")
        return
    known_output(path)


def _same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return first.resolve() == second.resolve()


def _wanted(numbers: list[int] | None, count: int) -> list[int] | None:
    """Tones from 0."""
    if numbers and (len(set(numbers)) < len(numbers) or not all(1 <= number <= count for number in numbers)):
        raise InputError(f"--tone {' '.join(map(str, numbers))}: tones are different numbers from 1 to {count}")
    return [number - 1 for number in numbers] if numbers else None


# What comes in


def _check_tones(source: Source, metadata: Metadata, rate: float, force: bool) -> None:
    """Refuse a signal that cannot hold the model's tones, or holds others."""
    known, learnt = source.frequencies, metadata.frequencies
    given, wanted = (", ".join(f"{frequency:.12g}" for frequency in group or ()) for group in (known, learnt))
    problem = ""
    if known is not None and (len(known) != len(learnt) or not all(map(math.isclose, known, learnt))):
        problem = f"its tones are {given} Hz, but the model knows {wanted} Hz: use a model trained on them"
    elif max(learnt) >= rate / 2:
        problem = (
            f"sampled at {rate:.12g} Hz it holds nothing from {rate / 2:.12g} Hz on, but the tones are {wanted} Hz"
        )
    if problem and not force:
        raise InputError(f"{source.name}: {problem}, or go on all the same with --force")
    if problem:
        print(f"note: {source.name}: {problem}", file=sys.stderr)


def _chain(tone_filter: ToneFilter, source: Source, arguments: argparse.Namespace) -> Chain:
    """The filter for the source's sampling rate, at the state it is to go on from."""
    rate, own = _rate(source, arguments.rate, tone_filter.sampling_rate), tone_filter.sampling_rate
    if not math.isclose(rate, own, rel_tol=1e-9):
        if not arguments.resample:
            raise InputError(
                f"{source.name}: sampled at {rate:.12g} Hz, but the model was trained at {own:.12g} Hz: add --resample"
            )
        if arguments.state:
            raise InputError("--state: not together with --resample: resample the recording first")
        from tonesift.streaming.resampling import ResampledFilter  # SciPy's filters take a second to import

        return Chain(ResampledFilter(tone_filter, rate, arguments.gaps), rate)
    if arguments.state and arguments.state.exists():
        tone_filter.restore(arguments.state)
    return Chain(tone_filter, own)


def _rate(source: Source, given: float | None, own: float) -> float:
    """Sampling rate of the source in Hz."""
    known = source.rate
    if given is None and known is None:
        told = source.doubt or "it does not tell its sampling rate"
        raise InputError(f"{source.name}: {told}: say it, such as --rate {own:.12g} if it is the model's")
    if known is not None and not SLOWEST <= known <= FASTEST:
        raise InputError(f"{source.name}: sampled at {known:.6g} Hz, but a rate is from {SLOWEST:g} to {FASTEST:g} Hz")
    if given is None or known is None or math.isclose(known, given, rel_tol=1e-9):
        return known if given is None else given
    if not source.measured:
        raise InputError(f"--rate {given:.12g}: but {source.name} says {known:.12g} Hz: leave --rate out")
    print(f"note: {source.name}: taken at {given:.12g} Hz (--rate), not the {known:.12g} of its times", file=sys.stderr)
    return given


def _check_ended(ending: Ending, samples: int) -> None:
    if ending.number is not None and not samples:  # there is nothing to keep
        if ending.number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + ending.number)


def _check_enough(samples: int, hop: int, source: Source, state: Path | None) -> None:
    if samples == 0:
        raise InputError(f"{source.name}: it holds no samples")
    if samples < hop and not state:
        raise InputError(f"{source.name}: it holds {samples} samples, but the model reads {hop} at a time: give more")


def _check_constant(fit: Fit, source: Source, arguments: argparse.Namespace) -> None:
    """Refuse a file that holds no signal; of a stream, or a stretch of one, it is only said."""
    if not fit.constant:
        return
    if not (arguments.force or arguments.state or source.live):
        raise InputError(f"{source.name}: {fit.constant}: there is no signal in it, or go on all the same with --force")
    print(f"note: {source.name}: {fit.constant}: there is no signal in it", file=sys.stderr)


# What goes out


class Sink:
    """Writes what is made of the tones, and what is left of the mixture without them.

    Parameters
    ----------
    outputs : sequence of (make, write)
        `make` gives an output (k, n) of the stretch of mixture (n,) and its tones (K, n).
    held : ndarray, shape (n,)
        Mixture whose tones have not come out yet.
    """

    def __init__(self, outputs: list[tuple[Callable, Callable]], held: NDArray) -> None:
        self._outputs, self._held = outputs, np.asarray(held, dtype="f8")

    def put(self, samples: NDArray, tones: NDArray) -> None:
        """Take the next samples (n,), and the tones (K, m) that have come out."""
        known = np.concatenate([self._held, np.asarray(samples, dtype="f8")])
        count = tones.shape[1]
        mixture, self._held = known[:count], known[count:].copy()
        for make, write in self._outputs:
            write(make(mixture, tones))


def _sink(
    arguments: argparse.Namespace,
    chain: Chain,
    tone_filter: ToneFilter,
    source: Source,
    ending: Ending,
    stack: ExitStack,
) -> Sink:
    """The outputs asked for, open until the stack is left."""
    count = tone_filter.count  # the mixture is the mean of all the model's tones

    def heard(tones: NDArray) -> NDArray:
        return tones / np.float32(count)

    def total(tones: NDArray) -> NDArray:
        return heard(tones).sum(axis=0, dtype="f8", keepdims=True)

    form = tones_form(chain.rate, tone_filter.frequencies, _samples(tone_filter, source, arguments.state))
    single = Form(form.rate, ("sum",), form.samples, dataset="sum", single=True)
    make, form = (
        (lambda _, tones: total(tones), single)
        if arguments.sum
        else (lambda _, tones: heard(tones) if arguments.as_heard else tones, form)
    )
    outputs = [(make, _writer(arguments.output, form, ending, stack))]
    if arguments.residual:
        left = single._replace(names=("residual",), dataset="residual")
        write = _writer(arguments.residual, left, ending, stack)
        outputs.append((lambda mixture, tones: mixture[None] - total(tones), write))
    return Sink(outputs, tone_filter.held)


def _writer(path: Path, form: Form, ending: Ending, stack: ExitStack) -> Write:
    put = stack.enter_context(created(path, form))
    return (lambda signals: ending.write(put, signals)) if is_stream(path) else put


def _samples(tone_filter: ToneFilter, source: Source, state: Path | None) -> int | None:
    """How many samples will be written, if that is known."""
    if state and source.samples is not None:  # the last hop stays in the state if it is not full
        return (tone_filter.waiting + source.samples) // tone_filter.hop * tone_filter.hop
    return source.samples


def _summary(chain: Chain, before: int, seconds: float) -> str:
    samples = chain.filter.samples - before
    duration, latency = samples / chain.rate, chain.filter.latency
    return (
        f"filter: {samples} samples, {duration:.6g} s of signal in {seconds:.2f} s ({duration / seconds:.0f} x real "
        f"time); latency {latency} samples ({1000 * latency / chain.rate:.4g} ms); gaps filled: "
        f"{chain.filter.gaps_filled}"
    )


def _status(source: Source, ending: Ending) -> int:
    if ending.error:
        raise ending.error
    for fault in source.faults:
        print(f"warning: {source.name}: {fault}", file=sys.stderr)
    if ending.number is not None:
        name = signal.Signals(ending.number).name
        print(f"filter: ended by {name}: what had come in by then is filtered and kept", file=sys.stderr)
        return 128 + ending.number
    return NOT_AS_ANNOUNCED if source.faults else 0
