import math

import numpy as np

from tonesift.conditions import elementary

GENERATOR = np.random.default_rng(1)


def test_sine_of_turns_is_the_c_librarys():
    turns = np.concatenate([GENERATOR.uniform(-3, 3, 5000), np.arange(-8, 9) / 4, np.arange(-8, 9) / 8])
    expected = [math.sin(2 * math.pi * math.fmod(x, 1.0)) for x in turns.tolist()]
    assert np.abs(elementary.sine(turns) - expected).max() < 1e-15


def test_sine_at_quarter_turns_is_exact():
    assert elementary.sine(np.array([0.0, 0.25, 0.5, 0.75, 1.0, -0.25])).tolist() == [0, 1, 0, -1, 0, -1]


def test_exponential_is_the_c_librarys():
    x = np.concatenate([GENERATOR.uniform(-700, 700, 2000), GENERATOR.uniform(-2, 2, 5000), [0.0, 1.0]])
    expected = np.array([math.exp(each) for each in x.tolist()])
    assert np.abs(elementary.exp(x) / expected - 1).max() < 5e-16


def test_logarithm_is_the_c_librarys():
    x = np.concatenate([np.arange(1.0, 5000.0), GENERATOR.uniform(1e-9, 1e9, 2000)])
    expected = np.array([math.log(each) for each in x.tolist()])
    assert np.abs(elementary.log(x) - expected).max() < 5e-15
    near = 1 + np.linspace(-1e-3, 1e-3, 101)
    assert np.allclose(elementary.log(near), [math.log(each) for each in near.tolist()], rtol=1e-14, atol=0)
