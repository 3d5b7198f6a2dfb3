"""Models of sequences of steps (action units over frames, bands of a spectrogram), by name, on one footing.

| name | what it is |
|---|---|
| ``bilstm_attention`` | system C's two-layer bidirectional LSTM |
| ``temporal_convolution`` | residual dilated convolutions (Bai et al. 2018, arXiv:1803.01271), looking both ways |
| ``transformer`` | a pre-norm transformer encoder with sinusoidal positions |

All three pool their steps by the same self-attention, whose weights say which steps counted, and end in one linear
layer. With their defaults they have about the same number of parameters. Padding never changes an answer: it is set to
zero at the door, and masked before the attention is normalised.

`fit` is the door for `cross_fitting.cross_fit`; `predict` runs trained weights on any sequences.
"""

from __future__ import annotations

from emolib.sequences.fitting import fit
from emolib.sequences.models import MODELS, SequenceClassifier, build
from emolib.sequences.recipe import SequenceRecipe
from emolib.sequences.weights import Predicted, predict, state_of, weights_table

__all__ = [
    "MODELS",
    "Predicted",
    "SequenceClassifier",
    "SequenceRecipe",
    "build",
    "fit",
    "predict",
    "state_of",
    "weights_table",
]
