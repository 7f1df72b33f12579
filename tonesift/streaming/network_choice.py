"""Whether a committed network takes the place of the filters: where a recording shows what it is better at.

A pipeline with a network judges it beside the filters, on recordings of several kinds that it never met. The beginning
of a recording, run through the filters of `auto`, shows of which kind it is, if of any: by which of them hold the
weight, and by how much of the time their tones are all but silent. Only if a network of these tones and this sampling
rate was ahead on that kind is it loaded.

The thresholds were settled on draws of `benchmarks.tracking` of seeds 3001 to 3005, and on mixtures of its conditions:
a tone that wanders is quiet there in at most 0.02 of its periods, one that comes and goes mostly in more. One whose
amplitude is modulated down to silence, or that beats with another, cannot be told from it so.
"""

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tonesift.arguments import Array
from tonesift.errors import InputError
from tonesift.estimators.tracking.bank import Candidate
from tonesift.estimators.tracking.methods import estimate_facts, make_bank
from tonesift.formats.base import Source
from tonesift.streaming import keeping
from tonesift.streaming.input_check import LARGEST, LARGEST_OFFSET, LEVELS, trained

if TYPE_CHECKING:
    from tonesift.metadata import Metadata
    from tonesift.streaming.anytones import AnyToneFilter
    from tonesift.streaming.tonefilter import ToneFilter

SECONDS, SETTLED, STEP = 60.0, 10.0, 2.0  # looked at; of these the filters are made by; between two looks at weights
LEAST_SECONDS = 5.0  # of fewer nothing is concluded
RENEWING = 0.1  # renewal, from which on a filter that follows frequencies forgets fast, too
QUIET = 0.2  # of a tone's level: a period below it is a pause
LEAST_QUIET = 0.03  # share of such periods, from which on tones come and go
HELD = 0.5  # weight from which on filters hold it
SPIKED = 5.0  # excess kurtosis of steps, from which on a background has spikes: 0 is normal noise, white or coloured
SHOWN = {
    "switching": "tones come and go here",
    "everything": "tones come and go here, and change while they are there",
    "ecg": "a coloured background with spikes, such as an ECG, is what the tones leave here",
}


class Request(NamedTuple):
    """What is asked of a filter: all tones in Hz, which of them, and, if it is said, the way with gaps, and limits."""

    frequencies: Sequence[float]
    tones: Sequence[int] | None = None
    gaps: str | None = None
    clip: tuple[float, float] | None = None


class Pipeline(NamedTuple):
    """A pipeline of this repository that trains a network, and what for.

    Attributes
    ----------
    name : str
        Of its folder.
    rate : float
        Hz, of the recordings that it trains on.
    tones : tuple of float
        Hz: its tones, or, with `apart`, the lowest and the highest that it takes.
    kinds : tuple of str
        Keys of `SHOWN` for which it may be taken: sets of recordings that it is judged on have these names.
    apart : float
        Hz, least distance of two of any tones; 0 where it knows `tones` alone.
    only : str
        What its evaluation is of, if that says nothing of others: then it is named, and not taken.
    """

    name: str
    rate: float
    tones: tuple[float, ...]
    kinds: tuple[str, ...]
    apart: float = 0.0
    only: str = ""

    @property
    def model(self) -> Path:
        """Its network, if it was made."""
        return Path(self.name) / "models" / "model.safetensors"

    def takes(self, frequencies: Sequence[float], rate: float) -> bool:
        """Whether it was trained for such tones (Hz) at this rate (Hz)."""
        if not math.isclose(rate, self.rate, rel_tol=1e-9):
            return False
        ordered = sorted(frequencies)
        if self.apart:
            inside = self.tones[0] <= ordered[0] and ordered[-1] <= self.tones[-1]
            return inside and all(b - a >= self.apart for a, b in itertools.pairwise(ordered))
        return same(ordered, self.tones)

    def judged(self, kind: str) -> tuple[float, float] | None:
        """R² of its network and of the filters on recordings of a kind, if its own evaluation is there."""
        try:
            found = json.loads((Path(self.name) / "metrics" / "judge.json").read_text(encoding="utf-8"))[kind]
            own = found["streamed_r2"] if "streamed_r2" in found else found["r2"]  # of one that is told nothing else
            return float(own), float(found["auto_r2"])
        except (OSError, ValueError, TypeError, KeyError):
            return None


