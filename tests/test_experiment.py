"""One variant of the experiment: who is learned from, who is tested, and what a video without a face costs."""

import numpy as np
import pandas as pd
import pytest

from emolib import experiment, filters, folds, labels, posteriors

CLASSES = labels.names("ravdess8")


@pytest.fixture
def frames():
    """4 subjects x 8 emotions x 6 frames; the last frame of each video has no face."""
    rows = [
        (f"{subject}-{label}", f"s{subject}", label, frame, frame < 5, frame / 4)
        for subject in range(4)
        for label in range(8)
        for frame in range(6)
    ]
    table = pd.DataFrame(rows, columns=["video", "subject", "label", "frame", "face_ok", "true_intensity"])
    return table.assign(sample=np.arange(len(table)))


def right_answers(frames, *, sure=0.9):
    """Posteriors that know the label of every frame with a face."""
    seen = frames[frames["face_ok"]]
    p = np.full((len(seen), 8), (1 - sure) / 7, dtype=np.float32)
    p[np.arange(len(seen)), seen["label"]] = sure
    return posteriors.table(seen["sample"].to_numpy(), p, classes=CLASSES, fold=0, subset="test")


def test_posteriors_are_aligned_with_the_manifest_and_calm_has_the_column_of_neutral(frames):
    seen = frames[frames["face_ok"]]
    p = np.random.default_rng(0).dirichlet(np.ones(7), len(seen)).astype(np.float32)
    judged = posteriors.table(
        seen["sample"].to_numpy(), p, classes=labels.names("affectnet7"), fold=-1, subset="test"
    ).sample(frac=1, random_state=0)
    aligned = experiment.frame_posterior(judged, frames, source="affectnet7", target="ravdess8")
    assert np.isnan(aligned[~frames["face_ok"]]).all()
    np.testing.assert_allclose(aligned[seen.index][:, [0, 1, 2]], p[:, [0, 0, 1]])


def test_a_frame_with_a_face_but_no_posterior_is_an_error(frames):
    with pytest.raises(ValueError, match="1 frames with a face have no posterior, the first is sample 0"):
        experiment.frame_posterior(right_answers(frames).iloc[1:], frames, source="ravdess8", target="ravdess8")


def test_members_learn_from_kept_frames_alone_and_validate_on_all(frames):
    parts = folds.make_folds(frames, n_folds=2, protocol="nested", seed=1, validation_subjects_share=0.5)
    keep = (frames["frame"] >= 3).to_numpy()
    stack = experiment.members(parts, frames, keep=keep, step=1, seed=7)
    for part, member in zip(parts, stack, strict=True):
        assert set(frames["frame"].iloc[member.train]) == {3, 4}
        assert set(frames["frame"].iloc[member.validation]) == {0, 1, 2, 3, 4}
        assert not set(frames["subject"].iloc[part.test]) & set(
            frames["subject"].iloc[[*member.train, *member.validation]]
        )
    assert len({member.seed for member in stack}) == 2


@pytest.mark.parametrize(("step", "expected"), [(1, {0, 1, 2, 3, 4}), (2, {0, 2, 4}), (3, {0, 3})])
def test_a_step_thins_the_candidates(frames, step, expected):
    parts = folds.make_folds(frames, n_folds=2, protocol="reference", seed=1)
    [member, _] = experiment.members(parts, frames, keep=np.ones(len(frames), bool), step=step, seed=7)
    assert set(frames["frame"].iloc[member.train]) == expected == set(frames["frame"].iloc[member.validation])


def test_quality_is_a_row_where_the_truth_is_known_and_none_where_not(frames):
    posterior = np.tile(frames["true_intensity"].to_numpy()[:, None], (1, 8))
    selection = filters.select("threshold", frames, posterior, threshold=0.5)
    [row] = experiment.quality_against_truth(frames, selection, shows_label_at=0.5).to_dict("records")
    assert row["precision"] == row["recall"] == row["auc"] == 1.0
    unknown = frames.drop(columns="true_intensity")
    assert experiment.quality_against_truth(unknown, selection, shows_label_at=0.5).empty


def test_a_video_without_a_face_has_no_vote_and_counts_as_wrong(frames):
    frames.loc[frames["video"] == "1-3", "face_ok"] = False
    predictions = right_answers(frames)
    means = pd.DataFrame([np.full(8, 1 / 8)], columns=posteriors.posterior_columns(CLASSES)).assign(fold=0)
    votes = experiment.video_votes(predictions, means, frames, classes=CLASSES)
    assert len(votes) == 32 and votes["fold"].eq(0).all()
    lost = votes[votes["video"] == "1-3"].iloc[0]
    assert lost["predicted_auc"] == lost["predicted_majority"] == -1
    assert (
        (votes[votes["video"] != "1-3"].filter(like="predicted").eq(votes["label"], axis=0))
        .loc[votes["video"] != "1-3"]
        .all(axis=None)
    )
    results = experiment.evaluate(predictions, votes, frames, classes=CLASSES, seed=0).set_index("metric")
    assert results.loc["frame accuracy", "value"] == 1.0
    assert results.loc["video auc accuracy", "value"] == pytest.approx(31 / 32)
    assert results.loc["video auc accuracy", "low"] < 1


def test_the_fold_table_says_who_is_where(frames):
    parts = folds.make_folds(frames, n_folds=2, protocol="nested", seed=1, validation_subjects_share=0.5)
    stack = experiment.members(parts, frames, keep=np.ones(len(frames), bool), step=1, seed=7)
    table = experiment.fold_table(parts, stack, frames)
    named = table[["training subjects", "validation subjects", "test subjects"]].agg(" ".join, axis=1)
    assert all(sorted(row.split()) == ["s0", "s1", "s2", "s3"] for row in named)
    assert table["test frames"].tolist() == [80, 80]
