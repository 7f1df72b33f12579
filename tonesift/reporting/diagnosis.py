"""Words from figures: what the curves and scores of a training run say, and what to change next.

A verdict is the first that applies of: leaking (no other figure can be believed then), at the limit (nothing is left
to gain), stopped too early, overfit, underfit, sound. What to change comes as command lines with one change each, so
that a gain can be put down to it; every value stays inside the range advised in `tonesift.params`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tonesift.errors import InputError
from tonesift.families import FAMILIES
from tonesift.params import Params, conflicts

CURVES = ("train/loss", "validation/loss", "train/r2", "validation/r2")
SCORES = ("r2", "mse", "train_mse")

LEAK_MARGIN = 0.05  # R²: a validation block is short, and chance alone moves its R² by some hundredths
AT_LIMIT_MSE = 1.15  # times the limit's: close to an R² of 1 shares of R² tell nothing
AT_LIMIT = 0.97  # share of the best possible: what another seed changes is as large as what is left
NOTHING = 1e-9  # below which an error is none
SMALL_GAP = 0.005  # R²: less is left to gain than two draws of the noise differ by, however low the limit
IMPROVING = 0.01  # share by which the loss fell lately: below 1 % more epochs are not worth their time
RECENT = 0.2  # share of the epochs that counts as lately: long enough to see through a noisy curve
NEWEST = 0.1  # share of the epochs that the best one must lie in for the curve to be still falling
OVERFIT_GAP = 0.8  # training over validation loss: dropout raises the first, so even 1 is less than it seems
RISING = 1.05  # last over best validation loss: from epoch to epoch it scatters by 1 to 3 %
EARLY = 0.5  # share of the epochs run: the best epoch lies in the first half, the rest made it worse
MEMORISED = 1.2  # test over training MSE of the weights kept: wanted are 0.9 to 1.1, this is twice as far out
UNDERFIT_SHARE = 0.9  # of the limit, on the very data trained on: dropout and early stopping cost less than a tenth
UNDERFIT_R2 = 0.3  # the same where no limit is known: the least this project wants of a network


@dataclass(frozen=True)
class Diagnosis:
    """What is the matter with a run, and what to try.

    Attributes
    ----------
    verdict : str
        'leaking', 'at the limit', 'stopped too early', 'overfit', 'underfit' or 'sound'.
    sentences : tuple of str
        Why, with the figures it rests on, and what would help.
    commands : tuple of str
        Ready `dvc exp run` lines, one change each, the most promising first.
    """

    verdict: str
    sentences: tuple[str, ...]
    commands: tuple[str, ...]


def diagnose(
    history: Mapping[str, ArrayLike],
    scores: Mapping[str, float],
    limit: float | None,
    params: Params,
) -> Diagnosis:
    """Judge a training run by its curves, its scores and the best that was possible.

    Parameters
    ----------
    history : mapping of str to array, shape (epochs,)
        'train/loss', 'validation/loss', 'train/r2' and 'validation/r2' of every epoch.
    scores : mapping of str to float
        'r2' and 'mse' on test and 'train_mse' on the training windows, all of the weights kept and without dropout;
        further entries are not looked at, so that the row of all tones in `tones.csv` will do.
    limit : float or None
        R² of the best possible estimator with the network's context; None where it is not known.
    params : Params
        As they were in the run.

    Returns
    -------
    Diagnosis

    Raises
    ------
    InputError
        If a curve or score is missing or not finite, or the curves differ in length.
    """
    run = _Run(_curves(history), _finite(scores, limit), limit, params)
    verdict = next(name for name, applies in TESTS.items() if applies(run))
    sentences = (*EXPLANATIONS[verdict](run), *_context(run))
    return Diagnosis(verdict, sentences, _commands(_changes(run, verdict), params))


@dataclass(frozen=True)
class _Run:
    curves: dict[str, NDArray[np.float64]]
    scores: dict[str, float]
    limit: float | None
    params: Params

    @property
    def losses(self) -> NDArray[np.float64]:
        return self.curves["validation/loss"]

    @property
    def epochs(self) -> int:
        return len(self.losses)

    @property
    def best(self) -> int:
        """Number of the best epoch, from 1."""
        return int(np.argmin(self.losses)) + 1

    @property
    def validation_r2(self) -> float:
        return float(self.curves["validation/r2"][self.best - 1])

    @property
    def train_r2(self) -> float:
        """R² on the training windows without dropout; the variance of the targets is that of the test recordings."""
        variance = self.scores["mse"] / (1 - self.scores["r2"]) if self.scores["r2"] < 1 else math.inf
        return 1 - self.scores["train_mse"] / variance

    @property
    def ratio(self) -> float:
        """Test over training MSE; 1 where neither has an error."""
        test, train = self.scores["mse"], self.scores["train_mse"]
        return test / train if train > 0 else (1.0 if test == 0 else math.inf)

    @property
    def stateful(self) -> bool:
        return self.params.train.stateful

    @property
    def window(self) -> int:
        """Samples in a window."""
        return self.params.window_samples

    @property
    def random_split(self) -> bool:
        return self.params.prepare.split == "random"

    @property
    def same_noise(self) -> bool:
        return self.params.data.train_seed == self.params.data.test_seed


def _curves(history: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float64]]:
    missing = [name for name in CURVES if name not in history]
    if missing:
        raise InputError(f"history: no curve {', '.join(missing)}: run `dvc repro train`")
    curves = {name: np.asarray(history[name], dtype=np.float64) for name in CURVES}
    shapes = {name: curve.shape for name, curve in curves.items()}
    if len(set(shapes.values())) > 1 or curves["train/loss"].ndim != 1 or curves["train/loss"].size == 0:
        raise InputError(f"history: curves of shapes {shapes}, but each needs one value for every epoch")
    for name, curve in curves.items():
        if not np.isfinite(curve).all():
            raise InputError(f"history: {name} is not finite in epoch {int(np.argmin(np.isfinite(curve))) + 1}")
    return curves


def _finite(scores: Mapping[str, float], limit: float | None) -> dict[str, float]:
    missing = [name for name in SCORES if name not in scores]
    if missing:
        raise InputError(f"scores: no {', '.join(missing)}: run `dvc repro evaluate`")
    found = {name: float(scores[name]) for name in SCORES}
    for name, value in (found | {"limit": 0.0 if limit is None else limit}).items():
        if not math.isfinite(value):
            raise InputError(f"scores: {name} is {value}, but a verdict needs a finite number")
    return found


def _leaking(run: _Run) -> bool:
    """Better than the best possible, or on a random split much better than on test."""
    above_test = run.random_split and run.validation_r2 > run.scores["r2"] + LEAK_MARGIN
    if run.limit is None:
        return above_test
    return above_test or max(run.validation_r2, run.scores["r2"]) > run.limit + LEAK_MARGIN


def _at_limit(run: _Run) -> bool:
    if run.limit is None:
        return False
    enough = run.scores["r2"] >= min(AT_LIMIT * run.limit, run.limit - SMALL_GAP)
    return enough and 1 - run.scores["r2"] <= AT_LIMIT_MSE * (1 - run.limit) + NOTHING


def _stopped_early(run: _Run) -> bool:
    """Whether the validation loss still fell when the epochs allowed were used up."""
    if run.epochs < run.params.train.epochs:
        return False
    if run.epochs == 1:
        return True
    lately = max(1, round(RECENT * run.epochs))
    before = float(np.min(run.losses[:-lately]))
    newest = run.best > run.epochs - max(1, round(NEWEST * run.epochs))
    return newest and float(np.min(run.losses)) < (1 - IMPROVING) * before


def _overfit(run: _Run) -> bool:
    # streams to validate on begin more often than those to train on, so their losses do not compare
    parted = not run.stateful and run.curves["train/loss"][-1] < OVERFIT_GAP * run.losses[-1]
    rising = run.best <= EARLY * run.epochs and run.losses[-1] > RISING * run.losses[run.best - 1]
    return bool(parted or rising or run.ratio > MEMORISED)


def _underfit(run: _Run) -> bool:
    wanted = UNDERFIT_R2 if run.limit is None else UNDERFIT_SHARE * run.limit
    return run.train_r2 < wanted


TESTS: dict[str, Callable[[_Run], bool]] = {
    "leaking": _leaking,
    "at the limit": _at_limit,
    "stopped too early": _stopped_early,
    "overfit": _overfit,
    "underfit": _underfit,
    "sound": lambda _: True,
}


def _explain_leaking(run: _Run) -> list[str]:
    validation, test = run.validation_r2, run.scores["r2"]
    found = []
    if run.limit is not None and validation > run.limit + LEAK_MARGIN:
        found.append(
            f"The validation R² of {validation:.3f} is better than the best possible, {run.limit:.3f}: no estimator "
            "can do that on noise it has not seen, so the split leaks."
        )
    if run.limit is not None and test > run.limit + LEAK_MARGIN:
        found.append(f"The test R² of {test:.3f} is better than the best possible, {run.limit:.3f}.")
        if run.same_noise:
            found.append("Training and test recordings have the same seed, so they have the same noise.")
    if run.random_split:
        found.append(
            f"Windows are split at random (validation R² {validation:.3f}, test {test:.3f}): neighbours share most of "
            "their samples, so the validation windows hold noise the network was trained on. Split by block."
        )
    if not run.random_split and not run.same_noise:
        found.append(
            "The split is by block and the seeds differ: validate on more data, and check that the limit is for "
            "this noise, these tones and this context."
        )
    return found


def _explain_limit(run: _Run) -> list[str]:
    test = run.scores["r2"]
    share = f", {100 * test / run.limit:.3g} % of it" if run.limit > SMALL_GAP else ""
    context = "with all the past" if run.stateful else f"with windows of {run.window} samples"
    return [
        f"The best possible R² {context} is {run.limit:.3f}; the network has {test:.3f} on test{share}. No other "
        "network or training can do noticeably better.",
        "The mixtures hold nothing of the tones: no training finds what is not there. Less of the noise would help."
        if run.limit <= NOTHING
        else "What is missing is the beginning of each stream, where little has been read yet."
        if run.stateful
        else "Only more to look at can help: a longer sequence raises the limit itself, and so does carrying "
        "the state on.",
    ]


def _explain_early(run: _Run) -> list[str]:
    return [
        f"The validation loss was still falling, to {run.losses[run.best - 1]:.4g} in epoch {run.best}, when the "
        f"{run.epochs} epochs allowed were used up. Train longer, or take larger steps."
    ]


def _explain_overfit(run: _Run) -> list[str]:
    last, best = run.losses[-1], run.losses[run.best - 1]
    if run.best < run.epochs:
        kept = (
            f"The validation loss was lowest in epoch {run.best} of {run.epochs}, {best:.4g}, and ended at {last:.4g}"
        )
    else:
        kept = f"The validation loss ended at {last:.4g}, its lowest"
    learnt, fresh = "noise", "New noise at every reading would take the turn away. "
    if run.params.train.fresh_noise:
        learnt, fresh = "waveforms", ""
    return [
        f"{kept}; the training loss ended at {run.curves['train/loss'][-1]:.4g}. What is learnt by then are the "
        f"training recordings' own {learnt}.",
        f"The weights kept are those of epoch {run.best}. {fresh}A smaller network, more dropout, more weight decay or "
        "smaller steps would put the turn off.",
    ]


def _explain_underfit(run: _Run) -> list[str]:
    against = f"{UNDERFIT_R2:g} is wanted" if run.limit is None else f"{run.limit:.3f} is possible"
    return [
        f"Even on what it was trained on the network has an R² of only {run.train_r2:.3f} where {against}. "
        "A larger or deeper network, less dropout or longer training can learn more."
    ]


def _explain_sound(run: _Run) -> list[str]:
    if run.stateful:
        return _explain_streams(run)
    return [
        f"Training and validation loss ended close together, {run.curves['train/loss'][-1]:.4g} and "
        f"{run.losses[-1]:.4g}; neither underfitting nor overfitting is to be seen.",
        "A larger network may gain a little, a longer sequence raises what is possible.",
    ]


def _explain_streams(run: _Run) -> list[str]:
    found = ["Neither underfitting nor overfitting is to be seen."]
    if run.limit is not None and run.limit < 1:
        times = (1 - run.scores["r2"]) / (1 - run.limit)
        found.append(
            f"The error is {times:.3g} times that of the best possible; a larger network or longer training may help."
        )
    return found


EXPLANATIONS: dict[str, Callable[[_Run], list[str]]] = {
    "leaking": _explain_leaking,
    "at the limit": _explain_limit,
    "stopped too early": _explain_early,
    "overfit": _explain_overfit,
    "underfit": _explain_underfit,
    "sound": _explain_sound,
}


def _context(run: _Run) -> list[str]:
    """Figures that belong to every verdict."""
    found = []
    if run.limit is not None and run.limit > SMALL_GAP and not (_at_limit(run) or _leaking(run)):
        share = 100 * run.scores["r2"] / run.limit
        found.append(f"On test the R² is {run.scores['r2']:.3f}, {share:.3g} % of the best possible ({run.limit:.3f}).")
    if math.isfinite(run.ratio):
        found.append(f"Test over training error is {run.ratio:.2f} (wanted: 0.9 to 1.1).")
    return found


Change = tuple[str, str, Any]  # section, key, new value


def _changes(run: _Run, verdict: str) -> list[Change | None]:
    """What to try for a verdict; None where the advised range leaves no room."""
    now = run.params
    width = FAMILIES[now.model.family].width
    bigger = [_scaled(now, "model", width, 2), _shifted(now, "model", "num_layers", 1)]
    longer = _scaled(now, "train", "epochs", 2)
    sequence = None if run.stateful else _longer_sequence(now)
    carried = None if run.stateful or run.random_split else ("train", "stateful", True)
    fresh = None if now.train.fresh_noise else ("train", "fresh_noise", True)
    denser = None if run.stateful else _scaled(now, "prepare", "step_size", 0.5)  # more windows of the same recordings
    return {
        "leaking": _tighter(run),
        "at the limit": [sequence, carried],
        "stopped too early": [longer, _scaled(now, "train", "learning_rate", 2)],
        "overfit": [
            fresh,
            _scaled(now, "model", width, 0.5),
            _shifted(now, "model", "dropout", 0.1),
            _more_decay(now),
            _scaled(now, "train", "learning_rate", 0.5),
            denser,
        ],
        "underfit": [*bigger, _shifted(now, "model", "dropout", -0.1), longer],
        "sound": [bigger[0], sequence],
    }[verdict]


def _tighter(run: _Run) -> list[Change | None]:
    changes: list[Change | None] = []
    if run.random_split:
        changes.append(("prepare", "split", "block"))
    if run.same_noise:
        changes.append(("data", "test_seed", run.params.data.train_seed + 1))
    return changes or [_scaled(run.params, "prepare", "val_split", 2)]


def _value(params: Params, section: str, key: str) -> Any:
    return getattr(getattr(params, section), key)


def _scaled(params: Params, section: str, key: str, factor: float) -> Change | None:
    return _moved(params, section, key, _value(params, section, key) * factor)


def _shifted(params: Params, section: str, key: str, step: float) -> Change | None:
    return _moved(params, section, key, _value(params, section, key) + step)


def _more_decay(params: Params) -> Change | None:
    decay = params.train.weight_decay
    return _moved(params, "train", "weight_decay", decay * 10 if decay > 0 else 1e-5)


def _longer_sequence(params: Params) -> Change | None:
    """Twice the window, unless the recordings are too short for it."""
    change = _scaled(params, "prepare", "sequence_length", 2)
    if change is None:
        return None
    prepare = params.prepare.model_copy(update={"sequence_length": change[2]})
    return None if conflicts(params.data, prepare, params.model, params.train) else change


def _moved(params: Params, section: str, key: str, wanted: float) -> Change | None:
    """Change towards a value, no further than the advised range goes; None if that is no step in its direction."""
    now = _value(params, section, key)
    field = type(getattr(params, section)).model_fields[key]
    low, high = field.json_schema_extra["advised"]
    value = min(max(wanted, low), high)
    value = max(1, int(value)) if isinstance(now, int) else float(f"{value:.6g}")
    return (section, key, value) if (value - now) * (wanted - now) > 0 else None


def _commands(changes: Sequence[Change | None], params: Params) -> tuple[str, ...]:
    made = [change for change in changes if change is not None and change[2] != _value(params, *change[:2])]
    return tuple(f"dvc exp run -S {section}.{key}={_as_yaml(value)}" for section, key, value in made)


def _as_yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