PIPELINES = (  # those of few tones first: what they know of these, one of any tones does not
    Pipeline("switching", 1000.0, (1.0, 3.0, 5.0, 7.0), ("switching",)),
    Pipeline("hum", 360.0, (50.0, 100.0, 150.0), ("ecg",), only="one person's ECG"),
    Pipeline("any-tones", 1000.0, (0.7, 60.0), ("switching", "everything"), apart=1.5),
)


class BetterNetwork(NamedTuple):
    """A network that is ahead of the filters on recordings of the kind that one shows.

    Attributes
    ----------
    pipeline : Pipeline
        Whose it is.
    kind : str
        What the recording shows.
    network, filters : float
        R² of both on such recordings.
    """

    pipeline: Pipeline
    kind: str
    network: float
    filters: float

    @property
    def _reason(self) -> str:
        return f"R2 {self.network:.3f} beside the filters' {self.filters:.3f}"

    @property
    def line(self) -> str:
        """Why it is taken."""
        return (
            f"method auto: the network of {self.pipeline.name}: {SHOWN[self.kind]}, where its own evaluation gives "
            f"{self._reason} (without it: --method filters)"
        )

    @property
    def hint(self) -> str:
        """What to do for it to be taken, where its model is not there, or where it is for the user to say."""
        pipeline, shown = self.pipeline, SHOWN[self.kind]
        if pipeline.only:
            first = "" if pipeline.model.is_file() else f"`dvc repro {pipeline.name}/dvc.yaml`, then "
            reason = f"if this is what it looks like ({pipeline.only} was all that its evaluation had)"
            return (
                f"{shown}: the network of {pipeline.name} has {self._reason} {reason}: {first}--model {pipeline.model}"
            )
        return f"{shown}, where the network of {pipeline.name} has {self._reason}: `dvc repro {pipeline.name}/dvc.yaml`"


class Analysis(NamedTuple):
    """What the beginning of a recording shows.

    Attributes
    ----------
    kind : str
        A key of `SHOWN`, or '' where the filters are as good as anything known.
    samples : Array, shape (n,)
        The beginning, NaN where one is missing.
    damaged : bool
        Whether samples are missing or clipped.
    """

    kind: str
    samples: Array
    damaged: bool


def beginning(source: Source, rate: float) -> Array:
    """The first samples of a file at this rate in Hz, which stay to be read."""
    head, count = [], 0
    while count < SECONDS * rate and (chunk := next(source.chunks, None)) is not None:
        head.append(chunk)
        count += len(chunk)
    source.chunks = itertools.chain(head, source.chunks)
    samples = np.concatenate([np.zeros(0), *head])[: round(SECONDS * rate)].astype("f8")
    return np.where(np.abs(samples) < LARGEST, samples, np.nan)


def analyse(samples: Array, frequencies: Sequence[float], rate: float, clip: tuple[float, float] | None) -> Analysis:
    """What samples (n,) from the beginning show of tones of these frequencies in Hz."""
    facts = estimate_facts(samples, frequencies, rate, clip)
    damaged = facts.missing > 0 or facts.clipped > 0
    if facts.level == 0 or len(samples) < LEAST_SECONDS * rate:
        return Analysis("", samples, damaged)
    first, *rest = np.split(samples, np.arange(round(SETTLED * rate), len(samples), round(STEP * rate)))
    bank, tones = make_bank(first, frequencies, rate, "auto", facts)
    weights, found = [bank.weights], [tones]
    for piece in rest:
        found.append(bank.push(piece))
        weights.append(bank.weights)
    shares = dict.fromkeys(("fading", "changing", "spiked", "other"), 0.0)
    for candidate, weight in zip(bank.candidates, np.mean(weights, axis=0), strict=True):
        shares[_group(candidate)] += float(weight)
    taken_out = np.concatenate(found, axis=1)
    kind = _kind(shares, quiet(taken_out, frequencies, rate))
    if kind == "ecg" and not spiked(samples - taken_out.sum(axis=0)):
        kind = ""
    return Analysis(kind, samples, damaged)


