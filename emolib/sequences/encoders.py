"""What turns steps into hidden states: recurrent, convolutional, attentive. Each one has `size`, its hidden width.

``forward(values, length, mask)``: float32 [B, T, F] with zeros on padding, int64 [B], bool [B, T] -> [B, T, size].
What it leaves on padding is for the caller to remove; what stands there never reaches a real step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emolib.sequences.masking import reordered, reversed_steps, without_padding

_LONGEST_WAVE = 10_000.0  # steps over 2 pi: the slowest sinusoid of the positions (Vaswani et al. 2017)


class Recurrent(nn.Module):
    """Layers of LSTMs, one or two directions, with dropout between the layers.

    Equal to a packed `nn.LSTM`: a forward LSTM never sees the padding behind its steps, and for the backward direction
    each sequence is turned round in itself, so that its padding stays behind. Unpacked batches run in oneDNN's fused
    kernel on the CPU, which packed ones do not.
    """

    def __init__(self, n_features: int, *, units: int, layers: int, dropout: float, bidirectional: bool):
        super().__init__()
        directions = 2 if bidirectional else 1
        self.size = units * directions
        widths = [n_features, *[self.size] * (layers - 1)]
        self.layers = nn.ModuleList(
            nn.ModuleList(nn.LSTM(width, units, batch_first=True) for _ in range(directions)) for width in widths
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, length: Tensor, mask: Tensor) -> Tensor:
        turned = reversed_steps(length, values.shape[1])
        for number, directions in enumerate(self.layers):
            if number:
                values = self.dropout(values)
            found = [directions[0](values)[0]]
            if len(directions) > 1:
                found.append(reordered(directions[1](reordered(values, turned))[0], turned))
            values = torch.cat(found, dim=2)
        return values


class Convolutional(nn.Module):
    """Residual blocks of two convolutions over time, whose reach doubles from block to block."""

    def __init__(self, n_features: int, *, units: int, layers: int, kernel_size: int, dropout: float):
        super().__init__()
        self.size = units
        self.widen = nn.Linear(n_features, units)
        self.blocks = nn.ModuleList(
            _Block(units, kernel_size=kernel_size, dilation=2**number, dropout=dropout) for number in range(layers)
        )

    def forward(self, values: Tensor, length: Tensor, mask: Tensor) -> Tensor:
        values = without_padding(self.widen(values), mask)
        for block in self.blocks:
            values = block(values, mask)
        return values


class _Block(nn.Module):
    """values + f(f(values)), f: convolution, normalisation over the channels of a step, relu, dropout."""

    def __init__(self, units: int, *, kernel_size: int, dilation: int, dropout: float):
        super().__init__()
        around = dilation * (kernel_size - 1) // 2
        options = {"kernel_size": kernel_size, "dilation": dilation, "padding": around}
        self.convolutions = nn.ModuleList(nn.Conv1d(units, units, **options) for _ in range(2))
        self.normalisations = nn.ModuleList(nn.LayerNorm(units) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        found = values
        for convolution, normalisation in zip(self.convolutions, self.normalisations, strict=True):
            found = convolution(found.transpose(1, 2)).transpose(1, 2)
            found = self.dropout(normalisation(found).relu())
            found = without_padding(found, mask)  # the next convolution reads it beside real steps
        return values + found


class Attentive(nn.Module):
    """A transformer encoder; positions are added as sinusoids, so sequences may be of any length."""

    def __init__(self, n_features: int, *, units: int, layers: int, heads: int, feedforward: int, dropout: float):
        super().__init__()
        self.size = units
        self.widen = nn.Linear(n_features, units)
        options = {"dim_feedforward": feedforward, "dropout": dropout, "batch_first": True, "norm_first": True}
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(units, heads, **options) for _ in range(layers))
        self.normalisation = nn.LayerNorm(units)

    def forward(self, values: Tensor, length: Tensor, mask: Tensor) -> Tensor:
        values = self.widen(values) + positions(values.shape[1], self.size).to(values)
        for layer in self.layers:
            values = layer(values, src_key_padding_mask=~mask)
        return self.normalisation(values)


def positions(n_steps: int, size: int) -> Tensor:
    """Sinusoids of the steps, float32 [n_steps, size]: first all sines, then all cosines (`size` is even)."""
    rate = _LONGEST_WAVE ** -(torch.arange(size // 2) / (size // 2))
    angle = torch.arange(n_steps)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1)
