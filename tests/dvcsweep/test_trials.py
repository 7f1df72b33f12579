"""Which trials are the best of several objectives, beside Optuna's answer."""

import numpy as np
import optuna
import pytest
from ledgers import FILE, study

from dvcsweep.record.trials import Trial, best_trials


@pytest.mark.parametrize("directions", [("minimise", "maximise"), ("maximise", "minimise", "minimise")])
@pytest.mark.parametrize("levels", [4, 1000])
def test_the_front_is_those_that_no_other_surpasses(directions, levels):
    """With few levels many trials have the same values."""
    values = np.random.default_rng(1).integers(levels, size=(60, len(directions))).astype(float)
    demo = study(
        objective=[{"metric": f"{FILE}:m{place}", "direction": one} for place, one in enumerate(directions)],
        strategy="random",
        trials=60,
        space={"x": [1, 2]},
    )
    trials = [
        Trial(index, index, {}, "complete", tuple(row), None, {}, None, None, None, {}, 1)
        for index, row in enumerate(values)
    ]
    optunas = optuna.create_study(directions=[one.direction for one in demo.objective])
    optunas.add_trials([optuna.trial.create_trial(values=row) for row in values])
    front = best_trials(demo, trials)
    assert {trial.index for trial in front} == {trial.number for trial in optunas.best_trials}
