"""Limits against brute force, closed forms and dense Gaussian conditioning."""

import numpy as np
import pytest
from scipy import integrate

from tonesift.data import signals
from tonesift.data.period import common_period
from tonesift.estimators import limits

RATE = 20.0
FREQUENCIES = np.array([1.0, 3.0])
SEEN = {"causal": limits.causal(6), "hopped": limits.hopped(6, 4), "smoother": limits.smoother(6)}


def sampled_tones(frequencies, rate, samples, phases):
    """Sample tones (K, N) of amplitude 1 with phases in radians."""
    return np.sin(2 * np.pi * np.outer(frequencies, np.arange(samples)) / rate + np.asarray(phases)[:, None])


def small_tones(samples=20):
    """Two tones over one common period, or longer."""
    return sampled_tones(FREQUENCIES, RATE, samples, [0.3, 1.1])


def slice_candidates(tones, length, periodic):
    """All clean segments (O, K, T) that could have been observed, cut out one by one."""
    offsets = range(tones.shape[1]) if periodic else range(tones.shape[1] - length + 1)
    return np.array([[[row[(o + t) % row.size] for t in range(length)] for row in tones] for o in offsets])


def naive_posterior_mean(observed, candidates, noise_std, seen):
    """Bayes' rule written out: estimates (W, K, T) from segments (W, T) and candidates (O, K, T)."""
    estimates = np.empty((len(observed), *candidates.shape[1:]))
    for sample, count in enumerate(seen):
        residual = observed[:, None, :count] - candidates.mean(axis=1)[None, :, :count]
        exponent = -np.square(residual).sum(axis=2) / (2 * noise_std**2)
        posterior = np.exp(exponent - exponent.max(axis=1, keepdims=True))
        posterior /= posterior.sum(axis=1, keepdims=True)
        estimates[:, :, sample] = posterior @ candidates[:, :, sample]
    return estimates


def simulate(candidates, noise_std, segments, generator):
    """Clean segments (W, K, T) at random offsets and their mixtures (W, T)."""
    clean = candidates[generator.integers(len(candidates), size=segments)]
    mixture = clean.mean(axis=1)
    return clean, mixture + noise_std * generator.standard_normal(mixture.shape)


def dense_conditional_variance(frequencies, rate, noise_std, second_moment, seen):
    """Variance (K, T) of each tone given the samples seen, from the covariance function of the mixture."""
    lags = np.arange(len(seen))[:, None] - np.arange(len(seen))
    tone = [0.5 * second_moment * np.cos(2 * np.pi * f * lags / rate) for f in frequencies]
    mixture = sum(tone) / len(tone) ** 2 + noise_std**2 * np.eye(len(seen))
    variance = np.full((len(tone), len(seen)), 0.5 * second_moment)
    for k, covariance in enumerate(tone):
        for t, count in enumerate(seen):
            cross = covariance[t, :count] / len(tone)
            variance[k, t] -= cross @ np.linalg.solve(mixture[:count, :count], cross)
    return variance


class TestSeen:
    """Counts of the samples that are known."""

    def test_causal_reads_one_sample_before_each_answer(self):
        """The count includes the sample itself."""
        np.testing.assert_array_equal(limits.causal(4), [1, 2, 3, 4])

    def test_hopped_reads_whole_groups_and_stops_at_the_end(self):
        """The last group of 5 samples in hops of 2 is a single sample."""
        np.testing.assert_array_equal(limits.hopped(5, 2), [2, 2, 4, 4, 5])

    def test_smoother_reads_everything(self):
        """All counts are the length."""
        np.testing.assert_array_equal(limits.smoother(3), [3, 3, 3])

    @pytest.mark.parametrize("arguments", [(0, 1), (5, 0)])
    def test_refuses_counts_below_one(self, arguments):
        """Neither an empty segment nor an empty hop makes sense."""
        with pytest.raises(ValueError, match=r"(samples|hop) must be at least 1, but got (samples|hop)=0"):
            limits.hopped(*arguments)


