"""The door: one fit of a network over spectrograms, as `cross_fitting.cross_fit` asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from emolib.cross_fitting import Fitted, Parts
from emolib.engines.plan import derived_seed
from emolib.engines.processes import _numeric_mode
from emolib.ragged import Ragged
from emolib.sequences.batches import Steps
from emolib.sequences.weights import weights_table
from emolib.speech import models, training
from emolib.speech.augment import SpeechAugmentation
from emolib.speech.recipe import SpeechRecipe
from emolib.training import pick_device

_INITIAL_WEIGHTS = 0


def fit(
    parts: Parts,
    *,
    sequences: Ragged,
    label: np.ndarray,
    n_classes: int,
    model: str = "cnn",
    options: Mapping | None = None,
    recipe: Mapping | None = None,
    augmentation: Mapping | None = None,
    device: str = "cpu",
    keep_weights: bool = False,
) -> Fitted:
    """Train one model and let it answer; for `cross_fit` by `functools.partial`.

    Parameters
    ----------
    parts : positions in `sequences`; `validation` chooses the epoch that is kept (recipe's `keep`) and stops.
    sequences : N spectrograms [T, bands].
    label : int [N], 0 to n_classes - 1 for the rows of train and validation.
    model, options : as for `models.build`.
    recipe : fields of `SpeechRecipe`.
    augmentation : fields of `SpeechAugmentation`.
    device : as for `emolib.training.train_stack`; on the CPU with one thread.
    keep_weights : whether the table ``weights`` (`sequences.weights_table`) is made.

    Returns
    -------
    Fitted
        Tables: ``history`` (`training.HISTORY_COLUMNS`) and, if asked for, ``weights``. Equal inputs and seed give
        equal bits on one CPU.

    Raises
    ------
    TypeError, ValueError
        A model, option or value is not allowed, a label is out of range, or a part is empty.
    FloatingPointError
        The training loss is not finite.
    """
    n_features = sequences.values.shape[1]

    def make(data: Steps) -> nn.Module:
        network = models.build(model, n_features, n_classes, options=options)
        network.centre, network.scale = data.moments(parts.train)
        return network

    return fit_network(
        make,
        parts,
        sequences=sequences,
        label=label,
        n_classes=n_classes,
        recipe=SpeechRecipe(**(recipe or {})),
        augmentation=SpeechAugmentation(**(augmentation or {})),
        device=device,
        keep_weights=keep_weights,
    )


def fit_network(
    make: Callable[[Steps], nn.Module],
    parts: Parts,
    *,
    sequences: Ragged,
    label: np.ndarray,
    n_classes: int,
    recipe: SpeechRecipe,
    augmentation: SpeechAugmentation,
    device: str,
    keep_weights: bool,
) -> Fitted:
    """`fit` of the network that `make` returns for the recordings; its fresh weights are drawn from the fit's seed."""
    label = checked_labels(label, parts, n_sequences=len(sequences), n_classes=n_classes)
    place = torch.device(pick_device(device))
    data = Steps.of(sequences, [parts.train, parts.validation, parts.predict])
    draws = torch.random.fork_rng(devices=[place] if place.type == "cuda" else [])
    with draws, _numeric_mode(1 if place.type == "cpu" else torch.get_num_threads()):
        torch.manual_seed(derived_seed(parts.seed, _INITIAL_WEIGHTS))
        network = make(data).to(place)
        state, history = training.train(
            network,
            data,
            label,
            train_rows=np.asarray(parts.train),
            validation_rows=np.asarray(parts.validation),
            n_classes=n_classes,
            recipe=recipe,
            augmentation=augmentation,
            seed=parts.seed,
            device=place,
        )
        network.load_state_dict(state)
        said = training.posterior(network, data, np.asarray(parts.predict), recipe=recipe, device=place)
    tables = {"history": history}
    if keep_weights:
        tables["weights"] = weights_table(state)
    return Fitted(said.astype(np.float32), tables)


def checked_labels(label: np.ndarray, parts: Parts, *, n_sequences: int, n_classes: int) -> np.ndarray:
    """Labels as int64 [n_sequences]; ValueError unless they are classes wherever a fit learns or stops."""
    label = np.array(label, dtype=np.int64)
    if label.shape != (n_sequences,):
        raise ValueError(f"label: {label.shape} received, one for each of the {n_sequences} recordings is allowed")
    for name in ("train", "validation"):
        rows = np.asarray(getattr(parts, name))
        if not len(rows):
            raise ValueError(f"parts: {name} is empty, one recording or more is needed to learn and to choose")
        if (wrong := (label[rows] < 0) | (label[rows] >= n_classes)).any():
            row = int(rows[np.argmax(wrong)])
            raise ValueError(f"label, row {row}: {label[row]} received, 0 to {n_classes - 1} are allowed")
    return label
