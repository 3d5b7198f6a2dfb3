"""Emotions in a stranger's pictures and videos: faces found and followed, cut as the classifier learned, classified.

`pictures` and `video` give tables (columns: `emolib.predict.answers`); `emolib.predict.command` is what the command
line calls: mixed inputs, files written, bad files passed over.
"""

from __future__ import annotations

from emolib.predict.answers import Log
from emolib.predict.look import pictures, video

__all__ = ["Log", "pictures", "video"]
