"""Light and shade of the face: its broad form, and the folds that action units draw.

Both are painted at half size on one-channel maps (`NEUTRAL` leaves the colour below as it is), blurred, and multiplied.
"""

from __future__ import annotations

import cv2
import numpy as np

from emolib.render.identity import SKULL, Identity
from emolib.render.paint import curve, fill, spline, stroke
from emolib.render.shape import AU_INDEX

NEUTRAL = 128


class _Frame:
    """The face's own axes: places a point relative to a landmark, in canonical units, on the half-size map."""

    def __init__(self, p: np.ndarray, unit_px: float):
        across = p[45] - p[36]
        x = across / np.linalg.norm(across)
        self.axes = np.array([x, [-x[1], x[0]]]) * unit_px / 2
        self.p = p / 2

    def near(self, index: int, *offsets: tuple[float, float]) -> np.ndarray:
        """Points at `offsets` from landmark `index`: float [n, 2]."""
        return self.p[index] + np.array(offsets) @ self.axes


def face_outline(p: np.ndarray) -> np.ndarray:
    """The closed outline of the face, jaw (0-16) and skull."""
    return spline(24, closed=True) @ np.concatenate([p[:17], p[SKULL]])


def _tone(value: float) -> int:
    return int(min(255, max(0, NEUTRAL + value)))


def _broad(shape: tuple[int, int], f: _Frame, who: Identity, a: dict[int, float]) -> np.ndarray:
    layer = np.full(shape, NEUTRAL - 20, np.uint8)
    outline = face_outline(f.p)
    centre = f.p[29]
    fill(layer, centre + (outline - centre) * 0.90, NEUTRAL)
    if who.beard:
        beard = np.concatenate(
            [
                curve(f.p[2:15]),
                f.near(14, (-0.18, 0.05)),
                f.near(33, (0.22, 0.1), (-0.22, 0.1)),
                f.near(2, (0.18, 0.05)),
            ]
        )
        fill(layer, beard, _tone(-160 * who.beard))
    cheek = 8 + 8 * a[12] + 8 * a[6]
    for side, outer, inner in ((1, 36, 39), (-1, 45, 42)):
        socket = f.near(outer, (-0.05 * side, -0.08)), f.near(inner, (0.06 * side, -0.06)), f.near(inner, (0.0, 0.09))
        fill(layer, np.concatenate([*socket, f.near(outer, (0.0, 0.09))]), _tone(-15 - 8 * a[4]))
        lift = -0.05 * a[6] - 0.04 * a[12]
        at = f.near(outer, (0.10 * side, 0.36 + lift))[0]
        fill(layer, _oval(at, f.axes, 0.15, 0.12), _tone(cheek))
        hollow = f.near(outer, (-0.10 * side, 0.50), (0.10 * side, 0.62), (0.02 * side, 0.90), (-0.14 * side, 0.75))
        fill(layer, hollow, _tone(-10 if not who.beard else -160 * who.beard))
    fill(layer, _oval(f.near(27, (0, -0.48))[0], f.axes, 0.32, 0.14), _tone(11))
    fill(
        layer,
        np.concatenate(
            [f.near(27, (-0.09, 0.0)), f.near(31, (-0.06, -0.05)), f.near(35, (0.06, -0.05)), f.near(27, (0.09, 0.0))]
        ),
        _tone(-9),
    )
    fill(
        layer,
        np.concatenate(
            [f.near(31, (-0.02, 0.03)), f.near(35, (0.02, 0.03)), f.near(52, (0, -0.02)), f.near(50, (0, -0.02))]
        ),
        _tone(-14),
    )
    under_lip = np.concatenate([f.near(58, (-0.03, 0.03)), f.near(56, (0.03, 0.03)), f.near(57, (0.0, 0.10))])
    fill(layer, under_lip, _tone(-24 - 10 * a[17]))
    fill(layer, _oval(f.near(8, (0, -0.17))[0], f.axes, 0.13, 0.07), _tone(8 + 6 * a[17] - 120 * who.beard))
    return cv2.GaussianBlur(layer, (0, 0), 0.055 * np.linalg.norm(f.axes[0]) * 2)


