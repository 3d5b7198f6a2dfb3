"""The 17 action units of OpenFace, 0..5, estimated from 68 landmarks alone: geometry against the subject's own neutral.

1. *Normalise*: eye corners level, the outer ones at distance 1 ("eye distance"), the origin between them.
2. *Head turns*: on eye corners and the ridge of the nose, which no unit moves, a similarity, a turn (yaw) and a nod
   (pitch) of a face of typical depth are fitted to the subject's median shape and taken out of all points.
3. *Measure*: the quantities of the table, left and right side together, in eye distances.
4. *Neutral*: each measure minus the subject's own median over all frames given (lips' opening: a low quantile, as
   speech opens the mouth for half of the time). Most frames do not move a given point, so no labels are needed.
5. *Intensity*: 5 x formula / full movement, cut to 0..5 (AU45: what goes beyond a dead zone). In a formula, `+x` is
   the part of x above 0 and `+down` that of a lowered inner brow.

| measure | is |
|---|---|
| inner, outer | height of the brow's inner (20 21 22 23) and outer points (17 18 25 26) |
| gap | distance of the brows' inner points, halved |
| upper, lower | height of the upper and lower lid over the eye's corners |
| wing, flare | height of the nose's wings; their distance, halved |
| lip, chin | height of the lower lip's edge (56 57 58); of the chin (7 8 9) |
| up, wide | height of the mouth's corners; their distance, halved |
| corner | `up` minus the height of the lips' middle (51 57): U-shaped mouth above 0, arched below |
| open, red | distance of the lips' inner edges; thickness of both lips |

| unit | FACS (Ekman and Friesen 1978) | seen by landmarks |
|---|---|---|
| AU01, AU02 | inner, outer brow raised | well; AU01 adds what a frown that goes with it takes away |
| AU04 | brows lowered and drawn together | fairly: the gap moves little |
| AU05 | upper lid raised | fairly |
| AU06 | cheeks raised | *proxy*: lower lid rises, more so with a smile; a posed smile has some too |
| AU07 | lids tightened | *proxy*: lower lid rises without a smile |
| AU09 | nose wrinkled | *proxy*: its wings rise and the brows close in |
| AU10 | upper lip raised | *proxy*: the nose's wings rise and flare; the lip itself rises in a smile too |
| AU12 | lip corners pulled up and out | well |
| AU14 | dimples | *poor proxy*: closed mouth gets wider, not higher |
| AU15 | lip corners down | well |
| AU17 | chin raised | *poor proxy*: arched, thin mouth; shares most of it with AU15 |
| AU20 | lips stretched | fairly: wider and not higher |
| AU23 | lips tightened | *proxy*: thinner red of closed lips |
| AU25, AU26 | lips part; jaw drops | well |
| AU45 | blink | well, where the predictor follows the lid: the upper lid falls |

Formulas are by FACS, not fitted: the same hold for any corpus. Full movements and the choice among equal proxies were
set on drawn people of another seed than the embedded corpus's and on PEDFE's clips. dlib's predictor knows real faces:
on drawn ones it loses brows that are raised further than real ones go and takes the eyes for them, so that AU01 and
AU02 fail there (with the true landmarks they do not).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib.openface import MAX_INTENSITY, UNITS

__all__ = ["FORMULAS", "MIN_FACES", "UNITS", "agreement", "estimate", "measure"]

MIN_FACES = 20  # of a subject: below it, the neutral is that of all faces given

# unit -> weights of the measures against neutral ("+x": only what is above 0), full movement in eye distances
FORMULAS: dict[str, tuple[dict[str, float], float]] = {
    "AU01": ({"inner": 1.0, "gap": -0.5}, 0.12),
    "AU02": ({"outer": 1.0}, 0.12),
    "AU04": ({"gap": -1.0, "+down": 0.5}, 0.08),
    "AU05": ({"upper": 1.0}, 0.05),
    "AU06": ({"lower": 1.0, "+up": 0.5}, 0.09),
    "AU07": ({"lower": 1.0, "+up": -0.2}, 0.03),
    "AU09": ({"wing": 1.0, "gap": -0.5, "+up": -0.5}, 0.08),
    "AU10": ({"wing": 1.0, "flare": 0.5, "+up": -0.5}, 0.08),
    "AU12": ({"up": 1.0, "wide": 1.0}, 0.22),
    "AU14": ({"wide": 1.0, "+up": -1.0, "+open": -1.0}, 0.06),
    "AU15": ({"corner": -1.0}, 0.10),
    "AU17": ({"corner": -1.0, "red": -0.5}, 0.12),
    "AU20": ({"wide": 1.0, "+up": -1.0}, 0.10),
    "AU23": ({"red": -1.0, "wide": -0.3, "+up": -0.3, "+open": -0.3}, 0.08),
    "AU25": ({"open": 1.0}, 0.18),
    "AU26": ({"chin": -0.5, "lip": -0.5}, 0.25),
    "AU45": ({"upper": -1.0}, 0.07),
}
_DEAD_ZONE = {"AU45": 0.015}  # a lid that falls by less is a tightened one (anger, disgust), not one that closes
_NEUTRAL_QUANTILE = {"open": 0.2}  # of the others: the median

_EYE_CORNERS = (36, 45)
_RIGID = np.array([36, 39, 42, 45, 27, 28, 29, 30])
# Depth of the 68 points towards the camera in eye distances, over the plane of the outer eye corners: typical
# proportions of an adult head, to two digits at most.
_HALF_JAW = [-0.60, -0.57, -0.52, -0.45, -0.33, -0.18, 0.0, 0.10]
_BROW, _EYE = [0.0, 0.08, 0.13, 0.16, 0.17], [0.0, 0.06, 0.07, 0.04, 0.06, 0.06]
_DEPTH = np.array(
    [*_HALF_JAW, 0.15, *_HALF_JAW[::-1], *_BROW, *_BROW[::-1]]
    + [0.15, 0.20, 0.25, 0.30, 0.12, 0.17, 0.19, 0.17, 0.12, *_EYE, *np.roll(_EYE[::-1], 4)]
    + [0.03, 0.10, 0.15, 0.16, 0.15, 0.10, 0.03, 0.08, 0.12, 0.13, 0.12, 0.08]
    + [0.04, 0.11, 0.13, 0.11, 0.04, 0.10, 0.11, 0.10]
)
# Ridge on turn and nod: the nose's ridge is little to tell them by, so about half of them is taken out, and less of the
# landmarks' noise put in. Any value from 0.005 to 0.2 does as well on PEDFE's clips, and a little better than none.
_TURN_RIDGE = 0.05


def estimate(landmarks: np.ndarray, subject: np.ndarray, *, min_faces: int = MIN_FACES) -> np.ndarray:
    """Intensities of the 17 action units of each frame.

    Parameters
    ----------
    landmarks : float [N, 68, 2], pixels, x right and y down; NaN where no face was found.
    subject : [N], who is seen: a subject's own frames give the neutral face, so all of them should be given at once.
    min_faces : subjects with fewer faces are measured against the neutral of all faces given, since theirs is not
        known: the shape of a face then counts as expression (stills of many people).

    Returns
    -------
    float32 [N, 17], 0..5, in the order of `UNITS`; NaN where a landmark is.

    Raises
    ------
    ValueError
        Shapes do not fit, or there are fewer than `min_faces` faces in all: nobody's neutral can be told.
    """
    landmarks, subject = np.asarray(landmarks), np.asarray(subject)
    if landmarks.shape != (len(subject), 68, 2):
        raise ValueError(f"landmarks {landmarks.shape} for {len(subject)} subjects; [{len(subject)}, 68, 2] is allowed")
    found = np.isfinite(landmarks).all(axis=(1, 2))
    if found.sum() < min_faces:
        raise ValueError(f"landmarks: {found.sum()} faces received, at least {min_faces} are needed for a neutral one")
    shapes = _normalised(landmarks[found].astype(np.float64))
    of_subject = np.unique(subject[found], return_inverse=True)[1]
    own = np.bincount(of_subject)[of_subject] >= min_faces
    values = np.empty((len(shapes), len(UNITS)))
    if not own.all():
        values[~own] = _intensities(shapes[~own], neutral_of=shapes)
    for code in np.unique(of_subject[own]):
        values[of_subject == code] = _intensities(shapes[of_subject == code])
    result = np.full((len(landmarks), len(UNITS)), np.nan, dtype=np.float32)
    result[found] = values
    return result


def measure(points: np.ndarray) -> dict[str, np.ndarray]:
    """The measures of the module's table, each float [N], from normalised points, float [N, 68, 2], y down."""
    x, y = points[..., 0], -points[..., 1]

    def height(*which: int) -> np.ndarray:
        return y[:, which].mean(axis=1)

    def half_distance(*pairs: tuple[int, int]) -> np.ndarray:
        return np.mean([x[:, right] - x[:, left] for left, right in pairs], axis=0) / 2

    eyes, inside = height(36, 39, 42, 45), (height(61, 62, 63), height(65, 66, 67))
    return {
        "inner": height(20, 21, 22, 23),
        "outer": height(17, 18, 25, 26),
        "gap": half_distance((20, 23), (21, 22)),
        "upper": height(37, 38, 43, 44) - eyes,
        "lower": height(40, 41, 46, 47) - eyes,
        "wing": height(31, 35),
        "flare": half_distance((31, 35)),
        "lip": height(56, 57, 58),
        "chin": height(7, 8, 9),
        "up": height(48, 54, 60, 64),
        "wide": half_distance((48, 54), (60, 64)),
        "corner": height(48, 54, 60, 64) - height(51, 57),
        "open": inside[0] - inside[1],
        "red": height(50, 51, 52) - inside[0] + inside[1] - height(56, 57, 58),
    }


