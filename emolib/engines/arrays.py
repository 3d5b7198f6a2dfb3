"""Arrays that several processes read: named by file, never pickled."""

from __future__ import annotations

import mmap
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class ArrayFile:
    """Where a C-contiguous array lies in a file."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int

    def open(self) -> np.ndarray:
        """The array, mapped and read-only."""
        return np.memmap(self.path, dtype=self.dtype, mode="r", shape=self.shape, offset=self.offset)


def array_file(array: np.ndarray, spill: Path) -> ArrayFile:
    """The file that `array` is a map of, or, where it is none, a new file `spill` with a copy of it.

    A map is named by where its memory lies in the map, for NumPy keeps the offset of the whole in a slice of it. Maps
    with a stride, and private ones (mode "c", whose changes no file has), are copied. A file rather than shared
    memory, because ``/dev/shm`` is 64 MiB in a plain container; the pages are shared all the same.
    """
    root = array
    while root is not None and not isinstance(root, np.memmap):
        root = getattr(root, "base", None)
    if root is None or root._mmap is None or root.mode == "c" or not array.flags.c_contiguous or not array.size:
        np.ascontiguousarray(array).tofile(spill)
        return ArrayFile(spill, array.dtype.str, array.shape, 0)
    map_start = root.offset - root.offset % mmap.ALLOCATIONGRANULARITY
    map_address = np.frombuffer(root._mmap, dtype=np.uint8).ctypes.data
    offset = map_start + array.ctypes.data - map_address
    return ArrayFile(Path(root.filename), array.dtype.str, array.shape, offset)


def as_tensor(array: np.ndarray) -> Tensor:
    """`array` as a tensor that shares its memory (a map stays a map); it is only to be read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ", category=UserWarning)
        return torch.from_numpy(array)
