"""What can be had of the course's mixtures at each scale of its noise: the limit, and causal least squares.

    python -m benchmarks.course

The course draws the amplitude of each of four tones from U(0.8, 1.2) and its phase from U(0, 2 pi), anew at every
sample, and averages them. Mean squared errors over all tones after the first second: of the posterior mean that knows
the waveforms and the noise's distribution but not where in the period it began (600 simulated segments; no estimator
does better), and of least-squares sinusoids with all the past (20 recordings of seed 1001, ten seconds), which are told
the frequencies: as they are; divided by what jitter leaves of a tone on average, sin(d) / d; and with every amplitude
set to 1. Two minutes on one core.
"""

from pathlib import Path

import numpy as np
from tabulate import tabulate

from tonesift import params
from tonesift.conditions import run
from tonesift.estimators import limits
from tonesift.estimators.kalman import oscillators
from tonesift.evaluation import comparison

RECORDINGS, SEED, DRAWS, SETTLED = 20, 1001, 600, 1000
SCALES = {
    "±180°, amplitude ±20 %: to the letter": {"jitter_amplitude": 0.2, "jitter_phase": 180.0},
    "±45°, amplitude ±20 %": {"jitter_amplitude": 0.2, "jitter_phase": 45.0},
    "±45°, amplitude ±5 %": {"jitter_amplitude": 0.05, "jitter_phase": 45.0},
    "±1.8°, amplitude ±20 %": {"jitter_amplitude": 0.2, "jitter_phase": 1.8},
    "none, additive 0.1": {},
}


def row(base: params.Data, name: str) -> list[str]:
    """A scale, and the errors at it."""
    conditions = params.Conditions(**SCALES[name])
    changes = {"train_recordings": RECORDINGS, "train_seed": SEED, "noise_std": 0.0 if conditions.on else 0.1}
    data = base.model_copy(update={"conditions": conditions, **changes})
    facts, pairs = run.draw_set(data, testing=False, sound=None)
    mixtures, tones = (np.stack(each) for each in zip(*pairs, strict=True))
    task = comparison.make_task(facts, data.samples)
    pairs = fitted_pairs(mixtures, data)
    share = np.sinc(conditions.jitter_phase / 180.0)
    amplitudes = np.hypot(*np.moveaxis(pairs, 2, 0))[:, :, None]
    answers = [pairs, pairs / share if share > 1e-9 else None, pairs / amplitudes]
    errors = [None if answer is None else error(answer, tones, data) for answer in answers]
    return [name, *("" if each is None else f"{each:.1e}" for each in [limit(task, data.samples), *errors])]


def fitted_pairs(mixtures: np.ndarray, data: params.Data) -> np.ndarray:
    """Sine and cosine of every tone in all samples so far, (N - SETTLED, K, 2, R) from the second second on."""
    waves = oscillators(data.frequencies, data.sampling_rate, data.samples)
    rows = waves.reshape(data.samples, -1) / len(data.frequencies)
    gram = np.cumsum(rows[:, :, None] * rows[:, None], axis=0)[SETTLED:]
    sums = np.cumsum(rows[:, :, None] * mixtures.T[:, None], axis=0)[SETTLED:]
    return np.linalg.solve(gram, sums).reshape(-1, *waves.shape[1:], len(mixtures))


def error(pairs: np.ndarray, tones: np.ndarray, data: params.Data) -> float:
    """Mean squared error of pairs as tones (R, K, N)."""
    waves = oscillators(data.frequencies, data.sampling_rate, data.samples)[SETTLED:]
    found = np.einsum("nkp,nkpr->rkn", waves, pairs)
    return float(np.mean(np.square(found - tones[..., SETTLED:])))


def limit(task: comparison.Task, samples: int) -> float:
    """Mean squared error that nobody undercuts."""
    seen = limits.causal(samples)
    if task.conditions.jitter_phase == comparison.ANY_PHASE:
        return float(task.power.mean())
    found = comparison.jitter_limit(task, seen, DRAWS) if task.conditions.on else comparison.limit(task, seen)
    return float(found[:, SETTLED:].mean())


def main() -> None:
    """Print the table."""
    (base,) = params.load(Path("studies/bases/course.yaml"), "data")
    columns = ["noise", "limit", "least squares", "told the share left", "told that amplitudes are 1"]
    print(tabulate([row(base, name) for name in SCALES], columns, tablefmt="pipe"))


if __name__ == "__main__":
    main()
