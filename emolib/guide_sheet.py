"""All guides of a few samples beside each other, to look at: those of the store, and the others drawn now."""

from __future__ import annotations

import numpy as np

from emolib import extraction, landmarks
from emolib.frames import BOX_COLUMNS, FrameStore
from emolib.guides import GUIDES, NEEDS_LANDMARKS


def guide_sheet(store: FrameStore, rows: np.ndarray, *, crop: str) -> tuple[list[str], np.ndarray]:
    """The pictures `rows` and their guides.

    Parameters
    ----------
    store : guides that it lacks are drawn, but for those of landmarks where it has none.
    rows : int [n]
    crop : as given to `preprocessing.prepare`.

    Returns
    -------
    names : "picture" and the guides'.
    sheet : uint8 [n, len(names), S, S].
    """
    pictures = store.array("image")[rows]
    if "landmarks" in store.array_names:
        points, drawn = points_in_crop(store, rows, crop=crop), list(GUIDES)
    else:
        points = np.full((len(rows), 68, 2), np.nan, np.float32)
        drawn = [name for name in GUIDES if name not in NEEDS_LANDMARKS]
    stored = [name.removeprefix("guide/") for name in store.array_names if name.startswith("guide/")]
    columns = {"picture": pictures}
    for name in dict.fromkeys([*drawn, *stored]):
        if name in stored:
            columns[name] = store.array(f"guide/{name}")[rows]
        else:
            columns[name] = [GUIDES[name](*pair) for pair in zip(pictures, points, strict=True)]
    return list(columns), np.stack([np.asarray(column, np.uint8) for column in columns.values()], axis=1)


def points_in_crop(store: FrameStore, rows: np.ndarray, *, crop: str) -> np.ndarray:
    """Landmarks of some samples in pixels of their crops, float32 [n, 68, 2]; NaN where they are not known.

    The store keeps them in pixels of the source's frame; parameters as `guide_sheet`.
    """
    size_px = store.array("image").shape[1]
    boxes = store.manifest[BOX_COLUMNS].to_numpy(dtype=np.float64)[rows]
    in_crop = []
    for points, box in zip(store.array("landmarks")[rows], boxes, strict=True):
        transform = landmarks.align(points) if crop == "aligned" else extraction.ready_transform(box)
        in_crop.append(landmarks.to_crop(points, transform, size_px=size_px))
    return np.array(in_crop, np.float32).reshape(-1, 68, 2)
