"""Who is drawn: the shape, colours, hair, habits of expression and voice of one subject, from a seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from emolib.render.shape import ACTION_UNITS, AU_INDEX, TEMPLATE, depth

_EYES = {1: [36, 37, 38, 39, 40, 41], -1: [42, 43, 44, 45, 46, 47]}
_BROWS = {1: [17, 18, 19, 20, 21], -1: [22, 23, 24, 25, 26]}
_NOSE, _MOUTH = list(range(28, 36)), list(range(48, 68))
_SKINS = [(244, 208, 182), (236, 194, 164), (224, 178, 144), (205, 155, 118), (176, 124, 90), (140, 96, 68)]
_HAIRS = [(38, 28, 24), (64, 42, 30), (96, 64, 40), (132, 92, 54), (186, 148, 92), (120, 60, 36), (130, 126, 122)]
_IRISES = [(70, 46, 30), (94, 66, 38), (78, 98, 70), (76, 104, 138), (60, 52, 46)]
# Skull and hair are points of the head like any other, moved by the same pose (they have no landmark number).
SKULL = slice(68, 75)
HAIR_OUTER = slice(75, 86)
HAIRLINE = slice(86, 93)
EARS = slice(93, 105)


def generator(seed: int, *key: object) -> np.random.Generator:
    """A random generator that depends on `seed` and the words of `key` alone, not on the order of calls."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.default_rng(np.random.SeedSequence([seed, int.from_bytes(digest[:8], "big")]))


@dataclass(frozen=True)
class Identity:
    """One subject.

    points : float [105, 2], canonical: 68 landmarks of the resting face, then skull, hair and ears
    z : float [105], depth of the points
    rest_au, expressivity : float [17], action units at rest (0..5) and the subject's factor on each
    """

    name: str
    female: bool
    points: np.ndarray
    z: np.ndarray
    rest_au: np.ndarray
    expressivity: np.ndarray
    asymmetry: float
    skin: tuple[int, int, int]
    hair: tuple[int, int, int]
    iris: tuple[int, int, int]
    lips: tuple[int, int, int]
    cloth: tuple[int, int, int]
    long_hair: bool
    beard: float
    brow_width: float
    fold_depth: float
    voice_pitch_hz: float
    voice_rate: float
    formant_scale: float


def identity(seed: int, name: str, *, female: bool) -> Identity:
    """The subject `name` of the corpus with `seed`; the same arguments give the same subject."""
    random = generator(seed, "identity", name)
    landmarks = _landmarks(random, female)
    points = np.concatenate([landmarks, _head(random, landmarks, long_hair := bool(female and random.random() < 0.75))])
    z = depth(points)
    z[EARS], z[HAIR_OUTER] = -0.15, 0.05
    skin = np.array(_SKINS[random.integers(len(_SKINS))]) + random.integers(-8, 9)
    darkest_hair = 4 if skin[0] < 190 else len(_HAIRS)
    rest, expressivity = _habits(random)
    return Identity(
        name=name,
        female=female,
        points=points,
        z=z,
        rest_au=rest,
        expressivity=expressivity,
        asymmetry=float(np.clip(random.normal(0, 0.08), -0.2, 0.2)),
        skin=_colour(skin),
        hair=_colour(np.array(_HAIRS[random.integers(darkest_hair)]) + random.integers(-6, 7)),
        iris=_IRISES[random.integers(2 if skin[0] < 190 else len(_IRISES))],
        lips=_colour(skin * ([0.82, 0.56, 0.56] if female else [0.83, 0.66, 0.64])),
        cloth=_colour(random.integers(40, 200, 3)),
        long_hair=long_hair,
        beard=0.0 if female else float(random.choice([0.0, 0.0, 0.05, 0.11])),
        brow_width=float((0.055 if female else 0.075) * random.uniform(0.85, 1.25)),
        fold_depth=float(random.uniform(0.6, 1.3)),
        voice_pitch_hz=float(random.normal(205, 12) if female else random.normal(118, 8)),
        voice_rate=float(random.uniform(0.9, 1.12)),
        formant_scale=float(random.uniform(1.12, 1.2) if female else random.uniform(0.96, 1.04)),
    )


def _colour(values: np.ndarray) -> tuple[int, int, int]:
    return tuple(int(v) for v in np.clip(values, 0, 255))


