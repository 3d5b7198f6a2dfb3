"""68 landmarks of a face (dlib's predictor), and the upright crop that they define."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import cv2
import dlib
import numpy as np

# iBUG 300-W's numbering of the 68 points, by part (Sagonas et al., 2013).
PARTS = {
    "jaw": range(0, 17),
    "right_brow": range(17, 22),
    "left_brow": range(22, 27),
    "nose": range(27, 36),
    "right_eye": range(36, 42),
    "left_eye": range(42, 48),
    "mouth": range(48, 68),
    "inner_mouth": range(60, 68),
}

# The predictor starts from its mean shape in the box and rounds to whole pixels, so its answer depends on the box. The
# mean over these three boxes (shift right and down, factor of the side) jitters less and gives fractions of a pixel.
_BOXES = np.array([(-0.03, -0.015, 1.04), (0.03, -0.015, 1.0), (0.0, 0.03, 0.96)])

# Where the eye corners and the nose of a level face lie in the crop, as shares of its side: the median framing of
# FER-2013 images (every 90th image in which dlib finds a face, n = 200), left and right averaged. A network pretrained
# on such crops so meets faces of the size and place it knows. Brows, mouth and jaw are left out: expression moves them.
_TEMPLATE = {
    **{36: (0.246, 0.398), 39: (0.394, 0.408), 42: (0.606, 0.408), 45: (0.754, 0.398)},
    **{27: (0.5, 0.388), 28: (0.5, 0.453), 29: (0.5, 0.522), 30: (0.5, 0.588)},
    **{31: (0.418, 0.636), 32: (0.458, 0.650), 33: (0.5, 0.659), 34: (0.542, 0.650), 35: (0.582, 0.636)},
}
_TEMPLATE_POINTS = np.array(list(_TEMPLATE))
_TEMPLATE_SHARES = np.array(list(_TEMPLATE.values()))
_MAX_SUPERSAMPLING = 16
_LONGEST_SOURCE_PX = 32_767  # OpenCV warps shorter ones only
_CORNERS = np.array([[(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]])  # of the crop, in shares of its side

# Side of dlib's box over (distance of the eyes + distance of eyes and mouth): chosen among 1.04, 1.08 and 1.12 for the
# least distance to landmarks from dlib's own boxes, over five clips.
BOX_PER_SIZE = 1.12


def find_landmarks(grey: np.ndarray, box: np.ndarray) -> np.ndarray:
    """68 landmarks by an ensemble of regression trees (Kazemi and Sullivan, 2014), the mean over three close boxes.

    Parameters
    ----------
    grey : uint8 [H, W].
    box : float [4], left, top, right, bottom of a square such as dlib's detector draws.

    Returns
    -------
    float32 [68, 2], x right and y down in pixels of `grey`; points may lie outside of it.
    """
    centre, side = (box[:2] + box[2:]) / 2, float(box[2] - box[0])
    shapes = []
    for right, down, factor in _BOXES:
        corner = centre + (right * side, down * side) - side * factor / 2
        ends = np.rint([corner, corner + side * factor]).astype(int)
        points = _predictor()(grey, dlib.rectangle(*ends.ravel().tolist())).parts()
        shapes.append([(point.x, point.y) for point in points])
    return np.mean(shapes, axis=0, dtype=np.float64).astype(np.float32)


def face_box(points: np.ndarray) -> np.ndarray:
    """The square that dlib's detector would draw around the face with landmarks `points` [68, 2]: float32 [4].

    Unlike the detector's own boxes, which lie on a coarse grid, it moves smoothly with the face.
    """
    eyes, mouth = points[36:48].mean(axis=0), points[48:68].mean(axis=0)
    right_eye, left_eye = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    # The sum of the two distances is steadier under a turn or nod of the head than either of them.
    size = np.hypot(*(left_eye - right_eye)) + np.hypot(*(mouth - eyes))
    centre = points[17:].mean(axis=0) + (0.01 * size, 0.0)
    return np.concatenate([centre - BOX_PER_SIZE * size / 2, centre + BOX_PER_SIZE * size / 2]).astype(np.float32)


def align(points: np.ndarray) -> np.ndarray:
    """The similarity that puts a face upright into the unit square: float64 [2, 3], pixels to shares of the crop.

    Least squares over the eye corners and the nose against FER-2013's median framing: eyes level, their centres 0.36 of
    the side apart at 0.40 of the height; brows to chin are inside, with a margin of a tenth at the left and right.
    """
    source = points[_TEMPLATE_POINTS].astype(np.float64) @ (1, 1j)
    target = _TEMPLATE_SHARES @ (1, 1j)
    centred = source - source.mean()
    turn = np.vdot(centred, target - target.mean()) / np.vdot(centred, centred).real  # scale and rotation in one number
    shift = target.mean() - turn * source.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def crop(grey: np.ndarray, transform: np.ndarray, *, size_px: int) -> np.ndarray:
    """Cut the square out by `transform` (of `align`): uint8 [size_px, size_px].

    One warp onto a finer grid and its block means: each output pixel is the mean of the pixels that it covers.
    Outside of the picture its edge is repeated.
    """
    pixels_per_output = 1 / (np.hypot(*transform[:, 0]) * size_px)
    fine = int(np.clip(np.ceil(pixels_per_output), 1, _MAX_SUPERSAMPLING)) * size_px
    # Pixel centres lie at whole numbers, shares count from the crop's edge: hence the half pixel.
    scaled = transform * fine
    scaled[:, 2] -= 0.5
    if max(grey.shape) >= _LONGEST_SOURCE_PX:  # then OpenCV gets what lies around the square only
        corners = cv2.transform(_CORNERS, cv2.invertAffineTransform(transform))[0]
        first = np.clip(np.floor(corners.min(axis=0)) - 2, 0, np.array(grey.shape[::-1]) - 1).astype(int)
        last = np.clip(np.ceil(corners.max(axis=0)) + 2, first, grey.shape[::-1]).astype(int)
        grey = np.ascontiguousarray(grey[first[1] : last[1] + 1, first[0] : last[0] + 1])
        scaled[:, 2] += scaled[:, :2] @ first
    warped = cv2.warpAffine(grey, scaled, (fine, fine), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return warped if fine == size_px else cv2.resize(warped, (size_px, size_px), interpolation=cv2.INTER_AREA)


def to_crop(points: np.ndarray, transform: np.ndarray, *, size_px: int) -> np.ndarray:
    """Map `points` [n, 2] of the picture into pixels of the crop that `crop` makes: float32 [n, 2]."""
    mapped = points @ transform[:, :2].T + transform[:, 2]
    return (mapped * size_px - 0.5).astype(np.float32)


@cache
def _predictor():
    # The package's own import needs pkg_resources, which newer setuptools lack: only its file is wanted.
    package = importlib.util.find_spec("face_recognition_models")
    if package is None:
        raise ModuleNotFoundError("face_recognition_models is not installed: it holds dlib's 68-point predictor")
    folder = Path(package.submodule_search_locations[0])
    return dlib.shape_predictor(str(folder / "models" / "shape_predictor_68_face_landmarks.dat"))
