"""Features relative to the person who shows them: faces at rest differ, and a classifier should not have to learn it.

| name | a subject's features minus | over | reads |
|---|---|---|---|
| `none` | nothing | nothing | nothing |
| `transductive` | their mean over all own performances | their standard deviation over these | no label |
| `neutral` | their mean over the own neutral ones | as `transductive` | which are neutral, of *all* subjects |

`transductive` needs all performances of a person at once, test persons included, so it answers for a recorded session,
not for a first clip. `neutral` is told which clips of a test person are neutral: a calibration clip in practice, but
here these clips are tested too, and their features then say what they are. Every table of results names the one used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from emolib.ragged import Ragged

NORMALISATIONS = ("none", "transductive", "neutral")
Features = TypeVar("Features", np.ndarray, Ragged)
_CONSTANT = 1e-6  # a spread below this share of the largest value is rounding


def normalise(
    values: Features,
    subject: Sequence[str] | np.ndarray,
    *,
    method: str,
    neutral: np.ndarray | None = None,
    scale: bool = True,
) -> Features:
    """Features of performances normalised subject by subject; no subject's features depend on another's.

    Parameters
    ----------
    values : float [n, F], a row a performance; or n sequences of rows, whose means and spreads are over all rows of the
        subject. NaN is not counted and stays.
    subject : [n].
    method : one of `NORMALISATIONS`.
    neutral : bool [n], which performances are neutral; needed by "neutral", read by no other method.
    scale : divide by the spread too. A feature that is constant for a subject is centred only.

    Returns
    -------
    Of the form of `values`, float32; with "none" `values` itself.

    Raises
    ------
    ValueError
        Unknown method, lengths that differ, or a subject without a measured neutral performance under "neutral".
    """
    if method not in NORMALISATIONS:
        raise ValueError(f"normalisation {method!r}: one of {', '.join(NORMALISATIONS)} is allowed")
    subject = np.asarray(subject)
    if len(subject) != len(values):
        raise ValueError(f"{len(subject)} subjects for {len(values)} performances")
    if method == "none":
        return values
    rest = _neutral(neutral, len(values)) if method == "neutral" else np.ones(len(values), dtype=bool)
    if isinstance(values, Ragged):
        of_row = np.repeat(np.arange(len(values)), values.length)
        return Ragged(_normalised(values.values, subject[of_row], rest[of_row], scale=scale), values.length)
    return _normalised(np.asarray(values), subject, rest, scale=scale)


def reads(method: str, *, adapts: bool = False) -> str:
    """What is known of a test person beside the performance that is answered, to stand in every table of results.

    `adapts`: whether the model itself adapts to a person's performances (`static_models.adapts`).
    """
    if method not in NORMALISATIONS:
        raise ValueError(f"normalisation {method!r}: one of {', '.join(NORMALISATIONS)} is allowed")
    if method == "neutral":
        return "own performances, and which are neutral"
    return "own performances, unlabelled" if method == "transductive" or adapts else "nothing"


def _neutral(neutral: np.ndarray | None, n: int) -> np.ndarray:
    if neutral is None or np.shape(neutral) != (n,) or np.asarray(neutral).dtype != bool:
        found = "None" if neutral is None else f"{np.asarray(neutral).dtype} {np.shape(neutral)}"
        raise ValueError(f"neutral: {found} received, bool [{n}] is needed by the normalisation 'neutral'")
    return np.asarray(neutral)


def _normalised(values: np.ndarray, subject: np.ndarray, rest: np.ndarray, *, scale: bool) -> np.ndarray:
    """Rows minus the subject's mean over `rest`, over its spread over all own rows; float32."""
    result = np.empty(values.shape, dtype=np.float32)
    for who in np.unique(subject):
        own = subject == who
        mine = values[own].astype(np.float64)
        centre, _ = _moments(mine[rest[own]])
        mean, spread = _moments(mine)
        if (lost := np.isnan(centre) & ~np.isnan(mean)).any():
            feature = int(np.argmax(lost))
            raise ValueError(f"subject {str(who)!r}: no neutral performance with feature {feature} measured")
        constant = ~(spread > _CONSTANT * np.nan_to_num(np.abs(mine)).max(axis=0))
        divisor = np.where(constant, 1.0, spread) if scale else np.ones_like(spread)
        result[own] = (mine - centre) / divisor
    return result


def _moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column over what is measured, float64 [F]; NaN where nothing is."""
    measured = ~np.isnan(rows)
    n = measured.sum(axis=0)
    mean = np.divide(np.where(measured, rows, 0).sum(axis=0), n, out=np.full(rows.shape[1], np.nan), where=n > 0)
    squares = np.where(measured, (rows - mean) ** 2, 0).sum(axis=0)
    return mean, np.sqrt(np.divide(squares, n, out=np.full(rows.shape[1], np.nan), where=n > 0))
