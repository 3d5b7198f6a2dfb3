"""What ``emolib predict`` does: inputs one after the other, results printed and written, bad files passed over."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import chain, groupby
from pathlib import Path

import pandas as pd

from emolib import classify
from emolib.predict import answers, camera, look, output, page, reading
from emolib.predict.answers import Log, shown
from emolib.predict.inputs import Media, expand
from emolib.predict.pipeline import ahead
from emolib.video import MediaError, open_video

SCHEMA_VERSION = 1
COLOUR_FRAMES_AHEAD = 4  # 25 MB each at 4K
PICTURES_AT_ONCE = 32  # answers are printed after so many pictures


@dataclass
class _Session:
    """What all inputs share: the classifier, the options, where results go, and what was found."""

    classifier: object
    options: dict
    out: output.Folder | None
    log: Log
    tables: list[pd.DataFrame] = field(default_factory=list)
    sources: list[dict] = field(default_factory=list)

    def add(self, table: pd.DataFrame, *, kind: str, files: dict[str, Path], **facts) -> None:
        source = table["source"].iloc[0]
        notes = [text for of, text in self.log.notes if of == source]
        entry = {"source": source, "kind": kind, "notes": notes, **facts}
        entry["files"] = {what: shown(file.name) for what, file in files.items()}
        self.tables.append(table)
        self.sources.append(entry | {"answers": output.records(table)})


def run(
    named: Sequence[Path],
    *,
    weights: str = "seven",
    camera_number: int | None = None,
    seconds: float | None = None,
    detect: bool = True,
    all_faces: bool | None = None,
    frame_step: int = 1,
    views: int = 1,
    device: str = "auto",
    out: Path | None = None,
) -> int:
    """Predict everything that is named; print the answers, and write them below `out` where it is given.

    Parameters
    ----------
    named : pictures, videos and folders.
    weights, device : as `classify.load`.
    camera_number, seconds : of a webcam, looked at last, until Ctrl-C (a second one gives up) or for so long.
    all_faces : all faces or the main one; None is all in pictures, the main one in videos.
    detect, frame_step, views : as in `emolib.predict.look`.
    out : gets ``predictions.csv``, ``predictions.json``, an annotated picture each, and an annotated video and a page
        each. A file that is read is never overwritten.

    Returns
    -------
    0, or 1 where something could not be read; it was passed over and is named at the end.

    Raises
    ------
    ValueError, FileNotFoundError
        Nothing is named, an option is not allowed, there are no such weights, or results would lie among what is read.
    """
    if not named and camera_number is None:
        raise ValueError("nothing to look at: name pictures, folders or videos, or a camera (--camera 0)")
    if frame_step < 1:
        raise ValueError(f"--frame-step {frame_step}: at least 1 is allowed")
    if out is not None and (mixed := [p for p in named if p.is_dir() and p.resolve() == out.resolve()]):
        raise ValueError(f"--out {out}: results would lie among the pictures of {mixed[0]}; choose another folder")
    log = Log()
    media = expand(named, log=log, leave_out=out)
    classifier = classify.load(weights, device=device)
    look.check(classifier, views=views)
    folder = None if out is None else output.Folder(out, inputs=[one.path for one in media])
    files = {} if folder is None else {s: folder.name("predictions", s) for s in (".csv", ".json")}
    session = _Session(classifier, {"detect": detect, "views": views}, folder, log)
    for kind, group in groupby(media, key=lambda one: one.kind):
        if kind == "picture":
            _pictures(list(group), session, all_faces=all_faces is not False)
        else:
            for one in group:
                _video(one, session, all_faces=bool(all_faces), frame_step=frame_step)
    if camera_number is not None:
        _camera(camera_number, session, seconds=seconds, all_faces=bool(all_faces), frame_step=frame_step)
    if folder is not None:
        options = session.options | {"all_faces": all_faces, "frame_step": frame_step}
        _write(session, files, options)
        print(f"results: {shown(folder.path)}")
    return _account(log)


def _pictures(media: list[Media], session: _Session, *, all_faces: bool) -> None:
    for first in range(0, len(media), PICTURES_AT_ONCE):
        part = media[first : first + PICTURES_AT_ONCE]
        of_shown = {shown(one.path): one.path for one in part}
        found = look.pictures(
            [one.path for one in part],
            classifier=session.classifier,
            all_faces=all_faces,
            log=session.log,
            **session.options,
        )
        for source, table in found.groupby("source", sort=False):
            files = {}
            if session.out is not None:
                path = of_shown[source]
                files["annotated"] = session.out.name(path.stem, ".annotated.jpg")
                picture = reading.read(path)  # again: a batch of decoded pictures may not fit in memory
                drawn = output.annotate(picture.rgb, table, reduction=picture.reduction)
                output.write_picture(files["annotated"], drawn)
            session.add(table, kind="picture", files=files)
            _say(*answers.lines(table, session.classifier.classes))


def _video(media: Media, session: _Session, *, all_faces: bool, frame_step: int) -> None:
    classes = session.classifier.classes
    try:
        found = look.video(
            media.path,
            classifier=session.classifier,
            all_faces=all_faces,
            frame_step=frame_step,
            log=session.log,
            progress=sys.stderr.isatty(),
            **session.options,
        )
    except MediaError as error:
        session.log.failures.append((shown(media.path), error.reason))
        return
    opened, files = open_video(media.path), {}
    if session.out is not None:
        files["annotated"] = session.out.name(media.path.stem, ".annotated.mp4")
        frames = ahead(opened.frames(frame_step=frame_step, rgb=True), n=COLOUR_FRAMES_AHEAD)
        pictures = output.annotated(frames, found)
        output.write_video(files["annotated"], pictures, frame_rate_hz=opened.frame_rate_hz / frame_step)
    _finish_video(found, session, stem=media.path.stem, files=files)
    _say(*answers.time_lines(found, classes), f"{found['source'].iloc[0]}: {answers.verdict(found, classes)}")


def _camera(number: int, session: _Session, *, seconds: float | None, all_faces: bool, frame_step: int) -> None:
    watch = camera.Watch(
        f"camera {number}", classifier=session.classifier, all_faces=all_faces, say=_say, **session.options
    )
    files = {}
    try:
        with camera.asked_to_stop() as stop, closing(camera.frames(number, seconds=seconds)) as frames:
            pictures = watch.pictures(frames, frame_step=frame_step, stop=stop)
            if (first := next(pictures, None)) is None:
                raise MediaError(watch.source, "stopped before the first picture")
            if session.out is None:
                for _ in pictures:
                    pass
            else:
                files["annotated"] = session.out.name(f"camera-{number}", ".annotated.mp4")
                output.write_video(files["annotated"], chain([first], pictures), frame_rate_hz=float("nan"))
    except MediaError as error:
        session.log.failures.append((watch.source, error.reason))
        return
    _finish_video(watch.predictions, session, stem=f"camera-{number}", files=files)
    _say(f"{watch.source}: {answers.verdict(watch.predictions, session.classifier.classes)}")


def _finish_video(found: pd.DataFrame, session: _Session, *, stem: str, files: dict[str, Path]) -> None:
    """The page of a video, and its entry in the results."""
    classes, source = session.classifier.classes, found["source"].iloc[0]
    if session.out is not None:
        files["page"] = session.out.name(stem, ".html")
        notes = [text for of, text in session.log.notes if of == source]
        text = page.build(found, files["annotated"], classes=classes, weights=session.classifier.name, notes=notes)
        output.write_text(files["page"], text)
    voted = answers.votes(found, classes).to_dict("records")
    session.add(found, kind="video", files=files, votes=voted, verdict=answers.verdict(found, classes))


def _write(session: _Session, files: dict[str, Path], options: dict) -> None:
    classifier = session.classifier
    tables = session.tables or [answers.table([], answers.no_posterior(classifier.classes), classifier.classes)]
    output.write_csv(files[".csv"], pd.concat(tables, ignore_index=True))
    about = {
        "schema_version": SCHEMA_VERSION,
        "emolib_version": version("emolib"),
        "weights": classifier.name,
        "classes": list(classifier.classes),
        "temperature": classifier.temperature,
        "crop": look.crop_of(classifier),
        "options": options,
        "sources": session.sources,
        "failures": [{"source": source, "reason": reason} for source, reason in session.log.failures],
    }
    output.write_json(files[".json"], about)


def _account(log: Log) -> int:
    """Say what is worth knowing and what failed, on the error stream: 1 if something failed, else 0."""
    for source, text in log.notes:
        print(f"note: {source}: {text}", file=sys.stderr)
    if not log.failures:
        return 0
    print(f"{len(log.failures)} could not be read:", file=sys.stderr)
    for source, reason in log.failures:
        print(f"  {source}: {reason}", file=sys.stderr)
    return 1


def _say(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)
