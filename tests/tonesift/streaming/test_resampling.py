import numpy as np
import pytest
from random_models import batch_result, make
from scipy import signal

from tonesift.errors import InputError
from tonesift.streaming.resampling import ResampledFilter, Resampler
from tonesift.streaming.tonefilter import ToneFilter


def pieces(samples, size):
    return np.split(samples, np.arange(size, samples.shape[-1], size), axis=-1)


@pytest.mark.parametrize(("up", "down"), [(2, 1), (1, 2), (2, 3), (10, 441), (441, 10), (125, 128)])
@pytest.mark.parametrize("size", [1, 13, 1000, 10_000])
def test_pieces_are_those_of_the_whole(up, down, size):
    samples = np.random.default_rng(2).normal(size=(2, 600 if size == 1 else 4001))
    resampler = Resampler(up, down, 2)
    found = np.concatenate([*map(resampler.push, pieces(samples, size)), resampler.finish()], axis=1)
    expected = signal.resample_poly(samples, up, down, axis=1)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-12


def test_no_more_is_held_than_the_filter_sees():
    resampler = Resampler(10, 441)
    given = [resampler.push(np.zeros((1, 1000))).shape[1] for _ in range(100)]
    assert resampler._held.shape[1] < 2 * resampler.reach / 10 + 2 * 441
    assert sum(given) == (99_999 * 10 - resampler.reach) // 441 + 1


@pytest.mark.parametrize("size", [7, 500, 5000])
@pytest.mark.parametrize("rate", [500.0, 2000.0, 44_100.0, 1024.0])
def test_a_resampled_filter_is_resampling_filter_resampling(rate, size):
    model, described = make(hop=10)
    samples = np.random.default_rng(4).normal(size=3333).astype("f4")
    resampled = ResampledFilter(ToneFilter(model, described), rate)
    found = np.concatenate([*map(resampled.push, pieces(samples, size)), resampled.finish()], axis=1)
    up, down = {500.0: (2, 1), 2000.0: (1, 2), 44_100.0: (10, 441), 1024.0: (125, 128)}[rate]
    tones = batch_result(model, described, signal.resample_poly(samples.astype("f8"), up, down))
    expected = signal.resample_poly(tones.astype("f8"), down, up, axis=1)[:, :3333]
    assert found.shape == expected.shape == (3, 3333)
    assert np.abs(found - expected).max() < 1e-6


def test_tones_are_there_after_the_latency():
    resampled = ResampledFilter(ToneFilter(*make()), 2000.0)
    begun = resampled.push(np.ones(5000)).shape[1]
    assert 5000 - resampled.latency <= begun < 5000


@pytest.mark.parametrize(("rate", "hop"), [(100.0, 1), (500.0, 5), (1024.0, 11), (2000.0, 20), (44_100.0, 441)])
def test_its_hop_fills_one_of_the_models(rate, hop):
    resampled = ResampledFilter(ToneFilter(*make(hop=10)), rate)
    assert resampled.hop == hop
    assert hop * 1000 / rate >= 10 > (hop - 1) * 1000 / rate


def test_gaps_are_filled_before_they_spread():
    samples = np.random.default_rng(4).normal(size=500)
    spoilt, mended = samples.copy(), samples.copy()
    spoilt[100:103], mended[100:103] = np.nan, samples[99]
    first, second = (ResampledFilter(ToneFilter(*make()), 500.0, "hold") for _ in range(2))
    assert np.array_equal(first.push(spoilt), second.push(mended))
    assert (first.gaps_filled, second.gaps_filled) == (3, 0)
    with pytest.raises(InputError, match="sample 100 of the stream"):
        ResampledFilter(ToneFilter(*make()), 500.0).push(spoilt)


def test_rates_that_have_no_ratio_are_refused():
    with pytest.raises(InputError, match=r"cannot resample from 314\.159265359 to 1000 Hz"):
        ResampledFilter(ToneFilter(*make()), 100 * np.pi)
