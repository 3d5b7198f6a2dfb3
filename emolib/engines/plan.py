"""What is to be trained and how: recipe, members, and every random draw and learning rate as a pure function of them.

Draws depend on (seed, epoch) alone and never on what ran before. A resumed training therefore needs no saved
generator, and neither the engine nor the number of workers changes the order of the samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emolib.models import build, load_transfer

_INITIAL_WEIGHTS, _ORDER, _DROPOUT = range(3)


@dataclass(frozen=True)
class Recipe:
    """How every member is trained.

    Parameters
    ----------
    epochs : largest number of epochs.
    patience : epochs without a better `monitor` after which a member stops.
    batch_size : images a step; the last step of an epoch takes what is left.
    learning_rate : of Adam; the peak of a schedule.
    weight_decay : L2 term as in `torch.optim.Adam` (added to the gradient).
    schedule : "constant", or "one_cycle": down to zero along a cosine over all `epochs`.
    warmup_share : share of all steps, 0 to below 1, over which the rate rises linearly first (either schedule).
    clip_norm : largest Euclidean norm of a member's gradient, None for no limit.
    class_weights : weigh the training loss by n / (classes * n_class) of the member's own training labels.
    mixed_precision : train in bfloat16 (autocast; judged on the validation rows in float32). A CPU gains where it has
        instructions for it (avx512_bf16, amx), else it loses.
    monitor : what early stopping and the best epoch look at on the validation rows: "accuracy" or "loss".
    horizontal_flip : mirror a random half of the training images (each with its guide).

    Raises
    ------
    ValueError
        A value is not allowed. (An unknown name is Python's own TypeError.)
    """

    epochs: int
    patience: int
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup_share: float = 0.0
    clip_norm: float | None = None
    class_weights: bool = False
    mixed_precision: bool = False
    monitor: str = "accuracy"
    horizontal_flip: bool = False

    def __post_init__(self):
        def require(name: str, fits: bool, allowed: str) -> None:
            if not fits:
                raise ValueError(f"recipe: {name} = {getattr(self, name)!r} received, {allowed} is allowed")

        for name in ("epochs", "patience", "batch_size"):
            value = getattr(self, name)
            require(name, isinstance(value, int) and not isinstance(value, bool) and value >= 1, "a whole number >= 1")
        for name in ("class_weights", "mixed_precision", "horizontal_flip"):
            require(name, isinstance(getattr(self, name), bool), "True or False")
        for name in ("learning_rate", "weight_decay", "warmup_share"):
            require(name, isinstance(getattr(self, name), float | int), "a number (YAML: write 1.0e-3)")
        require("learning_rate", 0 < self.learning_rate < math.inf, "a positive number")
        require("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more")
        require("warmup_share", 0 <= self.warmup_share < 1, "[0, 1)")
        require("clip_norm", self.clip_norm is None or 0 < self.clip_norm < math.inf, "None or a positive number")
        require("schedule", self.schedule in ("constant", "one_cycle"), "'constant' or 'one_cycle'")
        require("monitor", self.monitor in ("accuracy", "loss"), "'accuracy' or 'loss'")

    def rate(self, step: int, *, steps_per_epoch: int) -> float:
        """Learning rate at `step`, counted from 0 over all epochs."""
        return scheduled_rate(self, step, n_steps=self.epochs * steps_per_epoch)

    def n_steps(self, n_samples: int) -> int:
        """Steps of an epoch over `n_samples`."""
        return math.ceil(n_samples / self.batch_size)


def scheduled_rate(recipe: Any, step: int, *, n_steps: int) -> float:
    """Learning rate at `step` of `n_steps`: a linear warm-up to `recipe.learning_rate`, then constant or a half cosine.

    recipe : any with `learning_rate`, `warmup_share` and `schedule`; "constant", or else the cosine.
    """
    n_warm = round(recipe.warmup_share * n_steps)
    if step < n_warm:
        return recipe.learning_rate * (step + 1) / n_warm
    if recipe.schedule == "constant":
        return recipe.learning_rate
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - n_warm) / (n_steps - n_warm)))


@dataclass(frozen=True, eq=False)
class Member:
    """One model of the stack: what it learns from, what stops it, and where it starts.

    Parameters
    ----------
    name : letters, digits, dot, dash, underscore; unique in the stack (it names the checkpoint).
    train, validation : int64 [n], int64 [m]; rows of the arrays, without a common row.
    seed : 0 or more; decides the fresh weights, the order of the samples, flips and dropout.
    initial : weights to start from (`emolib.models.load_transfer`), None for fresh ones.
    stops_on_training : `validation` is `train` itself, on purpose: a last training on all data (system B).
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    seed: int
    initial: dict[str, Tensor] | None = field(default=None, repr=False)
    stops_on_training: bool = False


@dataclass(frozen=True)
class Network:
    """Which network all members are: the arguments of `emolib.models.build`."""

    model: str
    n_classes: int
    options: dict

    def build(self) -> nn.Module:
        return build(self.model, self.n_classes, **self.options)

    @property
    def needs_guide(self) -> bool:
        """Whether the network reads a guide beside the image."""
        with torch.device("meta"):  # no weights, so no draw from the global generator
            return self.build().needs_guide


def derived_seed(seed: int, *stream: int) -> int:
    """A seed for `stream` that shares nothing with those of other streams (NumPy's SeedSequence), below 2**63."""
    return int(np.random.SeedSequence([seed, *stream]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def dropout_seed(seed: int, epoch: int) -> int:
    """Seed of the global generator during `epoch`."""
    return derived_seed(seed, _DROPOUT, epoch)


def start(member: Member, network: Network) -> nn.Module:
    """The member's network before its first step: fresh weights from its seed, or its `initial` ones."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived_seed(member.seed, _INITIAL_WEIGHTS))
        model = network.build()
    if member.initial is not None:
        load_transfer(model, member.initial, skip=(model.last_layer,))
    return model


def epoch_order(member: Member, epoch: int) -> tuple[Tensor, Tensor]:
    """The member's training rows in the order of `epoch` (from 1), int64 [n], and which of them to mirror, bool [n]."""
    generator = torch.Generator().manual_seed(derived_seed(member.seed, _ORDER, epoch))
    train = torch.from_numpy(np.array(member.train, dtype=np.int64))
    order = train[torch.randperm(len(train), generator=generator)]
    return order, torch.rand(len(train), generator=generator) < 0.5


def class_weights(label: np.ndarray, n_classes: int) -> Tensor:
    """Balanced weights float32 [n_classes], n / (classes present * n_class); 0 for a class that is absent."""
    count = np.bincount(label, minlength=n_classes)
    weight = len(label) / (np.count_nonzero(count) * np.maximum(count, 1))
    return torch.from_numpy(np.where(count > 0, weight, 0.0).astype(np.float32))
