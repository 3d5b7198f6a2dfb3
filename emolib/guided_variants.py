"""System B's variants: one CNN, and what its spatial transformer looks at.

| variant | shown to the CNN | the localisation net sees |
|---|---|---|
| ``baseline`` | the picture | there is no spatial transformer |
| ``original`` | the picture | the picture itself |
| ``landmarks`` ... ``saliency_fine_grained`` | the picture | the guide of that name (`emolib.guides`) |
| ``saliency_learned`` | the picture | what the network of notebook 12 predicts from the picture |
| ``patches`` | picture x landmark mask | the same |
| ``weighted`` | picture x soft landmarks | the same |

Notebook 02 takes a variant apart: its parameters ``model``, ``image`` and ``guide`` are a row's `parameters`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emolib import models
from emolib.frames import FrameStore
from emolib.runs import Run

GUIDE_FILE = "guide.npy"  # of a run that made a guide: uint8 [N, 48, 48], aligned with the store's rows


@dataclass(frozen=True)
class GuidedVariant:
    """A network, the array that it is shown, and the one that guides it.

    Attributes
    ----------
    model : a name in `models.MODELS`.
    image : array of the store that stands for the picture: "image" or "guide/<name>".
    guide : array of the store, "guide/<name>", or a run "stage/variant" that has `GUIDE_FILE`; None where the network
        reads none.
    """

    model: str
    image: str = "image"
    guide: str | None = None

    @property
    def guide_run(self) -> str:
        """The run that made its guide, "" where it is an array of the store or there is none."""
        return "" if self.guide is None or self.guide.startswith("guide/") else self.guide

    @property
    def parameters(self) -> dict[str, str]:
        """What notebook 02 is given for it; `of` makes the variant of them again."""
        guide = {} if self.guide is None else {"guide": self.guide.removeprefix("guide/")}
        return {"model": self.model, "image": self.image, **guide}


GUIDED_VARIANTS: dict[str, GuidedVariant] = {
    "baseline": GuidedVariant("baseline"),
    "original": GuidedVariant("original"),
    **{
        name: GuidedVariant("guided", guide=f"guide/{name}")
        for name in ("landmarks", "landmarks_white", "soft_landmarks", "dilation", "saliency", "saliency_fine_grained")
    },
    "saliency_learned": GuidedVariant("guided", guide="learned_saliency/main"),
    "patches": GuidedVariant("original", image="guide/patches"),
    "weighted": GuidedVariant("original", image="guide/weighted"),
}


def of(*, model: str, image: str, guide: str) -> GuidedVariant:
    """The variant that notebook 02's parameters ask for; `guide` is a name, "saliency", or a run, "stage/variant".

    Raises
    ------
    ValueError
        The network is unknown, or reads a guide and none is named.
    """
    if model not in models.MODELS:
        raise ValueError(f"model: {model!r} received, allowed are {', '.join(models.MODELS)}")
    if model != "guided":
        return GuidedVariant(model, image)
    if not guide:
        raise ValueError("guide: '' received, but the guided transformer reads one: a guide's name or 'stage/variant'")
    return GuidedVariant(model, image, guide if "/" in guide else f"guide/{guide}")


def name_of(variant: GuidedVariant) -> str:
    """Its row of `GUIDED_VARIANTS`, or what it is made of where it is none of them."""
    names = [name for name, row in GUIDED_VARIANTS.items() if row == variant]
    return names[0] if names else f"{variant.model} ({variant.image}, guided by {variant.guide or 'nothing'})"


def arrays(variant: GuidedVariant, store: FrameStore, run: Run) -> tuple[np.ndarray, np.ndarray | None]:
    """What the network is shown and what guides it, uint8 [N, 48, 48] each (maps), None where it reads no guide.

    Parameters
    ----------
    run : the run being made; it names `variant.guide_run` among its upstream runs.

    Raises
    ------
    FileNotFoundError
        The run that should have made the guide has none.
    KeyError
        The store has no array of that name; the message lists those that it has.
    ValueError
        The run's guide does not fit the store.
    """
    images = store.array(variant.image)
    if variant.guide is None:
        return images, None
    if not variant.guide_run:
        return images, store.array(variant.guide)
    file = run.upstream(variant.guide_run).folder / GUIDE_FILE
    if not file.is_file():
        raise FileNotFoundError(f"{file}: run '{variant.guide_run}' left no {GUIDE_FILE}, so it cannot be a guide")
    guides = np.load(file, mmap_mode="r")
    if guides.shape != images.shape or guides.dtype != np.uint8:
        raise ValueError(f"{file}: {guides.dtype} {guides.shape}, uint8 {images.shape} is needed, a row a still")
    return images, guides
