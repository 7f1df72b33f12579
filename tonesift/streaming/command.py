"""The command `filter`: a mixture in, its tones out."""

import argparse
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tonesift.errors import InputError
from tonesift.formats.base import PIPE, Form, Selection, Source, Write, tones_form
from tonesift.formats.files import created, is_stream, known_output, opened
from tonesift.streaming import keeping, units
from tonesift.streaming.ending import Ending, locked
from tonesift.streaming.gaps import GAPS
from tonesift.streaming.input_check import Constancy, InputCheck, trained

if TYPE_CHECKING:
    from tonesift.metadata import Metadata
    from tonesift.streaming.namedtones import NamedToneFilter
    from tonesift.streaming.resampling import ResampledFilter
    from tonesift.streaming.tonefilter import ToneFilter

NOT_AS_ANNOUNCED = 3  # exit status: all that is there was filtered, but the input is not what it says
SLOWEST, FASTEST = 1e-9, 1e9  # Hz
MODEL = Path("models/model.safetensors")
ANY_TONES = Path("any-tones/models/model.safetensors")


class Chain(NamedTuple):
    """What the samples go through.

    Attributes
    ----------
    filter : ToneFilter, NamedToneFilter or ResampledFilter
        Takes the samples.
    tone_filter : ToneFilter or NamedToneFilter
        The same, or what stands in the middle of a resampled one.
    rate : float
        Sampling rate of both ends in Hz.
    watch : InputCheck or Choosing
        What is to be said of the signal.
    network : str
        The pipeline whose network method `auto` took, '' if it took none.
    """

    filter: "ToneFilter | NamedToneFilter | ResampledFilter"
    tone_filter: "ToneFilter | NamedToneFilter"
    rate: float
    watch: "InputCheck | Choosing"
    network: str = ""


