import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from scipy import signal, stats
from statsmodels.stats.diagnostic import acorr_ljungbox

from tonesift.full_evaluation import uncertainty
from tonesift.full_evaluation.uncertainty import (
    between_tones,
    block_length,
    bootstrap_r2,
    compare,
    correlation_time,
    residual_checks,
)
from tonesift.metrics import tally


def autoregressive(generator, coefficient, shape):
    """Stationary AR(1) noise of variance 1 along the last axis."""
    settled = 200
    drive = generator.standard_normal((*shape[:-1], shape[-1] + settled)) * math.sqrt(1 - coefficient**2)
    return signal.lfilter([1.0], [1.0, -coefficient], drive)[..., settled:]


def waves(samples, tones=1, period=100):
    time = np.arange(samples) / period
    return np.stack([np.sin(2 * np.pi * (k + 1) * time) for k in range(tones)])[None]


def as_json(result):
    """Round trip through strict JSON, which knows no NaN."""
    return json.loads(json.dumps(result, default=asdict, allow_nan=False))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# -- blocks


def test_correlation_time_of_autoregressive_noise_is_that_of_its_square(rng):
    # Squares of Gaussian AR(1) noise have autocorrelation c^(2 lag): below 0.1 from lag 11 for c = 0.9.
    errors = autoregressive(rng, 0.9, (4, 2, 50_000))
    assert correlation_time(errors) == pytest.approx(math.log(0.1) / math.log(0.81), abs=1.5)


def test_correlation_time_is_that_of_the_slowest_tone_and_not_of_the_loudest(rng):
    errors = np.concatenate([100 * rng.standard_normal((1, 1, 20_000)), autoregressive(rng, 0.95, (1, 1, 20_000))], 1)
    assert correlation_time(errors) > 15


def test_block_is_a_whole_period_where_there_are_eight_and_a_window_otherwise(rng):
    errors = rng.standard_normal((1, 2, 10_000))
    assert block_length(errors, window=50, period=1000) == 1000
    assert block_length(errors[..., :7999], window=50, period=1000) == 50
    assert block_length(errors, window=50, period=None) == 50
    assert block_length(errors.reshape(10, 2, 1000), window=50, period=1000) == 1000
    assert block_length(errors, window=300, period=1000) == 1200  # 8 blocks of whole windows
    assert block_length(errors[..., :9000], window=300, period=1000) == 300  # there would be 7


def test_block_is_never_shorter_than_the_correlation_time(rng):
    errors = autoregressive(rng, 0.98, (1, 1, 20_000))
    time = correlation_time(errors)
    assert time > 30
    for window, period in ((1, None), (8, None), (8, 16)):
        block = block_length(errors, window, period)
        assert time <= block < time + max(window, period or 0)
        assert block % window == 0


def test_block_of_errors_that_never_decorrelate_or_do_not_vary():
    assert block_length(np.full((2, 1, 30), 0.5), window=1, period=None) == 1
    assert block_length(np.zeros((1, 1, 30)), window=10, period=None) == 10
    assert block_length(np.ones((1, 1, 5)), window=10, period=None) == 5


def test_sums_keep_to_recordings_and_lose_nothing():
    values = np.arange(2 * 1 * 7, dtype=float).reshape(2, 1, 7)
    assert uncertainty._sums(values, 3).ravel().tolist() == [0 + 1 + 2, 3 + 4 + 5 + 6, 7 + 8 + 9, 10 + 11 + 12 + 13]
    assert uncertainty._means(values, 3).ravel().tolist() == [1, 4.5, 8, 11.5]
    assert uncertainty._sums(values, 100).ravel().tolist() == [21, 70]


# -- R²


def test_r2_is_that_of_the_metrics_even_with_samples_left_over(rng):
    targets = waves(1037, tones=3) + np.array([0.0, 0.3, -0.2])[:, None]
    errors = 0.3 * rng.standard_normal((1, 3, 1037))
    found = bootstrap_r2(errors, targets, 100, generator=rng, resamples=200)
    assert found.blocks == 10
    assert found.overall.value == pytest.approx(tally(targets, targets + errors).r2)
    for tone, interval in enumerate(found.tones):
        assert interval.value == pytest.approx(tally(targets[:, tone], (targets + errors)[:, tone]).r2)
        assert interval.low < interval.value < interval.high


