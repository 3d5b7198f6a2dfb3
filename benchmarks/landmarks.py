"""Landmarks of followed faces against dlib on every full frame, on clips that nothing was tuned with.

Random PEDFE clips (854x480) go through `prepare`; in random frames of each the plain way (dlib's detector on the whole
frame, its predictor in its own box) says where the 68 points are. The plain way itself is no truth: its boxes lie on a
coarse grid, and its points jump with them.

    python benchmarks/landmarks.py [--clips 60]
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from pathlib import Path

import dlib
import numpy as np

from emolib import corpora
from emolib.landmarks import _predictor
from emolib.preprocessing import prepare
from emolib.video import open_video

CLIPS = Path(__file__).parents[1] / "../shared/data/pedfe_clips.zip"
SEEN_WHILE_TUNING = {"40_dg_1"}
FRAMES_A_CLIP = 5


def plain(path: Path, frames: set[int]) -> dict[int, np.ndarray]:
    """Landmarks [68, 2] of `frames` in which dlib finds a face on the whole picture."""
    detector, found = dlib.get_frontal_face_detector(), {}
    for frame in open_video(path).frames():
        if frame.index in frames:
            boxes, scores, _ = detector.run(frame.grey, 0, 0.0)
            if boxes:
                points = _predictor()(frame.grey, boxes[int(np.argmax(scores))]).parts()
                found[frame.index] = np.array([(point.x, point.y) for point in points], dtype=float)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args()
    if not CLIPS.is_file():
        print(f"{CLIPS.name} is not here: nothing measured")
        return
    rng = np.random.default_rng(arguments.seed)
    distances, sides = [], []
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(CLIPS) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".avi"))
            names = [name for name in names if Path(name).stem not in SEEN_WHILE_TUNING]
            for name in rng.permutation(names)[: arguments.clips]:
                archive.extract(str(name), folder)
        corpus = corpora.scan("pedfe", Path(folder))
        store = prepare(corpus, Path(folder) / "store", guides=(), progress=False)
        ours = store.array("landmarks")
        for source, rows in store.manifest.groupby("source"):
            chosen = set(rng.choice(rows["frame"], min(FRAMES_A_CLIP, len(rows)), replace=False).tolist())
            for frame, points in plain(Path(folder) / source, chosen).items():
                row = rows.index[rows["frame"] == frame][0]
                if rows.loc[row, "face_ok"]:
                    distances.append(np.linalg.norm(ours[row] - points, axis=1))
                    sides.append(rows.loc[row, "box_right"] - rows.loc[row, "box_left"])
    distance, side = np.array(distances), float(np.median(sides))
    median, ninetieth = np.percentile(distance, [50, 90])
    print(f"{len(distance)} frames of {arguments.clips} clips, faces of {side:.0f} px")
    print(f"landmarks, ours to plain   median {median:.2f} px (target 1.0), 90 % {ninetieth:.2f} px")
    print(f"                           median {np.median(distance / np.array(sides)[:, None]):.2%} of the face's side")


if __name__ == "__main__":
    main()
