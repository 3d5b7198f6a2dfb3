"""Cells of a separated text file as numbers; whatever is wrong is named with its file, line and column."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

__all__ = ["cell_error", "number_columns", "number_list", "read_text"]


def read_text(path: Path, *, separator: str, columns: Sequence[str]) -> pd.DataFrame:
    """`columns` of a file with a header, every cell as text.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        A column is missing, there are no rows, rows have more fields than the header, or it is no such table.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such table")
    try:
        there = pd.read_csv(path, sep=separator, nrows=0, encoding="utf-8").columns
        if missing := [name for name in columns if name not in there]:
            raise ValueError(f"column(s) {', '.join(missing)} missing; there are {', '.join(there[:8])} ...")
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows of more fields than the header has
            cells = pd.read_csv(
                path, sep=separator, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8"
            )[list(columns)]
    except (ValueError, pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path}: {error}") from error
    if cells.empty:
        raise ValueError(f"{path}: no rows")
    return cells


def cell_error(path: Path, row: int, column: str, text: str) -> ValueError:
    """What is wrong with the cell in `row` (from 0, without the header), as an error to raise."""
    return ValueError(f"{path}, line {row + 2}, column {column}: {text}")


def number_columns(cells: pd.DataFrame, path: Path, names: Sequence[str]) -> np.ndarray:
    """Columns `names` as finite numbers, float64 [n, len(names)]; ValueError for the first cell that is none."""
    values = np.stack([pd.to_numeric(cells[name], errors="coerce").to_numpy(np.float64) for name in names], axis=1)
    if (wrong := ~np.isfinite(values)).any():
        row, column = np.argwhere(wrong)[0]
        found = cells[names[column]].iloc[row]
        raise cell_error(path, row, names[column], f"{found!r} found, a finite number is allowed")
    return values


def number_list(text: str, path: Path, row: int, column: str) -> np.ndarray:
    """A cell that holds a list as JSON writes it, float64 [n]; nothing in a file is ever evaluated."""
    try:
        found = json.loads(text)
        values = np.array(found, dtype=np.float64)
    except (ValueError, TypeError, RecursionError):
        values = np.empty(0)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise cell_error(path, row, column, f"{text[:40]!r} found, a list of finite numbers is allowed")
    return values
