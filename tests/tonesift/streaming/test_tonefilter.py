import numpy as np
import pytest
from random_models import TONES, batch_result, make

from tonesift.errors import InputError
from tonesift.networks import model as models
from tonesift.streaming.tonefilter import ToneFilter


def fed(tone_filter, mixture, sizes):
    """Outputs of pushes of these sizes, in turn, and `finish`; what is out by when is checked on the way."""
    parts, begin, turn = [], 0, 0
    while begin < len(mixture):
        parts.append(tone_filter.push(mixture[begin : begin + sizes[turn % len(sizes)]]))
        begin, turn = min(len(mixture), begin + sizes[turn % len(sizes)]), turn + 1
        assert sum(part.shape[1] for part in parts) == begin // tone_filter.hop * tone_filter.hop
    return np.concatenate([*parts, tone_filter.finish()], axis=1)


@pytest.fixture
def mixture():
    return np.random.default_rng(5).normal(size=217)


RANDOM_CUTS = tuple(np.random.default_rng(3).integers(0, 40, size=20))


@pytest.mark.parametrize("sizes", [(1,), (0, 3), (7,), (10,), (64,), (1000,), RANDOM_CUTS], ids=str)
@pytest.mark.parametrize("stateful", [True, False])
@pytest.mark.parametrize("conditioning", ["selector", "heads"])
@pytest.mark.parametrize("hop", [1, 10])
def test_any_cut_gives_the_batch_result(mixture, hop, conditioning, stateful, sizes):
    model, described = make(hop, conditioning, stateful)
    found = fed(ToneFilter(model, described), mixture, sizes)
    assert found.dtype == np.float32
    assert found.shape == (TONES, len(mixture))
    assert np.abs(found - batch_result(model, described, mixture)).max() < 1e-6


def test_a_network_of_the_usual_size_stays_with_the_batch_result_for_long():
    model, described = make(hidden=128)
    mixture = np.random.default_rng(1).normal(size=20_000)
    assert (
        np.abs(fed(ToneFilter(model, described), mixture, (997,)) - batch_result(model, described, mixture)).max()
        < 1e-6
    )


