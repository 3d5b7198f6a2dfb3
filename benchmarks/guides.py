"""Guides: what a picture of each costs, in how many pictures landmarks are found, and which saliency shows the mask.

Random FER-2013 pictures (48x48, ready crops) from ../shared/data, or else the embedded stills, go through `prepare`
with all guides. Then each guide is drawn again alone, timed; and each saliency, with the one of `emolib.saliency_net`
learned here from seven tenths of the pictures, is held against the landmark mask of pictures that it never saw.

    python benchmarks/guides.py [--pictures 300] [--epochs 15]
"""

from __future__ import annotations

import argparse
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np

from emolib import corpora, saliency_agreement, saliency_net
from emolib.corpora.synthetic import generate
from emolib.frames import FrameStore
from emolib.guide_sheet import points_in_crop
from emolib.guides import GUIDES
from emolib.preprocessing import prepare

FER = Path(__file__).parents[1] / "../shared/data/fer2013.zip"
RIVALS = ("saliency", "saliency_fine_grained")


def pictures(folder: Path, *, n: int, seed: int) -> tuple[corpora.Corpus, str]:
    """A corpus of `n` stills in `folder`, and the crop that they need."""
    if not FER.is_file():
        print(f"{FER.name} is not here: embedded stills instead")
        generate(folder / "embedded", n_subjects=8, duration_s=0.5, n_stills=n, seed=seed, progress=False)
        return corpora.scan("synthetic_stills", folder / "embedded"), "aligned"
    with zipfile.ZipFile(FER) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        for name in np.random.default_rng(seed).choice(names, n, replace=False):
            archive.extract(str(name), folder)
    [root] = {path.parents[2] for path in folder.rglob("*.jpg")}
    return corpora.scan("fer2013", root), "none"


def cost(store: FrameStore, crop: str) -> None:
    """Print what each guide of a picture costs, drawn alone."""
    images, points = store.array("image"), points_in_crop(store, np.arange(len(store.manifest)), crop=crop)
    for name, draw in GUIDES.items():
        start = time.perf_counter()
        for image, own in zip(images, points, strict=True):
            draw(image, own)
        print(f"  {name:24s} {(time.perf_counter() - start) / len(images) * 1e6:6.0f} us a picture")


def agreement(store: FrameStore, *, epochs: int, seed: int) -> None:
    """Print how well each saliency shows the mask, on pictures that nothing was learned from."""
    images, guide = store.array("image"), store.array("guide/landmarks")
    hard = saliency_agreement.mask_of(guide)
    known = np.flatnonzero(hard.any(axis=(1, 2)) & ~np.isnan(store.array("landmarks")).any(axis=(1, 2)))
    order = np.random.default_rng(seed).permutation(known)
    train, validation, test = np.split(order, [int(0.7 * len(order)), int(0.85 * len(order))])
    start = time.perf_counter()
    learned = saliency_net.train(
        images, guide, train, validation, epochs=epochs, patience=epochs, seed=seed, batch_size=16, progress=False
    )
    per_picture_ms = (time.perf_counter() - start) / (len(learned.history) * len(train)) * 1e3
    halves = (validation, test)
    mean = np.rint(guide[train].mean(axis=0, keepdims=True)).astype(np.uint8)
    maps = {"mean_mask": tuple(np.repeat(mean, len(rows), axis=0) for rows in halves)}
    maps |= {name: tuple(saliency_agreement.drawn_maps(store, name, rows) for rows in halves) for name in RIVALS}
    maps["learned"] = tuple(saliency_net.predict(images[rows], learned.state) for rows in halves)
    subject = store.manifest["source"].to_numpy()[test]
    truth = tuple(hard[rows] for rows in halves)
    table = saliency_agreement.compare(maps, truth, subject, baseline="mean_mask", seed=seed)
    print(f"learned from {len(train)} pictures, {len(learned.history)} epochs, {per_picture_ms:.1f} ms a picture")
    print(
        table[["method", "level", "iou", "iou_low", "iou_high", "iou_gain", "correlation", "auc"]].round(3).to_string()
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        corpus, crop = pictures(Path(name) / "raw", n=given.pictures, seed=given.seed)
        start = time.perf_counter()
        store = prepare(corpus, Path(name) / "store", crop=crop, guides=tuple(GUIDES), workers=1, progress=False)
        per_picture_ms = (time.perf_counter() - start) / len(store.manifest) * 1e3
        by = store.manifest["detector"].value_counts()
        print(f"{len(store.manifest)} pictures, {per_picture_ms:.0f} ms a picture, one process, its start included")
        print("landmarks by " + ", ".join(f"{who}: {n} ({n / by.sum():.1%})" for who, n in by.items()))
        cost(store, crop)
        agreement(store, epochs=given.epochs, seed=given.seed)


if __name__ == "__main__":
    main()
