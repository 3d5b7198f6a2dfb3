"""Networks by name.

| name | what its spatial transformer looks at |
|---|---|
| ``baseline`` | there is no spatial transformer |
| ``original`` | the image itself |
| ``guided`` | the guide image given beside the image (landmarks, saliency, ...) |
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial

from torch import nn

from emolib.models.deep_emotion import EMBEDDING_SIZE, IMAGE_SIZE_PX, DeepEmotion
from emolib.models.transfer import TransferReport, load_transfer
from emolib.models.weights import Weights, load_weights, save_weights

__all__ = [
    "EMBEDDING_SIZE",
    "IMAGE_SIZE_PX",
    "MODELS",
    "TransferReport",
    "Weights",
    "build",
    "load_transfer",
    "load_weights",
    "save_weights",
]

MODELS: dict[str, Callable[..., nn.Module]] = {
    "baseline": partial(DeepEmotion, transform_from="nothing"),
    "original": partial(DeepEmotion, transform_from="image"),
    "guided": partial(DeepEmotion, transform_from="guide"),
}


def build(name: str, n_classes: int, **options) -> nn.Module:
    """Make network `name` with fresh weights drawn from torch's global generator.

    Parameters
    ----------
    name : a key of `MODELS`.
    n_classes : number of logits, at least 2.
    **options : of the model; all three take ``second_dropout`` (0 or more and below 1, default 0).

    Returns
    -------
    A module with ``forward(image, guide=None) -> [B, n_classes]`` and ``embed(image, guide=None) -> [B, 50]``; images
    and guides are float32 [B, 1, 48, 48] in [-1, 1].

    Raises
    ------
    ValueError
        `name` is unknown, or `n_classes` or an option is out of range.
    TypeError
        An option is unknown.
    """
    if name not in MODELS:
        raise ValueError(f"model: {name!r} received, allowed are {', '.join(MODELS)}")
    make = MODELS[name]
    allowed = [
        parameter.name
        for parameter in inspect.signature(make).parameters.values()
        if parameter.name not in ("n_classes", *make.keywords)
    ]
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise TypeError(f"model {name!r}: option(s) {', '.join(unknown)} received, allowed are {', '.join(allowed)}")
    return make(n_classes, **options)
