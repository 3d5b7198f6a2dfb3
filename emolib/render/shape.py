"""Geometry of the drawn face: 68 landmarks of an identity, moved by 17 action units, put into the picture by a pose.

Canonical coordinates: the unit is the outer inter-ocular distance of the average face, the origin lies midway between
its outer eye corners, x points to the picture's right and y down. Point numbers follow iBUG 300-W; action units are
the 17 of OpenFace, 0 to 5 each, and what they move follows the Facial Action Coding System (Ekman and Friesen, 1978).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
AU_COLUMNS = tuple(f"AU{unit:02d}_r" for unit in ACTION_UNITS)
AU_INDEX = {unit: index for index, unit in enumerate(ACTION_UNITS)}
AU_MAX = 5.0

MIRROR = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36]
    + [41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)

# Left half and midline of the average adult face (picture's left); the other half is its mirror image.
_HALF_FACE = {
    **dict(enumerate([(-0.82, 0.0), (-0.82, 0.22), (-0.79, 0.45), (-0.74, 0.66), (-0.65, 0.86), (-0.53, 1.03)])),
    **{6: (-0.37, 1.17), 7: (-0.19, 1.27), 8: (0.0, 1.31)},
    **{17: (-0.67, -0.15), 18: (-0.56, -0.24), 19: (-0.42, -0.27), 20: (-0.27, -0.25), 21: (-0.13, -0.19)},
    **{27: (0.0, -0.02), 28: (0.0, 0.12), 29: (0.0, 0.26), 30: (0.0, 0.40)},
    **{31: (-0.17, 0.50), 32: (-0.09, 0.53), 33: (0.0, 0.56)},
    **{
        36: (-0.50, 0.0),
        37: (-0.41, -0.06),
        38: (-0.30, -0.06),
        39: (-0.21, 0.02),
        40: (-0.31, 0.05),
        41: (-0.41, 0.05),
    },
    **{48: (-0.31, 0.77), 49: (-0.20, 0.72), 50: (-0.08, 0.69), 51: (0.0, 0.71)},
    **{57: (0.0, 0.91), 58: (-0.09, 0.90), 59: (-0.21, 0.86)},
    **{60: (-0.27, 0.775), 61: (-0.09, 0.775), 62: (0.0, 0.785), 66: (0.0, 0.80), 67: (-0.09, 0.79)},
}

# Displacement of left-half and midline points at full strength (5 of 5). AU45 closes the lids: no plain displacement.
_AU_MOVES: dict[int, dict[int, tuple[float, float]]] = {
    1: {21: (0.0, -0.13), 20: (0.0, -0.11), 19: (0.0, -0.05), 38: (0.0, -0.01)},
    2: {17: (0.0, -0.08), 18: (0.0, -0.13), 19: (0.0, -0.12), 20: (0.0, -0.05)},
    4: {21: (0.05, 0.08), 20: (0.04, 0.07), 19: (0.03, 0.05), 18: (0.02, 0.03), 17: (0.0, 0.01), 38: (0.0, 0.01)},
    5: {37: (0.0, -0.04), 38: (0.0, -0.045)},
    6: {40: (0.0, -0.02), 41: (0.0, -0.03), 37: (0.0, 0.008), 17: (0.0, 0.02)},
    7: {40: (0.0, -0.02), 41: (0.0, -0.022), 37: (0.0, 0.022), 38: (0.0, 0.018)},
    9: {
        **{30: (0.0, -0.03), 31: (-0.02, -0.05), 32: (-0.01, -0.04), 33: (0.0, -0.03)},
        **{21: (0.02, 0.05), 20: (0.01, 0.04), 50: (0.0, -0.05), 51: (0.0, -0.04), 49: (0.0, -0.04), 40: (0.0, -0.015)},
    },
    10: {
        **{48: (-0.01, -0.01), 49: (-0.02, -0.08), 50: (0.0, -0.08), 51: (0.0, -0.07)},
        **{61: (0.0, -0.06), 62: (0.0, -0.05), 31: (-0.02, -0.02), 60: (-0.005, -0.01)},
    },
    12: {
        **{48: (-0.11, -0.09), 60: (-0.10, -0.085), 49: (-0.06, -0.03), 59: (-0.06, -0.02), 50: (-0.01, 0.005)},
        **{
            61: (-0.02, 0.0),
            67: (-0.02, 0.0),
            58: (-0.02, 0.0),
            31: (-0.02, 0.0),
            4: (-0.02, -0.02),
            3: (-0.02, -0.02),
        },
    },
    14: {48: (-0.05, -0.01), 60: (-0.045, -0.01), 49: (-0.02, 0.005), 59: (-0.02, -0.01)},
    15: {48: (-0.01, 0.10), 60: (-0.01, 0.09), 49: (0.0, 0.03), 59: (-0.01, 0.05), 58: (0.0, 0.01)},
    17: {
        **{57: (0.0, -0.04), 58: (0.0, -0.04), 59: (0.0, -0.02), 66: (0.0, -0.03), 67: (0.0, -0.03), 62: (0.0, -0.025)},
        **{61: (0.0, -0.02), 51: (0.0, -0.02), 50: (0.0, -0.02), 7: (0.0, -0.02), 8: (0.0, -0.03)},
    },
    20: {
        48: (-0.11, 0.02),
        60: (-0.105, 0.02),
        49: (-0.06, 0.01),
        59: (-0.06, 0.01),
        50: (-0.02, 0.0),
        58: (-0.02, 0.0),
    },
    23: {
        **{48: (0.04, 0.0), 60: (0.04, 0.0), 49: (0.02, 0.025), 50: (0.0, 0.04), 51: (0.0, 0.04)},
        **{57: (0.0, -0.045), 58: (0.0, -0.045), 59: (0.02, -0.02)},
    },
    25: {
        **{61: (0.0, -0.015), 62: (0.0, -0.015), 50: (0.0, -0.01), 51: (0.0, -0.01)},
        **{66: (0.0, 0.055), 67: (0.0, 0.055), 57: (0.0, 0.05), 58: (0.0, 0.05), 59: (0.0, 0.02)},
    },
    26: {
        **{66: (0.0, 0.15), 67: (0.0, 0.14), 57: (0.0, 0.15), 58: (0.0, 0.145), 59: (0.01, 0.10), 48: (0.03, 0.03)},
        **{
            60: (0.03, 0.03),
            49: (0.015, 0.0),
            8: (0.0, 0.14),
            7: (0.0, 0.14),
            6: (0.0, 0.12),
            5: (0.0, 0.08),
            4: (0.0, 0.04),
        },
    },
}
_AU_GAIN = 1.5  # drawn faces overact a little, so that 48 pixels still show it
_UPPER_LID, _LOWER_LID = [37, 38, 43, 44], [41, 40, 47, 46]
_UPPER_INNER, _LOWER_INNER = [61, 62, 63], [67, 66, 65]
LEFT_POINTS = np.array([*range(8), *range(17, 22), 31, 32, *range(36, 42), 48, 49, 50, 58, 59, 60, 61, 67])


class Pose(NamedTuple):
    """Where the head is: shifts in pixels of the eyes' midpoint, pixels a canonical unit, angles in radians."""

    x_px: float
    y_px: float
    scale_px: float
    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0


