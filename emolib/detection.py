"""Where are faces in a grey picture? dlib's HOG detector at two working scales, MTCNN for what it misses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import dlib
import numpy as np

# dlib's HOG template is 80 pixels wide. The short side of a picture is scaled to these lengths, so that a face is found
# from a quarter of the short side on (coarse), and from an eighth on (fine). Small pictures are scaled up alike.
COARSE_PX, FINE_PX = 320, 640
# A real face scores about 1 to 2.5, one under a hand 0.3; a false one was measured at 0.12 (scikit-image's astronaut).
MIN_SCORE = 0.2
# MTCNN's own probability; it is asked only where dlib found nothing, mostly pictures without a face.
MIN_PROBABILITY = 0.95
MTCNN_PX, MTCNN_MIN_FACE_PX = 360, 40
# A ribbon of a picture is widened to this ratio of its sides by repeating its edge: scaled up as it is it would fill
# the memory, and dlib 20.0.1 corrupts it (80 x 100,000 working pixels: the process dies).
MAX_ASPECT = 8


@dataclass(frozen=True)
class Detection:
    """Faces found in one picture, the one to follow first.

    Attributes
    ----------
    boxes : float32 [n, 4], left, top, right, bottom in pixels of the picture.
    scores : float32 [n], dlib's margin or MTCNN's probability.
    detector : "dlib", "mtcnn", or "none" when n is 0.
    """

    boxes: np.ndarray
    scores: np.ndarray
    detector: str


NOTHING = Detection(np.empty((0, 4), np.float32), np.empty(0, np.float32), "none")


def detect(grey: np.ndarray, *, scales_px: tuple[int, ...] = (COARSE_PX, FINE_PX), mtcnn: bool = True) -> Detection:
    """All faces of a picture, by the cheapest detector that finds one: dlib at each scale in turn, then MTCNN.

    Parameters
    ----------
    grey : uint8 [H, W].
    scales_px : lengths to which the short side is scaled for dlib, in the order of trial.
    mtcnn : ask MTCNN where dlib finds nothing.
    """
    grey = widened(grey)
    for short_side_px in scales_px:
        found = detect_dlib(grey, scale=short_side_px / min(grey.shape))
        if len(found.boxes):
            return found
    return detect_mtcnn(grey) if mtcnn else NOTHING


def detect_dlib(grey: np.ndarray, *, scale: float, min_score: float = MIN_SCORE) -> Detection:
    """dlib's frontal HOG detector on the picture scaled by `scale` (King, 2015, arXiv:1502.00046).

    Parameters
    ----------
    grey : uint8 [H, W].
    scale : working pixels a pixel; a face is found from about 80 working pixels on.
    min_score : least margin of the detector.
    """
    rectangles, scores, _ = _hog().run(_resized(grey, scale), 0, min_score)
    boxes = np.array([(r.left(), r.top(), r.right() + 1, r.bottom() + 1) for r in rectangles], np.float32).reshape(
        -1, 4
    )
    return _ordered(boxes / np.float32(scale), np.array(scores, np.float32), grey.shape, "dlib")


def detect_mtcnn(grey: np.ndarray, *, min_probability: float = MIN_PROBABILITY) -> Detection:
    """MTCNN (Zhang et al., 2016, arXiv:1604.02878) with the weights in facenet-pytorch's wheel, on a reduced picture.

    Its boxes, higher than wide, come back as dlib would draw them: square, around brows to chin.
    """
    scale = MTCNN_PX / min(grey.shape)
    working = _resized(grey, scale)
    found, probability = _mtcnn().detect(np.repeat(working[..., None], 3, axis=2))
    if found is None:
        return NOTHING
    good = np.asarray(probability, np.float32) >= min_probability
    left, top, right, bottom = (np.asarray(found, np.float32)[good] / np.float32(scale)).T
    side = (bottom - top) * 0.88  # dlib's square begins at the brows: measured on frames that both detectors find
    middle, centre = (left + right) / 2, bottom - side * 0.49
    boxes = np.stack([middle - side / 2, centre - side / 2, middle + side / 2, centre + side / 2], axis=1)
    return _ordered(boxes, np.asarray(probability, np.float32)[good], grey.shape, "mtcnn")


def widened(grey: np.ndarray) -> np.ndarray:
    """`grey`, or where it is a ribbon with rows below or columns to the right; places in it stay what they are."""
    below, right = (max(0, -(-max(grey.shape) // MAX_ASPECT) - length) for length in grey.shape)
    return cv2.copyMakeBorder(grey, 0, below, 0, right, cv2.BORDER_REPLICATE) if below or right else grey


def overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of `box` [4] with each of `boxes` [n, 4]: float [n], 0 to 1."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    return common / (area - common)


def _ordered(boxes: np.ndarray, scores: np.ndarray, shape: tuple[int, int], detector: str) -> Detection:
    """Largest and most central first: area, falling to a half at the middle of an edge of the picture."""
    if not len(boxes):
        return NOTHING
    height, width = shape
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    distance = np.hypot(centre[:, 0] / width - 0.5, centre[:, 1] / height - 0.5)
    order = np.argsort(-np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) * (1 - distance), kind="stable")
    return Detection(boxes[order], scores[order], detector)


def _resized(grey: np.ndarray, scale: float) -> np.ndarray:
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    width, height = (max(1, round(length * scale)) for length in grey.shape[::-1])
    return cv2.resize(grey, (width, height), interpolation=method)


@cache
def _hog():
    return dlib.get_frontal_face_detector()


@cache
def _mtcnn():
    from facenet_pytorch import MTCNN  # torch takes seconds to import: only where it is needed

    return MTCNN(keep_all=True, min_face_size=MTCNN_MIN_FACE_PX, device="cpu", post_process=False)
