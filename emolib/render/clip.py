"""From a subject and an emotion to one .mp4 file (H.264 and AAC) and its truth, or to one still."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd

from emolib.render.dynamics import SPEECH_AU25, SPEECH_AU26, Motion, expression, perform
from emolib.render.face import Scene, add_noise, draw_person, landmark_box, make_scene
from emolib.render.identity import Identity, generator
from emolib.render.shape import ACTION_UNITS, AU_COLUMNS, AU_INDEX, AU_MAX, Pose
from emolib.render.voice import SAMPLE_RATE_HZ, synthesise

LANDMARK_COLUMNS = [f"{axis}_{k}" for axis in "xy" for k in range(68)]  # names and order of OpenFace
BOX_COLUMNS = ["box_left", "box_top", "box_right", "box_bottom"]
# One thread each: with several, x264's decisions and with them the bytes depend on the machine.
_X264 = {
    "preset": "superfast",
    "crf": "22",
    "threads": "1",
    "x264-params": "threads=1:lookahead-threads=1:sliced-threads=0",
}


@dataclass(frozen=True)
class ClipSpec:
    """What one clip shows: `video` is its id and the stem of its file."""

    video: str
    emotion: str
    strong: bool
    statement: int
    length_s: float


def render_clip(
    path: Path, spec: ClipSpec, who: Identity, *, seed: int, frame_rate_hz: int, width_px: int, height_px: int
) -> pd.DataFrame:
    """Write one clip to `path` and return its truth, a row a frame (columns as in `truth`)."""
    random = generator(seed, "clip", spec.video)
    scene = make_scene(random, width_px=width_px, height_px=height_px)
    motion = perform(
        random,
        who,
        spec.emotion,
        strong=spec.strong,
        statement=spec.statement,
        length_s=spec.length_s,
        frame_rate_hz=frame_rate_hz,
        width_px=width_px,
        height_px=height_px,
    )
    sound = synthesise(random, who, motion.speech, length_s=len(motion.time_s) / frame_rate_hz)
    landmarks = write_video(path, draw_frames(scene, who, motion, random), sound, frame_rate_hz=frame_rate_hz)
    return truth(spec.video, motion, landmarks)


def draw_frames(scene: Scene, who: Identity, motion: Motion, random: np.random.Generator):
    """Yield each frame as (planes of YUV 4:2:0, uint8 [h * 3 / 2, w]; landmarks, float32 [68, 2])."""
    height = scene.background.shape[0]
    for au, pose, gaze, gain in zip(motion.au, motion.poses, motion.gazes, motion.gain, strict=True):
        image, landmarks = draw_person(scene, who, au, pose, gain=gain, gaze=gaze)
        planes = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420)
        planes[:height] = add_noise(planes[:height], scene, random)
        yield planes, landmarks


def write_video(path: Path, frames, sound: np.ndarray, *, frame_rate_hz: int) -> np.ndarray:
    """Encode `frames` (see `draw_frames`) and `sound` (float32 [n], 16 kHz) to `path`; return landmarks [T, 68, 2].

    Equal input gives equal bytes: one encoder thread, no dates and no program names in the file.
    """
    landmarks = []
    with av.open(str(path), "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        container.flags |= av.container.Flags.bitexact.value
        video = container.add_stream("libx264", rate=Fraction(frame_rate_hz), options=_X264)
        audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono", options={"flags": "+bitexact"})
        audio.bit_rate = 48_000
        for planes, points in frames:
            if not landmarks:
                video.width, video.height, video.pix_fmt = planes.shape[1], planes.shape[0] * 2 // 3, "yuv420p"
                video.codec_context.thread_count = 1
                video.codec_context.flags |= av.codec.context.Flags.bitexact.value
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = len(landmarks), Fraction(1, frame_rate_hz)
            container.mux(video.encode(frame))
            landmarks.append(points)
        container.mux(video.encode())
        block = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        block.sample_rate, block.pts, block.time_base = SAMPLE_RATE_HZ, 0, Fraction(1, SAMPLE_RATE_HZ)
        container.mux(audio.encode(block))
        container.mux(audio.encode())
    return np.stack(landmarks)


def truth(video: str, motion: Motion, landmarks: np.ndarray) -> pd.DataFrame:
    """Truth of one clip, a row a frame.

    Columns: video, frame (int32), time_s, true_intensity (float32, 0..1), blink, `AU_COLUMNS` (float32, 0..5),
    `BOX_COLUMNS` (of the landmarks, pixels) and `LANDMARK_COLUMNS` (float32, pixels).
    """
    n = len(motion.time_s)
    head = {"video": [video] * n, "frame": np.arange(n, dtype=np.int32), "time_s": motion.time_s}
    head |= {"true_intensity": motion.true_intensity.astype(np.float32), "blink": motion.blink}
    numbers = np.concatenate([motion.au, landmark_box(landmarks), landmarks[..., 0], landmarks[..., 1]], axis=1)
    columns = [*AU_COLUMNS, *BOX_COLUMNS, *LANDMARK_COLUMNS]
    return pd.concat([pd.DataFrame(head), pd.DataFrame(numbers.astype(np.float32), columns=columns)], axis=1)


def render_still(
    who: Identity,
    au: dict[int, float],
    *,
    pose: Pose | None = None,
    light: float = 1.0,
    size_px: int = 240,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One picture of `who`.

    Parameters
    ----------
    who : from `emolib.render.identity`
    au : action units above the subject's face at rest, number -> 0..5, for example ``{6: 3, 12: 4}``
    pose : None is a frontal head in the middle
    light : gain, 1 is daylight
    size_px : side of the square picture
    seed : of the background, the direction of the light and the noise

    Returns
    -------
    image : uint8 [size_px, size_px, 3], RGB
    landmarks : float32 [68, 2], pixels
    box : float32 [4], left, top, right, bottom of the landmarks

    Raises
    ------
    ValueError
        An action unit is unknown.
    """
    if unknown := sorted(set(au) - set(ACTION_UNITS)):
        raise ValueError(f"action units {unknown} are unknown; there are {ACTION_UNITS}")
    units = who.rest_au.copy()
    for unit, value in au.items():
        units[AU_INDEX[unit]] += value
    return _still(
        generator(seed, "still"), who, units, pose or Pose(size_px / 2, 0.43 * size_px, 0.26 * size_px), light, size_px
    )


def random_still(
    random: np.random.Generator, who: Identity, emotion: str, *, intensity: float, size_px: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture of `who` showing `emotion` with `intensity` (0..1) in a random pose and light, sometimes speaking.

    Returns image, landmarks and box as `render_still` does.
    """
    units = who.rest_au + intensity * expression(random, who, emotion)
    opening = random.uniform(0, 1) * (random.random() < 0.4)
    units[AU_INDEX[25]] += SPEECH_AU25 * opening
    units[AU_INDEX[26]] += SPEECH_AU26 * opening
    x, y = size_px * (0.5 + random.normal(0, 0.02)), size_px * (0.43 + random.normal(0, 0.015))
    roll, yaw, pitch = random.normal(0, [0.05, 0.08, 0.04])
    pose = Pose(x, y, size_px * random.uniform(0.24, 0.28), roll, yaw, pitch)
    return _still(random, who, units, pose, random.uniform(0.75, 1.12), size_px)


def _still(random, who: Identity, units: np.ndarray, pose: Pose, light: float, size_px: int):
    scene = make_scene(random, width_px=size_px, height_px=size_px)
    image, landmarks = draw_person(scene, who, np.clip(units, 0, AU_MAX), pose, gain=light)
    return add_noise(image, scene, random), landmarks, landmark_box(landmarks)
