"""All faces of a still, and the crop that a classifier was trained on.

Two crops, of which a classifier's `crop` names one:

| crop | what it is |
|---|---|
| ``aligned`` | `landmarks.align`: eye corners and nose on FER-2013's median places, eyes level; a frame store's crop |
| ``loose`` | an upright square around the landmarks, as a face detector draws it and FER-2013 holds it: the head stays tilted |

For weights trained on FER-2013's pictures as they are, ``aligned`` is the better of the two, by a little. Of 300 training
pictures the landmarks lie 0.078 of the side from the median picture's (mean over points); cut again, 0.047 (aligned) and
0.049 (loose). A small network trained for four passes, on 825 PublicTest pictures as they are, aligned and loose: accuracy
56.5, 55.0 and 54.7 %, negative log-likelihood 1.166, 1.194 and 1.212.
"""  # noqa: E501 (a table's row)

from __future__ import annotations

import numpy as np

from emolib import classify, detection, landmarks
from emolib.models import IMAGE_SIZE_PX
from emolib.tracking import Face

# Beside the two working sizes of `detection.detect`, for the small faces of a group: from 1/16 of the short side on.
FINEST_PX = 1280
SAME_FACE = 0.3  # boxes of two working sizes that overlap so much (intersection over union) are one face
INSIDE = 0.7  # share of a box that lies inside of a face found at a coarser size: a part of it, no face
# MTCNN's own probability where dlib found other faces. On the sample pictures (../shared/data) it adds a man in
# sunglasses (0.994), and at 0.97 to 0.99 heads in profile, whose landmarks dlib cannot place.
SURE_PROBABILITY = 0.99
# How FER-2013 holds the detector's square (`landmarks.face_box`): medians over every 70th training picture, n = 300 in
# which dlib finds a face. Side 0.844 of the crop's (quartiles 0.769, 0.923), centre at 0.508 of the width and 0.561 of
# the height; eyes at 0.399 of the height, 0.362 of the side apart, their line tilted by -14 to 10 degrees (5 to 95 %).
LOOSE_SIDES = 1 / 0.844
LOOSE_CENTRE = (0.508, 0.561)


def find_all(grey: np.ndarray, *, finest_px: int = FINEST_PX, mtcnn_too: bool = True) -> list[tuple[np.ndarray, str]]:
    """Faces of all sizes, the main one first: the one that `detection.detect` puts first.

    dlib looks at three working sizes, coarse to fine, then MTCNN at one; each adds the faces that were not seen before.

    Parameters
    ----------
    grey : uint8 [H, W].
    finest_px : length to which the short side of a large picture is scaled at most.
    mtcnn_too : ask MTCNN, which sees tilted heads and glasses better, also where dlib found faces; what it adds then
        has to be surer (`SURE_PROBABILITY`).

    Returns
    -------
    Box (float32 [4]: left, top, right, bottom in pixels) and "dlib" or "mtcnn" of each face.
    """
    grey = detection.widened(grey)
    found: list[tuple[np.ndarray, str]] = []

    def add(more: detection.Detection) -> None:
        for box in more.boxes:
            if not found or is_new(box, np.array([other for other, _ in found])):
                found.append((box, more.detector))

    for scale in _scales(min(grey.shape), finest_px):
        add(detection.detect_dlib(grey, scale=scale))
    if not found:
        add(detection.detect_mtcnn(grey))
    elif mtcnn_too:
        add(detection.detect_mtcnn(grey, min_probability=SURE_PROBABILITY))
    return found


def _scales(short_px: int, finest_px: int) -> list[float]:
    lengths = [detection.COARSE_PX, detection.FINE_PX]
    if (finest := min(finest_px, short_px)) > 1.5 * detection.FINE_PX:
        lengths.append(finest)
    return [length / short_px for length in lengths]


def is_new(box: np.ndarray, others: np.ndarray) -> bool:
    """Whether `box` [4] is neither one of the faces `others` [n, 4] nor a part of one."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    inside = np.prod(np.clip(high - low, 0, None), axis=1) / np.prod(box[2:] - box[:2])
    return bool((detection.overlap(box, others) < SAME_FACE).all() and (inside < INSIDE).all())


def measure(grey: np.ndarray, box: np.ndarray, *, detector: str, n_faces: int) -> Face:
    """The face in the detector's `box` [4], with landmarks found as `tracking.follow` does at a search."""
    points = landmarks.find_landmarks(grey, landmarks.face_box(landmarks.find_landmarks(grey, box)))
    return Face(landmarks.face_box(points), points, detector, n_faces, box)


def measure_all(grey: np.ndarray, found: list[tuple[np.ndarray, str]]) -> list[Face]:
    """The faces of `find_all` with their landmarks, from left to right."""
    measured = [measure(grey, box, detector=detector, n_faces=len(found)) for box, detector in found]
    return sorted(measured, key=lambda face: float(face.box[0] + face.box[2]))


def stills(grey: np.ndarray, *, all_faces: bool) -> list[Face]:
    """The faces of a still from left to right (by their middles), or the main one only; empty where there is none."""
    if all_faces:
        return measure_all(grey, find_all(grey))
    main = detection.detect(grey)
    return measure_all(grey, [(box, main.detector) for box in main.boxes[:1]])


def loose(points: np.ndarray) -> np.ndarray:
    """The similarity of the ``loose`` crop around landmarks `points` [68, 2]: float64 [2, 3], as `landmarks.align`."""
    left, top, right, bottom = landmarks.face_box(points).astype(np.float64)
    side = LOOSE_SIDES * (right - left)
    corner = np.array([left + right, top + bottom]) / 2 - np.array(LOOSE_CENTRE) * side
    return np.array([[1 / side, 0, -corner[0] / side], [0, 1 / side, -corner[1] / side]])


def cut(grey: np.ndarray, face: Face, *, crop: str) -> np.ndarray:
    """The crop of `face` that a classifier reads, uint8 [48, 48]; `crop` is "aligned" or "loose".

    Raises
    ------
    ValueError
        `crop` is something else.
    """
    transforms = {"aligned": landmarks.align, "loose": loose}
    if crop not in transforms:
        raise ValueError(f"crop: {crop!r} received, allowed are {', '.join(transforms)}")
    return landmarks.crop(grey, transforms[crop](face.points), size_px=IMAGE_SIZE_PX)


def whole(grey: np.ndarray) -> tuple[Face, np.ndarray]:
    """A ready crop: its face, which is the whole picture, and what the classifier reads of it, uint8 [48, 48]."""
    height, width = grey.shape
    box = np.array([0, 0, width, height], np.float32)
    return Face(box, np.full((68, 2), np.nan, np.float32), "crop", 1, box), classify.ready_crop(grey)
