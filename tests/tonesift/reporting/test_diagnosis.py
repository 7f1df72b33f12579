import shlex

import numpy as np
import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from tonesift import params as parameters
from tonesift.errors import InputError
from tonesift.params import Params
from tonesift.reporting.diagnosis import AT_LIMIT, LEAK_MARGIN, Diagnosis, diagnose

VARIANCE = 0.5  # of unit sines
LIMIT = 0.6
SETTINGS = {  # what the expected commands are reckoned from; the rest is of no importance here
    "data": {"duration": 10.0, "sampling_rate": 1000.0, "train_recordings": 1, "train_seed": 1, "test_seed": 2},
    "prepare": {"sequence_length": 50, "step_size": 1, "split": "block", "val_split": 0.1, "fold": None},
    "model": {"hidden_size": 128, "num_layers": 2, "dropout": 0.2, "conditioning": "selector", "hop": 1},
    "train": {
        "epochs": 50,
        "stateful": False,
        "fresh_noise": False,
        "learning_rate": 0.001,
        "weight_decay": 1e-5,
        "batch_size": 64,
    },
}
CARRIED = {"train": {"stateful": True}}
GUIDE = YAML(typ="safe", pure=True).load(ROOT / "studies" / "bases" / "guide.yaml")
FLAT = [0.4, *[0.235] * 29]  # R² 0.53, reached at once


def changed(**sections: dict) -> Params:
    parts = {name: section | SETTINGS.get(name, {}) | sections.get(name, {}) for name, section in GUIDE.items()}
    return Params.model_validate(parts)


PARAMS = changed()


def curves(train: list[float], validation: list[float]) -> dict[str, np.ndarray]:
    losses = {"train": np.array(train), "validation": np.array(validation)}
    return {f"{part}/loss": loss for part, loss in losses.items()} | {
        f"{part}/r2": 1 - loss / VARIANCE for part, loss in losses.items()
    }


def scores(test_r2: float, train_r2: float | None = None) -> dict[str, float]:
    train_r2 = test_r2 if train_r2 is None else train_r2
    return {"r2": test_r2, "mse": VARIANCE * (1 - test_r2), "train_mse": VARIANCE * (1 - train_r2)}


def judge(
    train: list[float],
    validation: list[float],
    test_r2: float,
    limit: float | None = LIMIT,
    params: Params = PARAMS,
    train_r2: float | None = None,
) -> Diagnosis:
    return diagnose(curves(train, validation), scores(test_r2, train_r2), limit, params)


def overfitted(params: Params = PARAMS) -> Diagnosis:
    train = list(np.linspace(0.4, 0.1, 30))
    validation = [0.4, 0.3, 0.25, *np.linspace(0.24, 0.35, 27)]
    return judge(train, validation, 0.5, params=params)


def underfitted(params: Params = PARAMS, limit: float | None = LIMIT, r2: float = 0.2) -> Diagnosis:
    return judge([0.4] * 30, [0.4] * 30, r2, limit, params)


def still_falling(params: Params = PARAMS) -> Diagnosis:
    falling = list(np.linspace(0.45, 0.25, params.train.epochs))
    return judge(falling, falling, 0.5, params=params)


def test_training_far_below_validation_at_the_end_is_overfit():
    found = overfitted()
    assert found.verdict == "overfit"
    assert "lowest in epoch 4 of 30" in found.sentences[0]
    assert found.commands == (
        "dvc exp run -S train.fresh_noise=true",
        "dvc exp run -S model.hidden_size=64",
        "dvc exp run -S model.dropout=0.3",
        "dvc exp run -S train.weight_decay=0.0001",
        "dvc exp run -S train.learning_rate=0.0005",
    )


def test_an_early_best_epoch_with_a_rising_curve_after_it_is_overfit():
    rising = [0.4, 0.235, *np.linspace(0.236, 0.26, 18)]
    assert judge([0.4, *[0.235] * 19], rising, 0.53).verdict == "overfit"


