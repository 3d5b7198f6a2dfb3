"""Statistics of recordings: what each part measures, and what it does not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sound import voice, write_sound
from scipy.fft import dct

from emolib import corpora
from emolib.ragged import Ragged
from emolib.speech import features, statistics, store
from emolib.speech.features import FeatureOptions

OPTIONS = FeatureOptions(n_mels=30, reference="full_scale", range_db=120.0)


def made(lengths, seed: int = 0) -> tuple[Ragged, Ragged]:
    """Log-mels in [0, 1] and a pitch near 180 Hz."""
    rng = np.random.default_rng(seed)
    mels = [rng.uniform(0.1, 0.9, (n, 30)).astype(np.float32) for n in lengths]
    return Ragged.of_list(mels), Ragged.of_list([rng.normal(7.5, 0.2, (n, 1)).astype(np.float32) for n in lengths])


@given(st.lists(st.integers(1, 400), min_size=1, max_size=4), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_any_length_gives_finite_numbers_and_others_do_not_matter(lengths, seed):
    mels, pitch = made(lengths, seed)
    found = statistics.statistics(mels, pitch, options=OPTIONS)
    assert found.dtype == np.float32 and found.shape[0] == len(lengths) and np.isfinite(found).all()
    alone = Ragged.of_list([mels[0]]), Ragged.of_list([pitch[0]])
    np.testing.assert_array_equal(statistics.statistics(*alone, options=OPTIONS)[0], found[0])


def test_levels_changes_and_thirds_are_those_worked_out_by_hand():
    (mels, pitch), n = made([31]), 30
    found = statistics.statistics(mels, pitch, options=OPTIONS)[0]
    bands = mels[0].astype(np.float64)
    np.testing.assert_allclose(found[:n], bands.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found[n : 2 * n], bands.std(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found[3 * n : 4 * n], np.median(bands, axis=0), rtol=1e-5)
    cepstra = dct(bands, axis=1, norm="ortho")[:, :25]
    np.testing.assert_allclose(found[5 * n : 5 * n + 25], cepstra.mean(axis=0), atol=1e-5)
    after = 5 * n + 5 * 25
    steps = np.vstack([np.zeros(n), np.diff(bands, axis=0)])
    np.testing.assert_allclose(found[after : after + n], steps.std(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found[after + n : after + 2 * n], np.abs(steps).mean(axis=0), rtol=1e-4)
    thirds = statistics._thirds(cepstra)
    np.testing.assert_allclose(thirds[:25], cepstra[:10].mean(axis=0))
    np.testing.assert_allclose(thirds[-25:], cepstra[21:].mean(axis=0))


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_a_contour_is_a_cosine_transform_over_time(n):
    cepstra = np.random.default_rng(n).normal(size=(n, 25))
    found = statistics._contour(cepstra).reshape(statistics.N_CONTOUR, statistics.N_CONTOUR_CEPSTRA)
    np.testing.assert_allclose(found[0], cepstra[:, :20].mean(axis=0), atol=1e-12)
    assert (found[n:] == 0).all()
    doubled = statistics._contour(np.repeat(cepstra, 4, axis=0)).reshape(found.shape)
    np.testing.assert_allclose(doubled[0], found[0], atol=1e-12)


def test_modulation_says_how_fast_a_group_of_bands_moves():
    step_s, at = 0.016, np.arange(200) * 0.016
    bands = np.full((200, 32), 0.5)
    bands[:, 8:12] += 0.2 * np.sin(2 * np.pi * 5 * at)[:, None]  # the third of eight groups, 5 Hz
    found = statistics._modulation(bands, step_s).reshape(7, 8)
    assert np.unravel_index(found.argmax(), found.shape) == (3, 2)
    assert (np.delete(found, 2, axis=1) < found[3, 2] - 5).all()
    at = np.arange(1000) * step_s
    longer = np.full((1000, 32), 0.5)
    longer[:, 8:12] += 0.2 * np.sin(2 * np.pi * 5 * at)[:, None]
    of_250, of_1000 = (statistics._modulation(one, step_s) for one in (longer[:250], longer))
    np.testing.assert_allclose(of_1000, of_250)


def test_shape_knows_where_the_power_lies():
    low, high = np.full((9, 30), 0.2), np.full((9, 30), 0.2)
    low[:, 4], high[:, 25] = 0.9, 0.9
    of_low, of_high = (statistics._shape(one, 100.0) for one in (low, high))
    assert of_low[0] == pytest.approx(4, abs=0.01) and of_high[0] == pytest.approx(25, abs=0.01)
    assert of_low[1] < 0.2 and of_low[4] > 0 > of_high[4]
    np.testing.assert_allclose(of_low[3], np.log10(10**-1.0 + 29 * 10**-8.0), rtol=1e-6)


@pytest.mark.parametrize("hz", [110.0, 220.0, 400.0])
def test_pitch_is_found_in_octaves_and_only_where_a_voice_sounds(hz):
    samples = np.concatenate([voice(1.0, hz=hz), 1e-3 * np.random.default_rng(0).normal(size=8000)])
    samples = samples.astype(np.float32)
    octaves = features.pitch(samples, OPTIONS)
    bands = features.log_mel(samples, OPTIONS)
    assert octaves.shape == (len(bands), 1) and octaves.dtype == np.float32
    found = statistics._pitch(octaves[:, 0].astype(np.float64), bands.astype(np.float64))
    assert found[0] == pytest.approx(np.log2(hz), abs=0.03) and found[1] < 0.05 and found[3] < 0.75


def test_a_rising_pitch_has_a_rising_contour():
    bands, line = np.full((50, 30), 0.5), np.linspace(7.0, 8.0, 50)
    rising, falling = (statistics._pitch(one, bands)[-statistics.N_PITCH_CONTOUR :] for one in (line, line[::-1]))
    assert rising[1] == pytest.approx(0.5, abs=0.05) and falling[1] == pytest.approx(-0.5, abs=0.05)


def test_statistics_of_a_corpus_are_those_of_its_files(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_DATA", str(tmp_path / "data"))
    for number, name in enumerate(["03-01-01-01-01-01-01", "03-01-02-01-01-01-02"]):
        write_sound(tmp_path / f"raw/{name}.wav", voice(0.4 + 0.2 * number, hz=150.0 + 90 * number))
    corpus = corpora.scan("ravdess_speech", tmp_path / "raw")
    heard = store.prepare_once(corpus, OPTIONS, workers=1, progress=False)
    found = statistics.of_corpus(corpus, heard, workers=1)
    assert found.shape[0] == 2 and np.abs(found[0] - found[1]).max() > 0.1
    for row, source in enumerate(heard.performances["source"]):
        samples = features.clean(features.audio.read(corpus.root / source), OPTIONS)
        parts = [Ragged.of_list([one(samples, OPTIONS)]) for one in (features.log_mel, features.pitch)]
        np.testing.assert_array_equal(statistics.statistics(*parts, options=OPTIONS)[0], found[row])
    waves = store.prepare_once(corpus, FeatureOptions(representation="waveform"), workers=1, progress=False)
    with pytest.raises(ValueError, match="representation 'waveform' found, log_mel is needed"):
        statistics.of_corpus(corpus, waves)


def test_what_does_not_fit_is_refused():
    mels, pitch = made([20, 30])
    with pytest.raises(ValueError, match="different lengths"):
        statistics.statistics(mels, Ragged(pitch.values, pitch.length[::-1].copy()), options=OPTIONS)
    with pytest.raises(ValueError, match="20 bands received, 25 or more"):
        statistics.statistics(Ragged(mels.values[:, :20], mels.length), pitch, options=OPTIONS)
