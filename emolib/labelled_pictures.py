"""Pictures of faces with the emotion that somebody gave them, in the classes of a classifier: what `evaluate` reads.

Three places are understood: a folder ``<emotion>/<picture>`` (also ``<split>/<emotion>/<picture>``), FER-2013's own CSV
(`fer_csv`), and any corpus of stills of `corpora.CORPORA`. The pictures are ready face crops; nothing is detected.
Classes are matched by name. A split is FER-2013's wherever a name says one: PublicTest is "validation".
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from emolib import corpora, fer_csv, labels, models
from emolib.classify import ready_crop
from emolib.corpora import fer2013
from emolib.roots import raw_path
from emolib.video import MediaError, read_image_grey

# as `emolib predict` takes for pictures; those of phones cannot be read, so they are named and fail
SUFFIXES = corpora.IMAGE_SUFFIXES | {".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".pgm", ".pnm", ".ppm"}
NO_LINKED_CLASS = "linked folder that names no emotion"
# how reasons begin of what may be or hold samples and was not looked at (`corpora.find_files`)
_UNSEEN = (corpora.UNREAD, "linked folder,", "folder with a name", "name that is", "link that", "no regular file")


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures that could be read and have a class.

    Attributes
    ----------
    images : uint8 [N, 48, 48].
    table : a row a picture: `source`, `split`, `class` (as its corpus names it), `label` (int, in the classifier's
        classes), `group` (the same text for the same grey pixels: exact duplicates).
    dropped : `class`, `n`: pictures of classes that the classifier has no counterpart of.
    unnamed_folders : `folder`, `reason`, `n`: pictures in folders that name no emotion; a name may be misspelt.
    unreadable : `source`, `reason`; what should be or may hold samples and could not be read, or lies behind a link out
        of the folder. A folder ends in "/".
    excluded : `source`, `reason`; what else is there and is no sample.
    n_resized : pictures that were not 48 x 48.
    """

    images: np.ndarray = field(repr=False)
    table: pd.DataFrame
    dropped: pd.DataFrame
    unnamed_folders: pd.DataFrame
    unreadable: pd.DataFrame
    excluded: pd.DataFrame
    n_resized: int


def counterparts(names: Sequence[str], classes: Sequence[str], *, label_space: str | None = None) -> dict[str, int]:
    """For each class name its index in `classes`, -1 where it has no counterpart.

    Parameters
    ----------
    names : of classes, as a corpus or its folders spell them.
    classes : the classifier's.
    label_space : the space of `names`; where `labels` has a mapping from it to the space of `classes`, that decides
        (calm becomes neutral, six emotions become negative). Else names of the same emotion match ("anger", "angry").
    """
    target = next((space.name for space in labels.SPACES.values() if set(space.classes) == set(classes)), None)
    if label_space and target and (label_space == target or f"{label_space}->{target}" in labels.MAPPINGS):
        source = labels.SPACES[label_space]
        mapped = labels.map_labels([source.index(name) for name in names], source=label_space, target=target)
        own = labels.names(target)
        return {
            name: classes.index(own[to]) if to != labels.DROPPED else -1 for name, to in zip(names, mapped, strict=True)
        }
    by_emotion = {_emotion(name): number for number, name in enumerate(classes)}
    return {name: by_emotion.get(_emotion(name), -1) for name in names}


