"""Media files in, arrays out: grey video frames with true times, audio, stills; by PyAV (FFmpeg) and Pillow."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Formats whose first plane is 8-bit luma, a byte a pixel: the plane is the grey image, nothing has to be converted.
_LUMA_PLANE = {
    *("yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p", "yuva420p", "nv12", "nv21"),
    *("yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p", "gray"),
}
_TAGS = "replace"  # a title that is no UTF-8 stops nobody from watching
_TEXT = "tty"  # FFmpeg's demuxer that draws text, which any .txt is, as a video
_FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG
_LIMITED_TO_FULL = np.clip(np.rint((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)
MAX_STILL_PIXELS = 100_000_000  # a larger still is taken for a decompression bomb
MAX_STILL_SIDE = 65_500  # libjpeg's own; the search for faces fills a ribbon up to an eighth of its length, squared
MAX_STRETCH = 10  # pixels of a video that are told to be longer or narrower than this are taken for a damaged header
# What Pillow raises on damaged files of one format or another (found by damaging 40,000 of 18 formats), beside its own.
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, TypeError, RuntimeError, LookupError, EOFError, struct.error)


class MediaError(ValueError):
    """A media file that cannot be read; the message names the file and the reason."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = Path(path), reason

    def __reduce__(self):  # an exception crosses processes by its arguments
        return type(self), (self.path, self.reason)


@dataclass(frozen=True)
class Frame:
    """A decoded frame.

    Attributes
    ----------
    index : position in the file, counted from 0 over all frames, also those that `frame_step` skipped.
    time_s : presentation time in seconds, from the file's time stamps.
    grey : uint8 [H, W], 0 to 255 (full range), upright and of square pixels: where the file's are not (anamorphic
        video), its width is scaled to what a player shows.
    rgb : uint8 [H, W, 3], scaled and turned as `grey`, or None if it was not asked for.
    """

    index: int
    time_s: float
    grey: np.ndarray
    rgb: np.ndarray | None = None


@dataclass
class Video:
    """A video file; iterate with `frames`, which are of square pixels whatever the file's are (`Frame`).

    Attributes
    ----------
    frame_rate_hz : the average frame rate that the file states; NaN where it states none.
    n_declared : number of frames that the file states; 0 where it states none.
    declared_s : duration that the file states, in seconds; NaN where it states none.
    n_decoded : frames decoded up to now.
    duration_s : from the first to the end of the last frame decoded up to now.
    notes : what was wrong with the file without stopping it; complete when `frames` is exhausted.
    """

    path: Path
    frame_rate_hz: float = float("nan")
    n_declared: int = 0
    declared_s: float = float("nan")
    n_decoded: int = 0
    duration_s: float = 0.0
    notes: list[str] = field(default_factory=list)

    def frames(self, *, frame_step: int = 1, rgb: bool = False, decoder_threads: int = 1) -> Iterator[Frame]:
        """Decode from the start, every `frame_step`-th frame.

        Parameters
        ----------
        frame_step : 1 keeps all frames, 2 those with an even index, and so on.
        rgb : decode colour as well.
        decoder_threads : threads of FFmpeg's decoder; 0 lets FFmpeg choose.

        Raises
        ------
        MediaError
            No frame at all could be decoded. A file that breaks later yields what comes before; `notes` says so.
        ValueError
            `frame_step` is below 1.
        """
        if frame_step < 1:
            raise ValueError(f"frame_step is {frame_step}, at least 1 is allowed")
        self.n_decoded, self.duration_s, self.notes = 0, 0.0, []
        n_corrupt = n_untimed = 0
        first_s = None
        try:
            with av.open(local(self.path), metadata_errors=_TAGS) as container:
                stream = _video_stream(container, self.path)
                stream.codec_context.thread_count = decoder_threads
                stream.thread_type = "AUTO"
                stretch = self._stretch(stream)
                for raw in container.decode(stream):
                    index, self.n_decoded = self.n_decoded, self.n_decoded + 1
                    n_corrupt += raw.is_corrupt
                    n_untimed += raw.time is None
                    time_s = float(raw.time if raw.time is not None else index / self.frame_rate_hz)
                    first_s = time_s if first_s is None else first_s
                    self.duration_s = time_s - first_s + 1 / self.frame_rate_hz
                    if index % frame_step == 0:
                        yield Frame(index, time_s, _grey(raw, stretch), _rgb(raw, stretch) if rgb else None)
        except (av.FFmpegError, EOFError) as error:
            if self.n_decoded == 0:
                raise MediaError(self.path, f"no frame could be decoded ({_reason(error)})") from error
            self.notes.append(f"broken after frame {self.n_decoded - 1}: {_reason(error)}")
        if self.n_decoded == 0:
            raise MediaError(self.path, "no frame could be decoded (the video track is empty)")
        if self.n_decoded < self.n_declared:
            self.notes.append(f"{self.n_decoded} of {self.n_declared} declared frames could be decoded")
        if n_corrupt:
            self.notes.append(f"{n_corrupt} damaged frames (FFmpeg's corrupt flag)")
        if n_untimed:
            self.notes.append(f"{n_untimed} frames without a time stamp: their time is index / frame rate")

    def _stretch(self, stream) -> Fraction:
        """Width of a pixel as a multiple of its height, as the file states it; 1 where it states none, or nonsense."""
        stretch = stream.sample_aspect_ratio or Fraction(1)
        sane = Fraction(1, MAX_STRETCH) <= stretch <= MAX_STRETCH
        if sane and stretch * stream.width <= MAX_STILL_SIDE:
            return stretch
        self.notes.append(f"its pixels are told to be {stretch} times as wide as high: taken for square")
        return Fraction(1)


