import numpy as np

from tonesift.data.segments import Segment, Segments


def test_a_segment_is_as_long_as_the_slice_it_is():
    recording, begin, end = segment = Segment(1, 7, 19)
    assert segment.samples == len(np.zeros((2, 30))[recording, begin:end])


def test_a_cut_is_a_slice_of_each_recording():
    generator = np.random.default_rng(0)
    mixture, tones = generator.normal(size=(3, 40)), generator.normal(size=(3, 2, 40))
    segments = Segments(np.array([[2, 0], [0, 33], [2, 5], [1, 12]]), 7)
    for signal in (mixture, tones):
        plain = np.stack([signal[recording, ..., first : first + 7] for recording, first in segments.starts])
        np.testing.assert_array_equal(segments.cut(signal), plain)


def test_what_was_cut_is_a_copy():
    signal = np.zeros((1, 10))
    Segments(np.array([[0, 2]]), 4).cut(signal)[:] = 1
    assert not signal.any()
