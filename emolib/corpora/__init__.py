"""Corpora: from a folder of originals to one table of samples, and one of everything else found there.

A corpus is one module with a function ``scan(root, **options) -> Corpus`` and one line in `CORPORA`. A reader never
writes below its root, opens as few files as it can, and never guesses: what is no sample, or has a name that does not
parse, is listed in `Corpus.excluded` with the reason.
"""

from __future__ import annotations

import inspect
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd

from emolib import labels

__all__ = ["CORPORA", "Corpus", "class_label", "collect", "find_files", "scan"]

# name -> module:function; imported when asked for, so that listing the names costs nothing
CORPORA: dict[str, str] = {
    "affectnet": "emolib.corpora.affectnet:scan",
    "fer2013": "emolib.corpora.fer2013:scan",
    "image_folder": "emolib.corpora.image_folder:scan",
    "pedfe": "emolib.corpora.pedfe:scan",
    "ravdess": "emolib.corpora.ravdess:scan",
    "ravdess_speech": "emolib.corpora.recordings:scan",
    "synthetic": "emolib.corpora.synthetic:scan",
    "synthetic_stills": "emolib.corpora.synthetic:scan_stills",
    "video_csv": "emolib.corpora.video_csv:scan",
}
SOURCE_COLUMNS = {"source": "str", "video": "str", "subject": "str", "label": "int64", "split": "str"}
EXCLUDED_COLUMNS = {"source": "str", "reason": "str"}
KINDS = ("video", "still", "audio")
AUDIO_SUFFIXES = frozenset({".aac", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav"})
VIDEO_SUFFIXES = frozenset({".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
UNREAD = "cannot be read"  # how `find_files` begins the reason of what may hold samples and could not be looked at
# the split that a folder or a cell of a table names
SPLITS = {
    "": "",
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class Corpus:
    """What a reader found.

    Attributes
    ----------
    name : name in `CORPORA`.
    label_space : name in `labels.SPACES`.
    kind : "video", "still" or "audio".
    root : folder that sources are relative to; never written to.
    sources : a row a video, still or recording: source (posix path relative to root), video (id, unique), subject
        (str), label (int in the label space), split ("train", "validation", "test" or ""), and what the corpus adds.
    excluded : source, reason; everything found below root that is no sample.
    frame_truth : video, frame and what is known of each frame (embedded corpus only).
    notes : one sentence for each thing worth knowing that excludes no file (a clip without a rating).
    landmarks : float32 [len(sources), 68, 2] that came with the corpus, in pixels of the picture, NaN where one has
        none; None where the corpus has none, and they are looked for.

    Raises
    ------
    ValueError
        A table breaks the contract above; the message names the column and the row.
    """

    name: str
    label_space: str
    kind: str
    root: Path
    sources: pd.DataFrame
    excluded: pd.DataFrame
    frame_truth: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()
    landmarks: np.ndarray | None = None

    def __post_init__(self) -> None:
        n_classes = len(labels.names(self.label_space))
        if self.kind not in KINDS:
            raise ValueError(f"corpus {self.name!r}: kind {self.kind!r}, allowed are {KINDS}")
        for table, needed in ((self.sources, SOURCE_COLUMNS), (self.excluded, EXCLUDED_COLUMNS)):
            if missing := [column for column in needed if column not in table.columns]:
                raise ValueError(f"corpus {self.name!r}: column(s) {missing} missing, there are {list(table.columns)}")
        if self.landmarks is not None and self.landmarks.shape != (len(self.sources), 68, 2):
            shape, needed = self.landmarks.shape, (len(self.sources), 68, 2)
            raise ValueError(f"corpus {self.name!r}: landmarks have shape {shape}, {needed} is needed")
        for column, bad, allowed in (
            ("video", self.sources["video"].duplicated(), "ids that occur once"),
            ("label", ~self.sources["label"].between(0, n_classes - 1), f"0..{n_classes - 1} ({self.label_space})"),
            ("split", ~self.sources["split"].isin(set(SPLITS.values())), sorted(set(SPLITS.values()))),
        ):
            if bad.any():
                row = self.sources[bad].iloc[0]
                raise ValueError(
                    f"corpus {self.name!r}: {column} {str(row[column])!r} of {row['source']}, allowed are {allowed}"
                )


def scan(name: str, root: str | Path, **options) -> Corpus:
    """Read the corpus `name` below the folder `root`.

    Parameters
    ----------
    name : a name in `CORPORA`.
    root : folder of the originals.
    options : the reader's own keyword options, see its module.

    Raises
    ------
    ValueError
        Unknown name, or no sample at all was found (the reasons are counted in the message).
    TypeError
        Unknown option, or one that the reader needs is missing; the message names those it takes.
    FileNotFoundError, NotADirectoryError
        There is no folder at `root`.
    """
    reader = _reader(name)
    try:
        inspect.signature(reader).bind(root, **options)
    except TypeError as error:
        takes = [str(p) for p in inspect.signature(reader).parameters.values() if p.kind is p.KEYWORD_ONLY]
        raise TypeError(f"corpus {name!r}: {error}; its options are {takes}") from None
    corpus = reader(_checked_root(name, root), **options)
    if corpus.sources.empty:
        reasons = Counter(corpus.excluded["reason"]).most_common(5)
        counted = "; ".join(f"{n} x {reason}" for reason, n in reasons) or "the folder is empty"
        raise ValueError(f"corpus {name!r}: no sample below {root} ({counted})")
    return corpus


def _reader(name: str) -> Callable[..., Corpus]:
    if name not in CORPORA:
        raise ValueError(f"unknown corpus {name!r}; there are {', '.join(CORPORA)}")
    module, function = CORPORA[name].split(":")
    return getattr(import_module(module), function)


def _checked_root(name: str, root: str | Path) -> Path:
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f"corpus {name!r}: there is no folder {root} (data/README.md says what goes where)")
    if not root.is_dir():
        raise NotADirectoryError(f"corpus {name!r}: {root} is a file, a folder is needed")
    return root


def find_files(root: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Every file below `root`, and what is left alone there. No file is asked for more than its folder's entry says.

    Hidden files and folders (names that begin with a dot) and linked folders are not entered; a linked file counts when
    its target lies below `root`. A folder that cannot be read, and a link that cannot be followed, are left alone.

    Returns
    -------
    files : posix paths relative to `root`, sorted by code point.
    excluded : source and reason of each thing left alone; sources of folders end in "/", and the reason why something
        cannot be read begins with `UNREAD`.

    Raises
    ------
    OSError
        `root` itself cannot be read.
    """
    files, excluded = [], []
    real_root = os.path.realpath(root)
    folders = [("", os.fspath(root))]
    while folders:
        above, path = folders.pop()
        try:
            with os.scandir(path) as entries:
                inside = list(entries)
        except OSError as error:
            if not above:
                raise
            excluded.append({"source": _as_text(above), "reason": f"{UNREAD} ({error.strerror})"})
            continue
        for entry in inside:
            source = above + entry.name
            is_folder, reason = _judged(entry, real_root)
            if reason:
                excluded.append({"source": _as_text(source) + "/" * is_folder, "reason": reason})
            elif is_folder:
                folders.append((source + "/", entry.path))
            else:
                files.append(source)
    return sorted(files), excluded


def _judged(entry: os.DirEntry, real_root: str) -> tuple[bool, str]:
    """Whether it is a folder, and why it is left alone, or ""."""
    try:
        if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and Path(entry.path).is_dir()):
            reason = _why_not_entered(entry)
            return True, f"{reason}, not entered" if reason else ""
        return False, _why_left_alone(entry, real_root)
    except OSError as error:  # a link to where nobody may look
        return False, f"{UNREAD} ({error.strerror})"


def _why_not_entered(folder: os.DirEntry) -> str:
    if folder.name.startswith("."):
        return "hidden folder"
    if folder.is_symlink():
        return "linked folder"
    return "" if _is_text(folder.name) else "folder with a name that is no UTF-8"


def _is_text(name: str) -> bool:
    return name.isascii() or not any("\ud800" <= character <= "\udfff" for character in name)


def _why_left_alone(file: os.DirEntry, real_root: str) -> str:
    if file.name.startswith("."):
        return "hidden file"
    if not _is_text(file.name):
        return "name that is no UTF-8, no table can hold it"
    if not file.is_symlink():
        return "" if file.is_file(follow_symlinks=False) else "no regular file"
    target = os.path.realpath(file.path)
    if os.path.commonpath([target, real_root]) != real_root:
        return "link that leaves the corpus's folder"
    return "" if Path(target).is_file() else "no regular file"


def _as_text(source: str) -> str:
    return source.encode("utf-8", "backslashreplace").decode("utf-8")


def collect(
    name: str,
    root: Path,
    rows: Iterable[dict] | pd.DataFrame,
    excluded: Iterable[dict[str, str]],
    *,
    label_space: str,
    kind: str,
    notes: Iterable[str] = (),
) -> Corpus:
    """A Corpus from the rows of a reader: columns in the contract's order and types, sorted by source."""
    sources = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    sources = sources.reindex(columns=[*SOURCE_COLUMNS, *(c for c in sources.columns if c not in SOURCE_COLUMNS)])
    left_out = pd.DataFrame(list(excluded), columns=list(EXCLUDED_COLUMNS))
    return Corpus(
        name=name,
        label_space=label_space,
        kind=kind,
        root=Path(root),
        sources=sources.astype(SOURCE_COLUMNS).sort_values("source", ignore_index=True),
        excluded=left_out.astype(EXCLUDED_COLUMNS).sort_values(["source", "reason"], ignore_index=True),
        notes=tuple(notes),
    )


def class_label(text: str, label_space: str) -> int | None:
    """Label that `text` names: a class of the space or another word for the same emotion; None if it names neither.

    Case does not count. "happiness", "happy" and "hap" are one emotion (`labels.EMOTION_OF`), whichever the space
    spells.
    """
    wanted = text.strip().lower()
    classes = [name.lower() for name in labels.names(label_space)]
    if wanted in classes:
        return classes.index(wanted)
    emotions = [labels.emotion(name) for name in labels.names(label_space)]
    wanted = labels.EMOTION_OF.get(wanted, wanted)
    return emotions.index(wanted) if wanted in emotions else None
