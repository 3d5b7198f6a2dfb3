"""Files in, tables out: the faces of stills and of a video, and what a classifier says of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from emolib.detection import MAX_ASPECT
from emolib.models import IMAGE_SIZE_PX
from emolib.predict import answers, faces, reading
from emolib.predict.answers import Log
from emolib.predict.following import Crowd, follow_all
from emolib.predict.pipeline import Classification, ahead
from emolib.tracking import Face, Track, follow
from emolib.video import Frame, MediaError, open_video

# What follows faces from frame to frame: (grey, state) -> (number -> face, next state), and the state to begin with.
Step = tuple[Callable, object]


def check(classifier, *, views: int) -> None:
    """ValueError when a classifier reads more than the picture, or cannot average so many `views`."""
    if classifier.needs_guide:
        raise ValueError(
            f"weights {classifier.name!r}: the network reads a guide image beside the picture, which predict has not; "
            "name weights of another model"
        )
    classifier.posterior(np.empty((0, IMAGE_SIZE_PX, IMAGE_SIZE_PX), np.uint8), views=views)


def crop_of(classifier) -> str:
    """The crop that a classifier was trained on; a file that does not say is taken for a study's: ``aligned``."""
    return classifier.crop or "aligned"


def pictures(
    paths: Sequence[str | Path],
    *,
    classifier,
    detect: bool = True,
    all_faces: bool = True,
    views: int = 1,
    log: Log | None = None,
) -> pd.DataFrame:
    """Predict stills.

    Parameters
    ----------
    paths : files of pictures.
    classifier : of `emolib.classify.load`.
    detect : look for faces; False takes each whole picture for a face that is cut already.
    all_faces : all faces of a picture, from left to right, or the largest and most central one.
    views : as `Classifier.posterior`.
    log : gets the files that cannot be read and remarks on others.

    Returns
    -------
    DataFrame
        A row a face, and one for each picture without a face; columns as in `emolib.predict.answers`.

    Raises
    ------
    MediaError
        A file cannot be read, and there is no `log`.
    ValueError
        The classifier needs a guide image, or `views` is not allowed.
    """
    check(classifier, views=views)
    rows, crop = [], crop_of(classifier)
    with Classification(classifier, views=views) as classification:
        for path, picture in ahead(_read(paths), n=1):
            source = answers.shown(path)
            if isinstance(picture, MediaError):
                if log is None:
                    raise picture
                log.failures.append((source, picture.reason))
                continue
            if log is not None and picture.note:
                log.notes.append((source, picture.note))
            found = _faces(picture.grey, detect=detect, all_faces=all_faces, crop=crop)
            for number, (face, image) in enumerate(found):
                classification.add(image)
                rows.append(answers.row(source, 0, float("nan"), number, face, reduction=picture.reduction))
            if not found:
                rows.append(answers.nobody(source, 0, float("nan")))
        return answers.table(rows, classification.posterior(), classifier.classes)


def _read(paths: Sequence[str | Path]) -> Iterator[tuple[str | Path, reading.Picture | MediaError]]:
    for path in paths:
        try:
            yield path, reading.read(path)
        except MediaError as error:
            yield path, error


def _faces(grey, *, detect: bool, all_faces: bool, crop: str) -> list[tuple[Face, object]]:
    if not detect:
        return [faces.whole(grey)]
    return [(face, faces.cut(grey, face, crop=crop)) for face in faces.stills(grey, all_faces=all_faces)]


def video(
    path: str | Path,
    *,
    classifier,
    detect: bool = True,
    all_faces: bool = False,
    frame_step: int = 1,
    views: int = 1,
    log: Log | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Predict every `frame_step`-th frame of a video.

    Parameters
    ----------
    path : a video file.
    detect : find and follow faces; False takes each whole frame for a face that is cut already.
    all_faces : follow all faces, each with its number, or the main one as `emolib.tracking` does.
    frame_step : 1 looks at all frames, 2 at those with an even index, and so on.
    progress : show a bar.
    classifier, views, log : as for `pictures`; the log gets damage that did not stop the reading.

    Returns
    -------
    DataFrame
        A row a frame and face, and one for each frame without a face; columns as in `emolib.predict.answers`.

    Raises
    ------
    MediaError
        No frame can be decoded, or the times of the frames are not known.
    ValueError
        An option is not allowed, or the classifier needs a guide image.
    """
    check(classifier, views=views)
    opened, source = open_video(path), answers.shown(path)
    frames = ahead(opened.frames(frame_step=frame_step))
    bar = tqdm(
        frames, total=-(-opened.n_declared // frame_step) or None, unit="frame", desc=source, disable=not progress
    )
    found = watch(bar, source=source, classifier=classifier, detect=detect, all_faces=all_faces, views=views)
    if log is not None:
        log.notes.extend((source, note) for note in opened.notes)
    return found


def watch(
    frames: Iterable[Frame], *, source: str, classifier, detect: bool, all_faces: bool, views: int
) -> pd.DataFrame:
    """Predict `frames`, whose faces are followed from one to the next; the rest as `video`."""
    rows, crop = [], crop_of(classifier)
    step, state = follower(detect=detect, all_faces=all_faces)
    with Classification(classifier, views=views) as classification:
        for frame in frames:
            if not math.isfinite(frame.time_s):
                raise MediaError(source, "neither time stamps nor a frame rate: when its frames are shown is not known")
            if detect and max(frame.grey.shape) > MAX_ASPECT * min(frame.grey.shape):
                raise MediaError(
                    source, f"frames of {frame.grey.shape[1]}x{frame.grey.shape[0]}, too narrow for a face"
                )
            found, state = step(frame.grey, state)
            for number, face in found.items():
                classification.add(crop_face(frame, face, crop=crop))
                rows.append(answers.row(source, frame.index, frame.time_s, number, face))
            if not found:
                rows.append(answers.nobody(source, frame.index, frame.time_s))
        return answers.table(rows, classification.posterior(), classifier.classes)


def crop_face(frame: Frame, face: Face, *, crop: str):
    """What the classifier sees of `face`, uint8 [48, 48]."""
    return faces.whole(frame.grey)[1] if face.detector == "crop" else faces.cut(frame.grey, face, crop=crop)


def follower(*, detect: bool, all_faces: bool) -> Step:
    """How faces are followed: a function of a grey frame and the state before it, and the first state."""
    if not detect:
        return _whole, None
    return (follow_all, Crowd()) if all_faces else (_main, Track())


def _main(grey, track: Track) -> tuple[dict[int, Face], Track]:
    face, track = follow(grey, track)
    return ({0: face} if face.ok else {}), track


def _whole(grey, state: None) -> tuple[dict[int, Face], None]:
    return {0: faces.whole(grey)[0]}, state
