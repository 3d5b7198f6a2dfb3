"""The loop that trains any network over recordings, to be read from top to bottom, and what it says afterwards.

A step sees stretches of one length, cut from recordings of like length, so that nothing is padded and batch
normalisation sees recordings only. Answers are given on whole recordings, padded and masked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from emolib.engines.plan import class_weights, derived_seed
from emolib.engines.progress import Progress, portable
from emolib.sequences.batches import Steps, drawn
from emolib.speech import batches
from emolib.speech.augment import SpeechAugmentation, augment, mixup
from emolib.speech.recipe import SpeechRecipe

HISTORY_COLUMNS = (
    *("epoch", "train_loss", "validation_loss", "validation_accuracy", "learning_rate", "seconds"),
    "kept",
)
_ORDER, _DROPOUT, _CHANGES = range(200, 203)  # streams of draws beside those of `engines.plan`


def train(
    network: nn.Module,
    data: Steps,
    label: np.ndarray,
    *,
    train_rows: np.ndarray,
    validation_rows: np.ndarray,
    n_classes: int,
    recipe: SpeechRecipe,
    augmentation: SpeechAugmentation,
    seed: int,
    device: torch.device,
    after_epoch: Callable[[dict], None] | None = None,
) -> tuple[dict[str, Tensor], pd.DataFrame]:
    """Train `network` (on its device) and return the weights that answer, and the history.

    Parameters
    ----------
    network : has `scaled`, `logits`, `last_layer` and `evaluation_batch` (`models.SpeechNetwork`, `emolib.hub`).
    data : recordings as they were measured.
    label : int64 [N]; of the rows given it is 0 to n_classes - 1.
    train_rows, validation_rows : int64; without a common row, or (protocol `reference`) as the caller says.
    seed : of all draws; with it, equal inputs give equal bits on a CPU with as many threads.
    after_epoch : hears of every epoch's row of the history.

    Returns
    -------
    state, history
        The history has `HISTORY_COLUMNS`, a row an epoch; `kept` marks the epoch of the state.

    Raises
    ------
    FloatingPointError
        The training loss is not finite.
    """
    average = None
    if recipe.ema_decay:
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=True)
    answering = network if average is None else average.module
    weight = class_weights(label[train_rows], n_classes).to(device) if recipe.class_weights else None
    target = F.one_hot(torch.from_numpy(np.where(label < 0, 0, label)), n_classes).float().to(device)
    optimiser = _optimiser(network, recipe)
    task = _Task(network, average, optimiser, target, weight, recipe, augmentation, seed, device)
    progress = Progress()
    while not progress.finished(recipe):
        began = time.perf_counter()
        row = _train_epoch(task, data, train_rows, epoch=progress.epoch + 1)
        row |= validate(answering, data, label, validation_rows, recipe=recipe, device=device)
        row["seconds"] = time.perf_counter() - began
        progress.record(row, answering.state_dict(), monitor=recipe.monitor, name=f"seed {seed}")
        if after_epoch is not None:
            after_epoch(progress.history[-1])
    last = recipe.keep == "last"
    state = portable(answering.state_dict()) if last else progress.best_state
    history = pd.DataFrame(progress.history)
    kept = history["epoch"] == (progress.epoch if last else progress.best_epoch)
    return state, history.assign(kept=kept)[list(HISTORY_COLUMNS)]


@dataclass(frozen=True)
class _Task:
    """What one training is made of, beside its recordings."""

    network: nn.Module
    average: AveragedModel | None
    optimiser: torch.optim.Optimizer
    target: Tensor  # float32 [N, C]
    class_weight: Tensor | None
    recipe: SpeechRecipe
    augmentation: SpeechAugmentation
    seed: int
    device: torch.device


def _train_epoch(task: _Task, data: Steps, rows: np.ndarray, *, epoch: int) -> dict:
    """One pass over the training rows: mean loss of its steps, and the last step's learning rate."""
    recipe, device, seed = task.recipe, task.device, task.seed
    generator = torch.Generator().manual_seed(derived_seed(seed, _ORDER, epoch))
    changes = torch.Generator(device).manual_seed(derived_seed(seed, _CHANGES, epoch))
    torch.manual_seed(derived_seed(seed, _DROPOUT, epoch))
    some = _for_full_batches(rows, batch_size=recipe.batch_size, generator=generator)
    order = drawn(some, data.length, batch_size=recipe.batch_size, generator=generator)
    task.network.train()
    total, rate = torch.zeros((), device=device), 0.0
    for step, batch in enumerate(order):
        rate = recipe.rate((epoch - 1) * len(order) + step, steps_per_epoch=len(order))
        for group in task.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        values = batches.cut(data, batch, longest=recipe.crop_steps, generator=generator).to(device)
        total += _step(task, values, task.target[batch.to(device)], changes)
    return {"train_loss": total.item() / len(order), "learning_rate": rate}


