"""Filters of named tones behind the same face as a model's."""

import json

import numpy as np
import pytest

from tonesift.errors import InputError
from tonesift.streaming import units
from tonesift.streaming.namedtones import NamedToneFilter, shown_time
from tonesift.streaming.tonefilter import ToneFilter

RATE, FREQUENCIES = 100.0, (5.0, 12.0)
FIRST, SECOND = 100, 200  # samples by which filters are made and first adjusted: twice half a second, and twice that


def recording(samples=1000, seed=0):
    """Tones (2, N) and their noisy sum."""
    generator = np.random.default_rng(seed)
    times = np.arange(samples) / RATE
    true = np.stack([1.5 * np.sin(2 * np.pi * 5 * times + 1), 0.5 * np.sin(2 * np.pi * 12 * times + 2)])
    return true, true.sum(axis=0) + 0.1 * generator.standard_normal(samples)


def fed(tone_filter, samples, size):
    parts = []
    for begin in range(0, len(samples), size):
        expected = tone_filter.given(len(samples[begin : begin + size]))
        parts.append(tone_filter.push(samples[begin : begin + size]))
        assert parts[-1].shape[1] == expected
    return np.concatenate([*parts, tone_filter.finish()], axis=1)


@pytest.fixture(scope="module")
def whole():
    return fed(NamedToneFilter(FREQUENCIES, RATE), recording()[1], 10_000)


def test_the_tones_come_as_they_are_in_the_recording(whole):
    true, _ = recording()
    assert whole.dtype == np.float32
    assert whole.shape == true.shape
    assert np.mean((whole - true)[:, 100:] ** 2) < 1e-3


@pytest.mark.parametrize("size", [1, 7, 64])
def test_any_cut_gives_the_bits_of_the_whole(whole, size):
    assert np.array_equal(fed(NamedToneFilter(FREQUENCIES, RATE), recording()[1], size), whole)


@pytest.mark.parametrize("method", ["auto", "extended-whitened"])
def test_any_cut_gives_the_same_bits_with_many_tones_an_offset_and_limits(method):
    frequencies = np.linspace(4.0, 40.0, 9)
    times = np.arange(900) / RATE
    samples = 30 + np.sin(2 * np.pi * frequencies[:, None] * times + frequencies[:, None]).sum(axis=0)
    samples = np.minimum(samples + np.random.default_rng(3).standard_normal(900), 33.0)
    whole = fed(NamedToneFilter(frequencies, RATE, method), samples, 900)
    assert np.array_equal(fed(NamedToneFilter(frequencies, RATE, method), samples, 1), whole)


def test_nothing_comes_before_a_filter_is_chosen_and_everything_at_once_after_it():
    tone_filter = NamedToneFilter(FREQUENCIES, RATE)
    samples = recording()[1]
    assert tone_filter.push(samples[: FIRST - 1]).shape == (2, 0)
    assert np.array_equal(tone_filter.held, samples[: FIRST - 1])
    assert tone_filter.waiting == FIRST - 1
    assert tone_filter.push(samples[FIRST - 1 : FIRST]).shape == (2, FIRST)
    assert tone_filter.waiting == 0
    assert tone_filter.push(samples[FIRST : FIRST + 1]).shape == (2, 1)
    assert tone_filter.latency == tone_filter.hop == tone_filter.count == 1


def test_after_the_first_stretch_it_is_causal(whole):
    samples = recording()[1]
    samples[600:] = 7
    changed = fed(NamedToneFilter(FREQUENCIES, RATE), samples, 1000)
    assert np.array_equal(changed[:, :600], whole[:, :600])
    assert not np.allclose(changed[:, 600:], whole[:, 600:])


@pytest.mark.parametrize("cut", [0, FIRST - 1, FIRST, FIRST + 1, SECOND, 900])
def test_a_stream_cut_in_two_gives_the_bits_of_one(tmp_path, whole, cut):
    samples = recording()[1]
    samples_with_gap, one = samples.copy(), NamedToneFilter(FREQUENCIES, RATE)
    samples_with_gap[10] = np.nan
    other, third = NamedToneFilter(FREQUENCIES, RATE), NamedToneFilter(FREQUENCIES, RATE)
    expected = fed(NamedToneFilter(FREQUENCIES, RATE), samples_with_gap, 1000)
    begun = one.push(samples_with_gap[:cut])
    one.save(tmp_path / "state.npz")
    other.restore(tmp_path / "state.npz")
    third.set_state(one.state())
    for tone_filter in (one, other, third):
        rest = [tone_filter.push(samples_with_gap[cut:]), tone_filter.finish()]
        assert np.array_equal(np.concatenate([begun, *rest], axis=1), expected)
        assert tone_filter.samples == 1000
        assert tone_filter.gaps_filled == 1


