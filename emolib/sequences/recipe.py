"""How a model of sequences is trained: every choice with its name, checked where it is made."""

from __future__ import annotations

from dataclasses import dataclass

from emolib.engines import plan

SCALINGS = ("standard", "none")


@dataclass(frozen=True)
class SequenceRecipe(plan.Recipe):
    """A `training.Recipe` with system C's defaults, and what sequences have besides.

    Parameters
    ----------
    epochs, patience, batch_size, learning_rate, weight_decay, schedule, warmup_share, clip_norm, class_weights, monitor
        As in `training.Recipe`; weight decay is decoupled (AdamW).
    scaling : "standard" (each feature's mean and standard deviation over the training steps) or "none".
    max_steps : longer training sequences are cropped to so many steps, anew at every epoch; 0: none are. Answers are
        always given on whole sequences.
    label_smoothing : share of each target spread evenly over the classes, 0 to below 1.

    Raises
    ------
    ValueError
        A value is not allowed. (An unknown name is Python's own TypeError.)
    """

    epochs: int = 300
    patience: int = 30
    batch_size: int = 64
    clip_norm: float | None = 1.0
    scaling: str = "standard"
    max_steps: int = 0
    label_smoothing: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        for name in ("horizontal_flip", "mixed_precision"):  # of pictures
            if getattr(self, name):
                raise ValueError(f"recipe: {name} = True received, sequences have no such choice")
        if self.scaling not in SCALINGS:
            raise ValueError(f"recipe: scaling = {self.scaling!r} received, allowed are {', '.join(SCALINGS)}")
        if not isinstance(self.max_steps, int) or isinstance(self.max_steps, bool) or self.max_steps < 0:
            raise ValueError(f"recipe: max_steps = {self.max_steps!r} received, a whole number >= 0 is allowed")
        if isinstance(self.label_smoothing, str) or not 0 <= self.label_smoothing < 1:
            raise ValueError(f"recipe: label_smoothing = {self.label_smoothing!r} received, [0, 1) is allowed")
