"""Sequences of different length in one array: the rows of all of them one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ragged:
    """N sequences: values float32 [sum of length, F], rows of the first sequence first; length int64 [N], each >= 1."""

    values: np.ndarray
    length: np.ndarray

    def __post_init__(self):
        if self.values.ndim != 2 or self.length.ndim != 1 or self.length.sum() != len(self.values):
            raise ValueError(f"values {self.values.shape} do not fit {len(self.length)} lengths of {self.length.sum()}")
        if (self.length < 1).any():
            raise ValueError(f"sequence {int(np.argmax(self.length < 1))} is empty")

    @classmethod
    def of_list(cls, sequences: Sequence[np.ndarray]) -> Ragged:
        """From one array [length, F] a sequence; ValueError when there is none, one is empty or F differs."""
        if not len(sequences):
            raise ValueError("no sequences")
        if len(widths := {one.shape[1:] for one in sequences}) > 1:
            raise ValueError(f"sequences have rows of different shapes: {sorted(widths)}")
        length = np.array([len(one) for one in sequences], dtype=np.int64)
        return cls(np.concatenate(sequences).astype(np.float32, copy=False), length)

    def __len__(self) -> int:
        return len(self.length)

    def __getitem__(self, row: int) -> np.ndarray:
        """The sequence at `row`, float32 [length, F], a view."""
        if not 0 <= row < len(self):
            raise IndexError(f"sequence {row} of {len(self)}")
        first = int(self.start[row])
        return self.values[first : first + int(self.length[row])]

    @property
    def start(self) -> np.ndarray:
        """Row of `values` at which each sequence begins, int64 [N]."""
        return np.cumsum(self.length) - self.length

    def means(self) -> np.ndarray:
        """Mean over time of each sequence without NaN rows' values, float32 [N, F]; NaN where all are NaN."""
        measured = ~np.isnan(self.values)
        sums = np.add.reduceat(np.where(measured, self.values, 0).astype(np.float64), self.start)
        counts = np.add.reduceat(measured.astype(np.int64), self.start)
        return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0).astype(np.float32)
