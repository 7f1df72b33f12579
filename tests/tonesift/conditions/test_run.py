"""What each condition does to recordings, against what its formula says, and what it leaves alone."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from conditioned import DATA, made
from conftest import ROOT
from ruamel.yaml import YAML
from scipy import stats

from tonesift import memory, params
from tonesift.conditions import named, run
from tonesift.data import recordings, signals
from tonesift.errors import InputError

ALL = {
    "drift": 0.01,
    "wander": 0.15,
    "phase_walk": 0.25,
    "dwell": 3.0,
    "tone_range": [0.7, 60.0],
    "amplitude_ranges": [[1.0, 2.0], [0.5, 1.0], [1.0, 1.0], [0.1, 3.0]],
    "jitter_amplitude": 0.2,
    "jitter_phase": 10.0,
    "tail_scale": [0.02, 0.2],
    "burst_share": 0.08,
    "coloured": [0.02, 0.1],
    "outlier_share": 0.1,
    "clip": [0.4, 1.0],
    "gap_share": 0.2,
}


def sine(facts, turns):
    return facts.amplitudes[:, :, None] * np.sin(2 * np.pi * turns + np.deg2rad(facts.phases)[:, :, None])


def test_off_means_the_committed_bits(tmp_path):
    committed = YAML(typ="safe").load(ROOT / "dvc.lock")["stages"]["generate"]["outs"]
    (data,) = params.load(ROOT / "params.yaml", "data")
    assert not data.conditions.on
    for out, testing in zip(sorted(committed, key=lambda out: out["path"]), (True, False), strict=True):
        facts, pairs = recordings.draw_set(data, testing)
        recordings.write(tmp_path / "set.h5", facts, data.samples, pairs)
        assert hashlib.md5((tmp_path / "set.h5").read_bytes(), usedforsecurity=False).hexdigest() == out["md5"]


def test_what_is_off_is_not_imported(tmp_path):
    program = (
        "import runpy, sys\n"
        f"sys.argv = ['generate', '--clock', 'run.json', '--params', {str(ROOT / 'params.yaml')!r}, 'a.h5', 'b.h5']\n"
        "try:\n    runpy.run_module('stages.generate', run_name='__main__')\nexcept SystemExit as left:\n"
        "    print(left.code, [name for name in sys.modules if name.startswith(('scipy', 'tonesift.conditions'))])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0 []"


def test_a_recording_is_the_same_by_itself_and_in_any_order():
    facts, mixtures, tones = made(train_recordings=4, **ALL)
    for index in (3, 0):
        mixture, clean = run.make_one(facts, DATA.samples, index, None)
        assert np.array_equal(mixture, mixtures[index], equal_nan=True)
        assert np.array_equal(clean, tones[index])


def test_conditions_that_are_off_keep_the_settings_that_they_have():
    data = DATA.model_copy(update={"conditions": params.Conditions(drift_time=3.0, tail_freedom=5.0)})
    assert not data.conditions.on


@pytest.mark.parametrize("name", [*ALL, "noise_std"])
def test_turning_one_on_leaves_the_draws_of_the_others_alone(name):
    """All on, and all but one: what else was drawn is the same number by number."""
    every = ALL | {"noise_std": 0.1, "duration": 2.0}
    without = {key: value for key, value in every.items() if key != name}
    (one, mixtures, _), (other, fewer, _) = made(**every), made(**without)
    samples = mixtures.shape[1]
    for key in other.drawn.keys() & one.drawn.keys():
        assert np.array_equal(one.drawn[key], other.drawn[key]), key
    assert np.array_equal(one.phases, other.phases)
    if name != "amplitude_ranges":
        assert np.array_equal(one.amplitudes, other.amplitudes)
    if name != "gap_share":
        assert np.array_equal(np.isnan(mixtures), np.isnan(fewer))
    if name != "burst_share":
        assert np.array_equal(run.bursts(one, samples, 1), run.bursts(other, samples, 1))
    if name != "outlier_share":
        assert np.array_equal(run.outliers(one, samples, 1), run.outliers(other, samples, 1))
    if name not in ("burst_share", "tail_scale", "noise_std"):
        assert np.array_equal(run.noise(one, samples, 1), run.noise(other, samples, 1))
    if name not in ("dwell", "amplitude_ranges"):
        found, same = (run.paths(facts, samples, 1) for facts in (one, other))
        assert np.array_equal(found.onsets, same.onsets)
        if name not in ("drift", "phase_walk", "tone_range"):
            assert np.array_equal(found.turns, same.turns)
        if name != "wander":
            assert np.array_equal(found.amplitudes, same.amplitudes)


PURPOSES = {
    **{name: {name} for name in ("drift", "wander", "phase_walk", "dwell", "coloured", "clip")},
    **{"jitter_amplitude": {"jitter"}, "jitter_phase": {"jitter"}, "tail_scale": {"tails"}, "burst_share": {"bursts"}},
    **{"outlier_share": {"outliers"}, "gap_share": {"gaps"}, "tone_range": {"tones"}, "amplitude_ranges": set()},
}


@pytest.mark.parametrize("name", ALL)
def test_each_condition_draws_from_random_numbers_of_its_own(name, monkeypatch):
    used, drawn = set(), signals.random_generator
    monkeypatch.setattr(signals, "random_generator", lambda *given: used.add(given[1:]) or drawn(*given))
    made(**{name: ALL[name]}, noise_std=0.1)
    assert {purpose for purpose, _ in used} - {"noise", "phases", "amplitudes"} == PURPOSES[name]
    assert {recording for _, recording in used} == {0, 1}


@pytest.mark.parametrize("name", named.NAMED)
def test_the_named_conditions_can_be_made(name):
    data = named.under(DATA, name)
    assert params.conflicts(data, None, None, None) == []
    assert data.task == "general"
    assert params.Data.model_validate(data.model_dump()) == data


def test_white_noise_is_that_of_recordings_without_conditions():
    facts, mixtures, tones = made(noise_std=0.1, coloured=[0.1, 0.1])
    plain = np.stack([mixture for mixture, _ in recordings.make(DATA, facts)])
    coloured = mixtures - plain
    assert coloured.std() == pytest.approx(0.1, rel=0.5)
    facts, mixtures, tones = made(noise_std=0.1, clip=[1e6, 1e6])
    pairs = list(recordings.make(DATA, facts))
    assert np.array_equal(mixtures, np.stack([mixture for mixture, _ in pairs]))
    assert np.array_equal(tones, np.stack([clean for _, clean in pairs]))


def test_drift_is_of_its_size_and_the_tone_is_the_integral_of_its_frequency():
    facts, mixtures, tones = made(drift=0.02, drift_time=0.2, train_recordings=40)
    turns = np.stack([run.paths(facts, DATA.samples, index).turns for index in range(40)])
    steps = np.diff(turns, axis=2)
    steps -= np.rint(steps)
    relative = steps * 1000 / np.array(DATA.frequencies)[:, None] - 1
    # about duration / (2 x time constant) independent values in each of 160 series
    assert relative.std() == pytest.approx(0.02, rel=4 * np.sqrt(0.5 / (160 * 25)))
    lagged = np.mean(relative[..., :-200] * relative[..., 200:]) / 0.02**2
    assert lagged == pytest.approx(np.exp(-1), abs=0.05)
    frequency = np.array(DATA.frequencies)[:, None] * (1 + relative)
    angle = np.concatenate([np.zeros((40, 4, 1)), np.cumsum(frequency, axis=2) / 1000], axis=2)
    assert np.abs(tones - sine(facts, angle)).max() < 1e-9
    assert np.abs(mixtures - tones.mean(axis=1)).max() < 1e-12


def test_wander_moves_the_log_of_the_amplitude_and_the_phase_walks():
    facts, _, tones = made(wander=0.3, wander_time=0.1, phase_walk=0.5, train_recordings=40)
    paths = [run.paths(facts, DATA.samples, index) for index in range(40)]
    logs = np.log(np.stack([path.amplitudes for path in paths]) / facts.amplitudes[:, :, None])
    assert logs.std() == pytest.approx(0.3, rel=4 * np.sqrt(0.5 / (160 * 50)))
    time = np.arange(DATA.samples) / 1000
    walk = np.stack([path.turns for path in paths]) - np.outer(DATA.frequencies, time)
    walk -= facts.phases[:, :, None] / 360
    walk -= np.rint(walk[..., :1])
    steps = np.diff(walk, axis=2)
    steps = 2 * np.pi * (steps - np.rint(steps))
    assert steps.std() == pytest.approx(0.5 / np.sqrt(1000), rel=4 / np.sqrt(2 * steps.size))
    every = np.stack([path.amplitudes * np.sin(2 * np.pi * path.turns) for path in paths])
    assert np.abs(tones - every).max() < 1e-12


def test_tones_switch_with_a_new_amplitude_and_phase_at_each_onset():
    facts, _, tones = made(dwell=0.5, duration=60.0)
    amplitudes, phases, lengths = [], [], []
    for index in range(2):
        paths = run.paths(facts, 60_000, index)
        for tone, frequency in enumerate(DATA.frequencies):
            on = paths.amplitudes[tone] > 0
            assert not tones[index, tone][~on].any()
            begins = np.flatnonzero(paths.onsets[tone])
            for begin, following in zip(begins, [*begins[1:], 60_000], strict=True):
                # at times a tone is off for less than a sample, and the next onset follows without a pause
                end = begin + int(np.argmin([*on[begin:following], False]))
                angle = 2 * np.pi * frequency * np.arange(begin, end) / 1000
                design = np.stack([np.sin(angle), np.cos(angle)], axis=1)
                found, *_ = np.linalg.lstsq(design, tones[index, tone, begin:end])
                if end - begin > 100:
                    assert np.abs(design @ found - tones[index, tone, begin:end]).max() < 1e-9
                    amplitudes.append(np.hypot(*found))
                    phases.append(np.rad2deg(np.arctan2(found[1], found[0])) % 360)
                lengths += [end - begin] if begin > 0 and end < 60_000 else []
    assert stats.kstest(amplitudes, stats.uniform(0.5, 1.5).cdf).pvalue > 0.01
    assert stats.kstest(phases, stats.uniform(0, 360).cdf).pvalue > 0.01
    assert np.mean(lengths) == pytest.approx(500, rel=4 / np.sqrt(len(lengths)))


def test_jitter_is_in_the_mixture_and_not_in_the_tones():
    _, mixtures, tones = made(jitter_phase=45.0, jitter_amplitude=0.2)
    _, _, clean = made(clip=[1e6, 1e6])
    assert np.abs(tones - clean).max() < 1e-11
    # the mean of cos(p v) with v uniform from -1 to 1 is sin(p) / p, and that of the sine is 0
    mean = tones.mean(axis=1)
    share = np.sum(mixtures * mean) / np.sum(mean * mean)
    assert share == pytest.approx(np.sin(np.pi / 4) / (np.pi / 4), abs=0.01)


def test_jitter_of_the_whole_turn_leaves_nothing_of_the_tones():
    _, mixtures, tones = made(jitter_phase=180.0)
    mean = tones.mean(axis=1)
    assert abs(np.corrcoef(mixtures.ravel(), mean.ravel())[0, 1]) < 4 / np.sqrt(mean.size)
    assert mixtures.var() == pytest.approx(np.sum(np.mean(tones**2, axis=(0, 2))) / 16, rel=0.05)


def test_heavy_tails_are_students_t():
    facts, mixtures, tones = made(tail_scale=[0.03, 0.4], train_recordings=20)
    scaled = (mixtures - tones.mean(axis=1)) / facts.drawn["tail_scale"][:, None]
    assert stats.kstest(scaled.ravel()[::7], stats.t(1.5).cdf).pvalue > 0.01
    quantiles = np.quantile(scaled, [0.001, 0.05, 0.5, 0.95, 0.999])
    assert np.allclose(quantiles, stats.t(1.5).ppf([0.001, 0.05, 0.5, 0.95, 0.999]), rtol=0.1, atol=0.02)
    assert facts.drawn["tail_scale"].min() >= 0.03
    assert facts.drawn["tail_scale"].max() <= 0.4


def test_noise_is_louder_in_bursts():
    pairs = [made(noise_std=0.1, train_recordings=20, **more) for more in ({"clip": [1e6, 1e6]}, {"burst_share": 0.08})]
    noise = [mixtures - tones.mean(axis=1) for _, mixtures, tones in pairs]
    ratio = noise[1] / noise[0]
    assert np.isclose(ratio, 10).mean() == pytest.approx(0.08, abs=0.02)
    assert (np.isclose(ratio, 1, rtol=1e-6) | np.isclose(ratio, 10, rtol=1e-6)).mean() > 0.9999


def test_outliers_are_noise_alone():
    facts, mixtures, tones = made(outlier_share=0.1, outlier_std=2.0, noise_std=0.0)
    which = np.stack([run.outliers(facts, DATA.samples, index) for index in range(2)])
    assert abs(which.mean() - 0.1) < 4 * np.sqrt(0.09 / which.size)
    assert stats.kstest(mixtures[which] / 2, "norm").pvalue > 0.01
    assert abs(np.corrcoef(mixtures[which], tones.mean(axis=1)[which])[0, 1]) < 4 / np.sqrt(which.sum())
    assert np.abs(mixtures - tones.mean(axis=1))[~which].max() < 1e-12


def test_a_mixture_is_clipped_at_the_level_that_is_told():
    facts, mixtures, tones = made(clip=[0.1, 0.4], train_recordings=20)
    levels = facts.drawn["clip"]
    assert np.array_equal(np.abs(mixtures).max(axis=1), levels)
    assert (levels >= 0.1).all()
    assert (levels <= 0.4).all()
    expected = np.clip(tones.mean(axis=1), -levels[:, None], levels[:, None])
    assert np.abs(mixtures - expected).max() < 1e-12


def test_missing_samples_are_nan_in_the_file_and_0_and_a_mask_to_readers(tmp_path):
    facts, mixtures, tones = made(gap_share=0.5)
    recordings.write(tmp_path / "g.h5", facts, DATA.samples, zip(mixtures, tones, strict=True))
    with recordings.opened(tmp_path / "g.h5") as source:
        for index in range(2):
            missing = np.isnan(mixtures[index])
            assert 0.2 < missing.mean() < 0.8
            assert np.array_equal(source.missing(index), missing)
            assert np.array_equal(source.mixture(index), np.where(missing, 0, mixtures[index]).astype("f4"))
            assert np.array_equal(source.tones(index), tones[index].astype("f4"))


def test_amplitudes_lie_in_the_range_of_each_tone():
    ranges = [[1.0, 2.0], [0.5, 0.6], [3.0, 3.0], [0.1, 0.2]]
    facts, _, _ = made(amplitude_ranges=ranges, train_recordings=200)
    for tone, (low, high) in enumerate(ranges):
        assert low <= facts.amplitudes[:, tone].min() <= facts.amplitudes[:, tone].max() <= high
    closed = np.mean([(low * low + low * high + high * high) / 3 for low, high in ranges])
    assert facts.second_moment == pytest.approx(closed)


def test_every_recording_has_tones_of_its_own(tmp_path):
    facts, mixtures, tones = made(tone_range=[0.7, 60.0], train_recordings=5)
    sets = facts.drawn["frequencies"]
    assert np.diff(sets, axis=1).min() >= 1.5
    time = np.arange(DATA.samples) / 1000
    assert np.abs(tones - sine(facts, sets[:, :, None] * time)).max() < 1e-9
    recordings.write(tmp_path / "r.h5", facts, DATA.samples, zip(mixtures, tones, strict=True))
    with recordings.opened(tmp_path / "r.h5", any_tones=True) as source:
        assert source.facts.frequencies == ()
        assert source.facts.tones_of(3) == tuple(sets[3])
    with (
        pytest.raises(InputError, match=r"every recording has tones of its own .* but a network learns one set"),
        recordings.opened(tmp_path / "r.h5"),
    ):
        pass


def test_tones_that_hardly_fit_are_refused():
    with pytest.raises(InputError, match=r"tone_distance: no 4 tones 3\.3 Hz apart were found in \[1\.0, 11\.0\] Hz"):
        made(tone_range=[1.0, 11.0], tone_distance=3.3)


def test_a_file_tells_what_was_made_and_the_paths_can_be_told_from_it(tmp_path):
    facts, mixtures, tones = made(**ALL)
    recordings.write(tmp_path / "a.h5", facts, DATA.samples, zip(mixtures, tones, strict=True))
    with recordings.opened(tmp_path / "a.h5", any_tones=True) as source:
        read = source.facts
        assert read.conditions == facts.conditions
        assert read.drawn.keys() == facts.drawn.keys()
        path = run.paths(read, source.samples, 1)
        assert np.abs(path.amplitudes * np.sin(2 * np.pi * path.turns) - source.tones(1)).max() < 1e-6
        again, _ = run.make_one(read, source.samples, 1, None)
        assert np.array_equal(np.where(np.isnan(again), 0, again).astype("f4"), source.mixture(1))


@pytest.mark.parametrize(
    "chosen",
    [
        {"tail_scale": [1e6, 1e6], "tail_freedom": 1.0, "burst_share": 0.5, "burst_factor": 1e6},
        {"wander": 3.0, "amplitude_ranges": [[1e6, 1e6]] * 4},
    ],
)
def test_what_no_reader_takes_is_not_made(chosen):
    with pytest.raises(InputError, match=r"recording 0 reaches .*, but no reader takes more than 1e\+09: make"):
        made(**chosen)


@pytest.mark.parametrize("duration", [0.001, 0.002, 0.5])
@pytest.mark.parametrize("tones", [1, 12])
def test_short_recordings_of_one_tone_and_of_many_are_made(duration, tones):
    ranges = [[0.5, 2.0]] * tones
    own = {"frequencies": list(range(1, tones + 1)), "duration": duration, "amplitude_ranges": ranges}
    facts, mixtures, clean = made(**{**ALL, **own})
    assert clean.shape == (2, tones, round(1000 * duration))
    assert mixtures.shape == (2, round(1000 * duration))
    assert np.isfinite(clean).all()
    assert facts.drawn["frequencies"].shape == (2, tones)


def test_memory_that_there_is_not_is_refused():
    data = DATA.model_copy(update={"duration": 1e9, "conditions": params.Conditions(coloured=[1.0, 1.0])})
    with pytest.raises(InputError, match=r"data\.conditions\.coloured: takes .* GiB"):
        memory.check(run.memory_needed(data))


PROGRAM = f"""
import hashlib, sys
sys.path.insert(0, {str(ROOT)!r})
from numpy._core._multiarray_umath import __cpu_features__
from tonesift import params
from tonesift.conditions import run
(data,) = params.load({str(ROOT / "studies" / "bases" / "general.yaml")!r}, "data")
data = data.model_copy(update={{"train_recordings": 3, "conditions": params.Conditions(**{ALL!r})}})
digest = hashlib.sha256()
for mixture, tones in run.draw_set(data, False, None)[1]:
    digest.update(mixture.tobytes() + tones.tobytes())
print(digest.hexdigest(), __cpu_features__["X86_V4"] or __cpu_features__["AVX512_ICL"])
"""


def test_the_same_bits_with_and_without_vector_instructions():
    from numpy._core._multiarray_umath import __cpu_dispatch__

    found = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | {"NPY_DISABLE_CPU_FEATURES": features},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()[0]
        for features in ("", " ".join(__cpu_dispatch__))
    ]
    assert found[0] == found[1]