def _habits(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Resting action units (a resting frown, a resting smile ...) and factors of expression."""
    rest = np.zeros(len(ACTION_UNITS))
    for unit, scale in {1: 0.15, 2: 0.15, 4: 0.25, 7: 0.2, 12: 0.2, 15: 0.2, 17: 0.15, 23: 0.15}.items():
        rest[AU_INDEX[unit]] = min(0.7, random.exponential(0.8 * scale))
    expressivity = random.uniform(0.85, 1.15) * random.uniform(0.85, 1.15, len(ACTION_UNITS))
    return rest, expressivity


def _landmarks(random: np.random.Generator, female: bool) -> np.ndarray:
    """The resting face's 68 points: the average face, varied in what makes faces differ."""
    n = np.clip(random.normal(size=16), -2, 2)
    points = TEMPLATE.copy()
    jaw = points[:17]
    low = np.clip((jaw[:, 1] - 0.4) / 0.9, 0, 1)
    jaw[:, 0] *= (
        (0.99 if female else 1.02) * (1 + 0.035 * n[0]) * (1 + np.sin(np.pi * low) * (0.04 * n[1] - 0.03 * female))
    )
    jaw[:, 1] += low * (0.045 * n[2] - 0.02 * female)
    for side in (1, -1):
        eye, brow = points[_EYES[side]], points[_BROWS[side]]
        eye = _about(eye, scale=((1 + 0.05 * n[3]), (1 + 0.14 * n[4] + 0.06 * female)), angle=side * 0.035 * n[5])
        brow = _about(brow, scale=(1 + 0.04 * n[3], 1 + 0.15 * n[6]), angle=side * 0.04 * n[7])
        points[_EYES[side]] = eye - [side * 0.018 * n[8], 0]
        points[_BROWS[side]] = brow - [side * 0.012 * n[8], 0.012 * n[9] + 0.015 * female]
    points[_NOSE] = points[27] + (points[_NOSE] - points[27]) * [1 + 0.11 * n[10] - 0.05 * female, 1 + 0.045 * n[11]]
    mouth = _about(points[_MOUTH], scale=(1 + 0.08 * n[12], 1 + 0.14 * n[13] + 0.08 * female), angle=0.0)
    mouth += [0, 0.02 * n[14] + 0.3 * 0.045 * n[11]]
    mouth[[0, 6, 12, 16], 1] += 0.007 * n[15]
    points[_MOUTH] = mouth
    return points


def _about(points: np.ndarray, *, scale: tuple[float, float], angle: float) -> np.ndarray:
    """`points` scaled and turned (radians) about their own mean."""
    centre = points.mean(axis=0)
    cos, sin = np.cos(angle), np.sin(angle)
    return centre + (points - centre) * scale @ np.array([[cos, sin], [-sin, cos]])


def _head(random: np.random.Generator, landmarks: np.ndarray, long_hair: bool) -> np.ndarray:
    """Skull (7), outer hair (11), hairline (7) and ears (2 x 6) around the 68 `landmarks`: float [37, 2]."""
    width = landmarks[16, 0]
    arc = np.linspace(0.12, 0.88, 7) * np.pi
    skull = np.stack([width * 0.99 * np.cos(arc), -1.12 * np.sin(arc)], axis=1)
    volume, side = random.uniform(1.06, 1.16), random.uniform(0.0, 0.3)
    arc = np.linspace(-0.06, 1.06, 11) * np.pi
    outer = np.stack([width * (volume + 0.04 * long_hair) * np.cos(arc), -1.3 * volume / 1.1 * np.sin(arc)], axis=1)
    outer[[0, -1], 1] = side + 0.1
    top, parting = random.uniform(-0.85, -0.64), random.uniform(-0.45, 0.45)
    x = np.array([-1.02, -0.93, -0.62, parting, 0.62, 0.93, 1.02]) * width
    y = np.array([side + 0.1, -0.30, top + 0.17, top - 0.04, top + 0.17, -0.30, side + 0.1])
    y[2:5] += random.uniform(-0.07, 0.07, 3)
    ear = np.array([(0.96, -0.06), (1.06, -0.12), (1.12, 0.02), (1.09, 0.22), (1.02, 0.38), (0.95, 0.36)]) * [width, 1]
    return np.concatenate([skull, outer, np.stack([x, y], axis=1), ear, ear * [-1, 1]])