def open_video(path: str | Path) -> Video:
    """Read the header of a video file.

    Raises
    ------
    MediaError
        The file is missing, empty, broken, no media file, or has no video track.
    """
    path = Path(path)
    with _open(path) as container:
        stream = _video_stream(container, path)
        rate = stream.average_rate or stream.guessed_rate
        duration_s = container.duration / av.time_base if container.duration else float("nan")
        return Video(path, float(rate) if rate else float("nan"), stream.frames, duration_s)


def read_audio(path: str | Path, *, sample_rate_hz: int) -> np.ndarray:
    """Decode the first audio track as the mean of its channels, resampled.

    Returns
    -------
    float32 [n], about -1 to 1.

    Raises
    ------
    MediaError
        The file cannot be read or has no audio track with a sample in it.
    """
    path = Path(path)
    with _open(path) as container:
        if not container.streams.audio:
            raise MediaError(path, "no audio track")
        # FFmpeg's own mix to one channel makes equal channels louder by the root of two: the mean is taken here.
        resampler = av.AudioResampler(format="fltp", rate=sample_rate_hz)
        try:
            decoded = [part for raw in container.decode(audio=0) for part in resampler.resample(raw)]
            decoded += resampler.resample(None)
        except (av.FFmpegError, EOFError, ValueError) as error:  # ValueError: its rate or channels change on the way
            raise MediaError(path, f"the audio track is broken ({_reason(error)})") from error
    if not decoded:
        raise MediaError(path, "the audio track is empty")
    return np.concatenate([part.to_ndarray() for part in decoded], axis=1).mean(axis=0, dtype=np.float32)


