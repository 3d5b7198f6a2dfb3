"""How a face moves in one clip: the emotion's curve, the action units, speech, blinks, the head and the light.

Which action units make an emotion follows EMFACS (Friesen and Ekman, 1983). Each clip mixes them in its own way
and borrows a little from another emotion, and each subject shows them in their own way: classes overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from emolib.render.identity import Identity
from emolib.render.shape import ACTION_UNITS, AU_INDEX, AU_MAX, Pose

# Mean intensity of each action unit, 0..5, of an emotion shown fully.
PROTOTYPES: dict[str, dict[int, float]] = {
    "neutral": {},
    "calm": {12: 1.8, 6: 0.6},
    "happy": {6: 3.4, 12: 4.2, 25: 2.0, 7: 0.7},
    "sad": {1: 4.0, 4: 1.8, 15: 4.0, 17: 2.0},
    "angry": {4: 4.2, 7: 3.2, 23: 3.6, 17: 1.4},
    "fearful": {1: 3.6, 2: 1.2, 4: 2.6, 5: 3.6, 20: 3.8, 25: 2.0, 26: 1.2},
    "disgust": {9: 4.0, 10: 3.6, 15: 1.0, 17: 1.2, 4: 1.4, 7: 1.0},
    "surprised": {1: 3.8, 2: 4.2, 5: 3.2, 25: 2.6, 26: 3.6},
}
# How an emotion colours the voice at full strength: factors on pitch, pitch movement, loudness and rate.
VOICES: dict[str, tuple[float, float, float, float]] = {
    "neutral": (1.0, 0.8, 1.0, 1.0),
    "calm": (0.95, 0.7, 0.8, 0.92),
    "happy": (1.25, 1.6, 1.3, 1.08),
    "sad": (0.90, 0.6, 0.65, 0.85),
    "angry": (1.18, 1.4, 1.7, 1.12),
    "fearful": (1.38, 1.3, 1.2, 1.2),
    "disgust": (0.94, 1.1, 1.0, 0.9),
    "surprised": (1.42, 1.9, 1.35, 1.05),
}
# Duration of each syllable (relative) and opening of the mouth in it (0..1): "Kids are talking ...", "Dogs ...".
STATEMENTS: dict[int, tuple[tuple[float, ...], tuple[float, ...]]] = {
    1: ((1.2, 0.7, 1.2, 0.8, 1.0, 0.6, 1.6), (0.5, 0.6, 1.0, 0.4, 0.8, 0.4, 0.9)),
    2: ((1.4, 0.6, 0.9, 1.0, 0.9, 0.6, 1.6), (1.0, 0.6, 0.4, 0.4, 0.8, 0.4, 0.9)),
}
_SYLLABLE_S = 0.19
_BLINK_S = 0.22
SPEECH_AU25, SPEECH_AU26 = 2.0, 1.2  # of a mouth that speech opens fully
BLINK_AU45 = 1.0  # AU45 from which on a frame counts as a blink


@dataclass(frozen=True)
class Speech:
    """Syllables of a clip: start, end (s), opening (0..1), float [n] each, and how the emotion tunes the voice."""

    start_s: np.ndarray
    end_s: np.ndarray
    opening: np.ndarray
    pitch: float
    pitch_movement: float
    loudness: float


@dataclass(frozen=True)
class Motion:
    """A clip's course: time_s, true_intensity, gain float [T]; au float [T, 17]; blink bool [T]; poses, gazes [T]."""

    time_s: np.ndarray
    true_intensity: np.ndarray
    au: np.ndarray
    blink: np.ndarray
    gain: np.ndarray
    poses: list[Pose]
    gazes: list[tuple[float, float]]
    speech: Speech


def expression(
    random: np.random.Generator, who: Identity, emotion: str, *, blend: float = 0.10, spread: float = 0.25
) -> np.ndarray:
    """Action units (float [17]) that `who` adds to the face at rest when showing `emotion` fully, this time.

    `spread` varies every action unit, `blend` is the largest share that another emotion may take.
    """
    mix = _vector(PROTOTYPES[emotion])
    mix *= random.uniform(1 - spread, 1 + spread, len(mix)) * (random.random(len(mix)) > 0.05)
    if emotion != "neutral":
        others = [name for name in PROTOTYPES if name not in (emotion, "neutral", "calm")]
        share = random.uniform(0, blend)
        mix = (1 - share) * mix + share * _vector(PROTOTYPES[others[random.integers(len(others))]])
    return mix * who.expressivity


def _vector(units: dict[int, float]) -> np.ndarray:
    vector = np.zeros(len(ACTION_UNITS))
    for unit, value in units.items():
        vector[AU_INDEX[unit]] = value
    return vector


def intensity_curve(random: np.random.Generator, time_s: np.ndarray, *, strong: bool) -> np.ndarray:
    """Onset, apex (with a pause in some clips) and offset: float [T] in 0..1; a clip begins and ends near zero."""
    length = time_s[-1] + (time_s[1] - time_s[0] if len(time_s) > 1 else 0.0)
    peak = random.uniform(0.9, 1.0) if strong else random.uniform(0.6, 0.85)
    onset, offset = random.uniform(0.06, 0.20) * length, random.uniform(0.72, 0.84) * length
    rise, fall = random.uniform(0.07, 0.14) * length, random.uniform(0.06, 0.12) * length
    curve = _step((time_s - onset) / rise) * (1 - _step((time_s - offset) / fall))
    if random.random() < 0.4:
        middle, width = random.uniform(0.4, 0.6) * length, random.uniform(0.05, 0.09) * length
        curve *= 1 - random.uniform(0.4, 0.9) * np.exp(-(((time_s - middle) / width) ** 2))
    sway = 1 + 0.08 * np.sin(2 * np.pi * (time_s * random.uniform(0.6, 1.4) + random.random()))
    return np.clip(peak * curve * sway, 0.0, 1.0)


