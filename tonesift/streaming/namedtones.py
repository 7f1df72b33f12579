"""Tones of known frequencies taken out of a recording, with no model and no training; the face is `ToneFilter`'s.

    tone_filter = NamedToneFilter([50.0, 100.0, 150.0], 1000.0)
    tones = tone_filter.push(samples)  # (K, n), as they are in the recording: their sum is its mains hum

The first stretch is held back until it is twice as long as the tones take to be told apart. Then filters are made on
its scale (`methods`), and every sample is answered as it comes, by their average (`bank`). At twice, four, eight and
sixteen times that length they are adjusted to what all the samples so far show. Nothing that comes out depends on how
the stream was cut into pieces.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tonesift.errors import InputError
from tonesift.estimators.tracking.bank import Bank, Candidate, new_bank, residual
from tonesift.estimators.tracking.methods import estimate_facts, make_bank, parse_method, remake_bank
from tonesift.estimators.tracking.settings import Settings
from tonesift.streaming import states
from tonesift.streaming.gaps import GAPS, Gaps, as_samples
from tonesift.streaming.input_check import distinct_seconds

WAYS = (*GAPS, "predict")  # with gaps
MOST_TONES = 64
STRETCHES = (1, 2, 4, 8, 16)  # where filters are made, and made anew, in first stretches
ROUNDS = len(STRETCHES)
FAINTEST = 1e-60  # below it a sample is silence: squares of less are lost in double precision
LONGEST = 32_768  # samples that filters are made by at most
LEAST_SHOWN = 0.05  # weight of a method that is named in the line that says what was taken
OWN = ("filter", "tones", "samples", "last", "gaps_filled", "round", "kept", "left", "line", "bank", "losses", "memory")
WORDS = {
    "kalman": "steady tones",
    "wander": "amplitudes and phases that wander",
    "extended": "frequencies that drift",
    "fading": "tones that come and go",
    "student": "outliers or heavy tails",
    "background": "a slow background",
    "whitened": "a coloured background",
}


class NamedToneFilter(states.Saved):
    """Classical filters for a stream of samples, averaged by how well each foresees it.

    Parameters
    ----------
    frequencies : sequence of float
        Hz, of all tones that are in the recording, K of them.
    sampling_rate : float
        Hz.
    method : str
        'auto', or what the filter is to be made of, such as 'extended-student-whitened'; `methods` has the words.
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
    method_line : str
        One line that says which filters count how much, and why; empty before there are any.

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
        if method != "auto":
            parse_method(method)
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
        return self._kept if self._bank is None else self._kept[:0]

    @property
    def gaps_filled(self) -> int:
        """Samples that were missing."""
        return self._gaps.filled

    @property
    def restarts(self) -> int:
        """Times that the filter which counts most had lost the tones and began anew."""
        return self._bank.trackers[int(np.argmax(self._bank.weights))].restarts if self._bank else 0

    def reset(self) -> None:
        """Begin a new stream."""
        self._gaps, self.samples, self._finished, self._round = Gaps(self._how, WAYS), 0, False, 0
        self._kept, self._left, self.method_line = np.zeros(0), np.zeros(0), ""
        self._bank: Bank | None = None

    def given(self, more: int) -> int:
        """Samples of the tones that come out when so many more are pushed, and the stream is not finished."""
        if self._bank:
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
        fresh = np.where(np.abs(fresh) < FAINTEST, 0.0, fresh)  # NaN stays
        self.samples += len(fresh)
        found = [np.zeros((len(self.all_frequencies), 0))]
        while len(fresh) and self._round < ROUNDS:
            piece, fresh = np.split(fresh, [self._end() - len(self._kept)])
            self._kept = np.concatenate([self._kept, piece])
            if self._bank:
                found.append(self._bank.push(piece))
                self._left = np.concatenate([self._left, residual(piece, found[-1])])
            if len(self._kept) == self._end():
                found.append(self._adjusted(len(fresh)))
        if len(fresh):
            found.append(self._bank.push(fresh))
        return np.concatenate(found, axis=1)[list(self.tones)].astype("f4")

    def finish(self) -> NDArray[np.float32]:
        """Tones (tones, m) of the samples that wait, from filters made by these; then the stream is over."""
        self._check_open()
        self._finished = True
        found = (
            self._adjusted(0) if self._bank is None and len(self._kept) else np.zeros((len(self.all_frequencies), 0))
        )
        if self._bank:
            self.method_line = self._line(self.samples)
        return found[list(self.tones)].astype("f4")

    def _end(self) -> int:
        """How long the stretch is at whose end the filters are adjusted next."""
        return min(self._first * STRETCHES[self._round], max(LONGEST, self._first))

    def _adjusted(self, more: int) -> NDArray[np.float64]:
        """Make or adjust the filters by all the samples kept, `more` of those pushed to come; what waited for that."""
        facts = estimate_facts(self._kept, self.all_frequencies, self.sampling_rate, self._clip)
        known = (self.all_frequencies, self.sampling_rate, self.method, facts)
        waited, tones = self._bank is None, np.zeros((len(self.all_frequencies), 0))
        if self._round == 0:
            self._bank, tones = make_bank(self._kept, *known)
            self._left = residual(self._kept, tones)
        else:
            self._bank = remake_bank(self._bank, self._kept, self._left, *known)
        tones = tones if waited else tones[:, :0]
        if facts.level == 0:  # nothing can be learnt from silence: filters are made anew on what comes behind it
            self._kept, self._left = self._kept[:0], self._left[:0]
            return tones
        self.method_line = self._line(self.samples - more)
        self._round = ROUNDS if self._end() >= LONGEST else self._round + 1
        if self._round == ROUNDS:
            self._kept, self._left = self._kept[:0], self._left[:0]
        return tones

    # The state

    def state(self) -> dict[str, NDArray]:
        """Everything needed to go on later, in another filter of the same tones and method: arrays by name."""
        self._check_open()
        bank, trackers = self._bank, self._bank.trackers if self._bank else ()
        made = [[one.method, asdict(one.settings)] for one in bank.candidates] if bank else []
        arrays = {
            f"tracker{place}_{name}": value for place, one in enumerate(trackers) for name, value in one.state().items()
        }
        return {
            "filter": np.array(self.fingerprint),
            "tones": np.array(self.tones),
            "samples": np.array(self.samples),
            "last": np.array(self._gaps.last),
            "gaps_filled": np.array(self._gaps.filled),
            "round": np.array(self._round),
            "kept": self._kept.copy(),
            "left": self._left.copy(),
            "line": np.array(self.method_line),
            "bank": np.array(json.dumps(made)),
            "losses": bank.losses.copy() if bank else np.zeros(0),
            "memory": np.array(bank.memory if bank else 0.0),
            **arrays,
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
        states.check_tones(state["tones"].tolist(), self.tones, name)
        bank = self._bank_of(state, name)
        self.reset()
        self._bank, self.method_line = bank, str(state["line"])
        self._kept, self._left = state["kept"].copy(), state["left"].copy()
        self._round, self.samples = int(state["round"]), int(state["samples"])
        self._gaps.last, self._gaps.filled = float(state["last"]), int(state["gaps_filled"])

    def _bank_of(self, state: dict[str, NDArray], name: str) -> Bank | None:
        """The filters that a state holds, if it holds any; what cannot be is refused."""
        damaged = InputError(f"{name}: a damaged state of this filter: begin a new stream")
        if not self._possible(state):
            raise damaged
        found = {key: value for key, value in state.items() if key not in OWN}
        try:
            made = [Candidate(str(method), _settings(content)) for method, content in json.loads(str(state["bank"]))]
            if not made and not found and int(state["round"]) == 0 and not len(state["losses"]):
                return None
            bank = new_bank(made, self.all_frequencies, self.sampling_rate).at(state["losses"], float(state["memory"]))
            for place, tracker in enumerate(bank.trackers):
                own = f"tracker{place}_"
                tracker.set_state({key.removeprefix(own): found.pop(key) for key in list(found) if key.startswith(own)})
        except (InputError, TypeError, ValueError, IndexError) as error:
            raise damaged from error
        if found:
            raise damaged
        return bank

    def _possible(self, state: dict[str, NDArray]) -> bool:
        """Whether numbers and lengths are those that a filter can have."""
        if any(state[key].shape != () or state[key].dtype.kind != "i" for key in ("samples", "gaps_filled", "round")):
            return False
        if any(state[key].shape != () or state[key].dtype.kind != "f" for key in ("last", "memory")):
            return False
        if any(state[key].ndim != 1 or state[key].dtype != np.float64 for key in ("kept", "left", "losses")):
            return False
        samples, filled, rounds = (int(state[key]) for key in ("samples", "gaps_filled", "round"))
        waits = str(state["bank"]) == "[]"
        return bool(
            np.isfinite(state["last"])
            and 0 <= filled <= samples
            and 0 <= rounds <= ROUNDS
            and len(state["kept"]) <= min(samples, self._first * STRETCHES[-1])
            and len(state["left"]) == (0 if waits else len(state["kept"]))
            and not np.isinf(state["kept"]).any()
            and not np.isinf(state["left"]).any()
        )

    # Words

    @property
    def shares(self) -> dict[str, float]:
        """How much each method counts, the largest first; none before there are filters."""
        found: dict[str, float] = {}
        for candidate, weight in zip(self._bank.candidates, self._bank.weights, strict=True) if self._bank else ():
            found[candidate.method] = found.get(candidate.method, 0.0) + float(weight)
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def _line(self, seen: int) -> str:
        """Which filters count how much after so many samples, and what speaks for the first of them."""
        shares = self.shares
        ordered = list(shares)
        gains = self._bank.gains(ordered[0])
        shown = [f"{WORDS[word]}{_worth(gains.get(word, 0.0))}" for word in ordered[0].split("-")]
        shown += self._damage(seen)
        if self.method != "auto":
            return f"method {ordered[0]}, as asked: {', '.join(shown)}"
        named = [f"{one} {shares[one]:.0%}" for one in ordered if shares[one] >= LEAST_SHOWN]
        after = shown_time(seen / self.sampling_rate)
        return f"method auto, after {after}: {', '.join(named)}; {', '.join(shown)}"

    def _damage(self, seen: int) -> list[str]:
        """Shares of the samples that were clipped or missing, in words."""
        one, found = self._bank.trackers[0], []
        if one.clipped:
            limits = " and ".join(f"{at:.3g}" for at in one.settings.clip if math.isfinite(at))
            found.append(f"{_share(one.clipped / seen)} clipped at {limits}")
        return [*found, f"{_share(one.missing / seen)} missing"] if one.missing else found

    def notes(self) -> list[str]:
        """What is to be said of the recording once it is over."""
        seconds, needed = self.samples / self.sampling_rate, distinct_seconds(self.all_frequencies, least=0.0)
        found = []
        if seconds < needed:
            there = shown_time(seconds)
            found.append(f"the tones take {shown_time(needed)} to be told apart, but there are {there} of it")
        one = self._bank.trackers[0] if self._bank else None
        if one and one.clipped and one.clipped + one.missing == self.samples:
            low, high = one.settings.clip
            found.append(f"every sample lies at or beyond {low:.6g} and {high:.6g} (--clip)")
        if self.restarts:
            found.append(f"the filter lost the tones {self.restarts} times, and began anew")
        return found


def shown_time(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("s", 1.0)):
        if seconds >= 3 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def _share(part: float) -> str:
    """A share in percent, of which a small one is no 0."""
    return f"{part:.0%}" if part >= 0.01 else f"{100 * part:.1g}%"


def _worth(gain: float) -> str:
    return f" ({100 * gain:.2g} % closer)" if gain > 0 else ""


def _settings(content: dict[str, Any]) -> Settings:
    """Settings as a state holds them: JSON, whose numbers come back to the last bit."""
    background = tuple((float(std), float(time)) for std, time in content["background"])
    whitening = tuple(float(weight) for weight in content["whitening"])
    clip = tuple(float(limit) for limit in content["clip"])
    return Settings(**{**content, "background": background, "whitening": whitening, "clip": clip})


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
