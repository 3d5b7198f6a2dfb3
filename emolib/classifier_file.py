"""A classifier as a file: weights as `models.save_weights` writes them, and what is needed to use them on a picture.

The second entry of the file's metadata, ``classifier``, holds temperature, crop and facts. Such a file can be
transferred from like any other weights, and weights without that entry are read as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from emolib import models, provenance

CROPS = ("aligned", "loose")
_ENTRY = "classifier"


@dataclass(frozen=True)
class ClassifierFile:
    """A file, read: its weights (float32), and temperature, crop and facts as `classify.Classifier` has them."""

    weights: models.Weights = field(repr=False)
    temperature: float
    crop: str
    facts: dict[str, Any]


def read_classifier(path: Path) -> ClassifierFile:
    """Read a file of `save_classifier`, or of `models.save_weights` (temperature 1, crop "", no facts).

    Raises
    ------
    FileNotFoundError, ValueError
        As `models.load_weights`.
    """
    weights = models.load_weights(path)
    for name, tensor in weights.state.items():
        weights.state[name] = tensor.float() if tensor.is_floating_point() else tensor
    with safe_open(path, framework="pt") as file:
        entry = json.loads(file.metadata().get(_ENTRY, "{}"))
    return ClassifierFile(weights, float(entry.get("temperature", 1)), entry.get("crop", ""), entry.get("facts", {}))


def save_classifier(
    path: str | Path,
    state: Mapping[str, Tensor],
    *,
    model: str,
    classes: Sequence[str],
    options: Mapping | None = None,
    temperature: float = 1.0,
    crop: str,
    facts: Mapping[str, Any],
    half: bool = False,
) -> None:
    """Write a file that `classify.load` opens, complete or not at all.

    Parameters
    ----------
    state, model, classes, options : as `models.save_weights`.
    temperature : above 0, fitted on validation rows.
    crop : one of `CROPS`.
    facts : what a reader should know of the training; expressible in JSON.
    half : store numbers as float16, half the size; they are float32 again when loaded.

    Raises
    ------
    ValueError
        An option is not allowed, or (`half`) a value is beyond float16.
    """
    if crop not in CROPS:
        raise ValueError(f"crop: {crop!r} received, allowed are {', '.join(CROPS)}")
    if not (temperature > 0 and np.isfinite(temperature)):
        raise ValueError(f"temperature: {temperature} received, a positive number is allowed")
    path = Path(path)
    stored = {name: _halved(name, tensor) for name, tensor in state.items()} if half else state
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        models.save_weights(temporary, stored, model=model, classes=classes, options=options)
        with safe_open(temporary, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        entry = {"temperature": temperature, "crop": crop, "facts": provenance.plain(dict(facts), where="facts")}
        save_file(tensors, temporary, metadata={**metadata, _ENTRY: json.dumps(entry, allow_nan=False)})
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _halved(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    halved = tensor.half()
    if not torch.isfinite(halved).all():
        raise ValueError(f"half: tensor {name} has values beyond float16; store it in full")
    return halved
