"""Peak memory of training five folds on a made-up corpus of 160,000 frames.

Counted is the proportional set size (PSS) of this process and its children, sampled from ``/proc/<pid>/smaps_rollup``:
private memory whole, a page of a mapped file (the frame store, libraries) once however many processes map it. Pages of
the store count while they are mapped although the system may drop them at any time, so the figure is an upper bound of
what is needed. Linux only.

    python benchmarks/memory.py
    python benchmarks/memory.py --frames 20000
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd

from emolib.frames import BOX_COLUMNS, FrameStore, FrameStoreWriter
from emolib.training import Member, Recipe, train_stack

LIMIT_GIB = 4.0
CHUNK, FRAMES_A_VIDEO, N_SUBJECTS, N_CLASSES, N_FOLDS = 2000, 110, 24, 8, 5


def write_corpus(path: Path, n_frames: int) -> None:
    """A store of noise with the manifest of RAVDESS's size: 110 frames a video, 24 subjects, 8 labels."""
    rng = np.random.default_rng(0)
    with FrameStoreWriter(path, corpus="made_up", label_space="ravdess8") as writer:
        for first in range(0, n_frames, CHUNK):
            frame = np.arange(first, min(first + CHUNK, n_frames))
            video = frame // FRAMES_A_VIDEO
            rows = pd.DataFrame(
                {
                    "source": [f"{number}.mp4" for number in video],
                    "video": [f"v{number}" for number in video],
                    "frame": frame % FRAMES_A_VIDEO,
                    "time_s": frame % FRAMES_A_VIDEO / 30,
                    "subject": [f"s{number % N_SUBJECTS:02d}" for number in video],
                    "label": video % N_CLASSES,
                    "split": "",
                    "face_ok": True,
                    **dict.fromkeys(BOX_COLUMNS, 0.0),
                }
            )
            pictures = rng.integers(0, 256, (2, len(frame), 48, 48), dtype=np.uint8)
            writer.append(rows, {"image": pictures[0], "guide/saliency": pictures[1]})


def family() -> list[int]:
    """This process and all below it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The name in brackets may hold blanks; the parent is the second field after it.
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
                continue
    own = {int(Path("/proc/self").resolve().name)}
    while more := {child for child, parent in parents.items() if parent in own} - own:
        own |= more
    return sorted(own)


def pss_gib() -> tuple[float, float]:
    """(all, of files) PSS of the family in GiB."""
    sums = {"Pss": 0, "Pss_File": 0}
    for process in family():
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
            continue
        for line in lines:
            name, _, rest = line.partition(":")
            if name in sums:
                sums[name] += int(rest.split()[0])
    return sums["Pss"] / 2**20, sums["Pss_File"] / 2**20


class Sampler(threading.Thread):
    """Keeps the largest PSS seen until `stop`."""

    def __init__(self, every_s: float = 0.2):
        super().__init__(daemon=True)
        self.every_s, self.peak, self.ended = every_s, (0.0, 0.0), threading.Event()

    def run(self) -> None:
        while not self.ended.wait(self.every_s):
            self.peak = max(self.peak, pss_gib())

    def stop(self) -> tuple[float, float]:
        self.ended.set()
        self.join()
        return self.peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=160_000)
    parser.add_argument("--train", type=int, default=12_000, help="training frames a fold, drawn from all its frames")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sampler = Sampler()
        sampler.start()
        write_corpus(Path(folder) / "store", arguments.frames)
        print(f"preparing {arguments.frames} frames: peak {sampler.stop()[0]:.2f} GiB", flush=True)
        store = FrameStore.open(Path(folder) / "store")
        label, subject = (store.manifest[name].to_numpy() for name in ("label", "subject"))
        fold = pd.Series(subject).str[1:].astype(int).to_numpy() % N_FOLDS
        rng = np.random.default_rng(0)
        members = []
        for number in range(N_FOLDS):
            train = np.flatnonzero(fold != number)
            train = rng.choice(train, min(arguments.train, len(train)), replace=False)
            members.append(Member(f"fold{number}", train, np.flatnonzero(fold == number), seed=number))
        sampler = Sampler()
        sampler.start()
        began = time.perf_counter()
        train_stack(
            store.array("image"),
            store.array("guide/saliency"),
            label,
            members,
            model="guided",
            n_classes=N_CLASSES,
            recipe=Recipe(epochs=1, patience=1),
            workers=arguments.workers,
            device="cpu",
        )
        total, files = sampler.stop()
    seconds = time.perf_counter() - began
    print(
        f"training {N_FOLDS} folds, {arguments.workers} workers, {seconds:.0f} s: peak {total:.2f} GiB, "
        f"of which {files:.2f} are pages of files (store, libraries); the limit is {LIMIT_GIB:.0f}"
    )
    if total >= LIMIT_GIB:
        raise SystemExit(f"peak memory {total:.2f} GiB is over the limit of {LIMIT_GIB:.0f} GiB")


if __name__ == "__main__":
    main()
