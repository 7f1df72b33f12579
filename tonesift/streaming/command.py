"""The command `filter`: a mixture in, its tones out."""

import argparse
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tonesift.errors import InputError
from tonesift.metadata import Metadata
from tonesift.networks import model as models
from tonesift.streaming import soundfiles
from tonesift.streaming.soundfiles import PIPE, Form, Selection, Source
from tonesift.streaming.tonefilter import GAPS, ToneFilter

if TYPE_CHECKING:
    from tonesift.streaming.resampling import ResampledFilter


class Chain(NamedTuple):
    """What the samples go through, and the sampling rate of both its ends in Hz."""

    filter: "ToneFilter | ResampledFilter"
    rate: float


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = command.add_argument
    add("input", type=Path, help="mixture: .csv, .wav, .npy, .h5, or - for CSV lines from standard input")
    add("--model", type=Path, default=Path("models/model.safetensors"), help="model file (default: %(default)s)")
    add("-o", "--output", type=Path, required=True, help="tones: .csv, .wav, .npy, .h5, or - for standard output")
    add("--tone", type=int, action="append", metavar="N", help="a tone wanted, from 1; may come again (default: all)")
    add("--rate", type=float, metavar="HZ", help="sampling rate of the mixture, where the file does not tell")
    add("--resample", action="store_true", help="bring the mixture to the model's sampling rate, and the tones back")
    add("--gaps", choices=GAPS, default="refuse", help="what to do about NaN and infinity (default: %(default)s)")
    add("--state", type=Path, metavar="FILE", help="go on from this state if it exists, and save it at the end")
    add("--column", metavar="N", help="CSV column, by name or number from 1, or WAV channel")
    add("--recording", type=int, metavar="N", help="HDF5: which recording of the dataset, from 0 (default: 0)")
    add("--dataset", metavar="NAME", help="HDF5: which dataset (default: mixture)")


def run(arguments: argparse.Namespace) -> None:
    """Filter the whole input, and say on standard error what was done."""
    model, facts = models.load(arguments.model)
    _check_paths(arguments)
    selection = Selection(arguments.column, arguments.recording, arguments.dataset)
    with soundfiles.opened(arguments.input, selection) as source:
        _check_frequencies(source, facts)
        tone_filter = ToneFilter(model, facts, _wanted(arguments.tone, model.tones), arguments.gaps)
        chain = _chain(tone_filter, source, arguments)
        before, begin = chain.filter.samples, time.perf_counter()
        with soundfiles.created(arguments.output, _form(chain, tone_filter, source, arguments.state)) as write:
            for chunk in source.chunks:
                write(chain.filter.push(chunk))
            _check_enough(chain.filter.samples - before, chain.filter.hop, source, arguments.state)
            if not arguments.state:
                write(chain.filter.finish())
    if arguments.state:
        tone_filter.save(arguments.state)
    print(_summary(chain, before, time.perf_counter() - begin), file=sys.stderr)
    if arguments.state and tone_filter.waiting:
        print(f"{tone_filter.waiting} samples wait in {arguments.state} for their hop to be full", file=sys.stderr)


def _check_paths(arguments: argparse.Namespace) -> None:
    """Refuse to write over what is read, and what would be found out late."""
    read, written = [arguments.input, arguments.model], [arguments.output, arguments.state]
    for path in (path for path in written if path not in (None, PIPE)):
        if any(other != PIPE and other.resolve() == path.resolve() for other in read):
            raise InputError(f"{path}: it would be written over what is read: choose another name")
        if path.is_dir():
            raise InputError(f"{path}: a folder: name a file")
        if not path.parent.is_dir():
            raise InputError(f"{path}: there is no folder {path.parent}: make it first")
    if arguments.state and arguments.state.resolve() == arguments.output.resolve():
        raise InputError(f"{arguments.state}: both --state and --output: choose another name for one of them")


def _check_frequencies(source: Source, facts: Metadata) -> None:
    known, learnt = source.frequencies, facts.frequencies
    if known is not None and (len(known) != len(learnt) or not all(map(math.isclose, known, learnt))):
        given, wanted = (", ".join(f"{frequency:.12g}" for frequency in group) for group in (known, learnt))
        raise InputError(
            f"{source.name}: its tones are {given} Hz, but the model knows {wanted} Hz: use a model trained on them"
        )


def _wanted(numbers: list[int] | None, count: int) -> list[int] | None:
    """Tones from 0."""
    if numbers and (len(set(numbers)) < len(numbers) or not all(1 <= number <= count for number in numbers)):
        raise InputError(f"--tone {' '.join(map(str, numbers))}: tones are different numbers from 1 to {count}")
    return [number - 1 for number in numbers] if numbers else None


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
    if given is not None and not (math.isfinite(given) and given > 0):
        raise InputError(f"--rate {given:g}: a sampling rate is a positive number of Hz")
    if source.rate is not None and given is not None and not math.isclose(source.rate, given, rel_tol=1e-9):
        raise InputError(f"--rate {given:.12g}: but {source.name} says {source.rate:.12g} Hz: leave --rate out")
    if source.rate is None and given is None:
        print(f"note: {source.name}: taken to be sampled at {own:.12g} Hz, as the model (--rate)", file=sys.stderr)
    return next(rate for rate in (source.rate, given, own) if rate is not None)


def _form(chain: Chain, tone_filter: ToneFilter, source: Source, state: Path | None) -> Form:
    samples = source.samples
    if state and samples is not None:  # the last hop stays in the state if it is not full
        samples = (tone_filter.waiting + samples) // tone_filter.hop * tone_filter.hop
    return Form(chain.rate, tone_filter.frequencies, samples)


def _check_enough(samples: int, hop: int, source: Source, state: Path | None) -> None:
    if samples == 0:
        raise InputError(f"{source.name}: it holds no samples")
    if samples < hop and not state:
        raise InputError(f"{source.name}: it holds {samples} samples, but the model reads {hop} at a time: give more")


def _summary(chain: Chain, before: int, seconds: float) -> str:
    samples = chain.filter.samples - before
    duration, latency = samples / chain.rate, chain.filter.latency
    return (
        f"filter: {samples} samples, {duration:.6g} s of signal in {seconds:.2f} s ({duration / seconds:.0f} x real "
        f"time); latency {latency} samples ({1000 * latency / chain.rate:.4g} ms); gaps filled: "
        f"{chain.filter.gaps_filled}"
    )
