"""The drawn face, its dynamics and its voice: what the embedded corpus is made of.

| module | job |
|---|---|
| `shape` | 68 landmarks moved by 17 action units, pose |
| `identity` | who is drawn, from a seed |
| `paint`, `features`, `relief`, `face` | drawing |
| `dynamics`, `voice` | how an emotion moves and sounds in a clip |
| `clip` | one .mp4 with its truth, one still |
| `plan` | which clips and stills a corpus has |
"""

from emolib.render.clip import render_still
from emolib.render.identity import Identity, identity
from emolib.render.shape import ACTION_UNITS, AU_COLUMNS, Pose

# Raise it with any change that alters a pixel, a sample of sound or a number of the truth.
RENDERER_VERSION = 1

__all__ = ["ACTION_UNITS", "AU_COLUMNS", "RENDERER_VERSION", "Identity", "Pose", "identity", "render_still"]
