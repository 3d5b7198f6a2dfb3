"""Weights as files (safetensors): the tensors, and in the metadata what is needed to build their model again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Weights:
    """A file of weights, read: ``build(w.model, w.n_classes, **w.options).load_state_dict(w.state)`` is the model."""

    model: str
    n_classes: int
    classes: list[str]
    options: dict
    state: dict[str, Tensor] = field(repr=False)


def save_weights(
    path: str | Path,
    state: Mapping[str, Tensor],
    *,
    model: str,
    classes: Sequence[str],
    options: Mapping | None = None,
) -> None:
    """Write `state` and its metadata to `path`, complete or not at all.

    Parameters
    ----------
    state : tensors by name (any device, any memory layout).
    model, options : as given to `build`; options must be expressible in JSON.
    classes : the classes' names in index order; their number is the model's `n_classes`.

    Raises
    ------
    ValueError
        The last layer in `state` has another number of classes.
    """
    path = Path(path)
    weights = Weights(model, len(classes), list(classes), dict(options or {}), {})
    _check_classes(path, state, weights.n_classes)
    metadata = {"schema_version": SCHEMA_VERSION, **{k: v for k, v in asdict(weights).items() if k != "state"}}
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    save_file(tensors, temporary, metadata={"emolab": json.dumps(metadata)})
    temporary.replace(path)


def load_weights(path: str | Path) -> Weights:
    """Read a file that `save_weights` wrote.

    Raises
    ------
    FileNotFoundError
        There is no file at `path`.
    ValueError
        The file is no safetensors file, its metadata is missing or of another version, or the classes do not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no file of weights here")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("emolab", "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a complete safetensors file ({error})") from error
    if metadata.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"{path}: weights of schema version {metadata.get('schema_version')!r} found, {SCHEMA_VERSION} is allowed; "
            "only files that save_weights wrote name their model and classes"
        )
    names = ("model", "n_classes", "classes", "options")
    missing = [name for name in names if name not in metadata]
    if missing:
        raise ValueError(f"{path}: metadata lack {', '.join(missing)}")
    _check_classes(path, state, metadata["n_classes"])
    return Weights(**{name: metadata[name] for name in names}, state=state)


def _check_classes(path: Path, state: Mapping[str, Tensor], n_classes: int) -> None:
    bias = state.get("classifier.bias")
    if bias is None:
        raise ValueError(f"{path}: tensor classifier.bias is missing; there are {', '.join(state) or 'none'}")
    if len(bias) != n_classes:
        raise ValueError(f"{path}: the last layer has {len(bias)} classes, {n_classes} are named")