class Once(argparse.Action):
    """An option that is given once: a second one would take the place of the first without a word."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: object) -> None:
        """Keep the value."""
        if getattr(namespace, self.dest) is not None:
            raise argparse.ArgumentError(self, f"given twice, {getattr(namespace, self.dest)} and {values}: give one")
        setattr(namespace, self.dest, values)


class Choosing(Constancy):
    """Says which filter a signal of named tones was given; of a stream at once, of a file when it is over."""

    def __init__(self, tone_filter: "NamedToneFilter | ToneFilter", live: bool, line: str = "", hint: str = "") -> None:
        super().__init__()
        self._filter, self._live, self._line, self._hint, self._said = tone_filter, live, line, hint, ""

    def push(self, samples: NDArray) -> list[str]:
        """Take the next samples (n,), which the filter has had; what is new, a line for each."""
        self.watch(samples)
        return self._news() if self._live else []

    def finish(self) -> list[str]:
        """What was not said before."""
        return [*self._news(), *([self._hint] if self._hint else [])]

    def _news(self) -> list[str]:
        before, self._said = self._said, self._line or self._filter.method_line
        return [self._said] if self._said != before else []


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    command.register("action", None, Once)
    add = command.add_argument
    add("input", type=Path, help="mixture: text (.csv .tsv .txt), sound, .npy, .h5 or .mat; - for lines from a pipe")
    add("--model", type=Path, help=f"model file (default: {MODEL})")
    add("-o", "--output", type=Path, required=True, help="tones: .csv, .wav, .npy, .h5, or - for standard output")
    add("--rate", metavar="HZ", help="sampling rate of the mixture, where the input does not tell; 1h is one an hour")
    add("--resample", action="store_true", help="bring the mixture to the model's sampling rate, and the tones back")
    ways = (*GAPS, "predict")
    add("--gaps", choices=ways, help="what to do about NaN and infinity (default: refuse; with --tones, predict)")
    add("--state", type=Path, metavar="FILE", help="go on from this state if it exists, and save it at the end")
    add("--force", action="store_true", help="filter a signal that the model cannot know")
    add = command.add_argument_group("without a model: filters that need no training").add_argument
    add(
        "--tones",
        metavar="F,F,...",
        help=f"all tones of a recording that is their sum and noise, such as 50,100Hz,20ms: {units.WORDS}",
    )
    add(
        "--method",
        metavar="NAME",
        help="auto (default): filters, or of a file a network of this repository where that does better by its own "
        "evaluation; filters: those alone, no network; kalman, wander, extended or fading, with -student, -background "
        f"or -whitened; or hybrid, of --model (default: {ANY_TONES})",
    )
    add("--clip", metavar="LOW,HIGH", help="the recorder's lowest and highest value (default: found)")
    add = command.add_argument_group("what is written").add_argument
    add("--tone", type=int, action="append", metavar="N", help="a tone wanted, from 1; may come again (default: all)")
    add(
        "--as-heard",
        action="store_true",
        help="the tones as they are in the mixture, which is the mean of all; with --tones they are so anyway",
    )
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
    if not is_stream(arguments.input):  # a damaged file is refused before PyTorch is imported, which takes two seconds
        with _opened(arguments) as source:
            return _filter(arguments, _chained(arguments), source, Ending())
    chained = _chained(arguments)  # whoever writes to a pipe may be slow: what is wrong with the command is told now
    with _opened(arguments) as source, (ending := Ending()).heeded():
        return _filter(arguments, chained, source, ending)


@contextmanager
def _opened(arguments: argparse.Namespace) -> Iterator[Source]:
    with locked(arguments.state), opened(arguments.input, _selection(arguments)) as source:
        yield source


def _chained(arguments: argparse.Namespace) -> Callable[[Source], Chain]:
    """What the samples go through, made ready for a source."""
    return _named(arguments) if arguments.tones is not None else _trained(arguments)


def _filter(arguments: argparse.Namespace, chained: Callable[[Source], Chain], source: Source, ending: Ending) -> int:
    notes = Notes(source)
    notes.say()
    begin, chain = time.perf_counter(), chained(source)
    tone_filter, watch, before = chain.tone_filter, chain.watch, chain.filter.samples
    with ExitStack() as stack:
        sink = _sink(arguments, chain, source, ending, stack)
        try:
            for chunk in ending.until(source.chunks):
                sink.put(chunk, _filtered(chain, chunk, source))
                notes.say(watch.push(chunk))
        except InputError as error:  # of a stream, what came before it is kept
            ending.error = error if source.live else None
            if chain.filter.samples - before < chain.filter.hop or not source.live:
                raise
        samples = chain.filter.samples - before
        _check_ended(ending, samples)
        _check_enough(samples, chain.filter.hop, source, arguments.state)
        if not arguments.state:
            sink.put(np.zeros(0), chain.filter.finish())
        _check_constant(watch, source, arguments)
    if arguments.state and (source.live or not ending.unread):
        keeping.save(tone_filter, arguments.state, chain.network)
    if ending.unread:  # whoever read the tones has had enough
        return 0
    notes.say([*watch.finish(), *tone_filter.notes()])
    print(_summary(chain, before, time.perf_counter() - begin), file=sys.stderr)
    if arguments.state and tone_filter.waiting:
        why = "for their hop to be full" if arguments.tones is None else "for more to choose a filter by"
        print(f"{tone_filter.waiting} samples wait in {arguments.state} {why}", file=sys.stderr)
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
    given = {name: getattr(arguments, name) for name in Selection._fields}
    return Selection(**given | {"rate": _given_rate(arguments)})


def _given_rate(arguments: argparse.Namespace) -> float | None:
    """--rate in Hz."""
    if arguments.rate is None:
        return None
    try:
        rate = units.frequency(arguments.rate)
    except InputError:
        rate = math.nan
    if not SLOWEST <= rate <= FASTEST:
        raise InputError(f"--rate {arguments.rate}: a sampling rate is a number of Hz from {SLOWEST:g} to {FASTEST:g}")
    return rate


def _trained(arguments: argparse.Namespace) -> Callable[[Source], Chain]:
    """A model's filter, made ready for a source."""
    from tonesift.networks import model as models
    from tonesift.streaming.tonefilter import ToneFilter

    for option in ("method", "clip"):
        if getattr(arguments, option) is not None:
            raise InputError(f"--{option}: it is of filters without a model: say which tones, such as --tones 50,100")
    if arguments.gaps == "predict":
        raise InputError(f"--gaps predict: a network cannot go on without samples: choose one of {', '.join(GAPS)}")
    model, metadata = models.load(arguments.model or MODEL)
    tone_filter = ToneFilter(model, metadata, _wanted(arguments.tone, model.tones), arguments.gaps or "refuse")

    def chained(source: Source) -> Chain:
        rate = _rate(source, _given_rate(arguments), tone_filter.sampling_rate)
        found = _resampled(tone_filter, rate, source, arguments)
        _check_tones(source, metadata, rate, arguments.force)
        return Chain(found, tone_filter, rate, InputCheck(trained(metadata), rate))

    return chained


