"""Trained weights: as a table beside a fit's other tables, and at work on any sequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from emolib.ragged import Ragged
from emolib.sequences.batches import Steps, in_order
from emolib.sequences.models import SequenceClassifier, build

ANSWER_BATCH = 256
WEIGHTS_COLUMNS = ("tensor", "shape", "values")


class Predicted(NamedTuple):
    """Posterior float32 [n, C]; attention: row, step, weight (float32) of each measured step, None without one."""

    posterior: np.ndarray
    attention: pd.DataFrame | None


def weights_table(state: Mapping[str, Tensor]) -> pd.DataFrame:
    """A state as a table: tensor (name), shape (int64 list) and values (float32 list, flat, the last index fastest).

    (`emolib.models.save_weights` takes the state itself, with options that name ``n_features`` as well.)
    """
    rows = []
    for name, tensor in state.items():
        values = tensor.detach().to("cpu", torch.float32).numpy()
        rows.append((name, np.array(values.shape, dtype=np.int64), values.flatten()))
    return pd.DataFrame(rows, columns=list(WEIGHTS_COLUMNS))


def state_of(table: pd.DataFrame) -> dict[str, Tensor]:
    """The state that `weights_table` made `table` of (of one fit: select its fold, seed and inner first).

    Raises
    ------
    ValueError
        A column is missing, a tensor is there twice, or its values do not fill its shape.
    """
    if missing := [name for name in WEIGHTS_COLUMNS if name not in table]:
        raise ValueError(f"weights: column(s) {', '.join(missing)} missing")
    state = {}
    for row in table.itertuples():
        values, shape = np.array(row.values, dtype=np.float32), tuple(int(n) for n in row.shape)
        if row.tensor in state:
            raise ValueError(f"weights: tensor {row.tensor!r} is there twice; one fit's weights are allowed")
        if values.size != int(np.prod(shape)):
            raise ValueError(f"weights: tensor {row.tensor!r} has {values.size} values for shape {shape}")
        state[row.tensor] = torch.from_numpy(values.reshape(shape))
    return state


def predict(
    state: Mapping[str, Tensor],
    *,
    sequences: Ragged,
    rows: np.ndarray,
    model: str,
    options: Mapping | None = None,
) -> Predicted:
    """Answers of a trained model for `rows` of the sequences.

    Parameters
    ----------
    state : of the model; it brings the number of features and classes, and the scaling.
    sequences : values as they were measured; steps with a NaN are passed over.
    rows : int [n].
    model, options : as given to `fit`.

    Raises
    ------
    ValueError
        The state does not fit the model, the sequences have another number of features, or a sequence has no step.
    """
    for name in ("centre", "classifier.bias"):
        if name not in state:
            raise ValueError(f"state: tensor {name!r} is missing, so these are no weights of a model of sequences")
    n_features, n_classes = len(state["centre"]), len(state["classifier.bias"])
    if sequences.values.shape[1] != n_features:
        raise ValueError(f"sequences: {sequences.values.shape[1]} features, the weights are for {n_features}")
    with torch.device("meta"):  # no fresh weights, so no draw from the global generator
        network = build(model, n_features, n_classes, **(options or {}))
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ValueError(f"state: the weights do not fit {model!r} with these options: {error}") from error
    once, at = np.unique(np.asarray(rows, dtype=np.int64), return_inverse=True)
    said = answers(network, Steps.of(sequences, [once]), once)
    return Predicted(said.posterior[at], said.attention)


@torch.inference_mode()
def answers(network: SequenceClassifier, data: Steps, rows: np.ndarray, *, attention: bool = True) -> Predicted:
    """Posteriors of `rows` (int64 [n], each once) in their order, and the attention, rows and steps rising."""
    network.eval()
    place = {int(row): k for k, row in enumerate(rows)}
    posterior, weights = np.empty((len(rows), network.classifier.out_features), dtype=np.float32), {}
    for batch in in_order(rows, data.length, batch_size=ANSWER_BATCH):
        logits, weight = network(data.padded(batch), data.length[batch])
        posterior[[place[row] for row in batch.tolist()]] = logits.double().softmax(dim=1).float().numpy()
        if weight is not None and attention:
            weights |= dict(zip(batch.tolist(), weight.numpy(), strict=True))
    return Predicted(posterior, _attention(data, weights) if weights else None)


def _attention(data: Steps, weights: Mapping[int, np.ndarray]) -> pd.DataFrame:
    """Table of the attention; `weights`: row -> float32 [T], padded."""
    rows = sorted(weights)
    length, start = data.length[rows].numpy(), data.start[rows].numpy()
    columns = {
        "row": np.repeat(rows, length),
        "step": np.concatenate([data.step[first : first + n] for first, n in zip(start, length, strict=True)]),
        "weight": np.concatenate([weights[row][:n] for row, n in zip(rows, length, strict=True)]),
    }
    return pd.DataFrame(columns)
