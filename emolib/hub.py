"""Fine-tuning of a wav2vec 2.0, HuBERT or WavLM encoder from a folder on this machine; nothing is downloaded.

The folder is what `transformers` calls a model's: ``config.json`` and ``model.safetensors`` (or its parts with
``model.safetensors.index.json``). Weights in pickled files (``pytorch_model.bin``) are refused, since a pickle may run
any code; the class of the network comes from the table below, never from the folder.

The encoder's last hidden states are averaged over time, and a linear layer answers. Its convolutions ("feature
encoder") stay frozen, as in the papers' fine-tuning. Some of these encoders normalise over time, so that padding would
change what they say: training stretches are cut to one length and recordings answered one by one, so nothing is padded.

Sources: wav2vec 2.0: Baevski et al. 2020, arXiv 2006.11477; HuBERT: Hsu et al. 2021, arXiv 2106.07447; WavLM: Chen et
al. 2022, arXiv 2110.13900; system C's speech model is XLSR fine-tuned so (Luna-Jimenez et al. 2022).
"""

from __future__ import annotations

import importlib.util
import inspect
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from emolib import provenance
from emolib.cross_fitting import Fitted, Parts
from emolib.ragged import Ragged
from emolib.sequences.batches import Steps
from emolib.speech.augment import SpeechAugmentation
from emolib.speech.fit import fit_network
from emolib.speech.recipe import SpeechRecipe

ENCODERS = {"wav2vec2": "Wav2Vec2Model", "hubert": "HubertModel", "wavlm": "WavLMModel"}  # model_type -> class
CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_MAY_BE_FRESH = {"masked_spec_embed"}  # of pretraining only
_SMALLEST_SD = 1e-7


