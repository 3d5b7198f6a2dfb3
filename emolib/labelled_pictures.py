"""Pictures of faces with the emotion that somebody gave them, in the classes of a classifier: what `evaluate` reads.

Two places are understood: a folder ``<emotion>/<picture>`` (also ``<split>/<emotion>/<picture>``), and any corpus of
stills of `corpora.CORPORA`. The pictures are ready face crops; nothing is detected. Classes are matched by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from emolib import corpora, labels, models
from emolib.classify import ready_crop
from emolib.roots import raw_path
from emolib.video import MediaError, read_image_grey


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures that could be read and have a class.

    Attributes
    ----------
    images : uint8 [N, 48, 48].
    table : a row a picture: `source`, `class` (as its corpus names it), `label` (int, in the classifier's classes),
        `group` (the same text for the same grey pixels: exact duplicates).
    dropped : `class`, `n`: pictures of classes that the classifier has no counterpart of.
    unnamed_folders : `folder`, `reason`, `n`: pictures in folders that name no emotion; a name may be misspelt.
    unreadable : `source`, `reason`; a folder that cannot be entered ends in "/".
    excluded : `source`, `reason`; what is there and is no sample.
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
    place : a folder, or the name of a corpus of stills.
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
    folder = Path(place)
    is_corpus = place in corpora.CORPORA and not folder.is_dir()
    if not is_corpus and (root is not None or options):
        raise ValueError(
            f"{place!r} is no corpus, so root and options say nothing; there are {', '.join(corpora.CORPORA)}"
        )
    if not is_corpus and not folder.is_dir():
        raise FileNotFoundError(f"{place!r} is neither a folder nor a corpus; there are {', '.join(corpora.CORPORA)}")
    if not is_corpus and label_space is None:
        found, excluded = _folders_of_emotions(folder, classes)
        space = None
    else:
        corpus = _corpus(place, root, options or {}) if is_corpus else _folder(folder, label_space)
        folder, excluded, space = corpus.root, corpus.excluded, corpus.label_space
        named = np.array(labels.names(space))[corpus.sources["label"].to_numpy()]
        found = corpus.sources[["source", "split"]].assign(**{"class": named})
    unnamed = _unnamed(excluded)
    found, unnamed = (_wanted(table, split=split, only=only) for table in (found, unnamed))
    if found.empty:
        raise ValueError(f"{place}: no picture (split {split or 'any'}, names {only}); {len(excluded)} other files")
    index = counterparts(sorted(set(found["class"])), classes, label_space=space)
    found = found.assign(label=found["class"].map(index)).reset_index(drop=True)
    without = found[found["label"] < 0]
    dropped = without.groupby("class", as_index=False).agg(n=("source", "size"))
    return _read(
        folder,
        found[found["label"] >= 0].reset_index(drop=True),
        dropped=dropped,
        unnamed_folders=unnamed.groupby(["folder", "reason"], as_index=False).agg(n=("source", "size")),
        excluded=excluded,
    )


def _wanted(table: pd.DataFrame, *, split: str, only: str) -> pd.DataFrame:
    named = np.array([fnmatch(PurePosixPath(source).name, only) for source in table["source"]], dtype=bool)
    return table[named & ((table["split"] == split) if split else True)]


def _unnamed(excluded: pd.DataFrame) -> pd.DataFrame:
    """Those left alone for their folder's name, by what the readers of folders say, with `split` and `folder`."""
    left = excluded[excluded["reason"].str.contains(r"^folder .* (?:names no emotion|is no class of \w+)$")]
    places = [_place(PurePosixPath(source)) for source in left["source"]]
    return left.assign(split=[split for split, _ in places], folder=[folder for _, folder in places])


def _place(path: PurePosixPath) -> tuple[str, str]:
    """Split that a picture's folders name, and the folder that should name its class; "" where there is none."""
    parents = list(path.parts[:-1])
    split = corpora.SPLITS[parents.pop(0).lower()] if parents and parents[0].lower() in corpora.SPLITS else ""
    return split, parents[0] if parents else ""


def _corpus(name: str, root: str | Path | None, options: Mapping[str, Any]) -> corpora.Corpus:
    given = Path(name if root is None else root)
    try:
        corpus = corpora.scan(name, given if root is not None and given.is_dir() else raw_path(given), **options)
    except TypeError as error:  # of an option: on the command line that is a wrong value
        raise ValueError(str(error)) from None
    if corpus.kind != "still":
        raise ValueError(f"corpus {name!r} holds videos; stills are needed (for videos there is notebook 15)")
    return corpus


def _folder(folder: Path, label_space: str) -> corpora.Corpus:
    return corpora.scan("image_folder", folder, label_space=label_space)


def _folders_of_emotions(folder: Path, classes: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pictures in folders named after an emotion or a class; `excluded` says why others are none."""
    files, excluded = corpora.find_files(folder)
    known = {*labels.EMOTION_OF, *labels.EMOTION_OF.values(), *(name.lower() for name in classes)}
    rows = []
    for source in files:
        path = PurePosixPath(source)
        split, folder_of_class = _place(path)
        if path.suffix.lower() not in corpora.IMAGE_SUFFIXES:
            excluded.append({"source": source, "reason": f"no image file ({path.suffix or 'no suffix'})"})
        elif folder_of_class.lower() not in known:
            named = f"folder {folder_of_class!r} names no emotion"
            where = named if folder_of_class else "not in a folder of an emotion"
            excluded.append({"source": source, "reason": where})
        else:
            rows.append({"source": source, "split": split, "class": folder_of_class})
    return tuple(
        pd.DataFrame(table, columns=columns, dtype="str")
        for table, columns in ((rows, ["source", "split", "class"]), (excluded, ["source", "reason"]))
    )


def _emotion(name: str) -> str:
    return labels.EMOTION_OF.get(name.lower(), name.lower())


def _read(
    folder: Path, found: pd.DataFrame, *, dropped: pd.DataFrame, unnamed_folders: pd.DataFrame, excluded: pd.DataFrame
) -> Pictures:
    size = models.IMAGE_SIZE_PX
    images = np.empty((len(found), size, size), dtype=np.uint8)
    groups, failed, n_resized = [], {}, 0
    for row, source in enumerate(found["source"]):
        try:
            grey = read_image_grey(folder / source)
        except MediaError as error:
            failed[row] = error.reason
            groups.append("")
            continue
        n_resized += grey.shape != (size, size)
        images[row] = ready_crop(grey)
        groups.append(hashlib.blake2b(str(grey.shape).encode() + grey.tobytes(), digest_size=16).hexdigest())
    good = np.setdiff1d(np.arange(len(found)), list(failed))
    if not len(good):
        raise ValueError(
            f"{folder}: no picture can be used: {len(failed)} unreadable, {dropped['n'].sum()} of classes without a "
            f"counterpart ({', '.join(dropped['class']) or 'none'})"
        )
    unread = excluded["reason"].str.startswith(corpora.UNREAD)  # a folder that may hold any number of samples
    broken = pd.DataFrame({"source": found["source"][list(failed)].to_list(), "reason": list(failed.values())})
    return Pictures(
        images=images[good],
        table=found.assign(group=groups).loc[good, ["source", "class", "label", "group"]].reset_index(drop=True),
        dropped=dropped,
        unnamed_folders=unnamed_folders,
        unreadable=pd.concat([broken, excluded[unread]], ignore_index=True),
        excluded=excluded[~unread],
        n_resized=n_resized,
    )
