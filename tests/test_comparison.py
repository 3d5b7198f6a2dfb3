"""Variants side by side: which baseline, which correction, and what the verdict may say."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from emolib import comparison, voting

SUBJECTS, VIDEOS = 16, 12


def variant(name, *, right, filter="none", protocol="nested", **options):
    """A variant that answers the first `right` of every subject's 12 videos right."""
    index = np.arange(SUBJECTS * VIDEOS)
    votes = pd.DataFrame(
        {
            "video": [f"v{k:03d}" for k in index],
            "subject": [f"s{k // VIDEOS:02d}" for k in index],
            "label": index % 4,
            "fold": index % 2,
        }
    )
    answer = np.where(index % VIDEOS < right, votes["label"], (votes["label"] + 1) % 4)
    for method in voting.METHODS:
        votes[f"predicted_{method}"] = answer
    metrics = ["frame accuracy", *(f"video {m} {what}" for m in voting.METHODS for what in ("accuracy", "uar"))]
    value = right / VIDEOS
    results = pd.DataFrame({"metric": metrics, "value": value, "low": value - 0.1, "high": value + 0.1})
    results = results.assign(mean_of_folds=value, sd_of_folds=0.0, n=len(votes))
    return comparison.Variant(
        name, protocol, filter, options, results, votes, kept_share=0.5, out_of_sample=True, quality={}
    )


@pytest.fixture
def variants():
    return {
        "all": variant("all", right=6),
        "p25": variant("p25", right=9, filter="percentile", percentile=25.0),
        "p50": variant("p50", right=6, filter="percentile", percentile=50.0),
        "t30": variant("t30", right=3, filter="threshold", threshold=0.3),
        "all_reference": variant("all_reference", right=8, protocol="reference"),
        "p25_reference": variant("p25_reference", right=8, filter="percentile", protocol="reference", percentile=25.0),
    }


def test_each_variant_is_compared_with_the_baseline_of_its_own_protocol(variants):
    table = comparison.summary(variants, baseline="all", vote="auc", seed=0).set_index("variant")
    assert table.loc["p25", "difference"] == pytest.approx(3 / 12)
    assert table.loc["t30", "difference"] == pytest.approx(-3 / 12)
    assert table.loc["p25_reference", "difference"] == 0
    assert table.loc[["all", "all_reference"], "p_value"].isna().all()
    assert (table["p_holm"].dropna() >= table["p_value"].dropna()).all()
    assert table.loc["p25", "p_holm"] < 0.05 < table.loc["p50", "p_holm"]


def test_without_a_baseline_of_its_protocol_a_variant_has_no_test(variants):
    del variants["all_reference"]
    table = comparison.summary(variants, baseline="all", vote="auc", seed=0).set_index("variant")
    assert np.isnan(table.loc["p25_reference", "p_value"]) and np.isnan(table.loc["p25_reference", "p_holm"])


def test_an_unknown_baseline_is_an_error_that_names_the_variants(variants):
    with pytest.raises(ValueError, match=r"'nothing' is not among the variants compared: all, p25"):
        comparison.summary(variants, baseline="nothing", vote="auc", seed=0)


def test_the_curve_starts_at_all_frames_and_keeps_protocols_apart(variants):
    curve = comparison.filter_curve(variants, vote="auc")
    line = curve[(curve["filter"] == "percentile") & (curve["metric"] == "video auc accuracy (nested)")]
    assert line["strength"].tolist() == [0.0, 25.0, 50.0]
    assert line["value"].tolist() == [0.5, 0.75, 0.5]
    reference = curve[curve["metric"] == "video auc accuracy (reference)"]
    assert set(reference["filter"]) == {"percentile"}, "one point alone is no curve"


@pytest.mark.parametrize(
    ("names", "says", "says_not"),
    [
        (["all", "p50"], "No gain shown: none of the 1 variants", "better"),
        (["all", "p25", "p50"], "p25 (nested) is better than learning from all frames: difference +25.0%", "No gain"),
        (["all", "p50", "t30"], "No gain shown. t30 (nested) is worse", "better"),
    ],
)
def test_the_verdict_says_what_the_corrected_tests_say(variants, names, says, says_not):
    table = comparison.summary({name: variants[name] for name in names}, baseline="all", vote="auc", seed=0)
    verdict = comparison.verdict(table, baseline="all")
    assert says in verdict and says_not not in verdict


def test_the_best_filter_is_of_the_baselines_protocol(variants):
    table = comparison.summary(variants, baseline="all", vote="auc", seed=0)
    assert comparison.best_filter(table, baseline="all") == "p25"
    assert comparison.best_filter(table[table["variant"] == "all"], baseline="all") == "all"


def test_forest_plot_rows_are_the_video_accuracies(variants):
    rows = comparison.interval_rows(comparison.summary(variants, baseline="all", vote="auc", seed=0))
    assert rows.columns.tolist() == ["variant", "value", "low", "high"]
    assert rows.set_index("variant").loc["p25", "value"] == 0.75


def test_votes_have_a_row_a_variant_and_a_column_a_method(variants):
    table = comparison.votes(variants).set_index("variant")
    assert table.loc["p25", list(voting.METHODS)].tolist() == [0.75] * 4
    assert len(table) == len(variants) and table["protocol"].tolist() == ["nested"] * 4 + ["reference"] * 2


class FakeRun:
    """What `collect` reads of a finished run."""

    def __init__(self, votes):
        results, account = variant("x", right=6).results, pd.DataFrame({"kept": [5, 5], "frames": [10, 30]})
        self.tables = {"votes": votes, "results": results, "account": account}
        self.params = {"protocol": "nested", "filter": "none", "filter_options": {}}
        self.metrics = {"filter_quality": [], "out_of_sample": False}

    def table(self, name):
        return self.tables[name]


def test_variants_tested_on_other_videos_cannot_be_collected():
    votes = variant("x", right=6).votes
    both = comparison.collect({"a": FakeRun(votes), "b": FakeRun(votes)})
    assert both["a"].kept_share == 0.25 and both["b"].n_videos == SUBJECTS * VIDEOS
    with pytest.raises(ValueError, match="variant 'b' was tested on 191 videos, 'a' on 192"):
        comparison.collect({"a": FakeRun(votes), "b": FakeRun(votes.iloc[1:])})


def test_a_filter_that_read_posteriors_of_its_own_people_is_marked(variants):
    inside = replace(variants["p25"], out_of_sample=False)
    table = comparison.summary({"all": variants["all"], "p25": inside}, baseline="all", vote="auc", seed=0)
    assert table["out_of_sample"].tolist() == ["–", "NO"]
