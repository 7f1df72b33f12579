"""One contract for all filters, then each against an independent truth."""

import numpy as np
import pytest
from scipy import signal

from tonesift.data import signals
from tonesift.estimators import filters, limits

RATE = 100.0
FREQUENCIES = np.array([2.0, 5.0, 9.0])
NAMES = list(filters.FILTERS)
CAUSAL = [name for name, entry in filters.FILTERS.items() if entry.causal]
FACTS = {"noise_std": 0.1, "second_moment": 1.75}


def separate(name, mixture, frequencies=FREQUENCIES, rate=RATE):
    """Apply a filter with the same facts and the same random stream every time."""
    return filters.separate(name, mixture, rate, frequencies, **FACTS, generator=np.random.default_rng(5))


def random_tones(recordings, samples, generator, frequencies=FREQUENCIES, rate=RATE):
    """Tones (R, K, N) with amplitudes from U(0.5, 2) and uniform phases."""
    amplitude = generator.uniform(0.5, 2.0, (recordings, len(frequencies), 1))
    phase = generator.uniform(0, 2 * np.pi, amplitude.shape)
    return amplitude * np.sin(2 * np.pi * frequencies[:, None] * np.arange(samples) / rate + phase)


def white(shape, seed=0):
    """White noise of unit variance."""
    return np.random.default_rng(seed).standard_normal(shape)


def dense_conditional_mean(mixture, frequencies, rate, noise_std, second_moment, order):
    """Mean (K, N) of each tone given the last samples, from the covariance function of a mixture (N,)."""
    estimates = np.empty((len(frequencies), mixture.size))
    for now in range(mixture.size):
        past = np.arange(max(0, now - order + 1), now + 1)
        waves = 2 * np.pi * frequencies[:, None, None] * (past[:, None] - past) / rate
        covariance = 0.5 * second_moment * np.cos(waves).sum(axis=0) / len(frequencies) ** 2
        weighted = np.linalg.solve(covariance + noise_std**2 * np.eye(past.size), mixture[past])
        cross = 0.5 * second_moment * np.cos(waves[:, -1, :]) / len(frequencies)
        estimates[:, now] = cross @ weighted
    return estimates


