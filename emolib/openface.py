"""OpenFace's tables of action units: read in every version, failed frames marked, as sequences or joined to a manifest.

OpenFace (Baltrusaitis et al. 2018, "OpenFace 2.0") writes a CSV a video, a row a frame and face. Versions differ:
blanks after commas or none, `face_id` or none (one face), further columns of landmarks, pose or somebody's own. Read
are

| column | meaning |
|---|---|
| frame | counted from 1 there, from 0 here and in every manifest |
| timestamp, face_id, confidence | s; 0 where there is no column; 0..1. A missing timestamp is NaN |
| success | 0: tracking failed, and what stands in the row is no measurement: it becomes NaN |
| AU01_r ... AU45_r | 17 intensities, 0..5 |
| AU01_c ... AU45_c | 18 presences (AU28 has no intensity), 0 or 1 |

OpenFace's output for RAVDESS (Zenodo record 3255102) is of this form: a CSV a video, 30 frames a second.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

UNITS = tuple(f"AU{unit:02d}" for unit in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45))
INTENSITIES = tuple(f"{unit}_r" for unit in UNITS)
PRESENCES = tuple(f"{unit}_c" for unit in (*UNITS[:-1], "AU28", "AU45"))
MAX_INTENSITY = 5.0
MAX_TIME_DIFFERENCE_S = 0.5  # frames whose times are further apart than this are not the same frame

_NEEDED = ("frame", "confidence", "success")
_RANGES = {"frame": (1, np.inf), "face_id": (0, np.inf), "timestamp": (0, np.inf), "confidence": (0, 1)}
_RANGES |= {"success": (0, 1), **dict.fromkeys(INTENSITIES, (0, MAX_INTENSITY)), **dict.fromkeys(PRESENCES, (0, 1))}


def read(path: str | Path, *, min_confidence: float = 0.0) -> pd.DataFrame:
    """Read one table of OpenFace.

    Parameters
    ----------
    path : CSV file.
    min_confidence : a frame below it counts as failed too, 0..1.

    Returns
    -------
    DataFrame, a row a frame and face, sorted by both: `frame` (int64, from 0), `time_s` (float64), `face_id` (int64),
    `confidence` (float64), `success` (bool), then `INTENSITIES` and `PRESENCES` (float32). These are NaN where the
    frame failed, and throughout where the version has no such column.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        A needed column or every intensity is missing, a cell is no number or out of range, or a face is twice in a
        frame. File, line and column are named.
    """
    path = Path(path)
    raw = _cells(path)
    numbers = {"face_id": np.zeros(len(raw)), "timestamp": np.full(len(raw), np.nan)}
    for name in (*_NEEDED, "face_id", "timestamp"):
        if name in raw:
            numbers[name] = _numbers(raw[name], path)
    success = (numbers["success"] == 1) & (numbers["confidence"] >= min_confidence)
    for name in (*INTENSITIES, *PRESENCES):
        numbers[name] = np.full(len(raw), np.nan, dtype=np.float32)
        if name in raw:
            numbers[name][success] = _numbers(raw.loc[success, name], path)
    table = pd.DataFrame({name: numbers[name] for name in ("frame", "timestamp", "face_id", "confidence")})
    table = table.assign(success=success, **{name: numbers[name] for name in (*INTENSITIES, *PRESENCES)})
    table = table.astype({"frame": np.int64, "face_id": np.int64}).rename(columns={"timestamp": "time_s"})
    table["frame"] -= 1
    if (twice := table.duplicated(["frame", "face_id"]).to_numpy()).any():
        row = int(np.argmax(twice))
        frame, face = table["frame"][row] + 1, table["face_id"][row]
        raise ValueError(f"{path}, line {row + 2}, column frame: frame {frame} of face {face} is there twice")
    return table.sort_values(["frame", "face_id"], ignore_index=True)


def sequence(table: pd.DataFrame, *, max_gap_frames: int = 0) -> pd.DataFrame:
    """The face that was followed for longest, from the table's first frame to its last, a row a frame.

    Parameters
    ----------
    table : of `read`.
    max_gap_frames : as for `fill_gaps`.

    Returns
    -------
    DataFrame: `frame` (int64, rising by 1), `time_s` (float64; NaN where the table lacks the frame or its time),
    `INTENSITIES` and `PRESENCES` (float32). These are NaN in frames that failed or that the table lacks, unless their
    gap was filled.
    """
    units = [*INTENSITIES, *PRESENCES]
    face = _one_face(table).set_index("frame")[["time_s", *units]]
    if len(face):
        face = face.reindex(pd.RangeIndex(face.index.min(), face.index.max() + 1, name="frame"))
    filled = fill_gaps(face[units].to_numpy(np.float32), max_gap_frames=max_gap_frames)
    return face.assign(**dict(zip(units, filled.T, strict=True))).reset_index()


def fill_gaps(values: np.ndarray, *, max_gap_frames: int) -> np.ndarray:
    """A copy in which runs of frames without a measurement are interpolated linearly, column by column.

    Presences, 0 or 1, become shares in between where they differ at a gap's two ends.

    Parameters
    ----------
    values : float [T, F], NaN where nothing was measured.
    max_gap_frames : longest run that is filled; 0 fills none. A longer run stays NaN as a whole, and so does one at
        the start or the end, where nothing is known on its other side.
    """
    if max_gap_frames < 0 or max_gap_frames != int(max_gap_frames):
        raise ValueError(f"max_gap_frames: {max_gap_frames} received, a whole number from 0 is allowed")
    filled, rows = np.array(values), np.arange(len(values))
    for column in filled.T:
        known = np.flatnonzero(~np.isnan(column))
        after = np.searchsorted(known, rows)
        inside = np.isnan(column) & (after > 0) & (after < len(known))
        gap, after = rows[inside], after[inside]
        gap = gap[known[after] - known[after - 1] - 1 <= max_gap_frames]
        if len(gap):
            column[gap] = np.interp(gap, known, column[known])
    return filled


def for_videos(folder: str | Path, frames: pd.DataFrame, *, min_confidence: float = 0.0) -> np.ndarray:
    """Intensities of every frame of a manifest, from the tables in `folder`, one ``<video>.csv`` a video.

    Where a table has several faces, that with the most successful frames is the video's (of equal ones the first).

    Parameters
    ----------
    folder : searched with its subfolders; a video's table has the name of the video's id, with or without the suffix of
        its file. Where several have it, it is the one in the id's folder.
    frames : rows of a manifest: video, frame, and time_s, which is compared with OpenFace's.
    min_confidence : as for `read`.

    Returns
    -------
    float32 [N, 17], 0..5, in the order of `UNITS`; NaN in frames that failed or that the table does not have.

    Raises
    ------
    FileNotFoundError
        A video has no table.
    ValueError
        Two tables have a video's name, two videos have one table, a frame's times differ by more than half a second
        (the table is of another recording or frame rate), or see `read`.
    """
    found = _tables(Path(folder), frames["video"].unique())
    result = np.full((len(frames), len(UNITS)), np.nan, dtype=np.float32)
    for video, rows in frames.reset_index(drop=True).groupby("video", sort=False):
        table = _one_face(read(found[video], min_confidence=min_confidence)).set_index("frame").reindex(rows["frame"])
        apart = np.abs(table["time_s"].to_numpy() - rows["time_s"].to_numpy())
        if (apart > MAX_TIME_DIFFERENCE_S).any():
            row = int(np.argmax(apart > MAX_TIME_DIFFERENCE_S))
            there, here = table["time_s"].iloc[row], rows["time_s"].iloc[row]
            raise ValueError(
                f"{found[video]}: frame {table.index[row] + 1} is at {there:g} s, in the manifest at {here:g} s"
            )
        result[rows.index] = table[list(INTENSITIES)].to_numpy()
    return result


def _tables(folder: Path, videos: Iterable[str]) -> dict[str, Path]:
    """Each video's own table."""
    files: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*.csv")):
        files.setdefault(file.stem, []).append(file)
    found, missing, taken = {}, [], {}
    for video in videos:
        place = PurePosixPath(video)
        one = files.get(place.name) or files.get(place.stem, [])
        if len(one) > 1 and place.parent.name:
            one = [file for file in one if file.relative_to(folder).parent == place.parent] or one
        if len(one) > 1:
            raise ValueError(f"{folder}: video {video!r} has several tables: {', '.join(map(str, one))}")
        if not one:
            missing.append(video)
        elif (other := taken.setdefault(one[0], video)) != video:
            raise ValueError(f"{one[0]}: it would be the table of two videos, {other!r} and {video!r}")
        else:
            found[video] = one[0]
    if missing:
        raise FileNotFoundError(f"{folder}: no table for {len(missing)} video(s), such as {missing[0]}.csv")
    return found


