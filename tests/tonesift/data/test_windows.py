import numpy as np
import pytest

from tonesift.data import windows
from tonesift.errors import InputError


def samples_of(runs, length, step):
    """Set of (recording, sample) that windows cover, the slow way."""
    return {(r, s + i) for r, s in windows.starts(runs, step).tolist() for i in range(length)}


def test_starts_expand_runs():
    runs = np.array([[0, 5, 3], [2, 0, 1]])
    assert windows.starts(runs, 10).tolist() == [[0, 5], [0, 15], [0, 25], [2, 0]]
    assert windows.count(runs) == 4


def test_no_runs_are_no_windows():
    assert windows.starts(np.zeros((0, 3), dtype=np.int64), 1).shape == (0, 2)


def test_the_baseline_has_as_many_windows_as_the_formula_says():
    assert windows.count(windows.all_windows(1, 10_000, 50, 1)) * 4 == 39_804


@pytest.mark.parametrize("fold", [None, (1, 5), (3, 5), (5, 5)])
@pytest.mark.parametrize("step", [1, 7])
def test_blocks_share_no_sample_and_stand_a_window_apart(fold, step):
    train, validation = windows.split_blocks(1, 1000, 20, step, 0.1, fold)
    inside, outside = samples_of(validation, 20, step), samples_of(train, 20, step)
    assert inside
    assert outside
    block = sorted(sample for _, sample in inside)
    assert min(min(abs(sample - block[0]), abs(sample - block[-1])) for _, sample in outside) > 20
    assert block[-1] < 1000
    assert all(0 <= sample < 1000 for _, sample in outside)


def test_folds_cover_every_sample_once():
    found = [samples_of(windows.split_blocks(1, 1000, 20, 1, 0.1, (fold, 5))[1], 20, 1) for fold in range(1, 6)]
    assert sum(map(len, found)) == len(set.union(*found)) == 1000


def test_several_recordings_are_split_whole():
    train, validation = windows.split_blocks(10, 100, 20, 1, 0.2)
    assert set(train[:, 0]) == set(range(8))
    assert set(validation[:, 0]) == {8, 9}
    assert windows.count(train) + windows.count(validation) == 10 * 81


def test_two_recordings_keep_one_to_validate():
    train, validation = windows.split_blocks(2, 100, 20, 1, 0.05)
    assert (set(train[:, 0]), set(validation[:, 0])) == ({0}, {1})


def test_random_split_is_a_partition_of_the_windows():
    every = {tuple(row) for row in windows.starts(windows.all_windows(3, 200, 20, 2), 2).tolist()}
    parts = windows.split_random(3, 200, 20, 2, 0.1, np.random.default_rng(1))
    train, validation = ({tuple(row) for row in windows.starts(part, 2).tolist()} for part in parts)
    assert train | validation == every
    assert not train & validation
    assert len(validation) == round(0.1 * len(every))


def test_random_split_leaks():
    train, validation = windows.split_random(1, 1000, 20, 1, 0.1, np.random.default_rng(1))
    assert len(samples_of(validation, 20, 1) - samples_of(train, 20, 1)) == 0


def test_covered_merges_overlaps():
    assert windows.covered(np.array([[0, 0, 5], [0, 8, 1], [1, 3, 2]]), 10, 1) == [(0, 0, 18), (1, 3, 14)]


def test_scalings_against_numpy():
    values = np.random.default_rng(0).gamma(2.0, size=1001).astype(np.float32)
    parts = [values[:400], values[400:]]
    assert windows.fit_scaling("none", parts) == (0.0, 1.0)
    assert windows.fit_scaling("standard", parts) == pytest.approx((values.mean(), values.std()), rel=1e-5)
    low, middle, high = np.percentile(values, [25, 50, 75])
    assert windows.fit_scaling("robust", parts) == pytest.approx((middle, high - low))
    center, scale = windows.fit_scaling("minmax", parts)
    assert ((values.min() - center) / scale, (values.max() - center) / scale) == pytest.approx((-1, 1), rel=1e-5)


@pytest.mark.parametrize("kind", ["standard", "minmax", "robust"])
def test_a_constant_mixture_has_no_scale(kind):
    with pytest.raises(InputError, match="needs a mixture that varies"):
        windows.fit_scaling(kind, [np.ones(5, dtype=np.float32)])


def test_write_and_read(tmp_path):
    train, validation = windows.split_blocks(1, 1000, 20, 1, 0.1)
    split = windows.Split(train, validation, 20, 1, 0.5, 2.0, (1, 1000))
    windows.write(tmp_path / "w.h5", split)
    found = windows.read(tmp_path / "w.h5")
    assert np.array_equal(found.train, train)
    assert np.array_equal(found.validation, validation)
    assert (found.window_samples, found.step_size, found.center, found.scale, found.shape) == (
        20,
        1,
        0.5,
        2.0,
        (1, 1000),
    )


def test_an_hour_at_10_khz_is_a_few_rows():
    train, validation = windows.split_blocks(1, 36_000_000, 50, 1, 0.1)
    assert train.nbytes + validation.nbytes < 100