def _named(arguments: argparse.Namespace) -> Callable[[Source], Chain]:
    """A filter of named tones, made ready for a source."""
    from tonesift.streaming.namedtones import NamedToneFilter
    from tonesift.streaming.network_choice import NetworkChoice, Request, choose_network

    if arguments.model is not None or arguments.method == "hybrid":
        return _any_tones(arguments)
    if arguments.resample:
        raise InputError("--resample: filters of named tones have no sampling rate of their own: leave it out")
    frequencies = units.frequencies(arguments.tones)
    wanted, limits = _wanted(arguments.tone, len(frequencies)), _limits(arguments.clip)
    method = _method(arguments.method)

    def chained(source: Source) -> Chain:
        rate = _rate(source, _given_rate(arguments), None)
        options = {"tones": wanted, "gaps": arguments.gaps or "predict", "clip": limits}
        tone_filter = NamedToneFilter(frequencies, rate, method, **options)
        found = NetworkChoice()
        if arguments.method in (None, "auto"):
            found = choose_network(source, rate, Request(frequencies, wanted, arguments.gaps, limits), arguments.state)
        if not found.filter and arguments.state and arguments.state.exists():
            keeping.restore(tone_filter, arguments.state)
        own = found.filter or tone_filter
        return Chain(own, own, rate, Choosing(own, source.live, found.line, found.hint), found.name)

    return chained


def _method(name: str | None) -> str:
    """What filters of named tones are to be made of."""
    from tonesift.estimators.tracking.methods import parse_method

    if name in (None, "auto", "filters"):
        return "auto"
    try:
        parse_method(name)
    except InputError as error:
        raise InputError(f"--{error}; or filters (auto without networks), or hybrid") from error
    return name


def _any_tones(arguments: argparse.Namespace) -> Callable[[Source], Chain]:
    """The filter of a model that takes any tones, made ready for a source."""
    from tonesift.streaming.anytones import AnyToneFilter

    if arguments.model is not None and arguments.method not in (None, "hybrid"):
        raise InputError(f"--method {arguments.method}: it is of filters without a model: leave --model out")
    frequencies, path = units.frequencies(arguments.tones), arguments.model or ANY_TONES
    options = {"tones": _wanted(arguments.tone, len(frequencies)), "clip": _limits(arguments.clip)}
    tone_filter = AnyToneFilter.load(path, frequencies, gaps=arguments.gaps or "predict", **options)

    def chained(source: Source) -> Chain:
        rate = _rate(source, _given_rate(arguments), tone_filter.sampling_rate)
        found = _resampled(tone_filter, rate, source, arguments)
        return Chain(found, tone_filter, rate, Choosing(tone_filter, source.live))

    return chained


