"""Any folder of stills: ``<class>/<image>`` or ``<split>/<class>/<image>``.

A folder of a class is named as in the label space or by another word for the same emotion (happy, happiness, hap;
anger, angry, ang; fear, fearful; sad, sadness; surprise, surprised; disgust, dis), case does not count. A folder of a
split is train (training), validation (valid, val) or test (testing). Folders below a class do not matter.

Nobody knows who is in an image: each one is its own subject, so that folds over subjects are folds over images.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from emolib.corpora import IMAGE_SUFFIXES, SPLITS, Corpus, class_label, collect, find_files


def scan(root: Path, *, label_space: str) -> Corpus:
    """Images in the folders of classes below `root`.

    Parameters
    ----------
    root : folder
    label_space : name in `labels.SPACES`
        Its classes are the folders that are read; every file of another folder is excluded.

    Returns
    -------
    Corpus
        stills in `label_space`
    """
    class_label("", label_space)  # an unknown space stops here, also where there is no file
    files, excluded = find_files(root)
    rows = []
    for source in files:
        row, reason = _parse(PurePosixPath(source), label_space)
        if reason:
            excluded.append({"source": source, "reason": reason})
        else:
            rows.append({"source": source, "video": source, "subject": source, **row})
    return collect("image_folder", root, rows, excluded, label_space=label_space, kind="still")


def _parse(path: PurePosixPath, label_space: str) -> tuple[dict, str]:
    """Label and split that an image's folders say, or why it is no sample."""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return {}, f"no image file ({path.suffix or 'no suffix'})"
    folders = list(path.parts[:-1])
    split = SPLITS[folders.pop(0).lower()] if folders and folders[0].lower() in SPLITS else ""
    if not folders:
        return {}, "not in a folder of a class"
    label = class_label(folders[0], label_space)
    if label is None:
        return {}, f"folder {folders[0]!r} is no class of {label_space}"
    return {"label": label, "split": split}, ""
