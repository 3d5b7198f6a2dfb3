"""One variant of the experiment: which frames each fold learns from, who is tested, what a lost video costs."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from emolib import action_units, experiment, filters, fold_results, folds, judged, labels, normals, posteriors
from emolib.judged import Judged

CLASSES = labels.names("ravdess8")
NOTHING = Judged("nothing")


@pytest.fixture
def frames():
    """6 subjects x 8 emotions x 6 frames; the last frame of each video has no face."""
    rows = [
        (f"{subject}-{label}", f"s{subject}", label, frame, frame / 30, frame < 5, frame / 4)
        for subject in range(6)
        for label in range(8)
        for frame in range(6)
    ]
    table = pd.DataFrame(rows, columns=["video", "subject", "label", "frame", "time_s", "face_ok", "true_intensity"])
    return table.assign(sample=np.arange(len(table)) + 100)


@pytest.fixture
def parts(frames):
    return folds.make_folds(frames, n_folds=3, protocol="nested", seed=1, validation_subjects_share=0.5)


def random_posterior(frames, seed=0):
    values = np.random.default_rng(seed).dirichlet(np.ones(8), len(frames)).astype(np.float32)
    values[~frames["face_ok"]] = np.nan
    return values


def judged_at_random(frames, parts):
    return judged.by_fold(random_posterior(frames), parts, reads="posterior", out_of_sample=True)


def right_answers(frames, *, sure=0.9):
    """Posteriors that know the label of every frame with a face."""
    seen = frames[frames["face_ok"]]
    p = np.full((len(seen), 8), (1 - sure) / 7, dtype=np.float32)
    p[np.arange(len(seen)), seen["label"]] = sure
    return posteriors.table(seen["sample"].to_numpy(), p, classes=CLASSES, fold=0, subset="test")


def everything(parts):
    return [np.ones(len(part.train), dtype=bool) for part in parts]


# ---- what a filter judges by


def test_posteriors_are_aligned_with_the_manifest_and_calm_has_the_column_of_neutral(frames):
    seen = frames[frames["face_ok"]]
    p = np.random.default_rng(0).dirichlet(np.ones(7), len(seen)).astype(np.float32)
    table = posteriors.table(
        seen["sample"].to_numpy(), p, classes=labels.names("affectnet7"), fold=-1, subset="test"
    ).sample(frac=1, random_state=0)
    aligned = judged.frame_posterior(table, frames, source="affectnet7", target="ravdess8")
    assert np.isnan(aligned[~frames["face_ok"]]).all()
    np.testing.assert_allclose(aligned[seen.index][:, [0, 1, 2]], p[:, [0, 0, 1]])


def test_a_frame_with_a_face_but_no_posterior_is_an_error(frames):
    with pytest.raises(ValueError, match="1 frames with a face have no posterior, the first is sample 100"):
        judged.frame_posterior(right_answers(frames).iloc[1:], frames, source="ravdess8", target="ravdess8")


def test_action_units_may_be_unmeasured_but_not_absent(frames):
    seen = frames[frames["face_ok"]]
    table = pd.DataFrame(np.ones((len(seen), 17)), columns=list(action_units.UNITS)).assign(sample=seen["sample"].array)
    table.loc[3, action_units.UNITS[0]] = np.nan
    aligned = judged.frame_units(table, frames)
    assert aligned.dtype == np.float32 and np.isnan(aligned).any(axis=1).sum() == (~frames["face_ok"]).sum() + 1
    with pytest.raises(ValueError, match="1 frames with a face have no row of action units"):
        judged.frame_units(table.iloc[:-1], frames)


def test_an_unknown_filter_is_named():
    with pytest.raises(ValueError, match="unknown filter 'quartile'; known: .*percentile"):
        judged.reads("quartile")


# ---- the filter, fold by fold


def test_a_percentile_a_video_is_that_of_the_whole_corpus_and_a_fold_lists_its_training_people_alone(frames, parts):
    values = random_posterior(frames)
    of_folds = judged.by_fold(values, parts, reads="posterior", out_of_sample=True)
    selections = experiment.select_folds("percentile", parts, frames, of_folds, options={"percentile": 50.0}, seed=0)
    table = experiment.frame_list(parts, frames, selections)
    whole = filters.select("percentile", frames, values, percentile=50.0)
    expected = pd.Series(whole.keep, index=frames["sample"])
    assert (table["keep"].to_numpy() == expected.loc[table["sample"]].to_numpy()).all()
    subject = frames.set_index("sample")["subject"]
    for part in parts:
        listed = subject.loc[table.loc[table["fold"] == part.fold, "sample"]]
        assert set(listed) == set(frames["subject"].iloc[part.train])
    account = experiment.account(parts, selections)
    assert list(account.columns) == ["fold", *whole.account.columns]
    assert account["kept"].sum() == table["keep"].sum()
    pooled = experiment.pooled(account)
    assert pooled["frames"].sum() == sum(frames["face_ok"].iloc[part.train].sum() for part in parts)
    np.testing.assert_allclose(pooled["kept_share"], pooled["kept"] / pooled["frames"])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("percentile", {"percentile": 40.0, "scope": "class"}),
        ("threshold_balanced", {"threshold": 0.1}),
        ("cleanlab", {}),
    ],
)
def test_what_a_filter_keeps_depends_on_no_label_outside_of_the_training_part(frames, parts, name, options):
    kept = experiment.select_folds(name, parts, frames, judged_at_random(frames, parts), options=options, seed=0)
    for k, part in enumerate(parts):
        other = frames.copy()
        outside = np.setdiff1d(np.arange(len(frames)), part.train)
        other.loc[outside, "label"] = (other["label"].iloc[outside] + 3) % 8
        again = experiment.select_folds(name, parts, other, judged_at_random(frames, parts), options=options, seed=0)
        assert (kept[k].keep == again[k].keep).all()


def test_candidates_are_what_another_run_kept_but_all_frames_with_a_face_count(frames, parts):
    first = experiment.select_folds(
        "percentile", parts, frames, judged_at_random(frames, parts), options={"percentile": 50.0}, seed=0
    )
    kept = [one.keep for one in first]
    kept[0] = kept[0] & (frames["label"].to_numpy()[parts[0].train] != 4)  # a class that lost every frame before
    second = experiment.select_folds("fps", parts, frames, NOTHING, options={"every": 2}, seed=0, within=kept)
    for part, before, one in zip(parts, kept, second, strict=True):
        assert not (one.keep & ~before).any() and 0 < one.keep.sum() < before.sum()
        assert one.account["frames"].sum() == frames["face_ok"].iloc[part.train].sum()
        assert one.account["kept"].sum() == one.keep.sum()
    lost = second[0].account.set_index("label").loc[4]
    assert lost["kept"] == 0 and lost["videos_emptied"] == lost["videos"] > 0
    quality = experiment.quality_against_truth(parts, frames, second, shows_label_at=0.5)
    assert np.isfinite(quality["precision"]).all()


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_random_control_keeps_as_many_of_each_video_in_all_and_on_the_training_grid(frames, parts, step):
    other = experiment.select_folds(
        "threshold", parts, frames, judged_at_random(frames, parts), options={"threshold": 0.15}, seed=0
    )
    matched = [one.keep for one in other]
    drawn = experiment.select_folds("random", parts, frames, NOTHING, options={}, seed=0, matched_to=matched, step=step)
    for part, target, one in zip(parts, matched, drawn, strict=True):
        table = frames.iloc[part.train].assign(target=target, drawn=one.keep)
        grid = table[table["frame"] % step == 0]
        for rows in (table, grid):
            counted = rows.groupby("video")[["target", "drawn"]].sum()
            assert (counted["target"] == counted["drawn"]).all()
        assert (table["target"] != table["drawn"]).any()
        assert not (table["drawn"] & ~table["face_ok"]).any()
        assert one.account["videos"].sum() == table["video"].nunique()
    stacks = [
        experiment.members(parts, frames, kept=keep, step=step, seed=0)
        for keep in (matched, [one.keep for one in drawn])
    ]
    assert [len(one.train) for one in stacks[0]] == [len(one.train) for one in stacks[1]]


def test_frames_to_be_matched_must_be_candidates(frames, parts):
    none = [~one for one in everything(parts)]
    faces = [frames["face_ok"].to_numpy()[part.train] for part in parts]
    only_first = [(frames["frame"].to_numpy()[part.train] == 0) for part in parts]
    kept = experiment.select_folds("random", parts, frames, NOTHING, options={}, seed=0, matched_to=none)
    assert not any(one.keep.any() for one in kept)
    with pytest.raises(ValueError, match=r"80 frames are to be matched, only 16 of them"):
        experiment.select_folds(
            "random", parts[:1], frames, NOTHING, options={}, seed=0, matched_to=faces[:1], within=only_first[:1]
        )


def test_draws_differ_by_fold_and_by_seed_and_a_seed_of_the_options_stands(frames, parts):
    same = [dataclasses.replace(parts[0], fold=k) for k in range(2)]

    def draw(of_run, **options):
        chosen = experiment.select_folds(
            "random", same, frames, NOTHING, options={"share": 0.5, **options}, seed=of_run
        )
        return [one.keep.tolist() for one in chosen]

    assert draw(1)[0] != draw(1)[1] and draw(1)[0] != draw(5)[0] and draw(1) == draw(1)
    assert draw(1, seed=3) == draw(5, seed=3)


def test_normals_are_fitted_on_each_folds_own_training_rows(frames, parts):
    units = np.random.default_rng(0).uniform(0, 5, (len(frames), 17)).astype(np.float32)
    units[~frames["face_ok"]] = np.nan
    both = judged.by_fold(units, parts, reads="action_units", out_of_sample=None)
    fitted = judged.fold_normals(both.train, parts, frames, classes=CLASSES)
    expected = normals.fit(units[parts[1].train], frames["label"].to_numpy()[parts[1].train], classes=CLASSES)
    np.testing.assert_allclose(fitted[1].mean, expected.mean)
    ready = dataclasses.replace(both, normals=fitted)
    options = {"percentile": 50.0}
    given = experiment.select_folds("mvn", parts, frames, ready, options=options, seed=0)
    alone = experiment.select_folds("mvn", parts, frames, both, options=options, seed=0)
    assert all((a.keep == b.keep).all() for a, b in zip(given, alone, strict=True))
    tested = experiment.filtered_test("mvn", parts, frames, ready, options=options, seed=0)
    assert 0 < len(tested) < frames["face_ok"].sum() and len(set(tested)) == len(tested)


# ---- the truth


def test_quality_is_a_row_where_the_truth_is_known_and_none_where_not(frames, parts):
    posterior = np.tile(frames["true_intensity"].to_numpy()[:, None], (1, 8))
    of_folds = judged.by_fold(posterior, parts, reads="posterior", out_of_sample=True)
    selections = experiment.select_folds("threshold", parts, frames, of_folds, options={"threshold": 0.5}, seed=0)
    [row] = experiment.quality_against_truth(parts, frames, selections, shows_label_at=0.5).to_dict("records")
    assert row["precision"] == row["recall"] == row["auc"] == 1.0
    assert row["n_frames"] == sum(frames["face_ok"].iloc[part.train].sum() for part in parts)
    unknown = frames.drop(columns="true_intensity")
    assert experiment.quality_against_truth(parts, unknown, selections, shows_label_at=0.5).empty
    blind = experiment.select_folds("none", parts, frames, NOTHING, options={}, seed=0)
    [row] = experiment.quality_against_truth(parts, frames, blind, shows_label_at=0.5).to_dict("records")
    assert np.isnan(row["auc"]) and row["share_dropped"] == 0


# ---- members


def test_members_learn_from_kept_frames_alone_and_validate_on_all(frames, parts):
    keep = [(frames["frame"] >= 3).to_numpy()[part.train] for part in parts]
    initial = [{"fold": k} for k in range(3)]
    stack = experiment.members(parts, frames, kept=keep, step=1, seed=7, initial=initial)
    for part, member, start in zip(parts, stack, initial, strict=True):
        assert set(frames["frame"].iloc[member.train]) == {3, 4}
        assert set(frames["frame"].iloc[member.validation]) == {0, 1, 2, 3, 4}
        assert not set(frames["subject"].iloc[part.test]) & set(
            frames["subject"].iloc[[*member.train, *member.validation]]
        )
        assert member.initial is start
    assert len({member.seed for member in stack}) == 3
    assert experiment.leaks(parts, stack, frames).empty


@pytest.mark.parametrize(("step", "expected"), [(1, {0, 1, 2, 3, 4}), (2, {0, 2, 4}), (3, {0, 3})])
def test_a_step_thins_the_candidates(frames, step, expected):
    parts = folds.make_folds(frames, n_folds=2, protocol="reference", seed=1)
    [member, _] = experiment.members(parts, frames, kept=everything(parts), step=step, seed=7)
    assert set(frames["frame"].iloc[member.train]) == expected == set(frames["frame"].iloc[member.validation])


def test_leaks_name_the_people(frames):
    parts = folds.make_folds(frames, n_folds=2, protocol="reference", seed=1)
    stack = experiment.members(parts, frames, kept=everything(parts), seed=7)
    leaks = experiment.leaks(parts, stack, frames)
    assert len(leaks) == 6 and leaks["chosen_on"].all() and not leaks["learned"].any()
    swapped = experiment.leaks(parts, stack[::-1], frames)
    assert swapped["learned"].all()


def test_the_fold_table_says_who_is_where(frames, parts):
    stack = experiment.members(parts, frames, kept=everything(parts), step=1, seed=7)
    table = experiment.fold_table(parts, stack, frames)
    named = table[["training subjects", "validation subjects", "test subjects"]].agg(" ".join, axis=1)
    assert all(sorted(row.split()) == [f"s{k}" for k in range(6)] for row in named)
    assert table["test frames"].tolist() == [80, 80, 80]


# ---- filtered test frames


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("percentile", {"percentile": 50.0}),
        ("threshold", {"threshold": 0.5}),
        ("low_confidence", {"percentile": 50.0}),
        ("cleanlab", {}),
    ],
)
def test_test_frames_are_filtered_without_their_label_and_no_video_is_emptied(frames, parts, name, options):
    values = judged_at_random(frames, parts)
    kept = experiment.filtered_test(name, parts, frames, values, options=options, seed=0)
    assert len(set(kept)) == len(kept) < frames["face_ok"].sum()
    assert frames.set_index("sample").loc[kept, "face_ok"].all()
    assert frames.set_index("sample").loc[kept, "video"].nunique() == frames["video"].nunique()
    relabelled = frames.assign(label=frames["label"].sample(frac=1, random_state=0).to_numpy())
    assert (experiment.filtered_test(name, parts, relabelled, values, options=options, seed=0) == kept).all()


def test_a_filter_of_test_frames_by_threshold_judges_the_largest_posterior(frames, parts):
    values = random_posterior(frames)
    kept = experiment.filtered_test(
        "threshold",
        parts,
        frames,
        judged.by_fold(values, parts, reads="posterior", out_of_sample=True),
        options={"threshold": 0.3},
        seed=0,
    )
    largest = pd.Series(np.nan_to_num(values).max(1), index=frames["sample"])
    best = largest.groupby(frames.set_index("sample")["video"]).idxmax()
    expected = set(largest.index[largest >= np.float32(0.3)]) | set(best)
    assert set(kept) == expected


# ---- votes and results


def test_a_video_without_a_face_has_no_vote_and_counts_as_wrong(frames):
    frames.loc[frames["video"] == "1-3", "face_ok"] = False
    [part] = [folds.Fold(0, np.arange(0), np.arange(48), np.arange(len(frames)))]
    predictions = right_answers(frames)
    means = pd.DataFrame([np.full(8, 1 / 8)], columns=posteriors.posterior_columns(CLASSES)).assign(fold=0)
    votes = fold_results.video_votes([part], predictions, means, frames, subset="test", classes=CLASSES)
    assert len(votes) == 48 and votes["fold"].eq(0).all() and votes["video"].is_monotonic_increasing
    lost = votes[votes["video"] == "1-3"].iloc[0]
    assert lost["predicted_auc"] == lost["predicted_majority"] == -1
    others = votes[votes["video"] != "1-3"]
    assert others.filter(like="predicted").eq(others["label"], axis=0).all(axis=None)
    results = fold_results.evaluate(predictions, votes, frames, classes=CLASSES, seed=0).set_index("metric")
    assert results.loc["frame accuracy", "value"] == 1.0
    assert results.loc["video auc accuracy", "value"] == pytest.approx(47 / 48)
    assert results.loc["video auc accuracy", "low"] < 1
    seen = predictions[predictions["sample"].isin(frames["sample"].iloc[:48])]
    of_validation = fold_results.video_votes([part], seen, means, frames, subset="validation", classes=CLASSES)
    assert set(of_validation["subject"]) == {"s0"} and len(of_validation) == 8
    nobody = fold_results.video_votes([part], seen.iloc[:0], means, frames, subset="validation", classes=CLASSES)
    assert nobody.filter(like="predicted").eq(-1).all(axis=None)