def mirror_points(half: dict[int, tuple[float, float]]) -> np.ndarray:
    """All 68 points from those of the left half and the midline: float [68, 2]; points not named are zero."""
    points = np.zeros((68, 2))
    for index, (x, y) in half.items():
        points[index] = x, y
        points[MIRROR[index]] = -x if MIRROR[index] != index else x, y
    return points


TEMPLATE = mirror_points(_HALF_FACE)
AU_BASIS = _AU_GAIN * np.stack([mirror_points(_AU_MOVES.get(unit, {})) for unit in ACTION_UNITS])


def move(neutral: np.ndarray, au: np.ndarray, *, asymmetry: float = 0.0) -> np.ndarray:
    """Landmarks of the resting face `neutral` (float [68, 2]) under action units `au` (float [17], 0..5): [68, 2].

    `asymmetry` (about -0.2..0.2) strengthens every movement of the picture's left half and weakens the right one's.
    """
    strength = np.asarray(au, dtype=float) / AU_MAX
    shift = np.tensordot(strength, AU_BASIS, axes=1)
    shift[LEFT_POINTS] *= 1 + asymmetry
    shift[MIRROR[LEFT_POINTS]] *= 1 - asymmetry
    points = neutral + shift
    closure = strength[AU_INDEX[45]]
    lower = points[_LOWER_LID] + [0.0, -0.012]
    points[_UPPER_LID] += closure * (lower - points[_UPPER_LID])
    points[_LOWER_LID, 1] = np.maximum(points[_LOWER_LID, 1], points[_UPPER_LID, 1] + 0.008)
    # Lips cannot pass through each other, and the red of a lip cannot vanish.
    points[_LOWER_INNER, 1] = np.maximum(points[_LOWER_INNER, 1], points[_UPPER_INNER, 1] + 0.006)
    points[[50, 51, 52], 1] = np.minimum(points[[50, 51, 52], 1], points[_UPPER_INNER, 1] - 0.03)
    points[[58, 57, 56], 1] = np.maximum(points[[58, 57, 56], 1], points[_LOWER_INNER, 1] + 0.04)
    return points


def depth(points: np.ndarray) -> np.ndarray:
    """Height of canonical `points` (float [n, 2]) over the picture plane: half an ellipsoid and a nose: float [n]."""
    x, y = points[:, 0], points[:, 1]
    skull = 0.55 * np.sqrt(np.maximum(0.0, 1 - (x / 0.85) ** 2 - ((y - 0.2) / 1.4) ** 2))
    return skull + 0.16 * np.exp(-((x / 0.10) ** 2) - ((y - 0.38) / 0.20) ** 2)


def project(points: np.ndarray, z: np.ndarray, pose: Pose) -> np.ndarray:
    """Canonical `points` (float [n, 2]) of depth `z` (float [n]) in pixels of the picture: float [n, 2]."""
    x = points[:, 0] * np.cos(pose.yaw) + z * np.sin(pose.yaw)
    y = points[:, 1] * np.cos(pose.pitch) + z * np.sin(pose.pitch)
    cos, sin = np.cos(pose.roll) * pose.scale_px, np.sin(pose.roll) * pose.scale_px
    return np.stack([cos * x - sin * y + pose.x_px, sin * x + cos * y + pose.y_px], axis=1)