def test_weights_much_better_on_training_windows_than_on_test_are_overfit():
    assert judge(FLAT, FLAT, 0.45, train_r2=0.57).verdict == "overfit"


def test_windows_far_apart_are_moved_together_against_overfitting():
    found = overfitted(changed(prepare={"step_size": 10}))
    assert found.commands[-1] == "dvc exp run -S prepare.step_size=5"


def test_a_high_training_loss_is_underfit():
    found = underfitted()
    assert found.verdict == "underfit"
    assert "0.200 where 0.600 is possible" in found.sentences[0]
    assert found.commands == (
        "dvc exp run -S model.hidden_size=256",
        "dvc exp run -S model.num_layers=3",
        "dvc exp run -S model.dropout=0.1",
        "dvc exp run -S train.epochs=100",
    )


@pytest.mark.parametrize(("r2", "verdict"), [(0.29, "underfit"), (0.31, "sound")])
def test_without_a_limit_underfitting_is_judged_by_what_is_wanted(r2, verdict):
    found = underfitted(limit=None, r2=r2)
    assert found.verdict == verdict
    assert not any("possible (" in sentence for sentence in found.sentences)


def test_curves_that_end_together_below_the_limit_are_sound():
    found = judge(FLAT, FLAT, 0.56)
    assert found.verdict == "sound"
    assert any("93.3 % of the best possible" in sentence for sentence in found.sentences)
    assert found.commands == ("dvc exp run -S model.hidden_size=256", "dvc exp run -S prepare.sequence_length=100")


@pytest.mark.parametrize("share", [AT_LIMIT, 1.0, 1.02])
def test_nearly_all_that_is_possible_is_at_the_limit_even_if_later_epochs_overfit(share):
    found = judge([0.4, 0.21, *[0.1] * 28], [0.4, 0.21, *[0.4] * 28], share * LIMIT)
    assert found.verdict == "at the limit"
    assert "with windows of 50 samples" in found.sentences[0]
    assert found.commands == (
        "dvc exp run -S prepare.sequence_length=100",
        "dvc exp run -S train.stateful=true",
    )


def test_windows_are_told_in_samples_whatever_the_hop():
    found = judge(FLAT, FLAT, LIMIT, params=changed(model={"hop": 5}))
    assert "with windows of 250 samples" in found.sentences[0]


def test_streams_need_a_split_by_block():
    found = judge(FLAT, FLAT, LIMIT, params=changed(prepare={"split": "random"}))
    assert found.verdict == "at the limit"
    assert found.commands == ("dvc exp run -S prepare.sequence_length=100",)


def test_a_carried_state_at_the_limit_is_told_what_is_missing_and_given_nothing_to_try():
    found = judge(FLAT, FLAT, LIMIT, params=changed(**CARRIED))
    assert found.verdict == "at the limit"
    assert "with all the past" in found.sentences[0]
    assert "the beginning of each stream" in found.sentences[1]
    assert found.commands == ()


def test_a_sound_carried_state_is_given_no_longer_sequence():
    found = judge(FLAT, FLAT, 0.56, params=changed(**CARRIED))
    assert found.verdict == "sound"
    assert found.commands == ("dvc exp run -S model.hidden_size=256",)
    assert not any("sequence" in sentence for sentence in found.sentences)


def test_an_overfitted_carried_state_is_given_no_more_windows():
    found = overfitted(changed(train={"stateful": True, "fresh_noise": True}, prepare={"step_size": 10}))
    assert found.commands[0] == "dvc exp run -S model.hidden_size=64"
    assert not any("step_size" in command or "fresh_noise" in command for command in found.commands)
    assert not any("New noise" in sentence for sentence in found.sentences)
    assert any("New noise at every reading" in sentence for sentence in overfitted().sentences)


