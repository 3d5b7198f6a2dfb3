"""The sound of a clip: a source-filter voice (Fant, 1960) that speaks the syllables which the mouth shows."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from emolib.render.dynamics import Speech, mouth_opening
from emolib.render.identity import Identity

SAMPLE_RATE_HZ = 16_000
# First three formants (Hz) of a closed, a middle and an open vowel (Peterson and Barney, 1952, rounded).
_FORMANTS_HZ = ((300, 2200, 2900), (500, 1700, 2500), (730, 1150, 2450))
_BANDWIDTHS_HZ = (80, 110, 160)


def synthesise(random: np.random.Generator, who: Identity, said: Speech, *, length_s: float) -> np.ndarray:
    """Voice of `who` saying `said`: float32 [length_s * 16,000] in -1..1, mono."""
    time_s = np.arange(round(length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    opening = mouth_opening(said, time_s)
    pitch_hz = pitch_contour(random, who, said, time_s)
    # A falling ramp once a period has all harmonics; its difference to the mean removes the constant part.
    phase = np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
    source = (phase % 1.0 - 0.5) * 1.2 + 0.08 * random.normal(size=len(time_s))
    source = lfilter([1.0], [1.0, -0.85], source)
    weights = _vowel_weights(opening)
    voice = sum(
        weight * _resonate(source, hz, who.formant_scale) for weight, hz in zip(weights, _FORMANTS_HZ, strict=True)
    )
    level = 0.10 * said.loudness * np.sqrt(opening)
    voice = voice / np.sqrt(np.mean(voice**2) + 1e-12) * level
    return np.clip(voice + 0.0008 * random.normal(size=len(voice)), -1, 1).astype(np.float32)


def pitch_contour(random: np.random.Generator, who: Identity, said: Speech, time_s: np.ndarray) -> np.ndarray:
    """Pitch over time in Hz, float [n]: falls over the sentence, moves with each syllable, more so when aroused."""
    spoken = (time_s - said.start_s[0]) / max(1e-6, said.end_s[-1] - said.start_s[0])
    fall = 0.08 - 0.16 * np.clip(spoken, 0, 1)
    middles = (said.start_s + said.end_s) / 2
    accents = np.interp(time_s, middles, random.uniform(-0.10, 0.10, len(middles)))
    tremble = 0.012 * np.sin(2 * np.pi * (5.5 * time_s + random.random()))
    return who.voice_pitch_hz * said.pitch * (1 + said.pitch_movement * (fall + accents) * 0.8 + tremble)


def _vowel_weights(opening: np.ndarray) -> np.ndarray:
    """Share of each vowel of `_FORMANTS_HZ` at a mouth opening of 0..1: float [3, n]."""
    place = np.clip(opening, 0, 1) * (len(_FORMANTS_HZ) - 1)
    return np.maximum(0, 1 - np.abs(place - np.arange(len(_FORMANTS_HZ))[:, None]))


def _resonate(source: np.ndarray, formants_hz: tuple[int, ...], scale: float) -> np.ndarray:
    """`source` through one resonance a formant, one after the other."""
    for hz, bandwidth in zip(formants_hz, _BANDWIDTHS_HZ, strict=True):
        radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE_HZ)
        angle = 2 * np.pi * hz * scale / SAMPLE_RATE_HZ
        gain = 1 - 2 * radius * np.cos(angle) + radius**2
        source = lfilter([gain], [1.0, -2 * radius * np.cos(angle), radius**2], source)
    return source
