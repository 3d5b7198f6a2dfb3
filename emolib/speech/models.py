"""Networks over log-mel spectrograms of any length, by name; padding never changes what they say.

`cnn` is `SpeechCnn`; the other names are those of `emolib.sequences` (`bilstm_attention` is system C's), which read the
bands of a step as its features. `SpeechCnn` sees a picture of bands by steps: behind each convolution what lies outside
of a recording is set to zero, as a convolution finds it at the end of a recording that is alone; pools are taken of
values of 0 and more, and means over a recording's own steps. So a recording gets the same answer alone and beside
longer ones.

Sources: stages of convolutions with batch normalisation: PANNs' CNNs (Kong et al. 2020, arXiv 1912.10211), which also
pool by mean + max over time; residual blocks: He et al. 2016, arXiv 1512.03385; attentive pooling with the spread:
Okabe et al. 2018, arXiv 1803.10963.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emolib import sequences
from emolib.speech.augment import inside

MODELS = ("cnn", *sequences.MODELS)
POOLINGS = ("mean_max", "attention")


class SpeechNetwork(nn.Module):
    """A network with the scaling of its features, which is part of its weights: values go in as they were measured.

    `centre` and `scale`, float32 [F], are the mean and the standard deviation of each feature in training.
    """

    evaluation_batch = 64  # recordings that answer at a time

    def __init__(self, network: nn.Module, n_features: int):
        super().__init__()
        self.register_buffer("centre", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        self.network = network

    def scaled(self, values: Tensor) -> Tensor:
        """Values [B, T, F] as the network itself reads them."""
        return (values - self.centre) / self.scale

    def logits(self, scaled: Tensor, length: Tensor) -> Tensor:
        """Logits [B, C] of scaled values [B, T, F]; steps from `length` int64 [B] on are padding."""
        found = self.network(scaled, length)
        return found[0] if isinstance(found, tuple) else found  # models of sequences return their attention, too

    def forward(self, values: Tensor, length: Tensor) -> Tensor:
        """Logits float [B, C] of values float [B, T, F] as they were measured; length int64 [B], 1 to T."""
        return self.logits(self.scaled(values), length)

    def last_layer(self) -> nn.Module:
        """The layer that `SpeechRecipe.head_rate` is about."""
        return self.network.classifier


def build(name: str, n_features: int, n_classes: int, *, options: Mapping | None = None) -> SpeechNetwork:
    """Make model `name` with fresh weights drawn from torch's global generator.

    Parameters
    ----------
    name : one of `MODELS`.
    n_features, n_classes : width of a step (bands), and of the answer.
    options : of the model.

    Raises
    ------
    ValueError
        `name` is unknown, or an option is out of range.
    TypeError
        An option is unknown.
    """
    if name not in MODELS:
        raise ValueError(f"model: {name!r} received, allowed are {', '.join(MODELS)}")
    options = dict(options or {})
    if name != "cnn":
        return SpeechNetwork(sequences.build(name, n_features, n_classes, **options), n_features)
    known = [one.name for one in inspect.signature(SpeechCnn).parameters.values() if one.kind is one.KEYWORD_ONLY]
    if unknown := sorted(set(options) - set(known)):
        raise TypeError(f"model 'cnn': option(s) {', '.join(unknown)} received, allowed are {', '.join(known)}")
    return SpeechNetwork(SpeechCnn(n_features, n_classes, **options), n_features)


class SpeechCnn(nn.Module):
    """Stages of convolutions 3x3, each but the last followed by a max pool of 2x2, then a mean over bands and a pool
    over time.

    Parameters
    ----------
    n_bands : bands of the spectrogram.
    n_classes : number of logits, at least 2.
    widths : channels of each stage.
    blocks : convolutions of each stage (residual: blocks of two).
    residual : a shortcut beside every two convolutions.
    band_input : a second input channel that says which band a place is of (-1 lowest to 1 highest), as convolutions
        cannot tell.
    pooling : over time, "mean_max" or "attention" (weighted mean and spread).
    dropout : probability, before the last layer.
    stage_dropout : probability that a channel is dropped behind a stage.

    Raises
    ------
    ValueError
        A parameter is out of range.
    """

    def __init__(
        self,
        n_bands: int,
        n_classes: int,
        *,
        widths: Sequence[int] = (16, 32, 64, 128),
        blocks: Sequence[int] = (1, 2, 2, 2),
        residual: bool = False,
        band_input: bool = True,
        pooling: str = "mean_max",
        dropout: float = 0.3,
        stage_dropout: float = 0.0,
    ):
        super().__init__()
        if n_classes < 2 or n_bands < 1:
            raise ValueError(f"n_classes {n_classes}, n_bands {n_bands} received: 2 or more, and 1 or more")
        if not widths or len(widths) != len(blocks) or any(number < 1 for number in (*widths, *blocks)):
            raise ValueError(f"widths {widths}, blocks {blocks} received: as many of one as of the other, 1 or more")
        if pooling not in POOLINGS:
            raise ValueError(f"pooling: {pooling!r} received, allowed: {', '.join(POOLINGS)}")
        if not (0 <= dropout < 1 and 0 <= stage_dropout < 1):
            raise ValueError(f"dropout {dropout}, stage_dropout {stage_dropout} received: [0, 1) is allowed")
        self.band_input, self.n_bands = band_input, n_bands
        self.stages, before = nn.ModuleList(), 1 + band_input
        for width, n_blocks in zip(widths, blocks, strict=True):
            layers = []
            for _ in range(n_blocks):
                layers.append(_Residual(before, width) if residual else _Convolution(before, width))
                before = width
            self.stages.append(nn.ModuleList(layers))
        self.stage_dropout = nn.Dropout2d(stage_dropout)
        self.pool = _MeanMax() if pooling == "mean_max" else _Attention(before)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(before * (1 if pooling == "mean_max" else 2), n_classes)

    def forward(self, batch: Tensor, length: Tensor) -> Tensor:
        """Logits of recordings.

        Parameters
        ----------
        batch : float [B, T, n_bands], scaled.
        length : int64 [B], 1 to T; steps from there on may hold anything.

        Returns
        -------
        float [B, n_classes].
        """
        whole = bool((length == batch.shape[1]).all())
        x = batch[:, None]
        if self.band_input:
            band = torch.linspace(-1, 1, self.n_bands, device=batch.device, dtype=batch.dtype)
            x = torch.cat([x, band.expand_as(x)], 1)
        # bands come first: channels last in memory, so a place's channels lie together
        x = x.transpose(2, 3).contiguous(memory_format=torch.channels_last)
        for number, stage in enumerate(self.stages):
            if number:
                x, length = F.max_pool2d(x, 2, ceil_mode=True), (length + 1) // 2
            own = None if whole else inside(length, x.shape[3])[:, None, None, :]
            x = _only(x, own)
            for layer in stage:
                x = layer(x, own)
            x = self.stage_dropout(x)
        x = x.float().mean(2).transpose(1, 2)  # [B, T', channels]
        return self.classifier(self.dropout(self.pool(x, length)))


class _Convolution(nn.Module):
    """Convolution 3x3 without bias, batch normalisation, ReLU; zero outside of the recording."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        self.norm = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor, own: Tensor | None) -> Tensor:
        return _only(F.relu(self.norm(self.conv(x))), own)


