"""Eyes, brows, nose and mouth, drawn on the projected landmarks."""

from __future__ import annotations

import numpy as np

from emolib.render.identity import Identity
from emolib.render.paint import blend, curve, disc, fill, inside, ribbon, stroke


def shade(colour: tuple[int, ...], factor: float) -> tuple[int, int, int]:
    """`colour` made darker (factor below 1) or lighter (above)."""
    return tuple(int(min(255, max(0, c * factor))) for c in colour)


def draw_eyes(image: np.ndarray, p: np.ndarray, who: Identity, *, unit_px: float, gaze: tuple[float, float]) -> None:
    """Both eyes: white, iris and pupil seen through the opening of the lids, lashes and the crease of the lid."""
    for first in (36, 42):
        upper, lower = curve(p[first : first + 4]), curve(p[[first + 3, first + 4, first + 5, first]])
        outline = np.concatenate([upper, lower])
        window = inside(image, outline)
        if window is not None:
            view, mask, corner = window
            over = np.empty_like(view)
            over[:] = (226, 222, 216)
            # The iris keeps its height when the lids move: it hangs between the corners, not between the lids.
            centre = (p[first] + p[first + 3]) / 2 - corner + np.array([gaze[0], gaze[1] - 0.012]) * unit_px
            disc(over, centre, 0.070 * unit_px, shade(who.iris, 0.75))
            disc(over, centre, 0.056 * unit_px, who.iris)
            disc(over, centre, 0.029 * unit_px, (14, 12, 12))
            disc(over, centre + np.array([-0.022, -0.024]) * unit_px, 0.013 * unit_px, (250, 250, 250))
            blend(view, over, mask)
        lash = 0.036 if who.female else 0.026
        taper = np.linspace(1.0, 0.45, len(upper)) if first == 36 else np.linspace(0.45, 1.0, len(upper))
        fill(image, ribbon(upper, lash * unit_px * taper), shade(who.hair, 0.45))
        stroke(image, lower, shade(who.skin, 0.62), 0.012 * unit_px)
        crease = upper[2:-2] + np.array([0, -0.045]) * unit_px
        stroke(image, crease, shade(who.skin, 0.74), 0.014 * unit_px)


def draw_brows(image: np.ndarray, p: np.ndarray, who: Identity, *, unit_px: float) -> None:
    """Both brows: a tapering band whose upper part carries the landmarks."""
    colour = tuple((2 * h + s) // 3 for h, s in zip(shade(who.hair, 0.62), shade(who.skin, 0.6), strict=True))
    for points in (p[17:22], p[26:21:-1]):
        line = curve(points) + np.array([0, 0.18 * who.brow_width]) * unit_px
        width = (
            who.brow_width * unit_px * np.interp(np.linspace(0, 1, len(line)), [0, 0.5, 0.9, 1], [0.35, 0.9, 1.1, 0.9])
        )
        fill(image, ribbon(line, width), colour)


def draw_nose(image: np.ndarray, p: np.ndarray, who: Identity, *, unit_px: float) -> None:
    """Nostrils, wings and the lower edge of the nose; its ridge is shading only (`relief`)."""
    dark, edge = shade(who.skin, 0.38), shade(who.skin, 0.66)
    for wing, hole, side in ((31, 32, 1), (35, 34, -1)):
        outer = p[wing] + np.array([-0.015 * side, -0.01]) * unit_px
        stroke(
            image,
            curve(
                np.array(
                    [
                        outer + [0.02 * side * unit_px, -0.09 * unit_px],
                        outer + [-0.02 * side * unit_px, -0.05 * unit_px],
                        outer,
                        p[hole],
                    ]
                )
            ),
            edge,
            0.018 * unit_px,
        )
        nostril = p[hole] + np.array([-0.012 * side, -0.022]) * unit_px
        fill(image, nostril + unit_px * _ellipse(0.042, 0.018, angle=0.35 * side), dark)
    stroke(image, curve(p[31:36]), shade(who.skin, 0.72), 0.016 * unit_px)


def draw_mouth(image: np.ndarray, p: np.ndarray, who: Identity, *, unit_px: float) -> None:
    """Lips, and between them, where they part, dark, tongue and teeth."""
    upper, lower = curve(p[48:55]), curve(p[[54, 55, 56, 57, 58, 59, 48]])
    inner_upper, inner_lower = curve(p[60:65]), curve(p[[64, 65, 66, 67, 60]])
    fill(image, np.concatenate([upper, lower]), who.lips)
    fill(image, np.concatenate([upper, curve(p[[64, 63, 62, 61, 60]])]), shade(who.lips, 0.86))
    window = inside(image, np.concatenate([inner_upper, inner_lower]))
    if window is not None:
        view, mask, corner = window
        over = np.empty_like(view)
        over[:] = (48, 18, 20)
        down = np.array([0.0, 1.0]) * unit_px
        disc(over, p[66] - corner + 0.07 * down, 0.13 * unit_px, (150, 72, 74))
        teeth = np.concatenate([inner_upper - 0.1 * down, inner_upper[::-1] + 0.045 * down])
        fill(over, teeth - corner, (226, 220, 208))
        blend(view, over, mask)
    stroke(image, inner_upper, shade(who.lips, 0.42), 0.014 * unit_px)
    stroke(image, lower[8:-8], shade(who.lips, 0.8), 0.012 * unit_px)
    for corner_point in (p[48], p[54]):
        disc(image, corner_point, 0.016 * unit_px, shade(who.lips, 0.45))


def _ellipse(a: float, b: float, *, angle: float = 0.0, n: int = 14) -> np.ndarray:
    """Outline of an ellipse around the origin: float [n, 2]."""
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    x, y = a * np.cos(t), b * np.sin(t)
    return np.stack([np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y], axis=1)
