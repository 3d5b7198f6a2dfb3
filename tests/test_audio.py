"""Decoded recordings: what is read, what is refused, and which are the same sound."""

from __future__ import annotations

import numpy as np
import pytest
from made_sound import voice, write_sound

from emolib import audio
from emolib.video import MediaError


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".m4a"])
def test_every_format_is_read_as_mono_at_16_khz(tmp_path, suffix):
    tone = voice(rate_hz=48_000)
    samples = audio.read(write_sound(tmp_path / f"a{suffix}", tone, rate_hz=48_000, channels=2))
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert len(samples) == pytest.approx(len(tone) / 3, abs=2500)  # codecs pad by a frame or two
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert np.argmax(spectrum) * 16_000 / len(samples) == pytest.approx(220, abs=5)
    assert np.abs(samples).max() == pytest.approx(np.abs(tone).max(), rel=0.15)


def test_16_bit_samples_come_back_exactly(tmp_path):
    tone = np.rint(voice() * 32768).astype(np.float32) / 32768
    np.testing.assert_array_equal(audio.read(write_sound(tmp_path / "a.wav", tone)), tone)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(8000, np.float32), "silent"),
        (np.full(8000, 3e-5, np.float32), "silent"),
        (voice()[1600:2800], "0.075 s of sound, at least 0.1 s"),
    ],
)
def test_a_recording_without_sound_is_refused(tmp_path, samples, reason):
    path = write_sound(tmp_path / "a.wav", samples)
    with pytest.raises(MediaError, match=reason) as caught:
        audio.read(path)
    assert caught.value.path == path


def test_a_sample_that_is_no_number_is_refused(tmp_path, monkeypatch):
    samples = voice()
    samples[[7, 9]] = np.nan
    monkeypatch.setattr(audio, "read_audio", lambda path, sample_rate_hz: samples)
    with pytest.raises(MediaError, match="sample 7 is nan, 2 are no numbers"):
        audio.read(tmp_path / "a.wav")


@pytest.mark.parametrize(("content", "reason"), [(None, "no such file"), (b"", "empty"), (b"no sound", "not a media")])
def test_a_file_that_is_none_is_refused(tmp_path, content, reason):
    if content is not None:
        (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(MediaError, match=reason):
        audio.read(tmp_path / "a.wav")
    with pytest.raises(ValueError, match="sample_rate_hz is 0"):
        audio.read(tmp_path / "a.wav", sample_rate_hz=0)


def test_a_lossless_copy_has_the_same_digest_and_another_sound_has_not(tmp_path):
    kinds = {suffix: audio.read(write_sound(tmp_path / f"a{suffix}", voice())) for suffix in (".wav", ".flac")}
    digests = {audio.digest(samples) for samples in kinds.values()}
    assert len(digests) == 1
    changed = voice()
    changed[2000] += 2 / 32768
    assert audio.digest(changed) not in digests
    assert audio.digest(voice()[:-1]) not in digests


def test_a_wav_that_was_cut_off_is_refused(tmp_path):
    path = write_sound(tmp_path / "a.wav", voice(2.0))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError, match=f"cut off: {len(whole) // 2} of {len(whole)} bytes"):
        audio.read(path)


def test_integers_kept_as_floats_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "read_audio", lambda path, sample_rate_hz: voice() * 30_000)
    with pytest.raises(MediaError, match="of full scale, at most 8 is allowed"):
        audio.read(tmp_path / "a.wav")


def test_a_sample_rate_that_changes_on_the_way_is_refused(tmp_path):
    parts = [write_sound(tmp_path / f"{hz}.mp3", voice(1.0, rate_hz=hz), rate_hz=hz) for hz in (48_000, 24_000)]
    path = tmp_path / "a.mp3"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(MediaError, match="the audio track is broken"):
        audio.read(path)
