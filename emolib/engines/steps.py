"""The plain semantics: one member, one loop, top to bottom. The other engine must agree with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emolib.engines.arrays import as_tensor
from emolib.engines.plan import Member, Network, Recipe, class_weights, dropout_seed, epoch_order, start
from emolib.engines.progress import Progress, load_checkpoint, portable, save_checkpoint

EVALUATION_BATCH = 512


@dataclass(frozen=True)
class Data:
    """Pictures and labels where the training reads them: uint8 [N, 48, 48] (guide or None), int64 [N]."""

    image: Tensor
    guide: Tensor | None
    label: Tensor

    @classmethod
    def of(cls, image: np.ndarray, guide: np.ndarray | None, label: np.ndarray, *, device: str = "cpu") -> Data:
        """The arrays as tensors on `device`; on the CPU they share the arrays' memory (a map stays a map)."""
        guide = None if guide is None else as_tensor(guide).to(device)
        return cls(as_tensor(image).to(device), guide, as_tensor(label).to(device))


@dataclass(frozen=True)
class Job:
    """A member with all that its training needs beside the data."""

    member: Member
    network: Network
    recipe: Recipe
    settings: dict
    checkpoint: Path | None


def scaled(pictures: Tensor, rows: Tensor) -> Tensor:
    """`rows` (int64 [...]) of uint8 [N, 48, 48] as float32 [..., 1, 48, 48] in [-1, 1]."""
    flat = pictures.index_select(0, rows.flatten()).view(*rows.shape, 1, *pictures.shape[1:])
    return flat.float().mul_(2 / 255).sub_(1)


def inputs(data: Data, rows: Tensor, mirror: Tensor | None = None) -> tuple[Tensor, ...]:
    """The network's arguments for `rows`: image, and guide where there is one; both mirrored where `mirror` (bool
    [...])."""
    arguments = [scaled(pictures, rows) for pictures in (data.image, data.guide) if pictures is not None]
    if mirror is not None:
        where = mirror.view(*mirror.shape, 1, 1, 1)
        arguments = [torch.where(where, pictures.flip(-1), pictures) for pictures in arguments]
    return tuple(arguments)


def fit(data: Data, job: Job, *, on_epoch: Callable[[Progress], None], n_epochs: int | None = None) -> Progress:
    """Train one member on the CPU, from its checkpoint where there is one; `on_epoch` hears of that and of every epoch.

    With `n_epochs` it returns after so many, to be called again with the checkpoint that it left.

    The global generator is set at every epoch (dropout draws from it) and given back as it was.
    """
    member, recipe = job.member, job.recipe
    model = start(member, job.network).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    weight = None
    if recipe.class_weights:
        weight = class_weights(data.label[torch.from_numpy(member.train)].numpy(), job.network.n_classes)
    progress = Progress()
    if job.checkpoint is not None and job.checkpoint.exists():
        state, optimiser_state, progress = load_checkpoint(job.checkpoint, settings=job.settings)
        model.load_state_dict(state)
        optimiser.load_state_dict(optimiser_state)
        on_epoch(progress)
    validation = torch.from_numpy(member.validation)
    until = recipe.epochs if n_epochs is None else progress.epoch + n_epochs
    while not progress.finished(recipe) and progress.epoch < until:
        began = time.perf_counter()
        epoch = progress.epoch + 1
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(dropout_seed(member.seed, epoch))
            row = train_epoch(model, optimiser, data, member, recipe=recipe, epoch=epoch, weight=weight)
        row |= evaluate(model, data, validation)
        row["seconds"] = time.perf_counter() - began
        progress.record(row, model.state_dict(), monitor=recipe.monitor, name=member.name)
        if job.checkpoint is not None:
            save_checkpoint(
                job.checkpoint,
                settings=job.settings,
                model=portable(model.state_dict()),
                optimiser=optimiser.state_dict(),
                progress=progress,
            )
        on_epoch(progress)
    return progress


def train_epoch(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    data: Data,
    member: Member,
    *,
    recipe: Recipe,
    epoch: int,
    weight: Tensor | None,
) -> dict:
    """One pass over the member's training rows: mean training loss a sample, and the last step's learning rate."""
    model.train()
    order, mirror = epoch_order(member, epoch)
    steps_per_epoch = recipe.n_steps(len(order))
    total = 0.0
    for step, first in enumerate(range(0, len(order), recipe.batch_size)):
        batch = slice(first, first + recipe.batch_size)
        rate = recipe.rate((epoch - 1) * steps_per_epoch + step, steps_per_epoch=steps_per_epoch)
        for group in optimiser.param_groups:
            group["lr"] = rate
        rows = order[batch]
        given = inputs(data, rows, mirror[batch] if recipe.horizontal_flip else None)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.mixed_precision):
            logits = model(*given)
        loss = F.cross_entropy(logits.float(), data.label[rows], weight=weight)
        optimiser.zero_grad()
        loss.backward()
        if recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimiser.step()
        total += loss.item() * len(rows)
    return {"train_loss": total / len(order), "learning_rate": rate}


@torch.inference_mode()
def evaluate(model: nn.Module, data: Data, rows: Tensor) -> dict:
    """Mean cross-entropy (without class weights) and accuracy over `rows`."""
    model.eval()
    total, right = 0.0, 0
    for batch in rows.split(EVALUATION_BATCH):
        logits = model(*inputs(data, batch))
        total += F.cross_entropy(logits, data.label[batch], reduction="sum").item()
        right += (logits.argmax(1) == data.label[batch]).sum().item()
    return {"validation_loss": total / len(rows), "validation_accuracy": right / len(rows)}
