"""Recordings for tests, made here: voices that no person has."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from emolib.ragged import Ragged

CODECS = {".wav": "pcm_s16le", ".flac": "flac", ".ogg": "libopus", ".mp3": "libmp3lame", ".m4a": "aac", ".mp4": "aac"}


def voice(seconds: float = 0.6, *, hz: float = 220.0, rate_hz: int = 16_000, level: float = 0.3) -> np.ndarray:
    """A tone with overtones, between two tenths of a second of silence, float32 [n]."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    tone = sum(np.sin(2 * np.pi * k * hz * time_s) / k for k in range(1, 6))
    still = np.zeros(rate_hz // 10)
    return (level * np.concatenate([still, tone / 2, still])).astype(np.float32)


def write_sound(path: Path, samples: np.ndarray, *, rate_hz: int = 16_000, channels: int = 1) -> Path:
    """Write `samples` float [n] as the codec of the suffix has it; equal channels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    layout = {1: "mono", 2: "stereo"}[channels]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODECS[path.suffix], rate=rate_hz, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.tile(samples.astype(np.float32), (channels, 1)), "fltp", layout)
        frame.sample_rate = rate_hz
        codec = stream.codec_context
        resampler = av.AudioResampler(codec.format.name, layout, rate_hz, frame_size=codec.frame_size or None)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(part))
    return path


def spectrograms(
    n_subjects: int = 4, *, n_each: int = 8, n_classes: int = 4, n_bands: int = 12, seed: int = 0
) -> tuple[Ragged, np.ndarray, np.ndarray]:
    """Sequences whose loud band says the class, their labels and subjects; lengths differ."""
    rng = np.random.default_rng(seed)
    label = np.tile(np.arange(n_classes), n_subjects * n_each)
    subject = np.repeat([f"{k:02d}" for k in range(n_subjects)], n_each * n_classes)
    sequences = []
    for own in label:
        one = rng.normal(size=(int(rng.integers(9, 24)), n_bands)).astype(np.float32)
        one[:, 1 + own * (n_bands // n_classes)] += 2
        sequences.append(one)
    return Ragged.of_list(sequences), label, subject
