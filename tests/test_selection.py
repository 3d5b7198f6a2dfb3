"""Choosing a percentile on validation people, and what choosing on test people adds to a reported gain."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_variants import FOLDS, N, control, named, percentile, variant

from emolib import comparison, selection

REFERENCE = {"protocol": "reference", "validation_subjects_share": 0.0}
PLACE = {"baseline": "all", "vote": "auc"}


@pytest.fixture
def variants():
    return named(
        variant("all", 6, kept=1.0, validation=[6, 6, 6, 6]),
        percentile("p25", 25.0, 9, validation=[7, 6, 5, 8]),
        percentile("p50", 50.0, 3, validation=[8, 6, 5, 8]),
        variant("t30", 6, filter="threshold", options={"threshold": 0.3}, validation=[9, 9, 9, 9]),
        percentile("dropout_p10", 10.0, 12, second_dropout=0.5, validation=[12, 12, 12, 12]),
    )


def test_each_fold_takes_the_best_on_its_validation_videos_and_of_equal_ones_the_mildest(variants):
    autos, chosen = selection.auto(variants, **PLACE)
    of_percentile = chosen[chosen["filter"] == "percentile_auto"]
    assert of_percentile["chosen"].tolist() == ["p50", "all", "all", "p25"]
    assert of_percentile["strength"].tolist() == [50.0, 0.0, 0.0, 25.0]
    # the subjects that validate fold k are those tested in fold k - 1; each of 4 has 12 videos
    np.testing.assert_allclose(of_percentile["validation_accuracy"], np.array([8, 6, 6, 8]) / 12)
    np.testing.assert_allclose(of_percentile["validation_accuracy_of_all_frames"], 0.5)
    assert (of_percentile["validation_videos"] == 48).all() and of_percentile["kept_share"].tolist() == [
        0.5,
        1,
        1,
        0.75,
    ]
    assert list(autos) == ["percentile_auto", "threshold_auto"]


def test_its_answers_are_those_of_the_chosen_runs_fold_by_fold(variants):
    one = selection.auto(variants, **PLACE)[0]["percentile_auto"]
    fold = variants["all"].votes[0]["fold"].to_numpy()
    for name, of_folds in {"p50": [0], "all": [1, 2], "p25": [3]}.items():
        there = np.isin(fold, of_folds)
        np.testing.assert_array_equal(one.answers("auc")[:, there], variants[name].answers("auc")[:, there])
        np.testing.assert_array_equal(
            one.frame_answers[:, np.repeat(there, 2)], variants[name].frame_answers[:, np.repeat(there, 2)]
        )
    assert one.votes[0]["video"].tolist() == variants["all"].votes[0]["video"].tolist()
    assert one.kept_share == pytest.approx((0.5 + 1 + 1 + 0.75) / 4) and one.protocol == "nested"


def test_test_answers_play_no_part_in_the_choice(variants):
    flipped = {
        name: replace(one, votes=tuple(v.assign(label=(v["label"] + 1) % 4) for v in one.votes))
        for name, one in variants.items()
    }
    pd.testing.assert_frame_equal(selection.auto(variants, **PLACE)[1], selection.auto(flipped, **PLACE)[1])


def test_each_seed_chooses_for_itself():
    seeds = (1, 2)
    variants = named(
        variant("all", seeds=seeds, kept=1.0),
        percentile("p50", 50.0, [9, 3], seeds=seeds, validation=[[7] * FOLDS, [5] * FOLDS]),
    )
    autos, chosen = selection.auto(variants, **PLACE)
    assert chosen.groupby("seed")["chosen"].unique().map(list).to_dict() == {1: ["p50"], 2: ["all"]}
    one = autos["percentile_auto"]
    assert (one.answers("auc") == one.column("label")).mean(axis=1).tolist() == [0.75, 0.5]
    assert one.kept_share == 0.75


def test_the_control_of_an_auto_is_assembled_from_controls(variants):
    assert not [name for name in selection.auto(variants, **PLACE)[0] if name.endswith("random")]
    with_controls = variants | named(control("p25", 2), control("p50", 1))
    autos, _ = selection.auto(with_controls, **PLACE)
    table = comparison.summary(with_controls | autos, seed=0, **PLACE).set_index("variant")
    assert table.loc["percentile_auto", "control"] == "percentile_auto_random"
    expected = np.mean([1, 6, 6, 2]) / 12  # by fold: random_p50, all, all, random_p25
    assert table.loc["percentile_auto_random", "video_accuracy"] == pytest.approx(expected)
    assert table.loc["threshold_auto", "control"] == "", "t30 was chosen and has no control"


@pytest.mark.parametrize("missing", ["p25 p50 t30", "all"])
def test_without_a_choice_there_is_no_auto(variants, missing):
    for name in missing.split():
        del variants[name]
    variants |= named(variant("all_reference", **REFERENCE)) if missing == "all" else {}
    baseline = "all_reference" if missing == "all" else "all"
    autos, chosen = selection.auto(variants, baseline=baseline, vote="auc")
    assert autos == {} and chosen.empty
    assert selection.optimism(variants, autos, baseline=baseline, vote="auc", seed=0).empty


def test_candidates_that_cannot_be_compared_are_an_error(variants):
    p25 = variants["p25"]
    with pytest.raises(ValueError, match=r"'p25' has seeds \(7,\), 'all' \(2020,\)"):
        selection.auto(variants | {"p25": replace(p25, seeds=(7,))}, **PLACE)
    others = tuple(votes.iloc[1:] for votes in p25.validation_votes)
    with pytest.raises(
        ValueError, match=r"'p25' has other videos in its folds than 'all' \(validation_votes, seed 2020"
    ):
        selection.auto(variants | {"p25": replace(p25, validation_votes=others)}, **PLACE)


def test_optimism_is_the_gain_of_the_best_on_test_less_that_of_the_choice(variants):
    variants |= named(variant("all_reference", 8, **REFERENCE), percentile("p25_reference", 25.0, 12, **REFERENCE))
    autos, _ = selection.auto(variants, **PLACE)
    table = selection.optimism(variants | autos, autos, seed=0, **PLACE).set_index(["filter", "protocol"])
    gain = (np.mean([3, 6, 6, 9]) - 6) / 12
    nested, reference = table.loc[("percentile", "nested")], table.loc[("percentile", "reference")]
    assert (nested["best_on_test"], reference["best_on_test"]) == ("p25", "p25_reference")
    assert nested["difference_best"] == pytest.approx(3 / 12) and nested["difference_auto"] == pytest.approx(gain)
    assert nested["difference_optimism"] == pytest.approx(3 / 12 - gain)
    assert reference["difference_best"] == pytest.approx(4 / 12)
    assert reference["difference_optimism"] == pytest.approx(4 / 12 - gain) and reference["candidates"] == 2
    assert table.loc[("threshold", "nested"), "best_on_test"] == "all", "of equal ones that which drops nothing"
    for name in ("difference_best", "difference_auto", "difference_optimism"):
        assert (table[f"{name}_low"] <= table[name] + 1e-12).all() and (
            table[name] <= table[f"{name}_high"] + 1e-12
        ).all()


def test_choosing_the_best_of_noise_on_test_is_optimistic_and_choosing_on_validation_is_not():
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(30):
        noise = {}
        for k in range(9):
            one = percentile(f"p{10 * k}", 10.0 * k, 6) if k else variant("all", 6, kept=1.0)
            label = one.column("label")
            tables = [
                votes.assign(predicted_auc=np.where(rng.random(N) < 0.5, votes["label"], (votes["label"] + 1) % 4))
                for votes in (*one.votes, *one.validation_votes)
            ]
            noise[one.name] = replace(one, votes=(tables[0],), validation_votes=(tables[1],))
            assert (noise[one.name].column("label") == label).all()
        autos, _ = selection.auto(noise, **PLACE)
        table = selection.optimism(noise | autos, autos, seed=0, **PLACE)
        gains.append(table.iloc[0][["difference_best", "difference_auto"]].to_numpy(float))
    best, auto = np.mean(gains, axis=0)
    assert best > 0.04 and abs(auto) < 0.03


def test_protocols_stand_side_by_side_for_variants_run_under_both(variants):
    variants |= named(variant("all_reference", 8, **REFERENCE), percentile("reference_p25", 25.0, 12, **REFERENCE))
    table = selection.by_protocol(variants, seed=0, **PLACE).set_index("variant")
    assert table.index.tolist() == ["all", "p25"]
    row = table.loc["p25"]
    assert (row["nested"], row["reference"], row["difference"]) == (0.75, 1.0, 0.25)
    assert row["difference_from_all_nested"] == pytest.approx(3 / 12) and row[
        "difference_from_all_reference"
    ] == pytest.approx(4 / 12)
    assert row["difference_of_gains"] == pytest.approx(1 / 12)
    assert table.loc["all", "difference_of_gains"] == 0 and (table["protocol"] == "nested, reference").all()


def test_without_twins_there_is_no_table_of_protocols_and_two_of_a_name_are_an_error(variants):
    assert selection.by_protocol(variants, seed=0, **PLACE).empty
    with pytest.raises(ValueError, match="'nested_p25' and 'p25' are both 'p25' under nested"):
        selection.by_protocol(variants | named(percentile("nested_p25", 25.0, 6)), seed=0, **PLACE)
