"""Work beside work: frames decoded ahead in one thread, crops classified in batches in another."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from emolib.predict import answers

Item = TypeVar("Item")
FRAMES_AHEAD = 8
BATCH = 64
_POLL_S = 0.1


def ahead(items: Iterable[Item], *, n: int = FRAMES_AHEAD) -> Iterator[Item]:
    """Yield `items`, made in a thread of their own up to `n` ahead; what they raise is raised here, in its place.

    FFmpeg, dlib and torch let other threads run while they work, so decoding costs a video nothing on a second core.
    """
    ready: queue.Queue[tuple[str, object]] = queue.Queue(n)
    stopped = threading.Event()

    def put(kind: str, value: object) -> bool:
        while not stopped.is_set():
            try:
                ready.put((kind, value), timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:  # noqa: BLE001 (handed over whole to the thread that waits for it)
            put("error", error)

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        stopped.set()
        thread.join()


class Classification:
    """Crops in, one at a time; their posteriors out, in that order. A context manager: it owns a thread.

    Parameters
    ----------
    classifier : emolib.classify.Classifier, or anything with its `classes` and `posterior`.
    views : as `Classifier.posterior`.
    """

    def __init__(self, classifier, *, views: int = 1):
        self._classifier, self._views = classifier, views
        self._waiting: list[np.ndarray] = []
        self._results: list[Future] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="classify")

    def __enter__(self) -> Classification:
        return self

    def __exit__(self, *_) -> None:
        self._thread.shutdown(cancel_futures=True)

    def add(self, crop: np.ndarray) -> None:
        """Take a crop, uint8 [48, 48]; every `BATCH` of them go to the network."""
        self._waiting.append(crop)
        if len(self._waiting) == BATCH:
            self._send()

    def posterior(self) -> np.ndarray:
        """Posteriors of all crops added up to now, float32 [n, C]."""
        if self._waiting:
            self._send()
        parts = [result.result() for result in self._results]
        return np.concatenate([answers.no_posterior(self._classifier.classes), *parts])

    def _send(self) -> None:
        crops, self._waiting = np.stack(self._waiting), []
        self._results.append(
            self._thread.submit(self._classifier.posterior, crops, views=self._views, batch_size=BATCH)
        )