class TestContract:
    """What holds for every filter."""

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("shape", [(60,), (1, 60), (3, 60), (2, 3, 7), (4, 1), (1,)])
    def test_adds_an_axis_of_tones(self, name, shape):
        """Leading axes stay, tones come before time, values are finite float64, also for a single sample."""
        estimate = separate(name, white(shape))
        assert estimate.shape == (*shape[:-1], 3, shape[-1])
        assert estimate.dtype == np.float64
        assert np.isfinite(estimate).all()

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("frequencies", [[2.0], list(range(1, 17, 2))])
    def test_takes_any_number_of_tones(self, name, frequencies):
        """One tone and eight."""
        assert separate(name, white((2, 30)), frequencies).shape == (2, len(frequencies), 30)

    @pytest.mark.parametrize("name", [name for name in NAMES if name != "random"])
    def test_silence_stays_silent(self, name):
        """No input, no output."""
        np.testing.assert_array_equal(separate(name, np.zeros((2, 40))), 0.0)

    @pytest.mark.parametrize("name", [name for name in NAMES if name != "random"])
    def test_is_linear(self, name):
        """The answer to a weighted sum is the weighted sum of the answers."""
        first, second = white((2, 80), 1), white((2, 80), 2)
        expected = 2 * separate(name, first) - 3 * separate(name, second)
        np.testing.assert_allclose(separate(name, 2 * first - 3 * second), expected, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("name", CAUSAL)
    @pytest.mark.parametrize("split", [1, 30, 119])
    def test_causal_filters_do_not_look_ahead(self, name, split):
        """Huge changes from some sample on leave all earlier answers as they were."""
        mixture = white((2, 120))
        changed = mixture.copy()
        changed[:, split:] += 1e6 * white((2, 120 - split), 1)
        before, after = separate(name, mixture)[..., :split], separate(name, changed)[..., :split]
        np.testing.assert_array_equal(after, before)

    def test_only_the_zero_phase_filter_looks_ahead(self):
        """It is marked so, and its past answers do change with the future."""
        assert set(NAMES) - set(CAUSAL) == {"zero_phase_bandpass"}
        mixture = white((1, 120))
        changed = mixture + (np.arange(120) >= 60) * white((1, 120), 1)
        difference = separate("zero_phase_bandpass", changed) - separate("zero_phase_bandpass", mixture)
        assert np.abs(difference[..., :60]).max() > 0.01

    @pytest.mark.parametrize("name", NAMES)
    def test_segments_do_not_mix(self, name):
        """Changing one segment leaves the others as they were."""
        mixture = white((3, 50))
        changed = mixture + np.array([[0.0], [5.0], [0.0]])
        before, after = separate(name, mixture), separate(name, changed)
        np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])

    @pytest.mark.parametrize("name", [name for name in NAMES if name != "random"])
    def test_a_segment_alone_is_answered_as_in_a_batch(self, name):
        """Every leading index starts without memory."""
        mixture = white((2, 3, 50))
        together = separate(name, mixture)
        for index in np.ndindex(2, 3):
            np.testing.assert_allclose(separate(name, mixture[index]), together[index], rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize("name", NAMES)
    def test_leaves_its_input_alone(self, name):
        """The mixture is read, never written."""
        mixture = white((2, 40))
        before = mixture.copy()
        mixture.flags.writeable = False
        separate(name, mixture)
        assert np.array_equal(mixture, before)

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(
        ("mixture", "frequencies", "message"),
        [
            (np.array([0.0, np.nan, np.inf]), [2.0], "mixture must be finite, but got 2 values that are not"),
            (np.empty((3, 0)), [2.0], r"mixture must hold at least one sample, but got shape \(3, 0\)"),
            (np.float64(1.0), [2.0], r"mixture must hold at least one sample, but got shape \(\)"),
            (np.zeros(9), [2.0, 50.0], r"below the Nyquist frequency, 50\.0 Hz, but got frequencies=\[2\.0, 50\.0\]"),
            (np.zeros(9), [], r"frequencies must be a list of at least one, but got shape \(0,\)"),
        ],
    )
    def test_refuses(self, name, mixture, frequencies, message):
        """Each bad argument is named with its value."""
        with pytest.raises(ValueError, match=message):
            separate(name, mixture, frequencies)

    def test_refuses_an_unknown_name(self):
        """The names there are come with the error."""
        with pytest.raises(ValueError, match=r"name must be one of \['bandpass', .* but got name='notch'"):
            separate("notch", np.zeros(9))

    def test_filters_know_what_they_take(self):
        """Facts beyond the frequencies are keyword arguments without a default."""
        for entry in filters.FILTERS.values():
            required = set(entry.function.__annotations__) & {"noise_std", "second_moment"}
            assert entry.knows - {"frequencies"} == required


class TestReferences:
    """Filters that know nothing of the tones."""

    def test_random_has_the_power_of_a_tone(self):
        """Its mean square is ``E[A^2] / 2`` within Monte Carlo error."""
        estimate = separate("random", np.zeros((50, 400)))
        assert np.mean(estimate**2) == pytest.approx(1.75 / 2, rel=0.03)

    def test_persistence_answers_with_the_sample_before(self):
        """The first answer is 0, the second the first sample."""
        np.testing.assert_array_equal(separate("persistence", [3.0, 4.0, 5.0], [2.0, 5.0]), [[0.0, 3.0, 4.0]] * 2)


class TestBandpass:
    """Butterworth banks."""

    @pytest.mark.parametrize("rate", [100.0, 1000.0, 10_000.0])
    @pytest.mark.parametrize(("bandwidth", "order"), [(1.0, 2), (0.5, 1), (4.0, 3)])
    def test_gain_is_one_at_the_centre(self, rate, bandwidth, order):
        """Response 1 without phase shift at the centre, also for a tone at 0.1 Hz and one near Nyquist."""
        frequencies = [0.1, 5.0, 0.49 * rate]
        banks = filters.bandpass_sections(rate, frequencies, bandwidth=bandwidth, order=order)
        for sections, frequency in zip(banks, frequencies, strict=True):
            _, response = signal.freqz_sos(sections, [frequency], fs=rate)
            np.testing.assert_allclose(response, 1.0, atol=1e-4)

    def test_gain_is_half_the_power_at_the_edges(self):
        """The -3 dB points lie a bandwidth apart."""
        sections = filters.bandpass_sections(1000.0, [20.0], bandwidth=2.0)[0]
        grid = np.linspace(15, 25, 20_001)
        _, response = signal.freqz_sos(sections, grid, fs=1000.0)
        passed = grid[np.abs(response) ** 2 >= 0.5]
        assert passed[-1] - passed[0] == pytest.approx(2.0, abs=0.01)

    def test_settles_on_a_lone_tone(self):
        """A clean tone comes out as it went in, once the filter has settled."""
        tone = np.sin(2 * np.pi * 5.0 * np.arange(1000) / RATE + 1.0)
        np.testing.assert_allclose(filters.bandpass(tone, RATE, [5.0])[0, 500:], tone[500:], atol=1e-3)

    @pytest.mark.parametrize("function", [filters.bandpass, filters.zero_phase_bandpass])
    def test_full_amplitude_from_a_mixture(self, function):
        """The mixture carries a third of each tone; the answer is the whole of it."""
        tones = random_tones(1, 2000, np.random.default_rng(1))[0]
        estimate = function(tones.mean(axis=0), RATE, FREQUENCIES)
        middle = slice(600, 1400)
        amplitudes = [np.vdot(e, t) / np.vdot(t, t) for e, t in zip(estimate[:, middle], tones[:, middle], strict=True)]
        np.testing.assert_allclose(amplitudes, 1.0, atol=0.01)

    def test_zero_phase_is_the_squared_gain(self):
        """An impulse comes back symmetric, with the spectrum ``|H|^2``."""
        impulse = np.zeros(4001)
        impulse[2000] = 1.0
        answer = filters.zero_phase_bandpass(impulse, RATE, [5.0])[0]
        np.testing.assert_allclose(answer, answer[::-1], atol=1e-6)
        sections = filters.bandpass_sections(RATE, [5.0])[0]
        _, response = signal.freqz_sos(sections, np.fft.rfftfreq(4001, 1 / RATE), fs=RATE)
        np.testing.assert_allclose(np.abs(np.fft.rfft(answer)), np.abs(response) ** 2, atol=1e-5)

    def test_zero_phase_rests_beyond_the_ends(self):
        """Zeros appended by hand change the answer only by what has not settled within a second."""
        mixture = white((2, 50))
        padded = np.pad(mixture, [(0, 0), (1000, 1000)])
        expected = filters.zero_phase_bandpass(padded, RATE, FREQUENCIES)[..., 1000:1050]
        answer = filters.zero_phase_bandpass(mixture, RATE, FREQUENCIES)
        np.testing.assert_allclose(answer, expected, atol=0.02 * np.abs(expected).max())

    @pytest.mark.parametrize("function", [filters.bandpass, filters.zero_phase_bandpass])
    def test_refuses_bad_settings(self, function):
        """Width and order are named with their values."""
        with pytest.raises(ValueError, match=r"bandwidth must be finite and above 0 Hz, but got bandwidth=0\.0"):
            function(np.zeros(9), RATE, [5.0], bandwidth=0.0)
        with pytest.raises(ValueError, match="order must be at least 1, but got order=0"):
            function(np.zeros(9), RATE, [5.0], order=0)


class TestLeastSquares:
    """Sliding fits of sinusoids."""

    @pytest.mark.parametrize("window", [None, 60, 500])
    def test_recovers_clean_tones(self, window):
        """Without noise the fit is exact once it has enough samples."""
        tones = random_tones(4, 300, np.random.default_rng(2))
        estimate = filters.least_squares(tones.mean(axis=1), RATE, FREQUENCIES, window=window, cutoff=1e-4)
        np.testing.assert_allclose(estimate[..., 50:], tones[..., 50:], atol=1e-8)

    @pytest.mark.parametrize("window", [None, 1, 4, 25])
    @pytest.mark.parametrize("cutoff", [0.03, 0.3])
    def test_equals_a_separate_fit_at_every_position(self, window, cutoff):
        """Each answer is NumPy's minimum-norm solution with the same cut-off."""
        mixture = white(70)
        estimate = filters.least_squares(mixture, RATE, FREQUENCIES, window=window, cutoff=cutoff)
        for now in range(70):
            past = np.arange(max(0, now + 1 - (window or 70)), now + 1)
            angle = 2 * np.pi * past[:, None] * FREQUENCIES / RATE
            design = np.hstack([np.sin(angle), np.cos(angle)]) / 3
            solution = np.linalg.lstsq(design, mixture[past], rcond=cutoff)[0].reshape(2, 3)
            expected = np.sin(angle[-1]) * solution[0] + np.cos(angle[-1]) * solution[1]
            np.testing.assert_allclose(estimate[:, now], expected, atol=1e-9)

    @pytest.mark.parametrize("window", [None, 7])
    def test_blocks_of_samples_join(self, window, monkeypatch):
        """Sums carried from block to block give what one block gives."""
        mixture = white((2, 40))
        whole = filters.least_squares(mixture, RATE, FREQUENCIES, window=window)
        monkeypatch.setattr(filters, "BLOCK_SAMPLES", 3)
        blocks = filters.least_squares(mixture, RATE, FREQUENCIES, window=window)
        np.testing.assert_allclose(blocks, whole, rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ({"window": 0}, "window must be at least 1 sample, but got window=0"),
            ({"cutoff": 0.0}, r"cutoff must lie from 1e-6 to 1, but got cutoff=0\.0"),
        ],
    )
    def test_refuses_bad_settings(self, setting, message):
        """Window and cut-off are named with their values."""
        with pytest.raises(ValueError, match=message):
            filters.least_squares(np.zeros(9), RATE, [5.0], **setting)


