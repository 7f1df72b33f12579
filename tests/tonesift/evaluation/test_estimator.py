import numpy as np
import pytest
import torch
from networks import lstm, metadata

from tonesift import compute
from tonesift.data.segments import Segments
from tonesift.evaluation import estimator
from tonesift.evaluation import segments as judged

CPU = torch.device("cpu")
TONES, RATE, LENGTH, CENTER, SCALE = 2, 50.0, 20, 0.25, 0.5
EVERY_INPUT = pytest.mark.parametrize("conditioning", ["selector", "heads"])
EVERY_HOP = pytest.mark.parametrize("hop", [1, 5])


@pytest.fixture
def pmap():
    with compute.parallel_map(CPU, 2) as pmap:
        yield pmap


@pytest.fixture
def recordings():
    """Mixtures and tones of three recordings."""
    generator = np.random.default_rng(1)
    return generator.normal(size=(3, 130)).astype("f4"), generator.normal(size=(3, TONES, 130)).astype("f4")


def make(pmap, conditioning="heads", hop=1, stateful=True):
    model = lstm(TONES, 6, 2, 0.3, conditioning, hop)
    model.initialise(torch.Generator().manual_seed(2))
    shape = {"conditioning": conditioning, "hop": hop, "hidden_size": 6}
    facts = {"sampling_rate": RATE, "window_samples": LENGTH, "center": CENTER, "scale": SCALE}
    described = metadata(shape, {"stateful": stateful}, frequencies=(2.0, 5.0), **facts)
    return estimator.NetworkEstimator(model, described, 7, pmap, CPU)


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


def test_scores_are_of_all_samples_of_each_position_and_of_the_later_ones():
    generator = np.random.default_rng(4)
    target, output = generator.normal(size=(2, 5, TONES, 80)).astype(np.float32)
    found = estimator.score(target, output, settling=50)
    assert_tallies(found.tallies, target, output)
    assert_tallies(found.settled, target[..., 50:], output[..., 50:])
    for tone in range(TONES):
        for position in (0, 49, 79):
            plain = np.mean([(float(output[s, tone, position]) - target[s, tone, position]) ** 2 for s in range(5)])
            assert found.position_mse[tone, position] == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize(("samples", "has"), [(50, False), (51, True)])
def test_a_segment_no_longer_than_the_settling_has_no_settled_part(samples, has):
    target = np.random.default_rng(0).normal(size=(1, TONES, samples))
    assert (estimator.score(target, target, settling=50).settled is not None) is has


@EVERY_INPUT
@EVERY_HOP
def test_a_reset_network_is_scored_on_each_window_by_itself(pmap, recordings, conditioning, hop):
    ours, segments = make(pmap, conditioning, hop, stateful=False), judged.all_windows(3, 130, LENGTH, 7)
    found = ours.score(*recordings, segments)
    mixture, tones = (recordings[0] - CENTER) / SCALE, recordings[1]
    output = np.stack([directly(ours.model, mixture[r, first : first + LENGTH]) for r, first in segments.starts])
    target = np.stack([tones[r, :, first : first + LENGTH] for r, first in segments.starts])
    assert_tallies(found.tallies, target, output)
    np.testing.assert_allclose(found.position_mse, np.mean((output - target) ** 2.0, axis=0), rtol=1e-4)
    assert found.settled is None


@EVERY_INPUT
@EVERY_HOP
@pytest.mark.parametrize("length", [40, 85, 88])  # shorter than a second, longer, and no whole number of steps
def test_a_carried_network_is_scored_on_each_stream_from_its_start_to_its_end(
    pmap, recordings, conditioning, hop, length
):
    ours, segments = make(pmap, conditioning, hop), Segments(np.array([[0, 3], [2, 0], [0, 40], [1, 42]]), length)
    found = ours.score(*recordings, segments)
    mixture, tones = (recordings[0] - CENTER) / SCALE, recordings[1]
    output = np.stack([directly(ours.model, mixture[r, first : first + length]) for r, first in segments.starts])
    target = np.stack([tones[r, :, first : first + length] for r, first in segments.starts])
    assert_tallies(found.tallies, target, output)
    np.testing.assert_allclose(found.position_mse, np.mean((output - target) ** 2.0, axis=0), rtol=1e-4)
    if length > RATE:
        assert_tallies(found.settled, target[..., 50:], output[..., 50:])
    else:
        assert found.settled is None


@EVERY_INPUT
@EVERY_HOP
@pytest.mark.parametrize("stateful", [False, True])
def test_estimates_are_of_recordings_as_they_come(pmap, conditioning, hop, stateful):
    ours = make(pmap, conditioning, hop, stateful)
    mixture = np.random.default_rng(5).normal(size=(2, 73)).astype(np.float32)
    length = 73 if stateful else LENGTH
    pieces = [
        [directly(ours.model, (row[begin : begin + length] - CENTER) / SCALE) for begin in range(0, 73, length)]
        for row in mixture
    ]
    plain = np.stack([np.concatenate(row, axis=1) for row in pieces])
    np.testing.assert_allclose(ours.estimate(mixture), plain, atol=1e-5)


def test_words_and_figures_say_how_far_the_network_looks_back(pmap):
    reset, carried = make(pmap, stateful=False), make(pmap)
    assert (reset.metadata.reset_samples, reset.context) == (LENGTH, "20 samples")
    assert (carried.metadata.reset_samples, carried.context) == (None, "all the past")
    assert reset.settling == carried.settling == 50
