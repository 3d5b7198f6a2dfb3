"""What ``emolib predict`` does: inputs one after the other, results printed and written, bad files passed over."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import chain, groupby
from pathlib import Path

import av
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
        self.sources.append(entry)

    @contextmanager
    def attempt(self, source: str, what: str) -> Iterator[None]:
        """Where `what` of one input cannot be written, that is a failure of this input: its table stays."""
        try:
            yield
        except (MediaError, OSError, av.FFmpegError) as error:
            reason = error.reason if isinstance(error, MediaError) else error
            self.log.failures.append((source, f"{what} could not be written ({reason})"))


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
        each. Only files that an earlier run wrote are overwritten (`output.Folder`). The tables are written also where
        an error or Ctrl-C ends the run, with what was finished and ``"complete": false``.

    Returns
    -------
    0, or 1 where something could not be read, or its annotation or page not be written; it is named at the end.

    Raises
    ------
    ValueError, FileNotFoundError
        Nothing is named, an option is not allowed, there are no such weights, or results would lie among what is read.
    """
    if not named and camera_number is None:
        raise ValueError("nothing to look at: name pictures, folders or videos, or a camera (--camera 0)")
    if frame_step < 1:
        raise ValueError(f"--frame-step {frame_step}: at least 1 is allowed")
    if seconds is not None and camera_number is None:
        raise ValueError("--seconds is for a webcam: name one (--camera 0)")
    if all_faces and not detect:
        raise ValueError("--all-faces with --no-detect: a ready face crop has one face")
    # realpath: a name that cannot be asked for is a failure of its own, later
    if out is not None and (mixed := [p for p in named if os.path.realpath(p) == os.path.realpath(out) and p.is_dir()]):
        raise ValueError(f"--out {out}: results would lie among the pictures of {mixed[0]}; choose another folder")
    log = Log()
    media = expand(named, log=log, leave_out=out)
    classifier = classify.load(weights, device=device)
    look.check(classifier, views=views)
    folder = None if out is None else output.Folder(out, inputs=[one.path for one in media])
    tables = [] if folder is None else folder.names(output.TABLES, (".csv", ".json"))
    session = _Session(classifier, {"detect": detect, "views": views}, folder, log)
    how, complete = {"all_faces": all_faces, "frame_step": frame_step}, False
    try:
        _look_at(media, session, **how)
        if camera_number is not None:
            _camera(camera_number, session, seconds=seconds, all_faces=bool(all_faces), frame_step=frame_step)
        complete = True
    finally:  # hours of work are not lost with the last file
        if folder is not None:
            _write(session, *tables, session.options | how, complete=complete)
    if folder is not None:
        print(f"results: {shown(folder.path)}")
    return _account(log)


def _look_at(media: list[Media], session: _Session, *, all_faces: bool | None, frame_step: int) -> None:
    for kind, group in groupby(media, key=lambda one: one.kind):
        if kind == "picture":
            _pictures(list(group), session, all_faces=all_faces is not False)
        else:
            for one in group:
                _video(one, session, all_faces=bool(all_faces), frame_step=frame_step)


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
                file = session.out.name(path.stem, ".annotated.jpg")
                with session.attempt(source, "the annotated picture"):
                    picture = reading.read(path)  # again: a batch of decoded pictures may not fit in memory
                    drawn = output.annotate(picture.rgb, table, reduction=picture.reduction)
                    output.write_picture(file, drawn)
                    files["annotated"] = file
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
    files = {}
    if session.out is not None:
        file = session.out.name(media.path.stem, ".annotated.mp4")
        with session.attempt(shown(media.path), "the annotated video, and so its page,"):
            opened = open_video(media.path)
            frames = ahead(opened.frames(frame_step=frame_step, rgb=True), n=COLOUR_FRAMES_AHEAD)
            pictures = output.annotated(frames, found)
            output.write_video(file, pictures, frame_rate_hz=opened.frame_rate_hz / frame_step)
            files["annotated"] = file
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
                file = session.out.name(f"camera-{number}", ".annotated.mp4")
                with session.attempt(watch.source, "the annotated video, and so its page,"):
                    output.write_video(file, chain([first], pictures), frame_rate_hz=float("nan"))
                    files["annotated"] = file
    except MediaError as error:
        session.log.failures.append((watch.source, error.reason))
        return
    _finish_video(watch.predictions, session, stem=f"camera-{number}", files=files)
    _say(f"{watch.source}: {answers.verdict(watch.predictions, session.classifier.classes)}")


def _finish_video(found: pd.DataFrame, session: _Session, *, stem: str, files: dict[str, Path]) -> None:
    """The page of a video, and its entry in the results."""
    classes, source = session.classifier.classes, found["source"].iloc[0]
    if "annotated" in files:  # the page's pictures are its frames
        file = session.out.name(stem, ".html")
        notes = [text for of, text in session.log.notes if of == source]
        with session.attempt(source, "the page"):
            text = page.build(found, files["annotated"], classes=classes, weights=session.classifier.name, notes=notes)
            output.write_text(file, text)
            files["page"] = file
    voted = answers.votes(found, classes).to_dict("records")
    session.add(found, kind="video", files=files, votes=voted, verdict=answers.verdict(found, classes))


def _write(session: _Session, csv: Path, json: Path, options: dict, *, complete: bool) -> None:
    classifier = session.classifier
    tables = session.tables or [answers.table([], answers.no_posterior(classifier.classes), classifier.classes)]
    output.write_csv(csv, pd.concat(tables, ignore_index=True))
    of_each = zip(session.sources, session.tables, strict=True)
    written = {csv.name, json.name, *(name for source in session.sources for name in source["files"].values())}
    about = {
        "schema_version": SCHEMA_VERSION,
        "emolib_version": version("emolib"),
        "weights": classifier.name,
        "classes": list(classifier.classes),
        "temperature": classifier.temperature,
        "crop": look.crop_of(classifier),
        "options": options,
        "complete": complete,
        "sources": [source | {"answers": output.records(table)} for source, table in of_each],
        "failures": [{"source": source, "reason": reason} for source, reason in session.log.failures],
        "earlier_files": sorted(session.out.earlier - written),
    }
    output.write_json(json, about)


def _account(log: Log) -> int:
    """Say what is worth knowing and what failed, on the error stream: 1 if something failed, else 0."""
    for source, text in log.notes:
        print(f"note: {source}: {text}", file=sys.stderr)
    if not log.failures:
        return 0
    print(f"{len(log.failures)} could not be read or written:", file=sys.stderr)
    for source, reason in log.failures:
        print(f"  {source}: {reason}", file=sys.stderr)
    return 1


def _say(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)
