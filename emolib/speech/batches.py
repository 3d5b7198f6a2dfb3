"""Recordings of different length as batches: cut to one length for training; whole, or in stretches, for answering."""

from __future__ import annotations

import numpy as np
import torch
from torch import Generator, Tensor

from emolib.sequences.batches import Steps


def cut(data: Steps, rows: Tensor, *, longest: int, generator: Generator) -> Tensor:
    """A random stretch of each recording, all as long as the shortest of them, at most `longest` (0: no limit).

    Parameters
    ----------
    rows : int64 [B].

    Returns
    -------
    float32 [B, T, F], without padding.
    """
    steps = int(data.length[rows].min())
    steps = min(steps, longest) if longest else steps
    room = data.length[rows] - steps + 1
    first = (torch.rand(len(rows), generator=generator, dtype=torch.float64) * room).long()
    return data.padded(rows, first=first, n_steps=torch.full_like(first, steps))


def views(length: np.ndarray, *, crops: int, crop_steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is answered of each recording: all of it, or `crops` evenly spaced stretches of `crop_steps`.

    Parameters
    ----------
    length : int64 [n].
    crops : 0 for all of it; so are recordings that are no longer than `crop_steps`.

    Returns
    -------
    of, first, steps : int64 [views]; whose view it is (0 to n - 1, rising), where it begins and how long it is.
    """
    found = []
    for number, n_steps in enumerate(length.tolist()):
        if not crops or n_steps <= crop_steps:
            found.append((number, 0, n_steps))
        else:
            starts = np.linspace(0, n_steps - crop_steps, crops).round().astype(int)
            found += [(number, int(start), crop_steps) for start in starts]
    return tuple(np.array(found, dtype=np.int64).reshape(-1, 3).T)
