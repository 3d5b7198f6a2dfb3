"""FER-2013 in the layout of its Kaggle folder, with the crowd votes of FER+ where they are there.

Images are ``<folder>/<emotion>/<usage>_<id>.jpg``, folder train or test, usage Training, PublicTest or PrivateTest.
Kaggle's folder ``test`` holds both the public test of the 2013 contest, which its entries were tuned on, and the
private one, which ranked them: they become the splits "validation" and "test". An image that is named otherwise
belongs to its folder's split.

Nobody knows who is in an image: each one is its own subject, so that folds over subjects are folds over images. Some
images are there more than once, pixel by pixel, within and across splits: `duplicate_group` finds them.

Sources: Goodfellow et al. 2013, arXiv 1307.0414; FER+: Barsoum et al. 2016, doi 10.1145/2993148.2993165.
"""

from __future__ import annotations

import csv
import hashlib
import math
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pandas as pd

from emolib import labels
from emolib.corpora import IMAGE_SUFFIXES, SPLITS, Corpus, collect, find_files

VOTES = "ferplus_votes.csv"
USAGES = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
SPLIT_FOLDERS = SPLITS | {usage.lower(): split for usage, split in USAGES.items()}  # in lower case -> split
FOLDER_OF = {"train": "train", "validation": "test", "test": "test"}  # split by name -> split of its Kaggle folder
# the ten answers that FER+ allowed; NF is "not a face"
VOTED = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
VOTE_COLUMNS = {"mad": "mad", "n_identical": "n_identical", **{name: f"votes_{name}" for name in VOTED}}
VOTE_KEY = ["fer_label", "jpg"]  # two file names occur in two folders of emotions
VOTERS = 10
_MOST = {"mad": 255, "n_identical": math.inf, **dict.fromkeys(VOTED, VOTERS)}  # the largest number in a cell


def scan(root: Path, *, hash_pixels: bool = False) -> Corpus:
    """Images below `root`, which holds ``train/`` and, if there, ``test/`` and ``ferplus_votes.csv``.

    Parameters
    ----------
    root : folder
    hash_pixels : bool
        Decode every image and add `duplicate_group`, the same text for images with the same pixels (seconds for all of
        FER-2013). An image that cannot be decoded is excluded.

    Returns
    -------
    Corpus
        `fer7`, stills; with votes it adds votes_<class> (0 to 10, NaN where FER+ has none), mad (mean grey-level
        difference of the match with FER+) and n_identical (size of its group of pixel-identical images in FER+).

    Raises
    ------
    ValueError
        The file of votes is broken, see `read_votes`.
    """
    files, excluded = find_files(root)
    rows = []
    for source in files:
        row, reason = _parse(PurePosixPath(source))
        if not reason and hash_pixels:
            row["duplicate_group"] = pixel_hash(Path(root, source))
            reason = "" if row["duplicate_group"] else "image cannot be decoded"
        if reason:
            excluded.append({"source": source, "reason": reason})
        else:
            rows.append({"source": source, "video": source, "subject": source, **row})
    notes = _join(rows, read_votes(Path(root, VOTES))) if VOTES in files else []
    return collect("fer2013", root, rows, excluded, label_space="fer7", kind="still", notes=notes)


def _parse(path: PurePosixPath) -> tuple[dict, str]:
    """Label and split of an image, or why it is no sample."""
    if str(path) == VOTES:
        return {}, "table of votes"
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return {}, f"no image file ({path.suffix or 'no suffix'})"
    if len(path.parts) != 3 or path.parts[0] not in SPLITS:
        return {}, "not in <train|test>/<emotion>/"
    folder, emotion, _ = path.parts
    if emotion not in labels.names("fer7"):
        return {}, f"folder {emotion!r} is no class of fer7"
    split, contradiction = split_of(folder, path.name)
    return {"label": labels.SPACES["fer7"].index(emotion), "split": split}, contradiction


