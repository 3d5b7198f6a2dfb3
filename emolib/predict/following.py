"""Several faces followed through a video, each with a number: `tracking.follow` for each, and a search now and then."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from emolib import detection
from emolib.predict.faces import find_all, is_new, measure_all
from emolib.tracking import MIN_OVERLAP, Face, Track, follow

# Frames between searches of the whole picture, at two working sizes: 100 ms a search, so 10 ms a frame.
SEARCH_EVERY = 10
# A face that comes back to where it was within so many frames has its old number.
MAX_LOST_FRAMES = 90


@dataclass(frozen=True)
class Crowd:
    """State between frames; start with ``Crowd()``.

    Attributes
    ----------
    present : number -> the face in the last frame.
    lost : number -> the face when it was last seen, and frames since then.
    n_numbers : numbers given up to now.
    n_frames : frames up to now.
    """

    present: dict[int, Face] = field(default_factory=dict)
    lost: dict[int, tuple[Face, int]] = field(default_factory=dict)
    n_numbers: int = 0
    n_frames: int = 0


def follow_all(grey: np.ndarray, crowd: Crowd) -> tuple[dict[int, Face], Crowd]:
    """Find the faces of the next frame: those followed near their last places, others at a search.

    Parameters
    ----------
    grey : uint8 [H, W].
    crowd : ``Crowd()`` for the first frame, else what the last call returned.

    Returns
    -------
    faces : number -> face, numbers rising. New faces get the next numbers, from left to right.
    crowd : for the next call.
    """
    present: dict[int, Face] = {}
    lost = {n: (face, age + 1) for n, (face, age) in crowd.lost.items() if age < MAX_LOST_FRAMES}
    for number, last in crowd.present.items():
        # n_missed=1: where it is not near, only the coarse search is made, and its answer counts near the last place
        face, _ = follow(grey, Track(last, last.seen, n_missed=1))
        near = face.ok and detection.overlap(last.seen, face.seen[None])[0] >= MIN_OVERLAP
        if near and (not present or is_new(face.seen, _places(present))):
            present[number] = face
        else:
            lost[number] = (last, 0)
    n_numbers = crowd.n_numbers
    if crowd.n_frames % SEARCH_EVERY == 0:
        for face in _newcomers(grey, present):
            number = _known(face, lost)
            if number is None:
                number, n_numbers = n_numbers, n_numbers + 1
            else:
                del lost[number]
            present[number] = face
    present = dict(sorted(present.items()))
    return present, Crowd(present, lost, n_numbers, crowd.n_frames + 1)


def _newcomers(grey: np.ndarray, present: dict[int, Face]) -> list[Face]:
    """Faces of the whole picture that nobody follows, from left to right."""
    found = find_all(grey, finest_px=detection.FINE_PX, mtcnn_too=False)
    return measure_all(grey, [one for one in found if not present or is_new(one[0], _places(present))])


def _known(face: Face, lost: dict[int, tuple[Face, int]]) -> int | None:
    """Number of the lost face that was last seen where `face` is, or None."""
    if not lost:
        return None
    near = detection.overlap(face.seen, np.array([old.seen for old, _ in lost.values()]))
    return list(lost)[int(near.argmax())] if near.max() > 0 else None


def _places(present: dict[int, Face]) -> np.ndarray:
    return np.array([face.seen for face in present.values()])