def check_folder(folder: str | Path) -> str:
    """The model type (a key of `ENCODERS`) of a folder that holds an encoder's configuration and weights.

    Raises
    ------
    FileNotFoundError
        The folder, its configuration, its weights or a part of them is missing; the message says what is there.
    ValueError
        The configuration is no JSON, or is of another kind of model; or the index names other files than safetensors.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; one with {CONFIG} and {WEIGHTS} is needed")
    there = sorted(file.name for file in folder.iterdir())
    missing = [] if CONFIG in there else [CONFIG]
    if INDEX in there:
        try:
            parts = set(json.loads((folder / INDEX).read_text("utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"{folder / INDEX}: no index of weights ({error!r})") from error
        if others := sorted(str(name) for name in parts if not str(name).endswith(".safetensors")):
            raise ValueError(f"{folder / INDEX}: {', '.join(others)} named, only .safetensors is allowed")
        missing += sorted(name for name in parts if name not in there)
    elif WEIGHTS not in there:
        missing.append(WEIGHTS)
    if missing:
        pickled = [name for name in there if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
        hint = f"; {', '.join(pickled)} may run code when it is read, convert it where it came from" if pickled else ""
        raise FileNotFoundError(f"{folder}: {', '.join(missing)} missing; there are {', '.join(there) or 'none'}{hint}")
    try:
        kind = json.loads((folder / CONFIG).read_text("utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{folder / CONFIG}: no JSON object ({error})") from error
    if kind not in ENCODERS:
        raise ValueError(f"{folder / CONFIG}: model_type {kind!r} found, allowed are {', '.join(ENCODERS)}")
    return kind


def digest(folder: str | Path) -> str:
    """SHA-256 over names and contents of the configuration and the weights in `folder`, hexadecimal."""
    files = sorted(file for file in Path(folder).iterdir() if file.suffix in (".json", ".safetensors"))
    return provenance.hash_value([[file.name, provenance.hash_file(file)] for file in files])


def checked_options(options: Mapping | None) -> dict:
    """Options of `HubNetwork` as a dict; TypeError, with what is allowed, for an unknown one."""
    known = [one.name for one in inspect.signature(HubNetwork).parameters.values() if one.kind is one.KEYWORD_ONLY]
    if unknown := sorted(set(options or {}) - set(known)):
        raise TypeError(f"model 'hub': option(s) {', '.join(unknown)} received, allowed are {', '.join(known)}")
    return dict(options or {})


def load_encoder(folder: str | Path) -> nn.Module:
    """The encoder in `folder`, float32, with its own random masking and layer drop off (`SpeechAugmentation` is ours).

    Raises
    ------
    FileNotFoundError, ValueError
        See `check_folder`; or the weights cannot be read, or are not those of the configuration.
    ImportError
        `transformers` is not installed.
    """
    kind = check_folder(folder)
    if importlib.util.find_spec("transformers") is None:
        raise ImportError("emolib.hub needs transformers; install emolib with its extra: pip install -e '.[hub]'")
    import transformers  # seconds, which only those pay who fine-tune

    chosen = getattr(transformers, ENCODERS[kind])
    config = chosen.config_class.from_pretrained(str(folder), local_files_only=True)
    config.apply_spec_augment, config.layerdrop = False, 0.0
    how = {"local_files_only": True, "use_safetensors": True, "output_loading_info": True, "dtype": torch.float32}
    try:
        encoder, info = chosen.from_pretrained(str(folder), config=config, **how)
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{folder}: weights cannot be read, or do not fit the configuration ({error})") from error
    if lost := sorted(name for name in info["missing_keys"] if name.split(".")[-1] not in _MAY_BE_FRESH):
        raise ValueError(f"{folder}: {len(lost)} tensor(s) of {kind} are not among the weights: {', '.join(lost[:5])}")
    return encoder


class HubNetwork(nn.Module):
    """An encoder of raw sound with a linear answer, on the footing of `speech.models.SpeechNetwork`.

    Parameters
    ----------
    encoder : of `load_encoder`.
    n_classes : number of logits.
    dropout : probability, before the last layer.
    frozen_layers : so many of the transformer's layers, from the bottom, keep their weights.
    freeze_feature_encoder : the convolutions keep theirs.
    gradient_checkpointing : compute twice and remember less.

    Raises
    ------
    ValueError
        A parameter is out of range.
    """

    evaluation_batch = 1  # nothing is padded

    def __init__(
        self,
        encoder: nn.Module,
        n_classes: int,
        *,
        dropout: float = 0.1,
        frozen_layers: int = 0,
        freeze_feature_encoder: bool = True,
        gradient_checkpointing: bool = False,
    ):
        super().__init__()
        layers = encoder.encoder.layers
        if not 0 <= dropout < 1 or not 0 <= frozen_layers <= len(layers) or n_classes < 2:
            raise ValueError(
                f"dropout {dropout}, frozen_layers {frozen_layers}, n_classes {n_classes} received: [0, 1), "
                f"0 to {len(layers)} and 2 or more are allowed"
            )
        self.encoder, self.dropout = encoder, nn.Dropout(dropout)
        adapted = getattr(encoder.config, "add_adapter", False)  # further layers with a size of their own
        size = encoder.config.output_hidden_size if adapted else encoder.config.hidden_size
        self.classifier = nn.Linear(size, n_classes)
        frozen = [*([encoder.feature_extractor] if freeze_feature_encoder else []), *layers[:frozen_layers]]
        for part in frozen:
            part.requires_grad_(False)
        if gradient_checkpointing:
            encoder.activation_checkpointing_enable({"use_reentrant": False})

    def scaled(self, values: Tensor) -> Tensor:
        """Samples [B, T, 1] with mean 0 and SD 1 in each recording, as these encoders are trained."""
        spread, mean = torch.std_mean(values, dim=1, keepdim=True, correction=0)
        return (values - mean) / spread.clamp(min=_SMALLEST_SD)

    def logits(self, scaled: Tensor, length: Tensor) -> Tensor:
        """Logits [B, C] of scaled samples [B, T, 1] without padding."""
        if bool((length != scaled.shape[1]).any()):
            raise ValueError(f"padded recordings received (lengths {length.tolist()} of {scaled.shape[1]} samples)")
        hidden = self.encoder(scaled[:, :, 0]).last_hidden_state
        return self.classifier(self.dropout(hidden.mean(1)))

    def forward(self, values: Tensor, length: Tensor) -> Tensor:
        """Logits [B, C] of samples [B, T, 1] as they were recorded; padded ones are cut and answered one by one."""
        if bool((length == values.shape[1]).all()):
            return self.logits(self.scaled(values), length)
        alone = [(values[row : row + 1, : int(n)], length[row : row + 1]) for row, n in enumerate(length)]
        return torch.cat([self.logits(self.scaled(samples), n_steps) for samples, n_steps in alone])

    def last_layer(self) -> nn.Module:
        """The layer that `SpeechRecipe.head_rate` is about."""
        return self.classifier


def shortest(config) -> int:
    """Samples that the convolutions of an encoder need for one hidden state."""
    n = 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        n = (n - 1) * stride + kernel
    return n


def fit(
    parts: Parts,
    *,
    sequences: Ragged,
    label: np.ndarray,
    n_classes: int,
    folder: str | Path,
    options: Mapping | None = None,
    recipe: Mapping | None = None,
    augmentation: Mapping | None = None,
    device: str = "auto",
    keep_weights: bool = False,
) -> Fitted:
    """Fine-tune one encoder and let it answer; for `cross_fit` by `functools.partial`.

    Parameters
    ----------
    parts, label, n_classes, recipe, device, keep_weights : as for `speech.fit.fit`.
    sequences : N recordings [samples, 1] at the sample rate that the encoder was trained with (16 kHz), see
        `speech.features.FeatureOptions.representation`.
    folder : of the encoder.
    options : of `HubNetwork`.
    augmentation : fields of `SpeechAugmentation`; those of bands do nothing here, and `gain` adds a constant to all
        samples, which is no change of loudness.

    Raises
    ------
    FileNotFoundError, ImportError
        See `load_encoder`.
    TypeError, ValueError
        As for `speech.fit.fit`; or a recording is too short for the encoder (its row is named), or no waveform.
    """
    if sequences.values.shape[1] != 1:
        raise ValueError(
            f"sequences: {sequences.values.shape[1]} columns received, 1 is allowed (representation: waveform)"
        )
    options = checked_options(options)
    encoder, how = load_encoder(folder), SpeechRecipe(**(recipe or {}))
    least = shortest(encoder.config)
    if (short := sequences.length < least).any() or 0 < how.crop_steps < least:
        row = int(np.argmax(short))
        raise ValueError(
            f"recording in row {row}: {sequences.length[row]} samples, crop_steps {how.crop_steps}; this encoder needs "
            f"{least}"
        )

    def make(data: Steps) -> nn.Module:
        return HubNetwork(encoder, n_classes, **options)

    return fit_network(
        make,
        parts,
        sequences=sequences,
        label=label,
        n_classes=n_classes,
        recipe=how,
        augmentation=SpeechAugmentation(**(augmentation or {})),
        device=device,
        keep_weights=keep_weights,
    )
