"""A model's name in, the function that `cross_fitting.cross_fit` takes out.

| name | reads | module |
|---|---|---|
| `cnn`, `bilstm_attention`, `temporal_convolution`, `transformer` | log-mels | `fit`, `models` |
| `statistics` | one vector a recording | `statistics`, then any model of `static_models` |
| `hub` | waveforms | `emolib.hub` |
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from emolib import hub, static_fitting, static_models
from emolib.cross_fitting import Fitted, Parts
from emolib.ragged import Ragged
from emolib.speech import models
from emolib.speech.augment import SpeechAugmentation
from emolib.speech.fit import fit
from emolib.speech.recipe import SpeechRecipe
from emolib.training import pick_device

MODELS = (*models.MODELS, "statistics", "hub")
STATIC = {"model": "adaptive_lda", "scaling": "none"}  # defaults of "statistics", of `static_fitting.fit`


def learner(
    model: str,
    *,
    values: Ragged | np.ndarray,
    label: np.ndarray,
    subject: np.ndarray,
    n_classes: int,
    checkpoint: str | Path | None = None,
    options: Mapping | None = None,
    recipe: Mapping | None = None,
    augmentation: Mapping | None = None,
    device: str = "cpu",
) -> Callable[[Parts], Fitted]:
    """The fit of a model with all but its parts.

    Names and values are checked here, before any process starts; what a static model refuses, in its first fit.

    Parameters
    ----------
    model : one of `MODELS`.
    values : normalised features, as the model reads them: sequences, or float [N, F] for "statistics".
    label, subject : int [N], str [N].
    checkpoint : folder of the pretrained encoder; for "hub" only.
    options : of the model; of "statistics" those of `static_fitting.fit` (model, its options, components ...), which by
        default are `STATIC`.
    recipe, augmentation : fields of `SpeechRecipe` and `SpeechAugmentation`; "statistics" has none.
    device : as for `speech.fit.fit`.

    Raises
    ------
    FileNotFoundError
        See `hub.check_folder`.
    TypeError, ValueError
        A name or value is not allowed, or something is given to a model that does not read it.
    """
    if model not in MODELS:
        raise ValueError(f"model: {model!r} received, allowed are {', '.join(MODELS)}")
    if (model == "hub") != bool(checkpoint):
        wanted = "the folder of an encoder is needed" if model == "hub" else "none is allowed"
        raise ValueError(f"model {model!r}: checkpoint {str(checkpoint or '')!r} received, {wanted}")
    if isinstance(values, Ragged) == (model == "statistics"):
        found = "sequences" if isinstance(values, Ragged) else f"an array {np.shape(values)}"
        raise ValueError(f"model {model!r}: {found} received; statistics reads an array, all others sequences")
    shared = {"label": label, "n_classes": n_classes}
    pick_device(device)
    if model == "statistics":
        if recipe or augmentation:
            raise ValueError("model 'statistics': a recipe or an augmentation received, it has none: {} is allowed")
        how = {**STATIC, **(options or {})}
        inspect.signature(static_fitting.fit).bind(None, values=values, subject=subject, **shared, **how)
        return partial(static_fitting.fit, values=values, subject=subject, **shared, **how)
    SpeechRecipe(**(recipe or {}))
    SpeechAugmentation(**(augmentation or {}))
    shared |= {"sequences": values, "options": options, "recipe": recipe, "augmentation": augmentation}
    if model == "hub":
        hub.check_folder(checkpoint)
        hub.checked_options(options)
        return partial(hub.fit, folder=checkpoint, device=device, **shared)
    with torch.device("meta"):  # no weights, so no draw from the global generator
        models.build(model, values.values.shape[1], n_classes, options=options)
    return partial(fit, model=model, device=device, **shared)


def adapts(model: str, options: Mapping | None = None) -> bool:
    """Whether a model's answer for a recording depends on others of the same person (`subject_normalisation.reads`)."""
    static = {**STATIC, **(options or {})}
    return model == "statistics" and static_models.adapts(static["model"], static.get("options"))