def gather(
    place: str,
    *,
    classes: Sequence[str],
    root: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    label_space: str | None = None,
    split: str = "",
    only: str = "*",
) -> Pictures:
    """Find and read the pictures at `place`.

    Parameters
    ----------
    place : a folder, FER-2013's CSV, or the name of a corpus of stills.
    classes : the classifier's.
    root, options : of a corpus: its folder (where not given, one of the corpus's name in the repository or below
        ``data/raw``), and what its reader takes.
    label_space : of a folder: what its folders' names mean, needed only for other classes than emotions of one's own.
    split : "train", "validation" or "test": only these; "" takes all.
    only : only files whose name matches this pattern, such as "PrivateTest_*".

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such place, it holds no picture that can be used, or an option is not allowed.
    """

    def wanted(source: str, of_split: str) -> bool:
        return (not split or of_split == split) and fnmatch(PurePosixPath(source).name, only)

    if split not in corpora.SPLITS.values():
        raise ValueError(f"split {split!r}: train, validation and test are allowed")
    kind = _kind(place, root, options, label_space)
    if kind == "table":
        rows, images, broken = fer_csv.read(Path(place), wanted)
        found, failed, excluded = _table(rows, "class"), _table(broken), _table([])
        space, read = fer_csv.LABEL_SPACE, images.__getitem__
    else:
        if kind == "folder":
            folder, space = Path(place), label_space
            found, excluded = _folders_of_classes(folder, classes, space)
        else:
            corpus = _corpus(place, root, options or {})
            folder, excluded, space = corpus.root, corpus.excluded, corpus.label_space
            named = np.array(labels.names(space))[corpus.sources["label"].to_numpy()]
            found = corpus.sources[["source", "split"]].assign(**{"class": named})
        fails = _fails(excluded, split=split, only=only)
        failed, excluded = excluded[fails], excluded[~fails]

        def read(source: str) -> np.ndarray:
            return read_image_grey(folder / source)

    unnamed, there = _unnamed(excluded), found["split"].replace("", "no split")
    found, unnamed = (
        table[np.array([wanted(*one) for one in table[["source", "split"]].to_numpy()], dtype=bool)]
        for table in (found, unnamed)
    )
    if found.empty:
        reasons = [f"a picture of another name or split ({one})" for one in there]
        reasons += [*failed["reason"], *excluded["reason"]]
        raise ValueError(f"{place}: no picture (split {split or 'any'}, names {only}); {_counted(reasons)}")
    index = counterparts(sorted(set(found["class"])), classes, label_space=space)
    found = found.assign(label=found["class"].map(index)).reset_index(drop=True)
    without, found = found[found["label"] < 0], found[found["label"] >= 0].reset_index(drop=True)
    images, group, broken, n_resized = _read(found["source"], read)
    failed = pd.concat([broken, failed], ignore_index=True)
    if not len(images):
        reasons = [*failed["reason"], *(f"class {name!r} has no counterpart" for name in without["class"])]
        raise ValueError(f"{place}: no picture can be used; {_counted([*reasons, *excluded['reason']])}")
    good = found[~found["source"].isin(broken["source"])].reset_index(drop=True)
    return Pictures(
        images=images,
        table=good[["source", "split", "class", "label"]].assign(group=group),
        dropped=without.groupby("class", as_index=False).agg(n=("source", "size")),
        unnamed_folders=unnamed.groupby(["folder", "reason"], as_index=False).agg(n=("source", "size")),
        unreadable=failed,
        excluded=excluded,
        n_resized=n_resized,
    )


def _kind(place: str, root: str | Path | None, options: Mapping[str, Any] | None, label_space: str | None) -> str:
    """Whether `place` is a "folder", a "table" or a "corpus"; ValueError where the options say something else."""
    known, of_corpus = ", ".join(corpora.CORPORA), root is not None or bool(options)
    kind = "folder" if Path(place).is_dir() else "table" if Path(place).is_file() else ""
    if place in corpora.CORPORA:
        if kind == "folder" and not of_corpus:
            raise ValueError(
                f"{place!r} is a corpus and a folder: ./{place} is the folder, {place} --root FOLDER is the corpus"
            )
        if label_space is not None:
            raise ValueError(f"{place!r} is a corpus, which has a label space: {label_space!r} says nothing")
        return "corpus"
    if of_corpus:
        raise ValueError(f"{place!r} is no corpus, so root and options say nothing; there are {known}")
    if not kind:
        raise FileNotFoundError(f"{place!r} is neither a folder nor a corpus; there are {known}")
    if kind == "table" and Path(place).suffix.lower() != ".csv":
        raise ValueError(f"{place!r} is a file; a folder, a .csv of FER-2013 and a corpus are allowed ({known})")
    if kind == "table" and label_space is not None:
        raise ValueError(f"{place!r} is FER-2013's, which has a label space: {label_space!r} says nothing")
    return kind


def _fails(excluded: pd.DataFrame, *, split: str, only: str) -> np.ndarray:
    """Which of those left alone may be or hold samples that are wanted, bool [N]."""

    def one(source: str, reason: str) -> bool:
        name = PurePosixPath(source)
        is_wanted = _place(source)[0] in ("", split) or not split
        if source.endswith("/"):
            return is_wanted and reason.startswith(_UNSEEN)
        is_picture = name.suffix.lower() in SUFFIXES or reason.startswith(corpora.UNREAD)
        return is_wanted and is_picture and reason.startswith(_UNSEEN) and fnmatch(name.name, only)

    return np.array([one(*row) for row in excluded[["source", "reason"]].to_numpy()], dtype=bool)


