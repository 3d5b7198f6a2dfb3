"""Follow one face through a video: a search where there is none, a small look around it where there was one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from emolib import detection, landmarks

# The face of the last frame is looked for in a square of 1.8 times its side, scaled so that it is 80 pixels wide: 2 ms.
REGION_SIDES, REGION_FACE_PX = 1.8, 80
# A face known to be here may score lower than one found in a search: a blink, a hand, a turned head.
MIN_TRACK_SCORE, MIN_OVERLAP = -0.2, 0.4
MIN_REGION_PX = 8  # a face that has left the picture leaves no region to look in
# Frames between looks at the whole picture while a face is followed (only to count faces), and, while there is none,
# between the costlier trials: dlib's fine scale, and MTCNN. The coarse scale is tried on each frame without a face.
COUNT_EVERY, FINE_EVERY, MTCNN_EVERY = 30, 5, 15


@dataclass(frozen=True)
class Face:
    """What is known of the followed face in one frame.

    Attributes
    ----------
    box : float32 [4], left, top, right, bottom in pixels, by the landmarks; NaN where there is no face.
    points : float32 [68, 2], landmarks in pixels; NaN where there is no face.
    detector : "dlib" or "mtcnn" (a search of the picture found it), "track" (found again near the last place), "none".
    n_faces : faces in the picture at the last count (at a search, and every `COUNT_EVERY` frames).
    seen : float32 [4], the detector's own box; NaN where there is no face.
    """

    box: np.ndarray
    points: np.ndarray
    detector: str
    n_faces: int
    seen: np.ndarray

    @property
    def ok(self) -> bool:
        """Whether there is a face."""
        return self.detector != "none"


NO_FACE = Face(
    np.full(4, np.nan, np.float32), np.full((68, 2), np.nan, np.float32), "none", 0, np.full(4, np.nan, np.float32)
)


@dataclass(frozen=True)
class Track:
    """State between frames; start with ``Track()`` at the first frame of a video.

    Attributes
    ----------
    face : the last frame's.
    last_seen : where a face was last seen in this video, to take up the same one again.
    n_tracked, n_missed : frames since the last look at the whole picture, and frames since a face was last seen.
    """

    face: Face = NO_FACE
    last_seen: np.ndarray | None = None
    n_tracked: int = 0
    n_missed: int = 0


def follow(grey: np.ndarray, track: Track) -> tuple[Face, Track]:
    """Find the face of the next frame, given the `track` up to the frame before.

    While a face is followed, dlib (then MTCNN) must find it again near its last place, in every frame: no box drifts on
    after the face has gone. Its landmarks start from the last ones' box, which moves smoothly, unless the
    detector's box disagrees. With no face to follow, the largest and most central face is taken, or the one where the
    last was.

    Parameters
    ----------
    grey : uint8 [H, W].
    track : ``Track()`` for the first frame, else what the last call returned.

    Returns
    -------
    face : of this frame.
    track : for the next call.
    """
    if track.face.ok and (again := _look_near(grey, track.face)) is not None:
        if track.n_tracked + 1 >= COUNT_EVERY:
            counted = len(detection.detect(grey, mtcnn=False).boxes)
            again, track = replace(again, n_faces=max(1, counted)), replace(track, n_tracked=-1)
        return again, Track(again, again.seen, track.n_tracked + 1, 0)
    face = _search(grey, track)
    if face.ok:
        return face, Track(face, face.seen)
    return face, Track(face, track.last_seen, 0, track.n_missed + 1)


def _search(grey: np.ndarray, track: Track) -> Face:
    scales = (detection.COARSE_PX, detection.FINE_PX) if track.n_missed % FINE_EVERY == 0 else (detection.COARSE_PX,)
    found = detection.detect(grey, scales_px=scales, mtcnn=track.n_missed % MTCNN_EVERY == 0)
    if not len(found.boxes):
        return NO_FACE
    box = found.boxes[0]
    if track.last_seen is not None:
        near = detection.overlap(track.last_seen, found.boxes)
        box = found.boxes[near.argmax()] if near.max() > 0 else box
    # The second pass starts from the box of the first one's landmarks, as all later frames do.
    points = landmarks.find_landmarks(grey, landmarks.face_box(landmarks.find_landmarks(grey, box)))
    return Face(landmarks.face_box(points), points, found.detector, len(found.boxes), box)


def _look_near(grey: np.ndarray, last: Face) -> Face | None:
    """The face `last` in the next frame, or None if no detector finds it near its place."""
    side = float(last.seen[2] - last.seen[0])
    centre = (last.seen[:2] + last.seen[2:]) / 2
    left, top = np.maximum(np.rint(centre - REGION_SIDES / 2 * side), 0).astype(int)
    right, bottom = np.maximum(np.rint(centre + REGION_SIDES / 2 * side), 0).astype(int)
    region = grey[top:bottom, left:right]
    if min(region.shape) < MIN_REGION_PX:
        return None
    found = detection.detect_dlib(region, scale=REGION_FACE_PX / side, min_score=MIN_TRACK_SCORE)
    if not len(found.boxes):
        found = detection.detect_mtcnn(region)
    boxes = found.boxes + np.float32([left, top, left, top])
    near = detection.overlap(last.seen, boxes)
    if near.max(initial=0) < MIN_OVERLAP:
        return None
    seen = boxes[near.argmax()]
    points = landmarks.find_landmarks(grey, last.box)
    box = landmarks.face_box(points)
    if (
        detection.overlap(box, seen[None])[0] < MIN_OVERLAP
    ):  # the landmarks slid off: start again where the face was seen
        points = landmarks.find_landmarks(grey, seen)
        box = landmarks.face_box(points)
    return Face(box, points, "track", last.n_faces, seen)
