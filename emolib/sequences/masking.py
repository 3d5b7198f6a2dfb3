"""Padded batches: which steps are real, and what may be said of them.

A batch is values float32 [B, T, F] with length int64 [B]; the steps from length on are padding and may hold anything.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def step_mask(length: Tensor, n_steps: int) -> Tensor:
    """Which steps are real: bool [B, n_steps] of length int64 [B]."""
    return torch.arange(n_steps, device=length.device) < length[:, None]


def without_padding(values: Tensor, mask: Tensor) -> Tensor:
    """`values` [B, T, F] with zeros where `mask` [B, T] is False, whatever stood there (a product would keep NaN)."""
    return values.masked_fill(~mask[:, :, None], 0.0)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real steps, [B, F]; `values` [B, T, F] is zero on padding."""
    return values.sum(dim=1) / mask.sum(dim=1, keepdim=True)


def reversed_steps(length: Tensor, n_steps: int) -> Tensor:
    """For each step the one that takes its place when every sequence is turned round in itself, int64 [B, n_steps].

    Padding keeps its place. Applied twice, all do.
    """
    step = torch.arange(n_steps, device=length.device).expand(len(length), -1)
    return torch.where(step < length[:, None], length[:, None] - 1 - step, step)


def reordered(values: Tensor, steps: Tensor) -> Tensor:
    """`values` [B, T, F] with step t taken from `steps` [B, T]."""
    return values.gather(1, steps[:, :, None].expand(-1, -1, values.shape[2]))


class SelfAttention(nn.Module):
    """A weight for each step from the step alone (and, with `context`, from the mean of the sequence), and their mean.

    Each of the layers is linear, tanh and dropout, the last one with a single output: the score. Scores of padding are
    minus infinity *before* the softmax, so the weights of the real steps sum to 1 whatever the padding holds.
    """

    def __init__(self, size: int, *, layers: int, dropout: float, context: bool):
        super().__init__()
        self.context = context
        width = 2 * size if context else size
        widths = [width] * layers + [1]
        parts = []
        for before, after in zip(widths[:-1], widths[1:], strict=True):
            parts += [nn.Linear(before, after), nn.Tanh(), nn.Dropout(dropout)]
        self.score = nn.Sequential(*parts)

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled [B, size] and weights [B, T] of `hidden` [B, T, size], which is zero on padding."""
        seen = hidden
        if self.context:
            seen = torch.cat([hidden, masked_mean(hidden, mask)[:, None].expand_as(hidden)], dim=2)
        score = self.score(seen).squeeze(2)  # named: a batch of one keeps its dimension
        weight = score.masked_fill(~mask, -torch.inf).softmax(dim=1)
        return (weight[:, None] @ hidden).squeeze(1), weight
