import numpy as np
import pytest
import torch

from tonesift import sequences, windows
from tonesift.errors import InputError
from tonesift.metrics import Tally, tally
from tonesift.model import ToneLSTM
from tonesift.sequences import Sequences, Signals

CPU = torch.device("cpu")


@pytest.fixture
def signals():
    return Signals(torch.randn(3, 200), torch.randn(3, 2, 200))


@pytest.fixture
def chosen(signals):
    return Sequences(signals, windows.starts(windows.all_windows(3, 200, 20, 7), 7), 20)


def test_a_batch_holds_the_windows_it_names(signals, chosen):
    examples = np.array([0, 1, 5, 40, len(chosen) - 1])
    inputs, target = chosen.batch(examples)
    assert inputs.shape == (20, 5, 3)
    for column, example in enumerate(examples):
        recording, first = chosen.windows[example // 2]
        tone = example % 2
        assert torch.equal(inputs[:, column, 0], signals.mixture[recording, first : first + 20])
        assert inputs[0, column, 1:].tolist() == [float(tone == 0), float(tone == 1)]
        assert torch.equal(target[:, column], signals.tones[recording, tone, first : first + 20])


def test_there_is_an_example_for_each_window_and_tone(chosen):
    assert len(chosen) == 3 * ((200 - 20) // 7 + 1) * 2


@pytest.mark.parametrize("pieces", [1, 2])
def test_scores_do_not_depend_on_threads_and_cover_everything(chosen, pieces):
    model = ToneLSTM(2, 8, 1, 0.0)
    with sequences.workers(CPU, pieces) as run:
        found = sequences.score(model, chosen, 16, run)
    inputs, target = chosen.batch(np.arange(len(chosen)))
    with torch.no_grad():
        output = model(inputs).numpy()
    for tone in range(2):
        expected = tally(target[:, tone::2].numpy(), output[:, tone::2])
        assert vars(found.tallies[tone]) == pytest.approx(vars(expected), rel=1e-5)
        squares = np.mean((target[:, tone::2].numpy() - output[:, tone::2]) ** 2, axis=1)
        assert found.position_mse[tone] == pytest.approx(squares, rel=1e-5)
    assert sum(found.tallies, Tally()).count == len(chosen) * 20


@pytest.mark.parametrize("samples", [20, 200, 207])
def test_stitched_outputs_are_those_of_windows_laid_end_to_end(samples):
    data = Signals(torch.randn(3, samples), torch.randn(3, 2, samples))
    model = ToneLSTM(2, 8, 1, 0.0)
    with sequences.workers(CPU, 2) as run:
        found = sequences.stitched(model, data, 20, 16, run)
    assert found.shape == (3, 2, samples)
    for first, begin in [(n, n) for n in range(0, samples - 19, 20)] + [(samples - 20, samples - samples % 20)]:
        inputs, _ = Sequences(data, np.array([[1, first]]), 20).batch(np.arange(2))
        with torch.no_grad():
            expected = model(inputs).numpy().T[:, begin - first :]
        assert np.allclose(found[1, :, begin : first + 20], expected, atol=1e-6)


def test_workers_restore_the_number_of_threads():
    before = torch.get_num_threads()
    with sequences.workers(CPU, 4) as run:
        assert torch.get_num_threads() == 1
        assert run(lambda item: (item, torch.get_num_threads()), [1, 2, 3]) == [(1, 1), (2, 1), (3, 1)]
    assert torch.get_num_threads() == before


def test_an_error_in_a_worker_reaches_the_caller():
    def work(item):
        raise InputError(f"bad {item}")

    with sequences.workers(CPU, 2) as run, pytest.raises(InputError, match="bad 1"):
        run(work, [1, 2])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_refused():
    with pytest.raises(InputError, match="PyTorch finds no CUDA device"):
        sequences.choose_device("cuda")
    assert sequences.choose_device("auto") == CPU