def _one_face(table: pd.DataFrame) -> pd.DataFrame:
    successes = table.groupby("face_id")["success"].sum()
    return table[table["face_id"] == successes.idxmax()] if len(successes) else table


def _cells(path: Path) -> pd.DataFrame:
    """The columns that are wanted, as text without blanks."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no OpenFace table here")
    try:
        raw = pd.read_csv(
            path, dtype=str, keep_default_na=False, skipinitialspace=True, index_col=False, encoding="utf-8-sig"
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no OpenFace table: {error}") from error
    raw.columns = [str(name).strip() for name in raw.columns]
    wanted = [name for name in raw.columns if name in _RANGES]
    if missing := [name for name in _NEEDED if name not in wanted]:
        raise ValueError(f"{path}: column(s) {', '.join(missing)} missing; there are {', '.join(raw.columns[:8])} ...")
    if not set(INTENSITIES) & set(wanted):
        raise ValueError(f"{path}: no column of intensities ({INTENSITIES[0]} ... {INTENSITIES[-1]})")
    # pandas calls a second column of a name "name.1"
    if twice := [name for name in wanted if wanted.count(name) > 1 or f"{name}.1" in raw.columns]:
        raise ValueError(f"{path}: column(s) {sorted(set(twice))} are twice")
    return raw[wanted]


def _numbers(cells: pd.Series, path: Path) -> np.ndarray:
    numbers = pd.to_numeric(cells.str.strip(), errors="coerce").to_numpy(dtype=np.float64)
    low, high = _RANGES[cells.name]
    whole = cells.name in ("frame", "face_id", "success")
    wrong = ~((numbers >= low) & (numbers <= high)) | (whole & (np.nan_to_num(numbers) % 1 != 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        allowed = f"a {'whole ' if whole else ''}number in [{low}, {high}]"
        where = f"{path}, line {cells.index[row] + 2}, column {cells.name}"
        raise ValueError(f"{where}: {cells.iloc[row]!r} found, {allowed} is allowed")
    return numbers