def _kind(shares: dict[str, float], pauses: float) -> str:
    """What the groups' shares of the weight, and the tones' share of pauses, come to."""
    if shares["fading"] + shares["changing"] >= HELD and pauses >= LEAST_QUIET:
        return "switching" if shares["fading"] >= HELD else "everything"
    return "ecg" if shares["spiked"] >= HELD else ""


def _group(candidate: Candidate) -> str:
    """For what recordings a filter of `auto` is."""
    method = candidate.method
    if method == "fading":
        return "fading"
    if method.startswith("wander") or (method == "extended" and candidate.settings.renewal >= RENEWING):
        return "changing"
    return "spiked" if method == "extended-student-whitened" else "other"


def spiked(rest: Array) -> bool:
    """Whether what the tones leave (n,), NaN where a sample is missing, has spikes, as an ECG has."""
    from scipy.stats import kurtosis

    steps = np.diff(rest)
    return bool(kurtosis(steps[np.isfinite(steps)]) >= SPIKED)


def quiet(tones: Array, frequencies: Sequence[float], rate: float) -> float:
    """Share of the periods of tones (K, n) in which these are quiet, beside their own level; the mean over tones.

    What lies before a tone is first heard is no pause.
    """
    shares = []
    for tone, frequency in zip(tones, frequencies, strict=True):
        period = max(1, round(rate / frequency))
        whole = tone[: len(tone) // period * period].reshape(-1, period)
        powers = np.nanmean(np.square(whole[~np.isnan(whole).all(axis=1)]), axis=1)
        silent = powers < QUIET**2 * np.mean(powers)
        shares.append(np.mean(silent[np.argmin(silent) :]) if len(powers) else 0.0)
    return float(np.mean(shares))


def better_networks(look: Analysis, frequencies: Sequence[float], rate: float) -> list[BetterNetwork]:
    """Networks of these tones (Hz) at this rate (Hz) that are ahead of the filters on what a recording shows."""
    found = []
    for pipeline in PIPELINES:
        if look.kind in pipeline.kinds and pipeline.takes(frequencies, rate):
            figures = pipeline.judged(look.kind)
            if figures and figures[0] > figures[1]:
                found.append(BetterNetwork(pipeline, look.kind, *figures))
    return found


def any_network(frequencies: Sequence[float], rate: float) -> bool:
    """Whether there is any network for these tones (Hz) at this rate (Hz), so that a look is worth its time."""
    fitting = [one for one in PIPELINES if one.takes(frequencies, rate)]
    return any(one.judged(kind) for one in fitting for kind in one.kinds)


def load_network(
    pipeline: Pipeline, wanted: Request, look: Analysis | None = None
) -> "AnyToneFilter | ToneFilter | None":
    """The filter of a pipeline's network, or None where that does not take what is wanted, or what was looked at."""
    from tonesift.networks import model as models  # PyTorch takes seconds to import: only where it is needed
    from tonesift.streaming.anytones import AnyToneFilter, trained_range
    from tonesift.streaming.tonefilter import ToneFilter

    model, metadata = models.load(pipeline.model)
    if metadata.sampling_rate != pipeline.rate:
        return None
    if model.front:
        low, high = trained_range(metadata)
        inside = all(low <= frequency <= high for frequency in wanted.frequencies)
        if not (inside and model.selects):
            return None
        options = {"tones": wanted.tones, "gaps": wanted.gaps or "predict", "clip": wanted.clip}
        return AnyToneFilter(model, metadata, wanted.frequencies, **options)
    places = _places(metadata, wanted)
    if places is None or wanted.clip or wanted.gaps == "predict" or not metadata.causal or not _alike(look, metadata):
        return None
    return ToneFilter(model, metadata, places, wanted.gaps or "hold")


def _places(metadata: "Metadata", wanted: Request) -> list[int] | None:
    """Where the tones wanted stand among a network's own; None if these are not the same."""
    if not same(wanted.frequencies, metadata.frequencies):
        return None
    own = np.array(metadata.frequencies)
    places = [int(np.argmin(np.abs(own - frequency))) for frequency in wanted.frequencies]
    return places if wanted.tones is None else [places[tone] for tone in wanted.tones]


def _alike(look: Analysis | None, metadata: "Metadata") -> bool:
    """Whether a network that reads samples finds what it was trained on: its level about 0, no gaps, nothing clipped.

    What share of the power lies at the tones, as `InputCheck` has it, says nothing where tones begin and end in one.
    """
    if look is None:
        return True
    level, (low, high) = float(np.std(look.samples)), LEVELS[metadata.task]
    centred = abs(float(np.mean(look.samples))) <= LARGEST_OFFSET * level
    return not look.damaged and centred and low <= level / trained(metadata).level <= high


def same(frequencies: Sequence[float], others: Sequence[float]) -> bool:
    """Whether two sets of frequencies are the same, in whatever order."""
    pairs = zip(sorted(frequencies), sorted(others), strict=False)
    return len(frequencies) == len(others) and all(math.isclose(one, other, rel_tol=1e-9) for one, other in pairs)


class NetworkChoice(NamedTuple):
    """What method `auto` takes instead of the filters, if anything.

    Attributes
    ----------
    filter : AnyToneFilter, ToneFilter or None
        At the start of a stream, or where a state ended; None for the filters.
    name : str
        Of the pipeline.
    line : str
        Why.
    hint : str
        What to do for a network that is not there.
    """

    filter: "AnyToneFilter | ToneFilter | None" = None
    name: str = ""
    line: str = ""
    hint: str = ""


def choose_network(source: Source, rate: float, wanted: Request, state: Path | None) -> NetworkChoice:
    """A network for a recording at this rate (Hz), if its beginning shows what one is ahead for, or its state has one.

    Raises
    ------
    InputError
        If the state has one that cannot go on.
    """
    if state is not None and state.exists():
        name = keeping.network(state)
        return _resumed(_pipeline(name, state), rate, wanted, state) if name else NetworkChoice()
    if source.live or not any_network(wanted.frequencies, rate):
        return NetworkChoice()
    look, hint = analyse(beginning(source, rate), wanted.frequencies, rate, wanted.clip), ""
    for choice in better_networks(look, wanted.frequencies, rate):
        if choice.pipeline.only or not choice.pipeline.model.is_file():
            hint = hint or choice.hint
        else:
            try:
                tone_filter = load_network(choice.pipeline, wanted, look)
            except InputError as error:  # nobody asked for it, and the filters need no model
                hint = hint or f"{SHOWN[choice.kind]}, but {choice.pipeline.name} cannot be used: {error}"
                continue
            if tone_filter:
                return NetworkChoice(tone_filter, choice.pipeline.name, choice.line, hint)
    return NetworkChoice(hint=hint)


# What was chosen, in a state


def _pipeline(name: str, state: Path) -> Pipeline:
    for pipeline in PIPELINES:
        if pipeline.name == name:
            return pipeline
    raise InputError(f"{state}: it goes on with a network that is not known here: begin a new stream")


def _resumed(pipeline: Pipeline, rate: float, wanted: Request, state: Path) -> NetworkChoice:
    name = pipeline.name
    if not pipeline.model.is_file():
        raise InputError(
            f"{state}: it goes on with the network of {name}, but there is no {pipeline.model}: make it with "
            f"`dvc repro {name}/dvc.yaml`, or begin a new stream"
        )
    tone_filter = load_network(pipeline, wanted) if pipeline.takes(wanted.frequencies, rate) else None
    if tone_filter is None:
        raise InputError(
            f"{state}: it goes on with the network of {name}, which does not take this: go on with the same tones, "
            "sampling rate and options, or begin a new stream"
        )
    keeping.restore(tone_filter, state)
    return NetworkChoice(tone_filter, name, f"method auto: the network of {name}, taken when {state} was begun")
