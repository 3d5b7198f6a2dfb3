"""System B's variants: the rows of its table, the arrays that each is shown, and the studies that name them."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from emolib import guided_variants, guides, models
from emolib.guided_variants import GUIDED_VARIANTS, GuidedVariant

PARAMS = Path(__file__).parents[1] / "params"
NINE = {"baseline", "original", "landmarks", "landmarks_white", "soft_landmarks", "dilation", "saliency"}
NINE |= {"patches", "weighted"}  # SYSTEMS.md's table


def test_the_rows_of_the_table_and_the_two_saliencies_beside_them():
    assert set(GUIDED_VARIANTS) == NINE | {"saliency_fine_grained", "saliency_learned"}
    assert GUIDED_VARIANTS["baseline"].model == "baseline" and GUIDED_VARIANTS["baseline"].guide is None
    for name, variant in GUIDED_VARIANTS.items():
        assert models.build(variant.model, 3).needs_guide == (variant.guide is not None), name


@pytest.mark.parametrize("name", GUIDED_VARIANTS)
def test_a_variant_is_made_again_of_its_parameters(name):
    variant = GUIDED_VARIANTS[name]
    assert guided_variants.of(**{"guide": "saliency", **variant.parameters}) == variant
    assert guided_variants.name_of(variant) == name


def test_every_guide_and_every_picture_that_a_row_names_exists():
    read = {v.guide for v in GUIDED_VARIANTS.values() if v.guide and not v.guide_run}
    read |= {v.image for v in GUIDED_VARIANTS.values()} - {"image"}
    missing = {name.removeprefix("guide/") for name in read} - set(guides.GUIDES)
    assert not missing


@pytest.mark.parametrize("study", ["guided_fer2013", "guided_affectnet", "embedded_guided"])
def test_the_studies_have_every_row_as_the_table_has_it(study):
    stages = yaml.safe_load((PARAMS / f"{study}.yaml").read_text("utf-8"))["stages"]
    named = stages["pretraining"]["variants"]
    for name, variant in GUIDED_VARIANTS.items():
        given = {"image": "image", "guide": "saliency"} | named[name]
        assert guided_variants.of(**{key: given[key] for key in ("model", "image", "guide")}) == variant, name
    stored = stages["preprocessing"]["variants"]["stills"]["guides"]
    assert set(guides.GUIDES) <= set(stored)


def store(n=4):
    arrays = {"image": np.full((n, 48, 48), 1, np.uint8), "guide/patches": np.full((n, 48, 48), 2, np.uint8)}
    arrays["guide/saliency"] = np.full((n, 48, 48), 3, np.uint8)
    return SimpleNamespace(array=arrays.__getitem__)


@pytest.mark.parametrize(
    ("name", "shown", "guided_by"), [("baseline", 1, None), ("patches", 2, None), ("saliency", 1, 3)]
)
def test_what_a_variant_is_shown(name, shown, guided_by):
    images, found = guided_variants.arrays(GUIDED_VARIANTS[name], store(), run=None)
    assert (images == shown).all()
    assert found is None if guided_by is None else (found == guided_by).all()


def learned(folder):
    return SimpleNamespace(upstream=lambda name: SimpleNamespace(folder=folder))


def test_a_learned_guide_comes_from_the_run_that_made_it(tmp_path):
    variant = GUIDED_VARIANTS["saliency_learned"]
    assert variant.guide_run == "learned_saliency/main"
    with pytest.raises(FileNotFoundError, match=r"learned_saliency/main.*guide\.npy"):
        guided_variants.arrays(variant, store(), learned(tmp_path))
    np.save(tmp_path / "guide.npy", np.full((4, 48, 48), 9, np.uint8))
    _, found = guided_variants.arrays(variant, store(), learned(tmp_path))
    assert (found == 9).all()
    with pytest.raises(ValueError, match=r"\(4, 48, 48\), uint8 \(5, 48, 48\) is needed"):
        guided_variants.arrays(variant, store(5), learned(tmp_path))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model": "guidd", "image": "image", "guide": "x"}, "'guidd' received.*guided"),
        ({"model": "guided", "image": "image", "guide": ""}, "guide: ''"),
    ],
)
def test_variants_that_are_none_are_errors(given, says):
    with pytest.raises(ValueError, match=says):
        guided_variants.of(**given)


def test_a_variant_outside_of_the_table_says_what_it_is_made_of():
    text = guided_variants.name_of(GuidedVariant("guided", "guide/patches", "guide/saliency"))
    assert "guide/patches" in text and "guide/saliency" in text
