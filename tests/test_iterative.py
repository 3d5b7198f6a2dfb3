"""Chains of stages: who judges whom, judges that did not learn from what they judge, and the chain's history."""

import numpy as np
import pandas as pd
import pytest
import torch

from emolib import experiment, folds, iterative, models, posteriors, training

CLASSES = ("neutral", "positive", "negative")
NETWORK = {"model": "baseline", "classes": CLASSES, "model_options": {}}


@pytest.fixture(scope="module")
def frames():
    """6 subjects x 3 classes x 4 frames; the last frame of each video has no face."""
    rows = [(f"{s}-{k}", f"s{s}", k, frame, frame < 3) for s in range(6) for k in range(3) for frame in range(4)]
    table = pd.DataFrame(rows, columns=["video", "subject", "label", "frame", "face_ok"])
    return table.assign(sample=np.arange(len(table)))


@pytest.fixture(scope="module")
def images(frames):
    return np.random.default_rng(0).integers(0, 256, (len(frames), 48, 48), dtype=np.uint8)


@pytest.fixture(scope="module")
def parts(frames):
    return folds.make_folds(frames, n_folds=3, protocol="nested", seed=1, validation_subjects_share=0.25)


def weights(seed, **options):
    torch.manual_seed(seed)
    state = models.build("baseline", 3, **options).state_dict()
    return models.Weights("baseline", 3, list(CLASSES), options, state)


def kept(parts, frames, *, below=3):
    return [(frames["frame"] < below).to_numpy()[part.train] for part in parts]


def test_each_fold_is_judged_by_its_own_model_whatever_its_dropout(frames, images, parts):
    of_folds = [weights(0), weights(1, second_dropout=0.5), weights(2)]
    values = iterative.judge(parts, frames, iterative.fold_judges(parts, of_folds), images, None)
    face = frames["face_ok"].to_numpy()
    for part, one, of_fold in zip(parts, of_folds, values, strict=True):
        assert of_fold.shape == (len(part.train), 3) and of_fold.dtype == np.float32
        assert np.isnan(of_fold[~face[part.train]]).all()
        expected = posteriors.predict(
            images,
            None,
            part.train[face[part.train]],
            model="baseline",
            n_classes=3,
            state=one.state,
            model_options=one.options,
        )
        np.testing.assert_allclose(of_fold[face[part.train]], expected, atol=1e-6)
    assert not np.allclose(values[0][0], values[1][0])


def test_a_training_frame_without_a_judge_is_an_error(frames, images, parts):
    judges = iterative.fold_judges(parts, [weights(k) for k in range(3)])
    half = iterative.Judge(1, judges[1].rows[:10], judges[1].weights)
    with pytest.raises(ValueError, match="fold 1: .* training frames with a face have no judge"):
        iterative.judge(parts, frames, [judges[0], half, judges[2]], images, None)


def test_inner_members_never_learn_from_people_whom_they_judge_nor_from_anyone_outside_of_the_training_part(
    frames, parts
):
    before = kept(parts, frames, below=2)
    members, held_out = iterative.inner_members(parts, frames, kept=before, inner_folds=3, step=1, seed=5, initial=None)
    assert len(members) == 9 and len({one.name for one in members}) == 9 and len({one.seed for one in members}) == 9
    subject = frames["subject"].to_numpy()
    for member, (k, rows) in zip(members, held_out, strict=True):
        assert not set(subject[member.train]) & set(subject[rows])
        assert set(member.train) <= set(parts[k].train[before[k]]) and set(rows) <= set(parts[k].train)
        assert set(subject[member.validation]) == set(subject[parts[k].validation])
    for k, part in enumerate(parts):
        judged = np.sort(np.concatenate([rows for position, rows in held_out if position == k]))
        assert (judged == part.train).all()


def test_more_inner_folds_than_training_people_are_refused(frames, parts):
    with pytest.raises(ValueError, match="n_folds = 4: 3 subjects allow 2..3 folds"):
        iterative.inner_members(parts, frames, kept=kept(parts, frames), inner_folds=4, step=1, seed=5, initial=None)


def test_inner_judges_are_trained_in_one_stack_and_judge_every_training_frame(frames, images, parts, tmp_path):
    recipe = training.Recipe(epochs=1, patience=1, batch_size=8)
    judges = iterative.train_inner_judges(
        parts[:2],
        frames,
        images,
        None,
        kept=kept(parts, frames)[:2],
        inner_folds=2,
        step=1,
        seed=0,
        initial=weights(0).state,
        recipe=recipe,
        checkpoint_dir=tmp_path / "inner",
        **NETWORK,
    )
    assert len(judges) == 4 and len(list((tmp_path / "inner").glob("*.pt"))) == 4
    values = iterative.judge(parts[:2], frames, judges, images, None)
    for part, of_fold in zip(parts[:2], values, strict=True):
        assert np.isfinite(of_fold).all(axis=1).sum() == frames["face_ok"].iloc[part.train].sum()


def test_the_next_stage_starts_from_each_folds_own_model_with_all_its_layers(frames, parts):
    states = [weights(k).state for k in range(3)]
    members = experiment.members(parts, frames, kept=kept(parts, frames), seed=0, initial=states)
    for member, state in zip(members, states, strict=True):
        model = models.build("baseline", 3, second_dropout=0.5)
        report = models.load_transfer(model, member.initial)
        assert not report.replaced and not report.missing
        assert torch.equal(model.state_dict()["classifier.weight"], state["classifier.weight"])


def tables(value):
    results = pd.DataFrame(
        {
            "metric": ["frame accuracy", "video auc accuracy"],
            "value": value,
            "low": value - 0.1,
            "high": value + 0.1,
        }
    )
    votes = pd.DataFrame({"label": [0, 1, 2, 0], "predicted_auc": [0, 1, -1, 1]})
    account = pd.DataFrame({"frames": [4, 4], "kept": [2, 4]})
    return {"account": account, "results": results, "validation_votes": votes}


def test_the_history_of_a_chain_has_a_row_a_stage(frames):
    params = {"filter": "percentile", "filter_options": {"percentile": 25.0}, "start_from": "previous"}
    a, b = np.array([True, True, False, True]), np.array([True, False, True, True])
    first = iterative.stage_row(
        "frame_filtering/all", stage=0, params=params, kept=[a, a], kept_before=None, **tables(0.5)
    )
    second = iterative.stage_row("x/y", stage=1, params=params, kept=[b, a], kept_before=[a, a], **tables(0.6))
    history = pd.concat([first, second], ignore_index=True)
    assert np.isnan(history["jaccard"][0]) and history["jaccard"][1] == pytest.approx((2 + 3) / (4 + 3))
    assert history["kept_share"].tolist() == [0.75, 0.75] and history["validation_video_accuracy"].eq(0.5).all()
    assert history["filter_options"][0] == '{"percentile": 25.0}'
    curve = iterative.chain_curve(history)
    assert list(curve.columns) == ["strength", "value", "low", "high", "metric"] and len(curve) == 4
    assert curve["strength"].tolist() == [0, 1, 0, 1] and (curve["low"] < curve["value"]).all()
