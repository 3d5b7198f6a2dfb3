"""From names to files: folders opened, one list of pictures and videos whose order is always the same."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from emolib.corpora import IMAGE_SUFFIXES, UNREAD, VIDEO_SUFFIXES, find_files
from emolib.predict.answers import Log, shown
from emolib.predict.reading import NOT_READ
from emolib.video import PILLOW_ERRORS

PICTURES = IMAGE_SUFFIXES | {".avif", ".gif", ".jfif", ".jp2", ".pgm", ".pnm", ".ppm"} | NOT_READ
VIDEOS = VIDEO_SUFFIXES | {".3gp", ".mts", ".ogv", ".ts"}


@dataclass(frozen=True)
class Media:
    """A file to look at; `kind` is "picture" or "video"."""

    path: Path
    kind: str


def expand(named: Iterable[str | Path], *, log: Log, leave_out: Path | None = None) -> list[Media]:
    """The files to look at, in the order of `named`, those of a folder sorted by code point; each once.

    A folder is entered to any depth; hidden files and linked folders (which may be loops) are not, and files that are
    neither pictures nor videos by their suffix are passed over. A file that is named itself may have any suffix.

    Parameters
    ----------
    named : files and folders.
    log : gets as failures what is not there or cannot be read (folders inside of others too), folders without media
        and media that are left alone (links out of the folder, names that are no UTF-8), and as notes linked folders.
    leave_out : a folder whose files are results: not looked at unless they, or a folder inside of it, are named.
    """
    found: dict[Path, Media] = {}
    for path in map(Path, named):
        try:
            below = _folder(path, log, leave_out) if path.is_dir() else _file(path, log)
        except OSError as error:  # also of asking what it is: a name too long, a folder above that may not be entered
            log.failures.append((shown(path), f"{UNREAD} ({error.strerror})"))
            continue
        for media in below:
            found.setdefault(media.path.resolve(), media)
    return list(found.values())


def _file(path: Path, log: Log) -> list[Media]:
    if not path.is_file():
        reason = "a broken or circular link" if path.is_symlink() else "no such file or folder"
        log.failures.append((shown(path), "no regular file" if path.exists() else reason))
        return []
    return [Media(path, _kind(path) or _kind_by_content(path))]


def _folder(folder: Path, log: Log, leave_out: Path | None) -> list[Media]:
    files, left_alone = find_files(folder)
    for entry in left_alone:
        name = entry["source"]
        if "hidden" in entry["reason"]:
            continue
        if name.endswith("/") and not entry["reason"].startswith(UNREAD):
            log.notes.append((shown(folder / name), entry["reason"]))
        elif name.endswith("/") or _kind(Path(name)):
            log.failures.append((shown(folder / name), entry["reason"]))
    paths = [folder / name for name in files]
    if leave_out is not None and not folder.resolve().is_relative_to(leave_out.resolve()):
        paths = [path for path in paths if not path.resolve().is_relative_to(leave_out.resolve())]
    media = [Media(path, kind) for path in paths if (kind := _kind(path))]
    if not media:
        log.failures.append((shown(folder), "no picture or video in this folder"))
    return media


def _kind(path: Path) -> str:
    """By the suffix: "picture", "video", or "" for neither."""
    suffix = path.suffix.lower()
    return "picture" if suffix in PICTURES else "video" if suffix in VIDEOS else ""


def _kind_by_content(path: Path) -> str:
    """For a file that is named itself: what Pillow knows is a picture, anything else has to be a video."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(path).close()
    except UnidentifiedImageError:
        return "video"
    except (Image.DecompressionBombError, *PILLOW_ERRORS):
        return "picture"  # a picture with a fault, which reading it names
    return "picture"