def test_what_is_whitened_is_what_the_tones_leave():
    samples, tone_filter = recording()[1], NamedToneFilter(FREQUENCIES, RATE)
    found = tone_filter.push(samples[: 3 * FIRST])
    state = tone_filter.state()
    assert np.array_equal(state["kept"], samples[: 3 * FIRST])
    assert np.allclose(state["left"], samples[: 3 * FIRST] - found.sum(axis=0), rtol=0, atol=1e-6)


def test_half_a_second_is_enough():
    true, samples = recording(50)
    tone_filter = NamedToneFilter((5.0,), RATE)
    assert tone_filter.push(samples).shape == (1, 0)
    found = tone_filter.finish()
    assert found.shape == (1, 50)
    assert np.mean((found - true[:1])[:, 25:] ** 2) < 0.2
    assert NamedToneFilter((5.0,), RATE).finish().shape == (1, 0)


@pytest.mark.parametrize("count", [1, 12])
def test_any_number_of_tones(count):
    frequencies = np.linspace(2.0, 45.0, count)
    times = np.arange(2000) / RATE
    true = np.sin(2 * np.pi * frequencies[:, None] * times + frequencies[:, None])
    found = fed(NamedToneFilter(frequencies, RATE, "kalman"), true.sum(axis=0), 512)
    assert np.mean((found - true)[:, 1000:] ** 2) < 0.01


def test_wanted_tones_come_in_the_order_asked_for(whole):
    tone_filter = NamedToneFilter(FREQUENCIES, RATE, tones=[1, 0])
    assert tone_filter.frequencies == (12.0, 5.0)
    assert np.array_equal(fed(tone_filter, recording()[1], 1000), whole[::-1])


def test_gaps_are_bridged_or_refused():
    true, samples = recording()
    samples[500:530] = np.nan
    samples[700] = np.inf
    tone_filter = NamedToneFilter(FREQUENCIES, RATE)
    found = fed(tone_filter, samples, 1000)
    assert tone_filter.gaps_filled == 31
    assert np.mean((found - true)[:, 500:530] ** 2) < 5e-3
    zeroed = fed(NamedToneFilter(FREQUENCIES, RATE, "kalman", gaps="zero"), samples, 1000)
    mended = np.where(np.isfinite(samples), samples, 0)
    assert np.array_equal(zeroed, fed(NamedToneFilter(FREQUENCIES, RATE, "kalman"), mended, 1000))
    with pytest.raises(InputError, match=r"sample 500 of the stream .* must be finite"):
        NamedToneFilter(FREQUENCIES, RATE, gaps="refuse").push(samples)
    with pytest.raises(InputError, match="gaps: got 'drop', but it is one of refuse, zero, hold, predict"):
        NamedToneFilter(FREQUENCIES, RATE, gaps="drop")


def test_large_values_with_small_tones_lose_nothing():
    """A barometer at 101325 Pa: in float32 its samples would come in steps of 0.008."""
    true, samples = recording()
    found = fed(NamedToneFilter(FREQUENCIES, RATE), 101_325 + 1e-3 * samples, 1000)
    assert np.mean((found - 1e-3 * true)[:, 500:] ** 2) < 1e-8


def test_silence_gives_silence_and_is_not_learnt_from():
    true, samples = recording()
    tone_filter = NamedToneFilter(FREQUENCIES, RATE)
    found = fed(tone_filter, np.concatenate([np.zeros(5 * FIRST), samples]), 33)
    assert not found[:, : 5 * FIRST].any()
    assert np.mean((found[:, 5 * FIRST :] - true)[:, 200:] ** 2) < 1e-3


def test_a_finished_stream_takes_nothing_until_it_is_reset(whole):
    tone_filter = NamedToneFilter(FREQUENCIES, RATE)
    fed(tone_filter, recording()[1], 1000)
    for action in (lambda: tone_filter.push([1.0]), tone_filter.finish, tone_filter.state):
        with pytest.raises(InputError, match="call reset"):
            action()
    tone_filter.reset()
    assert np.array_equal(fed(tone_filter, recording()[1], 1000), whole)


def test_a_line_says_which_filter_and_why():
    tone_filter = NamedToneFilter(FREQUENCIES, RATE)
    assert tone_filter.method_line == ""
    samples = np.clip(recording()[1], -1.5, 1.2)
    samples[:40] = np.nan
    tone_filter.push(samples)
    line = tone_filter.method_line
    assert line.startswith("method auto, after 8 s: kalman")
    assert "; steady tones (" in line
    assert "clipped at -1.5 and 1.2" in line
    assert "5% missing" in line
    assert "\n" not in line
    asked = NamedToneFilter(FREQUENCIES, RATE, "extended-student")
    asked.push(samples)
    assert asked.method_line.startswith("method extended-student, as asked: frequencies that drift")
    pieces = NamedToneFilter(FREQUENCIES, RATE)
    for sample in samples:
        pieces.push([sample])
    assert pieces.method_line == line


@pytest.mark.parametrize(("seconds", "shown"), [(0.5, "0.5 s"), (8.0, "8 s"), (36_000.0, "10 h"), (864_000.0, "10 d")])
def test_times_are_shown_in_units_that_suit_them(seconds, shown):
    assert shown_time(seconds) == shown


