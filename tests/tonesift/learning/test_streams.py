"""Streams against their definition, and carried states against a loop over single steps."""

import numpy as np
import pytest
import torch
from networks import lstm
from scipy import stats
from torch import nn

from tonesift import compute
from tonesift.data.segments import Segment
from tonesift.learning import streams
from tonesift.learning.batches import Signals
from tonesift.learning.streams import ScoredSegment, StreamBatches
from tonesift.metrics import Tally, tally, tally_tones

CPU = torch.device("cpu")
# two of recording 0 with a gap between them, one that is exactly a batch long, one too short
SEGMENTS = [(0, 0, 47), (0, 60, 103), (1, 5, 15), (2, 20, 29), (3, 0, 200)]
KINDS = [("selector", 1), ("selector", 4), ("heads", 1), ("heads", 4)]


def make(conditioning, hop, tones=2):
    model = lstm(tones, 8, 2, 0.0, conditioning, hop)
    model.initialise(torch.Generator().manual_seed(1))
    return model


def segment_of(recording, first):
    """The segment that a sample lies in."""
    (found,) = [one for one in SEGMENTS if one[0] == recording and one[1] <= first < one[2]]
    return found


def test_a_stream_goes_on_where_it_ended_until_its_segment_is_used_up():
    reading, generator = StreamBatches(SEGMENTS, 6, 10, 4, 1), np.random.default_rng(1)
    before, restarts = reading.next(generator, 10), 0
    assert before.fresh.all()
    for _ in range(400):
        batch = reading.next(generator, 10)
        for stream in range(6):
            recording, last = before.starts[stream]
            goes_on = last + 20 <= segment_of(recording, last)[2]  # another 10 samples are left
            assert batch.fresh[stream] == (not goes_on)
            if goes_on:
                assert batch.starts[stream].tolist() == [recording, last + 10]
                assert batch.wanted[stream] == before.wanted[stream]
        before, restarts = batch, restarts + batch.fresh.sum()
    assert 0 < restarts < 400 * 6


def test_no_sample_outside_a_segment_is_ever_read():
    reading, generator = StreamBatches(SEGMENTS, 6, 10, 4, 1), np.random.default_rng(2)
    read = set()
    for _ in range(2000):
        for recording, first in reading.next(generator, 10).starts.tolist():
            read |= {(recording, sample) for sample in range(first, first + 10)}
    allowed = {(r, s) for r, begin, end in SEGMENTS for s in range(begin, end) if end - begin >= 10}
    assert read == allowed  # all of them, and none of the gap or of the segment that is too short


def test_starts_are_uniform_over_all_places_with_enough_samples():
    batch = StreamBatches(SEGMENTS, 60_000, 10, 4, 1).next(np.random.default_rng(3), 10)
    places = [(r, first) for r, begin, end in SEGMENTS for first in range(begin, end - 10 + 1)]
    found, counts = np.unique(batch.starts, axis=0, return_counts=True)
    assert [tuple(place) for place in found] == sorted(places)
    assert stats.chisquare(counts).pvalue > 1e-3
    assert stats.chisquare(np.bincount(batch.wanted)).pvalue > 1e-3
    tones_and_places = np.histogram2d(batch.wanted, np.searchsorted(range(0, 200, 20), batch.starts[:, 1]))[0]
    filled = tones_and_places[tones_and_places.any(axis=1)]
    assert stats.chi2_contingency(filled[:, filled.any(axis=0)]).pvalue > 1e-3


def test_restarts_are_uniform_and_draw_tones_anew():
    reading, generator = StreamBatches([(0, 0, 30), (1, 0, 30)], 500, 10, 3, 1), np.random.default_rng(4)
    starts, tones = [], []
    for _ in range(60):
        batch = reading.next(generator, 10)
        starts += [tuple(place) for place in batch.starts[batch.fresh]]
        tones += batch.wanted[batch.fresh].tolist()
    found, counts = np.unique(starts, axis=0, return_counts=True)
    assert len(found) == 2 * 21
    assert stats.chisquare(counts).pvalue > 1e-3
    assert stats.chisquare(np.bincount(tones)).pvalue > 1e-3


