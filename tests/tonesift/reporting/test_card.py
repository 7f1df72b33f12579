import argparse
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import SMALL, metadata

from tonesift import compute
from tonesift.learning import streams
from tonesift.networks import model as models
from tonesift.reporting import card
from tonesift.streaming import command

SHAPE = {"frequencies": (1.0, 3.0, 5.0, 7.0), "window_samples": 50, "center": 0.25, "scale": 2.0}
SUMMARY = {
    "best_epoch": 14,
    "step": 29,
    "parameters": 1234,
    "train": {"loss": 0.221569, "r2": 0.55845, "correlation": 0.75},
    "validation": {"loss": 0.229646, "r2": 0.543446, "correlation": 0.74},
}


def described(model=None, train=None, **changes):
    return metadata(model, train, **({"summary": SUMMARY} | SHAPE | changes))


def carried(**changes):
    train = {"stateful": True, "fresh_noise": True}
    return described({"conditioning": "heads", "hop": 10}, train, **({"window_samples": 500} | changes))


ROWS = [
    {"tone": "all", "frequency_hz": "", "r2": "0.536404", "mse": "0.231956", "rmse": "0.481618", "snr_gain_db": "inf"},
    {"tone": "1 Hz", "frequency_hz": "1.0", "r2": 0.747613, "mse": 0.126795, "rmse": 0.356, "snr_gain_db": 11.2},
]
COMPARISON = [
    {
        "name": "network",
        "label": "LSTM",
        "context": "50 samples",
        "causal": "yes",
        "told": "",
        "r2": 0.536,
        "mse": 0.232,
    },
    {"name": "mean", "label": "mean|*x*", "context": "50 samples", "causal": "yes", "told": "", "r2": None, "mse": ""},
    {"name": "limit", "label": "best", "context": "50 samples", "causal": "yes", "told": "f", "r2": 0.589, "mse": 0.2},
]


def test_the_card_names_data_training_and_limits():
    text = card.render(described(), ROWS, COMPARISON, digest="53b6f1bb966c")
    for words in (
        "2 LSTM layers of 8 units",
        "the mean of 4 sines of 1, 3, 5 and 7 Hz",
        "epoch 14 of 29",
        "validation loss 0.2296 (R² 0.543)",
        "`53b6f1bb966c…`",
        "PyTorch 2.13.0, in the native arithmetic of a processor of the kind x86_64 AVX512",
        "1, 3, 5 and 7 Hz at 1000 Hz",
        "reset every 50 samples** (50 ms, 5 % of a period of 1 Hz)",
        "standard deviation 0.1",
        "Not tested on",
        "MIT",
    ):
        assert words in text
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == [
        "Data it was trained on",
        "Training",
        "Figures",
        "Limits of use",
        "How to use it",
        "Licence",
    ]


def test_the_tables_hold_the_figures_with_the_network_in_bold():
    text = re.sub(r" +", " ", card.render(described(), ROWS, COMPARISON))
    assert "| all | 0.536 | 0.2320 | 0.482 | – | – |" in text
    assert "| 1 Hz | 0.748 | 0.1268 | 0.356 | – | 11.2 |" in text
    best, ours, last = re.findall(r"^\| .* \| yes|^\| \*\*.*", text, re.MULTILINE)
    assert best.startswith("| best |")
    assert ours == "| **LSTM** | **–** | **50 samples** | **yes** | **0.536** | **–** | **0.2320** |"
    assert last.startswith(r"| mean\|\*x\* |")


def test_every_row_of_a_table_has_as_many_cells_as_its_header():
    for block in card.render(described(), ROWS, COMPARISON).split("\n\n"):
        if block.startswith("|"):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_a_model_that_was_not_judged_has_a_card_without_figures():
    assert "## Figures" not in card.render(described(), [], [])


def test_what_was_tested_is_not_called_untested():
    rows = [
        {"condition": "drift", "network": "0.438", "auto": "0.995"},
        {"condition": "gaps", "network": "-0.2", "auto": ""},
    ]
    text = card.render(described(), ROWS, COMPARISON, rows)
    assert "drift 0.44 (0.99), gaps -0.20." in text
    assert "**Not tested on**: recordings of the real world, several channels." in text
    without = card.render(described(), ROWS, COMPARISON)
    assert "coloured or impulsive noise, drifting frequencies, several channels" in without
    assert "What recordings bring" not in without


def test_tasks_differ_in_what_they_were_trained_for():
    assert "Only these waveforms" in card.render(described(), [], [])
    general = card.render(described(task="general"), [], [])
    assert "Only these waveforms" not in general
    assert "Phases may be any" in general