def test_interval_follows_the_sampling_distribution_of_the_mean_error(rng):
    # Targets of constant power: R² is linear in the MSE, whose standard error over 100 blocks SciPy knows.
    targets, errors = waves(10_000), 0.5 * rng.standard_normal((1, 1, 10_000))
    found = bootstrap_r2(errors, targets, 100, generator=rng, resamples=5000).overall
    means = np.square(errors).reshape(100, 100).mean(axis=1)
    low, high = stats.ttest_1samp(means, 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((1 - high / 0.5, 1 - low / 0.5), abs=0.15 * (high - low))


def test_interval_depends_on_its_generator_and_on_the_confidence():
    errors, targets = np.random.default_rng(1).standard_normal((2, 3, 2, 500))
    first, again, other = (bootstrap_r2(errors, targets, 50, generator=np.random.default_rng(s)) for s in (5, 5, 6))
    assert first == again != other
    narrow = bootstrap_r2(errors, targets, 50, generator=np.random.default_rng(5), confidence=0.5)
    assert narrow.overall.high - narrow.overall.low < 0.6 * (first.overall.high - first.overall.low)


def covered(generator, samples, block, repetitions, resamples):
    """How often the 95 % interval holds the true R² of AR(1) errors of variance 0.25 on a tone of power 0.5."""
    targets, hits = waves(samples), 0
    for errors in 0.5 * autoregressive(generator, 0.9, (repetitions, 1, 1, samples)):
        found = bootstrap_r2(errors, targets, block, generator=generator, resamples=resamples).overall
        hits += found.low <= 0.5 <= found.high
    return hits


@pytest.mark.parametrize(
    ("samples", "block", "promised"),
    [(8000, 200, 0.95), (1000, 100, 0.93)],  # ten blocks are promised a little less, see the notes of bootstrap_r2
)
def test_intervals_from_blocks_hold_the_truth_as_often_as_they_say(rng, samples, block, promised):
    low, high = stats.binom.interval(0.999, 300, promised)
    assert low <= covered(rng, samples, block, 300, resamples=500) <= high


def test_intervals_from_single_samples_are_far_too_narrow(rng):
    # The squares' autocorrelation 0.81^lag makes the variance of their mean (1 + 0.81) / (1 - 0.81) = 9.5 times as
    # large as for independent ones, so intervals are 3.1 times too narrow and hold the truth 47 times in 100.
    expected = stats.norm.cdf(1.96 / math.sqrt(1.81 / 0.19)) * 2 - 1
    hits = covered(rng, 1000, 1, 100, resamples=100)
    assert stats.binom.ppf(0.001, 100, expected) - 2 <= hits <= stats.binom.ppf(0.999, 100, expected) + 2 < 75


def test_perfect_outputs_have_an_interval_of_no_width(rng):
    found = bootstrap_r2(np.zeros((1, 2, 1000)), waves(1000, tones=2), 100, generator=rng)
    for interval in (found.overall, *found.tones):
        assert (interval.value, interval.low, interval.high, interval.reason) == (1, 1, 1, None)
    as_json(found)


def test_too_few_blocks_and_constant_targets_give_a_reason(rng):
    errors = rng.standard_normal((1, 2, 300))
    few = bootstrap_r2(errors, waves(300, tones=2), 100, generator=rng)
    assert few.overall.value is not None
    assert few.overall.low is few.overall.high is None
    assert few.overall.reason.startswith("3 blocks, but at least 4 are needed")
    targets = waves(300, tones=2)
    targets[0, 1] = 0.7
    constant = bootstrap_r2(errors, targets, 50, generator=rng)
    assert constant.tones[0].reason is None
    assert constant.tones[1].value is None
    assert "the targets are constant" in constant.tones[1].reason
    bursts = np.zeros((1, 1, 300))
    bursts[..., :20] = waves(20, period=20)
    mostly = bootstrap_r2(errors[:, :1], bursts, 50, generator=rng).overall
    assert mostly.value is not None
    assert "constant in too many blocks" in mostly.reason
    for found in (few, constant, mostly):
        as_json(found)


# -- comparisons


def test_identical_estimators_do_not_differ(rng):
    errors = rng.standard_normal((2, 3, 1000))
    for other in (errors, errors * (1 + 1e-15), -errors):
        found = compare(errors, other, 50)
        assert (found.wilcoxon_p, found.t_p, found.rank_biserial) == (1, 1, 0)
        assert (found.difference.value, found.difference.low, found.difference.high) == (0, 0, 0)
    as_json(found)


def test_worse_estimator_is_found(rng):
    errors = rng.standard_normal((2, 3, 1000))
    found = compare(errors + 0.5, errors, 50)
    assert max(found.wilcoxon_p, found.t_p) < 1e-6
    assert found.rank_biserial > 0.9
    assert found.difference.low < 0.25 < found.difference.high
    swapped = compare(errors, errors + 0.5, 50)
    assert (swapped.rank_biserial, swapped.wilcoxon_p) == pytest.approx((-found.rank_biserial, found.wilcoxon_p))
    assert swapped.difference.value == pytest.approx(-found.difference.value)


def test_comparison_against_hand_made_blocks():
    # Blocks of 2 samples with squared errors 1, 4, 9, 16, 25 against 2, 2, 4, 8, 5: differences -1, 2, 5, 8, 20.
    a = np.repeat(np.sqrt([1.0, 4, 9, 16, 25]), 2)[None, None]
    b = np.repeat(np.sqrt([2.0, 2, 4, 8, 5]), 2)[None, None]
    found = compare(a, b, 2)
    differences = np.array([-1.0, 2, 5, 8, 20])
    assert found.difference.value == pytest.approx(6.8)
    assert found.rank_biserial == pytest.approx((2 + 3 + 4 + 5 - 1) / 15)
    assert found.wilcoxon_p == pytest.approx(4 / 32)  # exact: rank sums of negatives up to 1, both ways, of 2^5 signs
    expected = stats.ttest_rel([1, 4, 9, 16, 25], [2, 2, 4, 8, 5])
    assert found.t_p == pytest.approx(expected.pvalue)
    half = stats.t.ppf(0.975, 4) * differences.std(ddof=1) / math.sqrt(5)
    assert (found.difference.low, found.difference.high) == pytest.approx((6.8 - half, 6.8 + half))
    assert found.blocks == 5


def test_p_values_of_equal_estimators_are_uniform(rng):
    found = [compare(*rng.standard_normal((2, 1, 1, 600)), 30) for _ in range(200)]
    for p_values in ([each.t_p for each in found], [each.wilcoxon_p for each in found]):
        assert stats.kstest(p_values, "uniform").pvalue > 0.001


def test_same_difference_in_every_block_leaves_the_t_test_without_a_spread():
    found = compare(np.full((1, 1, 100), 2.0), np.full((1, 1, 100), 1.0), 10)
    assert found.t_p is None
    assert "needs a spread" in found.reason
    assert (found.difference.low, found.difference.high, found.rank_biserial) == (3, 3, 1)
    assert found.wilcoxon_p < 0.01
    one = np.zeros((1, 1, 40))
    one[..., 0] = 1.0
    assert compare(one, np.zeros_like(one), 10).wilcoxon_p == 1
    as_json(found)


def test_comparison_of_too_few_blocks_gives_the_difference_alone(rng):
    found = compare(2 * np.ones((1, 1, 30)), np.ones((1, 1, 30)), 10)
    assert found.difference.value == 3
    assert found.difference.low is found.wilcoxon_p is found.t_p is found.rank_biserial is None
    assert found.reason.startswith("3 blocks")
    as_json(found)


# -- tones


def table_errors(table):
    """Errors (1, K, B) of blocks of 1 sample with the squares of a table (B, K)."""
    return np.sqrt(np.asarray(table, dtype=float)).T[None]


def test_tones_of_a_hand_made_table():
    # Ranks 1 2 3 in four blocks and 2 1 3 in the fifth: rank sums 6, 9, 15; chi² = 12 / 60 (36 + 81 + 225) - 60 = 8.4.
    table = np.array([[1, 2, 5], [1, 3, 4], [2, 3, 9], [0, 1, 4], [2, 1, 3]])
    found = between_tones(table_errors(table), 1)
    assert (found.test, found.effect) == ("friedman", "kendall_w")
    assert found.effect_size == pytest.approx(8.4 / (5 * 2))
    assert found.p == pytest.approx(stats.chi2.sf(8.4, 2))
    means = table.mean(axis=0)
    between, total = 5 * np.sum((means - means.mean()) ** 2), np.sum((table - table.mean()) ** 2)
    assert found.eta_squared == pytest.approx(between / total)
    assert found.anova_f == pytest.approx((between / 2) / ((total - between) / 12))
    assert found.anova_p == pytest.approx(stats.f.sf(found.anova_f, 2, 12))
    assert found.mse == pytest.approx(tuple(means))
    as_json(found)


def test_two_tones_are_compared_by_wilcoxon(rng):
    errors = rng.standard_normal((2, 2, 1000))
    found, paired = between_tones(errors, 50), compare(errors[:, :1], errors[:, 1:], 50)
    assert (found.test, found.effect) == ("wilcoxon", "rank_biserial")
    assert (found.p, found.effect_size) == (paired.wilcoxon_p, paired.rank_biserial)


def test_tones_that_agree_and_tones_that_always_rank_alike(rng):
    errors = np.repeat(rng.standard_normal((1, 1, 400)), 4, axis=1)
    for same in (errors, np.zeros((1, 4, 400)), np.ones((1, 2, 400))):
        found = between_tones(same, 50)
        assert (found.p, found.effect_size, found.anova_f, found.anova_p, found.eta_squared) == (1, 0, 0, 1, 0)
    ranked = between_tones(errors * np.array([1.0, 2, 3, 4])[:, None], 50)
    assert ranked.effect_size == pytest.approx(1)
    assert ranked.p < 1e-4
    fixed = between_tones(np.ones((1, 3, 40)) * np.array([1.0, 2, 3])[:, None], 10)
    assert fixed.effect_size == pytest.approx(1)
    assert fixed.anova_f is fixed.eta_squared is None
    assert "the same in every block" in fixed.reason
    as_json(fixed)


def test_tones_without_enough_to_compare(rng):
    one = between_tones(rng.standard_normal((1, 1, 400)), 50)
    few = between_tones(rng.standard_normal((1, 3, 400)), 200)
    assert one.reason.startswith("one tone")
    assert few.reason.startswith("2 blocks")
    for found in (one, few):
        assert found.test is found.p is found.effect_size is found.anova_f is found.eta_squared is None
        as_json(found)


# -- residuals


def test_white_normal_errors_pass_all_checks(rng):
    for found in residual_checks(0.1 * rng.standard_normal((3, 2, 3000)), 100):
        assert found.bias.low < 0 < found.bias.high
        assert found.std == pytest.approx(0.1, rel=0.05)
        assert min(found.ljung_box_p, found.jarque_bera_p) > 0.01
        assert abs(found.autocorrelation) < 0.05
        assert found.lags == 20
        as_json(found)


def test_checks_find_memory_skewness_and_bias(rng):
    memory = autoregressive(rng, 0.7, (1, 1, 4000))
    skewed = rng.exponential(1.0, (1, 1, 4000)) - 1
    biased = rng.standard_normal((1, 1, 4000)) + 0.3
    first, second, third = residual_checks(np.concatenate([memory, skewed, biased], axis=1), 100)
    assert first.ljung_box_p < 1e-6
    assert first.autocorrelation == pytest.approx(0.7, abs=0.05)
    assert second.jarque_bera_p < 1e-6
    assert (second.skewness, second.excess_kurtosis) == (pytest.approx(2, abs=0.4), pytest.approx(6, abs=3))
    assert third.bias.low < 0.3 < third.bias.high
    assert third.bias.low > 0


def test_ljung_box_by_its_formula_and_summed_over_recordings(rng):
    errors = autoregressive(rng, 0.1, (2, 1, 300))
    expected = 0.0
    for row in errors[:, 0]:
        row = row - row.mean()
        correlations = np.array([np.sum(row[lag:] * row[:-lag]) for lag in range(1, 6)]) / np.sum(row**2)
        expected += 300 * 302 * np.sum(correlations**2 / (300 - np.arange(1, 6)))
    assert sum(acorr_ljungbox(row, lags=[5]).lb_stat.iloc[0] for row in errors[:, 0]) == pytest.approx(expected)
    (found,) = residual_checks(errors, 50, lags=5)
    assert found.ljung_box == pytest.approx(expected)
    assert found.ljung_box_p == pytest.approx(stats.chi2.sf(expected, 10))


def test_checks_of_errors_that_do_not_vary(rng):
    for errors, bias in ((np.zeros((2, 1, 400)), 0.0), (np.full((2, 1, 400), 0.1), 0.1)):
        (found,) = residual_checks(errors, 50)
        assert (found.bias.value, found.bias.low, found.bias.high) == pytest.approx((bias, bias, bias))
        assert found.ljung_box is found.skewness is found.jarque_bera_p is found.lags is None
        assert "does not vary" in found.reason
        as_json(found)
    errors[1] = rng.standard_normal((1, 400))
    assert residual_checks(errors, 50)[0].ljung_box is not None
    (few,) = residual_checks(rng.standard_normal((1, 1, 7)), 3)
    assert (few.bias.low, few.lags) == (None, 1)


# -- refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: block_length(e[0], 1, None), "errors must have shape .recordings, tones, samples.*got shape"),
        (lambda e: block_length(e * np.nan, 1, None), "errors must be finite, but got 200 values"),
        (lambda e: block_length(e, 0, None), "window must be a whole number of at least 1, but got window=0"),
        (lambda e: block_length(e, 1, 2.5), "period must be a whole number of at least 1, but got period=2.5"),
        (lambda e: compare(e, e[..., :50], 5), "errors_b must have the shape of the errors, but got"),
        (lambda e: compare(e, e, 5, confidence=95), "confidence must lie between 0 and 1, but got confidence=95"),
        (lambda e: between_tones(e, 0), "block must be a whole number of at least 1, but got block=0"),
        (lambda e: residual_checks(e, 5, lags=0), "lags must be a whole number"),
        (lambda e: bootstrap_r2(e, e / 0.0, 5, generator=np.random.default_rng(0)), "targets must be finite"),
    ],
)
def test_refusals_name_the_rule_and_the_value(call, message):
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match=message):
        call(np.ones((1, 2, 100)))
