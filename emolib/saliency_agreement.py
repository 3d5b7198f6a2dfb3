"""How well does a guide show where the face's parts are? Any grey map against the mask drawn from landmarks.

| measure | of one picture | chance |
|---|---|---|
| `iou` | intersection over union of the mask and the map at or above a grey level, one for all pictures | |
| `correlation` | Pearson's, over pixels; 0 for a map of one grey level | 0 |
| `auc` | probability that a pixel of the mask is brighter than one beside it, ties count half | 0.5 |

The grey level of `iou` is chosen on other pictures than those it is reported for; the other two need none. Such
measures are compared by Bylinskii et al. 2019, arXiv:1604.03605.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from emolib.frames import FrameStore
from emolib.guides import GUIDES, NEEDS_LANDMARKS
from emolib.intervals import subject_mean

N_LEVELS = 256
ROWS_AT_ONCE = 4096


def mask_of(guide: np.ndarray) -> np.ndarray:
    """The hard mask, bool [n, S, S], inside a guide drawn from landmarks, hard or soft: where it is 255."""
    return np.asarray(guide) == N_LEVELS - 1


def drawn_maps(store: FrameStore, name: str, rows: np.ndarray) -> np.ndarray:
    """Guide `name` of some samples, uint8 [n, S, S]: as the store has it, or drawn now from the pictures alone.

    Raises
    ------
    ValueError
        The store has no such guide, and it cannot be drawn from the picture alone.
    """
    if f"guide/{name}" in store.array_names:
        return np.array(store.array(f"guide/{name}")[rows])
    if name not in GUIDES or name in NEEDS_LANDMARKS:
        allowed = [one for one in GUIDES if one not in NEEDS_LANDMARKS]
        raise ValueError(
            f"guide {name!r}: the store has {', '.join(store.array_names)}; without it, {', '.join(allowed)} are drawn"
        )
    nobody = np.full((68, 2), np.nan, np.float32)
    return np.array([GUIDES[name](image, nobody) for image in store.array("image")[rows]], np.uint8)


def best_level(maps: np.ndarray, masks: np.ndarray) -> int:
    """The grey level, 1 to 255, with the highest mean `iou` over these pictures; parameters as `agreement`."""
    return int(_iou_by_level(*_histograms(maps, masks))[:, 1:].mean(axis=0).argmax()) + 1


def agreement(maps: np.ndarray, masks: np.ndarray, *, level: int) -> pd.DataFrame:
    """`iou`, `correlation` and `auc` of each picture.

    Parameters
    ----------
    maps : uint8 [n, S, S]
    masks : bool [n, S, S], each with pixels inside and outside
    level : grey level from which on a pixel of the map counts as inside

    Raises
    ------
    ValueError
        Arrays that do not fit, or a mask that is empty or full.
    """
    inside, outside = _histograms(maps, masks)
    n_inside, n_outside = inside.sum(axis=1), outside.sum(axis=1)
    darker = np.cumsum(outside, axis=1) - outside / 2  # pixels outside that are darker, ties count half
    auc = (inside * darker).sum(axis=1) / (n_inside * n_outside)
    # Pearson's correlation with a mask of two values follows from the two histograms.
    grey, n = np.arange(N_LEVELS), n_inside + n_outside
    both = inside + outside
    mean = both @ grey / n
    spread = np.sqrt(np.maximum(both @ grey**2 / n - mean**2, 0) * n_inside * n_outside) / n
    covariance = inside @ grey / n - mean * n_inside / n
    correlation = np.divide(covariance, spread, out=np.zeros(len(n)), where=spread > 0)
    return pd.DataFrame({"iou": _iou_by_level(inside, outside)[:, level], "correlation": correlation, "auc": auc})


def compare(
    maps: Mapping[str, tuple[np.ndarray, np.ndarray]],
    masks: tuple[np.ndarray, np.ndarray],
    group: np.ndarray,
    *,
    baseline: str,
    seed: int = 0,
) -> pd.DataFrame:
    """One row a method: its grey level, and each measure over the test pictures with its interval over groups.

    Parameters
    ----------
    maps : method -> maps uint8 of the validation pictures, which choose the grey level, and of the test pictures
    masks : bool, of the same two
    group : [n], of the test pictures: what is resampled together, copies of a picture and pictures of one person
    baseline : method that the others' gain is over

    Returns
    -------
    DataFrame: method, level, pictures; <measure>, <measure>_low, <measure>_high, where a measure is also `iou_gain`: by
    how much a picture's `iou` is above that of the baseline, for the same picture.
    """
    levels = {method: best_level(validation, masks[0]) for method, (validation, _) in maps.items()}
    found = {method: agreement(test, masks[1], level=levels[method]) for method, (_, test) in maps.items()}
    rows = []
    for method, of_pictures in found.items():
        values = of_pictures.assign(iou_gain=of_pictures["iou"] - found[baseline]["iou"])
        row = {"method": method, "level": levels[method], "pictures": len(values)}
        for measure in values:
            interval = subject_mean(values[measure].to_numpy(), group, seed=seed)
            row |= {measure: interval.value, f"{measure}_low": interval.low, f"{measure}_high": interval.high}
        rows.append(row)
    return pd.DataFrame(rows)


def _iou_by_level(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """float [n, 256]: column k counts a pixel as inside from grey level k on."""
    above = [np.cumsum(histogram[:, ::-1], axis=1)[:, ::-1] for histogram in (inside, outside)]
    return above[0] / (inside.sum(axis=1, keepdims=True) + above[1])


def _histograms(maps: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of each grey level inside and outside of the mask, int [n, 256] each."""
    maps, masks = np.asarray(maps), np.asarray(masks)
    if maps.shape != masks.shape or maps.ndim != 3 or maps.dtype != np.uint8 or masks.dtype != bool or not len(maps):
        raise ValueError(
            f"maps {maps.dtype} {maps.shape}, masks {masks.dtype} {masks.shape}: uint8 and bool [n, S, S] are needed"
        )
    counts = np.empty((2, len(maps), N_LEVELS), np.int64)
    for first in range(0, len(maps), ROWS_AT_ONCE):
        some = slice(first, first + ROWS_AT_ONCE)
        n = len(maps[some])
        cell = (masks[some] * n + np.arange(n)[:, None, None]) * N_LEVELS + maps[some]
        counts[::-1, some] = np.bincount(cell.ravel(), minlength=2 * n * N_LEVELS).reshape(2, n, N_LEVELS)
    for side, what in zip(counts, ("empty", "full"), strict=True):
        if len(wrong := np.flatnonzero(side.sum(axis=1) == 0)):
            raise ValueError(f"mask {wrong[0]} is {what}: pixels inside and outside are needed")
    return counts[0], counts[1]