class TestFixedTask:
    """Known waveforms at an unknown offset."""

    @pytest.mark.parametrize("kind", SEEN)
    @pytest.mark.parametrize("periodic", [True, False])
    def test_posterior_mean_is_bayes_rule(self, kind, periodic):
        """The estimator equals Bayes' rule written out over segments cut out one by one."""
        tones, generator = small_tones(20), np.random.default_rng(1)
        candidates = slice_candidates(tones, 6, periodic)
        _, mixture = simulate(candidates, 0.2, 40, generator)
        estimates = limits.posterior_mean(mixture, tones, 0.2, SEEN[kind], periodic=periodic)
        np.testing.assert_allclose(
            estimates, naive_posterior_mean(mixture, candidates, 0.2, SEEN[kind]), rtol=1e-9, atol=1e-12
        )

    @pytest.mark.parametrize("kind", SEEN)
    @pytest.mark.parametrize("periodic", [True, False])
    def test_mse_is_the_squared_error_of_bayes_rule(self, kind, periodic):
        """The averaged posterior variance equals simulated squared errors within their Monte Carlo error."""
        tones, candidates = small_tones(20), slice_candidates(small_tones(20), 6, periodic)
        mse, error = limits.fixed_mse(
            tones, 0.2, SEEN[kind], draws=4000, generator=np.random.default_rng(2), periodic=periodic
        )
        clean, mixture = simulate(candidates, 0.2, 20_000, np.random.default_rng(3))
        squared = (naive_posterior_mean(mixture, candidates, 0.2, SEEN[kind]) - clean) ** 2
        spread = np.hypot(error, squared.std(axis=0) / np.sqrt(len(squared)))
        assert (np.abs(mse - squared.mean(axis=0)) < 4.5 * spread).all()

    def test_two_offsets_have_a_closed_form(self):
        """A tone of +a or -a in noise leaves the variance ``a^2 (1 - tanh^2(a y / sigma^2))``."""
        a, sigma = 0.5, 0.6
        mse, error = limits.fixed_mse([[a, -a]], sigma, [1], draws=20_000, generator=np.random.default_rng(4))

        def integrand(noise):
            density = np.exp(-(noise**2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi))
            return a**2 / np.cosh(a * (a + noise) / sigma**2) ** 2 * density

        exact, _ = integrate.quad(integrand, -10 * sigma, 10 * sigma)
        assert abs(mse[0, 0] - exact) < 4.5 * error[0, 0]

    def test_unknown_offset_and_nothing_seen_leaves_the_power(self):
        """Without a sample the answer is the mean and the error the variance over a period."""
        mse, _ = limits.fixed_mse(small_tones(), 0.1, [0, 0], draws=20, generator=np.random.default_rng(5))
        np.testing.assert_allclose(mse, 0.5, atol=1e-12)

    @pytest.mark.parametrize(("frequencies", "rate"), [([2.5], 1000.0), ([1.0, 3.0, 5.0], 50.0)])
    def test_without_noise_the_matching_offsets_are_averaged(self, frequencies, rate):
        """With sigma 0 the error is the variance among offsets whose clean samples so far are equal."""
        period = common_period(frequencies, rate, 1000)
        tones = sampled_tones(frequencies, rate, period, np.zeros(len(frequencies)))
        candidates = slice_candidates(tones, 4, periodic=True)
        expected = np.zeros(candidates.shape[1:])
        for t in range(4):
            prefix = np.round(candidates.mean(axis=1)[:, : t + 1], 9) + 0.0
            _, group = np.unique(prefix, axis=0, return_inverse=True)
            for g in np.unique(group):
                members = candidates[group == g, :, t]
                expected[:, t] += len(members) / period * members.var(axis=0)
        mse, _ = limits.fixed_mse(
            tones, 0.0, limits.causal(4), draws=2 * period, generator=np.random.default_rng(6), periodic=True
        )
        np.testing.assert_allclose(mse, expected, atol=1e-9)
        estimates = limits.posterior_mean(candidates.mean(axis=1), tones, 0.0, limits.causal(4))
        np.testing.assert_allclose(((estimates - candidates) ** 2).mean(axis=0), expected, atol=1e-9)

    @pytest.mark.parametrize("tones", [1, 8])
    def test_one_tone_and_eight(self, tones):
        """The error agrees with that of the estimator for few tones and for many."""
        clean = sampled_tones(1.0 + 2.0 * np.arange(tones), 50.0, 50, np.arange(tones))
        seen, generator = limits.causal(10), np.random.default_rng(7)
        mse, error = limits.fixed_mse(clean, 0.1, seen, draws=2000, generator=generator)
        truth, mixture = simulate(slice_candidates(clean, 10, True), 0.1, 10_000, generator)
        squared = (limits.posterior_mean(mixture, clean, 0.1, seen) - truth) ** 2
        spread = np.hypot(error, squared.std(axis=0) / 100)
        assert (np.abs(mse - squared.mean(axis=0)) < 4.5 * spread).all()

    @pytest.mark.parametrize("sigma", [0.0, 0.05, 0.3])
    def test_dropping_unlikely_offsets_changes_nothing(self, sigma, monkeypatch):
        """A carried state's error is the same when every candidate is kept to the end."""
        arguments = (small_tones(), sigma, limits.hopped(400, 5))
        pruned, _ = limits.fixed_mse(*arguments, draws=40, generator=np.random.default_rng(8))
        monkeypatch.setattr(limits, "PRUNE_LOG_RATIO", -np.inf)
        full, _ = limits.fixed_mse(*arguments, draws=40, generator=np.random.default_rng(8))
        np.testing.assert_allclose(pruned, full, atol=1e-12)

    def test_a_candidate_dropped_too_early_shows(self, monkeypatch):
        """The test above can fail: a crude threshold changes the result."""
        arguments = (small_tones(), 0.3, limits.causal(60))
        full, _ = limits.fixed_mse(*arguments, draws=40, generator=np.random.default_rng(8))
        monkeypatch.setattr(limits, "PRUNE_LOG_RATIO", -1.0)
        crude, _ = limits.fixed_mse(*arguments, draws=40, generator=np.random.default_rng(8))
        assert np.abs(full - crude).max() > 1e-3

    def test_blocks_do_not_change_the_estimates(self, monkeypatch):
        """Segments are estimated one by one as they are together."""
        _, mixture = simulate(slice_candidates(small_tones(), 6, True), 0.2, 7, np.random.default_rng(9))
        together = limits.posterior_mean(mixture, small_tones(), 0.2, SEEN["causal"])
        monkeypatch.setattr(limits, "BLOCK_NUMBERS", 1)
        apart = limits.posterior_mean(mixture, small_tones(), 0.2, SEEN["causal"])
        np.testing.assert_allclose(apart, together, rtol=1e-12, atol=1e-14)

    def test_standard_error_is_the_spread_over_seeds(self):
        """Sixty repetitions scatter as much as the standard error says."""
        runs = [
            limits.fixed_mse(small_tones(), 0.3, limits.causal(8), draws=100, generator=np.random.default_rng(seed))
            for seed in range(60)
        ]
        spread = np.std([mse for mse, _ in runs], axis=0, ddof=1).mean()
        assert 0.85 < np.mean([error for _, error in runs]) / spread < 1.2

    def test_more_seen_is_never_worse(self):
        """Smoother, hop and causal come in this order, and error falls along a hop's boundaries."""
        results = {
            kind: limits.fixed_mse(small_tones(), 0.3, seen, draws=4000, generator=np.random.default_rng(10))
            for kind, seen in SEEN.items()
        }
        margin = 4 * results["causal"][1]
        assert (results["smoother"][0] <= results["hopped"][0] + margin).all()
        assert (results["hopped"][0] <= results["causal"][0] + margin).all()

    def test_order_of_the_tones_does_not_matter(self):
        """Swapped tones give swapped errors from the same draws."""
        mse, _ = limits.fixed_mse(small_tones(), 0.2, SEEN["causal"], draws=20, generator=np.random.default_rng(11))
        swapped, _ = limits.fixed_mse(
            small_tones()[::-1], 0.2, SEEN["causal"], draws=20, generator=np.random.default_rng(11)
        )
        np.testing.assert_allclose(swapped[::-1], mse, atol=1e-12)

    def test_four_tones_reset_every_50_samples(self):
        """Four tones at 1000 Hz: R^2 over the window equals that of Bayes' rule on simulated windows."""
        tones = sampled_tones([1, 3, 5, 7], 1000.0, 1000, np.deg2rad([0, 45, 90, 135]))
        mse, _ = limits.fixed_mse(tones, 0.1, limits.causal(50), draws=2000, generator=np.random.default_rng(12))
        candidates = np.lib.stride_tricks.sliding_window_view(np.tile(tones, 2)[:, :1049], 50, axis=1).swapaxes(0, 1)
        clean, mixture = simulate(candidates, 0.1, 6000, np.random.default_rng(13))
        errors = []
        for t in range(4, 50, 5):
            logs = mixture[:, : t + 1] @ candidates.mean(axis=1)[:, : t + 1].T
            logs = (logs - 0.5 * (candidates.mean(axis=1)[:, : t + 1] ** 2).sum(axis=1)) / 0.1**2
            weights = np.exp(logs - logs.max(axis=1, keepdims=True))
            estimate = weights / weights.sum(axis=1, keepdims=True) @ candidates[:, :, t]
            errors.append(np.mean((estimate - clean[:, :, t]) ** 2))
        assert abs(mse[:, 4::5].mean() - np.mean(errors)) < 0.01
        assert limits.r2(mse, np.full(4, 0.5)) == pytest.approx(0.587, abs=0.01)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"draws": 0}, r"draws must be an even number above 0, but got draws=0"),
            ({"draws": 3}, r"draws must be an even number above 0, but got draws=3"),
            ({"noise_std": -0.1}, r"noise_std must be finite and at least 0, but got noise_std=-0\.1"),
            ({"noise_std": np.nan}, r"noise_std must be finite and at least 0, but got noise_std=nan"),
            ({"tones": np.ones(5)}, r"tones must be finite numbers of shape \(tones, samples\), but got shape \(5,\)"),
            ({"seen": [0.5]}, r"seen must be one whole number for each sample, but got float64 of shape \(1,\)"),
            ({"seen": [1, 3]}, r"seen must lie from 0 to the segment's length, 2, but got 1 to 3"),
            ({"tones": np.ones((1, 1)), "periodic": False}, r"recording must be as long as the segment, but got 1"),
        ],
    )
    def test_refuses(self, change, message):
        """Each bad argument is named with its value."""
        arguments = {"tones": small_tones(), "noise_std": 0.1, "seen": [1, 2], "draws": 2} | change
        with pytest.raises(ValueError, match=message):
            limits.fixed_mse(**arguments, generator=np.random.default_rng(0))

    def test_refuses_counts_of_another_length(self):
        """One count is needed for each sample of the mixture."""
        with pytest.raises(ValueError, match="got 6 counts for 5 samples"):
            limits.posterior_mean(np.zeros(5), small_tones(), 0.1, limits.causal(6))