def read_image_grey(path: str | Path) -> np.ndarray:
    """Read a still of any mode as grey: EXIF rotation applied, transparency on white, 16 bit scaled to 8.

    Returns
    -------
    uint8 [H, W], 0 to 255; ITU-R 601 luma, as in the video's luma plane.

    Raises
    ------
    MediaError
        The file is missing, empty, broken, no picture, or larger than `MAX_STILL_PIXELS` or `MAX_STILL_SIDE`.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:  # by its path Pillow maps a grey TIFF into memory, and turns it wrong
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is stricter
                image = Image.open(stream)
            if image.width * image.height > MAX_STILL_PIXELS:
                raise MediaError(path, f"{image.width}x{image.height} pixels, at most {MAX_STILL_PIXELS} are allowed")
            check_sides(path, image.size)
            return np.array(eight_bit(image).convert("L"))
    except MediaError:
        raise
    except UnidentifiedImageError as error:
        raise MediaError(path, "no picture, or broken") from error
    except (Image.DecompressionBombError, *PILLOW_ERRORS) as error:
        raise MediaError(path, _reason(error)) from error


def check_sides(path: str | Path, size: tuple[int, int]) -> None:
    """MediaError where a side of a still, of `size` (width, height), is longer than `MAX_STILL_SIDE`."""
    if max(size) > MAX_STILL_SIDE:
        raise MediaError(path, f"{size[0]}x{size[1]} pixels, a side of at most {MAX_STILL_SIDE:,} is allowed")


def eight_bit(image: Image.Image) -> Image.Image:
    """A picture of any mode in mode RGB or L: upright as EXIF says, on white, floats taken for 0 to 1 or 0 to 255."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        full = 65535 if image.mode.startswith("I") else 1 if values.max(initial=0) <= 1 else 255
        return Image.fromarray(cv2.convertScaleAbs(np.clip(values, 0, full), alpha=255 / full))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "L" else image.convert("RGB")


def local(path: Path) -> str:
    """`path` as FFmpeg takes it for a file: what stands before a colon in a relative one names a protocol, as http."""
    return str(path.absolute())


def _open(path: Path):
    try:
        if not path.is_file():
            raise MediaError(path, "no such file")
        if path.stat().st_size == 0:
            raise MediaError(path, "the file is empty")
        container = av.open(local(path), metadata_errors=_TAGS)
    except (av.FFmpegError, EOFError) as error:
        raise MediaError(path, f"not a media file, or broken ({_reason(error)})") from error
    except OSError as error:  # a folder above it may not be entered
        raise MediaError(path, f"cannot be read ({_reason(error)})") from error
    if container.format.name == _TEXT:
        container.close()
        raise MediaError(path, "not a media file (text)")
    return container


def _video_stream(container, path: Path):
    if not container.streams.video:
        raise MediaError(path, "no video track")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise MediaError(path, "no decoder for its video track")
    return stream


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _grey(raw: av.VideoFrame, stretch: Fraction) -> np.ndarray:
    if raw.format.name in _LUMA_PLANE:
        plane = raw.planes[0]
        # A line of the plane is padded to line_size bytes: the padding is no picture.
        grey = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: raw.height, : raw.width]
        full_range = raw.color_range == _FULL_RANGE or raw.format.name.startswith(("yuvj", "gray"))
        grey = grey.copy() if full_range else cv2.LUT(np.ascontiguousarray(grey), _LIMITED_TO_FULL)
    else:
        grey = raw.to_ndarray(format="gray")
    return _upright(_square(grey, stretch), raw.rotation)


def _rgb(raw: av.VideoFrame, stretch: Fraction) -> np.ndarray:
    return _upright(_square(raw.to_ndarray(format="rgb24"), stretch), raw.rotation)


def _square(image: np.ndarray, stretch: Fraction) -> np.ndarray:
    """The image of square pixels, its height kept; itself where they are square."""
    if stretch == 1:
        return image
    height, width = image.shape[:2]
    size = max(1, round(width * stretch)), height
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR if stretch > 1 else cv2.INTER_AREA)


def _upright(image: np.ndarray, rotation_degrees: int) -> np.ndarray:
    """Turn by the file's display matrix (phones write it), in quarter turns counter-clockwise."""
    return np.ascontiguousarray(np.rot90(image, k=round(rotation_degrees / 90) % 4)) if rotation_degrees else image