def test_tones_that_cannot_be_told_apart_yet_are_said():
    tone_filter = NamedToneFilter((5.0, 5.01), RATE)
    tone_filter.push(recording()[1])
    tone_filter.finish()
    assert tone_filter.notes() == ["the tones take 100 s to be told apart, but there are 10 s of it"]


@pytest.mark.parametrize(
    ("frequencies", "message"),
    [
        ((), "got 0, but a filter follows 1 to 64"),
        (range(1, 66), "got 65, but a filter follows 1 to 64"),
        ((5.0, 50.0), "tone 50 Hz: sampled at 100 Hz, a recording holds tones above 0 and below 50 Hz"),
        ((0.0,), "tone 0 Hz"),
        ((-3.0,), "tone -3 Hz"),
        ((np.nan,), "tone nan Hz"),
        ((5.0, 5.0), "two of them are the same"),
    ],
)
def test_tones_that_cannot_be_are_refused(frequencies, message):
    with pytest.raises(InputError, match=message):
        NamedToneFilter(frequencies, RATE)


def test_states_of_others_and_damaged_ones_are_refused(tmp_path):
    tone_filter = NamedToneFilter(FREQUENCIES, RATE)
    tone_filter.push(recording()[1][:300])
    state = tone_filter.state()
    others = [
        NamedToneFilter((5.0, 13.0), RATE),
        NamedToneFilter(FREQUENCIES, 2 * RATE),
        NamedToneFilter(FREQUENCIES, RATE, "kalman"),
        NamedToneFilter(FREQUENCIES, RATE, clip=(-1.0, 1.0)),
    ]
    for other in others:
        with pytest.raises(InputError, match=r"the state of filter .* with the same tones, sampling rate and method"):
            other.set_state(state)
    with pytest.raises(InputError, match=r"tones \[0, 1\] \(from 0\), but this filter gives \[1\]"):
        NamedToneFilter(FREQUENCIES, RATE, tones=[1]).set_state(state)
    with pytest.raises(InputError, match="not the state of a filter of named tones"):
        tone_filter.set_state({"samples": np.array(3)})
    made = json.loads(str(state["bank"]))
    for wrong in (
        {"samples": np.array(-1)},
        {"samples": np.array(1.5)},
        {"round": np.array(9)},
        {"gaps_filled": np.array(301)},
        {"last": np.array(np.nan)},
        {"kept": np.zeros((2, 2))},
        {"kept": np.zeros(100_000)},
        {"left": np.zeros(3)},
        {"left": np.full(len(state["left"]), np.inf)},
        {"losses": np.zeros(3)},
        {"losses": np.full(len(made), np.nan)},
        {"memory": np.array(-1.0)},
        {"memory": np.array("much")},
        {"bank": np.array("{")},
        {"bank": np.array("[]")},
        {"bank": np.array(json.dumps(made[:-1]))},
        {"bank": np.array(json.dumps([[made[0][0], made[0][1] | {"amplitude": -1.0}], *made[1:]]))},
        {"bank": np.array(json.dumps([[made[0][0], made[0][1] | {"amplitud": 1.0}], *made[1:]]))},
        {"tracker0_state": np.zeros(3)},
        {"tracker3_covariance": np.full_like(state["tracker3_covariance"], np.nan)},
        {"more": np.zeros(3)},
    ):
        with pytest.raises(InputError, match="damaged state"):
            tone_filter.set_state(state | wrong)
    with pytest.raises(InputError, match="no such file"):
        tone_filter.restore(tmp_path / "none.npz")


def test_the_face_is_that_of_a_models_filter():
    """What the command uses of either."""
    wanted = {name for name in dir(ToneFilter) if not name.startswith("_")} - {"load"}
    assert wanted <= set(dir(NamedToneFilter))


@pytest.mark.parametrize(
    ("text", "hertz"),
    [
        ("50", 50.0),
        ("50Hz", 50.0),
        (" 50 hz ", 50.0),
        ("1.2kHz", 1200.0),
        ("2MHz", 2e6),
        ("2mHz", 2e-3),
        ("3uHz", 3e-6),
        ("0.02s", 50.0),
        ("20ms", 50.0),
        ("20 ms", 50.0),
        ("4µs", 2.5e5),
        ("2min", 1 / 120),
        ("12.42h", 1 / 44_712),
        ("1d", 1 / 86_400),
        ("24/d", 24 / 86_400),
        ("1e-3", 1e-3),
    ],
)
def test_a_frequency_in_any_unit(text, hertz):
    assert units.frequency(text) == pytest.approx(hertz, rel=1e-15)


@pytest.mark.parametrize("text", ["", "0", "-50", "0s", "50V", "Hz", "1.2.3", "nan", "inf", "5 0", "1e999"])
def test_what_is_no_frequency_is_refused(text):
    with pytest.raises(InputError, match="a frequency is a number above 0, with a unit or not: Hz"):
        units.frequency(text)