def test_streams_are_those_of_their_generator():
    one, same, other = (
        [np.concatenate([reading.next(generator, 10).starts for _ in range(50)])]
        for reading, generator in (
            (StreamBatches(SEGMENTS, 6, 10, 4, 1), np.random.default_rng(seed)) for seed in (1, 1, 2)
        )
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_batch_keeps_its_places_when_the_next_is_drawn():
    reading, generator = StreamBatches(SEGMENTS, 6, 10, 4, 1), np.random.default_rng(5)
    batch = reading.next(generator, 10)
    kept = [column.copy() for column in batch[:3]]
    for _ in range(20):
        reading.next(generator, 10)
    assert all(np.array_equal(one, other) for one, other in zip(batch[:3], kept, strict=True))


def plain(model, row, reset_samples=None):
    """Outputs (K, N) of a mixture (N,), a step at a time, with PyTorch's cells; zeros are read behind the end."""
    cells = []
    for layer in model.body.layers:
        cell = nn.LSTMCell(layer.input_size, layer.hidden_size)
        cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
        cells.append(cell)
    hop, selects, samples = model.hop, model.conditioning == "selector", len(row)
    padded = torch.cat([torch.as_tensor(row), torch.zeros(-samples % hop)])
    found = torch.zeros(model.tones, len(padded))
    with torch.no_grad():
        for example in range(model.tones if selects else 1):
            selector = torch.eye(model.tones)[example] if selects else torch.zeros(0)
            for begin in range(0, len(padded), hop):
                if begin == 0 or (reset_samples and begin % reset_samples == 0):
                    states = [(torch.zeros(1, cell.hidden_size),) * 2 for cell in cells]
                given = torch.cat([padded[begin : begin + hop], selector])[None]
                for number, cell in enumerate(cells):
                    states[number] = cell(given, states[number])
                    given = states[number][0]
                output = model.head(given)[0]
                tones = [example] if selects else range(model.tones)
                for place, tone in enumerate(tones):
                    found[tone, begin : begin + hop] = output[place * hop : (place + 1) * hop]
    return found[:, :samples].numpy()


@pytest.mark.parametrize("samples", [60, 50, 7])
@pytest.mark.parametrize("conditioning", ["selector", "heads"])
@pytest.mark.parametrize(("hop", "reset_samples"), [(1, None), (1, 20), (3, None), (3, 21), (4, 20)])
def test_estimates_are_those_of_a_loop_over_steps(conditioning, hop, reset_samples, samples):
    model = make(conditioning, hop)
    mixture = np.random.default_rng(6).standard_normal((3, samples), dtype=np.float32)
    with compute.parallel_map(CPU, 2) as pmap:
        found = streams.estimate(model, torch.from_numpy(mixture), reset_samples, 2, pmap)
    assert found.shape == (3, 2, samples)
    for row, output in zip(mixture, found, strict=True):
        np.testing.assert_allclose(output, plain(model, row, reset_samples), atol=1e-6)


@pytest.mark.parametrize("conditioning", ["selector", "heads"])
def test_the_state_is_carried_over_the_pieces_that_bound_memory(conditioning):
    model = make(conditioning, 1, tones=3)
    samples = 2 * streams.CHUNK_STEPS + 31
    mixture = np.random.default_rng(7).standard_normal((2, samples), dtype=np.float32)
    with compute.parallel_map(CPU, 2) as pmap:
        found = streams.estimate(model, torch.from_numpy(mixture), None, 64, pmap)
    np.testing.assert_allclose(found[1], plain(model, mixture[1]), atol=1e-6)


@pytest.mark.parametrize(("conditioning", "hop"), KINDS)
@pytest.mark.parametrize("reset_samples", [None, 20])
def test_one_thread_and_two_give_the_same_bits(conditioning, hop, reset_samples, monkeypatch):
    model, found = make(conditioning, hop), []
    mixture = np.random.default_rng(8).standard_normal((2 * streams.STREAM_ROWS + 5, 90), dtype=np.float32)
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        with compute.parallel_map(CPU, 4) as pmap:
            found.append(streams.estimate(model, torch.from_numpy(mixture), reset_samples, 16, pmap))
    assert np.array_equal(*found)


def test_every_recording_is_a_stream_of_its_own():
    model = make("heads", 1)
    mixture = np.random.default_rng(9).standard_normal((2 * streams.STREAM_ROWS + 5, 30), dtype=np.float32)
    with compute.parallel_map(CPU, 2) as pmap:
        found = streams.estimate(model, torch.from_numpy(mixture), None, 64, pmap)
    for row in (0, streams.STREAM_ROWS, len(mixture) - 1):
        np.testing.assert_allclose(found[row], plain(model, mixture[row]), atol=1e-6)


@pytest.mark.parametrize(("count", "samples"), [(0, 100), (1, 100), (7, 100), (32, 500), (64, 20)])
def test_one_start_is_drawn_from_each_equal_part(count, samples):
    starts = streams.drawn_starts(count, samples, np.random.default_rng(10))
    assert starts.shape == (count,)
    assert starts.dtype == np.int64
    for number, start in enumerate(starts.tolist()):
        assert number * samples // count <= start < -(-(number + 1) * samples // count)


def test_starts_are_uniform_over_all_samples():
    generator = np.random.default_rng(11)
    starts = np.concatenate([streams.drawn_starts(5, 40, generator) for _ in range(4000)])
    assert stats.chisquare(np.bincount(starts, minlength=40)).pvalue > 1e-3


@pytest.mark.parametrize("period", [100, 10_000])
def test_validation_segments_go_on_from_each_recordings_start_and_begin_inside_the_segments(period):
    segments = [(0, 700, 1500), (2, 0, 900), (2, 1000, 1100)]
    found = streams.validation_segments(segments, period, np.random.default_rng(12))
    assert found[:3] == [ScoredSegment(0, 0, 700, 1500), ScoredSegment(2, 0, 0, 900), ScoredSegment(2, 0, 1000, 1100)]
    rest = found[3:]
    each = streams.VALIDATION_STARTS // 3
    assert len(rest) == 3 * each
    for number, (recording, begin, end) in enumerate(segments):
        span = min(period, (end - begin) // 2)
        for place, segment in enumerate(rest[number * each : (number + 1) * each]):
            assert segment.recording == recording
            assert segment.scored == segment.begin
            assert segment.end == min(segment.begin + 2 * period, end)
            assert place * span // each <= segment.begin - begin < -(-(place + 1) * span // each)
            assert segment.end - segment.begin >= (end - begin) // 2 or segment.end - segment.begin == 2 * period


def test_many_segments_are_judged_from_their_recordings_starts_only():
    segments = [(recording, 0, 50) for recording in range(streams.VALIDATION_STARTS + 1)]
    found = streams.validation_segments(segments, 10, np.random.default_rng(13))
    assert found == [ScoredSegment(recording, 0, 0, 50) for recording in range(streams.VALIDATION_STARTS + 1)]


@pytest.mark.parametrize("conditioning", ["selector", "heads"])
@pytest.mark.parametrize("hop", [1, 3])
def test_scores_count_what_a_loop_over_steps_gives(conditioning, hop):
    model = make(conditioning, hop)
    signals = Signals(torch.randn(2, 120), torch.randn(2, 2, 120))
    chosen = [
        ScoredSegment(0, 0, 40, 80),
        ScoredSegment(1, 0, 0, 120),
        ScoredSegment(0, 61, 61, 90),
        ScoredSegment(1, 7, 30, 31),
    ]
    with compute.parallel_map(CPU, 2) as pmap:
        found = tally_tones(streams.predict(model, signals, chosen, pmap), 2)
    for tone in range(2):
        expected = Tally()
        for recording, start, scored, end in chosen:
            output = plain(model, signals.mixture[recording, start:end])[tone, scored - start :]
            expected += tally(signals.tones[recording, tone, scored:end].numpy(), output)
        assert expected.count == 40 + 120 + 29 + 1
        assert vars(found[tone]) == pytest.approx(vars(expected), rel=1e-5, abs=1e-4)


def test_nothing_that_comes_after_a_segment_is_read():
    """The rows are as long as the longest segment; what a short one would read beyond its end must not matter."""
    model = make("heads", 3)
    signals = Signals(torch.randn(1, 90), torch.randn(1, 2, 90))
    short, long = ScoredSegment(0, 0, 0, 31), ScoredSegment(0, 0, 0, 90)  # the short one ends inside a step
    with compute.parallel_map(CPU, 1) as pmap:
        alone, other, both = (
            sum(tally_tones(streams.predict(model, signals, chosen, pmap), 2), Tally())
            for chosen in ([short], [long], [short, long])
        )
    assert alone.count == 62
    assert both.error_square == pytest.approx(alone.error_square + other.error_square, rel=1e-5)


def test_from_the_beginning_streams_read_segments_from_there_but_for_the_first_ones():
    """Those begin a whole number of batches behind it, so that not all are as old at the same time."""
    segments, generator = [Segment(0, 0, 105), Segment(3, 40, 145)], np.random.default_rng(5)
    reading = StreamBatches(segments, 200, 10, 4, 1, from_begin=True)
    begins = {segment.recording: segment.begin for segment in segments}
    first = reading.next(generator, 10)
    offsets = np.array([start - begins[recording] for recording, start in first.starts.tolist()])
    assert set(offsets.tolist()) == set(range(0, 100, 10))
    fresh = [batch for batch in (reading.next(generator, 10) for _ in range(30)) for batch in batch.starts[batch.fresh]]
    assert len(fresh) > 400
    assert {(recording, start) for recording, start in map(tuple, np.array(fresh).tolist())} == {(0, 0), (3, 40)}
