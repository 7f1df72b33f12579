"""Tones of known frequencies taken out of a recording, with no model and no training; the face is `ToneFilter`'s.

    tone_filter = NamedToneFilter([50.0, 100.0, 150.0], 1000.0)
    tones = tone_filter.push(samples)  # (K, n), as they are in the recording: their sum is its mains hum

The first stretch is held back until it is twice as long as the tones take to be told apart. Then a filter is chosen by
what the stretch shows (`choice`), and every sample is answered as it comes. At twice and eight times that length the
choice is made again, with all the samples so far. Nothing that comes out depends on how the stream was cut into pieces.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tonesift.errors import InputError
from tonesift.estimators.tracking.choice import Choice, choose, parts
from tonesift.estimators.tracking.settings import Settings
from tonesift.estimators.tracking.tracker import Tracker
from tonesift.streaming import states
from tonesift.streaming.fit import distinct_seconds
from tonesift.streaming.gaps import GAPS, Gaps, as_samples

WAYS = (*GAPS, "predict")  # with gaps
MOST_TONES = 64
STRETCHES = (1, 2, 8)  # where the choice is made, and made again, in first stretches
ROUNDS = len(STRETCHES)
LONGEST = 32_768  # samples that a choice is made on at most
OWN = ("filter", "tones", "samples", "last", "gaps_filled", "round", "kept", "method", "settings")
WORDS = {
    "kalman": "steady tones",
    "wander": "amplitudes and phases that wander",
    "extended": "frequencies that drift",
    "fading": "tones that come and go",
    "student": "outliers or heavy tails",
    "background": "a slow background",
    "whitened": "a coloured background",
}


class NamedToneFilter:
    """Classical filters for a stream of samples, chosen by what the stream shows.

    Parameters
    ----------
    frequencies : sequence of float
        Hz, of all tones that are in the recording, K of them.
    sampling_rate : float
        Hz.
    method : str
        'auto', or what the filter is to be made of, such as 'extended-student-whitened'; `choice` has the words.
    tones : sequence of int, optional
        Which tones to give, from 0, in this order; all of them without a choice.
    gaps : {'predict', 'refuse', 'zero', 'hold'}
        What is done about samples that are missing; see `Gaps`.
    clip : (float, float), optional
        Lowest and highest value of the recorder; found in the first stretch without it.

    Attributes
    ----------
    samples : int
        Pushed so far.
    choice : Choice or None
        What was chosen in this process, and why; None before that.

    Raises
    ------
    InputError
        If a frequency is not above 0 and below half the sampling rate, two are equal, or a name is unknown.
    """

    hop = latency = count = 1  # sample by sample; the recording is the sum of its tones

    def __init__(
        self,
        frequencies: Sequence[float],
        sampling_rate: float,
        method: str = "auto",
        *,
        tones: Sequence[int] | None = None,
        gaps: str = "predict",
        clip: tuple[float, float] | None = None,
    ) -> None:
        check_tones(frequencies, sampling_rate)
        parts(method)
        self.all_frequencies = tuple(float(frequency) for frequency in frequencies)
        self.sampling_rate, self.method, self._clip, self._how = float(sampling_rate), method, clip, gaps
        self.tones = tuple(range(len(frequencies))) if tones is None else tuple(tones)
        self.frequencies = tuple(self.all_frequencies[tone] for tone in self.tones)
        self._first = first_samples(self.all_frequencies, self.sampling_rate)
        known = [self.all_frequencies, self.sampling_rate, method, clip]
        self.fingerprint = hashlib.md5(json.dumps(known).encode(), usedforsecurity=False).hexdigest()[:12]
        self.reset()

    @property
    def waiting(self) -> int:
        """Samples pushed that are held back until a filter is chosen."""
        return len(self.held)

    @property
    def held(self) -> NDArray[np.float64]:
        """The samples that wait."""
        return self._kept if self._tracker is None else self._kept[:0]

    @property
    def gaps_filled(self) -> int:
        """Samples that were missing."""
        return self._gaps.filled

    @property
    def restarts(self) -> int:
        """Times the filter had lost the tones and began anew."""
        return self._tracker.restarts if self._tracker else 0

    def reset(self) -> None:
        """Begin a new stream."""
        self._gaps, self.samples, self._finished, self._round = Gaps(self._how, WAYS), 0, False, 0
        self._kept, self.choice = np.zeros(0), None
        self._tracker: Tracker | None = None
        self._chosen = ""

    def given(self, more: int) -> int:
        """Samples of the tones that come out when so many more are pushed, and the stream is not finished."""
        if self._tracker:
            return more
        return len(self._kept) + more if len(self._kept) + more >= self._first else 0

    def push(self, samples: ArrayLike) -> NDArray[np.float32]:
        """Take the next samples (n,) of the stream and give the tones (tones, m) that are known by now.

        Raises
        ------
        InputError
            If they are not one-dimensional, no real numbers, missing (with gaps='refuse') or come after `finish`;
            nothing has changed then.
        """
        self._check_open()
        fresh = self._gaps.fill(as_samples(samples, "f8"), self.samples)
        self.samples += len(fresh)
        found = [np.zeros((len(self.all_frequencies), 0))]
        while len(fresh) and self._round < ROUNDS:
            piece, fresh = np.split(fresh, [self._end() - len(self._kept)])
            self._kept = np.concatenate([self._kept, piece])
            if self._tracker:
                found.append(self._tracker.push(piece).tones)
            if len(self._kept) == self._end():
                found.append(self._decide(hedged=self._round == 0))
        if len(fresh):
            found.append(self._tracker.push(fresh).tones)
        return np.concatenate(found, axis=1)[list(self.tones)].astype("f4")

    def finish(self) -> NDArray[np.float32]:
        """Tones (tones, m) of the samples that wait, from a filter chosen by these; then the stream is over."""
        self._check_open()
        self._finished = True
        if self._tracker or not len(self._kept):
            return np.zeros((len(self.tones), 0), dtype="f4")
        return self._decide(hedged=False)[list(self.tones)].astype("f4")

    def _end(self) -> int:
        """How long the stretch is on which the next choice is made."""
        return min(self._first * STRETCHES[self._round], max(LONGEST, self._first))

    def _decide(self, hedged: bool) -> NDArray[np.float64]:
        """Choose a filter by all the samples kept; the tones (K, m) of those that waited for that."""
        known = (self._kept, self.all_frequencies, self.sampling_rate, self.method, self._clip)
        choice = choose(*known, hedged=hedged)
        waited = self._tracker is None
        if (
            choice.facts.level == 0
        ):  # nothing can be learnt from silence: the choice is made anew on what comes behind it
            self._kept, self._tracker = self._kept[:0], choice.tracker
            return choice.tones if waited else choice.tones[:, :0]
        self.choice, self._tracker, self._chosen = choice, choice.tracker, choice.candidate.method
        self._round = ROUNDS if self._end() >= LONGEST else self._round + 1
        if self._round == ROUNDS:
            self._kept = self._kept[:0]
        return choice.tones if waited else choice.tones[:, :0]

    # The state

    def state(self) -> dict[str, NDArray]:
        """Everything needed to go on later, in another filter of the same tones and method: arrays by name."""
        self._check_open()
        settings = json.dumps(asdict(self._tracker.settings)) if self._tracker else ""
        tracker = self._tracker.state() if self._tracker else {}
        return {
            "filter": np.array(self.fingerprint),
            "tones": np.array(self.tones),
            "samples": np.array(self.samples),
            "last": np.array(self._gaps.last),
            "gaps_filled": np.array(self._gaps.filled),
            "round": np.array(self._round),
            "kept": self._kept.copy(),
            "method": np.array(self._chosen),
            "settings": np.array(settings),
            **{f"tracker_{name}": value for name, value in tracker.items()},
        }

    def set_state(self, state: dict[str, NDArray], name: str = "state") -> None:
        """Go on from what `state` gave; `name` is what an error calls it.

        Raises
        ------
        InputError
            If it is of another filter, or damaged; nothing has changed then.
        """
        if not set(OWN) <= set(state):
            raise InputError(f"{name}: not the state of a filter of named tones: begin a new stream")
        if str(state["filter"]) != self.fingerprint:
            raise InputError(
                f"{name}: the state of filter {state['filter']}, but this one is {self.fingerprint}: go on with the "
                "same tones, sampling rate and method, or begin a new stream"
            )
        if state["tones"].tolist() != list(self.tones):
            raise InputError(
                f"{name}: the state of tones {state['tones'].tolist()} (from 0), but this filter gives "
                f"{list(self.tones)}: ask for the same tones, or begin a new stream"
            )
        tracker = self._tracker_of(state, name)
        self.reset()
        self._tracker, self._chosen = tracker, str(state["method"])
        self._kept, self._round, self.samples = state["kept"].copy(), int(state["round"]), int(state["samples"])
        self._gaps.last, self._gaps.filled = float(state["last"]), int(state["gaps_filled"])

    def save(self, path: str | Path) -> None:
        """Write the state to a NumPy .npz file, replaced only once the new one is whole."""
        states.write(path, self.state())

    def restore(self, path: str | Path) -> None:
        """Go on from a file that `save` wrote.

        Raises
        ------
        InputError
            If it is missing, damaged, or of another filter; nothing has changed then.
        """
        self.set_state(states.read(path), str(path))

    def _tracker_of(self, state: dict[str, NDArray], name: str) -> Tracker | None:
        """The filter that a state holds, if it holds one; what cannot be is refused."""
        damaged = InputError(f"{name}: a damaged state of this filter: begin a new stream")
        numbers = ("samples", "gaps_filled", "round")
        if any(state[key].shape != () or state[key].dtype.kind != "i" for key in numbers):
            raise damaged
        samples, filled, rounds = (int(state[key]) for key in numbers)
        kept, last = state["kept"], state["last"]
        right = kept.ndim == 1 and kept.dtype == np.float64 and last.shape == () and last.dtype.kind == "f"
        if not (right and np.isfinite(last) and 0 <= filled <= samples and 0 <= rounds <= ROUNDS):
            raise damaged
        if len(kept) > min(samples, self._first * STRETCHES[-1]) or np.isinf(kept).any():
            raise damaged
        found = {key.removeprefix("tracker_"): value for key, value in state.items() if key not in OWN}
        if not found and str(state["settings"]) == "" and rounds == 0:
            return None
        try:
            tracker = Tracker(self.all_frequencies, self.sampling_rate, _settings(str(state["settings"])))
            tracker.set_state(found)
        except (InputError, TypeError, ValueError) as error:
            raise damaged from error
        return tracker

    def _check_open(self) -> None:
        if self._finished:
            raise InputError("the stream was finished: call reset() to begin a new one")

    # Words

    @property
    def method_line(self) -> str:
        """One line that says which filter was chosen, and why."""
        if not self.choice:
            return f"method {self._chosen}, from the state" if self._chosen else ""
        choice = self.choice
        length = shown_time(choice.tones.shape[1] / self.sampling_rate)
        words = choice.candidate.method.split("-")
        shown = [f"{WORDS[word]}{_worth(choice, word)}" for word in words]
        facts = choice.facts
        if facts.clipped:
            low, high = facts.clip
            shown.append(
                f"{facts.clipped:.0%} clipped at {' and '.join(f'{at:.3g}' for at in (low, high) if math.isfinite(at))}"
            )
        if facts.missing:
            shown.append(f"{facts.missing:.0%} missing")
        how = "foresees its first" if self.method == "auto" else "as asked, set by its first"
        return f"method {choice.candidate.method}, {how} {length} best: {', '.join(shown)}"

    def notes(self) -> list[str]:
        """What is to be said of the recording once it is over."""
        seconds, needed = self.samples / self.sampling_rate, distinct_seconds(self.all_frequencies, least=0.0)
        found = []
        if seconds < needed:
            there = shown_time(seconds)
            found.append(f"the tones take {shown_time(needed)} to be told apart, but there are {there} of it")
        if self.restarts:
            found.append(f"the filter lost the tones {self.restarts} times, and began anew")
        return found


def shown_time(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("s", 1.0)):
        if seconds >= 3 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def _worth(choice: Choice, word: str) -> str:
    gain = choice.gains.get(word)
    return f" ({100 * gain:.2g} % closer)" if gain is not None and gain > 0 else ""


def _settings(text: str) -> Settings:
    """Settings as a state holds them: JSON, whose numbers come back to the last bit."""
    content = json.loads(text)
    content["background"] = tuple((float(std), float(time)) for std, time in content["background"])
    content["whitening"] = tuple(float(weight) for weight in content["whitening"])
    content["clip"] = tuple(float(limit) for limit in content["clip"])
    return Settings(**content)


def first_samples(frequencies: Sequence[float], rate: float) -> int:
    """Samples of the first stretch: twice as long as the tones take to be told apart."""
    return min(max(math.ceil(2 * distinct_seconds(frequencies) * rate), 8 * len(frequencies)), LONGEST)


def check_tones(frequencies: Sequence[float], rate: float) -> None:
    """Refuse tones that a recording at this rate in Hz cannot hold, two alike, and too many of them."""
    shown = ", ".join(f"{frequency:.12g}" for frequency in frequencies)
    if not 1 <= len(frequencies) <= MOST_TONES:
        raise InputError(f"tones {shown}: got {len(frequencies)}, but a filter follows 1 to {MOST_TONES}")
    for frequency in frequencies:
        if not 0 < frequency < rate / 2:
            raise InputError(
                f"tone {frequency:.12g} Hz: sampled at {rate:.12g} Hz, a recording holds tones above 0 and below "
                f"{rate / 2:.12g} Hz: leave it out"
            )
    if len(set(frequencies)) < len(frequencies):
        raise InputError(f"tones {shown} Hz: two of them are the same: name each once")