@pytest.mark.parametrize("conditioning", ["selector", "heads"])
def test_wanted_tones_come_in_the_order_asked_for(mixture, conditioning):
    model, described = make(10, conditioning)
    tone_filter = ToneFilter(model, described, tones=[2, 0])
    assert tone_filter.frequencies == (5.0, 1.0)
    expected = batch_result(model, described, mixture)[[2, 0]]
    assert np.allclose(fed(tone_filter, mixture, (31,)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("tones", [[], [3], [-1], [1, 1]])
def test_tones_that_are_not_there_are_refused(tones):
    with pytest.raises(InputError, match="different numbers from 0 to 2"):
        ToneFilter(*make(), tones=tones)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i2", "i4", "i8", "u1", ">f8"])
def test_numbers_of_any_type_are_read_by_their_value(dtype):
    values = np.random.default_rng(0).integers(0, 100, size=40)
    expected = ToneFilter(*make()).push(values.astype("f8"))
    assert np.array_equal(ToneFilter(*make()).push(values.astype(dtype)), expected)
    assert np.array_equal(ToneFilter(*make()).push(values.tolist()), expected)


def test_latency_is_a_hop():
    tone_filter = ToneFilter(*make(hop=10))
    assert tone_filter.latency == 10
    assert tone_filter.push(np.zeros(9)).shape == (TONES, 0)
    assert tone_filter.push(np.zeros(1)).shape == (TONES, 10)


def test_it_is_causal(mixture):
    changed = mixture.copy()
    changed[100:] = 7
    first, second = (ToneFilter(*make()).push(signal) for signal in (mixture, changed))
    assert np.array_equal(first[:, :100], second[:, :100])
    assert not np.allclose(first[:, 100:], second[:, 100:])


def test_a_finished_stream_takes_nothing_until_it_is_reset(mixture):
    tone_filter = ToneFilter(*make())
    first = fed(tone_filter, mixture, (50,))
    assert tone_filter.samples == len(mixture)
    for action in (lambda: tone_filter.push([1.0]), tone_filter.finish, tone_filter.state):
        with pytest.raises(InputError, match="call reset"):
            action()
    tone_filter.reset()
    assert np.array_equal(fed(tone_filter, mixture, (50,)), first)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_a_sample_that_is_not_finite_is_refused_and_changes_nothing(mixture, bad):
    tone_filter, other = ToneFilter(*make()), ToneFilter(*make())
    tone_filter.push(mixture[:103]), other.push(mixture[:103])
    spoilt = mixture[103:].copy()
    spoilt[[4, 6]] = bad
    with pytest.raises(InputError, match=r"sample 107 of the stream .* must be finite .*zero or hold"):
        tone_filter.push(spoilt)
    assert np.array_equal(tone_filter.push(mixture[103:]), other.push(mixture[103:]))
    assert tone_filter.samples == len(mixture)


@pytest.mark.parametrize("size", [1, 9, 217])
@pytest.mark.parametrize("gaps", ["zero", "hold"])
def test_gaps_are_filled_and_counted(mixture, gaps, size):
    spoilt, mended = mixture.copy(), mixture.copy()
    gaps_at = [0, 1, 50, 51, 52, 99, 216]
    spoilt[gaps_at] = [np.nan, np.inf, np.nan, -np.inf, np.nan, 1e300, np.nan]
    for at in gaps_at:
        mended[at] = 0 if gaps == "zero" or at < 2 else mended[at - 1]
    tone_filter = ToneFilter(*make(), gaps=gaps)
    assert np.array_equal(fed(tone_filter, spoilt, (size,)), fed(ToneFilter(*make()), mended, (size,)))
    assert tone_filter.gaps_filled == len(gaps_at)


def test_an_unknown_way_with_gaps_is_refused():
    with pytest.raises(InputError, match="gaps: got 'drop', but it is one of refuse, zero, hold"):
        ToneFilter(*make(), gaps="drop")


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((2, 5)), r"shape \(2, 5\), but a stream is one-dimensional"),
        (1.0, "one-dimensional"),
        (np.zeros(5, complex), "complex128, but they must be real"),
        (["1.0"], "must be real numbers"),
        ([True], "bool, but they must be real"),
        ([None], "object, but they must be real"),
    ],
)
def test_what_is_no_stream_of_numbers_is_refused(samples, message):
    with pytest.raises(InputError, match=message):
        ToneFilter(*make()).push(samples)


@pytest.mark.parametrize("stateful", [True, False])
@pytest.mark.parametrize("conditioning", ["selector", "heads"])
@pytest.mark.parametrize("cut", [0, 5, 60, 113])
def test_a_stream_cut_in_two_gives_the_same_as_one(tmp_path, mixture, conditioning, stateful, cut):
    parts = make(10, conditioning, stateful)
    whole = fed(ToneFilter(*parts), mixture, (1000,))
    first, second, third = (ToneFilter(*parts) for _ in range(3))
    begun = first.push(mixture[:cut])
    first.save(tmp_path / "state.npz")
    second.restore(tmp_path / "state.npz")
    third.set_state(first.state())
    assert second.samples == third.samples == cut
    for tone_filter in (first, second, third):
        rest = [tone_filter.push(mixture[cut:]), tone_filter.finish()]
        assert np.array_equal(np.concatenate([begun, *rest], axis=1), whole)


def test_a_state_remembers_gaps():
    first, second = (ToneFilter(*make(hop=1), gaps="hold") for _ in range(2))
    first.push([2.0, np.nan])
    second.set_state(first.state())
    assert second.gaps_filled == 1
    assert np.array_equal(second.push([np.nan]), first.push([2.0]))


