"""Any folder of videos with a table: one row a video, columns video, subject, label and, if there, split and others.

The table is comma-, semicolon- or tab-separated UTF-8 (a byte-order mark and blanks around cells do not matter).

| column | cell |
|---|---|
| video | path of the file, relative to the folder; it may not lead out of it |
| subject | who is seen, as text: folds keep a subject's videos together |
| label | class of the label space, another word for the same emotion, or its index |
| split | train, validation, test or empty |
| others | kept: numbers where every cell is one (empty cells are NaN), else text |
"""

from __future__ import annotations

import csv
import io
from pathlib import Path, PurePosixPath, PureWindowsPath

import pandas as pd

from emolib import labels
from emolib.corpora import SPLITS, VIDEO_SUFFIXES, Corpus, class_label, collect, find_files
from emolib.frames import MANIFEST_COLUMNS

REQUIRED = ("video", "subject", "label")
DELIMITERS = ",;\t"


def scan(root: Path, *, label_space: str, table: str | None = None) -> Corpus:
    """The videos that a table below `root` lists.

    Parameters
    ----------
    root : folder
    label_space : name in `labels.SPACES`
        What the table's labels are in.
    table : file name of the table, relative to `root`; None takes the only ``*.csv`` that lies directly in `root`.

    Returns
    -------
    Corpus
        videos in `label_space`. A row without its file, and a file without a row, are excluded with the reason.

    Raises
    ------
    FileNotFoundError
        There is no such table.
    ValueError
        Several tables and none named, a column that is missing, or a row that cannot be read: a video that is listed
        twice or leads out of `root`, no subject, a label or split that does not exist. File and line are named.
    """
    files, excluded = find_files(root)
    path = _table_path(Path(root), files, table)
    present, left_alone = set(files), {one["source"] for one in excluded}  # hidden files and links have their reason
    rows, line_of = [], {}
    for line, cells in read_table(path):
        where = f"{path}, line {line}"
        row = _row(cells, label_space=label_space, where=where)
        if row["source"] in line_of:
            raise ValueError(f"{where}: {row['source']} is listed twice, first in line {line_of[row['source']]}")
        line_of[row["source"]] = line
        if row["source"] in present:
            rows.append(row)
        elif row["source"] not in left_alone:
            excluded.append({"source": row["source"], "reason": f"line {line} of {path.name}: there is no such file"})
    for source in files:
        if source not in line_of:
            reason = "table" if Path(root, source) == path else f"not listed in {path.name}"
            excluded.append({"source": source, "reason": reason})
    return collect("video_csv", root, _typed(rows), excluded, label_space=label_space, kind="video")


def _table_path(root: Path, files: list[str], table: str | None) -> Path:
    if table is not None:
        if not Path(root, table).is_file():
            raise FileNotFoundError(f"there is no table {table} in {root}")
        return Path(root, table)
    found = [name for name in files if "/" not in name and name.lower().endswith(".csv")]
    if not found:
        raise FileNotFoundError(f"there is no *.csv in {root}; one with the columns {', '.join(REQUIRED)} is needed")
    if len(found) > 1:
        raise ValueError(f"{root}: name one of its tables (option `table`): {', '.join(found)}")
    return Path(root, found[0])


def read_table(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of a table as text, each with its line in the file; ValueError names the file, line and column."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: no UTF-8 text ({error}); save the table as UTF-8") from error
    headers = [[cell.strip() for cell in next(_cells(text, delimiter), [])] for delimiter in DELIMITERS]
    header = max(headers, key=lambda cells: (len(set(REQUIRED) & set(cells)), len(cells)))
    if missing := [column for column in REQUIRED if column not in header]:
        raise ValueError(f"{path}: column(s) {missing} missing, the first line has {header}")
    taken = sorted({*MANIFEST_COLUMNS} - {*REQUIRED, "split"})
    if wrong := [column for column in header if column in taken or not column or header.count(column) > 1]:
        raise ValueError(f"{path}: column(s) {wrong} are empty, there twice, or names of the manifest's own ({taken})")
    reader = _cells(text, DELIMITERS[headers.index(header)])
    next(reader)
    rows = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                if len(cells) != len(header):
                    raise ValueError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells, the header has {len(header)}"
                    )
                rows.append((reader.line_num, dict(zip(header, (cell.strip() for cell in cells), strict=True))))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
    return rows


def _cells(text: str, delimiter: str):
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)


def _row(cells: dict[str, str], *, label_space: str, where: str) -> dict:
    """One row in the manifest's words."""
    if empty := [column for column in REQUIRED if not cells[column]]:
        raise ValueError(f"{where}: column(s) {empty} are empty")
    source = _inside(cells["video"], where=where)
    if PurePosixPath(source).suffix.lower() not in VIDEO_SUFFIXES:
        raise ValueError(f"{where}: {source} is no video file, allowed are {sorted(VIDEO_SUFFIXES)}")
    split = cells.get("split", "").lower()
    if split not in SPLITS:
        raise ValueError(f"{where}: split {split!r}, allowed are {sorted(SPLITS)}")
    label = _label(cells["label"], label_space=label_space, where=where)
    own = {"source": source, "video": source, "subject": cells["subject"], "label": label, "split": SPLITS[split]}
    return own | {column: cell for column, cell in cells.items() if column not in own}


def _inside(video: str, *, where: str) -> str:
    """The path as a posix path below the folder, whichever way its slashes lean."""
    path = PurePosixPath(video.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(video).drive:
        raise ValueError(f"{where}: video {video!r} leads out of the folder; paths relative to it are allowed")
    return str(path)


def _label(text: str, *, label_space: str, where: str) -> int:
    label = int(text) if text.isascii() and text.isdigit() else class_label(text, label_space)
    classes = labels.names(label_space)
    if label is None or label >= len(classes):
        others = {name: list(space.classes) for name, space in labels.SPACES.items() if name != label_space}
        raise ValueError(
            f"{where}: label {text!r} is not in {label_space}, which has {list(classes)} or 0..{len(classes) - 1}; "
            f"other label spaces: {others}"
        )
    return label


def _typed(rows: list[dict]) -> list[dict]:
    """The rows, with the cells of a further column as numbers where all of them are."""
    table = pd.DataFrame(rows)
    for column in table.columns.difference([*REQUIRED, "source", "split"]):
        numbers = pd.to_numeric(table[column].where(table[column] != ""), errors="coerce")
        if numbers.notna().any() and (numbers.notna() | (table[column] == "")).all():
            table[column] = numbers
    return table.to_dict("records")
