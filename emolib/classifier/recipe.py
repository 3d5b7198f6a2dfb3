"""How a classifier of stills is trained: every choice with its name, checked where it is made."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from emolib.classifier.augment import Augmentation
from emolib.engines.plan import scheduled_rate
from emolib.models import IMAGE_SIZE_PX

OPTIMISERS = ("sgd", "adam", "adamw")
BALANCES = ("none", "sampler", "loss")
SOFT_TARGETS = ("none", "votes")
PRECISIONS = ("none", "bf16")
KEPT = ("best", "last")
DISTILLED_ON = ("augmented", "clean")
SMALLEST_SIZE_PX = 16  # four halvings leave one pixel


@dataclass(frozen=True)
class ClassifierRecipe:
    """How one classifier is trained; the defaults are the plainest choice of each.

    Parameters
    ----------
    epochs : all are trained: the schedule ends with them, so the time is known after the first.
    batch_size : pictures a step; the rest of an epoch that fills no batch is left to the next one's order.
    optimiser : "sgd" (Nesterov), "adam" (decay added to the gradient, system D) or "adamw".
    learning_rate : at its peak.
    momentum : of "sgd".
    weight_decay : of weights; biases and normalisation have none.
    schedule : "cosine" (down to zero) or "constant".
    warmup_share : share of all steps, 0 to below 1, over which the rate rises linearly first.
    clip_norm : largest Euclidean norm of the gradient, None for no limit.
    label_smoothing : share of each target spread evenly over the classes.
    mixup_alpha, cutmix_alpha : of the Beta distribution of the mixing share; 0 for none. With both, a batch has one.
    mix_share : share of batches that are mixed.
    ema_decay : share of the averaged weights that a step keeps; 0 for no average.
    balance : "none"; "sampler" draws rare classes more often; "loss" weighs them more.
    balance_power : 1 makes classes equal; between 0 and 1, so much towards that.
    soft_targets : "none" or "votes" (FER+'s distribution).
    votes_share : how much of the target the votes are; the rest is the label given.
    distil_weight : share of the teachers' answer in the loss.
    distil_temperature : both answers are softened by it.
    distil_on : teachers look at the same "augmented" batch, or once at every "clean" picture (and its mirror image).
    size_schedule : ((share of epochs from which on, pictures' size in pixels), ...), the first from 0, the last of 48
        pixels, at which it validates; other sizes need a network that reads them (`vgg`, `resnet`).
    size_by : how smaller ones are made: "resize" (the whole picture, so smaller faces than the test's) or "crop" (a
        part of it, at the test's scale).
    mixed_precision : "bf16" for autocast (worth it on GPUs, and on CPUs with avx512_bf16), or "none".
    keep : the weights that are kept: "best" by validation accuracy, or "last" (the average, where there is one).
    augmentation : see `Augmentation`.

    Raises
    ------
    ValueError
        A value is not allowed. (An unknown name is Python's own TypeError.)
    """

    epochs: int
    batch_size: int = 128
    optimiser: str = "sgd"
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    warmup_share: float = 0.1
    clip_norm: float | None = None
    label_smoothing: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    mix_share: float = 1.0
    ema_decay: float = 0.0
    balance: str = "none"
    balance_power: float = 1.0
    soft_targets: str = "none"
    votes_share: float = 0.5
    distil_weight: float = 0.5
    distil_temperature: float = 2.0
    distil_on: str = "augmented"
    size_schedule: Sequence[Sequence[float]] = ((0.0, 48),)
    size_by: str = "resize"
    mixed_precision: str = "none"
    keep: str = "best"
    augmentation: Augmentation = field(default_factory=Augmentation.none)

    def __post_init__(self):
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            number = isinstance(value, float | int) and not isinstance(value, bool)
            if not number or not low <= value <= high or not math.isfinite(value):
                raise ValueError(f"recipe: {name} = {value!r} received, a number from {low} to {high} is allowed")
        for name in ("epochs", "batch_size"):
            if not isinstance(getattr(self, name), int):
                raise ValueError(f"recipe: {name} = {getattr(self, name)!r} received, a whole number is allowed")
        for name, allowed in _NAMES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"recipe: {name} = {getattr(self, name)!r} received, allowed: {', '.join(allowed)}")
        if self.learning_rate == 0 or self.warmup_share == 1 or self.ema_decay == 1:
            raise ValueError("recipe: learning_rate above 0, warmup_share and ema_decay below 1 are allowed")
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise ValueError(f"recipe: clip_norm = {self.clip_norm!r} received, None or a positive number is allowed")
        if not isinstance(self.augmentation, Augmentation):
            raise ValueError(f"recipe: augmentation = {self.augmentation!r} received, an Augmentation is allowed")
        self._check_sizes()

    def _check_sizes(self) -> None:
        steps = [tuple(step) for step in self.size_schedule]
        shares = [step[0] for step in steps]
        if (
            not steps
            or any(len(step) != 2 or step[1] != int(step[1]) or step[1] < SMALLEST_SIZE_PX for step in steps)
            or shares[0] != 0
            or shares != sorted(set(shares))
            or shares[-1] >= 1
            or steps[-1][1] != IMAGE_SIZE_PX
        ):
            raise ValueError(
                f"recipe: size_schedule = {self.size_schedule!r} received; pairs (share of epochs, size) are allowed, "
                f"shares rising from 0 to below 1, sizes whole, {SMALLEST_SIZE_PX} or more, the last {IMAGE_SIZE_PX}"
            )

    def rate(self, step: int, *, steps_per_epoch: int) -> float:
        """Learning rate at `step`, counted from 0 over all epochs."""
        return scheduled_rate(self, step, n_steps=self.epochs * steps_per_epoch)

    def steps_of_epoch(self, n_samples: int) -> int:
        """Whole batches of `n_samples`; fewer samples than a batch are one."""
        return max(1, n_samples // self.batch_size)

    def size_px(self, epoch: int) -> int:
        """Size of the pictures in `epoch` (from 1)."""
        begun = [int(size) for share, size in self.size_schedule if share * self.epochs <= epoch - 1]
        return begun[-1]

    def extent(self, epoch: int) -> float:
        """Share of a picture's side that is shown in `epoch` (from 1)."""
        return self.size_px(epoch) / IMAGE_SIZE_PX if self.size_by == "crop" else 1.0

    def make_optimiser(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimiser over the model's parameters, those of one dimension without decay."""
        groups = [
            {"params": list(parameters), "weight_decay": decay}
            for parameters, decay in (
                (_parameters(model, of_weights=True), self.weight_decay),
                (_parameters(model, of_weights=False), 0.0),
            )
        ]
        if self.optimiser == "sgd":
            return torch.optim.SGD(groups, lr=self.learning_rate, momentum=self.momentum, nesterov=True, fused=True)
        make = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[self.optimiser]
        return make(groups, lr=self.learning_rate, fused=True)


def _parameters(model: nn.Module, *, of_weights: bool) -> Iterator[nn.Parameter]:
    return (parameter for parameter in model.parameters() if (parameter.ndim > 1) == of_weights)


_RANGES = {
    **dict.fromkeys(("epochs", "batch_size"), (1, 10**9)),
    "learning_rate": (0, 100),
    "momentum": (1e-9, 1),  # Nesterov's step needs some
    "weight_decay": (0, 100),
    **dict.fromkeys(("mixup_alpha", "cutmix_alpha"), (0, 100)),
    "distil_temperature": (1, 100),
    **dict.fromkeys(("warmup_share", "label_smoothing", "mix_share", "ema_decay", "balance_power"), (0, 1)),
    **dict.fromkeys(("votes_share", "distil_weight"), (0, 1)),
}
_NAMES = {
    "optimiser": OPTIMISERS,
    "schedule": ("cosine", "constant"),
    "balance": BALANCES,
    "soft_targets": SOFT_TARGETS,
    "mixed_precision": PRECISIONS,
    "keep": KEPT,
    "distil_on": DISTILLED_ON,
    "size_by": ("resize", "crop"),
}
