"""Features of one recording: a log-mel spectrogram as in system E (SYSTEMS.md), or its cleaned waveform.

Silence at both ends is cut off, a Wiener filter (scipy's, over neighbouring samples) weakens noise, and the power of
each mel band in decibels is scaled to [0, 1]. Defaults are system E's; it does not say against what the decibels are
taken: `reference` is "recording" (each one's loudest place is 1, so loudness is lost) or "full_scale" (the power of a
full-scale sine in its bin is 1, so loudness is kept).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.signal

from emolib import audio
from emolib.video import MediaError

REPRESENTATIONS = ("log_mel", "pitch", "waveform")
PITCH_RANGE_HZ = (70.0, 700.0)  # where the fundamental frequency is looked for
REFERENCES = ("recording", "full_scale")
_SMALLEST_POWER = 1e-20  # digital silence has a logarithm, too; below any range_db that makes sense


@dataclass(frozen=True)
class FeatureOptions:
    """What features of a recording are; two sets of options are two stores.

    Parameters
    ----------
    representation : "log_mel"; "pitch": log2 of the fundamental frequency in Hz at every step (YIN, de Cheveigne and
        Kawahara 2002; a number also where no voice sounds); or "waveform": the samples themselves, for networks that
        read them (`emolib.hub`).
    sample_rate_hz : to which recordings are resampled.
    trim_db : silence at both ends that is more than so far below the loudest moment is cut off; 0 keeps it.
    wiener : samples in the window of the Wiener filter (odd; 3 is scipy's default); 0 for no filter.
    n_mels : mel bands (log_mel; so is all below).
    n_fft, hop : window and step of the spectrogram, in samples; of "pitch" only the step, its window holds four periods
        of the lowest.
    low_hz, high_hz : ends of the mel bands.
    reference : "recording" or "full_scale", see above.
    range_db : decibels below the reference that are scaled to 0.

    Raises
    ------
    ValueError
        A value is not allowed. (An unknown name is Python's own TypeError.)
    """

    representation: str = "log_mel"
    sample_rate_hz: int = audio.SAMPLE_RATE_HZ
    trim_db: float = 20.0
    wiener: int = 3
    n_mels: int = 128
    n_fft: int = 512
    hop: int = 256
    low_hz: float = 80.0
    high_hz: float = 8000.0
    reference: str = "recording"
    range_db: float = 80.0

    def __post_init__(self):
        def require(name: str, fits: bool, allowed: str) -> None:
            if not fits:
                raise ValueError(f"features: {name} = {getattr(self, name)!r} received, {allowed} is allowed")

        require("representation", self.representation in REPRESENTATIONS, " or ".join(map(repr, REPRESENTATIONS)))
        require("reference", self.reference in REFERENCES, " or ".join(map(repr, REFERENCES)))
        for name, least in (("sample_rate_hz", 1000), ("n_mels", 1), ("n_fft", 16), ("hop", 1), ("wiener", 0)):
            value = getattr(self, name)
            require(name, type(value) is int and value >= least, f"a whole number >= {least}")
        for name in ("trim_db", "low_hz", "high_hz", "range_db"):
            value = getattr(self, name)
            number = isinstance(value, float | int) and not isinstance(value, bool)
            require(name, number and 0 <= value < math.inf, "a number >= 0")
        require("wiener", self.wiener == 0 or self.wiener % 2 == 1, "0 or an odd number")
        require("range_db", self.range_db > 0, "a number above 0")
        require("n_fft", self.n_fft % 2 == 0, "an even number")
        lowest = math.ceil(2 * PITCH_RANGE_HZ[1])
        require("sample_rate_hz", self.representation != "pitch" or self.sample_rate_hz >= lowest, f"{lowest} or more")
        require("high_hz", self.low_hz < self.high_hz <= self.sample_rate_hz / 2, "low_hz to half the sample rate")

    @property
    def step_s(self) -> float:
        """Seconds from one row of the features to the next."""
        return (1 if self.representation == "waveform" else self.hop) / self.sample_rate_hz

    @property
    def width(self) -> int:
        """Columns of the features."""
        return self.n_mels if self.representation == "log_mel" else 1


def of_file(path: str | Path, options: FeatureOptions) -> tuple[np.ndarray, dict]:
    """Features of a recording, and what was found in it.

    Returns
    -------
    features : float32 [T, options.width]; log-mels in [0, 1], octaves, or samples about -1 to 1.
    facts : sound_s (decoded), kept_s (after trimming), peak (of full scale) and sha256 of the decoded samples.

    Raises
    ------
    MediaError
        See `audio.read`; or the features hold a value that is no number.
    """
    samples = audio.read(path, sample_rate_hz=options.sample_rate_hz)
    facts = {"sound_s": len(samples) / options.sample_rate_hz, "peak": float(np.abs(samples).max())}
    facts["sha256"] = audio.digest(samples)
    cleaned = clean(samples, options)
    facts["kept_s"] = len(cleaned) / options.sample_rate_hz
    if options.representation == "waveform":
        features = cleaned[:, None]
    else:
        features = {"log_mel": log_mel, "pitch": pitch}[options.representation](cleaned, options)
    if not np.isfinite(features).all():
        raise MediaError(path, "its features hold values that are no numbers")
    return features, facts


def clean(samples: np.ndarray, options: FeatureOptions) -> np.ndarray:
    """`samples` float32 [n] without silent ends and, where asked for, through the Wiener filter: float32 [m]."""
    import librosa  # half a second that only those pay who make features

    if options.trim_db:
        samples, _ = librosa.effects.trim(samples, top_db=options.trim_db)
    if options.wiener:
        with np.errstate(divide="ignore", invalid="ignore"):  # digital silence has no variance; scipy takes its mean
            samples = scipy.signal.wiener(samples, mysize=options.wiener)
    return np.ascontiguousarray(samples, dtype=np.float32)


def log_mel(samples: np.ndarray, options: FeatureOptions) -> np.ndarray:
    """Log-mel spectrogram of `samples` float32 [n]: float32 [1 + n // hop, n_mels] in [0, 1]."""
    import librosa

    with warnings.catch_warnings():  # a recording shorter than a window is padded, which is what is wanted
        warnings.filterwarnings("ignore", message="n_fft=.* is too large", category=UserWarning)
        power = librosa.feature.melspectrogram(
            y=samples,
            sr=options.sample_rate_hz,
            n_fft=options.n_fft,
            hop_length=options.hop,
            n_mels=options.n_mels,
            fmin=options.low_hz,
            fmax=options.high_hz,
        )
    reference = np.max if options.reference == "recording" else full_scale_power(options)
    decibels = librosa.power_to_db(power, ref=reference, amin=_SMALLEST_POWER, top_db=None)
    return np.clip(1 + decibels.T / options.range_db, 0, 1).astype(np.float32)


def pitch(samples: np.ndarray, options: FeatureOptions) -> np.ndarray:
    """Fundamental frequency of `samples` float32 [n]: float32 [1 + n // hop, 1], octaves (log2 of Hz)."""
    import librosa

    low, high = PITCH_RANGE_HZ
    window = 2 ** math.ceil(math.log2(4 * options.sample_rate_hz / low))
    found = librosa.yin(
        samples, fmin=low, fmax=high, sr=options.sample_rate_hz, frame_length=window, hop_length=options.hop
    )
    return np.log2(found)[:, None].astype(np.float32)


def full_scale_power(options: FeatureOptions) -> float:
    """Power of a full-scale sine in one bin of the spectrogram: (sum of the Hann window / 2) squared."""
    return float((scipy.signal.get_window("hann", options.n_fft).sum() / 2) ** 2)


def band_hz(options: FeatureOptions) -> np.ndarray:
    """Middle of each mel band in Hz, float64 [n_mels]."""
    import librosa

    edges = librosa.mel_frequencies(options.n_mels + 2, fmin=options.low_hz, fmax=options.high_hz)
    return edges[1:-1]
