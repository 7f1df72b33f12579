"""What a network is judged on: every window, or streams from all over a period."""

from types import SimpleNamespace

import numpy as np
import pytest
from networks import metadata

from tonesift.data import windows
from tonesift.data.recordings import Facts
from tonesift.evaluation import comparison
from tonesift.evaluation import segments as judged

RATE, SETTINGS = 100.0, SimpleNamespace(streams=24)


def make_split(recordings, samples, fold=None):
    train, validation = windows.split_blocks(recordings, samples, 20, 5, 0.1, fold)
    return windows.Split(train, validation, 20, 5, 0.0, 1.0, (recordings, samples))


def make_task(name, samples, frequencies=(2.0, 5.0)):
    facts = Facts(RATE, frequencies, np.zeros((1, 2)), np.ones((1, 2)), 1.0, 0.1, name, 1)
    return comparison.make_task(facts, samples)


def chosen(task, recordings=1, samples=400, stateful=True, fold=None):
    split = make_split(recordings, samples, fold)
    described = metadata(train={"stateful": stateful}, sampling_rate=RATE, window_samples=20, step_size=5)
    return judged.choose_segments(described, SETTINGS, task, (recordings, samples), split), split


def test_a_reset_network_is_judged_on_every_window_and_on_those_trained_on():
    (test, train), split = chosen(make_task("fixed", 400), recordings=2, stateful=False)
    assert test.starts.tolist() == [[index, first] for index in (0, 1) for first in range(0, 381, 5)]
    assert train.starts.tolist() == windows.starts(split.train, 5).tolist()
    assert test.samples == train.samples == 20


@pytest.mark.parametrize(
    ("name", "frequencies", "spread"),
    [
        ("fixed", (2.0, 5.0), 100),  # a period of one second
        ("fixed", (4.0, 10.0), 50),  # of half a second
        ("fixed", (2.0, 5.0371), 100),  # none within the recording: a second; in test, wherever there is room
        ("general", (4.0, 10.0), 100),  # phases are drawn anyway: a second
    ],
)
@pytest.mark.parametrize(("recordings", "fold"), [(1, None), (1, (2, 5)), (4, None)])
def test_a_carried_network_is_judged_on_streams_from_all_over_a_period(name, frequencies, spread, recordings, fold):
    (test, train), split = chosen(make_task(name, 400, frequencies), recordings, fold=fold)
    held = windows.covered(split.train, 20, 5)
    longest = max(end - begin for _, begin, end in held)
    assert test.samples == train.samples == longest - spread
    begins = {recording: begin for recording, begin, end in held if end - begin == longest}
    anywhere = 400 - test.samples if 5.0371 in frequencies else spread
    whole = dict.fromkeys(range(recordings), 0)
    for segments, first, among in ((test, whole, anywhere), (train, begins, spread)):
        assert len(segments.starts) == 24
        offsets = [start - first[recording] for recording, start in segments.starts.tolist()]
        assert sorted(offset * 24 // among for offset in offsets) == pytest.approx(range(24), abs=1)
        assert 0 <= min(offsets) <= among / 24
        assert among - 1 - among / 24 <= max(offsets) < among
        assert all(start + segments.samples <= 400 for _, start in segments.starts.tolist())
    assert {recording for recording, _ in test.starts.tolist()} == set(range(recordings))


def test_starts_are_drawn_from_no_more_than_half_of_what_there_is():
    (test, train), split = chosen(make_task("fixed", 160), samples=160)
    longest = max(end - begin for _, begin, end in windows.covered(split.train, 20, 5))
    assert longest < 200
    assert test.samples == train.samples == longest - longest // 2
    assert train.starts[:, 1].max() < longest // 2


def test_every_test_recording_is_judged_even_where_fewer_streams_are_asked_for():
    (test, train), _ = chosen(make_task("general", 400, (4.0, 10.0)), 30)
    assert {recording for recording, _ in test.starts.tolist()} == set(range(30))
    assert len(train.starts) == 24


@pytest.mark.parametrize(("samples", "step"), [(20, 1), (47, 3), (60, 20)])
def test_all_windows_are_all_that_fit_in_each_recording(samples, step):
    found = judged.all_windows(2, samples, 20, step)
    plain = [[recording, first] for recording in range(2) for first in range(0, samples - 20 + 1, step)]
    assert found.starts.tolist() == plain
    assert found.samples == 20


HELD = [(0, 10, 500), (1, 0, 399), (2, 30, 430), (3, 5, 430)]  # the second is one sample too short


def test_streams_take_turns_and_begin_once_in_each_part_of_the_spread():
    found = judged.drawn_streams(HELD, 10, 300, 100, seed=3)
    recordings, first = found.starts.T
    assert found.samples == 300
    assert recordings.tolist() == [0, 2, 3, 0, 2, 3, 0, 2, 3, 0]
    offsets = first - np.array([{0: 10, 2: 30, 3: 5}[recording] for recording in recordings])
    assert sorted(offset // 10 for offset in offsets) == list(range(10))
    assert offsets.tolist() != sorted(offsets)  # else a segment would always be read from the same places
    ends = {recording: end for recording, _, end in HELD}
    assert all(begin + 300 <= ends[recording] for recording, begin in found.starts.tolist())


def test_streams_are_the_same_each_time_and_others_with_another_seed():
    one, again, other = (judged.drawn_streams(HELD, 16, 300, 100, seed).starts.tolist() for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_more_streams_than_starts_begin_at_all_of_them():
    starts = judged.drawn_streams([(0, 7, 107)], 64, 50, 20, seed=0).starts
    assert starts.shape == (64, 2)
    assert set(starts[:, 1].tolist()) == set(range(7, 27))
