"""A stranger's picture, whatever its format, mode, size or turn, as upright 8-bit RGB of a size that fits in memory."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from emolib.video import PILLOW_ERRORS, MediaError, check_sides, eight_bit

# A picture is read at 1/2, 1/3, ... of its size where it has more pixels than this: its faces stay far above 48 pixels.
WORKING_PIXELS = 25_000_000
# JPEG is decoded at 1/2, 1/4 or 1/8 straight from its blocks, so that its size costs time but no memory. Progressive
# JPEG and all other formats have to be decoded whole.
MAX_PIXELS, MAX_JPEG_PIXELS = 100_000_000, 1_500_000_000
_DRAFTS = (8, 4, 2)
_JPEG = ("JPEG", "MPO")  # MPO: with a second picture behind it, as phones add for their previews and for HDR
NOT_READ = frozenset({".heic", ".heif"})  # the format of many phones: Pillow has no decoder for it


@dataclass(frozen=True)
class Picture:
    """A picture as it was read.

    Attributes
    ----------
    rgb : uint8 [H, W, 3], upright, transparency on white.
    reduction : pixels of the file a pixel read, along each side; 1 for all but huge pictures.
    note : what a reader of the result should know, or "".
    """

    rgb: np.ndarray
    reduction: int = 1
    note: str = ""

    @property
    def grey(self) -> np.ndarray:
        """uint8 [H, W], ITU-R 601 luma: as `video.read_image_grey` reads the same file where `reduction` is 1."""
        return np.asarray(Image.fromarray(self.rgb).convert("L"))


def read(path: str | Path) -> Picture:
    """Read a picture of any format and mode that Pillow knows; of an animated one the first frame.

    EXIF rotation is applied, 16 bits are scaled to 8.

    Raises
    ------
    MediaError
        The file is missing, empty, broken or no picture, has more than `MAX_JPEG_PIXELS` (JPEG that is not
        progressive) or `MAX_PIXELS` (anything else), or a side is longer than `video.MAX_STILL_SIDE`.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise MediaError(path, "no such file")
        if path.stat().st_size == 0:
            raise MediaError(path, "the file is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on damaged EXIF, which is then passed over, and on sizes, checked below
            with path.open("rb") as stream, _open(stream) as image:  # no path: see `video.read_image_grey`
                return _read(path, image)
    except MediaError:
        raise
    except PILLOW_ERRORS as error:
        reason = _unknown(path) if isinstance(error, UnidentifiedImageError) else str(error)
        raise MediaError(path, reason or type(error).__name__) from error


def _unknown(path: Path) -> str:
    if path.suffix.lower() in NOT_READ:
        return "HEIC cannot be read; save the picture as JPEG or PNG"
    return "no picture, or broken"


def _open(stream: BinaryIO) -> Image.Image:
    """The opened file; Pillow's own limit, which knows nothing of decoding at a fraction, is lifted meanwhile."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return Image.open(stream)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _read(path: Path, image: Image.Image) -> Picture:
    size, pixels = f"{image.width}x{image.height}", image.width * image.height
    by_blocks = image.format in _JPEG and not image.info.get("progressive")
    limit = MAX_JPEG_PIXELS if by_blocks else MAX_PIXELS
    if pixels > limit:
        kind = "a JPEG that is not progressive" if by_blocks else "this format"
        raise MediaError(path, f"{size} pixels, at most {limit:,} pixels are read of {kind}")
    check_sides(path, image.size)
    wanted = math.ceil(math.sqrt(pixels / WORKING_PIXELS))
    reduction = 1
    if by_blocks and wanted > 1:
        reduction = next(k for k in reversed(_DRAFTS) if k >= wanted or k == _DRAFTS[0])
        image.draft(image.mode, (image.width // reduction, image.height // reduction))
    animated = image.format not in _JPEG and (n := getattr(image, "n_frames", 1)) > 1
    notes = [f"first of {n} frames"] if animated else []
    upright = eight_bit(image).convert("RGB")
    if (rest := math.ceil(math.sqrt(upright.width * upright.height / WORKING_PIXELS))) > 1:
        reduction, upright = reduction * rest, upright.reduce(rest)
    if reduction > 1:
        notes.append(f"{size} pixels, read at 1/{reduction}")
    return Picture(np.asarray(upright), reduction, "; ".join(notes))