def test_where_hardly_anything_is_possible_nothing_is_at_the_limit_too():
    assert judge([0.5] * 30, [0.5] * 30, -0.001, limit=0.002).verdict == "at the limit"


def test_where_nothing_is_possible_it_is_the_mixture_that_is_told_of():
    found = judge([0.5] * 30, [0.5] * 30, -0.001, limit=0.0, params=changed(**CARRIED))
    assert (found.verdict, found.commands) == ("at the limit", ())
    assert "The mixtures hold nothing of the tones" in found.sentences[1]
    assert not any("beginning of each stream" in sentence for sentence in found.sentences)


@pytest.mark.parametrize(
    "limits", [{"prepare": {"sequence_length": 200}}, {"data": {"duration": 0.9}}, {"model": {"hop": 20}}]
)
def test_no_longer_sequence_is_proposed_than_advised_or_than_the_recordings_allow(limits):
    assert judge(FLAT, FLAT, LIMIT, params=changed(**limits)).commands == ("dvc exp run -S train.stateful=true",)


def test_validation_better_than_possible_leaks():
    found = judge(FLAT, [0.4, *[0.1] * 29], 0.4, params=changed(prepare={"split": "random"}))
    assert found.verdict == "leaking"
    assert "0.800 is better than the best possible, 0.600" in found.sentences[0]
    assert found.commands == ("dvc exp run -S prepare.split=block",)


def test_chance_above_the_limit_is_no_leak():
    loss = VARIANCE * (1 - LIMIT - 0.9 * LEAK_MARGIN)
    assert judge([loss] * 30, [loss] * 30, LIMIT).verdict == "at the limit"


def test_a_random_split_that_promises_more_than_test_holds_leaks_without_a_limit():
    params = changed(prepare={"split": "random"})
    assert judge(FLAT, [0.2] * 30, 0.5, None, params).verdict == "leaking"
    assert judge(FLAT, [0.2] * 30, 0.5, None).verdict != "leaking"


def test_test_noise_that_was_trained_on_leaks():
    found = judge(FLAT, FLAT, 0.8, params=changed(data={"test_seed": 1}))
    assert found.verdict == "leaking"
    assert "the same seed" in found.sentences[1]
    assert found.commands == ("dvc exp run -S data.test_seed=2",)


def test_a_leak_through_blocks_asks_for_more_validation_data():
    assert judge(FLAT, [0.1] * 30, 0.5).commands == ("dvc exp run -S prepare.val_split=0.2",)


def test_a_loss_that_falls_to_the_last_epoch_allowed_was_stopped_too_early():
    found = still_falling()
    assert found.verdict == "stopped too early"
    assert found.commands == ("dvc exp run -S train.epochs=100", "dvc exp run -S train.learning_rate=0.002")


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_short_runs_can_be_judged(epochs):
    assert still_falling(changed(train={"epochs": epochs})).verdict == "stopped too early"


def test_a_loss_that_has_levelled_out_was_not_stopped_too_early():
    level = [0.4, *np.linspace(0.2351, 0.235, 49)]
    assert judge(level, level, 0.55).verdict == "sound"


@pytest.mark.parametrize(
    ("run", "sections"),
    [
        (
            underfitted,
            {"model": {"hidden_size": 512, "num_layers": 6, "dropout": 0.0}, "train": {"epochs": 200}},
        ),
        (
            overfitted,
            {
                "model": {"hidden_size": 8, "dropout": 0.6},
                "train": {"weight_decay": 0.001, "learning_rate": 1e-5, "fresh_noise": True},
            },
        ),
        (still_falling, {"train": {"epochs": 300, "learning_rate": 0.01}}),
    ],
)
def test_nothing_is_proposed_beyond_the_advised_range(run, sections):
    assert run(changed(**sections)).commands == ()


def test_weight_decay_can_grow_from_none():
    assert "dvc exp run -S train.weight_decay=1e-05" in overfitted(changed(train={"weight_decay": 0.0})).commands


