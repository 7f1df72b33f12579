"""The common period against a search in whole numbers and against the samples themselves."""

import numpy as np
import pytest

from tonesift.data.period import common_period


@pytest.mark.parametrize("tenths", [[10, 30, 50, 70], [25], [30], [1, 3], [15, 40], [7]])
def test_it_is_the_first_sample_at_which_every_tone_has_done_whole_cycles(tenths):
    first = next(n for n in range(1, 20_000) if all(n * tenth % 10_000 == 0 for tenth in tenths))
    assert common_period([tenth / 10 for tenth in tenths], 1000.0, 20_000) == first


def test_samples_repeat_after_it_and_not_before():
    period = common_period([1.0, 2.5], 100.0, 1000)
    tones = np.sin(2 * np.pi * np.outer([1.0, 2.5], np.arange(2 * period)) / 100 + np.array([[0.1], [0.2]]))
    np.testing.assert_allclose(tones[:, :period], tones[:, period:], atol=1e-12)
    for shift in range(1, period):
        assert np.abs(tones[:, shift : shift + period] - tones[:, :period]).max() > 1e-3


@pytest.mark.parametrize("frequencies", [[1.0, 2**0.5], [0.001]])
def test_there_is_none_where_it_is_too_long(frequencies):
    assert common_period(frequencies, 1000.0, 100_000) is None


def test_the_longest_period_of_interest_is_one():
    assert common_period([2.5], 1000.0, 400) == 400
    assert common_period([2.5], 1000.0, 399) is None


def test_it_refuses_a_tone_at_nyquist():
    with pytest.raises(ValueError, match=r"below the Nyquist frequency, 10\.0 Hz, but got frequencies=\[10\.0\]"):
        common_period([10.0], 20.0, 100)
