"""Agreement of a map with a mask: against scikit-learn and NumPy, by hand, and at the edges."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import jaccard_score, roc_auc_score

from emolib import folds, saliency_agreement, stills_training
from emolib.frames import MANIFEST_COLUMNS, FrameStore, FrameStoreWriter
from emolib.guides import saliency_guide

NOTEBOOK = Path(__file__).parents[1] / "notebooks/12_learned_saliency.ipynb"


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Maps uint8 [20, 12, 12], brighter inside of their masks, bool."""
    rng = np.random.default_rng(3)
    masks = rng.random((20, 12, 12)) < 0.3
    return np.clip(rng.normal(100, 40, masks.shape) + 50 * masks, 0, 255).astype(np.uint8), masks


def test_each_measure_is_that_of_scikit_learn_and_numpy(drawn):
    maps, masks = drawn
    found = saliency_agreement.agreement(maps, masks, level=120)
    for row, own, mask in zip(found.itertuples(), maps, masks, strict=True):
        assert row.iou == pytest.approx(jaccard_score(mask.ravel(), own.ravel() >= 120))
        assert row.auc == pytest.approx(roc_auc_score(mask.ravel(), own.ravel()))
        assert row.correlation == pytest.approx(np.corrcoef(mask.ravel(), own.ravel())[0, 1])


def test_the_best_level_is_the_best_of_all(drawn):
    means = [saliency_agreement.agreement(*drawn, level=level)["iou"].mean() for level in range(1, 256)]
    assert saliency_agreement.best_level(*drawn) == int(np.argmax(means)) + 1


def test_the_mask_itself_agrees_its_inverse_does_not_and_one_level_says_nothing(drawn):
    mask = drawn[1]
    perfect = saliency_agreement.agreement(mask * np.uint8(255), mask, level=255)
    assert np.allclose(perfect, 1)
    inverse = saliency_agreement.agreement(~mask * np.uint8(255), mask, level=255)
    assert np.allclose(inverse[["iou", "auc"]], 0) and np.allclose(inverse["correlation"], -1)
    flat = saliency_agreement.agreement(np.full(mask.shape, 9, np.uint8), mask, level=9)
    assert np.allclose(flat["auc"], 0.5) and np.allclose(flat["correlation"], 0)
    assert np.allclose(flat["iou"], mask.mean(axis=(1, 2)))


def test_many_pictures_are_taken_in_parts(drawn, monkeypatch):
    whole = saliency_agreement.agreement(*drawn, level=99)
    monkeypatch.setattr(saliency_agreement, "ROWS_AT_ONCE", 7)
    assert saliency_agreement.agreement(*drawn, level=99).equals(whole)


def test_methods_are_compared_on_the_test_with_the_level_of_the_validation(drawn):
    maps, masks = drawn
    halves = (slice(0, 10), slice(10, 20))
    rivals = {"maps": maps, "flat": np.full_like(maps, 50)}
    table = saliency_agreement.compare(
        {name: tuple(one[half] for half in halves) for name, one in rivals.items()},
        tuple(masks[half] for half in halves),
        np.arange(10),
        baseline="flat",
    ).set_index("method")
    level = saliency_agreement.best_level(maps[:10], masks[:10])
    expected = saliency_agreement.agreement(maps[10:], masks[10:], level=level)
    assert table.loc["maps", "level"] == level and (table["pictures"] == 10).all()
    for measure in ("iou", "correlation", "auc"):
        assert table.loc["maps", measure] == pytest.approx(expected[measure].mean())
        assert table.loc["maps", f"{measure}_low"] < table.loc["maps", measure] < table.loc["maps", f"{measure}_high"]
    gain = expected["iou"] - masks[10:].mean(axis=(1, 2))
    assert table.loc["maps", "iou_gain"] == pytest.approx(gain.mean()) and table.loc["flat", "iou_gain"] == 0


@pytest.mark.parametrize(("fill", "what"), [(False, "mask 4 is empty"), (True, "mask 4 is full")])
def test_a_mask_without_two_sides_is_refused(drawn, fill, what):
    masks = drawn[1].copy()
    masks[4] = fill
    with pytest.raises(ValueError, match=what):
        saliency_agreement.best_level(drawn[0], masks)
    with pytest.raises(ValueError, match="uint8 and bool"):
        saliency_agreement.best_level(drawn[0].astype(float), drawn[1])


def test_a_soft_guide_has_the_mask_where_it_is_white():
    guide = np.array([[[255, 128, 0, 254]]], np.uint8)
    assert saliency_agreement.mask_of(guide).tolist() == [[[True, False, False, False]]]


def test_maps_come_from_the_store_or_are_drawn_from_its_pictures(tmp_path):
    rng = np.random.default_rng(0)
    images, own = (rng.integers(0, 256, (3, 48, 48), dtype=np.uint8) for _ in range(2))
    rows = pd.DataFrame({name: np.zeros(3) for name in MANIFEST_COLUMNS if name != "sample"})
    with FrameStoreWriter(tmp_path / "s", corpus="c", label_space="fer7") as writer:
        writer.append(rows, {"image": images, "guide/msi_net": own})
    store = FrameStore.open(tmp_path / "s")
    rows = np.array([2, 0])
    assert np.array_equal(saliency_agreement.drawn_maps(store, "msi_net", rows), own[rows])
    expected = [saliency_guide(images[row]) for row in rows]
    assert np.array_equal(saliency_agreement.drawn_maps(store, "saliency", rows), expected)
    with pytest.raises(ValueError, match="'patches': the store has guide/msi_net, image; without it, saliency, "):
        saliency_agreement.drawn_maps(store, "patches", rows)


@pytest.mark.parametrize("own_split", [True, False])
def test_notebook_12_keeps_copies_in_one_part_and_resamples_them_together(monkeypatch, own_split):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 8, 8), dtype=np.uint8)
    images[30:50] = images[:20]  # copies, across the corpus' parts and within them
    split = np.resize(["train", "train", "validation", "test", "test"], 60) if own_split else ""
    manifest = pd.DataFrame({"sample": range(60), "split": split, "face_ok": True, "detector": "dlib"})
    manifest["subject"] = [f"{row}.png" for row in range(60)]
    masks = np.where(images > 128, 255, 0).astype(np.uint8)
    store = SimpleNamespace(manifest=manifest, array=lambda name: np.zeros((60, 68, 2)))
    compare = Mock(return_value=pd.DataFrame())
    monkeypatch.setattr(saliency_agreement, "compare", compare)
    known = {"np": np, "folds": folds, "stills_training": stills_training, "saliency_agreement": saliency_agreement}
    known |= {"store": store, "images": images, "masks": masks, "run": Mock(), "guide": images, "compared": []}
    known |= {"validation_share": 0.2, "test_share": 0.2, "seed": 1}
    cells = {cell["id"]: "".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]}
    for cell in ("12-04", "12-11"):
        exec(cells[cell], known)
    parts = known["split"]
    of_part = [{image.tobytes() for image in images[rows]} for rows in (parts.train, parts.validation, parts.test)]
    assert all(of_part) and sum(map(len, of_part)) == len(set.union(*of_part)), "a picture is in two parts"
    unit, pictures = compare.call_args.args[2], [image.tobytes() for image in images[parts.test]]
    assert len(pictures) > len(set(pictures)) == len(set(zip(unit, pictures, strict=True))) == len(set(unit))
