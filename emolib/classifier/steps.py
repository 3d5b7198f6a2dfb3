"""One epoch of a classifier's training, and one look at its validation pictures: the loop to read.

Pictures lie on the device as uint8 and are read there by index: no loader, no copy an item.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from emolib.classifier import distil, targets
from emolib.classifier.augment import augment, mix
from emolib.classifier.recipe import ClassifierRecipe
from emolib.engines.plan import Member, derived_seed
from emolib.engines.steps import scaled

EVALUATION_BATCH = 512
_ORDER, _AUGMENT, _MIX, _DROPOUT = range(100, 104)  # streams of draws beside those of `engines.plan`


@dataclass(frozen=True)
class Data:
    """What is read by index, all on one device.

    Attributes
    ----------
    image : uint8 [N, 48, 48].
    label : int64 [N].
    target : float32 [N, C], what is to be answered.
    answer : float32 [N, C], what the teachers said of the clean pictures; None where they are asked at every step.
    """

    image: Tensor
    label: Tensor
    target: Tensor
    answer: Tensor | None = None


@dataclass(frozen=True)
class Task:
    """What one training is made of, beside its data."""

    net: nn.Module
    average: AveragedModel | None
    optimiser: torch.optim.Optimizer
    member: Member
    recipe: ClassifierRecipe
    teachers: Sequence[nn.Module] = ()
    class_weight: Tensor | None = None

    def logits(self, network: nn.Module, images: Tensor) -> Tensor:
        """float32 [B, C] of `network`, in the recipe's precision."""
        # entered for one forward pass only: the weights that autocast has cast are kept until it is left
        lower = self.recipe.mixed_precision == "bf16"
        with torch.autocast(images.device.type, torch.bfloat16, enabled=lower):
            return network(images).float()

    def loss(self, logits: Tensor, target: Tensor, answer: Tensor | None) -> Tensor:
        """Cross-entropy with the target, and the recipe's share of the divergence from the teachers' answer."""
        loss = F.cross_entropy(logits, target, weight=self.class_weight)
        if answer is None:
            return loss
        share = self.recipe.distil_weight
        return (1 - share) * loss + share * distil.loss(logits, answer, temperature=self.recipe.distil_temperature)


def train_epoch(task: Task, data: Data, *, epoch: int, on_step: Callable[[int], None]) -> dict:
    """One pass over the member's training rows; `on_step` hears of each step's number of pixels."""
    recipe, seed, device = task.recipe, task.member.seed, data.image.device
    order = epoch_order(task.member, data.label, recipe, epoch).to(device)
    n_steps, size_px = recipe.steps_of_epoch(len(order)), recipe.size_px(epoch)
    shown = {"size_px": size_px, "extent": recipe.extent(epoch)}
    total = torch.zeros((), device=device)
    task.net.train()
    torch.manual_seed(derived_seed(seed, _DROPOUT, epoch))
    for step in range(n_steps):
        rows = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
        images = data.image.index_select(0, rows)[:, None].float().div_(255)
        target = targets.smooth(data.target[rows], recipe.label_smoothing)
        answer = None if data.answer is None else data.answer[rows]
        draw = [derived_seed(seed, stream, epoch, step) for stream in (_AUGMENT, _MIX)]
        images = augment(images, recipe.augmentation, seed=draw[0], **shown)
        images, target, answer = mixed(images, target, answer, recipe, seed=draw[1])
        images = images.mul(2).sub_(1).contiguous(memory_format=torch.channels_last)
        if task.teachers:
            with torch.autocast(device.type, torch.bfloat16, enabled=recipe.mixed_precision == "bf16"):
                answer = distil.answer(task.teachers, images, temperature=recipe.distil_temperature)
        loss = task.loss(task.logits(task.net, images), target, answer)
        rate = recipe.rate((epoch - 1) * n_steps + step, steps_per_epoch=n_steps)
        for group in task.optimiser.param_groups:
            group["lr"] = rate
        task.optimiser.zero_grad()
        loss.backward()
        if recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(task.net.parameters(), recipe.clip_norm)
        task.optimiser.step()
        if task.average is not None:
            task.average.update_parameters(task.net)
        total += loss.detach()
        on_step(images.numel())
    return {"train_loss": total.item() / n_steps, "learning_rate": rate, "size_px": size_px}


def epoch_order(member: Member, label: Tensor, recipe: ClassifierRecipe, epoch: int) -> Tensor:
    """The member's training rows in the order of `epoch` (from 1), int64 [n] on the CPU; by class if so balanced."""
    generator = torch.Generator().manual_seed(derived_seed(member.seed, _ORDER, epoch))
    train = torch.from_numpy(member.train)
    if recipe.balance == "sampler":
        of_training = label.cpu()[train]
        n_classes = int(of_training.max()) + 1
        return train[targets.balanced_order(of_training, n_classes, power=recipe.balance_power, generator=generator)]
    return train[torch.randperm(len(train), generator=generator)]


def mixed(
    images: Tensor, target: Tensor, answer: Tensor | None, recipe: ClassifierRecipe, *, seed: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Pictures, targets and the teachers' answers of a batch, mixed alike as the recipe says."""
    both = target if answer is None else torch.cat([target, answer], 1)
    images, both = mix(
        images,
        both,
        mixup_alpha=recipe.mixup_alpha,
        cutmix_alpha=recipe.cutmix_alpha,
        share=recipe.mix_share,
        seed=seed,
    )
    n_classes = target.shape[1]
    return images, both[:, :n_classes], None if answer is None else both[:, n_classes:]


@torch.inference_mode()
def validate(task: Task, data: Data, rows: Tensor) -> dict:
    """Loss and accuracy over `rows` of the raw weights and of their average; the better count (on a tie the latter).

    The loss is the cross-entropy with the labels.
    """
    found = {"raw": _evaluate(task, task.net, data, rows)}
    if task.average is not None:
        found["ema"] = _evaluate(task, task.average.module, data, rows)
    better = max(found, key=lambda name: (found[name][1], name == "ema"))
    loss, accuracy = found[better]
    accuracies = {f"{name}_accuracy": found[name][1] if name in found else float("nan") for name in ("raw", "ema")}
    return {"validation_loss": loss, "validation_accuracy": accuracy, "weights": better, **accuracies}


def _evaluate(task: Task, network: nn.Module, data: Data, rows: Tensor) -> tuple[float, float]:
    network.eval()
    total, right = 0.0, 0
    for batch in rows.split(EVALUATION_BATCH):
        images = scaled(data.image, batch).contiguous(memory_format=torch.channels_last)
        logits = task.logits(network, images)
        total += F.cross_entropy(logits, data.label[batch], reduction="sum").item()
        right += (logits.argmax(1) == data.label[batch]).sum().item()
    return total / len(rows), right / len(rows)
