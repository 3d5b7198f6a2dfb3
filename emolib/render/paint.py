"""Strokes and fills in subpixel coordinates with smooth edges: the few painting verbs that the face needs."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from scipy.interpolate import CubicSpline

_SHIFT = 4
_ONE = 1 << _SHIFT


@cache
def spline(n: int, per_segment: int = 4, *, closed: bool = False) -> np.ndarray:
    """Matrix [m, n] that turns n control points into m points on the cubic spline through them."""
    if closed:
        knots, values, kind = np.arange(n + 1), np.concatenate([np.eye(n), np.eye(n)[:1]]), "periodic"
        at = np.linspace(0, n, n * per_segment, endpoint=False)
    else:
        knots, values, kind = np.arange(n), np.eye(n), "natural"
        at = np.linspace(0, n - 1, (n - 1) * per_segment + 1)
    return CubicSpline(knots, values, bc_type=kind)(at)


def curve(points: np.ndarray, *, closed: bool = False) -> np.ndarray:
    """Points on the smooth curve through `points` (float [n, 2])."""
    return spline(len(points), closed=closed) @ points


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.rint(points * _ONE).astype(np.int32)


def fill(image: np.ndarray, points: np.ndarray, colour: tuple[int, ...] | int) -> None:
    """Fill the polygon `points` (float [n, 2], pixels) in `image`, in place."""
    cv2.fillPoly(image, [_fixed(points)], colour, lineType=cv2.LINE_AA, shift=_SHIFT)


def stroke(image: np.ndarray, points: np.ndarray, colour: tuple[int, ...] | int, width_px: float) -> None:
    """Draw the open line `points` in `image`, in place; below 1.5 pixels OpenCV draws its thinnest line."""
    width = max(1, round(width_px))
    cv2.polylines(image, [_fixed(points)], False, colour, width, lineType=cv2.LINE_AA, shift=_SHIFT)


def disc(image: np.ndarray, centre: np.ndarray, radius_px: float, colour: tuple[int, ...] | int) -> None:
    """Fill a disc in `image`, in place."""
    x, y = _fixed(centre)
    cv2.circle(image, (int(x), int(y)), round(radius_px * _ONE), colour, -1, lineType=cv2.LINE_AA, shift=_SHIFT)


def ribbon(points: np.ndarray, width_px: np.ndarray) -> np.ndarray:
    """Outline of a band along `points` (float [n, 2]) of full width `width_px` (float [n])."""
    along = np.gradient(points, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.maximum(np.linalg.norm(along, axis=1), 1e-6)[:, None]
    half = normal * (width_px / 2)[:, None]
    return np.concatenate([points + half, (points - half)[::-1]])


def inside(image: np.ndarray, outline: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Window of `image` around `outline`: (view, its soft mask [h, w] uint8, its corner [2]); None if out of sight."""
    height, width = image.shape[:2]
    left, top = np.maximum(np.floor(outline.min(axis=0)).astype(int) - 1, 0)
    right, bottom = np.minimum(np.ceil(outline.max(axis=0)).astype(int) + 2, [width, height])
    if right <= left or bottom <= top:
        return None
    view = image[top:bottom, left:right]
    mask = np.zeros(view.shape[:2], np.uint8)
    corner = np.array([left, top])
    fill(mask, outline - corner, 255)
    return view, mask, corner


def blend(view: np.ndarray, over: np.ndarray, mask: np.ndarray) -> None:
    """Lay `over` on `view` where `mask` (uint8, 255 = wholly), in place."""
    weight = mask.astype(np.uint16)[..., None]
    view[:] = (view * (255 - weight) + over * weight + 127) // 255
