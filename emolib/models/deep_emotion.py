"""Guided spatial transformers for facial expression recognition (system B): one CNN, with or without a transformer.

The CNN is that of Deep-Emotion (Minaee et al. 2021, arXiv:1902.01019); the spatial transformer in front of it
(Jaderberg et al. 2015, arXiv:1506.02025) warps the image with a transform read from the image itself or from a guide.
No convolution is padded.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGE_SIZE_PX = 48
EMBEDDING_SIZE = 50
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def affine_grid(theta: Tensor, size_px: int) -> Tensor:
    """Sampling grid of the affine transforms `theta`, equal to `F.affine_grid(..., align_corners=False)`.

    Written with one product because `F.affine_grid` has no batching rule under `torch.func.vmap`.

    Parameters
    ----------
    theta : float [B, 2, 3], acting on (x, y, 1) with x and y in [-1, 1].
    size_px : height and width of the output.

    Returns
    -------
    float [B, size_px, size_px, 2], the (x, y) to read at every output pixel.
    """
    centre = torch.arange(size_px, dtype=theta.dtype, device=theta.device) * (2 / size_px) + (1 / size_px - 1)
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    base = torch.stack([x, y, torch.ones_like(x)], dim=-1).view(1, -1, 3)
    return (base @ theta.mT).view(-1, size_px, size_px, 2)


class Localisation(nn.Module):
    """Reads an affine transform [B, 2, 3] from an image [B, 1, 48, 48]; untrained it is the identity."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 7)
        self.conv2 = nn.Conv2d(8, 10, 5)
        self.hidden = nn.Linear(640, 32)
        self.theta = nn.Linear(32, 6)
        nn.init.zeros_(self.theta.weight)
        with torch.no_grad():
            self.theta.bias.copy_(torch.tensor(IDENTITY))

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.conv1(image), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        return self.theta(F.relu(self.hidden(x.flatten(1)))).view(-1, 2, 3)


class DeepEmotion(nn.Module):
    """The CNN of all variants, and in front of it the spatial transformer of most.

    Parameters
    ----------
    n_classes : number of logits, at least 2.
    transform_from : what the transform is read from: "nothing" (no transformer), "image" or "guide".
    second_dropout : probability of a second dropout, before the last layer (system A's regularised variant: 0.5).

    Raises
    ------
    ValueError
        A parameter is out of range, or (at the forward pass) a guide is needed and not given.
    """

    last_layer = "classifier"
    embedding_size = EMBEDDING_SIZE

    def __init__(self, n_classes: int, *, transform_from: str, second_dropout: float = 0.0):
        super().__init__()
        if n_classes < 2:
            raise ValueError(f"n_classes: {n_classes} received, 2 or more are allowed")
        if transform_from not in ("nothing", "image", "guide"):
            raise ValueError(f"transform_from: {transform_from!r} received, 'nothing', 'image' or 'guide' is allowed")
        if not 0 <= second_dropout < 1:
            raise ValueError(f"second_dropout: {second_dropout} received, [0, 1) is allowed")
        self.n_classes, self.transform_from = n_classes, transform_from
        self.localisation = None if transform_from == "nothing" else Localisation()
        self.conv1 = nn.Conv2d(1, 10, 3)
        self.conv2 = nn.Conv2d(10, 10, 3)
        self.conv3 = nn.Conv2d(10, 10, 3)
        self.conv4 = nn.Conv2d(10, 10, 3)
        self.norm = nn.BatchNorm2d(10)
        self.dropout = nn.Dropout(0.5)
        self.hidden = nn.Linear(810, EMBEDDING_SIZE)
        self.second_dropout = nn.Dropout(second_dropout)
        self.classifier = nn.Linear(EMBEDDING_SIZE, n_classes)

    @property
    def needs_guide(self) -> bool:
        """Whether the forward pass needs a guide; the other variants leave one that is given unread."""
        return self.transform_from == "guide"

    def warp(self, image: Tensor, guide: Tensor | None = None) -> Tensor:
        """The image as the CNN sees it, float [B, 1, 48, 48]."""
        if self.localisation is None:
            return image
        if self.needs_guide and guide is None:
            raise ValueError("the guided transformer needs a guide beside the image, None received")
        theta = self.localisation(guide if self.needs_guide else image)
        return F.grid_sample(image, affine_grid(theta, image.shape[-1]), align_corners=False)

    def embed(self, image: Tensor, guide: Tensor | None = None) -> Tensor:
        """Activations before the last layer, float [B, 50], 0 or more; parameters as `forward`."""
        x = F.relu(self.conv1(self.warp(image, guide)))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        x = F.relu(self.conv3(x))
        x = F.relu(F.max_pool2d(self.norm(self.conv4(x)), 2))
        return F.relu(self.hidden(self.dropout(x).flatten(1)))

    def forward(self, image: Tensor, guide: Tensor | None = None) -> Tensor:
        """Logits float [B, n_classes] of `image` (and `guide`), float [B, 1, 48, 48] in [-1, 1]."""
        return self.classifier(self.second_dropout(self.embed(image, guide)))
