"""Test-time views: a picture is shown several times, mirrored, shifted, enlarged, and the posteriors are averaged."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from emolib.engines.arrays import as_tensor
from emolib.engines.steps import scaled
from emolib.models import build
from emolib.training import pick_device

_SHIFT = 2 / 48  # of the side: 2 pixels of 48
# name -> views (mirrored, shift in x and y as shares of the side, zoom)
VIEWS: dict[str, tuple[tuple[bool, float, float, float], ...]] = {
    "one": ((False, 0.0, 0.0, 1.0),),
    "flip": tuple((mirror, 0.0, 0.0, 1.0) for mirror in (False, True)),
    "ten": tuple(
        (mirror, x, y, 1.0)
        for mirror, (x, y) in product((False, True), [(0.0, 0.0), *product((-_SHIFT, _SHIFT), repeat=2)])
    ),
    "scales": tuple((mirror, 0.0, 0.0, zoom) for mirror, zoom in product((False, True), (1.0, 1.06, 1.12))),
}


def show(images: Tensor, view: tuple[bool, float, float, float]) -> Tensor:
    """`images` float [B, 1, H, W] as one view shows them; what lies outside is the picture's reflection."""
    mirror, x, y, zoom = view
    if (x, y, zoom) == (0.0, 0.0, 1.0):
        return images.flip(-1) if mirror else images
    sign = -1.0 if mirror else 1.0
    theta = torch.tensor([[sign / zoom, 0.0, 2 * x], [0.0, 1 / zoom, 2 * y]], device=images.device)
    grid = F.affine_grid(theta.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def predict(
    image: np.ndarray,
    rows: np.ndarray,
    *,
    model: str,
    n_classes: int,
    state: Mapping[str, Tensor],
    model_options: Mapping | None = None,
    views: str = "flip",
    batch_size: int = 256,
    device: str = "auto",
) -> np.ndarray:
    """Posteriors of `rows`, averaged over the views.

    Parameters
    ----------
    image : uint8 [N, 48, 48].
    rows : int64 [n].
    model, n_classes, model_options, state : as for `posteriors.predict`; a network without a guide.
    views : a key of `VIEWS`.

    Returns
    -------
    float32 [n, n_classes]; rows sum to 1.

    Raises
    ------
    ValueError
        Views of that name do not exist, or the network needs a guide.
    """
    if views not in VIEWS:
        raise ValueError(f"views: {views!r} received, allowed are {', '.join(VIEWS)}")
    with torch.device("meta"):  # no fresh weights, so no draw from the global generator
        network = build(model, n_classes, **(model_options or {}))
    if network.needs_guide:
        raise ValueError(f"model {model!r} needs a guide; classifiers of single pictures have none")
    network.load_state_dict(state, assign=True)
    device = pick_device(device)
    network = network.eval().to(device, memory_format=torch.channels_last)
    pictures, chosen = as_tensor(image), torch.from_numpy(np.asarray(rows, dtype=np.int64))
    result = np.empty((len(chosen), n_classes), dtype=np.float32)
    with torch.inference_mode():
        for first in range(0, len(chosen), batch_size):
            part = slice(first, first + batch_size)
            images = scaled(pictures, chosen[part]).to(device)
            posterior = sum(network(show(images, view)).double().softmax(1) for view in VIEWS[views])
            result[part] = (posterior / len(VIEWS[views])).float().cpu().numpy()
    return result
