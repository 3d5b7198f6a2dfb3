"""FER-2013 as its contest published it: one CSV of ``emotion``, ``pixels`` and ``Usage``, a picture a line.

``fer2013.csv`` and ``icml_face_data.csv`` (other order, blanks in the header) are both read. A picture has no file, so
its source is made of its usage and its line: "PrivateTest_32300" is line 32300 of the file, the header being line 1.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from emolib import labels
from emolib.corpora import UNREAD
from emolib.corpora.fer2013 import USAGES

LABEL_SPACE = "fer7"  # whose order is the file's: 0 angry, 1 disgust, 2 fear, 3 happy, 4 sad, 5 surprise, 6 neutral
COLUMNS = ("emotion", "pixels", "Usage")
SIDE_PX = 48
_CLASSES = {str(label): name for label, name in enumerate(labels.names(LABEL_SPACE))}
_GREY = {str(value): value for value in range(256)}


def read(
    path: Path, wanted: Callable[[str, str], bool]
) -> tuple[list[dict[str, str]], dict[str, np.ndarray], list[dict[str, str]]]:
    """Pictures of the file, line by line: only those that are wanted are kept in memory.

    Parameters
    ----------
    path : the file.
    wanted : whether a picture is, by its source and its split.

    Returns
    -------
    rows : source, split and class of each picture.
    images : source -> uint8 [48, 48].
    broken : source (file and line) and reason of each line that holds no picture, of those wanted or of no usage.

    Raises
    ------
    ValueError
        A column is missing or there twice.
    OSError
        The file cannot be read.
    """
    rows, images, broken = [], {}, []
    with path.open(encoding="utf-8-sig", errors="backslashreplace") as file:
        header = _header(path, file.readline())
        for number, line in enumerate(file, start=2):
            try:
                cells = _cells(line, header)
                split = _known(cells, "Usage", USAGES)
                source = f"{cells['Usage']}_{number}"
                if wanted(source, split):
                    row = {"source": source, "split": split, "class": _known(cells, "emotion", _CLASSES)}
                    images[source] = _pixels(cells["pixels"])
                    rows.append(row)
            except ValueError as error:
                if line.strip():
                    broken.append({"source": f"{path.name}, line {number}", "reason": f"{UNREAD} ({error})"})
    return rows, images, broken


def _header(path: Path, line: str) -> list[str]:
    try:
        header = _split(line)
    except ValueError as error:
        raise ValueError(f"{path}, line 1: {error}") from None
    if wrong := [name for name in COLUMNS if header.count(name) != 1]:
        found = [name[:40] for name in header[:8]]
        raise ValueError(f"{path}, line 1: column(s) {wrong} missing or there twice, {found} found")
    return header


def _split(line: str) -> list[str]:
    """Cells of a line, read alone: a quote that nobody closed cannot swallow the lines that follow."""
    try:
        return [cell.strip() for cell in next(csv.reader([line], strict=True, skipinitialspace=True), [])]
    except csv.Error as error:
        raise ValueError(f"no CSV: {error}") from None


def _cells(line: str, header: list[str]) -> dict[str, str]:
    cells = _split(line)
    if len(cells) != len(header):
        raise ValueError(f"{len(cells)} cells, the first line has {len(header)}")
    return dict(zip(header, cells, strict=True))


def _known(cells: dict[str, str], column: str, known: dict[str, str]) -> str:
    if cells[column] not in known:
        raise ValueError(f"column {column}: {cells[column][:40]!r} found, allowed are {', '.join(known)}")
    return known[cells[column]]


def _pixels(cell: str) -> np.ndarray:
    try:
        values = bytes(map(_GREY.__getitem__, cell.split()))
    except KeyError as error:
        raise ValueError(f"column pixels: {error.args[0][:40]!r} found, whole numbers 0 to 255 are allowed") from None
    if len(values) != SIDE_PX**2:
        raise ValueError(f"column pixels: {len(values)} numbers found, {SIDE_PX**2} are allowed")
    return np.frombuffer(values, np.uint8).reshape(SIDE_PX, SIDE_PX)
