"""One training of one model of sequences: the flat loop, top to bottom, and the door for `cross_fitting`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emolib.cross_fitting import Fitted, Parts
from emolib.engines.plan import class_weights, derived_seed
from emolib.engines.progress import Progress
from emolib.ragged import Ragged
from emolib.sequences.batches import Steps, drawn, in_order
from emolib.sequences.models import SequenceClassifier, build
from emolib.sequences.recipe import SequenceRecipe
from emolib.sequences.weights import ANSWER_BATCH, answers, weights_table

HISTORY_COLUMNS = (
    *("epoch", "train_loss", "validation_loss", "validation_accuracy", "learning_rate", "seconds"),
    "kept",
)
_INITIAL_WEIGHTS, _ORDER, _DROPOUT = range(3)

Augment = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]


def fit(
    parts: Parts,
    *,
    sequences: Ragged,
    label: np.ndarray,
    n_classes: int,
    model: str = "bilstm_attention",
    options: Mapping | None = None,
    recipe: Mapping | None = None,
    augment: Augment | None = None,
    keep_attention: bool = True,
    keep_weights: bool = False,
) -> Fitted:
    """Train one model and let it answer; for `cross_fit` by `functools.partial`.

    Parameters
    ----------
    parts : positions in `sequences`; `validation` stops the training and chooses the epoch that is kept.
    sequences : N sequences, values as they were measured; steps with a NaN are passed over.
    label : int [N], 0 to n_classes - 1 for the rows of train and validation.
    model, options : as for `build`.
    recipe : fields of `SequenceRecipe`.
    augment : (values float32 [B, T, F], length int64 [B], generator) -> the same, of training batches before they are
        scaled; steps from `length` on are padding. It must be possible to pickle it.
    keep_attention, keep_weights : whether the tables ``attention`` and ``weights`` are made.

    Returns
    -------
    Fitted
        Tables: ``history`` (epoch, train_loss, validation_loss, validation_accuracy, learning_rate, seconds, kept:
        whether it is the epoch whose weights answer), ``attention`` (row, step, weight; where the model has one),
        ``weights`` (`weights_table`). Equal inputs and seed give equal bits on one machine with one thread.

    Raises
    ------
    ValueError
        A model, option or value of the recipe is not allowed, a label is out of range, a part is empty, or a sequence
        has no step without a NaN (its row is named).
    FloatingPointError
        The training loss is not finite.
    """
    how = SequenceRecipe(**(recipe or {}))
    label = _checked(label, parts, n_sequences=len(sequences), n_classes=n_classes)
    data = Steps.of(sequences, [parts.train, parts.validation, parts.predict])
    n_features = sequences.values.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived_seed(parts.seed, _INITIAL_WEIGHTS))
        network = build(model, n_features, n_classes, **(options or {}))
        if how.scaling == "standard":
            network.centre, network.scale = data.moments(parts.train)
        progress = _train(network, data, torch.from_numpy(label), parts, recipe=how, augment=augment)
    network.load_state_dict(progress.best_state)
    said = answers(network, data, np.asarray(parts.predict, dtype=np.int64), attention=keep_attention)
    history = pd.DataFrame(progress.history)
    tables = {"history": history.assign(kept=history["epoch"] == progress.best_epoch)[list(HISTORY_COLUMNS)]}
    if said.attention is not None:
        tables["attention"] = said.attention
    if keep_weights:
        tables["weights"] = weights_table(progress.best_state)
    return Fitted(said.posterior, tables)


def _checked(label: np.ndarray, parts: Parts, *, n_sequences: int, n_classes: int) -> np.ndarray:
    label = np.array(label, dtype=np.int64)
    if label.shape != (n_sequences,):
        raise ValueError(f"label: {label.shape} received, one for each of the {n_sequences} sequences is allowed")
    for name in ("train", "validation"):
        rows = getattr(parts, name)
        if not len(rows):
            raise ValueError(f"parts: {name} is empty, one sequence or more is needed to learn and to stop")
        if (wrong := (label[rows] < 0) | (label[rows] >= n_classes)).any():
            row = int(np.asarray(rows)[np.argmax(wrong)])
            raise ValueError(f"label, row {row}: {label[row]} received, 0 to {n_classes - 1} are allowed")
    return label


def _train(
    network: SequenceClassifier,
    data: Steps,
    label: Tensor,
    parts: Parts,
    *,
    recipe: SequenceRecipe,
    augment: Augment | None,
) -> Progress:
    """All epochs until patience ends; draws depend on seed and epoch alone."""
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    weight = None
    if recipe.class_weights:
        weight = class_weights(label[parts.train].numpy(), network.classifier.out_features)
    loss = nn.CrossEntropyLoss(weight=weight, label_smoothing=recipe.label_smoothing)
    progress = Progress()
    while not progress.finished(recipe):
        began, epoch = time.perf_counter(), progress.epoch + 1
        torch.default_generator.manual_seed(derived_seed(parts.seed, _DROPOUT, epoch))
        draws = torch.Generator().manual_seed(derived_seed(parts.seed, _ORDER, epoch))
        epoch_of = {"recipe": recipe, "epoch": epoch, "augment": augment, "generator": draws}
        row = _train_epoch(network, optimiser, loss, data, label, parts.train, **epoch_of)
        row |= _validate(network, data, label, parts.validation)
        row["seconds"] = time.perf_counter() - began
        progress.record(row, network.state_dict(), monitor=recipe.monitor, name=f"seed {parts.seed}")
    return progress


def _train_epoch(
    network: SequenceClassifier,
    optimiser: torch.optim.Optimizer,
    loss: nn.Module,
    data: Steps,
    label: Tensor,
    rows: np.ndarray,
    *,
    recipe: SequenceRecipe,
    epoch: int,
    augment: Augment | None,
    generator: torch.Generator,
) -> dict:
    """One pass over `rows`: mean training loss a sequence, and the last step's learning rate."""
    network.train()
    batches = drawn(rows, data.length, batch_size=recipe.batch_size, generator=generator)
    total, rate = 0.0, recipe.learning_rate
    for step, batch in enumerate(batches):
        rate = recipe.rate((epoch - 1) * len(batches) + step, steps_per_epoch=len(batches))
        for group in optimiser.param_groups:
            group["lr"] = rate
        values, length = _batch(data, batch, recipe=recipe, augment=augment, generator=generator)
        logits, _ = network(values, length)
        found = loss(logits, label[batch])
        optimiser.zero_grad()
        found.backward()
        if recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
        optimiser.step()
        total += found.item() * len(batch)
    return {"train_loss": total / len(rows), "learning_rate": rate}


def _batch(
    data: Steps, rows: Tensor, *, recipe: SequenceRecipe, augment: Augment | None, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Values [B, T, F] and length [B] of a training batch, cropped and augmented."""
    first, length = None, data.length[rows]
    if recipe.max_steps and int(length.max()) > recipe.max_steps:
        first, length = data.cropped(rows, max_steps=recipe.max_steps, generator=generator)
    values = data.padded(rows, first=first, n_steps=length)
    return (values, length) if augment is None else augment(values, length, generator)


@torch.inference_mode()
def _validate(network: SequenceClassifier, data: Steps, label: Tensor, rows: np.ndarray) -> dict:
    """Mean cross-entropy (without class weights or smoothing) and accuracy over whole sequences."""
    network.eval()
    total, right = 0.0, 0
    for batch in in_order(rows, data.length, batch_size=ANSWER_BATCH):
        logits, _ = network(data.padded(batch), data.length[batch])
        total += F.cross_entropy(logits, label[batch], reduction="sum").item()
        right += (logits.argmax(dim=1) == label[batch]).sum().item()
    return {"validation_loss": total / len(rows), "validation_accuracy": right / len(rows)}
