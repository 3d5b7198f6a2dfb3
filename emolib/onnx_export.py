"""A classifier as ONNX, for programs without PyTorch: a face crop in, the tempered posterior out.

| name | |
|---|---|
| input ``image`` | float32 [N, 1, 48, 48] in [-1, 1]: grey / 127.5 - 1 of the crop that the metadata's ``crop`` names |
| input ``guide`` | the same, only for models that read a guide image |
| output ``posterior`` | float32 [N, C], rows sum to 1; temperature and softmax are in the graph |
| metadata | ``classes`` (JSON list of columns), ``crop``, ``temperature``, ``model``, ``input``, ``weights_sha256`` |

N is free. Every export is run through ONNX Runtime and compared with PyTorch before the file takes its place.
"""

from __future__ import annotations

import importlib.util
import json
import os
import warnings
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from emolib import models, provenance
from emolib.classify import Classifier, Ensemble

OPSET = 20  # the first with GridSample as the spatial transformer needs it
TOLERANCE = 1e-4
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
# numbers of pictures that an export is compared on, and the sides in pixels of the squares that they are drawn of: what
# is fine noise to a network is far from any face, and its posterior may be 0 and 1 alone
_CHECKED_SIZES, _SQUARES_PX = (1, 5), (1, 4, 8, 16)


class Answer(nn.Module):
    """What is exported: network, temperature and softmax in one."""

    def __init__(self, network: nn.Module, temperature: float):
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, image: Tensor, guide: Tensor | None = None) -> Tensor:
        """Posterior float [B, C] of `image` (and `guide`), float [B, 1, 48, 48] in [-1, 1]."""
        return (self.network(image, guide) / self.temperature).softmax(1)


def export(classifier: Classifier | Ensemble, path: str | Path) -> float:
    """Write `classifier` to `path`, checked, complete or not at all.

    Returns
    -------
    The largest difference from PyTorch's posterior that was found.

    Raises
    ------
    RuntimeError
        The extra ``onnx`` is not installed, or ONNX Runtime answers otherwise than PyTorch.
    ValueError
        `classifier` is an ensemble: export its members one by one.
    """
    needed()
    import onnx

    if isinstance(classifier, Ensemble):
        raise ValueError(f"{classifier.name!r} is an ensemble; export its members one by one and average their answers")
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _write(classifier, temporary)
        model = onnx.load(temporary)
        onnx.helper.set_model_props(model, _metadata(classifier))
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, temporary)
        difference = compare(classifier, temporary)
        if not difference <= TOLERANCE:
            raise RuntimeError(f"{path}: ONNX Runtime differs from PyTorch by {difference:.2g}, {TOLERANCE} is allowed")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return difference


def needed() -> None:
    """Raise a RuntimeError, saying how to install them, where packages of the extra are missing."""
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise RuntimeError(f"ONNX needs {', '.join(missing)}; install the extra: pip install -e '.[onnx]'")


def input_names(classifier: Classifier) -> list[str]:
    """Names of the graph's inputs."""
    return ["image", "guide"] if classifier.needs_guide else ["image"]


def scaled(grey: np.ndarray) -> np.ndarray:
    """uint8 [N, 48, 48] as the graph takes it, float32 [N, 1, 48, 48] in [-1, 1]."""
    return (grey[:, None].astype(np.float32) * np.float32(2 / 255)) - np.float32(1)


def session(path: str | Path, *, threads: int | None = None):
    """An ONNX Runtime session on the CPU; ``session.run(None, {"image": scaled(grey)})[0]`` is the posterior."""
    needed()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def compare(classifier: Classifier, path: str | Path, *, seed: int = 0) -> float:
    """Largest difference of the posteriors of the file at `path` from PyTorch's, on drawn pictures."""
    rng, runtime = np.random.default_rng(seed), session(path)
    worst = 0.0
    for n, square_px in product(_CHECKED_SIZES, _SQUARES_PX):
        pictures = {name: _drawn(n, square_px, rng) for name in input_names(classifier)}
        [found] = runtime.run(None, {name: scaled(grey) for name, grey in pictures.items()})
        expected = classifier.posterior(pictures["image"], guide=pictures.get("guide"))
        if found.shape != expected.shape:
            raise RuntimeError(f"{path}: ONNX Runtime answers {found.shape} to {n} pictures, {expected.shape} expected")
        worst = max(worst, float(np.abs(found - expected).max()))
    return worst


def _drawn(n: int, square_px: int, rng: np.random.Generator) -> np.ndarray:
    side = models.IMAGE_SIZE_PX // square_px
    return rng.integers(0, 256, (n, side, side), dtype=np.uint8).repeat(square_px, axis=1).repeat(square_px, axis=2)


def _write(classifier: Classifier, path: Path) -> None:
    names, size = input_names(classifier), models.IMAGE_SIZE_PX
    answer = Answer(classifier.network, classifier.temperature).eval()
    device = next(classifier.network.parameters()).device
    example = tuple(torch.zeros(2, 1, size, size, device=device) for _ in names)
    batch = torch.export.Dim("n", min=1)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="# The axis name: n will not be used"
        )  # of the second input: the same
        program = torch.onnx.export(
            answer,
            example,
            dynamo=True,
            input_names=names,
            output_names=["posterior"],
            dynamic_shapes=tuple({0: batch} for _ in names),
            opset_version=OPSET,
            verbose=False,
        )
    program.save(path, external_data=False)


def _metadata(classifier: Classifier) -> dict[str, str]:
    return {
        "classes": json.dumps(list(classifier.classes)),
        "crop": classifier.crop,
        "temperature": repr(classifier.temperature),
        "model": classifier.model,
        "input": "float32 [N, 1, 48, 48] = grey / 127.5 - 1",
        "weights_sha256": provenance.hash_file(classifier.path),
        "emolib": version("emolib"),
    }
