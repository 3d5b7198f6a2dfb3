"""Posteriors: networks over frames, the table that keeps the result, z-scores and temperature."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax
from torch import Tensor, nn

from emolib.engines.arrays import as_tensor
from emolib.engines.steps import scaled
from emolib.models import build
from emolib.training import pick_device


class Layout(NamedTuple):
    """What a posterior table has a row of, and which columns say whose answer it is."""

    key: str  # column that names the sample
    subsets: tuple[str, ...]
    seed: bool = False  # whether several seeds of a model share a table, in a column of that name

    def columns(self, classes: Sequence[str]) -> list[str]:
        """All columns, in order."""
        return [self.key, *posterior_columns(classes), "fold", "subset", *(["seed"] if self.seed else [])]


SUBSETS = ("train", "validation", "test")
FRAMES = Layout("sample", SUBSETS)  # a frame or a still
# "out_of_fold": of a training performance, by a model that did not learn from its subject (`cross_fitting`)
PERFORMANCES = Layout("performance", ("train", "out_of_fold", "validation", "test"), seed=True)
SUM_TOLERANCE = 1e-4
_TEMPERATURE_RANGE = (0.01, 100.0)


def predict(
    image: np.ndarray,
    guide: np.ndarray | None,
    rows: np.ndarray,
    *,
    model: str,
    n_classes: int,
    state: Mapping[str, Tensor],
    model_options: Mapping | None = None,
    batch_size: int = 512,
    device: str = "auto",
) -> np.ndarray:
    """Posteriors of a trained network for `rows` of the pictures.

    Parameters
    ----------
    image, guide : uint8 [N, 48, 48], maps welcome: a batch at a time is read. `guide` may be None where the network
        reads none.
    rows : int64 [n].
    model, n_classes, model_options : as for `emolib.models.build`.
    state : the network's weights.
    batch_size : images at a time.
    device : as for `emolib.training.train_stack`; on the CPU with torch's threads, one a core if nobody changed them.

    Returns
    -------
    float32 [n, n_classes]; rows sum to 1.

    Raises
    ------
    ValueError
        A row is out of range, a guide is needed and not given, or the weights do not fit the network.
    """
    network = _ready(model, n_classes, state, model_options, device)

    def posterior(*arguments: Tensor) -> Tensor:
        return network(*arguments).double().softmax(1)

    return _batched(posterior, network, image, guide, rows, width=n_classes, batch_size=batch_size)


def embed(
    image: np.ndarray,
    guide: np.ndarray | None,
    rows: np.ndarray,
    *,
    model: str,
    n_classes: int,
    state: Mapping[str, Tensor],
    model_options: Mapping | None = None,
    batch_size: int = 512,
    device: str = "auto",
) -> np.ndarray:
    """Activations before the last layer, float32 [n, embedding_size of the network]; else as `predict`."""
    network = _ready(model, n_classes, state, model_options, device)
    return _batched(network.embed, network, image, guide, rows, width=network.embedding_size, batch_size=batch_size)


def _ready(model: str, n_classes: int, state: Mapping, options: Mapping | None, device: str) -> nn.Module:
    with torch.device("meta"):  # no fresh weights, so no draw from the global generator
        network = build(model, n_classes, **(options or {}))
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ValueError(f"state: the weights do not fit {model!r} with {n_classes} classes: {error}") from error
    return network.eval().to(pick_device(device), memory_format=torch.channels_last)


def _batched(
    function: Callable[..., Tensor],
    network: nn.Module,
    image: np.ndarray,
    guide: np.ndarray | None,
    rows: np.ndarray,
    *,
    width: int,
    batch_size: int,
) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(f"rows: {rows.dtype} {rows.shape} received, integers [n] are allowed")
    if len(rows) and (rows.min() < 0 or rows.max() >= len(image)):
        raise ValueError(f"rows: {rows.min()} to {rows.max()} received, 0 to {len(image) - 1} are allowed")
    if batch_size < 1:
        raise ValueError(f"batch_size: {batch_size} received, 1 or more is allowed")
    if network.needs_guide and guide is None:
        raise ValueError("guide: None received, but the network reads its transform from a guide image")
    sources = [as_tensor(image)] + ([as_tensor(guide)] if network.needs_guide else [])
    device = next(network.parameters()).device
    result = np.empty((len(rows), width), dtype=np.float32)
    with torch.inference_mode():
        for batch in _slices(len(rows), batch_size):
            chosen = torch.from_numpy(rows[batch].astype(np.int64))
            arguments = [scaled(source, chosen).to(device) for source in sources]
            result[batch] = function(*arguments).float().cpu().numpy()
    return result


def _slices(n: int, size: int) -> Iterator[slice]:
    return (slice(first, first + size) for first in range(0, n, size))


def table(
    sample: np.ndarray, posterior: np.ndarray, *, classes: Sequence[str], fold: int, subset: str | Sequence[str]
) -> pd.DataFrame:
    """The posterior table of a fold: ``sample``, ``p_<class>`` a class, ``fold``, ``subset``.

    Parameters
    ----------
    sample : int [n], the manifest's.
    posterior : float [n, C] in the order of `classes`.
    subset : "train", "validation" or "test", one for all or one a row.

    Raises
    ------
    ValueError
        Shapes do not fit, a subset is unknown or rows are no posteriors (see `check`).
    """
    posterior = np.asarray(posterior)
    if posterior.shape != (len(sample), len(classes)):
        raise ValueError(
            f"posterior: {posterior.shape} received, {(len(sample), len(classes))} expected (samples, classes)"
        )
    columns = {name: posterior[:, number] for number, name in enumerate(posterior_columns(classes))}
    result = pd.DataFrame({"sample": np.asarray(sample, dtype=np.int64), **columns, "fold": fold, "subset": subset})
    check(result, classes=classes, where="table")
    return result


def posterior_columns(classes: Sequence[str]) -> list[str]:
    """Names of the posterior columns, in the order of `classes`."""
    return [f"p_{name}" for name in classes]


def check(table: pd.DataFrame, *, classes: Sequence[str], where: str, layout: Layout = FRAMES) -> None:
    """Raise a ValueError, naming `where` and the first bad row, unless `table` is a posterior table over `classes`."""
    columns = layout.columns(classes)
    if list(table.columns) != columns:
        raise ValueError(f"{where}: columns {list(table.columns)} found, {columns} expected")
    key, subsets = layout.key, layout.subsets
    values = table[posterior_columns(classes)].to_numpy(dtype=np.float64)
    sums = values.sum(axis=1)
    faults = [
        (
            ~((values >= 0) & (values <= 1)).all(axis=1),
            lambda row: f"posterior {values[row].tolist()} is not within [0, 1]",
        ),
        (np.abs(sums - 1) > SUM_TOLERANCE, lambda row: f"the posterior sums to {sums[row]:.6f}, 1 is allowed"),
        (
            ~table["subset"].isin(subsets).to_numpy(),
            lambda row: f"subset {table['subset'].iloc[row]!r} found, allowed are {', '.join(subsets)}",
        ),
        (
            table.duplicated([name for name in columns if not name.startswith("p_")]).to_numpy(),
            lambda row: f"{key} {table[key].iloc[row]} is twice in fold {table['fold'].iloc[row]}",
        ),
    ]
    for wrong, text in faults:
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(f"{where}, row {row}: {text(row)} ({int(wrong.sum())} row(s) are so)")


def write(table: pd.DataFrame, path: str | Path, *, layout: Layout = FRAMES) -> None:
    """Write a posterior table (Parquet), whole or not at all; it is checked first, its classes being its columns."""
    path = Path(path)
    classes = [name.removeprefix("p_") for name in table.columns if name.startswith("p_")]
    check(table, classes=classes, where=str(path), layout=layout)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    table.to_parquet(temporary, index=False)
    temporary.replace(path)


def read(path: str | Path, *, classes: Sequence[str], layout: Layout = FRAMES) -> pd.DataFrame:
    """Read a posterior table over `classes`.

    Raises
    ------
    FileNotFoundError
        There is no file at `path`.
    ValueError
        Columns, a row's posterior or its subset are not as they must be; the message names file and row.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no posterior table here")
    result = pd.read_parquet(path)
    check(result, classes=classes, where=str(path), layout=layout)
    return result