def test_a_state_in_memory_is_a_copy(mixture):
    tone_filter = ToneFilter(*make())
    tone_filter.push(mixture[:105])
    state = tone_filter.state()
    first = tone_filter.push(mixture[105:])
    tone_filter.set_state(state)
    assert np.array_equal(tone_filter.push(mixture[105:]), first)


def test_a_state_of_another_model_or_other_tones_is_refused(tmp_path):
    path = tmp_path / "state.npz"
    ToneFilter(*make()).save(path)
    model, described = make()
    for other in (make(seed=1), make(stateful=False), (model, described.model_copy(update={"scale": 2.0}))):
        with pytest.raises(InputError, match=r"state\.npz: the state of model .* or begin a new stream"):
            ToneFilter(*other).restore(path)
    with pytest.raises(InputError, match=r"tones \[0, 1, 2\] \(from 0\), but this filter gives \[1\]"):
        ToneFilter(*make(), tones=[1]).restore(path)


def test_a_damaged_state_is_refused(tmp_path):
    path, tone_filter = tmp_path / "state.npz", ToneFilter(*make())
    with pytest.raises(InputError, match="no such file"):
        tone_filter.restore(path)
    tone_filter.save(path)
    whole = path.read_bytes()
    for content in (b"", b"nonsense", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a whole state of a filter: remove it"):
            tone_filter.restore(path)
    with pytest.raises(InputError, match=r"it holds gaps_filled, last, model, .* and memories"):
        tone_filter.set_state({"memory_0": np.zeros(3)})
    spoilt = tone_filter.state()["memory_1"] * np.nan
    for wrong in (
        {"memory_0": np.zeros(3)},
        {"memory_1": spoilt},
        {"memory_99": np.zeros(3)},
        {"waiting": np.zeros(10)},
        {"waiting": np.array([np.nan])},
        {"position": np.array(10**18)},
        {"position": np.array(-5)},
        {"position": np.array([1, 2])},
        {"samples": np.array(np.inf)},
        {"samples": np.array(1 + 2j)},
        {"samples": np.array(7)},
        {"last": np.array("x")},
        {"last": np.array([1.0, 2.0])},
        {"last": np.array(np.nan)},
        {"gaps_filled": np.array(-1)},
        {"gaps_filled": np.array(True)},
    ):
        with pytest.raises(InputError, match="damaged state"):
            tone_filter.set_state(tone_filter.state() | wrong)


@pytest.mark.parametrize("pushed", [0, 59, 60, 61, 255])
@pytest.mark.parametrize("position", [7, 11, 100, -1])
def test_a_position_that_is_not_the_streams_is_refused(pushed, position):
    """Beyond the window it would never be reset, and the filter never come to an end."""
    tone_filter = ToneFilter(*make(stateful=False))
    tone_filter.push(np.ones(pushed))
    state = tone_filter.state()
    ToneFilter(*make(stateful=False)).set_state(state)
    with pytest.raises(InputError, match="damaged state"):
        tone_filter.set_state(state | {"position": np.array(position)})


def test_a_model_file_makes_a_filter(tmp_path, mixture):
    model, described = make()
    models.save(tmp_path / "model.safetensors", model, described)
    loaded = ToneFilter.load(tmp_path / "model.safetensors", tones=[1])
    assert loaded.frequencies == (3.0,)
    assert loaded.sampling_rate == 1000.0
    assert np.array_equal(loaded.push(mixture), ToneFilter(model, described, tones=[1]).push(mixture))


def test_a_model_file_of_another_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "VERSION", 1)
    models.save(tmp_path / "model.safetensors", *make())
    monkeypatch.undo()
    with pytest.raises(InputError, match="not a tonesift model of version 3"):
        ToneFilter.load(tmp_path / "model.safetensors")


def test_windows_that_are_no_whole_number_of_hops_are_refused():
    model, described = make(stateful=False)
    with pytest.raises(InputError, match="windows of 55 samples, no whole number of hops of 10"):
        ToneFilter(model, described.model_copy(update={"window_samples": 55}))