def _limits(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = math.nan
    if not low < high:
        raise InputError(f"--clip {text}: two numbers with a comma between them, the lowest first, such as -0.4,0.4")
    return low, high


def _check_arguments(arguments: argparse.Namespace) -> None:
    """Refuse what cannot work, and to write over what is read, before anything is read."""
    separator, header = arguments.separator, arguments.header
    _given_rate(arguments)
    if separator not in (None, "tab", "space", "none") and (len(separator) != 1 or separator in '"\r\n'):
        raise InputError(f"--separator {separator!r}: it is one character, or tab, space or none")
    if separator is not None and separator == arguments.decimal:
        raise InputError(f"--separator {separator}: it is the decimal sign too: choose another for one of them")
    if header is not None and header < 0:
        raise InputError(f"--header {header}: a number of lines is 0 or more")
    named = {"--output": arguments.output, "--state": arguments.state, "--residual": arguments.residual}
    written = {option: path for option, path in named.items() if path is not None}
    model = arguments.model or (MODEL if arguments.tones is None else None)
    read = [arguments.input, *([model] if model else [])]
    for option, path in written.items():
        _check_output(option, path, read)
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


def _check_tones(source: Source, metadata: "Metadata", rate: float, force: bool) -> None:
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


def _resampled(
    tone_filter: "ToneFilter", rate: float, source: Source, arguments: argparse.Namespace
) -> "ToneFilter | ResampledFilter":
    """The filter for the source's sampling rate in Hz, at the state it is to go on from."""
    own = tone_filter.sampling_rate
    if not math.isclose(rate, own, rel_tol=1e-9):
        if not arguments.resample:
            raise InputError(
                f"{source.name}: sampled at {rate:.12g} Hz, but the model was trained at {own:.12g} Hz: add --resample"
            )
        if arguments.state:
            raise InputError("--state: not together with --resample: resample the recording first")
        from tonesift.streaming.resampling import ResampledFilter  # SciPy's filters take a second to import

        return ResampledFilter(tone_filter, rate, arguments.gaps or "refuse")
    if arguments.state and arguments.state.exists():
        keeping.restore(tone_filter, arguments.state)
    return tone_filter


def _rate(source: Source, given: float | None, own: float | None) -> float:
    """Sampling rate of the source in Hz; `own` is that of the model, if there is one."""
    known = source.rate
    if given is None and known is None:
        told = source.doubt or "it does not tell its sampling rate"
        example = f"{own:.12g} if it is the model's" if own else "1000, or 1h for one sample an hour"
        raise InputError(f"{source.name}: {told}: say it, such as --rate {example}")
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


def _check_constant(fit: Constancy, source: Source, arguments: argparse.Namespace) -> None:
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
    source: Source,
    ending: Ending,
    stack: ExitStack,
) -> Sink:
    """The outputs asked for, open until the stack is left."""
    tone_filter = chain.tone_filter
    count = tone_filter.count  # the mixture is the mean of all the model's tones; without a model it is their sum
    as_heard = arguments.as_heard or arguments.tones is not None

    def heard(tones: NDArray) -> NDArray:
        return tones / np.float32(count)

    def total(tones: NDArray) -> NDArray:
        return heard(tones).sum(axis=0, dtype="f8", keepdims=True)

    form = tones_form(chain.rate, tone_filter.frequencies, _samples(tone_filter, source, arguments.state))
    single = Form(form.rate, ("sum",), form.samples, dataset="sum", single=True)
    make, form = (
        (lambda _, tones: total(tones), single)
        if arguments.sum
        else (lambda _, tones: heard(tones) if as_heard else tones, form)
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


def _samples(tone_filter: "ToneFilter | NamedToneFilter", source: Source, state: Path | None) -> int | None:
    """How many samples will be written, if that is known."""
    if state and source.samples is not None:  # what waits stays in the state
        return tone_filter.given(source.samples)
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
