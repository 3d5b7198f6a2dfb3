"""A webcam, through OpenCV: frame by frame, as they come."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from emolib.predict import answers
from emolib.predict.drawing import annotate
from emolib.predict.look import crop_face, crop_of, follower
from emolib.video import Frame, MediaError

SAY_EVERY_S = 1.0


@contextmanager
def asked_to_stop() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets, so that the frame at hand is finished; a second one interrupts.

    Python handles signals in its main thread only: elsewhere nothing sets the event.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(*_) -> None:
        for number in before:
            signal.signal(number, signal.default_int_handler)
        asked.set()

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, ask)
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def frames(number: int, *, seconds: float | None = None) -> Iterator[Frame]:
    """Frames of camera `number`, until it ends or `seconds` are over.

    Raises
    ------
    MediaError
        There is no such camera, or it gives no picture.
    """
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it prints what the error below says
    capture = cv2.VideoCapture(number)
    cv2.utils.logging.setLogLevel(level)
    try:
        if not capture.isOpened():
            there = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
            raise MediaError(f"camera {number}", f"cannot be opened (devices here: {there})")
        start, index = time.monotonic(), 0
        while True:
            good, bgr = capture.read()
            time_s = time.monotonic() - start
            if not good and index == 0:
                raise MediaError(f"camera {number}", "gives no picture")
            if not good or (index and seconds is not None and time_s > seconds):
                return
            rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            yield Frame(index, time_s, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), rgb)
            index += 1
    finally:
        capture.release()


class Watch:
    """Looks at frames one by one, and says so once a second; iterate `pictures`, then read `predictions`."""

    def __init__(
        self, source: str, *, classifier, detect: bool, all_faces: bool, views: int, say: Callable[[str], None]
    ):
        self.source, self._classifier, self._views, self._say = source, classifier, views, say
        self._step, self._state = follower(detect=detect, all_faces=all_faces)
        self._tables: list[pd.DataFrame] = []

    @property
    def predictions(self) -> pd.DataFrame:
        """All answers up to now, columns as in `emolib.predict.answers`."""
        return pd.concat(self._tables, ignore_index=True)

    def pictures(
        self, camera: Iterator[Frame], *, stop: threading.Event, frame_step: int = 1
    ) -> Iterator[tuple[float, np.ndarray]]:
        """Time and annotated picture of every `frame_step`-th frame, until `stop` is set."""
        said_s = -SAY_EVERY_S
        for frame in camera:
            if stop.is_set():
                return
            if frame.index % frame_step:
                continue
            table = self._look(frame)
            self._tables.append(table)
            if frame.time_s - said_s >= SAY_EVERY_S:
                said_s = frame.time_s
                for line in answers.time_lines(table, self._classifier.classes):
                    self._say(line)
            yield frame.time_s, annotate(frame.rgb, table)

    def _look(self, frame: Frame) -> pd.DataFrame:
        classifier, crop = self._classifier, crop_of(self._classifier)
        found, self._state = self._step(frame.grey, self._state)
        rows = [answers.row(self.source, frame.index, frame.time_s, n, face) for n, face in found.items()]
        if not rows:
            rows = [answers.nobody(self.source, frame.index, frame.time_s)]
            posterior = answers.no_posterior(classifier.classes)
        else:
            crops = np.stack([crop_face(frame, face, crop=crop) for face in found.values()])
            posterior = classifier.posterior(crops, views=self._views)
        return answers.table(rows, posterior, classifier.classes)
