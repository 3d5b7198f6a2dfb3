"""AffectNet's manually annotated images, by its own tables ``training.csv`` and ``validation.csv``.

The tables lie in the root, the images in numbered folders below the folder `images` of it. Columns (comma, UTF-8):

| column | cell |
|---|---|
| subDirectory_filePath | path of the image below `images` |
| face_x, face_y, face_width, face_height | the face's box in pixels of the image (preprocessing's ``crop="box"``) |
| facial_landmarks | 68 points as x;y;x;y... in pixels of the image; read on request |
| expression | 0 to 7 as in `affectnet8`; 8 none, 9 uncertain, 10 no face: left out |
| valence, arousal | -1 to 1, -2 where there is none (NaN here) |

Nobody knows who is in an image: each one is its own subject, so that folds over subjects are folds over images. A row
that cannot be used is listed in `Corpus.excluded` with the reason; so is an image that no table lists.

Source: Mollahosseini et al. 2019, arXiv 1708.03985.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from emolib import labels
from emolib.corpora import IMAGE_SUFFIXES, Corpus, collect, find_files

TABLES = {"validation.csv": "validation", "training.csv": "train"}  # an image in both belongs to the first
PATH, LANDMARKS, EXPRESSION = "subDirectory_filePath", "facial_landmarks", "expression"
BOX = ("face_x", "face_y", "face_width", "face_height")
RATINGS = ("valence", "arousal")
NUMBERS = (*BOX, EXPRESSION, *RATINGS)
LEFT_OUT = {8: "none", 9: "uncertain", 10: "no face"}
NOT_RATED = -2.0
MIN_BOX_PX, MAX_BOX_PX = 1, 1e6  # of a box's sides; of each of its four numbers, where no picture reaches


def scan(root: Path, *, images: str = "Manually_Annotated_Images", landmarks: bool = False) -> Corpus:
    """The images that the tables in `root` list.

    Parameters
    ----------
    root : folder with ``training.csv``, ``validation.csv`` or both
    images : folder of the images below `root`; "" is `root` itself
    landmarks : read the tables' landmarks (some seconds): preprocessing then looks for none

    Returns
    -------
    Corpus
        `affectnet8`, stills; adds face_x, face_y, face_width, face_height, valence and arousal.

    Raises
    ------
    FileNotFoundError
        No table, or no folder of images.
    ValueError
        A table is no UTF-8 or no CSV, or lacks a column.
    """
    root = Path(root)
    names = [name for name in TABLES if (root / name).is_file()]
    if not names:
        raise FileNotFoundError(f"{root}: neither {' nor '.join(TABLES)} is here")
    if not (root / images).is_dir():
        raise FileNotFoundError(f"{root}: there is no folder {images!r} of images (option images names another)")
    columns = [PATH, *NUMBERS, *([LANDMARKS] if landmarks else [])]
    rows = pd.concat([_read(root / name, columns).assign(table=name) for name in names], ignore_index=True)
    prefix = "" if images in ("", ".") else f"{images.rstrip('/')}/"
    rows["source"] = prefix + rows[PATH].str.replace("\\", "/", regex=False)
    files, left_alone = find_files(root)
    numbers = rows[list(NUMBERS)].apply(pd.to_numeric, errors="coerce").astype("float64")  # no rows: no type
    reason = _reasons(rows, numbers, set(files))
    good = (reason == "").to_numpy(dtype=bool)
    listed = set(rows["source"])
    excluded = [
        *left_alone,
        *rows.assign(reason=reason)[~good][["source", "reason"]].to_dict("records"),
        *({"source": file, "reason": _why_no_sample(file, names)} for file in files if file not in listed),
    ]
    rows, numbers = rows[good], numbers[good]
    sources = pd.DataFrame({"source": rows["source"], "video": rows["source"], "subject": rows["source"]})
    sources = sources.assign(label=numbers[EXPRESSION].astype("int64"), split=rows["table"].map(TABLES))
    sources = sources.join(numbers[list(BOX)]).join(numbers[list(RATINGS)].replace(NOT_RATED, np.nan))
    notes = [f"{name} is not here: no image is in the split {TABLES[name]}" for name in TABLES if name not in names]
    corpus = collect("affectnet", root, sources, excluded, label_space="affectnet8", kind="still", notes=notes)
    if not landmarks:
        return corpus
    in_order = rows.set_index("source")[LANDMARKS].reindex(corpus.sources["source"])
    return replace(corpus, landmarks=read_points(in_order))


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    """The columns of a table as text, "" where a cell is empty."""
    options = {"dtype": "str", "keep_default_na": False, "encoding": "utf-8-sig", "index_col": False}
    try:
        header = list(pd.read_csv(path, nrows=0, skipinitialspace=True, **options).columns)
        if missing := [column for column in columns if column not in header]:
            shown = [name[:40] for name in header]
            raise ValueError(f"{path}: column(s) {missing} missing, the first line has {shown}")
        table = pd.read_csv(path, usecols=columns, skipinitialspace=True, **options)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: no UTF-8 ({error})") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path}: no CSV ({error})") from error
    return table[columns].fillna("")  # a line with too few cells


def _reasons(rows: pd.DataFrame, numbers: pd.DataFrame, files: set[str]) -> pd.Series:
    """Why each row is no sample, the first reason that holds; "" where it is one."""
    expression = numbers[EXPRESSION]
    suffix = rows[PATH].str.extract(r"(\.[^./\\]*)$", expand=False).fillna("").str.lower()
    checks = {
        "no path": rows[PATH] == "",
        **{f"{column} is no number": ~np.isfinite(numbers[column]) for column in (EXPRESSION, *BOX, *RATINGS)},
        **{f"expression {k} ({name}) is no class of affectnet8": expression == k for k, name in LEFT_OUT.items()},
        "expression is not in 0..10": ~expression.isin(range(len(labels.SPACES["affectnet8"]))),
        **{
            f"{column} is neither in -1..1 nor {NOT_RATED:g}": ~(
                numbers[column].between(-1, 1) | (numbers[column] == NOT_RATED)
            )
            for column in RATINGS
        },
        **{
            f"{column} is below {MIN_BOX_PX} pixel": numbers[column] < MIN_BOX_PX
            for column in ("face_width", "face_height")
        },
        **{f"{column} is not in -{MAX_BOX_PX:g}..{MAX_BOX_PX:g}": numbers[column].abs() > MAX_BOX_PX for column in BOX},
        "no image file": ~suffix.isin(IMAGE_SUFFIXES),
        "no such file": ~rows["source"].isin(files),
    }
    first = np.select(list(checks.values()), range(len(checks)), default=-1)
    reason = rows["table"] + ": " + pd.Series([*checks, ""], dtype="str").iloc[first].set_axis(rows.index)
    reason[first < 0] = ""
    again = rows["source"][first < 0].duplicated()
    reason[again.index[again]] = rows["table"][again.index[again]] + ": listed before, there it counts"
    return reason


def _why_no_sample(file: str, tables: list[str]) -> str:
    return "table" if file in tables else f"not listed in {' or '.join(tables)}"


def read_points(cells: Iterable[str]) -> np.ndarray:
    """Landmarks float32 [n, 68, 2] of cells "x;y;x;y...": all NaN where a cell does not hold 136 numbers."""
    points = []
    for cell in cells:
        try:
            numbers = np.fromstring(cell, np.float32, sep=";")
        except ValueError:  # something in it is no number
            numbers = np.empty(0, np.float32)
        good = len(numbers) == 136 and np.isfinite(numbers).all()
        points.append(numbers if good else np.full(136, np.nan, np.float32))
    return np.array(points, np.float32).reshape(-1, 68, 2)