def agreement(
    estimated: np.ndarray, true: np.ndarray, subject: np.ndarray, *, n_resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Pearson's correlation of estimated and true intensities, unit by unit, with 95 % intervals over subjects.

    Parameters
    ----------
    estimated, true : float [N, 17]; frames with a NaN are left out.
    subject : [N], resampled with replacement for the percentile bootstrap.

    Returns
    -------
    DataFrame: unit, correlation, correlation_low, correlation_high (NaN where either is constant), estimated_mean,
    true_mean (0..5), n_frames, n_subjects.
    """
    measured = np.isfinite(estimated).all(axis=1) & np.isfinite(true).all(axis=1)
    x, y = np.asarray(estimated, dtype=np.float64)[measured], np.asarray(true, dtype=np.float64)[measured]
    of_subject = np.unique(np.asarray(subject)[measured], return_inverse=True)[1]
    n_subjects = len(np.unique(of_subject))
    sums = np.zeros((n_subjects, 6, len(UNITS)))
    np.add.at(sums, of_subject, np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1))
    counts = np.random.default_rng(seed).multinomial(n_subjects, np.full(n_subjects, 1 / n_subjects), size=n_resamples)
    resampled = _correlation(np.tensordot(counts, sums, axes=1))
    value = _correlation(sums.sum(axis=0, keepdims=True))[0]
    known = np.isfinite(value)
    limits = np.full((2, len(UNITS)), np.nan)
    limits[:, known] = np.nanquantile(resampled[:, known], (0.025, 0.975), axis=0)
    return pd.DataFrame(
        {
            **{"unit": UNITS, "correlation": value, "correlation_low": limits[0], "correlation_high": limits[1]},
            **{"estimated_mean": x.mean(axis=0), "true_mean": y.mean(axis=0)},
            **{"n_frames": len(x), "n_subjects": n_subjects},
        }
    )


def _correlation(sums: np.ndarray) -> np.ndarray:
    """Pearson's correlation [R, 17] from sums [R, 6, 17] of 1, x, y, xx, yy and xy; NaN where x or y is constant."""
    mean = sums / sums[:, :1]
    variance = mean[:, 3:5] - mean[:, 1:3] ** 2
    spread = np.sqrt(np.maximum(variance, 0).prod(axis=1))
    covariance = mean[:, 5] - mean[:, 1] * mean[:, 2]
    constant = (variance <= 1e-12 * np.maximum(mean[:, 3:5], 1e-12)).any(axis=1)
    return np.divide(covariance, spread, out=np.full_like(spread, np.nan), where=~constant)


def _normalised(landmarks: np.ndarray) -> np.ndarray:
    """Outer eye corners to (-0.5, 0) and (0.5, 0): float [N, 68, 2]."""
    points = landmarks @ (1, 1j)
    left, right = (points[:, [corner]] for corner in _EYE_CORNERS)
    if (left == right).any():
        raise ValueError(f"landmarks: the outer eye corners of face {int(np.argmax(left == right))} are one point")
    points = (points - (left + right) / 2) / (right - left)
    return np.stack([points.real, points.imag], axis=-1)


def _intensities(shapes: np.ndarray, *, neutral_of: np.ndarray | None = None) -> np.ndarray:
    """Formulas of `shapes`, [n, 68, 2], against the neutral of `neutral_of` (None: their own): float [n, 17], 0..5."""
    reference = np.median(shapes if neutral_of is None else neutral_of, axis=0)
    measured = measure(_turned_back(shapes, reference))
    neutral = measured if neutral_of is None else measure(_turned_back(neutral_of, reference))
    moved = {name: measured[name] - np.quantile(neutral[name], _NEUTRAL_QUANTILE.get(name, 0.5)) for name in measured}
    moved |= {"+down": np.maximum(-moved["inner"], 0)}
    moved |= {f"+{name}": np.maximum(moved[name], 0) for name in ("up", "open")}
    strength = [
        (sum(weight * moved[name] for name, weight in weights.items()) - _DEAD_ZONE.get(unit, 0.0)) / full
        for unit, (weights, full) in FORMULAS.items()
    ]
    return MAX_INTENSITY * np.clip(np.stack(strength, axis=1), 0.0, 1.0)


def _turned_back(shapes: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """`shapes` [n, 68, 2] moved as a rigid head of typical depth onto the rigid points of `reference` [68, 2].

    Small angles: a turn shifts points by their depth to the side, a nod by their depth up or down.
    """
    x, y, one, zero = reference[:, 0], reference[:, 1], np.ones(68), np.zeros(68)
    # columns: scale, roll, shift right, shift down, turn, nod
    across = np.stack([x, -y, one, zero, _DEPTH, zero], axis=1)
    down = np.stack([y, x, zero, one, zero, _DEPTH], axis=1)
    rigid = np.concatenate([across[_RIGID], down[_RIGID]])
    ridge = np.diag([0, 0, 0, 0, _TURN_RIDGE, _TURN_RIDGE])
    apart = (shapes - reference)[:, _RIGID]
    seen = np.concatenate([apart[..., 0], apart[..., 1]], axis=1)
    pose = np.linalg.solve(rigid.T @ rigid + ridge, rigid.T @ seen.T).T
    return shapes - np.stack([pose @ across.T, pose @ down.T], axis=-1)