def _step(task: _Task, values: Tensor, target: Tensor, changes: torch.Generator) -> Tensor:
    """Change the batch (values float32 [B, T, F], without padding), learn from it, and return its loss."""
    recipe, network = task.recipe, task.network
    length = torch.full((len(values),), values.shape[1], device=values.device)
    values = augment(network.scaled(values), length, changes, how=task.augmentation)
    values, target = mixup(values, target, changes, alpha=recipe.mixup_alpha)
    with torch.autocast(values.device.type, torch.bfloat16, enabled=recipe.mixed_precision):
        logits = network.logits(values, length)
    loss = F.cross_entropy(logits.float(), target, weight=task.class_weight, label_smoothing=recipe.label_smoothing)
    task.optimiser.zero_grad()
    loss.backward()
    if recipe.clip_norm is not None:
        nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
    task.optimiser.step()
    if task.average is not None:
        task.average.update_parameters(network)
    return loss.detach()


def _optimiser(network: nn.Module, recipe: SpeechRecipe) -> torch.optim.AdamW:
    """AdamW; parameters of one dimension without decay, those of the last layer with their own rate."""
    of_head = {id(parameter) for parameter in network.last_layer().parameters()}
    groups: dict[tuple[bool, bool], list] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            groups.setdefault((id(parameter) in of_head, parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "weight_decay": recipe.weight_decay if of_weights else 0.0,
                "factor": recipe.head_rate if head else 1.0,
            }
            for (head, of_weights), parameters in groups.items()
        ],
        lr=recipe.learning_rate,
        fused=True,
    )


def _for_full_batches(rows: np.ndarray, *, batch_size: int, generator: torch.Generator) -> np.ndarray:
    """So many of `rows` that all batches are full, since a normalisation over a recording or two would be noise; all,
    where there are fewer than a batch.

    Those left out are drawn for each epoch, before anything is sorted by length: else it would be the longest always.
    """
    n = len(rows) - len(rows) % batch_size or len(rows)
    return np.asarray(rows)[torch.randperm(len(rows), generator=generator)[:n].numpy()]


def validate(
    network: nn.Module, data: Steps, label: np.ndarray, rows: np.ndarray, *, recipe: SpeechRecipe, device: torch.device
) -> dict:
    """Mean cross-entropy (without weights or smoothing) and accuracy of `rows`, as `posterior` answers them."""
    said = posterior(network, data, rows, recipe=recipe, device=device)
    own = said[np.arange(len(rows)), label[rows]]
    return {
        "validation_loss": float(-np.log(np.maximum(own, np.finfo(np.float32).tiny)).mean()),
        "validation_accuracy": float((said.argmax(axis=1) == label[rows]).mean()),
    }


@torch.inference_mode()
def posterior(
    network: nn.Module, data: Steps, rows: np.ndarray, *, recipe: SpeechRecipe, device: torch.device
) -> np.ndarray:
    """Posteriors of `rows` (int64 [n]), mean over their views: float64 [n, C]; computed in float32."""
    network.eval()
    whose, first, steps = batches.views(
        data.length[torch.from_numpy(rows)].numpy(), crops=recipe.test_crops, crop_steps=recipe.crop_steps
    )
    found: np.ndarray | None = None
    by_length = np.argsort(-steps, kind="stable")
    for start in range(0, len(by_length), network.evaluation_batch):
        some = by_length[start : start + network.evaluation_batch]
        at = torch.from_numpy(rows[whose[some]])
        length = torch.from_numpy(steps[some])
        values = data.padded(at, first=torch.from_numpy(first[some]), n_steps=length)
        said = network(values.to(device), length.to(device)).double().softmax(1).cpu().numpy()
        if found is None:
            found = np.zeros((len(rows), said.shape[1]))
        np.add.at(found, whose[some], said)
    return found / np.bincount(whose, minlength=len(rows))[:, None]
