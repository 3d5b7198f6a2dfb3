"""The classifiers of sequences, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import Tensor, nn

from emolib.sequences.encoders import Attentive, Convolutional, Recurrent
from emolib.sequences.masking import SelfAttention, masked_mean, step_mask, without_padding

_WHOLE = ("units", "layers", "kernel_size", "heads", "feedforward")


class SequenceClassifier(nn.Module):
    """Scaling, encoder, pooling over time by self-attention (or the mean), one linear layer.

    `centre` and `scale`, float32 [F], are part of the weights: values go in as they were measured.
    """

    last_layer = "classifier"

    def __init__(
        self,
        encoder: nn.Module,
        n_features: int,
        n_classes: int,
        *,
        attention_layers: int,
        attention_dropout: float,
        context: bool,
    ):
        super().__init__()
        self.register_buffer("centre", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        self.encoder = encoder
        of = {"layers": attention_layers, "dropout": attention_dropout, "context": context}
        self.attention = SelfAttention(encoder.size, **of) if attention_layers else None
        self.classifier = nn.Linear(encoder.size, n_classes)

    def forward(self, values: Tensor, length: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits and attention of a padded batch.

        Parameters
        ----------
        values : float32 [B, T, F]; the steps from `length` on may hold anything, NaN too.
        length : int64 [B], 1 to T.

        Returns
        -------
        Logits [B, C] and weights [B, T], which sum to 1 over the real steps and are 0 on padding; None without
        attention.
        """
        mask = step_mask(length, values.shape[1])
        values = without_padding((values - self.centre) / self.scale, mask)
        hidden = without_padding(self.encoder(values, length, mask), mask)
        pooled, weight = (masked_mean(hidden, mask), None) if self.attention is None else self.attention(hidden, mask)
        return self.classifier(pooled), weight


def bilstm_attention(
    n_features: int,
    n_classes: int,
    *,
    units: int = 50,
    layers: int = 2,
    dropout: float = 0.3,
    bidirectional: bool = True,
    attention_layers: int = 2,
    attention_dropout: float = 0.3,
    context: bool = False,
) -> SequenceClassifier:
    """System C's model (Luna-Jimenez et al. 2022); `units` a direction, `dropout` between its layers."""
    encoder = Recurrent(n_features, units=units, layers=layers, dropout=dropout, bidirectional=bidirectional)
    pool = {"attention_layers": attention_layers, "attention_dropout": attention_dropout, "context": context}
    return SequenceClassifier(encoder, n_features, n_classes, **pool)


def temporal_convolution(
    n_features: int,
    n_classes: int,
    *,
    units: int = 64,
    layers: int = 4,
    kernel_size: int = 3,
    dropout: float = 0.3,
    attention_layers: int = 2,
    attention_dropout: float = 0.3,
    context: bool = False,
) -> SequenceClassifier:
    """`layers` residual blocks of two convolutions; with the defaults a step sees 30 on either side of itself."""
    encoder = Convolutional(n_features, units=units, layers=layers, kernel_size=kernel_size, dropout=dropout)
    pool = {"attention_layers": attention_layers, "attention_dropout": attention_dropout, "context": context}
    return SequenceClassifier(encoder, n_features, n_classes, **pool)


def transformer(
    n_features: int,
    n_classes: int,
    *,
    units: int = 64,
    layers: int = 3,
    heads: int = 4,
    feedforward: int = 128,
    dropout: float = 0.1,
    attention_layers: int = 2,
    attention_dropout: float = 0.3,
    context: bool = False,
) -> SequenceClassifier:
    """`layers` of `heads` heads each, `units` wide in all."""
    if units % heads or units % 2:
        raise ValueError(f"transformer: units = {units} received, an even multiple of heads = {heads} is allowed")
    encoder = Attentive(n_features, units=units, layers=layers, heads=heads, feedforward=feedforward, dropout=dropout)
    pool = {"attention_layers": attention_layers, "attention_dropout": attention_dropout, "context": context}
    return SequenceClassifier(encoder, n_features, n_classes, **pool)


MODELS: dict[str, Callable[..., SequenceClassifier]] = {
    "bilstm_attention": bilstm_attention,
    "temporal_convolution": temporal_convolution,
    "transformer": transformer,
}


def options_of(name: str) -> dict[str, object]:
    """Options of model `name` and their defaults.

    Raises
    ------
    ValueError
        `name` is unknown.
    """
    if name not in MODELS:
        raise ValueError(f"model: {name!r} received, allowed are {', '.join(MODELS)}")
    known = inspect.signature(MODELS[name]).parameters.values()
    return {one.name: one.default for one in known if one.kind is inspect.Parameter.KEYWORD_ONLY}


def build(name: str, n_features: int, n_classes: int, **options) -> SequenceClassifier:
    """Make model `name` with fresh weights drawn from torch's global generator.

    Parameters
    ----------
    name : a key of `MODELS`.
    n_features, n_classes : width of a step, and of the answer.
    **options : of the model. ``attention_layers`` = 0 pools by the mean instead; ``context`` shows the attention the
        mean of the sequence beside each step.

    Raises
    ------
    ValueError
        `name` is unknown, or an option is out of range.
    TypeError
        An option is unknown.
    """
    known = options_of(name)
    if unknown := sorted(set(options) - set(known)):
        raise TypeError(f"model {name!r}: option(s) {', '.join(unknown)} received, allowed are {', '.join(known)}")
    if n_features < 1 or n_classes < 2:
        raise ValueError(f"n_features = {n_features}, n_classes = {n_classes}: at least 1 and 2 are allowed")
    for option, value in options.items():
        _check(name, option, value)
    return MODELS[name](n_features, n_classes, **options)


def _check(model: str, option: str, value: object) -> None:
    """ValueError unless `value` is allowed for `option`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if option in _WHOLE:
        fits, allowed = isinstance(value, int) and number and value >= 1, "a whole number >= 1"
        if option == "kernel_size":
            fits, allowed = fits and value % 2 == 1, "an odd number >= 1"
    elif option == "attention_layers":
        fits, allowed = isinstance(value, int) and number and value >= 0, "a whole number >= 0"
    elif option.endswith("dropout"):
        fits, allowed = number and 0 <= value < 1, "a number from 0 to below 1"
    else:
        fits, allowed = isinstance(value, bool), "True or False"
    if not fits:
        raise ValueError(f"model {model!r}: {option} = {value!r} received, {allowed} is allowed")