def _step(x: np.ndarray) -> np.ndarray:
    """Smooth step from 0 (x <= 0) to 1 (x >= 1)."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def speech(
    random: np.random.Generator, who: Identity, emotion: str, *, peak: float, statement: int, length_s: float
) -> Speech:
    """When the statement's syllables fall in a clip, and how an emotion of strength `peak` (0..1) tunes the voice."""
    pitch, movement, loudness, rate = 1 + (np.array(VOICES[emotion]) - 1) * peak
    relative, opening = (np.array(part) for part in STATEMENTS[statement])
    durations = relative * _SYLLABLE_S / (rate * who.voice_rate) * random.uniform(0.9, 1.1, len(relative))
    durations *= min(1.0, 0.72 * length_s / durations.sum())
    start = random.uniform(0.4, 0.6) * (length_s - durations.sum())
    ends = start + np.cumsum(durations)
    opening = np.clip(opening * random.uniform(0.8, 1.15, len(opening)), 0, 1)
    return Speech(ends - durations, ends, opening, float(pitch), float(movement), float(loudness))


def mouth_opening(said: Speech, time_s: np.ndarray) -> np.ndarray:
    """Opening of the speaking mouth, float [T] in 0..1: a hump a syllable, closed between; the voice uses it too."""
    phase = (time_s[:, None] - said.start_s) / (said.end_s - said.start_s)
    humps = np.where((phase > 0) & (phase < 1), np.sin(np.pi * np.clip(phase, 0, 1)) ** 0.8, 0.0)
    return (humps * said.opening).max(axis=1)


def blinks(random: np.random.Generator, time_s: np.ndarray) -> np.ndarray:
    """AU45 over time, float [T] in 0..5: a blink of about 0.2 s every 2 s, on average."""
    au45 = np.zeros(len(time_s))
    for at in random.uniform(0, time_s[-1], random.poisson(time_s[-1] / 2.0)):
        au45 = np.maximum(au45, AU_MAX * np.clip(1.15 - np.abs(time_s - at) / (_BLINK_S / 2), 0, 1))
    return au45


def _wander(random: np.random.Generator, n: int, *, size: float, frame_rate_hz: float) -> np.ndarray:
    """A smooth random path, float [n], of standard deviation about `size`, changing over about half a second."""
    sigma = 0.35 * frame_rate_hz
    path = gaussian_filter1d(random.normal(size=n + int(6 * sigma)), sigma)[int(3 * sigma) :][:n]
    return size * path * np.sqrt(2 * np.sqrt(np.pi) * sigma)


def perform(
    random: np.random.Generator,
    who: Identity,
    emotion: str,
    *,
    strong: bool,
    statement: int,
    length_s: float,
    frame_rate_hz: float,
    width_px: int,
    height_px: int,
) -> Motion:
    """Everything that moves in one clip.

    ``true_intensity`` is the emotion's curve alone: speech and blinks leave it as it is (blinks are flagged). It is 1
    throughout for a neutral clip, which shows its label in every frame; a calm clip has a curve like any other emotion.
    """
    n = max(1, round(length_s * frame_rate_hz))
    time_s = np.arange(n) / frame_rate_hz
    curve = np.ones(n) if emotion == "neutral" else intensity_curve(random, time_s, strong=strong)
    au = who.rest_au + curve[:, None] * expression(random, who, emotion)
    au += (
        0.12
        * np.stack([_wander(random, n, size=1.0, frame_rate_hz=frame_rate_hz) for _ in ACTION_UNITS], axis=1)
        * (au > 0)
    )
    said = speech(
        random, who, emotion, peak=0.0 if emotion == "neutral" else curve.max(), statement=statement, length_s=length_s
    )
    opening = mouth_opening(said, time_s)
    au[:, AU_INDEX[25]] += SPEECH_AU25 * opening
    au[:, AU_INDEX[26]] += SPEECH_AU26 * opening
    au[:, AU_INDEX[45]] = blinks(random, time_s)
    au = np.clip(au, 0, AU_MAX)

    def path(size: float) -> np.ndarray:
        return _wander(random, n, size=size, frame_rate_hz=frame_rate_hz)

    size = height_px * random.uniform(0.245, 0.275)
    x = width_px / 2 + height_px * (random.normal(0, 0.02) + path(0.012))
    y = 0.43 * height_px + height_px * (random.normal(0, 0.01) + path(0.008)) + 0.01 * size * opening
    scale, roll = size * (1 + path(0.012)), random.normal(0, 0.03) + path(0.025)
    yaw, pitch = random.normal(0, 0.045) + path(0.035), random.normal(0, 0.03) + path(0.03)
    return Motion(
        time_s=time_s,
        true_intensity=curve,
        au=au,
        blink=au[:, AU_INDEX[45]] >= BLINK_AU45,
        gain=random.uniform(0.75, 1.12) * (1 + path(0.03)),
        poses=[Pose(*map(float, values)) for values in zip(x, y, scale, roll, yaw, pitch, strict=True)],
        gazes=[(float(gx), float(gy)) for gx, gy in zip(path(0.012), path(0.006), strict=True)],
        speech=said,
    )
