"""The plain network of seven emotions (system D): four convolutions, two layers on top, no normalisation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (32, 64, 128, 256)
HIDDEN_SIZE = 512
_SIZE_BEHIND_POOLS_PX = 3  # of 48, after four poolings


class PlainCnn(nn.Module):
    """Four blocks of conv 3x3 (32, 64, 128, 256), relu and max pool, then 512, dropout, classes.

    The published description names no padding; with one pixel the four poolings leave 3x3 of 48x48.

    Parameters
    ----------
    n_classes : number of logits, at least 2.
    dropout : probability, before the last layer.

    Raises
    ------
    ValueError
        A parameter is out of range.
    """

    last_layer = "classifier"
    needs_guide = False

    def __init__(self, n_classes: int, *, dropout: float = 0.5):
        super().__init__()
        if n_classes < 2:
            raise ValueError(f"n_classes: {n_classes} received, 2 or more are allowed")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout: {dropout} received, [0, 1) is allowed")
        self.n_classes, self.embedding_size = n_classes, HIDDEN_SIZE
        self.convs = nn.ModuleList(
            nn.Conv2d(before, width, 3, padding=1) for before, width in zip((1, *WIDTHS), WIDTHS, strict=False)
        )
        self.hidden = nn.Linear(WIDTHS[-1] * _SIZE_BEHIND_POOLS_PX**2, HIDDEN_SIZE)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(HIDDEN_SIZE, n_classes)

    def embed(self, image: Tensor, guide: Tensor | None = None) -> Tensor:
        """Activations before the last layer, float [B, 512], 0 or more; parameters as `forward`."""
        x = image
        for conv in self.convs:
            x = F.max_pool2d(F.relu(conv(x)), 2)
        return F.relu(self.hidden(x.flatten(1)))

    def forward(self, image: Tensor, guide: Tensor | None = None) -> Tensor:
        """Logits float [B, n_classes] of `image`, float [B, 1, 48, 48] in [-1, 1]; a guide is left unread."""
        return self.classifier(self.dropout(self.embed(image)))
