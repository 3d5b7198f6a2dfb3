"""How a network over recordings is trained: every choice with its name, checked where it is made."""

from __future__ import annotations

from dataclasses import dataclass

from emolib.engines import plan

KEPT = ("best", "last")
NO_PATIENCE = 1_000_000  # epochs: all of them are trained


@dataclass(frozen=True)
class SpeechRecipe(plan.Recipe):
    """A `training.Recipe` with what recordings have besides; the defaults are the plainest choice of each.

    Parameters
    ----------
    epochs, learning_rate, schedule, warmup_share, clip_norm, class_weights, monitor
        As in `training.Recipe`. "one_cycle" is a linear warm-up (of `warmup_share`; 0: none) and a cosine down to 0.
    batch_size : recordings a step; those beyond full batches are left out of an epoch, drawn anew for each.
    patience : epochs without a better `monitor` after which the training stops; by default all are trained.
    weight_decay : of weights only, decoupled (AdamW).
    mixed_precision : bfloat16 by autocast, on any device (a CPU gains where it has avx512_bf16 or amx).
    label_smoothing : share of each target spread evenly over the classes.
    mixup_alpha : of the Beta distribution of the mixing share; 0 for none.
    ema_decay : share of the averaged weights that a step keeps; 0 for no average. With one, it is what is validated and
        kept.
    keep : the weights that answer: of the "best" epoch by `monitor`, or of the "last".
    crop_steps : longest stretch of a recording that a step sees, in rows of the features; 0 for no limit. Recordings of
        a step are cut to the shortest of them anyway, so that nothing is padded in training.
    test_crops : 0 answers for whole recordings; n averages the posteriors of n stretches of `crop_steps`, evenly
        spaced (recordings that are shorter are answered whole).
    head_rate : learning rate of the last layer, as a multiple of all others' (for encoders that are trained already).

    Raises
    ------
    ValueError
        A value is not allowed. (An unknown name is Python's own TypeError.)
    """

    epochs: int = 40
    patience: int = NO_PATIENCE
    batch_size: int = 32
    weight_decay: float = 1e-2
    schedule: str = "one_cycle"
    warmup_share: float = 0.1
    label_smoothing: float = 0.0
    mixup_alpha: float = 0.0
    ema_decay: float = 0.0
    keep: str = "best"
    crop_steps: int = 0
    test_crops: int = 0
    head_rate: float = 1.0

    def __post_init__(self):
        super().__post_init__()

        def require(name: str, fits: bool, allowed: str) -> None:
            if not fits:
                raise ValueError(f"recipe: {name} = {getattr(self, name)!r} received, {allowed} is allowed")

        require("horizontal_flip", not self.horizontal_flip, "False (recordings have no mirror image)")
        require("batch_size", self.batch_size >= 2, "2 or more (batch normalisation needs two)")
        require("keep", self.keep in KEPT, " or ".join(map(repr, KEPT)))
        for name in ("crop_steps", "test_crops"):
            value = getattr(self, name)
            require(name, type(value) is int and value >= 0, "a whole number >= 0")
        for name, highest in (("label_smoothing", 1), ("mixup_alpha", 1e3), ("ema_decay", 1), ("head_rate", 1e6)):
            value = getattr(self, name)
            number = isinstance(value, float | int) and not isinstance(value, bool)
            require(name, number and 0 <= value < highest, f"a number from 0 to below {highest:g}")
        require("head_rate", self.head_rate > 0, "a number above 0")
        require("test_crops", not self.test_crops or self.crop_steps > 0, "0, where there are no crop_steps,")
