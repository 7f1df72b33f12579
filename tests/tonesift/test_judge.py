import numpy as np
import pytest
import torch
from networks import lstm

from tonesift import compute
from tonesift.evaluation import judge
from tonesift.evaluation.judge import Judge, Stretches
from tonesift.learning.sequences import Signals

CPU = torch.device("cpu")
TONES, RATE, LENGTH, CENTER, SCALE = 2, 50.0, 20, 0.25, 0.5
EVERY_INPUT = pytest.mark.parametrize("conditioning", ["selector", "heads"])
EVERY_HOP = pytest.mark.parametrize("hop", [1, 5])


@pytest.fixture
def run():
    with compute.workers(CPU, 2) as workers:
        yield workers


@pytest.fixture
def signals():
    generator = torch.Generator().manual_seed(1)
    return Signals(torch.randn(3, 130, generator=generator), torch.randn(3, TONES, 130, generator=generator))


def make(run, conditioning="heads", hop=1, stateful=True):
    model = lstm(TONES, 6, 2, 0.3, conditioning, hop)
    model.initialise(torch.Generator().manual_seed(2))
    facts = {"sampling_rate": RATE, "sequence_length": LENGTH, "center": CENTER, "scale": SCALE}
    return Judge(model, {**facts, "train": {"stateful": stateful}}, 7, run, CPU)


def directly(model, mixture):
    """Tones (K, T) of a mixture (T,), scaled, from a reset state: the model called once, its input built by hand."""
    samples = len(mixture)
    frames = np.pad(mixture, (0, -samples % model.hop)).reshape(-1, 1, model.hop).astype(np.float32)
    inputs = [frames]
    if model.conditioning == "selector":
        ones = np.eye(TONES, dtype=np.float32)
        inputs = [np.concatenate([frames, np.broadcast_to(one, (len(frames), 1, TONES))], axis=2) for one in ones]
    with torch.no_grad():
        outputs = [model(torch.from_numpy(each))[0][:, 0].numpy() for each in inputs]  # (L, hop) each or (L, K hop)
    whole = np.stack(outputs) if len(outputs) > 1 else outputs[0].reshape(-1, TONES, model.hop).swapaxes(0, 1)
    return whole.reshape(TONES, -1)[:, :samples]


def assert_tallies(tallies, target, output):
    """Each tone's tally is that of its targets and outputs (S, K, T), by NumPy's own statistics."""
    for tone, found in enumerate(tallies):
        wanted, given = target[:, tone].ravel().astype(float), output[:, tone].ravel().astype(float)
        assert found.count == wanted.size
        assert found.mse == pytest.approx(np.mean((given - wanted) ** 2), rel=1e-5)
        assert found.r2 == pytest.approx(1 - np.mean((given - wanted) ** 2) / wanted.var(), rel=1e-5, abs=1e-6)
        assert found.correlation == pytest.approx(np.corrcoef(wanted, given)[0, 1], rel=1e-4, abs=1e-5)


# -- stretches


def test_a_cut_is_a_slice_of_each_recording():
    generator = np.random.default_rng(0)
    mixture, tones = generator.normal(size=(3, 40)), generator.normal(size=(3, 2, 40))
    stretches = Stretches(np.array([[2, 0], [0, 33], [2, 5], [1, 12]]), 7)
    for signal in (mixture, tones):
        plain = np.stack([signal[recording, ..., first : first + 7] for recording, first in stretches.starts])
        np.testing.assert_array_equal(stretches.cut(signal), plain)


def test_what_was_cut_is_a_copy():
    signal = np.zeros((1, 10))
    Stretches(np.array([[0, 2]]), 4).cut(signal)[:] = 1
    assert not signal.any()


@pytest.mark.parametrize(("samples", "step"), [(20, 1), (47, 3), (60, 20)])
def test_all_windows_are_all_that_fit_in_each_recording(samples, step):
    found = judge.all_windows(2, samples, 20, step)
    plain = [[recording, first] for recording in range(2) for first in range(0, samples - 20 + 1, step)]
    assert found.starts.tolist() == plain
    assert found.length == 20


HELD = [(0, 10, 500), (1, 0, 399), (2, 30, 430), (3, 5, 430)]  # the second is one sample too short


