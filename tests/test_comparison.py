"""Variants side by side: which baseline and control, which correction, and what the verdict may say."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_variants import SUBJECTS, N, control, first_videos, named, percentile, variant, videos

from emolib import comparison, evaluation, voting


@pytest.fixture
def variants():
    return named(
        variant("all", 6, kept=1.0),
        percentile("p25", 25.0, 9),
        percentile("p50", 50.0, 6),
        variant("t30", 3, filter="threshold", options={"threshold": 0.3}),
        variant("all_reference", 8, protocol="reference", validation_subjects_share=0.0),
        percentile("p25_reference", 25.0, 8, protocol="reference", validation_subjects_share=0.0),
        control("p25", 6),
    )


def summary(variants, **options):
    return comparison.summary(variants, **{"baseline": "all", "vote": "auc", "seed": 0, **options}).set_index("variant")


def test_each_variant_is_compared_with_the_baseline_of_its_own_protocol(variants):
    table = summary(variants)
    assert table.loc["p25", "difference"] == pytest.approx(3 / 12)
    assert table.loc["t30", "difference"] == pytest.approx(-3 / 12)
    assert table.loc["p25_reference", "difference"] == 0
    assert table.loc["p25_reference", "baseline"] == "all_reference"
    assert table.loc[["all", "all_reference"], "p_value"].isna().all()
    assert table.loc["p25", "p_holm"] < 0.05 < table.loc["p50", "p_holm"]


def test_each_variant_is_compared_with_its_own_control_of_equal_size(variants):
    table = summary(variants)
    assert table.loc["p25", "control"] == "random_p25" and table.loc["p50", "control"] == ""
    assert table.loc["p25", "difference_against_random"] == pytest.approx(3 / 12)
    assert table.loc["p25", "p_random_holm"] < 0.05
    assert table["p_random"].notna().tolist() == [name == "p25" for name in table.index]


def test_a_control_is_no_candidate_and_costs_no_test(variants):
    table = summary(variants)
    assert table.loc["random_p25", "difference"] == 0 and np.isnan(table.loc["random_p25", "p_value"])


def test_one_family_of_holm_holds_the_tests_of_both_kinds(variants):
    table = summary(variants)
    raw = table[["p_value", "p_random"]].to_numpy().ravel()
    adjusted = table[["p_holm", "p_random_holm"]].to_numpy().ravel()
    tested = np.isfinite(raw)
    assert tested.sum() == 5 and (np.isfinite(adjusted) == tested).all()
    np.testing.assert_allclose(adjusted[tested], evaluation.holm(raw[tested]))


def test_two_controls_of_one_variant_are_an_error(variants):
    variants["again"] = replace(variants["random_p25"], name="again")
    with pytest.raises(ValueError, match="'p25' has 2 random controls: random_p25, again"):
        summary(variants)


def test_variants_that_learned_in_another_way_are_compared_with_all_frames_learned_in_that_way(variants):
    variants |= named(percentile("dropout_p25", 25.0, 9, second_dropout=0.5), percentile("tl_p25", 25.0, 9, epochs=99))
    variants |= named(variant("dropout_all", 9, second_dropout=0.5))
    table = summary(variants)
    assert table.loc["dropout_p25", "baseline"] == "dropout_all" and table.loc["dropout_p25", "difference"] == 0
    assert table.loc["dropout_all", "baseline"] == "all", "all frames are compared with the baseline of the study"
    assert table.loc["tl_p25", "baseline"] == "all", "nobody learned from all frames in that way"


def test_without_a_baseline_of_its_protocol_a_variant_has_no_test(variants):
    del variants["all_reference"]
    table = summary(variants)
    assert table.loc["p25_reference", ["p_value", "p_holm", "difference"]].isna().all()


def test_an_unknown_baseline_is_an_error_that_names_the_variants(variants):
    with pytest.raises(ValueError, match=r"'nothing' is not among the variants compared: all, p25"):
        summary(variants, baseline="nothing")


def test_seeds_of_a_variant_are_one_row_with_their_mean_and_spread():
    table = summary(
        named(variant("all", [6, 6, 6], seeds=(1, 2, 3)), percentile("p25", 25.0, [6, 9, 12], seeds=(1, 2, 3)))
    )
    row = table.loc["p25"]
    assert (row["seeds"], row["video_accuracy"], row["frame_accuracy"]) == (3, pytest.approx(0.75), pytest.approx(0.75))
    assert row["sd_of_seeds"] == pytest.approx(0.25) and row["difference"] == pytest.approx(0.25)
    assert table.loc["all", "sd_of_seeds"] == 0
    assert np.isnan(summary(named(variant("all"))).loc["all", "sd_of_seeds"])


def test_a_filter_that_read_posteriors_of_its_own_people_is_marked(variants):
    inside = replace(variants["p25"], out_of_sample=False)
    table = summary({"all": variants["all"], "p25": inside})
    assert table["out_of_sample"].tolist() == ["–", "NO"]


def test_the_curve_starts_at_all_frames_keeps_protocols_apart_and_shows_the_controls(variants):
    variants |= named(control("p50", 5), percentile("other", 60.0, 9, second_dropout=0.5))
    variants |= named(percentile("second_stage", 70.0, 9, within="frame_filtering/p50"))
    table = comparison.summary(variants, baseline="all", vote="auc", seed=0)
    curve = comparison.filter_curve(variants, table, vote="auc", baseline="all")
    percentiles = curve[curve["filter"] == "percentile"].set_index("metric")
    line = percentiles.loc["video, vote auc (nested)"]
    assert line["strength"].tolist() == [0.0, 25.0, 50.0], "only variants that differ from all frames by the filter"
    assert line["value"].tolist() == [0.5, 0.75, 0.5] and (line["low"] <= line["value"]).all()
    random = percentiles.loc["video, vote auc, as many random frames (nested)"]
    assert random["strength"].tolist() == [0.0, 25.0, 50.0] and random["value"].iloc[2] == pytest.approx(5 / 12)
    assert percentiles.loc["frame (reference)", "strength"].tolist() == [0.0, 25.0]
    assert set(curve[curve["filter"] == "threshold"]["strength"]) == {0.0, 0.3}
    assert not curve["metric"].str.contains("random").eq(True)[curve["filter"] == "threshold"].any(), (
        "one point is no line"
    )


@pytest.mark.parametrize(
    ("names", "says", "says_not"),
    [
        (["all"], ["Nothing to say: no variant was compared"], ["No gain"]),
        (["all", "p50"], ["No gain shown: none of 1 variants"], ["is better than learning"]),
        (
            ["all", "p25", "p50"],
            ["Not shown that it matters which", "no control of equal size was run",
             "p25 (nested) is better than learning from all frames (all): difference +25.0% of videos"],
            ["No gain", "because of which frames: p25"],
        ),
        (["all", "p25", "random_p25"], ["Better because of which frames: p25 (nested)", "and better than as many"], []),
        (["all", "p50", "t30"], ["No gain", "Worse than learning from all frames: t30"], ["t30 (nested) is"]),
    ],
)  # fmt: skip
def test_the_verdict_says_what_the_corrected_tests_say(variants, names, says, says_not):
    verdict = comparison.verdict(summary({name: variants[name] for name in names}).reset_index())
    assert all(text in verdict for text in says) and not any(text in verdict for text in says_not), verdict


def test_a_gain_that_random_frames_have_too_is_not_because_of_which_frames(variants):
    as_good = {name: variants[name] for name in ("all", "p25")} | named(control("p25", 9))
    verdict = comparison.verdict(summary(as_good).reset_index())
    assert verdict.startswith("Not shown that it matters which frames are kept")
    assert "not shown to be better than as many random frames (random_p25): difference +0.0%" in verdict


def test_better_than_random_alone_is_said_to_be_no_gain(variants):
    verdict = comparison.verdict(summary(named(variants["all"], variants["p50"], control("p50", 1))).reset_index())
    assert verdict.startswith("No gain shown")
    assert "p50 (nested) is better than as many random frames (random_p50)" in verdict
    assert "but not shown better than all frames" in verdict


def test_a_table_too_small_to_show_anything_says_so(variants):
    table = summary(variants).reset_index()
    assert "could not have shown" not in comparison.verdict(table)
    assert "Sign flips of 4 people cannot give a p below 0.62 after correction for 5 tests" in comparison.verdict(
        table.assign(subjects=4, p_holm=table["p_holm"] + 0.6, p_random_holm=table["p_random_holm"] + 0.6)
    )


def test_forest_rows_are_the_video_accuracies_and_know_the_controls(variants):
    rows = comparison.forest_rows(summary(variants).reset_index()).set_index("variant")
    assert rows.loc["p25", "value"] == 0.75 and rows["control"].sum() == 1 and rows.loc["random_p25", "control"]


def test_votes_have_a_row_a_variant_and_a_column_a_method(variants):
    table = comparison.votes(variants, seed=0).set_index("variant")
    assert table.loc["p25", list(voting.METHODS)].tolist() == [0.75] * 4
    assert table.loc["p50", "auc_low"] == table.loc["p50", "auc_high"] == 0.5, "all subjects are alike"


def test_confusion_is_over_all_seeds():
    one, two = variant("one", 12), variant("two", [12, 0], seeds=(1, 2))
    np.testing.assert_allclose(comparison.confusion(one, vote="auc", n_classes=4), np.eye(4))
    np.testing.assert_allclose(np.diag(comparison.confusion(two, vote="auc", n_classes=4)), 0.5)


def test_best_of_each_filter_leaves_out_what_has_no_model_of_its_own(variants):
    variants |= named(variant("percentile_auto", 12, filter="percentile_auto"))
    assert comparison.best_of_each_filter(summary(variants).reset_index(), baseline="all") == ["p25", "t30"]


class FakeRun:
    """What `calibration_table` reads of a run."""

    def __init__(self, protocol, posterior, label):
        table = pd.DataFrame({"sample": np.arange(len(label)), "p_a": 1 - posterior, "p_b": posterior, "fold": 0})
        self.params = {"protocol": protocol}
        self.tables = {"predictions": table.assign(subset="test"), "validation": table.assign(subset="validation")}

    def table(self, name):
        return self.tables[name]


def test_a_temperature_is_fitted_on_validation_people_alone():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.2, 0.8, 4000)
    label = (rng.random(4000) < truth).astype(int)
    too_sure = truth**3 / (truth**3 + (1 - truth) ** 3)
    frames = pd.DataFrame({"sample": np.arange(4000), "label": label})
    runs = {name: FakeRun(name, too_sure, label) for name in ("nested", "reference")}
    table, curves = comparison.calibration_table(runs, frames, classes=["a", "b"])
    table = table.set_index("variant")
    assert table.loc["nested", "temperature"] == pytest.approx(3, rel=0.15)
    assert table.loc["nested", "ece_tempered"] < table.loc["nested", "ece"] / 3
    assert np.isnan(table.loc["reference", "temperature"]) and list(curves) == [
        "nested",
        "nested, tempered",
        "reference",
    ]


def test_the_made_variants_are_as_their_tests_take_them():
    assert len(videos()) == N and videos()["subject"].nunique() == SUBJECTS and first_videos(3).mean() == 0.25