def _unnamed(excluded: pd.DataFrame) -> pd.DataFrame:
    """Those left alone for their folder's name, by what the readers of folders say, with `split` and `folder`."""
    left = excluded[excluded["reason"].str.contains(r"^folder .* (?:names no emotion|is no class of \w+)$")]
    places = [_place(source) for source in left["source"]]
    return left.assign(split=[place[0] for place in places], folder=[place[1] for place in places])


def _place(source: str) -> tuple[str, str, str]:
    """Split of a picture, or of a folder that ends in "/"; the folder that should name its class; why it has no split.

    Each is "" where there is none.
    """
    *parents, name = source.split("/")
    of_split = parents.pop(0) if parents and parents[0].lower() in fer2013.SPLIT_FOLDERS else ""
    split, contradiction = fer2013.split_of(of_split, name)
    return split, parents[0] if parents else "", contradiction


def _counted(reasons: Iterable[str]) -> str:
    return "; ".join(f"{n} x {reason}" for reason, n in Counter(reasons).most_common(5)) or "nothing like it is there"


def _table(rows: list[dict[str, str]], *more: str) -> pd.DataFrame:
    columns = ["source", "split", *more] if more else ["source", "reason"]
    return pd.DataFrame(rows, columns=columns, dtype="str")


def _corpus(name: str, root: str | Path | None, options: Mapping[str, Any]) -> corpora.Corpus:
    given = Path(name if root is None else root)
    try:
        corpus = corpora.scan(name, given if root is not None and given.is_dir() else raw_path(given), **options)
    except TypeError as error:  # of an option: on the command line that is a wrong value
        raise ValueError(str(error)) from None
    if corpus.kind != "still":
        raise ValueError(f"corpus {name!r} holds videos; stills are needed (for videos there is notebook 15)")
    return corpus


def _folders_of_classes(
    folder: Path, classes: Sequence[str], label_space: str | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pictures in folders named after an emotion, or a class of `label_space`; `excluded` says why others are none."""
    files, excluded = corpora.find_files(folder)
    known = {*labels.EMOTION_OF, *labels.EMOTION_OF.values(), *(name.lower() for name in classes)}
    own = labels.names(label_space) if label_space else ()

    def class_of(name: str) -> str:
        if not label_space:
            return name if name.lower() in known else ""
        label = corpora.class_label(name, label_space)
        return "" if label is None else own[label]

    for one in excluded:
        above = _place(one["source"])[1]
        if one["reason"].startswith("linked folder") and above and not class_of(above):
            one["reason"] = NO_LINKED_CLASS
    rows = []
    for source in files:
        split, above, reason = _place(source)
        suffix = PurePosixPath(source).suffix
        if suffix.lower() not in SUFFIXES:
            reason = f"no image file ({suffix or 'no suffix'})"
        elif not above:
            reason = "not in a folder of an emotion"
        elif not class_of(above):
            reason = f"folder {above!r} {f'is no class of {label_space}' if label_space else 'names no emotion'}"
        if reason:
            excluded.append({"source": source, "reason": reason})
        else:
            rows.append({"source": source, "split": split, "class": class_of(above)})
    return _table(rows, "class"), _table(excluded)


def _emotion(name: str) -> str:
    return labels.EMOTION_OF.get(name.lower(), name.lower())


def _read(sources: pd.Series, read: Callable[[str], np.ndarray]) -> tuple[np.ndarray, list[str], pd.DataFrame, int]:
    """Crops uint8 [n, 48, 48] and groups of what `read` makes grey, what it cannot read, and how many were resized."""
    size = models.IMAGE_SIZE_PX
    images = np.empty((len(sources), size, size), dtype=np.uint8)
    groups, broken, n_resized = [], [], 0
    for source in sources:
        try:
            grey = read(source)
        except MediaError as error:
            broken.append({"source": source, "reason": error.reason})
            continue
        n_resized += grey.shape != (size, size)
        images[len(groups)] = ready_crop(grey)
        groups.append(hashlib.blake2b(str(grey.shape).encode() + grey.tobytes(), digest_size=16).hexdigest())
    return images[: len(groups)], groups, _table(broken), n_resized
