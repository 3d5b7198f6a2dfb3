"""Speed of the embedded corpus on one core, and what dlib sees in it.

    python benchmarks/synthetic.py [--subjects 2]

Generates every emotion and intensity of a few subjects with one process and one thread, then decodes each frame, runs
dlib's HOG detector (no upsampling) and its 68-point predictor, and compares with the truth.
"""

import argparse
import importlib.util
import tempfile
import time
from pathlib import Path

import av
import cv2
import dlib
import numpy as np
import pandas as pd

from emolib.corpora import synthetic
from emolib.render.clip import LANDMARK_COLUMNS


def dlib_figures(root: Path, *, frame_step: int) -> tuple[int, float, float]:
    """Frames seen, share of them in which dlib found the face, median landmark error in inter-ocular distances."""
    folder = Path(importlib.util.find_spec("face_recognition_models").submodule_search_locations[0])
    detect = dlib.get_frontal_face_detector()
    predict = dlib.shape_predictor(str(folder / "models" / "shape_predictor_68_face_landmarks.dat"))
    truth = pd.read_parquet(root / "truth.parquet").set_index(["video", "frame"])[LANDMARK_COLUMNS]
    seen, errors = 0, []
    for row in synthetic.scan(root).sources.itertuples():
        with av.open(str(root / row.source)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                if index % frame_step:
                    continue
                seen += 1
                image = frame.to_ndarray(format="gray")
                boxes = detect(image, 0)
                if boxes:
                    true = truth.loc[(row.video, index)].to_numpy().reshape(2, 68).T
                    found = np.array([(p.x, p.y) for p in predict(image, boxes[0]).parts()])
                    errors.append(np.linalg.norm(found - true, axis=1) / np.linalg.norm(true[36] - true[45]))
    return seen, len(errors) / seen, float(np.median(errors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--frame-step", type=int, default=2)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "corpus"
        start = time.perf_counter()
        summary = synthetic.generate(root, n_subjects=options.subjects, n_stills=0, workers=1, progress=False)
        seconds = time.perf_counter() - start
        rate = summary["n_frames"] / seconds
        print(f"generation, one core: {summary['n_frames']} frames in {seconds:.1f} s = {rate:.0f}/s (at least 100)")
        seen, share, error = dlib_figures(root, frame_step=options.frame_step)
        print(f"dlib HOG finds the face in {100 * share:.2f} % of {seen} frames (at least 99 %)")
        print(f"dlib's 68 landmarks, median error {100 * error:.2f} % of the inter-ocular distance (below 5 %)")


if __name__ == "__main__":
    main()
