"""Sound of any file that FFmpeg reads (audio files, tracks of videos) as mono samples, refused where it is none."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from emolib.video import MediaError, read_audio

SAMPLE_RATE_HZ = 16_000
SILENCE_PEAK = 1e-4  # of full scale (-80 dB): below it a recording holds no sound, only the noise of its coding
SHORTEST_S = 0.1  # less holds no syllable
LARGEST_PEAK = 8.0  # of full scale; codecs overshoot a little, integers kept as floats by thousands


def read(path: str | Path, *, sample_rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """Decode a recording: the mean of the channels of its first audio track, resampled.

    Returns
    -------
    float32 [n], finite, about -1 to 1.

    Raises
    ------
    MediaError
        The file cannot be read, has no audio track, is shorter than `SHORTEST_S`, is silent (peak below
        `SILENCE_PEAK`), is beyond `LARGEST_PEAK`, holds a sample that is no number, or is a WAV that was cut off.
    ValueError
        The sample rate is below 1.
    """
    if sample_rate_hz < 1:
        raise ValueError(f"sample_rate_hz is {sample_rate_hz}, at least 1 is allowed")
    _check_whole(Path(path))
    samples = read_audio(path, sample_rate_hz=sample_rate_hz)
    if len(wrong := np.flatnonzero(~np.isfinite(samples))):
        raise MediaError(path, f"sample {wrong[0]} is {samples[wrong[0]]}, {len(wrong)} are no numbers")
    if len(samples) < SHORTEST_S * sample_rate_hz:
        raise MediaError(path, f"{len(samples) / sample_rate_hz:.3f} s of sound, at least {SHORTEST_S} s is needed")
    if (peak := float(np.abs(samples).max())) < SILENCE_PEAK:
        raise MediaError(path, f"silent (largest sample {peak:.2g} of full scale)")
    if peak > LARGEST_PEAK:
        raise MediaError(path, f"largest sample {peak:.2g} of full scale, at most {LARGEST_PEAK:g} is allowed")
    return samples


def _check_whole(path: Path) -> None:
    """MediaError for a WAV that is shorter than its head says; FFmpeg would answer with what is left."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        head = file.read(12)
    said, n_bytes = int.from_bytes(head[4:8], "little"), path.stat().st_size
    of_wav = head[:4] == b"RIFF" and head[8:] == b"WAVE" and said not in (0, 0xFFFFFFFF)  # those two: written to a pipe
    if of_wav and n_bytes < said + 8 - 1:  # a last byte of padding is often forgotten
        raise MediaError(path, f"cut off: {n_bytes} of {said + 8} bytes are there")


def digest(samples: np.ndarray) -> str:
    """SHA-256 of decoded samples, hexadecimal: equal for recordings of the same sound, whatever the files are called.

    Samples are compared in steps of a 16-bit file, so that a lossless copy in another format is equal, too.
    """
    steps = np.clip(np.rint(np.asarray(samples, dtype=np.float64) * 32768), -32768, 32767)
    return hashlib.sha256(steps.astype("<i2").tobytes()).hexdigest()
