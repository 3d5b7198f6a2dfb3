"""One picture of one person: background, shoulders, hair, face, light and sensor noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from emolib.render.features import draw_brows, draw_eyes, draw_mouth, draw_nose, shade
from emolib.render.identity import EARS, HAIR_OUTER, HAIRLINE, Identity
from emolib.render.paint import curve, fill, stroke
from emolib.render.relief import NEUTRAL, face_outline, relief
from emolib.render.shape import Pose, move, project


@dataclass(frozen=True)
class Scene:
    """What stays in a clip: background uint8 [h, w, 3], light uint8 [h, w] (128 = as is), noise int16, larger."""

    background: np.ndarray
    light: np.ndarray
    noise: np.ndarray


NOISE_MARGIN_PX = 32


def make_scene(random: np.random.Generator, *, width_px: int, height_px: int) -> Scene:
    """A backdrop with a soft pattern, light from a side, and a sheet of sensor noise that frames cut from at random."""
    y, x = np.mgrid[0:height_px, 0:width_px].astype(np.float32) / height_px
    pattern = cv2.resize(
        random.normal(0, 9, (6, 8)).astype(np.float32), (width_px, height_px), interpolation=cv2.INTER_CUBIC
    )
    tone = random.uniform(70, 200) + random.uniform(-40, 40) * (y - 0.5) + pattern
    background = np.clip(tone[..., None] + random.uniform(-18, 18, 3), 0, 255).astype(np.uint8)
    angle, slope = random.uniform(0, 2 * np.pi), random.uniform(0.0, 0.35)
    light = 1 + slope * (np.cos(angle) * (x - 0.5 * width_px / height_px) + np.sin(angle) * 0.6 * (y - 0.5))
    sheet = (height_px + NOISE_MARGIN_PX, width_px + NOISE_MARGIN_PX)
    noise = np.rint(random.normal(0, random.uniform(1.0, 3.0), sheet)).astype(np.int16)
    return Scene(background, np.clip(light * NEUTRAL, 0, 255).astype(np.uint8), noise)


def draw_person(
    scene: Scene,
    who: Identity,
    au: np.ndarray,
    pose: Pose,
    *,
    gain: float = 1.0,
    gaze: tuple[float, float] = (0.0, 0.0),
) -> tuple[np.ndarray, np.ndarray]:
    """Draw `who` under action units `au` (float [17], 0..5) at `pose`.

    Returns
    -------
    image : uint8 [h, w, 3], RGB, without noise
    landmarks : float32 [68, 2], pixels, x right, y down: the very points that were drawn
    """
    points = who.points.copy()
    points[:68] = move(points[:68], au, asymmetry=who.asymmetry)
    p = project(points, who.z, pose)
    unit = pose.scale_px
    image = scene.background.copy()
    _draw_behind(image, p, who, pose)
    outline = face_outline(p)
    fill(image, outline, who.skin)
    # Shade before the features: their own colours carry their contrast, the light comes last and falls on everything.
    tone = relief(image.shape[:2], p, who, au, unit_px=unit)
    image = cv2.multiply(image, cv2.merge([tone, tone, tone]), scale=1 / NEUTRAL)
    stroke(image, outline[: 17 * 4 - 3], shade(who.skin, 0.70), 0.02 * unit)
    draw_nose(image, p, who, unit_px=unit)
    draw_mouth(image, p, who, unit_px=unit)
    draw_eyes(image, p, who, unit_px=unit, gaze=gaze)
    draw_brows(image, p, who, unit_px=unit)
    _draw_hair(image, p, who, unit)
    light = cv2.merge([scene.light] * 3)
    return cv2.multiply(image, light, scale=gain / NEUTRAL), p[:68].astype(np.float32)


def _draw_behind(image: np.ndarray, p: np.ndarray, who: Identity, pose: Pose) -> None:
    unit = pose.scale_px
    at = np.array([pose.x_px, pose.y_px])
    if who.long_hair:
        low = at + np.array([(0.95, 1.75), (-0.95, 1.75)]) * unit
        fill(image, curve(np.concatenate([p[HAIR_OUTER], low[::-1]]), closed=True), shade(who.hair, 0.72))
    else:
        fill(image, curve(p[HAIR_OUTER]), shade(who.hair, 0.8))
    fill(image, at + np.array([(-0.46, 0.9), (0.46, 0.9), (0.52, 1.95), (-0.52, 1.95)]) * unit, shade(who.skin, 0.74))
    bust = np.array(
        [
            (-0.50, 1.66),
            (0.0, 2.05),
            (0.50, 1.66),
            (1.15, 1.86),
            (1.75, 2.2),
            (2.0, 4.0),
            (-2.0, 4.0),
            (-1.75, 2.2),
            (-1.15, 1.86),
        ]
    )
    fill(image, at + bust * unit, who.cloth)
    for ear in (p[EARS][:6], p[EARS][6:]):
        fill(image, curve(ear, closed=True), shade(who.skin, 0.86))
        fill(image, curve(ear.mean(axis=0) + (ear - ear.mean(axis=0)) * 0.5, closed=True), shade(who.skin, 0.7))


def _draw_hair(image: np.ndarray, p: np.ndarray, who: Identity, unit: float) -> None:
    outer, line = curve(p[HAIR_OUTER]), curve(p[HAIRLINE])
    fill(image, np.concatenate([outer, line]), who.hair)
    n = 9
    roots, tips = (
        outer[np.linspace(4, len(outer) - 5, n).astype(int)],
        line[np.linspace(len(line) - 3, 2, n).astype(int)],
    )
    for index, (root, tip) in enumerate(zip(roots, tips, strict=True)):
        bend = (root + tip) / 2 + np.array([0.05, -0.03]) * unit
        stroke(
            image,
            curve(np.array([root * 0.85 + tip * 0.15, bend, tip * 0.8 + root * 0.2])),
            shade(who.hair, 1.18 if index % 2 else 0.82),
            0.03 * unit,
        )


def add_noise(plane: np.ndarray, scene: Scene, random: np.random.Generator) -> np.ndarray:
    """`plane` (uint8 [h, w] or [h, w, 3]) with a random cut of the scene's sheet of noise added."""
    top, left = random.integers(0, NOISE_MARGIN_PX, 2)
    cut = scene.noise[top : top + plane.shape[0], left : left + plane.shape[1]]
    return cv2.add(plane, cut if plane.ndim == 2 else cv2.merge([cut] * 3), dtype=cv2.CV_8U)


def landmark_box(landmarks: np.ndarray) -> np.ndarray:
    """Smallest box of `landmarks` [..., 68, 2]: float32 [..., 4], left, top, right, bottom."""
    return np.concatenate([landmarks.min(axis=-2), landmarks.max(axis=-2)], axis=-1).astype(np.float32)