def split_of(folder: str, name: str) -> tuple[str, str]:
    """Split of a picture, and where its name and its folder contradict each other the reason why it has none.

    Parameters
    ----------
    folder : a key of `SPLIT_FOLDERS` in any case, or "" where no folder says a split.
    name : of the file; "PublicTest_3.jpg" says the contest's usage, which is finer than Kaggle's folders.
    """
    by_folder, split = SPLIT_FOLDERS[folder.lower()], USAGES.get(name.split("_", 1)[0], "")
    if split and by_folder not in ("", split) and SPLITS.get(folder.lower()) != FOLDER_OF[split]:
        return "", f"its name says {split}, its folder {folder}"
    return split or by_folder, ""


def pixel_hash(path: Path) -> str:
    """A text that two images share when their grey pixels are the same; empty where there is no image to decode."""
    content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    pixels = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE) if content.size else None
    if pixels is None:
        return ""
    return hashlib.blake2b(str(pixels.shape).encode() + pixels.tobytes(), digest_size=16).hexdigest()


def read_votes(path: Path) -> pd.DataFrame:
    """The FER+ votes, indexed by emotion folder and file name, in the columns of `VOTE_COLUMNS`; NaN: an empty cell.

    Raises
    ------
    ValueError
        No UTF-8, no CSV, a column that is missing or there twice, a line with more or fewer cells than the first, two
        lines for an image, or a cell that holds no such number: `mad` lies in 0..255, votes are whole and in 0..10.
    """
    table = _cells(path)
    if (twice := table.duplicated(VOTE_KEY)).any():
        line = twice.idxmax()
        raise ValueError(f"{path}, line {line}: {'/'.join(table.loc[line, VOTE_KEY])} has votes already")
    votes = {name: _numbers(table[name], path) for name in VOTE_COLUMNS}
    return table[VOTE_KEY].assign(**votes).set_index(VOTE_KEY).rename(columns=VOTE_COLUMNS)


def _cells(path: Path) -> pd.DataFrame:
    """The columns that are needed, as text, indexed by the line of the file."""
    rows, lines = [], []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            for cells in filter(None, reader):
                if len(cells) != len(header):
                    raise ValueError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells, the first line has {len(header)}"
                    )
                rows.append(cells)
                lines.append(reader.line_num)
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: no UTF-8 ({error})") from error
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num}: no CSV ({error})") from error
    needed = [*VOTE_KEY, *VOTE_COLUMNS]
    if wrong := [column for column in needed if header.count(column) != 1]:
        raise ValueError(f"{path}: column(s) {wrong} missing or there twice, the first line has {header}")
    return pd.DataFrame(rows, columns=header, index=lines, dtype="str")[needed]


def _numbers(cells: pd.Series, path: Path) -> pd.Series:
    """A column as float64, NaN where a cell is empty; only `mad` need not be whole."""
    numbers, most = pd.to_numeric(cells, errors="coerce").astype("float64"), _MOST[cells.name]
    whole = cells.name != "mad"
    good = numbers.between(0, most) & ((numbers % 1 == 0) | (not whole))
    if (wrong := (cells != "") & ~good).any():
        line = wrong.idxmax()
        allowed = f"a {'whole ' if whole else ''}number from 0{f' to {most}' if most < math.inf else ''}"
        raise ValueError(f"{path}, line {line}, column {cells.name}: {cells[line]!r} found, {allowed} is allowed")
    return numbers


def _join(rows: list[dict], votes: pd.DataFrame) -> list[str]:
    """Give each image its votes, and say how many images have none."""
    keys = [tuple(row["source"].split("/")[1:]) for row in rows]
    joined = votes.reindex(pd.MultiIndex.from_tuples(keys, names=VOTE_KEY))
    for row, vote in zip(rows, joined.to_dict("records"), strict=True):
        row.update(vote)
    without = int(joined["votes_neutral"].isna().sum())
    return [f"{without} image(s) without FER+ votes, kept with NaN"] if without else []
