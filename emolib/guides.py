"""Guide images: what the spatial transformer's localisation net sees, or what is shown in the face's place (system B).

| guide | what it is | where no landmarks are known |
|---|---|---|
| `landmarks` | the face's parts as filled convex hulls, the jaw as a line, white on black | black |
| `landmarks_white` | the same | white |
| `soft_landmarks` | the same, fading with the distance to it | black |
| `dilation` | the parts without the jaw, dilated | black |
| `patches` | the picture where `landmarks` is white, black elsewhere: shown as the input | black |
| `weighted` | the picture times `soft_landmarks`: shown as the input | black |
| `saliency` | visual saliency of the picture by its spectral residual | as everywhere |
| `saliency_fine_grained` | visual saliency of the picture by centre and surround at several scales | as everywhere |

A ninth, `saliency_learned`, is the run of notebook 12; maps made elsewhere come in by `preprocessing.prepare`.
"""

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
SOFT_CUT = 0.15  # system B's: weaker weights become 0
SOFT_CROP_PX = 48  # distances are counted in pixels of a crop of this side
DILATION_PX, DILATION_ITERATIONS = 2, 2  # system B's


def landmarks_guide(
    points: np.ndarray, *, size_px: int = 48, jaw: bool = True, without_landmarks: int = 0
) -> np.ndarray:
    """White filled convex hulls of the brows, eyes, nose, mouth and inner mouth, and the jaw as a line, on black.

    The `landmarks` guide of system B (guided spatial transformers for facial expression recognition).

    Parameters
    ----------
    points : float [68, 2], x right and y down in pixels of the crop; all NaN where there is no face.
    jaw : draw the jaw.
    without_landmarks : grey level, 0 to 255, of the whole guide where there is no face.

    Returns
    -------
    uint8 [size_px, size_px], 0 or 255.

    Raises
    ------
    ValueError
        `points` has another shape, or only some of its values are NaN.
    """
    if points.shape != (68, 2):
        raise ValueError(f"points has shape {points.shape}, (68, 2) is allowed")
    unknown = np.isnan(points)
    if unknown.all():
        return np.full((size_px, size_px), without_landmarks, np.uint8)
    if unknown.any():
        raise ValueError(f"points: {np.count_nonzero(unknown)} of 136 values are NaN, all or none are allowed")
    guide = np.zeros((size_px, size_px), np.uint8)
    fixed = np.rint(points * 2**_SUBPIXEL_BITS).astype(np.int32)
    for part, numbers in PARTS.items():
        if part != "jaw":
            cv2.fillConvexPoly(guide, cv2.convexHull(fixed[numbers]), 255, cv2.LINE_8, _SUBPIXEL_BITS)
        elif jaw:
            cv2.polylines(guide, [fixed[numbers]], False, 255, _JAW_LINE_PX, cv2.LINE_8, _SUBPIXEL_BITS)
    return guide


def soft_landmarks_guide(points: np.ndarray, *, size_px: int = 48) -> np.ndarray:
    """The landmark mask softened by distance: 1 / (1 + d), and 0 where that is below `SOFT_CUT`.

    d is the Euclidean (L2) distance of a pixel to the nearest white pixel of `landmarks_guide`, in pixels of a crop of
    48: 1 on the mask, 0.5 one pixel beside it, 0.15 at 5.7 pixels. System B names the distance and the cut; the
    decay between them is the one without a further parameter.

    Parameters and errors as `landmarks_guide`; uint8 [size_px, size_px], 255 times the weight, black without a face.
    """
    mask = landmarks_guide(points, size_px=size_px)
    if not mask.any():  # no face, or all of it outside of the crop: there is nothing to be near to
        return mask
    distance_px = cv2.distanceTransform(255 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) * (SOFT_CROP_PX / size_px)
    weight = 1 / (1 + distance_px)
    return np.rint(255 * np.where(weight < SOFT_CUT, 0, weight)).astype(np.uint8)


def dilation_guide(points: np.ndarray, *, size_px: int = 48) -> np.ndarray:
    """The parts without the jaw, dilated by a square of 2x2 pixels, twice; parameters and errors as `landmarks_guide`.

    A square of even side has no middle: OpenCV's anchor makes each part grow by two pixels to the right and down.
    """
    mask = landmarks_guide(points, size_px=size_px, jaw=False)
    return cv2.dilate(mask, np.ones((DILATION_PX, DILATION_PX), np.uint8), iterations=DILATION_ITERATIONS)


def patches_guide(crop: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The picture, uint8 [S, S], where `landmarks_guide` is white, else 0: uint8 [S, S]; all 0 without a face."""
    return np.where(landmarks_guide(points, size_px=crop.shape[0]), crop, 0).astype(np.uint8)


def weighted_guide(crop: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The picture, uint8 [S, S], times the weights of `soft_landmarks_guide`: uint8 [S, S]; all 0 without a face."""
    soft = soft_landmarks_guide(points, size_px=crop.shape[0])
    return np.rint(crop * (soft / 255.0)).astype(np.uint8)


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
    # the map is an energy: a few peaks would leave the rest near 0
    return _stretched(np.sqrt(np.clip(_saliency(_spectral_residual(), crop), 0, None)))


def saliency_fine_grained_guide(crop: np.ndarray) -> np.ndarray:
    """Visual saliency by differences of centre and surround (Montabone and Soto, 2010), stretched to 0 to 255.

    Parameters and result as `saliency_guide`.
    """
    return _stretched(_saliency(_fine_grained(), crop))


def _saliency(method, crop: np.ndarray) -> np.ndarray:
    computed, saliency = method.computeSaliency(crop)
    if not computed or not np.isfinite(saliency).all():
        raise RuntimeError(f"OpenCV's {type(method).__name__} failed on a picture {crop.shape} of {crop.dtype}")
    return saliency


def _stretched(saliency: np.ndarray) -> np.ndarray:
    low, high = float(saliency.min()), float(saliency.max())
    if low == high:
        return np.zeros(saliency.shape, np.uint8)
    return np.rint((saliency - low) * (255 / (high - low))).astype(np.uint8)


@cache
def _spectral_residual():
    method = cv2.saliency.StaticSaliencySpectralResidual_create()
    method.setImageWidth(SALIENCY_WORKING_PX)
    method.setImageHeight(SALIENCY_WORKING_PX)
    return method


@cache
def _fine_grained():
    return cv2.saliency.StaticSaliencyFineGrained_create()


# name -> guide of a crop uint8 [S, S] and its landmarks float32 [68, 2] (NaN where unknown): uint8 [S, S]
GUIDES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "landmarks": lambda crop, points: landmarks_guide(points, size_px=crop.shape[0]),
    "landmarks_white": lambda crop, points: landmarks_guide(points, size_px=crop.shape[0], without_landmarks=255),
    "soft_landmarks": lambda crop, points: soft_landmarks_guide(points, size_px=crop.shape[0]),
    "dilation": lambda crop, points: dilation_guide(points, size_px=crop.shape[0]),
    "patches": patches_guide,
    "weighted": weighted_guide,
    "saliency": lambda crop, points: saliency_guide(crop),
    "saliency_fine_grained": lambda crop, points: saliency_fine_grained_guide(crop),
}
NEEDS_LANDMARKS = frozenset(GUIDES) - {"saliency", "saliency_fine_grained"}