def zscore(posterior: np.ndarray) -> np.ndarray:
    """Each column minus its mean, over its standard deviation, over all rows given (the corpus); float64 [N, C].

    It evens out classes that a network trained elsewhere names too often (system A's posterior study).

    Raises
    ------
    ValueError
        A column is constant.
    """
    posterior = np.asarray(posterior, dtype=np.float64)
    spread = posterior.std(axis=0)
    if not (spread > 0).all():
        column = int(np.argmin(spread))
        raise ValueError(f"posterior: column {column} is constant over {len(posterior)} row(s), so it has no z-score")
    return (posterior - posterior.mean(axis=0)) / spread


def fit_temperature(log_posterior: np.ndarray, label: np.ndarray) -> float:
    """The temperature in [0.01, 100] that minimises the negative log-likelihood (Guo et al. 2017, arXiv:1706.04599).

    Parameters
    ----------
    log_posterior : float [N, C], log posteriors or logits, of validation rows; below float32's smallest logarithm they
        count as it.
    label : int [N].

    Raises
    ------
    ValueError
        There are no rows, shapes differ, a value is NaN or a label is out of range.
    """
    log_posterior, label = np.asarray(log_posterior, dtype=np.float64), np.asarray(label)
    if log_posterior.ndim != 2 or label.shape != log_posterior.shape[:1] or not len(label):
        raise ValueError(
            f"log_posterior {log_posterior.shape} and label {label.shape} received, [N, C] and [N] are allowed"
        )
    if np.isnan(log_posterior).any():
        raise ValueError(f"log_posterior: NaN in row {int(np.argmax(np.isnan(log_posterior).any(axis=1)))}")
    if label.min() < 0 or label.max() >= log_posterior.shape[1]:
        raise ValueError(
            f"label: {label.min()} to {label.max()} received, 0 to {log_posterior.shape[1] - 1} are allowed"
        )
    scores = np.maximum(log_posterior - log_posterior.max(axis=1, keepdims=True), np.log(np.finfo(np.float32).tiny))
    own = scores[np.arange(len(label)), label]

    def loss(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        return float(np.mean(logsumexp(scores * inverse, axis=1) - own * inverse))

    return float(np.exp(minimize_scalar(loss, bounds=np.log(_TEMPERATURE_RANGE), method="bounded").x))


def apply_temperature(posterior: np.ndarray, temperature: float) -> np.ndarray:
    """Posteriors raised to 1 / `temperature` and normalised, in the type of `posterior`; above 1 they get softer."""
    if not temperature > 0:
        raise ValueError(f"temperature: {temperature} received, a positive number is allowed")
    posterior = np.asarray(posterior)
    with np.errstate(divide="ignore"):  # a posterior of 0 stays 0
        scores = np.log(posterior.astype(np.float64)) / temperature
    return softmax(scores, axis=1).astype(posterior.dtype)
