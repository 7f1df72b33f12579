import numpy as np
import pytest

from tonesift.data import signals
from tonesift.data.recordings import Facts
from tonesift.data.segments import Segments
from tonesift.estimators import filters, limits
from tonesift.evaluation import comparison
from tonesift.full_evaluation import rivals

PHASES, AMPLITUDES = np.array([[0.0, 45.0]]), np.ones((1, 2))


def make_facts(task="fixed", frequencies=(2.0, 5.0), noise_std=0.1, amplitudes=AMPLITUDES):
    moment = float(np.mean(amplitudes**2))
    return Facts(100.0, frequencies, PHASES[:, : len(frequencies)], amplitudes, moment, noise_std, task, 1)


def limit_row(task, samples, context, hop=1):
    """The limit on segments of so many samples."""
    (row,) = comparison.limit_rows(task, Segments(np.zeros((1, 2), dtype=np.int64), samples), context, hop)
    return row


def rival_rows(task, mixture, tones, context):
    return rivals.rival_rows(rivals.all_rivals(task), mixture, tones, context)


def make_segments(facts, count, samples):
    """Segments of the fixed task's waveform from random offsets: mixture (S, T) and tones (S, K, T)."""
    rng = np.random.default_rng(0)
    each = zip(facts.frequencies, facts.phases[0], facts.amplitudes[0], strict=True)
    tones = np.stack([signals.sinusoid(f, 100.0, 100 + samples, phase, a) for f, phase, a in each])
    cut = np.stack([tones[:, offset : offset + samples] for offset in rng.integers(0, 100, count)])
    return cut.mean(axis=1) + rng.normal(0, facts.noise_std, (count, samples)), cut


def test_the_task_is_one_common_period():
    task = comparison.make_task(make_facts(), 400)
    assert task.periodic
    assert task.tones.shape == (2, 100)
    assert task.power == pytest.approx([0.5, 0.5])


def test_without_a_common_period_the_limit_is_over_the_recordings_own_offsets_and_says_so():
    task = comparison.make_task(make_facts(frequencies=(2.0, 5.037)), 400)
    assert not task.periodic
    assert task.tones.shape == (2, 400)
    assert "over this recording's offsets" in limit_row(task, 20, "20 samples").label