def test_one_tone_is_named_alone():
    assert "1 sine of 2.5 Hz" in card.render(described(frequencies=(2.5,)), [], [])
    assert "output the same samples of the tone." in card.render(carried(frequencies=(2.5,)), [], [])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "an LSTM that pulls tones"),
        ({"family": "gru", "layer_norm": True}, "2 GRU layers of 8 units, layer normalisation behind each, dropout"),
        ({"family": "lstm", "recurrent_dropout": 0.3}, "2 LSTM layers of 8 units, recurrent dropout 0.3, dropout"),
        (
            {"family": "lstm", "memory": 90},
            "2 LSTM layers of 8 units, memories of up to 90 steps to begin with, dropout",
        ),
        ({"bidirectional": True}, "in each of two directions"),
        ({"bidirectional": True}, "each window both ways, so it is not causal, with a latency of 50 samples (50 ms)"),
        ({"family": "transformer"}, "a Transformer that pulls tones"),
        (
            {"family": "transformer", "positions": "learned"},
            "2 Transformer blocks of 8 values, 2 heads and 12 units between their layers, learned positions, attention "
            "over 6 steps",
        ),
        ({"family": "tcn"}, "2 TCN blocks of 8 units, kernels of 3 steps, dropout"),
    ],
)
def test_every_family_is_described(changes, words):
    text = card.render(described(changes), [], [])
    assert words in text
    assert "LSTM" not in text or (SMALL | changes)["family"] == "lstm"


def test_an_ensemble_is_described():
    text = card.render(described(train={"ensemble": 5}), [], [])
    assert "# tonesift: 5 LSTMs that pull tones" in text
    assert "The mean of 5 networks, trained from as many seeds. Each has 2 LSTM layers" in text
    assert "1,234 parameters together" in text


def test_a_reset_network_with_a_selector_is_described():
    text = card.render(described(), [], [])
    for words in (
        "Input at each step is a sample of the mixture and a one-hot selector of the tone wanted (5 features)",
        "output the wanted tone's sample.",
        "a latency of 1 sample (1 ms)",
        "Windows of 50 samples (50 ms), each once for every tone.",
        "The state is reset every 50 samples",
    ):
        assert words in text
    assert "drawn anew" not in text
    assert "It needs a beginning" not in text


def test_a_carried_network_with_heads_is_described():
    text = card.render(carried(), [], [])
    for words in (
        "Input at each step is 10 samples of the mixture, output the same samples of all 4 tones.",
        "a latency of 10 samples (10 ms)",
        "Read as 64 streams side by side from random starts, the state carried on; gradients go back 500 samples",
        "The noise was drawn anew at every reading.",
        "It needs a beginning",
    ):
        assert words in text
    assert "selector" not in text
    assert "The state is reset" not in text


def test_the_figure_after_the_first_second_is_in_the_table():
    rows = [COMPARISON[0] | {"r2_settled": 0.981}, COMPARISON[2] | {"r2_settled": ""}]
    text = re.sub(r" +", " ", card.render(carried(), ROWS, rows))
    assert "| R² | after 1 s | MSE |" in text
    assert "| **0.536** | **0.981** | **0.2320** |" in text
    assert "| 0.589 | – | 0.2000 |" in text


@pytest.mark.parametrize("make", [described, carried], ids=["reset, selector", "carried, heads"])
def test_the_snippet_runs_and_gives_the_networks_output(make, tmp_path, monkeypatch):
    written = make()
    network = models.build(written)
    network.initialise(torch.Generator().manual_seed(1))
    models.save(tmp_path / "models" / "model.safetensors", network, written)
    monkeypatch.chdir(tmp_path)
    (snippet,) = re.findall(r"```python\n(.*?)```", card.render(written, [], []), re.DOTALL)
    mixture = np.random.default_rng(1).normal(size=127)  # two windows and a rest, no whole number of steps
    names: dict = {"samples": mixture}
    exec(snippet, names)  # noqa: S102 (what a reader would paste)
    scaled = torch.from_numpy(((mixture - 0.25) / 2.0).astype(np.float32))[None]
    with compute.parallel_map(torch.device("cpu"), 1) as run:
        expected = streams.estimate(network, scaled, None if make is carried else 50, 8, run)[0]
    found = np.concatenate([names["outputs"], names["rest"]], axis=1)
    assert found.shape == (4, 127)
    assert names["rest"].shape[1] == 127 % network.hop
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_command_for_files_is_one_that_there_is():
    (line,) = re.findall(r"`python -m tonesift filter (.*)`", card.render(described(), [], []))
    parser = argparse.ArgumentParser(exit_on_error=False)
    command.add_arguments(parser)
    assert parser.parse_args(line.split()).model == Path("models/model.safetensors")


def test_equal_metadata_give_equal_cards():
    assert card.render(described(), ROWS, COMPARISON) == card.render(described(), ROWS, COMPARISON)


@pytest.mark.parametrize("text", ["a|b", "x\ny", "*bold* _it_ <b> `c` [l]"])
def test_text_is_escaped(text):
    escaped = card.escape(text)
    assert "\n" not in escaped
    assert re.sub(r"\\(.)", r"\1", escaped) == " ".join(text.split())
    assert not re.search(r"(?<!\\)[|*_<`\[]", escaped)
