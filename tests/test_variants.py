"""Runs read as variants: repetitions are one row, and what cannot be compared is an error."""

import numpy as np
import pandas as pd
import pytest
from made_variants import FOLDS, N, answered, first_videos, variant, videos

from emolib import variants
from emolib.variants import addresses, collect

CLASSES = ["a", "b", "c", "d"]
FRAMES = videos().assign(sample=np.arange(N), face_ok=True)


class FakeRun:
    """What `collect` reads of a finished run; it answers the first `right` videos of every subject right."""

    def __init__(self, variant="p50", *, right=6, seed=2020, quality=(), out_of_sample=True, rows=None, **params):
        votes = answered(videos(), first_videos(right)).iloc[:rows]
        account = pd.DataFrame({"fold": range(FOLDS), "kept": 10, "frames": [20, 20, 20, 60]})
        posterior = np.eye(4)[votes["predicted_auc"]]
        predictions = pd.DataFrame(posterior, columns=[f"p_{name}" for name in CLASSES]).assign(sample=votes.index)
        self.tables = {"votes": votes, "validation_votes": votes, "account": account, "predictions": predictions[::-1]}
        self.params = {"protocol": "nested", "filter": "none", "filter_options": {}, "seed": seed} | params
        self.metrics = {"filter_quality": list(quality), "out_of_sample": out_of_sample}
        self.info = {"stage": "frame_filtering", "variant": variant}

    def table(self, name):
        return self.tables[name]


@pytest.mark.parametrize(
    ("compared", "seeds", "expected"),
    [
        (["all"], [], {"all": ["frame_filtering/all"]}),
        (["all"], [2020], {"all": ["frame_filtering/all"]}),
        (["all"], [2020, 7], {"all": ["frame_filtering/all", "frame_filtering/all_s7"]}),
        (["all", "iterative_stages/k1"], {"frame_filtering": [1, 2]},
         {"all": ["frame_filtering/all", "frame_filtering/all_s2"], "k1": ["iterative_stages/k1"]}),
        (["p20", "iterative_stages/p20"], [], {"frame_filtering/p20": ["frame_filtering/p20"],
                                               "iterative_stages/p20": ["iterative_stages/p20"]}),
    ],
)  # fmt: skip
def test_a_row_has_a_run_a_seed(compared, seeds, expected):
    assert addresses(compared, seeds) == expected


def test_a_variant_named_twice_is_an_error():
    with pytest.raises(ValueError, match="frame_filtering/all more than once"):
        addresses(["all", "frame_filtering/all"], [])


def test_runs_with_several_seeds_are_one_variant():
    runs = [FakeRun(right=9, quality=[{"auc": 0.6}]), FakeRun("p50_s7", right=6, seed=7, quality=[{"auc": 0.8}])]
    one = collect({"p50": runs}, FRAMES, classes=CLASSES)["p50"]
    assert one.seeds == (2020, 7) and one.address == "frame_filtering/p50" and one.n_videos == N
    assert one.right("auc").mean() == pytest.approx(7.5 / 12) and set(one.right("auc")) == {0, 0.5, 1}
    assert one.kept_share == pytest.approx(40 / 120) and one.quality == {"auc": pytest.approx(0.7)}
    assert (one.frame_answers == one.answers("auc")).all(), "in the order of the manifest, whatever that of the table"


def test_a_variant_is_out_of_sample_only_if_every_seed_is():
    runs = [FakeRun(out_of_sample=True), FakeRun("p50_s7", out_of_sample=False)]
    assert collect({"p50": runs}, FRAMES, classes=CLASSES)["p50"].out_of_sample is False
    assert collect({"p50": [FakeRun(out_of_sample=None)]}, FRAMES, classes=CLASSES)["p50"].out_of_sample is None


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ({"a": [FakeRun()], "b": [FakeRun(rows=N - 1)]}, "'b' was tested on 191 frames, the corpus has 192"),
        ({"a": [FakeRun(), FakeRun(protocol="reference")]}, "'a': protocol = 'reference' in one seed's run, 'nested'"),
        ({"a": [FakeRun(), FakeRun(filter="fps")]}, "'a': filter = 'fps'"),
    ],
)
def test_what_cannot_be_compared_is_an_error(runs, says):
    with pytest.raises(ValueError, match=says):
        collect(runs, FRAMES, classes=CLASSES)


def test_other_videos_are_an_error_that_names_both():
    other = FakeRun()
    other.tables["votes"] = other.tables["votes"].iloc[1:]
    with pytest.raises(ValueError, match=r"'b' \(seed 2020\) was tested on 191 videos, 'a' on 192"):
        collect({"a": [FakeRun()], "b": [other]}, FRAMES, classes=CLASSES)


@pytest.mark.parametrize(
    ("made", "strength"),
    [
        (variant("x"), 0.0),
        (variant("x", filter="percentile", options={"percentile": 35.0}), 35.0),
        (variant("x", filter="threshold", options={"threshold": 0.3}), 0.3),
        (variant("x", filter="random", options={"share": 0.3}), np.nan),
        (variant("x", filter="threshold", options={"threshold": 0.3}, within="frame_filtering/p35"), np.nan),
        (variant("x", filter="percentile", options={"percentile": 35.0}, previous="frame_filtering/all"), np.nan),
    ],
)
def test_strength_is_that_of_one_filter_over_all_frames(made, strength):
    assert made.strength == pytest.approx(strength, nan_ok=True)


def test_a_setting_is_how_frames_are_learned_and_not_which():
    one = variant(
        "a", filter="percentile", options={"percentile": 5.0}, judged_by="x/y", previous="frame_filtering/all"
    )
    assert one.setting == variant("b").setting != variant("c", epochs=9).setting
    assert not variants.OF_FILTER & {"epochs", "start_from", "protocol", "n_folds"}
