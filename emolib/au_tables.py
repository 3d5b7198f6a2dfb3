"""Action units of whole performances: sequences of frames or their means, from whatever measured them, in one form.

| from | columns | sequences |
|---|---|---|
| `of_folder`: OpenFace's tables, one a video, names as RAVDESS's | 17 intensities, 18 presences | yes |
| `of_store`: a frame store's landmarks, by `action_units.estimate` | 17 intensities | yes |
| `of_means`: the published means (`published_posteriors.mean_action_units`) | 17 intensities, 18 presences | no |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from emolib import action_units, labels, openface, performances, published_posteriors
from emolib.corpora import find_files, ravdess
from emolib.frames import FrameStore
from emolib.ragged import Ragged

EXCLUDED = ("source", "reason")
Values = TypeVar("Values", np.ndarray, Ragged)
NOT_MEASURED = "no frame with a measured action unit"


@dataclass(frozen=True)
class ActionUnits:
    """F action units of n performances.

    Attributes
    ----------
    performances : performance, subject, label ...; where there are sequences also n_frames and n_measured.
    means : float32 [n, F], over the measured frames.
    names : F columns, such as "AU01_r".
    label_space : of the labels.
    sequences : of [T, F] a performance, NaN in frames without a measurement; None where only the means are known.
    steps : a row a row of `sequences.values`: frame, time_s, and `sample` (the store's) where there is one.
    excluded : source, reason: what was found and is no performance here.
    """

    performances: pd.DataFrame
    means: np.ndarray
    names: tuple[str, ...]
    label_space: str
    sequences: Ragged | None = None
    steps: pd.DataFrame | None = None
    excluded: pd.DataFrame | None = None

    def steps_of(self, row: int) -> pd.DataFrame:
        """`steps` of the performance at `row`, with a fresh index."""
        if self.sequences is None:
            raise ValueError("only means are known of these performances: they have no steps of time")
        first = int(self.sequences.start[row])
        return self.steps.iloc[first : first + int(self.sequences.length[row])].reset_index(drop=True)


def of_folder(
    folder: str | Path,
    *,
    min_confidence: float = 0.0,
    max_gap_frames: int = 0,
    channel: str = "speech",
) -> ActionUnits:
    """OpenFace's tables (``*.csv``) anywhere below `folder`, in RAVDESS's naming.

    A column that no table has (an older version) is left out.

    Parameters
    ----------
    min_confidence : as for `openface.read`.
    max_gap_frames : as for `openface.fill_gaps`.
    channel : "speech", "song" or "any".

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ValueError
        No table is left, tables have different columns, or one is damaged: file, line and column are named.
    """
    allowed = ("any", *ravdess.CHANNELS.values())
    if channel not in allowed:
        raise ValueError(f"channel: {channel!r} given, allowed are {', '.join(allowed)}")
    files, excluded = find_files(Path(folder))
    kept, rows, lacking = {}, {}, None
    for source in sorted(file for file in files if file.lower().endswith(".csv")):
        reason = _why_not(source, channel=channel, taken=kept)
        if not reason:
            table = openface.sequence(
                openface.read(Path(folder) / source, min_confidence=min_confidence), max_gap_frames=max_gap_frames
            )
            values = table[[*openface.INTENSITIES, *openface.PRESENCES]]
            reason = "" if values.notna().any(axis=None) else NOT_MEASURED
        if reason:
            excluded.append({"source": source, "reason": reason})
            continue
        empty = set(values.columns[values.isna().all()])
        if lacking is not None and empty != lacking[1]:
            odd = ", ".join(sorted(empty ^ lacking[1]))
            raise ValueError(f"{folder}: {source} and {lacking[0]} differ in what they have of column(s) {odd}")
        lacking = lacking or (source, empty)
        kept[performances.performance_id(source)] = source
        rows[source] = table
    if not rows:
        found = f"{len(excluded)} other file(s), such as {excluded[0]}" if excluded else "nothing"
        raise ValueError(f"{folder}: no table of a performance, {found}")
    names = [name for name in (*openface.INTENSITIES, *openface.PRESENCES) if name not in lacking[1]]
    return _assembled(
        performances.from_names(list(rows)), list(rows.values()), names, space="ravdess8", excluded=excluded
    )


def of_store(store: FrameStore, *, max_gap_frames: int = 0) -> ActionUnits:
    """The 17 intensities estimated from the landmarks of a store of videos; each subject's neutral is its own.

    Parameters
    ----------
    max_gap_frames : as for `openface.fill_gaps`, in rows of the store.

    Raises
    ------
    KeyError
        The store has no landmarks.
    ValueError
        Too few faces, or two videos show one performance.
    """
    manifest = store.manifest.sort_values(["video", "frame"], kind="stable")
    units = action_units.estimate(store.array("landmarks")[manifest["sample"]], manifest["subject"].to_numpy())
    names = list(openface.INTENSITIES)
    extra = [name for name in ("intensity", "statement", "repetition", "sex") if name in manifest]
    tables, known, excluded = [], [], []
    for video, rows in manifest.assign(**dict(zip(names, units.T, strict=True))).groupby("video", sort=True):
        if rows[names].isna().all(axis=None):
            excluded.append({"source": video, "reason": NOT_MEASURED})
            continue
        filled = openface.fill_gaps(rows[names].to_numpy(np.float32), max_gap_frames=max_gap_frames)
        tables.append(rows[["frame", "time_s", "sample"]].assign(**dict(zip(names, filled.T, strict=True))))
        first = rows.iloc[0]
        known.append({"performance": performances.performance_id(video), **first[["subject", "label", *extra]]})
    table = performances.checked(pd.DataFrame(known), where=str(store.path))
    return _assembled(table, tables, names, space=store.label_space, excluded=excluded)


def of_means(path: str | Path) -> ActionUnits:
    """The published means of 35 action units of RAVDESS's 1,440 performances; errors as for its reader."""
    known, values, names = published_posteriors.mean_action_units(path)
    nothing = pd.DataFrame(columns=list(EXCLUDED), dtype=str)
    return ActionUnits(known, values, names, "ravdess8", excluded=nothing)


def compressed(values: Values, *, method: str) -> Values:
    """Intensities and shares from 0 with their large values drawn together, for models that think in differences.

    Parameters
    ----------
    values : float [n, F], or sequences of such rows; 0 or more, NaN stays.
    method : "none", "sqrt" or "log" (of 1 + value).
    """
    functions = {"none": lambda rows: rows, "sqrt": np.sqrt, "log": np.log1p}
    if method not in functions:
        raise ValueError(f"compression {method!r}: one of {', '.join(functions)} is allowed")
    rows = values.values if isinstance(values, Ragged) else np.asarray(values)
    if np.nanmin(rows, initial=0.0) < 0:
        raise ValueError(f"values: {np.nanmin(rows):g} received, 0 or more is allowed; compress before you normalise")
    made = functions[method](rows)
    return Ragged(made, values.length) if isinstance(values, Ragged) else made


def _why_not(source: str, *, channel: str, taken: dict[str, str]) -> str:
    """Why a file is no performance, from its name; "" where it is one."""
    match = ravdess.NAME.fullmatch(Path(source).stem)
    if not match:
        return "name is not MM-VV-EE-II-SS-RR-AA"
    emotions = range(1, len(labels.names("ravdess8")) + 1)
    if int(match["channel"]) not in ravdess.CHANNELS or int(match["emotion"]) not in emotions:
        return f"channel {match['channel']} and emotion {match['emotion']} are not both known"
    if channel not in ("any", found := ravdess.CHANNELS[int(match["channel"])]):
        return f"channel {found}, not asked for"
    first = taken.get(performances.performance_id(source))
    return f"same performance as {first}" if first else ""


def _assembled(
    known: pd.DataFrame, tables: Sequence[pd.DataFrame], names: list[str], *, space: str, excluded: list[dict]
) -> ActionUnits:
    sequences = Ragged.of_list([table[names].to_numpy(np.float32) for table in tables])
    others = [name for name in ("frame", "time_s", "sample") if name in tables[0]]
    steps = pd.concat([table[others] for table in tables], ignore_index=True)
    measured = ~np.isnan(sequences.values).all(axis=1)
    return ActionUnits(
        known.assign(n_frames=sequences.length, n_measured=np.add.reduceat(measured.astype(np.int64), sequences.start)),
        sequences.means(),
        tuple(names),
        space,
        sequences,
        steps,
        pd.DataFrame(excluded, columns=list(EXCLUDED), dtype=str),
    )
