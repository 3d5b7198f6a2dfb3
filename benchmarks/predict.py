"""A 720p video with one face: `emolib predict` beside prediction of one picture at a time, in one run.

    python benchmarks/predict.py [video.mp4] [--weights seven]

Without a video it draws a clip of the embedded corpus at 1280x720 and 30 Hz, in a temporary folder. The plain way is
that of a script: for each frame dlib's detector on the full frame (no upsampling), its 68-point predictor, the crop,
the network on one picture. Prints frames a second and the ratio, and in how many frames both ways agree.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import dlib
import numpy as np

from emolib import classify, landmarks, predict
from emolib.corpora import synthetic
from emolib.landmarks import _predictor
from emolib.predict.faces import cut
from emolib.predict.look import crop_of
from emolib.tracking import Face
from emolib.video import open_video

CLIP_S, PLAIN_FRAMES, TARGET_HZ = 20.0, 100, 60.0


def draw_clip(folder: Path) -> Path:
    """One clip of one drawn person, 1280x720."""
    root = folder / "corpus"
    synthetic.generate(
        root,
        n_subjects=1,
        emotions=("happy",),
        intensities=(2,),
        duration_s=CLIP_S,
        width_px=1280,
        height_px=720,
        n_stills=0,
        progress=False,
    )
    return root / synthetic.scan(root).sources["source"].iloc[0]


def plain(clip: Path, classifier) -> tuple[list[str], float]:
    """The plain way over the first frames: the answer of each ("" without a face), seconds a frame."""
    detector, answers = dlib.get_frontal_face_detector(), []
    start = time.perf_counter()
    for frame in islice(open_video(clip).frames(), PLAIN_FRAMES):
        boxes, scores, _ = detector.run(frame.grey, 0, 0.0)
        if not boxes:
            answers.append("")
            continue
        parts = _predictor()(frame.grey, boxes[int(np.argmax(scores))]).parts()
        points = np.array([(point.x, point.y) for point in parts], np.float32)
        face = Face(landmarks.face_box(points), points, "dlib", 1, points[0])
        crop = cut(frame.grey, face, crop=crop_of(classifier))
        answers.append(classifier.classes[int(classifier.posterior(crop[None])[0].argmax())])
    return answers, (time.perf_counter() - start) / len(answers)


def command_s(clip: Path, *options: str) -> float:
    """Wall seconds of the command line, its start included."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "emolib.cli", "predict", str(clip), *options], check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?", type=Path)
    parser.add_argument("--weights", default="seven")
    given = parser.parse_args()
    classifier = classify.load(given.weights, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        clip = given.video.resolve() if given.video else draw_clip(Path(folder))
        next(open_video(clip).frames())
        classifier.posterior(np.zeros((2, 48, 48), np.uint8))  # both ways begin warm
        cpu, wall = time.process_time(), time.perf_counter()
        table = predict.video(clip, classifier=classifier)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        answers, plain_s = plain(clip, classifier)
        options = ("--weights", given.weights, "--device", "cpu")
        alone_s = command_s(clip, *options)
        files_s = command_s(clip, *options, "--out", str(Path(folder) / "out"))
    n = len(table)
    ours = table["emotion"].fillna("").tolist()[: len(answers)]
    agree = np.mean([a == b for a, b in zip(ours, answers, strict=True)])
    side = float((table["box_right"] - table["box_left"]).median())
    sizes = f"{classifier.n_parameters / 1e6:.2f} million parameters"
    print(f"clip                       {n} frames, face of {side:.0f} px, found in {table['face'].notna().mean():.1%}")
    print(f"network                    {given.weights}: {sizes}; {len(os.sched_getaffinity(0))} cores")
    rate = f"{n / wall:.0f} frames/s (target {TARGET_HZ:.0f})"
    print(f"emolib.predict.video       {rate}; CPU {1e3 * cpu / n:.1f} ms a frame")
    print(f"one picture at a time      {1 / plain_s:.1f} frames/s, over {len(answers)} frames")
    print(f"ratio                      {plain_s / (wall / n):.1f}")
    print(f"same answer                {agree:.1%} of {len(answers)} frames")
    print(f"emolib predict             {n / alone_s:.0f} frames/s, its start of Python and torch included")
    print(f"emolib predict --out       {n / files_s:.0f} frames/s, with annotated video and page")


if __name__ == "__main__":
    main()
