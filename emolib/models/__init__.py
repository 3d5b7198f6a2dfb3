"""Networks by name.

| name | what it is |
|---|---|
| ``baseline`` | system B's CNN without a spatial transformer |
| ``original`` | the same behind a spatial transformer that looks at the image itself |
| ``guided`` | the same behind one that looks at the guide image given beside the image (landmarks, saliency, ...) |
| ``plain_cnn`` | system D's four convolutions |
| ``vgg`` | plain stacks of normalised convolutions, of any width and depth |
| ``resnet`` | residual blocks with squeeze and excitation, of any width and depth |
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial

from torch import nn

from emolib.models.compact import ResNet, Vgg
from emolib.models.deep_emotion import EMBEDDING_SIZE, IMAGE_SIZE_PX, DeepEmotion
from emolib.models.plain_cnn import PlainCnn
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
    "plain_cnn": partial(PlainCnn),
    "vgg": partial(Vgg),
    "resnet": partial(ResNet),
}


def build(name: str, n_classes: int, **options) -> nn.Module:
    """Make network `name` with fresh weights drawn from torch's global generator.

    Parameters
    ----------
    name : a key of `MODELS`.
    n_classes : number of logits, at least 2.
    **options : of the model: ``second_dropout`` for the first three; see `PlainCnn`, `Vgg` and `ResNet`.

    Returns
    -------
    A module with ``forward(image, guide=None) -> [B, n_classes]`` and ``embed(image, guide=None) ->
    [B, embedding_size]`` (50 for the first three); images and guides are float32 [B, 1, 48, 48] in [-1, 1]. Its
    ``last_layer`` is named ``classifier``.

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
