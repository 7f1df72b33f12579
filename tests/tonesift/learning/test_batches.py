import numpy as np
import pytest
import torch
from networks import lstm

from tonesift.compute import parallel_map
from tonesift.data import recordings, windows
from tonesift.learning import batches
from tonesift.learning.batches import Batch, Signals, Windows
from tonesift.metrics import Tally, score, tally

CPU = torch.device("cpu")
KINDS = [("selector", 1), ("selector", 4), ("heads", 1), ("heads", 4)]


@pytest.fixture
def signals():
    return Signals(torch.randn(3, 200), torch.randn(3, 2, 200))


@pytest.fixture(params=KINDS, ids=str)
def model(request):
    return lstm(2, 8, 1, 0.0, *request.param)


def chosen(signals, model):
    """Windows of 20 samples, 7 apart."""
    return Windows(signals, windows.starts(windows.all_windows(3, 200, 20, 7), 7), 20, model.examples, model.hop)


def some_batch(generator, hop=1, examples=9, samples=20):
    first = np.column_stack([generator.integers(3, size=examples), generator.integers(200 - samples, size=examples)])
    return Batch(first, generator.integers(2, size=examples), generator.integers(2, size=examples) == 1, samples // hop)


def test_gather_gives_the_frames_that_slicing_gives(signals, model):
    batch = some_batch(np.random.default_rng(1), model.hop)
    steps, hop = 20 // model.hop, model.hop
    frames, target = batches.gather(signals, batch, model)
    assert frames.shape == (steps, 9, hop)
    assert target.shape == (steps, 9, model.outputs)
    for column, ((recording, first), wanted) in enumerate(zip(batch.starts, batch.wanted, strict=True)):
        for step in range(steps):
            here = slice(first + step * hop, first + (step + 1) * hop)
            assert torch.equal(frames[step, column], signals.mixture[recording, here])
            tones = signals.tones[recording, :, here]
            expected = tones[wanted] if model.selects else tones.flatten()  # tone by tone
            assert torch.equal(target[step, column], expected)


def test_gather_reaches_the_last_sample_of_the_last_recording(signals, model):
    batch = Batch(np.array([[2, 180]]), np.array([1]), np.array([True]), 20 // model.hop)
    frames, target = batches.gather(signals, batch, model)
    assert torch.equal(frames.flatten(), signals.mixture[2, 180:])
    assert target[-1, 0, -1] == signals.tones[2, 1, -1]


def test_by_tone_puts_samples_in_order_for_each_tone(signals, model):
    batch = some_batch(np.random.default_rng(2), model.hop)
    _, target = batches.gather(signals, batch, model)
    found = batches.by_tone(target.numpy(), batch.wanted, model)
    assert len(found) == 2
    for tone, windows_ in enumerate(found):
        rows = [tuple(row) for row in batch.starts[batch.wanted == tone]] if model.selects else batch.starts.tolist()
        assert windows_.shape == (len(rows), 20)
        for window, (recording, first) in zip(windows_, rows, strict=True):
            assert window.tolist() == signals.tones[recording, tone, first : first + 20].tolist()


@pytest.mark.parametrize(
    ("examples", "parts", "sizes"), [(9, 2, [5, 4]), (9, 1, [9]), (3, 3, [1, 1, 1]), (2, 4, [1, 1])]
)
def test_a_split_batch_is_the_batch_in_neighbouring_parts(examples, parts, sizes):
    batch = some_batch(np.random.default_rng(3), examples=examples)
    split = batch.split(parts)
    assert [len(part.starts) for part in split] == sizes
    assert {part.steps for part in split} == {20}
    for column, pieces in zip(batch[:3], list(zip(*split, strict=True))[:3], strict=True):
        assert np.array_equal(np.concatenate(pieces), column)


def test_an_example_is_a_window_and_a_tone(signals):
    with_selector, with_heads = (lstm(2, 8, 1, 0.0, conditioning) for conditioning in ("selector", "heads"))
    count = 3 * ((200 - 20) // 7 + 1)
    assert (len(chosen(signals, with_selector)), len(chosen(signals, with_heads))) == (2 * count, count)
    examples = np.array([0, 1, 5, 40, 2 * count - 1])
    batch = chosen(signals, with_selector).batch(examples)
    every = [(recording, first) for recording in range(3) for first in range(0, 181, 7)]
    assert [tuple(place) for place in batch.starts] == [every[example // 2] for example in examples]
    assert batch.wanted.tolist() == [example % 2 for example in examples]
    assert batch.fresh.all()


@pytest.mark.parametrize("size", [1, 16, 1000])
def test_batches_hold_every_example_once_in_the_order_asked_for(signals, model, size):
    part = chosen(signals, model)
    order = np.random.default_rng(4).permutation(len(part))
    for given, expected in ((None, np.arange(len(part))), (order, order)):
        made = part.batches(size, given)
        assert {len(batch.starts) for batch in made[:-1]} <= {size}
        whole = part.batch(expected)
        assert {batch.steps for batch in made} == {whole.steps} == {20 // model.hop}
        for column, pieces in zip(whole[:3], list(zip(*made, strict=True))[:3], strict=True):
            assert np.array_equal(np.concatenate(pieces), column)


@pytest.mark.parametrize("pieces", [1, 2])
def test_scores_do_not_depend_on_threads_and_cover_everything(signals, model, pieces):
    part = chosen(signals, model)
    with parallel_map(CPU, pieces) as pmap:
        found = score(batches.predict(model, part, 16, pmap), 2, 20)
    for tone in range(2):
        targets, outputs = [], []
        for recording, first in part.starts:
            frames = signals.mixture[recording, first : first + 20].view(-1, 1, model.hop)
            with torch.no_grad():
                output = model(model.features(frames, torch.tensor([tone])))[0]
            heads = output.view(len(frames), -1, model.hop)
            outputs.append(heads[:, 0 if model.selects else tone].flatten().numpy())
            targets.append(signals.tones[recording, tone, first : first + 20].numpy())
        expected = tally(np.array(targets), np.array(outputs))
        assert vars(found.tallies[tone]) == pytest.approx(vars(expected), rel=1e-5, abs=1e-4)
        squares = np.mean((np.array(targets) - np.array(outputs)) ** 2, axis=0)
        assert found.position_mse[tone] == pytest.approx(squares, rel=1e-5)
    assert sum(found.tallies, Tally()).count == len(part.starts) * 2 * 20


def test_scaled_is_float32_of_the_formula():
    mixture = np.random.default_rng(5).standard_normal(100)
    found = batches.scaled(mixture, 0.3, 1.7)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (mixture - 0.3) / 1.7, atol=1e-6)
    plain = mixture.astype(np.float32)
    assert np.array_equal(batches.scaled(plain, 0.0, 1.0), plain)


@pytest.fixture
def stored(tmp_path):
    """Two recordings of two tones with noise, and what was written."""
    generator = np.random.default_rng(6)
    tones = generator.standard_normal((2, 2, 50))
    mixture = tones.mean(axis=1) + 0.3 * generator.standard_normal((2, 50))
    values = {"second_moment": 1.0, "noise_std": 0.3, "task": "fixed", "seed": 1}
    facts = recordings.Facts(100.0, (2.0, 5.0), np.zeros((2, 2)), np.ones((2, 2)), **values)
    recordings.write(tmp_path / "r.h5", facts, 50, zip(mixture, tones, strict=True))
    return tmp_path / "r.h5", mixture, tones


def test_signals_are_all_recordings_with_only_the_mixture_scaled(stored):
    path, mixture, tones = stored
    with recordings.opened(path) as source:
        found = batches.to_device(*source.read(), 0.2, 0.5, CPU)
    np.testing.assert_allclose(found.mixture, (mixture - 0.2) / 0.5, atol=1e-5)
    np.testing.assert_allclose(found.tones, tones, atol=1e-6)


def test_without_noise_the_mixture_is_the_mean_of_the_tones_in_the_same_scale(stored):
    path, mixture, tones = stored
    with recordings.opened(path) as source:
        found = batches.to_device(*source.read(), 0.2, 0.5, CPU)
    clean = batches.without_noise(found, 0.2, 0.5)
    np.testing.assert_allclose(clean.mixture, (tones.mean(axis=1) - 0.2) / 0.5, atol=1e-5)
    assert clean.mixture.dtype == torch.float32
    assert torch.equal(clean.tones, found.tones)
    noise = (found.mixture - clean.mixture).numpy() * 0.5
    np.testing.assert_allclose(noise, mixture - tones.mean(axis=1), atol=1e-5)