class TestGeneralTask:
    """Random amplitudes and phases at known frequencies."""

    def test_one_tone_over_whole_cycles_has_a_closed_form(self):
        """After n samples in whole cycles the error is ``1 / (2 / E[A^2] + n / (2 sigma^2))``."""
        mse = limits.general_mse([2.0], 20.0, 0.3, 1.75, limits.causal(40))
        for n in (10, 20, 30, 40):
            assert mse[0, n - 1] == pytest.approx(1 / (2 / 1.75 + n / (2 * 0.3**2)), rel=1e-12)

    @pytest.mark.parametrize("seen", [limits.causal(30), limits.hopped(30, 7), limits.smoother(30)])
    def test_equals_dense_gaussian_conditioning(self, seen):
        """The recursion gives the conditional variance from the mixture's covariance function."""
        frequencies = [1.0, 2.5, 4.0]
        np.testing.assert_allclose(
            limits.general_mse(frequencies, 40.0, 0.2, 1.75, seen),
            dense_conditional_variance(frequencies, 40.0, 0.2, 1.75, seen),
            rtol=1e-9,
        )

    def test_nothing_seen_leaves_the_prior(self):
        """Without a sample the error is ``E[A^2] / 2``."""
        np.testing.assert_allclose(limits.general_mse(FREQUENCIES, RATE, 0.1, 3.0, [0, 0]), 1.5)

    def test_more_seen_is_never_worse(self):
        """Smoother is below hop, and hop below causal, at every sample."""
        causal, hopped, smoother = (limits.general_mse(FREQUENCIES, RATE, 0.3, 1.0, seen) for seen in SEEN.values())
        assert (smoother <= hopped + 1e-14).all()
        assert (hopped <= causal + 1e-14).all()

    def test_order_of_the_tones_does_not_matter(self):
        """Permuted frequencies give permuted errors."""
        frequencies, order = np.array([1.0, 2.5, 4.0]), [2, 0, 1]
        mse = limits.general_mse(frequencies, 40.0, 0.2, 1.0, limits.causal(50))
        permuted = limits.general_mse(frequencies[order], 40.0, 0.2, 1.0, limits.causal(50))
        np.testing.assert_allclose(permuted, mse[order], rtol=1e-9)

    @pytest.mark.parametrize("noise_std", [0.0, 1e-12])
    def test_without_noise_the_error_vanishes(self, noise_std):
        """With sigma 0 every error stays between 0 and the prior and ends at nothing."""
        mse = limits.general_mse([1.0, 3.0, 5.0, 7.0], 1000.0, noise_std, 1.0, limits.causal(1000))
        assert np.isfinite(mse).all()
        assert (mse >= 0).all()
        assert (mse <= 0.5 + 1e-12).all()
        assert mse[:, -1].max() < 1e-12

    def test_second_moment_of_a_uniform_amplitude(self):
        """It equals the integral of A^2 over U(0.5, 2)."""
        integral, _ = integrate.quad(lambda amplitude: amplitude**2 / 1.5, 0.5, 2.0)
        assert signals.uniform_second_moment(0.5, 2.0) == pytest.approx(integral)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"second_moment": 0.0}, r"second_moment must be finite and above 0, but got second_moment=0\.0"),
            ({"noise_std": np.inf}, r"noise_std must be finite and at least 0, but got noise_std=inf"),
            ({"frequencies": []}, r"frequencies must be a list of at least one, but got shape \(0,\)"),
            ({"frequencies": [0.0, 1.0]}, r"frequencies must lie above 0 and below .* got frequencies=\[0\.0, 1\.0\]"),
            ({"sampling_rate": 0.0}, r"sampling_rate must be finite and above 0 Hz, but got sampling_rate=0\.0"),
            ({"seen": []}, r"seen must be one whole number for each sample"),
        ],
    )
    def test_refuses(self, change, message):
        """Each bad argument is named with its value."""
        arguments = {"frequencies": [1.0], "sampling_rate": 20.0, "noise_std": 0.1, "second_moment": 1.0, "seen": [1]}
        with pytest.raises(ValueError, match=message):
            limits.general_mse(**(arguments | change))


class TestR2:
    """From errors to shares of power."""

    def test_pools_or_keeps_an_axis(self):
        """Two tones of different power, worked out by hand."""
        mse, power = [[0.1, 0.3], [0.4, 0.8]], [0.5, 1.5]
        assert limits.r2(mse, power) == pytest.approx(1 - 0.4 / 1.0)
        np.testing.assert_allclose(limits.r2(mse, power, axis=1), [1 - 0.2 / 0.5, 1 - 0.6 / 1.5])
        np.testing.assert_allclose(limits.r2(mse, power, axis=0), [1 - 0.25 / 1.0, 1 - 0.55 / 1.0])

    def test_refuses_a_power_too_few(self):
        """One power for two tones is a mistake."""
        with pytest.raises(ValueError, match=r"power needs one value for each tone .* shapes \(1,\) and \(2, 3\)"):
            limits.r2(np.ones((2, 3)), [0.5])

    def test_refuses_a_power_of_zero(self):
        """Nothing can be explained of a silent tone."""
        with pytest.raises(ValueError, match=r"every power must be above 0, but got power=\[0\.0\]"):
            limits.r2(np.ones((1, 3)), [0.0])
