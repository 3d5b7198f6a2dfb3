"""Features of a recording against a spectrogram worked out with scipy, and what their options mean."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sound import voice, write_sound

from emolib.speech import features
from emolib.speech.features import FeatureOptions
from emolib.video import MediaError

PLAIN = {"trim_db": 0.0, "wiener": 0}


def mel_by_hand(samples: np.ndarray, options: FeatureOptions) -> np.ndarray:
    """Mel power [T, n_mels]: scipy's spectrogram, triangles between mel points (Slaney's scale and area) by hand."""
    half = options.n_fft // 2
    padded = np.pad(samples.astype(np.float64), half)
    window = scipy.signal.get_window("hann", options.n_fft)
    starts = range(0, len(padded) - options.n_fft + 1, options.hop)
    power = np.array([np.abs(np.fft.rfft(padded[k : k + options.n_fft] * window)) ** 2 for k in starts])

    def to_mel(hz):
        return np.where(hz < 1000, hz * 3 / 200, 15 + np.log(np.maximum(hz, 1) / 1000) / (np.log(6.4) / 27))

    def to_hz(mel):
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))

    ends = to_mel(np.array([options.low_hz, options.high_hz]))
    points = to_hz(np.linspace(*ends, options.n_mels + 2))
    bins = np.fft.rfftfreq(options.n_fft, 1 / options.sample_rate_hz)
    left, middle, right = points[:-2, None], points[1:-1, None], points[2:, None]
    rising, falling = (bins - left) / (middle - left), (right - bins) / (right - middle)
    weights = np.clip(np.minimum(rising, falling), 0, None) * 2 / (right - left)
    return power @ weights.T


@pytest.mark.parametrize("reference", ["recording", "full_scale"])
@pytest.mark.parametrize(("n_mels", "hop", "n_fft"), [(128, 256, 512), (40, 512, 1024)])
def test_log_mels_are_those_worked_out_by_hand(reference, n_mels, hop, n_fft):
    options = FeatureOptions(n_mels=n_mels, hop=hop, n_fft=n_fft, reference=reference, **PLAIN)
    samples = voice() + np.random.default_rng(0).normal(0, 0.01, len(voice())).astype(np.float32)
    power = mel_by_hand(samples, options)
    full_scale = (scipy.signal.get_window("hann", n_fft).sum() / 2) ** 2
    decibels = 10 * np.log10(np.maximum(power, 1e-20) / (power.max() if reference == "recording" else full_scale))
    found = features.log_mel(samples, options)
    assert found.dtype == np.float32 and found.shape == (1 + len(samples) // hop, n_mels)
    np.testing.assert_allclose(found, np.clip(1 + decibels / 80, 0, 1), atol=2e-4)


def test_loudness_is_lost_against_the_recording_and_kept_against_full_scale():
    loud, soft = voice(level=0.5), voice(level=0.05)
    of = {ref: FeatureOptions(reference=ref, range_db=140.0, **PLAIN) for ref in ("recording", "full_scale")}
    np.testing.assert_allclose(
        features.log_mel(loud, of["recording"]), features.log_mel(soft, of["recording"]), atol=1e-3
    )
    difference = features.log_mel(loud, of["full_scale"]) - features.log_mel(soft, of["full_scale"])
    sounding = features.log_mel(soft, of["full_scale"]) > 0
    np.testing.assert_allclose(difference[sounding], 20 / 140, atol=1e-3)


def test_a_full_scale_sine_has_the_reference_power():
    options, n = FeatureOptions(), 512
    bin_hz = 16_000 / n
    sine = np.sin(2 * np.pi * 32 * bin_hz * np.arange(n) / 16_000)
    spectrum = np.abs(np.fft.rfft(sine * scipy.signal.get_window("hann", n))) ** 2
    assert spectrum.max() == pytest.approx(features.full_scale_power(options), rel=1e-6)


def test_silent_ends_are_cut_off_and_the_wiener_filter_is_scipys():
    samples = voice(0.5)
    cut = features.clean(samples, FeatureOptions(wiener=0))
    assert 0.5 * 16_000 <= len(cut) <= 0.5 * 16_000 + 2 * 2048  # a frame of librosa's at each end may stay
    assert len(features.clean(samples, FeatureOptions(**PLAIN))) == len(samples)
    noisy = samples + np.random.default_rng(0).normal(0, 0.02, len(samples)).astype(np.float32)
    filtered = features.clean(noisy, FeatureOptions(trim_db=0.0, wiener=5))
    np.testing.assert_allclose(filtered, scipy.signal.wiener(noisy, 5), rtol=1e-5, atol=1e-7)


def test_digital_silence_beside_sound_leaves_no_nan():
    samples = np.concatenate([np.zeros(4000, np.float32), voice(), np.zeros(4000, np.float32)])
    assert np.isfinite(features.clean(samples, FeatureOptions(trim_db=0.0))).all()


def test_of_a_file_features_and_facts(tmp_path):
    path = write_sound(tmp_path / "a.wav", voice(0.5, level=0.4))
    found, facts = features.of_file(path, FeatureOptions())
    assert found.shape[1] == 128 and facts["sound_s"] == pytest.approx(0.7) and 0.5 <= facts["kept_s"] < 0.7
    assert facts["peak"] == pytest.approx(np.abs(voice(0.5, level=0.4)).max(), abs=1e-4) and len(facts["sha256"]) == 64
    wave, _ = features.of_file(path, FeatureOptions(representation="waveform", **PLAIN))
    np.testing.assert_allclose(wave[:, 0], voice(0.5, level=0.4), atol=1e-4)
    (tmp_path / "b.wav").write_bytes(b"none")
    with pytest.raises(MediaError, match="b.wav"):
        features.of_file(tmp_path / "b.wav", FeatureOptions())


@given(st.integers(1, 3000), st.sampled_from(features.REFERENCES), st.floats(1e-3, 1))
@settings(max_examples=25, deadline=None)
def test_any_length_gives_finite_values_between_0_and_1(n, reference, level):
    samples = np.random.default_rng(n).uniform(-level, level, n).astype(np.float32)
    found = features.log_mel(samples, FeatureOptions(reference=reference, n_mels=20, n_fft=256, hop=128))
    assert found.shape == (1 + n // 128, 20) and found.min() >= 0 and found.max() <= 1


def test_band_middles_rise_between_the_ends():
    middle = features.band_hz(FeatureOptions(n_mels=30))
    assert len(middle) == 30 and (np.diff(middle) > 0).all() and middle[0] > 80 and middle[-1] < 8000


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("representation", "mfcc", "'log_mel' or 'pitch' or 'waveform'"),
        ("reference", "none", "'recording' or 'full_scale'"),
        ("n_mels", 0, "a whole number >= 1"),
        ("hop", 2.5, "a whole number >= 1"),
        ("wiener", 4, "odd"),
        ("trim_db", -1.0, "a number >= 0"),
        ("trim_db", True, "a number >= 0"),
        ("range_db", 0.0, "above 0"),
        ("high_hz", 9000.0, "half the sample rate"),
        ("low_hz", 8000.0, "half the sample rate"),
        ("sample_rate_hz", 10, "a whole number >= 1000"),
        ("n_fft", 513, "an even number"),
    ],
)
def test_options_are_checked(option, value, allowed):
    with pytest.raises(ValueError, match=f"(?s)features: .*{allowed}"):
        FeatureOptions(**{option: value})
    with pytest.raises(ValueError, match="sample_rate_hz = 1000 received, 1400 or more"):
        FeatureOptions(representation="pitch", sample_rate_hz=1000, high_hz=500.0)
    with pytest.raises(TypeError, match="n_bands"):
        FeatureOptions(n_bands=3)


def test_a_row_is_a_hop_or_a_sample():
    assert FeatureOptions().step_s == 0.016 and FeatureOptions().width == 128
    wave = FeatureOptions(representation="waveform", sample_rate_hz=16_000)
    assert wave.step_s == 1 / 16_000 and wave.width == 1
