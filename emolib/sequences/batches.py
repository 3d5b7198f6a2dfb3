"""From sequences of different length to padded batches that waste little."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emolib.engines.arrays import as_tensor
from emolib.ragged import Ragged

POOL = 8  # batches: so many are shuffled together and sorted by length, so that those of one batch are alike


@dataclass(frozen=True)
class Steps:
    """Measured steps of N sequences: values float32 [sum, F], start and length int64 [N] (0: nothing is measured).

    `step` int64 [sum] says which step of its sequence each one was, before those with a NaN were dropped.
    """

    values: Tensor
    start: Tensor
    length: Tensor
    step: np.ndarray

    @classmethod
    def of(cls, sequences: Ragged, rows: Iterable[np.ndarray]) -> Steps:
        """Steps without a NaN.

        Raises
        ------
        ValueError
            One of the `rows` (arrays of positions) has none, or is out of range; the message names it.
        """
        rows = np.unique(np.concatenate([np.asarray(one, dtype=np.int64) for one in rows]))
        if len(rows) and not 0 <= rows[0] <= rows[-1] < len(sequences):
            raise ValueError(f"rows {rows[0]} to {rows[-1]} received, 0 to {len(sequences) - 1} are allowed")
        values, length = sequences.values, sequences.length
        step = np.arange(len(values)) - np.repeat(sequences.start, length)
        measured = ~np.isnan(values).any(axis=1)
        if not measured.all():
            length = np.add.reduceat(measured.astype(np.int64), sequences.start)
            values, step = values[measured], step[measured]
        if (empty := length[rows] == 0).any():
            row = int(rows[np.argmax(empty)])
            raise ValueError(
                f"sequence in row {row}: all of its {sequences.length[row]} step(s) hold a NaN, one without is needed "
                f"({int(empty.sum())} sequence(s) are so); leave them out of the table"
            )
        length = np.array(length, dtype=np.int64)
        start = np.cumsum(length) - length
        values = np.asarray(values, dtype=np.float32)
        return cls(as_tensor(values), torch.from_numpy(start), torch.from_numpy(length), step)

    def padded(self, rows: Tensor, *, first: Tensor | None = None, n_steps: Tensor | None = None) -> Tensor:
        """Sequences `rows` (int64 [B]) as float32 [B, T, F], T the longest; shorter ones repeat their last step.

        first, n_steps : int64 [B], a part of each instead of all.
        """
        n_steps = self.length[rows] if n_steps is None else n_steps
        begin = self.start[rows] if first is None else self.start[rows] + first
        step = torch.arange(int(n_steps.max())).minimum(n_steps[:, None] - 1)
        return self.values.index_select(0, (begin[:, None] + step).flatten()).view(len(rows), step.shape[1], -1)

    def moments(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each feature over all steps of `rows`, float32 [F]; 1 where it is 0."""
        ends = self.start + self.length
        parts = [self.values[self.start[row] : ends[row]].double() for row in rows]
        n_steps = sum(len(part) for part in parts)
        mean = sum(part.sum(dim=0) for part in parts) / n_steps
        deviation = (sum((part - mean).square().sum(dim=0) for part in parts) / n_steps).sqrt()
        # a constant column's deviation is rounding, not nought: to be measured against the column's size
        constant = deviation <= 1e-6 * mean.abs()
        return mean.float(), deviation.masked_fill(constant, 1.0).float()

    def cropped(self, rows: Tensor, *, max_steps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Where a part of at most `max_steps` begins in each of the `rows`, drawn evenly, and its length; int64 [B]."""
        n_steps = self.length[rows].clamp(max=max_steps)
        free = self.length[rows] - n_steps + 1
        return (torch.rand(len(rows), generator=generator, dtype=torch.float64) * free).long(), n_steps


def in_order(rows: np.ndarray, length: Tensor, *, batch_size: int) -> list[Tensor]:
    """`rows` in batches by falling length: for answers, which depend on no order."""
    rows = torch.from_numpy(np.array(rows, dtype=np.int64))
    return list(rows[length[rows].argsort(descending=True, stable=True)].split(batch_size))


def drawn(rows: np.ndarray, length: Tensor, *, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """All `rows` once, in batches drawn for an epoch: sorted by length within a pool of `POOL` batches only."""
    rows = torch.from_numpy(np.array(rows, dtype=np.int64))
    shuffled = rows[torch.randperm(len(rows), generator=generator)]
    batches = []
    for pool in shuffled.split(POOL * batch_size):
        batches += pool[length[pool].argsort(stable=True)].split(batch_size)
    return [batches[k] for k in torch.randperm(len(batches), generator=generator)]
