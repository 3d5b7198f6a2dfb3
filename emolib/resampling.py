"""Who is drawn how often: resamples of subjects and seeds, sign flips, and the limits of what they give."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

_CHUNK_CELLS = 4_000_000  # resample x subject counts held at once: 32 MB


def seed_weights(n_seeds: int, n_resamples: int, seed: int, resample: bool) -> np.ndarray:
    """How often each seed counts in each resample: drawn [n_resamples, n_seeds], or ones [1, 1]."""
    if not resample:
        return np.ones((1, 1))
    rng = np.random.default_rng((seed, 1))  # its own: the subjects' draws stay as they are without it
    return rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=n_resamples)


def sign_flips(n: int, exact: bool, n_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Signs (-1, 1) int64 [some, n], `_CHUNK_CELLS` at a time: all 2^n of them, or `n_resamples` drawn ones."""
    if exact:
        yield 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return
    random, size = np.random.default_rng(seed), max(1, _CHUNK_CELLS // n)
    for first in range(0, n_resamples, size):
        yield random.choice((-1, 1), size=(min(size, n_resamples - first), n))


def units(unit: np.ndarray, n: int, what: str) -> tuple[np.ndarray, int]:
    """Code 0..U-1 of each of `n` samples' unit, int64 [n], and U; ValueError when one is missing or U is below 2."""
    if len(unit) != n:
        raise ValueError(f"{len(unit)} {what}s for {n} samples")
    code, unique = pd.factorize(np.asarray(unit), sort=True)  # sorted: the order of rows does not change the resamples
    if (code < 0).any():
        raise ValueError(f"row {np.flatnonzero(code < 0)[0]} has no {what}")
    if len(unique) < 2:
        raise ValueError(f"an interval needs at least 2 {what}s, got {len(unique)}")
    return code, len(unique)


def resamples(n_units: int, n_resamples: int, seed: int, *, n_cells: int = 0) -> Iterator[np.ndarray]:
    """Chunks [r, n_units] of how often each unit was drawn, n_resamples rows in all; a row sums to n_units."""
    if n_resamples < 1:
        raise ValueError(f"n_resamples = {n_resamples}: at least 1 is allowed")
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK_CELLS // max(n_units, n_cells))
    for start in range(0, n_resamples, step):
        rows = min(step, n_resamples - start)
        drawn = rng.integers(n_units, size=(rows, n_units)) + n_units * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * n_units).reshape(rows, n_units).astype(np.float64)


def limits(resampled: np.ndarray, confidence: float) -> tuple[float, float]:
    """The percentile interval of `confidence` (0..1) of resampled values [R]."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence}: a share between 0 and 1 is allowed")
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)