def test_a_transformer_grows_in_its_own_width():
    commands = underfitted(changed(model={"family": "transformer"})).commands
    assert "dvc exp run -S model.model_dim=1024" in commands
    assert not any("hidden_size" in command for command in commands)


def at_limit(params: Params = PARAMS) -> Diagnosis:
    return judge(FLAT, FLAT, LIMIT, params=params)


def sound(params: Params = PARAMS) -> Diagnosis:
    return judge(FLAT, FLAT, 0.56, params=params)


def leaking(params: Params = PARAMS) -> Diagnosis:
    return judge(FLAT, [0.1] * 30, 0.5, params=params)


@pytest.mark.parametrize("sections", [{}, CARRIED, {"model": {"hop": 10, "conditioning": "heads"}}], ids=str)
@pytest.mark.parametrize("run", [underfitted, overfitted, still_falling, at_limit, sound, leaking])
def test_every_command_sets_what_the_pipeline_accepts(run, sections, tmp_path):
    base = changed(**sections)
    for command in run(base).commands:
        words = shlex.split(command)
        assert words[:4] == ["dvc", "exp", "run", "-S"]
        (key, value) = words[4].split("=")
        section, name = key.split(".")
        path = tmp_path / "params.yaml"
        values = base.model_dump()
        values[section][name] = YAML(typ="safe").load(value)
        YAML().dump(values, path)
        (read,) = parameters.load(path, section)
        assert not parameters.advice(read)


def test_a_perfect_network_can_be_judged():
    perfect = diagnose(curves(FLAT, FLAT), {"r2": 1.0, "mse": 0.0, "train_mse": 0.0}, 1.0, PARAMS)
    assert perfect.verdict == "at the limit"


@pytest.mark.parametrize(
    ("history", "figures", "limit", "message"),
    [
        ({}, scores(0.5), None, "no curve train/loss, validation/loss"),
        (curves([1.0], [1.0, 2.0]), scores(0.5), None, "one value for every epoch"),
        (curves([], []), scores(0.5), None, "one value for every epoch"),
        (curves([1.0, np.nan], [1.0, 1.0]), scores(0.5), None, "train/loss is not finite in epoch 2"),
        (curves([1.0], [1.0]), {"r2": 0.5}, None, "scores: no mse, train_mse"),
        (curves([1.0], [1.0]), scores(0.5) | {"r2": np.nan}, None, "r2 is nan"),
        (curves([1.0], [1.0]), scores(0.5), np.inf, "limit is inf"),
    ],
)
def test_figures_that_cannot_be_judged_are_refused_in_one_line(history, figures, limit, message):
    with pytest.raises(InputError, match=message) as error:
        diagnose(history, figures, limit, PARAMS)
    assert "\n" not in str(error.value)


def test_close_to_one_it_is_the_error_that_says_how_far_the_limit_is():
    carried = changed(train={"stateful": True, "fresh_noise": True})
    found = judge([0.01] * 30, [0.02] * 30, 0.993, limit=0.995, params=carried, train_r2=0.993)
    assert found.verdict == "sound"
    assert any("1.4 times that of the best possible" in sentence for sentence in found.sentences)
    assert (
        judge([0.01] * 30, [0.02] * 30, 0.9945, limit=0.995, params=carried, train_r2=0.9945).verdict == "at the limit"
    )


def test_losses_of_streams_do_not_compare_but_test_and_training_do():
    carried = changed(train={"stateful": True, "fresh_noise": True})
    assert judge([0.01] * 30, [0.03] * 30, 0.9, limit=0.99, params=carried, train_r2=0.9).verdict != "overfit"
    assert judge([0.01] * 30, [0.03] * 30, 0.9, limit=0.99, params=carried, train_r2=0.95).verdict == "overfit"
    assert judge([0.01] * 30, [0.03] * 30, 0.9, limit=0.99, train_r2=0.9).verdict == "overfit"