def test_streams_take_turns_and_begin_once_in_each_part_of_the_spread():
    found = judge.drawn_streams(HELD, 10, 300, 100, seed=3)
    recordings, first = found.starts.T
    assert found.length == 300
    assert recordings.tolist() == [0, 2, 3, 0, 2, 3, 0, 2, 3, 0]
    offsets = first - np.array([{0: 10, 2: 30, 3: 5}[recording] for recording in recordings])
    assert sorted(offset // 10 for offset in offsets) == list(range(10))
    assert offsets.tolist() != sorted(offsets)  # else a stretch would always be read from the same places
    ends = {recording: end for recording, _, end in HELD}
    assert all(begin + 300 <= ends[recording] for recording, begin in found.starts.tolist())


def test_streams_are_the_same_each_time_and_others_with_another_seed():
    one, again, other = (judge.drawn_streams(HELD, 16, 300, 100, seed).starts.tolist() for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_more_streams_than_starts_begin_at_all_of_them():
    starts = judge.drawn_streams([(0, 7, 107)], 64, 50, 20, seed=0).starts
    assert starts.shape == (64, 2)
    assert set(starts[:, 1].tolist()) == set(range(7, 27))


# -- scores


def test_scores_are_of_all_samples_of_each_position_and_of_the_later_ones():
    generator = np.random.default_rng(4)
    target, output = generator.normal(size=(2, 5, TONES, 80)).astype(np.float32)
    found = judge.scores(target, output, settled=50)
    assert_tallies(found.tallies, target, output)
    assert_tallies(found.settled, target[..., 50:], output[..., 50:])
    for tone in range(TONES):
        for position in (0, 49, 79):
            plain = np.mean([(float(output[s, tone, position]) - target[s, tone, position]) ** 2 for s in range(5)])
            assert found.position_mse[tone, position] == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize(("samples", "has"), [(50, False), (51, True)])
def test_a_stretch_no_longer_than_the_settling_has_no_settled_part(samples, has):
    target = np.random.default_rng(0).normal(size=(1, TONES, samples))
    assert (judge.scores(target, target, settled=50).settled is not None) is has


@EVERY_INPUT
@EVERY_HOP
def test_a_reset_network_is_scored_on_each_window_by_itself(run, signals, conditioning, hop):
    ours, stretches = make(run, conditioning, hop, stateful=False), judge.all_windows(3, 130, LENGTH, 7)
    found = ours.score(signals, stretches)
    mixture, tones = signals.mixture.numpy(), signals.tones.numpy()
    output = np.stack([directly(ours.model, mixture[r, first : first + LENGTH]) for r, first in stretches.starts])
    target = np.stack([tones[r, :, first : first + LENGTH] for r, first in stretches.starts])
    assert_tallies(found.tallies, target, output)
    np.testing.assert_allclose(found.position_mse, np.mean((output - target) ** 2.0, axis=0), rtol=1e-4)
    assert found.settled is None


@EVERY_INPUT
@EVERY_HOP
@pytest.mark.parametrize("length", [40, 85, 88])  # shorter than a second, longer, and no whole number of steps
def test_a_carried_network_is_scored_on_each_stream_from_its_start_to_its_end(run, signals, conditioning, hop, length):
    ours, stretches = make(run, conditioning, hop), Stretches(np.array([[0, 3], [2, 0], [0, 40], [1, 42]]), length)
    found = ours.score(signals, stretches)
    mixture, tones = signals.mixture.numpy(), signals.tones.numpy()
    output = np.stack([directly(ours.model, mixture[r, first : first + length]) for r, first in stretches.starts])
    target = np.stack([tones[r, :, first : first + length] for r, first in stretches.starts])
    assert_tallies(found.tallies, target, output)
    np.testing.assert_allclose(found.position_mse, np.mean((output - target) ** 2.0, axis=0), rtol=1e-4)
    if length > RATE:
        assert_tallies(found.settled, target[..., 50:], output[..., 50:])
    else:
        assert found.settled is None


@EVERY_INPUT
@EVERY_HOP
@pytest.mark.parametrize("stateful", [False, True])
def test_estimates_are_of_recordings_as_they_come(run, conditioning, hop, stateful):
    ours = make(run, conditioning, hop, stateful)
    mixture = np.random.default_rng(5).normal(size=(2, 73)).astype(np.float32)
    length = 73 if stateful else LENGTH
    pieces = [
        [directly(ours.model, (row[begin : begin + length] - CENTER) / SCALE) for begin in range(0, 73, length)]
        for row in mixture
    ]
    plain = np.stack([np.concatenate(row, axis=1) for row in pieces])
    np.testing.assert_allclose(ours.estimate(mixture), plain, atol=1e-5)


def test_words_and_figures_say_how_far_the_network_looks_back(run):
    reset, carried = make(run, stateful=False), make(run)
    assert (reset.reset, reset.context) == (LENGTH, "20 samples")
    assert (carried.reset, carried.context) == (None, "all the past")
    assert reset.settled == carried.settled == 50