class _Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.first, self.second = _Convolution(n_in, n_out), nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.second.weight, mode="fan_out", nonlinearity="relu")
        self.norm = nn.BatchNorm2d(n_out)
        self.shortcut = nn.Identity() if n_in == n_out else nn.Conv2d(n_in, n_out, 1, bias=False)

    def forward(self, x: Tensor, own: Tensor | None) -> Tensor:
        return _only(F.relu(self.shortcut(x) + self.norm(self.second(self.first(x, own)))), own)


def _only(x: Tensor, own: Tensor | None) -> Tensor:
    return x if own is None else x.masked_fill(~own, 0)


class _MeanMax(nn.Module):
    """Mean plus maximum over a recording's own steps: [B, T, C] to [B, C]."""

    def forward(self, x: Tensor, length: Tensor) -> Tensor:
        own = inside(length, x.shape[1])[:, :, None]
        mean = x.masked_fill(~own, 0).sum(1) / length[:, None]
        return mean + x.masked_fill(~own, -torch.inf).amax(1)


class _Attention(nn.Module):
    """Mean and spread over a recording's own steps, weighted by what two layers say of each: [B, T, C] to [B, 2 C]."""

    def __init__(self, width: int):
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, max(8, width // 2)), nn.Tanh(), nn.Linear(max(8, width // 2), 1))

    def forward(self, x: Tensor, length: Tensor) -> Tensor:
        own = inside(length, x.shape[1])[:, :, None]
        weight = self.score(x).masked_fill(~own, -torch.inf).softmax(1)
        mean = (weight * x).sum(1)
        spread = (weight * (x - mean[:, None]).square()).sum(1)
        return torch.cat([mean, (spread + 1e-6).sqrt()], 1)
