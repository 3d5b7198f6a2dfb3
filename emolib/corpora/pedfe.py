"""PEDFE, the Padova Emotional Dataset of Facial Expressions: genuine and posed clips of the same people.

Clips are named ``<subject>_<emotion><type>_<n>``: emotion d disgust, f happiness, p fear, r anger, s surprise, t
sadness (the order of `pedfe6`); type g genuine, s posed. ``ratings.csv`` holds what human raters said of each clip.

Source: Miolla, Cardaioli and Scarpazza 2022, doi 10.3758/s13428-022-01914-4.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import pandas as pd

from emolib.corpora import VIDEO_SUFFIXES, Corpus, collect, find_files

RATINGS = "ratings.csv"
EMOTION_CODES = "dfprst"  # the index of a code is its label in pedfe6
NAME = re.compile(rf"(?P<subject>[1-9][0-9]*)_(?P<emotion>[{EMOTION_CODES}])(?P<type>[gs])_[0-9]+")
# column of ratings.csv -> column here; the first is the clip's name
RATING_COLUMNS = {
    "PEDFE_code": "video",
    "Gender": "sex",
    "Hit rate Emotion (%)": "hit_rate_percent",
    "Hit rate Typo (%)": "hit_rate_type_percent",
    "Mean_Genuineness": "genuineness_mean",
    "SD_Genuineness": "genuineness_sd",
    "Mean_Intensity": "intensity_mean",
    "SD_Intensity": "intensity_sd",
    "Duration(s)": "duration_s",
}
SEXES = {"F": "female", "M": "male"}


def scan(root: Path) -> Corpus:
    """Clips of PEDFE anywhere below `root`, with the human ratings where ``ratings.csv`` is there.

    Returns
    -------
    Corpus
        `pedfe6`, videos; adds posed (bool) and, with ratings, sex, hit_rate_percent (raters who named the emotion, 0 to
        100), hit_rate_type_percent (who told genuine from posed), genuineness_mean/_sd (-7 to 7), intensity_mean/_sd
        (0 to 9) and duration_s. A clip without a rating is kept, its ratings are NaN and `notes` counts it; so are
        ratings without a clip.

    Raises
    ------
    ValueError
        Several files of ratings, a column that is missing or no number, or a clip that is rated twice.
    """
    files, excluded = find_files(root)
    tables = [source for source in files if PurePosixPath(source).name == RATINGS]
    if len(tables) > 1:
        raise ValueError(f"{root}: one {RATINGS} is allowed, there are {', '.join(tables)}")
    rows = {}
    for source in files:
        row, reason = _parse(PurePosixPath(source))
        if not reason and row["video"] in rows:
            reason = f"same clip as {rows[row['video']]['source']}"
        if reason:
            excluded.append({"source": source, "reason": reason})
        else:
            rows[row["video"]] = {"source": source, **row}
    notes = []
    if tables:
        notes = _join(rows, read_ratings(Path(root, tables[0])))
    return collect("pedfe", root, rows.values(), excluded, label_space="pedfe6", kind="video", notes=notes)


def _parse(path: PurePosixPath) -> tuple[dict, str]:
    """The columns that a file name says, or why it is no sample."""
    if path.name == RATINGS:
        return {}, "table of ratings"
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        return {}, f"no video file ({path.suffix or 'no suffix'})"
    if not (match := NAME.fullmatch(path.stem)):
        return {}, "name is not <subject>_<emotion><type>_<n>"
    return {
        "video": path.stem,
        "subject": match["subject"],
        "label": EMOTION_CODES.index(match["emotion"]),
        "split": "",
        "posed": match["type"] == "s",
    }, ""


def read_ratings(path: Path) -> pd.DataFrame:
    """The human ratings by clip, in the columns of `RATING_COLUMNS`; ValueError names the file, column and line."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    if missing := [column for column in RATING_COLUMNS if column not in table.columns]:
        raise ValueError(f"{path}: column(s) {missing} missing, there are {list(table.columns)}")
    table = table[list(RATING_COLUMNS)].rename(columns=RATING_COLUMNS)
    if (twice := table["video"].duplicated()).any():
        raise ValueError(f"{path}, line {twice.idxmax() + 2}: clip {table['video'][twice.idxmax()]!r} is rated twice")
    if (other := ~table["sex"].isin(SEXES)).any():
        raise ValueError(f"{path}, line {other.idxmax() + 2}: Gender {table['sex'][other.idxmax()]!r}, allowed F and M")
    table["sex"] = table["sex"].map(SEXES)
    for theirs, ours in list(RATING_COLUMNS.items())[2:]:
        numbers = pd.to_numeric(table[ours].replace("", "nan"), errors="coerce")
        if (bad := numbers.isna() & ~table[ours].str.lower().isin(["", "nan"])).any():
            raise ValueError(f"{path}, line {bad.idxmax() + 2}: {theirs} {table[ours][bad.idxmax()]!r} is no number")
        table[ours] = numbers
    return table.set_index("video")


def _join(rows: dict[str, dict], ratings: pd.DataFrame) -> list[str]:
    """Give each clip its ratings, and say which clips and ratings found no partner."""
    for video, rating in ratings.reindex(list(rows)).to_dict("index").items():
        rows[video].update(rating)
    notes = []
    for what, alone in (
        ("clip(s) without a rating, kept with NaN", [video for video in rows if video not in ratings.index]),
        ("rating(s) without a clip", [video for video in ratings.index if video not in rows]),
    ):
        if alone:
            notes.append(f"{len(alone)} {what}: {', '.join(alone[:5])}{', ...' if len(alone) > 5 else ''}")
    return notes
