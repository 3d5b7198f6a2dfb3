"""The filter `apex`: an acted emotion rises, peaks and falls; keep the frames around the peak."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib.filters.judging import Judgement, by_group, check_range, own

TIME_TOLERANCE_S = 1.0e-6  # frame times are sums of frame periods: 0.1 + 0.2 is not 0.3
EQUAL_INTENSITY = 1.0e-9  # smoothing rounds: frames of a plateau that differ less are equally high


def apex(frames: pd.DataFrame, values: np.ndarray, *, window_s: float, smooth_s: float = 0.3) -> Judgement:
    """Keep the frames of a window in time around the peak of the video's own intensity.

    The intensity is estimated by the posterior of the video's own class, smoothed over time; its first highest frame is
    the apex. The score is the distance in time to the apex, negated (s).

    Parameters
    ----------
    window_s : float, 0 or more
        Length of the window (s); the apex is its middle, so at a video's start or end half of it may be empty.
    smooth_s : float, 0 or more
        Length of the smoothing window (s), 0: none. The mean is that of the curve through the frames (straight lines
        between them, also across frames without a face) over the window's part inside the video, so that more frames
        a second weigh no more.
    """
    check_range("window_s", window_s, 0.0, np.inf)
    check_range("smooth_s", smooth_s, 0.0, np.inf)
    time = frames["time_s"].to_numpy(dtype=np.float64)
    if not np.isfinite(time).all():
        name = frames["video_name"].to_numpy()[~np.isfinite(time)][0]
        raise ValueError(f"filter 'apex' needs the time of every frame: time_s of video {name!r} is not finite")
    order, start, count = by_group(frames["video"].to_numpy(), time)
    video = np.repeat(np.arange(len(count)), count)
    time = time[order] - time[order][start][video]
    intensity = _smoothed(time, np.asarray(own(frames, values), dtype=np.float64)[order], start, count, smooth_s)
    highest = np.flatnonzero(intensity >= np.maximum.reduceat(intensity, start)[video] - EQUAL_INTENSITY)
    apex_s = time[highest[np.unique(video[highest], return_index=True)[1]]]
    score = np.empty(len(frames))
    score[order] = -np.abs(time - apex_s[video])
    return Judgement(score >= -window_s / 2 - TIME_TOLERANCE_S, score, -window_s / 2)


def _smoothed(time: np.ndarray, value: np.ndarray, start: np.ndarray, count: np.ndarray, smooth_s: float) -> np.ndarray:
    """Mean over `smooth_s` around each frame of the piecewise linear curve through a video's frames.

    Frames are sorted by video and time; times (s) count from the video's first frame. All videos at once: the integral
    of the curve from its beginning is looked up at both ends of each frame's window.
    """
    video = np.repeat(np.arange(len(count)), count)
    last = (start + count - 1)[video]
    inside = np.diff(video, prepend=-1) == 0
    area = np.where(inside, np.diff(time, prepend=0.0) * (value + np.roll(value, 1)) / 2, 0.0)
    integral = np.cumsum(area)
    shift = video * (time.max(initial=0.0) + 1.0)  # one axis for all videos, on which they do not touch

    def integral_to(moment: np.ndarray) -> np.ndarray:
        frame = np.searchsorted(time + shift, moment + shift, side="right") - 1
        after = np.minimum(frame + 1, last)
        length, part = time[after] - time[frame], moment - time[frame]
        slope = np.divide(value[after] - value[frame], length, out=np.zeros_like(length), where=length > 0)
        return integral[frame] + part * (value[frame] + slope * part / 2)

    low, high = np.maximum(time - smooth_s / 2, 0.0), np.minimum(time + smooth_s / 2, time[last])
    width = high - low
    return np.divide(integral_to(high) - integral_to(low), width, out=value.copy(), where=width > 0)