class TestLinearMinimumError:
    """Wiener and Kalman filters."""

    @pytest.mark.parametrize("order", [1, 5, 30, 100])
    def test_wiener_is_the_conditional_mean_on_its_window(self, order):
        """Each answer equals dense Gaussian conditioning on the last samples."""
        mixture = white(60)
        estimate = filters.wiener(mixture, RATE, FREQUENCIES, **FACTS, order=order)
        expected = dense_conditional_mean(mixture, FREQUENCIES, RATE, **FACTS, order=order)
        np.testing.assert_allclose(estimate, expected, rtol=1e-8, atol=1e-10)

    def test_kalman_is_the_conditional_mean_on_the_past(self):
        """Each answer equals dense Gaussian conditioning on all samples so far."""
        mixture = white(60)
        estimate = filters.kalman(mixture, RATE, FREQUENCIES, **FACTS)
        expected = dense_conditional_mean(mixture, FREQUENCIES, RATE, **FACTS, order=60)
        np.testing.assert_allclose(estimate, expected, rtol=1e-8, atol=1e-10)

    def test_kalman_reaches_its_limit(self):
        """Errors on simulated recordings equal the limit within Monte Carlo error, though amplitudes are uniform."""
        generator = np.random.default_rng(3)
        tones = random_tones(4000, 80, generator)
        mixture = tones.mean(axis=1) + 0.1 * generator.standard_normal((4000, 80))
        moment = signals.uniform_second_moment(0.5, 2.0)
        squared = (filters.kalman(mixture, RATE, FREQUENCIES, noise_std=0.1, second_moment=moment) - tones) ** 2
        limit = limits.general_mse(FREQUENCIES, RATE, 0.1, moment, limits.causal(80))
        error = squared.std(axis=0) / np.sqrt(4000)
        assert (np.abs(squared.mean(axis=0) - limit) < 4.5 * error).all()

    @pytest.mark.parametrize("name", ["wiener", "kalman"])
    def test_without_noise_the_tones_are_recovered(self, name):
        """A noise level of 0 is legitimate."""
        tones = random_tones(3, 400, np.random.default_rng(4))
        function = filters.FILTERS[name].function
        estimate = function(tones.mean(axis=1), RATE, FREQUENCIES, noise_std=0.0, second_moment=1.75)
        np.testing.assert_allclose(estimate[..., 200:], tones[..., 200:], atol=1e-5)

    @pytest.mark.parametrize("name", ["wiener", "kalman"])
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"noise_std": -1.0}, r"noise_std must be finite and at least 0, but got noise_std=-1\.0"),
            ({"second_moment": 0.0}, r"second_moment must be finite and above 0, but got second_moment=0\.0"),
        ],
    )
    def test_refuses_bad_facts(self, name, change, message):
        """Noise level and amplitude prior are named with their values."""
        with pytest.raises(ValueError, match=message):
            filters.FILTERS[name].function(np.zeros(9), RATE, [5.0], **(FACTS | change))

    def test_refuses_an_order_of_zero(self):
        """A filter needs a sample."""
        with pytest.raises(ValueError, match="order must be at least 1 sample, but got order=0"):
            filters.wiener(np.zeros(9), RATE, [5.0], **FACTS, order=0)
