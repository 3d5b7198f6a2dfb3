"""Tiny classifiers with drawn weights and face-sized pictures, for tests of what uses them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from emolib import classify, models

FER = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
# every network of the registry, small
SMALL = {
    "baseline": {},
    "original": {},
    "guided": {"second_dropout": 0.5},
    "plain_cnn": {},
    "vgg": {"widths": [4, 8], "blocks": [1, 1]},
    "resnet": {"widths": [4, 8], "blocks": [1, 1], "stem_width": 4, "drop_path": 0.1},
}


def network(model: str, *, n_classes: int = len(FER), seed: int = 0) -> torch.nn.Module:
    """A network in evaluation mode with drawn weights, also where fresh ones are 0 or 1, and logits of mean 0 and SD 2.

    Posteriors so differ from picture to picture, and a wrong one shows.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = models.build(model, n_classes, **SMALL[model]).eval()
        for name, tensor in made.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
            elif tensor.is_floating_point():
                tensor.add_(0.02 * torch.randn(tensor.shape))
    given = [torch.from_numpy(pictures(64, seed=k) / np.float32(127.5) - 1)[:, None] for k in (seed, seed + 1)]
    with torch.no_grad():
        logits = made(*given)
        factor = 2 / logits.std(0)
        made.classifier.weight.mul_(factor[:, None])
        made.classifier.bias.sub_(logits.mean(0)).mul_(factor)
    return made


def save(path: Path, model: str = "vgg", *, classes=FER, seed: int = 0, **options) -> Path:
    """A file of `network`; `options` as for `classify.save_classifier`."""
    given = {"temperature": 1.7, "crop": "loose", "facts": {"trained_on": "nothing"}} | options
    state = network(model, n_classes=len(classes), seed=seed).state_dict()
    classify.save_classifier(path, state, model=model, classes=classes, options=SMALL[model], **given)
    return path


def pictures(n: int, *, seed: int = 0) -> np.ndarray:
    """Drawn pictures of dark and light blots, uint8 [n, 48, 48], all different."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 4, 4), dtype=np.uint8)
    return np.array([cv2.resize(one, (48, 48), interpolation=cv2.INTER_CUBIC) for one in coarse]).reshape(n, 48, 48)