def _folds(shape: tuple[int, int], f: _Frame, who: Identity, a: dict[int, float]) -> np.ndarray:
    layer = np.full(shape, NEUTRAL, np.uint8)
    unit = np.linalg.norm(f.axes[0])
    deep = 75 * who.fold_depth

    def line(points: np.ndarray, strength: float, width: float = 0.04) -> None:
        if strength > 0.04:
            stroke(layer, curve(points), _tone(-deep * min(strength, 1.3)), width * unit)

    # Ridge and tip of the nose catch the light, its sides do not.
    stroke(layer, np.concatenate([f.near(27, (0, 0.03)), f.p[28:30], f.near(30, (0, -0.03))]), _tone(16), 0.06 * unit)
    fill(layer, _oval(f.near(30, (0, 0.01))[0], f.axes, 0.06, 0.045), _tone(22))
    for side, wing, corner, outer, inner, brow in ((1, 31, 48, 36, 39, 21), (-1, 35, 54, 45, 42, 22)):
        fold = 0.16 + 0.55 * a[12] + 0.5 * a[9] + 0.55 * a[10] + 0.2 * a[14]
        line(
            np.concatenate(
                [f.near(wing, (-0.06 * side, -0.07), (-0.13 * side, 0.05)), f.near(corner, (-0.09 * side, -0.03))]
            ),
            fold,
        )
        line(f.near(brow, (0.055 * side, -0.06), (0.07 * side, 0.02), (0.06 * side, 0.09)), a[4] + 0.3 * a[9])
        for step in (0, 1):
            line(
                f.near(
                    27, (0.09 * side, 0.02 + 0.06 * step), (0.03 * side, 0.05 + 0.06 * step), (0, 0.04 + 0.06 * step)
                ),
                a[9],
            )
            line(f.near(outer, (-0.05 * side, 0.01 + 0.05 * step), (-0.14 * side, -0.03 + 0.10 * step)), 0.8 * a[6])
            line(
                f.near(
                    27,
                    (0.02 * side, -0.40 - 0.09 * step),
                    (0.20 * side, -0.42 - 0.09 * step),
                    (0.34 * side, -0.38 - 0.09 * step),
                ),
                0.8 * a[1],
            )
            line(
                f.near(
                    27,
                    (0.30 * side, -0.40 - 0.09 * step),
                    (0.45 * side, -0.43 - 0.09 * step),
                    (0.56 * side, -0.37 - 0.09 * step),
                ),
                0.7 * a[2],
            )
        line(
            np.concatenate([f.near(inner, (0.0, 0.08)), f.near(outer, (0.12 * side, 0.14), (0.02 * side, 0.10))]),
            0.18 + 0.6 * a[6] + 0.3 * a[7],
        )
        line(
            f.near(corner, (-0.045 * side, -0.05), (-0.06 * side, 0.01), (-0.04 * side, 0.06)),
            0.9 * a[14] + 0.35 * a[12] + 0.3 * a[20],
        )
        line(f.near(corner, (-0.02 * side, 0.03), (-0.06 * side, 0.12), (-0.05 * side, 0.20)), 0.08 + 1.0 * a[15])
        line(f.near(8, (0.07 * side, -0.16), (0.03 * side, -0.13)), a[17], 0.05)
    line(f.near(8, (-0.12, -0.21), (0, -0.24), (0.12, -0.21)), 0.1 + 0.9 * a[17])
    return cv2.GaussianBlur(layer, (0, 0), 0.022 * unit * 2)


def _oval(centre: np.ndarray, axes: np.ndarray, a: float, b: float) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    return centre + np.stack([a * np.cos(t), b * np.sin(t)], axis=1) @ axes


def relief(shape: tuple[int, int], p: np.ndarray, who: Identity, au: np.ndarray, *, unit_px: float) -> np.ndarray:
    """Shading of the whole picture of `shape` (height, width) at the face points `p`: uint8 [h, w], 128 = as is."""
    half = (-(-shape[0] // 2), -(-shape[1] // 2))
    strength = {unit: float(au[index]) / 5 for unit, index in AU_INDEX.items()}
    frame = _Frame(p, unit_px)
    both = cv2.multiply(_broad(half, frame, who, strength), _folds(half, frame, who, strength), scale=1 / NEUTRAL)
    mask = np.zeros(half, np.uint8)
    fill(mask, face_outline(frame.p), 255)
    both[mask == 0] = NEUTRAL
    return cv2.resize(both, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