@pytest.mark.parametrize("facts", [make_facts(noise_std=0.3), make_facts("general")], ids=["fixed", "general"])
@pytest.mark.parametrize("hop", [1, 3, 10])
def test_the_limit_at_a_hop_has_read_whole_steps_and_the_rest(facts, hop):
    task = comparison.make_task(facts, 400)
    row = limit_row(task, 25, "25 samples", hop)
    seen = np.array([min(25, (sample // hop + 1) * hop) for sample in range(25)])
    np.testing.assert_array_equal(row.mse, comparison.limit(task, seen))
    assert (row.hop, row.context, row.causal) == (hop, "25 samples", True)


def test_the_limit_of_the_general_task_at_a_hop_is_that_of_regression():
    """Gaussian amplitudes of sine and cosine: their posterior covariance by linear algebra."""
    facts, samples, hop = make_facts("general"), 24, 5
    angle = 2 * np.pi * np.outer(np.arange(samples) / 100, facts.frequencies)
    basis = np.stack([np.sin(angle), np.cos(angle)], axis=-1)  # (T, K, 2)
    prior = np.eye(4) / (facts.second_moment / 2)
    row = limit_row(comparison.make_task(facts, 400), samples, "24 samples", hop)
    for sample in range(samples):
        read = basis[: min(samples, (sample // hop + 1) * hop)].reshape(-1, 4) / 2
        covariance = np.linalg.inv(read.T @ read / facts.noise_std**2 + prior).reshape(2, 2, 2, 2)
        for tone in range(2):
            direction = basis[sample, tone]
            expected = direction @ covariance[tone, :, tone] @ direction
            assert row.mse[tone, sample] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("facts", [make_facts(noise_std=0.3), make_facts("general")], ids=["fixed", "general"])
def test_larger_steps_know_more_on_average(facts):
    task = comparison.make_task(facts, 400)
    one, ten = (limit_row(task, 30, "30 samples", hop).mse for hop in (1, 10))
    assert ten.mean() < one.mean()
    assert (ten[:, :9].mean(axis=0) < one[:, :9].mean(axis=0)).all()
    assert ten[:, 9::10] == pytest.approx(one[:, 9::10], rel=0.1)  # the last of a step has read as much; other draws


def made_row(name="network", samples=150, context="all the past", hop=1, seed=0, drawn=True):
    mse = np.random.default_rng(seed).uniform(0.1, 0.4, (2, samples))
    return comparison.Row(name, name.upper(), context, True, "", mse, hop, drawn)


def test_the_table_has_the_hop_and_the_figure_after_the_first_second():
    task = comparison.make_task(make_facts(), 400)  # both tones have a power of a half
    long, short = made_row(hop=10), made_row("kalman", samples=100, context="100 samples")
    first, second = comparison.table([long, short], task)
    assert (first["hop"], second["hop"]) == (10, 1)
    assert first["r2"] == pytest.approx(1 - long.mse.mean() / 0.5, rel=1e-5)
    assert first["r2_settled"] == pytest.approx(1 - long.mse[:, 100:].mean() / 0.5, rel=1e-5)
    assert first["r2_tone_2"] == pytest.approx(1 - long.mse[1].mean() / 0.5, rel=1e-5)
    assert second["r2_settled"] == ""  # a segment of a second has no later
    assert list(first) == list(second)


def test_curves_are_of_the_first_second_in_the_first_rows_context():
    task = comparison.make_task(make_facts(), 400)
    ours, limit, other = made_row(), made_row("limit", seed=1), made_row("kalman", 50, "50 samples")
    curves = comparison.curves([ours, limit, other, made_row("mean", drawn=False)], task)
    assert list(curves) == ["network", "limit"]
    filters = [made_row(name) for name in ("plain", "able")]
    assert list(comparison.curves([ours, limit, *filters], task)) == ["network", "limit", "able", "plain"]
    np.testing.assert_allclose(curves["network"], 1 - ours.mse[:, :100].mean(axis=0) / 0.5)
    assert [len(curve) for curve in comparison.curves([other], task).values()] == [50]


def test_no_estimator_beats_the_limit_and_the_posterior_mean_reaches_it():
    facts = make_facts(noise_std=0.3)
    task = comparison.make_task(facts, 400)
    mixture, tones = make_segments(facts, 4000, 20)
    best = comparison.limit(task, limits.causal(20)).mean()
    rows = {row.name: row for row in rival_rows(task, mixture, tones, "20 samples")}
    assert rows["posterior_mean"].mse.mean() == pytest.approx(best, rel=0.03)
    for name, row in rows.items():
        if row.causal:
            assert row.mse.mean() > 0.97 * best, name


def test_in_the_general_task_the_kalman_filter_reaches_the_limit_and_nobody_knows_waveforms():
    facts = make_facts("general")
    task = comparison.make_task(facts, 400)
    rng = np.random.default_rng(1)
    phase, time = rng.uniform(0, 2 * np.pi, (3000, 2, 1)), np.arange(30) / 100
    tones = np.sin(2 * np.pi * np.array([2.0, 5.0])[:, None] * time + phase)
    mixture = tones.mean(axis=1) + rng.normal(0, 0.1, (3000, 30))
    rows = {row.name: row for row in rival_rows(task, mixture, tones, "30 samples")}
    assert set(rows) == set(filters.FILTERS)
    assert rows["kalman"].mse.mean() == pytest.approx(comparison.limit(task, limits.causal(30)).mean(), rel=0.05)
    assert task.power == pytest.approx([0.5, 0.5])


def test_the_best_filter_is_causal_and_does_not_know_the_waveforms():
    facts = make_facts()
    task = comparison.make_task(facts, 400)
    rows = rival_rows(task, *make_segments(facts, 500, 60), "60 samples")
    best = rivals.best_filter(rows)
    assert best.name in ("kalman", "wiener")
    assert best.mse.mean() <= min(row.mse.mean() for row in rows if row.causal and row.name != "posterior_mean")


@pytest.mark.parametrize("noise_std", [0.0, 0.1])
@pytest.mark.parametrize("frequencies", [(2.5,), (2.0, 5.0)])
def test_one_tone_and_no_noise(noise_std, frequencies):
    facts = make_facts(frequencies=frequencies, noise_std=noise_std, amplitudes=AMPLITUDES[:, : len(frequencies)])
    task = comparison.make_task(facts, 400)
    mse = comparison.limit(task, limits.causal(20))
    assert mse.shape == (len(frequencies), 20)
    assert np.isfinite(mse).all()
    assert (np.diff(mse.mean(axis=0)) < 0.01).all()


def test_there_are_words_for_every_fact():
    facts = set().union(*(entry.knows for entry in filters.FILTERS.values()))
    assert facts == set(rivals.WORDS)


@pytest.mark.parametrize("samples", [20, 60, 67])
def test_in_windows_starts_anew_in_each(samples):
    def count(mixture):  # answers how many samples it has read
        return np.broadcast_to(np.arange(1, mixture.shape[-1] + 1), (len(mixture), 2, mixture.shape[-1]))

    found = rivals.in_windows(count, 20)(np.zeros((3, samples)))
    assert found.shape == (3, 2, samples)
    whole = samples // 20 * 20
    assert (found[:, :, :whole] == np.tile(np.arange(1, 21), whole // 20)).all()
    assert (found[:, :, whole:] == np.arange(20 - samples + whole + 1, 21)).all()  # the end of a last, whole window
