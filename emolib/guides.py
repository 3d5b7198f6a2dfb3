"""Guide images: what the spatial transformer's localisation net sees beside the face (system B)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np

from emolib.landmarks import PARTS

_SUBPIXEL_BITS = 4  # OpenCV draws with coordinates in sixteenths of a pixel
_JAW_LINE_PX = 1
# Spectral residual keeps what differs from a smooth spectrum; at 64 pixels, the paper's size, that is the face's parts.
SALIENCY_WORKING_PX = 64


def landmarks_guide(points: np.ndarray, *, size_px: int = 48) -> np.ndarray:
    """White filled convex hulls of the brows, eyes, nose, mouth and inner mouth, and the jaw as a line, on black.

    The `landmarks` guide of system B (guided spatial transformers for facial expression recognition).

    Parameters
    ----------
    points : float [68, 2], x right and y down in pixels of the crop; all NaN where there is no face.

    Returns
    -------
    uint8 [size_px, size_px], 0 or 255; all 0 where there is no face.

    Raises
    ------
    ValueError
        `points` has another shape, or only some of its values are NaN.
    """
    if points.shape != (68, 2):
        raise ValueError(f"points has shape {points.shape}, (68, 2) is allowed")
    guide = np.zeros((size_px, size_px), np.uint8)
    unknown = np.isnan(points)
    if unknown.all():
        return guide
    if unknown.any():
        raise ValueError(f"points: {np.count_nonzero(unknown)} of 136 values are NaN, all or none are allowed")
    fixed = np.rint(points * 2**_SUBPIXEL_BITS).astype(np.int32)
    for part, numbers in PARTS.items():
        if part == "jaw":
            cv2.polylines(guide, [fixed[numbers]], False, 255, _JAW_LINE_PX, cv2.LINE_8, _SUBPIXEL_BITS)
        else:
            cv2.fillConvexPoly(guide, cv2.convexHull(fixed[numbers]), 255, cv2.LINE_8, _SUBPIXEL_BITS)
    return guide


def saliency_guide(crop: np.ndarray) -> np.ndarray:
    """Visual saliency by the spectral residual (Hou and Zhang, 2007), its root stretched to 0 to 255.

    Stands in for system B's MSI-Net, whose weights are a download.

    Parameters
    ----------
    crop : uint8 [H, W], the face.

    Returns
    -------
    uint8 [H, W]; all 0 for a picture of one grey level, which has nothing salient.
    """
    if crop.min() == crop.max():
        return np.zeros_like(crop)
    computed, saliency = _spectral_residual().computeSaliency(crop)
    if not computed or not np.isfinite(saliency).all():
        raise RuntimeError(f"OpenCV's spectral residual failed on a picture {crop.shape} of {crop.dtype}")
    amplitude = np.sqrt(np.clip(saliency, 0, None))  # the map is an energy: a few peaks would leave the rest near 0
    low, high = float(amplitude.min()), float(amplitude.max())
    if low == high:
        return np.zeros_like(crop)
    return np.rint((amplitude - low) * (255 / (high - low))).astype(np.uint8)


@cache
def _spectral_residual():
    method = cv2.saliency.StaticSaliencySpectralResidual_create()
    method.setImageWidth(SALIENCY_WORKING_PX)
    method.setImageHeight(SALIENCY_WORKING_PX)
    return method


# name -> guide of a crop uint8 [S, S] and its landmarks float32 [68, 2] (NaN where unknown): uint8 [S, S]
GUIDES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "landmarks": lambda crop, points: landmarks_guide(points, size_px=crop.shape[0]),
    "saliency": lambda crop, points: saliency_guide(crop),
}
NEEDS_LANDMARKS = frozenset({"landmarks"})
